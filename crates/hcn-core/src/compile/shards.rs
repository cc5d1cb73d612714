//! The kernel objects of a network that is larger than a bridge: more bridges, each joined to the first, on which the
//! host is.

use hcn_dataplane::{Annex, Barrier, Bridge, Home, HostSide, Joint, Object, Ways};
use hcn_schema::call::Kind;
use hcn_schema::enums::NetworkMode;

use crate::entity::Network;
use crate::names;

pub(super) fn of_network(network: &Network) -> Vec<Object> {
    (1..=network.shards).flat_map(|number| of_shard(network, number)).collect()
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
            vlan_filtering: false,
        }),
        Object::Joint(Joint {
            ends: network.joint(number),
            alias: alias(),
            bridges: [network.bridge.clone(), name()],
            mtu: network.mtu,
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
    objects.push(Object::Annex(Annex { bridge: name(), of: network.bridge.clone() }));
    objects.extend(
        network.subnets.iter().map(|subnet| Object::Home(Home { prefix: subnet.prefix, bridge: name() })),
    );
    objects
}
