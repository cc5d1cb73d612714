//! How a client stays with its back end: a map knows which member of a group each client went to last, and packets write
//! it. The kernel forgets a client whose last new connection is three hours old, and has room for 65,535 of a family
//! (what it takes where a set says no size); who finds none is chosen for by a hash of his address, as all are at first.
//!
//! Front ends of one group share what is known. A member that has gone is in no front end any more, so its clients are
//! chosen for anew when they come, and nothing has to be looked for when it goes. Members keep their numbers whoever
//! comes and goes. What a map gave travels in the packet's priority, as codes do, since nft 1.0.6 lists nothing else.

use netlink_packet_netfilter::nftables::{Expressions, NfTablesMessage};

use super::expressions::{
    FAMILIES, Family, NF_RETURN, Part, after, constant, decide, dnat, forget, goto, hash, jump, key, key_at,
    learn, map, map_at, of_family, priority, reset_priority, rule, set_priority,
};
use super::maps::{GROUPS, LEARNED, MEMBERS, PORT_GROUPS, PORT_SLOTS, SLOTS};
use super::services::{HIGHEST_LEVEL, NO_BACKEND, PORT, VIP, draws};

/// Whom a client is remembered as.
const CLIENT: [Part; 2] = [Part::Priority, Part::Source];
/// The word where that is loaded, behind every other key.
const CLIENT_AT: u32 = 9;
/// Any odd number does; fixed, so that the choice is the same over a restart.
pub(crate) const SEED: u32 = 0x9e37_79b1;
/// Tells members from groups and slots.
const MEMBER: u32 = 1 << 31;

/// What a member is in maps and in the packet's priority.
pub(crate) fn tag(member: u32) -> u32 {
    member | MEMBER
}

/// The chain that sends clients to the member that they are known to have gone to.
pub(crate) fn recall(any_address: bool) -> String {
    format!("{}_recall", kind(any_address))
}

/// The chain that chooses a member, and remembers it.
pub(crate) fn draw(level: u32) -> String {
    format!("draw_{level}")
}

/// The chain that sends clients to the member that was chosen.
pub(crate) fn send(any_address: bool) -> String {
    format!("{}_send", kind(any_address))
}

fn kind(any_address: bool) -> &'static str {
    if any_address { "port" } else { "vip" }
}

/// What the chain of a code does.
pub(super) fn choice(chain: &str, any_address: bool, level: u32) -> Vec<(u16, NfTablesMessage)> {
    vec![
        rule(chain, [jump(&recall(any_address))]),
        rule(chain, [jump(&draw(level))]),
        rule(chain, [goto(&send(any_address))]),
    ]
}

pub(crate) fn chains() -> Vec<String> {
    let of_kinds = [false, true].into_iter().flat_map(|any_address| [recall(any_address), send(any_address)]);
    of_kinds.chain((0..=HIGHEST_LEVEL).map(draw)).collect()
}

/// The rules of those chains.
pub(super) fn rules() -> Vec<(u16, NfTablesMessage)> {
    let mut rules = Vec::new();
    for any_address in [false, true] {
        let (recall, send) = (recall(any_address), send(any_address));
        for family in FAMILIES {
            rules.push(rule(&recall, known(family, any_address)));
        }
        for family in FAMILIES {
            rules.push(rule(&recall, sent(family, any_address)));
        }
        for family in FAMILIES {
            rules.push(rule(&recall, forgotten(family, any_address)));
        }
        for family in FAMILIES {
            rules.push(rule(&send, sent(family, any_address)));
        }
        rules.push(rule(&send, [goto(NO_BACKEND)]));
    }
    for level in 0..=HIGHEST_LEVEL {
        for family in FAMILIES {
            for (draw_number, modulus) in (1..).zip(draws(level)) {
                rules.push(rule(&draw(level), drawn(family, modulus, SEED.wrapping_mul(draw_number))));
            }
        }
    }
    rules
}

/// Notes the group of the front end.
fn group(family: &Family, any_address: bool) -> Vec<Expressions> {
    let (parts, groups) = if any_address { (&PORT[..], PORT_GROUPS) } else { (&VIP[..], GROUPS) };
    let mut expressions = of_family(family);
    expressions.extend(key(family, parts));
    expressions.extend([map(&family.set(groups)), set_priority()]);
    expressions
}

/// Notes the member that the client is known to have gone to instead of the group, for as long again.
fn known(family: &Family, any_address: bool) -> Vec<Expressions> {
    let learned = family.set(LEARNED);
    let mut expressions = group(family, any_address);
    expressions.extend(key_at(family, CLIENT_AT, &CLIENT));
    expressions.extend([map_at(&learned, CLIENT_AT), set_priority(), priority()]);
    expressions.push(learn(&learned, CLIENT_AT));
    expressions
}

/// To the member that is noted, if the front end has it.
fn sent(family: &Family, any_address: bool) -> Vec<Expressions> {
    let (parts, slots) = if any_address { (&PORT[..], PORT_SLOTS) } else { (&VIP[..], SLOTS) };
    let mut expressions = of_family(family);
    expressions.extend(key(family, &[parts, &[Part::Priority]].concat()));
    expressions.push(map(&family.set(slots)));
    // The packet is as before again.
    expressions.extend(reset_priority(CLIENT_AT));
    expressions.push(dnat(family));
    expressions
}

/// Forgets a member that has gone, and notes the group again.
fn forgotten(family: &Family, any_address: bool) -> Vec<Expressions> {
    let mut expressions = group(family, any_address);
    expressions.extend(key_at(family, CLIENT_AT, &CLIENT));
    expressions.extend([constant(0, vec![0; 4]), forget(&family.set(LEARNED), CLIENT_AT)]);
    expressions
}

/// Notes the member of a slot instead of the group, and remembers it. Where there is no room the rule ends after the
/// note, and the further draws find nothing.
fn drawn(family: &Family, modulus: u32, seed: u32) -> Vec<Expressions> {
    let source = CLIENT_AT + 1;
    let slot = after(family, &[Part::Priority]);
    let mut expressions = of_family(family);
    expressions.extend(key_at(family, CLIENT_AT, &CLIENT));
    expressions.extend([
        priority(),
        hash((source, family.length), slot, modulus, seed),
        map(MEMBERS),
        set_priority(),
        priority(),
        learn(&family.set(LEARNED), CLIENT_AT),
        decide(NF_RETURN),
    ]);
    expressions
}
