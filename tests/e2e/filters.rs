//! Do rules of ACL, TierAcl, NetworkACL and SetPolicy act on packets, and nothing without them? Scenarios 16 and 17 of the
//! contract; rules of both types while an endpoint is attached, detached, and over a restart; ports that move to where
//! rules are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::thread;

use hcn_tests::client::{Client, Container, DUAL, with_version};
use hcn_tests::service::{kill_hcnd, kill_hcnd_and};
use hcn_tests::traffic::{HOST, ask_tcp_at, ask_udp_at, ping, serve_as, set_sysctl, wait_for_outside};
use hcn_tests::{Sandbox, in_sandbox, netns_exec, run};
use serde_json::{Value, json};

const FAMILIES: [usize; 2] = [0, 1];
const REFERRED_TO: u32 = 0x803b_002c;

/// Changes policies of an endpoint or a network.
fn modify(client: &mut Client, kind: &str, id: &str, request: &str, policies: &Value) {
    let parameters = change(id, request, policies);
    client.ok(&format!("{kind}.Modify"), &parameters);
}

fn change(id: &str, request: &str, policies: &Value) -> Value {
    let settings =
        json!({"ResourceType": "Policy", "RequestType": request, "Settings": {"Policies": policies}});
    json!({"id": id, "settings": settings})
}

fn tcp(from: &str, to: &str, port: u16) -> bool {
    ask_tcp_at(from, to, port).is_ok()
}

fn udp(from: &str, to: &str, port: u16) -> bool {
    ask_udp_at(from, to, port).is_ok()
}

/// Whether there is the table of filters in a namespace.
fn filtered(netns: &str) -> bool {
    let argv = ["nft", "list", "table", "inet", "hcnd_filter"];
    let listed = if netns == HOST { run(&argv) } else { netns_exec(netns, &argv) };
    listed.code == Some(0)
}

/// Whether the bridges of networks show their frames to rules.
fn frames_shown() -> bool {
    let listed = run(&["ip", "-d", "link", "show", "type", "bridge"]);
    listed.stdout.contains("nf_call_iptables 1")
}

/// A network of 192.0.2.0/24 and containers with these last numbers, which serve TCP 80 and UDP 53.
fn world(client: &mut Client, kind: &str, numbers: &[u8]) -> (String, Vec<Container>) {
    let subnet = json!({"IpAddressPrefix": "192.0.2.0/24",
        "Routes": [{"NextHop": "192.0.2.1", "DestinationPrefix": "0.0.0.0/0"}]});
    let settings = with_version(&json!({"Type": kind, "Ipams": [{"Type": "Static", "Subnets": [subnet]}]}));
    let network = client.ok("Network.Create", &json!({"settings": settings}))["id"].clone();
    let network = network.as_str().unwrap().to_owned();
    let containers = numbers.iter().map(|number| {
        let address = json!([{"IpAddress": format!("192.0.2.{number}")}]);
        let container = client.container(&network, &json!({"IpConfigurations": address}));
        for port in [22, 53, 80, 81] {
            serve_as(&container.namespace, port, "");
        }
        container
    });
    let containers = containers.collect();
    (network, containers)
}

fn set(id: &str, values: &str) -> Value {
    let kind = if id.ends_with("2001") { "NESTEDIPSET" } else { "IPSET" };
    json!({"Type": "SetPolicy", "Settings": {"Id": id, "Name": id, "PolicyType": kind, "Values": values}})
}

