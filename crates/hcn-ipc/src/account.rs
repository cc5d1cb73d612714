//! What is recorded of a call when it is answered: a log line, the audit trail of changes, the numbers. Of calls on
//! entities and of requests of HNS version 1, however they come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hcn_schema::call::Kind;
use hcn_schema::{Error, Guid, HResult};
use tracing::field::display;
use tracing::{debug, info, warn};

use crate::interfaces::{Method, Verb};
use crate::message::shorten;
use crate::{Caller, Service};

/// The target of the lines that say who changed what, and who was denied it.
const AUDIT: &str = "audit";

/// What requests of HNS version 1 are recorded as, where others have the kind of entity.
const V1: &str = "V1";

/// A call on entities, or a request of HNS version 1, that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The kind of entity; `V1` for requests of HNS version 1.
    pub kind: &'static str,
    /// The verb, as in method names; of HNS version 1 the method, or `other` for one that there is not.
    pub verb: &'static str,
    /// What it was answered; 0 is success.
    pub code: HResult,
    /// From when the service took it to the answer.
    pub duration: Duration,
}

/// What is called, as records name it.
#[derive(Debug)]
pub(crate) struct Subject {
    kind: &'static str,
    verb: &'static str,
    is_change: bool,
    /// Where a request of HNS version 1 goes.
    path: Option<String>,
}

impl Subject {
    /// A verb on a kind of entity.
    pub(crate) fn entity(kind: Kind, verb: Verb) -> Self {
        Self { kind: kind.name(), verb: verb.name(), is_change: verb.is_change(), path: None }
    }

    /// A request of HNS version 1. Its method may be any text; numbers are kept by names that are known.
    pub(crate) fn hns(method: &str, path: &str) -> Self {
        let verb = ["GET", "POST", "DELETE"].into_iter().find(|known| *known == method).unwrap_or("other");
        let mut path = path.to_owned();
        shorten(&mut path);
        Self { kind: V1, verb, is_change: verb != "GET", path: Some(path) }
    }
}

/// A call that is not answered yet. Dropped without an answer while the service has it, it counts as broken off.
pub(crate) struct Account {
    service: Arc<dyn Service>,
    caller: Caller,
    connection: u64,
    subject: Subject,
    /// What the call is about, as far as it says.
    id: Option<Guid>,
    started: Instant,
    /// The service has it.
    begun: bool,
    closed: bool,
}

impl Account {
    pub(crate) fn open(service: Arc<dyn Service>, caller: Caller, connection: u64, subject: Subject) -> Self {
        let started = Instant::now();
        Self { service, caller, connection, subject, id: None, started, begun: false, closed: false }
    }

    /// Who calls.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// On which connection.
    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    /// Says what the call is about, and that it begins only now.
    pub(crate) fn begin(&mut self, id: Option<Guid>) {
        self.id = id;
        self.started = Instant::now();
        self.begun = true;
    }

    /// Records the answer; `made` is the entity that the call made or opened.
    pub(crate) fn close(mut self, result: Result<Option<Guid>, &Error>) {
        if let Ok(Some(made)) = result {
            self.id = Some(made);
        }
        self.record(result.err());
    }

    fn record(&mut self, error: Option<&Error>) {
        self.closed = true;
        let Self { caller, connection, subject, id, .. } = self;
        let Subject { kind, verb, is_change, path } = subject;
        let duration = self.started.elapsed();
        let code = error.map_or(HResult::OK, |error| error.code);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Written out only where a line is logged.
        let (path, id) = (path.as_deref(), id.map(display));
        let method = format_args!("{kind}.{verb}");
        match error {
            None => debug!(connection, %method, path, id, micros, "answered"),
            // Told below.
            Some(_) if code == HResult::ACCESS_DENIED => {}
            Some(error) => info!(connection, %method, path, id, micros, %error, "failed"),
        }
        let (uid, pid, result) = (caller.uid, caller.pid, format_args!("0x{:08x}", code.0));
        if code == HResult::ACCESS_DENIED {
            warn!(target: AUDIT, uid, pid, verb, kind, path, id, %result, micros, "denied");
        } else if *is_change {
            info!(target: AUDIT, uid, pid, verb, kind, path, id, %result, micros, "change");
        }
        self.service.answered(&Answered { kind, verb, code, duration });
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.begun && !self.closed {
            self.record(Some(&Error::new(HResult::CALL_FAILED, "the service broke the call off")));
        }
    }
}

/// Records that a method that is not on entities was denied.
pub(crate) fn denied(caller: &Caller, method: Method) {
    let result = format_args!("0x{:08x}", HResult::ACCESS_DENIED.0);
    warn!(target: AUDIT, uid = caller.uid, pid = caller.pid, verb = method.name(), %result, "denied");
}
