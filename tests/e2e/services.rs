//! Do published ports and load balancers carry packets? From outside, from containers, from the host; TCP and UDP, in
//! both families.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};
use std::sync::Barrier;
use std::thread;

use hcn_tests::client::{Client, Container, DUAL, with_version};
use hcn_tests::policies::change;
use hcn_tests::service::kill_hcnd;
use hcn_tests::traffic::{HOST, ask_tcp_at, ask_udp_at, in_netns, serve_as, set_sysctl, wait_for_outside};
use hcn_tests::{Sandbox, in_sandbox, netns_exec, patience, run_ok};
use serde_json::{Value, json};

/// Where the servers in containers listen.
const INTERNAL: u16 = 7000;
const EXTERNAL: u16 = 8000;
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const GATEWAYS: [&str; 2] = ["192.0.2.1", "2001:db8:abcd:12::1"];
/// Virtual addresses that nobody has; outside has a route to them.
const VIPS: [&str; 2] = ["198.18.0.1", "2001:db8:18::1"];
const FAMILIES: [usize; 2] = [0, 1];
const PORT_ALREADY_EXISTS: u32 = 0x803b_0013;

/// A dual-stack network with containers that serve under their numbers, and a world outside that knows the way.
fn world(containers: usize) -> (Client, String, Vec<Container>) {
    wait_for_outside();
    for (vip, uplink) in [("198.18.0.0/24", UPLINK[0]), ("2001:db8:18::/64", UPLINK[1])] {
        let added = netns_exec("outside", &["ip", "route", "add", vip, "via", uplink]);
        assert_eq!(added.code, Some(0), "{added}");
    }
    let mut client = Client::new();
    let network = client.network(&DUAL);
    let containers: Vec<Container> =
        (0..containers).map(|_| client.container(&network, &json!({}))).collect();
    for (number, container) in containers.iter().enumerate() {
        serve_as(&container.namespace, INTERNAL, &number.to_string());
    }
    (client, network, containers)
}

/// Who answers, and as whom it saw the client; over TCP and UDP it must be the same client.
fn answers(netns: &str, address: &str, port: u16) -> (BTreeSet<String>, String) {
    let mut servers = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        for (protocol, answer) in
            [("TCP", ask_tcp_at(netns, address, port)), ("UDP", ask_udp_at(netns, address, port))]
        {
            let place = if netns == HOST { "the host" } else { netns };
            let answer =
                answer.unwrap_or_else(|error| panic!("{protocol} from {place} to {address} {port}: {error}"));
            let (server, client) = answer.split_once(' ').unwrap();
            servers.insert(server.to_owned());
            seen.insert(client.to_owned());
        }
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    (servers, seen.pop_first().unwrap())
}

fn names(numbers: &[usize]) -> BTreeSet<String> {
    numbers.iter().map(ToString::to_string).collect()
}

fn mapping(protocol: u32, external: u16, flags: u32) -> Value {
    json!({"Type": "PortMapping", "Settings":
        {"Protocol": protocol, "InternalPort": INTERNAL, "ExternalPort": external, "Flags": flags}})
}

/// TCP and UDP, IPv4 and IPv6.
fn all_mappings(external: u16, flags: u32) -> Vec<Value> {
    [6, 17].into_iter().flat_map(|p| [mapping(p, external, flags), mapping(p, external, flags | 2)]).collect()
}

fn publish(client: &mut Client, endpoint: &str, policies: &[Value]) {
    change(client, "Endpoint", endpoint, "Update", &json!(policies));
}

fn balancer(endpoints: &[&Container], vips: &[&str], flags: u32) -> Value {
    let ids: Vec<&str> = endpoints.iter().map(|container| container.endpoint.as_str()).collect();
    let ports: Vec<Value> = [6, 17]
        .into_iter()
        .map(|protocol| {
            json!({"Protocol": protocol, "InternalPort": INTERNAL, "ExternalPort": EXTERNAL, "Flags": flags})
        })
        .collect();
    json!({"HostComputeEndpoints": ids, "FrontendVIPs": vips, "PortMappings": ports})
}

#[test]
fn a_published_port_is_reached_from_everywhere_but_the_host() {
    in_sandbox!(Sandbox::new(), { published_port() });
}

