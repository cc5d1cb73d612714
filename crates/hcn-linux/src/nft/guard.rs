//! What endpoints may send: the table `bridge hcnd_guard` drops frames that claim to come from somebody else. It is there
//! only while there are guarded ports. An endpoint is a few set elements, keyed by its port's name. A packet that is as
//! it should be passes by one lookup, a frame from a link that is not hcnd's by a comparison of its group.
//!
//! | from a guarded port | passes if |
//! | --- | --- |
//! | any frame | its source is the endpoint's MAC address |
//! | IPv4 | its source is an address of the endpoint; a DHCP client may have none (0.0.0.0) |
//! | ARP | it speaks of the endpoint's addresses, or of none (RFC 5227) |
//! | IPv6 | its source is an address of the endpoint, or link-local; or none, to look for duplicates or groups, or for DHCP |
//! | neighbour advertisement | also its target is such an address |
//! | router advertisement, redirect, answer of a DHCP server | never |
//! | with a second VLAN tag | never |

use std::net::IpAddr;

use hcn_dataplane::{Guard, OpError};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{Expressions, InetHookNumber, MetaKey, NfTablesMessage, Operator};

use super::beside::{self, Message};
use super::elements::{self, Element, ifname, octets, word};
use super::expressions::{
    NF_ACCEPT, NF_DROP, NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER, compare, decide, equal,
    goto, icmp_type, lookup, lookup_not, masked, meta, payload, rule,
};
use super::maps::{Set, Type, set};
use super::skeleton::{chain, hooked};
use crate::link::GROUP;
use crate::socket::{Socket, Wire};

const TABLE: &str = "hcnd_guard";
/// Ahead of everything that looks at frames.
const PRIORITY: i32 = -300;

/// Ports that are guarded.
const GUARDED: &str = "guarded";
/// Ports with the MAC address that they may send from.
const MACS: &str = "macs";
/// The same with each address.
const IPV4: &str = "ipv4";
const IPV6: &str = "ipv6";
/// Ports with the MAC address of whoever may send from any address.
const FREE: &str = "free";
/// From any IPv6 address.
const FREE_IPV6: &str = "free6";

const PREROUTING: &str = "prerouting";
/// For frames from guarded ports that are more than a packet from an address of the endpoint.
const CHECK: &str = "check";
const OF_ARP: &str = "of_arp";
const OF_IPV4: &str = "of_ipv4";
const OF_IPV6: &str = "of_ipv6";
const OF_ICMPV6: &str = "of_icmpv6";
/// For ICMPv6 messages from nobody.
const UNSPECIFIED: &str = "unspecified";
/// For neighbour advertisements.
const ADVERTISED: &str = "advertised";
/// The end: by the IPv6 source address.
const SOURCE: &str = "source";

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q and 802.1ad; the kernel has taken the first tag off.
const ETHERTYPES_VLAN: [u16; 2] = [0x8100, 0x88a8];
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const DHCP_CLIENT: u16 = 68;
const DHCP_SERVER: u16 = 67;
const DHCPV6_CLIENT: u16 = 546;
const DHCPV6_SERVER: u16 = 547;
/// Router advertisement and redirect (RFC 4861): only routers send them.
const OF_ROUTERS: [u8; 2] = [134, 137];
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Multicast listener discovery (RFC 2710, RFC 3810).
const OF_LISTENERS: [u8; 3] = [131, 132, 143];
const NFT_PAYLOAD_LL_HEADER: u32 = 0;

/// Part of a key.
#[derive(Clone, Copy)]
enum Part {
    Port,
    Source,
    ArpSource,
    ArpAddress,
    Ipv4,
    Ipv6,
    /// What a neighbour message is about.
    Target,
}

