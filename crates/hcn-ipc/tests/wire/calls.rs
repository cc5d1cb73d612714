//! Calls, their order, and their answers.

use std::time::{Duration, Instant};

use hcn_ipc::Limits;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::service::{Server, code, create, id};

#[tokio::test]
async fn the_seven_verbs_by_id_and_by_handle() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let created = wire.call("io.hcn.Network.Create", json!({"id": id(1), "text": "{\"A\":1}"})).await;
    assert_eq!(created["id"], id(1));
    let handle = &created["handle"];
    assert!(handle.as_i64().unwrap() > 0);
    assert_eq!(wire.call("io.hcn.Network.Enumerate", json!({})).await, json!({"ids": [id(1)]}));
    for target in [json!({"handle": handle}), json!({"id": id(1)})] {
        assert_eq!(wire.call("io.hcn.Network.Query", target).await, json!({"properties": {"A": 1}}));
    }
    let opened = wire.call("io.hcn.Network.Open", json!({"id": id(1)})).await;
    let change = json!({"handle": opened["handle"], "settings": {"A": 2}});
    assert_eq!(wire.call("io.hcn.Network.Modify", change).await, json!({}));
    assert_eq!(wire.call("io.hcn.Network.Query", json!({"handle": handle})).await["properties"]["A"], 2);
    assert_eq!(wire.call("io.hcn.Network.Delete", json!({"id": id(1)})).await, json!({}));
    assert_eq!(wire.fail("io.hcn.Network.Query", json!({"handle": handle})).await, 0x8007_0490);
    assert_eq!(wire.call("io.hcn.Network.Close", json!({"handle": handle})).await, json!({}));
    assert_eq!(wire.fail("io.hcn.Network.Close", json!({"handle": handle})).await, 0x8007_0006);
}

#[tokio::test]
async fn replies_come_in_the_order_of_calls_though_calls_run_side_by_side() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let started = Instant::now();
    for number in 1..=20 {
        wire.send(&create(number, &json!({"N": number, "Delay": 210 - 10 * number}))).await;
    }
    for number in 1..=20 {
        assert_eq!(wire.receive().await.unwrap()["parameters"]["id"], id(number));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "one after the other: {:?}", started.elapsed());
    let expected: Vec<String> = (1..=20).map(|number| format!("Create {number}")).collect();
    assert_eq!(server.service.decided(), expected);
}

#[tokio::test]
async fn a_read_sees_the_changes_before_it_and_none_behind_it() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    wire.send(&create(1, &json!({"N": 1, "Delay": 100}))).await;
    wire.send(&create(2, &json!({"N": 2}))).await;
    wire.send(&json!({"method": "io.hcn.Network.Enumerate"})).await;
    wire.send(&json!({"method": "io.hcn.Network.Query", "parameters": {"id": id(1)}})).await;
    wire.send(&create(3, &json!({"N": 3}))).await;
    for number in [1, 2] {
        assert_eq!(wire.receive().await.unwrap()["parameters"]["id"], id(number));
    }
    let ids = wire.receive().await.unwrap()["parameters"]["ids"].clone();
    assert!(ids.as_array().unwrap().contains(&json!(id(1))), "{ids}");
    assert!(!ids.as_array().unwrap().contains(&json!(id(3))), "{ids}");
    assert_eq!(wire.receive().await.unwrap()["parameters"]["properties"]["N"], 1);
    wire.receive().await.unwrap();
    let decided = server.service.decided();
    assert_eq!(decided, ["Create 1", "Create 2", "Enumerate null", "Query null", "Create 3"]);
}

#[tokio::test]
async fn a_slow_call_of_one_client_does_not_delay_another() {
    let server = Server::start(Limits::default());
    let (mut slow, mut other) = (server.connect().await, server.connect().await);
    slow.send(&create(1, &json!({"Hang": 1}))).await;
    assert_eq!(other.call("io.hcn.Network.Enumerate", json!({})).await, json!({"ids": []}));
    server.service.go_on.notify_one();
    assert_eq!(slow.receive().await.unwrap()["parameters"]["id"], id(1));
}

