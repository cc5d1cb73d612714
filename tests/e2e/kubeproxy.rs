//! Does kube-proxy on Windows find what it needs? Its proxier runs against hcnd, and packets go where it sends them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

#[path = "../../crates/xtask/src/bench/kube_proxy/proxier.rs"]
mod proxier;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hcn_tests::client::{Client, Container, with_version};
use hcn_tests::traffic::{HOST, ask_tcp_at, ask_udp_at, serve_as, wait_for_outside};
use hcn_tests::{Node, Sandbox, eventually, in_sandbox, run_ok};
use serde_json::{Value, json};

use self::proxier::{Calls, Outcome, Pod, Proxier, Service};

const TARGET: u16 = 7000;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// kube-proxy knows the node by this MAC address.
const HOST_MAC: &str = "52-54-00-00-00-0a";

impl Calls for Client {
    fn call(&mut self, method: &str, parameters: &Value) -> Outcome<Value> {
        let reply = Client::call(self, method.trim_start_matches("io.hcn."), parameters);
        match reply.error {
            None => Ok(reply.parameters),
            Some(_) => Err(format!("{method} {parameters}: {}", reply.raw)),
        }
    }

    fn all(&mut self, method: &str, parameters: &[Value]) -> Outcome<Vec<Value>> {
        parameters.iter().map(|each| Calls::call(self, method, each)).collect()
    }
}

fn service(vip: &str, protocol: u8, port: u16, pods: &[&Pod]) -> Service {
    Service {
        vip: vip.parse().unwrap(),
        protocol,
        port,
        target: TARGET,
        node_port: None,
        external: Vec::new(),
        ingress: Vec::new(),
        local: false,
        preserves_destination: false,
        affinity: false,
        health_port: None,
        pods: pods.iter().copied().cloned().collect(),
    }
}

