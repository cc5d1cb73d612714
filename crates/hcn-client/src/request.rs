//! What can be asked? One value per request, the same for the blocking and the async client.

use std::marker::PhantomData;

use hcn_ipc::interfaces::method;
use hcn_ipc::params::Finding;
use hcn_ipc::{message, params};
use hcn_schema::call::Kind;
use hcn_schema::hns::HnsVersion;
use hcn_schema::{Guid, Raw};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{Error, Result};

/// Bytes of a part of a backup: with what JSON makes of them, a message of any service.
const PART: usize = 512 << 10;

/// A request whose result is an `R`.
#[derive(Clone, Debug)]
pub struct Request<R> {
    pub(crate) frame: Vec<u8>,
    pub(crate) read: fn(&RawValue) -> Result<R>,
    result: PhantomData<fn() -> R>,
}

/// An entity that a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one that a handle of this session is bound to.
    Handle(i64),
    /// The one with this ID.
    Id(Guid),
}

impl From<Guid> for Target {
    fn from(id: Guid) -> Self {
        Self::Id(id)
    }
}

impl Target {
    fn handle(self) -> Option<i64> {
        match self {
            Self::Handle(handle) => Some(handle),
            Self::Id(_) => None,
        }
    }

    fn id(self) -> Option<String> {
        match self {
            Self::Handle(_) => None,
            Self::Id(id) => Some(id.to_string()),
        }
    }
}

/// What a callback of the C API can be registered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// HcnRegisterServiceCallback: networks, namespaces and guest network services that come and go.
    Service,
    /// HcnRegisterNetworkCallback: endpoints of the network that are attached and detached.
    Network(Target),
    /// HcnRegisterGuestNetworkServiceCallback: changes of state of the guest network service and its interfaces.
    GuestNetworkService(Target),
}

impl Registration {
    /// Its name on the wire, and the entity that it is for.
    fn parts(self) -> (&'static str, Option<Target>) {
        match self {
            Self::Service => ("service", None),
            Self::Network(target) => ("network", Some(target)),
            Self::GuestNetworkService(target) => ("guest-network-service", Some(target)),
        }
    }

    /// Whether it names its entity by a handle, which only connections of the same session know.
    pub(crate) fn needs_session(self) -> bool {
        matches!(self.parts().1, Some(Target::Handle(_)))
    }
}

/// A new entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its ID.
    pub id: Guid,
    /// A handle of it.
    pub handle: i64,
}

impl Request<Box<RawValue>> {
    /// Any method, by its full name.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the parameters cannot be written as JSON.
    pub fn call<P: Serialize + ?Sized>(method: &str, parameters: &P) -> Result<Self> {
        Ok(Self {
            frame: frame(method, parameters, false)?,
            read: |results| Ok(results.to_owned()),
            result: PhantomData,
        })
    }
}

impl<R> Request<R> {
    fn new<P: Serialize>(method: &str, parameters: &P, read: fn(&RawValue) -> Result<R>) -> Result<Self> {
        Ok(Self { frame: frame(method, parameters, false)?, read, result: PhantomData })
    }

    fn entity<P: Serialize>(
        kind: Kind,
        verb: &str,
        parameters: &P,
        read: fn(&RawValue) -> Result<R>,
    ) -> Result<Self> {
        Self::new(&method(kind, verb), parameters, read)
    }
}

impl Request<Vec<Guid>> {
    /// IDs of the entities that match the query; none = all.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn enumerate(kind: Kind, query: Option<&str>) -> Result<Self> {
        let parameters = params::Enumerate { text: query.map(str::to_owned), ..Default::default() };
        Self::entity(kind, "Enumerate", &parameters, |results| {
            read::<params::Ids>(results)?.ids.iter().map(|id| guid(id)).collect()
        })
    }
}

impl Request<Created> {
    /// Makes an entity. `id` wins over the document's; `network` is of endpoints only.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn create(kind: Kind, id: Option<Guid>, network: Option<Target>, document: &str) -> Result<Self> {
        let parameters = params::Create {
            id: id.map(|id| id.to_string()),
            settings: None,
            text: Some(document.to_owned()),
            network_handle: network.and_then(Target::handle),
            network_id: network.and_then(Target::id),
        };
        Self::entity(kind, "Create", &parameters, |results| {
            let created: params::Created = read(results)?;
            Ok(Created { id: guid(&created.id)?, handle: created.handle })
        })
    }
}

impl Request<i64> {
    /// A handle of an entity.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn open(kind: Kind, id: Guid) -> Result<Self> {
        let parameters = params::ById { id: Some(id.to_string()) };
        Self::entity(kind, "Open", &parameters, |results| Ok(read::<params::Opened>(results)?.handle))
    }
}

impl Request<Raw> {
    /// An entity's document; a query without SchemaVersion asks for version 1.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn query(kind: Kind, target: Target, query: Option<&str>) -> Result<Self> {
        Self::properties(kind, "Query", target, query)
    }

    /// What an endpoint's link has carried.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn query_stats(endpoint: Target, query: Option<&str>) -> Result<Self> {
        Self::properties(Kind::Endpoint, "QueryStats", endpoint, query)
    }

    /// The addresses of an endpoint.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn query_addresses(endpoint: Target, query: Option<&str>) -> Result<Self> {
        Self::properties(Kind::Endpoint, "QueryAddresses", endpoint, query)
    }

    /// What becomes of a packet.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn explain(endpoint: Target, question: &str) -> Result<Self> {
        Self::properties(Kind::Endpoint, "Explain", endpoint, Some(question))
    }

    fn properties(kind: Kind, verb: &str, target: Target, query: Option<&str>) -> Result<Self> {
        let text = query.map(str::to_owned);
        let parameters = params::Query { handle: target.handle(), id: target.id(), query: None, text };
        Self::entity(kind, verb, &parameters, |results| Ok(read::<params::Properties>(results)?.properties))
    }

    /// A request of HNS version 1: a method (GET, POST or DELETE), a path as `/networks/ID`, and the version 1 document
    /// if there is one. Its result is the envelope `{"Success", "Error", "ErrorCode", "Output"}`, which also tells what
    /// the service refuses.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn hns(method: &str, path: &str, document: Option<&str>) -> Result<Self> {
        let parameters = params::HnsCall {
            method: Some(method.to_owned()),
            path: Some(path.to_owned()),
            request: None,
            text: document.map(str::to_owned),
        };
        Self::new("io.hcn.V1.Call", &parameters, |results| Ok(read::<params::HnsResponse>(results)?.response))
    }
}