#[tokio::test]
async fn beyond_the_limit_of_calls_in_flight_the_connection_is_not_read() {
    let limits = Limits { in_flight: 4, ..Limits::default() };
    let server = Server::start(limits);
    let mut wire = server.connect().await;
    for number in 1..=50 {
        wire.send(&create(number, &json!({"Hang": 1}))).await;
    }
    sleep(Duration::from_millis(100)).await;
    // The limit, and the one that the writer is waiting for.
    assert!(server.service.decided().len() <= limits.in_flight + 1);
    for number in 1..=50 {
        server.service.go_on.notify_one();
        assert_eq!(wire.receive().await.unwrap()["parameters"]["id"], id(number));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_fill_the_memory() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let large = "x".repeat(1 << 20);
    wire.call("io.hcn.Network.Create", json!({"id": id(1), "settings": {"Large": large}})).await;
    for _ in 0..100 {
        wire.send(&json!({"method": "io.hcn.Network.Query", "parameters": {"id": id(1)}})).await;
    }
    sleep(Duration::from_millis(200)).await;
    assert!(server.service.decided().len() <= 1 + Limits::default().unwritten_reads + 1);
    let mut other = server.connect().await;
    assert_eq!(other.call("io.hcn.Endpoint.Enumerate", json!({})).await, json!({"ids": []}));
    for _ in 0..100 {
        let reply = wire.receive().await.unwrap();
        assert_eq!(reply["parameters"]["properties"]["Large"].as_str().unwrap().len(), large.len());
    }
}

#[tokio::test]
async fn oneway_calls_are_carried_out_without_reply() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let mut call = create(1, &json!({}));
    call["oneway"] = json!(true);
    wire.send(&call).await;
    wire.send(&json!({"method": "io.hcn.Network.Destroy", "oneway": true})).await;
    wire.send(&json!({"method": "io.hcn.Network.Enumerate", "oneway": true})).await;
    assert_eq!(wire.call("io.hcn.Network.Enumerate", json!({})).await, json!({"ids": [id(1)]}));
}

#[tokio::test]
async fn a_call_that_does_not_stream_answers_more_once() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    wire.send(&json!({"method": "io.hcn.Service.Ping", "more": true})).await;
    assert_eq!(wire.receive().await.unwrap(), json!({"parameters": {}}));
}

#[tokio::test]
async fn a_panic_of_the_service_breaks_off_only_that_call() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    wire.send(&create(1, &json!({"Panic": 1}))).await;
    assert_eq!(code(&wire.receive().await.unwrap()), 0x8007_06be);
    assert_eq!(wire.call("io.hcn.Network.Enumerate", json!({})).await, json!({"ids": []}));
}

#[tokio::test]
async fn the_service_describes_itself() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let info = wire.call("org.varlink.service.GetInfo", Value::Null).await;
    assert_eq!(info["product"], "hcnd");
    for interface in info["interfaces"].as_array().unwrap() {
        let asked = json!({"interface": interface});
        let answer = wire.call("org.varlink.service.GetInterfaceDescription", asked).await;
        let text = answer["description"].as_str().unwrap();
        assert!(text.contains(&format!("interface {}", interface.as_str().unwrap())));
    }
    let reply = wire.reply("io.hcn.Nothing.Create", json!({})).await;
    assert_eq!(reply["error"], "org.varlink.service.InterfaceNotFound");
    assert_eq!(reply["parameters"]["interface"], "io.hcn.Nothing");
    let reply = wire.reply("io.hcn.Network.Destroy", json!({})).await;
    assert_eq!(reply["error"], "org.varlink.service.MethodNotFound");
    assert_eq!(wire.call("io.hcn.Service.GetInfo", json!({})).await["interfaces"], info["interfaces"]);
}

#[tokio::test]
async fn at_shutdown_calls_in_flight_are_answered_and_new_ones_refused() {
    let mut server = Server::start(Limits::default());
    let (mut busy, mut other) = (server.connect().await, server.connect().await);
    busy.send(&create(1, &json!({"Hang": 1}))).await;
    assert_eq!(other.call("io.hcn.Service.Ping", json!({})).await, json!({}));
    server.stop();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(other.fail("io.hcn.Network.Enumerate", json!({})).await, 0x803b_0020);
    server.service.go_on.notify_one();
    assert_eq!(busy.receive().await.unwrap()["parameters"]["id"], id(1));
    assert_eq!(busy.receive().await, None);
    assert_eq!(other.receive().await, None);
    server.task.await.unwrap();
}
