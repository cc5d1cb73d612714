//! Do policies that translate and route by themselves act? OutBoundNAT, L4Proxy, L4WFPPROXY, SDNRoute and SDN routes: what
//! they do to packets, what they leave alone, and that nothing of them is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

#[path = "nat/inside.rs"]
mod inside;
#[path = "nat/proxies.rs"]
mod proxies;
#[path = "nat/routes.rs"]
mod routes;

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use hcn_tests::client::{Client, Container, DUAL, network_document, with_version};
use hcn_tests::kernel::{assert_unchanged, dump};
use hcn_tests::policies::change;
use hcn_tests::service::{kill_hcnd, kill_hcnd_and};
use hcn_tests::traffic::{
    Flow, HOST, ask_tcp_at, ask_udp_at, in_netns, seen_as, serve, serve_as, set_sysctl, wait_for_outside,
};
use hcn_tests::{Sandbox, eventually, in_sandbox, netns_exec, patience, run_ok};
use serde_json::{Value, json};

const FAMILIES: [usize; 2] = [0, 1];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const GATEWAYS: [&str; 2] = ["192.0.2.1", "2001:db8:abcd:12::1"];
/// More addresses of the host outside.
const OTHERS: [&str; 2] = ["198.51.100.1", "2001:db8:64::1"];
const OTHER_PREFIXES: [&str; 2] = ["198.51.100.0/24", "2001:db8:64::/64"];

/// A world outside that knows the way to endpoints, and has more addresses.
fn outside() {
    wait_for_outside();
    for family in FAMILIES {
        let (length, kind) = [("/24", "-4"), ("/64", "-6")][family];
        let address = format!("{}{length}", OTHERS[family]);
        let added: &[&[&str]] = &[
            &["ip", kind, "address", "add", &address, "dev", "lo"],
            &["ip", kind, "route", "add", DUAL[family], "via", UPLINK[family]],
        ];
        for argv in added {
            let done = netns_exec("outside", argv);
            assert_eq!(done.code, Some(0), "{done}");
        }
        run_ok(&["ip", kind, "route", "add", OTHER_PREFIXES[family], "via", OUTSIDE[family]]);
    }
    serve("outside");
}

/// Waits until a container reaches what is outside: forwarding IPv6 begins with a moment of silence.
fn settled(container: &Container) {
    for server in OUTSIDE.into_iter().chain(OTHERS) {
        eventually("outside answers", || ask_tcp_at(&container.namespace, server, 7777).is_ok());
    }
}

fn policy(kind: &str, settings: &Value) -> Value {
    json!({"Type": kind, "Settings": settings})
}

/// Of both families.
fn outbound(settings: &Value) -> Vec<Value> {
    [0, 2]
        .map(|flags| {
            let mut settings = settings.clone();
            settings["Flags"] = json!(flags);
            policy("OutBoundNAT", &settings)
        })
        .to_vec()
}

fn modify(client: &mut Client, kind: &str, id: &str, request: &str, policies: &[Value]) {
    change(client, kind, id, request, &json!(policies));
}

/// Shows bridged frames to rules, or does not.
fn bridge_nf(value: &str) {
    for name in ["iptables", "ip6tables"] {
        assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), value));
    }
}

/// Serves one connection at a time, each for as long as its client likes: what comes goes back.
fn echo(netns: &str, port: u16) {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = in_netns(netns, || TcpListener::bind(any).unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut octet = [0];
                while stream.read_exact(&mut octet).is_ok() && stream.write_all(&octet).is_ok() {}
            });
        }
    });
}

/// A connection that is used now and then.
struct Open(TcpStream);

impl Open {
    fn new(netns: &str, server: &str, port: u16) -> Self {
        let to = SocketAddr::new(server.parse().unwrap(), port);
        let stream = in_netns(netns, || TcpStream::connect(to).unwrap());
        stream.set_read_timeout(Some(patience(Duration::from_secs(2)))).unwrap();
        Self(stream)
    }

    fn works(&mut self) {
        assert!(self.goes_on(), "the connection goes on");
    }

    fn goes_on(&mut self) -> bool {
        self.0.write_all(b"x").is_ok() && self.0.read_exact(&mut [0]).is_ok()
    }
}