impl Part {
    fn load(self, to: u32) -> (Expressions, u32) {
        let network = |offset, length| payload(NFT_PAYLOAD_NETWORK_HEADER, offset, length, to);
        match self {
            Self::Port => (meta(MetaKey::Iifname, to), 4),
            Self::Source => (payload(NFT_PAYLOAD_LL_HEADER, 6, 6, to), 2),
            Self::ArpSource => (network(8, 6), 2),
            Self::ArpAddress => (network(14, 4), 1),
            Self::Ipv4 => (network(12, 4), 1),
            Self::Ipv6 => (network(8, 16), 4),
            Self::Target => (payload(NFT_PAYLOAD_TRANSPORT_HEADER, 8, 16, to), 4),
        }
    }
}

/// Loads a key.
fn key(parts: &[Part]) -> Vec<Expressions> {
    let mut to = 0;
    let load = |part: &Part| {
        let (loaded, words) = part.load(to);
        to += words;
        loaded
    };
    parts.iter().map(load).collect()
}

/// The endpoint, by port and source.
const SENDER: [Part; 2] = [Part::Port, Part::Source];

fn is_in(parts: &[Part], set: &str) -> Vec<Expressions> {
    key(parts).into_iter().chain([lookup(set)]).collect()
}

fn of_type(ethertype: u16) -> Vec<Expressions> {
    vec![meta(MetaKey::EtherTypeProtocol, 0), equal(0, ethertype.to_be_bytes().to_vec())]
}

fn of_protocol(protocol: u8) -> Vec<Expressions> {
    vec![meta(MetaKey::L4Proto, 0), equal(0, vec![protocol])]
}

fn udp(from: u16, to: u16) -> Vec<Expressions> {
    let mut ports = of_protocol(UDP);
    for (offset, port) in [(0, from), (2, to)] {
        ports.push(payload(NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2, 0));
        ports.push(equal(0, port.to_be_bytes().to_vec()));
    }
    ports
}

fn icmpv6(kind: u8) -> Vec<Expressions> {
    let mut of_kind = of_protocol(ICMPV6);
    of_kind.extend([icmp_type(), equal(0, vec![kind])]);
    of_kind
}

/// The part is an address that means nobody.
fn nobody(part: Part, length: usize) -> Vec<Expressions> {
    vec![part.load(0).0, equal(0, vec![0; length])]
}

/// The part is an IPv6 address that is good for one link (fe80::/10).
fn link_local(part: Part) -> Vec<Expressions> {
    let leading = |first: [u8; 2]| [&first[..], &[0; 14]].concat();
    vec![part.load(0).0, masked(0, leading([0xff, 0xc0])), equal(0, leading([0xfe, 0x80]))]
}

fn sets() -> [Set; 6] {
    let sender = [Type::Ifname, Type::Mac];
    [
        set(GUARDED, &[Type::Ifname], false),
        set(MACS, &sender, false),
        set(IPV4, &[Type::Ifname, Type::Mac, Type::Ipv4], false),
        set(IPV6, &[Type::Ifname, Type::Mac, Type::Ipv6], false),
        set(FREE, &sender, false),
        set(FREE_IPV6, &sender, false),
    ]
}

/// Everything but the elements.
fn table(owned: bool) -> Vec<Message> {
    let mut messages =
        vec![beside::new_table(owned), hooked(PREROUTING, "filter", InetHookNumber::PreRouting, PRIORITY)];
    let chains = [CHECK, OF_ARP, OF_IPV4, OF_IPV6, OF_ICMPV6, UNSPECIFIED, ADVERTISED, SOURCE];
    messages.extend(chains.map(chain));
    messages.extend((1..).zip(sets()).map(|(id, set)| set.message(id)));
    messages.extend(rules());
    messages.into_iter().map(here).collect()
}

