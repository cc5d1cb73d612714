//! How a connection finds a back end: from its front end to a code, from the code to a chain, from there to a slot.
//!
//! The chains are the same for all services and never change: one for each number of bits of a slot. A slot that is
//! drawn and not taken is missing from the map, so the rule ends there and the next one draws again: each back end
//! has the same chance and takes one element, whatever their number. Six draws miss in 1.6 % of cases at most; then
//! half as many slots are drawn from, all of which are taken. Who stays with a back end is chosen in `affinity.rs`.

use hcn_dataplane::Service;
use netlink_packet_netfilter::nftables::{Expressions, NfTablesMessage, Verdict};

use super::affinity;
use super::elements::{Element, Value};
use super::expressions::{
    FAMILIES, Family, Part, after, dnat, equal, goto, jump, key, lookup, map, masquerade, of_family,
    priority, random, reset, rule, set_priority, snat, to_chain, to_host, translated, unreachable,
    verdict_map, zero,
};
use super::maps::{
    CLIENT_VIPS, DISPATCH, HOST_PORTS, HOST_VIPS, INTERNAL, MASQUERADED_PORTS, MASQUERADED_VIPS, PORT_SLOTS,
    PORT_SOURCES, PORTS, SLOTS, SOURCES, VIPS,
};

pub(super) const VIP: [Part; 3] = [Part::Protocol, Part::Destination, Part::Port];
pub(super) const PORT: [Part; 2] = [Part::Protocol, Part::Port];
const LINK_VIP: [Part; 4] = [Part::Input, Part::Protocol, Part::Destination, Part::Port];
const ORIGINAL_VIP: [Part; 3] = [Part::Protocol, Part::OriginalDestination, Part::OriginalPort];
const ORIGINAL_PORT: [Part; 2] = [Part::Protocol, Part::OriginalPort];

/// Bits of the highest slot.
pub(crate) const HIGHEST_LEVEL: u32 = Service::MOST_BACKENDS.ilog2();
/// How often a slot is drawn before the last resort.
const DRAWS: u32 = 6;
/// TCP.
const TCP: u8 = 6;

/// What becomes of packets to a front end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// There is no back end.
    Refuse,
    Choose {
        /// The front end is a port of every address of the host.
        any_address: bool,
        affinity: bool,
        /// Bits of a slot.
        level: u32,
    },
}

impl Code {
    pub(crate) fn of(service: &Service) -> Self {
        match service.backends.len() {
            0 => Self::Refuse,
            count => Self::Choose {
                any_address: service.frontend.address.is_none(),
                affinity: service.affinity.is_some(),
                level: level(count),
            },
        }
    }

    pub(crate) fn all() -> Vec<Self> {
        let mut codes = vec![Self::Refuse];
        for any_address in [false, true] {
            for affinity in [false, true] {
                codes.extend((0..=HIGHEST_LEVEL).map(|level| Self::Choose { any_address, affinity, level }));
            }
        }
        codes
    }

    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Refuse => 1 << 6,
            Self::Choose { any_address, affinity, level } => {
                level | u32::from(affinity) << 4 | u32::from(any_address) << 5
            }
        }
    }

    /// The chain that it leads to.
    pub(crate) fn chain(self) -> String {
        match self {
            Self::Refuse => NO_BACKEND.to_owned(),
            Self::Choose { any_address, affinity, level } => {
                let kind = if any_address { "port" } else { "vip" };
                let choice = if affinity { "affinity" } else { "random" };
                format!("{kind}_{choice}_{level}")
            }
        }
    }

    fn rules(self) -> Vec<(u16, NfTablesMessage)> {
        let chain = self.chain();
        let Self::Choose { any_address, affinity, level } = self else {
            let of_tcp = [Part::Protocol.load(FAMILIES[0], 0), equal(0, vec![TCP]), reset()];
            return vec![rule(&chain, of_tcp), rule(&chain, [unreachable()])];
        };
        if affinity {
            return affinity::choice(&chain, any_address, level);
        }
        // The packet is as before again.
        let mut rules = vec![rule(&chain, [zero(), set_priority()])];
        for family in FAMILIES {
            let (parts, slots) = if any_address { (&PORT[..], PORT_SLOTS) } else { (&VIP[..], SLOTS) };
            let slot = after(family, parts);
            for modulus in draws(level) {
                let mut expressions = of_family(family);
                expressions.extend(key(family, parts));
                expressions.extend([random(slot, modulus), map(&family.set(slots)), dnat(family)]);
                rules.push(rule(&chain, expressions));
            }
        }
        rules
    }

    fn element(self) -> Element {
        let value = Value::Verdict(to_chain(Verdict::Goto, &self.chain()));
        Element::with(DISPATCH.to_owned(), self.number().to_ne_bytes().to_vec(), value)
    }
}

