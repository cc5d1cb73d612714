//! Flag sets: several values at once, in one unsigned integer.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

/// A set of flags: accepted as a number, a name or several names; written as a number, because Go clients
/// declare every `Flags` as an unsigned integer.
pub trait FlagSet: Copy + From<u32> + Into<u32> + 'static {
    /// The name of the set.
    const NAME: &'static str;
    /// Every flag with its name.
    const NAMES: &'static [(&'static str, u32)];
}

fn find_flags<T: FlagSet, E: serde::de::Error>(text: &str) -> Result<u32, E> {
    let mut bits = 0;
    for word in text.split([',', '|']).map(str::trim).filter(|word| !word.is_empty()) {
        let known = T::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, bit)| *bit);
        bits |= known.or_else(|| word.parse().ok()).ok_or_else(|| {
            let names: Vec<&str> = T::NAMES.iter().map(|(name, _)| *name).collect();
            let expected = format!("flags out of {}, or their number", names.join(", "));
            E::invalid_value(Unexpected::Str(word), &expected.as_str())
        })?;
    }
    Ok(bits)
}

struct FlagsVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: FlagSet> Visitor<'de> for FlagsVisitor<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("flags: a number from 0 to 4294967295, or names separated by commas")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<T, E> {
        Ok(T::from(0))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        match map.next_key::<IgnoredAny>()? {
            None => Ok(T::from(0)),
            Some(_) => Err(serde::de::Error::invalid_type(Unexpected::Map, &self)),
        }
    }
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        u32::try_from(number).map(T::from).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        find_flags::<T, E>(text).map(T::from)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        let mut bits = 0;
        while let Some(word) = seq.next_element::<String>()? {
            bits |= find_flags::<T, A::Error>(&word)?;
        }
        Ok(T::from(bits))
    }
}

/// Reads flags in any of their forms.
pub(super) fn flags<'de, T: FlagSet, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(FlagsVisitor(std::marker::PhantomData))
}

/// Whether no bit is set; such flags are left out of documents.
pub(crate) fn no_flags<T: FlagSet>(flags: &T) -> bool {
    (*flags).into() == 0
}

/// Makes a flag set of a list of flags, each with its bit and its name. `("Name")` after the name of the Rust type is
/// the contract's name where that is another one.
macro_rules! flag_set {
    ($(#[doc = $doc:literal])* $name:ident $(($title:literal))? {
        $($constant:ident = $bit:literal $text:literal,)*
    }) => {
        $(#[doc = $doc])*
        ///
        /// Bits that the contract does not name are kept.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name(pub u32);

        impl $name {
            $(#[doc = concat!("`", $text, "`")] pub const $constant: Self = Self($bit);)*

            /// Whether all bits of `flag` are set.
            pub fn has(self, flag: Self) -> bool {
                self.0 & flag.0 == flag.0
            }

            /// Whether no bit is set; such flags are left out of documents.
            pub fn is_empty(&self) -> bool {
                self.0 == 0
            }
        }

        impl From<u32> for $name {
            fn from(bits: u32) -> Self {
                Self(bits)
            }
        }

        impl From<$name> for u32 {
            fn from(flags: $name) -> Self {
                flags.0
            }
        }

        impl $crate::enums::FlagSet for $name {
            const NAME: &'static str = $crate::document::title!($name [$($title)?]);
            const NAMES: &'static [(&'static str, u32)] = &[("None", 0), $(($text, $bit),)*];
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u32(self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::enums::flag_set::flags(deserializer)
            }
        }

        #[cfg(feature = "json-schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                <Self as $crate::enums::FlagSet>::NAME.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::json_schema::flag_set::<Self>(&[$($doc),*])
            }
        }
    };
}

pub(super) use flag_set;
