//! Do networks of type ICS give addresses and names, and do constrained ones leave by their own uplink alone?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, Container, with_version};
use hcn_tests::dhcp::{ACK, DISCOVER, Dhcp, NAK, OFFER, REQUEST};
use hcn_tests::dns::{self, A, AAAA, PTR, Server, nothing, said};
use hcn_tests::kernel::enter_own_namespaces;
use hcn_tests::traffic::{BEHIND, HOST, SECOND, ask_tcp, ask_udp, in_netns, second_uplink, serve};
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, netns_exec, run_ok};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const FAMILIES: [usize; 2] = [0, 1];
const BY_DHCP: u32 = 32;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// Creates a network with these settings; gives its ID and its document.
fn network(client: &mut Client, settings: &Value) -> (String, Value) {
    let created = client.ok("Network.Create", &json!({"settings": with_version(settings)}));
    let id = created["id"].as_str().unwrap().to_owned();
    let document = client.query("Network", &id);
    (id, document)
}

/// The gateway of a subnet of a document.
fn gateway(document: &Value, subnet: usize) -> String {
    document["Ipams"][0]["Subnets"][subnet]["Routes"][0]["NextHop"].as_str().unwrap().to_owned()
}

fn dhcp(client: &mut Client, container: &Container) -> Dhcp {
    let document = client.query("Endpoint", &container.endpoint);
    Dhcp {
        netns: container.namespace.clone(),
        mac: document["MacAddress"].as_str().unwrap().to_owned(),
        has: None,
    }
}

/// Makes these the host's name servers, for hcnd in the same sandbox too.
fn set_servers(servers: &[&str]) {
    let text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    if !fs::exists("/run/resolv.conf").unwrap() {
        fs::write("/run/resolv.conf", "").unwrap();
        let none: Option<&str> = None;
        mount(Some("/run/resolv.conf"), "/etc/resolv.conf", none, MsFlags::MS_BIND, none).unwrap();
    }
    fs::write("/run/resolv.conf", text).unwrap();
}

fn container_runs(container: &Container, argv: &[&str]) {
    let done = netns_exec(&container.namespace, argv);
    assert_eq!(done.code, Some(0), "{done}");
}

fn addresses_inside(container: &Container) -> String {
    run_ok(&["ip", "-n", &container.namespace, "-o", "-4", "addr", "show", "dev", "eth0"])
}

#[test]
fn a_client_gets_the_address_of_its_endpoint_by_dhcp_and_reaches_outside() {
    in_sandbox!(Sandbox::new(), { by_dhcp() });
}

#[test]
fn a_client_of_an_ordinary_user_gets_its_address_by_dhcp() {
    in_sandbox!(Sandbox::as_ordinary_user(), { by_dhcp() });
}

