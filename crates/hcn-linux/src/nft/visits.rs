//! What the host and a bridge exchange where that is not everything: what is for certain addresses of the host, with its
//! answers, what services lead there, and what it takes to find neighbours (RFC 4861). Bridges and addresses come and go as elements.

use netlink_packet_netfilter::nftables::{Expressions, NfTablesMessage};

use super::expressions::{
    FAMILIES, NF_ACCEPT, NF_DROP, Part, V4, V6, answering, decide, equal, icmp_type, jump, key, lookup,
    of_family, rule, translated,
};
use super::filter::{INPUT, OUTPUT};
use super::maps::{DOORS, WALLED};

/// For packets to the host from such a bridge.
pub(crate) const VISITING: &str = "visiting";
/// For packets of the host to such a bridge.
pub(crate) const CALLING: &str = "calling";

/// ICMPv6.
const ICMPV6: u8 = 58;
/// Neighbour solicitation and advertisement.
const NEIGHBOURS: [u8; 2] = [135, 136];

pub(super) fn rules() -> Vec<(u16, NfTablesMessage)> {
    let walled = |chain: &str, link: Part, to: &str| {
        rule(chain, key(&V4, &[link]).into_iter().chain([lookup(WALLED), jump(to)]))
    };
    let mut rules = vec![walled(INPUT, Part::Input, VISITING), walled(OUTPUT, Part::Output, CALLING)];
    // Services lead to and from the host wherever they lead.
    let served = |chain: &str| rule(chain, translated().into_iter().chain([decide(NF_ACCEPT)]));
    rules.extend(neighbours(VISITING));
    rules.push(served(VISITING));
    for family in FAMILIES {
        let door = of_family(family).into_iter().chain(key(family, &[Part::Input, Part::Destination]));
        rules.push(rule(VISITING, door.chain([lookup(&family.set(DOORS)), decide(NF_ACCEPT)])));
    }
    rules.push(rule(VISITING, [decide(NF_DROP)]));
    rules.push(rule(CALLING, answering().into_iter().chain([decide(NF_ACCEPT)])));
    rules.push(served(CALLING));
    rules.extend(neighbours(CALLING));
    rules.push(rule(CALLING, [decide(NF_DROP)]));
    rules
}

fn neighbours(chain: &str) -> impl Iterator<Item = (u16, NfTablesMessage)> {
    NEIGHBOURS.into_iter().map(move |kind| {
        let expressions: [Expressions; 5] = [
            Part::Protocol.load(&V6, 0),
            equal(0, vec![ICMPV6]),
            icmp_type(),
            equal(0, vec![kind]),
            decide(NF_ACCEPT),
        ];
        rule(chain, expressions)
    })
}
