//! Parameters and results of every method, shared by server and client. Their meaning is in the interface files.
//!
//! Unknown parameters are refused, so that a misspelt one is not taken for one that was not given.

use std::collections::BTreeMap;

use hcn_schema::{Guid, Raw};
use serde::{Deserialize, Serialize};

use crate::message::is_false;

macro_rules! parameters {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name {
                $(
                    $(#[$field_meta])*
                    #[serde(default, skip_serializing_if = "Option::is_none")]
                    pub $field: Option<$kind>,
                )*
            }
        )*
    };
}

parameters! {
    /// Of methods that take none.
    Empty {}

    /// Of Enumerate.
    Enumerate {
        /// The query as an object.
        query: Raw,
        /// The query as a text.
        text: String,
    }

    /// Of Create.
    Create {
        /// The new entity's ID.
        id: String,
        /// The document as an object.
        settings: Raw,
        /// The document as a text.
        text: String,
        /// The network of a new endpoint, by handle.
        network_handle: i64,
        /// The network of a new endpoint, by ID.
        network_id: String,
    }

    /// Of Open and Delete.
    ById {
        /// Which entity.
        id: String,
    }

    /// Of Close.
    ByHandle {
        /// Which handle.
        handle: i64,
    }

    /// Of Modify.
    Modify {
        /// Which entity, by handle.
        handle: i64,
        /// Which entity, by ID.
        id: String,
        /// The request as an object.
        settings: Raw,
        /// The request as a text.
        text: String,
    }

    /// Of Query, QueryStats, QueryAddresses and Explain.
    Query {
        /// Which entity, by handle.
        handle: i64,
        /// Which entity, by ID.
        id: String,
        /// The query as an object.
        query: Raw,
        /// The query as a text.
        text: String,
    }

    /// Of Subscribe.
    Subscribe {
        /// Names of kinds.
        kinds: Vec<String>,
        /// What the callback of this name hears of.
        registration: String,
        /// The entity that the registration is for, by handle.
        handle: i64,
        /// The entity that the registration is for, by ID.
        id: String,
    }

    /// Of SetHnsVersion.
    SetHnsVersion {
        /// MAJOR.MINOR.
        version: String,
    }

    /// Of io.hcn.V1.Call.
    HnsCall {
        /// GET, POST or DELETE.
        method: String,
        /// As /networks/ID.
        path: String,
        /// The version 1 document as an object.
        request: Raw,
        /// The version 1 document as a text.
        text: String,
    }

    /// Of Restore.
    Restore {
        /// The backup, or a part of it.
        text: String,
        /// More of it follows.
        more: bool,
    }

    /// Of JoinSession.
    JoinSession {
        /// Which session.
        token: String,
    }

    /// Of GetInterfaceDescription.
    GetInterfaceDescription {
        /// Which interface.
        interface: String,
    }
}

/// Result of Enumerate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids<T = String> {
    /// In the order of creation.
    pub ids: Vec<T>,
}

/// Result of Create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The new entity.
    pub id: String,
    /// A handle of it.
    pub handle: i64,
}

impl Created {
    pub(crate) fn new(id: Guid, handle: i64) -> Self {
        Self { id: id.to_string(), handle }
    }
}

/// Result of Open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The new handle.
    pub handle: i64,
}

/// Result of Query, QueryStats, QueryAddresses and Explain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// The document.
    pub properties: Raw,
}

/// Result of io.hcn.V1.Call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HnsResponse {
    /// The envelope.
    pub response: Raw,
}

/// Result of OpenSession.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// With which others can join.
    pub token: String,
}

/// Result of io.hcn.Service.GetInfo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// What serves.
    pub product: String,
    /// Its version.
    pub version: String,
    /// What it serves.
    pub interfaces: Vec<String>,
}

/// Result of Status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of hcnd.
    pub version: String,
    /// The newest version of the documents.
    pub schema: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// How often this process has started, with the times that a backup was restored.
    #[serde(default)]
    pub starts: u64,
    /// The user that hcnd runs as.
    pub uid: u32,
    /// Its process.
    pub pid: u32,
    /// How many entities there are, by kind.
    pub entities: BTreeMap<String, u64>,
    /// What the kernel has and lacks of what hcnd can use.
    pub features: Vec<Feature>,
    /// Why every change is refused, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<String>,
}

/// Result of Backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The backup.
    pub text: String,
}

/// Result of Restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// How many records there are now; of a part, 0.
    pub records: u64,
}

/// Something that a kernel has or lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// What it is called.
    pub name: String,
    /// Whether this kernel has it.
    pub present: bool,
    /// What hcnd cannot do without it.
    pub needed_for: String,
}

/// Result of Doctor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// One at least of each check.
    pub findings: Vec<Finding>,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The name of the check.
    pub check: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about; empty = the host as a whole.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What comes of it.
    pub consequence: String,
    /// What to do.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is lost by it.
    Notice,
    /// Something is lost in certain cases, or soon.
    Warning,
    /// Packets are lost, or calls fail.
    Error,
}

/// Result of Metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// In the text format of Prometheus.
    pub text: String,
}

/// Result of org.varlink.service.GetInfo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VarlinkInfo {
    /// Who made the service.
    pub vendor: String,
    /// What serves.
    pub product: String,
    /// Its version.
    pub version: String,
    /// Where to read about it.
    pub url: String,
    /// What it serves.
    pub interfaces: Vec<String>,
}

/// Result of GetInterfaceDescription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The interface file.
    pub description: String,
}

/// A reply of Subscribe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReply {
    /// Only in the first reply, which is no event.
    #[serde(default, skip_serializing_if = "is_false")]
    pub registered: bool,
    /// Number of the event among all of the service.
    pub seq: u64,
    /// The contract's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification: Option<u32>,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// To what kind of entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// To which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its revision after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The NotificationBase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Raw>,
}

/// The notification that ends a subscription: HcnNotificationServiceDisconnect.
pub const DISCONNECT: u32 = 0x0100_0000;