#[test]
fn an_ordinary_user_publishes_ports_too() {
    in_sandbox!(Sandbox::as_ordinary_user(), { published_port() });
}

fn published_port() {
    let (mut client, _network, containers) = world(2);
    publish(&mut client, &containers[0].endpoint, &all_mappings(EXTERNAL, 0));
    for family in FAMILIES {
        let outside = answers("outside", UPLINK[family], EXTERNAL);
        assert_eq!(outside, (names(&[0]), OUTSIDE[family].to_owned()));
        // Hairpin: the answer must come back this way, so containers are seen as the gateway.
        for asking in &containers {
            for address in [UPLINK[family], GATEWAYS[family]] {
                let inside = answers(&asking.namespace, address, EXTERNAL);
                assert_eq!(inside, (names(&[0]), GATEWAYS[family].to_owned()));
            }
        }
        ask_tcp_at(HOST, UPLINK[family], EXTERNAL).unwrap_err();
    }
    // Flagged, the host's own programs use it, too.
    publish(&mut client, &containers[0].endpoint, &all_mappings(EXTERNAL, 1));
    for family in FAMILIES {
        let (servers, _) = answers(HOST, UPLINK[family], EXTERNAL);
        assert_eq!(servers, names(&[0]));
    }
    // Taken away, it is gone.
    client.delete("Endpoint", &containers[0].endpoint);
    for family in FAMILIES {
        ask_tcp_at("outside", UPLINK[family], EXTERNAL).unwrap_err();
    }
}

/// Given ports and a chosen one, over a restart; the ports of an update take the place of those before.
#[test]
fn ports_of_a_version_1_document_are_published_alike() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, network, _) = world(0);
        let flat = |protocol: &str, external: u16, flags: u32| {
            json!({"Type": "NAT", "Protocol": protocol, "InternalPort": INTERNAL, "ExternalPort": external,
                "Flags": flags})
        };
        let all = |external| {
            ["TCP", "udp"].into_iter().flat_map(move |name| [0, 2].map(|flags| flat(name, external, flags)))
        };
        let closed = |port| {
            for family in FAMILIES {
                ask_tcp_at("outside", UPLINK[family], port).unwrap_err();
                ask_udp_at("outside", UPLINK[family], port).unwrap_err();
            }
        };
        closed(EXTERNAL);
        // As docker asks for a port that the service chooses.
        let chosen = json!({"Type": "NAT", "Protocol": "TCP", "InternalPort": INTERNAL, "ExternalPort": 0,
            "ExternalPortReserved": true});
        let policies: Vec<Value> = all(EXTERNAL).chain([chosen]).collect();
        let document = json!({"VirtualNetwork": network, "Policies": policies});
        let made = client.v1("POST", "/endpoints/", &document);
        let chosen = made["Policies"].as_array().unwrap().last().unwrap()["ExternalPort"].as_u64().unwrap();
        let chosen = u16::try_from(chosen).unwrap();
        let path = format!("/endpoints/{}", made["ID"].as_str().unwrap());
        let namespace = client.namespace("Host");
        client.attach(&namespace, made["ID"].as_str().unwrap());
        serve_as(&namespace, INTERNAL, "v1");
        let open = |port| {
            for family in FAMILIES {
                let seen = (["v1".to_owned()].into(), OUTSIDE[family].to_owned());
                assert_eq!(answers("outside", UPLINK[family], port), seen);
            }
        };
        let is_chosen = || ask_tcp_at("outside", UPLINK[0], chosen).is_ok();
        open(EXTERNAL);
        assert!(chosen >= 49_152 && is_chosen(), "{made}");
        client = kill_hcnd();
        open(EXTERNAL);
        assert!(is_chosen());
        assert_eq!(client.v1("GET", &path, &json!({}))["Policies"], made["Policies"]);
        client.v1("POST", &path, &json!({"Policies": all(EXTERNAL + 1).collect::<Vec<_>>()}));
        open(EXTERNAL + 1);
        closed(EXTERNAL);
        assert!(!is_chosen());
        client.v1("DELETE", &path, &json!({}));
        closed(EXTERNAL + 1);
    });
}

