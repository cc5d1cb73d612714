//! Routes of subnets and endpoints (contract 2.5).

use serde::{Deserialize, Serialize};

use crate::given;

/// Route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Address of the next hop; absent or all zero = on link.
    #[serde(
        rename = "NextHop",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub next_hop: Option<String>,
    /// Destination in CIDR form.
    #[serde(
        rename = "DestinationPrefix",
        default,
        deserialize_with = "given::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub destination_prefix: Option<String>,
    /// Lower wins.
    #[serde(
        rename = "Metric",
        default,
        deserialize_with = "given::number",
        skip_serializing_if = "Option::is_none"
    )]
    pub metric: Option<u16>,
}
