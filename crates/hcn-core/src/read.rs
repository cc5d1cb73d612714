//! Reading calls: enumerate, open, query. They look at published records only.

use hcn_schema::base::{Health, HealthData, Version};
use hcn_schema::call::{Answer, Call, Kind, Reference, Verb};
use hcn_schema::endpoint::State;
use hcn_schema::enums::{EndpointFlags, NamespaceType};
use hcn_schema::namespace::{NamespaceResource, ResourceData};
use hcn_schema::query::HostComputeQuery;
use hcn_schema::{Error, Guid, HResult, Raw, Result};
use serde_json::{Map, Value, json};

use crate::decide::{check_incarnation, missing};
use crate::entity::{Endpoint, Entity, EntityKey, LoadBalancer, Meta, Namespace, Network, Resource};
use crate::registry::Registry;

/// Answers a reading call.
///
/// # Errors
/// Those of contract 3.6 for a missing entity, a bad query or a handle that outlived its entity.
pub fn read(registry: &Registry, call: &Call) -> Result<Answer> {
    match &call.verb {
        Verb::Enumerate { query } => enumerate(registry, call.kind, query.as_deref()).map(Answer::Ids),
        Verb::Open { id } => {
            let entity = find(registry, call.kind, Reference { id: *id, incarnation: None })?;
            Ok(Answer::Entity { id: *id, incarnation: entity.meta().incarnation })
        }
        Verb::Query { target, query } => {
            let query = HostComputeQuery::parse(query.as_deref())?;
            let entity = find(registry, call.kind, *target)?;
            match query.schema_version {
                Some(Version { major: 0 | 2, .. }) => Ok(Answer::Document(document(registry, &entity))),
                Some(_) | None => Err(Error::new(
                    HResult::REQUEST_UNSUPPORTED,
                    "this query asks for a version 1 document (no SchemaVersion, or Major 1); this service gives version 2",
                )
                .at("SchemaVersion")
                .expected("{\"Major\":2,\"Minor\":0}")),
            }
        }
        Verb::Create { .. } | Verb::Modify { .. } | Verb::Delete { .. } => {
            Err(Error::new(HResult::INVALID_ARGUMENT, "changing calls are decided by the engine"))
        }
    }
}

fn find(registry: &Registry, kind: Kind, target: Reference) -> Result<Entity> {
    let entity = registry.get(EntityKey { kind, id: target.id });
    let entity = entity.ok_or_else(|| match (kind, target.incarnation) {
        // A read through a handle: the object is torn down, whatever its kind (1.2).
        (Kind::Endpoint, Some(_)) => {
            let message = format!("the endpoint {} of this handle was deleted", target.id);
            Error::new(HResult::OBJECT_USED_AFTER_UNLOAD, message)
        }
        _ => missing(kind, target),
    })?;
    check_incarnation(kind, target, entity.meta())?;
    Ok(entity)
}

/// The IDs of the entities that match, oldest first (contract 2.11).
fn enumerate(registry: &Registry, kind: Kind, query: Option<&str>) -> Result<Vec<Guid>> {
    let filter = HostComputeQuery::parse(query)?.filter()?;
    if let Some(id) = filter.get("ID") {
        // The most frequent filter; it needs no walk over all entities.
        let id = id.as_str().and_then(|text| text.parse().ok());
        let target = id.map(|id| Reference { id, incarnation: None });
        let entity = target.and_then(|target| find(registry, kind, target).ok());
        let found = entity.filter(|entity| matches(registry, entity, &filter));
        return Ok(found.iter().map(|entity| entity.meta().id).collect());
    }
    let ids = |entities: &mut dyn Iterator<Item = Entity>| {
        entities
            .filter(|entity| filter.is_empty() || matches(registry, entity, &filter))
            .map(|entity| entity.meta().id)
            .collect()
    };
    Ok(match kind {
        Kind::Network => ids(&mut registry.networks.iter().cloned().map(Entity::Network)),
        Kind::Endpoint => ids(&mut registry.endpoints.iter().cloned().map(Entity::Endpoint)),
        Kind::Namespace => ids(&mut registry.namespaces.iter().cloned().map(Entity::Namespace)),
        Kind::LoadBalancer => ids(&mut registry.load_balancers.iter().cloned().map(Entity::LoadBalancer)),
    })
}

fn matches(registry: &Registry, entity: &Entity, filter: &Map<String, Value>) -> bool {
    filter.iter().all(|(key, wanted)| {
        property(registry, entity, key).is_some_and(|property| match (&property, wanted.as_str()) {
            (Property::Id(id), Some(text)) => text.parse() == Ok(*id),
            (Property::Id(_), None) => false,
            (Property::Value(value), _) => value == wanted,
        })
    })
}

/// A property that can be filtered by.
enum Property {
    /// Compared as a GUID: case and braces do not matter.
    Id(Guid),
    /// Compared as JSON.
    Value(Value),
}

