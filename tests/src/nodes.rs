//! The hosts of a sandbox that has several, each with an hcnd of its own on one segment.

use std::path::PathBuf;

use crate::client::Client;
use crate::process::{Finished, netns_exec, run};
use crate::service::sandbox_socket;
use crate::traffic::HOST;

/// A host of a sandbox; see [`Sandbox::nodes`](crate::Sandbox::nodes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    number: u8,
}

impl Node {
    /// Host `number`, from 1, which is the sandbox itself.
    #[must_use]
    pub fn new(number: u8) -> Self {
        Self { number }
    }

    /// A connection to its hcnd.
    #[must_use]
    pub fn client(self) -> Client {
        Client::of(&self.socket())
    }

    /// The socket of its hcnd.
    #[must_use]
    pub fn socket(self) -> PathBuf {
        match self.number {
            1 => sandbox_socket(),
            number => PathBuf::from(format!("/run/hcnd/node{number}/hcnd.sock")),
        }
    }

    /// Its network namespace, for [`in_netns`](crate::traffic::in_netns) and all that take one.
    #[must_use]
    pub fn netns(self) -> String {
        if self.number == 1 { HOST.to_owned() } else { format!("node{}", self.number) }
    }

    /// The same of a namespace that its hcnd has made, by the ID.
    #[must_use]
    pub fn place(self, namespace: &str) -> String {
        match self.number {
            1 => namespace.to_owned(),
            number => format!("/run/hcnd/node{number}/netns/{namespace}"),
        }
    }

    /// Its addresses on the segment, IPv4 first.
    #[must_use]
    pub fn addresses(self) -> [String; 2] {
        let last = self.number * 10;
        [format!("203.0.113.{last}"), format!("2001:db8:ffff::{last}")]
    }

    /// Runs a program on it.
    pub fn run(self, argv: &[&str]) -> Finished {
        if self.number == 1 { run(argv) } else { netns_exec(&self.netns(), argv) }
    }
}
