//! What is left of the records after the service, or the machine, was started again (B37).

use std::collections::HashSet;
use std::sync::Arc;

use hcn_schema::Guid;
use hcn_schema::enums::NetworkFlags;

use crate::entity::{Endpoint, Entity, EntityKey, LoadBalancer, Network, SdnRoute};

/// The records as they were before hcnd ended. Nothing is degraded until it turns out to be.
pub fn after_restart(entities: Vec<Entity>) -> Vec<Entity> {
    entities.into_iter().map(|entity| entity.with_degraded(None)).collect()
}

/// The records that outlive a reboot: networks that are not marked as non-persistent, with their endpoints, and load
/// balancers unless all their endpoints are gone. Namespaces are made of what a reboot ends, so endpoints are attached
/// to none.
pub fn after_reboot(entities: Vec<Entity>) -> Vec<Entity> {
    let persists = |entity: &Entity| match entity {
        Entity::Network(network) if !network.document.flags.has(NetworkFlags::ENABLE_NON_PERSISTENT) => {
            Some(network.meta.id)
        }
        _ => None,
    };
    let networks: HashSet<Guid> = entities.iter().filter_map(persists).collect();
    let endpoints: HashSet<Guid> = entities
        .iter()
        .filter_map(|entity| match entity {
            Entity::Endpoint(endpoint) if networks.contains(&endpoint.network) => Some(endpoint.meta.id),
            _ => None,
        })
        .collect();
    let survivor = |entity: Entity| match entity {
        Entity::Network(network) => networks.contains(&network.meta.id).then(|| {
            // What is attached to nothing needs no bridge.
            Entity::Network(Arc::new(Network { shards: 0, ..Network::clone(&network) }))
        }),
        Entity::Endpoint(endpoint) => {
            let detached = Endpoint {
                namespace: None,
                interface: None,
                rank: None,
                shard: 0,
                on_host: false,
                containers: Vec::new(),
                vm_port: None,
                ..Endpoint::clone(&endpoint)
            };
            endpoints.contains(&endpoint.meta.id).then(|| Entity::Endpoint(Arc::new(detached)))
        }
        Entity::LoadBalancer(balancer) => left_of(&balancer, &networks, &endpoints),
        Entity::SdnRoute(route) => route_left(&route, &networks, &endpoints),
        // What they are made of, and the machines that they are for, end with a reboot.
        Entity::Namespace(_) | Entity::GuestNetworkService(_) | Entity::PortReservation(_) => None,
    };
    after_restart(entities.into_iter().filter_map(survivor).collect())
}

/// The endpoints that refer to a network which is not among the records, with what is wrong.
pub fn dangling(entities: &[Entity]) -> Vec<(EntityKey, String)> {
    let network = |entity: &Entity| match entity {
        Entity::Network(network) => Some(network.meta.id),
        _ => None,
    };
    let networks: HashSet<Guid> = entities.iter().filter_map(network).collect();
    let lost = |entity: &Entity| match entity {
        Entity::Endpoint(endpoint) if !networks.contains(&endpoint.network) => {
            let what =
                format!("endpoint {} is of network {}, which is missing", endpoint.meta.id, endpoint.network);
            Some((entity.key(), what))
        }
        _ => None,
    };
    entities.iter().filter_map(lost).collect()
}

fn left_of(balancer: &LoadBalancer, networks: &HashSet<Guid>, endpoints: &HashSet<Guid>) -> Option<Entity> {
    let mut left = balancer.clone();
    left.endpoints.retain(|id| endpoints.contains(id));
    if left.endpoints.is_empty() && !balancer.endpoints.is_empty() {
        return None;
    }
    left.network = left.network.filter(|id| networks.contains(id));
    left.document.host_compute_endpoints = left.endpoints.iter().map(Guid::to_string).collect();
    Some(Entity::LoadBalancer(Arc::new(left)))
}

fn route_left(route: &SdnRoute, networks: &HashSet<Guid>, endpoints: &HashSet<Guid>) -> Option<Entity> {
    let mut left = route.clone();
    left.endpoints.retain(|id| endpoints.contains(id));
    if left.endpoints.is_empty() && !route.endpoints.is_empty() {
        return None;
    }
    left.network = left.network.filter(|id| networks.contains(id));
    left.document.host_compute_endpoints = left.endpoints.iter().map(Guid::to_string).collect();
    Some(Entity::SdnRoute(Arc::new(left)))
}
