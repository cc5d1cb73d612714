//! Policy lists of networks and endpoints: checking, adding, removing, updating (contract 2.12 to 2.14).
//!
//! Settings are parsed beside the document, which keeps them byte for byte. A wrong one has the code of wrong policies,
//! whatever kind of value it is.

mod endpoint;
mod meanings;
mod network;
mod proxies;
mod rules;
mod sets;
mod subnet;
mod underlay;
mod words;

use std::collections::{HashMap, HashSet};

use hcn_schema::call::Kind as EntityKind;
use hcn_schema::enums::{Enumeration, ModifyRequestType, NetworkMode, OneOf};
use hcn_schema::hns::HnsVersion;
use hcn_schema::policy::{EndpointPolicy, NetworkPolicy, Policy, SubnetPolicy};
use hcn_schema::settings::SdnRouteSettings;
use hcn_schema::{Error, Guid, HResult, Result};

use super::{Outcome, Refusal, View, gates};
use crate::entity::{Endpoint, Network};
use crate::lists::read as settings;
use crate::text;

/// Checks the policies of a new network.
pub(super) fn check_network(view: &View<'_>, mode: NetworkMode, given: &[NetworkPolicy]) -> Outcome<()> {
    let mut policies = network::Policies::new(view.context.hns, mode, &[]);
    for (index, policy) in given.iter().enumerate() {
        policies.add(policy).map_err(in_document(index))?;
    }
    Ok(())
}

/// Checks the policies of a subnet.
pub(super) fn check_subnet(given: &[SubnetPolicy]) -> Result<()> {
    subnet::check(given)
}

/// Checks the policies of a new endpoint of a network.
pub(super) fn check_endpoint(view: &View<'_>, network: &Network, given: &[EndpointPolicy]) -> Outcome<()> {
    Ok(endpoint::Policies::new(view.context.hns, network, &[]).add(given, in_document)?)
}

/// Checks a route of an SDN route.
pub(super) fn check_sdn_route(route: &SdnRouteSettings) -> Result<()> {
    endpoint::sdn_route(route)
}

/// A request on the policies of a network. Add appends. Remove takes out sets by their Ids, others by their values. Update
/// gives sets new values, and replaces the policies of the other types that it names.
pub(super) fn modify_network(
    view: &View<'_>,
    network: &Network,
    request: ModifyRequestType,
    given: &[NetworkPolicy],
) -> Outcome<Vec<NetworkPolicy>> {
    let mut policies = network::Policies::new(view.context.hns, network.mode, &network.document.policies);
    match request {
        ModifyRequestType::Add => {
            for (index, policy) in given.iter().enumerate() {
                policies.add(policy).map_err(in_request(index))?;
            }
            Ok(policies.into_list())
        }
        ModifyRequestType::Update => {
            policies.update(given)?;
            Ok(policies.into_list())
        }
        ModifyRequestType::Remove => {
            let sets = policies.remove(given)?;
            let left = policies.into_list();
            check_unused(view, network.meta.id, &left, &sets)?;
            Ok(left)
        }
        ModifyRequestType::Refresh | ModifyRequestType::Reset => {
            Err(Refusal::Error(unsupported("Policy", request)))
        }
    }
}

/// Refuses to remove sets that others name: sets and rules of the network, or rules of its endpoints.
fn check_unused(
    view: &View<'_>,
    network: Guid,
    left: &[NetworkPolicy],
    removed: &HashMap<String, usize>,
) -> Outcome<()> {
    if removed.is_empty() {
        return Ok(());
    }
    let ids: HashSet<String> = removed.keys().cloned().collect();
    let refuse = |id: &str, by: &str| {
        let message = format!("{by} names the set {}", text::shown(id));
        let error = Error::new(HResult::ENTITY_HAS_REFERENCES, message);
        Err(Refusal::Error(in_request(removed.get(id).copied().unwrap_or_default())(error)))
    };
    if let Some((id, by)) = sets::named_by_network(left, &ids) {
        return refuse(&id, &by);
    }
    // A rule that is being taken out comes back if that fails.
    let endpoints: Vec<_> = view.registry.endpoints_of(network).collect();
    let keys: Vec<_> = endpoints.iter().map(|endpoint| (EntityKind::Endpoint, endpoint.meta.id)).collect();
    view.all_settled(&keys)?;
    for endpoint in endpoints {
        let named = endpoint.document.policies.iter().find_map(|policy| sets::named(policy, &ids));
        if let Some(id) = named {
            return refuse(&id, &format!("a rule of the endpoint {}", endpoint.meta.id));
        }
    }
    Ok(())
}

