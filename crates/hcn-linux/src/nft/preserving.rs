//! Packets of services that reach their back end under the address that they were sent to. For everybody else they are
//! translated as ever: the destination is put back when a packet is on its way to the back end's port and no longer
//! looked at, and what the back end answers gets its own address before anybody looks at it.
//!
//! Where it is put back depends on how a packet gets there. One that is routed finds its next hop by its destination, so
//! the table `inet hcnd_dip` only marks it, behind all others that look at it, and the table `bridge hcnd_dip` does the
//! rest at the port. Of one that is bridged and shown to the rules of IP (br_netfilter) the bridge has decided already,
//! and its rules are asked before those of IP: they leave a sign in the packet's priority, and `inet hcnd_dip` does it
//! itself.
//!
//! Both tables are there only while an endpoint gets such packets, which are elements of their sets. What ICMP tells of
//! such a packet quotes it, so that is translated, too. An ARP request for the address does not reach the endpoint, which
//! would answer it, and one that it makes itself has its own address as the sender.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hcn_dataplane::{OpError, Preserved};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{
    ChecksumFlags, ChecksumType, Expressions, InetHookNumber, Meta, MetaKey, NfTablesMessage, Operator,
    Payload,
};

use super::beside::{self, Message};
use super::elements::{self, Element, Value, ifname, octets, word};
use super::expressions::{
    FAMILIES, Family, NF_ACCEPT, NF_DROP, NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER, Part,
    at_most, compare, constant, decide, equal, goto, icmp_type, key, lookup, lookup_not, map, meta,
    of_family, originals, payload, priority, register, rule, set_priority,
};
use super::maps::{Data, Set, Type, map as map_of, set};
use super::matches::family_of;
use super::skeleton::{chain, hooked};
use crate::link::GROUP;
use crate::socket::{Socket, Wire};

/// In both families.
pub(super) const TABLE: &str = "hcnd_dip";
/// Behind the translation of sources.
const LAST: i32 = 300;
/// Ahead of the table `bridge hcnd_guard`, which knows an endpoint by its own addresses.
const FIRST: i32 = -301;

/// Front ends with a back end, and the number that stands for the front end's address at its port.
const FRONTS: &str = "fronts";
/// Ports of such back ends.
const PORTS: &str = "ports";
/// By port and number, the address that packets were sent to.
const SENT: &str = "sent";
/// By port and such an address, the endpoint's own.
const OWN: &str = "own";
/// Ports and addresses that they must not be asked for.
const UNASKED: &str = "unasked";

const PREROUTING: &str = "prerouting";
const POSTROUTING: &str = "postrouting";
/// For packets to such a back end.
const RESTORE: &str = "restore";

/// The sign of a bridge: the packet is on its way to a port.
const BRIDGED: u32 = GROUP;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Messages of ICMP that quote a packet: destination unreachable, time exceeded, parameter problem.
const ERRORS: [u8; 3] = [3, 11, 12];
/// Types of ICMPv6 up to this one do.
const LAST_ERROR_V6: u8 = 4;
/// Octets of an ICMP header, after which the quoted packet begins.
const QUOTED: u32 = 8;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ARP_SENDER: u32 = 14;
const ARP_TARGET: u32 = 24;

type Plain = (u16, NfTablesMessage);

/// One of the two addresses of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

impl End {
    /// Octets from the beginning of the header.
    fn offset(self, family: &Family) -> u32 {
        let source = if is_ipv4(family) { 12 } else { 8 };
        if self == Self::Source { source } else { source + family.length }
    }
}

fn is_ipv4(family: &Family) -> bool {
    family.length == 4
}

/// Writes what is in word 0 over an address of the packet.
fn write(family: &Family, end: End) -> Expressions {
    let (base, offset) = (NFT_PAYLOAD_NETWORK_HEADER, end.offset(family));
    let mut written = overwrite(base, offset, family.length);
    if is_ipv4(family) {
        written.extend([Payload::CsumType(ChecksumType::Inet), Payload::CsumOffset(10)]);
    }
    written.push(Payload::CsumFlags(ChecksumFlags::L4PseudoHeader));
    Expressions::Payload(written)
}

/// The same in the packet that a message of ICMP quotes. That of IPv4 has a checksum of its own; as it goes with the address,
/// the message's stays right.
fn write_quoted(family: &Family, end: End) -> Expressions {
    let offset = QUOTED + end.offset(family);
    let mut written = overwrite(NFT_PAYLOAD_TRANSPORT_HEADER, offset, family.length);
    let checksum = if is_ipv4(family) { QUOTED + 10 } else { 2 };
    written.extend([Payload::CsumType(ChecksumType::Inet), Payload::CsumOffset(checksum)]);
    Expressions::Payload(written)
}

