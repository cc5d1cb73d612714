//! Does hcnd survive its clients? Bytes that are no calls, calls that are wrong, and clients that do not listen, over
//! the bare socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, DUAL, v2};
use hcn_tests::service::{held_by, sandbox_hcnd, sandbox_socket};
use hcn_tests::wire::{Reply, Wire};
use hcn_tests::{Sandbox, eventually, in_sandbox, is_running, patience};
use serde_json::{Value, json};

const PING: &[u8] = b"{\"method\":\"io.hcn.Service.Ping\"}\0";
const INVALID_JSON: u32 = 0x803b_001b;
const INVALID_ARGUMENT: u32 = 0x8007_0057;
const INVALID_HANDLE: u32 = 0x8007_0006;
const GUID_CONVERSION_FAILURE: u32 = 0x803b_0019;
const LIMIT_EXCEEDED: u32 = 0x8007_000e;
const ID: &str = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";

/// Runs a test's part, and then sees that the same hcnd still answers, and holds no more than before.
fn hcnd_survives(part: impl FnOnce()) {
    let hcnd = sandbox_hcnd();
    answers_at_once();
    let before = held_by(hcnd);
    part();
    answers_at_once();
    assert!(is_running(hcnd));
    eventually("its connections are closed", || held_by(hcnd).files <= before.files);
    let grown = held_by(hcnd).memory.saturating_sub(before.memory);
    assert!(grown < 24 << 10, "{grown} KiB more");
}

fn answers_at_once() {
    let started = Instant::now();
    let reply = Client::new().call("Service.Ping", &json!({}));
    assert_eq!(reply.raw, r#"{"parameters":{}}"#);
    assert!(started.elapsed() < patience(Duration::from_secs(1)), "{:?}", started.elapsed());
}

fn connect() -> Wire {
    Wire::connect(&sandbox_socket()).unwrap()
}

/// What comes back for bytes, which must leave the connection usable.
fn reply_to(wire: &mut Wire, bytes: &[u8]) -> Reply {
    wire.send_raw(bytes).unwrap();
    let reply = wire.receive().unwrap();
    wire.send_raw(PING).unwrap();
    assert_eq!(wire.receive().unwrap().raw, r#"{"parameters":{}}"#);
    reply
}

#[test]
fn what_is_no_call_is_refused_and_the_connection_goes_on() {
    in_sandbox!(Sandbox::new(), {
        hcnd_survives(|| {
            let mut wire = connect();
            let messages: [&[u8]; 12] = [
                b"{\"method\":\0",
                b"\0",
                b"null\0",
                b"[]\0",
                b"7\0",
                b"\"io.hcn.Service.Ping\"\0",
                b"{}\0",
                b"{\"method\":7}\0",
                b"{\"method\":\"io.hcn.Service.Ping\"} trailing\0",
                b"{\"method\":\"io.hcn.Service.Ping\",\"method\":\"io.hcn.Service.Ping\"}\0",
                b"{\"method\":\"io.hcn.Service.Ping\",\"more\":\"yes\"}\0",
                b"\xff\xfe{\"method\":\"io.hcn.Service.Ping\"}\0",
            ];
            for message in messages {
                let reply = reply_to(&mut wire, message);
                let shown = String::from_utf8_lossy(message);
                assert_eq!(reply.hresult(), Some(INVALID_JSON), "{shown}: {}", reply.raw);
            }
        });
    });
}

#[test]
fn invalid_utf_8_is_refused_wherever_it_stands() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        hcnd_survives(|| {
            let mut wire = connect();
            for message in [
                b"{\"method\":\"io.hcn.Network.Cre\xffate\"}\0".as_slice(),
                b"{\"method\":\"io.hcn.Network.Create\",\"parameters\":{\"text\":\"\xc3(\"}}\0",
                b"{\"method\":\"io.hcn.Network.Create\",\"parameters\":{\"settings\":{\"Name\":\"\xed\xa0\x80\"}}}\0",
            ] {
                let reply = reply_to(&mut wire, message);
                assert_eq!(reply.hresult(), Some(INVALID_JSON), "{}", reply.raw);
            }
        });
    });
}

