//! Names, in lower case and as they are on the wire without compression: labels with their lengths.
//!
//! Of our own, as the messages are.

use std::net::IpAddr;

/// Octets of a name, its end included (RFC 1035 section 2.3.4).
const MOST: usize = 255;
const MOST_OF_A_LABEL: usize = 63;

/// A name that ends at the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(Vec<u8>);

impl Name {
    /// A name of letters, digits and hyphens; none if it is no name of hosts (RFC 1123 section 2.1).
    pub(crate) fn of(text: &str) -> Option<Self> {
        let mut wire = Vec::new();
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            let is_right = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            let edges = label.starts_with('-') || label.ends_with('-');
            if label.is_empty() || label.len() > MOST_OF_A_LABEL || edges || !label.bytes().all(is_right) {
                return None;
            }
            wire.push(u8::try_from(label.len()).ok()?);
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        wire.push(0);
        (wire.len() <= MOST).then_some(Self(wire))
    }

    /// The name by which an address is asked for (RFC 1035 section 3.5, RFC 3596 section 2.5).
    pub(crate) fn of_address(address: IpAddr) -> Option<Self> {
        let text = match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(address) => {
                let octets = address.octets();
                let nibbles = octets.iter().rev().map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
                nibbles.collect::<String>() + "ip6.arpa"
            }
        };
        Self::of(&text)
    }

    /// Reads an uncompressed name; gives it and what comes after it.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = bytes;
        loop {
            let (length, after) = rest.split_first()?;
            // Two higher bits make it a pointer, which leads nowhere in a question.
            if usize::from(*length) > MOST_OF_A_LABEL {
                return None;
            }
            rest = after.get(usize::from(*length)..)?;
            if *length == 0 {
                break;
            }
        }
        let wire = &bytes[..bytes.len() - rest.len()];
        // Lengths are below 64, so that no letter is meant by one.
        (wire.len() <= MOST).then(|| (Self(wire.to_ascii_lowercase()), rest))
    }

    /// Goes past a name that may be compressed.
    pub(crate) fn skip(bytes: &[u8]) -> Option<&[u8]> {
        let mut rest = bytes;
        loop {
            let (length, after) = rest.split_first()?;
            match length {
                0 => return Some(after),
                1..=63 => rest = after.get(usize::from(*length)..)?,
                192..=255 => return after.get(1..),
                _ => return None,
            }
        }
    }

    /// Whether it is below another name.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        let mut rest = &self.0[..];
        while let Some((length, after)) = rest.split_first() {
            rest = after.get(usize::from(*length)..).unwrap_or_default();
            if rest == other.0 {
                return true;
            }
        }
        false
    }

    /// As it is on the wire.
    pub(crate) fn into_wire(self) -> Vec<u8> {
        self.0
    }

    /// The same, for looking.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_names_are_names_in_lower_case() {
        assert_eq!(Name::of("Web-1.Lab.").unwrap().wire(), b"\x05web-1\x03lab\x00");
        let long = "a".repeat(64);
        for wrong in ["", ".", "a..b", "-a", "a-", "a_b", "a b", "ü", long.as_str()] {
            assert_eq!(Name::of(wrong), None, "{wrong}");
        }
        assert_eq!(Name::of(&vec!["a".repeat(60); 5].join(".")), None);
    }

    #[test]
    fn addresses_have_names_backwards() {
        let of = |text: &str| Name::of_address(text.parse().unwrap()).unwrap();
        assert_eq!(of("10.7.0.9"), Name::of("9.0.7.10.in-addr.arpa").unwrap());
        let six = of("fd07::19");
        assert!(six.wire().starts_with(b"\x019\x011\x010"), "{six:?}");
        assert!(six.is_below(&Name::of("7.0.d.f.ip6.arpa").unwrap()));
    }

    #[test]
    fn names_are_below_those_that_they_end_in() {
        let name = |text: &str| Name::of(text).unwrap();
        assert!(name("a.b.c").is_below(&name("b.c")));
        assert!(name("a.b.c").is_below(&name("c")));
        assert!(!name("b.c").is_below(&name("b.c")));
        assert!(!name("xb.c").is_below(&name("b.c")));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some((name, rest)) = Name::read(&bytes) {
                prop_assert_eq!(name.wire().len() + rest.len(), bytes.len());
                prop_assert!(!name.is_below(&name));
            }
            if let Some(rest) = Name::skip(&bytes) {
                prop_assert!(rest.len() < bytes.len());
            }
        }
    }
}
