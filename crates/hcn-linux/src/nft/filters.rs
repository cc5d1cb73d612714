//! Filters and address sets: the table `inet hcnd_filter`, in each network namespace that has some, and there only while
//! it has. A packet is looked up as one from an endpoint, and in a chain of its own as one for an endpoint: what accepts it
//! there ends the asking of that endpoint alone, so that both must let it pass. What answers passes, and what finds
//! neighbours.
//!
//! Where the host carries packets, an endpoint is known by the bridge and its addresses; where its own link does, by the
//! link. Maps lead to the endpoint's chains: endpoints come and go as elements, and a packet pays two lookups, however
//! many there are.

mod layout;
mod matching;
mod sets;
mod take_over;

use hcn_dataplane::{Filter, Site};
use netlink_packet_netfilter::nftables::{Expressions, InetHookNumber, NfTablesMessage};

pub(crate) use layout::Layout;
pub(crate) use sets::{set_changes, set_gone, set_new};
pub(crate) use take_over::{Contents, anew, inside, none};

use super::beside::{self, within, without_chain, without_set};
use super::elements::{self, Element};
use super::expressions::{
    FAMILIES, Family, NF_ACCEPT, Part, V4, V6, at_least, at_most, decide, equal, icmp_type, key, of_family,
    port_of, related, replies, rule, verdict_map,
};
use super::maps::{Data, Set, Type};
use super::skeleton::hooked;

/// The table's name.
pub(super) const TABLE: &str = "hcnd_filter";
/// Protocols that have ports.
const WITH_PORTS: &str = "with_ports";
/// Where packets from an endpoint go, by bridge and address.
const FROM: &str = "from";
/// Where packets to an endpoint go.
const TO: &str = "to";
/// The same of addresses that are the host's, by address alone.
const HOST_FROM: &str = "host_from";
const HOST_TO: &str = "host_to";
/// Where packets that come in by a link go.
const COMING: &str = "coming";
/// Where packets that leave by a link go.
const LEAVING: &str = "leaving";

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
/// Types of ICMPv6 messages, from the first to the last: those that find routers and neighbours (RFC 4861), and those by
/// which switches learn who is to get them (RFC 2710, RFC 3810).
const NEIGHBOURS: [(u8, u8); 2] = [(130, 136), (143, 143)];

/// Of a host and of one that has no address yet (RFC 2131, RFC 8415): client and server.
const DHCP: [(&Family, u16, u16); 2] = [(&V4, 68, 67), (&V6, 546, 547)];

pub(crate) use super::beside::Message;

/// Chains and maps that come and go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// For packets that the host carries.
    Carried,
    /// For packets of the namespace's own links.
    Links,
}

impl Group {
    /// Which one a filter needs.
    pub(crate) fn of(filter: &Filter) -> Self {
        if matches!(filter.site, Site::Link(_)) { Self::Links } else { Self::Carried }
    }

    fn chains(self) -> Vec<Chain> {
        let chain = |name, hook, map, parts| Chain { name, hook, map, parts, priority: 0 };
        match self {
            Self::Carried => vec![
                chain("forward_from", InetHookNumber::Forward, FROM, &[Part::Input, Part::Source][..]),
                chain("forward_to", InetHookNumber::Forward, TO, &[Part::Output, Part::Destination]),
                chain("input_from", InetHookNumber::LocalIn, FROM, &[Part::Input, Part::Source]),
                chain("input_to", InetHookNumber::LocalIn, HOST_TO, &[Part::Destination]),
                chain("output_from", InetHookNumber::LocalOut, HOST_FROM, &[Part::Source]),
                chain("output_to", InetHookNumber::LocalOut, TO, &[Part::Output, Part::Destination]),
            ],
            // Before destinations are translated, and before sources are.
            Self::Links => vec![
                Chain {
                    priority: -150,
                    ..chain("coming_in", InetHookNumber::PreRouting, COMING, &[Part::Input])
                },
                Chain {
                    priority: 50,
                    ..chain("going_out", InetHookNumber::PostRouting, LEAVING, &[Part::Output])
                },
            ],
        }
    }

