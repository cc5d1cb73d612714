//! Do networks of type Internal and Private keep their packets? Internal ones know the host, Private ones nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use hcn_tests::client::{Client, Container, with_version};
use hcn_tests::traffic::{HOST, is_silent, ping, seen_as, serve, set_sysctl, wait_for_outside};
use hcn_tests::{Sandbox, in_sandbox, netns_exec, run_ok};
use serde_json::{Value, json};

const FAMILIES: [usize; 2] = [0, 1];
/// The addresses of the host on the Internal network.
const HOST_INSIDE: [&str; 2] = ["192.0.2.1", "2001:db8:abcd:12::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];

/// A network of a type with two containers, each of which serves and sends everything to the host.
fn network_of(kind: &str) -> (Client, Value, [Container; 2]) {
    wait_for_outside();
    let mut client = Client::new();
    let subnets = ["192.0.2.0/24", "2001:db8:abcd:12::/64"].map(|prefix| json!({"IpAddressPrefix": prefix}));
    let settings = with_version(&json!({"Type": kind, "Ipams": [{"Subnets": subnets}]}));
    let network = client.ok("Network.Create", &json!({"settings": settings}));
    let id = network["id"].as_str().unwrap().to_owned();
    let containers = [(); 2].map(|()| client.container(&id, &json!({})));
    for container in &containers {
        serve(&container.namespace);
    }
    (client, network, containers)
}

fn see_each_other(containers: &[Container; 2]) {
    let [a, b] = containers;
    for family in FAMILIES {
        assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
        assert_eq!(seen_as(&b.namespace, &a.addresses[family]), b.addresses[family]);
    }
}

fn container(container: &Container, argv: &[&str]) {
    let done = netns_exec(&container.namespace, argv);
    assert_eq!(done.code, Some(0), "{done}");
}

#[test]
fn an_internal_network_reaches_the_host_and_nobody_else() {
    in_sandbox!(Sandbox::new(), { internal() });
}

#[test]
fn an_internal_network_of_an_ordinary_user_reaches_the_host_and_nobody_else() {
    in_sandbox!(Sandbox::as_ordinary_user(), { internal() });
}

fn internal() {
    let (mut client, _network, containers) = network_of("Internal");
    serve(HOST);
    serve("outside");
    see_each_other(&containers);
    let [a, _] = &containers;
    for family in FAMILIES {
        assert_eq!(seen_as(&a.namespace, HOST_INSIDE[family]), a.addresses[family]);
        assert_eq!(seen_as(HOST, &a.addresses[family]), HOST_INSIDE[family]);
    }
    // Whatever routes the container and the world outside give themselves.
    container(a, &["ip", "route", "add", "default", "via", HOST_INSIDE[0]]);
    container(a, &["ip", "-6", "route", "add", "default", "via", HOST_INSIDE[1]]);
    for (prefix, uplink) in [("192.0.2.0/24", UPLINK[0]), ("2001:db8:abcd:12::/64", UPLINK[1])] {
        run_ok(&["ip", "netns", "exec", "outside", "ip", "route", "add", prefix, "via", uplink]);
    }
    // A NAT network beside it makes the host forward.
    let nat = client.network(&["198.51.100.0/24", "2001:db8:99:1::/64"]);
    let other = client.container(&nat, &json!({}));
    for family in FAMILIES {
        assert!(is_silent(&a.namespace, OUTSIDE[family]));
        assert!(is_silent("outside", &a.addresses[family]));
        assert!(is_silent(&a.namespace, &other.addresses[family]));
        assert!(is_silent(&other.namespace, &a.addresses[family]));
        assert_eq!(ping(&other.namespace, OUTSIDE[family]).code, Some(0));
    }
    for value in ["1", "0"] {
        for name in ["iptables", "ip6tables"] {
            assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), value));
        }
        see_each_other(&containers);
    }
}

#[test]
fn a_private_network_reaches_nobody_not_even_the_host() {
    in_sandbox!(Sandbox::new(), { private() });
}

#[test]
fn a_private_network_of_an_ordinary_user_reaches_nobody_not_even_the_host() {
    in_sandbox!(Sandbox::as_ordinary_user(), { private() });
}

fn private() {
    let (mut client, network, containers) = network_of("Private");
    see_each_other(&containers);
    let [a, _] = &containers;
    let bridge = format!("hcn{}", network["id"].as_str().unwrap()[..8].to_lowercase());
    let shown = run_ok(&["ip", "-br", "link", "show", &bridge]);
    let mac = shown.split_whitespace().nth(2).unwrap();
    assert!(shown.contains("NOARP"), "{shown}");
    assert_eq!(run_ok(&["ip", "-br", "addr", "show", &bridge]).split_whitespace().count(), 2);
    // Even one who knows the bridge's MAC address gets no answer from any address of the host, nor through it.
    let nat = client.network(&["198.51.100.0/24", "2001:db8:99:1::/64"]);
    client.container(&nat, &json!({}));
    for (family, flag) in [(0, "-4"), (1, "-6")] {
        let gateway = ["192.0.2.254", "2001:db8:abcd:12::fe"][family];
        container(a, &["ip", flag, "neigh", "add", gateway, "lladdr", mac, "dev", "eth0"]);
        container(a, &["ip", flag, "route", "add", "default", "via", gateway]);
        assert!(is_silent(&a.namespace, UPLINK[family]));
        assert!(is_silent(&a.namespace, OUTSIDE[family]));
        // Nor does the host get one, whatever routes it has.
        run_ok(&["ip", flag, "route", "add", &a.addresses[family], "dev", &bridge]);
        run_ok(&["ip", flag, "neigh", "replace", &a.addresses[family], "lladdr", mac, "dev", &bridge]);
        assert_ne!(ping(HOST, &a.addresses[family]).code, Some(0));
    }
}
