//! The socket of HNS version 1, over a service that answers by the book.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hcn_ipc::params::{Findings, Status};
use hcn_ipc::{Access, Answered, Caller, Group, Hub, Later, Pending, Server, Service, Usage};
use hcn_schema::call::{Answer, Call, HnsRequest};
use hcn_schema::hns::HnsVersion;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

const READ_GROUP: u32 = 901;

/// Answers `/code/NUMBER` with that code, the version with the version, and anything else with what was asked. A document
/// `{"Delay": milliseconds}` takes that long.
#[derive(Default)]
struct Canned(Mutex<Vec<String>>);

impl Service for Canned {
    fn call(&self, _: &Caller, _: Call) -> Pending {
        Box::pin(async { Ok(Answer::Done) })
    }

    fn hns(&self, caller: &Caller, request: HnsRequest) -> Later<Raw> {
        let HnsRequest { method, path, body } = request;
        let envelope = match path.strip_prefix("/code/").and_then(|code| u32::from_str_radix(code, 16).ok()) {
            Some(code) => envelope(&Error::new(HResult(code), "as asked")),
            None if path == "/globals/version" => Raw::of(&json!({"Success": true, "Output": caller.hns})),
            None => {
                Raw::of(&json!({"Success": true, "Output": {"Method": method, "Path": path, "Body": body}}))
            }
        };
        let document: Value = body.and_then(|body| serde_json::from_str(&body).ok()).unwrap_or_default();
        Box::pin(async move {
            sleep(Duration::from_millis(document["Delay"].as_u64().unwrap_or(0))).await;
            envelope
        })
    }

    fn status(&self) -> Later<Status> {
        Box::pin(async { Status::default() })
    }

    fn doctor(&self) -> Later<Findings> {
        Box::pin(async { Findings::default() })
    }

    fn metrics(&self, _: Usage) -> Later<String> {
        Box::pin(async { String::new() })
    }

    fn answered(&self, Answered { kind, verb, code, .. }: &Answered) {
        self.0.lock().unwrap().push(format!("{kind} {verb} 0x{:08x}", code.0));
    }
}

struct Running {
    service: Arc<Canned>,
    socket: PathBuf,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
    _folder: TempDir,
}

/// A reply: its status, the lines of its head, and its body.
#[derive(Debug)]
struct Read {
    status: u16,
    head: String,
    body: Value,
}

impl Running {
    /// Serves everybody as the user 1000 with these groups.
    fn start(groups: &[u32], limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("hns.sock");
        let caller =
            Caller { uid: 1000, gid: 1000, groups: groups.into(), pid: None, hns: HnsVersion::new(15, 4) };
        let access = Access {
            owner: None,
            group: Some(Group { gid: 900, name: "hcn".to_owned() }),
            read_group: Some(Group { gid: READ_GROUP, name: "hcn-read".to_owned() }),
            identify: Arc::new(move |_| Ok(caller.clone())),
        };
        let service = Arc::new(Canned::default());
        let server = Server::new(service.clone(), Hub::new(), limits, access);
        let listener = UnixListener::bind(&socket).unwrap();
        let http = tokio::spawn(serve(listener, server.hns_door(), limits.grace));
        let calls = UnixListener::bind(folder.path().join("calls.sock")).unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move {
            server.serve(calls, async { drop(stopped.await) }).await;
            http.await.unwrap();
        });
        Self { service, socket, stop, ended, _folder: folder }
    }

    /// For somebody who may do everything.
    fn for_all() -> Self {
        Self::start(&[900], Limits::default())
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    /// Sends a request on a connection of its own and reads the reply.
    async fn ask(&self, request: impl AsRef<[u8]>) -> Read {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        parse(&text).ok_or(text).unwrap()
    }

    fn answered(&self) -> Vec<String> {
        self.service.0.lock().unwrap().clone()
    }
}

fn parse(text: &str) -> Option<Read> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Read { status, head: head.to_owned(), body: serde_json::from_str(body).ok()? })
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: hns\r\n\r\n")
}

fn post(path: &str, document: &str) -> String {
    let length = document.len();
    format!("POST {path} HTTP/1.1\r\nHost: hns\r\nContent-Length: {length}\r\n\r\n{document}")
}