#[test]
fn exceptions_are_reached_with_the_endpoints_own_address() {
    in_sandbox!(Sandbox::new(), {
        outside();
        let before = dump();
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [a, b] = [(); 2].map(|()| client.container(&network, &json!({})));
        serve(&b.namespace);
        settled(&a);
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), UPLINK[family]);
        }
        let policies = outbound(&json!({"Exceptions": OTHER_PREFIXES}));
        modify(&mut client, "Endpoint", &a.endpoint, "Add", &policies);
        let as_said = || {
            for family in FAMILIES {
                assert_eq!(seen_as(&a.namespace, OTHERS[family]), a.addresses[family]);
                assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), UPLINK[family]);
                // Others are as before, and neighbours see each other.
                assert_eq!(seen_as(&b.namespace, OTHERS[family]), UPLINK[family]);
                assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
            }
        };
        for value in ["1", "0"] {
            bridge_nf(value);
            as_said();
        }
        run_ok(&["nft", "list", "ruleset"]);
        run_ok(&["nft", "-j", "list", "ruleset"]);
        let mut client = kill_hcnd();
        as_said();
        modify(&mut client, "Endpoint", &a.endpoint, "Remove", &policies);
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, OTHERS[family]), UPLINK[family]);
        }
        assert!(!run_ok(&["nft", "list", "tables"]).contains("hcnd_nat"));
        // The records and the kernel agree after a restart, too.
        let mut client = kill_hcnd();
        assert!(!run_ok(&["nft", "list", "tables"]).contains("hcnd_nat"));
        modify(&mut client, "Endpoint", &a.endpoint, "Add", &policies);
        as_said();
        client.detach(&a.namespace, &a.endpoint);
        assert!(!run_ok(&["nft", "list", "tables"]).contains("hcnd_nat"));
        client.attach(&a.namespace, &a.endpoint);
        as_said();
        client.delete("Network", &network);
        for container in [&a, &b] {
            client.delete("Namespace", &container.namespace);
        }
        assert_unchanged(&before, "the network is gone");
    });
}

#[test]
fn only_destinations_are_translated_to_the_virtual_address() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        outside();
        let virtual_ips = ["203.0.113.77", "2001:db8:ffff::77"];
        run_ok(&["ip", "address", "add", "203.0.113.77/32", "dev", "eth0"]);
        // Not to be chosen for anything else.
        let unused = ["nodad", "preferred_lft", "0"];
        run_ok(&[&["ip", "address", "add", "2001:db8:ffff::77/128", "dev", "eth0"][..], &unused].concat());
        let mut client = Client::new();
        let network = client.network(&DUAL);
        // The family is that of the virtual address.
        let policies = FAMILIES.map(|family| {
            let (address, to) = (virtual_ips[family], OTHER_PREFIXES[family]);
            policy("OutBoundNAT", &json!({"VirtualIP": address, "Destinations": [to]}))
        });
        let a = client.container(&network, &json!({"Policies": policies}));
        settled(&a);
        let as_said = || {
            for family in FAMILIES {
                assert_eq!(seen_as(&a.namespace, OTHERS[family]), virtual_ips[family]);
                assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), UPLINK[family]);
            }
        };
        as_said();
        // Over the death of hcnd, also if somebody takes it away meanwhile.
        let _ = kill_hcnd_and(as_said);
        as_said();
        let mut client = kill_hcnd_and(|| {
            run_ok(&["nft", "delete", "table", "inet", "hcnd_nat"]);
            assert_eq!(seen_as(&a.namespace, OTHERS[0]), UPLINK[0]);
        });
        as_said();
        // The first that is about a destination decides.
        let exceptions = outbound(&json!({"Exceptions": OUTSIDE}));
        modify(&mut client, "Endpoint", &a.endpoint, "Add", &exceptions);
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, OTHERS[family]), virtual_ips[family]);
            assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), a.addresses[family]);
        }
    });
}

