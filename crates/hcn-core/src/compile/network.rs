//! The kernel objects of a NAT network: a bridge with the gateways' addresses, and source translation.

use hcn_dataplane::{Address, Bridge, Family, LinkId, Masquerade, Object};
use hcn_schema::call::Kind;
use ipnet::IpNet;

use crate::entity::Network;
use crate::names;
use crate::registry::Registry;

pub(super) fn objects(network: &Network) -> Vec<Object> {
    let mut objects = vec![Object::Bridge(Bridge {
        name: network.bridge.clone(),
        alias: names::alias(Kind::Network, network.meta.id, network.name()),
        mac: network.bridge_mac,
        mtu: network.mtu,
        ipv6: network.has_ipv6(),
    })];
    for subnet in &network.subnets {
        objects
            .push(Object::Masquerade(Masquerade { prefix: subnet.prefix, bridge: network.bridge.clone() }));
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

/// What networks share: the host forwards for every family that one of them has.
pub(super) fn shared(registry: &Registry) -> Vec<Object> {
    let mut families = Vec::new();
    for subnet in registry.networks.iter().flat_map(|network| &network.subnets) {
        let family = Family::of(subnet.prefix.addr());
        if !families.contains(&family) {
            families.push(family);
        }
    }
    families.into_iter().map(Object::Forwarding).collect()
}
