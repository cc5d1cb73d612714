//! DNS settings of networks and endpoints (contract 2.5).

use serde::{Deserialize, Serialize};

use crate::given;

/// DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Connection-specific domain.
    #[serde(
        rename = "Domain",
        alias = "Suffix",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub domain: Option<String>,
    /// Search list.
    #[serde(
        rename = "Search",
        default,
        deserialize_with = "given::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub search: Vec<String>,
    /// Server addresses, in order of preference.
    #[serde(
        rename = "ServerList",
        default,
        deserialize_with = "given::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub server_list: Vec<String>,
    /// Resolver options, as in resolv.conf(5).
    #[serde(
        rename = "Options",
        default,
        deserialize_with = "given::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub options: Vec<String>,
}
