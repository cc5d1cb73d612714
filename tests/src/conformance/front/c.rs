//! The C API, by a program that makes the calls it is told (`clients/c/front.c`): a process is a session, so one that
//! joins a session calls by the same process.
//!
//! An entity that a call names by its ID is opened for the call, as a C program must; what was made is asked for its ID. An
//! error is its code and, where the function has a place for one, its record.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::{Rc, Weak};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Without;
use crate::conformance::{Answer, Connection, Inexpressible};
use crate::time::patience;
use crate::wire::Reply;

/// What the C API has no words for.
pub const WITHOUT: [(&str, Without); 13] = [
    ("endpoint-explain", Without::Case("no function explains")),
    ("older-versions", Without::Case("no function chooses a version of HNS")),
    ("events-of-a-network", Without::Steps(1, "there is no function for a registration of another name")),
    ("handles", Without::Steps(4, "functions are of one kind and take a handle, not an ID beside it")),
    ("missing", Without::Steps(4, "reservations are not opened, asked or deleted by ID")),
    ("network-identifiers", Without::Steps(2, NOT_A_GUID)),
    ("network-modify", Without::Steps(1, NO_SETTINGS)),
    ("network-refusals", Without::Steps(1, NO_SETTINGS)),
    ("port-reservations", Without::Steps(9, WITHOUT_IDS)),
    ("queries", Without::Steps(1, WITHOUT_IDS)),
    ("scenario-18-virtual-machine", Without::Steps(2, WITHOUT_IDS)),
    ("service-stops", Without::Steps(2, "callbacks are registered for the service, not for kinds")),
    ("texts", Without::Steps(1, NOT_A_GUID)),
];
const NOT_A_GUID: &str = "a GUID is 16 octets, whatever they are";
const NO_SETTINGS: &str = "null settings are refused by the library, with E_INVALIDARG";
const WITHOUT_IDS: &str = "reservations have neither IDs nor documents, and are all enumerated";

/// An answer that takes longer fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than the program takes to end when nobody tells it anything more.
const END: Duration = Duration::from_secs(10);
/// No handle; functions refuse it.
const NO_HANDLE: &str = "0";
/// The GUID that counts as none.
const NO_ID: &str = "00000000-0000-0000-0000-000000000000";

/// The fields of a line; some are null.
type Fields = Vec<Option<String>>;

/// The programs by which cases call, for those who join the session of another one.
#[derive(Clone, Default)]
pub struct Programs {
    sessions: Rc<RefCell<Vec<Weak<RefCell<Program>>>>>,
}

/// A client: a program, and the name of what it is told, if it is.
pub struct ByC {
    program: Rc<RefCell<Program>>,
    programs: Programs,
    subscription: Option<String>,
}

impl Programs {
    /// Starts a program with an environment that leads it to the service.
    #[must_use]
    pub fn start(&self, command: &mut Command) -> ByC {
        let program = Rc::new(RefCell::new(Program::start(command)));
        ByC { program, programs: self.clone(), subscription: None }
    }
}

/// A program that runs.
struct Program {
    child: Child,
    /// Closed to end it.
    calls: Option<ChildStdin>,
    lines: Receiver<Fields>,
    /// What callbacks were told, by their names.
    heard: BTreeMap<String, VecDeque<Fields>>,
    /// The handles that it was given, with their kinds.
    given: BTreeMap<u64, String>,
}

/// What a function gave: nothing went wrong.
struct Given {
    text: Option<String>,
    handle: Option<u64>,
}

/// What comes of a function; the inner error is the reply of a call that failed.
type Done = Result<Given, Reply>;