    fn maps(self) -> Vec<Set> {
        let map = |name: String, key: Vec<Type>| Set {
            name,
            key,
            data: Some(Data::Verdicts),
            interval: false,
            timeout: None,
        };
        match self {
            Self::Carried => FAMILIES
                .into_iter()
                .flat_map(|family| {
                    let address = Type::address(family);
                    let of_bridge = |stem| map(family.set(stem), vec![Type::Ifname, address]);
                    let of_host = |stem| map(family.set(stem), vec![address]);
                    [of_bridge(FROM), of_bridge(TO), of_host(HOST_FROM), of_host(HOST_TO)]
                })
                .collect(),
            Self::Links => [COMING, LEAVING].map(|name| map(name.to_owned(), vec![Type::Ifname])).into(),
        }
    }
}

/// A chain that packets enter by.
struct Chain {
    name: &'static str,
    hook: InetHookNumber,
    priority: i32,
    /// The map that leads on.
    map: &'static str,
    /// Its key.
    parts: &'static [Part],
}

impl Chain {
    fn rules(&self) -> Vec<(u16, NfTablesMessage)> {
        let accept =
            |conditions: Vec<Expressions>| rule(self.name, conditions.into_iter().chain([decide(NF_ACCEPT)]));
        let mut rules = Vec::new();
        // What the host sends to itself reaches no endpoint.
        let within = match self.name {
            "input_to" => Some(Part::Input),
            "output_from" => Some(Part::Output),
            _ => None,
        };
        rules.extend(within.map(|link| accept(vec![link.load(&V4, 0), equal(0, elements::ifname("lo"))])));
        rules.push(accept(replies()));
        rules.push(accept(related()));
        for (first, last) in NEIGHBOURS {
            let mut conditions = of_family(&V6);
            conditions.extend([Part::Protocol.load(&V6, 0), equal(0, vec![ICMPV6]), icmp_type()]);
            if first == last {
                conditions.push(equal(0, vec![first]));
            } else {
                conditions.extend([at_least(0, vec![first]), at_most(0, vec![last])]);
            }
            rules.push(accept(conditions));
        }
        let to_server = match self.name {
            "input_from" | "going_out" => Some(true),
            "output_to" | "coming_in" => Some(false),
            _ => None,
        };
        for (family, client, server) in DHCP.into_iter().filter(|_| to_server.is_some()) {
            let (from, to) = if to_server == Some(true) { (client, server) } else { (server, client) };
            let mut conditions = of_family(family);
            conditions.extend([Part::Protocol.load(family, 0), equal(0, vec![UDP])]);
            conditions.extend([port_of(false), equal(0, from.to_be_bytes().to_vec())]);
            conditions.extend([port_of(true), equal(0, to.to_be_bytes().to_vec())]);
            rules.push(accept(conditions));
        }
        match self.parts {
            // Names of links are the same for both families.
            [Part::Input | Part::Output] => {
                rules.push(rule(self.name, key(&V4, self.parts).into_iter().chain([verdict_map(self.map)])));
            }
            _ => rules.extend(FAMILIES.map(|family| {
                let expressions = of_family(family).into_iter().chain(key(family, self.parts));
                rule(self.name, expressions.chain([verdict_map(&family.set(self.map))]))
            })),
        }
        rules
    }
}

/// The messages that make the table.
pub(crate) fn new_table(own: bool) -> Vec<Message> {
    let mut messages = vec![beside::new_table(own)];
    let set = Set {
        name: WITH_PORTS.to_owned(),
        key: vec![Type::Protocol],
        data: None,
        interval: false,
        timeout: None,
    };
    messages.push(set.message(1));
    let elements = [TCP, UDP, SCTP].map(|protocol| Element::new(WITH_PORTS.to_owned(), vec![protocol]));
    messages.extend(elements::messages(&elements, false));
    messages.into_iter().map(ours).collect()
}

/// The message that takes the table away, with all that is in it.
pub(crate) fn no_table() -> Message {
    ours(beside::no_table())
}

/// The messages that make a group.
pub(crate) fn new_group(group: Group) -> Vec<Message> {
    let mut messages: Vec<_> = group.maps().iter().map(|map| map.message(1)).collect();
    for chain in group.chains() {
        messages.push(hooked(chain.name, "filter", chain.hook, chain.priority));
        messages.extend(chain.rules());
    }
    messages.into_iter().map(ours).collect()
}

/// The messages that take a group away, whose maps are empty.
pub(crate) fn no_group(group: Group) -> Vec<Message> {
    let chains = group.chains().into_iter().map(|chain| without_chain(chain.name));
    let maps = group.maps().into_iter().map(|map| without_set(&map.name));
    chains.chain(maps).map(ours).collect()
}

/// A message about this table, made from one about the main one.
fn ours(message: (u16, NfTablesMessage)) -> Message {
    within(TABLE, message)
}
