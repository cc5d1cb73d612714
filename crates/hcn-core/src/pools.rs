//! Address and MAC pools: which value a new endpoint gets.
//!
//! A pool holds nothing. What is taken is known from the endpoints' own records; the only state is where the
//! search went last ("next fit"), so that an address is not used again at once, and losing that is harmless.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hcn_dataplane::Mac;
use ipnet::IpNet;

/// Where a search goes: an inclusive range of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u128,
    last: u128,
}

/// The first value in `ranges`, in order and starting behind `after`, that is `free`. At most `budget` values
/// that are not free are looked at (the caller knows how many can be taken at most).
fn next_fit(
    ranges: &[Range],
    after: Option<u128>,
    budget: usize,
    free: impl Fn(u128) -> bool,
) -> Option<u128> {
    // Start in the range that holds `after`, go on through the others, and come back to its beginning.
    let start = ranges.iter().position(|r| after.is_some_and(|a| (r.first..=r.last).contains(&a)));
    let (index, skipped) = match (start, after) {
        (Some(index), Some(after)) => (index, after - ranges[index].first + 1),
        _ => (0, 0),
    };
    let tail = ranges.get(index).and_then(|r| {
        let first = r.first.checked_add(skipped)?;
        (first <= r.last).then_some(Range { first, last: r.last })
    });
    let head = ranges
        .get(index)
        .filter(|_| skipped > 0)
        .map(|r| Range { first: r.first, last: r.first + (skipped - 1) });
    let others = ranges.iter().skip(index + 1).chain(ranges.iter().take(index)).copied();
    let mut left = budget;
    for range in tail.into_iter().chain(others).chain(head) {
        let mut value = range.first;
        loop {
            if free(value) {
                return Some(value);
            }
            if left == 0 {
                return None;
            }
            left -= 1;
            if value == range.last {
                break;
            }
            value += 1;
        }
    }
    None
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        // An IPv4 range holds 32-bit numbers only.
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

/// Whether the prefix itself keeps this address from hosts: the network address (for IPv6 the subnet-router
/// anycast address, RFC 4291 2.6.1) and the IPv4 broadcast address. Prefixes of one or two addresses keep none
/// (RFC 3021, RFC 6164).
pub fn is_reserved(prefix: &IpNet, address: IpAddr) -> bool {
    if prefix.max_prefix_len() - prefix.prefix_len() < 2 {
        return false;
    }
    address == prefix.network() || (address.is_ipv4() && address == prefix.broadcast())
}

/// The next free address of `prefix` behind `after`. `taken` is how many addresses at most are not free
/// besides the reserved ones.
pub fn next_address(
    prefix: &IpNet,
    after: Option<IpAddr>,
    taken: usize,
    free: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let range = Range { first: number(prefix.network()), last: number(prefix.broadcast()) };
    let like = prefix.addr();
    next_fit(&[range], after.map(number), taken.saturating_add(2), |value| {
        let candidate = address(value, like);
        !is_reserved(prefix, candidate) && free(candidate)
    })
    .map(|value| address(value, like))
}

/// The next free address of the ranges (both ends included) behind `after`. `taken` is how many addresses at
/// most are not free.
pub fn next_mac(
    ranges: &[(Mac, Mac)],
    after: Option<Mac>,
    taken: usize,
    free: impl Fn(Mac) -> bool,
) -> Option<Mac> {
    let number = |mac: Mac| u128::from(u64::from(mac));
    // 48-bit numbers, so the conversion back always fits.
    let mac = |value: u128| Mac::from(u64::try_from(value).unwrap_or_default());
    let ranges: Vec<Range> =
        ranges.iter().map(|(first, last)| Range { first: number(*first), last: number(*last) }).collect();
    next_fit(&ranges, after.map(number), taken, |value| free(mac(value))).map(mac)
}

/// The ports that the service chooses from: those that nobody can be registered for (RFC 6335, 6).
const DYNAMIC_PORTS: Range = Range { first: 49_152, last: 65_535 };

/// The next free dynamic port behind `after`.
pub fn next_port(after: Option<u16>, free: impl Fn(u16) -> bool) -> Option<u16> {
    // 16-bit numbers, so the conversion back always fits.
    let port = |value: u128| u16::try_from(value).unwrap_or_default();
    let all = usize::from(u16::MAX);
    next_fit(&[DYNAMIC_PORTS], after.map(u128::from), all, |value| free(port(value))).map(port)
}

/// `count` + 1 dynamic ports in a row of which none is taken: the lowest such ports.
pub fn next_ports(count: u16, is_taken: impl Fn(u16) -> bool) -> Option<(u16, u16)> {
    let (mut first, last) = (49_152u16, u16::MAX);
    let mut port = first;
    loop {
        if is_taken(port) {
            first = port.checked_add(1)?;
        } else if port - first == count {
            return Some((first, port));
        }
        if port == last {
            return None;
        }
        port += 1;
    }
}

/// The default MAC pool number `index` of 4096: `00-15-5D-xx-x0-00` to `00-15-5D-xx-xF-FF` (B8).
pub fn default_mac_range(index: u16) -> (Mac, Mac) {
    let [high, low] = (index & 0xfff).to_be_bytes();
    let fourth = (high << 4) | (low >> 4);
    let fifth = low << 4;
    (Mac([0x00, 0x15, 0x5d, fourth, fifth, 0x00]), Mac([0x00, 0x15, 0x5d, fourth, fifth | 0x0f, 0xff]))
}
