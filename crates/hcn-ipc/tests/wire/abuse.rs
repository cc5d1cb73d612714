//! Clients that do it wrong, or mean ill: each gets its code, the others notice nothing.

use std::time::Duration;

use hcn_ipc::Limits;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::service::{Server, code, id};

const BAD_JSON: u64 = 0x803b_001b;

#[tokio::test]
async fn after_a_malformed_message_the_connection_lives_on() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let deep = format!("{{\"method\":\"io.hcn.Service.Ping\",\"parameters\":{{\"a\":{}", "[".repeat(200_000));
    for bad in
        ["", "nonsense", "[]", "7", "{}", "{\"method\":7}", "{\"method\":\"a\"", "\u{1}\u{2}", deep.as_str()]
    {
        wire.write(bad.as_bytes()).await;
        wire.write(b"\0").await;
        let reply = wire.receive().await.unwrap();
        assert_eq!(code(&reply), BAD_JSON, "{}", &bad[..bad.len().min(40)]);
        assert!(reply["parameters"]["record"].as_str().unwrap().contains("2151350299"), "{reply}");
    }
    wire.write(b"{\"method\":\"\xff\xfe\"}\0").await;
    assert_eq!(code(&wire.receive().await.unwrap()), BAD_JSON);
    assert_eq!(wire.call("io.hcn.Service.Ping", json!({})).await, json!({}));
}

#[tokio::test]
async fn wrong_types_of_parameters_get_their_path() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let reply = wire.reply("io.hcn.Network.Query", json!({"handle": "1"})).await;
    assert_eq!(code(&reply), 0x8007_0057);
    assert_eq!(reply["parameters"]["path"], "handle");
    let reply = wire.reply("io.hcn.Network.Open", json!({"id": "not a GUID"})).await;
    assert_eq!(code(&reply), 0x803b_0019);
    assert_eq!(reply["parameters"]["path"], "id");
    assert_eq!(wire.fail("io.hcn.Network.Create", json!([1])).await, 0x8007_0057);
    let reply = wire.reply("io.hcn.Network.Enumerate", json!({"n".repeat(1 << 20): 1})).await;
    assert_eq!(code(&reply), 0x8007_0057);
    assert!(reply.to_string().len() < 20_000);
}

#[tokio::test]
async fn half_a_message_concerns_nobody_else() {
    let server = Server::start(Limits::default());
    let mut half = server.connect().await;
    half.write(b"{\"method\":\"io.hcn.Network.Create\",\"para").await;
    let mut other = server.connect().await;
    assert_eq!(other.call("io.hcn.Network.Enumerate", json!({})).await, json!({"ids": []}));
    half.stream.shutdown().await.unwrap();
    assert_eq!(half.receive().await, None);
    let mut half = server.connect().await;
    half.write(b"{\"method\":\"io.hcn.Serv").await;
    assert_eq!(other.call("io.hcn.Network.Enumerate", json!({})).await, json!({"ids": []}));
    half.write(b"ice.Ping\"}\0").await;
    assert_eq!(half.receive().await.unwrap(), json!({"parameters": {}}));
}

#[tokio::test]
async fn replies_reach_one_who_has_finished_writing() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let slow = json!({"id": id(1), "settings": {"Delay": 100}});
    wire.send(&json!({"method": "io.hcn.Network.Create", "parameters": slow})).await;
    wire.stream.shutdown().await.unwrap();
    assert_eq!(wire.receive().await.unwrap()["parameters"]["id"], id(1));
    assert_eq!(wire.receive().await, None);
}

#[tokio::test]
async fn a_message_over_the_limit_gets_its_code_and_ends_the_connection() {
    let server = Server::start(Limits { message: 100_000, ..Limits::default() });
    let mut wire = server.connect().await;
    wire.send(&json!({"method": "io.hcn.Service.Ping"})).await;
    // The client writes far beyond the limit before it reads.
    wire.write(&vec![b' '; 3_000_000]).await;
    wire.write(b"\0").await;
    assert_eq!(wire.receive().await.unwrap(), json!({"parameters": {}}));
    assert_eq!(code(&wire.receive().await.unwrap()), 0x8007_000e);
    wire.stream.shutdown().await.unwrap();
    assert_eq!(wire.receive().await, None);
    let mut other = server.connect().await;
    other.call("io.hcn.Service.Ping", json!({})).await;
}

#[tokio::test]
async fn connections_of_a_user_are_limited() {
    let server = Server::start(Limits { connections: 2, ..Limits::default() });
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    first.call("io.hcn.Service.Ping", json!({})).await;
    second.call("io.hcn.Service.Ping", json!({})).await;
    let mut third = server.connect().await;
    assert_eq!(code(&third.receive().await.unwrap()), 0x8007_000e);
    assert_eq!(third.receive().await, None);
    drop(first);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut third = server.connect().await;
    third.call("io.hcn.Service.Ping", json!({})).await;
}

#[tokio::test]
async fn large_documents_in_flight_are_limited_together() {
    let server = Server::start(Limits { message: 1 << 20, ..Limits::default() });
    let mut wire = server.connect().await;
    let large = "x".repeat((1 << 20) - 1000);
    let mut message = json!({"method": "io.hcn.Network.Create",
        "parameters": {"id": id(1), "settings": {"Hang": 1, "Large": large}}})
    .to_string();
    message.push('\0');
    let writing = tokio::spawn(async move {
        for _ in 0..20 {
            wire.write(message.as_bytes()).await;
        }
    });
    while server.service.decided().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!writing.is_finished(), "all was read");
    assert_eq!(server.service.decided().len(), 2);
}
