//! What is recorded of a call on entities when it is answered: a log line, the audit trail of changes, the numbers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hcn_schema::call::Kind;
use hcn_schema::{Error, Guid, HResult};
use tracing::field::display;
use tracing::{debug, info, warn};

use crate::interfaces::{Method, Verb};
use crate::{Caller, Service};

/// The target of the lines that say who changed what, and who was denied it.
const AUDIT: &str = "audit";

/// A call on entities that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The kind of entity.
    pub kind: Kind,
    /// The verb, as in method names.
    pub verb: &'static str,
    /// What it was answered; 0 is success.
    pub code: HResult,
    /// From when the service took it to the answer.
    pub duration: Duration,
}

/// A call that is not answered yet. Dropped without an answer while the service has it, it counts as broken off.
pub(crate) struct Account {
    service: Arc<dyn Service>,
    caller: Caller,
    connection: u64,
    kind: Kind,
    verb: Verb,
    /// What the call is about, as far as it says.
    id: Option<Guid>,
    started: Instant,
    /// The service has it.
    begun: bool,
    closed: bool,
}

impl Account {
    pub(crate) fn open(
        service: Arc<dyn Service>,
        caller: Caller,
        connection: u64,
        kind: Kind,
        verb: Verb,
    ) -> Self {
        let started = Instant::now();
        Self { service, caller, connection, kind, verb, id: None, started, begun: false, closed: false }
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
        let Self { caller, connection, kind, verb, id, .. } = self;
        let duration = self.started.elapsed();
        let code = error.map_or(HResult::OK, |error| error.code);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Written out only where a line is logged.
        let (verb_name, kind_name, id) = (verb.name(), kind.name(), id.map(display));
        let method = format_args!("{kind_name}.{verb_name}");
        match error {
            None => debug!(connection, %method, id, micros, "answered"),
            // Told below.
            Some(_) if code == HResult::ACCESS_DENIED => {}
            Some(error) => info!(connection, %method, id, micros, %error, "failed"),
        }
        let (uid, pid, result) = (caller.uid, caller.pid, format_args!("0x{:08x}", code.0));
        if code == HResult::ACCESS_DENIED {
            warn!(target: AUDIT, uid, pid, verb = verb_name, kind = kind_name, id, %result, micros, "denied");
        } else if verb.is_change() {
            info!(target: AUDIT, uid, pid, verb = verb_name, kind = kind_name, id, %result, micros, "change");
        }
        self.service.answered(&Answered { kind: *kind, verb: verb_name, code, duration });
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
