//! Checks of texts in the settings of policies.

use hcn_schema::{Error, HResult, Result};

pub(super) use crate::lists::{number, split};
use crate::{lists, text};

/// Checks each word of a list; an empty list means everything.
pub(super) fn each(
    list: Option<&str>,
    member: &str,
    expected: &str,
    is_right: impl Fn(&str) -> bool,
) -> Result<()> {
    let list = list.filter(|list| !list.trim().is_empty());
    match list.and_then(|list| split(list).find(|word| !is_right(word))) {
        Some(word) => Err(wrong(word, member, expected)),
        None => Ok(()),
    }
}

/// Checks each text of an array.
pub(super) fn all(
    list: &[String],
    member: &str,
    expected: &str,
    is_right: impl Fn(&str) -> bool,
) -> Result<()> {
    match list.iter().position(|word| !is_right(word.trim())) {
        Some(index) => Err(wrong(&list[index], &format!("{member}[{index}]"), expected)),
        None => Ok(()),
    }
}

/// The error for a word that is not what is expected.
pub(super) fn wrong(word: &str, member: &str, expected: &str) -> Error {
    let message = format!("{} does not belong there", text::shown(word));
    Error::new(HResult::INVALID_POLICY, message).at(member).expected(expected)
}

/// The error for a member that must be there.
pub(super) fn missing(member: &str, expected: &str) -> Error {
    Error::new(HResult::INVALID_POLICY, format!("{member} is missing")).at(member).expected(expected)
}

/// An address or a prefix, host bits or not.
pub(super) fn is_place(word: &str) -> bool {
    lists::place(word).is_some()
}

/// A port, or a range of them.
pub(super) fn is_ports(word: &str) -> bool {
    lists::ports(word).is_some()
}

/// A list of ports and ranges.
pub(super) fn ports(list: Option<&str>, member: &str) -> Result<()> {
    each(list, member, "ports from 0 to 65535 or ranges like 80-90, separated by commas", is_ports)
}

/// A port that something listens on.
pub(super) fn port(word: Option<&str>, member: &str) -> Result<()> {
    let is_right = |word: &str| number(word.trim(), u16::MAX.into()).is_some_and(|port| port != 0);
    match word.filter(|word| !is_right(word)) {
        Some(word) => Err(wrong(word, member, "1 to 65535")),
        None => Ok(()),
    }
}

/// A protocol: its number, or its name.
pub(super) fn is_protocol(word: &str) -> bool {
    lists::protocol(word).is_some()
}

/// A list of protocols.
pub(super) fn protocols(list: Option<&str>, member: &str) -> Result<()> {
    each(list, member, "numbers of protocols from 0 to 255, or 256 for any, separated by commas", is_protocol)
}

/// An address that packets can be sent to and come from.
pub(super) fn unicast(given: Option<&str>, member: &str) -> Result<()> {
    let given = given.ok_or_else(|| missing(member, "an IPv4 or IPv6 address"))?;
    let address = text::address(given, member)?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(wrong(given, member, "the address of a host"));
    }
    Ok(())
}

/// The MAC address of an interface.
pub(super) fn mac(given: Option<&str>, member: &str) -> Result<()> {
    text::mac(given.unwrap_or_default(), HResult::INVALID_POLICY, member).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_may_have_blanks_but_no_gaps() {
        for list in [None, Some(""), Some("  "), Some("80"), Some(" 80 , 443 ")] {
            assert!(ports(list, "Ports").is_ok(), "{list:?}");
        }
        for list in [",", "80,", ",80", "80,,90"] {
            let error = ports(Some(list), "Ports").unwrap_err();
            assert_eq!(
                (error.code, error.path.as_deref()),
                (HResult::INVALID_POLICY, Some("Ports")),
                "{list}"
            );
        }
    }
}
