//! What an endpoint may send, and how fast: its own addresses, and policy QOS (contract 2.14, 9.4).

use hcn_dataplane::{LinkId, Object};

use crate::entity::{Endpoint, Network};

/// Of an attached endpoint; `own` is its own link.
pub(super) fn of_endpoint(network: &Network, endpoint: &Endpoint, own: Option<&LinkId>) -> Vec<Object> {
    let _ = (network, endpoint, own);
    Vec::new()
}
