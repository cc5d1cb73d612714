//! The HCN contract as types: documents, enumerations, flags, queries, requests, error codes.
//!
//! Documents are parsed in two steps. This crate is the first: shapes are checked, policies stay
//! `{Type, raw Settings}`, and texts (GUIDs, addresses, prefixes, MAC addresses) stay texts, because the
//! service returns them as they came. What the texts mean is decided in `hcn-core`.
//!
//! Encoding rules follow the contract, section 2.1: `null`, `""`, `{}` and `[]` count as "not given", numbers
//! may be written as strings, enumerations are accepted as names (any case) or numbers and written as names,
//! flags are written as numbers, and properties that are not given are left out of the output.

pub mod base;
pub mod call;
pub mod dns;
mod document;
pub mod endpoint;
pub mod enums;
mod error;
mod given;
pub mod guest_network_service;
mod guid;
pub mod hns;
mod hresult;
#[cfg(feature = "json-schema")]
pub mod json_schema;
pub mod load_balancer;
pub mod modify;
pub mod namespace;
pub mod network;
pub mod notification;
pub mod policy;
pub mod policy_list;
pub mod port_reservation;
pub mod query;
mod raw;
pub mod route;
pub mod sdn_route;
pub mod settings;
pub mod v1;

pub use error::{Error, ErrorRecord, Result};
pub use guid::Guid;
pub use hresult::HResult;
pub use raw::Raw;

/// Parses a document that must be one JSON object.
///
/// # Errors
/// [`HResult::INVALID_JSON`] with the JSON path and what was expected there.
pub fn parse<'de, T: serde::Deserialize<'de>>(text: &'de str) -> Result<T> {
    if !text.trim_start().starts_with('{') {
        return Err(
            Error::new(HResult::INVALID_JSON, "the document is not a JSON object").expected("an object")
        );
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| Error::from_json(&error))?;
    deserializer
        .end()
        .map_err(|error| Error::new(HResult::INVALID_JSON, format!("text after the document: {error}")))?;
    Ok(value)
}

/// Writes a document compactly.
pub fn to_text<T: serde::Serialize>(document: &T) -> String {
    // The documents hold no maps with keys that are not strings and no failing Serialize, so this cannot fail.
    serde_json::to_string(document).unwrap_or_default()
}
