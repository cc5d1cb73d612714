//! Do endpoints send in their own name only? Frames are made by hand in the containers; and what honest ones send passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

#[path = "spoofing/frames.rs"]
mod frames;
#[path = "spoofing/networks.rs"]
mod networks;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use frames::{Frame, Mac, arp, arriving, neighbour, router, tagged_twice, udp, udp6};
use hcn_tests::client::{Client, Container, DUAL, with_version};
use hcn_tests::service::kill_hcnd_and;
use hcn_tests::traffic::{is_silent, ping, serve, set_sysctl};
use hcn_tests::vm::Machine;
use hcn_tests::{Sandbox, eventually, in_sandbox, netns_exec, run, run_ok};
use serde_json::{Value, json};
use tempfile::TempDir;

const GATEWAYS: [&str; 2] = ["192.0.2.1", "2001:db8:abcd:12::1"];
/// Nobody's.
const OTHER_MAC: Mac = [2, 0, 0, 0, 0, 9];
const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const NOBODY_V6: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);
const UDP: (u16, u16) = (7777, 7777);

/// An endpoint as the others see it, and its gateways.
struct Sender {
    mac: Mac,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    gateway: Ipv4Addr,
    gateway_v6: Ipv6Addr,
}

impl Sender {
    fn of(client: &mut Client, container: &Container) -> Self {
        Self::by(client, container, GATEWAYS)
    }

    fn by(client: &mut Client, container: &Container, gateways: [&str; 2]) -> Self {
        let document = client.query("Endpoint", &container.endpoint);
        let mut mac = [0; 6];
        let text = document["MacAddress"].as_str().unwrap();
        for (octet, pair) in mac.iter_mut().zip(text.split('-')) {
            *octet = u8::from_str_radix(pair, 16).unwrap();
        }
        let (v4, v6) = (container.addresses[0].parse().unwrap(), container.addresses[1].parse().unwrap());
        let (gateway, gateway_v6) = (gateways[0].parse().unwrap(), gateways[1].parse().unwrap());
        Self { mac, v4, v6, gateway, gateway_v6 }
    }

    fn honest(&self) -> Vec<Frame> {
        let Self { mac, v4, v6, gateway, gateway_v6 } = *self;
        list([
            ("IPv4", udp(mac, v4, UDP)),
            ("IPv6", udp6(mac, v6, UDP)),
            ("IPv6 from a link-local address", udp6(mac, LOCAL, UDP)),
            ("ARP", arp(mac, (mac, v4), gateway)),
            ("ARP announcement", arp(mac, (mac, v4), v4)),
            ("ARP probe", arp(mac, (mac, NOBODY), v4)),
            ("DHCP request", udp(mac, NOBODY, (68, 67))),
            ("DHCP renewal", udp(mac, v4, (68, 67))),
            ("DHCPv6 request", udp6(mac, LOCAL, (546, 547))),
            ("solicitation", neighbour(mac, v6, 135, gateway_v6)),
            ("duplicate detection", neighbour(mac, NOBODY_V6, 135, v6)),
            ("duplicate detection of a link-local address", neighbour(mac, NOBODY_V6, 135, LOCAL)),
            ("advertisement", neighbour(mac, v6, 136, v6)),
            ("link-local advertisement", neighbour(mac, LOCAL, 136, LOCAL)),
        ])
    }

    fn lying(&self, neighbour_v4: Ipv4Addr, neighbour_v6: Ipv6Addr) -> Vec<Frame> {
        let Self { mac, v4, v6, gateway, gateway_v6 } = *self;
        list([
            ("MAC address", udp(OTHER_MAC, v4, UDP)),
            ("MAC address, IPv6", udp6(OTHER_MAC, v6, UDP)),
            ("IPv4 address", udp(mac, neighbour_v4, UDP)),
            ("IPv4 address of the gateway", udp(mac, gateway, UDP)),
            ("no IPv4 address", udp(mac, NOBODY, UDP)),
            ("IPv6 address", udp6(mac, neighbour_v6, UDP)),
            ("no IPv6 address", udp6(mac, NOBODY_V6, UDP)),
            ("ARP from another MAC address", arp(OTHER_MAC, (mac, v4), gateway)),
            ("ARP of another MAC address", arp(mac, (OTHER_MAC, v4), gateway)),
            ("ARP of another address", arp(mac, (mac, gateway), neighbour_v4)),
            ("ARP probe of another MAC address", arp(mac, (OTHER_MAC, NOBODY), neighbour_v4)),
            ("solicitation from another address", neighbour(mac, neighbour_v6, 135, gateway_v6)),
            ("duplicate detection of another address", neighbour(mac, NOBODY_V6, 135, neighbour_v6)),
            ("advertisement of another address", neighbour(mac, v6, 136, gateway_v6)),
            ("advertisement of another address, link-local", neighbour(mac, LOCAL, 136, gateway_v6)),
            ("advertisement from another address", neighbour(mac, neighbour_v6, 136, v6)),
            ("router advertisement", router(mac, LOCAL)),
            ("redirect", neighbour(mac, LOCAL, 137, gateway_v6)),
            ("DHCP answer", udp(mac, v4, (67, 68))),
            ("two tags", tagged_twice(&udp(mac, v4, UDP))),
        ])
    }
}

