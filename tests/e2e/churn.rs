//! Does anything pile up or get mixed up? Creating and deleting over and over, many at once, and clients that vanish.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, DUAL, membership, network_document, v2, with_version};
use hcn_tests::kernel::{assert_unchanged, dump};
use hcn_tests::service::{held_by, sandbox_hcnd};
use hcn_tests::traffic::ask_tcp;
use hcn_tests::traffic::{HOST, ping, serve};
use hcn_tests::{Sandbox, eventually, in_sandbox, is_running};
use serde_json::{Value, json};

const NETWORK_ALREADY_EXISTS: u32 = 0x803b_0010;
const INVALID_IP: u32 = 0x803b_001e;
const INVALID_HANDLE: u32 = 0x8007_0006;

/// An ID made of a kind, a client and a number.
fn id(kind: u8, client: usize, number: usize) -> String {
    format!("{number:06X}{kind:02X}-0000-4000-8000-0000{client:08X}")
}

/// Where the network of a client is.
fn subnets(client: usize) -> [String; 2] {
    [format!("10.{client}.0.0/24"), format!("fd00:{client}::/64")]
}

fn create_network(client: &mut Client, id: &str, name: &str, subnets: &[&str]) {
    let mut settings = network_document(subnets);
    settings["Name"] = json!(name);
    let created = client.ok("Network.Create", &json!({"id": id, "settings": settings}));
    assert_eq!(created["id"], id);
}

fn create_endpoint(client: &mut Client, network: &str, id: &str, settings: &Value) {
    let settings = with_version(settings);
    client.ok("Endpoint.Create", &json!({"id": id, "network_id": network, "settings": settings}));
}

fn create_namespace(client: &mut Client, id: &str) {
    client.ok("Namespace.Create", &json!({"id": id, "settings": v2()}));
}

/// Everything once, with the same IDs, names, addresses and MAC addresses each time.
fn one_round(client: &mut Client, number: usize) {
    let [network, first, second, namespace] = [1, 2, 3, 4].map(|kind| id(kind, number, 0));
    let subnets = subnets(number);
    create_network(client, &network, &format!("net-{number}"), &subnets.each_ref().map(String::as_str));
    let given = json!({
        "IpConfigurations": [{"IpAddress": format!("10.{number}.0.20")}, {"IpAddress": format!("fd00:{number}::20")}],
        "MacAddress": "00-15-5D-52-C0-20",
        "Dns": {"ServerList": ["192.0.2.53"]},
    });
    create_endpoint(client, &network, &first, &given);
    create_endpoint(client, &network, &second, &json!({}));
    create_namespace(client, &namespace);
    client.attach(&namespace, &first);
    client.attach(&namespace, &second);
    client.detach(&namespace, &first);
    client.delete("Endpoint", &first);
    // The second one goes with the network, attached as it is.
    client.delete("Network", &network);
    client.delete("Namespace", &namespace);
}

fn assert_no_records(client: &mut Client) {
    for kind in ["Network", "Endpoint", "Namespace"] {
        assert_eq!(client.ids(kind), [""; 0], "{kind}");
    }
}

#[test]
fn two_hundred_rounds_of_everything_leave_nothing() {
    in_sandbox!(Sandbox::new(), { rounds_leave_nothing(200) });
}

#[test]
fn rounds_of_everything_by_an_ordinary_user_leave_nothing() {
    in_sandbox!(Sandbox::as_ordinary_user(), { rounds_leave_nothing(20) });
}

fn rounds_leave_nothing(rounds: usize) {
    let mut client = Client::new();
    let hcnd = sandbox_hcnd();
    let clean = dump();
    let mut held = Vec::new();
    for rounds in [rounds / 5, rounds - rounds / 5] {
        for _ in 0..rounds {
            one_round(&mut client, 1);
        }
        assert_no_records(&mut client);
        assert_unchanged(&clean, "something is left");
        held.push(held_by(hcnd));
    }
    // What the first rounds opened is enough for the others.
    let (first, last) = (held[0], held[1]);
    assert_eq!((last.files, last.threads), (first.files, first.threads));
    assert!(last.memory < first.memory + 2048, "after {rounds} rounds: {first:?}, {last:?}");
}

