//! Do rules act on networks of every type, both ways and over both families, on containers and on virtual machines, and on
//! nobody beside them? What they do with packets in detail: `filters.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;
use std::thread;

use hcn_tests::client::{Client, Container, DUAL, with_version};
use hcn_tests::overlay::{container, mac, places, remote, stretched};
use hcn_tests::policies::change;
use hcn_tests::traffic::{HOST, ask_tcp_at, ask_udp_at, serve_as, wait_for_outside};
use hcn_tests::vm::Machine;
use hcn_tests::{Node, Sandbox, eventually, in_sandbox, run, run_ok};
use serde_json::{Value, json};
use tempfile::TempDir;

const PORT: u16 = 80;
const FAMILIES: [usize; 2] = [0, 1];
const GATEWAYS: [&str; 2] = ["192.0.2.1", "2001:db8:abcd:12::1"];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];

/// With whom endpoints of a type of network talk: a neighbour, the host, and somebody outside.
const TYPES: [(&str, &[Peer]); 6] = [
    ("NAT", &[Peer::Neighbour, Peer::Host]),
    ("Internal", &[Peer::Neighbour, Peer::Host]),
    ("Private", &[Peer::Neighbour]),
    ("L2Bridge", &[Peer::Neighbour, Peer::Host, Peer::Outside]),
    ("L2Tunnel", &[Peer::Host, Peer::Outside]),
    // Whose uplink is a port of its bridge.
    ("Transparent", &[Peer::Neighbour, Peer::Host, Peer::Outside]),
];

#[derive(Clone, Copy)]
enum Peer {
    Neighbour,
    Host,
    Outside,
}

/// Who sends packets and gets them.
struct Place {
    name: &'static str,
    netns: String,
    addresses: Vec<String>,
}

impl Place {
    fn new(name: &'static str, netns: &str, addresses: &[impl ToString]) -> Self {
        Self { name, netns: netns.to_owned(), addresses: addresses.iter().map(ToString::to_string).collect() }
    }

    /// One that serves from now on.
    fn serving(name: &'static str, netns: &str, addresses: &[impl ToString]) -> Self {
        serve_as(netns, PORT, name);
        Self::new(name, netns, addresses)
    }
}

/// An endpoint that has rules, one beside it that has none, and with whom both talk.
struct World {
    ruled: Place,
    beside: Place,
    peers: Vec<Place>,
}

impl World {
    /// What is not so: TCP comes to the endpoint with rules and goes from it or does not, and all else passes.
    fn wrong(&self, comes: bool, goes: bool) -> Vec<String> {
        let Self { ruled, beside, peers } = self;
        let pairs = peers.iter().flat_map(|peer| {
            [(peer, ruled, comes), (ruled, peer, goes), (peer, beside, true), (beside, peer, true)]
        });
        let all: Vec<_> = pairs.flat_map(|pair| FAMILIES.map(|family| (pair, family))).collect();
        let ask = |((from, to, passes), family): &((&Place, &Place, bool), usize)| {
            let address = &to.addresses[*family];
            let tcp = ask_tcp_at(&from.netns, address, PORT).is_ok();
            let udp = ask_udp_at(&from.netns, address, PORT).is_ok();
            let told = format!("from {} to {} at {address}: TCP {tcp}, UDP {udp}", from.name, to.name);
            (tcp != *passes || !udp).then_some(told)
        };
        // At once, since what is blocked takes its time.
        thread::scope(|scope| {
            let asking: Vec<_> = all.iter().map(|one| scope.spawn(|| ask(one))).collect();
            asking.into_iter().filter_map(|one| one.join().unwrap()).collect()
        })
    }

    /// Gives the endpoint rules of a type, one direction after the other, and takes them away.
    fn obeys(&self, client: &mut Client, endpoint: &str, rule_type: &str, what: &str) {
        let is = |comes, goes, when: &str| {
            let wrong = self.wrong(comes, goes);
            assert!(wrong.is_empty(), "{what}, {rule_type}, {when}: {wrong:#?}");
        };
        // The kernel is still busy with what has just been made, as with forwarding IPv6.
        eventually(&format!("{what}: everybody answers"), || self.wrong(true, true).is_empty());
        modify(client, endpoint, "Add", &block(rule_type, "In"));
        is(false, true, "nothing comes in");
        modify(client, endpoint, "Update", &block(rule_type, "Out"));
        is(true, false, "nothing goes out");
        modify(client, endpoint, "Remove", &block(rule_type, "Out"));
        is(true, true, "without rules");
    }
}

fn block(rule_type: &str, direction: &str) -> Value {
    json!({"Type": "ACL", "Settings":
        {"Protocols": "6", "Action": "Block", "Direction": direction, "RuleType": rule_type, "Priority": 100}})
}

fn modify(client: &mut Client, endpoint: &str, request: &str, policy: &Value) {
    change(client, "Endpoint", endpoint, request, &json!([policy]));
}

/// A sandbox where uplinks of Transparent networks are ports of their bridges, and what must live as long.
fn sandbox() -> (Sandbox, TempDir) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("hcnd.toml");
    fs::write(&file, "[uplinks]\ntransparent = \"bridge\"\n").unwrap();
    (Sandbox::new().option("--config").option(file.to_str().unwrap()), folder)
}

