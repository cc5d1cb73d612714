//! The pools: what they give is in the range, not reserved, not taken; they find the last free value and
//! notice when there is none; they do not give back at once what was just freed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::collections::BTreeSet;
use std::net::IpAddr;

use hcn_core::pools::{default_mac_range, is_reserved, next_address, next_mac};
use hcn_dataplane::Mac;
use ipnet::IpNet;
use proptest::prelude::*;

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<u32>(), 22u8..=32).prop_map(|(address, length)| {
            IpNet::new(std::net::Ipv4Addr::from(address).into(), length).unwrap().trunc()
        }),
        (any::<u128>(), 118u8..=128).prop_map(|(address, length)| {
            IpNet::new(std::net::Ipv6Addr::from(address).into(), length).unwrap().trunc()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pool_gives_every_usable_address_once_and_then_none(prefix in prefix(), gateway in any::<bool>()) {
        let gateway = gateway.then(|| prefix.hosts().next().unwrap());
        let usable: BTreeSet<IpAddr> = match prefix {
            // `hosts` of a /31 or /127 and longer gives all; of an IPv6 prefix the network address, too.
            IpNet::V4(v4) => v4.hosts().map(IpAddr::V4).collect(),
            IpNet::V6(v6) => v6.hosts().map(IpAddr::V6).filter(|a| !is_reserved(&prefix, *a)).collect(),
        };
        let usable: BTreeSet<IpAddr> = usable.into_iter().filter(|a| Some(*a) != gateway).collect();
        let mut taken = BTreeSet::new();
        let mut last = None;
        while let Some(address) =
            next_address(&prefix, last, taken.len() + 1, |a| !taken.contains(&a) && Some(a) != gateway)
        {
            prop_assert!(taken.insert(address), "{address} given twice");
            last = Some(address);
        }
        prop_assert_eq!(taken, usable);
    }

    #[test]
    fn a_freed_address_is_not_given_again_while_others_are_free(
        prefix in prefix(), uses in prop::collection::vec(any::<prop::sample::Index>(), 1..60)
    ) {
        let mut taken: Vec<IpAddr> = Vec::new();
        let mut last = None;
        for free in uses {
            let is_free = |a: IpAddr| !taken.contains(&a);
            let others = prefix.hosts().filter(|a| !is_reserved(&prefix, *a) && is_free(*a)).take(2).count();
            let Some(address) = next_address(&prefix, last, taken.len(), is_free) else {
                prop_assert_eq!(others, 0);
                break;
            };
            prop_assert!(prefix.contains(&address) && !is_reserved(&prefix, address));
            prop_assert!(others < 2 || last != Some(address), "{address} again");
            last = Some(address);
            taken.push(address);
            if taken.len() > 1 {
                taken.remove(free.index(taken.len()));
            }
        }
    }

    #[test]
    fn a_mac_pool_gives_every_address_of_all_its_ranges(
        starts in prop::collection::btree_set(0u64..1000, 1..4), length in 0u64..6
    ) {
        let ranges: Vec<(Mac, Mac)> = starts.iter().map(|s| (Mac::from(s * 10), Mac::from(s * 10 + length))).collect();
        let mut taken = BTreeSet::new();
        let mut last = None;
        while let Some(mac) = next_mac(&ranges, last, taken.len(), |m| !taken.contains(&m)) {
            prop_assert!(ranges.iter().any(|(first, end)| (*first..=*end).contains(&mac)));
            prop_assert!(taken.insert(mac), "{mac} given twice");
            last = Some(mac);
        }
        prop_assert_eq!(taken.len() as u64, ranges.len() as u64 * (length + 1));
    }
}

#[test]
fn the_whole_of_a_large_ipv6_prefix_is_not_walked() {
    let prefix: IpNet = "2001:db8::/32".parse().unwrap();
    let first = next_address(&prefix, None, 1, |a| a != "2001:db8::1".parse::<IpAddr>().unwrap());
    assert_eq!(first, Some("2001:db8::2".parse().unwrap()));
    assert_eq!(next_address(&prefix, None, 1000, |_| false), None);
}

#[test]
fn default_mac_ranges_are_disjoint_and_of_4096_addresses() {
    let ranges: Vec<(Mac, Mac)> = (0..4096).map(default_mac_range).collect();
    assert_eq!(ranges[0].0.to_string(), "00:15:5d:00:00:00");
    assert_eq!(ranges[0x52c].0.to_string(), "00:15:5d:52:c0:00");
    assert_eq!(ranges[0x52c].1.to_string(), "00:15:5d:52:cf:ff");
    for pair in ranges.windows(2) {
        assert_eq!(u64::from(pair[0].1) - u64::from(pair[0].0), 4095);
        assert_eq!(u64::from(pair[0].1) + 1, u64::from(pair[1].0));
    }
}
