//! Services, seen by those who use them: packets to front ends reach back ends.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;
mod traffic;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::*;
use hcn_dataplane::{Dataplane, Object, Protocol, Source};
use traffic::*;

const TCP: Protocol = Protocol::Tcp;
const UDP: Protocol = Protocol::Udp;

/// A container's back end, of either family.
fn backend(n: u8, v6: bool) -> SocketAddr {
    if v6 {
        socket(&format!("fd07::{n}"), BACKEND_PORT)
    } else {
        socket(&format!("10.7.0.{n}"), BACKEND_PORT)
    }
}

#[test]
fn an_address_is_served_to_all_and_to_the_host_if_it_shall_be() {
    isolated("an_address_is_served_to_all_and_to_the_host_if_it_shall_be", || {
        let mut linux = place();
        for (vip, v6, outside, gateway, uplink) in [
            (VIP, false, "192.0.2.2", "10.7.0.1", "192.0.2.1"),
            (VIP6, true, "2001:db8::2", "fd07::1", "2001:db8::1"),
        ] {
            for protocol in [TCP, UDP] {
                let to = socket(vip, 80);
                let only_a = service(protocol, (vip, 80), &[backend(2, v6)]);
                let before = at_rest();
                add(&mut linux, &only_a);
                let ask = |from: &str| ask(from, protocol, to);
                assert_eq!(ask("outside"), Some(format!("A {outside}")), "{protocol} {vip}");
                // Neighbours and the back end itself come by the bridge's address, so that replies come back.
                assert_eq!(ask("B"), Some(format!("A {gateway}")), "{protocol} {vip}");
                assert_eq!(ask("A"), Some(format!("A {gateway}")), "{protocol} {vip}");
                assert_eq!(ask(""), None, "{protocol} {vip}");
                let (plan, with_host) = changed(&only_a, |service| service.from_host = true);
                done(&mut linux, &plan);
                assert_eq!(ask(""), Some(format!("A {uplink}")), "{protocol} {vip}");
                take(&mut linux, &with_host);
                assert_eq!(ask("outside"), None, "{protocol} {vip}");
                settles_at(&before, "a service came and went");
            }
        }
    });
}

#[test]
fn a_port_is_served_on_every_address_of_the_host_but_loopbacks() {
    isolated("a_port_is_served_on_every_address_of_the_host_but_loopbacks", || {
        let mut linux = place();
        for (any, v6, up, bridge, loopback) in [
            ("0.0.0.0", false, "192.0.2.1", "10.7.0.1", "127.0.0.1"),
            ("::", true, "2001:db8::1", "fd07::1", "::1"),
        ] {
            for protocol in [TCP, UDP] {
                let port = service(protocol, (any, 8080), &[backend(2, v6)]);
                add(&mut linux, &port);
                let reached = |from: &str, to: &str| ask(from, protocol, socket(to, 8080)).is_some();
                for to in [up, bridge] {
                    assert!(reached("outside", to), "{protocol} {to}");
                    assert!(reached("B", to), "{protocol} {to}");
                    assert!(reached("A", to), "{protocol} {to}: from the back end itself");
                    assert!(!reached("", to), "{protocol} {to}");
                }
                // An address of others is not the host's.
                assert!(!reached("B", if v6 { "2001:db8::2" } else { "192.0.2.2" }));
                let (plan, with_host) = changed(&port, |service| service.from_host = true);
                done(&mut linux, &plan);
                assert!(reached("", up), "{protocol} {up}");
                assert!(!reached("", loopback), "{protocol} {loopback}");
                take(&mut linux, &with_host);
            }
        }
    });
}

