//! GUIDs in the contract's text form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A GUID. Input: 8-4-4-4-12 hex digits in either case, with or without braces. Output: upper case without
/// braces (contract 2.2: the one form that every known client accepts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(Uuid);

impl Guid {
    /// The all-zero GUID, which stands for "none given" in the C API.
    pub const ZERO: Self = Self(Uuid::nil());

    /// Whether this is the all-zero GUID.
    pub fn is_zero(self) -> bool {
        self.0.is_nil()
    }

    /// The 16 bytes, most significant first.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The GUID of these bytes, most significant first.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// A version 4 GUID made of 122 of the given bits.
    pub fn random_from(high: u64, low: u64) -> Self {
        Self(
            uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
                .into_uuid(),
        )
    }

    /// The first 8 hex digits in lower case, as used in link names.
    pub fn short(self) -> String {
        let mut text = self.0.simple().to_string();
        text.truncate(8);
        text
    }
}

impl From<Uuid> for Guid {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl FromStr for Guid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bare = match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}').ok_or(())?,
            None => text,
        };
        // Uuid also reads the forms without hyphens and with a URN prefix, which HCN does not have.
        if bare.len() != 36 {
            return Err(());
        }
        Uuid::try_parse(bare).map(Self).map_err(|_| ())
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = Uuid::encode_buffer();
        f.write_str(self.0.hyphenated().encode_upper(&mut buffer))
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom(format_args!("{text:?} is not a GUID")))
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPPER: &str = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";

    #[test]
    fn reads_both_cases_and_braces_and_writes_upper_case() {
        for text in [UPPER.to_owned(), UPPER.to_lowercase(), format!("{{{UPPER}}}")] {
            assert_eq!(text.parse::<Guid>().unwrap().to_string(), UPPER);
        }
    }

    #[test]
    fn refuses_other_forms() {
        for text in
            ["", "{", "5F0B119063BE4E0CB974BD0F55675A42", "urn:uuid:5F0B1190-63BE-4E0C-B974-BD0F55675A42"]
        {
            assert!(text.parse::<Guid>().is_err(), "{text}");
        }
        assert!(format!("{{{UPPER}").parse::<Guid>().is_err());
    }
}