#[test]
fn what_is_published_is_reached_while_its_endpoint_is_attached() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, _, containers) = world(2);
        let [server, other] = &containers[..] else { unreachable!() };
        publish(&mut client, &server.endpoint, &all_mappings(EXTERNAL, 0));
        let reached = |is: bool| {
            for netns in ["outside", &other.namespace] {
                for family in FAMILIES {
                    if is {
                        assert_eq!(answers(netns, UPLINK[family], EXTERNAL).0, names(&[0]), "{netns}");
                    } else {
                        let answer = ask_tcp_at(netns, UPLINK[family], EXTERNAL);
                        assert!(answer.is_err(), "{netns}: {answer:?}");
                    }
                }
            }
        };
        reached(true);
        client.detach(&server.namespace, &server.endpoint);
        reached(false);
        client.attach(&server.namespace, &server.endpoint);
        reached(true);
        client.delete("Endpoint", &server.endpoint);
        reached(false);
    });
}

#[test]
fn frames_that_netfilter_sees_on_the_bridge_are_translated_alike() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, _network, containers) = world(2);
        publish(&mut client, &containers[0].endpoint, &all_mappings(EXTERNAL, 0));
        for value in ["1", "0"] {
            for name in ["iptables", "ip6tables"] {
                assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), value));
            }
            for family in FAMILIES {
                for asking in &containers {
                    let (servers, _) = answers(&asking.namespace, UPLINK[family], EXTERNAL);
                    assert_eq!(servers, names(&[0]));
                }
            }
        }
    });
}

#[test]
fn a_port_is_kept_from_the_programs_of_the_host_and_theirs_from_endpoints() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let (mut client, network, containers) = world(1);
        publish(&mut client, &containers[0].endpoint, &[mapping(6, EXTERNAL, 0), mapping(17, 53, 2)]);
        TcpListener::bind(("0.0.0.0", EXTERNAL)).unwrap_err();
        TcpListener::bind((UPLINK[0], EXTERNAL)).unwrap_err();
        UdpSocket::bind(("::", 53)).unwrap_err();
        UdpSocket::bind(("0.0.0.0", EXTERNAL)).unwrap();
        publish(&mut client, &containers[0].endpoint, &[mapping(6, EXTERNAL + 1, 0)]);
        let program = TcpListener::bind(("0.0.0.0", EXTERNAL)).unwrap();

        let wanted = |port: u16, flags: u32| {
            let settings = with_version(&json!({"Policies": [mapping(6, port, flags)]}));
            json!({"network_id": network, "settings": settings})
        };
        let refused = client.call("Endpoint.Create", &wanted(EXTERNAL, 0));
        assert_eq!(refused.hresult(), Some(PORT_ALREADY_EXISTS), "{}", refused.raw);
        assert!(refused.raw.contains("program"), "{}", refused.raw);
        assert_eq!(client.ids("Endpoint").len(), 1);
        // Whoever holds the port itself says so.
        client.ok("Endpoint.Create", &wanted(EXTERNAL, 4));
        drop(program);

        // What the service chooses is free.
        let taken = TcpListener::bind(("0.0.0.0", 49_152)).unwrap();
        let chosen = client.endpoint(&network, &json!({"Policies": [mapping(6, 0, 0)]}));
        let document = client.query("Endpoint", &chosen);
        assert_eq!(document["Policies"][0]["Settings"]["ExternalPort"], 49_153, "{document}");
        drop(taken);
    });
}

#[test]
fn a_load_balancer_is_reached_from_everywhere_and_from_the_host_where_flagged() {
    in_sandbox!(Sandbox::new(), { balanced() });
}

#[test]
fn a_load_balancer_of_an_ordinary_user_works_alike() {
    in_sandbox!(Sandbox::as_ordinary_user(), { balanced() });
}

