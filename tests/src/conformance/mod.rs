//! Conformance cases: JSON files of calls and what must come back, run against anything that listens.
//!
//! A case is `{"about", "contract", "steps": [STEP…]}`. A step is one of
//! - `call`: a method without the leading `io.hcn.`, with its parameters in `with`, and beside it
//!   - `save`: variables from the reply's parameters, as `{"N": "id", "V": "response.Output.Subnets.0.ID"}`;
//!   - `reply`: what the parameters must hold (see [`compare`]);
//!   - `raw`: texts that must stand in the reply byte for byte;
//!   - `difference`: how much larger one number is than another, as `{"PATH - PATH": 5}`;
//!   - `error`: `{"hresult": "0x…", "path"?, "expected"?, "text"?, "record"?}` instead of a reply; `text` is in the
//!     message, `record` is the whole `Error` of the record;
//!   - `refused`: `{"hresult": "0x…", "text"?}`: how HNS of version 1 refuses, inside its envelope. A `V1.Call`
//!     without it must succeed inside its envelope, too;
//!   - `kernel`: a feature that not every kernel has. Where it is missing the call must be refused with 0x803b0015, and
//!     the case ends there;
//!   - `within`: seconds for which the call is repeated until the reply is as wanted;
//!   - `stopping`: the call is made while the service ends with another one in flight, and the service is started
//!     again;
//! - `subscribe`: a name; opens a connection of that name and calls Events.Subscribe `with` parameters;
//! - `events`: a name; the next events of that subscription are those in `expect`;
//! - `quiet`: a name; that subscription has been told nothing more;
//! - `close`: a name; ends that connection;
//! - `restart`, `reboot`: the service is ended and started again, after a new start of the machine if so.
//!   Subscriptions of before are not closed by this side, so what they were told last can be looked at.
//!
//! `connection` beside `call` names the connection that is used, one of the case's own otherwise; `why` is for people.
//! `${N}` stands for a variable; `${N:lower}` for its lower-case form. A text that is only a variable takes the
//! variable's type.

pub mod compare;
pub mod entities;
pub mod front;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

use serde_json::{Value, json};

use crate::wire::{Reply, Wire};
use compare::{Variables, check, check_event, fill, member_at, unset};
pub use entities::{delete_everything, ids, snapshot};

/// Longer than an event that is under way takes to arrive.
const QUIET: Duration = Duration::from_millis(30);
/// Between two tries of a call that is repeated.
const RETRY: Duration = Duration::from_millis(20);
/// The members of a step, beside those for people.
const MEMBERS: [&str; 19] = [
    "call",
    "with",
    "connection",
    "save",
    "reply",
    "raw",
    "difference",
    "error",
    "refused",
    "kernel",
    "within",
    "stopping",
    "subscribe",
    "events",
    "expect",
    "quiet",
    "close",
    "restart",
    "reboot",
];

/// What a case needs beyond calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The service ends and starts.
    Restart,
    /// The machine starts anew.
    Reboot,
    /// A call arrives while the service ends.
    Stopping,
}

/// The runners that cannot do everything that cases need; every other one runs every case.
const UNABLE: [(&str, &[Need]); 2] = [
    // All its daemons share one data plane, which holds the ports of the one before.
    ("in this process, failing over the Linux kernel", &[Need::Restart, Need::Reboot, Need::Stopping]),
    // Its daemon is a process of its own: it cannot be halted half-way, and its machine is this one.
    ("the daemon of a sandbox", &[Need::Reboot, Need::Stopping]),
];

/// One case.
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    document: Value,
}

/// What cannot be said in the words of a front, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inexpressible(pub &'static str);

/// What comes of a call.
pub type Answer = Result<Reply, Inexpressible>;

/// How a client speaks to the service; each has a session of its own.
pub trait Connection {
    /// Calls, and waits for the reply.
    ///
    /// # Errors
    /// The call has no words here.
    fn call(&mut self, method: &str, parameters: &Value) -> Answer;

    /// Subscribes; the first reply.
    ///
    /// # Errors
    /// The subscription has no words here.
    fn subscribe(&mut self, parameters: &Value) -> Answer;

    /// The next event, if one begins to arrive in time; it must, where no time is given.
    ///
    /// # Errors
    /// The other side is gone, or silent.
    fn event(&mut self, within: Option<Duration>) -> io::Result<Option<Reply>>;

    /// Takes from a step what this way of speaking does not carry.
    fn reduce(_step: &mut Value) {}
}

impl Connection for Wire {
    fn call(&mut self, method: &str, parameters: &Value) -> Answer {
        Ok(plainly(self, method, parameters))
    }

    fn subscribe(&mut self, parameters: &Value) -> Answer {
        self.send("io.hcn.Events.Subscribe", parameters, true).unwrap();
        Ok(self.receive().unwrap_or_else(|error| panic!("Subscribe: {error}")))
    }

    fn event(&mut self, within: Option<Duration>) -> io::Result<Option<Reply>> {
        match within {
            Some(time) => self.receive_within(time),
            None => self.receive().map(Some),
        }
    }
}

