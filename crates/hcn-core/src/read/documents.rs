//! Version 2 documents: what clients sent and what the service adds.

use hcn_dataplane::Protocol;
use hcn_schema::Raw;
use hcn_schema::base::{ExtraParams, Health, HealthData, Version};
use hcn_schema::endpoint::{EndpointAdditionalParams, State};
use hcn_schema::enums::NamespaceType;
use hcn_schema::namespace::{NamespaceResource, ResourceData};
use hcn_schema::port_reservation::PortRangeEntry;
use serde_json::{Value, json};

use crate::entity::{
    Endpoint, Entity, GuestNetworkService, LoadBalancer, Meta, Namespace, Network, Place, PortReservation,
    Resource, SdnRoute,
};
use crate::registry::Registry;
use crate::{compile, decide};

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

/// The containers that share an endpoint: those attached to it, and those of its namespace.
pub(crate) fn containers(registry: &Registry, endpoint: &Endpoint) -> Vec<String> {
    let mut containers = endpoint.containers.clone();
    let namespace = endpoint.namespace.and_then(|id| registry.namespaces.get(id));
    for resource in namespace.iter().flat_map(|namespace| &namespace.resources) {
        match resource {
            Resource::Container(id) if !containers.contains(id) => containers.push(id.clone()),
            Resource::Container(_) | Resource::Endpoint(_) => {}
        }
    }
    containers
}

/// What of the host an entity consists of.
pub(crate) fn resources(registry: &Registry, entity: &Entity) -> Raw {
    let objects = compile::objects_of(registry, entity);
    let allocators: Vec<Value> =
        objects.iter().map(|object| json!({"Description": object.key().to_string()})).collect();
    Raw::of(&json!({"ID": entity.meta().id, "Allocators": allocators}))
}

fn given_spoofing(endpoint: &Endpoint) -> Option<&'static str> {
    let given = decide::spoofing_of(endpoint.document.additional_params.as_ref()?)?;
    Some(if given { "On" } else { "Off" })
}

/// The AdditionalParams of an endpoint: the client's, or the port that it is attached to.
pub(crate) fn endpoint_params(endpoint: &Endpoint) -> Option<Raw> {
    match &endpoint.vm_port {
        Some(port) => Some(Raw::of(&EndpointAdditionalParams {
            // The switch of a network has the network's ID.
            switch_id: Some(endpoint.network.to_string()),
            switch_port_id: Some(port.id.to_string()),
            tap_interface: Some(port.tap.clone()).filter(|tap| !tap.is_empty()),
            mac_address_spoofing: given_spoofing(endpoint).map(str::to_owned),
            interface_name: endpoint.document.additional_params.as_ref().and_then(decide::interface_name_of),
        })),
        None => endpoint.document.additional_params.clone(),
    }
}

/// The version 2 document of an entity: what the client sent and what the service adds.
pub(super) fn document(registry: &Registry, entity: &Entity, detailed: bool) -> Raw {
    let extra = detailed
        .then(|| ExtraParams { resources: Some(resources(registry, entity)), ..ExtraParams::default() });
    match entity {
        Entity::Network(network) => network_document(network, extra),
        Entity::Endpoint(endpoint) => endpoint_document(registry, endpoint, extra),
        Entity::Namespace(namespace) => namespace_document(namespace, extra),
        Entity::LoadBalancer(balancer) => load_balancer_document(balancer, extra),
        Entity::SdnRoute(route) => sdn_route_document(route, extra),
        Entity::GuestNetworkService(service) => guest_network_service_document(service, extra),
        Entity::PortReservation(reservation) => port_range(reservation),
    }
}

fn health(meta: &Meta, extra: Option<ExtraParams>) -> Option<Health> {
    let data = HealthData {
        last_error_code: meta.degraded.map_or(0, |code| code.0),
        last_update_time: meta.updated,
        creator_uid: meta.creator_uid,
    };
    Some(Health { data: Some(Raw::of(&data)), extra })
}

fn network_document(network: &Network, extra: Option<ExtraParams>) -> Raw {
    // Clients look up the switch of networks that lead outside.
    let layer = network.layer();
    let extra = (extra.is_some() || layer.is_some()).then(|| ExtraParams {
        layered_on: layer.map(|layer| layer.to_string()),
        switch_guid: Some(network.switch().to_string()),
        ..extra.unwrap_or_default()
    });
    let mut document = network.document.clone();
    document.id = Some(network.meta.id.to_string());
    document.version = Some(network.meta.revision);
    document.health = health(&network.meta, extra);
    document.schema_version = Some(Version::V2);
    Raw::of(&document)
}

fn endpoint_document(registry: &Registry, endpoint: &Endpoint, mut extra: Option<ExtraParams>) -> Raw {
    if let Some(extra) = &mut extra {
        let containers = containers(registry, endpoint);
        extra.shared_containers = (!containers.is_empty()).then(|| Raw::of(&containers));
    }
    if let Some(machine) = endpoint.vm_port.as_ref().and_then(|port| port.machine) {
        extra.get_or_insert_default().virtual_machine = Some(machine.to_string());
    }
    let mut document = endpoint.document.clone();
    document.id = Some(endpoint.meta.id.to_string());
    document.version = Some(endpoint.meta.revision);
    document.additional_params = endpoint_params(endpoint);
    document.host_compute_namespace = endpoint.namespace.map(|id| id.to_string());
    document.state = Some(state(registry, endpoint) as u16);
    document.health = health(&endpoint.meta, extra);
    document.schema_version = Some(Version::V2);
    Raw::of(&document)
}

fn namespace_document(namespace: &Namespace, extra: Option<ExtraParams>) -> Raw {
    let mut document = namespace.document.clone();
    document.id = Some(namespace.meta.id.to_string());
    document.version = Some(namespace.meta.revision);
    document.namespace_id = Some(namespace.number);
    document.namespace_guid = Some(namespace.meta.id.to_string());
    let resource = |resource: &Resource| NamespaceResource {
        kind: Some(resource.kind()),
        data: Some(ResourceData { id: Some(resource.id()) }),
    };
    document.resources = namespace.resources.iter().map(resource).collect();
    document.health = health(&namespace.meta, extra);
    document.schema_version = Some(Version::V2);
    Raw::of(&document)
}

fn load_balancer_document(balancer: &LoadBalancer, extra: Option<ExtraParams>) -> Raw {
    let mut document = balancer.document.clone();
    document.id = Some(balancer.meta.id.to_string());
    document.version = Some(balancer.meta.revision);
    document.health = health(&balancer.meta, extra);
    document.schema_version = Some(Version::V2);
    Raw::of(&document)
}

fn sdn_route_document(route: &SdnRoute, extra: Option<ExtraParams>) -> Raw {
    let mut document = route.document.clone();
    document.id = Some(route.meta.id.to_string());
    document.version = Some(route.meta.revision);
    document.health = health(&route.meta, extra);
    document.schema_version = Some(Version::V2);
    Raw::of(&document)
}

fn guest_network_service_document(service: &GuestNetworkService, extra: Option<ExtraParams>) -> Raw {
    let mut document = service.document.clone();
    document.id = Some(service.meta.id.to_string());
    document.version = Some(service.meta.revision);
    document.state = u16::try_from(service.state.number()).ok();
    document.health = health(&service.meta, extra);
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