/// Bits of a slot, where there are so many of them.
pub(super) fn level(count: usize) -> u32 {
    count.next_power_of_two().ilog2()
}

/// From how many slots each draw is made.
pub(crate) fn draws(level: u32) -> Vec<u32> {
    match level {
        // All slots are taken.
        0 | 1 => vec![1 << level],
        _ => (0..DRAWS).map(|_| 1 << level).chain([1 << (level - 1)]).collect(),
    }
}

/// The elements of the map of verdicts.
pub(super) fn dispatch() -> Vec<Element> {
    Code::all().into_iter().map(Code::element).collect()
}

/// The rules of all chains that codes lead to.
pub(super) fn choice() -> Vec<(u16, NfTablesMessage)> {
    Code::all().into_iter().flat_map(Code::rules).chain(affinity::rules()).collect()
}

/// What new connections meet, from outside and from the host itself.
pub(super) fn entry() -> Vec<(u16, NfTablesMessage)> {
    let mut rules = Vec::new();
    for family in FAMILIES {
        rules.push(to_service("prerouting", family, &LINK_VIP, INTERNAL, Vec::new()));
        rules.push(to_service("prerouting", family, &VIP, VIPS, Vec::new()));
        rules.push(to_service("output", family, &VIP, HOST_VIPS, Vec::new()));
    }
    for family in FAMILIES {
        // After the lookup: the routing table need not be asked for ports of no front end.
        let local = || to_host(family, after(family, &PORT));
        rules.push(to_service("prerouting", family, &PORT, PORTS, local()));
        rules.push(to_service("output", family, &PORT, HOST_PORTS, local()));
    }
    rules
}

/// The code travels from one map to the next in the packet's priority: nft 1.0.6 aborts, whoever lists, on a rule that
/// looks up what a map gave. The chain that is reached puts the priority back to what packets begin with.
fn to_service(
    chain: &str,
    family: &Family,
    parts: &[Part],
    codes: &str,
    conditions: Vec<Expressions>,
) -> (u16, NfTablesMessage) {
    let mut expressions = of_family(family);
    expressions.extend(key(family, parts));
    expressions.push(map(&family.set(codes)));
    expressions.extend(conditions);
    expressions.extend([set_priority(), priority(), verdict_map(DISPATCH)]);
    rule(chain, expressions)
}

/// The chains that [`choice`] and [`source`] fill.
pub(super) fn chains() -> Vec<String> {
    let codes = Code::all().into_iter().map(Code::chain);
    codes.chain(affinity::chains()).chain([TRANSLATED, HAIRPIN].map(str::to_owned)).collect()
}

/// For packets to a front end without back ends.
pub(crate) const NO_BACKEND: &str = "no_backend";
/// For packets whose destination was translated.
pub(crate) const TRANSLATED: &str = "translated";
/// For those of them that go back to where they came from.
pub(crate) const HAIRPIN: &str = "hairpin";

/// `ct status dnat jump translated`
pub(super) fn source() -> (u16, NfTablesMessage) {
    rule("postrouting", translated().into_iter().chain([jump(TRANSLATED)]))
}

/// What back ends see as the client.
pub(super) fn sources(own: impl Fn(&Family) -> String) -> Vec<(u16, NfTablesMessage)> {
    let mut rules = Vec::new();
    for family in FAMILIES {
        let when = |parts: &[Part], then: &[Expressions]| {
            let expressions = of_family(family).into_iter().chain(key(family, parts));
            rule(TRANSLATED, expressions.chain(then.iter().cloned()))
        };
        let set = |stem| lookup(&family.set(stem));
        // The most frequent case first. It also keeps a service of an address from what a port of the same number says.
        rules.push(when(&ORIGINAL_VIP, &[set(CLIENT_VIPS), goto(HAIRPIN)]));
        rules.push(when(&ORIGINAL_VIP, &[map(&family.set(SOURCES)), snat(family)]));
        rules.push(when(&ORIGINAL_VIP, &[set(MASQUERADED_VIPS), masquerade()]));
        rules.push(when(&ORIGINAL_PORT, &[map(&family.set(PORT_SOURCES)), snat(family)]));
        rules.push(when(&ORIGINAL_PORT, &[set(MASQUERADED_PORTS), masquerade()]));
    }
    rules.push(rule(TRANSLATED, [goto(HAIRPIN)]));
    for family in FAMILIES {
        // The back end is a neighbour of the client, and would answer it directly.
        let expressions = of_family(family).into_iter().chain(key(family, &[Part::Source, Part::Output]));
        rules.push(rule(HAIRPIN, expressions.chain([lookup(&own(family)), masquerade()])));
    }
    rules
}