/// What cases are run against.
pub trait Subject {
    /// How it is spoken to.
    type Connection: Connection;

    /// Connects.
    fn connect(&mut self) -> Self::Connection;

    /// Performs a call.
    ///
    /// # Errors
    /// The call has no words here.
    fn call(&mut self, connection: &mut Self::Connection, method: &str, parameters: &Value) -> Answer {
        connection.call(method, parameters)
    }

    /// Leaves out what has no words here, if it may.
    fn leave_out(&mut self, place: &str, why: Inexpressible) {
        panic!("{place}: {}", why.0);
    }

    /// Whether a call may be performed several times, so that what is announced beforehand is announced again.
    fn repeats(&self) -> bool {
        false
    }

    /// Whether its kernel lacks a feature.
    fn lacks(&self, _feature: &str) -> bool {
        false
    }

    /// Whether its service knows what the kernel lacks.
    fn knows_kernel(&self) -> bool {
        true
    }

    /// Ends the service and starts it again, with a new start of the machine between, if so.
    fn start_again(&mut self, reboot: bool);

    /// Performs a call while the service ends, and starts it again.
    ///
    /// # Errors
    /// The call has no words here.
    fn call_while_stopping(
        &mut self,
        connection: &mut Self::Connection,
        method: &str,
        parameters: &Value,
    ) -> Answer;
}

/// The folder of the cases.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases")
}

/// All cases that a runner can run, by name.
#[must_use]
pub fn cases(runner: &str) -> Vec<Case> {
    let unable = UNABLE.iter().find(|(name, _)| *name == runner).map_or(&[][..], |(_, needs)| needs);
    let mut cases: Vec<Case> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let document = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            Case { name, document }
        })
        .filter(|case| chosen().is_none_or(|wanted| wanted.split(',').any(|name| name == case.name)))
        .filter(|case| case.needs().iter().all(|need| !unable.contains(need)))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!cases.is_empty() || chosen().is_some(), "no cases in {}", folder().display());
    cases
}

/// The names of the cases to run, with commas between, for whoever works on some of them: the variable HCN_CASE.
#[must_use]
pub fn chosen() -> Option<String> {
    std::env::var("HCN_CASE").ok()
}

/// The step, as it must go where the kernel lacks what it needs.
fn refused(step: &Value) -> Value {
    let expected = json!({"hresult": "0x803b0015"});
    let member = if step["call"] == "V1.Call" { "refused" } else { "error" };
    json!({"call": step["call"], "with": step["with"], member: expected})
}

/// Just calls.
///
/// # Panics
/// The daemon does not answer.
pub fn plainly(wire: &mut Wire, method: &str, parameters: &Value) -> Reply {
    wire.call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
}

impl Case {
    fn steps(&self) -> &Vec<Value> {
        self.document["steps"].as_array().unwrap()
    }

    /// What it needs beyond calls.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let has = |member: &str| self.steps().iter().any(|step| step.get(member).is_some());
        let needs = [("restart", Need::Restart), ("reboot", Need::Reboot), ("stopping", Need::Stopping)];
        needs.into_iter().filter(|(member, _)| has(member)).map(|(_, need)| need).collect()
    }

    /// Whether it calls a method, named without `io.hcn.`.
    #[must_use]
    pub fn calls(&self, method: &str) -> bool {
        self.steps().iter().any(|step| step["call"] == method)
    }

    /// Runs the case; panics where something differs.
    pub fn run<S: Subject>(&self, subject: &mut S) {
        let mut run = Run {
            subject,
            connections: BTreeMap::new(),
            subscriptions: BTreeSet::new(),
            variables: BTreeMap::new(),
        };
        for (index, step) in self.steps().iter().enumerate() {
            let place = format!("case {}, step {}", self.name, index + 1);
            for name in step.as_object().unwrap().keys() {
                assert!(name == "why" || MEMBERS.contains(&name.as_str()), "{place}: unknown member {name}");
            }
            if let Some(feature) = step["kernel"].as_str().filter(|feature| run.subject.lacks(feature)) {
                if run.subject.knows_kernel() {
                    run.step(&refused(step), &place);
                }
                eprintln!("{place}: this kernel lacks {feature}; the rest of the case is left out");
                return;
            }
            run.step(step, &place);
        }
    }
}

/// A case that runs.
struct Run<'a, S: Subject> {
    subject: &'a mut S,
    connections: BTreeMap<String, S::Connection>,
    subscriptions: BTreeSet<String>,
    variables: Variables,
}