fn overwrite(base: u32, offset: u32, length: u32) -> Vec<Payload> {
    let (base, offset) = (Payload::Base(base), Payload::Offset(offset));
    vec![Payload::SourceRegister(register(0)), base, offset, Payload::Len(length)]
}

/// Writes word 0 to the packet's mark.
fn set_mark() -> Expressions {
    Expressions::Meta(vec![Meta::Key(MetaKey::Mark), Meta::SourceRegister(register(0))])
}

/// Only messages of ICMP that quote a packet, by as many rules.
fn errors(family: &Family) -> Vec<Vec<Expressions>> {
    let of = |number: u8| vec![Part::Protocol.load(family, 0), equal(0, vec![number]), icmp_type()];
    if is_ipv4(family) {
        ERRORS.iter().map(|kind| [of(ICMP), vec![equal(0, vec![*kind])]].concat()).collect()
    } else {
        vec![[of(ICMPV6), vec![at_most(0, vec![LAST_ERROR_V6])]].concat()]
    }
}

fn of_type(ethertype: u16) -> Vec<Expressions> {
    vec![meta(MetaKey::EtherTypeProtocol, 0), equal(0, ethertype.to_be_bytes().to_vec())]
}

fn of_frames(family: &Family) -> Vec<Expressions> {
    of_type(if is_ipv4(family) { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 })
}

/// The chain for packets that `inet hcnd_dip` may put back itself.
fn restore(family: &Family) -> String {
    family.set(RESTORE)
}

/// Rules of IP.
fn routed() -> Vec<Plain> {
    let mut messages = vec![hooked(POSTROUTING, "filter", InetHookNumber::PostRouting, LAST)];
    messages.extend(FAMILIES.map(|family| chain(&restore(family))));
    for (id, family) in (1..).zip(FAMILIES) {
        let address = Type::address(family);
        let front = [address, Type::Protocol, Type::Port, address];
        messages.push(map_of(&family.set(FRONTS), &front, Data::Values(vec![Type::Mark])).message(id));
    }
    for family in FAMILIES {
        let front =
            [Part::OriginalDestination, Part::OriginalProtocol, Part::OriginalPort, Part::Destination];
        let marked = [map(&family.set(FRONTS)), set_mark(), goto(&restore(family))];
        let known = of_family(family).into_iter().chain(originals()).chain(key(family, &front));
        messages.push(rule(POSTROUTING, known.chain(marked)));

        let name = restore(family);
        let unsigned = [priority(), compare(0, Operator::NotEqual, BRIDGED.to_ne_bytes().to_vec())];
        messages.push(rule(&name, unsigned.into_iter().chain([decide(NF_ACCEPT)])));
        let sent = || Part::OriginalDestination.load(family, 0);
        for error in errors(family) {
            let when = of_family(family).into_iter().chain(error);
            messages.push(rule(&name, when.chain([sent(), write_quoted(family, End::Source)])));
        }
        let when = of_family(family).into_iter();
        messages.push(rule(&name, when.chain([sent(), write(family, End::Destination)])));
    }
    messages
}

/// Rules of bridges.
fn bridged() -> Vec<Plain> {
    let mut messages = vec![
        hooked(PREROUTING, "filter", InetHookNumber::PreRouting, FIRST),
        hooked(POSTROUTING, "filter", InetHookNumber::PostRouting, LAST),
    ];
    messages.extend((1..).zip(sets()).map(|(id, set)| set.message(id)));
    for (chain, link) in [(PREROUTING, MetaKey::Iifname), (POSTROUTING, MetaKey::Oifname)] {
        messages.push(rule(chain, [meta(link, 0), lookup_not(PORTS), decide(NF_ACCEPT)]));
    }
    for family in FAMILIES {
        messages.extend(from_port(family));
        messages.extend(to_port(family));
    }
    let arp = |base| payload(NFT_PAYLOAD_NETWORK_HEADER, base, 4, 4);
    let sender = Expressions::Payload(overwrite(NFT_PAYLOAD_NETWORK_HEADER, ARP_SENDER, 4));
    let asking = [meta(MetaKey::Iifname, 0), arp(ARP_SENDER), map("own4"), sender];
    messages.push(rule(PREROUTING, of_type(ETHERTYPE_ARP).into_iter().chain(asking)));
    let asked = [meta(MetaKey::Oifname, 0), arp(ARP_TARGET), lookup(UNASKED), decide(NF_DROP)];
    messages.push(rule(POSTROUTING, of_type(ETHERTYPE_ARP).into_iter().chain(asked)));
    // What was not marked may yet be shown to the rules of IP.
    messages.push(rule(POSTROUTING, [constant(0, BRIDGED.to_ne_bytes().to_vec()), set_priority()]));
    messages
}

