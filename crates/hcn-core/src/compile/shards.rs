//! The kernel objects of a network that is larger than a bridge.

use hcn_dataplane::Object;

use crate::entity::Network;

pub(super) fn of_network(_network: &Network) -> Vec<Object> {
    Vec::new()
}
