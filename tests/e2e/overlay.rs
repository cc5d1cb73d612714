//! Networks of type Overlay carry packets between hosts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails must fail the test")]

#[path = "overlay/providers.rs"]
mod providers;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

use hcn_tests::client::{Client, Container, with_version};
use hcn_tests::overlay::{container, flagged, mac, overlay, places, populate, remote, stretched};
use hcn_tests::policies::change;
use hcn_tests::service::{kill_hcnd, sandbox_hcnd, sandbox_socket};
use hcn_tests::traffic::{
    HOST, PORT, ask_tcp, ask_tcp_at, in_netns, is_silent, seen_as, serve, wait_for_outside,
};
use hcn_tests::wire::Reply;
use hcn_tests::{Background, Node, Sandbox, eventually, in_sandbox, is_running, netns_exec, run_ok};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

const FAMILIES: [usize; 2] = [0, 1];

/// The MAC address of a network's router, as the service says it.
fn router(client: &mut Client, network: &str) -> String {
    let document = client.query("Network", network);
    let policies = document["Policies"].as_array().unwrap();
    let router = policies.iter().find(|policy| policy["Type"] == "DrMacAddress").unwrap();
    router["Settings"]["Address"].as_str().unwrap().to_owned()
}

fn policies(client: &mut Client, request: &str, network: &str, policies: &Value) {
    change(client, "Network", network, request, policies);
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

/// Whether two containers on two hosts see each other as they are, both ways and by both families.
fn see_each_other(containers: &[Container; 2], places: &[String; 2]) {
    for (from, to) in [(0, 1), (1, 0)] {
        for family in FAMILIES {
            let seen = seen_as(&places[from], &containers[to].addresses[family]);
            assert_eq!(seen, containers[from].addresses[family]);
        }
    }
}

#[test]
fn endpoints_of_one_subnet_on_two_hosts_see_each_other_as_they_are() {
    in_sandbox!(Sandbox::as_ordinary_user().nodes(2), {
        wait_for_outside();
        let (mut clients, _, containers, remotes) = stretched(4096, &[]);
        let places = places(&containers);
        places.iter().for_each(|place| serve(place));
        see_each_other(&containers, &places);
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

        // What is translated passes: a port that others ask, and a service that the host's own programs use.
        let port = json!([{"Type": "PortMapping", "Settings": {
            "Protocol": 6, "InternalPort": PORT, "ExternalPort": 8080, "Flags": 1,
        }}]);
        let settings =
            json!({"ResourceType": "Policy", "RequestType": "Add", "Settings": {"Policies": port}});
        client.ok("Endpoint.Modify", &json!({"id": container.endpoint, "settings": settings}));
        assert_eq!(ask_tcp_at("outside", host[0], 8080).unwrap(), "203.0.113.1");
        assert_eq!(ask_tcp_at(HOST, host[0], 8080).unwrap(), host[0]);
        // Somebody outside is forwarded as ever, and so are the answers.
        serve("outside");
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

#[test]
fn flannel_and_kube_proxy_get_what_they_ask_for() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let nodes = [1, 2].map(Node::new);
        let mut clients = nodes.map(Node::client);
        let prefixes = ["192.0.2", "198.51.100"];
        let networks = [0, 1].map(|at: usize| {
            let text = r#"{"Name":"flannel.4096","Type":"Overlay","Policies":[{"Type":"NetAdapterName","Settings":{"NetworkAdapterName":"eth0"}}],"MacPool":{},"Dns":{},"Ipams":[{"Type":"Static","Subnets":[{"IpAddressPrefix":"192.0.2.0/24","Policies":[{"Type":"VSID","Settings":{"IsolationId":4096}}],"Routes":[{"NextHop":"192.0.2.1","DestinationPrefix":"0.0.0.0/0"}]}]}],"Flags":8,"Health":{"Extra":{}},"SchemaVersion":{"Major":2,"Minor":0}}"#;
            let settings: Value = serde_json::from_str(&text.replace("192.0.2", prefixes[at])).unwrap();
            clients[at].ok("Network.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned()
        });
        let routers = [0, 1].map(|at: usize| router(&mut clients[at], &networks[at]));
        let details = run_ok(&["ip", "-d", "link", "show", "type", "vxlan"]);
        let words = ["vxlan id 4096", "local 203.0.113.10", "dstport 4789", "nolearning", "mtu 1450"];
        assert!(words.iter().all(|word| details.contains(word)), "{details}");
        let bridge = format!("hcn{}", &networks[0][..8].to_lowercase());
        let bridge = run_ok(&["ip", "addr", "show", "dev", &bridge]);
        let mac_of_router = routers[0].to_lowercase().replace('-', ":");
        assert!(bridge.contains("192.0.2.1/24") && bridge.contains(&mac_of_router), "{bridge}");
        for at in [0, 1] {
            let settings = json!({
                "DestinationPrefix": format!("{}.0/24", prefixes[1 - at]), "IsolationId": 4096,
                "ProviderAddress": nodes[1 - at].addresses()[0], "DistributedRouterMacAddress": routers[1 - at],
            });
            let route = json!([{"Type": "RemoteSubnetRoute", "Settings": settings}]);
            policies(&mut clients[at], "Add", &networks[at], &route);
        }
        let pod =
            clients[0].container(&networks[0], &json!({"IpConfigurations": [{"IpAddress": "192.0.2.10"}]}));
        let away =
            clients[1].container(&networks[1], &json!({"IpConfigurations": [{"IpAddress": "198.51.100.7"}]}));
        serve(&nodes[1].place(&away.namespace));

        // kube-proxy makes MAC addresses up for endpoints of other hosts; the router there knows the true ones.
        let to = |ip: &str| [ip.to_owned()];
        let backend =
            remote(&mut clients[0], &networks[0], &to("198.51.100.7"), "02-11-c6-33-64-07", "203.0.113.20");
        let virtual_mac = "52-54-00-00-00-0a";
        remote(&mut clients[0], &networks[0], &to("198.51.100.200"), virtual_mac, "203.0.113.10");
        let source = json!({"MacAddress": virtual_mac, "IpConfigurations": [{"IpAddress": "192.0.2.200"}]});
        clients[0].endpoint(&networks[0], &source);
        let ways = run_ok(&["bridge", "fdb", "show"]);
        let way = ways.lines().find(|line| line.starts_with("02:11:c6:33:64:07") && line.contains(" dst "));
        assert!(way.is_some_and(|way| way.contains("dst 203.0.113.20")), "{ways}");
        assert!(!ways.contains("52:54:00:00:00:0a"), "{ways}");
        let neighbours = run_ok(&["ip", "neigh"]);
        assert!(
            neighbours
                .lines()
                .any(|line| line.starts_with("198.51.100.7 ") && line.contains("02:11:c6:33:64:07")),
            "{neighbours}"
        );
        assert!(!neighbours.contains("198.51.100.200"), "{neighbours}");
        assert_eq!(seen_as(&pod.namespace, "198.51.100.7"), "192.0.2.10");

        // A service whose back end is there.
        clients[0].load_balancer(&json!({
            "HostComputeEndpoints": [backend], "SourceVIP": "192.0.2.200", "FrontendVIPs": ["198.51.100.200"],
            "PortMappings": [{"Protocol": 6, "InternalPort": PORT, "ExternalPort": 80}],
        }));
        assert_eq!(ask_tcp_at(&pod.namespace, "198.51.100.200", 80).unwrap(), "192.0.2.200");

        // Where no router leads to an endpoint, its own MAC address counts.
        let true_mac = mac(&mut clients[1], &away.endpoint);
        clients[0].delete("Endpoint", &backend);
        let document = clients[0].query("Network", &networks[0]);
        let listed = document["Policies"].as_array().unwrap().iter();
        let gone: Vec<&Value> = listed.filter(|policy| policy["Type"] == "RemoteSubnetRoute").collect();
        remote(&mut clients[0], &networks[0], &to("198.51.100.7"), &true_mac, "203.0.113.20");
        policies(&mut clients[0], "Remove", &networks[0], &json!(gone));
        assert!(run_ok(&["ip", "route"]).contains("198.51.100.7 dev"));
        assert_eq!(seen_as(&pod.namespace, "198.51.100.7"), "192.0.2.10");
    });
}

#[test]
fn a_family_comes_and_goes_while_endpoints_are_there() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let settings = with_version(&json!({"Type": "Overlay", "Ipams": [{"Subnets": [{
            "IpAddressPrefix": "10.44.1.0/24",
            "Routes": [{"NextHop": "10.44.1.1", "DestinationPrefix": "0.0.0.0/0"}],
        }]}]}));
        let created = client.ok("Network.Create", &json!({"settings": settings}));
        let network = created["id"].as_str().unwrap();
        let [first, second] = [2, 3].map(|last: u8| {
            let config = json!([{"IpAddress": format!("10.44.1.{last}")}]);
            client.container(network, &json!({"IpConfigurations": config}))
        });
        serve(&first.namespace);
        serve(HOST);
        let more = json!([{
            "IpAddressPrefix": "fd44:1::/64",
            "Routes": [{"NextHop": "fd44:1::1", "DestinationPrefix": "::/0"}],
        }]);
        let added = subnets(&mut client, "Add", network, &more);
        assert_eq!(added.error, None, "{}", added.raw);
        assert_eq!(seen_as(&second.namespace, "10.44.1.2"), "10.44.1.3");
        let third = container(&mut client, network, 1, 4);
        assert_eq!(seen_as(&third.namespace, "fd44:1::1"), "fd44:1::4");
        client.delete("Endpoint", &third.endpoint);
        let gone = subnets(&mut client, "Remove", network, &more);
        assert_eq!(gone.error, None, "{}", gone.raw);
        assert_eq!(seen_as(&second.namespace, "10.44.1.2"), "10.44.1.3");
        assert_eq!(seen_as(&second.namespace, "10.44.1.1"), "10.44.1.3");
    });
}

