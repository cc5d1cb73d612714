//! L4Proxy: connections of an endpoint that a proxy gets, wherever it is.

use super::*;

const PROXY: u16 = 1080;

/// Diverts what goes to a port of these prefixes.
fn diverted(protocol: u32, to: &str, proxy: &str, more: &Value) -> Value {
    let destination = SocketAddr::new(proxy.parse().unwrap(), PROXY).to_string();
    let mut settings = json!({"IP": to, "Port": "7777", "Protocol": protocol, "Destination": destination});
    for (member, value) in more.as_object().unwrap() {
        settings[member] = value.clone();
    }
    policy("L4Proxy", &settings)
}

/// TCP and UDP of both families, to proxies at these addresses.
fn all(proxies: [&str; 2], more: &Value) -> Vec<Value> {
    let of =
        |protocol| FAMILIES.map(|family| diverted(protocol, OTHER_PREFIXES[family], proxies[family], more));
    [of(6), of(17)].concat()
}

/// Who answers, the same by TCP and UDP, and whom it sees.
fn answer(netns: &str, server: &str) -> (String, String) {
    let by_tcp = ask_tcp_at(netns, server, 7777).unwrap_or_else(|error| panic!("TCP to {server}: {error}"));
    let by_udp = ask_udp_at(netns, server, 7777).unwrap_or_else(|error| panic!("UDP to {server}: {error}"));
    assert_eq!(by_tcp, by_udp);
    match by_tcp.split_once(' ') {
        Some((server, client)) => (server.to_owned(), client.to_owned()),
        None => ("outside".to_owned(), by_tcp),
    }
}

struct World {
    client: Client,
    network: String,
    a: Container,
    b: Container,
    beside: Container,
}

/// An endpoint with two neighbours, one of which is a proxy; so are the host and somebody outside.
fn world(kind: &str) -> World {
    outside();
    let mut client = Client::new();
    let network = if kind == "NAT" { client.network(&DUAL) } else { routed(&mut client, kind) };
    let [a, b, beside] = [(); 3].map(|()| client.container(&network, &json!({})));
    serve_as(HOST, PROXY, "host");
    serve_as(&beside.namespace, PROXY, "beside");
    serve_as("outside", PROXY, "far");
    settled(&a);
    World { client, network, a, b, beside }
}

#[test]
fn a_proxy_gets_the_connections_wherever_it_is() {
    in_sandbox!(Sandbox::new(), {
        let World { mut client, a, b, beside, .. } = world("NAT");
        let near = [beside.addresses[0].as_str(), beside.addresses[1].as_str()];
        let own = [a.addresses[0].as_str(), a.addresses[1].as_str()];
        // The neighbour sees the host, since its answers must come back this way.
        for (proxies, name, seen) in [
            (GATEWAYS, "host", own),
            (UPLINK, "host", own),
            (near, "beside", GATEWAYS),
            (OUTSIDE, "far", UPLINK),
        ] {
            let policies = all(proxies, &json!({}));
            modify(&mut client, "Endpoint", &a.endpoint, "Update", &policies);
            for value in ["1", "0"] {
                bridge_nf(value);
                for family in FAMILIES {
                    let expected = (name.to_owned(), seen[family].to_owned());
                    assert_eq!(answer(&a.namespace, OTHERS[family]), expected, "{name}, bridge-nf {value}");
                    // Other destinations, other endpoints.
                    assert_eq!(answer(&a.namespace, OUTSIDE[family]).0, "outside");
                    assert_eq!(answer(&b.namespace, OTHERS[family]).0, "outside");
                }
            }
        }
        run_ok(&["nft", "list", "ruleset"]);
        run_ok(&["nft", "-j", "list", "ruleset"]);
        let mut client = kill_hcnd();
        assert_eq!(answer(&a.namespace, OTHERS[0]).0, "far");
        modify(&mut client, "Endpoint", &a.endpoint, "Update", &[json!({})]);
        for family in FAMILIES {
            assert_eq!(answer(&a.namespace, OTHERS[family]).0, "outside");
        }
        assert!(!run_ok(&["nft", "list", "tables"]).contains("hcnd_nat"));
    });
}

#[test]
fn a_proxy_of_a_routed_network_sees_the_endpoint_or_the_host_as_the_policy_says() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let World { mut client, a, .. } = world("L2Bridge");
        for (more, seen) in [
            (json!({}), [a.addresses[0].as_str(), a.addresses[1].as_str()]),
            (json!({"OutboundNat": true}), UPLINK),
            (json!({"OutboundNAT": true}), UPLINK),
        ] {
            modify(&mut client, "Endpoint", &a.endpoint, "Update", &all(OUTSIDE, &more));
            for family in FAMILIES {
                assert_eq!(answer(&a.namespace, OTHERS[family]), ("far".to_owned(), seen[family].to_owned()));
            }
        }
        // Whose address they leave with is said of those that a proxy gets, too.
        let policies = [all(OUTSIDE, &json!({})), outbound(&json!({}))].concat();
        modify(&mut client, "Endpoint", &a.endpoint, "Update", &policies);
        for family in FAMILIES {
            assert_eq!(answer(&a.namespace, OTHERS[family]), ("far".to_owned(), UPLINK[family].to_owned()));
        }
    });
}

