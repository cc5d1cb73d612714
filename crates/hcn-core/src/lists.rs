//! Texts in the settings of policies: addresses, prefixes, ports and protocols, also as lists separated by commas (contract
//! 2.14). Deciding checks them by what this reads, compiling takes what was checked.

use std::net::IpAddr;

use hcn_dataplane::Ports;
use hcn_schema::enums::{Enumeration, OneOf, ProtocolType};
use hcn_schema::policy::Policy;
use hcn_schema::{Raw, Result};
use ipnet::IpNet;
use serde::de::DeserializeOwned;

/// IANA's numbers end here; clients write 256 for "any".
const ANY_PROTOCOL: u32 = 256;

/// What packets a rule is about, as documents have it.
pub(crate) struct Match<'a> {
    pub(crate) protocols: Option<&'a str>,
    pub(crate) local_addresses: Option<&'a str>,
    pub(crate) remote_addresses: Option<&'a str>,
    pub(crate) local_ports: Option<&'a str>,
    pub(crate) remote_ports: Option<&'a str>,
}

/// The [`Match`] of settings that have the members of a `FiveTuple`.
macro_rules! matches_of {
    ($rule:expr) => {
        $crate::lists::Match {
            protocols: $rule.protocols.as_deref(),
            local_addresses: $rule.local_addresses.as_deref(),
            remote_addresses: $rule.remote_addresses.as_deref(),
            local_ports: $rule.local_ports.as_deref(),
            remote_ports: $rule.remote_ports.as_deref(),
        }
    };
}
pub(crate) use matches_of;

/// Parses settings; blank ones say nothing (2.1).
pub(crate) fn read<T: DeserializeOwned>(raw: Option<&Raw>) -> Result<T> {
    hcn_schema::parse(raw.filter(|raw| !raw.is_blank()).map_or("{}", Raw::get))
}

/// The settings of the policies of a type, in their order, with their places in the list.
pub(crate) fn settings<T, K>(policies: &[Policy<K>], kind: K) -> impl Iterator<Item = (usize, T)>
where
    T: DeserializeOwned + Default,
    K: Enumeration + PartialEq,
{
    let of_kind = move |policy: &&Policy<K>| policy.kind.as_ref().and_then(OneOf::known) == Some(kind);
    let found = policies.iter().enumerate().filter(move |(_, policy)| of_kind(policy));
    found.map(|(index, policy)| (index, read(policy.settings.as_ref()).unwrap_or_default()))
}

/// The words of a list.
pub(crate) fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

/// The words of a list that may be empty.
pub(crate) fn words(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.into_iter().flat_map(split).filter(|word| !word.is_empty())
}

/// An address or a prefix; host bits are cleared.
pub(crate) fn place(word: &str) -> Option<IpNet> {
    let address = word.parse::<IpAddr>().map(IpNet::from);
    address.ok().or_else(|| word.parse::<IpNet>().ok()).map(|prefix| prefix.trunc())
}

/// The prefixes of a list; none = any.
pub(crate) fn places(list: Option<&str>) -> Vec<IpNet> {
    words(list).filter_map(place).collect()
}

/// The ports of a list; none = any.
pub(crate) fn port_ranges(list: Option<&str>) -> Vec<Ports> {
    words(list).filter_map(ports).collect()
}

/// A number of digits alone, up to a limit.
pub(crate) fn number(word: &str, most: u32) -> Option<u32> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|number| digits && *number <= most)
}

/// A port, or a range of them.
pub(crate) fn ports(word: &str) -> Option<Ports> {
    let port = |word: &str| number(word.trim(), u16::MAX.into()).and_then(|port| u16::try_from(port).ok());
    let (first, last) = match word.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(word)?, port(word)?),
    };
    (first <= last).then_some(Ports { first, last })
}

/// What a word says of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Any is meant.
    Any,
    /// The one with this number is.
    Number(u8),
}

/// A protocol by its number or its name.
pub(crate) fn protocol(word: &str) -> Option<Protocol> {
    let named = || {
        let mut values = ProtocolType::VALUES.iter();
        let number =
            values.find(|(_, name, _)| name.eq_ignore_ascii_case(word)).map(|(_, _, number)| *number);
        number.and_then(|number| u32::try_from(number).ok())
    };
    let number = number(word, ANY_PROTOCOL).or_else(named)?;
    Some(u8::try_from(number).map_or(Protocol::Any, Protocol::Number))
}

/// The protocols of a list; none = any.
pub(crate) fn protocols(list: Option<&str>) -> Vec<u8> {
    let mut numbers = Vec::new();
    for word in words(list) {
        match protocol(word) {
            Some(Protocol::Number(number)) if !numbers.contains(&number) => numbers.push(number),
            Some(Protocol::Any) => return Vec::new(),
            _ => {}
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_and_ranges_that_do_not_go_backwards() {
        for (word, first, last) in [("0", 0, 0), ("80", 80, 80), ("80-90", 80, 90), ("80 - 90", 80, 90)] {
            assert_eq!(ports(word), Some(Ports { first, last }), "{word}");
        }
        for word in ["", "65536", "-1", "90-80", "80-", "-80", "+80", "0x50", "80-90-100", "http", "8 0"] {
            assert_eq!(ports(word), None, "{word}");
        }
    }

    #[test]
    fn protocols_are_numbers_and_names() {
        let number = |number| Some(Protocol::Number(number));
        for (word, meant) in [("0", number(0)), ("6", number(6)), ("tcp", number(6)), ("ICMPv6", number(58))]
        {
            assert_eq!(protocol(word), meant, "{word}");
        }
        assert_eq!(protocol("256"), Some(Protocol::Any));
        for word in ["", "257", "-6", "+6", "six", "6.0"] {
            assert_eq!(protocol(word), None, "{word}");
        }
        assert_eq!(protocols(Some("6, 17,6")), [6, 17]);
        assert!(protocols(Some("6,256")).is_empty() && protocols(None).is_empty());
    }

    #[test]
    fn a_place_is_a_prefix_without_host_bits() {
        assert_eq!(place("10.0.0.7/8"), "10.0.0.0/8".parse().ok());
        assert_eq!(place("fd00::1"), "fd00::1/128".parse().ok());
        assert_eq!(place("set"), None);
    }
}
