//! What policies of networks and endpoints say of the net beneath: links, addresses and tags (contract 2.13, 2.14).

use hcn_schema::settings::{InterfaceConstraintSettings, ProviderAddressSettings};
use hcn_schema::{Error, HResult, Raw, Result};

use super::{settings, words};
use crate::text;

/// The largest VLAN.
pub(super) const LAST_VLAN: u32 = 4094;
/// The largest VSID: they have 24 bits.
pub(super) const LAST_VSID: u32 = 0xff_ffff;

/// A VLAN or a VSID.
pub(super) fn isolation_id(given: Option<u32>, last: u32) -> Result<()> {
    match given {
        Some(id) if (1..=last).contains(&id) => Ok(()),
        Some(id) => Err(words::wrong(&id.to_string(), "IsolationId", &format!("1 to {last}"))),
        None => Err(words::missing("IsolationId", &format!("1 to {last}"))),
    }
}

/// Settings of a ProviderAddress.
pub(super) fn provider_address(raw: Option<&Raw>) -> Result<()> {
    let given: ProviderAddressSettings = settings(raw)?;
    words::unicast(given.provider_address.as_deref(), "ProviderAddress")
}

/// Settings of an InterfaceConstraint. PowerShell sends a bare name; WSL sends members that are all zero.
pub(super) fn interface_constraint(raw: Option<&Raw>) -> Result<()> {
    if raw.is_some_and(|raw| raw.get().trim_start().starts_with('"')) {
        return Ok(());
    }
    let given: InterfaceConstraintSettings = settings(raw)?;
    match &given.interface_guid {
        Some(id) => text::guid(id, "InterfaceGuid").map(drop),
        None => Ok(()),
    }
}

/// The smallest MTU that the families of a network allow.
pub(super) fn least_mtu(has_ipv6: bool) -> u32 {
    if has_ipv6 { 1280 } else { 576 }
}

/// The error for an MTU, or what is taken off it, outside of a range.
pub(super) fn out_of_range(given: u32, member: &str, first: u32, last: u32) -> Error {
    let message = format!("{given} leaves no MTU that the network's addresses allow");
    Error::new(HResult::INVALID_POLICY, message).at(member).expected(format!("{first} to {last}"))
}