#[test]
fn exceptions_are_left_alone_and_the_next_policy_is_asked() {
    in_sandbox!(Sandbox::new(), {
        let World { mut client, a, .. } = world("NAT");
        for spelling in ["ExceptionList", "Exceptions"] {
            let mut policies = all(OUTSIDE, &json!({spelling: OTHERS}));
            modify(&mut client, "Endpoint", &a.endpoint, "Update", &policies);
            for family in FAMILIES {
                assert_eq!(answer(&a.namespace, OTHERS[family]).0, "outside", "{spelling}");
            }
            policies.extend(all(GATEWAYS, &json!({})));
            modify(&mut client, "Endpoint", &a.endpoint, "Update", &policies);
            for family in FAMILIES {
                assert_eq!(answer(&a.namespace, OTHERS[family]).0, "host", "{spelling}");
            }
        }
        // Without a prefix, a port and a protocol everything is meant.
        let policies = FAMILIES.map(|family| {
            let destination = SocketAddr::new(GATEWAYS[family].parse().unwrap(), PROXY).to_string();
            policy("L4Proxy", &json!({"Destination": destination}))
        });
        modify(&mut client, "Endpoint", &a.endpoint, "Update", &policies);
        for family in FAMILIES {
            assert_eq!(answer(&a.namespace, OUTSIDE[family]).0, "host");
        }
    });
}

#[test]
fn the_proxy_of_a_network_gets_the_connections_of_all_its_endpoints_but_its_own() {
    in_sandbox!(Sandbox::new(), {
        let World { mut client, network, a, b, beside } = world("NAT");
        let near = [beside.addresses[0].as_str(), beside.addresses[1].as_str()];
        let policies = all(near, &json!({}));
        modify(&mut client, "Network", &network, "Add", &policies);
        let late = client.container(&network, &json!({}));
        let mut client = kill_hcnd();
        for family in FAMILIES {
            for container in [&a, &b, &late] {
                assert_eq!(answer(&container.namespace, OTHERS[family]).0, "beside");
            }
            assert_eq!(answer(&beside.namespace, OTHERS[family]).0, "outside");
        }
        // An endpoint's own come first.
        modify(&mut client, "Endpoint", &a.endpoint, "Add", &all(GATEWAYS, &json!({})));
        assert_eq!(answer(&a.namespace, OTHERS[0]).0, "host");
        assert_eq!(answer(&b.namespace, OTHERS[0]).0, "beside");
        modify(&mut client, "Network", &network, "Remove", &policies);
        for family in FAMILIES {
            assert_eq!(answer(&a.namespace, OTHERS[family]).0, "host");
            assert_eq!(answer(&b.namespace, OTHERS[family]).0, "outside");
        }
    });
}

#[test]
fn connections_to_a_service_go_to_the_proxy_too_and_others_find_their_back_end() {
    in_sandbox!(Sandbox::new(), {
        let World { mut client, a, b, beside, .. } = world("NAT");
        serve_as(&b.namespace, 7777, "back");
        // A virtual address within the prefix that the proxy is for, and a port mapping.
        let vip = "198.51.100.200";
        let port = json!({"Protocol": 6, "InternalPort": 7777, "ExternalPort": 7777});
        client.load_balancer(
            &json!({"HostComputeEndpoints": [b.endpoint], "FrontendVIPs": [vip], "PortMappings": [port]}),
        );
        let near = [beside.addresses[0].as_str(), beside.addresses[1].as_str()];
        let mut policies = all(near, &json!({}));
        policies
            .push(policy("PortMapping", &json!({"Protocol": 6, "InternalPort": 7000, "ExternalPort": 8001})));
        modify(&mut client, "Endpoint", &a.endpoint, "Update", &policies);
        serve_as(&a.namespace, 7000, "mapped");
        for value in ["1", "0"] {
            bridge_nf(value);
            assert!(ask_tcp_at(&a.namespace, vip, 7777).unwrap().starts_with("beside "));
            assert!(ask_tcp_at(&beside.namespace, vip, 7777).unwrap().starts_with("back "));
            for netns in ["outside", &b.namespace] {
                assert!(ask_tcp_at(netns, UPLINK[0], 8001).unwrap().starts_with("mapped "));
            }
        }
    });
}