fn pod(address: &str, here: bool) -> Pod {
    Pod { address: address.parse().unwrap(), here }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Who answers, and as whom it sees the client.
fn answers(netns: &str, vip: &str, port: u16, protocol: u8) -> (BTreeSet<String>, BTreeSet<String>) {
    let ask = if protocol == TCP { ask_tcp_at } else { ask_udp_at };
    let mut both = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..24 {
        let answer = ask(netns, vip, port).unwrap_or_else(|error| panic!("{netns} to {vip} {port}: {error}"));
        let (server, client) = answer.split_once(' ').unwrap();
        both.0.insert(server.to_owned());
        both.1.insert(client.to_owned());
    }
    both
}

fn servers(netns: &str, vip: &str, port: u16, protocol: u8) -> String {
    answers(netns, vip, port, protocol).0.into_iter().collect()
}

fn endpoints(client: &mut Client) -> Vec<String> {
    client.ids("Endpoint")
}

/// Two nodes as flannel makes them, of both families; each is told of the other's subnets.
fn overlay(clients: &mut [Client; 2]) -> [String; 2] {
    let prefixes = [("192.0.2", "fd44:1"), ("198.51.100", "fd44:2")];
    let version_six = |at: usize| format!("{}::/64", prefixes[at].1);
    let networks = [0, 1].map(|at: usize| {
        let vsid = json!([{"Type": "VSID", "Settings": {"IsolationId": 4096}}]);
        let (four, six) = prefixes[at];
        let subnets = json!([
            {"IpAddressPrefix": format!("{four}.0/24"), "Policies": vsid,
             "Routes": [{"NextHop": format!("{four}.1"), "DestinationPrefix": "0.0.0.0/0"}]},
            {"IpAddressPrefix": version_six(at), "Policies": vsid,
             "Routes": [{"NextHop": format!("{six}::1"), "DestinationPrefix": "::/0"}]},
        ]);
        let settings = with_version(&json!({
            "Name": "flannel.4096", "Type": "Overlay", "Flags": 8, "Ipams": [{"Type": "Static", "Subnets": subnets}],
            "Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}],
        }));
        clients[at].ok("Network.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned()
    });
    for at in [0, 1] {
        let document = clients[1 - at].query("Network", &networks[1 - at]);
        let policies = document["Policies"].as_array().unwrap();
        let router = policies.iter().find(|policy| policy["Type"] == "DrMacAddress").unwrap();
        let node = Node::new(2 - u8::try_from(at).unwrap());
        let route = |prefix: String| {
            json!({"Type": "RemoteSubnetRoute", "Settings": {
                "DestinationPrefix": prefix, "IsolationId": 4096, "ProviderAddress": node.addresses()[0],
                "DistributedRouterMacAddress": router["Settings"]["Address"],
            }})
        };
        let routes = [route(format!("{}.0/24", prefixes[1 - at].0)), route(version_six(1 - at))];
        let settings =
            json!({"ResourceType": "Policy", "RequestType": "Add", "Settings": {"Policies": routes}});
        clients[at].ok("Network.Modify", &json!({"id": networks[at], "settings": settings}));
    }
    networks
}

/// A pod of a node with these addresses, which serves under a name.
fn start(client: &mut Client, node: Node, network: &str, addresses: [&str; 2], name: &str) -> Container {
    let configs = addresses.map(|address| json!({"IpAddress": address}));
    let container = client.container(network, &json!({"Name": name, "IpConfigurations": configs}));
    serve_as(&node.place(&container.namespace), TARGET, name);
    container
}

fn node(number: u8, source_vip: &str, dsr: bool) -> proxier::Node {
    proxier::Node {
        network: "flannel.4096".to_owned(),
        address: Node::new(number).addresses()[0].clone(),
        mac: HOST_MAC.to_owned(),
        source_vip: source_vip.to_owned(),
        dsr,
        root: "root".to_owned(),
    }
}

#[test]
fn services_of_two_nodes_reach_pods_on_both() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let nodes = [1, 2].map(Node::new);
        let mut clients = nodes.map(Node::client);
        let networks = overlay(&mut clients);
        let [first, second] = &mut clients;
        let asks = start(first, nodes[0], &networks[0], ["192.0.2.10", "fd44:1::10"], "c");
        start(first, nodes[0], &networks[0], ["192.0.2.11", "fd44:1::11"], "a");
        start(first, nodes[0], &networks[0], ["192.0.2.12", "fd44:1::12"], "b");
        let away = start(second, nodes[1], &networks[1], ["198.51.100.7", "fd44:2::7"], "d");
        let [a, b, d] = [pod("192.0.2.11", true), pod("192.0.2.12", true), pod("198.51.100.7", false)];
        let [a6, d6] = [pod("fd44:1::11", true), pod("fd44:2::7", false)];
        let mut own = endpoints(first).len();

        let mut services = BTreeMap::new();
        services.insert("web".to_owned(), service("10.96.0.1", TCP, 80, &[&a, &b, &d]));
        services.insert("dns".to_owned(), service("10.96.0.10", UDP, 53, &[&a, &d]));
        let sticky = service("10.96.0.2", TCP, 80, &[&a, &b]);
        services.insert("sticky".to_owned(), Service { affinity: true, ..sticky });
        services.insert("empty".to_owned(), service("10.96.0.3", TCP, 80, &[]));
        let mut proxier = Proxier::new(nodes[0].client(), node(1, "192.0.2.200", false));
        proxier.sync(&services).unwrap();
        // The source address, a virtual address each, and the pod of the other node.
        own += 1;
        assert_eq!(endpoints(first).len(), own + 4 + 1);
        assert_eq!(first.ids("LoadBalancer").len(), 3);
        let place = &asks.namespace;
        let seen = ["192.0.2.200".to_owned()].into();
        assert_eq!(answers(place, "10.96.0.1", 80, TCP), (["a", "b", "d"].map(str::to_owned).into(), seen));
        assert_eq!(servers(place, "10.96.0.10", 53, UDP), "ad");
        assert_eq!(servers(place, "10.96.0.2", 80, TCP).len(), 1);
        // The same, seen from the other node.
        let [a2, b2, d2] = [pod("192.0.2.11", false), pod("192.0.2.12", false), pod("198.51.100.7", true)];
        let mut other = Proxier::new(nodes[1].client(), node(2, "198.51.100.200", false));
        let there = BTreeMap::from([("web".to_owned(), service("10.96.0.1", TCP, 80, &[&a2, &b2, &d2]))]);
        other.sync(&there).unwrap();
        assert_eq!(servers(&nodes[1].place(&away.namespace), "10.96.0.1", 80, TCP), "abd");
        // The other family has a proxier of its own.
        let mut six = Proxier::new(nodes[0].client(), node(1, "fd44:1::200", false));
        let of_six = BTreeMap::from([("web".to_owned(), service("fd96::1", TCP, 80, &[&a6, &d6]))]);
        six.sync(&of_six).unwrap();
        let seen = ["fd44:1::200".to_owned()].into();
        assert_eq!(answers(place, "fd96::1", 80, TCP), (["a", "d"].map(str::to_owned).into(), seen));
        own += 1 + 2;

        // Nothing to do is nothing done.
        let before = (endpoints(first), first.ids("LoadBalancer"));
        proxier.sync(&services).unwrap();
        six.sync(&of_six).unwrap();
        assert_eq!((endpoints(first), first.ids("LoadBalancer")), before);
        // Pods come and go in place.
        let id = proxier.balancers("web")[0].clone();
        services.insert("web".to_owned(), service("10.96.0.1", TCP, 80, &[&b, &d]));
        proxier.sync(&services).unwrap();
        assert_eq!((proxier.balancers("web"), proxier.updates), (&[id.clone()][..], 1));
        assert_eq!(servers(place, "10.96.0.1", 80, TCP), "bd");
        let document = first.query("LoadBalancer", &id);
        assert_eq!(document["HostComputeEndpoints"].as_array().unwrap().len(), 2, "{document}");
        // A proxier that starts anew finds what the one before it made.
        let mut anew = Proxier::new(nodes[0].client(), node(1, "192.0.2.200", false));
        let before = (endpoints(first), first.ids("LoadBalancer"));
        anew.sync(&services).unwrap();
        assert_eq!((endpoints(first), first.ids("LoadBalancer")), before);
        assert_eq!(anew.balancers("web"), [id]);

        // What nobody refers to any more goes, the last reference last.
        services.remove("web");
        services.remove("sticky");
        anew.sync(&services).unwrap();
        ask_tcp_at(place, "10.96.0.1", 80).unwrap_err();
        assert_eq!(servers(place, "10.96.0.10", 53, UDP), "ad");
        assert_eq!(endpoints(first).len(), own + 2 + 1);
        services.clear();
        anew.sync(&services).unwrap();
        six.sync(&BTreeMap::new()).unwrap();
        assert!(ask_udp_at(place, "10.96.0.10", 53).is_err());
        assert_eq!((endpoints(first).len(), first.ids("LoadBalancer").len()), (own - 2, 0));
    });
}

