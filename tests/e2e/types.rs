//! What networks of type NAT, Internal and Private carry beyond the single packet: ICMP of both families, subnets that
//! come and go while packets flow, DNS settings that change, prefixes that are chosen; and what a wire tap sees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use hcn_tests::client::{Client, Container, DUAL, with_version};
use hcn_tests::traffic::{HOST, ask_tcp, ask_udp, in_netns, serve};
use hcn_tests::{Sandbox, eventually, in_sandbox, run_ok};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const FAMILIES: [usize; 2] = [0, 1];
const SECOND: [&str; 2] = ["198.51.100.0/24", "2001:db8:99:1::/64"];
const SECOND_GATEWAYS: [&str; 2] = ["198.51.100.1", "2001:db8:99:1::1"];

/// Sends an echo request and waits for the reply, for a third of a second.
fn echo(netns: &str, address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap();
    let v4 = address.is_ipv4();
    in_netns(netns, || {
        let (family, protocol) = match v4 {
            true => (AddressFamily::Inet, SockProtocol::Icmp),
            false => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let open = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
        setsockopt(&open, sockopt::ReceiveTimeout, &TimeVal::new(0, 300_000)).unwrap();
        // Type, code, checksum (over IPv6 the kernel's), identifier and number.
        let mut request = [if v4 { 8 } else { 128 }, 0, 0, 0, 0x68, 0x63, 0, 1];
        if v4 {
            request[2..4].copy_from_slice(&(!0x0800u16.wrapping_add(0x6863).wrapping_add(1)).to_be_bytes());
        }
        let to = SockaddrStorage::from(SocketAddr::new(address, 0));
        if sendto(open.as_raw_fd(), &request, &to, MsgFlags::empty()).is_err() {
            return false;
        }
        let mut packet = [0; 1500];
        // Others are answered, too.
        while let Ok((length, from)) = recvfrom::<SockaddrStorage>(open.as_raw_fd(), &mut packet) {
            let message = if v4 { &packet[20..length] } else { &packet[..length] };
            let is_reply = message[0] == if v4 { 0 } else { 129 } && message[4..8] == request[4..8];
            let sender = from.map(|from| match (from.as_sockaddr_in(), from.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::from(v4.ip()),
                (_, Some(v6)) => IpAddr::from(v6.ip()),
                _ => [0; 4].into(),
            });
            if is_reply && sender == Some(address) {
                return true;
            }
        }
        false
    })
}

/// As whom `server` sees `netns` by every protocol.
fn seen(netns: &str, server: &str) -> String {
    let tcp =
        ask_tcp(netns, server).unwrap_or_else(|error| panic!("TCP from {netns:?} to {server}: {error}"));
    let udp =
        ask_udp(netns, server).unwrap_or_else(|error| panic!("UDP from {netns:?} to {server}: {error}"));
    assert_eq!(tcp, udp);
    assert!(echo(netns, server), "ICMP from {netns:?} to {server}");
    tcp
}

/// Whether nothing gets through.
fn silent(netns: &str, server: &str) -> bool {
    ask_tcp(netns, server).is_err() && ask_udp(netns, server).is_err() && !echo(netns, server)
}

fn reach_outside() {
    serve("outside");
    eventually("the uplink carries packets", || OUTSIDE.iter().all(|server| ask_tcp(HOST, server).is_ok()));
}

fn subnets(request: &str, network: &str, prefixes: &[&str]) -> Value {
    let subnets: Vec<Value> = prefixes.iter().map(|prefix| json!({"IpAddressPrefix": prefix})).collect();
    let settings =
        json!({"ResourceType": "Subnet", "RequestType": request, "Settings": {"Subnets": subnets}});
    json!({"id": network, "settings": settings})
}

fn given(addresses: [&str; 2]) -> Value {
    json!({"IpConfigurations": addresses.map(|address| json!({"IpAddress": address}))})
}

#[test]
fn subnets_of_a_nat_network_come_and_go_while_others_carry_packets() {
    in_sandbox!(Sandbox::new(), { live_subnets() });
}

#[test]
fn subnets_of_a_nat_network_of_an_ordinary_user_come_and_go() {
    in_sandbox!(Sandbox::as_ordinary_user(), { live_subnets() });
}

fn live_subnets() {
    let mut client = Client::new();
    let network = client.network(&DUAL);
    let first = client.container(&network, &json!({}));
    serve(&first.namespace);
    reach_outside();
    for round in 0..2 {
        client.ok("Network.Modify", &subnets("Add", &network, &SECOND));
        let second = client.container(&network, &given(["198.51.100.20", "2001:db8:99:1::20"]));
        serve(&second.namespace);
        for family in FAMILIES {
            assert_eq!(seen(&second.namespace, OUTSIDE[family]), UPLINK[family], "round {round}");
            assert_eq!(seen(&first.namespace, OUTSIDE[family]), UPLINK[family], "round {round}");
            // One bridge: what goes from subnet to subnet is forwarded back onto it, and nobody is hidden.
            assert_eq!(seen(&first.namespace, &second.addresses[family]), first.addresses[family]);
            assert_eq!(seen(&second.namespace, &first.addresses[family]), second.addresses[family]);
            assert_eq!(seen(HOST, &second.addresses[family]), SECOND_GATEWAYS[family]);
        }
        // Not while somebody lives there.
        let code = client.refused("Network.Modify", &subnets("Remove", &network, &SECOND));
        assert_eq!(code, 0x803b_002c);
        assert_eq!(seen(&second.namespace, OUTSIDE[1]), UPLINK[1]);
        client.delete("Endpoint", &second.endpoint);
        client.ok("Network.Modify", &subnets("Remove", &network, &SECOND));
        for family in FAMILIES {
            assert_eq!(seen(&first.namespace, OUTSIDE[family]), UPLINK[family]);
            assert!(!echo(&first.namespace, SECOND_GATEWAYS[family]));
        }
        let table = run_ok(&["nft", "list", "table", "inet", "hcnd"]);
        assert!(!table.contains("198.51.100.0") && !table.contains("2001:db8:99:1"), "{table}");
    }
    // A family that was not there at first, while somebody is.
    let v4 = client.network(&["198.51.100.0/24"]);
    let before = client.container(&v4, &json!({}));
    serve(&before.namespace);
    assert_eq!(seen(&before.namespace, OUTSIDE[0]), UPLINK[0]);
    for _ in 0..2 {
        client.ok("Network.Modify", &subnets("Add", &v4, &["2001:db8:99:1::/64"]));
        let both = client.container(&v4, &json!({}));
        for family in FAMILIES {
            assert_eq!(seen(&both.namespace, OUTSIDE[family]), UPLINK[family]);
        }
        assert_eq!(seen(&both.namespace, &before.addresses[0]), both.addresses[0]);
        assert_eq!(seen(&before.namespace, OUTSIDE[0]), UPLINK[0]);
        client.delete("Endpoint", &both.endpoint);
        client.ok("Network.Modify", &subnets("Remove", &v4, &["2001:db8:99:1::/64"]));
        assert_eq!(seen(&before.namespace, OUTSIDE[0]), UPLINK[0]);
    }
    client.delete("Endpoint", &before.endpoint);
}

#[test]
fn chosen_prefixes_of_both_families_avoid_what_the_host_has_and_carry_packets() {
    in_sandbox!(Sandbox::new(), {
        // What there is no room beside: two of the three private ranges, and most of the third.
        for prefix in ["172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/9"] {
            run_ok(&["ip", "route", "add", prefix, "dev", "eth0"]);
        }
        let mut client = Client::new();
        let any = json!([{"IpAddressPrefix": "0.0.0.0/0"}, {"IpAddressPrefix": "::/0"}]);
        let settings = json!({"Type": "NAT", "Ipams": [{"Subnets": any}]});
        let mut create = |settings: &Value| {
            let made = client.ok("Network.Create", &json!({"settings": with_version(settings)}));
            let id = made["id"].as_str().unwrap().to_owned();
            let document = client.query("Network", &id);
            let prefix = |at: usize| {
                document["Ipams"][0]["Subnets"][at]["IpAddressPrefix"].as_str().unwrap().to_owned()
            };
            (id, [prefix(0), prefix(1)])
        };
        let (id, prefixes) = create(&settings);
        let second: u8 = prefixes[0].split('.').nth(1).unwrap().parse().unwrap();
        assert!(
            prefixes[0].starts_with("10.") && second >= 128 && prefixes[0].ends_with("/24"),
            "{prefixes:?}"
        );
        assert!(prefixes[1].starts_with("fd") && prefixes[1].ends_with("/64"), "{prefixes:?}");
        // Made again with the same ID it would get the same; what the host has by now is avoided.
        let (other, others) = create(&settings);
        assert!(prefixes.iter().all(|prefix| !others.contains(prefix)), "{others:?}");
        reach_outside();
        for network in [&id, &other] {
            let container = client.container(network, &json!({}));
            for family in FAMILIES {
                assert_eq!(seen(&container.namespace, OUTSIDE[family]), UPLINK[family]);
            }
        }
        client.delete("Network", &id);
        run_ok(&["ip", "-6", "route", "add", &prefixes[1], "dev", "eth0"]);
        run_ok(&["ip", "route", "add", &prefixes[0], "dev", "eth0"]);
        let again = with_version(&settings);
        client.ok("Network.Create", &json!({"id": id, "settings": again}));
        let document = client.query("Network", &id).to_string();
        assert!(prefixes.iter().all(|prefix| !document.contains(prefix.as_str())), "{document}");
        let wrong =
            with_version(&json!({"Type": "Internal", "Ipams": [{"Subnets": [{"IpAddressPrefix": "::/0"}]}]}));
        assert_eq!(client.refused("Network.Create", &json!({"settings": wrong})), 0x803b_0030);
    });
}

#[test]
fn the_dns_settings_of_a_network_reach_those_who_took_them_over() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let mut settings = hcn_tests::client::network_document(&DUAL);
        settings["Dns"] = json!({"ServerList": ["192.0.2.53"], "Domain": "old.test"});
        let made = client.ok("Network.Create", &json!({"settings": settings}));
        let network = made["id"].as_str().unwrap().to_owned();
        let heir = client.container(&network, &json!({}));
        let own = client.container(&network, &json!({"Dns": {"ServerList": ["192.0.2.99"]}}));
        let detached = client.endpoint(&network, &json!({}));
        let resolv = |container: &Container| {
            fs::read_to_string(format!("/etc/netns/{}/resolv.conf", container.namespace)).unwrap_or_default()
        };
        assert_eq!(resolv(&heir), "nameserver 192.0.2.53\nsearch old.test\n");
        let update = |dns: Value| {
            json!({"id": network, "settings": {
                "ResourceType": "Dns", "RequestType": "Update", "Settings": dns,
            }})
        };
        let new = json!({"ServerList": ["2001:db8::53", "192.0.2.54"], "Search": ["new.test"]});
        client.ok("Network.Modify", &update(new.clone()));
        assert_eq!(resolv(&heir), "nameserver 2001:db8::53\nnameserver 192.0.2.54\nsearch new.test\n");
        assert_eq!(resolv(&own), "nameserver 192.0.2.99\n");
        for endpoint in [&heir.endpoint, &detached] {
            assert_eq!(client.query("Endpoint", endpoint)["Dns"], new);
        }
        assert_eq!(client.query("Endpoint", &own.endpoint)["Dns"], json!({"ServerList": ["192.0.2.99"]}));
        client.attach(&own.namespace, &detached);
        assert!(resolv(&own).contains("2001:db8::53"), "{}", resolv(&own));
        client.ok("Network.Modify", &update(json!({})));
        assert_eq!((resolv(&heir).as_str(), resolv(&own).as_str()), ("", "nameserver 192.0.2.99\n"));
        assert_eq!(client.query("Endpoint", &heir.endpoint)["Dns"], Value::Null);
        client.ok("Network.Modify", &update(json!({"ServerList": ["192.0.2.55"]})));
        assert_eq!(resolv(&heir), "nameserver 192.0.2.55\n");
    });
}

