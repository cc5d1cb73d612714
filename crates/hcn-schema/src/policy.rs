//! Policies: a type and settings that are kept byte for byte (contract 2.1, 2.13, 2.14).

use serde::{Deserialize, Serialize};

use crate::document::document;
use crate::enums::{EndpointPolicyType, NetworkPolicyType, OneOf, SubnetPolicyType};
pub use crate::settings::PortMappingSettings;
use crate::{Raw, given};

/// A policy whose type comes from the enumeration `T`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    deserialize = "T: crate::enums::Enumeration",
    serialize = "T: crate::enums::Enumeration + Serialize"
))]
pub struct Policy<T> {
    /// What kind of policy it is.
    #[serde(
        rename = "Type",
        default = "none",
        deserialize_with = "given::choice",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind: Option<OneOf<T>>,
    /// Its settings, as the client wrote them. Very old documents call them `Data`.
    #[serde(
        rename = "Settings",
        alias = "Data",
        default,
        deserialize_with = "given::settings",
        skip_serializing_if = "Option::is_none"
    )]
    pub settings: Option<Raw>,
}

fn none<T>() -> Option<T> {
    None
}

impl<T: PartialEq> Policy<T> {
    /// Whether two policies say the same: types equal, settings with the same meaning. Clients that remove a
    /// policy often re-serialise the settings that they read before (contract 2.12).
    pub fn same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && match (&self.settings, &other.settings) {
                (Some(a), Some(b)) => a.same_value(b),
                (None, None) => true,
                (Some(one), None) | (None, Some(one)) => one.is_blank(),
            }
    }
}

/// Policy of a network.
pub type NetworkPolicy = Policy<NetworkPolicyType>;
/// Policy of an endpoint.
pub type EndpointPolicy = Policy<EndpointPolicyType>;

document! {
    /// Policy of a subnet: `{"Type":"VSID","Settings":{"IsolationId":5000}}`, or flat in old documents.
    SubnetPolicy {
        /// What kind of policy it is.
        kind: choice(SubnetPolicyType) "Type",
        /// Its settings, as the client wrote them.
        settings: settings "Settings",
        /// The flat form of the one setting.
        isolation_id: u32 "IsolationId",
    }
}
