//! Which packets a rule is about, where a policy lists protocols, prefixes and ports: one rule for each combination, since
//! such lists are short.

use std::net::SocketAddr;

use hcn_dataplane::Ports;
use ipnet::IpNet;
use netlink_packet_netfilter::nftables::Expressions;

use super::elements::octets;
use super::expressions::{
    Family, Part, V4, V6, at_least, at_most, constant, equal, masked, of_family, port_of,
};

/// Protocols whose headers begin with ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
pub(super) const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// The family of an address.
pub(super) fn family_of(address: std::net::IpAddr) -> &'static Family {
    if address.is_ipv4() { &V4 } else { &V6 }
}

/// Packets of one family; what is empty matches everything.
#[derive(Clone, Copy, Default)]
pub(super) struct Packets<'a> {
    /// Numbers of IP protocols; with ports, only such as have them.
    pub(super) protocols: &'a [u8],
    pub(super) source: &'a [IpNet],
    pub(super) destination: &'a [IpNet],
    pub(super) source_ports: &'a [Ports],
    pub(super) destination_ports: &'a [Ports],
}

impl Packets<'_> {
    /// What rules begin with that are about these packets; none of them matches if there is none of the family.
    pub(super) fn conditions(&self, family: &Family) -> Vec<Vec<Expressions>> {
        let protocols = self.protocols.iter().map(|number| of_protocol(*number)).collect();
        let prefixes = |end: Part, prefixes: &[IpNet]| {
            let of_family = prefixes.iter().filter(|prefix| family_of(prefix.addr()).suffix == family.suffix);
            of_family.map(|prefix| within(family, end, prefix)).collect()
        };
        let ports = |destination: bool, ports: &[Ports]| {
            ports.iter().map(|ports| among(destination, *ports)).collect()
        };
        let parts: [(bool, Vec<Vec<Expressions>>); 5] = [
            (self.protocols.is_empty(), protocols),
            (self.source.is_empty(), prefixes(Part::Source, self.source)),
            (self.destination.is_empty(), prefixes(Part::Destination, self.destination)),
            (self.source_ports.is_empty(), ports(false, self.source_ports)),
            (self.destination_ports.is_empty(), ports(true, self.destination_ports)),
        ];
        let mut conditions = vec![of_family(family)];
        for (_, part) in parts.into_iter().filter(|(everything, _)| !everything) {
            conditions = conditions
                .iter()
                .flat_map(|before| part.iter().map(|more| [&before[..], more].concat()))
                .collect();
        }
        conditions
    }
}

/// Only packets of this protocol.
pub(super) fn of_protocol(number: u8) -> Vec<Expressions> {
    vec![Part::Protocol.load(&V4, 0), equal(0, vec![number])]
}

/// Only packets whose source or destination is in the prefix.
pub(super) fn within(family: &Family, end: Part, prefix: &IpNet) -> Vec<Expressions> {
    let network = octets(prefix.network());
    match prefix.prefix_len() {
        // Every packet of the family is.
        0 => Vec::new(),
        all if all == prefix.max_prefix_len() => vec![end.load(family, 0), equal(0, network)],
        _ => vec![end.load(family, 0), masked(0, octets(prefix.netmask())), equal(0, network)],
    }
}

/// Only packets of which one of the ports is among these.
pub(super) fn among(destination: bool, ports: Ports) -> Vec<Expressions> {
    let load = port_of(destination);
    let [first, last] = [ports.first, ports.last].map(|port| port.to_be_bytes().to_vec());
    if first == last {
        return vec![load, equal(0, first)];
    }
    vec![load, at_least(0, first), at_most(0, last)]
}

/// Loads an address and the port behind it, for a translation.
pub(super) fn constant_socket(family: &Family, socket: SocketAddr) -> Vec<Expressions> {
    vec![constant(0, octets(socket.ip())), constant(family.length / 4, socket.port().to_be_bytes().to_vec())]
}
