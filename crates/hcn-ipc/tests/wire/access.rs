//! Who is let do what, over a real socket.

use hcn_ipc::Limits;
use hcn_schema::call::Kind;
use serde_json::{Value, json};

use crate::service::{GROUP, READ_GROUP, Server, create, id, user};

const DENIED: u64 = 0x8007_0005;
const VERBS: [&str; 7] = ["Enumerate", "Create", "Open", "Modify", "Query", "Delete", "Close"];

#[tokio::test]
async fn a_stranger_may_only_ask_what_this_is() {
    let server = Server::start_for(Limits::default(), &user(1000, &[4, 27]));
    let mut wire = server.connect().await;
    for kind in Kind::ALL {
        for verb in VERBS {
            // What is wrong with the parameters is not told either.
            for parameters in [json!({"id": id(1)}), json!({"moon": 1}), Value::Null] {
                let method = format!("io.hcn.{}.{verb}", kind.name());
                assert_eq!(wire.fail(&method, parameters).await, DENIED, "{method}");
            }
        }
    }
    wire.send(&json!({"method": "io.hcn.Events.Subscribe", "more": true})).await;
    assert_eq!(crate::service::code(&wire.receive().await.unwrap()), DENIED);
    for method in ["Status", "Metrics"] {
        assert_eq!(wire.fail(&format!("io.hcn.Service.{method}"), json!({})).await, DENIED);
    }
    assert!(server.service.decided().is_empty());
    for method in ["io.hcn.Service.Ping", "io.hcn.Service.GetInfo", "org.varlink.service.GetInfo"] {
        wire.call(method, json!({})).await;
    }
    let token = wire.call("io.hcn.Service.OpenSession", json!({})).await;
    server.connect().await.call("io.hcn.Service.JoinSession", token).await;
}

#[tokio::test]
async fn a_refusal_says_what_would_be_needed() {
    let server = Server::start_for(Limits::default(), &user(1000, &[READ_GROUP]));
    let mut wire = server.connect().await;
    wire.send(&create(1, &json!({}))).await;
    let failure = wire.receive().await.unwrap()["parameters"].clone();
    assert_eq!(failure["name"], "E_ACCESSDENIED");
    let message = "user 1000 may not Network.Create; root or a member of group hcn may";
    assert_eq!(failure["message"], message);
}

#[tokio::test]
async fn the_read_group_reads_and_changes_nothing() {
    let server = Server::start_for(Limits::default(), &user(1000, &[READ_GROUP]));
    let mut wire = server.connect().await;
    assert_eq!(wire.call("io.hcn.Network.Enumerate", json!({})).await, json!({"ids": []}));
    assert_eq!(wire.fail("io.hcn.Network.Query", json!({"id": id(1)})).await, 0x8007_0490);
    assert_eq!(wire.fail("io.hcn.Network.Close", json!({"handle": 1})).await, 0x8007_0006);
    for verb in ["Create", "Modify", "Delete"] {
        let method = format!("io.hcn.Network.{verb}");
        assert_eq!(wire.fail(&method, json!({"id": id(1)})).await, DENIED);
    }
    assert_eq!(wire.call("io.hcn.Service.Status", json!({})).await["version"], "0.0.1");
    // It tells rules of other programs.
    assert_eq!(wire.fail("io.hcn.Service.Doctor", json!({})).await, DENIED);
    wire.send(&json!({"method": "io.hcn.Events.Subscribe", "more": true})).await;
    assert_eq!(wire.receive().await.unwrap()["parameters"]["registered"], true);
}

#[tokio::test]
async fn the_group_does_everything() {
    let server = Server::start_for(Limits::default(), &user(1000, &[7, GROUP]));
    let mut wire = server.connect().await;
    wire.send(&create(1, &json!({}))).await;
    assert_eq!(wire.receive().await.unwrap()["parameters"]["id"], id(1));
    wire.call("io.hcn.Network.Delete", json!({"id": id(1)})).await;
    let findings = wire.call("io.hcn.Service.Doctor", json!({})).await;
    assert_eq!(findings["findings"][0]["severity"], "ok");
}

#[tokio::test]
async fn every_answer_is_counted_wherever_it_comes_from() {
    let server = Server::start_for(Limits::default(), &user(1000, &[GROUP]));
    let mut wire = server.connect().await;
    wire.send(&create(1, &json!({}))).await;
    let handle = wire.receive().await.unwrap()["parameters"]["handle"].clone();
    wire.fail("io.hcn.Network.Query", json!({"id": id(2)})).await;
    wire.fail("io.hcn.Network.Open", json!({"id": "x"})).await;
    wire.call("io.hcn.Network.Close", json!({"handle": handle})).await;
    wire.send(&create(2, &json!({"Panic": 1}))).await;
    wire.receive().await;
    let expected = [
        "Network Create 0x00000000",
        "Network Query 0x80070490",
        "Network Open 0x803b0019",
        "Network Close 0x00000000",
        "Network Create 0x800706be",
    ];
    assert_eq!(server.service.answered(), expected);
}

#[tokio::test]
async fn usage_is_told_with_the_metrics() {
    let server = Server::start(Limits::default());
    let (mut wire, mut other) = (server.connect().await, server.connect().await);
    wire.send(&create(1, &json!({}))).await;
    wire.receive().await;
    let token = wire.call("io.hcn.Service.OpenSession", json!({})).await;
    other.call("io.hcn.Service.JoinSession", token).await;
    let told = wire.call("io.hcn.Service.Metrics", json!({})).await["text"].clone();
    assert_eq!(told, "Usage { connections: 2, sessions: 1, handles: 1 }");
}

#[tokio::test]
async fn strangers_cannot_take_the_memory_that_others_may_use() {
    let server = Server::start_for(Limits::default(), &user(1000, &[]));
    let mut wire = server.connect().await;
    let large = json!({"method": "io.hcn.Service.Ping", "parameters": {"x": "y".repeat(20 << 10)}});
    wire.send(&large).await;
    assert_eq!(crate::service::code(&wire.receive().await.unwrap()), 0x8007_000e);
    let mut many = Vec::new();
    for _ in 0..40 {
        many.push(server.connect().await);
    }
    let refused = many.last_mut().unwrap().receive().await.unwrap();
    assert_eq!(crate::service::code(&refused), 0x8007_000e);
}
