//! Reading calls: enumerate, open, query. They look at published records only.

use hcn_dataplane::{Counters, Protocol};
use hcn_schema::base::{Health, HealthData, Version};
use hcn_schema::call::{Answer, Call, Kind, Reference, Verb};
use hcn_schema::endpoint::State;
use hcn_schema::enums::{EndpointFlags, NamespaceType};
use hcn_schema::namespace::{NamespaceResource, ResourceData};
use hcn_schema::port_reservation::PortRangeEntry;
use hcn_schema::query::HostComputeQuery;
use hcn_schema::{Error, Guid, HResult, Raw, Result};
use serde_json::{Map, Value, json};

use crate::decide::{check_incarnation, missing};
use crate::entity::{
    Endpoint, Entity, EntityKey, GuestNetworkService, LoadBalancer, Meta, Namespace, Network, Place,
    PortReservation, Resource, SdnRoute,
};
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
        Verb::QueryAddresses { target, query } => {
            HostComputeQuery::parse(query.as_deref())?;
            match find(registry, call.kind, *target)? {
                Entity::Endpoint(endpoint) => Ok(Answer::Document(addresses(&endpoint))),
                _ => {
                    Err(Error::new(HResult::REQUEST_UNSUPPORTED, format!("a {} has no addresses", call.kind)))
                }
            }
        }
        Verb::QueryStats { .. } => {
            Err(Error::new(HResult::INVALID_ARGUMENT, "counters are read from the kernel"))
        }
        Verb::Create { .. } | Verb::Modify { .. } | Verb::Act { .. } | Verb::Delete { .. } => {
            Err(Error::new(HResult::INVALID_ARGUMENT, "changing calls are decided by the engine"))
        }
    }
}

/// HcnQueryEndpointAddresses.
fn addresses(endpoint: &Endpoint) -> Raw {
    let addresses: Vec<Value> = endpoint
        .addresses
        .iter()
        .map(|address| json!({"IpAddress": address.addr(), "PrefixLength": address.prefix_len()}))
        .collect();
    Raw::of(&json!({ "Addresses": addresses }))
}

/// The endpoint whose counters a call is for: the name of its link, none while it has none.
///
/// # Errors
/// Those of [`read`].
pub fn stats_link(
    registry: &Registry,
    kind: Kind,
    target: Reference,
    query: Option<&str>,
) -> Result<(Guid, Option<String>)> {
    HostComputeQuery::parse(query)?;
    let Entity::Endpoint(endpoint) = find(registry, kind, target)? else {
        return Err(Error::new(HResult::REQUEST_UNSUPPORTED, format!("a {kind} has no counters")));
    };
    let link = endpoint.interface.is_some().then(|| endpoint.veth.clone());
    Ok((endpoint.meta.id, link))
}

/// The statistics of an endpoint. What the host receives from its link, the endpoint has sent.
pub fn stats(id: Guid, counters: &Counters) -> Raw {
    Raw::of(&json!({
        "BytesReceived": counters.sent_bytes,
        "BytesSent": counters.received_bytes,
        "DroppedPacketsIncoming": counters.sent_dropped,
        "DroppedPacketsOutgoing": counters.received_dropped,
        "EndpointId": id,
        "InstanceId": id,
        "PacketsReceived": counters.sent_packets,
        "PacketsSent": counters.received_packets,
    }))
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
    let matching = |entity: &Entity| filter.is_empty() || matches(registry, entity, &filter);
    Ok(registry.of_kind(kind).filter(matching).map(|entity| entity.meta().id).collect())
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
        ("Name", _) => json!(entity.name()),
        ("VirtualNetwork" | "HostComputeNetwork", Entity::SdnRoute(route)) => {
            return route.network.map(Property::Id);
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
pub(crate) fn state(registry: &Registry, endpoint: &Endpoint) -> State {
    match endpoint.place() {
        _ if endpoint.meta.degraded.is_some() => State::Degraded,
        None => State::Created,
        Some(Place::Containers) => State::AttachedSharing,
        Some(Place::Host | Place::VmPort(_)) => State::Attached,
        Some(Place::Namespace(id)) => match registry.namespaces.get(id).map(|namespace| namespace.kind) {
            Some(NamespaceType::Host) => State::AttachedSharing,
            _ => State::Attached,
        },
    }
}

/// The version 2 document of an entity: what the client sent and what the service adds.
fn document(registry: &Registry, entity: &Entity) -> Raw {
    match entity {
        Entity::Network(network) => network_document(network),
        Entity::Endpoint(endpoint) => endpoint_document(registry, endpoint),
        Entity::Namespace(namespace) => namespace_document(namespace),
        Entity::LoadBalancer(balancer) => load_balancer_document(balancer),
        Entity::SdnRoute(route) => sdn_route_document(route),
        Entity::GuestNetworkService(service) => guest_network_service_document(service),
        Entity::PortReservation(reservation) => port_range(reservation),
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

fn sdn_route_document(route: &SdnRoute) -> Raw {
    let mut document = route.document.clone();
    document.id = Some(route.meta.id.to_string());
    document.version = Some(route.meta.revision);
    document.health = health(&route.meta);
    document.schema_version = Some(Version::V2);
    Raw::of(&document)
}

fn guest_network_service_document(service: &GuestNetworkService) -> Raw {
    let mut document = service.document.clone();
    document.id = Some(service.meta.id.to_string());
    document.version = Some(service.meta.revision);
    document.state = u16::try_from(service.state.number()).ok();
    document.health = health(&service.meta);
    document.schema_version = Some(Version::V2);
    Raw::of(&document)
}

fn port_range(reservation: &PortReservation) -> Raw {
    let both = reservation.protocols.len() > 1;
    let protocol = match reservation.protocols.first() {
        _ if both => 3,
        Some(Protocol::Udp) => 2,
        _ => 1,
    };
    Raw::of(&PortRangeEntry {
        id: reservation.meta.id.to_string(),
        owning_partition_id: reservation.service.to_string(),
        target_partition_id: reservation.machine.to_string(),
        protocol,
        priority: 0,
        reservation_type: u32::from(reservation.first < reservation.last),
        sharing_flags: if reservation.exclusive { 1 } else { 2 },
        delivery_mode: 0,
        starting_port: reservation.first,
        ending_port: reservation.last,
    })
}
