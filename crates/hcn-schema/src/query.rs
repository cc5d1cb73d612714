//! HostComputeQuery and its filter (contract 2.11).

use serde_json::{Map, Value};

use crate::document::document;
use crate::enums::QueryFlags;
use crate::{Error, HResult, Result};

document! {
    /// A query document.
    HostComputeQuery {
        /// Which schema the reply shall have; absent means version 1.
        schema_version: version "SchemaVersion",
        /// Detailed or not.
        flags: flags(QueryFlags) "Flags",
        /// A JSON object written into a string.
        filter: text "Filter",
    }
}

impl HostComputeQuery {
    /// Parses a query; none and the empty text are the empty query.
    ///
    /// # Errors
    /// [`HResult::INVALID_JSON`]; [`HResult::REQUEST_UNSUPPORTED`] for a schema later than 2.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
            return Ok(Self::default());
        };
        let query: Self = crate::parse(text)?;
        if query.schema_version.is_some_and(|version| version.major > 2) {
            return Err(Error::new(HResult::REQUEST_UNSUPPORTED, "there is no such schema version")
                .at("SchemaVersion.Major")
                .expected("1 or 2"));
        }
        Ok(query)
    }

    /// The filter's members; none = everything matches.
    ///
    /// # Errors
    /// [`HResult::INVALID_JSON`] when the filter is not a JSON object.
    pub fn filter(&self) -> Result<Map<String, Value>> {
        let Some(text) = &self.filter else { return Ok(Map::new()) };
        serde_json::from_str(text).map_err(|error| {
            Error::new(HResult::INVALID_JSON, format!("the filter is not a JSON object: {error}"))
                .at("Filter")
                .expected("a JSON object in a string, as \"{\\\"Name\\\":\\\"a\\\"}\"")
        })
    }
}