fn rules() -> Vec<(u16, NfTablesMessage)> {
    let mut rules = Vec::new();
    let mut when = |chain: &str, conditions: Vec<Expressions>, then: Expressions| {
        rules.push(rule(chain, conditions.into_iter().chain([then])));
    };
    let (accept, drop) = (|| decide(NF_ACCEPT), || decide(NF_DROP));
    let both = |one: Vec<Expressions>, other: Vec<Expressions>| [one, other].concat();

    let group = compare(0, Operator::NotEqual, GROUP.to_ne_bytes().to_vec());
    when(PREROUTING, vec![meta(MetaKey::Iifgroup, 0), group], accept());
    let answer = both(of_type(ETHERTYPE_IPV4), udp(DHCP_SERVER, DHCP_CLIENT));
    when(PREROUTING, both(answer, is_in(&[Part::Port], GUARDED)), goto(CHECK));
    let ipv4 = [Part::Port, Part::Source, Part::Ipv4];
    when(PREROUTING, both(of_type(ETHERTYPE_IPV4), is_in(&ipv4, IPV4)), accept());
    let ipv6 = [Part::Port, Part::Source, Part::Ipv6];
    let other = vec![meta(MetaKey::L4Proto, 0), compare(0, Operator::NotEqual, vec![ICMPV6])];
    when(PREROUTING, [of_type(ETHERTYPE_IPV6), other, is_in(&ipv6, IPV6)].concat(), accept());
    when(PREROUTING, is_in(&[Part::Port], GUARDED), goto(CHECK));

    when(CHECK, is_in(&SENDER, FREE), accept());
    when(CHECK, key(&SENDER).into_iter().chain([lookup_not(MACS)]).collect(), drop());
    for (ethertype, of_it) in [(ETHERTYPE_IPV4, OF_IPV4), (ETHERTYPE_IPV6, OF_IPV6), (ETHERTYPE_ARP, OF_ARP)]
    {
        when(CHECK, of_type(ethertype), goto(of_it));
    }
    for ethertype in ETHERTYPES_VLAN {
        when(CHECK, of_type(ethertype), drop());
    }

    let asking = both(nobody(Part::Ipv4, 4), udp(DHCP_CLIENT, DHCP_SERVER));
    when(OF_IPV4, both(of_type(ETHERTYPE_IPV4), asking), accept());
    when(OF_IPV4, vec![], drop());

    let own = is_in(&[Part::Port, Part::ArpSource, Part::ArpAddress], IPV4);
    when(OF_ARP, both(of_type(ETHERTYPE_ARP), own), accept());
    let probe = both(nobody(Part::ArpAddress, 4), is_in(&[Part::Port, Part::ArpSource], MACS));
    when(OF_ARP, both(of_type(ETHERTYPE_ARP), probe), accept());
    when(OF_ARP, vec![], drop());

    let from = |part: Vec<Expressions>| both(of_type(ETHERTYPE_IPV6), part);
    when(OF_IPV6, of_protocol(ICMPV6), goto(OF_ICMPV6));
    let asking = both(nobody(Part::Ipv6, 16), udp(DHCPV6_CLIENT, DHCPV6_SERVER));
    when(OF_IPV6, from(asking), accept());
    when(OF_IPV6, vec![], goto(SOURCE));

    for kind in OF_ROUTERS {
        when(OF_ICMPV6, icmpv6(kind), drop());
    }
    when(OF_ICMPV6, icmpv6(ADVERTISEMENT), goto(ADVERTISED));
    when(OF_ICMPV6, from(nobody(Part::Ipv6, 16)), goto(UNSPECIFIED));
    when(OF_ICMPV6, vec![], goto(SOURCE));

    let target = [Part::Port, Part::Source, Part::Target];
    for (chain, kind, then) in [
        (UNSPECIFIED, SOLICITATION, accept as fn() -> Expressions),
        (ADVERTISED, ADVERTISEMENT, || goto(SOURCE)),
    ] {
        when(chain, both(icmpv6(kind), is_in(&target, IPV6)), then());
        when(chain, both(icmpv6(kind), link_local(Part::Target)), then());
        when(chain, both(icmpv6(kind), is_in(&SENDER, FREE_IPV6)), then());
    }
    for kind in OF_LISTENERS {
        when(UNSPECIFIED, icmpv6(kind), accept());
    }
    when(UNSPECIFIED, vec![], drop());
    when(ADVERTISED, vec![], drop());

    when(SOURCE, from(is_in(&ipv6, IPV6)), accept());
    when(SOURCE, from(link_local(Part::Ipv6)), accept());
    when(SOURCE, is_in(&SENDER, FREE_IPV6), accept());
    when(SOURCE, vec![], drop());
    rules
}

