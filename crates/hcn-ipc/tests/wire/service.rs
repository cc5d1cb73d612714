//! A service in memory, and a client that knows only frames.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hcn_ipc::frame::Decoder;
use hcn_ipc::params::{Finding, Findings, Severity, Status};
use hcn_ipc::{Access, Answered, Caller, Group, HnsDoor, Hub, Later, Limits, Pending, Service, Usage};
use hcn_schema::call::{Answer, Call, HnsRequest, Kind, Reference, Verb};
use hcn_schema::hns::HnsVersion;
use hcn_schema::notification::Event;
use hcn_schema::{Error, Guid, HResult, Raw};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Entities with their documents. A document `{"Delay": milliseconds}` takes that long to be applied; `{"Hang": 1}`
/// waits for [`Memory::go_on`]; `{"Panic": 1}` panics; an entity with `{"Stay": 1}` is deleted only at the second try.
#[derive(Default)]
pub(crate) struct Memory {
    state: Arc<Mutex<State>>,
    pub(crate) go_on: Arc<Notify>,
}

#[derive(Default)]
struct State {
    incarnations: u64,
    entities: BTreeMap<Guid, (Kind, u64, String)>,
    /// Calls in the order in which they were decided, with what they were about.
    decided: Vec<String>,
    answered: Vec<String>,
}

impl Memory {
    pub(crate) fn decided(&self) -> Vec<String> {
        self.state.lock().unwrap().decided.clone()
    }

    /// Calls that were answered, with their codes.
    pub(crate) fn answered(&self) -> Vec<String> {
        self.state.lock().unwrap().answered.clone()
    }
}

impl State {
    fn find(&self, kind: Kind, target: Reference) -> hcn_schema::Result<&(Kind, u64, String)> {
        let found = self.entities.get(&target.id).filter(|(of, ..)| *of == kind);
        let found =
            found.ok_or_else(|| Error::new(HResult::NOT_FOUND, format!("no {kind} {}", target.id)))?;
        match target.incarnation {
            Some(incarnation) if incarnation != found.1 => {
                Err(Error::new(HResult::OBJECT_USED_AFTER_UNLOAD, "another incarnation"))
            }
            _ => Ok(found),
        }
    }

    fn answer(&mut self, kind: Kind, verb: Verb) -> hcn_schema::Result<Answer> {
        let by_id = |id| Reference { id, incarnation: None };
        Ok(match verb {
            Verb::Enumerate { .. } => Answer::Ids(
                self.entities.iter().filter(|(_, (of, ..))| *of == kind).map(|(id, _)| *id).collect(),
            ),
            Verb::Create { id, document, .. } => {
                let id = id.ok_or_else(|| Error::new(HResult::INVALID_NETWORK, "the tests give IDs"))?;
                self.incarnations += 1;
                self.entities.insert(id, (kind, self.incarnations, document.unwrap_or_default()));
                Answer::Entity { id, incarnation: self.incarnations }
            }
            Verb::Open { id } => Answer::Entity { id, incarnation: self.find(kind, by_id(id))?.1 },
            Verb::Query { target, .. }
            | Verb::QueryStats { target, .. }
            | Verb::QueryAddresses { target, .. }
            | Verb::Explain { target, .. } => {
                Answer::Document(Raw::new(self.find(kind, target)?.2.clone()).unwrap())
            }
            Verb::Modify { target, document } | Verb::Act { target, document, .. } => {
                let incarnation = self.find(kind, target)?.1;
                self.entities.insert(target.id, (kind, incarnation, document.unwrap_or_default()));
                Answer::Done
            }
            Verb::Delete { id } => {
                let document: Value =
                    serde_json::from_str(&self.find(kind, by_id(id))?.2).unwrap_or_default();
                if document["Stay"].is_u64() {
                    self.entities.entry(id).and_modify(|entity| entity.2 = "{}".to_owned());
                    return Err(Error::new(HResult::GENERAL_FAILURE, "it stays"));
                }
                self.entities.remove(&id);
                Answer::Done
            }
        })
    }

    /// The version, an error, or what was asked.
    fn envelope(caller: &Caller, request: &HnsRequest) -> Value {
        match request.path.as_str() {
            "/globals/version" => json!({"Success": true, "Output": caller.hns}),
            "/refused/" => {
                json!({"Success": false, "Error": "Element not found. ", "ErrorCode": HResult::NOT_FOUND})
            }
            path => {
                let body = request.body.as_deref().map(|body| Raw::new(body.to_owned()).unwrap());
                json!({"Success": true, "Output": {"ID": id(9), "Path": path, "Body": body}})
            }
        }
    }
}

impl Service for Memory {
    fn call(&self, _: &Caller, call: Call) -> Pending {
        let (state, go_on) = (Arc::clone(&self.state), Arc::clone(&self.go_on));
        let document = match &call.verb {
            Verb::Create { document, .. } | Verb::Modify { document, .. } => document.as_deref(),
            _ => None,
        };
        let wish = wish(document);
        state.lock().unwrap().decided.push(format!("{} {}", call.verb.name(), wish["N"]));
        Box::pin(async move {
            fulfil(&wish, &go_on).await;
            state.lock().unwrap().answer(call.kind, call.verb)
        })
    }

    fn hns(&self, caller: &Caller, request: HnsRequest) -> Later<Raw> {
        let (caller, go_on) = (caller.clone(), Arc::clone(&self.go_on));
        let wish = wish(request.body.as_deref());
        self.state.lock().unwrap().decided.push(format!("{} {}", request.method, request.path));
        Box::pin(async move {
            fulfil(&wish, &go_on).await;
            Raw::of(&State::envelope(&caller, &request))
        })
    }