#[test]
fn services_are_reached_from_outside_in_all_their_kinds() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        run_ok(&["ip", "-n", "outside", "route", "add", "198.18.0.0/24", "via", "203.0.113.10"]);
        let nodes = [1, 2].map(Node::new);
        let mut clients = nodes.map(Node::client);
        let networks = overlay(&mut clients);
        let [first, second] = &mut clients;
        let asks = start(first, nodes[0], &networks[0], ["192.0.2.10", "fd44:1::10"], "c");
        start(first, nodes[0], &networks[0], ["192.0.2.11", "fd44:1::11"], "a");
        start(second, nodes[1], &networks[1], ["198.51.100.7", "fd44:2::7"], "d");
        let root = start(first, nodes[0], &networks[0], ["192.0.2.13", "fd44:1::13"], "root");
        serve_as(&root.namespace, 10_256, "root");
        let [a, d] = [pod("192.0.2.11", true), pod("198.51.100.7", false)];
        for dsr in [false, true] {
            let mut services = BTreeMap::new();
            let outside = Service {
                node_port: Some(30_080),
                external: vec![address("198.18.0.1")],
                ingress: vec![address("198.18.0.2")],
                ..service("10.96.0.1", TCP, 80, &[&a, &d])
            };
            services.insert("outside".to_owned(), outside);
            let local = Service {
                node_port: Some(30_443),
                ingress: vec![address("198.18.0.3")],
                local: true,
                health_port: Some(10_256),
                ..service("10.96.0.4", TCP, 443, &[&a, &d])
            };
            services.insert("local".to_owned(), local);
            let preserving = Service {
                ingress: vec![address("198.18.0.5")],
                preserves_destination: true,
                ..service("10.96.0.5", TCP, TARGET, &[&a])
            };
            services.insert("preserving".to_owned(), preserving);
            let mut proxier = Proxier::new(nodes[0].client(), node(1, "192.0.2.200", dsr));
            proxier.sync(&services).unwrap();
            assert_eq!(first.ids("LoadBalancer").len(), 4 + 4 + 2);

            let expected = |vip: &str, port: u16| servers("outside", vip, port, TCP);
            assert_eq!(expected("203.0.113.10", 30_080), "ad");
            assert_eq!(expected("198.18.0.1", 80), "ad");
            assert_eq!(expected("198.18.0.2", 80), "ad");
            // The node's own programs use its ports, too.
            assert_eq!(servers(HOST, "203.0.113.10", 30_080, TCP), "ad");
            for vip in ["10.96.0.1", "198.18.0.1", "198.18.0.2"] {
                assert_eq!(servers(&asks.namespace, vip, 80, TCP), "ad");
            }
            assert_eq!(servers(&asks.namespace, "203.0.113.10", 30_080, TCP), "ad");
            // Traffic that stays on the node reaches pods of the node alone, which see the client if it returns directly.
            let client = if dsr { "203.0.113.1" } else { "192.0.2.200" };
            for (vip, port) in [("203.0.113.10", 30_443), ("198.18.0.3", 443)] {
                let expected = (["a".to_owned()].into(), [client.to_owned()].into());
                assert_eq!(answers("outside", vip, port, TCP), expected, "{vip} dsr {dsr}");
            }
            let client = ["203.0.113.1".to_owned()].into();
            assert_eq!(answers("outside", "198.18.0.5", TARGET, TCP), (["a".to_owned()].into(), client));
            assert_eq!(servers("outside", "198.18.0.3", 10_256, TCP), "root");
            proxier.sync(&BTreeMap::new()).unwrap();
            assert_eq!(first.ids("LoadBalancer").len(), 0);
            ask_tcp_at("outside", "198.18.0.1", 80).unwrap_err();
        }
    });
}

