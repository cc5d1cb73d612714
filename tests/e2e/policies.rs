//! Policies together, on live traffic: connections survive every change that is not about them and end at once where a rule
//! says so; rules, load balancers, translation and proxies at a time; and what `Explain` tells is what packets do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use hcn_tests::client::{Client, Container, DUAL, network_document};
use hcn_tests::traffic::{HOST, ask_tcp_at, ask_udp_at, in_netns, serve_as, set_sysctl, wait_for_outside};
use hcn_tests::{Sandbox, eventually, in_sandbox, netns_exec, patience, run, run_ok};
use serde_json::{Value, json};

const PORT: u16 = 7000;
const STREAM: u16 = 7001;
const VIP: &str = "198.18.0.1";
const FAMILIES: [usize; 2] = [0, 1];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];

fn change(client: &mut Client, kind: &str, id: &str, request: &str, policies: &Value) {
    let settings =
        json!({"ResourceType": "Policy", "RequestType": request, "Settings": {"Policies": policies}});
    client.ok(&format!("{kind}.Modify"), &json!({"id": id, "settings": settings}));
}

fn acl(settings: &Value) -> Value {
    json!({"Type": "ACL", "Settings": settings})
}

/// A connection on which octets go to and fro, and the last one that was sent.
struct Stream(TcpStream, u8);

impl Stream {
    /// Lets a container echo what it gets.
    fn serve(container: &Container) {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, STREAM));
        let listener = in_netns(&container.namespace, || TcpListener::bind(any).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut writer = stream.try_clone().unwrap();
                    // It ends with the connection.
                    let _ = io::copy(&mut &stream, &mut writer);
                });
            }
        });
    }

    fn open(netns: &str, server: &str) -> Self {
        let server = SocketAddr::new(server.parse().unwrap(), STREAM);
        let connect = || TcpStream::connect_timeout(&server, patience(Duration::from_secs(1))).unwrap();
        Self(in_netns(netns, connect), 0)
    }

    /// Whether an octet comes back in time; what is dropped is sent again after 200 ms for the first time.
    fn flows(&mut self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(patience(time))).unwrap();
        self.1 = self.1.wrapping_add(1);
        let mut octet = [0];
        // What was asked before may be answered late.
        self.0.write_all(&[self.1]).is_ok()
            && std::iter::from_fn(|| self.0.read_exact(&mut octet).ok().map(|()| octet[0]))
                .any(|got| got == self.1)
    }

    #[track_caller]
    fn must_flow(&mut self, what: &str) {
        assert!(self.flows(Duration::from_millis(150)), "{what}");
    }
}

#[test]
fn a_stream_survives_what_is_not_about_it_and_ends_with_a_block() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [server, peer, third] = [(); 3].map(|()| client.container(&network, &json!({})));
        Stream::serve(&server);
        for family in FAMILIES {
            let mut stream = Stream::open(&peer.namespace, &server.addresses[family]);
            stream.must_flow("before any rule");
            let other = json!([acl(
                &json!({"Action": "Block", "Direction": "In", "LocalPorts": "22", "Protocols": "6"})
            )]);
            change(&mut client, "Endpoint", &server.endpoint, "Add", &other);
            stream.must_flow("a rule about another port");
            change(
                &mut client,
                "Endpoint",
                &third.endpoint,
                "Add",
                &json!([acl(&json!({"Action": "Block", "Direction": "In"}))]),
            );
            stream.must_flow("rules of another endpoint");
            let host = json!([acl(&json!({"Action": "Allow", "Direction": "In", "RuleType": "Host"}))]);
            change(&mut client, "Endpoint", &server.endpoint, "Add", &host);
            stream.must_flow("a rule in the namespace");
            change(
                &mut client,
                "Endpoint",
                &server.endpoint,
                "Add",
                &json!([{"Type": "PortMapping", "Settings":
                {"Protocol": 6, "InternalPort": STREAM, "ExternalPort": 8000, "Flags": 2 * family}}]),
            );
            stream.must_flow("a port mapping");
            let set =
                json!([{"Type": "SetPolicy", "Settings": {"Id": "s", "Values": third.addresses[family]}}]);
            change(&mut client, "Network", &network, "Add", &set);
            let named = acl(&json!({"Action": "Block", "Direction": "In", "LocalAddresses": "s"}));
            change(&mut client, "Endpoint", &server.endpoint, "Add", &json!([named]));
            stream.must_flow("a set of others");
            // The client is in the set now.
            let set =
                json!([{"Type": "SetPolicy", "Settings": {"Id": "s", "Values": peer.addresses[family]}}]);
            change(&mut client, "Network", &network, "Update", &set);
            assert!(!stream.flows(Duration::from_millis(1000)), "it is blocked");
            change(&mut client, "Endpoint", &server.endpoint, "Update", &json!([{}]));
            change(&mut client, "Network", &network, "Remove", &set);
            eventually("it goes on", || stream.flows(Duration::from_millis(1000)));
            // A block of the side that answers leaves what it has begun itself alone.
            let out = json!([acl(&json!({"Action": "Block", "Direction": "Out"}))]);
            change(&mut client, "Endpoint", &server.endpoint, "Add", &out);
            stream.must_flow("answers pass");
            let blocked = ask_tcp_at(&server.namespace, &third.addresses[family], PORT);
            assert!(blocked.is_err(), "the server begins nothing");
            change(&mut client, "Endpoint", &peer.endpoint, "Add", &out);
            assert!(!stream.flows(Duration::from_millis(1000)), "the client sends no more");
            for container in [&server, &peer, &third] {
                change(&mut client, "Endpoint", &container.endpoint, "Update", &json!([{}]));
            }
            let mapping = client.query("Endpoint", &server.endpoint)["Policies"].clone();
            change(&mut client, "Endpoint", &server.endpoint, "Remove", &mapping);
            eventually("it goes on again", || stream.flows(Duration::from_millis(1000)));
        }
    });
}