#[test]
fn sets_of_addresses_as_azure_npm_writes_them() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let (network, containers) = world(&mut client, "NAT", &[11, 12, 13, 14]);
        let [server, others @ ..] = &containers[..] else { panic!("four containers") };
        let endpoint = server.endpoint.as_str();
        let from =
            |port| others.iter().map(|other| tcp(&other.namespace, "192.0.2.11", port)).collect::<Vec<_>>();
        assert_eq!(from(80), [true, true, true]);
        let sets = json!([
            set("azure-npm-1001", "192.0.2.11,192.0.2.12"),
            set("azure-npm-1002", "192.0.2.12,192.0.2.13"),
            set("azure-npm-2001", "azure-npm-1001,azure-npm-1002"),
        ]);
        modify(&mut client, "Network", &network, "Add", &sets);
        let acl = |settings: Value| json!({"Type": "ACL", "Settings": settings});
        let rules = json!([
            acl(json!({"Id": "azure-acl-prod-p1", "Action": "Allow", "Direction": "In",
                "LocalAddresses": "azure-npm-1001,azure-npm-1002", "LocalPorts": "80", "Protocols": "6",
                "RuleType": "Switch", "Priority": 222})),
            acl(
                json!({"Id": "azure-acl-prod-p1", "Action": "Block", "Direction": "In", "RuleType": "Switch",
                "Priority": 3000})
            ),
        ]);
        modify(&mut client, "Endpoint", endpoint, "Update", &rules);
        // A member of both sets, and by nothing but TCP 80.
        assert_eq!((from(80), from(81)), (vec![true, false, false], vec![false; 3]));
        assert!(!udp(&others[0].namespace, "192.0.2.11", 53) && !tcp(HOST, "192.0.2.11", 80));
        assert_ne!(ping(&others[0].namespace, "192.0.2.11").code, Some(0));
        assert!(tcp(&server.namespace, "192.0.2.13", 81), "what it begins is answered");
        let mut client = kill_hcnd();
        assert_eq!(from(80), [true, false, false]);
        let more = json!([set("azure-npm-1001", "192.0.2.14,192.0.2.12,192.0.2.13")]);
        modify(&mut client, "Network", &network, "Update", &more);
        assert_eq!(from(80), [true, true, false]);

        let gone = |id| json!([set(id, "")]);
        let refused = |client: &mut Client, id| {
            client.refused("Network.Modify", &change(&network, "Remove", &gone(id)))
        };
        assert_eq!(refused(&mut client, "azure-npm-1002"), REFERRED_TO);
        modify(&mut client, "Network", &network, "Remove", &gone("azure-npm-2001"));
        assert_eq!(refused(&mut client, "azure-npm-1002"), REFERRED_TO);
        modify(&mut client, "Endpoint", endpoint, "Update", &json!([]));
        assert_eq!(from(81), [true; 3]);
        modify(&mut client, "Network", &network, "Remove", &gone("azure-npm-1002"));
        assert!(filtered(HOST), "a set is left");
        modify(&mut client, "Network", &network, "Remove", &gone("azure-npm-1001"));
        assert!(!filtered(HOST) && !frames_shown());
    });
}

