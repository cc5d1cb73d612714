//! The kernel objects of a network: a bridge with the host's addresses; what lets its packets out, or keeps them in.

use std::net::{IpAddr, Ipv4Addr};

use hcn_dataplane::{
    Address, Barrier, Bridge, Family, Forwarding, Home, HostSide, LinkId, Masquerade, Object, Ways,
};
use hcn_schema::call::Kind;
use hcn_schema::enums::NetworkMode;
use ipnet::IpNet;

use crate::entity::Network;
use crate::names;

/// With its last IPv4 address a link loses all its IPv4 routes, those to endpoints among them. So a bridge that has none
/// for itself has one that no packet ever bears: 104 is "h", and so on.
const KEEPER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 104, 99, 110));

pub(super) fn objects(network: &Network) -> Vec<Object> {
    if network.sharing().is_some() {
        return Vec::new();
    }
    let name = || network.bridge.clone();
    let host = network.host;
    let (routed, enslaving) = (network.is_routed(), network.is_enslaving());
    // Whether packets go between the bridge and the host, its own or those that it forwards.
    let open = host || routed || enslaving;
    let mut objects = vec![Object::Bridge(Bridge {
        name: name(),
        alias: names::alias(Kind::Network, network.meta.id, network.name()),
        mac: network.bridge_mac,
        mtu: network.mtu,
        ipv6: enslaving || (open && network.has_ipv6()),
        // On an overlay the bridge answers for what is on other hosts.
        arp: open || network.tunnel.is_some(),
        proxy_arp: routed,
    })];
    let translated =
        matches!(network.mode, NetworkMode::Nat | NetworkMode::Ics | NetworkMode::ConstrainedIcs);
    // What the host does by a link of its own is its own matter.
    if enslaving {
        return objects;
    }
    if !host || network.mode == NetworkMode::Internal {
        let side = if host { HostSide::Open } else { HostSide::Closed };
        let ways = if routed { Ways::Open } else { Ways::Closed };
        objects.push(Object::Barrier(Barrier { bridge: name(), host: side, ways }));
    }
    if let Some(uplink) = network.uplink.as_ref().filter(|_| host && translated && network.table.is_some()) {
        let ways = Ways::Only(uplink.link.clone());
        objects.push(Object::Barrier(Barrier { bridge: name(), host: HostSide::Open, ways }));
    }
    if !open {
        return objects;
    }
    // On an Internal network, too: what a load balancer sends back onto the bridge is forwarded.
    for family in [Family::V4, Family::V6] {
        if network.subnets.iter().any(|subnet| Family::of(subnet.prefix.addr()) == family) {
            objects.push(Object::Forwarding(Forwarding { family, bridge: name() }));
        }
    }
    // Claims come and go there.
    if routed && network.subnets.iter().any(|subnet| subnet.outside && subnet.prefix.addr().is_ipv4()) {
        let (link, address) = (LinkId::host(&network.bridge), IpNet::from(KEEPER));
        objects.push(Object::Address(Address { link, address, prefix_route: true }));
    }
    for subnet in &network.subnets {
        objects.push(Object::Home(Home { prefix: subnet.prefix, bridge: name() }));
        if translated {
            objects.push(Object::Masquerade(Masquerade { prefix: subnet.prefix }));
        }
        if subnet.outside || !host {
            continue;
        }
        // The gateway is inside the prefix, so its prefix length is valid.
        if let Some(Ok(address)) =
            subnet.gateway.map(|gateway| IpNet::new(gateway, subnet.prefix.prefix_len()))
        {
            let link = LinkId::host(&network.bridge);
            objects.push(Object::Address(Address { link, address, prefix_route: true }));
        }
    }
    objects
}
