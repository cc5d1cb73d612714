//! Filters and rules, short to write, and packets made by hand that tell whether they arrived.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(unreachable_pub, reason = "a module of each test")]
#![allow(clippy::unwrap_used, clippy::panic)]

use hcn_dataplane::{
    AddressSet, Addresses, Annex, Bridge, Filter, FilterRule, Home, Joint, LinkId, Mac, Object, Op, Plan,
    Ports, Site, Tap, Tier, Verdict, Veth,
};
use ipnet::IpNet;

use crate::common::*;

pub const ALLOW: Verdict = Verdict::Allow;
pub const NEXT: Verdict = Verdict::Next;
pub const DROP: Verdict = Verdict::Drop;

/// A rule about everything.
pub fn rule(verdict: Verdict) -> FilterRule {
    FilterRule {
        name: "a rule".into(),
        protocols: Vec::new(),
        source: Vec::new(),
        destination: Vec::new(),
        source_ports: Vec::new(),
        destination_ports: Vec::new(),
        verdict,
    }
}

pub trait Narrow {
    fn protocols(self, protocols: &[u8]) -> Self;
    fn from(self, prefixes: &[&str]) -> Self;
    fn to(self, prefixes: &[&str]) -> Self;
    fn of_set(self, set: &str) -> Self;
    fn to_ports(self, ports: &[(u16, u16)]) -> Self;
}

pub fn prefixes(list: &[&str]) -> Vec<IpNet> {
    let read =
        |word: &&str| word.parse().unwrap_or_else(|_| IpNet::from(word.parse::<std::net::IpAddr>().unwrap()));
    list.iter().map(read).collect()
}

impl Narrow for FilterRule {
    fn protocols(mut self, protocols: &[u8]) -> Self {
        self.protocols = protocols.to_vec();
        self
    }

    fn from(mut self, list: &[&str]) -> Self {
        self.source.push(Addresses::Prefixes(prefixes(list)));
        self
    }

    fn to(mut self, list: &[&str]) -> Self {
        self.destination.push(Addresses::Prefixes(prefixes(list)));
        self
    }

    fn of_set(mut self, set: &str) -> Self {
        self.source.push(Addresses::Set(set.into()));
        self
    }

    fn to_ports(mut self, ports: &[(u16, u16)]) -> Self {
        self.destination_ports =
            ports.iter().map(|(first, last)| Ports { first: *first, last: *last }).collect();
        self
    }
}

pub fn tier(name: &str, rules: Vec<FilterRule>) -> Tier {
    Tier { name: name.into(), rules }
}

pub fn on_bridge() -> Site {
    Site::Bridge(BRIDGE.into())
}

pub fn on_link(link: LinkId) -> Site {
    Site::Link(link)
}

/// A filter of the endpoint with this number.
pub fn filter(n: u8, site: Site, incoming: Vec<Tier>, outgoing: Vec<Tier>) -> Object {
    Object::Filter(Filter {
        port: format!("hve{n:08x}"),
        site,
        addresses: vec![format!("10.7.0.{n}").parse().unwrap(), format!("fd07::{n:x}").parse().unwrap()],
        incoming,
        outgoing,
    })
}

pub fn set(name: &str, members: &[&str]) -> Object {
    Object::AddressSet(AddressSet { name: name.into(), members: prefixes(members) })
}

pub fn change(from: &Object, to: &Object) -> Plan {
    Plan { ops: vec![Op::Change { from: from.clone(), to: to.clone() }] }
}

pub const SHARD: &str = "hcn00000001-1";

/// A second bridge of the network.
pub fn shard() -> Vec<Object> {
    vec![
        Object::Annex(Annex { bridge: SHARD.into(), of: BRIDGE.into() }),
        Object::Bridge(Bridge {
            name: SHARD.into(),
            alias: "hcn network 1".into(),
            mac: Mac([2, 0, 0, 0, 1, 2]),
            mtu: 1500,
            ipv6: false,
            arp: false,
            proxy_arp: false,
        }),
        Object::Home(Home { prefix: "10.7.0.0/16".parse().unwrap(), bridge: SHARD.into() }),
        Object::Joint(Joint {
            ends: ["hcj00000001-1".into(), "hck00000001-1".into()],
            alias: "hcn network 1".into(),
            bridges: [BRIDGE.into(), SHARD.into()],
            mtu: 1500,
            isolated: false,
        }),
        tap(SHARD),
    ]
}

pub fn tap(bridge: &str) -> Object {
    Object::Tap(Tap {
        name: "hvt00000005".into(),
        alias: "hcn endpoint 5".into(),
        bridge: bridge.into(),
        mtu: 1500,
        owner: None,
        isolated: false,
        vlan: None,
    })
}

pub fn at(object: Object, to: &str) -> Object {
    match object {
        Object::Veth(veth) => Object::Veth(Veth { bridge: to.into(), ..veth }),
        other => other,
    }
}