    fn status(&self) -> Later<Status> {
        Box::pin(async { Status { version: "0.0.1".to_owned(), ..Status::default() } })
    }

    fn doctor(&self) -> Later<Findings> {
        let (check, found) = ("forwarding".to_owned(), "the host forwards".to_owned());
        let none = String::new;
        let (subject, consequence, remedy) = (none(), none(), none());
        let finding = Finding { check, severity: Severity::Ok, subject, found, consequence, remedy };
        Box::pin(async { Findings { findings: vec![finding] } })
    }

    fn metrics(&self, usage: Usage) -> Later<String> {
        Box::pin(async move { format!("{usage:?}") })
    }

    fn answered(&self, call: &Answered) {
        let line = format!("{} {} 0x{:08x}", call.kind, call.verb, call.code.0);
        self.state.lock().unwrap().answered.push(line);
    }
}

/// What a document wants of the service in memory.
fn wish(document: Option<&str>) -> Value {
    document.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

async fn fulfil(wish: &Value, go_on: &Notify) {
    if let Some(delay) = wish["Delay"].as_u64() {
        sleep(Duration::from_millis(delay)).await;
    }
    if wish["Hang"].is_u64() {
        go_on.notified().await;
    }
    assert!(!wish["Panic"].is_u64(), "as the test wants");
}

/// The groups of the tests: whose members may do everything, and whose may read.
pub(crate) const GROUP: u32 = 900;
pub(crate) const READ_GROUP: u32 = 901;

/// Takes every connection for the same caller.
pub(crate) fn access_of(caller: &Caller) -> Access {
    let group = |gid, name: &str| Some(Group { gid, name: name.to_owned() });
    let caller = caller.clone();
    Access {
        owner: Some(0),
        group: group(GROUP, "hcn"),
        read_group: group(READ_GROUP, "hcn-read"),
        identify: Arc::new(move |_| Ok(caller.clone())),
    }
}

pub(crate) fn user(uid: u32, groups: &[u32]) -> Caller {
    Caller { uid, gid: uid, groups: groups.into(), pid: Some(4711), hns: HnsVersion::NEWEST }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) service: Arc<Memory>,
    pub(crate) hub: Hub,
    pub(crate) door: HnsDoor,
    pub(crate) task: JoinHandle<()>,
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    _folder: TempDir,
}

impl Server {
    pub(crate) fn start(limits: Limits) -> Self {
        Self::start_for(limits, &user(0, &[]))
    }

    /// Starts a server to which every caller is this one.
    pub(crate) fn start_for(limits: Limits, caller: &Caller) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hcnd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (service, hub) = (Arc::new(Memory::default()), Hub::new());
        let (stop, stopped) = oneshot::channel();
        let server = hcn_ipc::Server::new(service.clone(), hub.clone(), limits, access_of(caller));
        let door = server.hns_door();
        let task = tokio::spawn(server.serve(listener, async {
            let _ = stopped.await;
        }));
        Self { service, hub, door, task, path, stop: Some(stop), _folder: folder }
    }

    pub(crate) async fn connect(&self) -> Wire {
        Wire { stream: UnixStream::connect(&self.path).await.unwrap(), decoder: Decoder::new(usize::MAX) }
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

/// A connection.
pub(crate) struct Wire {
    pub(crate) stream: UnixStream,
    decoder: Decoder,
}

impl Wire {
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.write(format!("{message}\0").as_bytes()).await;
    }

    /// The next reply; none at the end of the connection.
    pub(crate) async fn receive(&mut self) -> Option<Value> {
        timeout(Duration::from_secs(20), self.frame()).await.expect("no reply")
    }

    async fn frame(&mut self) -> Option<Value> {
        let mut chunk = vec![0; 64 << 10];
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(serde_json::from_slice(&frame).unwrap());
            }
            let read = self.stream.read(&mut chunk).await.unwrap_or(0);
            if read == 0 {
                return None;
            }
            self.decoder.extend(&chunk[..read]);
        }
    }

    /// Calls and returns the results.
    pub(crate) async fn call(&mut self, method: &str, parameters: Value) -> Value {
        let reply = self.reply(method, parameters).await;
        assert_eq!(reply["error"], Value::Null, "{method}: {reply}");
        reply["parameters"].clone()
    }

    /// Calls and returns the code of the failure.
    pub(crate) async fn fail(&mut self, method: &str, parameters: Value) -> u64 {
        code(&self.reply(method, parameters).await)
    }

    pub(crate) async fn reply(&mut self, method: &str, parameters: Value) -> Value {
        self.send(&json!({"method": method, "parameters": parameters})).await;
        self.receive().await.expect("the connection ended")
    }
}

pub(crate) fn code(reply: &Value) -> u64 {
    assert_eq!(reply["error"], "io.hcn.Service.Failed", "{reply}");
    reply["parameters"]["hresult"].as_u64().unwrap()
}

pub(crate) fn id(number: usize) -> String {
    format!("00000000-0000-0000-0000-{number:012X}")
}

pub(crate) fn create(number: usize, settings: &Value) -> Value {
    json!({"method": "io.hcn.Network.Create", "parameters": {"id": id(number), "settings": settings}})
}

pub(crate) fn event(kind: Kind, data: &str) -> Event {
    Event {
        notification: None,
        action: "modify",
        kind,
        id: Guid::ZERO,
        network: None,
        owner: "owner".to_owned(),
        revision: 1,
        data: Raw::of(&json!({ "Data": data })),
    }
}