fn list<const N: usize>(frames: [(&'static str, Vec<u8>); N]) -> Vec<Frame> {
    frames.into_iter().map(|(name, bytes)| Frame { name, bytes }).collect()
}

fn names(frames: &[Frame]) -> Vec<&'static str> {
    frames.iter().map(|frame| frame.name).collect()
}

fn spoofing(word: &str) -> Value {
    json!({"AdditionalParams": {"MacAddressSpoofing": word}})
}

fn is_guarded() -> bool {
    run(&["nft", "list", "table", "bridge", "hcnd_guard"]).code == Some(0)
}

#[test]
fn an_endpoint_sends_in_its_own_name_only_unless_it_may() {
    in_sandbox!(Sandbox::new(), { own_name() });
}

#[test]
fn an_endpoint_of_an_ordinary_user_sends_in_its_own_name_only() {
    in_sandbox!(Sandbox::as_ordinary_user(), { own_name() });
}

fn own_name() {
    let mut client = Client::new();
    let network = client.network(&DUAL);
    let honest = client.container(&network, &json!({}));
    let other = client.container(&network, &spoofing("off"));
    let free = client.container(&network, &spoofing("On"));
    let [of_other, of_free] = [&other, &free].map(|container| Sender::of(&mut client, container));
    let sender = Sender::of(&mut client, &honest);
    for seen in ["1", "0"] {
        for name in ["iptables", "ip6tables"] {
            assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), seen));
        }
        for receiver in [&other, &free] {
            let (honest, receiver) = (honest.namespace.as_str(), receiver.namespace.as_str());
            let frames = sender.honest();
            assert_eq!(arriving(honest, receiver, &frames), names(&frames), "netfilter sees {seen}");
            let frames = sender.lying(of_other.v4, of_other.v6);
            assert_eq!(arriving(honest, receiver, &frames), Vec::<&str>::new(), "netfilter sees {seen}");
        }
        let frames = of_free.lying(of_other.v4, of_other.v6);
        assert_eq!(arriving(&free.namespace, &other.namespace, &frames), names(&frames));
    }
    let listed = run_ok(&["nft", "-j", "list", "table", "bridge", "hcnd_guard"]);
    assert!(listed.contains(&honest.addresses[1]) && !listed.contains(&free.addresses[1]), "{listed}");
    // What was asked for is told.
    let document = client.query("Endpoint", &free.endpoint);
    assert_eq!(document["AdditionalParams"], json!({"MacAddressSpoofing": "On"}));
    client.detach(&honest.namespace, &honest.endpoint);
    assert!(is_guarded());
    client.delete("Endpoint", &other.endpoint);
    assert!(!is_guarded(), "the last one takes the table along");
    client.attach(&honest.namespace, &honest.endpoint);
    let frames = sender.lying(of_other.v4, of_other.v6);
    assert_eq!(arriving(&honest.namespace, &free.namespace, &frames), Vec::<&str>::new());
    let refused = with_version(&spoofing("maybe"));
    let reply = client.call("Endpoint.Create", &json!({"network_id": network, "settings": refused}));
    assert_eq!(reply.hresult(), Some(0x8007_0057), "{}", reply.raw);
    assert!(reply.raw.contains("AdditionalParams.MacAddressSpoofing"), "{}", reply.raw);
    // Also in a version 1 document.
    let v1 = json!({"VirtualNetwork": network, "AdditionalParams": {"MacAddressSpoofing": "On"}});
    let made = client.ok("V1.Call", &json!({"method": "POST", "path": "/endpoints/", "request": v1}));
    let id = made["response"]["Output"]["ID"].as_str().unwrap().to_owned();
    let namespace = client.namespace("Host");
    client.attach(&namespace, &id);
    let listed = run_ok(&["nft", "list", "table", "bridge", "hcnd_guard"]);
    assert!(!listed.contains(&client.addresses(&id)[0]), "{listed}");
}

#[test]
fn who_may_send_in_other_names_outlives_the_death_of_hcnd() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [honest, free, other] =
            ["Off", "On", "Off"].map(|word| client.container(&network, &spoofing(word)));
        let [sender, of_free, of_other] =
            [&honest, &free, &other].map(|container| Sender::of(&mut client, container));
        let as_said = || {
            let own = sender.honest();
            assert_eq!(arriving(&honest.namespace, &other.namespace, &own), names(&own));
            let lies = sender.lying(of_other.v4, of_other.v6);
            assert_eq!(arriving(&honest.namespace, &other.namespace, &lies), Vec::<&str>::new());
            let lies = of_free.lying(of_other.v4, of_other.v6);
            assert_eq!(arriving(&free.namespace, &other.namespace, &lies), names(&lies));
        };
        as_said();
        let _ = kill_hcnd_and(as_said);
        as_said();
        // Also if somebody takes the rules away meanwhile.
        let mut client = kill_hcnd_and(|| {
            run_ok(&["nft", "delete", "table", "bridge", "hcnd_guard"]);
            let lies = sender.lying(of_other.v4, of_other.v6);
            assert_eq!(arriving(&honest.namespace, &other.namespace, &lies), names(&lies));
        });
        as_said();
        for container in [&honest, &other] {
            client.delete("Endpoint", &container.endpoint);
        }
        assert!(!is_guarded(), "the one that is left may send in any name");
    });
}