#[test]
fn json_nested_too_deep_is_refused() {
    in_sandbox!(Sandbox::new(), {
        hcnd_survives(|| {
            let mut wire = connect();
            let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
            let call =
                |with: &str| format!("{{\"method\":\"io.hcn.Network.Create\",\"parameters\":{with}}}\0");
            for with in [
                format!("{{\"settings\":{{\"x\":{}}}}}", nested(200)),
                format!("{{\"text\":\"{{\\\"x\\\":{}}}\"}}", nested(200)),
                format!("{{\"settings\":{{\"x\":{}", "[".repeat(1_000_000)),
            ] {
                let reply = reply_to(&mut wire, call(&with).as_bytes());
                assert_eq!(reply.hresult(), Some(INVALID_JSON), "{}", reply.raw);
            }
            // What is allowed is taken: an unknown member of a document does not matter.
            let with =
                format!("{{\"settings\":{{\"x\":{},\"SchemaVersion\":{{\"Major\":2}}}}}}", nested(100));
            let reply = reply_to(&mut wire, call(&with).as_bytes());
            assert_eq!(reply.error, None, "{}", reply.raw);
            Client::new().delete("Network", reply.parameters["id"].as_str().unwrap());
        });
    });
}

#[test]
fn a_message_over_the_limit_ends_only_its_own_connection() {
    in_sandbox!(Sandbox::new(), {
        hcnd_survives(|| {
            let (mut large, mut other) = (connect(), connect());
            // A message of exactly the limit is read.
            let start = b"{\"method\":\"io.hcn.Network.Create\",\"parameters\":{\"text\":\"".to_vec();
            let end = b"\"}}\0";
            let mut message = start.clone();
            message.resize((4 << 20) + 1 - end.len(), b'x');
            message.extend(end);
            assert_eq!(reply_to(&mut large, &message).hresult(), Some(INVALID_JSON));
            message.insert(start.len(), b'x');
            large.send_raw(&message).unwrap();
            assert_eq!(large.receive().unwrap().hresult(), Some(LIMIT_EXCEEDED));
            // What follows is not trusted: it gets no reply.
            let _ = large.send_raw(PING);
            let closed = large.receive().unwrap_err();
            assert!(
                [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&closed.kind()),
                "{closed}"
            );
            assert_eq!(reply_to(&mut other, PING).error, None);
        });
    });
}

#[test]
fn a_stream_without_an_end_is_cut_off() {
    in_sandbox!(Sandbox::new(), {
        hcnd_survives(|| {
            let mut stream = UnixStream::connect(sandbox_socket()).unwrap();
            let chunk = vec![b' '; 1 << 20];
            let started = Instant::now();
            // Much more than the limit, and nobody reads the reply.
            while stream.write_all(&chunk).is_ok() {
                assert!(started.elapsed() < Duration::from_secs(10), "it still reads");
            }
        });
    });
}

#[test]
fn a_half_sent_message_holds_up_nobody_else() {
    in_sandbox!(Sandbox::new(), {
        hcnd_survives(|| {
            let mut half = connect();
            let (first, rest) = PING.split_at(PING.len() / 2);
            half.send_raw(first).unwrap();
            let mut client = Client::new();
            let network = client.network(&DUAL);
            let container = client.container(&network, &json!({}));
            client.delete("Network", &network);
            client.delete("Namespace", &container.namespace);
            half.send_raw(rest).unwrap();
            assert_eq!(half.receive().unwrap().raw, r#"{"parameters":{}}"#);
            // And one that never comes to its end.
            half.send_raw(first).unwrap();
        });
    });
}

#[test]
fn a_message_may_come_in_single_bytes() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        hcnd_survives(|| {
            let mut wire = connect();
            let call =
                json!({"method": "io.hcn.Network.Enumerate", "parameters": {"query": v2()}}).to_string();
            for byte in call.bytes().chain([0]) {
                wire.send_raw(&[byte]).unwrap();
            }
            assert_eq!(wire.receive().unwrap().parameters, json!({"ids": []}));
        });
    });
}