fn by_dhcp() {
    let mut client = Client::new();
    let dns = json!({"Domain": "lab.test", "Search": ["more.test"]});
    let (id, document) = network(&mut client, &json!({"Type": "ICS", "Flags": 11, "Dns": dns}));
    let host: Ipv4Addr = gateway(&document, 0).parse().unwrap();
    let web = client.container(&id, &json!({"Name": "web", "Flags": BY_DHCP}));
    assert_eq!(addresses_inside(&web), "");
    let routes = run_ok(&["ip", "-n", &web.namespace, "route"]);
    assert_eq!(routes, "");
    let mut asks = dhcp(&mut client, &web);
    let offer = asks.ask(DISCOVER, &[]).unwrap();
    assert_eq!((offer.kind, offer.address.to_string()), (OFFER, web.addresses[0].clone()));
    let chosen = offer.address.octets();
    let server = offer.address_of(54);
    assert_eq!((server, offer.from.ip()), (host, host.into()));
    let given = asks.ask(REQUEST, &[(50, &chosen), (54, &server.octets())]).unwrap();
    assert_eq!((given.kind, given.address), (ACK, offer.address));
    assert_eq!((given.address_of(3), given.address_of(6)), (host, host));
    let mtu = u32::from(u16::from_be_bytes(given.option(26).unwrap().try_into().unwrap()));
    let link = run_ok(&["ip", "-n", &web.namespace, "link", "show", "dev", "eth0"]);
    assert!(link.contains(&format!("mtu {mtu} ")), "{link}");
    assert_eq!(given.option(12), Some(&b"web"[..]));
    assert_eq!(given.option(15), Some(&b"lab.test"[..]));
    assert_eq!(given.option(119), Some(&b"\x03lab\x04test\x00\x04more\x04test\x00"[..]));
    // What clients do with it.
    let prefix = given.address_of(1).to_bits().count_ones();
    container_runs(&web, &["ip", "addr", "add", &format!("{}/{prefix}", given.address), "dev", "eth0"]);
    container_runs(&web, &["ip", "route", "add", "default", "via", &given.address_of(3).to_string()]);
    serve("outside");
    eventually("the uplink carries packets", || ask_tcp(HOST, OUTSIDE[0]).is_ok());
    assert_eq!(ask_tcp(&web.namespace, OUTSIDE[0]).unwrap(), UPLINK[0]);
    // It renews with the server that it knows; another address is not its own.
    asks.has = Some((given.address, host));
    let renewed = asks.ask(REQUEST, &[]).unwrap();
    assert_eq!((renewed.kind, renewed.address), (ACK, given.address));
    asks.has = None;
    assert_eq!(asks.ask(REQUEST, &[(50, &host.octets())]).unwrap().kind, NAK);
    // Whom the records do not know is not answered, right or wrong.
    asks.mac = "02-00-00-00-00-01".to_owned();
    assert_eq!(asks.ask(DISCOVER, &[]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(asks.ask(REQUEST, &[(50, &host.octets())]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn endpoints_that_are_not_asked_to_use_dhcp_have_their_addresses_all_the_same() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let (id, _) = network(&mut client, &json!({"Type": "ICS", "Flags": 11}));
        let fixed = client.container(&id, &json!({}));
        assert!(addresses_inside(&fixed).contains(&fixed.addresses[0]));
        // Two networks have servers side by side, each for its own endpoints.
        let (other, _) = network(&mut client, &json!({"Type": "ICS", "Flags": 2}));
        let second = client.container(&other, &json!({"Flags": BY_DHCP}));
        for container in [&fixed, &second] {
            let offer = dhcp(&mut client, container).ask(DISCOVER, &[]).unwrap();
            assert_eq!(offer.address.to_string(), container.addresses[0]);
        }
        client.delete("Network", &other);
        let offer = dhcp(&mut client, &fixed).ask(DISCOVER, &[]).unwrap();
        assert_eq!(offer.address.to_string(), fixed.addresses[0]);
        client.delete("Endpoint", &fixed.endpoint);
    });
}

#[test]
fn names_of_endpoints_and_of_the_host_are_known_and_all_others_asked_for() {
    in_sandbox!(Sandbox::new(), { names() });
}

#[test]
fn names_of_endpoints_of_an_ordinary_user_are_known() {
    in_sandbox!(Sandbox::as_ordinary_user(), { names() });
}

fn names() {
    let mut client = Client::new();
    let settings = json!({
        "Type": "ICS", "Flags": 1, "Dns": {"Domain": "lab.test"},
        "Ipams": [{"Subnets": [{"IpAddressPrefix": "0.0.0.0/0"}, {"IpAddressPrefix": "::/0"}]}],
    });
    let (id, document) = network(&mut client, &settings);
    let hosts = FAMILIES.map(|family| gateway(&document, family));
    let web = client.container(&id, &json!({"Name": "Web"}));
    let asks = client.container(&id, &json!({"Name": "not a host name"}));
    let resolv = netns_exec(&asks.namespace, &["cat", "/etc/resolv.conf"]).stdout;
    let expected = format!("nameserver {}\nnameserver {}\nsearch lab.test\n", hosts[0], hosts[1]);
    assert_eq!(resolv, expected);
    set_servers(&[]);
    for host in &hosts {
        let ask = |name: &str, kind| dns::ask(&asks.namespace, host, name, kind);
        for name in ["web", "WEB.Lab.Test"] {
            assert_eq!(ask(name, A), said(&[&web.addresses[0]]));
            assert_eq!(ask(name, AAAA), said(&[&web.addresses[1]]));
            assert_eq!(ask(name, 15), said(&[]));
        }
        let own = run_ok(&["uname", "-n"]);
        let own = own.trim().split('.').next().unwrap();
        assert_eq!(ask(own, A), said(&[&hosts[0]]));
        let backwards: Vec<&str> = web.addresses[0].split('.').rev().collect();
        assert_eq!(ask(&format!("{}.in-addr.arpa", backwards.join(".")), PTR), said(&["web.lab.test"]));
        // The host knows no servers: what is in the domain is not there, and of the rest nobody knows.
        assert_eq!(ask("nobody.lab.test", A), nothing(NXDOMAIN));
        assert_eq!(ask("example.com", A), nothing(SERVFAIL));
    }
    // A second one of the same name, and what becomes of a name with its endpoint.
    let again = client.endpoint(&id, &json!({"Name": "web"}));
    let second = client.addresses(&again);
    let mut both = [web.addresses[0].clone(), second[0].clone()];
    let mut found = dns::ask(&asks.namespace, &hosts[0], "web", A).answers;
    both.sort();
    found.sort();
    assert_eq!(found, both);
    client.delete("Endpoint", &again);
    assert_eq!(dns::ask(&asks.namespace, &hosts[0], "web", A), said(&[&web.addresses[0]]));
    client.delete("Endpoint", &web.endpoint);
    assert_eq!(dns::ask(&asks.namespace, &hosts[0], "web.lab.test", A), nothing(NXDOMAIN));
}

#[test]
fn the_hosts_servers_are_asked_and_heard_if_they_are_meant() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let (id, document) = network(&mut client, &json!({"Type": "ICS", "Flags": 1}));
        let host = gateway(&document, 0);
        let asks = client.container(&id, &json!({}));
        let first = Server::start("outside", OUTSIDE[0], [192, 0, 2, 1].into());
        let second = Server::start("outside", OUTSIDE[1], [192, 0, 2, 2].into());
        let ask = |name: &str| dns::ask(&asks.namespace, &host, name, A);
        // The host itself is listed, too: it must not ask itself.
        set_servers(&[&host, OUTSIDE[0], OUTSIDE[1]]);
        assert_eq!(ask("one.test"), said(&["192.0.2.1"]));
        assert_eq!(ask("none.test"), nothing(NXDOMAIN));
        assert_eq!(ask("guess.test"), said(&["192.0.2.1"]));
        // What is too long for UDP is asked again by TCP.
        let cut = dns::by_udp(&asks.namespace, &host, "long.test", A).unwrap();
        assert!(cut.cut && cut.answers.is_empty(), "{cut:?}");
        assert_eq!(dns::by_tcp(&asks.namespace, &host, "long.test", A).unwrap(), said(&["192.0.2.1"]));
        // The next one is asked if one says nothing, and if there is none at all.
        assert!(second.who_asked("one.test").is_empty());
        let begun = Instant::now();
        let silence = dns::by_udp(&asks.namespace, &host, "silent.test", A);
        assert!(silence.is_err() || silence.unwrap() == nothing(SERVFAIL));
        eventually("the second one was asked", || !second.who_asked("silent.test").is_empty());
        assert!(begun.elapsed().as_secs() < 6, "{:?}", begun.elapsed());
        set_servers(&["203.0.113.10", OUTSIDE[1]]);
        assert_eq!(ask("two.test"), said(&["192.0.2.2"]));
        assert!(first.who_asked("two.test").is_empty());
        // Each question comes from a port of its own.
        let ports: Vec<u16> = (0..20)
            .map(|n| {
                let name = format!("port{n}.test");
                let _ = dns::by_udp(&asks.namespace, &host, &name, A).unwrap();
                second.who_asked(&name)[0].port()
            })
            .collect();
        let mut different = ports.clone();
        different.sort_unstable();
        different.dedup();
        assert!(different.len() > 15, "{ports:?}");
    });
}

