//! Version 1 of the documents, the flat form that HNS had before HCN: another view of the same records (contract 2.16, 5).
//!
//! A version 1 document is turned into the version 2 one that means the same before anything is decided; its reader
//! also says where each part came from, so that an error can name the client's own member.

mod endpoint;
mod members;
mod namespace;
mod network;
mod policies;
mod policy_list;
pub mod rest;

use hcn_schema::base::Version;
use hcn_schema::call::Kind;
use hcn_schema::dns::Dns;
use hcn_schema::endpoint::HostComputeEndpoint;
use hcn_schema::enums::{EndpointPolicyType, Enumeration, OneOf};
use hcn_schema::load_balancer::HostComputeLoadBalancer;
use hcn_schema::namespace::HostComputeNamespace;
use hcn_schema::network::HostComputeNetwork;
use hcn_schema::policy::Policy;
use hcn_schema::sdn_route::HostComputeRoute;
use hcn_schema::{Error, Raw, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::entity::{Entity, Meta};
use crate::registry::Registry;

/// A version 1 document, read.
pub(crate) struct Read<T> {
    /// The version 2 document that means the same.
    pub document: T,
    /// Flat policies that are kept as they were written.
    pub flat: Vec<Raw>,
    /// Where its parts came from.
    origins: Origins,
}

/// A document that has a version 1 form.
pub(crate) trait Versioned: DeserializeOwned {
    /// Reads the version 1 form.
    fn from_v1(text: &str, registry: &Registry) -> Result<Read<Self>>;
}

/// The version that a document says it has.
pub(crate) fn version_of(text: &str) -> Result<Option<Version>> {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "SchemaVersion", default, deserialize_with = "hcn_schema::base::version")]
        version: Option<Version>,
    }
    Ok(hcn_schema::parse::<Probe>(text)?.version)
}

/// The error with the path that its place has in the document that the client sent.
pub(crate) fn own_path(registry: &Registry, kind: Kind, document: Option<&str>, error: Error) -> Error {
    let v1 = document.filter(|text| matches!(version_of(text), Ok(None | Some(Version { major: 1, .. }))));
    let Some(text) = v1 else { return error };
    let origins = match kind {
        Kind::Network => HostComputeNetwork::from_v1(text, registry).map(|read| read.origins),
        Kind::Endpoint => HostComputeEndpoint::from_v1(text, registry).map(|read| read.origins),
        Kind::Namespace => HostComputeNamespace::from_v1(text, registry).map(|read| read.origins),
        Kind::LoadBalancer => HostComputeLoadBalancer::from_v1(text, registry).map(|read| read.origins),
        Kind::SdnRoute => HostComputeRoute::from_v1(text, registry).map(|read| read.origins),
        Kind::GuestNetworkService | Kind::PortReservation => return error,
    };
    match origins {
        Ok(origins) => origins.rewrite(error),
        // The reader refused the document, by its own members.
        Err(_) => error,
    }
}

/// The version 1 document of an entity; none for kinds that have none.
pub(crate) fn document(registry: &Registry, entity: &Entity, detailed: bool) -> Option<Raw> {
    let resources = || detailed.then(|| crate::read::resources(registry, entity));
    match entity {
        Entity::Network(network) => Some(network::write(registry, network, resources())),
        Entity::Endpoint(endpoint) => Some(endpoint::write(registry, endpoint, resources())),
        Entity::Namespace(namespace) => Some(namespace::write(namespace, resources())),
        Entity::LoadBalancer(balancer) => Some(policy_list::write_load_balancer(balancer, resources())),
        Entity::SdnRoute(route) => Some(policy_list::write_route(route, resources())),
        Entity::GuestNetworkService(_) | Entity::PortReservation(_) => None,
    }
}

/// Which member of a version 1 document a part of the version 2 document came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(Vec<Origin>);

#[derive(Clone, Debug)]
struct Origin {
    v2: String,
    v1: String,
    /// The flat policy that it is.
    flat: Option<Raw>,
    /// Whether it has no parts of its own.
    leaf: bool,
}

impl Origins {
    /// A value.
    fn leaf(&mut self, v2: impl Into<String>, v1: impl Into<String>) {
        self.0.push(Origin { v2: v2.into(), v1: v1.into(), flat: None, leaf: true });
    }

    /// An object or a list whose parts are called the same in both versions.
    fn branch(&mut self, v2: impl Into<String>, v1: impl Into<String>) {
        self.0.push(Origin { v2: v2.into(), v1: v1.into(), flat: None, leaf: false });
    }

    /// A policy.
    fn policy(&mut self, v2: &str, v1: impl Into<String>, flat: &Raw) {
        let v1 = v1.into();
        self.branch(v2, v1.clone());
        self.0.push(Origin { v2: format!("{v2}.Settings"), v1, flat: Some(flat.clone()), leaf: false });
    }

    /// The error with the client's own path: that of the nearest part whose origin is known.
    fn rewrite(&self, mut error: Error) -> Error {
        error.path = error.path.map(|path| {
            let of = |origin: &&Origin| rest(&path, &origin.v2).is_some();
            let nearest = self.0.iter().filter(of).max_by_key(|origin| origin.v2.len());
            nearest.map_or(path.clone(), |origin| origin.own(rest(&path, &origin.v2).unwrap_or_default()))
        });
        error
    }
}

