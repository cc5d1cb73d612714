//! The kernel objects of a network that is larger than a bridge: more bridges, each joined to the first, on which the
//! host is.

use std::net::IpAddr;

use hcn_dataplane::{Address, Annex, Barrier, Bridge, Home, HostSide, Joint, LinkId, Object, Ways};
use hcn_schema::call::Kind;
use hcn_schema::enums::{EndpointFlags, NetworkMode};

use ipnet::IpNet;

use crate::entity::{Endpoint, Network};
use crate::names;

pub(super) fn of_network(network: &Network) -> Vec<Object> {
    (1..=network.shards).flat_map(|number| of_shard(network, number)).collect()
}

/// Whether an endpoint exchanges nothing with others. Its port is on the first bridge, where the host is.
pub(crate) fn is_isolated(endpoint: &Endpoint) -> bool {
    endpoint.document.flags.has(EndpointFlags::DISABLE_INTER_COMPUTE_COMMUNICATION)
}

fn of_shard(network: &Network, number: u16) -> Vec<Object> {
    let name = || network.shard(number);
    let alias = || names::alias(Kind::Network, network.meta.id, network.name());
    let mut objects = vec![
        Object::Bridge(Bridge {
            name: name(),
            alias: alias(),
            mac: names::shard_mac(network.meta.id, number),
            mtu: network.mtu,
            ipv6: false,
            arp: false,
            proxy_arp: false,
        }),
        Object::Joint(Joint {
            ends: network.joint(number),
            alias: alias(),
            bridges: [network.bridge.clone(), name()],
            mtu: network.mtu,
            // What endpoints of such a network send to each other leaves by the uplink, whichever bridges they are on.
            isolated: network.mode == NetworkMode::L2Tunnel,
        }),
    ];
    if !network.host {
        let (host, ways) = (HostSide::Closed, Ways::Closed);
        objects.push(Object::Barrier(Barrier { bridge: name(), host, ways }));
        return objects;
    }
    if network.mode == NetworkMode::Internal {
        let (host, ways) = (HostSide::Open, Ways::Closed);
        objects.push(Object::Barrier(Barrier { bridge: name(), host, ways }));
    }
    // A packet that a service has translated goes up here, and the reverse path filter lets none pass by a link without
    // an address.
    let gateway = network.subnets.iter().filter_map(|subnet| subnet.gateway).find(IpAddr::is_ipv4);
    objects.extend(gateway.map(|gateway| {
        let (link, address) = (LinkId::host(&name()), IpNet::from(gateway));
        Object::Address(Address { link, address, prefix_route: false })
    }));
    objects.push(Object::Annex(Annex { bridge: name(), of: network.bridge.clone() }));
    objects.extend(
        network.subnets.iter().map(|subnet| Object::Home(Home { prefix: subnet.prefix, bridge: name() })),
    );
    objects
}