#[test]
fn a_network_that_was_made_anew_gets_everything_anew() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let nodes = [1, 2].map(Node::new);
        let mut clients = nodes.map(Node::client);
        let mut networks = overlay(&mut clients);
        let d = pod("198.51.100.7", false);
        let services = BTreeMap::from([("web".to_owned(), service("10.96.0.1", TCP, 80, &[&d]))]);
        let mut proxier = Proxier::new(nodes[0].client(), node(1, "192.0.2.200", false));
        for _ in 0..2 {
            let [first, second] = &mut clients;
            let asks = start(first, nodes[0], &networks[0], ["192.0.2.10", "fd44:1::10"], "c");
            start(second, nodes[1], &networks[1], ["198.51.100.7", "fd44:2::7"], "d");
            proxier.sync(&services).unwrap();
            assert_eq!(servers(&asks.namespace, "10.96.0.1", 80, TCP), "d");
            assert_eq!(first.ids("LoadBalancer"), proxier.balancers("web"));
            first.delete("Network", &networks[0]);
            second.delete("Network", &networks[1]);
            networks = overlay(&mut clients);
        }
    });
}

#[test]
fn on_an_l2bridge_pods_elsewhere_see_the_node() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        // The other node is the world outside, as routes say that somebody else makes (host-gw).
        run_ok(&["ip", "-n", "outside", "addr", "add", "198.51.100.7/32", "dev", "lo"]);
        run_ok(&["ip", "-n", "outside", "link", "set", "lo", "up"]);
        run_ok(&["ip", "route", "add", "198.51.100.0/24", "via", "203.0.113.1"]);
        run_ok(&["ip", "-n", "outside", "route", "add", "10.45.0.0/24", "via", "203.0.113.10"]);
        serve_as("outside", TARGET, "d");
        let mut client = Client::new();
        let subnet = json!({"IpAddressPrefix": "10.45.0.0/24",
            "Routes": [{"NextHop": "10.45.0.1", "DestinationPrefix": "0.0.0.0/0"}]});
        let settings = with_version(
            &json!({"Name": "flannel.4096", "Type": "L2Bridge", "Ipams": [{"Subnets": [subnet]}],
            "Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}]}),
        );
        let network = client.ok("Network.Create", &json!({"settings": settings}))["id"].clone();
        let network = network.as_str().unwrap();
        let start = |client: &mut Client, address: &str, name: &str| {
            let container = client.container(network, &json!({"IpConfigurations": [{"IpAddress": address}]}));
            serve_as(&container.namespace, TARGET, name);
            container
        };
        let asks = start(&mut client, "10.45.0.10", "c");
        start(&mut client, "10.45.0.11", "a");
        let [a, d] = [pod("10.45.0.11", true), pod("198.51.100.7", false)];
        let web = Service { node_port: Some(30_080), ..service("10.96.0.1", TCP, 80, &[&a, &d]) };
        let services = BTreeMap::from([
            ("web".to_owned(), web),
            ("away".to_owned(), service("10.96.0.2", UDP, 53, &[&d])),
        ]);
        let mut proxier = Proxier::new(Client::new(), node(1, "", false));
        proxier.sync(&services).unwrap();
        // No endpoints for virtual or source addresses.
        assert_eq!(endpoints(&mut client).len(), 2 + 1);
        let seen = ["203.0.113.10".to_owned()].into();
        eventually("the way is known", || ask_udp_at(&asks.namespace, "10.96.0.2", 53).is_ok());
        assert_eq!(answers(&asks.namespace, "10.96.0.2", 53, UDP), (["d".to_owned()].into(), seen));
        assert_eq!(servers(&asks.namespace, "10.96.0.1", 80, TCP), "ad");
        assert_eq!(servers("outside", "203.0.113.10", 30_080, TCP), "ad");
        assert_eq!(servers(HOST, "203.0.113.10", 30_080, TCP), "ad");
        proxier.sync(&services).unwrap();
        proxier.sync(&BTreeMap::new()).unwrap();
        assert_eq!((endpoints(&mut client).len(), client.ids("LoadBalancer").len()), (2, 0));
    });
}