/// The host answers for it on the bridge and, where the prefix is that of the uplink, outside.
#[test]
fn answers_to_a_virtual_address_of_the_own_subnet_come_back() {
    in_sandbox!(Sandbox::new(), {
        outside();
        // Until then the kernel there looks for no neighbour.
        let tentative = || netns_exec("outside", &["ip", "-6", "addr", "show", "dev", "eth0", "tentative"]);
        eventually("outside has its link-local address", || tentative().stdout.is_empty());
        let mut client = Client::new();
        let uplink = ["203.0.113.0/24", "2001:db8:ffff::/64"];
        for (kind, flags, prefixes, virtual_ips) in [
            ("NAT", 0, DUAL, ["192.0.2.77", "2001:db8:abcd:12::77"]),
            ("L2Bridge", 0, uplink, ["203.0.113.77", "2001:db8:ffff::77"]),
            // Also if the host is not on it.
            ("L2Bridge", 1024, uplink, ["203.0.113.77", "2001:db8:ffff::77"]),
        ] {
            let mut settings = network_document(&prefixes);
            (settings["Type"], settings["Flags"]) = (json!(kind), json!(flags));
            let network = client.ok("Network.Create", &json!({"settings": settings}))["id"].clone();
            let network = network.as_str().unwrap();
            let [a, b] = [50, 51].map(|end| {
                let configs = virtual_ips.map(|ip| json!({"IpAddress": ip.replace("77", &end.to_string())}));
                client.container(network, &json!({"IpConfigurations": configs}))
            });
            serve(&b.namespace);
            settled(&a);
            let addresses = || run_ok(&["ip", "address"]);
            let as_before = |container: &Container| {
                let own = [container.addresses[0].as_str(), container.addresses[1].as_str()];
                for family in FAMILIES {
                    let seen = if kind == "NAT" { UPLINK[family] } else { own[family] };
                    assert_eq!(seen_as(&container.namespace, OTHERS[family]), seen, "{kind}");
                    assert_eq!(seen_as(&container.namespace, OUTSIDE[family]), seen, "{kind}");
                }
            };
            let as_said = || {
                for family in FAMILIES {
                    assert!(addresses().contains(virtual_ips[family]));
                    for server in [OTHERS[family], OUTSIDE[family]] {
                        assert_eq!(seen_as(&a.namespace, server), virtual_ips[family], "{kind}");
                    }
                    let seen = seen_as(&a.namespace, &b.addresses[family]);
                    assert_eq!(seen, a.addresses[family], "{kind}, a neighbour");
                }
                as_before(&b);
            };
            let policies = virtual_ips.map(|address| policy("OutBoundNAT", &json!({"VirtualIP": address})));
            as_before(&a);
            modify(&mut client, "Endpoint", &a.endpoint, "Add", &policies);
            as_said();
            client = kill_hcnd_and(as_said);
            as_said();
            modify(&mut client, "Endpoint", &a.endpoint, "Remove", &policies);
            as_before(&a);
            assert!(!virtual_ips.iter().any(|address| addresses().contains(address)));
            // A neighbour sees it too, if the policy is about that one.
            let to_neighbour = FAMILIES.map(|family| {
                let destinations = [&b.addresses[family]];
                let settings = json!({"VirtualIP": virtual_ips[family], "Destinations": destinations});
                policy("OutBoundNAT", &settings)
            });
            bridge_nf("1");
            modify(&mut client, "Endpoint", &a.endpoint, "Add", &to_neighbour);
            for family in FAMILIES {
                assert_eq!(seen_as(&a.namespace, &b.addresses[family]), virtual_ips[family], "{kind}");
            }
            bridge_nf("0");
            client.delete("Network", network);
            for container in [a, b] {
                client.delete("Namespace", &container.namespace);
            }
        }
    });
}

/// A network of another type with these prefixes, which the host routes without translating.
fn routed(client: &mut Client, kind: &str) -> String {
    let subnets = FAMILIES.map(|family| {
        let everything = ["0.0.0.0/0", "::/0"][family];
        let mut subnet = json!({"IpAddressPrefix": DUAL[family],
            "Routes": [{"NextHop": GATEWAYS[family], "DestinationPrefix": everything}]});
        if kind == "Overlay" {
            subnet["Policies"] = json!([policy("VSID", &json!({"IsolationId": 5001}))]);
        }
        subnet
    });
    let adapter = policy("NetAdapterName", &json!({"NetworkAdapterName": "eth0"}));
    let settings = with_version(
        &json!({"Type": kind, "Policies": [adapter], "Ipams": [{"Type": "Static", "Subnets": subnets}]}),
    );
    client.ok("Network.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned()
}

#[test]
fn endpoints_of_routed_networks_leave_with_the_hosts_address() {
    in_sandbox!(Sandbox::new(), {
        outside();
        let mut client = Client::new();
        for kind in ["L2Bridge", "Overlay"] {
            let network = routed(&mut client, kind);
            let policies = outbound(&json!({"Exceptions": OTHER_PREFIXES}));
            let a = client.container(&network, &json!({"Policies": policies}));
            let b = client.container(&network, &json!({}));
            serve(&b.namespace);
            settled(&a);
            for family in FAMILIES {
                assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), UPLINK[family], "{kind}");
                assert_eq!(seen_as(&a.namespace, OTHERS[family]), a.addresses[family], "{kind}");
                assert_eq!(seen_as(&b.namespace, OUTSIDE[family]), b.addresses[family], "{kind}");
                for value in ["1", "0"] {
                    bridge_nf(value);
                    assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family], "{kind}");
                }
            }
            client.delete("Network", &network);
            for container in [a, b] {
                client.delete("Namespace", &container.namespace);
            }
        }
    });
}

