//! Sessions and their handles.

use std::time::Duration;

use hcn_ipc::Limits;
use serde_json::json;
use tokio::time::sleep;

use crate::service::{Server, id};

#[tokio::test]
async fn connections_of_one_session_share_handles() {
    let server = Server::start(Limits::default());
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    let created = first.call("io.hcn.Network.Create", json!({"id": id(1), "settings": {}})).await;
    let handle = json!({"handle": created["handle"]});
    assert_eq!(second.fail("io.hcn.Network.Query", handle.clone()).await, 0x8007_0006);
    let token = first.call("io.hcn.Service.OpenSession", json!({})).await;
    second.call("io.hcn.Service.JoinSession", token).await;
    second.call("io.hcn.Network.Query", handle.clone()).await;
    drop(first);
    sleep(Duration::from_millis(50)).await;
    second.call("io.hcn.Network.Query", handle.clone()).await;
    second.call("io.hcn.Network.Close", handle.clone()).await;
    assert_eq!(second.fail("io.hcn.Network.Query", handle).await, 0x8007_0006);
}

#[tokio::test]
async fn a_session_ends_with_its_last_connection() {
    let server = Server::start(Limits::default());
    let mut first = server.connect().await;
    let created = first.call("io.hcn.Network.Create", json!({"id": id(1), "settings": {}})).await;
    let token = first.call("io.hcn.Service.OpenSession", json!({})).await;
    drop(first);
    sleep(Duration::from_millis(50)).await;
    let mut second = server.connect().await;
    assert_eq!(second.fail("io.hcn.Service.JoinSession", token).await, 0x8007_0006);
    let handle = json!({"handle": created["handle"]});
    assert_eq!(second.fail("io.hcn.Network.Query", handle).await, 0x8007_0006);
    let opened = second.call("io.hcn.Network.Open", json!({"id": id(1)})).await;
    assert!(opened["handle"].as_i64() > created["handle"].as_i64());
}

#[tokio::test]
async fn a_handle_is_of_one_kind() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let created = wire.call("io.hcn.Network.Create", json!({"id": id(1), "settings": {}})).await;
    let handle = json!({"handle": created["handle"]});
    for method in ["io.hcn.Endpoint.Query", "io.hcn.Endpoint.Close", "io.hcn.Namespace.Modify"] {
        assert_eq!(wire.fail(method, handle.clone()).await, 0x8007_0006, "{method}");
    }
    wire.call("io.hcn.Network.Close", handle).await;
}

#[tokio::test]
async fn a_handle_is_of_one_incarnation() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let entity = json!({"id": id(1), "settings": {}});
    let created = wire.call("io.hcn.Network.Create", entity.clone()).await;
    wire.call("io.hcn.Network.Delete", json!({"id": id(1)})).await;
    wire.call("io.hcn.Network.Create", entity).await;
    let handle = json!({"handle": created["handle"]});
    assert_eq!(wire.fail("io.hcn.Network.Query", handle.clone()).await, 0x803b_0031);
    wire.call("io.hcn.Network.Close", handle).await;
}

#[tokio::test]
async fn handles_of_a_session_are_limited() {
    let server = Server::start(Limits { handles: 2, ..Limits::default() });
    let mut wire = server.connect().await;
    for number in 1..=2 {
        wire.call("io.hcn.Network.Create", json!({"id": id(number), "settings": {}})).await;
    }
    let third = json!({"id": id(3), "settings": {}});
    assert_eq!(wire.fail("io.hcn.Network.Create", third.clone()).await, 0x8007_000e);
    // Nothing was made without a handle.
    assert_eq!(wire.fail("io.hcn.Network.Query", json!({"id": id(3)})).await, 0x8007_0490);
    wire.call("io.hcn.Network.Close", json!({"handle": 1})).await;
    wire.call("io.hcn.Network.Create", third).await;
}
