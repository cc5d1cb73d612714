//! What endpoints' own policies translate: which proxy their connections go to, and whose address they leave with. The
//! table `inet hcnd_nat` is there only while there is such an endpoint, so that on a host without any a connection pays
//! nothing; each has chains of its own, found by its address.
//!
//! The hooks stand just before those of the table `inet hcnd`, and a connection that is translated here is not asked
//! about there: so one that is to keep its source is "translated" to it. What is left undecided goes on as without
//! policies. Connections that a service leads elsewhere are left to the service, which may hide the client; those that
//! a proxy gets are not, and where the proxy is a neighbour on the same bridge they are masqueraded, since it would
//! answer past the host.

use std::net::IpAddr;

use hcn_dataplane::{
    Diversion, DiversionRule, Family as Of, Object, OpError, Outbound, OutboundRule, Source,
};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{Expressions, InetHookNumber, NfTablesMessage, Operator, Verdict};

use super::beside::{
    Message, absent, is_there, new_table, not_taken_over, verdicts, within, without_chain, without_rules,
    write,
};
use super::elements::{self, Element, Value, ifname, octets};
use super::expressions::{
    FAMILIES, Family, NF_ACCEPT, NF_RETURN, Part, V4, V6, compare, constant, decide, dnat, dnat_address,
    equal, goto, jump, key, masquerade, of_family, rule, snat, to_chain, to_many, translated, verdict_map,
};
use super::maps::Type;
use super::matches::{self, Packets, WITH_PORTS, constant_socket, family_of, of_protocol};
use super::skeleton::{chain, hooked};
use crate::socket::{Socket, Wire};

pub(super) const TABLE: &str = "hcnd_nat";
const PREROUTING: &str = "prerouting";
const POSTROUTING: &str = "postrouting";
/// Bridges and addresses of endpoints whose connections may go to a proxy.
const DIVERTED: &str = "diverted";
/// For connections that were led elsewhere; addresses of endpoints that have a proxy.
const PROXIED: &str = "proxied";
/// For the others; addresses of endpoints that say whose address they leave with.
const OUTBOUND: &str = "outbound";

type Plain = (u16, NfTablesMessage);

/// The messages that make an endpoint's part; the first one needs the table, which is owned or not.
pub(crate) fn translate(object: &Object, first: Option<bool>) -> Vec<Message> {
    let mut messages = first.map(skeleton).unwrap_or_default();
    match object {
        Object::Outbound(outbound) => messages.extend(leaving(outbound)),
        Object::Diversion(diversion) => messages.extend(diverting(diversion)),
        _ => return Vec::new(),
    }
    messages.extend(elements::messages(&elements_of(object), false));
    messages.into_iter().map(|message| within(TABLE, message)).collect()
}

/// The messages that take an endpoint's part away; the last one takes the table along.
pub(crate) fn leave_alone(object: &Object, last: bool) -> Vec<Message> {
    if last {
        return absent(TABLE).into();
    }
    let mut messages = elements::messages(&elements_of(object), true);
    let chains = chains_of(object);
    messages.extend(chains.iter().map(|name| without_rules(name)));
    messages.extend(chains.iter().map(|name| without_chain(name)));
    messages.into_iter().map(|message| within(TABLE, message)).collect()
}

fn skeleton(owned: bool) -> Vec<Plain> {
    let mut messages = vec![
        new_table(owned),
        hooked(PREROUTING, "nat", InetHookNumber::PreRouting, -101),
        hooked(POSTROUTING, "nat", InetHookNumber::PostRouting, 99),
        chain(PROXIED),
        chain(OUTBOUND),
    ];
    let types = |family: &Family| if family.suffix == '4' { Type::Ipv4 } else { Type::Ipv6 };
    for (id, family) in (1..).step_by(3).zip(FAMILIES) {
        let address = types(family);
        messages.push(verdicts(&family.set(DIVERTED), &[Type::Ifname, address], id));
        messages.push(verdicts(&family.set(PROXIED), &[address], id + 1));
        messages.push(verdicts(&family.set(OUTBOUND), &[address], id + 2));
    }
    let known = |chain: &str, family: &Family, parts: &[Part], stem: &str| {
        let expressions = of_family(family).into_iter().chain(key(family, parts));
        rule(chain, expressions.chain([verdict_map(&family.set(stem))]))
    };
    let host = [Part::Output.load(&V4, 0), equal(0, ifname("lo")), decide(NF_ACCEPT)];
    messages.push(rule(POSTROUTING, host));
    // No proxy is meant for what asks all neighbours.
    messages.push(rule(PREROUTING, to_many().into_iter().chain([decide(NF_ACCEPT)])));
    messages.push(rule(POSTROUTING, translated().into_iter().chain([goto(PROXIED)])));
    messages.push(rule(POSTROUTING, [goto(OUTBOUND)]));
    for family in FAMILIES {
        messages.push(known(PREROUTING, family, &[Part::Input, Part::Source], DIVERTED));
        messages.push(known(PROXIED, family, &[Part::Source], PROXIED));
        messages.push(known(OUTBOUND, family, &[Part::Source], OUTBOUND));
    }
    messages
}

