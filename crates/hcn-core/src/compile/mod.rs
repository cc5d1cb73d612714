//! Compile: records → the kernel objects that they mean. One function per kind; each gives the objects of
//! that one entity, standing on those of the entities that it refers to.

mod endpoint;
mod filters;
mod load_balancer;
mod namespace;
mod network;
mod origins;
mod outside;
mod overlay;
mod port_reservation;
mod preserving;
mod responders;
mod routing;
mod shaping;
pub(crate) mod shards;
mod steering;
mod translation;

use std::collections::HashSet;

use hcn_dataplane::{LinkId, Object, State};

pub(crate) use endpoint::is_on_host;
pub(crate) use filters::is_filtered;
pub(crate) use outside::is_on_link;
pub(crate) use overlay::reached_alike;
pub(crate) use responders::tell_alike;

use crate::entity::{Change, Endpoint, Entity, Network};
use crate::registry::Registry;

/// The objects of one entity.
pub(crate) fn objects_of(registry: &Registry, entity: &Entity) -> Vec<Object> {
    match entity {
        Entity::Network(network) => {
            let mut objects = network::objects(network);
            objects.extend(shards::of_network(network));
            objects.extend(overlay::of_network(network));
            objects.extend(outside::of_network(network));
            objects.extend(steering::of_network(network));
            objects.extend(responders::of_network(network));
            objects.extend(filters::of_network(network));
            objects
        }
        Entity::Endpoint(endpoint) => endpoint::objects(registry, endpoint),
        Entity::Namespace(namespace) => namespace::objects(registry, namespace),
        Entity::LoadBalancer(balancer) => load_balancer::objects(registry, balancer),
        Entity::PortReservation(reservation) => port_reservation::objects(reservation),
        // The routes are those of its endpoints.
        Entity::SdnRoute(_) => Vec::new(),
        // A record.
        Entity::GuestNetworkService(_) => Vec::new(),
    }
}

/// The link that carries the packets of an endpoint while it is attached, and whether it is the endpoint's own end: else
/// what the endpoint sends is received there.
pub(crate) fn carrier(registry: &Registry, endpoint: &Endpoint) -> Option<(LinkId, bool)> {
    endpoint::attachment(registry, endpoint).into_iter().find_map(|object| match object {
        Object::Veth(veth) => Some((LinkId::host(&veth.name), false)),
        Object::Tap(tap) => Some((LinkId::host(&tap.name), false)),
        Object::Sublink(sublink) => Some((sublink.link, true)),
        _ => None,
    })
}

/// What a change of a network's policies is to its endpoints.
pub(crate) struct Ruling<'a> {
    networks: [&'a Network; 2],
    /// Policies that are about every endpoint differ.
    common: bool,
    /// Sets with other members: only who names one, and cannot name it in the kernel, is concerned.
    sets: HashSet<String>,
}

impl<'a> Ruling<'a> {
    pub(crate) fn of(one: &'a Network, other: &'a Network) -> Self {
        let networks = [one, other];
        let same = one.document.policies == other.document.policies;
        let sets = if same { HashSet::new() } else { filters::changed_sets(one, other) };
        let common = !same && (endpoint::differ_for_all(one, other) || filters::network_names(other, &sets));
        Self { networks, common, sets }
    }

    /// Whether an attached endpoint gets other objects by it.
    pub(crate) fn concerns(&self, registry: &Registry, endpoint: &Endpoint) -> bool {
        let may = self.common || endpoint.table.is_some() || filters::endpoint_names(endpoint, &self.sets);
        let [one, other] = self.networks;
        may && endpoint::by_policies(registry, one, endpoint)
            != endpoint::by_policies(registry, other, endpoint)
    }
}

/// The objects of everything.
pub fn all(registry: &Registry) -> State {
    registry.entities().flat_map(|entity| objects_of(registry, &entity)).collect()
}

/// The objects of the entities that a change touches, as the registry has them now.
pub(crate) fn touched(registry: &Registry, change: &Change) -> State {
    let mut state = State::new();
    for key in change.keys() {
        let entity = registry.get(key);
        for object in entity.iter().flat_map(|entity| objects_of(registry, entity)) {
            state.insert(object);
        }
    }
    state
}
