//! The kernel objects of a NAT network: a bridge with the gateways' addresses, forwarding and source translation.

use hcn_dataplane::{Address, Bridge, Family, Forwarding, Home, LinkId, Masquerade, Object};
use hcn_schema::call::Kind;
use ipnet::IpNet;

use crate::entity::Network;
use crate::names;

pub(super) fn objects(network: &Network) -> Vec<Object> {
    let mut objects = vec![Object::Bridge(Bridge {
        name: network.bridge.clone(),
        alias: names::alias(Kind::Network, network.meta.id, network.name()),
        mac: network.bridge_mac,
        mtu: network.mtu,
        ipv6: network.has_ipv6(),
        arp: true,
    })];
    for family in [Family::V4, Family::V6] {
        if network.subnets.iter().any(|subnet| Family::of(subnet.prefix.addr()) == family) {
            objects.push(Object::Forwarding(Forwarding { family, bridge: network.bridge.clone() }));
        }
    }
    for subnet in &network.subnets {
        objects.push(Object::Home(Home { prefix: subnet.prefix, bridge: network.bridge.clone() }));
        objects.push(Object::Masquerade(Masquerade { prefix: subnet.prefix }));
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
