//! Compile: records → the kernel objects that they mean. One function per kind; each gives the objects of
//! that one entity, standing on those of the entities that it refers to.

mod endpoint;
mod namespace;
mod network;

use hcn_dataplane::{Object, State};
use hcn_schema::call::Kind;

use crate::entity::{Change, Entity};
use crate::registry::Registry;

/// The objects of one entity.
fn objects_of(registry: &Registry, entity: &Entity) -> Vec<Object> {
    match entity {
        Entity::Network(network) => network::objects(network),
        Entity::Endpoint(endpoint) => endpoint::objects(registry, endpoint),
        Entity::Namespace(namespace) => namespace::objects(registry, namespace),
    }
}

/// The objects of everything.
pub fn all(registry: &Registry) -> State {
    let networks = registry.networks.iter().cloned().map(Entity::Network);
    let namespaces = registry.namespaces.iter().cloned().map(Entity::Namespace);
    let endpoints = registry.endpoints.iter().cloned().map(Entity::Endpoint);
    let entities = networks.chain(namespaces).chain(endpoints);
    entities.flat_map(|entity| objects_of(registry, &entity)).collect()
}

/// The objects of the entities that a change touches, as the registry has them now.
pub(crate) fn touched(registry: &Registry, change: &Change) -> State {
    let mut state = State::new();
    for key in change.keys() {
        let entity = match key.kind {
            Kind::Network => registry.networks.get(key.id).cloned().map(Entity::Network),
            Kind::Endpoint => registry.endpoints.get(key.id).cloned().map(Entity::Endpoint),
            Kind::Namespace => registry.namespaces.get(key.id).cloned().map(Entity::Namespace),
        };
        for object in entity.iter().flat_map(|entity| objects_of(registry, entity)) {
            state.insert(object);
        }
    }
    state
}
