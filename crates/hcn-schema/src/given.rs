//! "Not given" and lenient forms of values (contract 2.1), as `deserialize_with` functions.
//!
//! Clients send `null`, `""`, `{}` and `[]` for what they do not set, and numbers as strings. serde's derived
//! structures would also take a sequence for an object, member by member; these functions do not.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, StrDeserializer, U64Deserializer};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Raw;

/// The kinds of value that a property can have.
trait Shape<'de>: Sized {
    const EXPECTED: &'static str;

    fn from_text<E: Error>(_text: &str) -> Option<Result<Self, E>> {
        None
    }
    fn from_number<E: Error>(_number: u64) -> Option<Result<Self, E>> {
        None
    }
    fn from_bool(_value: bool) -> Option<Self> {
        None
    }
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        match map.next_key::<IgnoredAny>()? {
            None => Ok(None),
            Some(_) => Err(Error::custom(format_args!("invalid type: map, expected {}", Self::EXPECTED))),
        }
    }
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(None),
            Some(_) => {
                Err(Error::custom(format_args!("invalid type: sequence, expected {}", Self::EXPECTED)))
            }
        }
    }
}

struct GivenVisitor<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> Visitor<'de> for GivenVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.is_empty() {
            return Ok(None);
        }
        let unexpected = serde::de::Unexpected::Str(text);
        T::from_text(text).unwrap_or_else(|| Err(E::invalid_type(unexpected, &self))).map(Some)
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        let unexpected = serde::de::Unexpected::Unsigned(number);
        T::from_number(number).unwrap_or_else(|| Err(E::invalid_type(unexpected, &self))).map(Some)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        T::from_bool(value)
            .map(Some)
            .ok_or_else(|| E::invalid_type(serde::de::Unexpected::Bool(value), &self))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::from_map(map)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        T::from_seq(seq)
    }
}

fn given<'de, T: Shape<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(GivenVisitor(PhantomData))
}

struct Text(String);

impl Shape<'_> for Text {
    const EXPECTED: &'static str = "a string";
    fn from_text<E: Error>(text: &str) -> Option<Result<Self, E>> {
        Some(Ok(Self(text.to_owned())))
    }
}

/// A string.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(given::<Text, D>(deserializer)?.map(|text| text.0))
}

/// Integers that documents hold.
pub(crate) trait Integer: TryFrom<u64> {
    const EXPECTED: &'static str;
}

impl Integer for u8 {
    const EXPECTED: &'static str = "an integer from 0 to 255";
}
impl Integer for u16 {
    const EXPECTED: &'static str = "an integer from 0 to 65535";
}
impl Integer for u32 {
    const EXPECTED: &'static str = "an integer from 0 to 4294967295";
}
impl Integer for u64 {
    const EXPECTED: &'static str = "an integer from 0 to 18446744073709551615";
}

struct Number<T>(T);

impl<T: Integer> Shape<'_> for Number<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn from_text<E: Error>(text: &str) -> Option<Result<Self, E>> {
        let value = text.trim().parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
        Some(value.map(Self).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &T::EXPECTED)))
    }
    fn from_number<E: Error>(number: u64) -> Option<Result<Self, E>> {
        let unexpected = serde::de::Unexpected::Unsigned(number);
        Some(T::try_from(number).map(Self).map_err(|_| E::invalid_value(unexpected, &T::EXPECTED)))
    }
}

/// An integer, also written as a string.
pub(crate) fn number<'de, T: Integer, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(given::<Number<T>, D>(deserializer)?.map(|number| number.0))
}

struct Truth(bool);

impl Shape<'_> for Truth {
    const EXPECTED: &'static str = "true or false";
    fn from_text<E: Error>(text: &str) -> Option<Result<Self, E>> {
        let value = match text.trim().to_ascii_lowercase().as_str() {
            "false" | "0" => Some(false),
            "true" | "1" => Some(true),
            _ => None,
        };
        Some(
            value
                .map(Self)
                .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &Self::EXPECTED)),
        )
    }
    fn from_number<E: Error>(number: u64) -> Option<Result<Self, E>> {
        let unexpected = serde::de::Unexpected::Unsigned(number);
        Some(if number < 2 {
            Ok(Self(number == 1))
        } else {
            Err(E::invalid_value(unexpected, &Self::EXPECTED))
        })
    }
    fn from_bool(value: bool) -> Option<Self> {
        Some(Self(value))
    }
}

/// True or false, also written as a string or as 0 or 1.
pub(crate) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(given::<Truth, D>(deserializer)?.map(|truth| truth.0))
}

struct Choice<T>(T);

impl<'de, T: Deserialize<'de>> Shape<'de> for Choice<T> {
    const EXPECTED: &'static str = "a name or a number of the enumeration";
    fn from_text<E: Error>(text: &str) -> Option<Result<Self, E>> {
        Some(T::deserialize(StrDeserializer::new(text)).map(Self))
    }
    fn from_number<E: Error>(number: u64) -> Option<Result<Self, E>> {
        Some(T::deserialize(U64Deserializer::new(number)).map(Self))
    }
}

/// A value of an enumeration: a name in any case, or a number.
pub(crate) fn choice<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(given::<Choice<T>, D>(deserializer)?.map(|choice| choice.0))
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Shape<'de> for Object<T> {
    const EXPECTED: &'static str = "an object";
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|value| Some(Self(value)))
    }
}

/// An object; one without any known property counts as not given.
pub(crate) fn object<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de> + Default + PartialEq,
    D: Deserializer<'de>,
{
    Ok(given::<Object<T>, D>(deserializer)?.map(|object| object.0).filter(|value| *value != T::default()))
}

/// An object, also one without any known property.
pub(crate) fn any_object<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(given::<Object<T>, D>(deserializer)?.map(|object| object.0))
}

/// An element of a list of objects: `null` is dropped, `{}` stays.
struct Element<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Element<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(given::<Object<T>, D>(deserializer)?.map(|object| object.0)))
    }
}

struct List<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Shape<'de> for List<T> {
    const EXPECTED: &'static str = "an array";
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<T>()? {
            items.push(item);
        }
        Ok(Some(Self(items)))
    }
}

/// An array of objects; `null` elements are dropped.
pub(crate) fn objects<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let list = given::<List<Element<T>>, D>(deserializer)?;
    Ok(list.map(|list| list.0.into_iter().filter_map(|element| element.0).collect()).unwrap_or_default())
}

/// An element of a list of strings: `null` and `""` are dropped.
struct TextElement(Option<String>);

impl<'de> Deserialize<'de> for TextElement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Self)
    }
}

/// An array of strings; `null` and empty elements are dropped.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let list = given::<List<TextElement>, D>(deserializer)?;
    Ok(list.map(|list| list.0.into_iter().filter_map(|element| element.0).collect()).unwrap_or_default())
}

/// Any JSON, kept as it came; `null`, `""`, `{}` and `[]` count as not given.
pub(crate) fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Raw>, D::Error> {
    let raw = Raw::deserialize(deserializer)?;
    Ok((!raw.is_blank()).then_some(raw))
}

/// An array of any JSON; `null` elements are dropped.
pub(crate) fn raws<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Raw>, D::Error> {
    let list = given::<List<Raw>, D>(deserializer)?.map(|list| list.0).unwrap_or_default();
    Ok(list.into_iter().filter(|raw| raw.get() != "null").collect())
}

/// Any JSON but `null`, kept as it came.
pub(crate) fn settings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Raw>, D::Error> {
    let raw = Raw::deserialize(deserializer)?;
    Ok((raw.get() != "null").then_some(raw))
}