fn subnets(client: &mut Client, request: &str, network: &str, subnets: &Value) -> Reply {
    let settings =
        json!({"ResourceType": "Subnet", "RequestType": request, "Settings": {"Subnets": subnets}});
    client.call("Network.Modify", &json!({"id": network, "settings": settings}))
}

#[test]
fn subnets_and_ports_change_while_endpoints_are_there() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let (mut clients, networks, containers, _) = stretched(4096, &[]);
        let first = places(&containers);
        first.iter().for_each(|place| serve(place));
        let vsid = json!([{"Type": "VSID", "Settings": {"IsolationId": 5005}}]);
        let more = json!([
            {"IpAddressPrefix": "10.44.2.0/24", "Policies": vsid},
            {"IpAddressPrefix": "fd44:2::/64", "Policies": vsid},
        ]);
        for at in [0, 1] {
            let added = subnets(&mut clients[at], "Add", &networks[at], &more);
            assert_eq!(added.error, None, "{}", added.raw);
        }
        let (others, remotes) = populate(&mut clients, &networks, 2, 0);
        let second = places(&others);
        second.iter().for_each(|place| serve(place));
        see_each_other(&others, &second);
        see_each_other(&containers, &first);
        let count = || run_ok(&["ip", "-o", "link", "show", "type", "vxlan"]).lines().count();
        assert_eq!(count(), 2);

        // The other host's port stays until it is changed, too.
        let port = json!([{"Type": "VxlanPort", "Settings": {"Port": 4790}}]);
        policies(&mut clients[0], "Add", &networks[0], &port);
        assert!(is_silent(&first[0], &containers[1].addresses[0]));
        policies(&mut clients[1], "Add", &networks[1], &port);
        see_each_other(&containers, &first);
        see_each_other(&others, &second);

        // A VSID that another network has is refused where it is said.
        let other = overlay(&mut clients[0], 9, 7000, &[port[0].clone()]);
        let refused = subnets(
            &mut clients[0],
            "Add",
            &other,
            &json!([
                {"IpAddressPrefix": "10.45.0.0/24", "Policies": vsid},
            ]),
        );
        assert_eq!(refused.hresult(), Some(0x803b_0011), "{}", refused.raw);
        assert_eq!(refused.parameters["path"], "Settings.Subnets[0].Policies", "{}", refused.raw);

        for at in [0, 1] {
            clients[at].delete("Endpoint", &others[at].endpoint);
            clients[at].delete("Endpoint", &remotes[at]);
            let gone = subnets(&mut clients[at], "Remove", &networks[at], &more);
            assert_eq!(gone.error, None, "{}", gone.raw);
        }
        assert_eq!(count(), 2, "one of each network");
        see_each_other(&containers, &first);
    });
}

