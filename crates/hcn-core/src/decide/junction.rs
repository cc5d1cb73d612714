//! How a network that is part of a network outside is joined to its uplink.

use hcn_schema::enums::NetworkMode;
use hcn_schema::network::HostComputeNetwork;

use super::{Outcome, View};
use crate::entity::{Junction, Subnet, Uplink};

/// What a network to be stands on.
pub(super) struct Ground<'a> {
    pub document: &'a HostComputeNetwork,
    pub mode: NetworkMode,
    pub uplink: Option<&'a Uplink>,
    pub subnets: &'a [Subnet],
}

pub(super) fn choose(_view: &View<'_>, ground: &Ground<'_>) -> Outcome<Option<Junction>> {
    let _ = (ground.document, ground.mode, ground.uplink, ground.subnets);
    Ok(None)
}