/// A request on the policies of an endpoint. Add appends, also what is there already; Remove takes out by value; Update
/// replaces the types that it names.
pub(super) fn modify_endpoint(
    view: &View<'_>,
    network: &Network,
    endpoint: &Endpoint,
    request: ModifyRequestType,
    given: &[EndpointPolicy],
) -> Outcome<Vec<EndpointPolicy>> {
    let mut policies = endpoint::Policies::new(view.context.hns, network, &endpoint.document.policies);
    match request {
        ModifyRequestType::Add => policies.add(given, in_request)?,
        ModifyRequestType::Remove => policies.remove(given)?,
        ModifyRequestType::Update => policies.update(given)?,
        ModifyRequestType::Refresh | ModifyRequestType::Reset => {
            return Err(Refusal::Error(unsupported("Policy", request)));
        }
    }
    Ok(policies.into_list())
}

/// The error for a request that the resource does not know.
pub(super) fn unsupported(resource: &str, request: ModifyRequestType) -> Error {
    Error::new(HResult::REQUEST_UNSUPPORTED, format!("{resource} cannot be modified by {}", request.name()))
        .at("RequestType")
}

/// What is to be known of a type of policy besides its settings.
trait Kind: gates::Gated + PartialEq {
    /// The code for a second policy of the type, if one is all that an entity can have.
    fn second(self) -> Option<HResult>;
}

/// Checks that a policy has a known type, and one that may come to those that are there.
fn check_kind<'a, T: Kind>(
    hns: HnsVersion,
    policy: &Policy<T>,
    present: impl IntoIterator<Item = &'a Policy<T>>,
) -> Result<T> {
    let kind =
        policy.kind.as_ref().and_then(OneOf::known).ok_or_else(|| unknown_kind(policy.kind.as_ref()))?;
    gates::policy(hns, kind)?;
    match kind.second() {
        Some(code) if present.into_iter().any(|other| other.kind == policy.kind) => {
            Err(Error::new(code, "there is a policy of this type already, and there can be one only")
                .expected("no second one, or RequestType Update"))
        }
        _ => Ok(kind),
    }
}

/// The error for a policy without a known type.
fn unknown_kind<T: Enumeration>(given: Option<&OneOf<T>>) -> Error {
    let message = match given {
        Some(OneOf::Unknown(text)) => format!("there is no policy type {}", text::shown(text)),
        _ => "the policy has no type".to_owned(),
    };
    Error::new(HResult::INVALID_POLICY_TYPE, message).at("Type").expected(T::names())
}

/// An error in the settings of a policy.
fn in_settings(error: Error) -> Error {
    let code = match error.code {
        own @ (HResult::REQUEST_UNSUPPORTED | HResult::POLICY_ALREADY_EXISTS | HResult::POLICY_NOT_FOUND) => {
            own
        }
        _ => HResult::INVALID_POLICY,
    };
    Error { code, ..error }.within("Settings")
}

/// An error in a policy of a document.
fn in_document(index: usize) -> impl Fn(Error) -> Error {
    move |error| error.within(&format!("Policies[{index}]"))
}

/// An error in a policy of a request.
fn in_request(index: usize) -> impl Fn(Error) -> Error {
    move |error| error.within(&format!("Settings.Policies[{index}]"))
}

/// An error in one of the policies behind those that an entity keeps, with the place that it has among the given ones.
pub(super) fn in_given(error: Error, kept: usize) -> Error {
    let moved = |path: &str| {
        let (index, rest) = path.strip_prefix("Policies[")?.split_once(']')?;
        let index: usize = index.parse().ok()?;
        Some(format!("Policies[{}]{rest}", index.saturating_sub(kept)))
    };
    let path = error.path.map(|path| moved(&path).unwrap_or(path));
    Error { path, ..error }
}
