//! Whether rules match a packet, by what they say alone.

use std::collections::HashMap;
use std::net::IpAddr;

use hcn_dataplane::{
    Addresses, DiversionRule, Family, FilterRule, InterceptionRule, OutboundRule, Ports, Tier, Verdict,
};
use ipnet::IpNet;

/// Protocols that have ports: TCP, UDP, SCTP.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// The first packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Number of the IP protocol.
    pub(super) protocol: u8,
    pub(super) source: IpAddr,
    /// 0 where the protocol has none.
    pub(super) source_port: u16,
    pub(super) destination: IpAddr,
    pub(super) destination_port: u16,
}

/// The members of the sets that rules name.
pub(super) type Sets = HashMap<String, Vec<IpNet>>;

impl Packet {
    pub(super) fn has_ports(&self) -> bool {
        WITH_PORTS.contains(&self.protocol)
    }

    fn is_of(&self, protocols: &[u8]) -> bool {
        protocols.is_empty() || protocols.contains(&self.protocol)
    }
}

fn holds(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address))
}

fn within(ports: &[Ports], port: u16) -> bool {
    ports.iter().any(|range| (range.first..=range.last).contains(&port))
}

/// Whether what a rule says of ports fits: what says nothing fits every protocol.
fn fits(packet: &Packet, ports: &[Ports], port: u16) -> bool {
    ports.is_empty() || (packet.has_ports() && within(ports, port))
}

fn all_hold(addresses: &[Addresses], address: IpAddr, sets: &Sets) -> bool {
    addresses.iter().all(|addresses| match addresses {
        Addresses::Prefixes(prefixes) => holds(prefixes, address),
        Addresses::Set(name) => sets.get(name).is_some_and(|members| holds(members, address)),
    })
}

fn matches(rule: &FilterRule, packet: &Packet, sets: &Sets) -> bool {
    packet.is_of(&rule.protocols)
        && all_hold(&rule.source, packet.source, sets)
        && all_hold(&rule.destination, packet.destination, sets)
        && fits(packet, &rule.source_ports, packet.source_port)
        && fits(packet, &rule.destination_ports, packet.destination_port)
}

/// The rules that decide about a packet: of each tier that is asked the first one that matches.
pub(super) fn asked<'a>(tiers: &'a [Tier], packet: &Packet, sets: &Sets) -> Vec<&'a FilterRule> {
    let mut decisive = Vec::new();
    for tier in tiers {
        let Some(rule) = tier.rules.iter().find(|rule| matches(rule, packet, sets)) else { continue };
        decisive.push(rule);
        if rule.verdict != Verdict::Next {
            break;
        }
    }
    decisive
}

/// Whether a proxy on the host's side gets the packet.
pub(super) fn diverts(rule: &DiversionRule, packet: &Packet) -> bool {
    rule.proxy.is_ipv4() == packet.destination.is_ipv4()
        && packet.is_of(&rule.protocols)
        && (rule.destinations.is_empty() || holds(&rule.destinations, packet.destination))
        && fits(packet, &rule.ports, packet.destination_port)
        && !holds(&rule.exceptions, packet.destination)
}

/// What becomes of the source of a packet: none if the rule is not about it, else whether it is translated.
pub(super) fn translates(rule: &OutboundRule, packet: &Packet) -> Option<bool> {
    if rule.family != Family::of(packet.source) {
        return None;
    }
    if holds(&rule.exceptions, packet.destination) {
        return Some(false);
    }
    (rule.destinations.is_empty() || holds(&rule.destinations, packet.destination)).then_some(true)
}

/// The port of the proxy in the endpoint's namespace that gets the packet, which goes out or comes in there.
pub(super) fn intercepts(rule: &InterceptionRule, packet: &Packet, outgoing: bool) -> Option<u16> {
    let (port, exceptions) = match outgoing {
        true => (rule.outbound?, &rule.outbound_exceptions),
        false => (rule.inbound?, &rule.inbound_exceptions),
    };
    let (local, local_port, remote, remote_port) = match outgoing {
        true => (packet.source, packet.source_port, packet.destination, packet.destination_port),
        false => (packet.destination, packet.destination_port, packet.source, packet.source_port),
    };
    let protocol =
        if rule.protocols.is_empty() { packet.protocol == 6 } else { packet.is_of(&rule.protocols) };
    let excepted = holds(&exceptions.addresses, remote) || within(&exceptions.ports, packet.destination_port);
    let meant = protocol
        && (rule.local.is_empty() || holds(&rule.local, local))
        && (rule.remote.is_empty() || holds(&rule.remote, remote))
        && fits(packet, &rule.local_ports, local_port)
        && fits(packet, &rule.remote_ports, remote_port);
    (meant && !excepted).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(destination: &str, port: u16) -> Packet {
        Packet {
            protocol: 6,
            source: "10.0.0.2".parse().unwrap(),
            source_port: 50_000,
            destination: destination.parse().unwrap(),
            destination_port: port,
        }
    }

    fn rule(name: &str, destination: Vec<Addresses>, verdict: Verdict) -> FilterRule {
        FilterRule {
            name: name.to_owned(),
            protocols: vec![6],
            source: Vec::new(),
            destination,
            source_ports: Vec::new(),
            destination_ports: vec![Ports { first: 80, last: 90 }],
            verdict,
        }
    }

    #[test]
    fn sets_restrict_each_other_and_tiers_end_with_the_first_that_does_not_pass_on() {
        let sets: Sets = [("a", "192.0.2.0/24"), ("b", "192.0.2.7/32")]
            .map(|(name, prefix)| (name.to_owned(), vec![prefix.parse().unwrap()]))
            .into();
        let both = ["a", "b"].map(|name| Addresses::Set(name.to_owned())).to_vec();
        let tiers = [
            Tier { name: String::new(), rules: vec![rule("next", both, Verdict::Next)] },
            Tier { name: String::new(), rules: vec![rule("drop", Vec::new(), Verdict::Drop)] },
            Tier { name: String::new(), rules: vec![rule("late", Vec::new(), Verdict::Allow)] },
        ];
        let names = |packet: &Packet| {
            asked(&tiers, packet, &sets).into_iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(names(&packet("192.0.2.7", 85)), ["next", "drop"]);
        assert_eq!(names(&packet("192.0.2.8", 85)), ["drop"]);
        assert!(names(&packet("192.0.2.8", 91)).is_empty());
    }
}
