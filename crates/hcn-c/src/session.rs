//! The process's session with the service, and each thread's connection in it.
//!
//! The session lives by a connection that nobody calls on. When the service has been started anew the next call finds the
//! connection closed and begins another session; handles of the one before are dead. A child after `fork` has a session of
//! its own.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hcn_client::blocking::Client;
use hcn_client::{HResult, Target, default_socket};

use crate::handles::Entry;
use crate::{Fault, fuzzing};

/// How long a call waits for its answer: the service answers within 30 s, whatever happens.
const ANSWER: Duration = Duration::from_secs(90);

struct Session {
    process: u32,
    number: u64,
    token: String,
    keeper: Client,
}

/// What there was of sessions, and the one that is.
struct Sessions {
    last: u64,
    now: Option<Session>,
}

static SESSIONS: Mutex<Sessions> = Mutex::new(Sessions { last: 0, now: None });

thread_local! {
    static CONNECTION: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// A thread's connection.
pub(crate) struct Connection {
    process: u32,
    session: u64,
    pub(crate) client: Client,
}

impl Connection {
    /// The number of the session.
    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    /// What a handle stands for, to the service.
    ///
    /// # Errors
    /// HCN_E_OBJECT_USED_AFTER_UNLOAD: the service that gave it has ended.
    pub(crate) fn target(&self, entry: Entry) -> Result<Target, HResult> {
        if entry.session == self.session {
            Ok(Target::Handle(entry.handle))
        } else {
            Err(HResult::OBJECT_USED_AFTER_UNLOAD)
        }
    }

    fn is_good(&self) -> bool {
        self.process == process::id() && self.client.is_connected()
    }
}

/// Calls on this thread's connection.
///
/// # Errors
/// As the work's; EPT_S_NOT_REGISTERED when there is no service.
pub(crate) fn with<R>(mut work: impl FnMut(&mut Connection) -> Result<R, Fault>) -> Result<R, Fault> {
    // A signal handler that calls while a call is under way gets a connection for itself.
    let mut connection =
        match CONNECTION.with(|kept| kept.try_borrow_mut().ok().and_then(|mut kept| kept.take())) {
            Some(connection) if connection.is_good() => connection,
            _ => connect()?,
        };
    let outcome = work(&mut connection);
    let is_over = matches!(&outcome, Err(fault) if fault.lost || fault.code == HResult::TIMEOUT);
    if !is_over {
        CONNECTION.with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut() {
                *kept = Some(connection);
            }
        });
    }
    outcome
}

/// As [`with`], for what changes nothing: it is asked again when the service ends meanwhile and another one is there.
///
/// # Errors
/// As of [`with`].
pub(crate) fn read<R>(mut work: impl FnMut(&mut Connection) -> Result<R, Fault>) -> Result<R, Fault> {
    match with(&mut work) {
        Err(fault) if fault.lost => with(work),
        outcome => outcome,
    }
}

/// A connection in the process's session.
fn connect() -> Result<Connection, Fault> {
    let mut sessions = lock();
    match sessions.join() {
        // The service was started anew between the two.
        Err(_) if !sessions.is_good() => sessions.join(),
        outcome => outcome,
    }
}

/// Where the service listens.
fn socket() -> PathBuf {
    fuzzing::SOCKET.get().cloned().unwrap_or_else(default_socket)
}

fn new_client() -> Result<Client, Fault> {
    let mut client = Client::connect(&socket())?;
    client.set_timeout(Some(ANSWER)).map_err(|_| HResult::UNEXPECTED)?;
    Ok(client)
}

fn lock() -> MutexGuard<'static, Sessions> {
    SESSIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    fn is_good(&self) -> bool {
        self.now.as_ref().is_some_and(|now| now.process == process::id() && now.keeper.is_connected())
    }

    fn join(&mut self) -> Result<Connection, Fault> {
        let (session, token) = self.token()?;
        let mut client = new_client()?;
        client.join_session(&token)?;
        Ok(Connection { process: process::id(), session, client })
    }

    /// The number and the token of the session, which begins here if there is none.
    fn token(&mut self) -> Result<(u64, String), Fault> {
        if let Some(now) = self.now.as_ref().filter(|_| self.is_good()) {
            return Ok((now.number, now.token.clone()));
        }
        self.now = None;
        let mut keeper = new_client()?;
        let token = keeper.open_session()?;
        self.last += 1;
        let now = Session { process: process::id(), number: self.last, token, keeper };
        let parts = (now.number, now.token.clone());
        self.now = Some(now);
        Ok(parts)
    }
}
