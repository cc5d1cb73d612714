//! Named sets of ranges: the addresses and ports that one rule lists, and those that rules know by a name. The kernel
//! takes no ranges that overlap, so they are merged.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_netfilter::nftables::{NfTablesMessage, SetAttribute};

use super::super::beside::without_set;
use super::super::elements::{self, Element};
use super::super::expressions::{FAMILIES, Family};
use super::super::maps::{Set, Type};
use super::{Message, ours};

/// `NFTNL_UDATA_SET_COMMENT`
const COMMENT: u8 = 7;
/// The longest comment that nft writes.
const LONGEST: usize = 127;

/// From the first to the last, both included.
pub(crate) type Range = (u128, u128);

/// The same values in as few ranges as can be, in ascending order.
pub(super) fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// The prefixes of a family, merged.
pub(crate) fn ranges(prefixes: &[IpNet], family: &Family) -> Vec<Range> {
    let of_family = prefixes.iter().filter(|prefix| prefix.addr().is_ipv4() == (family.length == 4));
    merged(of_family.map(|prefix| (number(prefix.network()), number(prefix.broadcast()))).collect())
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The last octets of a number, in network byte order.
pub(super) fn octets(number: u128, length: u32) -> Vec<u8> {
    let octets = number.to_be_bytes();
    octets[octets.len() - length as usize..].to_vec()
}

/// A range in a set: its first key, and as another element the first key after it, if there is one.
fn in_set(set: &str, (first, last): Range, length: u32) -> Vec<Element> {
    let mut elements = vec![Element::new(set.to_owned(), octets(first, length))];
    let highest = u128::MAX >> (128 - 8 * length);
    if last < highest {
        let next = octets(last + 1, length);
        elements.push(Element { interval_end: true, ..Element::new(set.to_owned(), next) });
    }
    elements
}

/// A set that a rule has for itself.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) of: Type,
    /// Single values are ranges, too.
    pub(super) ranges: Vec<Range>,
}

impl Named {
    pub(super) fn messages(&self) -> Vec<(u16, NfTablesMessage)> {
        // Of protocols there are no ranges.
        let interval = self.of != Type::Protocol;
        let set = Set { name: self.name.clone(), key: vec![self.of], data: None, interval, timeout: None };
        let length = self.of.length();
        let elements: Vec<Element> = if interval {
            self.ranges.iter().flat_map(|range| in_set(&self.name, *range, length)).collect()
        } else {
            let values = self.ranges.iter().flat_map(|(first, last)| *first..=*last);
            values.map(|value| Element::new(self.name.clone(), octets(value, length))).collect()
        };
        [set.message(1)].into_iter().chain(elements::messages(&elements, false)).collect()
    }
}

/// What the kernel knows an address set by, of one family. Names that are none for nft are told apart by a hash.
pub(super) fn name(set: &str, family: &Family) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&c);
    let plain: String = set.chars().map(|c| if is_plain(c) { c } else { '_' }).take(100).collect();
    let told_apart = if plain == set {
        String::new()
    } else {
        format!(".{:016x}", super::super::take_over::fnv1a(set.as_bytes()))
    };
    format!("set/{plain}{told_apart}/{}", family.suffix)
}

/// The messages that make an address set, one for each family.
pub(crate) fn set_new(set: &str, members: &[IpNet]) -> Vec<Message> {
    let mut messages = Vec::new();
    for family in FAMILIES {
        let named =
            Named { name: name(set, family), of: Type::address(family), ranges: ranges(members, family) };
        let mut of_family = named.messages();
        if let Some((_, NfTablesMessage::NewSet(message))) = of_family.first_mut() {
            for attribute in &mut message.attributes {
                if let SetAttribute::UserData(data) = attribute {
                    data.extend(comment(COMMENT, set));
                }
            }
        }
        messages.extend(of_family.into_iter().map(ours));
    }
    messages
}

/// The messages that take an address set away.
pub(crate) fn set_gone(set: &str) -> Vec<Message> {
    FAMILIES.map(|family| ours(without_set(&name(set, family)))).into()
}

/// The messages that give an address set other members: only what differs is sent.
pub(crate) fn set_changes(set: &str, from: &[IpNet], to: &[IpNet]) -> Vec<Message> {
    let mut messages = Vec::new();
    for family in FAMILIES {
        let [before, after] =
            [from, to].map(|members| ranges(members, family).into_iter().collect::<HashSet<Range>>());
        let name = name(set, family);
        let elements = |ranges: &mut dyn Iterator<Item = &Range>| -> Vec<Element> {
            ranges.flat_map(|range| in_set(&name, *range, family.length)).collect()
        };
        let gone = elements(&mut before.difference(&after));
        let come = elements(&mut after.difference(&before));
        messages.extend(elements::messages(&gone, true).into_iter().map(ours));
        messages.extend(elements::messages(&come, false).into_iter().map(ours));
    }
    messages
}

/// A comment as nft keeps it beside what it is about.
pub(super) fn comment(kind: u8, text: &str) -> Vec<u8> {
    let mut kept = String::new();
    for c in text.chars().map(|c| if c.is_control() || c == '"' { '_' } else { c }) {
        if kept.len() + c.len_utf8() > LONGEST {
            break;
        }
        kept.push(c);
    }
    [&[kind, kept.len() as u8 + 1], kept.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::super::super::expressions::{V4, V6};
    use super::*;

    fn prefixes(of: &[&str]) -> Vec<IpNet> {
        of.iter().map(|prefix| prefix.parse().unwrap()).collect()
    }

    #[test]
    fn what_overlaps_or_meets_is_one_range() {
        assert_eq!(merged(vec![(5, 9), (1, 2), (3, 4), (7, 12), (20, 20)]), [(1, 12), (20, 20)]);
        assert_eq!(merged(vec![(0, u128::MAX), (7, 8)]), [(0, u128::MAX)]);
        let of = prefixes(&["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "11.0.0.0/8"]);
        assert_eq!(ranges(&of, &V4), [(0x0a00_0000, 0x0bff_ffff)]);
        assert_eq!(ranges(&of, &V6).len(), 1);
    }

    #[test]
    fn a_range_up_to_the_last_value_has_no_end() {
        assert_eq!(in_set("s", (1, 0xffff), 2).len(), 1);
        assert_eq!(in_set("s", (1, 0xfffe), 2)[1].key, [0xff, 0xff]);
        assert_eq!(in_set("s", (0, u128::MAX), 16).len(), 1);
    }

    #[test]
    fn names_of_sets_are_told_apart() {
        assert_eq!(name("azure-npm-1001", &V4), "set/azure-npm-1001/4");
        assert_ne!(name("a b", &V4), name("a_b", &V4));
        assert_ne!(name("a b", &V4), name("a/b", &V4));
        assert!(name(&"x".repeat(5000), &V6).len() < 200);
    }

    #[test]
    fn a_comment_is_cut_between_letters() {
        let text = "ä".repeat(100);
        let kept = comment(0, &text);
        assert_eq!(kept.len(), 2 + 126 + 1);
        assert_eq!(usize::from(kept[1]), kept.len() - 2);
        assert!(std::str::from_utf8(&kept[2..kept.len() - 1]).is_ok());
    }
}