impl Program {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let calls = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in answers.lines() {
                let fields = line.unwrap().split('\t').map(read_field).collect();
                if sender.send(fields).is_err() {
                    return;
                }
            }
        });
        Self { child, calls, lines, heard: BTreeMap::new(), given: BTreeMap::new() }
    }

    /// Calls a function.
    fn call(&mut self, function: &str, arguments: &[Option<&str>]) -> Done {
        let fields = arguments.iter().map(|argument| argument.map_or("\\N".to_owned(), write_field));
        let line = [function.to_owned()].into_iter().chain(fields).collect::<Vec<_>>().join("\t");
        let calls = self.calls.as_mut().unwrap();
        calls.write_all(format!("{line}\n").as_bytes()).and_then(|()| calls.flush()).unwrap();
        let answer = self.line(Instant::now() + patience(PATIENCE));
        let [result, record, text, handle] =
            answer.unwrap_or_else(|| panic!("no answer to {line}")).try_into().expect("four fields");
        let result = result.unwrap();
        let code = u32::from_str_radix(result.strip_prefix("0x").unwrap(), 16).unwrap();
        if code == 0 {
            assert_eq!(record, None, "a record of what succeeded");
            return Ok(Given { text, handle: handle.map(|handle| handle.parse().unwrap()) });
        }
        assert_eq!((&text, &handle), (&None, &None), "{line}: results of what failed");
        let raw = format!("{result} {record:?}");
        let mut parameters = json!({"hresult": code});
        if let Some(record) = record {
            parameters["record"] = json!(record);
        }
        Err(Reply { error: Some("io.hcn.Service.Failed".to_owned()), parameters, raw })
    }

    /// The next line that is an answer; what callbacks are told is put aside.
    fn line(&mut self, end: Instant) -> Option<Fields> {
        loop {
            let mut fields = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
            if fields[0].as_deref() != Some("event") {
                return Some(fields);
            }
            let name = fields.remove(1).unwrap();
            self.heard.entry(name).or_default().push_back(fields);
        }
    }

    /// The next that a callback is told.
    fn event(&mut self, name: &str, within: Duration) -> Option<Fields> {
        let end = Instant::now() + within;
        loop {
            let heard = self.heard.get_mut(name).and_then(VecDeque::pop_front);
            if heard.is_some() || Instant::now() >= end {
                return heard;
            }
            let poll = Instant::now() + Duration::from_millis(5);
            let answer = self.line(poll.min(end));
            assert_eq!(answer, None, "an answer that nobody waits for");
        }
    }

    /// A function that gives a handle.
    fn give(&mut self, kind: &str, function: &str, arguments: &[Option<&str>]) -> Result<u64, Reply> {
        let handle = self.call(function, arguments)?.handle.expect("a handle");
        self.given.insert(handle, kind.to_owned());
        Ok(handle)
    }

    /// Performs something with a handle of what parameters name by handle or ID.
    fn with<R>(
        &mut self,
        kind: &str,
        named: (&Value, &Value),
        work: impl FnOnce(&mut Self, &str) -> Result<R, Reply>,
    ) -> Result<Result<R, Reply>, Inexpressible> {
        match named {
            (Value::Null, Value::Null) => Ok(work(self, NO_HANDLE)),
            (Value::Null, id) => {
                let id = guid(id)?;
                let opened = match self.call(&format!("HcnOpen{kind}"), &[Some(&id)]) {
                    Ok(given) => given.handle.unwrap().to_string(),
                    Err(failed) => return Ok(Err(failed)),
                };
                let done = work(self, &opened);
                let closed = self.call(&format!("HcnClose{kind}"), &[Some(&opened)]);
                assert!(closed.is_ok(), "a handle that was just opened");
                Ok(done)
            }
            (handle, Value::Null) => {
                let number = handle.as_u64().ok_or(Inexpressible("no handle of C"))?;
                match self.given.get(&number) {
                    Some(given) if given == kind => Ok(work(self, &number.to_string())),
                    // E_INVALIDARG instead of E_HANDLE, which everything.c is about.
                    _ => Err(Inexpressible("a handle of another kind, or one that was never given")),
                }
            }
            _ => Err(Inexpressible("both handle and ID")),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.calls.take());
        let end = Instant::now() + patience(END);
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() >= end => break None,
                None => sleep(Duration::from_millis(1)),
            }
        };
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let ended_well = status.is_some_and(|status| status.success());
        assert!(ended_well || thread::panicking(), "the program ended with {status:?}");
    }
}