#[test]
fn addresses_are_checked_for_duplicates_and_found_again() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [a, b] = [(); 2].map(|()| client.container(&network, &json!({})));
        let address = format!("{}/64", a.addresses[1]);
        let ip = |arguments: &[&str]| {
            let argv = [&["ip", "-n", &a.namespace, "-6"][..], arguments].concat();
            run_ok(&argv)
        };
        // At once: hcnd would give it back.
        let again = format!(
            "printf 'addr del {address} dev eth0\naddr add {address} dev eth0\n' | ip -n {} -6 -batch -",
            a.namespace
        );
        run_ok(&["sh", "-c", &again]);
        eventually("no address is tentative any more", || {
            !ip(&["addr", "show", "tentative"]).contains("inet6")
        });
        assert!(!ip(&["addr", "show", "dev", "eth0"]).contains("dadfailed"));
        for (from, to) in [(&a, &b), (&b, &a)] {
            for address in &to.addresses {
                eventually("they find each other", || ping(&from.namespace, address).code == Some(0));
            }
        }
        // Another address gets nowhere, and is nobody's neighbour.
        for stolen in ["192.0.2.200/24", "2001:db8:abcd:12::200/64"] {
            run_ok(&["ip", "-n", &a.namespace, "addr", "add", stolen, "dev", "eth0"]);
            assert!(is_silent(&b.namespace, stolen.split('/').next().unwrap()));
        }
    });
}

#[test]
fn several_addresses_of_an_endpoint_are_its_own() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let given: Vec<Value> = ["192.0.2.20", "192.0.2.21", "2001:db8:abcd:12::20", "2001:db8:abcd:12::21"]
            .iter()
            .map(|address| json!({"IpAddress": address}))
            .collect();
        let many = client.container(&network, &json!({"IpConfigurations": given}));
        serve(&many.namespace);
        let other = client.container(&network, &json!({}));
        for address in &many.addresses {
            assert_eq!(ping(&other.namespace, address).code, Some(0), "{address}");
            let gateway =
                if address.parse::<IpAddr>().unwrap().is_ipv4() { GATEWAYS[0] } else { GATEWAYS[1] };
            let argv = ["ping", "-n", "-c", "1", "-W", "1", "-I", address, gateway];
            let finished = netns_exec(&many.namespace, &argv);
            assert_eq!(finished.code, Some(0), "{finished}");
        }
    });
}

#[test]
fn a_virtual_machine_sends_by_its_own_card_only() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let settings = json!({"ResourceType": "Port", "RequestType": "Add", "Settings": {"PortId": "A0000000-0000-4000-8000-000000000001"}});
        for (word, passes) in [("Off", false), ("On", true)] {
            let endpoint = client.endpoint(&network, &spoofing(word));
            client.ok("Endpoint.Modify", &json!({"id": endpoint, "settings": settings}));
            let document = client.query("Endpoint", &endpoint);
            assert_eq!(document["AdditionalParams"]["MacAddressSpoofing"], word);
            let tap = document["AdditionalParams"]["TapInterface"].as_str().unwrap().to_owned();
            let mac = document["MacAddress"].as_str().unwrap().replace('-', ":");
            let name = format!("machine{word}");
            let machine = Machine::start(&name, &tap, &mac);
            machine.configure(&format!("{}/24", client.addresses(&endpoint)[0]), GATEWAYS[0]);
            eventually("the machine reaches the host", || ping(&name, GATEWAYS[0]).code == Some(0));
            run_ok(&["ip", "-n", &name, "link", "set", "eth0", "address", "02:00:00:00:00:09"]);
            if passes {
                eventually("the machine reaches the host", || ping(&name, GATEWAYS[0]).code == Some(0));
            } else {
                assert!(is_silent(&name, GATEWAYS[0]));
            }
            drop(machine);
            client.delete("Endpoint", &endpoint);
        }
    });
}

#[test]
fn the_administrator_decides_for_endpoints_that_do_not_say_it() {
    let folder = tempfile::Builder::new().prefix("hcn-spoofing-").tempdir().unwrap();
    let file = folder.path().join("hcnd.toml");
    fs::write(&file, "[endpoints]\nmac_address_spoofing = \"on\"\n").unwrap();
    let _kept: TempDir = folder;
    in_sandbox!(Sandbox::new().option("--config").option(file.to_str().unwrap()), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        client.container(&network, &json!({}));
        assert!(!is_guarded());
        client.container(&network, &spoofing("Off"));
        assert!(is_guarded());
    });
}
