//! Policies together: rules, load balancers, translation and proxies at a time; and what `Explain` tells is what packets do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::net::SocketAddr;
use std::thread;

use hcn_tests::client::{Client, Container, DUAL, network_document};
use hcn_tests::policies::{acl, change};
use hcn_tests::service::kill_hcnd;
use hcn_tests::traffic::{HOST, ask_tcp_at, ask_udp_at, serve_as, set_sysctl, wait_for_outside};
use hcn_tests::{Sandbox, in_sandbox, netns_exec, run, run_ok};
use serde_json::{Value, json};

const PORT: u16 = 7000;
/// Some rules are about this one.
const OTHER_PORT: u16 = 7001;
const VIPS: [&str; 2] = ["198.18.0.1", "2001:db8:18::1"];
const FAMILIES: [usize; 2] = [0, 1];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const OUTSIDE_PREFIXES: [&str; 2] = ["203.0.113.0/24", "2001:db8:ffff::/64"];
const GATEWAYS: [&str; 2] = ["192.0.2.1", "2001:db8:abcd:12::1"];

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
            for port in [PORT, OTHER_PORT] {
                serve_as(&container.namespace, port, "ok");
            }
        }
        for port in [PORT, OTHER_PORT] {
            serve_as("outside", port, "ok");
        }
        let outside = somebody("outside", &OUTSIDE);
        let mut outcomes = (0, 0);
        let mut count = |passes: bool| if passes { outcomes.0 += 1 } else { outcomes.1 += 1 };
        for family in FAMILIES {
            for from in all {
                for to in all.iter().filter(|to| to.endpoint != from.endpoint) {
                    for (port, udp) in [(PORT, false), (PORT, true), (OTHER_PORT, false)] {
                        let outcome = agrees(&mut client, from, to, family, port, udp);
                        let is_peer = from.endpoint == peer.endpoint;
                        count(outcome.is_by(match &to.endpoint {
                            to if *to == ruled.endpoint && udp => "Policies[0] no-udp of",
                            to if *to == ruled.endpoint && is_peer => "Policies[1] peers-only of",
                            to if *to == ruled.endpoint => "Policies[2] rest of",
                            to if *to == tiered.endpoint && port == OTHER_PORT => "early no of",
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
fn an_address_that_the_host_answers_for_is_told_as_its_own() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        serve_as(HOST, PORT, "host");
        // An overlay's host is the gateway of its endpoints alone.
        for (kind, prefixes, virtual_ips, reached, by) in [
            ("NAT", DUAL, ["192.0.2.200", "2001:db8:abcd:12::200"], "host ", "nothing"),
            ("Overlay", ["10.44.1.0/24", "fd44:1::/64"], ["10.44.1.200", "fd44:1::200"], "", "Overlay of"),
        ] {
            let mut settings = network_document(&prefixes);
            settings["Type"] = json!(kind);
            let created = client.ok("Network.Create", &json!({"settings": settings}));
            let network = created["id"].as_str().unwrap();
            let outbound =
                virtual_ips.map(|address| json!({"Type": "OutBoundNAT", "Settings": {"VirtualIP": address}}));
            let external = if kind == "NAT" { 8080 } else { 8081 };
            let port = [0, 2].map(|flags| {
                json!({"Type": "PortMapping", "Settings":
                    {"Protocol": 6, "InternalPort": PORT, "ExternalPort": external, "Flags": flags}})
            });
            let translated = client.container(network, &json!({"Policies": outbound}));
            let mapped = client.container(network, &json!({"Policies": port}));
            serve_as(&mapped.namespace, PORT, "mapped");
            let host = somebody(HOST, &virtual_ips);
            for from in [&translated, &mapped] {
                for family in FAMILIES {
                    let outcome = agrees(&mut client, from, &host, family, PORT, false);
                    assert!(outcome.answer.starts_with(reached), "{kind}: {}", outcome.answer);
                    assert_eq!(outcome.is_by(by), !reached.is_empty());
                    // Its ports are the host's, too.
                    let outcome = agrees(&mut client, &translated, &host, family, external, false);
                    assert!(outcome.answer.starts_with("mapped "), "{kind}: {}", outcome.answer);
                }
                client = kill_hcnd();
            }
        }
    });
}

/// What lies behind outside, where packets keep their source.
const BEHIND: [&str; 2] = ["198.51.100.1", "2001:db8:51::1"];

fn ip(netns: &str, words: &str) {
    let done = netns_exec(netns, &["ip"].into_iter().chain(words.split(' ')).collect::<Vec<_>>());
    assert_eq!(done.code, Some(0), "{done}");
}

#[test]
fn rules_services_translation_and_proxies_work_together() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        for (behind, (prefix, host)) in
            BEHIND.iter().zip(["192.0.2.0/24", "2001:db8:abcd:12::/64"].into_iter().zip(UPLINK))
        {
            ip("outside", &format!("address add {behind} dev lo"));
            ip("outside", &format!("route add {prefix} via {host}"));
        }
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [backend, proxy, neighbour] = [(); 3].map(|()| client.container(&network, &json!({})));
        serve_as(&backend.namespace, PORT, "backend");
        serve_as(&proxy.namespace, PORT, "proxy");
        serve_as(&neighbour.namespace, PORT, "neighbour");
        serve_as("outside", PORT, "outside");
        client.load_balancer(&json!({"HostComputeEndpoints": [backend.endpoint], "FrontendVIPs": VIPS,
            "PortMappings": [{"Protocol": 6, "InternalPort": PORT, "ExternalPort": 80}]}));
        let both = |addresses: &[String]| addresses.join(",");
        let proxies = FAMILIES.map(|family| {
            let to = SocketAddr::new(proxy.addresses[family].parse().unwrap(), PORT).to_string();
            let of = |ip: &str, nat: bool| {
                json!({"Type": "L4Proxy", "Settings": {"IP": ip, "Port": PORT.to_string(), "Protocol": 6,
                    "Destination": to, "OutboundNat": nat}})
            };
            [of(&neighbour.addresses[family], false), of(OUTSIDE_PREFIXES[family], true)]
        });
        let rules = json!([
            {"Type": "OutBoundNAT", "Settings": {"Exceptions": ["198.51.100.0/24"]}},
            {"Type": "OutBoundNAT", "Settings": {"Flags": 2, "Exceptions": ["2001:db8:51::/64"]}},
            acl(&json!({"Id": "backend", "Action": "Allow", "Direction": "Out", "RemoteAddresses": both(&backend.addresses), "Priority": 1})),
            acl(&json!({"Id": "proxy", "Action": "Allow", "Direction": "Out", "RemoteAddresses": both(&proxy.addresses), "Priority": 2})),
            acl(&json!({"Id": "behind", "Action": "Allow", "Direction": "Out", "RemoteAddresses": BEHIND.join(","), "Priority": 2})),
            acl(&json!({"Id": "rest", "Action": "Block", "Direction": "Out", "Protocols": "6", "Priority": 3})),
        ]);
        let all: Vec<Value> =
            rules.as_array().unwrap().iter().chain(proxies.iter().flatten()).cloned().collect();
        let web = client.container(&network, &json!({"Policies": all}));
        let answer = |client: &mut Client, to: &str, port: u16| {
            // At the place of its family.
            agrees(client, &web, &somebody("", &[to; 2]), usize::from(to.contains(':')), port, false)
        };
        for killed in [false, true] {
            if killed {
                client = kill_hcnd();
            }
            for family in FAMILIES {
                // Rules are about the back end, not the virtual address.
                assert!(answer(&mut client, VIPS[family], 80).answer.starts_with("backend"));
                assert!(answer(&mut client, OUTSIDE[family], PORT).answer.starts_with("proxy"));
                // Beside it, too; the proxy would answer past the host, which hides the client.
                let beside = answer(&mut client, &neighbour.addresses[family], PORT);
                assert!(beside.is_by("proxy of"));
                assert_eq!(beside.answer, format!("proxy {}", GATEWAYS[family]));
                // What is excepted keeps its source, all else leaves with the host's.
                let behind = answer(&mut client, BEHIND[family], PORT).answer;
                assert_eq!(behind, format!("outside {}", web.addresses[family]));
                let udp = ask_udp_at(&web.namespace, OUTSIDE[family], PORT).unwrap();
                assert_eq!(udp, format!("outside {}", UPLINK[family]), "the proxy and the rules are for TCP");
                let mapped = answer(&mut client, OUTSIDE[family], 81);
                assert!(!mapped.is_by("rest of"), "the rest is blocked");
            }
        }
        // The back end lets nobody in: the service does not help.
        let nobody = json!([acl(&json!({"Action": "Block", "Direction": "In"}))]);
        change(&mut client, "Endpoint", &backend.endpoint, "Add", &nobody);
        for vip in VIPS {
            assert!(!answer(&mut client, vip, 80).passes);
        }
        change(&mut client, "Endpoint", &backend.endpoint, "Update", &json!([{}]));
        for vip in VIPS {
            assert!(answer(&mut client, vip, 80).is_by("backend of"));
        }
        // Without the translation what was excepted is translated; the others stand.
        change(&mut client, "Endpoint", &web.endpoint, "Remove", &json!(all[..2]));
        for family in FAMILIES {
            let behind = answer(&mut client, BEHIND[family], PORT).answer;
            assert_eq!(behind, format!("outside {}", UPLINK[family]));
            assert!(answer(&mut client, OUTSIDE[family], PORT).answer.starts_with("proxy"));
        }
        // Without the proxy the rules meet the real destination.
        change(&mut client, "Endpoint", &web.endpoint, "Remove", &json!(proxies.concat()));
        for family in FAMILIES {
            assert!(!answer(&mut client, OUTSIDE[family], PORT).is_by("rest of"));
            assert!(answer(&mut client, VIPS[family], 80).is_by("backend of"));
        }
        change(&mut client, "Endpoint", &web.endpoint, "Update", &json!([{}]));
        for family in FAMILIES {
            let seen = ask_tcp_at(&web.namespace, OUTSIDE[family], PORT).unwrap();
            assert_eq!(seen, format!("outside {}", UPLINK[family]));
        }
        assert!(ask_tcp_at(HOST, &web.addresses[0], PORT).is_err(), "nobody listens there");
    });
}
