//! A JSON object as a list of members whose values keep their bytes: what flat policies are taken apart and put
//! together with.

use std::fmt;

use hcn_schema::Raw;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The members of an object, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Members(Vec<(String, Raw)>);

impl Members {
    /// The members of a value; none if it is no object.
    pub(super) fn of(raw: &Raw) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// The object.
    pub(super) fn raw(&self) -> Raw {
        let member = |(name, value): &(String, Raw)| format!("{}:{}", hcn_schema::to_text(name), value.get());
        let text = format!("{{{}}}", self.0.iter().map(member).collect::<Vec<_>>().join(","));
        Raw::new(text).unwrap_or_else(|_| Raw::of(&()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Raw> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// Whether a member is there and not blank (2.1).
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.is_blank())
    }

    /// Takes a member out.
    pub(super) fn take(&mut self, name: &str) -> Option<Raw> {
        let index = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(index).1)
    }

    /// Puts a member in front of all others.
    pub(super) fn put_first<T: Serialize>(&mut self, name: &str, value: &T) {
        self.0.insert(0, (name.to_owned(), Raw::of(value)));
    }

    /// Sets a member: in its place if it is there, else at the end.
    pub(super) fn set<T: Serialize>(&mut self, name: &str, value: &T) {
        let value = Raw::of(value);
        match self.0.iter_mut().find(|(other, _)| other == name) {
            Some((_, present)) => *present = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Calls a member otherwise, unless there is one of that name already.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if self.get(to).is_none()
            && let Some((name, _)) = self.0.iter_mut().find(|(other, _)| other == from)
        {
            to.clone_into(name);
        }
    }

    /// Puts a member in the place of another one.
    pub(super) fn replace<T: Serialize>(&mut self, from: &str, to: &str, value: &T) {
        self.rename(from, to);
        self.take(from);
        self.set(to, value);
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A text, or the text of another value.
pub(super) fn text_of(value: &Raw) -> String {
    serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

/// A number, also one that is written as a text.
pub(super) fn number_of(value: &Raw) -> Option<u64> {
    text_of(value).trim().parse().ok()
}
