//! The CNI plugin, called as runtimes call it.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::{Background, Finished, run_ok};

/// Longer than hcnd waits for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// One attachment: a container's network namespace, by its name for `ip netns`, and the name of the interface.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Name of the container and of its network namespace.
    pub container: String,
    /// Name of the interface.
    pub interface: String,
    /// `CNI_ARGS`.
    pub arguments: String,
}

impl Attachment {
    /// The first interface of a container.
    #[must_use]
    pub fn of(container: &str) -> Self {
        Self { container: container.to_owned(), interface: "eth0".to_owned(), arguments: String::new() }
    }

    /// A container with a network namespace of its own, as a runtime makes it.
    #[must_use]
    pub fn made(container: &str) -> Self {
        run_ok(&["ip", "netns", "add", container]);
        Self::of(container)
    }

    /// Another interface of the same container.
    #[must_use]
    pub fn interface(&self, name: &str) -> Self {
        Self { interface: name.to_owned(), ..self.clone() }
    }

    /// The same with `CNI_ARGS`.
    #[must_use]
    pub fn arguments(&self, arguments: &str) -> Self {
        Self { arguments: arguments.to_owned(), ..self.clone() }
    }

    /// Calls the plugin.
    #[must_use]
    pub fn call(&self, command: &str, config: &Value) -> Finished {
        self.start(command, config).wait(DEADLINE)
    }

    /// Calls the plugin and leaves it running.
    #[must_use]
    pub fn start(&self, command: &str, config: &Value) -> Background {
        let mut plugin = plugin(command, &config.to_string());
        plugin.env("CNI_CONTAINERID", &self.container).env("CNI_IFNAME", &self.interface);
        plugin.env("CNI_NETNS", format!("/run/netns/{}", self.container)).env("CNI_ARGS", &self.arguments);
        Background::start(&mut plugin)
    }

    /// ADD, which must succeed.
    #[must_use]
    pub fn add(&self, config: &Value) -> Value {
        let ended = self.call("ADD", config);
        assert!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended}");
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// DEL, which must succeed and say nothing.
    pub fn del(&self, config: &Value) {
        let ended = self.call("DEL", config);
        assert!(ended.code == Some(0) && ended.stdout.is_empty() && ended.stderr.is_empty(), "{ended}");
    }
}

/// The plugin with a command and what it reads, which find nothing in the environment of the tests.
#[must_use]
pub fn plugin(command: &str, input: &str) -> Command {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(input.as_bytes()).unwrap();
    file.rewind().unwrap();
    let mut plugin = Command::new("hcn-cni");
    plugin.env("CNI_COMMAND", command).env("CNI_PATH", "/opt/cni/bin").stdin(Stdio::from(file));
    plugin
}

/// The code and the message of an error, which must be all that was said.
#[must_use]
pub fn refused(ended: &Finished) -> (u64, String) {
    assert!(ended.code == Some(1) && ended.stderr.is_empty(), "{ended}");
    let error: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"));
    (error["code"].as_u64().unwrap(), error["msg"].as_str().unwrap().to_owned())
}

/// The same configuration with other members.
#[must_use]
pub fn with(config: &Value, members: Value) -> Value {
    let mut config = config.clone();
    let Value::Object(members) = members else { panic!("no members: {members}") };
    config.as_object_mut().unwrap().extend(members);
    config
}

/// A configuration of a NAT network with these subnets, which is made by the first ADD.
#[must_use]
pub fn configuration(name: &str, subnets: &[&str]) -> Value {
    json!({"cniVersion": "1.1.0", "name": name, "type": "hcn-cni", "subnets": subnets})
}
