//! Networks of type Overlay carry packets between hosts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails must fail the test")]

use hcn_tests::client::{Client, Container, with_version};
use hcn_tests::traffic::{HOST, ask_tcp, is_silent, seen_as, serve, wait_for_outside};
use hcn_tests::{Node, Sandbox, eventually, in_sandbox, netns_exec, run_ok};
use serde_json::{Value, json};

const FAMILIES: [usize; 2] = [0, 1];

/// A network of a host, by the number of its subnets.
fn overlay(client: &mut Client, subnet: u8, vsid: u32, policies: &[Value]) -> String {
    let vsid = json!([{"Type": "VSID", "Settings": {"IsolationId": vsid}}]);
    let subnets = json!([
        {"IpAddressPrefix": format!("10.44.{subnet}.0/24"), "Policies": vsid,
         "Routes": [{"NextHop": format!("10.44.{subnet}.1"), "DestinationPrefix": "0.0.0.0/0"}]},
        {"IpAddressPrefix": format!("fd44:{subnet}::/64"), "Policies": vsid,
         "Routes": [{"NextHop": format!("fd44:{subnet}::1"), "DestinationPrefix": "::/0"}]},
    ]);
    let mut all = vec![json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}})];
    all.extend_from_slice(policies);
    let settings = with_version(
        &json!({"Type": "Overlay", "Policies": all, "Ipams": [{"Type": "Static", "Subnets": subnets}]}),
    );
    client.ok("Network.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned()
}

/// A container with these last parts of its addresses.
fn container(client: &mut Client, network: &str, subnet: u8, last: u8) -> Container {
    let configs = json!([{"IpAddress": format!("10.44.{subnet}.{last}")}, {"IpAddress": format!("fd44:{subnet}::{last}")}]);
    client.container(network, &json!({"IpConfigurations": configs}))
}

fn mac(client: &mut Client, endpoint: &str) -> String {
    client.query("Endpoint", endpoint)["MacAddress"].as_str().unwrap().to_owned()
}

/// An endpoint of another host, as this one is told of it.
fn remote(client: &mut Client, network: &str, addresses: &[String], mac: &str, provider: &str) -> String {
    let configs: Vec<Value> = addresses.iter().map(|address| json!({"IpAddress": address})).collect();
    let provider = json!({"Type": "ProviderAddress", "Settings": {"ProviderAddress": provider}});
    let settings =
        json!({"Flags": 1, "MacAddress": mac, "IpConfigurations": configs, "Policies": [provider]});
    client.endpoint(network, &settings)
}

/// The MAC address of a network's router, as the service says it.
fn router(client: &mut Client, network: &str) -> String {
    let document = client.query("Network", network);
    let policies = document["Policies"].as_array().unwrap();
    let router = policies.iter().find(|policy| policy["Type"] == "DrMacAddress").unwrap();
    router["Settings"]["Address"].as_str().unwrap().to_owned()
}

fn policies(client: &mut Client, request: &str, network: &str, policies: &Value) {
    let settings =
        json!({"ResourceType": "Policy", "RequestType": request, "Settings": {"Policies": policies}});
    client.ok("Network.Modify", &json!({"id": network, "settings": settings}));
}

fn remote_subnets(subnet: u8, vsid: u32, provider: &str, router: &str) -> Value {
    let to = |prefix: String| {
        json!({"Type": "RemoteSubnetRoute", "Settings": {
            "DestinationPrefix": prefix, "IsolationId": vsid, "ProviderAddress": provider,
            "DistributedRouterMacAddress": router,
        }})
    };
    json!([to(format!("10.44.{subnet}.0/24")), to(format!("fd44:{subnet}::/64"))])
}

/// Two hosts with one subnet, a container on each, and each host told of the other's.
fn stretched(vsid: u32, extra: &[Value]) -> ([Client; 2], [String; 2], [Container; 2], [String; 2]) {
    let nodes = [1, 2].map(Node::new);
    let mut clients = nodes.map(Node::client);
    let networks = [0, 1].map(|at: usize| overlay(&mut clients[at], 1, vsid, extra));
    let containers = [0, 1]
        .map(|at: usize| container(&mut clients[at], &networks[at], 1, 10 * (u8::try_from(at).unwrap() + 1)));
    let macs = [0, 1].map(|at: usize| mac(&mut clients[at], &containers[at].endpoint));
    let remotes = [0, 1].map(|at: usize| {
        let provider = &nodes[1 - at].addresses()[0];
        remote(&mut clients[at], &networks[at], &containers[1 - at].addresses, &macs[1 - at], provider)
    });
    (clients, networks, containers, remotes)
}