/// The property of this name in the entity's version 1 document; filters use those names.
fn property(registry: &Registry, entity: &Entity, name: &str) -> Option<Property> {
    let value = match (name, entity) {
        ("ID", _) => return Some(Property::Id(entity.meta().id)),
        ("Owner", _) => json!(entity.owner()),
        ("Version", _) => json!(entity.meta().revision),
        ("Name", Entity::Network(network)) => json!(network.name()),
        ("Name", Entity::Endpoint(endpoint)) => json!(endpoint.document.name.as_deref().unwrap_or_default()),
        ("Name", Entity::Namespace(namespace)) => {
            json!(namespace.document.name.as_deref().unwrap_or_default())
        }
        ("Name", Entity::LoadBalancer(balancer)) => {
            json!(balancer.document.name.as_deref().unwrap_or_default())
        }
        ("VirtualNetwork" | "HostComputeNetwork", Entity::LoadBalancer(balancer)) => {
            return balancer.network.map(Property::Id);
        }
        ("Type", Entity::Network(network)) => json!(network.mode.name()),
        ("Type", Entity::Namespace(namespace)) => json!(namespace.kind.name()),
        ("Flags", Entity::Network(network)) => json!(network.document.flags.0),
        ("Flags", Entity::Endpoint(endpoint)) => json!(endpoint.document.flags.0),
        ("VirtualNetwork" | "HostComputeNetwork", Entity::Endpoint(endpoint)) => {
            return Some(Property::Id(endpoint.network));
        }
        ("VirtualNetworkName", Entity::Endpoint(endpoint)) => {
            json!(registry.networks.get(endpoint.network).map_or("", |network| network.name()))
        }
        ("HostComputeNamespace", Entity::Endpoint(endpoint)) => return endpoint.namespace.map(Property::Id),
        ("State", Entity::Endpoint(endpoint)) => json!(state(registry, endpoint) as u16),
        ("MacAddress", Entity::Endpoint(endpoint)) => json!(endpoint.document.mac_address),
        ("IsRemoteEndpoint", Entity::Endpoint(endpoint)) => json!(endpoint.remote),
        ("DisableICC", Entity::Endpoint(endpoint)) => {
            json!(endpoint.document.flags.has(EndpointFlags::DISABLE_INTER_COMPUTE_COMMUNICATION))
        }
        ("IsDefault", Entity::Namespace(namespace)) => {
            json!(matches!(namespace.kind, NamespaceType::HostDefault | NamespaceType::GuestDefault))
        }
        ("CompartmentId" | "NamespaceId", Entity::Namespace(namespace)) => json!(namespace.number),
        _ => return None,
    };
    Some(Property::Value(value))
}

/// The life-cycle state of an endpoint (2.6, B50).
fn state(registry: &Registry, endpoint: &Endpoint) -> State {
    let namespace = endpoint.namespace.and_then(|id| registry.namespaces.get(id));
    match namespace.map(|namespace| namespace.kind) {
        _ if endpoint.meta.degraded.is_some() => State::Degraded,
        None => State::Created,
        Some(NamespaceType::Host) => State::AttachedSharing,
        Some(_) => State::Attached,
    }
}

/// The version 2 document of an entity: what the client sent and what the service adds.
fn document(registry: &Registry, entity: &Entity) -> Raw {
    match entity {
        Entity::Network(network) => network_document(network),
        Entity::Endpoint(endpoint) => endpoint_document(registry, endpoint),
        Entity::Namespace(namespace) => namespace_document(namespace),
        Entity::LoadBalancer(balancer) => load_balancer_document(balancer),
    }
}

fn health(meta: &Meta) -> Option<Health> {
    let data = HealthData {
        last_error_code: meta.degraded.map_or(0, |code| code.0),
        last_update_time: meta.updated,
        creator_uid: meta.creator_uid,
    };
    Some(Health { data: Some(Raw::of(&data)), extra: None })
}

fn network_document(network: &Network) -> Raw {
    let mut document = network.document.clone();
    document.id = Some(network.meta.id.to_string());
    document.version = Some(network.meta.revision);
    document.health = health(&network.meta);
    document.schema_version = Some(Version::V2);
    Raw::of(&document)
}

fn endpoint_document(registry: &Registry, endpoint: &Endpoint) -> Raw {
    let mut document = endpoint.document.clone();
    document.id = Some(endpoint.meta.id.to_string());
    document.version = Some(endpoint.meta.revision);
    document.host_compute_namespace = endpoint.namespace.map(|id| id.to_string());
    document.state = Some(state(registry, endpoint) as u16);
    document.health = health(&endpoint.meta);
    document.schema_version = Some(Version::V2);
    Raw::of(&document)
}

fn namespace_document(namespace: &Namespace) -> Raw {
    let mut document = namespace.document.clone();
    document.id = Some(namespace.meta.id.to_string());
    document.version = Some(namespace.meta.revision);
    document.namespace_id = Some(namespace.number);
    document.resources = namespace
        .resources
        .iter()
        .map(|resource| NamespaceResource {
            kind: Some(resource.kind()),
            data: Some(ResourceData {
                id: Some(match resource {
                    Resource::Endpoint(id) => id.to_string(),
                    Resource::Container(id) => id.clone(),
                }),
            }),
        })
        .collect();
    document.health = health(&namespace.meta);
    document.schema_version = Some(Version::V2);
    Raw::of(&document)
}

fn load_balancer_document(balancer: &LoadBalancer) -> Raw {
    let mut document = balancer.document.clone();
    document.id = Some(balancer.meta.id.to_string());
    document.version = Some(balancer.meta.revision);
    document.health = health(&balancer.meta);
    document.schema_version = Some(Version::V2);
    Raw::of(&document)
}
