//! Are notifications told as contract section 4 says: which, in which order, with what in them, to whom?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use hcn_tests::client::{Client, DUAL, network_document, v2};
use hcn_tests::{Sandbox, in_sandbox};
use serde_json::{Value, json};

const PRE_CREATE: u64 = 1;
const CREATE: u64 = 2;
const PRE_DELETE: u64 = 3;
const DELETE: u64 = 4;
const NAMESPACE_CREATE: u64 = 5;
const NAMESPACE_DELETE: u64 = 6;
const ATTACHED: u64 = 9;
const DETACHED: u64 = 0x10;

/// A subscription, and the number of the last event before it.
fn subscribe(parameters: &Value) -> (Client, u64) {
    let mut client = Client::new();
    client.wire.send("io.hcn.Events.Subscribe", parameters, true).unwrap();
    let first = client.wire.receive().unwrap();
    assert_eq!(first.parameters["registered"], true, "{}", first.raw);
    assert!(first.raw.contains("\"continues\":true"), "{}", first.raw);
    let seq = first.parameters["seq"].as_u64().unwrap();
    (client, seq)
}

fn next(subscriber: &mut Client) -> Value {
    subscriber.wire.receive().unwrap().parameters
}

/// The next event that the contract has a number for.
fn next_numbered(subscriber: &mut Client) -> Value {
    loop {
        let event = next(subscriber);
        if !event["notification"].is_null() {
            return event;
        }
    }
}

#[track_caller]
fn assert_event(event: &Value, number: u64, kind: &str, id: &str, base: &Value) {
    let found = (event["notification"].as_u64(), event["kind"].as_str(), event["id"].as_str());
    assert_eq!(found, (Some(number), Some(kind), Some(id)), "{event}");
    assert_eq!(&event["data"], base, "{event}");
}

#[test]
fn the_life_of_everything_is_told_in_order() {
    in_sandbox!(Sandbox::new(), { the_life_of_everything() });
}

#[test]
fn the_life_of_everything_of_an_ordinary_user_is_told_in_order() {
    in_sandbox!(Sandbox::as_ordinary_user(), { the_life_of_everything() });
}

fn the_life_of_everything() {
    let (mut subscriber, _) = subscribe(&json!({}));
    let mut client = Client::new();
    let mut settings = network_document(&DUAL);
    settings["Flags"] = json!(8);
    settings["Owner"] = json!("tester");
    let network =
        client.ok("Network.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned();
    let namespace = client.namespace("Host");
    let endpoint = client.endpoint(&network, &json!({}));
    client.attach(&namespace, &endpoint);
    client.detach(&namespace, &endpoint);
    client.attach(&namespace, &endpoint);
    client.delete("Network", &network);
    client.delete("Namespace", &namespace);

    let of_network = json!({"ID": network, "Flags": 8});
    let of_namespace = json!({"ID": namespace, "Flags": 0});
    let of_endpoint = json!({"ID": endpoint, "Flags": 0, "Data": {"NetworkId": network}});
    for (number, kind, id, base) in [
        (PRE_CREATE, "Network", &network, &of_network),
        (CREATE, "Network", &network, &of_network),
        (NAMESPACE_CREATE, "Namespace", &namespace, &of_namespace),
        (ATTACHED, "Endpoint", &endpoint, &of_endpoint),
        (DETACHED, "Endpoint", &endpoint, &of_endpoint),
        (ATTACHED, "Endpoint", &endpoint, &of_endpoint),
        (PRE_DELETE, "Network", &network, &of_network),
        (DETACHED, "Endpoint", &endpoint, &of_endpoint),
        (DELETE, "Network", &network, &of_network),
        (NAMESPACE_DELETE, "Namespace", &namespace, &of_namespace),
    ] {
        let event = next_numbered(&mut subscriber);
        assert_event(&event, number, kind, id, base);
        if kind == "Network" {
            assert_eq!(event["owner"], "tester");
        }
    }
}

#[test]
fn numbers_increase_without_holes() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let (mut first, start) = subscribe(&json!({}));
        let network = client.network(&DUAL);
        let (mut second, joined) = subscribe(&json!({}));
        client.delete("Network", &network);
        assert_eq!((start, joined), (0, 2));
        for seq in 1..=4 {
            assert_eq!(next(&mut first)["seq"], seq);
        }
        // There is no replay for one who came later.
        for (seq, number) in [(3, PRE_DELETE), (4, DELETE)] {
            let event = next(&mut second);
            assert_eq!((&event["seq"], &event["notification"]), (&json!(seq), &json!(number)));
        }
    });
}

