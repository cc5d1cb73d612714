//! The kernel objects of overlays: VXLAN links, and the ways to what is on other hosts. An endpoint of another host is a
//! neighbour whose MAC address is behind its host's provider address; a subnet of another host is behind the MAC address
//! of that host's router, by a next hop that nobody has: the subnet's own address.

use std::net::IpAddr;

use hcn_dataplane::{Barrier, FdbEntry, HostSide, LinkId, Neighbour, Object, Route, Vxlan, Ways};
use hcn_schema::call::Kind;
use hcn_schema::enums::{EndpointPolicyType, NetworkPolicyType, OneOf};
use hcn_schema::settings::ProviderAddressSettings;
use ipnet::IpNet;

use crate::entity::{Endpoint, Network, RemoteSubnet, Tunnel};
use crate::names;

pub(super) fn of_network(network: &Network) -> Vec<Object> {
    let Some(tunnel) = &network.tunnel else { return Vec::new() };
    let alias = names::alias(Kind::Network, network.meta.id, network.name());
    let links = tunnel.links.iter().map(|(vni, link)| {
        Object::Vxlan(Vxlan {
            name: link.clone(),
            alias: alias.clone(),
            bridge: network.bridge.clone(),
            vni: *vni,
            local: tunnel.local,
            port: tunnel.port,
            mtu: network.mtu,
        })
    });
    let mut objects: Vec<Object> = links.collect();
    objects.extend(host_side(network));
    // Where the host is not, nobody routes.
    let routed = tunnel.remote.iter().filter(|_| network.host);
    objects.extend(routed.flat_map(|remote| to_subnet(network, tunnel, remote)));
    objects
}

/// Without the policy HostRoute the host is for the endpoints their gateway, and nothing else.
fn host_side(network: &Network) -> Option<Object> {
    let policies = &network.document.policies;
    let routed =
        policies.iter().any(|policy| policy.kind == Some(OneOf::Known(NetworkPolicyType::HostRoute)));
    // A network that the host is not on has a stronger barrier.
    (network.host && !routed).then(|| {
        let gateways = network.subnets.iter().filter_map(|subnet| subnet.gateway).collect();
        let host = HostSide::Only(gateways);
        Object::Barrier(Barrier { bridge: network.bridge.clone(), host, ways: Ways::Open })
    })
}

/// The way to a subnet of another host. What is claimed is named by what it says, so that taking one policy out leaves
/// the others as they are.
fn to_subnet(network: &Network, tunnel: &Tunnel, remote: &RemoteSubnet) -> Vec<Object> {
    let RemoteSubnet { prefix, vsid, provider, router } = *remote;
    let own = network.subnets.iter().any(|subnet| subnet.prefix == prefix);
    if own || !is_elsewhere(network, tunnel, provider) {
        return Vec::new();
    }
    let known = tunnel.links.iter().find(|(other, _)| *other == vsid);
    let Some((of_link, link)) = known.or(tunnel.links.first()) else { return Vec::new() };
    let claimant = format!("{} {prefix} {vsid} {provider} {router}", network.meta.id);
    let next_hop = prefix.addr();
    vec![
        Object::FdbEntry(FdbEntry {
            vxlan: link.clone(),
            mac: router,
            destination: provider,
            vni: Some(vsid).filter(|other| other != of_link),
            claimant: claimant.clone(),
        }),
        Object::Neighbour(Neighbour {
            link: network.bridge.clone(),
            address: next_hop,
            mac: router,
            routed: false,
            claimant,
        }),
        Object::Route(Route {
            link: LinkId::host(&network.bridge),
            destination: prefix,
            gateway: Some(next_hop),
            metric: 0,
        }),
    ]
}

/// Whether an endpoint of another host is reached alike on both: if not, what is made for it differs, or what that
/// stands on is made anew.
pub(crate) fn reached_alike(one: &Network, other: &Network, endpoint: &Endpoint) -> bool {
    let stands_on = |network: &Network, link: &str| {
        let tunnel = network.tunnel.as_ref()?;
        let (vni, _) = tunnel.links.iter().find(|(_, name)| name == link)?;
        Some((*vni, tunnel.port, tunnel.local))
    };
    let objects = of_endpoint(one, endpoint);
    let same_link = |object: &Object| match object {
        Object::FdbEntry(entry) => stands_on(one, &entry.vxlan) == stands_on(other, &entry.vxlan),
        _ => true,
    };
    objects == of_endpoint(other, endpoint) && objects.iter().all(same_link)
}

/// An endpoint of another host: a neighbour behind its host's provider address.
pub(super) fn of_endpoint(network: &Network, endpoint: &Endpoint) -> Vec<Object> {
    let Some(tunnel) = network.tunnel.as_ref().filter(|_| endpoint.remote) else { return Vec::new() };
    // Without one, or with this host's own, it is a record alone: clients make such ones for virtual addresses, also with
    // this host's address of the other family.
    let provider = provider_address(endpoint).filter(|address| is_elsewhere(network, tunnel, *address));
    // Nor can the router's address be elsewhere.
    let Some(provider) = provider.filter(|_| endpoint.mac != network.bridge_mac) else { return Vec::new() };
    let mut objects = Vec::new();
    for address in endpoint.addresses.iter().map(IpNet::addr) {
        let subnet = network.subnet_of(address);
        let Some((_, link)) = tunnel.link_to(subnet) else { continue };
        let claimant = format!("{} {address}", endpoint.meta.id);
        objects.push(Object::FdbEntry(FdbEntry {
            vxlan: link.clone(),
            mac: endpoint.mac,
            destination: provider,
            vni: None,
            claimant: claimant.clone(),
        }));
        // The other host's router knows better: clients make MAC addresses up for endpoints of routed subnets.
        let by_router = tunnel.remote.iter().any(|remote| remote.prefix.contains(&address));
        objects.push(Object::Neighbour(Neighbour {
            link: network.bridge.clone(),
            address,
            mac: endpoint.mac,
            routed: subnet.is_none() && !by_router && network.host,
            claimant,
        }));
    }
    objects
}

fn provider_address(endpoint: &Endpoint) -> Option<IpAddr> {
    let kind = Some(OneOf::Known(EndpointPolicyType::ProviderAddress));
    let policy = endpoint.document.policies.iter().find(|policy| policy.kind == kind)?;
    let given: ProviderAddressSettings = hcn_schema::parse(policy.settings.as_ref()?.get()).ok()?;
    given.provider_address?.parse().ok()
}

/// Whether packets are sent to a provider address: it is another host's, and of the family of this host's own.
fn is_elsewhere(network: &Network, tunnel: &Tunnel, provider: IpAddr) -> bool {
    let uplink = network.uplink.as_ref().and_then(|uplink| uplink.address);
    let is_here = tunnel.local == Some(provider) || uplink.is_some_and(|address| address.addr() == provider);
    !is_here && provider.is_ipv6() == tunnel.local.is_some_and(|local| local.is_ipv6())
}