/// A rule of a tier, for what comes in.
fn tier(rule: &Value) -> Value {
    json!({"Type": "TierAcl", "Settings": {"Name": "tier", "Direction": "In", "Order": 1, "TierAclRules": [rule]}})
}

fn network_acl(port: u16) -> Value {
    json!({"Type": "NetworkACL", "Settings": {"Action": "Block", "Direction": "In", "RuleType": "Switch",
        "Protocols": "6", "LocalPorts": port.to_string()}})
}

#[test]
fn a_stream_survives_changes_of_every_other_kind() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [server, peer] = [(); 2].map(|()| client.container(&network, &json!({})));
        Stream::serve(&server);
        let mut streams =
            server.addresses.iter().map(|to| Stream::open(&peer.namespace, to)).collect::<Vec<_>>();
        let mut flow = |what: &str| {
            streams.iter_mut().zip(["IPv4", "IPv6"]).for_each(|(stream, family)| {
                stream.must_flow(&format!("{what}, {family}"));
            });
        };
        flow("before any change");
        let given = |kind: &str, settings: &Value| json!({"Type": kind, "Settings": settings});
        let proxies = ["192.0.2.1:1080", "[2001:db8:abcd:12::1]:1080"]
            .map(|proxy| given("L4Proxy", &json!({"Port": "22", "Protocol": 6, "Destination": proxy})));
        let other_port =
            json!({"Id": "other", "TierAclRuleAction": "Block", "Protocols": "6", "LocalPorts": "22"});
        let rules = [
            acl(
                &json!({"Action": "Allow", "Direction": "In", "Protocols": "6", "LocalPorts": STREAM.to_string()}),
            ),
            acl(&json!({"Action": "Block", "Direction": "In", "Priority": 9})),
            acl(&json!({"Action": "Block", "Direction": "Out", "Protocols": "17", "RuleType": "Host"})),
        ];
        let of_endpoint = [
            json!([given("QOS", &json!({"MaximumOutgoingBandwidthInBytes": 1_250_000}))]),
            json!([given("EncapOverhead", &json!({"Overhead": 50}))]),
            json!([given("InterfaceParameters", &json!({"Mtu": 1400}))]),
            json!([given("PortName", &json!({"Name": "front"}))]),
            json!(proxies),
            json!([tier(&other_port)]),
        ];
        for container in [&server, &peer] {
            let side = if container.endpoint == server.endpoint { "the server" } else { "the client" };
            for policies in &of_endpoint {
                for request in ["Add", "Update", "Remove"] {
                    change(&mut client, "Endpoint", &container.endpoint, request, policies);
                    flow(&format!("{request} {policies} of {side}"));
                }
            }
            // All together, and the same again.
            let all: Vec<Value> =
                of_endpoint.iter().flat_map(|one| one.as_array().unwrap().clone()).collect();
            change(&mut client, "Endpoint", &container.endpoint, "Add", &json!(all));
            flow(&format!("everything of {side}"));
            let all = client.query("Endpoint", &container.endpoint)["Policies"].clone();
            change(&mut client, "Endpoint", &container.endpoint, "Update", &all);
            flow(&format!("the same of {side} again"));
        }
        // Rules that the stream passes only since one allows it.
        for request in ["Add", "Update", "Update"] {
            change(&mut client, "Endpoint", &server.endpoint, request, &json!(rules));
            flow(&format!("{request} of rules that allow it"));
        }
        for request in ["Add", "Update", "Remove"] {
            change(&mut client, "Network", &network, request, &json!([network_acl(22)]));
            flow(&format!("{request} of a rule of the network"));
        }
    });
}

