//! Compile: records → the kernel objects that they mean. One function per kind; each gives the objects of
//! that one entity, standing on those of the entities that it refers to.

mod endpoint;
mod load_balancer;
mod namespace;
mod network;
mod port_reservation;

use hcn_dataplane::{Object, State};

use crate::entity::{Change, Entity};
use crate::registry::Registry;

/// The objects of one entity.
pub(crate) fn objects_of(registry: &Registry, entity: &Entity) -> Vec<Object> {
    match entity {
        Entity::Network(network) => network::objects(network),
        Entity::Endpoint(endpoint) => endpoint::objects(registry, endpoint),
        Entity::Namespace(namespace) => namespace::objects(registry, namespace),
        Entity::LoadBalancer(balancer) => load_balancer::objects(registry, balancer),
        Entity::PortReservation(reservation) => port_reservation::objects(reservation),
        // Records, so far.
        Entity::SdnRoute(_) | Entity::GuestNetworkService(_) => Vec::new(),
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