impl Request<()> {
    /// Applies a modify request.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn modify(kind: Kind, target: Target, document: &str) -> Result<Self> {
        let text = Some(document.to_owned());
        let parameters = params::Modify { handle: target.handle(), id: target.id(), settings: None, text };
        Self::entity(kind, "Modify", &parameters, nothing)
    }

    /// Deletes an entity.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn delete(kind: Kind, id: Guid) -> Result<Self> {
        Self::entity(kind, "Delete", &params::ById { id: Some(id.to_string()) }, nothing)
    }

    /// Closes a handle.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn close(kind: Kind, handle: i64) -> Result<Self> {
        Self::entity(kind, "Close", &params::ByHandle { handle: Some(handle) }, nothing)
    }

    /// Moves the connection into a session.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn join_session(token: &str) -> Result<Self> {
        let parameters = params::JoinSession { token: Some(token.to_owned()) };
        Self::new("io.hcn.Service.JoinSession", &parameters, nothing)
    }

    /// Serves the connection as another version of HNS.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn set_hns_version(version: HnsVersion) -> Result<Self> {
        let parameters = params::SetHnsVersion { version: Some(version.to_string()) };
        Self::new("io.hcn.Service.SetHnsVersion", &parameters, nothing)
    }
}

impl Request<String> {
    /// A token with which other connections can join the connection's session.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn open_session() -> Result<Self> {
        Self::new("io.hcn.Service.OpenSession", &params::Empty {}, |results| {
            Ok(read::<params::Token>(results)?.token)
        })
    }

    /// The metrics of the service, in the text format of Prometheus.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn metrics() -> Result<Self> {
        Self::new("io.hcn.Service.Metrics", &params::Empty {}, |results| {
            Ok(read::<params::Metrics>(results)?.text)
        })
    }

    /// All records of the service at one moment.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn backup() -> Result<Self> {
        Self::new("io.hcn.Service.Backup", &params::Empty {}, |results| {
            Ok(read::<params::Backup>(results)?.text)
        })
    }
}

impl Request<params::Status> {
    /// How the service is.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn status() -> Result<Self> {
        Self::new("io.hcn.Service.Status", &params::Empty {}, read)
    }
}

impl Request<Vec<Finding>> {
    /// What is wrong with the host, or will be.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn doctor() -> Result<Self> {
        Self::new("io.hcn.Service.Doctor", &params::Empty {}, |results| {
            Ok(read::<params::Findings>(results)?.findings)
        })
    }
}

impl Request<u64> {
    /// A part of a backup that is to be restored; the last one's answer is how many records there are.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn restore(part: &str, more: bool) -> Result<Self> {
        let given = params::Restore { text: Some(part.to_owned()), more: Some(more) };
        Self::new("io.hcn.Service.Restore", &given, |results| Ok(read::<params::Restored>(results)?.records))
    }
}

/// A backup in parts that fit into messages, each with whether more follow.
pub(crate) fn parts(backup: &str) -> Vec<(&str, bool)> {
    let mut parts = Vec::new();
    let mut rest = backup;
    loop {
        let at = (0..=PART.min(rest.len())).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or_default();
        let (part, more) = rest.split_at(at);
        parts.push((part, !more.is_empty()));
        if more.is_empty() {
            return parts;
        }
        rest = more;
    }
}

/// The call that starts a stream of events of these kinds; none = all.
pub(crate) fn subscribe(kinds: &[Kind]) -> Result<Vec<u8>> {
    let names = kinds.iter().map(|kind| kind.name().to_owned()).collect();
    let kinds = (!kinds.is_empty()).then_some(names);
    frame("io.hcn.Events.Subscribe", &params::Subscribe { kinds, ..Default::default() }, true)
}

/// The call that starts a stream of what a registration hears of.
pub(crate) fn register(registration: Registration) -> Result<Vec<u8>> {
    let (name, target) = registration.parts();
    let parameters = params::Subscribe {
        kinds: None,
        registration: Some(name.to_owned()),
        handle: target.and_then(Target::handle),
        id: target.and_then(Target::id),
    };
    frame("io.hcn.Events.Subscribe", &parameters, true)
}

/// A call of any method as a frame.
pub(crate) fn frame<P: Serialize + ?Sized>(method: &str, parameters: &P, more: bool) -> Result<Vec<u8>> {
    message::call(method, parameters, more)
        .map_err(|error| Error::Protocol(format!("the parameters of {method} cannot be written: {error}")))
}

fn nothing(_: &RawValue) -> Result<()> {
    Ok(())
}

fn guid(text: &str) -> Result<Guid> {
    text.parse().map_err(|_| Error::Protocol(format!("{text:?} is not a GUID")))
}

/// Reads the results of a method.
pub(crate) fn read<T: DeserializeOwned>(results: &RawValue) -> Result<T> {
    serde_json::from_str(results.get())
        .map_err(|error| Error::Protocol(format!("unexpected results: {error}")))
}