/// The chains of an endpoint: who jumps before where it jumps to.
fn chains_of(object: &Object) -> Vec<String> {
    match object {
        Object::Outbound(outbound) => vec![own(OUTBOUND, &outbound.port)],
        Object::Diversion(Diversion { port, rules, .. }) => {
            let each = (0..rules.len()).map(|index| numbered(port, index));
            [own(DIVERTED, port), own(PROXIED, port)].into_iter().chain(each).collect()
        }
        _ => Vec::new(),
    }
}

/// The chain that says whose address packets of an endpoint leave with.
pub(super) fn outbound(port: &str) -> String {
    own(OUTBOUND, port)
}

/// The chain that sends connections of an endpoint to proxies.
pub(super) fn diverted(port: &str) -> String {
    own(DIVERTED, port)
}

fn own(stem: &str, port: &str) -> String {
    format!("{stem}_{port}")
}

fn numbered(port: &str, index: usize) -> String {
    format!("{DIVERTED}_{port}_{index}")
}

fn elements_of(object: &Object) -> Vec<Element> {
    let element = |stem: &str, address: &IpAddr, key: Vec<u8>, port: &str| {
        let verdict = Value::Verdict(to_chain(Verdict::Goto, &own(stem, port)));
        Element::with(family_of(*address).set(stem), key, verdict)
    };
    let mut elements: Vec<Element> = match object {
        Object::Outbound(Outbound { port, addresses, .. }) => {
            addresses.iter().map(|address| element(OUTBOUND, address, octets(*address), port)).collect()
        }
        Object::Diversion(Diversion { port, bridge, addresses, .. }) => addresses
            .iter()
            .flat_map(|address| {
                let key = [ifname(bridge), octets(*address)].concat();
                [element(DIVERTED, address, key, port), element(PROXIED, address, octets(*address), port)]
            })
            .collect(),
        _ => Vec::new(),
    };
    elements.sort_by(|one, other| one.set.cmp(&other.set));
    elements
}

fn leaving(outbound: &Outbound) -> Vec<Plain> {
    let name = own(OUTBOUND, &outbound.port);
    let mut messages = vec![chain(&name)];
    for wanted in &outbound.rules {
        let OutboundRule { family, destinations, exceptions, source } = wanted;
        let family = match family {
            Of::V4 => &V4,
            Of::V6 => &V6,
        };
        let to = |prefixes: &[_]| Packets { destination: prefixes, ..Packets::default() }.conditions(family);
        if !exceptions.is_empty() {
            let kept = || [Part::Source.load(family, 0), snat(family)];
            messages
                .extend(to(exceptions).into_iter().map(|when| rule(&name, when.into_iter().chain(kept()))));
        }
        let then = match source {
            Source::Client => vec![Part::Source.load(family, 0), snat(family)],
            Source::Address(address) => vec![constant(0, octets(*address)), snat(family)],
            Source::Masquerade => vec![masquerade()],
        };
        for mut when in to(destinations) {
            if destinations.is_empty() {
                when.push(Part::Output.load(&V4, 0));
                when.push(compare(0, Operator::NotEqual, ifname(&outbound.bridge)));
            }
            messages.push(rule(&name, when.into_iter().chain(then.iter().cloned())));
        }
    }
    messages
}

