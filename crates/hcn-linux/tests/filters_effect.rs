//! Which packets pass filters: bridged, routed, of the host, of both families, whatever holds for all bridges.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;
mod filtering;
mod traffic;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::*;
use filtering::*;
use hcn_dataplane::{Dataplane, LinkId, Object, Protocol, Site, State, Veth, diff};
use traffic::{BACKEND_PORT, ask, inside, place, socket};

const TCP: u8 = 6;

/// Whether a new connection is made, over IPv4 and IPv6 alike.
fn reaches(from: &str, n: u8) -> bool {
    let both = [format!("10.7.0.{n}"), format!("fd07::{n:x}")];
    let [v4, v6] = both.map(|to| ask(from, Protocol::Tcp, socket(&to, BACKEND_PORT)).is_some());
    assert_eq!(v4, v6, "IPv4 and IPv6 from {from} to {n}");
    v4
}

fn by_udp(from: &str, to: &str) -> bool {
    ask(from, Protocol::Udp, socket(to, BACKEND_PORT)).is_some()
}

fn bridge_nf(value: u8) {
    for name in ["iptables", "ip6tables"] {
        sh(&format!("echo {value} > /proc/sys/net/bridge/bridge-nf-call-{name}"));
    }
}

#[test]
fn packets_pass_as_rules_say_bridged_routed_and_of_the_host() {
    isolated("packets_pass_as_rules_say_bridged_routed_and_of_the_host", || {
        let mut linux = place();
        let to_port = |verdict| rule(verdict).protocols(&[TCP]).to_ports(&[(BACKEND_PORT, BACKEND_PORT)]);
        for sysctl in [0, 1] {
            bridge_nf(sysctl);
            for from in ["", "A", "outside"] {
                assert!(reaches(from, 3), "{from}");
            }
            // For whoever asks: bridged, routed, from the host.
            let closed = filter(3, on_bridge(), vec![tier("ACL", vec![to_port(DROP)])], Vec::new());
            done(&mut linux, &create([closed.clone()]));
            for from in ["", "A", "outside"] {
                assert!(!reaches(from, 3), "{from}, {sysctl}");
                assert!(reaches("B", 2) && by_udp(from, "10.7.0.3") && by_udp(from, "fd07::3"));
            }
            // For one of them.
            let only = vec![to_port(ALLOW).from(&["10.7.0.2", "fd07::2"]), to_port(DROP)];
            let only = filter(3, on_bridge(), vec![tier("ACL", only)], Vec::new());
            done(&mut linux, &change(&closed, &only));
            assert!(reaches("A", 3) && !reaches("", 3) && !reaches("outside", 3));
            // What it sends itself, and nobody's answers.
            let mute = filter(3, on_bridge(), Vec::new(), vec![tier("ACL", vec![rule(DROP)])]);
            done(&mut linux, &change(&only, &mute));
            for from in ["", "A", "outside"] {
                assert!(reaches(from, 3), "{from}, {sysctl}");
            }
            assert!(!reaches("B", 2));
            assert!(ask("B", Protocol::Udp, socket("10.7.0.1", 9)).is_none());
            done(&mut linux, &remove(&[mute]));
            assert!(reaches("A", 3) && reaches("B", 2));
            assert!(!succeeds("nft list table inet hcnd_filter"));
        }
    });
}

#[test]
fn an_allow_of_the_sender_does_not_speak_for_the_receiver() {
    isolated("an_allow_of_the_sender_does_not_speak_for_the_receiver", || {
        let mut linux = place();
        let open = filter(2, on_bridge(), Vec::new(), vec![tier("ACL", vec![rule(ALLOW)])]);
        let closed = filter(3, on_bridge(), vec![tier("ACL", vec![rule(DROP)])], Vec::new());
        done(&mut linux, &create([open, closed]));
        assert!(!reaches("A", 3));
        assert!(reaches("B", 2));
    });
}