#[tokio::test]
async fn a_request_is_carried_out_and_answered_with_its_envelope() {
    let server = Running::for_all();
    let read = server.ask(get("/networks/?a=b")).await;
    assert_eq!(read.status, 200, "{read:?}");
    assert!(read.head.contains("content-type: application/json"), "{read:?}");
    let asked = |method: &str, body: Value| json!({"Method": method, "Path": "/networks/", "Body": body});
    assert_eq!(read.body["Output"], asked("GET", Value::Null));
    let read = server.ask(post("/networks/", "{ \"A\":1.0}")).await;
    assert_eq!(read.body["Output"], asked("POST", json!("{ \"A\":1.0}")));
    // As curl and PowerShell send it.
    let absolute = server.ask("DELETE http://hns/networks/ HTTP/1.1\r\nHost: hns\r\n\r\n").await;
    assert_eq!(absolute.body["Output"], asked("DELETE", Value::Null));
    let chunked = "POST /networks/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    assert_eq!(server.ask(chunked).await.body["Output"], asked("POST", json!("{}")));
    let expected = ["GET", "POST", "DELETE", "POST"].map(|verb| format!("V1 {verb} 0x00000000"));
    assert_eq!(server.answered(), expected);
}

#[tokio::test]
async fn the_status_says_what_the_envelope_says() {
    let server = Running::for_all();
    for (code, status) in [
        (HResult::NOT_FOUND, 404),
        (HResult::NETWORK_NOT_FOUND, 404),
        (HResult::ENDPOINT_NOT_FOUND, 404),
        (HResult::SUBNET_NOT_FOUND, 400),
        (HResult::ACCESS_DENIED, 403),
        (HResult::NETWORK_ALREADY_EXISTS, 409),
        (HResult::PORT_ALREADY_EXISTS, 409),
        (HResult::ENTITY_HAS_REFERENCES, 409),
        (HResult::NOT_IMPLEMENTED, 501),
        (HResult::INVALID_JSON, 400),
        (HResult::INVALID_ARGUMENT, 400),
        (HResult::REQUEST_UNSUPPORTED, 400),
        (HResult::MANAGER_STOPPED, 503),
        (HResult::TIMEOUT, 500),
        (HResult::GENERAL_FAILURE, 500),
        (HResult(0xdead_beef), 500),
    ] {
        let read = server.ask(get(&format!("/code/{:08x}", code.0))).await;
        assert_eq!(read.status, status, "{code}");
        assert_eq!(read.body, json!({"Success": false, "Error": code.text(), "ErrorCode": code.0}));
    }
    for method in ["PUT", "PATCH", "OPTIONS", "MOVE"] {
        let read = server.ask(format!("{method} /networks/ HTTP/1.1\r\nHost: hns\r\n\r\n")).await;
        assert_eq!(read.status, 405, "{method}");
        assert!(read.head.contains("allow: GET, POST, DELETE"), "{read:?}");
        assert_eq!(read.body["ErrorCode"], HResult::INVALID_ARGUMENT.0);
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests_each_as_the_version_it_asks_for() {
    let server = Running::for_all();
    let mut stream = server.connect().await;
    let version = |header: &str| format!("GET /globals/version HTTP/1.1\r\nHost: hns\r\n{header}\r\n");
    for request in [version("HNS-Version: 9.2\r\n"), version("")] {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let mut text = String::new();
    while text.matches("Success").count() < 2 {
        let mut chunk = [0; 1024];
        let length = stream.read(&mut chunk).await.unwrap();
        assert!(length > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&chunk[..length]));
    }
    assert!(text.find("\"Major\":9").unwrap() < text.find("\"Major\":15").unwrap(), "{text}");
    for wrong in ["nine", "99.0", ""] {
        let read = server.ask(version(&format!("HNS-Version: {wrong}\r\n"))).await;
        assert_eq!((read.status, &read.body["ErrorCode"]), (400, &json!(HResult::INVALID_ARGUMENT.0)));
    }
}

#[tokio::test]
async fn who_may_not_is_told_so_before_anything_else_is_looked_at() {
    let (reader, stranger) =
        (Running::start(&[READ_GROUP], Limits::default()), Running::start(&[], Limits::default()));
    assert_eq!(reader.ask(get("/networks/")).await.status, 200);
    assert_eq!(stranger.ask(get("/globals/version")).await.status, 200);
    let denied = json!({"Success": false, "Error": "Access is denied. ", "ErrorCode": 0x8007_0005_u32});
    let wrong = "POST /networks/ HTTP/1.1\r\nHNS-Version: x\r\nContent-Length: 1\r\n\r\n\u{1}";
    let large = post("/networks/", &"x".repeat(1 << 20));
    for server in [&reader, &stranger] {
        for request in [wrong, &large, "DELETE /networks/1 HTTP/1.1\r\n\r\n"] {
            let read = server.ask(request).await;
            assert_eq!((read.status, &read.body), (403, &denied));
        }
    }
    assert_eq!(stranger.ask(get("/networks/")).await.status, 403);
    // One who waits for leave to send the document gets no leave.
    let mut waiting = stranger.connect().await;
    let head = "POST /networks/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    waiting.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    waiting.read_to_string(&mut text).await.unwrap();
    assert_eq!(parse(&text).unwrap().status, 403, "{text}");
    assert_eq!(reader.answered()[0], "V1 GET 0x00000000");
    assert!(reader.answered()[1..].iter().all(|line| line.ends_with("0x80070005")));
}

#[tokio::test]
async fn documents_have_limits() {
    let server = Running::start(&[900], Limits { message: 64 << 10, nesting: 4, ..Limits::default() });
    let ok = format!("\"{}\"", "x".repeat((64 << 10) - 2));
    assert_eq!(server.ask(post("/networks/", &ok)).await.status, 200);
    for (document, status, code) in [
        ("x".repeat(1 << 20), 413, HResult::LIMIT_EXCEEDED),
        ("[[[[[]]]]]".to_owned(), 400, HResult::INVALID_JSON),
    ] {
        let read = server.ask(post("/networks/", &document)).await;
        assert_eq!((read.status, &read.body["ErrorCode"]), (status, &json!(code.0)));
    }
    let no_text = [post("/networks/", "").replace("Length: 0", "Length: 2").as_bytes(), b"\xff\xfe"].concat();
    let read = server.ask(no_text).await;
    assert_eq!((read.status, &read.body["ErrorCode"]), (400, &json!(HResult::INVALID_JSON.0)));
    let large = "x".repeat(1 << 20);
    let chunked = format!(
        "POST /networks/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n{large}\r\n0\r\n\r\n"
    );
    assert_eq!(server.ask(chunked).await.status, 413);
    let head = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    let mut stream = server.connect().await;
    // It is closed before all is written.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut start = [0; 10];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 4");
    let codes = ["0x00000000", "0x8007000e", "0x803b001b", "0x803b001b", "0x8007000e"];
    assert_eq!(server.answered(), codes.map(|code| format!("V1 POST {code}")));
}

#[tokio::test]
async fn connections_of_a_user_are_limited() {
    let server = Running::start(&[900], Limits { connections: 1, ..Limits::default() });
    let mut first = server.connect().await;
    first.write_all(get("/networks/").as_bytes()).await.unwrap();
    first.read_exact(&mut [0; 12]).await.unwrap();
    let mut text = String::new();
    server.connect().await.read_to_string(&mut text).await.unwrap();
    let read = parse(&text).unwrap();
    assert_eq!((read.status, &read.body["ErrorCode"]), (503, &json!(HResult::LIMIT_EXCEEDED.0)));
    drop(first);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(server.ask(get("/networks/")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn clients_that_do_not_go_on_are_left_after_a_time() {
    let server = Running::for_all();
    let mut silent = server.connect().await;
    let mut half = server.connect().await;
    half.write_all(b"POST /networks/ HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
    let mut text = String::new();
    half.read_to_string(&mut text).await.unwrap();
    assert_eq!(parse(&text).unwrap().status, 408, "{text}");
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(server.answered(), ["V1 POST 0x800705b4"]);
}

#[tokio::test]
async fn at_the_end_requests_under_way_are_answered_and_idle_connections_closed() {
    let server = Running::for_all();
    let (mut busy, mut idle, mut used) =
        (server.connect().await, server.connect().await, server.connect().await);
    used.write_all(get("/networks/").as_bytes()).await.unwrap();
    used.read_exact(&mut [0; 12]).await.unwrap();
    busy.write_all(post("/networks/", "{\"Delay\":300}").as_bytes()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    server.stop.send(()).unwrap();
    let ended = timeout(Duration::from_secs(4), server.ended).await;
    ended.expect("it waits for those who want nothing").unwrap();
    let mut text = String::new();
    busy.read_to_string(&mut text).await.unwrap();
    assert_eq!(parse(&text).unwrap().status, 200, "{text}");
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap(), 0);
    used.read_to_end(&mut Vec::new()).await.unwrap();
}