#[test]
fn every_kind_of_block_stops_a_stream_at_once() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [server, peer] = [(); 2].map(|()| client.container(&network, &json!({})));
        Stream::serve(&server);
        let host =
            |direction: &str| acl(&json!({"Action": "Block", "Direction": direction, "RuleType": "Host"}));
        let in_tier = tier(&json!({"Id": "no", "TierAclRuleAction": "Block", "Protocols": "6"}));
        let blocks = [
            ("Network", &network, network_acl(STREAM)),
            ("Endpoint", &server.endpoint, in_tier),
            ("Endpoint", &server.endpoint, host("In")),
            ("Endpoint", &peer.endpoint, host("Out")),
        ];
        for (kind, id, block) in blocks {
            let block = json!([block]);
            let mut streams =
                server.addresses.iter().map(|to| Stream::open(&peer.namespace, to)).collect::<Vec<_>>();
            streams.iter_mut().for_each(|stream| stream.must_flow("before"));
            change(&mut client, kind, id, "Add", &block);
            for stream in &mut streams {
                assert!(!stream.flows(Duration::from_millis(600)), "it is blocked by {block}");
            }
            change(&mut client, kind, id, "Remove", &block);
            for stream in &mut streams {
                eventually("it goes on", || stream.flows(Duration::from_millis(1000)));
            }
        }
    });
}

/// Somebody who is no endpoint.
fn somebody(namespace: &str, addresses: &[&str]) -> Container {
    let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
    Container { namespace: namespace.to_owned(), endpoint: String::new(), addresses }
}

/// What became of a packet.
struct Outcome {
    answer: String,
    passes: bool,
    /// What is told to decide.
    by: String,
}

impl Outcome {
    #[track_caller]
    fn is_by(&self, rule: &str) -> bool {
        assert!(self.by.contains(rule), "{rule}: {} {}", self.passes, self.by);
        self.passes
    }
}

/// What is told of a packet, at each end that is an endpoint, must be what happens.
fn agrees(
    client: &mut Client,
    from: &Container,
    to: &Container,
    family: usize,
    port: u16,
    udp: bool,
) -> Outcome {
    let answer = match udp {
        true => ask_udp_at(&from.namespace, &to.addresses[family], port),
        false => ask_tcp_at(&from.namespace, &to.addresses[family], port),
    };
    told(client, from, to, family, (port, udp), answer.unwrap_or_default())
}

/// The same of a packet that was sent already.
fn told(
    client: &mut Client,
    from: &Container,
    to: &Container,
    family: usize,
    (port, udp): (u16, bool),
    answer: String,
) -> Outcome {
    let passes = !answer.is_empty();
    let protocol = if udp { "udp" } else { "tcp" };
    let destination = SocketAddr::new(to.addresses[family].parse().unwrap(), port).to_string();
    let questions = [
        (from, json!({"To": destination, "Protocol": protocol})),
        (to, json!({"From": from.addresses[family], "Port": port, "Protocol": protocol})),
    ];
    let mut reasons = Vec::new();
    for (end, question) in questions.iter().filter(|(end, _)| !end.endpoint.is_empty()) {
        let asked = json!({"id": end.endpoint, "query": question});
        let told = client.ok("Endpoint.Explain", &asked)["properties"].clone();
        assert_eq!(told["Verdict"] == "Allow", passes, "{question}: {answer:?}, but {told:#}");
        if passes && [from, to].iter().all(|end| !end.endpoint.is_empty()) {
            // The server says who asked.
            let source = told["Arrives"].as_str().unwrap().split(' ').nth(1).unwrap();
            let source = source.parse::<SocketAddr>().unwrap().ip().to_string();
            assert!(answer.ends_with(&format!(" {source}")), "{question}: {answer}, but {told:#}");
        }
        // Its rules are where they are told to be; lists that are not the last have a chain of their own behind it.
        for step in told["Steps"].as_array().unwrap().iter().filter(|step| step["Stage"] == "Filter") {
            let place = step["Nft"].as_str().unwrap();
            let (chain, netns) = place.split_once(" in netns ").unwrap_or((place, ""));
            let [family, table, "chain", name] = chain.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{place}")
            };
            let list = ["nft", "list", "table", family, table];
            let listed = if netns.is_empty() { run(&list) } else { netns_exec(netns, &list) };
            let (_, found) = listed.stdout.split_once(&format!("chain {name}")).unwrap();
            assert!(found.contains(step["Rule"].as_str().unwrap()), "{step}: {listed}");
        }
        reasons.push(told["DecidedBy"].as_str().unwrap().to_owned());
    }
    assert!(reasons.iter().all(|by| *by == reasons[0]), "{questions:?}: {reasons:?}");
    Outcome { answer, passes, by: reasons.swap_remove(0) }
}

