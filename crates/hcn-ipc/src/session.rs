//! Who holds which handle? Sessions, their tokens, their handles, and what ends with a handle.
//!
//! A session lives as long as one of its connections: connections hold it, calls in flight only refer to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hcn_schema::call::{Kind, Reference};
use hcn_schema::{Error, Guid, HResult, Result};
use uuid::Uuid;

use crate::owned::Owned;

/// What all sessions of the server share.
#[derive(Debug)]
pub(crate) struct Registry {
    tokens: Mutex<HashMap<String, Weak<Session>>>,
    /// Handles are never used again in the life of the server.
    next_handle: AtomicI64,
    handle_limit: usize,
    /// Sessions that live.
    sessions: AtomicUsize,
    /// Handles that are open.
    handles: AtomicUsize,
}

/// Connections that share handles.
#[derive(Debug)]
pub(crate) struct Session {
    registry: Arc<Registry>,
    uid: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<String>,
    handles: HashMap<i64, Bound>,
    /// Room for handles of calls in flight.
    reserved: usize,
}

/// What a handle is bound to.
#[derive(Debug)]
struct Bound {
    kind: Kind,
    reference: Reference,
    /// The same, where it ends with the handle.
    owned: Option<Owned>,
}

impl Registry {
    pub(crate) fn new(handle_limit: usize) -> Arc<Self> {
        Arc::new(Self {
            tokens: Mutex::default(),
            next_handle: AtomicI64::new(1),
            handle_limit,
            sessions: AtomicUsize::new(0),
            handles: AtomicUsize::new(0),
        })
    }

    /// How many sessions live.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// How many handles are open in them.
    pub(crate) fn handles(&self) -> usize {
        self.handles.load(Ordering::Relaxed)
    }

    /// A session of a new connection of this user.
    pub(crate) fn start(self: &Arc<Self>, uid: u32) -> Arc<Session> {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Arc::new(Session { registry: Arc::clone(self), uid, state: Mutex::default() })
    }
}

impl Session {
    /// The token with which other connections can join.
    pub(crate) fn token(self: &Arc<Self>) -> String {
        let mut state = locked(&self.state);
        if let Some(token) = &state.token {
            return token.clone();
        }
        let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        locked(&self.registry.tokens).insert(token.clone(), Arc::downgrade(self));
        state.token = Some(token.clone());
        token
    }

    /// The session that a connection of this one moves into.
    pub(crate) fn join(self: &Arc<Self>, token: &str) -> Result<Arc<Self>> {
        let other = locked(&self.registry.tokens).get(token).and_then(Weak::upgrade);
        let Some(other) = other else {
            return Err(
                Error::new(HResult::INVALID_HANDLE, "there is no session with this token").at("token")
            );
        };
        if other.uid != self.uid {
            return Err(Error::new(HResult::ACCESS_DENIED, "the session belongs to another user").at("token"));
        }
        let state = locked(&self.state);
        if !Arc::ptr_eq(self, &other) && (state.reserved > 0 || !state.handles.is_empty()) {
            return Err(Error::new(HResult::INVALID_ARGUMENT, "the connection holds handles already")
                .expected("JoinSession before any Create or Open"));
        }
        drop(state);
        Ok(other)
    }

    /// Makes sure of room for one more handle, before the call that will give it changes anything.
    pub(crate) fn reserve(self: &Arc<Self>) -> Result<Room> {
        let mut state = locked(&self.state);
        let limit = self.registry.handle_limit;
        if state.handles.len() + state.reserved >= limit {
            return Err(Error::new(
                HResult::LIMIT_EXCEEDED,
                format!("the session holds {limit} handles already"),
            )
            .expected("Close of handles that are not used any more"));
        }
        state.reserved += 1;
        Ok(Room { session: Arc::downgrade(self) })
    }

    /// What a handle is bound to.
    pub(crate) fn resolve(&self, kind: Kind, handle: i64, path: &str) -> Result<Reference> {
        match locked(&self.state).handles.get(&handle) {
            Some(bound) if bound.kind == kind => Ok(bound.reference),
            found => Err(bad_handle(kind, handle, found.map(|bound| bound.kind), path)),
        }
    }

    /// Forgets a handle. What ends with it is still to be released.
    pub(crate) fn close(self: &Arc<Self>, kind: Kind, handle: i64) -> Result<Option<Release>> {
        self.resolve(kind, handle, "handle")?;
        // Of two that close it at once, one does.
        let Some(bound) = locked(&self.state).handles.remove(&handle) else { return Ok(None) };
        self.registry.handles.fetch_sub(1, Ordering::Relaxed);
        Ok(bound.owned.map(|owned| Release { session: Arc::downgrade(self), handle, owned }))
    }

