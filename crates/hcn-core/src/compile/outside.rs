//! The kernel objects by which a network is part of a network outside.

use hcn_dataplane::Object;

use crate::entity::{Endpoint, Network};

pub(super) fn of_network(_network: &Network) -> Vec<Object> {
    Vec::new()
}

pub(super) fn of_endpoint(_network: &Network, _endpoint: &Endpoint) -> Vec<Object> {
    Vec::new()
}
