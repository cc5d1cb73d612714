//! Endpoints that exchange nothing with others: frames between their ports and others are dropped by the table `bridge
//! hcnd`, packets that the host would route from the bridge back onto it by `ip hcnd` and `ip6 hcnd`. The tables are there
//! only while there are such endpoints: a frame on a host without any pays nothing.

use std::net::IpAddr;

use hcn_dataplane::{Isolation, OpError};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{InetHookNumber, NfTablesMessage};

use super::TABLE;
use super::beside::{self, Message};
use super::elements::{self, Element, ifname, octets};
use super::expressions::{Family, NF_ACCEPT, NF_DROP, Part, V4, V6, decide, key, lookup, rule};
use super::maps::{Type, set};
use super::skeleton::hooked;
use crate::socket::{Socket, Wire};

const FORWARD: &str = "forward";
/// Ports of isolated endpoints.
const ISOLATED: &str = "isolated";
/// Pairs of ports that exchange frames nevertheless.
const PERMITTED: &str = "permitted";

const FAMILIES: [NetfilterProtoFamily; 3] =
    [NetfilterProtoFamily::Bridge, NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6];

/// The messages that isolate an endpoint; the first one needs the tables.
pub(crate) fn isolate(isolation: &Isolation, first: bool) -> Vec<Message> {
    let mut messages = if first { tables() } else { Vec::new() };
    messages.extend(elements_of(isolation, false));
    messages
}

/// The messages that let an endpoint meet others again; the last one takes the tables along.
pub(crate) fn release(isolation: &Isolation, last: bool) -> Vec<Message> {
    if last { FAMILIES.map(gone).into() } else { elements_of(isolation, true) }
}

fn gone(family: NetfilterProtoFamily) -> Message {
    beside::of(family, TABLE, beside::no_table())
}

fn tables() -> Vec<Message> {
    let forward = || hooked(FORWARD, "filter", InetHookNumber::Forward, 0);
    let mut messages = Vec::new();
    for (id, family) in (1..).step_by(2).zip(FAMILIES) {
        let mut add = |message| messages.push(beside::of(family, TABLE, message));
        add(beside::new_table(false));
        add(forward());
        let routed = match family {
            NetfilterProtoFamily::IPv4 => Some((Type::Ipv4, &V4)),
            NetfilterProtoFamily::IPv6 => Some((Type::Ipv6, &V6)),
            _ => None,
        };
        match routed {
            Some((address, family)) => {
                add(set(ISOLATED, &[Type::Ifname, Type::Ifname, address], false).message(id));
                between(family).into_iter().for_each(&mut add);
            }
            None => {
                add(set(ISOLATED, &[Type::Ifname], false).message(id));
                add(set(PERMITTED, &[Type::Ifname, Type::Ifname], false).message(id + 1));
                let when = |parts: &[Part], set: &str, verdict: u32| {
                    rule(FORWARD, key(&V4, parts).into_iter().chain([lookup(set), decide(verdict)]))
                };
                add(when(&[Part::Input, Part::Output], PERMITTED, NF_ACCEPT));
                add(when(&[Part::Input], ISOLATED, NF_DROP));
                add(when(&[Part::Output], ISOLATED, NF_DROP));
            }
        }
    }
    messages
}

/// What comes from a bridge and goes back onto it, from an isolated endpoint or to one.
fn between(family: &Family) -> Vec<(u16, NfTablesMessage)> {
    let of_network = |end: Part| key(family, &[Part::Input, Part::Output, end]);
    let drops = |end| rule(FORWARD, of_network(end).into_iter().chain([lookup(ISOLATED), decide(NF_DROP)]));
    vec![drops(Part::Source), drops(Part::Destination)]
}

fn elements_of(isolation: &Isolation, delete: bool) -> Vec<Message> {
    let port = ifname(&isolation.port);
    let bridge = ifname(&isolation.bridge);
    let element = |set: &str, key: Vec<u8>| Element::new(set.to_owned(), key);
    let mut by_family = FAMILIES.map(|family| (family, Vec::new()));
    by_family[0].1.push(element(ISOLATED, port.clone()));
    for outside in &isolation.outside {
        let outside = ifname(outside);
        by_family[0].1.push(element(PERMITTED, [port.clone(), outside.clone()].concat()));
        by_family[0].1.push(element(PERMITTED, [outside, port.clone()].concat()));
    }
    for address in &isolation.addresses {
        let family = if matches!(address, IpAddr::V4(_)) { 1 } else { 2 };
        let key = [bridge.clone(), bridge.clone(), octets(*address)].concat();
        by_family[family].1.push(element(ISOLATED, key));
    }
    let messages = |(family, elements): (NetfilterProtoFamily, Vec<Element>)| {
        let messages = elements::messages(&elements, delete);
        messages.into_iter().map(move |message| beside::of(family, TABLE, message))
    };
    by_family.into_iter().flat_map(messages).collect()
}

/// Puts the tables of an earlier hcnd into the state that the wanted objects mean, in one transaction.
pub(crate) fn take_over_isolation<'a>(
    wire: &mut Wire,
    socket: &Socket,
    wanted: impl Iterator<Item = &'a Isolation>,
) -> Result<(), OpError> {
    let failed = beside::not_taken_over("bridge hcnd");
    let there = beside::is_there(wire, socket, NetfilterProtoFamily::Bridge, TABLE).map_err(&failed)?;
    let mut messages: Vec<Message> = Vec::new();
    if there {
        messages.extend(FAMILIES.map(gone));
    }
    let mut first = true;
    for isolation in wanted {
        messages.extend(isolate(isolation, std::mem::take(&mut first)));
    }
    beside::write(wire, socket, messages).map_err(failed)
}
