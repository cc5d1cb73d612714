//! Routing tables of a network or an endpoint whose packets do not go where the host's go.

use std::net::IpAddr;

use hcn_dataplane::{Family, Hop, LinkId, Netns, Object, Sender, Steering};
use hcn_schema::enums::NetworkMode;
use ipnet::IpNet;

use crate::entity::{Endpoint, Network, RoutingTable};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(super) fn of_network(network: &Network) -> Vec<Object> {
    let Some(table) = &network.table else { return Vec::new() };
    let tunnelled = network.mode == NetworkMode::L2Tunnel;
    if !(network.is_routed() || (network.host && !tunnelled)) {
        return Vec::new();
    }
    let has =
        |family: &Family| network.subnets.iter().any(|subnet| Family::of(subnet.prefix.addr()) == *family);
    let families = FAMILIES.into_iter().filter(has);
    families.map(|family| Object::Steering(steering(network, table, family, None))).collect()
}

/// Of an attached endpoint; `own` is its own link. What it sends as one in the host's own namespace comes from no bridge.
pub(super) fn of_endpoint(network: &Network, endpoint: &Endpoint, own: Option<&LinkId>) -> Vec<Object> {
    let on_host = own.is_some_and(|link| link.netns == Netns::Host);
    let Some(table) = endpoint.table.as_ref().filter(|_| !on_host && network.is_carried()) else {
        return Vec::new();
    };
    let of_family = |family: Family| {
        let addresses = endpoint.addresses.iter().map(IpNet::addr);
        let addresses: Vec<IpAddr> = addresses.filter(|address| Family::of(*address) == family).collect();
        (!addresses.is_empty()).then(|| {
            let sender = Sender { endpoint: endpoint.meta.id.to_string(), addresses };
            Object::Steering(steering(network, table, family, Some(sender)))
        })
    };
    FAMILIES.into_iter().filter_map(of_family).collect()
}

fn steering(network: &Network, table: &RoutingTable, family: Family, sender: Option<Sender>) -> Steering {
    // Back onto its own bridge, as the host does for services; but not where everything is to leave, nor to a prefix that
    // is outside as well.
    let tunnelled = network.mode == NetworkMode::L2Tunnel;
    let own = network.subnets.iter().filter(|subnet| !tunnelled && !subnet.outside);
    let own =
        own.map(|subnet| Hop { destination: subnet.prefix, link: network.bridge.clone(), gateway: None });
    let outside = table.routes.iter().map(|route| Hop {
        destination: route.destination,
        link: route.link.clone(),
        gateway: route.gateway,
    });
    let hops = own.chain(outside).filter(|hop| Family::of(hop.destination.addr()) == family);
    Steering { bridge: network.bridge.clone(), sender, family, table: table.number, hops: hops.collect() }
}
