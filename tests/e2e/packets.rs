//! Do the documents carry packets? Containers, gateways, the host and the world outside, in both families.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, Container, DUAL};
use hcn_tests::service::kill_hcnd;
use hcn_tests::traffic::{
    HOST, ask_tcp, ask_tcp_at, in_netns, is_silent, seen_as, serve, set_sysctl, wait_for_outside,
};
use hcn_tests::{Sandbox, eventually, in_sandbox, netns_exec, patience, run_ok};
use serde_json::{Value, json};

const GATEWAYS: [&str; 2] = ["192.0.2.1", "2001:db8:abcd:12::1"];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
/// Places of the families in these, IPv4 first.
const FAMILIES: [usize; 2] = [0, 1];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];

/// A dual-stack network with two containers, each of which serves.
fn two_containers() -> (Client, String, [Container; 2]) {
    let mut client = Client::new();
    let network = client.network(&DUAL);
    let containers = [(); 2].map(|()| client.container(&network, &json!({})));
    for container in &containers {
        serve(&container.namespace);
    }
    (client, network, containers)
}

#[test]
fn containers_of_a_network_see_each_other_as_they_are() {
    in_sandbox!(Sandbox::new(), { see_each_other() });
}

#[test]
fn containers_of_an_ordinary_user_see_each_other_as_they_are() {
    in_sandbox!(Sandbox::as_ordinary_user(), { see_each_other() });
}

fn see_each_other() {
    let (_client, _network, [a, b]) = two_containers();
    for family in FAMILIES {
        assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
        assert_eq!(seen_as(&b.namespace, &a.addresses[family]), b.addresses[family]);
    }
}

#[test]
fn bridged_traffic_that_netfilter_sees_is_not_masqueraded() {
    in_sandbox!(Sandbox::new(), {
        let (_client, _network, [a, b]) = two_containers();
        for value in ["1", "0"] {
            for name in ["iptables", "ip6tables"] {
                let there = set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), value);
                assert!(there, "this kernel has no br_netfilter, so this test shows nothing");
            }
            for family in FAMILIES {
                assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
            }
        }
    });
}

#[test]
fn a_container_reaches_its_gateway_and_the_host_reaches_the_container() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let (_client, _network, [a, _]) = two_containers();
        serve(HOST);
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, GATEWAYS[family]), a.addresses[family]);
            assert_eq!(seen_as(HOST, &a.addresses[family]), GATEWAYS[family]);
        }
    });
}

#[test]
fn outside_sees_the_uplink_of_the_host() {
    in_sandbox!(Sandbox::new(), { outside_sees_the_uplink() });
}

#[test]
fn outside_sees_the_uplink_of_an_ordinary_user() {
    in_sandbox!(Sandbox::as_ordinary_user(), { outside_sees_the_uplink() });
}

fn outside_sees_the_uplink() {
    let (_client, _network, [a, b]) = two_containers();
    wait_for_outside();
    serve("outside");
    for family in FAMILIES {
        assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), UPLINK[family]);
        assert_eq!(seen_as(&b.namespace, OUTSIDE[family]), UPLINK[family]);
    }
}

#[test]
fn a_container_of_another_nat_network_is_seen_as_its_gateway_there() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, _network, [a, _]) = two_containers();
        let other = client.network(&["198.51.100.0/24", "2001:db8:99:1::/64"]);
        let b = client.container(&other, &json!({}));
        serve(&b.namespace);
        // Contract 9.2: the output device is not the bridge of the source, so it is translated.
        let there = ["198.51.100.1", "2001:db8:99:1::1"];
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, &b.addresses[family]), there[family]);
            assert_eq!(seen_as(&b.namespace, &a.addresses[family]), GATEWAYS[family]);
        }
    });
}