fn places(containers: &[Container; 2]) -> [String; 2] {
    [0, 1].map(|at: usize| Node::new(u8::try_from(at).unwrap() + 1).place(&containers[at].namespace))
}

#[test]
fn endpoints_of_one_subnet_on_two_hosts_see_each_other_as_they_are() {
    in_sandbox!(Sandbox::as_ordinary_user().nodes(2), {
        wait_for_outside();
        let (mut clients, _, containers, remotes) = stretched(4096, &[]);
        let places = places(&containers);
        places.iter().for_each(|place| serve(place));
        for (from, to) in [(0, 1), (1, 0)] {
            for family in FAMILIES {
                let seen = seen_as(&places[from], &containers[to].addresses[family]);
                assert_eq!(seen, containers[from].addresses[family]);
            }
        }
        // Frames as large as they may be, and not larger: 1500 less what the tunnel takes.
        let ping = |size: &str| {
            netns_exec(
                &places[0],
                &["ping", "-c1", "-W1", "-M", "do", "-s", size, &containers[1].addresses[0]],
            )
        };
        let (whole, larger) = (ping("1422"), ping("1423"));
        assert_eq!((whole.code, larger.code), (Some(0), Some(1)), "{whole}{larger}");

        // One that is told to be gone is gone.
        clients[0].delete("Endpoint", &remotes[0]);
        for family in FAMILIES {
            assert!(is_silent(&places[0], &containers[1].addresses[family]));
        }
    });
}

#[test]
fn hosts_with_a_subnet_each_route_to_each_other() {
    in_sandbox!(Sandbox::new().nodes(3), {
        wait_for_outside();
        let numbers = [1u8, 2, 3];
        let nodes = numbers.map(Node::new);
        let mut clients = nodes.map(Node::client);
        let networks = [0, 1, 2].map(|at: usize| overlay(&mut clients[at], numbers[at], 4096, &[]));
        let routers = [0, 1, 2].map(|at: usize| router(&mut clients[at], &networks[at]));
        let containers =
            [0, 1, 2].map(|at: usize| container(&mut clients[at], &networks[at], numbers[at], 10));
        let place = |at: usize| nodes[at].place(&containers[at].namespace);
        (0..3).for_each(|at| serve(&place(at)));
        for at in 0..3 {
            for other in (0..3).filter(|other| *other != at) {
                let provider = nodes[other].addresses()[0].clone();
                let routes = remote_subnets(numbers[other], 4096, &provider, &routers[other]);
                policies(&mut clients[at], "Add", &networks[at], &routes);
            }
        }
        for from in 0..3 {
            for to in (0..3).filter(|to| *to != from) {
                for family in FAMILIES {
                    let seen = seen_as(&place(from), &containers[to].addresses[family]);
                    assert_eq!(seen, containers[from].addresses[family]);
                }
            }
        }
        // A route that is taken out is out, the others stay.
        let gone = remote_subnets(2, 4096, &nodes[1].addresses()[0], &routers[1]);
        policies(&mut clients[0], "Remove", &networks[0], &gone);
        for family in FAMILIES {
            assert!(is_silent(&place(0), &containers[1].addresses[family]));
            assert_eq!(seen_as(&place(0), &containers[2].addresses[family]), containers[0].addresses[family]);
        }
    });
}

/// Packets that the VXLAN links of this host have sent.
fn sent() -> u64 {
    let links: Value =
        serde_json::from_str(&run_ok(&["ip", "-s", "-j", "link", "show", "type", "vxlan"])).unwrap();
    links.as_array().unwrap().iter().map(|link| link["stats64"]["tx"]["packets"].as_u64().unwrap()).sum()
}