fn read_field(field: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next()? {
                'N' => return None,
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                other => other,
            },
            other => other,
        });
    }
    Some(text)
}

fn write_field(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

/// A GUID as the program reads it.
fn guid(id: &Value) -> Result<String, Inexpressible> {
    let text = id.as_str().ok_or(Inexpressible("no GUID"))?;
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let is_guid = text.len() == NO_ID.len()
        && text.bytes().zip(NO_ID.bytes()).all(|(octet, pattern)| match pattern {
            b'-' => octet == b'-',
            _ => octet.is_ascii_hexdigit(),
        });
    if is_guid { Ok(text.to_owned()) } else { Err(Inexpressible("no GUID")) }
}

/// A document or a query, whichever way the wire is given it.
fn document(parameters: &Value, member: &str) -> Result<Option<String>, Inexpressible> {
    match (&parameters[member], parameters["text"].as_str()) {
        (Value::Null, Some(text)) if text.contains('\0') => Err(Inexpressible("a text with a NUL")),
        (Value::Null, text) => Ok(text.map(str::to_owned)),
        (document, None) => Ok(Some(document.to_string())),
        _ => Err(Inexpressible("two documents")),
    }
}

fn reply(parameters: Value) -> Reply {
    Reply { error: None, raw: parameters.to_string(), parameters }
}

/// A document that a function needs.
fn settings(parameters: &Value) -> Result<String, Inexpressible> {
    document(parameters, "settings")?.ok_or(Inexpressible(NO_SETTINGS))
}

/// A reply with what a function gave as a text, as it was given.
fn reply_with(member: &str, done: Done) -> Reply {
    done.map_or_else(
        |failed| failed,
        |given| {
            let raw = given.text.expect("a text");
            let value: Value = serde_json::from_str(&raw).unwrap_or_else(|error| panic!("{error}: {raw}"));
            Reply { error: None, parameters: json!({member: value}), raw }
        },
    )
}

fn reply_without(done: Done) -> Reply {
    done.map_or_else(|failed| failed, |_| reply(json!({})))
}

/// One of two, of which the second is the reply that the first would have been.
fn either(done: Result<Reply, Reply>) -> Reply {
    done.unwrap_or_else(|failed| failed)
}

impl Connection for ByC {
    fn call(&mut self, method: &str, parameters: &Value) -> Answer {
        let (kind, verb) = method.strip_prefix("io.hcn.").unwrap().split_once('.').unwrap();
        match (kind, verb) {
            ("Service", "OpenSession") => {
                let mut sessions = self.programs.sessions.borrow_mut();
                sessions.push(Rc::downgrade(&self.program));
                Ok(reply(json!({"token": (sessions.len() - 1).to_string()})))
            }
            ("Service", "JoinSession") => {
                let token: usize = parameters["token"].as_str().unwrap().parse().unwrap();
                self.program =
                    self.programs.sessions.borrow()[token].upgrade().expect("a session that lives");
                Ok(reply(json!({})))
            }
            // Whatever is answered.
            ("Service", "Ping") => {
                let mut program = self.program.borrow_mut();
                Ok(reply_with("ids", program.call("HcnEnumerateNetworks", &[None])))
            }
            ("Service", _) => Err(Inexpressible("the service itself has no functions")),
            ("V1", "Call") => hns(&mut self.program.borrow_mut(), parameters),
            ("PortReservation", verb) => reservation(&mut self.program.borrow_mut(), verb, parameters),
            (kind, verb) => entity(&mut self.program.borrow_mut(), kind, verb, parameters),
        }
    }

    fn subscribe(&mut self, parameters: &Value) -> Answer {
        let mut program = self.program.borrow_mut();
        let name = format!("{}", program.given.len());
        let named = (&parameters["handle"], &parameters["id"]);
        let kind = match parameters["registration"].as_str() {
            Some("service") => {
                let done = program.give("Callback", "HcnRegisterServiceCallback", &[Some(&name)]);
                self.subscription = Some(name);
                return Ok(either(done.map(|_| reply(json!({"registered": true})))));
            }
            Some("network") => "Network",
            Some("guest-network-service") => "GuestNetworkService",
            _ => return Err(Inexpressible("no registration of that name")),
        };
        let done = program.with(kind, named, |program, handle| {
            program.give("Callback", &format!("HcnRegister{kind}Callback"), &[Some(handle), Some(&name)])
        })?;
        self.subscription = Some(name);
        Ok(either(done.map(|_| reply(json!({"registered": true})))))
    }

    fn event(&mut self, within: Option<Duration>) -> io::Result<Option<Reply>> {
        let name = self.subscription.as_ref().expect("a subscription");
        let event = self.program.borrow_mut().event(name, within.unwrap_or_else(|| patience(PATIENCE)));
        let Some(fields) = event else {
            return if within.is_some() { Ok(None) } else { Err(io::ErrorKind::TimedOut.into()) };
        };
        let [_, kind, status, data]: [_; 4] = fields.try_into().expect("four fields and a name");
        assert_eq!(status.as_deref(), Some("0x00000000"));
        let data: Value = data.map_or(Value::Null, |data| serde_json::from_str(&data).unwrap());
        let notification: u64 = kind.unwrap().parse().unwrap();
        Ok(Some(reply(json!({"notification": notification, "id": data["ID"], "data": data}))))
    }

    fn reduce(step: &mut Value) {
        for event in step["expect"].as_array_mut().into_iter().flatten() {
            // The notification's number says it.
            event.as_object_mut().unwrap().remove("kind");
        }
        let has_place = !matches!(step["call"].as_str(), Some(call) if call.ends_with(".Close")
            || call.starts_with("PortReservation.") || call == "V1.Call");
        let has_place = has_place && step.get("subscribe").is_none();
        if let Some(error) = step.get_mut("error").and_then(Value::as_object_mut) {
            for member in ["path", "expected", "text"] {
                error.remove(member);
            }
            if !has_place {
                error.insert("record".to_owned(), Value::Null);
            }
        }
    }
}

fn hns(program: &mut Program, parameters: &Value) -> Answer {
    let request = document(parameters, "request")?;
    let (method, path) = (parameters["method"].as_str(), parameters["path"].as_str());
    Ok(reply_with("response", program.call("HNSCall", &[method, path, request.as_deref()])))
}

/// The seven verbs, and what endpoints have besides.
fn entity(program: &mut Program, kind: &str, verb: &str, parameters: &Value) -> Answer {
    let named = (&parameters["handle"], &parameters["id"]);
    let id = || if parameters["id"].is_null() { Ok(NO_ID.to_owned()) } else { guid(&parameters["id"]) };
    match verb {
        "Enumerate" => {
            let query = document(parameters, "query")?;
            let done = program.call(&format!("HcnEnumerate{kind}s"), &[query.as_deref()]);
            Ok(reply_with("ids", done))
        }
        "Create" => create(program, kind, &id()?, parameters),
        "Open" => {
            let done = program.give(kind, &format!("HcnOpen{kind}"), &[Some(&id()?)]);
            Ok(either(done.map(|handle| reply(json!({"handle": handle})))))
        }
        "Modify" => {
            let settings = settings(parameters)?;
            let done = program.with(kind, named, |program, handle| {
                program.call(&format!("HcnModify{kind}"), &[Some(handle), Some(&settings)])
            })?;
            Ok(reply_without(done))
        }
        "Query" | "QueryStats" | "QueryAddresses" => {
            let query = document(parameters, "query")?;
            let what = verb.strip_prefix("Query").filter(|what| !what.is_empty()).unwrap_or("Properties");
            let done = program.with(kind, named, |program, handle| {
                program.call(&format!("HcnQuery{kind}{what}"), &[Some(handle), query.as_deref()])
            })?;
            Ok(reply_with("properties", done))
        }
        "Delete" => Ok(reply_without(program.call(&format!("HcnDelete{kind}"), &[Some(&id()?)]))),
        "Close" => {
            let done = program.with(kind, named, |program, handle| {
                program.call(&format!("HcnClose{kind}"), &[Some(handle)])
            })?;
            Ok(reply_without(done))
        }
        _ => Err(Inexpressible("there is no such function")),
    }
}

/// Creates, and asks what was made for its ID.
fn create(program: &mut Program, kind: &str, id: &str, parameters: &Value) -> Answer {
    let settings = settings(parameters)?;
    let function = format!("HcnCreate{kind}");
    let made = if kind == "Endpoint" {
        // The function takes the network; the wire finds it in the document, too.
        let parsed: Value = serde_json::from_str(&settings).unwrap_or_default();
        let of_document = ["HostComputeNetwork", "VirtualNetwork"].map(|member| &parsed[member]);
        let of_document = of_document.into_iter().find(|network| !network.is_null());
        let named = match (&parameters["network_handle"], &parameters["network_id"]) {
            (Value::Null, Value::Null) => (&Value::Null, of_document.unwrap_or(&Value::Null)),
            named => named,
        };
        program.with("Network", named, |program, network| {
            program.give(kind, &function, &[Some(network), Some(id), Some(&settings)])
        })?
    } else {
        program.give(kind, &function, &[Some(id), Some(&settings)])
    };
    let handle = match made {
        Ok(handle) => handle,
        Err(failed) => return Ok(failed),
    };
    let version_2 = r#"{"SchemaVersion":{"Major":2}}"#;
    let asked = [Some(&*handle.to_string()), Some(version_2)];
    let made = reply_with("properties", program.call(&format!("HcnQuery{kind}Properties"), &asked));
    assert_eq!(made.error, None, "{}", made.raw);
    Ok(reply(json!({"id": made.parameters["properties"]["ID"], "handle": handle})))
}

/// Reservations have handles and no IDs, and functions of their own.
fn reservation(program: &mut Program, verb: &str, parameters: &Value) -> Answer {
    match verb {
        "Create" => {
            let settings = &parameters["settings"];
            let number = |member: &str| settings[member].as_u64().map(|number| number.to_string());
            let service = &settings["GuestNetworkService"];
            let done = program.with("GuestNetworkService", (&Value::Null, service), |program, handle| {
                if let Some(count) = number("PortCount") {
                    let function = "HcnReserveGuestNetworkServicePortRange";
                    return program.give("PortReservation", function, &[Some(handle), Some(&count)]);
                }
                let [protocol, access, port] = ["Protocol", "Access", "Port"].map(number);
                let arguments = [Some(handle), protocol.as_deref(), access.as_deref(), port.as_deref()];
                program.give("PortReservation", "HcnReserveGuestNetworkServicePort", &arguments)
            })?;
            Ok(either(done.map(|handle| reply(json!({"handle": handle})))))
        }
        "Enumerate" if parameters["query"].is_null() && parameters["text"].is_null() => {
            let done = program.call("HcnEnumerateGuestNetworkPortReservations", &[]);
            Ok(either(done.map(|given| {
                let count = given.text.unwrap().parse().unwrap();
                reply(json!({"ids": vec![Value::Null; count]}))
            })))
        }
        "Close" => {
            let named = (&parameters["handle"], &parameters["id"]);
            let done = program.with("PortReservation", named, |program, handle| {
                program.call("HcnReleaseGuestNetworkServicePortReservationHandle", &[Some(handle)])
            })?;
            Ok(reply_without(done))
        }
        _ => Err(Inexpressible("reservations have no such function")),
    }
}
