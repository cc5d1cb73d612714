//! Subscriptions.

use std::time::Duration;

use hcn_ipc::Limits;
use hcn_schema::call::Kind;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::service::{Server, Wire, code, event};

const DISCONNECT: u64 = 0x0100_0000;

async fn subscribe(server: &Server, parameters: Value) -> (Wire, Value) {
    let mut wire = server.connect().await;
    wire.send(&json!({"method": "io.hcn.Events.Subscribe", "parameters": parameters, "more": true})).await;
    let first = wire.receive().await.unwrap();
    (wire, first)
}

#[tokio::test]
async fn a_subscriber_gets_events_of_its_kinds_in_order() {
    let server = Server::start(Limits::default());
    server.hub.publish(&event(Kind::Network, "before"));
    let (mut wire, first) = subscribe(&server, json!({"kinds": ["Endpoint"]})).await;
    assert_eq!(first, json!({"parameters": {"registered": true, "seq": 1}, "continues": true}));
    server.hub.publish(&event(Kind::Network, "other kind"));
    server.hub.publish(&event(Kind::Endpoint, "one"));
    server.hub.publish(&event(Kind::Endpoint, "two"));
    for (seq, data) in [(3, "one"), (4, "two")] {
        let reply = wire.receive().await.unwrap();
        assert_eq!(reply["continues"], true);
        let event = &reply["parameters"];
        assert_eq!(event["seq"], seq);
        assert_eq!(event["data"]["Data"], data);
        assert_eq!(event["kind"], "Endpoint");
        assert_eq!(event["action"], "modify");
        assert_eq!(event["owner"], "owner");
    }
}

#[tokio::test]
async fn subscribing_needs_more_and_known_kinds() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let reply = wire.reply("io.hcn.Events.Subscribe", json!({})).await;
    assert_eq!(reply["error"], "org.varlink.service.ExpectedMore");
    let (_, first) = subscribe(&server, json!({"kinds": ["Network", "Nothing"]})).await;
    assert_eq!(code(&first), 0x8007_0057);
    assert_eq!(first["parameters"]["path"], "kinds[1]");
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_disconnected_and_delays_nobody() {
    let server = Server::start(Limits::default());
    let (mut slow, _) = subscribe(&server, json!({})).await;
    let (mut quick, _) = subscribe(&server, json!({})).await;
    let data = "x".repeat(1000);
    let mut seen = 0;
    for _ in 0..200 {
        for _ in 0..100 {
            server.hub.publish(&event(Kind::Network, &data));
        }
        for _ in 0..100 {
            seen += 1;
            assert_eq!(quick.receive().await.unwrap()["parameters"]["seq"], seen);
        }
    }
    assert_eq!(server.hub.subscribers(), 1);
    let mut last = Value::Null;
    let mut got = 0;
    while let Some(reply) = slow.receive().await {
        got += 1;
        last = reply;
    }
    assert!(got < 20_000);
    assert_eq!(last["parameters"]["notification"], DISCONNECT);
    assert_eq!(last["continues"], Value::Null);
}

#[tokio::test]
async fn one_who_never_reads_is_closed_after_the_grace() {
    let server = Server::start(Limits { grace: Duration::from_millis(100), ..Limits::default() });
    let (mut slow, _) = subscribe(&server, json!({})).await;
    let data = "x".repeat(1000);
    for _ in 0..20_000 {
        server.hub.publish(&event(Kind::Network, &data));
        tokio::task::yield_now().await;
    }
    assert_eq!(server.hub.subscribers(), 0);
    sleep(Duration::from_millis(300)).await;
    let mut last = Value::Null;
    // What is left is what the socket holds; it may end inside a message.
    while let Some(reply) = slow.receive().await {
        last = reply;
    }
    assert_ne!(last["parameters"]["notification"], DISCONNECT);
}

#[tokio::test]
async fn at_shutdown_subscribers_get_the_last_notice() {
    let mut server = Server::start(Limits::default());
    let (mut wire, _) = subscribe(&server, json!({})).await;
    server.hub.publish(&event(Kind::Network, "last"));
    server.stop();
    assert_eq!(wire.receive().await.unwrap()["parameters"]["seq"], 1);
    let last = wire.receive().await.unwrap();
    assert_eq!(last, json!({"parameters": {"seq": 1, "notification": DISCONNECT, "action": "disconnect"}}));
    assert_eq!(wire.receive().await, None);
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_subscriber_that_leaves_is_forgotten() {
    let server = Server::start(Limits::default());
    let (wire, _) = subscribe(&server, json!({})).await;
    assert_eq!(server.hub.subscribers(), 1);
    drop(wire);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(server.hub.subscribers(), 0);
}