impl<S: Subject> Run<'_, S> {
    fn step(&mut self, step: &Value, place: &str) {
        if unset(step, &self.variables) {
            return self
                .subject
                .leave_out(place, Inexpressible("it needs what an earlier step did not give"));
        }
        let listens = step["events"].as_str().or_else(|| step["quiet"].as_str());
        if listens.is_some_and(|name| !self.subscriptions.contains(name)) {
            return self.subject.leave_out(place, Inexpressible("there is no such subscription"));
        }
        let mut step = step.clone();
        S::Connection::reduce(&mut step);
        let text = |member: &str| step[member].as_str();
        if let Some(method) = text("call") {
            self.call(&step, &format!("io.hcn.{method}"), &format!("{place} ({method})"));
        } else if let Some(name) = text("subscribe") {
            self.subscribe(&step, name, place);
        } else if let Some(name) = text("events") {
            for (index, expected) in step["expect"].as_array().unwrap().iter().enumerate() {
                let expected = fill(expected, &self.variables, place);
                self.event(name, &expected, &format!("{place}, event {}", index + 1));
            }
        } else if let Some(name) = text("quiet") {
            self.quiet(name, place);
        } else if let Some(name) = text("close") {
            assert!(self.connections.remove(name).is_some(), "{place}: no connection {name}");
        } else if step["restart"] == true || step["reboot"] == true {
            self.subject.start_again(step["reboot"] == true);
            self.forget_connections();
        } else {
            panic!("{place}: what is to be done? {step}");
        }
    }

    /// A connection that is no subscription ends with the service.
    fn forget_connections(&mut self) {
        let subscriptions = &self.subscriptions;
        self.connections.retain(|name, _| subscriptions.contains(name));
    }

    /// Takes a connection, a new one if there is none of this name.
    fn connection(&mut self, name: &str) -> S::Connection {
        let kept = self.connections.remove(name);
        kept.unwrap_or_else(|| self.subject.connect())
    }

    fn call(&mut self, step: &Value, method: &str, place: &str) {
        let name = step["connection"].as_str().unwrap_or_default().to_owned();
        let parameters = fill(&step["with"], &self.variables, place);
        let mut connection = self.connection(&name);
        let deadline = step["within"].as_u64().map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let reply = loop {
            let answer = if step["stopping"] == true {
                self.subject.call_while_stopping(&mut connection, method, &parameters)
            } else {
                self.subject.call(&mut connection, method, &parameters)
            };
            let reply = match answer {
                Ok(reply) => reply,
                Err(why) => {
                    self.connections.insert(name, connection);
                    return self.subject.leave_out(place, why);
                }
            };
            match check(step, method, &reply, &self.variables, place) {
                Ok(()) => break reply,
                Err(_) if deadline.is_some_and(|deadline| Instant::now() < deadline) => sleep(RETRY),
                Err(difference) => panic!("{place}: {difference}\n{}", reply.raw),
            }
        };
        if step["stopping"] == true {
            self.forget_connections();
        } else {
            self.connections.insert(name, connection);
        }
        for (name, path) in step["save"].as_object().into_iter().flatten() {
            match member_at(&reply.parameters, path.as_str().unwrap()) {
                Some(value) => drop(self.variables.insert(name.clone(), value.clone())),
                None => {
                    let place = format!("{place}: no {path} in {}", reply.raw);
                    self.subject
                        .leave_out(&place, Inexpressible("the reply does not have all that is saved"));
                }
            }
        }
    }

    fn subscribe(&mut self, step: &Value, name: &str, place: &str) {
        let parameters = fill(&step["with"], &self.variables, place);
        let mut connection = self.connection(name);
        let first = match connection.subscribe(&parameters) {
            Ok(first) => first,
            Err(why) => return self.subject.leave_out(place, why),
        };
        if let Err(difference) = check(step, "io.hcn.Events.Subscribe", &first, &self.variables, place) {
            panic!("{place}: {difference}\n{}", first.raw);
        }
        if step.get("error").is_none() {
            assert_eq!(first.parameters["registered"], true, "{place}: {}", first.raw);
            self.subscriptions.insert(name.to_owned());
        }
        self.connections.insert(name.to_owned(), connection);
    }

    fn subscription(&mut self, name: &str, place: &str) -> &mut S::Connection {
        self.connections.get_mut(name).unwrap_or_else(|| panic!("{place}: {name} is closed"))
    }

    fn event(&mut self, name: &str, expected: &Value, place: &str) {
        let repeats = self.subject.repeats();
        let subscription = self.subscription(name, place);
        loop {
            let event = subscription.event(None);
            let event = event.unwrap_or_else(|error| panic!("{place}: {error}, not {expected}")).unwrap();
            match check_event(&event, expected) {
                Ok(()) => return,
                Err(_) if repeats && is_announcement(&event) => {}
                Err(difference) => panic!("{place}: {difference}\n{}", event.raw),
            }
        }
    }

    fn quiet(&mut self, name: &str, place: &str) {
        let mut other = self.connection("");
        self.subject.call(&mut other, "io.hcn.Service.Ping", &json!({})).unwrap();
        self.connections.insert(String::new(), other);
        let repeats = self.subject.repeats();
        let subscription = self.subscription(name, place);
        while let Some(event) = subscription.event(Some(QUIET)).unwrap() {
            assert!(repeats && is_announcement(&event), "{place}: {name} was told {}", event.raw);
        }
    }
}

/// Whether an event says that something is going to be tried.
fn is_announcement(event: &Reply) -> bool {
    [1, 3].map(Some).contains(&event.parameters["notification"].as_u64())
}