fn diverting(diversion: &Diversion) -> Vec<Plain> {
    let Diversion { port, bridge, rules, .. } = diversion;
    let (to_proxy, of_proxy) = (own(DIVERTED, port), own(PROXIED, port));
    let mut messages = vec![chain(&to_proxy), chain(&of_proxy)];
    for (index, wanted) in rules.iter().enumerate() {
        let name = numbered(port, index);
        messages.push(chain(&name));
        messages.push(rule(&to_proxy, [jump(&name)]));
        messages.extend(to_one(&name, wanted));
        messages.extend(from_one(&of_proxy, bridge, wanted));
    }
    messages
}

/// What leads connections to the proxy.
fn to_one(chain: &str, wanted: &DiversionRule) -> Vec<Plain> {
    let family = family_of(wanted.proxy.ip());
    let mut messages = Vec::new();
    if !wanted.exceptions.is_empty() {
        let left = Packets { destination: &wanted.exceptions, ..Packets::default() }.conditions(family);
        messages
            .extend(left.into_iter().map(|when| rule(chain, when.into_iter().chain([decide(NF_RETURN)]))));
    }
    let (with, without): (Vec<u8>, Vec<u8>) =
        wanted.protocols.iter().partition(|number| WITH_PORTS.contains(*number));
    let any = wanted.protocols.is_empty();
    let to = |protocols: &[u8], ports, then: Vec<Expressions>| {
        let packets = Packets {
            protocols,
            destination: &wanted.destinations,
            destination_ports: ports,
            ..Packets::default()
        };
        let conditions = packets.conditions(family).into_iter();
        conditions.map(|when| rule(chain, when.into_iter().chain(then.iter().cloned()))).collect::<Vec<_>>()
    };
    let with = if any { WITH_PORTS.to_vec() } else { with };
    if !with.is_empty() {
        let mut then = constant_socket(family, wanted.proxy);
        then.push(dnat(family));
        messages.extend(to(&with, &wanted.ports, then));
    }
    if wanted.ports.is_empty() && (any || !without.is_empty()) {
        let then = vec![constant(0, octets(wanted.proxy.ip())), dnat_address(family)];
        messages.extend(to(&without, &[], then));
    }
    messages
}

/// What becomes of the source of connections that the proxy gets.
fn from_one(chain: &str, bridge: &str, wanted: &DiversionRule) -> Vec<Plain> {
    let family = family_of(wanted.proxy.ip());
    let proxy = [wanted.proxy.ip().into()];
    let arrived = of_family(family).into_iter().chain(matches::within(family, Part::Destination, &proxy[0]));
    let arrived: Vec<Expressions> = arrived.collect();
    let alternatives: Vec<Vec<Expressions>> = match wanted.protocols.as_slice() {
        [] => vec![arrived],
        protocols => protocols
            .iter()
            .map(|number| {
                let mut when = [&arrived[..], &of_protocol(*number)].concat();
                if WITH_PORTS.contains(number) {
                    when.push(Part::Port.load(family, 0));
                    when.push(equal(0, wanted.proxy.port().to_be_bytes().to_vec()));
                }
                when
            })
            .collect(),
    };
    let mut messages = Vec::new();
    for when in alternatives {
        if wanted.masquerade {
            messages.push(rule(chain, when.into_iter().chain([masquerade()])));
            continue;
        }
        let beside = [Part::Output.load(&V4, 0), equal(0, ifname(bridge)), masquerade()];
        messages.push(rule(chain, when.iter().cloned().chain(beside)));
        messages.push(rule(chain, when.into_iter().chain([goto(OUTBOUND)])));
    }
    messages
}

/// Puts the table of an earlier hcnd into the state that the wanted objects mean, in one transaction.
pub(crate) fn take_over_translation<'a>(
    wire: &mut Wire,
    socket: &Socket,
    owned: bool,
    wanted: impl Iterator<Item = &'a Object>,
) -> Result<(), OpError> {
    let failed = not_taken_over("inet hcnd_nat");
    let there = is_there(wire, socket, NetfilterProtoFamily::Inet, TABLE).map_err(&failed)?;
    let mut messages = if there { absent(TABLE).to_vec() } else { Vec::new() };
    for (index, object) in wanted.enumerate() {
        messages.extend(translate(object, (index == 0).then_some(owned)));
    }
    write(wire, socket, messages).map_err(failed)
}