/// What the endpoint sends.
fn from_port(family: &Family) -> Vec<Plain> {
    let own = || map(&family.set(OWN));
    let mut messages = Vec::new();
    for error in errors(family) {
        let offset = QUOTED + End::Destination.offset(family);
        let about = payload(NFT_PAYLOAD_TRANSPORT_HEADER, offset, family.length, 4);
        let then = [meta(MetaKey::Iifname, 0), about, own(), write_quoted(family, End::Destination)];
        messages.push(rule(PREROUTING, of_frames(family).into_iter().chain(error).chain(then)));
    }
    let source = payload(NFT_PAYLOAD_NETWORK_HEADER, End::Source.offset(family), family.length, 4);
    let then = [meta(MetaKey::Iifname, 0), source, own(), write(family, End::Source)];
    messages.push(rule(PREROUTING, of_frames(family).into_iter().chain(then)));
    messages
}

/// What it gets.
fn to_port(family: &Family) -> Vec<Plain> {
    let sent = || [meta(MetaKey::Oifname, 0), meta(MetaKey::Mark, 4), map(&family.set(SENT))];
    let mut messages = Vec::new();
    for error in errors(family) {
        let when = of_frames(family).into_iter().chain(error).chain(sent());
        messages.push(rule(POSTROUTING, when.chain([write_quoted(family, End::Source)])));
    }
    let when = of_frames(family).into_iter().chain(sent());
    let then = [write(family, End::Destination), decide(NF_ACCEPT)];
    messages.push(rule(POSTROUTING, when.chain(then)));
    messages
}

fn sets() -> Vec<Set> {
    let mut sets = vec![set(PORTS, &[Type::Ifname], false), set(UNASKED, &[Type::Ifname, Type::Ipv4], false)];
    for family in FAMILIES {
        let address = Type::address(family);
        let named = |stem: &str, key: Type| {
            map_of(&family.set(stem), &[Type::Ifname, key], Data::Values(vec![address]))
        };
        sets.extend([named(SENT, Type::Mark), named(OWN, address)]);
    }
    sets
}

/// A message about the table of rules of IP, or of bridges.
fn in_inet(message: Plain) -> Message {
    beside::of(NetfilterProtoFamily::Inet, TABLE, message)
}

fn in_bridge(message: Plain) -> Message {
    beside::of(NetfilterProtoFamily::Bridge, TABLE, message)
}

fn tables(owned: bool) -> Vec<Message> {
    let inet = [beside::new_table(owned)].into_iter().chain(routed()).map(in_inet);
    let bridge = [beside::new_table(owned)].into_iter().chain(bridged()).map(in_bridge);
    inet.chain(bridge).collect()
}

fn no_tables() -> [Message; 2] {
    [in_inet(beside::no_table()), in_bridge(beside::no_table())]
}

/// The numbers that stand for the addresses of front ends at one port: any will do that are not those of others there, but
/// they follow from the address, so that they are the same after a restart. None is zero.
fn numbers(preserved: &Preserved) -> BTreeMap<IpAddr, u32> {
    let mut numbers = BTreeMap::new();
    for front in &preserved.fronts {
        if numbers.contains_key(&front.address) {
            continue;
        }
        // FNV-1a.
        let hash = |hash: u32, octet: u8| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
        let mut number = octets(front.address).into_iter().fold(0x811c_9dc5, hash);
        while number == 0 || numbers.values().any(|other| *other == number) {
            number = number.wrapping_add(1);
        }
        numbers.insert(front.address, number);
    }
    numbers
}