/// Everything that a link of the host carries.
fn tap(link: &str) -> OwnedFd {
    let every = SockProtocol::EthAll;
    let open = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, every).unwrap();
    setsockopt(&open, sockopt::ReceiveTimeout, &TimeVal::new(0, 200_000)).unwrap();
    setsockopt(&open, sockopt::BindToDevice, &link.into()).unwrap();
    open
}

/// The frames that it has carried so far: destination, source and type.
fn carried(tap: &OwnedFd) -> Vec<String> {
    let mut frames = Vec::new();
    let mut frame = [0; 2048];
    while let Ok(length) = recv(tap.as_raw_fd(), &mut frame, MsgFlags::empty()) {
        let bytes: Vec<String> = frame[..length.min(14)].iter().map(|byte| format!("{byte:02x}")).collect();
        frames.push(format!("{} {} {}", bytes[..6].join(":"), bytes[6..12].join(":"), bytes[12..].concat()));
    }
    frames
}

#[test]
fn the_host_exchanges_nothing_with_a_private_network_even_with_an_address_on_it() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let prefixes = DUAL.map(|prefix| json!({"IpAddressPrefix": prefix}));
        let settings = with_version(&json!({"Type": "Private", "Ipams": [{"Subnets": prefixes}]}));
        let made = client.ok("Network.Create", &json!({"settings": settings}));
        let id = made["id"].as_str().unwrap().to_owned();
        let [a, b] = [(); 2].map(|()| client.container(&id, &json!({})));
        serve(&a.namespace);
        serve(&b.namespace);
        serve(HOST);
        let bridge = format!("hcn{}", id[..8].to_lowercase());
        // Somebody gives the host addresses there.
        let hosts = ["192.0.2.254", "2001:db8:abcd:12::fe"];
        run_ok(&["ip", "addr", "add", &format!("{}/24", hosts[0]), "dev", &bridge]);
        run_ok(&["ip", "addr", "add", &format!("{}/64", hosts[1]), "dev", &bridge, "nodad"]);
        let tapped = tap(&bridge);
        for (family, host) in hosts.iter().enumerate() {
            assert_eq!(seen(&a.namespace, &b.addresses[family]), a.addresses[family]);
            assert!(silent(&a.namespace, host));
            assert!(silent(HOST, &a.addresses[family]));
        }
        // Nothing is sent to the host, and nothing by it; what goes to all it need not hear.
        let mac = fs::read_to_string(format!("/sys/class/net/{bridge}/address")).unwrap();
        let frames = carried(&tapped);
        assert!(!frames.is_empty(), "the tap heard nothing at all, so it shows nothing");
        assert!(frames.iter().all(|frame| !frame.contains(mac.trim())), "{mac}: {frames:?}");
    });
}