#[test]
fn without_flags_nobody_answers() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let refused = |client: &mut Client, id: &str, host: &str| {
            let container = client.container(id, &json!({}));
            assert_eq!(
                dhcp(client, &container).ask(DISCOVER, &[]).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
            let udp = dns::by_udp(&container.namespace, host, "web", A).unwrap_err();
            let tcp = dns::by_tcp(&container.namespace, host, "web", A).unwrap_err();
            assert_eq!(
                (udp.kind(), tcp.kind()),
                (ErrorKind::ConnectionRefused, ErrorKind::ConnectionRefused)
            );
            let file = format!("/etc/netns/{}/resolv.conf", container.namespace);
            assert!(!fs::exists(file).unwrap());
            container
        };
        let (ics, document) = network(&mut client, &json!({"Type": "ICS", "Flags": 8}));
        refused(&mut client, &ics, &gateway(&document, 0));
        let (nat, document) = network(
            &mut client,
            &json!({"Type": "NAT", "Ipams": [{"Subnets": [{"IpAddressPrefix": "0.0.0.0/0"}]}]}),
        );
        let host = gateway(&document, 0);
        let container = refused(&mut client, &nat, &host);
        // A policy changes it for those who are there already, and back.
        let policy = json!({"Type": "AutomaticDNS", "Settings": {"Enable": true}});
        let change = |request: &str| {
            json!({"id": nat, "settings": {
                "ResourceType": "Policy", "RequestType": request, "Settings": {"Policies": [policy]},
            }})
        };
        client.ok("Network.Modify", &change("Add"));
        client.endpoint(&nat, &json!({"Name": "web"}));
        assert_eq!(dns::ask(&container.namespace, &host, "web", A).code, 0);
        let resolv = netns_exec(&container.namespace, &["cat", "/etc/resolv.conf"]).stdout;
        assert_eq!(resolv, format!("nameserver {host}\n"));
        client.ok("Network.Modify", &change("Remove"));
        refused(&mut client, &nat, &host);
        assert!(dns::by_udp(&container.namespace, &host, "web", A).is_err());
    });
}