#[test]
fn tiers_are_asked_until_one_decides() {
    isolated("tiers_are_asked_until_one_decides", || {
        let mut linux = place();
        let first = tier("one", vec![rule(NEXT).from(&["10.7.0.0/24", "fd07::/64"]), rule(DROP)]);
        let second = tier(
            "two",
            vec![
                rule(ALLOW).from(&["10.7.0.2", "fd07::2"]),
                rule(NEXT).from(&["10.7.0.1", "fd07::1"]),
                rule(DROP),
            ],
        );
        let third = tier("three", vec![rule(DROP).protocols(&[TCP])]);
        done(&mut linux, &create([filter(3, on_bridge(), vec![first, second, third], Vec::new())]));
        assert!(reaches("A", 3), "the second lets it pass, and the third is not asked");
        assert!(!reaches("", 3) && by_udp("", "10.7.0.3"), "the third decides");
        assert!(!reaches("outside", 3) && !by_udp("outside", "10.7.0.3"), "the first decides");
    });
}

#[test]
fn a_set_changes_what_passes_at_once() {
    isolated("a_set_changes_what_passes_at_once", || {
        let mut linux = place();
        let named = |members: &[&str]| set("azure-npm-1001", members);
        let other = set("azure-npm-1002", &["10.7.0.0/24", "fd07::/64"]);
        let rules = vec![rule(ALLOW).of_set("azure-npm-1001").of_set("azure-npm-1002"), rule(DROP)];
        done(
            &mut linux,
            &create([named(&[]), other, filter(3, on_bridge(), vec![tier("ACL", rules)], Vec::new())]),
        );
        assert!(!reaches("A", 3));
        let steps: [&[&str]; 4] = [
            &["10.7.0.2", "fd07::2"],
            &["10.7.0.0/24", "10.7.0.2", "fd07::/120", "192.0.2.2", "2001:db8::2"],
            &["10.7.0.1", "10.7.0.3", "fd07::1", "fd07::3"],
            &["0.0.0.0/0", "::/0"],
        ];
        let mut before = named(&[]);
        for (step, a, host) in steps
            .iter()
            .zip([(true, false), (true, true), (false, true), (true, true)])
            .map(|(step, (a, host))| (step, a, host))
        {
            let now = named(step);
            done(&mut linux, &change(&before, &now));
            assert_eq!(
                (reaches("A", 3), reaches("", 3), reaches("outside", 3)),
                (a, host, false),
                "{step:?}"
            );
            before = now;
        }
    });
}

#[test]
fn a_connection_is_stopped_by_a_block_and_by_nothing_else() {
    isolated("a_connection_is_stopped_by_a_block_and_by_nothing_else", || {
        let mut linux = place();
        let drop_of = |port| vec![tier("ACL", vec![rule(DROP).protocols(&[TCP]).to_ports(&[(port, port)])])];
        let unrelated = filter(3, on_bridge(), drop_of(9), Vec::new());
        done(&mut linux, &create([unrelated.clone()]));
        let connection = Connection::open("A", "B", "10.7.0.3");
        assert!(connection.carries());
        let more = filter(3, on_bridge(), drop_of(10), drop_of(11));
        done(&mut linux, &change(&unrelated, &more));
        assert!(connection.carries());
        let block = filter(3, on_bridge(), drop_of(Connection::PORT), Vec::new());
        done(&mut linux, &change(&more, &block));
        assert!(!connection.carries());
        done(&mut linux, &change(&block, &more));
        assert!(connection.carries());
    });
}

/// A connection over which octets come back.
struct Connection(std::net::TcpStream);

impl Connection {
    const PORT: u16 = 7500;

    fn open(from: &'static str, to: &'static str, address: &str) -> Self {
        use std::io::{Read as _, Write as _};
        let listener = inside(to, || std::net::TcpListener::bind(("::", Self::PORT)).unwrap());
        let (is_free, free) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // So that the next one can listen there.
            drop(listener);
            is_free.send(()).unwrap();
            let mut octet = [0];
            while stream.read_exact(&mut octet).is_ok() && stream.write_all(&octet).is_ok() {}
        });
        let address: SocketAddr = socket(address, Self::PORT);
        let stream = inside(from, move || std::net::TcpStream::connect(address).unwrap());
        free.recv().unwrap();
        stream.set_read_timeout(Some(patience(Duration::from_millis(1500)))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    fn carries(&self) -> bool {
        use std::io::{Read as _, Write as _};
        let mut stream = &self.0;
        stream.write_all(b"?").unwrap();
        stream.read_exact(&mut [0]).is_ok()
    }
}