#[test]
fn an_internal_network_knows_the_host_by_every_protocol_and_nobody_outside() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let prefixes = DUAL.map(|prefix| json!({"IpAddressPrefix": prefix}));
        let settings = with_version(&json!({"Type": "Internal", "Ipams": [{"Subnets": prefixes}]}));
        let made = client.ok("Network.Create", &json!({"settings": settings}));
        let id = made["id"].as_str().unwrap().to_owned();
        let [a, b] = [(); 2].map(|()| client.container(&id, &json!({})));
        reach_outside();
        serve(HOST);
        serve(&a.namespace);
        serve(&b.namespace);
        let hosts = ["192.0.2.1", "2001:db8:abcd:12::1"];
        for family in FAMILIES {
            let flag = ["-4", "-6"][family];
            run_ok(&["ip", "-n", &a.namespace, flag, "route", "add", "default", "via", hosts[family]]);
            assert_eq!(seen(&a.namespace, hosts[family]), a.addresses[family]);
            assert_eq!(seen(HOST, &a.addresses[family]), hosts[family]);
            assert_eq!(seen(&a.namespace, &b.addresses[family]), a.addresses[family]);
            assert!(silent(&a.namespace, OUTSIDE[family]));
            let prefix = DUAL[family];
            run_ok(&["ip", "-n", "outside", flag, "route", "add", prefix, "via", UPLINK[family]]);
            assert!(silent("outside", &a.addresses[family]));
        }
    });
}