#[test]
fn tiers_and_rules_of_a_network() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let (network, containers) = world(&mut client, "L2Bridge", &[10, 11]);
        let [tiered, other] = &containers[..] else { panic!("two containers") };
        for address in ["198.51.100.7/32", "198.51.100.8/32", "203.0.113.66/24"] {
            let added = netns_exec("outside", &["ip", "address", "add", address, "dev", "eth0"]);
            assert_eq!(added.code, Some(0), "{added}");
        }
        serve_as("outside", 53, "");
        serve_as("outside", 80, "");
        // From outside as one of its addresses.
        let from = |source: &str, container: &Container, port| {
            let route = ["ip", "route", "replace", "192.0.2.0/24", "via", "203.0.113.10", "src", source];
            let replaced = netns_exec("outside", &route);
            assert_eq!(replaced.code, Some(0), "{replaced}");
            tcp("outside", &container.addresses[0], port)
        };
        let stranger = "203.0.113.1";
        assert!(
            from("203.0.113.66", other, 22) && from("198.51.100.8", tiered, 80) && from(stranger, tiered, 22)
        );

        let acl = json!([{"Type": "NetworkACL", "Settings": {"Protocols": "6", "Action": "Block", "Direction": "In",
            "RemoteAddresses": "203.0.113.66", "LocalPorts": "22", "RuleType": "Switch", "Priority": 200}}]);
        modify(&mut client, "Network", &network, "Add", &acl);
        for container in &containers {
            assert!(!from("203.0.113.66", container, 22));
            assert!(from("203.0.113.66", container, 80) && from(stranger, container, 22));
        }
        let tier = |name: &str, direction: &str, order: u16, rules: Value| json!({"Type": "TierAcl", "Settings": {"Name": name, "Direction": direction, "Order": order, "TierAclRules": rules}});
        let tiers = json!([
            tier(
                "TierIn1",
                "In",
                1001,
                json!([
                {"Id": "r1", "Protocols": "6", "TierAclRuleAction": "Pass", "RemoteAddresses": "198.51.100.0/24",
                    "LocalPorts": "80", "Priority": 2001},
                {"Id": "r2", "TierAclRuleAction": "Block", "Priority": 2100}])
            ),
            tier(
                "TierIn2",
                "In",
                1002,
                json!([
                {"Id": "r3", "TierAclRuleAction": "Allow", "RemoteAddresses": "198.51.100.7", "Priority": 3000},
                {"Id": "r4", "TierAclRuleAction": "Block", "Priority": 3010}])
            ),
            tier(
                "TierOut1",
                "Out",
                1001,
                json!([
                {"Id": "r5", "Protocols": "17", "TierAclRuleAction": "Allow", "RemotePorts": "53", "Priority": 100},
                {"Id": "r6", "TierAclRuleAction": "Block", "Priority": 200}])
            ),
        ]);
        modify(&mut client, "Endpoint", &tiered.endpoint, "Update", &tiers);
        for round in 0..2 {
            assert!(from("198.51.100.7", tiered, 80), "passed on and allowed");
            assert!(!from("198.51.100.8", tiered, 80), "passed on and blocked");
            assert!(!from(stranger, tiered, 80) && !from("198.51.100.7", tiered, 81), "blocked");
            assert!(!tcp(&other.namespace, "192.0.2.10", 80) && !tcp(HOST, "192.0.2.10", 80));
            assert!(from(stranger, other, 80));
            assert!(udp(&tiered.namespace, "203.0.113.1", 53), "it may ask for names");
            assert!(!udp(&tiered.namespace, "203.0.113.1", 80) && !tcp(&tiered.namespace, "203.0.113.1", 53));
            assert!(!tcp(&tiered.namespace, "192.0.2.11", 80));
            assert!(!from("203.0.113.66", other, 22));
            // And again with another hcnd.
            if round == 0 {
                client = kill_hcnd();
            }
        }
        let listed = run(&["nft", "list", "table", "inet", "hcnd_filter"]);
        for id in ["TierIn1 r1", "TierIn2 r4", "NetworkACL"] {
            assert!(listed.stdout.contains(id), "{id}: {listed}");
        }
        modify(&mut client, "Network", &network, "Remove", &acl);
        assert!(from("203.0.113.66", other, 22));
        let policies = client.query("Network", &network)["Policies"].clone();
        assert!(!policies.to_string().contains("NetworkACL"), "{policies}");
        client.delete("Endpoint", &tiered.endpoint);
        assert!(!filtered(HOST) && !frames_shown());
    });
}

/// Which of these come by TCP to which addresses; at once, since what is blocked takes its time.
fn reached(from: &[&Container], to: &[String], port: u16) -> Vec<bool> {
    thread::scope(|scope| {
        let ask = |from: &Container, address: &String| {
            let (from, address) = (from.namespace.clone(), address.clone());
            scope.spawn(move || tcp(&from, &address, port))
        };
        let asking: Vec<_> = from.iter().flat_map(|from| to.iter().map(|to| ask(from, to))).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// Of one that was there, one that is attached later and one that is made later; over both families.
#[test]
fn rules_of_a_network_are_about_what_its_endpoints_send_whenever_they_come() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [there, later, peer] = [(); 3].map(|()| client.container(&network, &json!({})));
        for container in [&there, &peer] {
            [80, 81].iter().for_each(|port| serve_as(&container.namespace, *port, ""));
        }
        for rule_type in ["Switch", "Host"] {
            assert_eq!(reached(&[&there, &later], &peer.addresses, 80), [true; 4], "{rule_type}");
            client.detach(&later.namespace, &later.endpoint);
            let rule = json!([{"Type": "NetworkACL", "Settings": {"Protocols": "6", "Action": "Block",
                "Direction": "Out", "RemoteAddresses": peer.addresses.join(","), "RemotePorts": "80",
                "RuleType": rule_type, "Priority": 200}}]);
            modify(&mut client, "Network", &network, "Add", &rule);
            client.attach(&later.namespace, &later.endpoint);
            let made = client.container(&network, &json!({}));
            let all = [&there, &later, &made];
            let as_said = || {
                assert_eq!(reached(&all, &peer.addresses, 80), [false; 6], "{rule_type}");
                // Another port, another address, the other direction, another protocol.
                assert_eq!(reached(&all, &peer.addresses, 81), [true; 6], "{rule_type}");
                assert_eq!(reached(&all[1..], &there.addresses, 80), [true; 4], "{rule_type}");
                assert_eq!(reached(&[&peer], &there.addresses, 80), [true; 2], "{rule_type}");
                assert!(udp(&made.namespace, &peer.addresses[1], 80), "{rule_type}");
            };
            as_said();
            client = kill_hcnd_and(as_said);
            as_said();
            modify(&mut client, "Network", &network, "Remove", &rule);
            assert_eq!(reached(&all, &peer.addresses, 80), [true; 6], "{rule_type}");
            assert!(!filtered(HOST) && !frames_shown() && !all.iter().any(|one| filtered(&one.namespace)));
            client.delete("Endpoint", &made.endpoint);
        }
    });
}