/// The elements of both tables: what has to be there before packets are marked comes first.
fn elements_of(preserved: &Preserved) -> (Vec<Element>, Vec<Element>) {
    let port = ifname(&preserved.port);
    let numbers = numbers(preserved);
    let (mut bridge, mut inet) = (vec![Element::new(PORTS.to_owned(), port.clone())], Vec::new());
    for front in &preserved.fronts {
        let family = family_of(front.address);
        let number = numbers[&front.address].to_ne_bytes();
        let [address, backend] = [front.address, front.backend].map(octets);
        let at_port = |stem: &str, key: &[u8], value: &[u8]| {
            let key = [&port[..], key].concat();
            Element::with(family.set(stem), key, Value::Octets(value.to_vec()))
        };
        bridge.push(at_port(SENT, &number, &address));
        bridge.push(at_port(OWN, &address, &backend));
        if front.address.is_ipv4() {
            bridge.push(Element::new(UNASKED.to_owned(), [&port[..], &address].concat()));
        }
        let [protocol, number_of_port] = [word(&[front.protocol as u8]), word(&front.port.to_be_bytes())];
        let key = [address, protocol, number_of_port, backend].concat();
        inet.push(Element::with(family.set(FRONTS), key, Value::Octets(number.to_vec())));
    }
    for elements in [&mut bridge, &mut inet] {
        elements.sort_by(|one, other| (&one.set, &one.key).cmp(&(&other.set, &other.key)));
        elements.dedup();
    }
    (bridge, inet)
}

fn change(bridge: &[Element], inet: &[Element], delete: bool) -> Vec<Message> {
    let bridge = elements::messages(bridge, delete).into_iter().map(in_bridge);
    bridge.chain(elements::messages(inet, delete).into_iter().map(in_inet)).collect()
}

/// The messages that make an endpoint's part; the first one needs the tables, which are owned or not.
pub(crate) fn preserve(preserved: &Preserved, first: Option<bool>) -> Vec<Message> {
    let mut messages = first.map(tables).unwrap_or_default();
    let (bridge, inet) = elements_of(preserved);
    messages.extend(change(&bridge, &inet, false));
    messages
}

/// The messages that take an endpoint's part away; the last one takes the tables along.
pub(crate) fn preserve_no_more(preserved: &Preserved, last: bool) -> Vec<Message> {
    if last {
        return no_tables().into();
    }
    let (bridge, inet) = elements_of(preserved);
    change(&bridge, &inet, true)
}

/// The messages that make one part another one of the same port.
pub(crate) fn preserve_otherwise(from: &Preserved, to: &Preserved) -> Vec<Message> {
    let ((from_bridge, from_inet), (to_bridge, to_inet)) = (elements_of(from), elements_of(to));
    let (gone_bridge, come_bridge) = elements::differing(&from_bridge, &to_bridge);
    let (gone_inet, come_inet) = elements::differing(&from_inet, &to_inet);
    let mut messages = change(&gone_bridge, &gone_inet, true);
    messages.extend(change(&come_bridge, &come_inet, false));
    messages
}

/// Puts the tables of an earlier hcnd into the state that the wanted objects mean, in one transaction.
pub(crate) fn take_over_preserved<'a>(
    wire: &mut Wire,
    socket: &Socket,
    owned: bool,
    wanted: impl Iterator<Item = &'a Preserved>,
) -> Result<(), OpError> {
    let mut messages = Vec::new();
    for (family, name, gone) in [
        (NetfilterProtoFamily::Inet, "inet hcnd_dip", in_inet as fn(Plain) -> Message),
        (NetfilterProtoFamily::Bridge, "bridge hcnd_dip", in_bridge),
    ] {
        let there = beside::is_there(wire, socket, family, TABLE);
        if there.map_err(beside::not_taken_over(name))? {
            messages.push(gone(beside::no_table()));
        }
    }
    for (index, preserved) in wanted.enumerate() {
        messages.extend(preserve(preserved, (index == 0).then_some(owned)));
    }
    beside::write(wire, socket, messages).map_err(beside::not_taken_over("inet hcnd_dip"))
}

#[cfg(test)]
mod tests {
    use hcn_dataplane::{PreservedFront, Protocol};

    use super::*;

    #[test]
    fn each_address_has_a_number_of_its_own_and_keeps_it() {
        let front = |address: &str, port| PreservedFront {
            address: address.parse().unwrap(),
            protocol: Protocol::Tcp,
            port,
            backend: "10.7.0.2".parse().unwrap(),
        };
        let all: Vec<PreservedFront> = (0..=255)
            .flat_map(|n| [front(&format!("198.18.0.{n}"), 80), front(&format!("198.18.0.{n}"), 81)])
            .collect();
        let fewer = all[100..].to_vec();
        let of = |fronts| numbers(&Preserved { port: "hve1".to_owned(), fronts });
        let numbers = of(all);
        let mut apart: Vec<u32> = numbers.values().copied().collect();
        apart.sort_unstable();
        apart.dedup();
        assert_eq!(apart.len(), 256);
        assert!(of(fewer).iter().all(|(address, number)| numbers[address] == *number));
    }
}