#[test]
fn a_port_that_is_in_use_is_told_and_nothing_is_left() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let listener = in_netns(HOST, || UdpSocket::bind("0.0.0.0:53").unwrap());
        let settings = with_version(&json!({"Type": "ICS", "Flags": 1}));
        let reply = client.call("Network.Create", &json!({"settings": settings}));
        assert!(reply.error.is_some());
        let message = reply.parameters.to_string();
        assert!(message.contains("UDP port 53") && message.contains("listens"), "{message}");
        eventually("no bridge is left", || {
            run_ok(&["ip", "-br", "link", "show", "type", "bridge"]).is_empty()
        });
        drop(listener);
        network(&mut client, &json!({"Type": "ICS", "Flags": 1}));
    });
}

fn dual(kind: &str, constraint: &Value) -> Value {
    json!({
        "Type": kind,
        "Policies": [{"Type": "InterfaceConstraint", "Settings": constraint}],
        "Ipams": [{"Subnets": [{"IpAddressPrefix": "0.0.0.0/0"}, {"IpAddressPrefix": "::/0"}]}],
    })
}

#[test]
fn a_constrained_network_leaves_by_its_own_uplink_alone() {
    in_sandbox!(Sandbox::new(), { constrained() });
}

#[test]
fn a_constrained_network_of_an_ordinary_user_leaves_by_its_own_uplink_alone() {
    in_sandbox!(Sandbox::as_ordinary_user(), { constrained() });
}

