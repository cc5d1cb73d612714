//! The kernel objects by which a network is part of a network outside.
//!
//! Where the host routes between the two (`Junction::Routed`) it speaks for each side on the other. On the uplink it
//! answers for the addresses of endpoints, so that outside there is one MAC address only. On the bridge it answers for
//! everything that it reaches by another link: for IPv4 of itself (proxy ARP); for IPv6 for the gateways that endpoints
//! know, by which they then send everything, since the kernel answers for single IPv6 addresses only.

use std::net::{IpAddr, Ipv6Addr};

use hcn_dataplane::{Claim, Enslaved, LinkId, Mac, Object, ProxyNeighbour, Route, Sublink, Vlan};
use hcn_schema::Guid;
use hcn_schema::call::Kind;
use ipnet::IpNet;

use super::shaping;
use crate::entity::{self, Endpoint, Junction, Network, Subnet};
use crate::names;

pub(super) fn of_network(network: &Network) -> Vec<Object> {
    let bridge = || network.bridge.clone();
    match (&network.junction, &network.uplink) {
        (Some(Junction::Enslaved { addresses, routes }), Some(uplink)) => {
            vec![Object::Enslaved(Enslaved {
                link: uplink.link.clone(),
                bridge: bridge(),
                addresses: addresses.clone(),
                routes: routes.clone(),
            })]
        }
        (Some(Junction::Vlan { id, link }), Some(uplink)) => vec![Object::Vlan(Vlan {
            name: link.clone(),
            alias: names::alias(Kind::Network, network.meta.id, network.name()),
            parent: uplink.link.clone(),
            id: *id,
            bridge: bridge(),
            mtu: network.mtu,
        })],
        (Some(Junction::Routed), _) => {
            let beyond = network.subnets.iter().filter(|subnet| subnet.prefix.addr().is_ipv6());
            let gateways =
                beyond.filter(|subnet| subnet.outside || !network.host).filter_map(|subnet| subnet.gateway);
            gateways
                .map(|gateway| speaks_for(&network.bridge, gateway, network.meta.id.to_string()))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// What an endpoint that is attached needs besides its interface; `in_host`: its interface is the host's own.
pub(super) fn of_endpoint(network: &Network, endpoint: &Endpoint, in_host: bool) -> Vec<Object> {
    let (true, Some(uplink)) = (network.is_routed(), &network.uplink) else { return Vec::new() };
    let claimant = || endpoint.meta.id.to_string();
    let mut objects = Vec::new();
    for address in endpoint.addresses.iter().map(IpNet::addr) {
        if !network.subnet_of(address).is_some_and(|subnet| subnet.outside) {
            continue;
        }
        objects.push(speaks_for(&uplink.link, address, claimant()));
        if !in_host {
            objects.push(Object::Route(Route {
                link: LinkId::host(&network.bridge),
                destination: IpNet::from(address),
                gateway: None,
                metric: 0,
            }));
        }
    }
    let hops = endpoint.routes.iter().filter_map(|route| route.gateway);
    for hop in hops.filter(|hop| hop.is_ipv6() && !in_host) {
        // The subnet's gateway is spoken for by the network.
        let subnet = network.subnet_of(hop).filter(|subnet| subnet.outside && subnet.gateway != Some(hop));
        if subnet.is_some() {
            objects.push(speaks_for(&network.bridge, hop, claimant()));
        }
    }
    objects
}

/// What answers for an address that no endpoint has, but that is of the network, if somebody must: the host on the bridge
/// and, where the prefix is also that of the uplink, there. Gateways have their own.
pub(super) fn answered_for(network: &Network, address: IpAddr, claimant: &Guid) -> Vec<Object> {
    let carried = network.host || network.is_routed();
    let subnet = network.subnet_of(address).filter(|subnet| carried && subnet.gateway != Some(address));
    let Some(subnet) = subnet else { return Vec::new() };
    let (link, claimant) = (LinkId::host(&network.bridge), claimant.to_string());
    let uplink = network.uplink.as_ref().filter(|_| network.is_routed() && subnet.outside);
    let outside = uplink.map(|uplink| speaks_for(&uplink.link, address, claimant.clone()));
    std::iter::once(Object::Claim(Claim { link, address, claimant })).chain(outside).collect()
}

/// The interface of an endpoint that stands on the uplink.
pub(super) fn sublink(network: &Network, endpoint: &Endpoint, link: &LinkId, alias: &str) -> Option<Object> {
    Some(Object::Sublink(Sublink {
        link: link.clone(),
        alias: alias.to_owned(),
        parent: network.uplink.as_ref()?.link.clone(),
        sharing: network.sharing()?,
        mac: endpoint.mac,
        mtu: shaping::mtu(network, endpoint),
        ipv6: network.takes_ipv6(),
    }))
}

/// Whether endpoints find the others of the prefix of this address themselves; else they send by the host.
pub(crate) fn is_on_link(network: &Network, address: IpNet) -> bool {
    address.addr().is_ipv4() || !network.is_routed()
}

/// The ways to the prefixes that an endpoint does not find others of by itself.
pub(super) fn routes(network: &Network, endpoint: &Endpoint) -> Vec<entity::Route> {
    let beyond = endpoint.addresses.iter().filter(|address| !is_on_link(network, **address));
    let subnets = beyond.filter_map(|address| network.subnet_of(address.addr()));
    let mut routes: Vec<entity::Route> = Vec::new();
    for Subnet { prefix, gateway, .. } in subnets {
        let known = endpoint.routes.iter().chain(&routes).any(|route| route.destination == *prefix);
        if !known {
            let gateway = gateway.unwrap_or_else(|| link_local(network.bridge_mac));
            routes.push(entity::Route { destination: *prefix, gateway: Some(gateway), metric: None });
        }
    }
    routes
}

fn speaks_for(link: &str, address: IpAddr, claimant: String) -> Object {
    Object::ProxyNeighbour(ProxyNeighbour { link: link.to_owned(), address, claimant })
}

/// The link-local address that belongs to a MAC address (RFC 4291, appendix A).
pub(super) fn link_local(mac: Mac) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]).into()
}
