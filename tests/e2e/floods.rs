//! What can a container's root do to its host by sending a great deal, by what it changes in its own namespace, and by
//! what it brings along? The host's tables stay as small as they were, and its neighbours are served meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]
#![allow(dead_code, reason = "of the frames a part is used")]

#[path = "spoofing/frames.rs"]
mod frames;

use std::net::{Ipv4Addr, Ipv6Addr};

use frames::{Mac, arp, neighbour, send, udp};
use hcn_tests::client::{Client, Container, DUAL};
use hcn_tests::traffic::{ping, serve};
use hcn_tests::{Sandbox, eventually, in_sandbox, netns_exec, run_ok};
use serde_json::json;

/// More than the kernel's tables of neighbours hold by default.
const MANY: u16 = 2000;
const GATEWAY: &str = "192.0.2.1";
const GATEWAY_V6: &str = "2001:db8:abcd:12::1";

fn mac_of(client: &mut Client, container: &Container) -> Mac {
    let document = client.query("Endpoint", &container.endpoint);
    let text = document["MacAddress"].as_str().unwrap();
    let octets: Vec<u8> = text.split('-').map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

/// How many lines a command of `ip` or `bridge` prints.
fn count(argv: &[&str]) -> usize {
    run_ok(argv).lines().count()
}

fn two(client: &mut Client) -> [Container; 2] {
    let network = client.network(&DUAL);
    [(); 2].map(|()| client.container(&network, &json!({})))
}

/// Containers can still talk with the host and each other.
fn assert_served(client: &mut Client, [one, other]: &[Container; 2]) {
    assert_eq!(ping(&one.namespace, &other.addresses[0]).code, Some(0));
    assert_eq!(ping(&other.namespace, GATEWAY).code, Some(0));
    assert_eq!(ping(&other.namespace, GATEWAY_V6).code, Some(0));
    client.query("Endpoint", &one.endpoint);
}

#[test]
fn floods_of_mac_addresses_fill_no_bridge() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let both = two(&mut client);
        let own: Ipv4Addr = both[0].addresses[0].parse().unwrap();
        assert_served(&mut client, &both);
        let before = count(&["bridge", "fdb", "show"]);
        let frames = (0..MANY).map(|number| {
            let [a, b] = number.to_be_bytes();
            udp([2, 0, 0, 1, a, b], own, (7777, 7777))
        });
        send(&both[0].namespace, frames);
        let after = count(&["bridge", "fdb", "show"]);
        assert!(after <= before + 2, "{before} entries became {after}");
        assert_served(&mut client, &both);
    });
}

#[test]
fn floods_of_neighbours_fill_no_table_of_the_host() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let both = two(&mut client);
        let mac = mac_of(&mut client, &both[0]);
        assert_served(&mut client, &both);
        let table = || count(&["ip", "neigh", "show"]);
        let before = table();
        let (gateway, gateway_v6): (Ipv4Addr, Ipv6Addr) =
            (GATEWAY.parse().unwrap(), GATEWAY_V6.parse().unwrap());
        let frames = (0..MANY).flat_map(|number| {
            let [a, b] = number.to_be_bytes();
            let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0xabcd, 0x12, 1, 0, 0, number);
            let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 0, 0, number);
            [
                arp(mac, (mac, Ipv4Addr::new(192, 0, a, b)), gateway),
                neighbour(mac, v6, 135, gateway_v6),
                neighbour(mac, link_local, 136, v6),
            ]
        });
        send(&both[0].namespace, frames);
        let after = table();
        assert!(after <= before + 4, "{before} entries became {after}");
        assert_served(&mut client, &both);
    });
}

#[test]
fn what_root_changes_in_its_namespace_ends_there() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let both = two(&mut client);
        serve(&both[1].namespace);
        assert_served(&mut client, &both);
        let rules = run_ok(&["nft", "list", "tables"]);
        let routes = run_ok(&["ip", "route", "show"]);
        let forwarding = run_ok(&["cat", "/proc/sys/net/ipv4/ip_forward"]);
        let inside = |argv: &[&str]| netns_exec(&both[0].namespace, argv);
        for argv in [
            &["nft", "flush ruleset"][..],
            &[
                "nft",
                "add table inet hcnd { chain c { type filter hook prerouting priority -400; policy drop; }; }",
            ],
            &["nft", "delete table inet hcnd"],
            &[
                "sh",
                "-c",
                "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/accept_ra",
            ],
            &["ip", "link", "add", "hcn00000000", "type", "veth", "peer", "name", "hve00000000"],
            &[
                "ip",
                "link",
                "set",
                "hcn00000000",
                "alias",
                "hcn network 00000000-0000-0000-0000-000000000000 x",
            ],
            &["ip", "link", "set", "hcn00000000", "group", "1751346788"],
            &["ip", "address", "add", "203.0.113.10/24", "dev", "hcn00000000"],
            &["ip", "route", "add", "198.18.0.0/15", "via", GATEWAY],
        ] {
            let ended = inside(argv);
            assert_eq!(ended.code, Some(0), "{ended}");
        }
        assert_eq!(run_ok(&["nft", "list", "tables"]), rules);
        assert_eq!(run_ok(&["ip", "route", "show"]), routes);
        assert_eq!(run_ok(&["cat", "/proc/sys/net/ipv4/ip_forward"]), forwarding);
        assert_served(&mut client, &both);
        // Without its link, which goes with what is deleted, it harms itself alone.
        let ended = inside(&["ip", "link", "delete", "eth0"]);
        assert_eq!(ended.code, Some(0), "{ended}");
        assert_eq!(ping(&both[1].namespace, GATEWAY).code, Some(0));
        eventually("it has a link again", || ping(&both[0].namespace, &both[1].addresses[0]).code == Some(0));
    });
}