#[test]
fn clients_with_networks_of_their_own_do_not_meet() {
    in_sandbox!(Sandbox::new(), {
        let before = dump();
        thread::scope(|scope| {
            for number in [1, 2] {
                scope.spawn(move || {
                    let mut client = Client::new();
                    for _ in 0..60 {
                        one_round(&mut client, number);
                    }
                });
            }
        });
        assert_no_records(&mut Client::new());
        assert_unchanged(&before, "something is left");
    });
}

#[test]
fn clients_on_one_network_do_not_meet() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let before = dump();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut client = Client::new();
                    for _ in 0..60 {
                        let container = client.container(&network, &json!({}));
                        client.detach(&container.namespace, &container.endpoint);
                        client.delete("Endpoint", &container.endpoint);
                        client.delete("Namespace", &container.namespace);
                    }
                });
            }
        });
        assert_unchanged(&before, "something is left");
        assert_eq!((client.ids("Endpoint").len(), client.ids("Namespace").len()), (0, 0));
    });
}

/// Lets clients call at the same moment; their codes, 0 for success.
fn race(clients: usize, method: &str, parameters: &(dyn Fn(usize) -> Value + Sync)) -> Vec<u32> {
    let barrier = Barrier::new(clients);
    thread::scope(|scope| {
        let racers: Vec<_> = (0..clients)
            .map(|number| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut client = Client::new();
                    let parameters = parameters(number);
                    barrier.wait();
                    client.call(method, &parameters).hresult().unwrap_or(0)
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    })
}

fn assert_one_wins(codes: &[u32], others: u32) {
    let mut sorted = codes.to_vec();
    sorted.sort_unstable();
    let mut expected = vec![others; codes.len()];
    expected[0] = 0;
    assert_eq!(sorted, expected, "{codes:#x?}");
}

#[test]
fn of_those_who_want_the_same_one_gets_it() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let before = dump();
        for _ in 0..10 {
            let network = id(1, 0, 1);
            let same_id = |number: usize| {
                let prefix = format!("10.{number}.0.0/24");
                json!({"id": network, "settings": network_document(&[prefix.as_str()])})
            };
            assert_one_wins(&race(6, "Network.Create", &same_id), NETWORK_ALREADY_EXISTS);
            client.delete("Network", &network);

            let same_name = |number: usize| {
                let prefix = format!("10.{number}.0.0/24");
                let mut settings = network_document(&[prefix.as_str()]);
                settings["Name"] = json!("wanted");
                json!({"settings": settings})
            };
            assert_one_wins(&race(6, "Network.Create", &same_name), NETWORK_ALREADY_EXISTS);
            let network = client.ids("Network").remove(0);

            let given = with_version(&json!({"IpConfigurations": [{"IpAddress": "10.99.0.9"}]}));
            let other = client.network(&["10.99.0.0/24"]);
            let same_address = |_| json!({"network_id": other, "settings": given});
            assert_one_wins(&race(6, "Endpoint.Create", &same_address), INVALID_IP);

            // Each of these wants an address, no matter which: all differ.
            let any = |_| json!({"network_id": other, "settings": v2()});
            assert_eq!(race(6, "Endpoint.Create", &any), [0; 6]);
            let mut addresses: Vec<_> =
                client.ids("Endpoint").iter().flat_map(|id| client.addresses(id)).collect();
            addresses.sort();
            addresses.dedup();
            assert_eq!(addresses.len(), 7);

            client.delete("Network", &network);
            client.delete("Network", &other);
        }
        assert_no_records(&mut client);
        assert_unchanged(&before, "something is left");
    });
}

#[test]
fn an_endpoint_that_is_wanted_by_two_namespaces_gets_into_one() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let namespaces = [(); 4].map(|()| client.namespace("Host"));
        for _ in 0..10 {
            let endpoint = client.endpoint(&network, &json!({}));
            let attach = |number: usize| membership("Add", &namespaces[number], &endpoint);
            assert_one_wins(&race(4, "Namespace.Modify", &attach), 0x803b_002b);
            client.delete("Endpoint", &endpoint);
        }
    });
}