impl Origin {
    fn own(&self, rest: &str) -> String {
        if self.leaf {
            return self.v1.clone();
        }
        let Some((flat, inner)) = self.flat.as_ref().zip(rest.strip_prefix('.')) else {
            return format!("{}{rest}", self.v1);
        };
        let end = inner.find(['.', '[']).unwrap_or(inner.len());
        format!("{}.{}{}", self.v1, policies::own_member(flat, &inner[..end]), &inner[end..])
    }
}

/// What follows `prefix` in a path, if the path leads there or beyond.
fn rest<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The flat policies of a request that changes an entity, read.
pub(crate) struct Update<T> {
    /// As they were written, each with its place in the request.
    pub flats: Vec<(usize, Raw)>,
    /// What they mean.
    pub policies: Vec<Policy<T>>,
    /// Those that are kept as they were written.
    kept: Vec<Raw>,
}

/// The policies of a request that changes an endpoint.
pub(crate) fn endpoint_update(flats: &[Raw]) -> Result<Update<EndpointPolicyType>> {
    policies::check(flats)?;
    let (policies, kept) = policies::read_list(flats, &endpoint::MEMBERS);
    Ok(Update { flats: flats.iter().cloned().enumerate().collect(), policies, kept })
}

pub(crate) use network::network_update;

/// The flat policies to keep once an entity has these policies: of those from before the ones that still mean one of
/// them, and those of the update.
pub(crate) fn flat_after<T: Enumeration + PartialEq>(
    before: &[Raw],
    policies: &[Policy<T>],
    update: &Update<T>,
) -> Vec<Raw> {
    let stays = |flat: &&Raw| {
        let policy = policies::read(flat);
        policies.contains(&policy) && !update.policies.contains(&policy)
    };
    before.iter().filter(stays).chain(&update.kept).cloned().collect()
}

/// The client's path of an error about the policies of a request; `list` is where version 2 has them.
pub(crate) fn own_policy_path(flats: &[(usize, Raw)], list: &str, error: Error) -> Error {
    let mut origins = Origins::default();
    for (index, (place, flat)) in flats.iter().enumerate() {
        origins.policy(&format!("{list}[{index}]"), format!("Policies[{place}]"), flat);
    }
    origins.rewrite(error)
}

/// Words separated by commas.
pub(crate) fn words(text: Option<&str>) -> Vec<String> {
    let words = text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn joined(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(","))
}

/// DNS settings: servers, search list, domain.
fn dns(
    servers: Option<&str>,
    suffix: Option<&str>,
    domain: Option<&str>,
    origins: &mut Origins,
) -> Option<Dns> {
    origins.leaf("Dns.ServerList", "DNSServerList");
    origins.leaf("Dns.Search", "DNSSuffix");
    origins.leaf("Dns.Domain", "DNSDomain");
    let dns = Dns {
        domain: domain.map(str::to_owned),
        search: words(suffix),
        server_list: words(servers),
        options: Vec::new(),
    };
    Some(dns).filter(|dns| *dns != Dns::default())
}

/// Reads the flat policies of a document; notes where each comes from.
fn read_policies<T: Enumeration + PartialEq>(
    flats: &[Raw],
    elsewhere: &[T],
    origins: &mut Origins,
) -> (Vec<Policy<T>>, Vec<Raw>) {
    for (index, flat) in flats.iter().enumerate() {
        origins.policy(&format!("Policies[{index}]"), format!("Policies[{index}]"), flat);
    }
    policies::read_list(flats, elsewhere)
}

/// Adds the policy that a member means, unless the document has one of its type.
fn add_member<T: Enumeration + PartialEq>(
    policies: &mut Vec<Policy<T>>,
    kind: T,
    settings: Option<Raw>,
    member: &str,
    origins: &mut Origins,
) {
    let Some(settings) = settings else { return };
    let kind = Some(OneOf::Known(kind));
    if policies.iter().all(|policy| policy.kind != kind) {
        origins.leaf(format!("Policies[{}]", policies.len()), member);
        policies.push(Policy { kind, settings: Some(settings) });
    }
}

/// The settings of the first policy of a type.
fn settings_of<T: Enumeration + PartialEq>(policies: &[Policy<T>], kind: T) -> Option<&Raw> {
    let is_meant = |policy: &&Policy<T>| policy.kind.as_ref().and_then(OneOf::known) == Some(kind);
    policies.iter().find(is_meant).and_then(|policy| policy.settings.as_ref())
}

/// A text among the settings of the first policy of a type.
fn text_in<T: Enumeration + PartialEq>(policies: &[Policy<T>], kind: T, member: &str) -> Option<String> {
    let settings = members::Members::of(settings_of(policies, kind)?)?;
    settings.get(member).and_then(|value| serde_json::from_str(value.get()).ok())
}

/// How an entity is, in the form of version 1.
fn health(meta: &Meta) -> Raw {
    let code = meta.degraded.map_or(0, |code| code.0);
    Raw::of(&json!({"LastErrorCode": code, "LastUpdateTime": meta.updated}))
}

/// Where an entity that cannot be attached is in its life.
fn state(meta: &Meta) -> u16 {
    use hcn_schema::endpoint::State;
    meta.degraded.map_or(State::Created, |_| State::Degraded) as u16
}