    fn insert(&self, handle: i64, bound: Bound) {
        locked(&self.state).handles.insert(handle, bound);
        self.registry.handles.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let state = locked(&self.state);
        if let Some(token) = &state.token {
            locked(&self.registry.tokens).remove(token);
        }
        self.registry.handles.fetch_sub(state.handles.len(), Ordering::Relaxed);
        self.registry.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room for a handle; given back when it is not used.
#[derive(Debug)]
pub(crate) struct Room {
    session: Weak<Session>,
}

impl Room {
    /// Makes the handle. The session may have ended in the meantime: then nobody is there to use it, and what ends with
    /// it ends at once.
    pub(crate) fn bind(self, kind: Kind, id: Guid, incarnation: u64, owned: Option<Owned>) -> i64 {
        let Some(session) = self.session.upgrade() else { return 0 };
        let handle = session.registry.next_handle.fetch_add(1, Ordering::Relaxed);
        let reference = Reference { id, incarnation: Some(incarnation) };
        session.insert(handle, Bound { kind, reference, owned });
        handle
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(session) = self.session.upgrade() {
            locked(&session.state).reserved -= 1;
        }
    }
}

/// Something that ends with a handle that was closed.
#[derive(Debug)]
pub(crate) struct Release {
    session: Weak<Session>,
    handle: i64,
    owned: Owned,
}

impl Release {
    /// What is released.
    pub(crate) fn id(&self) -> Option<Guid> {
        self.owned.bound_to().map(|(_, reference)| reference.id)
    }

    /// Releases it. The handle stays open when that fails, so that it can be tried again.
    ///
    /// # Errors
    /// As the service's.
    pub(crate) async fn carry_out(self) -> Result<()> {
        let Self { session, handle, owned } = self;
        let Err((error, owned)) = owned.release().await else { return Ok(()) };
        if let (Some(session), Some((kind, reference))) = (session.upgrade(), owned.bound_to()) {
            session.insert(handle, Bound { kind, reference, owned: Some(owned) });
        }
        Err(error)
    }
}

fn bad_handle(kind: Kind, handle: i64, bound: Option<Kind>, path: &str) -> Error {
    let message = match bound {
        Some(bound) => format!("handle {handle} is of a {bound}"),
        None => format!("the session holds no handle {handle}"),
    };
    Error::new(HResult::INVALID_HANDLE, message).at(path).expected(format!("an open handle of a {kind}"))
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics with the lock held, and if it did, what it guards is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Guid = Guid::ZERO;

    fn code<T: std::fmt::Debug>(result: Result<T>) -> HResult {
        result.unwrap_err().code
    }

    #[test]
    fn a_handle_is_of_its_kind_and_session_until_closed() {
        let registry = Registry::new(10);
        let (mine, other) = (registry.start(0), registry.start(0));
        let handle = mine.reserve().unwrap().bind(Kind::Network, ID, 7, None);
        assert!(handle > 0);
        let reference = Reference { id: ID, incarnation: Some(7) };
        assert_eq!(mine.resolve(Kind::Network, handle, "handle"), Ok(reference));
        assert_eq!(code(mine.resolve(Kind::Endpoint, handle, "handle")), HResult::INVALID_HANDLE);
        assert_eq!(code(other.resolve(Kind::Network, handle, "handle")), HResult::INVALID_HANDLE);
        assert_eq!(code(mine.close(Kind::Endpoint, handle)), HResult::INVALID_HANDLE);
        assert_eq!((registry.sessions(), registry.handles()), (2, 1));
        mine.close(Kind::Network, handle).unwrap();
        assert_eq!(code(mine.close(Kind::Network, handle)), HResult::INVALID_HANDLE);
        assert_eq!(registry.handles(), 0);
        mine.reserve().unwrap().bind(Kind::Network, ID, 7, None);
        drop(mine);
        assert_eq!((registry.sessions(), registry.handles()), (1, 0));
    }

    #[test]
    fn handles_are_never_used_again() {
        let registry = Registry::new(10);
        let session = registry.start(0);
        let first = session.reserve().unwrap().bind(Kind::Network, ID, 1, None);
        session.close(Kind::Network, first).unwrap();
        drop(session);
        let second = registry.start(0).reserve().unwrap().bind(Kind::Network, ID, 1, None);
        assert!(second > first);
    }

    #[test]
    fn the_limit_counts_calls_in_flight_and_a_failed_call_gives_its_room_back() {
        let registry = Registry::new(2);
        let session = registry.start(0);
        session.reserve().unwrap().bind(Kind::Network, ID, 1, None);
        let in_flight = session.reserve().unwrap();
        assert_eq!(code(session.reserve()), HResult::LIMIT_EXCEEDED);
        drop(in_flight);
        session.reserve().unwrap().bind(Kind::Network, ID, 1, None);
        assert_eq!(code(session.reserve()), HResult::LIMIT_EXCEEDED);
    }

    #[test]
    fn a_token_joins_only_the_same_user_and_only_while_the_session_lives() {
        let registry = Registry::new(10);
        let (mine, same, other) = (registry.start(1), registry.start(1), registry.start(2));
        let token = mine.token();
        assert_eq!(mine.token(), token);
        assert!(Arc::ptr_eq(&same.join(&token).unwrap(), &mine));
        assert_eq!(code(other.join(&token)), HResult::ACCESS_DENIED);
        drop(mine);
        assert_eq!(code(same.join(&token)), HResult::INVALID_HANDLE);
        assert!(locked(&registry.tokens).is_empty());
    }

    #[test]
    fn a_connection_that_holds_handles_cannot_move() {
        let registry = Registry::new(10);
        let (mine, other) = (registry.start(1), registry.start(1));
        let token = mine.token();
        other.reserve().unwrap().bind(Kind::Network, ID, 1, None);
        assert_eq!(code(other.join(&token)), HResult::INVALID_ARGUMENT);
    }

    #[test]
    fn a_call_in_flight_does_not_keep_its_session() {
        let registry = Registry::new(10);
        let session = registry.start(1);
        let in_flight = session.reserve().unwrap();
        let ended = Arc::downgrade(&session);
        drop(session);
        assert!(ended.upgrade().is_none());
        in_flight.bind(Kind::Network, ID, 1, None);
    }
}