#[test]
fn what_is_told_of_packets_is_what_happens() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let tier = |name: &str, order: u16, rules: &Value| json!({"Type": "TierAcl", "Settings": {"Name": name, "Direction": "In", "Order": order, "TierAclRules": rules}});
        let plain = client.container(&network, &json!({}));
        let peer = client.container(&network, &json!({}));
        let set =
            json!([{"Type": "SetPolicy", "Settings": {"Id": "peers", "Values": peer.addresses.join(",")}}]);
        change(&mut client, "Network", &network, "Add", &set);
        let ruled = client.container(&network, &json!({"Policies": [
            acl(&json!({"Id": "no-udp", "Action": "Block", "Direction": "In", "Protocols": "17", "Priority": 10})),
            acl(&json!({"Id": "peers-only", "Action": "Allow", "Direction": "In", "LocalAddresses": "peers", "LocalPorts": "7000-7001", "Priority": 20})),
            acl(&json!({"Id": "rest", "Action": "Block", "Direction": "In", "RemotePorts": "1-65535", "Priority": 30})),
            acl(&json!({"Id": "nobody", "Action": "Block", "Direction": "Out", "RemoteAddresses": "203.0.113.0/24", "RuleType": "Host"})),
        ]}));
        let tiered = client.container(&network, &json!({"Policies": [
            tier("late", 2, &json!([{"Id": "peer", "TierAclRuleAction": "Allow", "RemoteAddresses": peer.addresses.join(",")},
                {"Id": "end", "TierAclRuleAction": "Block", "Priority": 9}])),
            tier("early", 1, &json!([{"Id": "on", "TierAclRuleAction": "Pass", "LocalPorts": "7000"},
                {"Id": "no", "TierAclRuleAction": "Block", "Priority": 9}])),
        ]}));
        let all = [&plain, &peer, &ruled, &tiered];
        for container in all {
            for port in [PORT, STREAM] {
                serve_as(&container.namespace, port, "ok");
            }
        }
        for port in [PORT, STREAM] {
            serve_as("outside", port, "ok");
        }
        let outside = somebody("outside", &OUTSIDE);
        let mut outcomes = (0, 0);
        let mut count = |passes: bool| if passes { outcomes.0 += 1 } else { outcomes.1 += 1 };
        for family in FAMILIES {
            for from in all {
                for to in all.iter().filter(|to| to.endpoint != from.endpoint) {
                    for (port, udp) in [(PORT, false), (PORT, true), (STREAM, false)] {
                        let outcome = agrees(&mut client, from, to, family, port, udp);
                        let is_peer = from.endpoint == peer.endpoint;
                        count(outcome.is_by(match &to.endpoint {
                            to if *to == ruled.endpoint && udp => "Policies[0] no-udp of",
                            to if *to == ruled.endpoint && is_peer => "Policies[1] peers-only of",
                            to if *to == ruled.endpoint => "Policies[2] rest of",
                            to if *to == tiered.endpoint && port == STREAM => "early no of",
                            to if *to == tiered.endpoint && is_peer => "late peer of",
                            to if *to == tiered.endpoint => "late end of",
                            _ => "nothing",
                        }));
                    }
                }
                let outcome = agrees(&mut client, from, &outside, family, PORT, false);
                let is_held = family == 0 && from.endpoint == ruled.endpoint;
                count(outcome.is_by(if is_held { "nobody of" } else { "NAT of network" }));
            }
        }
        assert!(outcomes.0 > 20 && outcomes.1 > 20, "{outcomes:?}");
    });
}

