//! Enumerations: one value out of several, a name in the contract's spelling and a number.

use std::fmt;

use serde::de::{Deserializer, Error as _, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// An enumeration of the contract: canonical names and numbers.
pub trait Enumeration: Copy + 'static {
    /// The name of the enumeration.
    const NAME: &'static str;
    /// Every value with its canonical name and its number.
    const VALUES: &'static [(Self, &'static str, u64)];
    /// Whether documents carry its values as numbers, because Go clients declare an integer (2.1).
    const AS_NUMBER: bool;

    /// Finds a value by its name, in any case, or by its number written as text.
    fn find(text: &str) -> Option<Self> {
        let number = text.parse::<u64>().ok();
        Self::VALUES
            .iter()
            .find(|(_, name, value)| name.eq_ignore_ascii_case(text) || number == Some(*value))
            .map(|(value, ..)| *value)
    }

    /// The names, for error messages.
    fn names() -> String {
        let names: Vec<&str> = Self::VALUES.iter().map(|(_, name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    }
}

/// A value of an enumeration, or what the client wrote instead. Which code an unknown value gets depends on
/// where it stands, so that is decided later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneOf<T> {
    /// A value of the contract.
    Known(T),
    /// Anything else, as it was written.
    Unknown(String),
}

impl<T: Enumeration> OneOf<T> {
    /// The known value.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Unknown(_) => None,
        }
    }
}

impl<'de, T: Enumeration> Deserialize<'de> for OneOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);
        impl<T: Enumeration> Visitor<'_> for Either<T> {
            type Value = OneOf<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&T::names())
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(T::find(text).map_or_else(|| OneOf::Unknown(text.to_owned()), OneOf::Known))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

impl<T: Enumeration + Serialize> Serialize for OneOf<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(value) => value.serialize(serializer),
            Self::Unknown(text) => match text.parse::<u64>() {
                Ok(number) if T::AS_NUMBER => serializer.serialize_u64(number),
                _ => serializer.serialize_str(text),
            },
        }
    }
}

/// A value of the contract; anything else is an error.
pub(super) fn strict<'de, T: Enumeration, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    match OneOf::deserialize(deserializer)? {
        OneOf::Known(value) => Ok(value),
        OneOf::Unknown(text) => Err(D::Error::invalid_value(Unexpected::Str(&text), &T::names().as_str())),
    }
}

/// Makes an enumeration of a list of values, each with its number and its name. `("Name")` after the name of the Rust
/// type is the contract's name where that is another one; `: number` has the values written as numbers.
macro_rules! enumeration {
    (@as_number) => { false };
    (@as_number number) => { true };
    ($(#[doc = $doc:literal])* $name:ident $(($title:literal))? $(: $form:ident)? {
        $($variant:ident = $number:literal $text:literal,)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $(#[doc = concat!("`", $text, "`")] $variant,)* }

        impl $crate::enums::Enumeration for $name {
            const NAME: &'static str = $crate::document::title!($name [$($title)?]);
            const VALUES: &'static [(Self, &'static str, u64)] = &[$((Self::$variant, $text, $number),)*];
            const AS_NUMBER: bool = enumeration!(@as_number $($form)?);
        }

        impl $name {
            /// The canonical name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The number.
            pub fn number(self) -> u64 {
                match self { $(Self::$variant => $number,)* }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if <Self as $crate::enums::Enumeration>::AS_NUMBER {
                    serializer.serialize_u64(self.number())
                } else {
                    serializer.serialize_str(self.name())
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            /// Unlike `OneOf`, an unknown value is an error.
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::enums::enumeration::strict(deserializer)
            }
        }

        #[cfg(feature = "json-schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                <Self as $crate::enums::Enumeration>::NAME.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::json_schema::enumeration::<Self>(&[$($doc),*])
            }
        }
    };
}

pub(super) use enumeration;
