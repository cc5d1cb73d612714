//! What can be asked? One value per request, the same for the blocking and the async client.

use std::marker::PhantomData;

use hcn_ipc::interfaces::method;
use hcn_ipc::{message, params};
use hcn_schema::call::Kind;
use hcn_schema::{Guid, Raw};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{Error, Result};

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
    fn entity<P: Serialize>(
        kind: Kind,
        verb: &str,
        parameters: &P,
        read: fn(&RawValue) -> Result<R>,
    ) -> Result<Self> {
        Ok(Self { frame: frame(&method(kind, verb), parameters, false)?, read, result: PhantomData })
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
        let text = query.map(str::to_owned);
        let parameters = params::Query { handle: target.handle(), id: target.id(), query: None, text };
        Self::entity(
            kind,
            "Query",
            &parameters,
            |results| Ok(read::<params::Properties>(results)?.properties),
        )
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
        let frame = frame("io.hcn.Service.JoinSession", &parameters, false)?;
        Ok(Self { frame, read: nothing, result: PhantomData })
    }
}

impl Request<String> {
    /// A token with which other connections can join the connection's session.
    ///
    /// # Errors
    /// None in practice; see [`Request::call`].
    pub fn open_session() -> Result<Self> {
        let frame = frame("io.hcn.Service.OpenSession", &params::Empty {}, false)?;
        Ok(Self { frame, read: |results| Ok(read::<params::Token>(results)?.token), result: PhantomData })
    }
}

/// The call that starts a stream of events.
pub(crate) fn subscribe(kinds: &[Kind]) -> Result<Vec<u8>> {
    let names = kinds.iter().map(|kind| kind.name().to_owned()).collect();
    let parameters = params::Subscribe { kinds: (!kinds.is_empty()).then_some(names) };
    frame("io.hcn.Events.Subscribe", &parameters, true)
}

fn frame<P: Serialize + ?Sized>(method: &str, parameters: &P, more: bool) -> Result<Vec<u8>> {
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