#[test]
fn addresses_are_usable_as_soon_as_attach_has_answered() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, network, [server, _]) = two_containers();
        // As often as shows what happens once in a hundred times.
        for _ in 0..60 {
            let new = client.container(&network, &json!({}));
            let attached = Instant::now();
            for family in [1, 0] {
                let seen = ask_tcp(&new.namespace, &server.addresses[family]).unwrap();
                assert_eq!(seen, new.addresses[family]);
            }
            serve(&new.namespace);
            ask_tcp(&server.namespace, &new.addresses[1]).unwrap();
            assert!(attached.elapsed() < patience(Duration::from_millis(200)), "{:?}", attached.elapsed());
            let argv = ["ip", "-n", &new.namespace, "-6", "addr", "show", "scope", "global", "tentative"];
            let addresses = run_ok(&argv);
            assert_eq!(addresses, "");
        }
    });
}

/// A link as `ip -j -d` shows it, with its addresses.
fn link(netns: &str, name: &str) -> Value {
    let argv = ["ip", "-n", netns, "-j", "-d", "addr", "show", "dev", name];
    let argv = if netns == HOST { [&argv[..1], &argv[3..]].concat() } else { argv.to_vec() };
    serde_json::from_str::<Value>(&run_ok(&argv)).unwrap()[0].clone()
}

#[test]
fn both_ends_have_the_mtu_of_the_uplink_and_the_container_its_mac_address() {
    in_sandbox!(Sandbox::new(), {
        run_ok(&["ip", "link", "set", "eth0", "mtu", "1400"]);
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let container = client.container(&network, &json!({"MacAddress": "00-15-5D-52-C0-20"}));
        let inner = link(&container.namespace, "eth0");
        let outer = format!("hve{}", container.endpoint[..8].to_lowercase());
        assert_eq!((&inner["mtu"], &inner["address"]), (&json!(1400), &json!("00:15:5d:52:c0:20")));
        let outer = link(HOST, &outer);
        assert_eq!(outer["mtu"], 1400);
        assert_eq!(outer["master"], format!("hcn{}", network[..8].to_lowercase()));
        let alias = outer["ifalias"].as_str().unwrap();
        assert!(alias.contains(&container.endpoint), "{alias}");
        // A packet of that size arrives whole, one byte more does not.
        for (bytes, passes) in [(1400 - 28, true), (1400 - 28 + 1, false)] {
            let size = bytes.to_string();
            let argv = ["ping", "-n", "-c", "1", "-W", "0.3", "-M", "do", "-s", &size, "192.0.2.1"];
            assert_eq!(netns_exec(&container.namespace, &argv).code == Some(0), passes, "{bytes} bytes");
        }
    });
}

#[test]
fn two_endpoints_in_one_namespace_are_both_reachable() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let (mut client, network, [a, _]) = two_containers();
        let other = client.network(&["198.51.100.0/24", "2001:db8:99:1::/64"]);
        let both = client.container(&network, &json!({}));
        let second = client.endpoint(&other, &json!({}));
        client.attach(&both.namespace, &second);
        serve(&both.namespace);
        let neighbour = client.container(&other, &json!({}));
        let there = client.addresses(&second);
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, &both.addresses[family]), a.addresses[family]);
            assert_eq!(seen_as(&neighbour.namespace, &there[family]), neighbour.addresses[family]);
        }
        assert_eq!(link(&both.namespace, "eth1")["operstate"], "UP");
        // The first one taken out, the second takes its place as the way out.
        client.detach(&both.namespace, &both.endpoint);
        wait_for_outside();
        serve("outside");
        for family in FAMILIES {
            assert_eq!(seen_as(&both.namespace, OUTSIDE[family]), UPLINK[family]);
        }
    });
}

/// What comes in by an interface is answered by it, though the namespace's way out is another one; so after a kill.
#[test]
fn a_port_published_on_the_second_network_is_answered_from_there() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let (mut client, network, _) = two_containers();
        let both = client.container(&network, &json!({}));
        let other = client.network(&["198.51.100.0/24", "2001:db8:99:1::/64"]);
        let published = |flags: u8| {
            json!({"Type": "PortMapping", "Settings":
                {"Protocol": 6, "InternalPort": 7777, "ExternalPort": 8080, "Flags": flags}})
        };
        // Of both families.
        let second = client.endpoint(&other, &json!({"Policies": [published(0), published(2)]}));
        client.attach(&both.namespace, &second);
        serve(&both.namespace);
        let asker = |host: &str| ask_tcp_at("outside", host, 8080);
        for killed in [false, true] {
            if killed {
                client = kill_hcnd();
            }
            for family in FAMILIES {
                assert_eq!(asker(UPLINK[family]).unwrap(), OUTSIDE[family]);
            }
        }
        // What says nothing of where it comes from still leaves by the first one.
        serve("outside");
        assert_eq!(seen_as(&both.namespace, OUTSIDE[0]), UPLINK[0]);
        client.detach(&both.namespace, &second);
        for family in ["-4", "-6"] {
            assert!(!run_ok(&["ip", "-n", &both.namespace, family, "rule"]).contains("proto 104"));
        }
    });
}

