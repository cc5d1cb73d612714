//! Bridges that are joined to another one. Where br_netfilter shows bridged frames to rules, a frame that crosses both
//! would meet connection tracking twice, and be translated or bound by the wrong one of them: the first bridge is where
//! its packets are routed. So a frame that only crosses a joined bridge is not tracked there. What is for the host or
//! for a service is: translated, it leaves the bridge at once, and is routed.

use netlink_packet_netfilter::nftables::{Expressions, NfTablesMessage};

use super::expressions::{
    FAMILIES, Family, NF_RETURN, Part, V4, decide, jump, key, local, lookup, map, notrack, of_family, rule,
    set_priority, zero,
};
use super::maps::{INTERNAL, SHARDS, VIPS};

/// Ahead of connection tracking.
pub(crate) const RAW: &str = "raw_prerouting";
/// For frames of joined bridges.
pub(crate) const CROSSING: &str = "crossing";

const VIP: [Part; 3] = [Part::Protocol, Part::Destination, Part::Port];
const LINK_VIP: [Part; 4] = [Part::Input, Part::Protocol, Part::Destination, Part::Port];

pub(super) fn rules() -> Vec<(u16, NfTablesMessage)> {
    let from_shard = key(&V4, &[Part::Input]).into_iter().chain([lookup(SHARDS), jump(CROSSING)]);
    let mut rules = vec![rule(RAW, from_shard)];
    for family in FAMILIES {
        rules.push(to_service(family, &LINK_VIP, INTERNAL));
        rules.push(to_service(family, &VIP, VIPS));
    }
    rules.push(rule(CROSSING, local().into_iter().chain([decide(NF_RETURN)])));
    rules.push(rule(CROSSING, [notrack()]));
    rules
}

/// Goes back for what the map knows. nft has no words for a map that is only asked whether it knows a key, so what it
/// gives goes to the packet's priority, as where the service is chosen, and the priority back to what packets begin with.
fn to_service(family: &Family, parts: &[Part], codes: &str) -> (u16, NfTablesMessage) {
    let known: [Expressions; 5] =
        [map(&family.set(codes)), set_priority(), zero(), set_priority(), decide(NF_RETURN)];
    let expressions = of_family(family).into_iter().chain(key(family, parts));
    rule(CROSSING, expressions.chain(known))
}
