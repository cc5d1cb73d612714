//! What is in the table from the start: chains, sets and the rules that never change. Networks and services come and
//! go as elements.

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, HookNumber, InetHookNumber, NfTablesMessage,
};

use super::expressions::{
    FAMILIES, Family, IFNAME, NF_ACCEPT, Part, V4, decide, equal, key, lookup, masquerade, of_family, rule,
};
use super::{
    MASQUERADED_V4, MASQUERADED_V6, OWN_V4, OWN_V6, TABLE, elements, filter, maps, services, shards, visits,
};

/// All messages after that of the table, with their flags.
pub(super) fn messages() -> Vec<(u16, NfTablesMessage)> {
    // All three nat chains are there from the start and for good: where one is, every connection gets a binding, so
    // that translated and direct flows with equal ports do not collide.
    let mut messages = vec![
        hooked("prerouting", "nat", InetHookNumber::PreRouting, -100),
        hooked("output", "nat", InetHookNumber::LocalOut, -100),
        hooked("postrouting", "nat", InetHookNumber::PostRouting, 100),
        hooked(shards::RAW, "filter", InetHookNumber::PreRouting, -300),
        hooked(filter::FORWARD, "filter", InetHookNumber::Forward, 0),
        hooked(filter::INPUT, "filter", InetHookNumber::LocalIn, 0),
        hooked(filter::OUTPUT, "filter", InetHookNumber::LocalOut, 0),
        chain(filter::LEAVING),
        chain(shards::CROSSING),
        chain(visits::VISITING),
        chain(visits::CALLING),
    ];
    messages.extend(services::chains().iter().map(|name| chain(name)));
    messages.extend((1..).zip(maps::all()).map(|(id, set)| set.message(id)));
    messages.extend(services::choice());
    messages.extend(elements::messages(&services::dispatch(), false));
    messages.extend(services::entry());
    messages.push(local());
    messages.push(services::source());
    messages.extend(services::sources(|family| own(family).to_owned()));
    for family in FAMILIES {
        messages.push(stays(family));
        messages.push(leaves(family));
    }
    messages.extend(filter::rules());
    messages.extend(visits::rules());
    messages.extend(shards::rules());
    messages
}

pub(super) fn hooked(name: &str, kind: &str, hook: InetHookNumber, priority: i32) -> (u16, NfTablesMessage) {
    let attributes = vec![
        ChainAttribute::Table(TABLE.to_owned()),
        ChainAttribute::Name(name.to_owned()),
        ChainAttribute::Hook(vec![
            Hook::Number(HookNumber::Inet(hook)),
            Hook::Priority(priority.cast_unsigned()),
        ]),
        ChainAttribute::Policy(NF_ACCEPT),
        ChainAttribute::Type(kind.to_owned()),
    ];
    (NLM_F_CREATE, NfTablesMessage::NewChain(ChainMessage { attributes }))
}

/// A chain that is only jumped to.
pub(super) fn chain(name: &str) -> (u16, NfTablesMessage) {
    let attributes = vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(name.to_owned())];
    (NLM_F_CREATE, NfTablesMessage::NewChain(ChainMessage { attributes }))
}

fn own(family: &Family) -> &'static str {
    if family.suffix == '4' { OWN_V4 } else { OWN_V6 }
}

/// `oifname "lo" accept`: the host talks to itself, with the address of an endpoint that it holds.
fn local() -> (u16, NfTablesMessage) {
    let mut loopback = b"lo".to_vec();
    loopback.resize(IFNAME as usize, 0);
    rule("postrouting", [Part::Output.load(&V4, 0), equal(0, loopback), decide(NF_ACCEPT)])
}

/// `ip saddr . oifname @own4 accept`: what stays on its own bridge keeps its source. That includes frames that
/// are only bridged, where br_netfilter shows them to this hook: there the output is the bridge too.
fn stays(family: &Family) -> (u16, NfTablesMessage) {
    let expressions = of_family(family).into_iter().chain(key(family, &[Part::Source, Part::Output]));
    rule("postrouting", expressions.chain([lookup(own(family)), decide(NF_ACCEPT)]))
}

/// `ip saddr @masq4 masquerade`
fn leaves(family: &Family) -> (u16, NfTablesMessage) {
    let masqueraded = if family.suffix == '4' { MASQUERADED_V4 } else { MASQUERADED_V6 };
    let expressions = of_family(family).into_iter().chain(key(family, &[Part::Source]));
    rule("postrouting", expressions.chain([lookup(masqueraded), masquerade()]))
}
