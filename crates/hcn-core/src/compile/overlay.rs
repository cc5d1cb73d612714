//! The kernel objects of overlays: VXLAN links, and the ways to what is on other hosts. An endpoint of another host is a
//! neighbour whose MAC address is behind its host's provider address; a subnet of another host is behind the MAC address
//! of that host's router, by a next hop that nobody has: the subnet's own address.

use std::net::IpAddr;

use hcn_dataplane::{Barrier, FdbEntry, HostSide, LinkId, Mac, Neighbour, Object, Route, Vxlan, Ways};
use hcn_schema::call::Kind;
use hcn_schema::enums::{EndpointPolicyType, NetworkPolicyType, OneOf};
use hcn_schema::settings::{ProviderAddressSettings, RemoteSubnetRouteSettings};
use ipnet::IpNet;

use crate::entity::{Endpoint, Network, Tunnel};
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
    for (number, route) in remote_subnets(network).enumerate() {
        objects.extend(to_subnet(network, tunnel, &route, number));
    }
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

/// A subnet of another host.
struct RemoteSubnet {
    prefix: IpNet,
    vsid: Option<u32>,
    provider: IpAddr,
    router: Mac,
}

/// What the policies say of other hosts' subnets; what could not be read was refused when it came.
fn remote_subnets(network: &Network) -> impl Iterator<Item = RemoteSubnet> {
    let kind = Some(OneOf::Known(NetworkPolicyType::RemoteSubnetRoute));
    let policies = network.document.policies.iter().filter(move |policy| policy.kind == kind);
    policies.filter_map(|policy| {
        let given: RemoteSubnetRouteSettings = hcn_schema::parse(policy.settings.as_ref()?.get()).ok()?;
        Some(RemoteSubnet {
            prefix: given.destination_prefix?.parse::<IpNet>().ok()?.trunc(),
            vsid: given.isolation_id,
            provider: given.provider_address?.parse().ok()?,
            router: given.distributed_router_mac_address?.parse().ok()?,
        })
    })
}

fn to_subnet(network: &Network, tunnel: &Tunnel, remote: &RemoteSubnet, number: usize) -> Vec<Object> {
    let own = network.subnets.iter().any(|subnet| subnet.prefix == remote.prefix);
    if own || is_here(network, tunnel, remote.provider) {
        return Vec::new();
    }
    let known = tunnel.links.iter().find(|(vsid, _)| Some(*vsid) == remote.vsid);
    let Some((vsid, link)) = known.or(tunnel.links.first()) else { return Vec::new() };
    let claimant = format!("{} {number}", network.meta.id);
    let next_hop = remote.prefix.addr();
    vec![
        Object::FdbEntry(FdbEntry {
            vxlan: link.clone(),
            mac: remote.router,
            destination: remote.provider,
            vni: remote.vsid.filter(|other| other != vsid),
            claimant: claimant.clone(),
        }),
        Object::Neighbour(Neighbour {
            link: network.bridge.clone(),
            address: next_hop,
            mac: remote.router,
            routed: false,
            claimant,
        }),
        Object::Route(Route {
            link: LinkId::host(&network.bridge),
            destination: remote.prefix,
            gateway: Some(next_hop),
            metric: 0,
        }),
    ]
}

pub(super) fn of_endpoint(network: &Network, endpoint: &Endpoint) -> Vec<Object> {
    let Some(tunnel) = network.tunnel.as_ref().filter(|_| endpoint.remote) else { return Vec::new() };
    // Without one, or with this host's own, it is a record alone: clients make such ones for virtual addresses.
    let provider = provider_address(endpoint).filter(|address| !is_here(network, tunnel, *address));
    let Some(provider) = provider else { return Vec::new() };
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
        objects.push(Object::Neighbour(Neighbour {
            link: network.bridge.clone(),
            address,
            mac: endpoint.mac,
            routed: subnet.is_none() && network.host,
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

/// Whether a provider address is this host's.
fn is_here(network: &Network, tunnel: &Tunnel, provider: IpAddr) -> bool {
    let uplink = network.uplink.as_ref().and_then(|uplink| uplink.address);
    tunnel.local == Some(provider) || uplink.is_some_and(|address| address.addr() == provider)
}