/// A message about this table, made from one about the main one.
fn here(message: (u16, NfTablesMessage)) -> Message {
    beside::of(NetfilterProtoFamily::Bridge, TABLE, message)
}

/// The elements that a guard means: those that allow something first.
fn elements_of(guard: &Guard) -> Vec<Element> {
    let element = |set: &str, key: Vec<u8>| Element::new(set.to_owned(), key);
    let port = ifname(&guard.port);
    let sender = [port.clone(), word(&guard.mac.0)].concat();
    let mut elements = Vec::new();
    match &guard.addresses {
        None => elements.push(element(FREE, sender)),
        Some(addresses) => {
            for address in addresses {
                let set = if matches!(address, IpAddr::V4(_)) { IPV4 } else { IPV6 };
                elements.push(element(set, [sender.clone(), octets(*address)].concat()));
            }
            if guard.autoconfigured {
                elements.push(element(FREE_IPV6, sender.clone()));
            }
            elements.push(element(MACS, sender));
        }
    }
    elements.sort_by_key(|element| element.set == IPV6);
    elements.push(element(GUARDED, port));
    elements.dedup();
    elements
}

fn change(elements: &[Element], delete: bool) -> impl Iterator<Item = Message> {
    let messages = elements::messages(elements, delete);
    messages.into_iter().map(here)
}

/// The messages that guard a port; the first one needs the table.
pub(crate) fn guard(guard: &Guard, first: bool, owned: bool) -> Vec<Message> {
    let mut messages = if first { table(owned) } else { Vec::new() };
    messages.extend(change(&elements_of(guard), false));
    messages
}

/// The messages that let a port send what it likes; the last one takes the table along.
pub(crate) fn unguard(guard: &Guard, last: bool) -> Vec<Message> {
    if last { vec![gone()] } else { change(&elements_of(guard), true).collect() }
}

/// The messages that make one guard another one of the same port.
pub(crate) fn reguard(from: &Guard, to: &Guard) -> Vec<Message> {
    let (gone, come) = elements::differing(&elements_of(from), &elements_of(to));
    change(&gone, true).chain(change(&come, false)).collect()
}

fn gone() -> Message {
    here(beside::no_table())
}

/// Puts the table of an earlier hcnd into the state that the wanted objects mean: in one transaction, or where one cannot
/// hold it in several, in the last of which ports begin to be guarded.
pub(crate) fn take_over_guards<'a>(
    wire: &mut Wire,
    socket: &Socket,
    wanted: impl Iterator<Item = &'a Guard>,
    owned: bool,
) -> Result<(), OpError> {
    let failed = beside::not_taken_over("bridge hcnd_guard");
    let there = beside::is_there(wire, socket, NetfilterProtoFamily::Bridge, TABLE).map_err(&failed)?;
    let mut elements: Vec<Element> = wanted.flat_map(elements_of).collect();
    if !there && elements.is_empty() {
        return Ok(());
    }
    elements.sort_by_key(|element| {
        [FREE, FREE_IPV6, IPV4, IPV6, MACS].iter().position(|set| element.set == *set).unwrap_or(5)
    });
    let mut messages = Vec::new();
    if there {
        messages.push(gone());
    }
    if !elements.is_empty() {
        messages.extend(table(owned));
        messages.extend(change(&elements, false));
    }
    beside::write(wire, socket, messages).map_err(failed)
}
