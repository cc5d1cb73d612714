//! The kernel objects of an endpoint: its port mappings; and while it is attached a veth pair with its addresses and
//! routes.

use hcn_dataplane::{
    Address, Frontend, HeldPort, Isolation, LinkId, Netns, Object, Route, Service, Source, Tap, Veth,
};
use hcn_schema::call::Kind;
use hcn_schema::enums::{EndpointFlags, NamespaceType, NetworkMode, NetworkPolicyType, OneOf};
use hcn_schema::policy::NetworkPolicy;
use ipnet::IpNet;

use super::{
    filters, origins, outside, overlay, preserving, responders, routing, shaping, shards, steering,
    translation,
};
use crate::entity::{Endpoint, Junction, Network, VmPort};
use crate::names;
use crate::registry::Registry;

/// The metrics of routes that are given none, IPv4 and IPv6.
const METRICS: [u32; 2] = [256, 1024];
/// The same of endpoints whose routes win over others'.
const LOW_METRICS: [u32; 2] = [0, 512];

pub(super) fn objects(registry: &Registry, endpoint: &Endpoint) -> Vec<Object> {
    let mut objects = attachment(registry, endpoint);
    let attached = !objects.is_empty();
    if let Some(network) = registry.networks.get(endpoint.network) {
        objects.extend(overlay::of_endpoint(network, endpoint));
        if attached {
            let in_host = place(registry, endpoint) == Some(Netns::Host);
            objects.extend(outside::of_endpoint(network, endpoint, in_host));
        }
        objects.extend(isolation(network, endpoint).map(Object::Isolation));
        objects.extend(responders::of_endpoint(network, endpoint));
        if attached {
            objects.extend(by_policies(registry, network, endpoint));
            let own = own_link(registry, endpoint);
            objects.extend(preserving::of_endpoint(registry, network, endpoint, own.as_ref()));
        }
    }
    for port in &endpoint.ports {
        if port.held {
            let Frontend { family, protocol, port, .. } = port.frontend;
            objects.push(Object::HeldPort(HeldPort { family, protocol, port }));
        }
        objects.push(Object::Service(Service {
            frontend: port.frontend,
            backends: vec![port.target],
            affinity: None,
            only_from: Vec::new(),
            from_host: port.from_host,
            source: Source::Client,
            terminates: false,
        }));
    }
    objects
}

/// What policies mean for the packets of an attached endpoint: its own, and those of its network.
pub(super) fn by_policies(registry: &Registry, network: &Network, endpoint: &Endpoint) -> Vec<Object> {
    let own = own_link(registry, endpoint);
    let mut objects = filters::of_endpoint(network, endpoint, own.as_ref());
    objects.extend(translation::of_endpoint(network, endpoint, own.as_ref()));
    objects.extend(shaping::of_endpoint(network, endpoint, own.as_ref()));
    objects.extend(steering::of_endpoint(network, endpoint, own.as_ref()));
    objects
}

/// Its own link, where it is while it is attached.
fn own_link(registry: &Registry, endpoint: &Endpoint) -> Option<LinkId> {
    let own = place(registry, endpoint).zip(endpoint.interface.clone());
    own.map(|(netns, name)| LinkId { netns, name })
}

/// Whether two networks have other policies that are about all of their endpoints, or the same at other places, by which
/// their rules are called.
pub(super) fn differ_for_all(one: &Network, other: &Network) -> bool {
    let kinds = [NetworkPolicyType::NetworkAcl, NetworkPolicyType::L4Proxy];
    let about_all = |(_, policy): &(usize, &NetworkPolicy)| {
        policy.kind.as_ref().and_then(OneOf::known).is_some_and(|kind| kinds.contains(&kind))
    };
    let [one, other] =
        [one, other].map(|network| network.document.policies.iter().enumerate().filter(about_all));
    !one.eq(other)
}

/// The network namespace that the endpoint's interface is in while it is attached.
fn place(registry: &Registry, endpoint: &Endpoint) -> Option<Netns> {
    match endpoint.namespace.and_then(|id| registry.namespaces.get(id)) {
        Some(namespace) if namespace.kind == NamespaceType::Host => Some(Netns::Named(namespace.file())),
        Some(namespace) if namespace.kind == NamespaceType::HostDefault => Some(Netns::Host),
        None if endpoint.on_host => Some(Netns::Host),
        _ => None,
    }
}

/// Whether its interface is the host's own, and its addresses so are, too.
pub(crate) fn is_on_host(registry: &Registry, endpoint: &Endpoint) -> bool {
    place(registry, endpoint) == Some(Netns::Host)
}