fn balanced() {
    let (mut client, _network, containers) = world(3);
    let [a, b, c] = &containers[..] else { panic!("three containers") };
    let id = client.load_balancer(&balancer(&[a, b], &VIPS, 0));
    for family in FAMILIES {
        let outside = answers("outside", VIPS[family], EXTERNAL);
        assert_eq!(outside, (names(&[0, 1]), OUTSIDE[family].to_owned()));
        for asking in [a, c] {
            let inside = answers(&asking.namespace, VIPS[family], EXTERNAL);
            assert_eq!(inside, (names(&[0, 1]), GATEWAYS[family].to_owned()));
        }
        ask_tcp_at(HOST, VIPS[family], EXTERNAL).unwrap_err();
    }
    // A whole document takes its place: other back ends, the host may use it, the client is hidden.
    let mut other = balancer(&[b, c], &VIPS, 2);
    other["SourceVIP"] = json!("192.0.2.250");
    client.ok("LoadBalancer.Modify", &json!({"id": id, "settings": other}));
    assert_eq!(answers("outside", VIPS[0], EXTERNAL), (names(&[1, 2]), "192.0.2.250".to_owned()));
    assert_eq!(answers("outside", VIPS[1], EXTERNAL), (names(&[1, 2]), OUTSIDE[1].to_owned()));
    for family in FAMILIES {
        assert_eq!(answers(HOST, VIPS[family], EXTERNAL).0, names(&[1, 2]));
    }
    // A deleted endpoint is no back end any more.
    client.delete("Endpoint", &b.endpoint);
    for family in FAMILIES {
        assert_eq!(answers("outside", VIPS[family], EXTERNAL).0, names(&[2]));
    }
    client.delete("LoadBalancer", &id);
    for family in FAMILIES {
        ask_tcp_at("outside", VIPS[family], EXTERNAL).unwrap_err();
    }
}

#[test]
fn without_virtual_address_every_address_of_the_host_leads_to_the_back_ends() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, _network, containers) = world(2);
        let all: Vec<&Container> = containers.iter().collect();
        client.load_balancer(&balancer(&all, &[], 2));
        let mut six = balancer(&all, &[], 2);
        six["Flags"] = json!(2);
        client.load_balancer(&six);
        for family in FAMILIES {
            assert_eq!(answers("outside", UPLINK[family], EXTERNAL).0, names(&[0, 1]));
            assert_eq!(answers(&containers[0].namespace, GATEWAYS[family], EXTERNAL).0, names(&[0, 1]));
            assert_eq!(answers(HOST, UPLINK[family], EXTERNAL).0, names(&[0, 1]));
        }
        assert!(ask_tcp_at("outside", UPLINK[0], EXTERNAL + 1).is_err());
    });
}

#[test]
fn a_virtual_address_of_the_subnet_is_answered_for() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let (mut client, network, containers) = world(2);
        let vips = ["192.0.2.2", "2001:db8:abcd:12::2"].map(|first| {
            // The first container has it, so another one is taken.
            first.replace("::2", "::99").replace("2.2", "2.99")
        });
        let vips = [vips[0].as_str(), vips[1].as_str()];
        let id = client.load_balancer(&balancer(&[&containers[0]], &vips, 1));
        for family in FAMILIES {
            assert_eq!(answers(&containers[1].namespace, vips[family], EXTERNAL).0, names(&[0]));
        }
        // Only from inside, as flagged: outside would have to be routed there, but is not served either way.
        run_ok(&["ip", "netns", "exec", "outside", "ip", "route", "add", "192.0.2.0/24", "via", UPLINK[0]]);
        ask_tcp_at("outside", vips[0], EXTERNAL).unwrap_err();
        // Nobody gets it meanwhile.
        for _ in 0..3 {
            let endpoint = client.endpoint(&network, &json!({}));
            assert!(!client.addresses(&endpoint).iter().any(|address| vips.contains(&address.as_str())));
        }
        client.delete("LoadBalancer", &id);
        assert!(!run_ok(&["ip", "addr"]).contains("192.0.2.99"));
    });
}

#[test]
fn a_client_stays_with_its_back_end_where_asked_for() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, _network, containers) = world(3);
        let all: Vec<&Container> = containers.iter().collect();
        let mut sticky = balancer(&all, &VIPS[..1], 0);
        for port in sticky["PortMappings"].as_array_mut().unwrap() {
            port["DistributionType"] = json!(2);
        }
        client.load_balancer(&sticky);
        assert_eq!(answers("outside", VIPS[0], EXTERNAL).0.len(), 1);
    });
}

