//! Policy lists of networks and endpoints: checking, adding, removing, updating (contract 2.12 to 2.14).

use hcn_schema::enums::{EndpointPolicyType, Enumeration, ModifyRequestType, NetworkMode, OneOf};
use hcn_schema::policy::{EndpointPolicy, NetworkPolicy, Policy};
use hcn_schema::settings::SdnRouteSettings;
use hcn_schema::{Error, HResult, Result};

use super::{Outcome, View, gates};
use crate::entity::{Endpoint, Network};

/// Checks the policies of a new network.
pub(super) fn check_network(view: &View<'_>, _mode: NetworkMode, policies: &[NetworkPolicy]) -> Outcome<()> {
    Ok(check(view, policies, "Policies")?)
}

/// Checks the policies of a new endpoint of a network.
pub(super) fn check_endpoint(
    view: &View<'_>,
    _network: &Network,
    policies: &[EndpointPolicy],
) -> Outcome<()> {
    Ok(check(view, policies, "Policies")?)
}

/// Checks a route of an SDN route.
pub(super) fn check_sdn_route(_route: &SdnRouteSettings) -> Result<()> {
    Ok(())
}

/// Checks that every policy has a known type.
fn check<T: gates::Gated>(view: &View<'_>, policies: &[Policy<T>], path: &str) -> Result<()> {
    for (index, policy) in policies.iter().enumerate() {
        let message = match &policy.kind {
            Some(OneOf::Known(_)) => {
                gates::policy(view.context.hns, policy, &format!("{path}[{index}]"))?;
                continue;
            }
            Some(OneOf::Unknown(text)) => format!("there is no policy type {}", crate::text::shown(text)),
            None => "the policy has no type".to_owned(),
        };
        return Err(Error::new(HResult::INVALID_POLICY_TYPE, message)
            .at(format!("{path}[{index}].Type"))
            .expected(T::names()));
    }
    Ok(())
}

/// Appends policies.
fn add<T: Clone>(present: &[Policy<T>], given: &[Policy<T>]) -> Vec<Policy<T>> {
    present.iter().chain(given).cloned().collect()
}

/// Takes away one policy for each given one, compared by value: clients re-serialise what they read before.
fn remove<T: Enumeration + PartialEq>(present: &[Policy<T>], given: &[Policy<T>]) -> Result<Vec<Policy<T>>> {
    let mut left = present.to_vec();
    for (index, policy) in given.iter().enumerate() {
        let found = left.iter().position(|candidate| candidate.same(policy)).ok_or_else(|| {
            Error::new(HResult::POLICY_NOT_FOUND, "there is no such policy on the object")
                .at(format!("Settings.Policies[{index}]"))
        })?;
        left.remove(found);
    }
    Ok(left)
}

/// A request on the policies of a network. Update replaces the policies of the types that it names.
pub(super) fn modify_network(
    view: &View<'_>,
    network: &Network,
    request: ModifyRequestType,
    given: &[NetworkPolicy],
) -> Outcome<Vec<NetworkPolicy>> {
    let present = &network.document.policies;
    check(view, given, "Settings.Policies")?;
    Ok(modified(present, request, given)?)
}

fn modified<T: Enumeration + PartialEq>(
    present: &[Policy<T>],
    request: ModifyRequestType,
    given: &[Policy<T>],
) -> Result<Vec<Policy<T>>> {
    match request {
        ModifyRequestType::Add => Ok(add(present, given)),
        ModifyRequestType::Remove => remove(present, given),
        ModifyRequestType::Update => {
            let named = |policy: &Policy<T>| given.iter().any(|new| new.kind == policy.kind);
            Ok(add(&present.iter().filter(|policy| !named(policy)).cloned().collect::<Vec<_>>(), given))
        }
        ModifyRequestType::Refresh | ModifyRequestType::Reset => Err(unsupported("Policy", request)),
    }
}

/// Types of which an Update always replaces all: the rules that a client sends as one complete set.
const RULE_SETS: [EndpointPolicyType; 4] = [
    EndpointPolicyType::Acl,
    EndpointPolicyType::TierAcl,
    EndpointPolicyType::L4Proxy,
    EndpointPolicyType::L4WfpProxy,
];

/// A request on the policies of an endpoint. Update replaces the types that it names, ACL and TierAcl
/// together; an update that names none clears the rule sets (contract 10, question 2).
pub(super) fn modify_endpoint(
    view: &View<'_>,
    _network: &Network,
    endpoint: &Endpoint,
    request: ModifyRequestType,
    given: &[EndpointPolicy],
) -> Outcome<Vec<EndpointPolicy>> {
    let present = &endpoint.document.policies;
    if request != ModifyRequestType::Update {
        check(view, given, "Settings.Policies")?;
        return Ok(modified(present, request, given)?);
    }
    // PowerShell clears the rules with `[{}]`.
    let named: Vec<_> = given.iter().filter(|p| p.kind.is_some() || p.settings.is_some()).cloned().collect();
    check(view, &named, "Settings.Policies")?;
    let known = |policy: &EndpointPolicy| policy.kind.as_ref().and_then(OneOf::known);
    let is_acl = |kind| matches!(kind, Some(EndpointPolicyType::Acl | EndpointPolicyType::TierAcl));
    let acl_named = named.iter().any(|policy| is_acl(known(policy)));
    let replaced = |policy: &EndpointPolicy| {
        let kind = known(policy);
        if named.is_empty() {
            kind.is_some_and(|kind| RULE_SETS.contains(&kind))
        } else {
            (acl_named && is_acl(kind)) || named.iter().any(|new| new.kind == policy.kind)
        }
    };
    let kept: Vec<_> = present.iter().filter(|policy| !replaced(policy)).cloned().collect();
    Ok(add(&kept, &named))
}

/// The error for a request that the resource does not know.
pub(super) fn unsupported(resource: &str, request: ModifyRequestType) -> Error {
    Error::new(HResult::REQUEST_UNSUPPORTED, format!("{resource} cannot be modified by {}", request.name()))
        .at("RequestType")
}