/// Its link, with its addresses and routes.
pub(super) fn attachment(registry: &Registry, endpoint: &Endpoint) -> Vec<Object> {
    if let (Some(network), Some(port)) = (registry.networks.get(endpoint.network), &endpoint.vm_port) {
        return tap(network, endpoint, port).map(Object::Tap).into_iter().collect();
    }
    let network = registry.networks.get(endpoint.network);
    let (Some(network), Some(interface), Some(netns)) =
        (network, &endpoint.interface, place(registry, endpoint))
    else {
        return Vec::new();
    };
    let in_host = netns == Netns::Host;
    let link = LinkId { netns, name: interface.clone() };
    let alias = names::alias(Kind::Endpoint, endpoint.meta.id, &shaping::label(endpoint));
    let mut objects = vec![outside::sublink(network, endpoint, &link, &alias).unwrap_or_else(|| {
        Object::Veth(Veth {
            name: endpoint.veth.clone(),
            alias,
            bridge: network.shard(endpoint.shard),
            peer: link.clone(),
            mac: endpoint.mac,
            mtu: shaping::mtu(network, endpoint),
            ipv6: takes_ipv6(network, endpoint),
            isolated: network.mode == NetworkMode::L2Tunnel,
            vlan: endpoint.vlan,
        })
    })];
    // By DHCP it gets its IPv4 address, and the routes with it.
    let by_dhcp = endpoint.document.flags.has(EndpointFlags::ENABLE_DHCP);
    for address in endpoint.addresses.iter().filter(|address| !by_dhcp || address.addr().is_ipv6()) {
        // In the host's own namespace the bridge has the prefix's route already.
        let prefix_route = !in_host && outside::is_on_link(network, *address);
        let address = if in_host { IpNet::from(address.addr()) } else { *address };
        objects.push(Object::Address(Address { link: link.clone(), address, prefix_route }));
    }
    if !in_host {
        let (software, beyond) =
            (routing::of_endpoint(registry, network, endpoint), outside::routes(network, endpoint));
        let routes = software.iter().chain(&endpoint.routes).chain(&beyond);
        let fixed = routes.filter(|route| !by_dhcp || route.destination.addr().is_ipv6());
        let mut known = Vec::new();
        for route in fixed {
            let (destination, metric) = (route.destination, metric(endpoint, route));
            if !known.contains(&(destination, metric)) {
                known.push((destination, metric));
                let (link, gateway) = (link.clone(), route.gateway);
                objects.push(Object::Route(Route { link, destination, gateway, metric }));
            }
        }
        objects.extend(origins::of_endpoint(endpoint, &link, &objects));
    }
    objects
}

/// The port of a virtual machine; those of before hcnd made them have no name.
fn tap(network: &Network, endpoint: &Endpoint, port: &VmPort) -> Option<Tap> {
    (!port.tap.is_empty()).then(|| Tap {
        name: port.tap.clone(),
        alias: names::alias(Kind::Endpoint, endpoint.meta.id, &shaping::label(endpoint)),
        bridge: network.shard(endpoint.shard),
        mtu: shaping::mtu(network, endpoint),
        owner: port.owner,
        isolated: network.mode == NetworkMode::L2Tunnel,
        vlan: endpoint.vlan,
    })
}

/// By its own addresses: those of a network come and go while it is attached. Without any, they may come from outside.
fn takes_ipv6(network: &Network, endpoint: &Endpoint) -> bool {
    let mut addresses = endpoint.addresses.iter();
    if endpoint.addresses.is_empty() { network.takes_ipv6() } else { addresses.any(|a| a.addr().is_ipv6()) }
}

/// The given metric, else one by which the routes of the first interface win over those of the next: the
/// kernel would refuse a second route that differs in nothing else.
fn metric(endpoint: &Endpoint, route: &crate::entity::Route) -> u32 {
    let low = endpoint.document.flags.has(EndpointFlags::ENABLE_LOW_INTERFACE_METRIC);
    let [ipv4, ipv6] = if low { LOW_METRICS } else { METRICS };
    let base = if route.destination.addr().is_ipv4() { ipv4 } else { ipv6 };
    route.metric.map_or(base, u32::from) + endpoint.rank()
}

/// What keeps an endpoint from the others of its network, if it wants nothing of them.
fn isolation(network: &Network, endpoint: &Endpoint) -> Option<Isolation> {
    let port = endpoint.port().filter(|_| shards::is_isolated(endpoint))?;
    let outside = match (&network.junction, &network.uplink) {
        (Some(Junction::Enslaved { .. }), Some(uplink)) => vec![uplink.link.clone()],
        (Some(Junction::Vlan { link, .. }), _) => vec![link.clone()],
        _ => Vec::new(),
    };
    let tunnels = network.tunnel.iter().flat_map(|tunnel| &tunnel.links).map(|(_, link)| link.clone());
    Some(Isolation {
        port: port.to_owned(),
        bridge: network.bridge.clone(),
        outside: outside.into_iter().chain(tunnels).collect(),
        addresses: endpoint.addresses.iter().map(IpNet::addr).collect(),
    })
}