#[test]
fn hosts_find_each_other_by_ipv6() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let mut clients = [1, 2].map(|number| Node::new(number).client());
        let networks = [(0, 1), (1, 2)].map(|(at, number): (usize, u8)| {
            let address = &Node::new(number).addresses()[1];
            let provider = json!({"Type": "ProviderAddress", "Settings": {"ProviderAddress": address}});
            overlay(&mut clients[at], 1, 4096, &[provider])
        });
        let (containers, _) = populate(&mut clients, &networks, 1, 1);
        let places = places(&containers);
        places.iter().for_each(|place| serve(place));
        see_each_other(&containers, &places);
        let whole = ["ping", "-c1", "-W1", "-M", "do", "-s", "1402", &containers[1].addresses[0]];
        let whole = netns_exec(&places[0], &whole);
        assert_eq!(whole.code, Some(0), "{whole}");
        // Nothing is sent to an address of the other family.
        let stranger = ["10.44.1.99".to_owned()];
        remote(&mut clients[0], &networks[0], &stranger, "02-11-00-00-00-01", "203.0.113.20");
        let ways = run_ok(&["bridge", "fdb", "show"]);
        assert!(!ways.contains("02:11:00:00:00:01"), "{ways}");
    });
}

#[test]
fn without_the_host_endpoints_still_see_each_other() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let mut clients = [1, 2].map(|number| Node::new(number).client());
        // DisableHostPort.
        let networks = [0, 1].map(|at: usize| flagged(&mut clients[at], 1, 4096, &[], 1024));
        let (containers, _) = populate(&mut clients, &networks, 1, 0);
        let places = places(&containers);
        places.iter().for_each(|place| serve(place));
        see_each_other(&containers, &places);
        for (gateway, host) in [("10.44.1.1", "203.0.113.10"), ("fd44:1::1", "2001:db8:ffff::10")] {
            assert!(is_silent(&places[0], gateway) && is_silent(&places[0], host));
        }
    });
}