#[test]
fn nothing_is_flooded() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let (_clients, _, containers, _) = stretched(4096, &[]);
        let places = places(&containers);
        serve(&places[1]);
        for family in FAMILIES {
            assert_eq!(
                seen_as(&places[0], &containers[1].addresses[family]),
                containers[0].addresses[family]
            );
        }
        let before = sent();
        for unknown in ["10.44.1.77", "fd44:1::77", "10.44.1.255", "ff02::1"] {
            let _ = netns_exec(&places[0], &["ping", "-b", "-c2", "-i0.2", "-W0.3", unknown]);
        }
        assert_eq!(sent(), before, "packets to nobody that is known left the host");
        // Neighbours that are known are not asked for on the other host, either.
        let neighbours = netns_exec(&places[0], &["ip", "neigh", "flush", "all"]);
        assert_eq!(neighbours.code, Some(0), "{neighbours}");
        let arps = || netns_exec("outside", &["ip", "-s", "-j", "link", "show", "eth0"]).stdout;
        drop(arps());
        assert_eq!(seen_as(&places[0], &containers[1].addresses[0]), containers[0].addresses[0]);
    });
}

#[test]
fn the_host_takes_part_only_with_host_route() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let network = overlay(&mut client, 1, 4096, &[]);
        let container = container(&mut client, &network, 1, 10);
        serve(&container.namespace);
        serve(HOST);
        let host = ["203.0.113.10", "2001:db8:ffff::10"];
        let gateways = ["10.44.1.1", "fd44:1::1"];
        let is_apart = || {
            FAMILIES.into_iter().all(|family| {
                ask_tcp(HOST, &container.addresses[family]).is_err()
                    && ask_tcp(&container.namespace, host[family]).is_err()
                    // The gateway is always there.
                    && seen_as(&container.namespace, gateways[family]) == container.addresses[family]
            })
        };
        assert!(is_apart());
        let host_route = json!([{"Type": "HostRoute", "Settings": {}}]);
        policies(&mut client, "Add", &network, &host_route);
        for family in FAMILIES {
            assert_eq!(seen_as(HOST, &container.addresses[family]), gateways[family]);
            assert_eq!(seen_as(&container.namespace, host[family]), container.addresses[family]);
        }
        policies(&mut client, "Remove", &network, &host_route);
        assert!(is_apart());
    });
}

#[test]
fn overlays_of_two_vsids_do_not_hear_each_other() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let port = json!({"Type": "VxlanPort", "Settings": {"Port": 4790}});
        let (mut clients, networks, containers, _) = stretched(5001, &[port]);
        let details = run_ok(&["ip", "-d", "link", "show", "type", "vxlan"]);
        let words = ["vxlan id 5001", "local 203.0.113.10", "dstport 4790", "nolearning", "mtu 1450"];
        assert!(words.iter().all(|word| details.contains(word)), "{details}");
        let one = places(&containers);
        serve(&one[1]);
        assert_eq!(seen_as(&one[0], &containers[1].addresses[0]), containers[0].addresses[0]);

        // The same VSID on the same port is one network's alone, on each host.
        let taken = json!({"settings": with_version(&json!({
            "Type": "Overlay", "Policies": [{"Type": "VxlanPort", "Settings": {"Port": 4790}}],
            "Ipams": [{"Subnets": [{"IpAddressPrefix": "10.99.0.0/24",
                "Policies": [{"Type": "VSID", "Settings": {"IsolationId": 5001}}]}]}],
        }))});
        assert_eq!(clients[0].refused("Network.Create", &taken), 0x803b_0011);

        // Host 2 has the other container's addresses in a network of another VSID: nobody answers from there.
        clients[1].delete("Network", &networks[1]);
        let other = overlay(&mut clients[1], 1, 5002, &[]);
        let stranger = container(&mut clients[1], &other, 1, 20);
        serve(&Node::new(2).place(&stranger.namespace));
        for family in FAMILIES {
            assert!(is_silent(&one[0], &containers[1].addresses[family]));
        }
        // What was deleted can be made again at once.
        clients[0].delete("Network", &networks[0]);
        let again = overlay(&mut clients[0], 1, 5001, &[]);
        let document = clients[0].query("Network", &again);
        assert_eq!(document["Policies"][2]["Settings"]["ProviderAddress"], "203.0.113.10", "{document}");
        eventually("the link is up", || {
            run_ok(&["ip", "link", "show", "type", "vxlan"]).contains("state UNKNOWN")
        });
    });
}
