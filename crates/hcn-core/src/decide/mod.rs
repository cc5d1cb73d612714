//! Decide: a call and the records → what changes, or why not. All validation and all allocation happen here,
//! before anything is touched.

mod act;
mod addresses;
mod endpoint;
mod filters;
mod gates;
mod guest_network_service;
mod interface;
mod junction;
mod load_balancer;
mod namespace;
mod netns;
mod network;
mod policies;
mod port_reservation;
mod ports;
mod sdn_route;
mod shards;
mod spoofing;
mod steering;
mod subnets;
mod tunnel;
mod uplink;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use gates::require;
use hcn_dataplane::HostFacts;
use hcn_schema::base::Version;
pub use netns::named_netns;
pub(crate) use shards::PORTS_AT_MOST;
pub use uplink::{named_links, needs_host};
pub(crate) use view::{Cursors, View, check_incarnation, missing};

use hcn_schema::call::{Answer, Call, Kind, Verb};
use hcn_schema::hns::{Feature, HnsVersion};
use hcn_schema::notification::{Event, NotificationType};
use hcn_schema::{Error, Guid, HResult, Raw};
use serde::{Deserialize, Serialize};

use crate::entity::{Change, Entity, EntityKey};
use crate::v1::{self, Versioned};

/// What the administrator decides: how networks use links of the host, what names of Windows mean, and what endpoints may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How networks of type Transparent are joined to their uplink.
    pub transparent: TransparentBy,
    /// How networks of type L2Bridge with the prefix of their uplink are joined to it.
    #[serde(rename = "l2bridge")]
    pub l2_bridge: L2BridgeBy,
    /// Links of the host by the names that documents have for them.
    pub adapters: BTreeMap<String, String>,
    /// Users of Linux by the SIDs that documents have for them.
    #[serde(skip)]
    pub sids: BTreeMap<String, u32>,
    /// Whether endpoints that do not say it may send in the name of others.
    #[serde(skip)]
    pub mac_address_spoofing: bool,
}

/// How networks of type Transparent are joined to their uplink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransparentBy {
    /// Their endpoints stand on it, by macvlan; the host and they do not see each other.
    #[default]
    Macvlan,
    /// It becomes a port of the network's bridge, which takes over its addresses and routes.
    Bridge,
}

/// How networks of type L2Bridge with the prefix of their uplink are joined to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum L2BridgeBy {
    /// The host routes, and answers for the endpoints on the uplink.
    #[default]
    Routing,
    /// Their endpoints stand on it, by ipvlan; the host and they do not see each other.
    Ipvlan,
}

/// What a decision needs besides the call and the records: everything that is not pure.
#[derive(Clone, Debug)]
pub struct Context {
    /// Monotonic time.
    pub now: std::time::Duration,
    /// Wall-clock time as FILETIME: 100 ns since 1601-01-01 UTC.
    pub filetime: u64,
    /// Fresh identifiers: the entity's own if the client gives none, and seeds for its parts.
    pub fresh_id: Guid,
    /// What the host looks like.
    pub host: Arc<HostFacts>,
    /// The user who asks.
    pub caller_uid: u32,
    /// The process that asks, if it is in sight.
    pub caller_pid: Option<i32>,
    /// What the administrator decides.
    pub settings: Arc<Settings>,
    /// As which version of HNS the client wants to be served.
    pub hns: HnsVersion,
}

/// What a call does.
#[derive(Debug)]
pub(crate) struct Decision {
    /// Records.
    pub change: Change,
    /// What the client gets once it is done.
    pub answer: Answer,
    /// Events before anything happens.
    pub before: Vec<Event>,
    /// Events once it is done.
    pub after: Vec<Event>,
    /// Where the pools' searches went.
    pub cursors: Cursors,
    /// The code if the kernel or the store refuses it.
    pub failure_code: HResult,
}

impl Decision {
    fn new(change: Change, answer: Answer) -> Self {
        Self {
            change,
            answer,
            before: Vec::new(),
            after: Vec::new(),
            cursors: Cursors::default(),
            failure_code: HResult::GENERAL_FAILURE,
        }
    }
}

/// Why a call is not decided.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It fails.
    Error(Error),
    /// It concerns an entity that is being changed; decide again when that is over.
    Wait(EntityKey),
}