/// The members are written into the namespace, which must hear of each change.
#[test]
fn a_rule_in_a_namespace_follows_the_set_that_it_names() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [server, one, other] = [(); 3].map(|()| client.container(&network, &json!({})));
        serve_as(&server.namespace, 80, "");
        let come = || reached(&[&one, &other], &server.addresses, 80);
        let friends = |members: &[&Container]| {
            let addresses: Vec<&str> =
                members.iter().flat_map(|member| member.addresses.iter().map(String::as_str)).collect();
            json!([set("friends", &addresses.join(","))])
        };
        let rule = |action: &str, sets: &str, priority: u16| {
            json!({"Type": "ACL", "Settings": {"Action": action, "Direction": "In", "LocalAddresses": sets,
                "RuleType": "Host", "Priority": priority}})
        };
        assert_eq!(come(), [true; 4]);
        modify(&mut client, "Network", &network, "Add", &friends(&[&one]));
        let rules = json!([rule("Allow", "friends", 100), rule("Block", "", 200)]);
        modify(&mut client, "Endpoint", &server.endpoint, "Add", &rules);
        assert_eq!(come(), [true, true, false, false]);
        modify(&mut client, "Network", &network, "Update", &friends(&[&other]));
        assert_eq!(come(), [false, false, true, true]);
        client = kill_hcnd_and(|| assert_eq!(come(), [false, false, true, true]));
        assert_eq!(come(), [false, false, true, true]);
        modify(&mut client, "Network", &network, "Update", &friends(&[&one, &other]));
        assert_eq!(come(), [true; 4]);
        modify(&mut client, "Network", &network, "Update", &friends(&[]));
        assert_eq!(come(), [false; 4]);
        // Also while there is no place for it.
        client.detach(&server.namespace, &server.endpoint);
        modify(&mut client, "Network", &network, "Update", &friends(&[&one]));
        client.attach(&server.namespace, &server.endpoint);
        assert_eq!(come(), [true, true, false, false]);
        modify(&mut client, "Endpoint", &server.endpoint, "Remove", &rules);
        assert_eq!(come(), [true; 4]);
        modify(&mut client, "Network", &network, "Remove", &json!([set("friends", "")]));
        assert!(!filtered(HOST) && !filtered(&server.namespace));
    });
}

fn block(rule_type: &str, direction: &str) -> Value {
    json!({"Type": "ACL", "Settings":
        {"Protocols": "6", "Action": "Block", "Direction": direction, "RuleType": rule_type, "Priority": 100}})
}

