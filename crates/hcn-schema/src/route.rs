//! Routes of subnets and endpoints (contract 2.5).

use crate::document::document;

document! {
    /// Route.
    Route {
        /// Address of the next hop; absent or all zero = on link.
        next_hop: text "NextHop",
        /// Destination in CIDR form.
        destination_prefix: text "DestinationPrefix",
        /// Lower wins.
        metric: u16 "Metric",
    }
}
