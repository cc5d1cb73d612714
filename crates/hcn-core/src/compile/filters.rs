//! What policies ACL, TierAcl, NetworkACL and SetPolicy mean (contract 2.13, 2.14, B74 to B76).

use hcn_dataplane::Object;

use crate::entity::{Endpoint, Network};

/// The sets of a network.
pub(super) fn of_network(network: &Network) -> Vec<Object> {
    let _ = network;
    Vec::new()
}

/// What may come to an attached endpoint and go from it. `own` is its own link, and whether that is in the host's namespace.
pub(super) fn of_endpoint(
    network: &Network,
    endpoint: &Endpoint,
    own: Option<&hcn_dataplane::LinkId>,
) -> Vec<Object> {
    let _ = (network, endpoint, own);
    Vec::new()
}