#[test]
fn changed_back_ends_take_effect_and_none_means_refused() {
    isolated("changed_back_ends_take_effect_and_none_means_refused", || {
        let mut linux = place();
        let to = socket(VIP, 80);
        // Something else would answer.
        serve("outside", 80, "outside");
        sh(&format!("ip -n outside addr add {VIP}/32 dev lo"));
        assert_eq!(ask("A", TCP, to), Some("outside 192.0.2.1".to_owned()));
        let none = service(TCP, (VIP, 80), &[]);
        add(&mut linux, &none);
        assert_eq!(told("A", TCP, to), "refused");
        let before = at_rest();
        let (plan, a) = changed(&none, |service| service.backends = vec![backend(2, false)]);
        let applied = apply(&mut linux, &plan);
        assert!(ask("B", TCP, to).unwrap().starts_with('A'));
        linux.undo(applied).unwrap();
        assert_eq!(ask("B", TCP, to), None);
        settles_at(&before, "a change was taken back");
        done(&mut linux, &plan);
        let (plan, b) = changed(&a, |service| service.backends = vec![backend(3, false)]);
        done(&mut linux, &plan);
        assert!((0..10).all(|_| ask("B", TCP, to).unwrap().starts_with('B')));
        let (plan, both) = changed(&b, |service| service.backends.push(backend(2, false)));
        done(&mut linux, &plan);
        let answers: BTreeSet<String> = (0..40).map(|_| ask("B", TCP, to).unwrap()[..1].to_owned()).collect();
        assert_eq!(answers, BTreeSet::from(["A".to_owned(), "B".to_owned()]));
        take(&mut linux, &both);
        assert_eq!(ask("A", TCP, to), Some("outside 192.0.2.1".to_owned()));
    });
}

