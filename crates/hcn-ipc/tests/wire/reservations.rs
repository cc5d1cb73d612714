//! Port reservations: they end with the handle of whoever made them.

use std::time::Duration;

use hcn_ipc::Limits;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::service::{Server, Wire, code, id};

const NOT_FOUND: u64 = 0x8007_0490;

fn reserve(number: usize, settings: &Value) -> Value {
    json!({"method": "io.hcn.PortReservation.Create",
           "parameters": {"id": id(number), "settings": settings}})
}

/// Makes a reservation and gives its handle.
async fn reserved(wire: &mut Wire, number: usize, settings: &Value) -> Value {
    wire.send(&reserve(number, settings)).await;
    json!({"handle": wire.receive().await.unwrap()["parameters"]["handle"]})
}

/// Waits until there are no reservations.
async fn assert_released(server: &Server) {
    let mut other = server.connect().await;
    for _ in 0..200 {
        if other.call("io.hcn.PortReservation.Enumerate", json!({})).await == json!({"ids": []}) {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the reservations are still there");
}

#[tokio::test]
async fn closing_the_makers_handle_releases_before_it_answers() {
    let server = Server::start(Limits::default());
    let (mut wire, mut other) = (server.connect().await, server.connect().await);
    let handle = reserved(&mut wire, 1, &json!({})).await;
    // The handle of somebody who opened it decides nothing.
    let opened = other.call("io.hcn.PortReservation.Open", json!({"id": id(1)})).await;
    other.call("io.hcn.PortReservation.Close", opened).await;
    other.call("io.hcn.PortReservation.Query", json!({"id": id(1)})).await;
    wire.call("io.hcn.PortReservation.Close", handle.clone()).await;
    assert_eq!(other.fail("io.hcn.PortReservation.Query", json!({"id": id(1)})).await, NOT_FOUND);
    assert_eq!(wire.fail("io.hcn.PortReservation.Close", handle).await, 0x8007_0006);
    let answered = server.service.answered();
    for line in ["PortReservation Delete 0x00000000", "PortReservation Close 0x00000000"] {
        assert!(answered.iter().any(|found| found == line), "{line}: {answered:?}");
    }
}

#[tokio::test]
async fn what_is_behind_a_close_sees_the_ports_free() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let handle = reserved(&mut wire, 1, &json!({})).await;
    wire.send(&json!({"method": "io.hcn.PortReservation.Close", "parameters": handle})).await;
    wire.send(&json!({"method": "io.hcn.PortReservation.Enumerate"})).await;
    assert_eq!(wire.receive().await.unwrap(), json!({"parameters": {}}));
    assert_eq!(wire.receive().await.unwrap(), json!({"parameters": {"ids": []}}));
}

#[tokio::test]
async fn the_end_of_the_session_releases_what_it_holds() {
    let server = Server::start(Limits::default());
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    let token = first.call("io.hcn.Service.OpenSession", json!({})).await;
    second.call("io.hcn.Service.JoinSession", token).await;
    reserved(&mut first, 1, &json!({})).await;
    reserved(&mut second, 2, &json!({})).await;
    drop(first);
    sleep(Duration::from_millis(50)).await;
    let ids = second.call("io.hcn.PortReservation.Enumerate", json!({})).await;
    assert_eq!(ids, json!({"ids": [id(1), id(2)]}));
    drop(second);
    assert_released(&server).await;
}

#[tokio::test]
async fn one_whose_client_is_gone_before_it_is_made_is_released_too() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    wire.send(&reserve(1, &json!({"Hang": 1}))).await;
    let mut oneway = reserve(2, &json!({}));
    oneway["oneway"] = json!(true);
    wire.send(&oneway).await;
    wire.send(&json!({"method": "io.hcn.Service.Ping"})).await;
    // Until both are decided.
    while server.service.decided().len() < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    drop(wire);
    sleep(Duration::from_millis(50)).await;
    server.service.go_on.notify_one();
    sleep(Duration::from_millis(50)).await;
    assert_released(&server).await;
    let deleted = server.service.answered();
    let deleted = deleted.iter().filter(|line| *line == "PortReservation Delete 0x00000000");
    assert_eq!(deleted.count(), 2);
}

#[tokio::test]
async fn a_handle_stays_open_when_its_reservation_cannot_be_deleted() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let handle = reserved(&mut wire, 1, &json!({"Stay": 1})).await;
    assert_eq!(wire.fail("io.hcn.PortReservation.Close", handle.clone()).await, 0x8007_001f);
    wire.call("io.hcn.PortReservation.Query", handle.clone()).await;
    wire.call("io.hcn.PortReservation.Close", handle).await;
    assert_released(&server).await;
}

#[tokio::test]
async fn what_was_deleted_by_its_id_and_made_again_by_another_is_left_alone() {
    let server = Server::start(Limits::default());
    let (mut wire, mut other) = (server.connect().await, server.connect().await);
    let handle = reserved(&mut wire, 1, &json!({})).await;
    let second = reserved(&mut wire, 2, &json!({})).await;
    for number in [1, 2] {
        other.call("io.hcn.PortReservation.Delete", json!({"id": id(number)})).await;
    }
    let mine = reserved(&mut other, 1, &json!({})).await;
    for handle in [handle, second] {
        wire.call("io.hcn.PortReservation.Close", handle).await;
    }
    drop(wire);
    sleep(Duration::from_millis(50)).await;
    other.call("io.hcn.PortReservation.Query", mine).await;
}

#[tokio::test]
async fn at_shutdown_what_clients_hold_is_released_while_there_is_a_service() {
    let mut server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    reserved(&mut wire, 1, &json!({})).await;
    server.stop();
    server.task.await.unwrap();
    let answered = server.service.answered();
    assert_eq!(answered.last().unwrap(), "PortReservation Delete 0x00000000");
}

#[tokio::test]
async fn other_entities_outlive_their_handles() {
    let server = Server::start(Limits::default());
    let mut wire = server.connect().await;
    let service = json!({"id": id(1), "settings": {}});
    let made = wire.call("io.hcn.GuestNetworkService.Create", service).await;
    let handle = json!({"handle": made["handle"]});
    wire.call("io.hcn.GuestNetworkService.Close", handle).await;
    drop(wire);
    sleep(Duration::from_millis(50)).await;
    let mut wire = server.connect().await;
    wire.call("io.hcn.GuestNetworkService.Query", json!({"id": id(1)})).await;
    let reply = wire.reply("io.hcn.PortReservation.Open", json!({"id": id(1)})).await;
    assert_eq!(code(&reply), NOT_FOUND);
}