/// Between networks, with the host and with what is outside.
#[test]
fn what_is_told_of_networks_and_the_host_is_what_happens() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let held = json!({"Policies": [acl(&json!({"Id": "none", "Action": "Block", "Direction": "In"}))]});
        let mut ends = Vec::new();
        for (kind, prefix) in [("NAT", 2), ("NAT", 3), ("Internal", 4), ("Private", 5), ("Overlay", 6)] {
            let prefixes = [format!("10.44.{prefix}.0/24"), format!("fd44:{prefix}::/64")];
            let mut settings = network_document(&prefixes.each_ref().map(String::as_str));
            settings["Type"] = json!(kind);
            let created = client.ok("Network.Create", &json!({"settings": settings}));
            let network = created["id"].as_str().unwrap();
            let policies = if prefix == 3 { &held } else { &json!({}) };
            ends.push(client.container(network, policies));
            for (to, by) in prefixes.iter().zip(UPLINK) {
                run_ok(&["ip", "-n", "outside", "route", "add", to, "via", by]);
            }
            if prefix == 2 {
                // Its interface is the host's own, and so are its rules.
                let endpoint = client.endpoint(network, &held);
                let host = client.namespace("HostDefault");
                client.attach(&host, &endpoint);
                let addresses = client.addresses(&endpoint);
                ends.push(Container { namespace: HOST.to_owned(), endpoint, addresses });
                // It exchanges nothing with others of its network.
                ends.push(client.container(network, &json!({"Flags": 2})));
            }
        }
        ends.extend([somebody(HOST, &UPLINK), somebody("outside", &OUTSIDE)]);
        for end in ends.iter().filter(|end| end.namespace != HOST) {
            serve_as(&end.namespace, PORT, "ok");
        }
        serve_as(HOST, PORT, "ok");
        let [.., host, outside] = &ends[..] else { panic!("two at least") };
        let pairs = ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to)));
        let pairs = pairs.filter(|(from, to)| {
            // The host asks as whom it likes, which is no endpoint.
            let is_hosts = from.namespace == HOST && !from.endpoint.is_empty();
            let asked = !from.endpoint.is_empty() || !to.endpoint.is_empty();
            from.addresses != to.addresses && asked && !is_hosts
        });
        let all: Vec<_> = pairs.flat_map(|(from, to)| FAMILIES.map(|family| (from, to, family))).collect();
        let reasons = ["none of endpoint", "DisableInterComputeCommunication of", " of network"];
        let mut outcomes = [0; 2];
        for some in all.chunks(16) {
            // What is dropped takes its time.
            let answers: Vec<String> = thread::scope(|scope| {
                let ask = |(from, to, family): &(&Container, &Container, usize)| {
                    let (netns, server) = (from.namespace.clone(), to.addresses[*family].clone());
                    scope.spawn(move || ask_tcp_at(&netns, &server, PORT).unwrap_or_default())
                };
                let asking: Vec<_> = some.iter().map(ask).collect();
                asking.into_iter().map(|asked| asked.join().unwrap()).collect()
            });
            for ((from, to, family), answer) in some.iter().zip(answers) {
                let Outcome { passes, by, .. } = told(&mut client, from, to, *family, (PORT, false), answer);
                outcomes[usize::from(passes)] += 1;
                assert!(passes || reasons.iter().any(|reason| by.contains(reason)), "{by}");
            }
        }
        assert!(outcomes.iter().all(|count| *count > 20), "{outcomes:?}");
        // Which of the two it is, where it is one of them for sure.
        let [nat, _, alone, ruled, internal, private, overlay, ..] = &ends[..] else {
            panic!("seven at least")
        };
        for (from, to, by) in [
            (nat, ruled, "none of"),
            (nat, alone, "DisableInterComputeCommunication of"),
            (outside, internal, "Internal of"),
            (internal, nat, "Internal of"),
            (private, host, "Private of"),
            (overlay, host, "Overlay of"),
            (host, overlay, "Overlay of"),
        ] {
            assert!(!agrees(&mut client, from, to, 0, PORT, false).is_by(by));
        }
    });
}

#[test]
fn translation_to_a_neighbour_is_told_where_frames_are_shown() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let server = client.container(&network, &json!({}));
        serve_as(&server.namespace, PORT, "ok");
        let outbound = json!({"Type": "OutBoundNAT", "Settings": {"Destinations": [server.addresses[0]]}});
        let from = client.container(&network, &json!({"Policies": [outbound]}));
        // Where the host has every bridge show its frames there need be no rule.
        for (shown, by) in [("1", "OutBoundNAT of"), ("0", "nothing")] {
            if set_sysctl("net.bridge.bridge-nf-call-iptables", shown) {
                agrees(&mut client, &from, &server, 0, PORT, false).is_by(by);
            }
        }
        let allow = json!([acl(&json!({"Action": "Allow", "Direction": "In"}))]);
        change(&mut client, "Endpoint", &server.endpoint, "Add", &allow);
        assert_eq!(agrees(&mut client, &from, &server, 0, PORT, false).answer, "ok 192.0.2.1");
    });
}

