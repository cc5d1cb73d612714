//! What happens to calls when the kernel hangs, and when it does not take back what failed? Over the fake kernel, which
//! does both when a test wants it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::path::Path;
use std::time::{Duration, Instant};

use hcn_dataplane::State;
use hcn_tests::client::{Client, DUAL, network_document};
use hcn_tests::conformance::delete_everything;
use hcn_tests::service::{InProcess, fake_host};
use hcn_tests::wire::Wire;
use hcn_tests::{eventually, patience};
use serde_json::{Value, json};

const TIMEOUT: u32 = 0x8007_05b4;
const GENERAL_FAILURE: u32 = 0x8007_001f;
const DEGRADED: u32 = 0x803b_0017;

/// Sends a call on a connection of its own, which is waited for later.
fn sent(socket: &Path, method: &str, parameters: &Value) -> Wire {
    let mut wire = Wire::connect(socket).unwrap();
    wire.send(&format!("io.hcn.{method}"), parameters, false).unwrap();
    wire
}

fn named(name: &str, prefix: &str) -> Value {
    let mut settings = network_document(&[prefix]);
    settings["Name"] = json!(name);
    json!({"settings": settings})
}

#[test]
fn a_kernel_that_hangs_holds_up_what_it_must_do_and_nothing_else() {
    let dataplane = fake_host();
    let daemon = InProcess::start(dataplane.clone());
    let socket = daemon.socket();
    let mut client = Client::of(&socket);
    let network = client.network(&DUAL);
    let namespace = client.namespace("Host");
    let started = Instant::now();
    let held = dataplane.lock();
    let mut waiting = vec![sent(&socket, "Network.Create", &named("stuck", "10.1.0.0/24"))];
    for _ in 0..3 {
        // By then it is under way.
        client.ok("Service.Ping", &json!({}));
    }
    // What needs nothing of the kernel is answered at once, changes too, but for one look that is waited for.
    let endpoint = client.endpoint(&network, &json!({}));
    for _ in 0..100 {
        client.query("Network", &network);
        client.query("Endpoint", &endpoint);
        client.ok("Namespace.Enumerate", &json!({}));
    }
    client.delete("Endpoint", &endpoint);
    assert!(started.elapsed() < patience(Duration::from_secs(5)), "{:?}", started.elapsed());
    // Others need it, or what is stuck.
    waiting.push(sent(&socket, "Network.Create", &named("other", "10.2.0.0/24")));
    waiting.push(sent(&socket, "Network.Create", &named("stuck", "10.3.0.0/24")));
    waiting.push(sent(&socket, "Namespace.Delete", &json!({"id": namespace})));
    for wire in &mut waiting {
        let reply = wire.receive_within(patience(Duration::from_secs(40))).unwrap().expect("an answer");
        assert_eq!(reply.hresult(), Some(TIMEOUT), "{}", reply.raw);
    }
    let waited = started.elapsed();
    assert!(waited < patience(Duration::from_secs(45)), "{waited:?}");
    client.query("Network", &network);
    drop(held);
    // Then everything goes on. What was under way is done; what waited for its turn has been given up.
    eventually("what was under way is done", || {
        client.ids("Network").len() == 3 && client.ids("Namespace").is_empty()
    });
    client.network(&["10.4.0.0/24"]);
    delete_everything(&mut client.wire);
    assert_eq!(dataplane.lock().inner.state, State::new());
}

#[test]
fn what_cannot_be_undone_is_told_with_both_errors_and_tried_again() {
    let dataplane = fake_host();
    let daemon = InProcess::start(dataplane.clone());
    let mut client = Client::of(&daemon.socket());
    {
        let mut chaos = dataplane.lock();
        (chaos.fail_at, chaos.fail_undo) = (Some(2), true);
    }
    let failed = client.call("Network.Create", &named("n", "10.1.0.0/24"));
    assert_eq!(failed.hresult(), Some(GENERAL_FAILURE), "{}", failed.raw);
    let message = failed.parameters["message"].as_str().unwrap();
    assert!(
        message.contains("injected failure (") && message.contains("injected failure of the undo"),
        "{message}"
    );
    // It is visible until nothing is left of it.
    let ids = client.ids("Network");
    assert_eq!(ids.len(), 1);
    let document = client.query("Network", &ids[0]);
    assert_eq!(document["Health"]["Data"]["LastErrorCode"], GENERAL_FAILURE, "{document}");
    assert_eq!(client.refused("Network.Delete", &json!({"id": ids[0]})), DEGRADED);
    assert_ne!(dataplane.lock().inner.state, State::new());
    eventually("it is taken back", || client.ids("Network").is_empty());
    assert_eq!(dataplane.lock().inner.state, State::new());
    client.network(&["10.1.0.0/24"]);
}
