//! What every document carries (contract 2.3, 2.4). Its nine properties themselves are a part of `document!`.

use serde::{Deserialize, Serialize};

use crate::document::document;
use crate::given;

/// SchemaVersion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// 2 for the documents of this crate.
    #[serde(rename = "Major", default, deserialize_with = "number")]
    pub major: u32,
    /// Any.
    #[serde(rename = "Minor", default, deserialize_with = "number")]
    pub minor: u32,
}

fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(given::number(deserializer)?.unwrap_or_default())
}

impl Version {
    /// The version that replies carry.
    pub const V2: Self = Self { major: 2, minor: 0 };
    /// The version that replies of the form of HNS carry.
    pub const V1: Self = Self { major: 1, minor: 0 };
}

/// The version member of a document, told apart: absent and `{0,0}` mean different things (2.3). `{}` is the latter, since
/// the member is there.
///
/// # Errors
/// The deserializer's, where it is neither an object nor "not given".
pub fn version<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Version>, D::Error> {
    given::any_object(deserializer)
}

document! {
    /// Health (2.4). Clients send it empty; the service fills `Data`.
    Health {
        /// What the service knows of the entity's state.
        data: any "Data",
        /// References to what the entity stands on.
        extra: object(ExtraParams) "Extra",
    }
}

#[cfg(feature = "json-schema")]
document! {
    /// Telemetry (2.4).
    Telemetry {
        /// Anything.
        data: any "Data",
    }
}

document! {
    /// ExtraParams (2.4): what an entity stands on.
    ExtraParams {
        /// Resources of the entity, in detailed replies.
        resources: any "Resources",
        /// Containers that share the endpoint, in detailed replies.
        shared_containers: any "SharedContainers",
        /// Network that this one is layered on.
        layered_on: guid "LayeredOn",
        /// Switch of the network.
        switch_guid: guid "SwitchGuid",
        /// Utility virtual machine that holds the entity.
        utility_vm: guid "UtilityVM",
        /// Virtual machine that holds the entity.
        virtual_machine: guid "VirtualMachine",
    }
}

/// `Health.Data` as the service writes it.
#[derive(Clone, Debug, Serialize)]
pub struct HealthData {
    /// HRESULT of the last failure on this entity; 0 when it is fine.
    #[serde(rename = "LastErrorCode")]
    pub last_error_code: u32,
    /// When the entity changed last, in 100 ns since 1601-01-01 UTC (FILETIME).
    #[serde(rename = "LastUpdateTime")]
    pub last_update_time: u64,
    /// The user who made the entity, by the credentials of the connection.
    #[serde(rename = "CreatorUid")]
    pub creator_uid: u32,
}