fn constrained() {
    second_uplink();
    // The host itself prefers the first one.
    for (flag, router) in ["-4", "-6"].iter().zip(BEHIND) {
        run_ok(&["ip", flag, "route", "add", "default", "via", router, "dev", "up2", "metric", "5000"]);
    }
    serve("outside");
    eventually("both uplinks carry packets", || {
        [OUTSIDE, BEHIND].concat().iter().all(|server| ask_tcp(HOST, server).is_ok())
    });
    let mut client = Client::new();
    let (id, document) =
        network(&mut client, &dual("ConstrainedICS", &json!({"InterfaceAlias": "up2", "InterfaceIndex": 0})));
    let inside = client.container(&id, &json!({}));
    let (plain, _) = network(&mut client, &json!({"Type": "ICS"}));
    let other = client.container(&plain, &json!({}));
    serve(&inside.namespace);
    // Wherever it goes, it goes by its uplink; others go where the host goes.
    for family in FAMILIES {
        assert_eq!(ask_tcp(&inside.namespace, BEHIND[family]).unwrap(), SECOND[family]);
        assert_eq!(ask_tcp(&inside.namespace, OUTSIDE[family]).unwrap(), SECOND[family]);
        assert_eq!(ask_udp(&inside.namespace, OUTSIDE[family]).unwrap(), SECOND[family]);
    }
    assert_eq!(ask_tcp(&other.namespace, OUTSIDE[0]).unwrap(), UPLINK[0]);
    // The host is there, and sees it.
    serve(HOST);
    assert_eq!(ask_tcp(&inside.namespace, &gateway(&document, 0)).unwrap(), inside.addresses[0]);
    assert_eq!(ask_tcp(HOST, &inside.addresses[1]).unwrap(), gateway(&document, 1));
    // Nobody comes in by another link, and by this one whoever has a route.
    ask_tcp(&other.namespace, &inside.addresses[0]).unwrap_err();
    for family in FAMILIES {
        let route = |verb: &str, via: &str| {
            let flag = ["-4", "-6"][family];
            let prefix = document["Ipams"][0]["Subnets"][family]["IpAddressPrefix"].as_str().unwrap();
            run_ok(&["ip", "-n", "outside", flag, "route", verb, prefix, "via", via]);
        };
        route("add", UPLINK[family]);
        ask_tcp("outside", &inside.addresses[family]).unwrap_err();
        route("replace", SECOND[family]);
        assert_eq!(ask_tcp("outside", &inside.addresses[family]).unwrap(), BEHIND[family]);
    }
    // Without its uplink there is no way, whatever ways the host has.
    run_ok(&["ip", "link", "set", "up2", "down"]);
    for family in FAMILIES {
        ask_tcp(&inside.namespace, OUTSIDE[family]).unwrap_err();
        assert!(ask_tcp(HOST, OUTSIDE[family]).is_ok());
    }
    assert_eq!(ask_tcp(&other.namespace, OUTSIDE[0]).unwrap(), UPLINK[0]);
    // With it there is one again, though the host's own are gone for good.
    run_ok(&["ip", "link", "set", "up2", "up"]);
    run_ok(&["ip", "addr", "replace", &format!("{}/64", SECOND[1]), "dev", "up2", "nodad"]);
    for family in FAMILIES {
        eventually("the uplink carries packets again", || {
            ask_tcp(&inside.namespace, OUTSIDE[family]).is_ok_and(|seen| seen == SECOND[family])
        });
    }
    let rules = || run_ok(&["ip", "rule"]) + &run_ok(&["ip", "-6", "rule"]);
    assert!(rules().contains("iif hcn"), "{}", rules());
    client.delete("Network", &id);
    assert!(!rules().contains("iif hcn"), "{}", rules());
    let left = run_ok(&["ip", "route", "show", "table", "all", "proto", "104"])
        + &run_ok(&["ip", "-6", "route", "show", "table", "all", "proto", "104"]);
    assert_eq!(left, "");
}