#[test]
fn routes_of_the_document_lead_there() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, network, _) = two_containers();
        // It answers for others.
        let router = client.container(&network, &json!({"AdditionalParams": {"MacAddressSpoofing": "On"}}));
        serve(&router.namespace);
        let far = ["198.51.100.7", "2001:db8:77::7"];
        for (address, forwarding) in [(far[0], "ipv4/ip_forward"), (far[1], "ipv6/conf/all/forwarding")] {
            run_ok(&["ip", "-n", &router.namespace, "addr", "add", address, "dev", "lo"]);
            in_netns(&router.namespace, || fs::write(format!("/proc/sys/net/{forwarding}"), "1").unwrap());
        }
        let to = |prefix: &str, hop: &String| json!({"DestinationPrefix": prefix, "NextHop": hop});
        let routes =
            [to("198.51.100.0/24", &router.addresses[0]), to("2001:db8:77::/48", &router.addresses[1])];
        let container = client.container(&network, &json!({"Routes": routes}));
        for family in FAMILIES {
            assert_eq!(seen_as(&container.namespace, far[family]), container.addresses[family]);
        }
    });
}

#[test]
fn the_resolver_configuration_is_seen_inside_and_goes_with_the_endpoint() {
    in_sandbox!(Sandbox::new(), { resolver_configuration() });
}

#[test]
fn the_resolver_configuration_of_an_ordinary_user_is_seen_inside() {
    in_sandbox!(Sandbox::as_ordinary_user(), { resolver_configuration() });
}

fn resolver_configuration() {
    let mut client = Client::new();
    let network = client.network(&DUAL);
    let dns =
        json!({"Domain": "example.test", "Search": ["a.test"], "ServerList": ["192.0.2.53", "2001:db8::53"]});
    let container = client.container(&network, &json!({"Dns": dns}));
    let expected = "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example.test a.test\n";
    let file = format!("/etc/netns/{}/resolv.conf", container.namespace);
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    let inside = netns_exec(&container.namespace, &["cat", "/etc/resolv.conf"]);
    assert_eq!((inside.stdout.as_str(), inside.code), (expected, Some(0)), "{inside}");
    client.detach(&container.namespace, &container.endpoint);
    assert!(!fs::exists(&file).unwrap());
}

#[test]
fn an_endpoint_of_the_host_is_reachable_from_containers_and_from_the_host() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, network, [a, _]) = two_containers();
        let host = client.namespace("HostDefault");
        let endpoint = client.endpoint(&network, &json!({}));
        client.attach(&host, &endpoint);
        serve(HOST);
        for (family, address) in client.addresses(&endpoint).iter().enumerate() {
            assert_eq!(seen_as(&a.namespace, address), a.addresses[family]);
            assert_eq!(seen_as(HOST, address), *address, "the host to itself is not masqueraded");
            // The way of the host to others stays what it was.
            let seen = seen_as(HOST, &a.addresses[family]);
            assert!([address.as_str(), GATEWAYS[family]].contains(&seen.as_str()), "{seen}");
        }
        wait_for_outside();
        client.detach(&host, &endpoint);
        for address in client.addresses(&endpoint) {
            ask_tcp(&a.namespace, &address).unwrap_err();
        }
    });
}