#[test]
fn a_proxy_gets_connections_to_neighbours_whatever_else_the_bridge_has() {
    in_sandbox!(Sandbox::new(), {
        let World { mut client, a, b, beside, .. } = world("NAT");
        serve_as(&b.namespace, 7777, "b");
        let near = [beside.addresses[0].as_str(), beside.addresses[1].as_str()];
        let to_all = |family: usize| {
            let destination = SocketAddr::new(near[family].parse().unwrap(), PROXY).to_string();
            let ip = ["0.0.0.0/0", "::/0"][family];
            [6, 17].map(|protocol| {
                policy(
                    "L4Proxy",
                    &json!({"IP": ip, "Port": "7777", "Protocol": protocol, "Destination": destination}),
                )
            })
        };
        let policies = FAMILIES.map(to_all).concat();
        let block = [policy(
            "ACL",
            &json!({
                "Protocols": "6", "Action": "Block", "Direction": "In", "LocalPorts": "9999", "RuleType": "Switch",
            }),
        )];
        let asked = |by: &Container, value: &str| {
            FAMILIES.map(|family| {
                bridge_nf(value);
                answer(&by.namespace, &b.addresses[family]).0
            })
        };
        for value in ["0", "1"] {
            modify(&mut client, "Endpoint", &a.endpoint, "Update", &policies);
            assert_eq!(asked(&a, value), ["beside"; 2], "bridge-nf {value}");
            assert_eq!(asked(&beside, value), ["b"; 2], "bridge-nf {value}");
            // Rules of another endpoint come and go.
            modify(&mut client, "Endpoint", &beside.endpoint, "Add", &block);
            assert_eq!(asked(&a, value), ["beside"; 2], "with a rule, bridge-nf {value}");
            modify(&mut client, "Endpoint", &beside.endpoint, "Remove", &block);
            assert_eq!(asked(&a, value), ["beside"; 2], "without it again, bridge-nf {value}");
            client = kill_hcnd();
            assert_eq!(asked(&a, value), ["beside"; 2], "after a kill, bridge-nf {value}");
            modify(&mut client, "Endpoint", &a.endpoint, "Update", &[json!({})]);
            assert_eq!(asked(&a, value), ["b"; 2], "without a proxy, bridge-nf {value}");
        }
        assert!(!run_ok(&["ip", "-d", "link", "show", "type", "bridge"]).contains("nf_call_iptables 1"));
    });
}

/// Over TCP, also with a neighbour as long as its frames are shown to rules; by UDP the other one is asked at once.
#[test]
fn a_connection_stays_with_its_proxy_when_the_policy_goes() {
    in_sandbox!(Sandbox::new(), {
        let World { mut client, a, b, beside, .. } = world("NAT");
        bridge_nf("0");
        // Nobody serves that port, neither outside nor beside it.
        let streams = |proxies: [&str; 2]| {
            proxies.map(|proxy| {
                let destination = SocketAddr::new(proxy.parse().unwrap(), PROXY).to_string();
                policy("L4Proxy", &json!({"Port": "7001", "Protocol": 6, "Destination": destination}))
            })
        };
        let near = [b.addresses[0].as_str(), b.addresses[1].as_str()];
        echo(&b.namespace, PROXY);
        let neighbours = [beside.addresses[0].as_str(), beside.addresses[1].as_str()];
        let servers = [OTHERS, neighbours].concat();
        let begun = |server: &str| ask_tcp_at(&a.namespace, server, 7001);
        let policies = [&streams(near)[..], &all(GATEWAYS, &json!({}))].concat();
        servers.iter().for_each(|server| drop(begun(server).unwrap_err()));
        modify(&mut client, "Endpoint", &a.endpoint, "Add", &policies);
        let [mut connections, mut beside] =
            [OTHERS, neighbours].map(|servers| servers.map(|server| Open::new(&a.namespace, server, 7001)));
        let flows = OTHERS.map(|server| Flow::open(&a.namespace, server, 7777));
        let mut go_on = |by_udp: [String; 2]| {
            connections.iter_mut().for_each(Open::works);
            assert_eq!(flows.each_ref().map(|flow| flow.ask().unwrap()), by_udp);
        };
        let by_host = [0, 1].map(|family: usize| format!("host {}", a.addresses[family]));
        go_on(by_host.clone());
        client = kill_hcnd();
        go_on(by_host);
        beside.iter_mut().for_each(Open::works);
        // New connections are closed at once by the other one.
        let others = [&streams(GATEWAYS)[..], &all(OUTSIDE, &json!({}))].concat();
        modify(&mut client, "Endpoint", &a.endpoint, "Update", &others);
        go_on(UPLINK.map(|seen| format!("far {seen}")));
        beside.iter_mut().for_each(Open::works);
        for server in &servers {
            assert!(begun(server).unwrap().starts_with("host "));
        }
        modify(&mut client, "Endpoint", &a.endpoint, "Remove", &others);
        go_on(UPLINK.map(str::to_owned));
        assert!(!beside.iter_mut().any(Open::goes_on));
        servers.iter().for_each(|server| drop(begun(server).unwrap_err()));
    });
}
