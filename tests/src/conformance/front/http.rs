//! HNS version 1 as curl speaks it: over HTTP, on the socket for that. What is of version 2 goes over the wire.

use std::path::PathBuf;
use std::time::Duration;
use std::{io, path::Path};

use serde_json::{Value, json};

use super::Without;
use crate::conformance::{Answer, Connection, Inexpressible, plainly};
use crate::process::run;
use crate::wire::{Reply, Wire};

/// What HTTP has no words for.
pub const WITHOUT: [(&str, Without); 1] = [(
    "v1-refusals",
    Without::Steps(3, "other methods are refused by HTTP itself (e2e/hns.rs); no path is empty"),
)];

/// A client of both.
pub struct Http {
    wire: Wire,
    hns: PathBuf,
    /// What this client wants HNS to be.
    version: Option<String>,
}

impl Http {
    /// Connects to both sockets.
    #[must_use]
    pub fn connect(socket: &Path, hns: PathBuf) -> Self {
        Self { wire: Wire::connect(socket).unwrap(), hns, version: None }
    }

    fn request(&self, parameters: &Value) -> Answer {
        let text = |member: &str| parameters[member].as_str();
        let (method, path) = (text("method").unwrap(), text("path").unwrap());
        if !["GET", "POST", "DELETE"].contains(&method) || path.is_empty() {
            return Err(Inexpressible("no request of HTTP that reaches HNS"));
        }
        let body = match &parameters["request"] {
            Value::Null => text("text").map(str::to_owned),
            request => Some(request.to_string()),
        };
        let socket = self.hns.to_string_lossy();
        let mut curl =
            vec!["curl", "-sS", "-g", "--path-as-is", "--max-time", "20", "--unix-socket", &socket];
        curl.extend(["-X", method]);
        let version = self.version.as_ref().map(|version| format!("HNS-Version: {version}"));
        curl.extend(version.iter().flat_map(|header| ["-H", header]));
        curl.extend(body.iter().flat_map(|body| ["--data-binary", body]));
        let url = format!("http://hns{path}");
        curl.push(&url);
        let ended = run(&curl);
        assert_eq!(ended.code, Some(0), "{ended}");
        let envelope: Value =
            serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"));
        Ok(Reply { error: None, parameters: json!({"response": envelope}), raw: ended.stdout })
    }
}

impl Connection for Http {
    fn call(&mut self, method: &str, parameters: &Value) -> Answer {
        if method == "io.hcn.V1.Call" {
            return self.request(parameters);
        }
        let reply = plainly(&mut self.wire, method, parameters);
        if method == "io.hcn.Service.SetHnsVersion" && reply.error.is_none() {
            self.version = parameters["version"].as_str().map(str::to_owned);
        }
        Ok(reply)
    }

    fn subscribe(&mut self, parameters: &Value) -> Answer {
        self.wire.subscribe(parameters)
    }

    fn event(&mut self, within: Option<Duration>) -> io::Result<Option<Reply>> {
        self.wire.event(within)
    }
}