#[test]
fn an_internal_network_stays_closed_whatever_its_endpoints_translate() {
    in_sandbox!(Sandbox::new(), {
        outside();
        let mut client = Client::new();
        let subnets = DUAL.map(|prefix| json!({"IpAddressPrefix": prefix}));
        let settings = with_version(&json!({"Type": "Internal", "Ipams": [{"Subnets": subnets}]}));
        let network = client.ok("Network.Create", &json!({"settings": settings}))["id"].clone();
        let network = network.as_str().unwrap().to_owned();
        let a = client.container(&network, &json!({"Policies": outbound(&json!({}))}));
        serve(HOST);
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, GATEWAYS[family]), a.addresses[family]);
            ask_tcp_at(&a.namespace, OUTSIDE[family], 7777).unwrap_err();
        }
    });
}

#[test]
fn an_endpoint_reaches_itself_and_others_by_a_load_balancer() {
    in_sandbox!(Sandbox::new(), {
        outside();
        let mut client = Client::new();
        for kind in ["NAT", "L2Bridge"] {
            let network = if kind == "NAT" { client.network(&DUAL) } else { routed(&mut client, kind) };
            let [a, b] = [(); 2].map(|()| client.container(&network, &json!({})));
            for container in [&a, &b] {
                serve_as(&container.namespace, 7000, &container.addresses[0]);
            }
            // As CNI plugins say it: its own addresses alone; and everything but the cluster.
            let own = a.addresses.clone();
            let mut policies = outbound(&json!({"Destinations": own}));
            policies.extend(outbound(&json!({"Exceptions": DUAL})));
            let mapped =
                policy("PortMapping", &json!({"Protocol": 6, "InternalPort": 7000, "ExternalPort": 8001}));
            policies.push(mapped);
            modify(&mut client, "Endpoint", &a.endpoint, "Add", &policies);
            let vips = ["198.18.0.1", "2001:db8:18::1"];
            for (servers, direct) in [(vec![&a], 1), (vec![&a, &b], 1), (vec![&a, &b], 0)] {
                let ids: Vec<&str> = servers.iter().map(|server| server.endpoint.as_str()).collect();
                let port = json!({"Protocol": 6, "InternalPort": 7000, "ExternalPort": 80});
                let id = client.load_balancer(&json!({"HostComputeEndpoints": ids, "FrontendVIPs": vips,
                    "Flags": direct, "PortMappings": [port]}));
                for value in ["1", "0"] {
                    bridge_nf(value);
                    for vip in vips {
                        for _ in 0..10 {
                            let answer = ask_tcp_at(&a.namespace, vip, 80).unwrap();
                            let (server, _) = answer.split_once(' ').unwrap();
                            assert!(servers.iter().any(|known| known.addresses[0] == server), "{answer}");
                        }
                    }
                    // The port mapping goes on, and answers go back as they came.
                    ask_tcp_at("outside", UPLINK[0], 8001).unwrap();
                    ask_tcp_at(&b.namespace, UPLINK[0], 8001).unwrap();
                }
                client.delete("LoadBalancer", &id);
            }
            client.delete("Network", &network);
            for container in [a, b] {
                client.delete("Namespace", &container.namespace);
            }
        }
    });
}

#[test]
fn what_is_under_way_goes_on_and_udp_follows_the_policies() {
    in_sandbox!(Sandbox::new(), {
        outside();
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [a, b] = [(); 2].map(|()| client.container(&network, &json!({})));
        echo("outside", 7001);
        settled(&a);
        let mut connections: Vec<Open> = [&a, &b]
            .into_iter()
            .flat_map(|container| OTHERS.map(|server| Open::new(&container.namespace, server, 7001)))
            .collect();
        let udp = |container: &Container, server: &str| Flow::open(&container.namespace, server, 7777);
        let ask = |flow: &Flow| flow.ask().unwrap();
        let flows = FAMILIES.map(|family| udp(&a, OTHERS[family]));
        let elsewhere = FAMILIES.map(|family| udp(&a, OUTSIDE[family]));
        let of_other = FAMILIES.map(|family| udp(&b, OTHERS[family]));
        let all = |seen: [&str; 2]| {
            for family in FAMILIES {
                assert_eq!(ask(&flows[family]), seen[family]);
                assert_eq!(ask(&elsewhere[family]), UPLINK[family]);
                assert_eq!(ask(&of_other[family]), UPLINK[family]);
            }
        };
        let own = [a.addresses[0].as_str(), a.addresses[1].as_str()];
        let policies = outbound(&json!({"Exceptions": OTHER_PREFIXES}));
        for _ in 0..3 {
            all(UPLINK);
            modify(&mut client, "Endpoint", &a.endpoint, "Add", &policies);
            all(own);
            connections.iter_mut().for_each(Open::works);
            client = kill_hcnd();
            all(own);
            connections.iter_mut().for_each(Open::works);
            modify(&mut client, "Endpoint", &a.endpoint, "Remove", &policies);
            connections.iter_mut().for_each(Open::works);
        }
    });
}