#[test]
fn detach_stops_packets_and_the_address_works_elsewhere_at_once() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let (mut client, _network, [a, b]) = two_containers();
        let elsewhere = client.namespace("Host");
        serve(&elsewhere);
        for round in 0..3 {
            let (from, to) =
                if round % 2 == 0 { (&b.namespace, &elsewhere) } else { (&elsewhere, &b.namespace) };
            // As neighbours the others must not go on with what they knew.
            assert_eq!(seen_as(&a.namespace, &b.addresses[1]), a.addresses[1]);
            client.detach(from, &b.endpoint);
            for address in &b.addresses {
                assert!(is_silent(&a.namespace, address), "round {round}");
            }
            assert_eq!(netns_exec(from, &["ip", "link", "show", "eth0"]).code, Some(1));
            client.attach(to, &b.endpoint);
            for family in FAMILIES {
                assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
                assert_eq!(ask_tcp(to, &a.addresses[family]).unwrap(), b.addresses[family]);
            }
        }
    });
}

#[test]
fn the_heir_of_an_address_is_found_by_those_who_knew_the_one_before() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, network, [a, b]) = two_containers();
        let given: Vec<Value> = b.addresses.iter().map(|address| json!({"IpAddress": address})).collect();
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
            assert_eq!(seen_as(HOST, &b.addresses[family]), GATEWAYS[family]);
        }
        client.delete("Endpoint", &b.endpoint);
        // With another MAC address, and before it has said a word.
        let heir = client.container(&network, &json!({"IpConfigurations": given}));
        serve(&heir.namespace);
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
            assert_eq!(seen_as(HOST, &b.addresses[family]), GATEWAYS[family]);
        }
    });
}

#[test]
fn an_endpoint_with_a_prefix_of_its_own_reaches_all_by_its_gateway() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, network, [a, _]) = two_containers();
        let given = json!([
            {"IpAddress": "192.0.2.77", "PrefixLength": 32},
            {"IpAddress": "2001:db8:abcd:12::77", "PrefixLength": 128},
        ]);
        let single = client.container(&network, &json!({"IpConfigurations": given}));
        serve(&single.namespace);
        wait_for_outside();
        serve("outside");
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, &single.addresses[family]), a.addresses[family]);
            assert_eq!(seen_as(&single.namespace, &a.addresses[family]), single.addresses[family]);
            assert_eq!(seen_as(&single.namespace, OUTSIDE[family]), UPLINK[family]);
        }
        let lengths = prefix_lengths(&single.namespace);
        assert!(lengths.contains(&json!(["192.0.2.77", 32])), "{lengths:?}");
        assert!(lengths.contains(&json!(["2001:db8:abcd:12::77", 128])), "{lengths:?}");
    });
}

fn prefix_lengths(netns: &str) -> Vec<Value> {
    let link = link(netns, "eth0");
    let addresses = link["addr_info"].as_array().unwrap().iter();
    addresses.map(|address| json!([address["local"], address["prefixlen"]])).collect()
}

#[test]
fn a_given_prefix_length_is_that_of_the_interface() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, network, [a, _]) = two_containers();
        let given = json!([
            {"IpAddress": "192.0.2.20", "PrefixLength": 20},
            {"IpAddress": "2001:db8:abcd:12::20", "PrefixLength": 120},
        ]);
        let container = client.container(&network, &json!({"IpConfigurations": given}));
        let lengths = prefix_lengths(&container.namespace);
        assert!(lengths.contains(&json!(["192.0.2.20", 20])), "{lengths:?}");
        assert!(lengths.contains(&json!(["2001:db8:abcd:12::20", 120])), "{lengths:?}");
        for family in FAMILIES {
            assert_eq!(seen_as(&container.namespace, &a.addresses[family]), container.addresses[family]);
        }
    });
}

#[test]
fn the_traffic_of_others_goes_on_while_a_network_is_made_and_deleted() {
    in_sandbox!(Sandbox::new(), {
        let (mut client, _network, [a, _]) = two_containers();
        wait_for_outside();
        serve("outside");
        for _ in 0..5 {
            let other = client.network(&["198.51.100.0/24"]);
            assert_eq!(seen_as(&a.namespace, OUTSIDE[0]), UPLINK[0]);
            client.delete("Network", &other);
            assert_eq!(seen_as(&a.namespace, OUTSIDE[1]), UPLINK[1]);
        }
        eventually("no bridge of the others is left", || {
            let bridges = run_ok(&["ip", "-br", "link", "show", "type", "bridge"]);
            bridges.lines().count() == 1
        });
    });
}
