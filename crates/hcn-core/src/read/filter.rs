//! Filters of enumerations: which entities have these properties (contract 2.11).

use std::sync::Arc;

use hcn_schema::call::{Kind, Reference};
use hcn_schema::enums::EndpointFlags;
use hcn_schema::query::HostComputeQuery;
use hcn_schema::{Guid, Result};
use serde_json::{Map, Value, json};

use super::documents;
use crate::entity::Entity;
use crate::registry::Registry;

/// Windows keeps the addresses of an endpoint in a list, so no text is equal to them.
const NEVER: [&str; 3] = ["IPAddress", "IPv6Address", "IpAddress"];

/// The IDs of the entities that match, oldest first.
pub(super) fn enumerate(registry: &Registry, kind: Kind, query: Option<&str>) -> Result<Vec<Guid>> {
    let filter = HostComputeQuery::parse(query)?.filter()?;
    if let Some(id) = filter.get("ID") {
        // The most frequent filter; it needs no walk over all entities.
        let id = id.as_str().and_then(|text| text.parse().ok());
        let target = id.map(|id| Reference { id, incarnation: None });
        let entity = target.and_then(|target| super::find(registry, kind, target).ok());
        let found = entity.filter(|entity| matches(registry, entity, &filter));
        return Ok(found.iter().map(|entity| entity.meta().id).collect());
    }
    let network = filter.get("VirtualNetwork").or(filter.get("HostComputeNetwork"));
    if let Some(network) = network.filter(|_| kind == Kind::Endpoint) {
        // Neither does this one.
        let network = network.as_str().and_then(|text| text.parse().ok());
        let endpoints = network.into_iter().flat_map(|id| registry.endpoints_of(id));
        let endpoints = endpoints.map(|endpoint| Entity::Endpoint(Arc::clone(endpoint)));
        let found = endpoints.filter(|entity| matches(registry, entity, &filter));
        return Ok(found.map(|entity| entity.meta().id).collect());
    }
    let matching = |entity: &Entity| filter.is_empty() || matches(registry, entity, &filter);
    Ok(registry.of_kind(kind).filter(matching).map(|entity| entity.meta().id).collect())
}

fn matches(registry: &Registry, entity: &Entity, filter: &Map<String, Value>) -> bool {
    let mut document = None;
    filter.iter().all(|(key, wanted)| {
        let has = match property(registry, entity, key) {
            Some(property) => property,
            None if NEVER.contains(&key.as_str()) => return false,
            None => {
                let document = document.get_or_insert_with(|| members(registry, entity));
                let Some(value) = document.get(key) else { return false };
                Property::Value(value.clone())
            }
        };
        match (&has, wanted.as_str()) {
            (Property::Absent, _) | (Property::Id(_), None) => false,
            (Property::Id(id), Some(text)) => text.parse() == Ok(*id),
            (Property::Value(value), _) => value == wanted || same_guid(value, wanted),
        }
    })
}

/// The members of the version 1 document; of the other one for kinds that have none.
fn members(registry: &Registry, entity: &Entity) -> Map<String, Value> {
    serde_json::from_str(super::flat_document(registry, entity, false).get()).unwrap_or_default()
}

/// Whether both are the same GUID, however it is written.
fn same_guid(one: &Value, other: &Value) -> bool {
    let guid = |value: &Value| value.as_str().and_then(|text| text.parse::<Guid>().ok());
    guid(one).is_some_and(|id| Some(id) == guid(other))
}

/// A property that is known without the whole document.
enum Property {
    /// Compared as a GUID: case and braces do not matter.
    Id(Guid),
    /// Compared as JSON.
    Value(Value),
    /// The entity does not have it.
    Absent,
}

impl From<Option<Guid>> for Property {
    fn from(id: Option<Guid>) -> Self {
        id.map_or(Self::Absent, Self::Id)
    }
}

/// The properties that are asked for often, and those that have more names than version 1 has for them.
fn property(registry: &Registry, entity: &Entity, name: &str) -> Option<Property> {
    let value = match (name, entity) {
        ("ID", _) => return Some(Property::Id(entity.meta().id)),
        ("Owner", _) => json!(entity.owner()),
        ("Version", _) => json!(entity.meta().revision),
        ("Name", _) => json!(entity.name()),
        ("VirtualNetwork" | "HostComputeNetwork", Entity::SdnRoute(route)) => {
            return Some(route.network.into());
        }
        ("VirtualNetwork" | "HostComputeNetwork", Entity::LoadBalancer(balancer)) => {
            return Some(balancer.network.into());
        }
        ("Type", Entity::Namespace(namespace)) => json!(namespace.kind.name()),
        ("Flags", Entity::Network(network)) => json!(network.document.flags.0),
        ("Flags", Entity::Endpoint(endpoint)) => json!(endpoint.document.flags.0),
        ("VirtualNetwork" | "HostComputeNetwork", Entity::Endpoint(endpoint)) => {
            return Some(Property::Id(endpoint.network));
        }
        ("HostComputeNamespace", Entity::Endpoint(endpoint)) => return Some(endpoint.namespace.into()),
        ("State", Entity::Endpoint(endpoint)) => json!(documents::state(registry, endpoint) as u16),
        ("IsRemoteEndpoint", Entity::Endpoint(endpoint)) => json!(endpoint.remote),
        ("DisableICC", Entity::Endpoint(endpoint)) => {
            json!(endpoint.document.flags.has(EndpointFlags::DISABLE_INTER_COMPUTE_COMMUNICATION))
        }
        ("NamespaceId", Entity::Namespace(namespace)) => json!(namespace.number),
        _ => return None,
    };
    Some(Property::Value(value))
}
