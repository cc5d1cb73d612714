//! JSON that is kept as it came.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
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

    /// The same object with one member set to an integer: in its place when it is there, else at the end. Everything
    /// else keeps its bytes. A value that is no object stays as it is.
    #[must_use]
    pub fn with_number(&self, member: &str, number: u64) -> Self {
        let Ok(mut members) = serde_json::from_str::<Members<'_>>(self.get()) else { return self.clone() };
        let text = number.to_string();
        match members.0.iter_mut().find(|(name, _)| name == member) {
            Some((_, value)) => *value = &text,
            None => members.0.push((member.to_owned(), &text)),
        }
        let pairs: Vec<String> =
            members.0.iter().map(|(name, value)| format!("{}:{value}", crate::to_text(name))).collect();
        Self::new(format!("{{{}}}", pairs.join(","))).unwrap_or_else(|_| self.clone())
    }

    /// Whether the value counts as "not given" (contract 2.1).
    pub fn is_blank(&self) -> bool {
        let bare: String = self.get().chars().filter(|c| !c.is_ascii_whitespace()).collect();
        matches!(bare.as_str(), "null" | "\"\"" | "{}" | "[]")
    }

    /// The value without the members that count as not given: two that mean the same are equal, however they are written.
    /// None if it is nested too deep or holds a number that is too large.
    pub fn meaning(&self) -> Option<Value> {
        serde_json::from_str(self.get()).ok().map(given)
    }

    /// Whether two values mean the same. Values that are nested too deeply, or have numbers too large, are compared byte
    /// for byte.
    pub fn same_value(&self, other: &Self) -> bool {
        self.get() == other.get() || self.meaning().is_some_and(|meaning| Some(meaning) == other.meaning())
    }
}

/// A value without what counts as not given; null if nothing is left.
fn given(value: Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => Value::Null,
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => Value::Array(items.into_iter().map(given).collect()),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, given(value)));
            let left: serde_json::Map<String, Value> =
                members.filter(|(_, value)| !value.is_null()).collect();
            if left.is_empty() { Value::Null } else { Value::Object(left) }
        }
        other => other,
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

/// The members of an object, in order, each with the bytes of its value.
struct Members<'a>(Vec<(String, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((name, value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_be_compared_are_the_same_only_byte_for_byte() {
        let raw = |json: String| Raw::new(json).unwrap();
        let deep = |leaf: u8| raw(format!("{}{leaf}{}", "[".repeat(200), "]".repeat(200)));
        assert!(!deep(1).same_value(&deep(2)));
        assert!(deep(1).same_value(&deep(1)));
        assert!(!raw("1e400".to_owned()).same_value(&raw("1e500".to_owned())));
        assert!(raw(r#"{"a":1,"b":2}"#.to_owned()).same_value(&raw(r#"{"b":2, "a":1}"#.to_owned())));
    }

    #[test]
    fn a_member_is_set_in_its_place_and_all_else_keeps_its_bytes() {
        let set = |json: &str| Raw::new(json.to_owned()).unwrap().with_number("B", 7).get().to_owned();
        assert_eq!(set(r#"{"A": 1.50,"B":0,"C":{"x" : [1, 2]}}"#), r#"{"A":1.50,"B":7,"C":{"x" : [1, 2]}}"#);
        assert_eq!(set(r#"{"A":"ü\u0041"}"#), r#"{"A":"ü\u0041","B":7}"#);
        assert_eq!(set("{}"), r#"{"B":7}"#);
        assert_eq!(set("[1]"), "[1]");
    }

    #[test]
    fn what_is_not_given_means_nothing() {
        let raw = |json: &str| Raw::new(json.to_owned()).unwrap();
        let same = |one: &str, other: &str| raw(one).same_value(&raw(other));
        assert!(same(r#"{"A":1,"B":"","C":null,"D":{"E":[]}}"#, r#"{ "A" : 1 }"#));
        assert!(same("{}", "null") && same(r#"""#.repeat(2).as_str(), "[]"));
        assert!(!same(r#"{"A":1}"#, r#"{"A":"1"}"#));
        assert!(!same(r#"{"A":["",1]}"#, r#"{"A":[1]}"#));
        // Too large for a value, so only their bytes can be compared.
        assert!(same(r#"{"A":1e999}"#, r#"{"A":1e999}"#));
        assert!(!same(r#"{"A":1e999}"#, r#"{"B":1e999}"#));
    }
}