/// How often each of `count` back ends was chosen, for as many clients as there are ports.
fn chosen(linux: &mut hcn_linux::Linux, count: u16, port: u16, affinity: bool) -> Vec<u64> {
    let sockets: Vec<UdpSocket> =
        inside("A", move || (0..count).map(|n| UdpSocket::bind(("0.0.0.0", 10_000 + n)).unwrap()).collect());
    let backends: Vec<SocketAddr> = (0..count).map(|n| socket("10.7.0.2", 10_000 + n)).collect();
    let mut of_them = service(UDP, (VIP, port), &backends);
    let group = affinity.then(|| stick(&mut of_them, port.into()));
    done(linux, &create(group.clone()));
    add(linux, &of_them);
    let counts = inside("outside", move || {
        let mut counts = vec![0; usize::from(count)];
        let mut count_up = || {
            for (socket, count) in sockets.iter().zip(&mut counts) {
                socket.set_nonblocking(true).unwrap();
                while socket.recv(&mut [0; 4]).is_ok() {
                    *count += 1;
                }
            }
        };
        for client in 0..CLIENTS {
            // Never the same twice: it would be the flow of the first time.
            let from = if affinity {
                let [_, _, high, low] = client.to_be_bytes();
                (std::net::Ipv4Addr::new(198, 18, high, low), 0)
            } else {
                (std::net::Ipv4Addr::UNSPECIFIED, 1024 + client as u16)
            };
            UdpSocket::bind(from).unwrap().send_to(b"?", (VIP, port)).unwrap();
            if client % 64 == 0 {
                count_up();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
        count_up();
        counts
    });
    take(linux, &of_them);
    done(linux, &remove(&Vec::from_iter(group)));
    counts
}

const CLIENTS: u32 = 12_000;

#[test]
fn back_ends_get_equal_shares_whatever_their_number() {
    isolated("back_ends_get_equal_shares_whatever_their_number", || {
        let mut linux = place();
        // Clients of any address of this prefix.
        sh("ip -n outside route add local 198.18.0.0/16 dev lo");
        let mut port = 1000;
        for count in [1u16, 2, 3, 5, 7, 9, 17, 33, 64] {
            for affinity in [false, true] {
                port += 1;
                let counts = chosen(&mut linux, count, port, affinity);
                assert_eq!(
                    counts.iter().sum::<u64>(),
                    u64::from(CLIENTS),
                    "{count} back ends: packets got lost"
                );
                let share = f64::from(CLIENTS) / f64::from(count);
                // What chance alone does, five times its deviation; and three in a hundred beside.
                let bound = 0.03 + 5.0 / share.sqrt();
                for got in &counts {
                    let off = (*got as f64 / share - 1.0).abs();
                    assert!(off < bound, "{count} back ends, affinity {affinity}: {counts:?}");
                }
                // All together are a sharper test: their squared deviations add up to about their number.
                let squares: f64 = counts.iter().map(|got| (*got as f64 - share).powi(2) / share).sum();
                let freedom = f64::from(count - 1);
                let most = freedom + 5.0 * (2.0 * freedom).sqrt() + 0.01 * share;
                assert!(
                    squares <= most,
                    "{count} back ends, affinity {affinity}: {squares} of {most}, {counts:?}"
                );
            }
        }
    });
}

#[test]
fn a_client_stays_with_its_back_end() {
    isolated("a_client_stays_with_its_back_end", || {
        let mut linux = place();
        for (vip, v6) in [(VIP, false), (VIP6, true)] {
            let mut sticky = service(TCP, (vip, 80), &[backend(2, v6), backend(3, v6), backend(2, v6)]);
            let group = stick(&mut sticky, u32::from(v6));
            done(&mut linux, &create([group]));
            add(&mut linux, &sticky);
            let answers: BTreeSet<_> =
                (0..20).map(|_| ask("outside", TCP, socket(vip, 80)).unwrap()).collect();
            assert_eq!(answers.len(), 1, "{answers:?}");
        }
    });
}

#[test]
fn a_service_of_one_link_is_for_its_packets_only() {
    isolated("a_service_of_one_link_is_for_its_packets_only", || {
        let mut linux = place();
        for (vip, v6) in [(VIP, false), (VIP6, true)] {
            let mut internal = service(TCP, (vip, 80), &[backend(2, v6)]);
            internal.only_from = vec![BRIDGE.to_owned()];
            add(&mut linux, &internal);
            assert!(ask("B", TCP, socket(vip, 80)).unwrap().starts_with('A'));
            assert!(ask("A", TCP, socket(vip, 80)).unwrap().starts_with('A'));
            assert_eq!(ask("outside", TCP, socket(vip, 80)), None);
            take(&mut linux, &internal);
        }
    });
}

#[test]
fn back_ends_see_the_source_that_is_wanted() {
    isolated("back_ends_see_the_source_that_is_wanted", || {
        let mut linux = place();
        sh(&format!(
            "ip addr add 10.7.9.9/32 dev {BRIDGE} && ip -6 addr add fd07::9:9/128 dev {BRIDGE} nodad preferred_lft 0"
        ));
        for (vip, any, up, v6, client, ours, gateway) in [
            (VIP, "0.0.0.0", "192.0.2.1", false, "192.0.2.2", "10.7.9.9", "10.7.0.1"),
            (VIP6, "::", "2001:db8::1", true, "2001:db8::2", "fd07::9:9", "fd07::1"),
        ] {
            let address = Source::Address(ours.parse().unwrap());
            let sources = [(Source::Client, client), (address, ours), (Source::Masquerade, gateway)];
            // Every pair: a service of an address and one of a port do not mix, though their ports are the same.
            for (of_vip, seen_by_vip) in sources {
                for (of_port, seen_by_port) in sources {
                    let mut address = service(TCP, (vip, 80), &[backend(2, v6)]);
                    address.source = of_vip;
                    let mut port = service(TCP, (any, 80), &[backend(3, v6)]);
                    port.source = of_port;
                    add(&mut linux, &address);
                    add(&mut linux, &port);
                    let seen = |to: &str| ask("outside", TCP, socket(to, 80));
                    assert_eq!(seen(vip), Some(format!("A {seen_by_vip}")), "{of_vip:?} {of_port:?}");
                    assert_eq!(seen(up), Some(format!("B {seen_by_port}")), "{of_vip:?} {of_port:?}");
                    take(&mut linux, &address);
                    take(&mut linux, &port);
                }
            }
        }
    });
}

#[test]
fn an_old_udp_flow_follows_its_service() {
    isolated("an_old_udp_flow_follows_its_service", || {
        let mut linux = place();
        serve("", 53, "host");
        for (vip, any, up, v6) in [(VIP, "0.0.0.0", "192.0.2.1", false), (VIP6, "::", "2001:db8::1", true)] {
            let (to_port, to_vip) = (socket(up, 53), socket(vip, 53));
            let (old, other) = (asker("outside", to_port), asker("outside", to_vip));
            assert!(ask_by(&old, to_port).unwrap().starts_with("host"));
            let port = service(UDP, (any, 53), &[backend(2, v6)]);
            let applied = apply(&mut linux, &create([Object::Service(port.clone())]));
            assert!(ask_by(&old, to_port).unwrap().starts_with('A'));
            linux.undo(applied).unwrap();
            assert!(ask_by(&old, to_port).unwrap().starts_with("host"));
            add(&mut linux, &port);
            let address = service(UDP, (vip, 53), &[backend(2, v6)]);
            add(&mut linux, &address);
            for (asker, to, service) in [(&old, to_port, &port), (&other, to_vip, &address)] {
                assert!(ask_by(asker, to).unwrap().starts_with('A'));
                let (plan, b) = changed(service, |service| service.backends = vec![backend(3, v6)]);
                let applied = apply(&mut linux, &plan);
                assert!(ask_by(asker, to).unwrap().starts_with('B'));
                linux.undo(applied).unwrap();
                assert!(ask_by(asker, to).unwrap().starts_with('A'));
                done(&mut linux, &plan);
                assert!(ask_by(asker, to).unwrap().starts_with('B'));
                // What stays where it is keeps its flow.
                let (plan, both) = changed(&b, |service| service.backends.insert(0, backend(2, v6)));
                done(&mut linux, &plan);
                assert!((0..8).all(|_| ask_by(asker, to).unwrap().starts_with('B')));
                take(&mut linux, &both);
            }
            assert!(ask_by(&old, to_port).unwrap().starts_with("host"));
        }
    });
}

#[test]
fn a_kernel_that_does_not_filter_flows_has_them_deleted_one_by_one() {
    isolated("a_kernel_that_does_not_filter_flows_has_them_deleted_one_by_one", || {
        let mut linux = place();
        let (a, b) = (backend(2, false), backend(3, false));
        let address = service(UDP, (VIP, 53), &[a]);
        add(&mut linux, &address);
        let (to, other) = (socket(VIP, 53), socket("192.0.2.1", 54));
        serve("", 54, "host");
        let (old, unconcerned) = (asker("outside", to), asker("outside", other));
        assert!(ask_by(&old, to).unwrap().starts_with('A'));
        assert!(ask_by(&unconcerned, other).is_some());
        let (plan, _) = changed(&address, |service| service.backends = vec![b]);
        for message in 0.. {
            linux.fail_message(message);
            let Ok(applied) = linux.apply(&plan) else { continue };
            // All of the transaction was done; it is the deletion by filter that was refused.
            assert!(!linux.fault_pending());
            assert!(ask_by(&old, to).unwrap().starts_with('B'));
            linux.settle(applied);
            break;
        }
        assert!(ask_by(&unconcerned, other).is_some());
    });
}

#[test]
fn a_front_end_has_one_service() {
    isolated("a_front_end_has_one_service", || {
        let mut linux = start();
        let one = service(TCP, (VIP, 80), &[backend(2, false)]);
        add(&mut linux, &one);
        let before = at_rest();
        let other = service(TCP, (VIP, 80), &[backend(3, false)]);
        let error = linux.apply(&create([Object::Service(other.clone())])).unwrap_err();
        assert_eq!(error.source.errno, Some(17));
        assert!(error.source.message.ends_with("10.99.0.1:80 TCP is translated already"), "{}", error.source);
        settles_at(&before, "a second service");
        // In one plan, one makes room for the other.
        let mut plan = remove(&[Object::Service(one)]);
        plan.ops.extend(create([Object::Service(other)]).ops);
        let applied = apply(&mut linux, &plan);
        linux.undo(applied).unwrap();
        settles_at(&before, "a replacement was taken back");
    });
}

#[test]
fn services_cost_the_same_however_many_there_are() {
    isolated("services_cost_the_same_however_many_there_are", || {
        let mut starts: Vec<Duration> = (0..5).map(|_| timed(start).1).collect();
        starts.sort_unstable();
        println!("measured: started in {:?}", starts[2]);
        let mut linux = start();
        // Where there is no flow at all, the kernel need not look for any.
        inside("", || {
            for to in ["127.0.0.1:9", "[::1]:9"] {
                let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
                UdpSocket::bind(any).unwrap().send_to(b"?", to).unwrap();
            }
        });
        let backends: Vec<SocketAddr> = (2..6).map(|n| backend(n, false)).collect();
        let nth = |n: u32, protocol| {
            let [_, a, b, c] = n.to_be_bytes();
            Object::Service(service(protocol, (&format!("10.{}.{b}.{c}", 100 + a), 80), &backends))
        };
        let mut present = 0;
        for count in [10, 1000, 10_000] {
            while present < count {
                let next = count.min(present + 200);
                done(&mut linux, &create((present..next).map(|n| nth(n, TCP))));
                present = next;
            }
            for protocol in [TCP, UDP] {
                let mut times: Vec<Duration> = (20_000..20_100)
                    .map(|n| {
                        let plan = create([nth(n, protocol)]);
                        let (applied, took) = timed(|| apply(&mut linux, &plan));
                        linux.undo(applied).unwrap();
                        took
                    })
                    .collect();
                times.sort_unstable();
                println!("measured: one {protocol} service of 4 with {count} present {:?}", times[50]);
            }
        }
        let mut times: Vec<Duration> = (20_000..20_100u32)
            .map(|n| {
                let Object::Service(mut sticky) = nth(n, TCP) else { panic!("a service") };
                let plan = create([stick(&mut sticky, n), Object::Service(sticky)]);
                let (applied, took) = timed(|| apply(&mut linux, &plan));
                linux.undo(applied).unwrap();
                took
            })
            .collect();
        times.sort_unstable();
        println!("measured: one TCP service of 4 that clients stay with, 10,000 present {:?}", times[50]);
        let most = (0..1024).map(|n| socket("fd07::2", n)).collect::<Vec<_>>();
        let before = linux_rules();
        let largest = create([Object::Service(service(TCP, (VIP6, 80), &most))]);
        let (applied, took) = timed(|| apply(&mut linux, &largest));
        println!("measured: one service of 1,024 {took:?}");
        linux.undo(applied).unwrap();
        assert_eq!(linux_rules(), before);
        let six = create([Object::Service(service(UDP, (VIP6, 80), &most[..4]))]);
        let (applied, took) = timed(|| apply(&mut linux, &six));
        println!("measured: one UDP service of an IPv6 address {took:?}");
        linux.settle(applied);
    });
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = work();
    (done, began.elapsed())
}

/// Both of nft's forms, in whose listing nft 1.0.6 aborts for some ways to write the same.
fn linux_rules() -> (String, String) {
    (sh("nft list ruleset | grep -v handle | sort"), sh("nft -j list ruleset | tr ',' '\\n' | sort"))
}

#[test]
fn sctp_is_refused_where_the_kernel_does_not_track_it() {
    isolated("sctp_is_refused_where_the_kernel_does_not_track_it", || {
        let mut linux = start();
        let sctp = service(Protocol::Sctp, (VIP, 80), &[backend(2, false)]);
        let before = at_rest();
        // The settings of a kernel without CONFIG_NF_CT_PROTO_SCTP.
        sh("mount -t tmpfs tmpfs /proc/sys/net/netfilter");
        let error = linux.apply(&create([Object::Service(sctp)])).unwrap_err();
        assert_eq!(error.source.errno, Some(93));
        assert!(error.source.message.contains("CONFIG_NF_CT_PROTO_SCTP"), "{}", error.source);
        settles_at(&before, "SCTP was refused");
    });
}

#[test]
fn what_is_too_large_for_one_transaction_leaves_nothing() {
    isolated("what_is_too_large_for_one_transaction_leaves_nothing", || {
        let mut linux = start();
        let before = at_rest();
        let backends: Vec<_> = (0..1024).map(|n| socket("fd07::2", n)).collect();
        let nth = |port| Object::Service(service(TCP, (VIP6, port), &backends));
        // An ordinary user's socket takes 416 KiB at a time if the machine's settings are the usual ones.
        let error = linux.apply(&create((1..=400).map(nth))).unwrap_err();
        assert_eq!(error.source.errno, Some(90));
        assert!(error.source.message.contains("wmem_max"), "{}", error.source);
        assert!(error.undo.is_none());
        assert_eq!(at_rest(), before);
        add(&mut linux, &service(TCP, (VIP6, 1), &backends));
    });
}