impl Refusal {
    /// Changes the error, if it is one.
    fn map(self, change: impl FnOnce(Error) -> Error) -> Self {
        match self {
            Self::Error(error) => Self::Error(change(error)),
            Self::Wait(key) => Self::Wait(key),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Whether a document's AdditionalParams say that the endpoint may send in the name of others.
pub(crate) fn spoofing_of(params: &Raw) -> Option<bool> {
    spoofing::asked(params).ok().flatten()
}

pub(crate) fn interface_name_of(params: &Raw) -> Option<String> {
    interface::asked(Some(params)).ok().flatten()
}

type Outcome<T> = Result<T, Refusal>;

/// Decides a changing call.
pub(crate) fn decide(view: &View<'_>, call: &Call) -> Outcome<Decision> {
    match &call.verb {
        Verb::Create { id, parent, document } => {
            let document = document.as_deref();
            let created = match call.kind {
                Kind::Network => network::create(view, *id, document),
                Kind::Endpoint => endpoint::create(view, *id, *parent, document),
                Kind::Namespace => namespace::create(view, *id, document),
                Kind::LoadBalancer => load_balancer::create(view, *id, document),
                Kind::SdnRoute => sdn_route::create(view, *id, document),
                Kind::GuestNetworkService => guest_network_service::create(view, *id, document),
                Kind::PortReservation => port_reservation::create(view, *id, document),
            };
            // What is wrong in a version 1 document is told by its own members.
            created.map_err(|refusal| {
                refusal.map(|error| v1::own_path(view.registry, call.kind, document, error))
            })
        }
        Verb::Modify { target, document } => {
            let document = document.as_deref();
            match call.kind {
                Kind::Network => network::modify(view, *target, document),
                Kind::Endpoint => endpoint::modify(view, *target, document),
                Kind::Namespace => namespace::modify(view, *target, document),
                Kind::LoadBalancer => load_balancer::modify(view, *target, document),
                Kind::SdnRoute => sdn_route::modify(view, *target, document),
                Kind::GuestNetworkService => guest_network_service::modify(view, *target, document),
                Kind::PortReservation => port_reservation::modify(view, *target),
            }
        }
        Verb::Act { target, action, document } => {
            act::act(view, call.kind, *target, *action, document.as_deref())
        }
        Verb::Delete { id } => match call.kind {
            Kind::Network => network::delete(view, *id),
            Kind::Endpoint => endpoint::delete(view, *id),
            Kind::Namespace => namespace::delete(view, *id),
            Kind::LoadBalancer => load_balancer::delete(view, *id),
            Kind::SdnRoute => sdn_route::delete(view, *id),
            Kind::GuestNetworkService => guest_network_service::delete(view, *id),
            Kind::PortReservation => port_reservation::delete(view, *id),
        },
        Verb::Enumerate { .. }
        | Verb::Open { .. }
        | Verb::Query { .. }
        | Verb::QueryStats { .. }
        | Verb::Explain { .. }
        | Verb::QueryAddresses { .. } => Err(Refusal::Error(Error::new(
            HResult::INVALID_ARGUMENT,
            "reading calls are answered from the published records",
        ))),
    }
}

/// The text of a Create call.
fn text(given: Option<&str>) -> hcn_schema::Result<&str> {
    given.ok_or_else(|| Error::new(HResult::INVALID_JSON, "there is no document").expected("a JSON object"))
}

/// Parses the document of a Create call, of either version (2.3). With it come the flat policies that are kept for version
/// 1 readers.
fn document<T: Versioned>(view: &View<'_>, given: Option<&str>) -> Outcome<(T, Vec<Raw>)> {
    let given = text(given)?;
    match v1::version_of(given)? {
        // {0,0} is what Go clients send that leave the version alone.
        Some(Version { major: 0 | 2, .. }) => {
            require(view.context.hns, Feature::V2, "SchemaVersion")?;
            Ok((hcn_schema::parse(given)?, Vec::new()))
        }
        Some(Version { major: 1, .. }) | None => {
            let read = T::from_v1(given, view.registry)?;
            Ok((read.document, read.flat))
        }
        Some(_) => Err(Refusal::Error(
            Error::new(HResult::REQUEST_UNSUPPORTED, "there is no such schema version")
                .at("SchemaVersion.Major")
                .expected("1 or 2"),
        )),
    }
}

/// Refuses a whole document of a version that there is not.
fn known_version(version: Option<Version>) -> hcn_schema::Result<()> {
    match version {
        Some(Version { major: 3.., .. }) => {
            Err(Error::new(HResult::REQUEST_UNSUPPORTED, "there is no such schema version")
                .at("SchemaVersion.Major")
                .expected("1 or 2"))
        }
        _ => Ok(()),
    }
}

/// Refuses a whole document that names another entity than the one that it is to take the place of.
fn same_id(given: Option<&str>, id: Guid) -> hcn_schema::Result<()> {
    let given = given.map(|id| crate::text::guid(id, "ID")).transpose()?;
    match given.filter(|given| !given.is_zero() && *given != id) {
        Some(given) => {
            let message = format!("the document is about {given}, the call about {id}");
            Err(Error::new(HResult::INVALID_ARGUMENT, message).at("ID"))
        }
        None => Ok(()),
    }
}

/// The text of a modify request.
fn request(text: Option<&str>) -> Outcome<&str> {
    Ok(text
        .ok_or_else(|| Error::new(HResult::INVALID_JSON, "there is no request").expected("a JSON object"))?)
}

/// What an event says of an entity as it is now.
fn event(action: &'static str, notification: Option<NotificationType>, entity: &Entity) -> Event {
    let meta = entity.meta();
    let (network, data) = match (notification, entity) {
        (
            Some(NotificationType::NetworkEndpointAttached | NotificationType::NetworkEndpointDetached),
            Entity::Endpoint(endpoint),
        ) => (Some(endpoint.network), Some(Raw::of(&serde_json::json!({"NetworkId": endpoint.network})))),
        _ => (None, None),
    };
    Event {
        notification,
        action,
        kind: entity.kind(),
        id: meta.id,
        network,
        owner: entity.owner().to_owned(),
        revision: meta.revision,
        data: self::notification(entity, data),
    }
}

/// What an event of hcnd's own says of an entity.
pub(crate) fn event_with(action: &'static str, entity: &Entity, data: Raw) -> Event {
    Event { data: notification(entity, Some(data)), ..event(action, None, entity) }
}

/// NotificationBase (4.2).
fn notification(entity: &Entity, data: Option<Raw>) -> Raw {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct NotificationBase {
        #[serde(rename = "ID")]
        id: Guid,
        flags: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<Raw>,
    }
    let flags = match entity {
        Entity::Network(network) => network.document.flags.0,
        Entity::GuestNetworkService(service) => service.document.flags.0,
        _ => 0,
    };
    Raw::of(&NotificationBase { id: entity.meta().id, flags, data })
}