#[test]
fn the_handles_of_a_client_that_dies_die_with_it() {
    in_sandbox!(Sandbox::new(), {
        let mut survivor = Client::new();
        survivor.ok("Service.Ping", &json!({}));
        let hcnd = sandbox_hcnd();
        let before = held_by(hcnd);
        let mut dying = Client::new();
        let token = dying.ok("Service.OpenSession", &json!({}))["token"].clone();
        let created = dying.ok("Network.Create", &json!({"settings": network_document(&DUAL)}));
        let handle = json!({"handle": created["handle"], "query": v2()});
        let network = created["id"].as_str().unwrap();
        for _ in 0..1000 {
            dying.ok("Network.Open", &json!({"id": network}));
        }
        // It dies within a message, with calls under way.
        for _ in 0..20 {
            let create = json!({"network_id": network, "settings": v2()});
            dying.wire.send("io.hcn.Endpoint.Create", &create, false).unwrap();
        }
        dying.wire.send_raw(b"{\"method\":\"io.hcn.Netw").unwrap();
        drop(dying);
        eventually("the connection is closed", || held_by(hcnd).files <= before.files);
        assert_eq!(survivor.refused("Network.Query", &handle), INVALID_HANDLE);
        let joined = survivor.refused("Service.JoinSession", &json!({"token": token}));
        assert_eq!(joined, INVALID_HANDLE);
        // What it made stays, and each call that was heard was carried out whole.
        assert_eq!(survivor.ids("Network"), [network]);
        for endpoint in survivor.ids("Endpoint") {
            assert_eq!(survivor.addresses(&endpoint).len(), 2);
        }
        survivor.delete("Network", network);
        assert_no_records(&mut survivor);
        assert!(is_running(hcnd));
    });
}

#[test]
fn sixty_four_endpoints_are_attached_by_requests_in_flight() {
    const COUNT: usize = 64;
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let ids: Vec<[String; 2]> = (0..COUNT).map(|number| [id(2, 0, number), id(4, 0, number)]).collect();
        for [endpoint, namespace] in &ids {
            let endpoint = json!({"id": endpoint, "network_id": network, "settings": v2()});
            client.wire.send("io.hcn.Endpoint.Create", &endpoint, false).unwrap();
            let namespace = json!({"id": namespace, "settings": v2()});
            client.wire.send("io.hcn.Namespace.Create", &namespace, false).unwrap();
        }
        for expected in ids.iter().flatten() {
            assert_eq!(client.wire.receive().unwrap().parameters["id"], *expected);
        }
        for [endpoint, namespace] in &ids {
            let attach = membership("Add", namespace, endpoint);
            client.wire.send("io.hcn.Namespace.Modify", &attach, false).unwrap();
            // What is read behind it sees it done.
            let query = json!({"id": endpoint, "query": v2()});
            client.wire.send("io.hcn.Endpoint.Query", &query, false).unwrap();
        }
        for [endpoint, namespace] in &ids {
            assert_eq!(client.wire.receive().unwrap().error, None);
            let document = &client.wire.receive().unwrap().parameters["properties"];
            assert_eq!(
                (&document["ID"], &document["HostComputeNamespace"]),
                (&json!(endpoint), &json!(namespace))
            );
        }
        serve(&ids[0][1]);
        let server = client.addresses(&ids[0][0]);
        for [endpoint, namespace] in &ids {
            for (family, address) in client.addresses(endpoint).iter().enumerate() {
                assert_eq!(ask_tcp(namespace, &server[family]).unwrap(), *address);
                assert_eq!(ping(HOST, address).code, Some(0), "{address}");
            }
        }
    });
}

#[test]
fn a_network_is_deleted_with_fifty_attached_endpoints() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let namespaces: Vec<String> = (0..25).map(|_| client.namespace("Host")).collect();
        let before = dump();
        let network = client.network(&DUAL);
        for namespace in namespaces.iter().chain(&namespaces) {
            let endpoint = client.endpoint(&network, &json!({"Dns": {"ServerList": ["192.0.2.53"]}}));
            client.attach(namespace, &endpoint);
        }
        let started = Instant::now();
        client.delete("Network", &network);
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        // Deleted means that the same names can be used again at once.
        let again = client.network(&DUAL);
        for namespace in &namespaces {
            assert_eq!(client.query("Namespace", namespace)["Resources"], Value::Null);
            let endpoint = client.endpoint(&again, &json!({}));
            client.attach(namespace, &endpoint);
        }
        client.delete("Network", &again);
        assert_unchanged(&before, "something is left");
    });
}
