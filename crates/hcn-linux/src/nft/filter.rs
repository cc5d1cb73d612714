//! What keeps packets on their bridge: barriers, which come and go as elements. A forwarded packet costs two lookups,
//! whether there are barriers or not.

use netlink_packet_netfilter::nftables::{Expressions, NfTablesMessage};

use super::expressions::{NF_ACCEPT, NF_DROP, Part, V4, decide, jump, key, lookup, rule};
use super::maps::{CLOSED, INSIDE, SEALED};

pub(crate) const FORWARD: &str = "filter_forward";
pub(crate) const INPUT: &str = "filter_input";
pub(crate) const OUTPUT: &str = "filter_output";
/// For packets that come from a closed bridge, or would go to one.
pub(crate) const LEAVING: &str = "leaving";

pub(super) fn rules() -> Vec<(u16, NfTablesMessage)> {
    let when = |chain: &str, parts: &[Part], set: &str, then: Expressions| {
        // Names of links are the same for both families.
        rule(chain, key(&V4, parts).into_iter().chain([lookup(set), then]))
    };
    vec![
        when(FORWARD, &[Part::Input], CLOSED, jump(LEAVING)),
        // What is left comes from elsewhere.
        when(FORWARD, &[Part::Output], CLOSED, jump(LEAVING)),
        // Frames that are only bridged pass here, too, where br_netfilter shows them.
        when(LEAVING, &[Part::Input, Part::Output], INSIDE, decide(NF_ACCEPT)),
        rule(LEAVING, [decide(NF_DROP)]),
        when(INPUT, &[Part::Input], SEALED, decide(NF_DROP)),
        when(OUTPUT, &[Part::Output], SEALED, decide(NF_DROP)),
    ]
}
