//! Rules about packets: ACL, TierAcl, NetworkACL, and the filter of a proxy (contract 2.14).

use hcn_schema::enums::{
    ActionType, DirectionType, EndpointPolicyType, Enumeration, NetworkPolicyType, OneOf,
};
use hcn_schema::hns::HnsVersion;
use hcn_schema::policy::Policy;
use hcn_schema::settings::{AclSettings, FiveTuple, TierAclRule, TierAclSettings};
use hcn_schema::{Error, HResult, Result};

use super::super::gates;
use super::sets::Sets;
use super::{settings, words};
use crate::lists::{Match, matches_of};
use crate::text;

fn check(given: &Match<'_>, sets: &Sets) -> Result<()> {
    words::protocols(given.protocols, "Protocols")?;
    addresses(given.local_addresses, "LocalAddresses", sets)?;
    addresses(given.remote_addresses, "RemoteAddresses", sets)?;
    words::ports(given.local_ports, "LocalPorts")?;
    words::ports(given.remote_ports, "RemotePorts")
}

/// A list of addresses and prefixes, or of sets. Sets restrict each other, addresses add up, so a list of both would mean
/// nothing certain.
fn addresses(list: Option<&str>, member: &str, sets: &Sets) -> Result<()> {
    let expected = "addresses and prefixes, or Ids of SetPolicies of the network, separated by commas";
    words::each(list, member, expected, |word| words::is_place(word) || sets.contains(word))?;
    let mut given = words::split(list.unwrap_or_default()).map(words::is_place);
    let first = given.next();
    if given.any(|is_place| Some(is_place) != first) {
        let message = "a list holds either addresses or sets";
        return Err(Error::new(HResult::INVALID_POLICY, message).at(member).expected(expected));
    }
    Ok(())
}

/// One of the values of an enumeration.
pub(super) fn one_of<T: Enumeration>(given: Option<&OneOf<T>>, member: &str) -> Result<Option<T>> {
    match given {
        None => Ok(None),
        Some(OneOf::Known(value)) => Ok(Some(*value)),
        Some(OneOf::Unknown(text)) => {
            let message = format!("there is no {member} {}", text::shown(text));
            Err(Error::new(HResult::INVALID_POLICY, message).at(member).expected(T::names()))
        }
    }
}

fn required<T: Enumeration>(given: Option<&OneOf<T>>, member: &str) -> Result<T> {
    one_of(given, member)?.ok_or_else(|| words::missing(member, &T::names()))
}

/// Settings of an ACL or a NetworkACL.
pub(super) fn acl(rule: &AclSettings, hns: HnsVersion, sets: &Sets) -> Result<()> {
    if required(rule.action.as_ref(), "Action")? == ActionType::Pass {
        let message = "Pass leads to the next tier; an ACL has none";
        return Err(Error::new(HResult::INVALID_POLICY, message).at("Action").expected("Allow or Block"));
    }
    required::<DirectionType>(rule.direction.as_ref(), "Direction")?;
    one_of(rule.rule_type.as_ref(), "RuleType")?;
    check(&matches_of!(rule), sets)?;
    gates::acl(hns, rule)
}

/// Settings of a tier. A tier without Order comes first: Go clients leave out 0.
pub(super) fn tier(tier: &TierAclSettings, sets: &Sets) -> Result<()> {
    required::<DirectionType>(tier.direction.as_ref(), "Direction")?;
    for (index, rule) in tier.tier_acl_rules.iter().enumerate() {
        tier_rule(rule, sets).map_err(|error| error.within(&format!("TierAclRules[{index}]")))?;
    }
    Ok(())
}

fn tier_rule(rule: &TierAclRule, sets: &Sets) -> Result<()> {
    required::<ActionType>(rule.action.as_ref(), "TierAclRuleAction")?;
    check(&matches_of!(rule), sets)
}

/// The filter of a proxy. Sets are for rules only.
pub(super) fn filter(filter: &FiveTuple) -> Result<()> {
    check(&matches_of!(filter), &Sets::default())
}

/// A type of policy whose rules may name sets.
pub(super) trait Rules: Enumeration {
    /// The lists of addresses in such a policy; none in those of other types.
    fn address_lists(policy: &Policy<Self>) -> Vec<String>;
}

impl Rules for NetworkPolicyType {
    fn address_lists(policy: &Policy<Self>) -> Vec<String> {
        match policy.kind {
            Some(OneOf::Known(Self::NetworkAcl)) => lists_of_acl(policy),
            _ => Vec::new(),
        }
    }
}

impl Rules for EndpointPolicyType {
    fn address_lists(policy: &Policy<Self>) -> Vec<String> {
        match policy.kind {
            Some(OneOf::Known(Self::Acl)) => lists_of_acl(policy),
            Some(OneOf::Known(Self::TierAcl)) => {
                let tier: TierAclSettings = settings(policy.settings.as_ref()).unwrap_or_default();
                let lists = |rule: TierAclRule| [rule.local_addresses, rule.remote_addresses];
                tier.tier_acl_rules.into_iter().flat_map(lists).flatten().collect()
            }
            _ => Vec::new(),
        }
    }
}

fn lists_of_acl<T>(policy: &Policy<T>) -> Vec<String> {
    let rule: AclSettings = settings(policy.settings.as_ref()).unwrap_or_default();
    [rule.local_addresses, rule.remote_addresses].into_iter().flatten().collect()
}
