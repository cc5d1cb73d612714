//! The harness of the end-to-end tests: test bodies that run inside `hcnd sandbox`, programs in namespaces,
//! background processes, and waiting with a deadline. It panics, as tests do.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "the harness belongs to the tests: what fails must fail the test, with all there is to read"
)]

pub mod c;
pub mod client;
pub mod cni;
pub mod conformance;
pub mod daemon;
pub mod dhcp;
pub mod dns;
pub mod kernel;
pub mod neighbours;
mod nodes;
pub mod overlay;
pub mod podman;
pub mod policies;
mod process;
mod sandbox;
pub mod service;
pub mod stream;
mod time;
pub mod traffic;
pub mod vm;
pub mod windows;
pub mod wire;

pub use nodes::Node;
pub use process::{Background, Finished, descendants, eventually, is_running, netns_exec, run, run_ok};
pub use sandbox::{Caller, Sandbox, built_hcnd, test_name_of};
pub use time::patience;