/// A network whose prefixes are those of the uplink, unless it is one that has its own.
fn network(client: &mut Client, kind: &str) -> String {
    let (prefixes, gateways) = match with_own_prefixes(kind) {
        true => (DUAL, GATEWAYS),
        false => (["203.0.113.0/24", "2001:db8:ffff::/64"], OUTSIDE),
    };
    let subnets = FAMILIES.map(|family| {
        let everything = ["0.0.0.0/0", "::/0"][family];
        let route = json!({"NextHop": gateways[family], "DestinationPrefix": everything});
        // Whose endpoints have no way out.
        let routes = if matches!(kind, "Internal" | "Private") { json!([]) } else { json!([route]) };
        json!({"IpAddressPrefix": prefixes[family], "Routes": routes})
    });
    let settings = with_version(&json!({"Type": kind, "Ipams": [{"Type": "Static", "Subnets": subnets}]}));
    client.ok("Network.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned()
}

/// Addresses that end so.
fn addresses(kind: &str, end: u8) -> Value {
    let starts = if with_own_prefixes(kind) {
        ["192.0.2.", "2001:db8:abcd:12::"]
    } else {
        ["203.0.113.", "2001:db8:ffff::"]
    };
    json!({"IpConfigurations": starts.map(|start| json!({"IpAddress": format!("{start}{end}")}))})
}

/// Whether its prefixes are not those of the uplink.
fn with_own_prefixes(kind: &str) -> bool {
    matches!(kind, "NAT" | "Internal" | "Private")
}

/// A virtual machine on an endpoint of this network, and its place.
fn machine(client: &mut Client, kind: &str, endpoint: &str) -> (Machine, Place) {
    let port = json!({"ResourceType": "Port", "RequestType": "Add",
        "Settings": {"PortId": "A0000000-0000-4000-8000-000000000001"}});
    client.ok("Endpoint.Modify", &json!({"id": endpoint, "settings": port}));
    let document = client.query("Endpoint", endpoint);
    let tap = document["AdditionalParams"]["TapInterface"].as_str().unwrap();
    let mac = document["MacAddress"].as_str().unwrap().replace('-', ":");
    let machine = Machine::start(&format!("machine{kind}"), tap, &mac);
    let addresses = client.addresses(endpoint);
    let gateways = if with_own_prefixes(kind) { GATEWAYS } else { OUTSIDE };
    // Where the host routes, it answers for the IPv6 gateway alone.
    let lengths = if kind.starts_with("L2") { ["/24", "/128"] } else { ["/24", "/64"] };
    run_ok(&["ip", "-n", &machine.netns, "-6", "route", "add", gateways[1], "dev", "eth0"]);
    for family in FAMILIES {
        machine.configure(&format!("{}{}", addresses[family], lengths[family]), gateways[family]);
    }
    let place = Place::serving("the machine", &machine.netns, &addresses);
    (machine, place)
}

/// What rules of these types do on each type of network, to a virtual machine if so.
fn each_type(rule_types: &[&str], is_machine: bool) {
    wait_for_outside();
    let outside = || Place::new("outside", "outside", &OUTSIDE);
    for netns in ["outside", HOST] {
        serve_as(netns, PORT, "");
    }
    let mut client = Client::new();
    for (kind, peers) in TYPES {
        let network = network(&mut client, kind);
        let mut namespaces = Vec::new();
        let mut container = |client: &mut Client, name, end| {
            let made = client.container(&network, &addresses(kind, end));
            namespaces.push(made.namespace.clone());
            (Place::serving(name, &made.namespace, &made.addresses), made.endpoint)
        };
        let (_machine, ruled, endpoint) = if is_machine {
            let endpoint = client.endpoint(&network, &addresses(kind, 50));
            let (machine, place) = machine(&mut client, kind, &endpoint);
            (Some(machine), place, endpoint)
        } else {
            let (place, endpoint) = container(&mut client, "the endpoint", 50);
            (None, place, endpoint)
        };
        let (beside, _) = container(&mut client, "the one beside", 51);
        let peers = peers.iter().map(|peer| match peer {
            Peer::Neighbour => container(&mut client, "the neighbour", 52).0,
            Peer::Host if with_own_prefixes(kind) => Place::new("the host", HOST, &GATEWAYS),
            Peer::Host => Place::new("the host", HOST, &UPLINK),
            Peer::Outside => outside(),
        });
        let world = World { ruled, beside, peers: peers.collect() };
        for rule_type in rule_types {
            world.obeys(&mut client, &endpoint, rule_type, kind);
        }
        assert_ne!(
            run(&["nft", "list", "table", "inet", "hcnd_filter"]).code,
            Some(0),
            "{kind}: rules are left"
        );
        client.delete("Network", &network);
        for namespace in namespaces {
            client.delete("Namespace", &namespace);
        }
    }
}

#[test]
fn rules_of_the_switch_act_on_containers_of_each_type_of_network() {
    let (sandbox, _folder) = sandbox();
    in_sandbox!(sandbox, { each_type(&["Switch"], false) });
}

#[test]
fn rules_of_both_types_act_on_virtual_machines_of_each_type_of_network() {
    let (sandbox, _folder) = sandbox();
    in_sandbox!(sandbox, { each_type(&["Switch", "Host"], true) });
}

#[test]
fn rules_act_on_what_comes_from_other_hosts_by_an_overlay() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let (mut clients, networks, containers, _) = stretched(4096, &[]);
        let [here, there] = &containers;
        let neighbour = container(&mut clients[0], &networks[0], 1, 11);
        let known = mac(&mut clients[0], &neighbour.endpoint);
        let provider = &Node::new(1).addresses()[0];
        remote(&mut clients[1], &networks[1], &neighbour.addresses, &known, provider);
        let place =
            |name, netns: &str, container: &Container| Place::serving(name, netns, &container.addresses);
        let [ruled, far] = places(&containers);
        let world = World {
            ruled: place("the endpoint", &ruled, here),
            beside: place("the one beside", &neighbour.namespace, &neighbour),
            peers: vec![place("the other host's", &far, there)],
        };
        world.obeys(&mut clients[0], &here.endpoint, "Switch", "Overlay");
    });
}