#[test]
fn unknown_names_are_refused_by_varlink_s_own_errors() {
    in_sandbox!(Sandbox::new(), {
        hcnd_survives(|| {
            let mut wire = connect();
            for (method, error, parameters) in [
                ("io.hcn.Moon.Create", "InterfaceNotFound", json!({"interface": "io.hcn.Moon"})),
                ("io.hcn.Network.Paint", "MethodNotFound", json!({"method": "io.hcn.Network.Paint"})),
                ("io.hcn.Network.create", "MethodNotFound", json!({"method": "io.hcn.Network.create"})),
                ("", "InterfaceNotFound", json!({"interface": ""})),
            ] {
                let reply = wire.call(method, &json!({})).unwrap();
                assert_eq!(
                    reply.error,
                    Some(format!("org.varlink.service.{error}")),
                    "{method}: {}",
                    reply.raw
                );
                assert_eq!(reply.parameters, parameters);
            }
            let reply = wire.call("io.hcn.Events.Subscribe", &json!({})).unwrap();
            assert_eq!(reply.error.as_deref(), Some("org.varlink.service.ExpectedMore"));
        });
    });
}

#[test]
fn wrong_parameters_are_refused_with_their_name() {
    in_sandbox!(Sandbox::new(), {
        hcnd_survives(|| {
            let mut client = Client::new();
            let mut check = |method: &str, with: Value, code: u32, path: &str| {
                let reply = client.call(method, &with);
                assert_eq!(reply.hresult(), Some(code), "{method} {with}: {}", reply.raw);
                assert_eq!(reply.parameters["path"], path, "{method} {with}: {}", reply.raw);
            };
            check("Network.Query", json!({"handle": "1"}), INVALID_ARGUMENT, "handle");
            check("Network.Query", json!({"handle": 1e300}), INVALID_ARGUMENT, "handle");
            check("Network.Query", json!({"handle": 1, "id": ID}), INVALID_ARGUMENT, "handle");
            check("Network.Query", json!({}), INVALID_ARGUMENT, "handle");
            check("Network.Query", json!({"handle": -1}), INVALID_HANDLE, "handle");
            check("Network.Open", json!({"id": {"ID": ID}}), INVALID_ARGUMENT, "id");
            check("Network.Delete", json!({"id": "moon"}), GUID_CONVERSION_FAILURE, "id");
            check("Network.Create", json!({"settings": [], "id": ID}), INVALID_ARGUMENT, "settings");
            check("Network.Create", json!({"settings": {}, "text": "{}"}), INVALID_ARGUMENT, "settings");
            check("Network.Create", json!({"settings": {}, "seting": 1}), INVALID_ARGUMENT, "seting");
            check("Events.Subscribe", json!({"kinds": ["Moon"]}), INVALID_ARGUMENT, "kinds[0]");
            check("Service.JoinSession", json!({"token": 7}), INVALID_ARGUMENT, "token");
            check("Service.JoinSession", json!({"token": "moon"}), INVALID_HANDLE, "token");
        });
    });
}

