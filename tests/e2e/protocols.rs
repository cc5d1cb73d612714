//! Do rules about protocols that have no ports act on their packets, and on nothing else?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::io::Read as _;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use hcn_tests::client::{Client, Container, DUAL};
use hcn_tests::policies::{acl, change};
use hcn_tests::service::kill_hcnd;
use hcn_tests::traffic::{ask_tcp_at, ask_udp_at, in_netns, serve_as};
use hcn_tests::{Sandbox, in_sandbox, patience};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

/// Numbers for experiments (RFC 3692), and one that rules mean VXLAN by.
const EXPERIMENT: u8 = 253;
const OTHER: u8 = 254;
const VXLAN: u8 = 252;
const VXLAN_PORT: u16 = 4789;

fn raw(netns: &str, domain: Domain, protocol: u8) -> Socket {
    in_netns(netns, || Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol)))).unwrap())
}

/// Answers packets of these protocols, TCP and UDP.
fn serve(container: &Container) {
    for port in [VXLAN_PORT, VXLAN_PORT + 1] {
        serve_as(&container.namespace, port, "");
    }
    for protocol in [VXLAN, EXPERIMENT, OTHER] {
        for domain in [Domain::IPV4, Domain::IPV6] {
            let socket = raw(&container.namespace, domain, protocol);
            thread::spawn(move || {
                let mut packet = [MaybeUninit::uninit(); 64];
                while let Ok((_, peer)) = socket.recv_from(&mut packet) {
                    let _ = socket.send_to(b"!", &peer);
                }
            });
        }
    }
}

/// Whether packets of a protocol are answered, over both families alike.
fn passes(from: &Container, to: &Container, protocol: u8) -> bool {
    both(to, |address| {
        let to = SocketAddr::new(address.parse().unwrap(), 0);
        let socket = raw(&from.namespace, Domain::for_address(to), protocol);
        socket.set_read_timeout(Some(patience(Duration::from_millis(300)))).unwrap();
        socket.connect(&to.into()).unwrap();
        socket.send(b"?").is_ok() && (&socket).read(&mut [0; 64]).is_ok()
    })
}

fn tcp(from: &Container, to: &Container) -> bool {
    both(to, |address| ask_tcp_at(&from.namespace, address, VXLAN_PORT).is_ok())
}

fn udp(from: &Container, to: &Container, port: u16) -> bool {
    both(to, |address| ask_udp_at(&from.namespace, address, port).is_ok())
}

fn both(to: &Container, ask: impl Fn(&str) -> bool + Sync) -> bool {
    let ask = &ask;
    let [v4, v6] = thread::scope(|scope| {
        let asking = [0, 1].map(|family: usize| scope.spawn(move || ask(&to.addresses[family])));
        asking.map(|asked| asked.join().unwrap())
    });
    assert_eq!(v4, v6, "IPv4 and IPv6");
    v4
}

fn update(client: &mut Client, container: &Container, rules: &[Value]) {
    change(client, "Endpoint", &container.endpoint, "Update", &json!(rules));
}

/// Blocked by number, as the only one that may pass, and by the side that sends.
#[test]
fn packets_of_protocols_without_ports_pass_as_rules_say() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [server, peer] = [(); 2].map(|()| client.container(&network, &json!({})));
        serve(&server);
        let seen = || [EXPERIMENT, OTHER, VXLAN].map(|protocol| passes(&peer, &server, protocol));
        for rule_type in ["Switch", "Host"] {
            let rule = |action: &str, direction: &str, protocols: &str, priority: u16| {
                acl(&json!({"Action": action, "Direction": direction, "Protocols": protocols,
                    "RuleType": rule_type, "Priority": priority}))
            };
            assert_eq!(seen(), [true; 3], "{rule_type}");
            update(&mut client, &server, &[rule("Block", "In", "253", 100)]);
            assert_eq!(seen(), [false, true, true], "{rule_type}");
            assert!(tcp(&peer, &server) && udp(&peer, &server, VXLAN_PORT), "{rule_type}");
            client = kill_hcnd();
            assert_eq!(seen(), [false, true, true], "{rule_type}");
            update(&mut client, &server, &[rule("Allow", "In", "253", 1), rule("Block", "In", "", 9)]);
            assert_eq!(seen(), [true, false, false], "{rule_type}");
            assert!(!tcp(&peer, &server), "{rule_type}");
            update(&mut client, &server, &[json!({})]);
            update(&mut client, &peer, &[rule("Block", "Out", "6,254", 100)]);
            assert_eq!(seen(), [true, false, true], "{rule_type}");
            assert!(!tcp(&peer, &server), "{rule_type}");
            update(&mut client, &peer, &[json!({})]);
        }
        assert_eq!(seen(), [true; 3]);
    });
}

/// Whatever else is in the list, and not what has this number itself.
#[test]
fn protocol_252_means_what_tunnels_send() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [server, peer] = [(); 2].map(|()| client.container(&network, &json!({})));
        serve(&server);
        let tunnels = || udp(&peer, &server, VXLAN_PORT);
        assert!(tunnels());
        for (of, direction) in [(&server, "In"), (&peer, "Out")] {
            let rule = |protocols: &str| {
                acl(&json!({"Action": "Block", "Direction": direction, "Protocols": protocols}))
            };
            update(&mut client, of, &[rule("252")]);
            assert!(!tunnels() && udp(&peer, &server, VXLAN_PORT + 1) && tcp(&peer, &server));
            assert!(passes(&peer, &server, VXLAN) && passes(&peer, &server, EXPERIMENT));
            update(&mut client, of, &[rule("252,253")]);
            client = kill_hcnd();
            assert!(!tunnels() && udp(&peer, &server, VXLAN_PORT + 1) && tcp(&peer, &server));
            assert!(passes(&peer, &server, VXLAN) && !passes(&peer, &server, EXPERIMENT));
            update(&mut client, of, &[json!({})]);
            assert!(tunnels() && passes(&peer, &server, EXPERIMENT));
        }
    });
}