#[test]
fn a_filter_on_a_link_is_about_all_of_its_packets() {
    isolated("a_filter_on_a_link_is_about_all_of_its_packets", || {
        let mut linux = place();
        let closed = |n, netns: &str| {
            filter(n, on_link(eth0(netns)), vec![tier("ACL", vec![rule(DROP).protocols(&[TCP])])], Vec::new())
        };
        done(&mut linux, &create([closed(3, "B")]));
        for from in ["", "A", "outside"] {
            assert!(!reaches(from, 3) && by_udp(from, "fd07::3"), "{from}");
        }
        assert!(reaches("B", 2), "answers come");
        assert!(!succeeds("nft list table inet hcnd_filter"), "nothing on the host");
        let mute = filter(3, on_link(eth0("B")), Vec::new(), vec![tier("ACL", vec![rule(DROP)])]);
        done(&mut linux, &change(&closed(3, "B"), &mute));
        assert!(!reaches("B", 2) && reaches("A", 3), "it answers, and asks nobody");
        // With a namespace all of it goes, and comes back with it.
        let b: State = [vec![netns("B"), mute], endpoint(3, "B")].concat().into_iter().collect();
        let removed = apply(&mut linux, &diff(&b, &State::new()));
        linux.undo(removed).unwrap();
        assert!(!reaches("B", 2));
        done(&mut linux, &diff(&b, &State::new()));
    });
}

#[test]
fn an_endpoint_in_the_host_is_filtered_too() {
    isolated("an_endpoint_in_the_host_is_filtered_too", || {
        let mut linux = place();
        let own = |object: Object| match object {
            Object::Veth(veth) => Object::Veth(Veth { peer: LinkId::host("hvp00000004"), ..veth }),
            other => other,
        };
        done(&mut linux, &create([own(veth(4, "A"))]));
        sh("ip addr add 10.7.0.4/32 dev hvp00000004 && ip -6 addr add fd07::4/128 dev hvp00000004 nodad");
        traffic::serve("", BACKEND_PORT, "host");
        assert!(reaches("A", 4) && reaches("outside", 4) && reaches("", 4));
        let closed = filter(
            4,
            Site::Host(BRIDGE.into()),
            vec![tier("ACL", vec![rule(DROP).protocols(&[TCP])])],
            Vec::new(),
        );
        for sysctl in [0, 1] {
            bridge_nf(sysctl);
            done(&mut linux, &create([closed.clone()]));
            assert!(!reaches("A", 4) && !reaches("outside", 4) && by_udp("A", "10.7.0.4"));
            assert!(reaches("", 4), "what the host sends itself stays with it");
            done(&mut linux, &remove(std::slice::from_ref(&closed)));
            assert!(reaches("A", 4));
        }
    });
}

#[test]
fn a_port_moves_to_another_bridge_with_its_connections() {
    isolated("a_port_moves_to_another_bridge_with_its_connections", || {
        let mut linux = place();
        done(&mut linux, &create(shard()));
        for address in ["10.7.0.3", "fd07::3"] {
            let connection = Connection::open("A", "B", address);
            assert!(connection.carries());
            let mut slowest = Duration::ZERO;
            for n in 0..20 {
                // The one who asks and the one who answers, to and fro.
                let (port, to) = if n % 2 == 0 { (veth(3, "B"), 3) } else { (veth(2, "A"), 2) };
                let here = if n % 4 < 2 { BRIDGE } else { SHARD };
                let there = if here == BRIDGE { SHARD } else { BRIDGE };
                done(&mut linux, &change(&at(port.clone(), here), &at(port, there)));
                let start = Instant::now();
                assert!(connection.carries(), "move {n}");
                slowest = slowest.max(start.elapsed());
                assert!(reaches("outside", to), "move {n}");
            }
            println!("measured: {slowest:?} at most for a round trip after a move");
            assert!(slowest < patience(Duration::from_millis(150)), "{slowest:?}");
        }
    });
}