#[test]
fn hundreds_of_services_are_made_changed_and_deleted() {
    const SERVICES: u8 = 200;
    in_sandbox!(Sandbox::new().nodes(2), {
        let node_one = Node::new(1);
        let mut clients = [1, 2].map(|number| Node::new(number).client());
        let networks = overlay(&mut clients);
        let mut first = node_one.client();
        let asks = start(&mut first, node_one, &networks[0], ["192.0.2.10", "fd44:1::10"], "c");
        let here = pod("192.0.2.11", true);
        start(&mut first, node_one, &networks[0], ["192.0.2.11", "fd44:1::11"], "a");
        let vip = |number: u8| format!("10.96.1.{number}");
        let mut services: BTreeMap<String, Service> = (0..SERVICES)
            .map(|number| {
                let away =
                    [1, 2, 3].map(|step| pod(&format!("198.51.100.{}", 1 + (number + step) % 200), false));
                let pods = [&here, &away[0], &away[1], &away[2]];
                (number.to_string(), service(&vip(number), TCP, 80, &pods))
            })
            .collect();
        let mut proxier = Proxier::new(node_one.client(), node(1, "192.0.2.200", false));
        proxier.sync(&services).unwrap();
        proxier.sync(&services).unwrap();
        assert_eq!(first.ids("LoadBalancer").len(), usize::from(SERVICES));
        assert_eq!(endpoints(&mut first).len(), 2 + 1 + 2 * usize::from(SERVICES));
        for changed in services.values_mut().step_by(50) {
            changed.pods.truncate(1);
        }
        proxier.sync(&services).unwrap();
        assert_eq!(proxier.updates, 4);
        assert_eq!(servers(&asks.namespace, &vip(0), 80, TCP), "a");
        proxier.sync(&BTreeMap::new()).unwrap();
        assert_eq!((first.ids("LoadBalancer").len(), endpoints(&mut first).len()), (0, 3));
    });
}