#[test]
fn rules_services_translation_and_proxies_work_together() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [backend, proxy, neighbour] = [(); 3].map(|()| client.container(&network, &json!({})));
        serve_as(&backend.namespace, PORT, "backend");
        serve_as(&proxy.namespace, PORT, "proxy");
        serve_as(&neighbour.namespace, PORT, "neighbour");
        serve_as("outside", PORT, "outside");
        client.load_balancer(&json!({"HostComputeEndpoints": [backend.endpoint], "FrontendVIPs": [VIP],
            "PortMappings": [{"Protocol": 6, "InternalPort": PORT, "ExternalPort": 80}]}));
        let web = client.container(&network, &json!({"Policies": [
            {"Type": "OutBoundNAT", "Settings": {"Exceptions": ["198.51.100.0/24"]}},
            {"Type": "L4Proxy", "Settings": {"IP": neighbour.addresses[0], "Port": PORT.to_string(), "Protocol": 6,
                "Destination": format!("{}:{PORT}", proxy.addresses[0])}},
            {"Type": "L4Proxy", "Settings": {"IP": "203.0.113.0/24", "Port": PORT.to_string(), "Protocol": 6,
                "Destination": format!("{}:{PORT}", proxy.addresses[0]), "OutboundNat": true}},
            acl(&json!({"Id": "backend", "Action": "Allow", "Direction": "Out", "RemoteAddresses": backend.addresses[0], "Priority": 1})),
            acl(&json!({"Id": "proxy", "Action": "Allow", "Direction": "Out", "RemoteAddresses": proxy.addresses[0], "Priority": 2})),
            acl(&json!({"Id": "rest", "Action": "Block", "Direction": "Out", "Protocols": "6", "Priority": 3})),
        ]}));
        let answer = |client: &mut Client, to: &str, port: u16| {
            // At the place of its family.
            agrees(client, &web, &somebody("", &[to; 2]), usize::from(to.contains(':')), port, false)
        };
        // Rules are about the back end, not the virtual address.
        assert!(answer(&mut client, VIP, 80).answer.starts_with("backend"));
        assert!(answer(&mut client, OUTSIDE[0], PORT).answer.starts_with("proxy"));
        // Beside it, too; the proxy would answer past the host, which hides the client.
        let beside = answer(&mut client, &neighbour.addresses[0], PORT);
        assert!(beside.is_by("proxy of"));
        assert_eq!(beside.answer, "proxy 192.0.2.1");
        assert!(!answer(&mut client, OUTSIDE[1], PORT).is_by("rest of"), "the rest is blocked");
        let udp = ask_udp_at(&web.namespace, OUTSIDE[0], PORT).unwrap();
        assert_eq!(udp, "outside 203.0.113.10", "the proxy is for TCP");
        // The back end lets nobody in: the service does not help.
        change(
            &mut client,
            "Endpoint",
            &backend.endpoint,
            "Add",
            &json!([acl(&json!({"Action": "Block", "Direction": "In"}))]),
        );
        assert!(!answer(&mut client, VIP, 80).passes);
        change(&mut client, "Endpoint", &backend.endpoint, "Update", &json!([{}]));
        assert!(answer(&mut client, VIP, 80).is_by("backend of"));
        // Without the proxy the rules meet the real destination.
        let rules = client.query("Endpoint", &web.endpoint)["Policies"].clone();
        let proxies: Vec<&Value> =
            rules.as_array().unwrap().iter().filter(|policy| policy["Type"] == "L4Proxy").collect();
        change(&mut client, "Endpoint", &web.endpoint, "Remove", &json!(proxies));
        assert!(!answer(&mut client, OUTSIDE[0], PORT).is_by("rest of"));
        change(&mut client, "Endpoint", &web.endpoint, "Update", &json!([{}]));
        assert_eq!(ask_tcp_at(&web.namespace, OUTSIDE[0], PORT).unwrap(), "outside 203.0.113.10");
        assert!(ask_tcp_at(HOST, &web.addresses[0], PORT).is_err(), "nobody listens there");
    });
}
