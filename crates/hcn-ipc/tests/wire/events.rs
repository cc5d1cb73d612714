//! Subscriptions.

use std::time::Duration;

use hcn_ipc::Limits;
use hcn_schema::call::Kind;
use hcn_schema::notification::{Event, NotificationType};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::service::{Server, Wire, code, create, event, id};

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
async fn a_registration_is_for_an_entity_that_is_there() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let network = json!({"registration": "network", "id": id(1)});
    let (_, first) = subscribe(&server, network.clone()).await;
    assert_eq!((code(&first), &first["parameters"]["path"]), (0x8007_0490, &json!("id")));
    for (parameters, path) in [
        (json!({"registration": "moon"}), "registration"),
        (json!({"registration": "network"}), "handle"),
        (json!({"registration": "guest-network-service", "handle": 1, "id": id(1)}), "handle"),
        (json!({"registration": "service", "id": id(1)}), "id"),
        (json!({"handle": 1}), "handle"),
    ] {
        let (_, first) = subscribe(&server, parameters.clone()).await;
        assert_eq!((code(&first), &first["parameters"]["path"]), (0x8007_0057, &json!(path)), "{parameters}");
    }
    // The network may be what a call before it on the same connection makes.
    wire.send(&create(1, &json!({"Delay": 50}))).await;
    wire.send(&json!({"method": "io.hcn.Events.Subscribe", "parameters": network, "more": true})).await;
    assert_eq!(wire.receive().await.unwrap()["parameters"]["id"], id(1));
    assert_eq!(wire.receive().await.unwrap()["parameters"]["registered"], true);
    let attached = |network: usize| Event {
        notification: Some(NotificationType::NetworkEndpointAttached),
        network: Some(id(network).parse().unwrap()),
        ..event(Kind::Endpoint, "")
    };
    server.hub.publish(&event(Kind::Network, "other"));
    server.hub.publish(&attached(2));
    server.hub.publish(&attached(1));
    let heard = wire.receive().await.unwrap();
    assert_eq!((&heard["parameters"]["seq"], &heard["parameters"]["notification"]), (&json!(3), &json!(9)));
}

#[tokio::test]
async fn a_registration_by_handle_is_for_that_incarnation() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let entity = json!({"id": id(1), "settings": {}});
    let made = wire.call("io.hcn.GuestNetworkService.Create", entity.clone()).await;
    wire.call("io.hcn.GuestNetworkService.Delete", json!({"id": id(1)})).await;
    let again = wire.call("io.hcn.GuestNetworkService.Create", entity).await;
    let registration = |handle: &Value| json!({"registration": "guest-network-service", "handle": handle});
    let subscribe =
        |parameters| json!({"method": "io.hcn.Events.Subscribe", "parameters": parameters, "more": true});
    // A refused subscription does not occupy the connection.
    wire.send(&subscribe(registration(&made["handle"]))).await;
    let refused = wire.receive().await.unwrap();
    assert_eq!((code(&refused), &refused["parameters"]["path"]), (0x803b_0031, &json!("handle")));
    let mut other_kind = registration(&again["handle"]);
    other_kind["registration"] = json!("network");
    wire.send(&subscribe(other_kind)).await;
    assert_eq!(code(&wire.receive().await.unwrap()), 0x8007_0006);
    wire.send(&subscribe(registration(&again["handle"]))).await;
    assert_eq!(wire.receive().await.unwrap()["parameters"]["registered"], true);
    for notification in [
        NotificationType::GuestNetworkServiceDelete,
        NotificationType::GuestNetworkServiceInterfaceStateChanged,
    ] {
        let id = id(1).parse().unwrap();
        let notification = Some(notification);
        server.hub.publish(&Event { notification, id, ..event(Kind::GuestNetworkService, "") });
    }
    assert_eq!(wire.receive().await.unwrap()["parameters"]["notification"], 0x12);
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_disconnected_and_delays_nobody() {
    let server = Server::start(Limits { grace: Duration::from_secs(60), ..Limits::default() });
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