#[test]
fn a_constraint_names_its_link_in_any_of_its_ways() {
    in_sandbox!(Sandbox::new(), {
        second_uplink();
        serve("outside");
        eventually("the uplink carries packets", || ask_tcp(HOST, BEHIND[0]).is_ok());
        let index = fs::read_to_string("/sys/class/net/up2/ifindex").unwrap();
        let index: u32 = index.trim().parse().unwrap();
        let mut client = Client::new();
        for constraint in [json!("up2"), json!({"InterfaceIndex": index}), json!({"InterfaceAlias": "up2"})] {
            let (id, _) = network(&mut client, &dual("ICS", &constraint));
            let inside = client.container(&id, &json!({}));
            assert_eq!(ask_tcp(&inside.namespace, OUTSIDE[0]).unwrap(), SECOND[0], "{constraint}");
            client.delete("Network", &id);
        }
        // Members that are all zero name none.
        let zero = json!({"InterfaceGuid": "00000000-0000-0000-0000-000000000000", "InterfaceIndex": 0});
        let (id, _) = network(&mut client, &dual("ICS", &zero));
        let inside = client.container(&id, &json!({}));
        assert_eq!(ask_tcp(&inside.namespace, OUTSIDE[0]).unwrap(), UPLINK[0]);
        for unknown in [
            json!("up3"),
            json!({"InterfaceIndex": 4711}),
            json!({"InterfaceGuid": "5F0B1190-63BE-4E0C-B974-BD0F55675A42"}),
        ] {
            let settings = with_version(&dual("ICS", &unknown));
            assert_eq!(client.refused("Network.Create", &json!({"settings": settings})), 0x803b_0006);
        }
    });
}

#[test]
fn a_restart_of_hcnd_goes_on_answering_and_steering() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        run_ok(&["ip", "netns", "add", "outside"]);
        second_uplink();
        serve("outside");
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let config = "[uplinks]\nadapters = { \"5f0b1190-63be-4e0c-b974-bd0f55675a42\" = \"up2\" }\n";
        fs::write(at("toml"), config).unwrap();
        let start = || {
            let mut hcnd = Command::new("hcnd");
            hcnd.args(["--socket", &at("sock"), "--store", &at("store"), "--config", &at("toml")]);
            let process = Background::start(hcnd.env_remove("HCND_SOCKET"));
            eventually("hcnd listens", || UnixStream::connect(at("sock")).is_ok());
            process
        };
        let mut hcnd = start();
        let mut client = Client::of(Path::new(&at("sock")));
        // The link by a GUID that the configuration has for it.
        let guid = json!({"InterfaceGuid": "{5F0B1190-63BE-4E0C-B974-BD0F55675A42}"});
        let mut settings = dual("ConstrainedICS", &guid);
        settings["Flags"] = json!(3);
        let (id, document) = network(&mut client, &settings);
        let hosts = FAMILIES.map(|family| gateway(&document, family));
        let web = client.container(&id, &json!({"Name": "web"}));
        let asks = client.container(&id, &json!({}));
        let all_is_well = |client: &mut Client| {
            for family in FAMILIES {
                let answer = dns::ask(&asks.namespace, &hosts[family], "web", [A, AAAA][family]);
                assert_eq!(answer, said(&[&web.addresses[family]]));
                assert_eq!(ask_tcp(&asks.namespace, BEHIND[family]).unwrap(), SECOND[family]);
            }
            let offer = dhcp(client, &web).ask(DISCOVER, &[]).unwrap();
            assert_eq!(offer.address.to_string(), web.addresses[0]);
        };
        // The kernel forwards to no unknown IPv6 neighbour before the link's own link-local address is checked.
        for to in BEHIND {
            eventually("the second uplink carries packets", || ask_tcp(&asks.namespace, to).is_ok());
        }
        all_is_well(&mut client);
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            hcnd.signal(signal);
            let _ = hcnd.wait(Duration::from_secs(10));
            // Steering is the kernel's; there is nobody to answer.
            assert_eq!(ask_tcp(&asks.namespace, BEHIND[0]).unwrap(), SECOND[0]);
            dns::by_tcp(&asks.namespace, &hosts[0], "web", A).unwrap_err();
            hcnd = start();
            client = Client::of(Path::new(&at("sock")));
            eventually("the records are what they mean", || {
                dns::by_tcp(&asks.namespace, &hosts[1], "web", A).is_ok()
            });
            all_is_well(&mut client);
        }
        hcnd.signal(Signal::SIGTERM);
        assert_eq!(hcnd.wait(Duration::from_secs(10)).code, Some(0));
    });
}