#[test]
fn a_udp_flow_follows_its_service() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, _network, containers) = world(2);
        let id = client.load_balancer(&balancer(&[&containers[0]], &VIPS[..1], 0));
        // One socket, so one flow: the kernel remembers where it goes.
        let socket = in_netns("outside", || UdpSocket::bind(("0.0.0.0", 0)).unwrap());
        socket.set_read_timeout(Some(patience(std::time::Duration::from_secs(1)))).unwrap();
        let ask = || {
            socket.send_to(b"?", (VIPS[0], EXTERNAL)).unwrap();
            let mut answer = [0; 64];
            let length = socket.recv(&mut answer).map(|length| answer[..length].first().copied());
            length.ok().flatten().map(char::from)
        };
        assert_eq!(ask(), Some('0'));
        let other = balancer(&[&containers[1]], &VIPS[..1], 0);
        client.ok("LoadBalancer.Modify", &json!({"id": id, "settings": other}));
        assert_eq!(ask(), Some('1'));
        client.delete("LoadBalancer", &id);
        assert_eq!(ask(), None);
        client.load_balancer(&balancer(&[&containers[0]], &VIPS[..1], 0));
        assert_eq!(ask(), Some('0'));
    });
}

#[test]
fn the_same_front_end_can_be_made_again_and_again() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, network, containers) = world(1);
        let document = with_version(&balancer(&[&containers[0]], &VIPS, 2));
        let id = "AAAAAAAA-0000-4000-8000-000000000001";
        for _ in 0..200 {
            client.ok("LoadBalancer.Create", &json!({"id": id, "settings": document}));
            client.delete("LoadBalancer", id);
            let endpoint = client.endpoint(&network, &json!({"Policies": all_mappings(EXTERNAL, 1)}));
            client.delete("Endpoint", &endpoint);
        }
        client.ok("LoadBalancer.Create", &json!({"id": id, "settings": document}));
        for family in FAMILIES {
            assert_eq!(answers("outside", VIPS[family], EXTERNAL).0, names(&[0]));
        }
    });
}

#[test]
fn of_many_that_want_the_same_port_exactly_one_gets_it() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, network, _) = world(0);
        let endpoint = client.endpoint(&network, &json!({}));
        for round in 0..20u16 {
            let port = EXTERNAL + round;
            let start = Barrier::new(8);
            let won: usize = thread::scope(|scope| {
                let racers: Vec<_> = (0..8)
                    .map(|racer| {
                        let (start, network, endpoint) = (&start, &network, &endpoint);
                        scope.spawn(move || {
                            let mut client = Client::new();
                            let mapped = with_version(&json!({"Policies": [mapping(6, port, 0)],
                                "IpConfigurations": [{"IpAddress": format!("192.0.2.{}", 100 + round)}]}));
                            let balanced = with_version(&json!({"HostComputeEndpoints": [endpoint],
                                "PortMappings": [{"Protocol": 6, "InternalPort": 1, "ExternalPort": port}]}));
                            start.wait();
                            let reply = if racer % 2 == 0 {
                                let call = json!({"network_id": network, "settings": mapped});
                                client.call("Endpoint.Create", &call)
                            } else {
                                client.call("LoadBalancer.Create", &json!({"settings": balanced}))
                            };
                            let expected = [None, Some(PORT_ALREADY_EXISTS), Some(0x803b_001e)];
                            assert!(expected.contains(&reply.hresult()), "{}", reply.raw);
                            usize::from(reply.error.is_none())
                        })
                    })
                    .collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).sum()
            });
            assert_eq!(won, 1, "round {round}");
        }
    });
}

#[test]
fn of_many_that_want_the_same_name_exactly_one_gets_it() {
    in_sandbox!(Sandbox::new(), {
        for round in 0..10 {
            let start = Barrier::new(8);
            let won: usize = thread::scope(|scope| {
                let racers: Vec<_> = (0..8)
                    .map(|_| {
                        let start = &start;
                        scope.spawn(move || {
                            let settings = with_version(&json!({"Name": format!("n{round}")}));
                            let mut client = Client::new();
                            start.wait();
                            let reply = client.call("Network.Create", &json!({"settings": settings}));
                            assert!([None, Some(0x803b_0010)].contains(&reply.hresult()), "{}", reply.raw);
                            usize::from(reply.error.is_none())
                        })
                    })
                    .collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).sum()
            });
            assert_eq!(won, 1, "round {round}");
        }
        assert_eq!(Client::new().ids("Network").len(), 10);
    });
}