#[test]
fn rules_of_both_types_act_while_an_endpoint_is_attached() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [server, asking] = [(); 2].map(|()| client.container(&network, &json!({})));
        serve_as(&server.namespace, 80, "");
        serve_as(&asking.namespace, 80, "");
        let comes = || FAMILIES.map(|family| tcp(&asking.namespace, &server.addresses[family], 80));
        let goes = || FAMILIES.map(|family| tcp(&server.namespace, &asking.addresses[family], 80));
        let by_udp = || FAMILIES.iter().all(|family| udp(&asking.namespace, &server.addresses[*family], 80));
        for (rule_type, shown) in [("Switch", "1"), ("Host", "1"), ("Switch", "0")] {
            for name in ["iptables", "ip6tables"] {
                assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), shown));
            }
            let in_host = rule_type == "Switch";
            let place = if in_host { HOST } else { &server.namespace };
            assert!(!filtered(HOST) && !filtered(&server.namespace) && !frames_shown());
            assert_eq!((comes(), goes(), by_udp()), ([true; 2], [true; 2], true));
            modify(&mut client, "Endpoint", &server.endpoint, "Update", &json!([block(rule_type, "In")]));
            assert_eq!((comes(), goes(), by_udp()), ([false; 2], [true; 2], true), "{rule_type}");
            assert_eq!((filtered(HOST), filtered(&server.namespace)), (in_host, !in_host));
            assert_eq!(frames_shown(), in_host);
            modify(&mut client, "Endpoint", &server.endpoint, "Update", &json!([block(rule_type, "Out")]));
            assert_eq!((comes(), goes(), by_udp()), ([true; 2], [false; 2], true), "{rule_type}");
            // Somebody takes the rules away meanwhile.
            client = kill_hcnd_and(|| {
                let rules = ["nft", "delete", "table", "inet", "hcnd_filter"];
                let gone = if in_host { run(&rules) } else { netns_exec(place, &rules) };
                assert_eq!(gone.code, Some(0), "{gone}");
                assert_eq!(goes(), [true; 2], "{rule_type}");
            });
            assert_eq!((comes(), goes(), by_udp()), ([true; 2], [false; 2], true), "{rule_type}");

            client.detach(&server.namespace, &server.endpoint);
            assert!(!filtered(place) && !frames_shown(), "{rule_type}");
            client.attach(&server.namespace, &server.endpoint);
            assert_eq!((comes(), goes()), ([true; 2], [false; 2]), "{rule_type}");
            modify(&mut client, "Endpoint", &server.endpoint, "Update", &json!([]));
        }
        assert_eq!((comes(), goes()), ([true; 2], [true; 2]));
        assert!(!filtered(HOST) && !filtered(&server.namespace) && !frames_shown());
    });
}

#[test]
fn an_endpoint_of_the_host_and_one_on_the_uplink_itself_have_rules_too() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let asking = client.container(&network, &json!({}));
        let own = Container {
            namespace: client.namespace("HostDefault"),
            endpoint: client.endpoint(&network, &json!({})),
            addresses: Vec::new(),
        };
        client.attach(&own.namespace, &own.endpoint);
        let own = Container { addresses: client.addresses(&own.endpoint), ..own };
        serve_as(HOST, 80, "");
        serve_as("outside", 80, "");
        let comes = || FAMILIES.map(|family| tcp(&asking.namespace, &own.addresses[family], 80));
        assert_eq!(comes(), [true; 2]);
        for rule_type in ["Switch", "Host"] {
            modify(&mut client, "Endpoint", &own.endpoint, "Update", &json!([block(rule_type, "In")]));
            assert_eq!(comes(), [false; 2], "{rule_type}");
            modify(&mut client, "Endpoint", &own.endpoint, "Update", &json!([]));
            assert_eq!(comes(), [true; 2]);
        }
        // A macvlan is filtered where its packets are seen.
        let subnet = json!({"IpAddressPrefix": "203.0.113.0/24",
            "Routes": [{"NextHop": "203.0.113.1", "DestinationPrefix": "0.0.0.0/0"}]});
        let settings =
            with_version(&json!({"Type": "Transparent", "Ipams": [{"Type": "Static", "Subnets": [subnet]}],
            "Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}]}));
        let created = client.ok("Network.Create", &json!({"settings": settings}));
        let transparent = created["id"].as_str().unwrap().to_owned();
        let outer =
            client.container(&transparent, &json!({"IpConfigurations": [{"IpAddress": "203.0.113.40"}]}));
        serve_as(&outer.namespace, 80, "");
        let comes = || tcp("outside", "203.0.113.40", 80);
        let goes = || tcp(&outer.namespace, "203.0.113.1", 80);
        assert!(comes() && goes());
        modify(&mut client, "Endpoint", &outer.endpoint, "Update", &json!([block("Switch", "In")]));
        assert!(!comes() && goes() && udp("outside", "203.0.113.40", 80));
        assert!(filtered(&outer.namespace) && !filtered(HOST));
        modify(&mut client, "Endpoint", &outer.endpoint, "Update", &json!([block("Switch", "Out")]));
        assert!(comes() && !goes());
    });
}