#[test]
fn a_stream_outlives_a_restart_of_hcnd() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let (_, _, containers, remotes) = stretched(4096, &[]);
        let places = places(&containers);
        let listener = in_netns(&places[1], || TcpListener::bind("10.44.1.20:9000").unwrap());
        let mut near = in_netns(&places[0], || TcpStream::connect("10.44.1.20:9000").unwrap());
        let (mut far, _) = listener.accept().unwrap();
        let mut exchange = || {
            for _ in 0..50 {
                let mut heard = [0; 4];
                near.write_all(b"ping").unwrap();
                far.read_exact(&mut heard).unwrap();
                far.write_all(&heard).unwrap();
                near.read_exact(&mut heard).unwrap();
                assert_eq!(&heard, b"ping");
            }
        };
        exchange();
        let index = || run_ok(&["ip", "-o", "link", "show", "type", "vxlan"]);
        let before = index();
        let hcnd = sandbox_hcnd();
        kill(hcnd, Signal::SIGTERM).unwrap();
        eventually("hcnd has ended", || !is_running(hcnd));
        exchange();
        let socket = sandbox_socket();
        let again = Background::start(Command::new("hcnd").args(["--socket", socket.to_str().unwrap()]));
        eventually("the next one listens", || UnixStream::connect(&socket).is_ok());
        exchange();
        assert_eq!(index(), before);
        // It goes on with what the last one knew.
        serve(&places[1]);
        assert_eq!(seen_as(&places[0], &containers[1].addresses[1]), containers[0].addresses[1]);
        Client::new().delete("Endpoint", &remotes[0]);
        assert!(is_silent(&places[0], &containers[1].addresses[1]));
        drop(again);
    });
}