#[test]
fn a_session_s_handles_are_its_own() {
    in_sandbox!(Sandbox::new(), {
        hcnd_survives(|| {
            let (mut mine, mut other, mut partner) = (Client::new(), Client::new(), Client::new());
            let network = mine.network(&DUAL);
            let handle = mine.ok("Network.Open", &json!({"id": network}))["handle"].clone();
            let query = json!({"handle": handle, "query": v2()});
            assert_eq!(other.refused("Network.Query", &query), INVALID_HANDLE);
            assert_eq!(other.refused("Network.Close", &json!({"handle": handle})), INVALID_HANDLE);
            let with_handle = json!({"network_handle": handle, "settings": v2()});
            assert_eq!(other.refused("Endpoint.Create", &with_handle), INVALID_HANDLE);
            // Who knows the token is let in, and only before holding handles of its own.
            let token = mine.ok("Service.OpenSession", &json!({}));
            partner.ok("Service.JoinSession", &token);
            assert_eq!(partner.ok("Network.Query", &query)["properties"]["ID"], network);
            let theirs = other.ok("Network.Open", &json!({"id": network}))["handle"].clone();
            assert_eq!(other.refused("Service.JoinSession", &token), INVALID_ARGUMENT);
            assert_eq!(mine.refused("Network.Close", &json!({"handle": theirs})), INVALID_HANDLE);
            mine.delete("Network", &network);
        });
    });
}

#[test]
fn a_thousand_connections_come_and_go() {
    in_sandbox!(Sandbox::new(), {
        hcnd_survives(|| {
            for number in 0..1000 {
                let mut wire = connect();
                match number % 3 {
                    0 => {}
                    1 => wire.send_raw(PING).unwrap(),
                    _ => wire.send_raw(&PING[..7]).unwrap(),
                }
            }
            let many: Vec<Wire> = (0..1000).map(|_| connect()).collect();
            answers_at_once();
            drop(many);
        });
    });
}

#[test]
fn one_who_never_reads_replies_holds_up_nobody_else() {
    in_sandbox!(Sandbox::new(), {
        hcnd_survives(|| {
            let mut client = Client::new();
            let network = client.network(&DUAL);
            let stream = UnixStream::connect(sandbox_socket()).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let call =
                json!({"method": "io.hcn.Network.Query", "parameters": {"id": network, "query": v2()}});
            let calls = (call.to_string() + "\0").into_bytes().repeat(500);
            // Until hcnd does not read any more, since it cannot write.
            while (&stream).write_all(&calls).is_ok() {}
            answers_at_once();
            client.ok("Network.Query", &json!({"id": network, "query": v2()}));
            client.delete("Network", &network);
        });
    });
}

#[test]
fn a_subscriber_who_never_reads_is_cut_off_and_holds_up_nobody() {
    in_sandbox!(Sandbox::new(), {
        hcnd_survives(|| {
            let mut deaf = Client::new();
            deaf.wire.send("io.hcn.Events.Subscribe", &json!({}), true).unwrap();
            assert_eq!(deaf.wire.receive().unwrap().parameters["registered"], true);
            let mut client = Client::new();
            // More events than its queue and its socket take: two for each. Not many more, since it has five seconds to take
            // them once it is cut off.
            let started = Instant::now();
            for _ in 0..25 {
                for _ in 0..100 {
                    client
                        .wire
                        .send(
                            "io.hcn.Namespace.Create",
                            &json!({"settings": {
                        "Type": "Guest", "SchemaVersion": {"Major": 2}}}),
                            false,
                        )
                        .unwrap();
                }
                let created: Vec<Reply> = (0..100).map(|_| client.wire.receive().unwrap()).collect();
                for reply in &created {
                    let id = json!({"id": reply.parameters["id"]});
                    client.wire.send("io.hcn.Namespace.Delete", &id, false).unwrap();
                }
                assert!((0..100).all(|_| client.wire.receive().unwrap().error.is_none()));
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
            // Then it listens: what was queued comes without a hole, and then the end.
            let mut last = deaf.wire.receive().unwrap().parameters;
            let first = last["seq"].as_u64().unwrap();
            let mut count = 1;
            while let Ok(reply) = deaf.wire.receive() {
                last = reply.parameters;
                if last["notification"] == 0x0100_0000 {
                    break;
                }
                assert_eq!(last["seq"], first + count);
                count += 1;
            }
            assert_eq!(last["notification"], 0x0100_0000, "{last}");
            assert!(count > 4096 && count < 12_000, "{count} events");
            deaf.wire.receive().unwrap_err();
        });
    });
}
