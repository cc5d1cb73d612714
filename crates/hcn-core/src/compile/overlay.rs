//! The kernel objects of overlays: VXLAN links, and the ways to what is on other hosts.

use hcn_dataplane::Object;

use crate::entity::{Endpoint, Network};

pub(super) fn of_network(_network: &Network) -> Vec<Object> {
    Vec::new()
}

pub(super) fn of_endpoint(_network: &Network, _endpoint: &Endpoint) -> Vec<Object> {
    Vec::new()
}