#[test]
fn two_subscribers_are_told_the_same() {
    in_sandbox!(Sandbox::new(), {
        let mut subscribers = [subscribe(&json!({})).0, subscribe(&json!({})).0];
        let clients = [1, 2].map(|number| {
            std::thread::spawn(move || {
                let mut client = Client::new();
                for _ in 0..10 {
                    let network = client.network(&[&format!("10.{number}.0.0/24")]);
                    client.delete("Network", &network);
                }
            })
        });
        clients.into_iter().for_each(|client| client.join().unwrap());
        let mut told: Vec<Vec<Value>> =
            subscribers.iter_mut().map(|subscriber| (0..80).map(|_| next(subscriber)).collect()).collect();
        assert_eq!(told[0], told[1]);
        // Two clients at once, and still each network has its events in order.
        told[0].sort_by_key(|event| (event["id"].to_string(), event["seq"].as_u64()));
        for events in told[0].chunks(4) {
            let numbers: Vec<_> =
                events.iter().map(|event| event["notification"].as_u64().unwrap()).collect();
            assert_eq!(numbers, [PRE_CREATE, CREATE, PRE_DELETE, DELETE]);
            assert!(events.iter().all(|event| event["id"] == events[0]["id"]));
        }
    });
}

#[test]
fn a_filter_of_kinds_leaves_the_others_out() {
    in_sandbox!(Sandbox::new(), {
        let (mut subscriber, _) = subscribe(&json!({"kinds": ["Namespace"]}));
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let namespace = client.namespace("Host");
        client.delete("Network", &network);
        client.delete("Namespace", &namespace);
        assert_event(
            &next(&mut subscriber),
            5,
            "Namespace",
            &namespace,
            &json!({"ID": namespace, "Flags": 0}),
        );
        let event = next(&mut subscriber);
        assert_eq!((&event["notification"], &event["seq"]), (&json!(NAMESPACE_DELETE), &json!(6)));
    });
}

#[test]
fn a_create_that_the_kernel_refuses_is_announced_and_never_told_as_done() {
    in_sandbox!(Sandbox::new(), {
        // The bridge's name is taken by somebody else.
        let id = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";
        hcn_tests::run_ok(&["ip", "link", "add", "hcn5f0b1190", "type", "bridge"]);
        let (mut subscriber, _) = subscribe(&json!({}));
        let mut client = Client::new();
        let create = json!({"id": id, "settings": network_document(&DUAL)});
        client.refused("Network.Create", &create);
        assert_eq!(next(&mut subscriber)["notification"], PRE_CREATE);
        // Refused before it is tried: not announced at all.
        client
            .refused("Network.Create", &json!({"settings": {"Type": "Moon", "SchemaVersion": {"Major": 2}}}));
        client.refused("Network.Open", &json!({"id": id}));
        hcn_tests::run_ok(&["ip", "link", "del", "hcn5f0b1190"]);
        client.ok("Network.Create", &create);
        for number in [PRE_CREATE, CREATE] {
            let event = next(&mut subscriber);
            assert_eq!((&event["notification"], &event["id"]), (&json!(number), &json!(id)));
        }
    });
}

#[test]
fn at_pre_delete_the_network_can_still_be_opened() {
    in_sandbox!(Sandbox::new(), {
        let (mut subscriber, _) = subscribe(&json!({}));
        let (mut client, mut other) = (Client::new(), Client::new());
        other.ok("Service.Ping", &json!({}));
        // Nobody waits for who is told, and a busy machine may run it too late.
        let opened = (0..5).any(|_| {
            let network = client.network(&DUAL);
            // With so much to take down that there is time to look.
            for _ in 0..40 {
                client.container(&network, &json!({}));
            }
            client.wire.send("io.hcn.Network.Delete", &json!({"id": network}), false).unwrap();
            while next(&mut subscriber)["notification"] != PRE_DELETE {}
            let reply = other.call("Network.Open", &json!({"id": network}));
            assert_eq!(client.wire.receive().unwrap().error, None);
            if reply.error.is_some() {
                return false;
            }
            // Its handle is then one of something that is gone.
            let handle = &reply.parameters["handle"];
            other.refused("Network.Query", &json!({"handle": handle, "query": v2()}));
            other.ok("Network.Close", &json!({"handle": handle}));
            true
        });
        assert!(opened, "five times the network was gone already");
    });
}

#[test]
fn a_delete_that_is_refused_is_not_told_as_done() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let container = client.container(&network, &json!({}));
        let (mut subscriber, _) = subscribe(&json!({}));
        client.refused("Namespace.Delete", &json!({"id": container.namespace}));
        client.refused("Network.Delete", &json!({"id": container.namespace}));
        client.detach(&container.namespace, &container.endpoint);
        assert_eq!(next_numbered(&mut subscriber)["notification"], DETACHED);
    });
}
