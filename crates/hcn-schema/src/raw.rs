//! JSON that is kept as it came.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON value whose bytes are kept: whitespace, key order, number formats and repeated keys included.
#[derive(Clone, Debug)]
pub struct Raw(Box<RawValue>);

impl Raw {
    /// Keeps `json`, which must be one JSON value.
    ///
    /// # Errors
    /// serde_json's, when it is not.
    pub fn new(json: String) -> serde_json::Result<Self> {
        RawValue::from_string(json).map(Self)
    }

    /// Writes a value of our own.
    pub fn of<T: Serialize>(value: &T) -> Self {
        // As in `to_text`: the values of this crate always serialise.
        Self(serde_json::value::to_raw_value(value).unwrap_or_default())
    }

    /// The bytes.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Whether the value counts as "not given" (contract 2.1).
    pub fn is_blank(&self) -> bool {
        let bare: String = self.get().chars().filter(|c| !c.is_ascii_whitespace()).collect();
        matches!(bare.as_str(), "null" | "\"\"" | "{}" | "[]")
    }

    /// Whether two values are equal as JSON: order of members and formatting do not matter.
    pub fn same_value(&self, other: &Self) -> bool {
        let value = |raw: &Self| serde_json::from_str::<serde_json::Value>(raw.get()).ok();
        self.get() == other.get() || value(self) == value(other)
    }
}

impl PartialEq for Raw {
    /// Byte for byte.
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Raw {}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
