//! The Rust client of hcnd, blocking ([`blocking::Client`]) and async ([`Client`]).
//!
//! Both speak the same requests ([`Request`]): the verbs on every kind of entity, requests of HNS version 1, what there is
//! of the service itself, or any method by its name.
//! Documents go in as texts, also malformed ones, and come back byte for byte.

pub mod blocking;
mod client;
mod error;
mod reply;
mod request;

pub use client::{Client, Events};
pub use error::{Error, Result};
pub use hcn_ipc::params::{DISCONNECT, EventReply as Event, Feature, Finding, Severity, Status};
pub use hcn_ipc::{DEFAULT_SOCKET, ErrorClass, SOCKET_VARIABLE, default_socket};
pub use hcn_schema::call::Kind;
pub use hcn_schema::hns::HnsVersion;
#[cfg(feature = "json-schema")]
pub use hcn_schema::json_schema;
pub use hcn_schema::{Guid, HResult, Raw};
pub use request::{Created, Registration, Request, Target};
