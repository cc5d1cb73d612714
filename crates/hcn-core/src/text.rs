//! Texts of documents to values, with the code that each kind of mistake has (contract 3.6).

use std::net::IpAddr;

use hcn_dataplane::Mac;
use hcn_schema::{Error, Guid, HResult, Result};
use ipnet::IpNet;

/// The longest name, owner or container identifier, in bytes.
const TEXT_LIMIT: usize = 1024;

/// A GUID.
pub(crate) fn guid(text: &str, path: &str) -> Result<Guid> {
    text.parse().map_err(|()| {
        Error::new(HResult::GUID_CONVERSION_FAILURE, format!("{} is not a GUID", shown(text)))
            .at(path)
            .expected("8-4-4-4-12 hex digits")
    })
}

/// An address.
pub(crate) fn address(text: &str, path: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| {
        Error::new(HResult::INVALID_IP, format!("{} is not an IP address", shown(text)))
            .at(path)
            .expected("an IPv4 or IPv6 address")
    })
}

/// A prefix, host bits kept.
pub(crate) fn prefix(text: &str, path: &str) -> Result<IpNet> {
    text.parse().map_err(|_| {
        Error::new(HResult::INVALID_PREFIX, format!("{} is not a prefix", shown(text)))
            .at(path)
            .expected("ADDRESS/LENGTH")
    })
}

/// A unicast MAC address; `code` depends on the document.
pub(crate) fn mac(text: &str, code: HResult, path: &str) -> Result<Mac> {
    let mac = text.parse::<Mac>().ok().filter(|mac| mac.0[0] & 1 == 0 && mac.0 != [0; 6]);
    mac.ok_or_else(|| {
        Error::new(code, format!("{} is not the MAC address of an interface", shown(text)))
            .at(path)
            .expected("six hex pairs with dashes or colons, not zero and not a group address")
    })
}

/// The form in which HCN writes MAC addresses.
pub(crate) fn hcn_mac(mac: Mac) -> String {
    mac.to_string().replace(':', "-").to_uppercase()
}

/// A name or another free text: bounded and without NUL, which no kernel text can hold.
pub(crate) fn check_free(text: Option<&str>, path: &str) -> Result<()> {
    let text = text.unwrap_or_default();
    if text.len() <= TEXT_LIMIT && !text.contains('\0') {
        return Ok(());
    }
    Err(Error::new(HResult::INVALID_ARGUMENT, format!("{path} of {} bytes cannot be used", text.len()))
        .at(path)
        .expected(format!("at most {TEXT_LIMIT} bytes, without NUL")))
}

/// Whether a text can be the name of a host: a label of letters, digits and hyphens (RFC 1123 section 2.1).
pub(crate) fn is_host_label(text: &str) -> bool {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_right)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a text can be the name of a domain: labels with dots between them.
pub(crate) fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_host_label)
}

/// A client's text as it may stand in a message: quoted and short.
pub(crate) fn shown(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    if short.len() < text.len() { format!("{short:?}…") } else { format!("{short:?}") }
}
