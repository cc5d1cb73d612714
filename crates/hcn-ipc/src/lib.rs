//! The wire of hcnd: Varlink over a unix socket.
//!
//! One JSON object per message, ended by a NUL. [`frame`] cuts the byte stream into messages, [`message`] and
//! [`params`] say what is in them, [`interfaces`] describes them to clients; the client crate uses these too. The
//! rest is the server: [`Server`] runs one task per connection and keeps sessions and their handles, [`Access`] says
//! who may do what, [`Hub`] spreads events, [`HnsDoor`] lets in what does not come over Varlink. What the calls mean is
//! behind [`Service`].

mod access;
mod account;
mod class;
mod connection;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod hns;
mod hub;
pub mod interfaces;
pub mod message;
mod owned;
pub mod params;
mod pipeline;
mod resolve;
mod server;
mod session;
mod subscribe;
mod writer;

use std::future::{Future, ready};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use hcn_schema::call::{Answer, Call, HnsRequest};
use hcn_schema::{Error, HResult, Raw};

pub use access::{Access, Caller, Group, Identify};
pub use account::Answered;
pub use class::ErrorClass;
pub use hns::{HnsAdmitted, HnsDoor, HnsVisitor, hns_version};
pub use hub::{Hub, HubCounts, Notice, Registration, Subscription};
pub use server::{Meter, Server, Usage};

/// Where hcnd listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/hcnd/hcnd.sock";

/// The environment variable that names the socket to clients and to hcnd.
pub const SOCKET_VARIABLE: &str = "HCND_SOCKET";

/// The socket: what [`SOCKET_VARIABLE`] says, else [`DEFAULT_SOCKET`].
pub fn default_socket() -> PathBuf {
    std::env::var_os(SOCKET_VARIABLE)
        .filter(|path| !path.is_empty())
        .map_or_else(|| PathBuf::from(DEFAULT_SOCKET), PathBuf::from)
}

/// Something to come.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The answer to a call, to come.
pub type Pending = Later<hcn_schema::Result<Answer>>;

/// What the calls mean.
pub trait Service: Send + Sync + 'static {
    /// Queues the call at once, so that calls are decided in the order of arrival, and returns the future of its
    /// answer. Dropping the future must not break the call off half-way.
    fn call(&self, caller: &Caller, call: Call) -> Pending;

    /// Queues a request of HNS version 1 in the same way, and returns the future of its envelope (contract 5.1), in which
    /// every failure is told.
    fn hns(&self, caller: &Caller, request: HnsRequest) -> Later<Raw>;

    /// What the service is, and how it is.
    fn status(&self) -> Later<params::Status>;

    /// What is wrong with the host, or will be.
    fn doctor(&self) -> Later<params::Findings>;

    /// All records at one moment.
    fn backup(&self) -> Later<hcn_schema::Result<params::Backup>> {
        Box::pin(ready(Err(Error::new(HResult::NOT_IMPLEMENTED, "this service has no backups"))))
    }

    /// Puts the records of a backup in the place of all others, and starts over after the answer.
    fn restore(&self, _: &Caller, _: String) -> Later<hcn_schema::Result<params::Restored>> {
        Box::pin(ready(Err(Error::new(HResult::NOT_IMPLEMENTED, "this service has no backups"))))
    }

    /// The numbers of the service and of its server, in the text format of Prometheus.
    fn metrics(&self, usage: Usage) -> Later<String>;

    /// A call on entities, or a request of HNS version 1, was answered: by the service, or by the server before it came
    /// that far.
    fn answered(&self, _: &Answered) {}
}

/// What a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message, without its NUL.
    pub message: usize,
    /// Levels of arrays and objects in a message, and in a document given as text.
    pub nesting: usize,
    /// Calls of a connection that are not answered yet; beyond it the connection is not read.
    pub in_flight: usize,
    /// Reads of a connection that are running or whose replies are not written yet: these
    /// replies can be large, and a client that does not read them must not fill the memory.
    pub unwritten_reads: usize,
    /// Handles of a session.
    pub handles: usize,
    /// Connections of a user.
    pub connections: usize,
    /// How long the end of something may take: in-flight calls at shutdown, a subscriber that is being
    /// disconnected, the rest of a message that is too large.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 4 << 20,
            nesting: 128,
            in_flight: 1024,
            unwritten_reads: 16,
            handles: 65_536,
            connections: 4096,
            grace: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The same for a caller who may only ask what this is: enough for that, and not enough to do harm.
    fn of_strangers(self) -> Self {
        Self {
            message: self.message.min(16 << 10),
            in_flight: self.in_flight.min(16),
            connections: self.connections.min(32),
            ..self
        }
    }
}
