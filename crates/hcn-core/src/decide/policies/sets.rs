//! Sets of addresses, and sets of sets, which rules name by their Ids (contract 2.13, B75).

use std::collections::{HashMap, HashSet};

use hcn_schema::enums::{NetworkPolicyType, OneOf, SetPolicyType};
use hcn_schema::hns::HnsVersion;
use hcn_schema::policy::{NetworkPolicy, Policy};
use hcn_schema::settings::SetPolicySettings;
use hcn_schema::{Error, HResult, Raw, Result};

use super::super::gates;
use super::rules::{self, Rules};
use super::{settings, words};
use crate::text;

/// The sets of a network.
#[derive(Debug, Default)]
pub(super) struct Sets(HashMap<String, Place>);

/// What a set is, and where it stands among the network's policies.
#[derive(Clone, Copy, Debug)]
struct Place {
    kind: SetPolicyType,
    index: usize,
}

/// Whether a policy is a set.
pub(super) fn is_set(policy: &NetworkPolicy) -> bool {
    policy.kind == Some(OneOf::Known(NetworkPolicyType::SetPolicy))
}

impl Sets {
    /// The sets among these policies.
    pub(super) fn of<'a>(policies: impl IntoIterator<Item = &'a NetworkPolicy>) -> Self {
        let mut sets = HashMap::new();
        for (index, policy) in policies.into_iter().enumerate().filter(|(_, policy)| is_set(policy)) {
            let set: SetPolicySettings = settings(policy.settings.as_ref()).unwrap_or_default();
            if let (Some(id), Ok(kind)) = (set.id, kind_of(set.policy_type.as_ref())) {
                sets.insert(id, Place { kind, index });
            }
        }
        Self(sets)
    }

    /// Whether there is a set with this Id.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Takes a new set in, which stands at this place.
    pub(super) fn add(&mut self, hns: HnsVersion, raw: Option<&Raw>, index: usize) -> Result<()> {
        let (id, kind) = self.checked(hns, raw)?;
        if self.contains(&id) {
            let message = format!("there is a set {} already", text::shown(&id));
            return Err(Error::new(HResult::POLICY_ALREADY_EXISTS, message)
                .at("Id")
                .expected("another Id, or RequestType Update"));
        }
        self.0.insert(id, Place { kind, index });
        Ok(())
    }

    /// The place of the set that these settings give other values.
    pub(super) fn update(&self, hns: HnsVersion, raw: Option<&Raw>) -> Result<usize> {
        let (id, kind) = self.checked(hns, raw)?;
        let place = self.0.get(&id).ok_or_else(|| not_there(&id))?;
        if place.kind != kind {
            let message = format!("the set {} is of type {}", text::shown(&id), place.kind.name());
            return Err(Error::new(HResult::INVALID_POLICY, message)
                .at("PolicyType")
                .expected(place.kind.name()));
        }
        Ok(place.index)
    }

    /// Takes out the set with the Id of these settings; answers its Id and where it stood.
    pub(super) fn remove(&mut self, raw: Option<&Raw>) -> Result<(String, usize)> {
        let id = id_of(&settings(raw)?)?;
        let place = self.0.remove(&id).ok_or_else(|| not_there(&id))?;
        Ok((id, place.index))
    }

    /// Checks the settings of a set; answers its Id and its type.
    fn checked(&self, hns: HnsVersion, raw: Option<&Raw>) -> Result<(String, SetPolicyType)> {
        let set: SetPolicySettings = settings(raw)?;
        let id = id_of(&set)?;
        let kind = kind_of(set.policy_type.as_ref())?;
        gates::set(hns, kind)?;
        match kind {
            SetPolicyType::IpSet => {
                let expected = "addresses and prefixes, separated by commas";
                words::each(set.values.as_deref(), "Values", expected, words::is_place)?;
            }
            SetPolicyType::NestedIpSet => {
                let expected = "Ids of SetPolicies of type IPSET of the network, separated by commas";
                let is_set = |id: &str| self.0.get(id).is_some_and(|set| set.kind == SetPolicyType::IpSet);
                words::each(set.values.as_deref(), "Values", expected, is_set)?;
            }
        }
        Ok((id, kind))
    }
}

/// The Id by which rules and other sets name a set: one word of their lists, and no address.
fn id_of(set: &SetPolicySettings) -> Result<String> {
    let expected = "a text without commas that is no address";
    let id = set.id.as_deref().ok_or_else(|| words::missing("Id", expected))?;
    if id.is_empty() || id.trim() != id || id.contains(',') || words::is_place(id) {
        return Err(words::wrong(id, "Id", expected));
    }
    Ok(id.to_owned())
}

/// A set is one of addresses unless it says otherwise.
fn kind_of(given: Option<&OneOf<SetPolicyType>>) -> Result<SetPolicyType> {
    Ok(rules::one_of(given, "PolicyType")?.unwrap_or(SetPolicyType::IpSet))
}

fn not_there(id: &str) -> Error {
    let message = format!("the network has no set {}", text::shown(id));
    Error::new(HResult::POLICY_NOT_FOUND, message).at("Id").expected("the Id of a SetPolicy of the network")
}

/// A set that another one or a rule among these policies names, and who does.
pub(super) fn named_by_network(
    policies: &[NetworkPolicy],
    sets: &HashSet<String>,
) -> Option<(String, String)> {
    policies.iter().find_map(|policy| {
        if !is_set(policy) {
            return named(policy, sets).map(|id| (id, "a NetworkACL".to_owned()));
        }
        let nested: SetPolicySettings = settings(policy.settings.as_ref()).unwrap_or_default();
        if kind_of(nested.policy_type.as_ref()) != Ok(SetPolicyType::NestedIpSet) {
            return None;
        }
        let id = words::split(nested.values.as_deref()?).find(|id| sets.contains(*id))?.to_owned();
        Some((id, format!("the set {}", text::shown(&nested.id.unwrap_or_default()))))
    })
}

/// A set that a rule names.
pub(super) fn named<T: Rules>(policy: &Policy<T>, sets: &HashSet<String>) -> Option<String> {
    let text = policy.settings.as_ref()?.get();
    // Most rules can be told from their text alone: there are many, and reading one takes its time.
    if !text.contains('\\') && !sets.iter().any(|id| text.contains(id.as_str())) {
        return None;
    }
    let lists = T::address_lists(policy);
    let mut words = lists.iter().flat_map(|list| words::split(list));
    words.find(|word| sets.contains(*word)).map(str::to_owned)
}
