//! Connections that go to a proxy inside of the endpoint's own namespace: the table `inet hcnd_proxy` there. It is small,
//! and the namespace's root may do with it what he wants, so every change writes all of it anew in one transaction.
//!
//! What is begun in the namespace goes to the loopback address instead, as an application beside the proxy would reach
//! it; what comes from outside keeps the address that it came for. Packets by the loopback link are not seen here.

use std::io;

use hcn_dataplane::{Exceptions, Interception, InterceptionRule};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{Expressions, InetHookNumber, NfTablesMessage, Verdict};

use super::beside::{Message, absent, is_there, new_table, verdicts, within};
use super::elements::{self, Element, Value, ifname};
use super::expressions::{
    FAMILIES, Family, NF_RETURN, Part, V4, constant, decide, dnat, dnat_port, jump, of_user, rule, to_chain,
    verdict_map,
};
use super::maps::Type;
use super::matches::{Packets, WITH_PORTS, constant_socket};
use super::skeleton::{chain, hooked};
use crate::socket::{Socket, Wire};

pub(super) const TABLE: &str = "hcnd_proxy";
const OUTPUT: &str = "output";
const PREROUTING: &str = "prerouting";
/// Links by which connections leave that may go to a proxy.
const OUTGOING: &str = "outgoing";
/// Links by which they come.
const INCOMING: &str = "incoming";
/// TCP.
const USUAL: [u8; 1] = [6];

type Plain = (u16, NfTablesMessage);

/// The messages after which the namespace has these interceptions and no others.
pub(crate) fn intercept<'a>(wanted: impl Iterator<Item = &'a Interception>) -> Vec<Message> {
    let mut wanted = wanted.peekable();
    let mut messages: Vec<Message> = absent(TABLE).into();
    if wanted.peek().is_none() {
        return messages;
    }
    let mut plain = skeleton();
    for interception in wanted {
        plain.extend(of_link(interception));
    }
    messages.extend(plain.into_iter().map(|message| within(TABLE, message)));
    messages
}

fn skeleton() -> Vec<Plain> {
    let by = |chain: &str, end: Part, map: &str| rule(chain, [end.load(&V4, 0), verdict_map(map)]);
    vec![
        new_table(false),
        hooked(OUTPUT, "nat", InetHookNumber::LocalOut, -100),
        hooked(PREROUTING, "nat", InetHookNumber::PreRouting, -100),
        verdicts(OUTGOING, &[Type::Ifname], 1),
        verdicts(INCOMING, &[Type::Ifname], 2),
        by(OUTPUT, Part::Output, OUTGOING),
        by(PREROUTING, Part::Input, INCOMING),
    ]
}

/// The chain about what goes out by a link, or comes in.
pub(super) fn chain_of(link: &str, outgoing: bool) -> String {
    let stem = if outgoing { OUTGOING } else { INCOMING };
    format!("{stem}_{link}")
}

fn of_link(interception: &Interception) -> Vec<Plain> {
    let link = &interception.link.name;
    let mut messages = Vec::new();
    let mut elements = Vec::new();
    for (stem, outgoing) in [(OUTGOING, true), (INCOMING, false)] {
        let own = chain_of(link, outgoing);
        messages.push(chain(&own));
        for (index, wanted) in interception.rules.iter().enumerate() {
            let Some(port) = (if outgoing { wanted.outbound } else { wanted.inbound }) else { continue };
            let name = format!("{own}_{index}");
            messages.push(chain(&name));
            messages.push(rule(&own, [jump(&name)]));
            messages.extend(of_rule(&name, wanted, outgoing, port));
        }
        let verdict = Value::Verdict(to_chain(Verdict::Goto, &own));
        elements.push(Element::with(stem.to_owned(), ifname(link), verdict));
    }
    messages.extend(elements::messages(&elements, false));
    messages
}

fn of_rule(chain: &str, wanted: &InterceptionRule, outgoing: bool, port: u16) -> Vec<Plain> {
    let mut messages = Vec::new();
    let mut left = |when: Vec<Expressions>| {
        messages.push(rule(chain, when.into_iter().chain([decide(NF_RETURN)])));
    };
    if let Some(user) = wanted.user.filter(|_| outgoing) {
        left(of_user(user));
    }
    let Exceptions { addresses, ports } =
        if outgoing { &wanted.outbound_exceptions } else { &wanted.inbound_exceptions };
    let protocols = if wanted.protocols.is_empty() { &USUAL[..] } else { &wanted.protocols };
    let protocols: Vec<u8> = protocols.iter().copied().filter(|number| WITH_PORTS.contains(number)).collect();
    if protocols.is_empty() {
        return messages;
    }
    let packets = |family: &Family| match outgoing {
        true => Packets { destination: addresses, ..Packets::default() }.conditions(family),
        false => Packets { source: addresses, ..Packets::default() }.conditions(family),
    };
    for family in FAMILIES {
        if !addresses.is_empty() {
            packets(family).into_iter().for_each(&mut left);
        }
        if !ports.is_empty() {
            let to = Packets { protocols: &protocols, destination_ports: ports, ..Packets::default() };
            to.conditions(family).into_iter().for_each(&mut left);
        }
    }
    for family in FAMILIES {
        let then = if outgoing { to_loopback(family, port) } else { to_port(family, port) };
        let (near, far) = (&wanted.local[..], &wanted.remote[..]);
        let (near_ports, far_ports) = (&wanted.local_ports[..], &wanted.remote_ports[..]);
        let protocols = &protocols[..];
        let meant = match outgoing {
            true => Packets {
                protocols,
                source: near,
                destination: far,
                source_ports: near_ports,
                destination_ports: far_ports,
            },
            false => Packets {
                protocols,
                source: far,
                destination: near,
                source_ports: far_ports,
                destination_ports: near_ports,
            },
        };
        let conditions = meant.conditions(family).into_iter();
        messages.extend(conditions.map(|when| rule(chain, when.into_iter().chain(then.iter().cloned()))));
    }
    messages
}

fn to_loopback(family: &Family, port: u16) -> Vec<Expressions> {
    let loopback = if family.suffix == '4' {
        std::net::Ipv4Addr::LOCALHOST.into()
    } else {
        std::net::Ipv6Addr::LOCALHOST.into()
    };
    let mut then = constant_socket(family, std::net::SocketAddr::new(loopback, port));
    then.push(dnat(family));
    then
}

fn to_port(family: &Family, port: u16) -> Vec<Expressions> {
    vec![constant(0, port.to_be_bytes().to_vec()), dnat_port(family)]
}

/// The messages after which a namespace has what is wanted: none if it has nothing and nothing is.
pub(crate) fn intercept_anew(
    wire: &mut Wire,
    socket: &Socket,
    wanted: &[&Interception],
) -> io::Result<Vec<Message>> {
    if wanted.is_empty() && !is_there(wire, socket, NetfilterProtoFamily::Inet, TABLE)? {
        return Ok(Vec::new());
    }
    Ok(intercept(wanted.iter().copied()))
}
