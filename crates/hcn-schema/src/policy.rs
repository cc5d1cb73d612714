//! Policies: a type and settings that are kept byte for byte (contract 2.1, 2.13, 2.14).

use serde::{Deserialize, Serialize};

use crate::enums::{EndpointPolicyType, NatFlags, NetworkPolicyType, OneOf, ProtocolType, SubnetPolicyType};
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
    /// Whether two policies say the same: types equal, settings equal as JSON values. Clients that remove a
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

/// Policy of a subnet: `{"Type":"VSID","Settings":{"IsolationId":5000}}`, or flat in old documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetPolicy {
    /// What kind of policy it is.
    #[serde(
        rename = "Type",
        default,
        deserialize_with = "given::choice",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind: Option<OneOf<SubnetPolicyType>>,
    /// Its settings, as the client wrote them.
    #[serde(
        rename = "Settings",
        default,
        deserialize_with = "given::settings",
        skip_serializing_if = "Option::is_none"
    )]
    pub settings: Option<Raw>,
    /// The flat form of the one setting.
    #[serde(
        rename = "IsolationId",
        default,
        deserialize_with = "given::number",
        skip_serializing_if = "Option::is_none"
    )]
    pub isolation_id: Option<u32>,
}

/// Settings of the endpoint policy PortMapping (2.14).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PortMappingSettings {
    /// Transport protocol; absent = TCP (contract 10, question 7).
    #[serde(rename = "Protocol", default, deserialize_with = "given::choice")]
    pub protocol: Option<OneOf<ProtocolType>>,
    /// Of the endpoint.
    #[serde(rename = "InternalPort", default, deserialize_with = "given::number")]
    pub internal_port: Option<u16>,
    /// Of the host; absent or 0 = the service chooses one.
    #[serde(rename = "ExternalPort", default, deserialize_with = "given::number")]
    pub external_port: Option<u16>,
    /// The address of the host that is meant; absent = all of them.
    #[serde(rename = "VIP", default, deserialize_with = "given::text")]
    pub vip: Option<String>,
    /// Flags.
    #[serde(rename = "Flags", default)]
    pub flags: NatFlags,
}
