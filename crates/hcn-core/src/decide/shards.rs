//! Which of a network's bridges an endpoint becomes a port of. When all are full the network gets another one.

use std::sync::Arc;

use hcn_schema::call::{Kind, Reference};
use hcn_schema::{Error, HResult, Result};

use super::{Decision, Outcome, Refusal, View};
use crate::compile::is_filtered;
use crate::compile::shards::is_isolated;
use crate::entity::{
    Change, Endpoint, Entity, Junction, LoadBalancer, MOST_SHARDS, Network, PORTS_OF_A_BRIDGE,
};

/// How many ports the first bridge may have, with those that lead to other bridges. The kernel's limit is 1023, and counts
/// those that were detached some moments ago.
pub(crate) const PORTS_AT_MOST: usize = 960;

/// Room for one more port.
pub(super) struct Room {
    /// The number of the bridge.
    pub shard: u16,
    /// What makes the bridge, if there is none with room.
    growth: Change,
}

impl Room {
    /// Adds to a decision what it takes to have the room.
    pub(super) fn take(self, decision: &mut Decision) {
        decision.change.steps.extend(self.growth.steps);
    }
}

/// Room on the first bridge of a network that has any. The network must be settled, since what an endpoint becomes depends
/// on its policies: no plan may depend on another one that is under way.
pub(super) fn room(view: &View<'_>, endpoint: &Endpoint) -> Outcome<Room> {
    let id = endpoint.network;
    let target = Reference { id, incarnation: None };
    let network = view.network(target)?;
    let first = Room { shard: 0, growth: Change::default() };
    if matches!(network.junction, Some(Junction::Shared(_))) {
        return Ok(first);
    }
    if is_isolated(endpoint) || is_filtered(network, endpoint) {
        check_first(view, network, 1)?;
        return Ok(first);
    }
    let has_room = |shard: &u16| view.registry.ports_of(id, *shard) < PORTS_OF_A_BRIDGE;
    match (0..=network.shards).find(has_room) {
        Some(shard) => Ok(Room { shard, ..first }),
        None => grow(view, network),
    }
}

/// Refuses more ports on the first bridge of a network than it can have.
pub(super) fn check_first(view: &View<'_>, network: &Network, more: usize) -> Result<()> {
    let taken = view.registry.ports_of(network.meta.id, 0) + usize::from(network.shards);
    if taken + more <= PORTS_AT_MOST {
        return Ok(());
    }
    let message = format!(
        "the first bridge of the network {}, where endpoints are that are isolated or have rules, has no room",
        network.meta.id
    );
    Err(Error::new(HResult::REQUEST_UNSUPPORTED, message))
}

fn grow(view: &View<'_>, network: &Arc<Network>) -> Outcome<Room> {
    let shard = network.shards + 1;
    let taken = view.registry.ports_of(network.meta.id, 0) + usize::from(network.shards);
    if shard > MOST_SHARDS || taken >= PORTS_AT_MOST {
        let message =
            format!("the network {} has {shard} full bridges, more it cannot have", network.meta.id);
        return Err(Refusal::Error(Error::new(HResult::REQUEST_UNSUPPORTED, message)));
    }
    let mut growth = Change::default();
    let grown = Network { shards: shard, ..Network::clone(network) };
    growth.replace(Entity::Network(Arc::clone(network)), Entity::Network(Arc::new(grown)));
    // Load balancers that serve one network alone must know all of its bridges.
    let inside = |balancer: &&Arc<LoadBalancer>| {
        balancer.network == Some(network.meta.id) && balancer.frontends().any(|(_, port)| port.only_inside)
    };
    for balancer in view.registry.load_balancers.iter().filter(inside) {
        view.settled(Kind::LoadBalancer, balancer.meta.id)?;
        let same = || Entity::LoadBalancer(Arc::clone(balancer));
        growth.replace(same(), same());
    }
    Ok(Room { shard, growth })
}
