//! Both clients against the server of hcn-ipc, with a service in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hcn_client::{
    Client, DISCONNECT, Error, ErrorClass, Guid, HResult, HnsVersion, Kind, Raw, Registration, Target,
    blocking,
};
use hcn_ipc::params::{Finding, Findings, Severity, Status};
use hcn_ipc::{Access, Caller, Hub, Later, Limits, Pending, Service, Usage};
use hcn_schema::call::{Answer, Call, HnsRequest, Verb};
use hcn_schema::notification::{Event, NotificationType};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

/// Keeps documents; takes 100 ms for a change.
#[derive(Default)]
struct Memory(Arc<Mutex<BTreeMap<Guid, String>>>);

impl Service for Memory {
    fn call(&self, _: &Caller, call: Call) -> Pending {
        let documents = Arc::clone(&self.0);
        Box::pin(async move {
            if call.verb.is_change() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let mut documents = documents.lock().unwrap();
            let missing = || hcn_schema::Error::new(HResult::NETWORK_NOT_FOUND, "there is none").at("id");
            Ok(match call.verb {
                Verb::Enumerate { .. } => Answer::Ids(documents.keys().copied().collect()),
                Verb::Create { id, document, .. } => {
                    let id = id.ok_or_else(missing)?;
                    documents.insert(id, document.unwrap_or_default());
                    Answer::Entity { id, incarnation: 1 }
                }
                Verb::Open { id } => {
                    documents.get(&id).ok_or_else(missing)?;
                    Answer::Entity { id, incarnation: 1 }
                }
                Verb::Query { target, .. } => Answer::Document(
                    Raw::new(documents.get(&target.id).ok_or_else(missing)?.clone()).unwrap(),
                ),
                Verb::QueryStats { .. } | Verb::QueryAddresses { .. } | Verb::Explain { .. } => {
                    Answer::Document(Raw::new(format!(r#"{{"Verb":"{}"}}"#, call.verb.name())).unwrap())
                }
                Verb::Modify { target, document } | Verb::Act { target, document, .. } => {
                    *documents.get_mut(&target.id).ok_or_else(missing)? = document.unwrap_or_default();
                    Answer::Done
                }
                Verb::Delete { id } => {
                    documents.remove(&id).ok_or_else(missing)?;
                    Answer::Done
                }
            })
        })
    }

    fn hns(&self, caller: &Caller, request: HnsRequest) -> Later<Raw> {
        let HnsRequest { method, path, body } = request;
        let asked = serde_json::json!({"Method": method, "Path": path, "Body": body, "Version": caller.hns});
        Box::pin(async move { Raw::of(&serde_json::json!({"Success": true, "Output": asked})) })
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

    fn metrics(&self, _: Usage) -> Later<String> {
        Box::pin(async { "hcnd_calls_total 1".to_owned() })
    }
}

/// Takes everybody for root.
fn access() -> Access {
    let root = |_: &_| Ok(Caller { uid: 0, gid: 0, groups: [].into(), pid: None, hns: HnsVersion::NEWEST });
    Access { owner: Some(0), group: None, read_group: None, identify: Arc::new(root) }
}

/// A server on a thread of its own, so that the blocking client can be tested too.
struct Server {
    path: PathBuf,
    hub: Hub,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    _folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hcnd.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel();
        let hub = Hub::new();
        let serving = hub.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::from_std(listener).unwrap();
                let stopped = async { drop(stopped.await) };
                let service = Arc::new(Memory::default());
                let server = hcn_ipc::Server::new(service, serving, Limits::default(), access());
                server.serve(listener, stopped).await;
            });
        });
        Self { path, hub, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn id(number: u128) -> Guid {
    format!("00000000-0000-0000-0000-{number:012X}").parse().unwrap()
}

/// An event on the network 1.
fn event(notification: NotificationType) -> Event {
    Event {
        notification: Some(notification),
        action: "create",
        kind: Kind::Network,
        id: id(1),
        network: Some(id(1)),
        owner: String::new(),
        revision: 3,
        data: Raw::new("{}".to_owned()).unwrap(),
    }
}

#[test]
fn the_blocking_client_has_the_seven_verbs() {
    let server = Server::start();
    let mut client = blocking::Client::connect(&server.path).unwrap();
    let created = client.create(Kind::Network, Some(id(1)), None, r#"{"B":1, "A":1.0}"#).unwrap();
    assert_eq!(created.id, id(1));
    assert_eq!(client.enumerate(Kind::Network, None).unwrap(), [id(1)]);
    for target in [Target::Handle(created.handle), Target::Id(id(1))] {
        assert_eq!(client.query(Kind::Network, target, None).unwrap().get(), r#"{"B":1, "A":1.0}"#);
    }
    let handle = client.open(Kind::Network, id(1)).unwrap();
    client.modify(Kind::Network, Target::Handle(handle), "{}").unwrap();
    assert_eq!(client.query(Kind::Network, id(1).into(), None).unwrap().get(), "{}");
    client.close(Kind::Network, handle).unwrap();
    client.delete(Kind::Network, id(1)).unwrap();
    let error = client.delete(Kind::Network, id(1)).unwrap_err();
    assert_eq!(error.code(), Some(HResult::NETWORK_NOT_FOUND));
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(matches!(error, Error::Failed { error, record } if error.path.as_deref() == Some("id")
        && record.contains("The network was not found. ")));
}

#[test]
fn requests_sent_together_are_carried_out_together() {
    let server = Server::start();
    let mut client = blocking::Client::connect(&server.path).unwrap();
    let started = Instant::now();
    let requests: Vec<_> = (0..150)
        .map(|number| {
            let id = (number % 2 == 1).then(|| id(number));
            hcn_client::Request::create(Kind::Network, id, None, "{}").unwrap()
        })
        .collect();
    let results = client.request_all(&requests).unwrap();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(results.len(), 150);
    for (number, result) in (0..).zip(results) {
        assert_eq!(result.ok().map(|created| created.id), (number % 2 == 1).then(|| id(number)));
    }
}

#[test]
fn connections_of_a_session_share_handles() {
    let server = Server::start();
    let mut first = blocking::Client::connect(&server.path).unwrap();
    let mut second = blocking::Client::connect(&server.path).unwrap();
    let token = first.open_session().unwrap();
    second.join_session(&token).unwrap();
    let created = first.create(Kind::Network, Some(id(1)), None, "{}").unwrap();
    second.query(Kind::Network, Target::Handle(created.handle), None).unwrap();
}

#[test]
fn the_blocking_client_hears_of_events_until_the_service_stops() {
    let mut server = Server::start();
    let client = blocking::Client::connect(&server.path).unwrap();
    server.hub.publish(&event(NotificationType::NetworkPreCreate));
    let mut events = client.events(&[Kind::Network]).unwrap();
    assert_eq!(events.registered(), 1);
    server.hub.publish(&event(NotificationType::NetworkCreate));
    let heard = events.next().unwrap().unwrap();
    assert_eq!((heard.seq, heard.notification, heard.revision), (2, Some(2), Some(3)));
    assert_eq!(heard.id, Some(id(1).to_string()));
    server.stop();
    assert_eq!(events.next().unwrap().unwrap().notification, Some(DISCONNECT));
    assert!(events.next().is_none());
}

#[test]
fn the_blocking_client_reads_results_of_any_method_until_the_last() {
    let mut server = Server::start();
    let client = blocking::Client::connect(&server.path).unwrap();
    let nothing = BTreeMap::<String, String>::new();
    let one: Vec<_> = client.call_more("io.hcn.Network.Enumerate", &nothing).unwrap().collect();
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].as_ref().unwrap().get(), r#"{"ids":[]}"#);
    let mut refused = client.call_more("io.hcn.Network.Explode", &nothing).unwrap();
    assert!(matches!(refused.next(), Some(Err(Error::Refused { .. }))));
    assert!(refused.next().is_none());
    let mut several = client.call_more("io.hcn.Events.Subscribe", &nothing).unwrap();
    assert!(several.next().unwrap().unwrap().get().contains("registered"));
    server.hub.publish(&event(NotificationType::NetworkCreate));
    assert!(several.next().unwrap().unwrap().get().contains(r#""notification":2"#));
    server.stop();
    assert!(several.next().unwrap().unwrap().get().contains("disconnect"));
    assert!(several.next().is_none());
}

#[test]
fn the_blocking_client_asks_for_more_than_the_verbs() {
    let server = Server::start();
    let mut client = blocking::Client::connect(&server.path).unwrap();
    assert_eq!(client.query_stats(id(1).into(), None).unwrap().get(), r#"{"Verb":"QueryStats"}"#);
    assert_eq!(client.query_addresses(id(1).into(), None).unwrap().get(), r#"{"Verb":"QueryAddresses"}"#);
    assert_eq!(client.explain(id(1).into(), "{}").unwrap().get(), r#"{"Verb":"Explain"}"#);
    assert_eq!(client.status().unwrap().version, "0.0.1");
    let findings = client.doctor().unwrap();
    assert_eq!((findings[0].check.as_str(), findings[0].severity), ("forwarding", Severity::Ok));
    assert_eq!(client.metrics().unwrap(), "hcnd_calls_total 1");
    client.set_hns_version(HnsVersion::new(9, 2)).unwrap();
    let envelope = client.hns("POST", "/networks/", Some("{\"A\":1.0}")).unwrap();
    assert!(envelope.get().contains(r#""Version":{"Major":9,"Minor":2}"#), "{}", envelope.get());
    assert!(envelope.get().contains(r#""Body":"{\"A\":1.0}""#), "{}", envelope.get());
    let error = client.hns("PUT", "/networks/", None).unwrap_err();
    assert_eq!((error.code(), error.class()), (Some(HResult::INVALID_ARGUMENT), ErrorClass::Invalid));
}

#[test]
fn the_blocking_client_registers_for_what_a_handle_or_an_id_names() {
    let server = Server::start();
    let mut client = blocking::Client::connect(&server.path).unwrap();
    let created = client.create(Kind::Network, Some(id(1)), None, "{}").unwrap();
    let targets = [Target::Handle(created.handle), Target::Id(id(1))];
    let mut subscriptions = targets.map(|target| client.register(Registration::Network(target)).unwrap());
    let mut of_service = client.register(Registration::Service).unwrap();
    server.hub.publish(&event(NotificationType::NetworkEndpointAttached));
    server.hub.publish(&event(NotificationType::NetworkDelete));
    for events in &mut subscriptions {
        assert_eq!(events.next().unwrap().unwrap().notification, Some(9));
    }
    assert_eq!(of_service.next().unwrap().unwrap().notification, Some(4));
    let missing = client.register(Registration::GuestNetworkService(id(7).into())).unwrap_err();
    assert_eq!(missing.class(), ErrorClass::NotFound);
    let closed = client.register(Registration::Network(Target::Handle(99))).unwrap_err();
    assert_eq!(closed.code(), Some(HResult::INVALID_HANDLE));
}

#[test]
fn other_methods_and_their_refusals_are_reachable() {
    let server = Server::start();
    let mut client = blocking::Client::connect(&server.path).unwrap();
    let none: [(); 0] = [];
    let error = client.call("io.hcn.Network.Destroy", &none).unwrap_err();
    assert!(matches!(error, Error::Refused { error, .. } if error == "org.varlink.service.MethodNotFound"));
    assert_eq!(client.call("io.hcn.Service.Ping", &serde_json::json!({})).unwrap().get(), "{}");
    let large = "x".repeat(5 << 20);
    let error = client.call("io.hcn.Service.Ping", &large).unwrap_err();
    assert_eq!(error.code(), Some(HResult::LIMIT_EXCEEDED), "{error}");
}

#[test]
fn a_service_that_is_not_there_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.sock");
    let error = blocking::Client::connect(&path).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unreachable);
    assert!(error.to_string().contains("none.sock"));
    let mut server = Server::start();
    let mut client = blocking::Client::connect(&server.path).unwrap();
    server.stop();
    assert_eq!(client.enumerate(Kind::Network, None).unwrap_err().class(), ErrorClass::Unreachable);
}

#[tokio::test]
async fn clones_of_the_async_client_call_side_by_side() {
    let server = Server::start();
    let client = Client::connect(&server.path).await.unwrap();
    let started = Instant::now();
    let tasks: Vec<_> = (1..=50)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.create(Kind::Network, Some(id(number)), None, "{}").await })
        })
        .collect();
    for (number, task) in (1..).zip(tasks) {
        assert_eq!(task.await.unwrap().unwrap().id, id(number));
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(client.enumerate(Kind::Network, None).await.unwrap().len(), 50);
    let handle = client.open(Kind::Network, id(1)).await.unwrap();
    client.modify(Kind::Network, Target::Handle(handle), "[1]").await.unwrap();
    assert_eq!(client.query(Kind::Network, id(1).into(), None).await.unwrap().get(), "[1]");
    client.close(Kind::Network, handle).await.unwrap();
    client.delete(Kind::Network, id(1)).await.unwrap();
    assert_eq!(client.delete(Kind::Network, id(1)).await.unwrap_err().class(), ErrorClass::NotFound);
}

#[tokio::test]
async fn the_async_client_asks_for_more_than_the_verbs() {
    let server = Server::start();
    let client = Client::connect(&server.path).await.unwrap();
    assert_eq!(client.query_stats(id(1).into(), None).await.unwrap().get(), r#"{"Verb":"QueryStats"}"#);
    let addresses = client.query_addresses(id(1).into(), None).await.unwrap();
    assert_eq!(addresses.get(), r#"{"Verb":"QueryAddresses"}"#);
    assert_eq!(client.status().await.unwrap().version, "0.0.1");
    assert_eq!(client.doctor().await.unwrap()[0].found, "the host forwards");
    assert_eq!(client.metrics().await.unwrap(), "hcnd_calls_total 1");
    client.set_hns_version(HnsVersion::new(9, 2)).await.unwrap();
    let envelope = client.hns("GET", "/networks/", None).await.unwrap();
    assert!(envelope.get().contains(r#""Body":null"#), "{}", envelope.get());
    assert!(envelope.get().contains(r#""Version":{"Major":9,"Minor":2}"#), "{}", envelope.get());

    let handle = client.create(Kind::Network, Some(id(1)), None, "{}").await.unwrap().handle;
    let mut of_handle = client.register(Registration::Network(Target::Handle(handle))).await.unwrap();
    let mut of_service = client.register(Registration::Service).await.unwrap();
    server.hub.publish(&event(NotificationType::NetworkEndpointDetached));
    server.hub.publish(&event(NotificationType::NetworkCreate));
    assert_eq!(of_handle.next().await.unwrap().unwrap().notification, Some(0x10));
    assert_eq!(of_service.next().await.unwrap().unwrap().notification, Some(2));
    let missing = client.register(Registration::Network(id(7).into())).await.unwrap_err();
    assert_eq!(missing.class(), ErrorClass::NotFound);
}

#[tokio::test]
async fn the_async_client_hears_of_events() {
    let server = Server::start();
    let client = Client::connect(&server.path).await.unwrap();
    let mut events = client.events(&[]).await.unwrap();
    server.hub.publish(&event(NotificationType::NetworkCreate));
    assert_eq!(events.next().await.unwrap().unwrap().seq, 1);
    drop(server);
    assert_eq!(events.next().await.unwrap().unwrap().notification, Some(DISCONNECT));
    assert!(events.next().await.is_none());
    let error = client.enumerate(Kind::Network, None).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unreachable);
}
