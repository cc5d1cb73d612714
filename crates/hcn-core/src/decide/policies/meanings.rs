//! Policies by what they say: clients that remove one have often serialised anew what they read before (contract 2.12).

use std::cell::OnceCell;

use hcn_schema::policy::Policy;
use hcn_schema::{Error, HResult, Result};
use serde_json::Value;

/// Policies of a list that one can be taken out of.
pub(super) struct Meanings<'a, T>(Vec<Option<Meaning<'a, T>>>);

/// A policy, and its settings as a value once they have been looked at.
struct Meaning<'a, T> {
    policy: &'a Policy<T>,
    value: OnceCell<Option<Value>>,
}

impl<'a, T: PartialEq> Meanings<'a, T> {
    /// These policies.
    pub(super) fn of(policies: impl IntoIterator<Item = &'a Policy<T>>) -> Self {
        Self(policies.into_iter().map(|policy| Some(Meaning::new(policy))).collect())
    }

    /// Takes out a policy that says the same as another one; answers its place.
    pub(super) fn take(&mut self, policy: &Policy<T>) -> Result<usize> {
        let wanted = Meaning::new(policy);
        let found = self.0.iter().position(|other| other.as_ref().is_some_and(|other| other.same(&wanted)));
        let place = found.ok_or_else(|| {
            Error::new(HResult::POLICY_NOT_FOUND, "there is no such policy")
                .expected("a policy as it is in the document")
        })?;
        self.0[place] = None;
        Ok(place)
    }

    /// Whether all have been taken out but those that `may_stay`.
    pub(super) fn are_gone(&self, may_stay: impl Fn(&Policy<T>) -> bool) -> bool {
        self.0.iter().flatten().all(|left| may_stay(left.policy))
    }
}

impl<'a, T: PartialEq> Meaning<'a, T> {
    fn new(policy: &'a Policy<T>) -> Self {
        Self { policy, value: OnceCell::new() }
    }

    fn same(&self, other: &Self) -> bool {
        let (one, another) = (&self.policy, &other.policy);
        one.kind == another.kind
            && (one.settings == another.settings
                || self.value().is_some_and(|value| Some(value) == other.value()))
    }

    /// The settings without what counts as not given; none if they do not fit into a value.
    fn value(&self) -> Option<&Value> {
        let read = || match &self.policy.settings {
            Some(settings) => settings.meaning(),
            None => Some(Value::Null),
        };
        self.value.get_or_init(read).as_ref()
    }
}
