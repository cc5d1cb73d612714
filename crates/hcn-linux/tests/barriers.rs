//! Barriers: what is on a bridge stays there, and the host is inside or outside.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod traffic;

use common::*;
use hcn_dataplane::{Barrier, Dataplane, HostSide, Object, Ways};
use traffic::place;

fn barrier(host: bool) -> Object {
    Object::Barrier(Barrier {
        bridge: BRIDGE.into(),
        host: if host { HostSide::Closed } else { HostSide::Open },
        ways: Ways::Closed,
    })
}

/// Whether `from` (empty: the host) reaches an address.
fn reaches(from: &str, to: &str) -> bool {
    let enter = if from.is_empty() { String::new() } else { format!("nsenter --net=/run/netns/{from} ") };
    succeeds(&format!("{enter}ping -c1 -W1 {to}"))
}

#[test]
fn a_barrier_keeps_packets_on_their_bridge() {
    isolated("a_barrier_keeps_packets_on_their_bridge", || {
        let mut linux = place();
        let before = at_rest();
        for host in [false, true] {
            let applied = apply(&mut linux, &create([barrier(host)]));
            for (neighbour, gateway, outside, container) in [
                ("10.7.0.3", "10.7.0.1", "192.0.2.2", "10.7.0.2"),
                ("fd07::3", "fd07::1", "2001:db8::2", "fd07::2"),
            ] {
                assert!(reaches("A", neighbour));
                assert!(!reaches("A", outside));
                assert!(!reaches("outside", container));
                assert_eq!(reaches("A", gateway), !host);
                assert_eq!(reaches("", container), !host);
                // The host is as before for everyone else.
                assert!(reaches("", outside));
            }
            linux.undo(applied).unwrap();
            settles_at(&before, "a barrier was taken back");
            assert!(reaches("A", "192.0.2.2") && reaches("A", "10.7.0.1"));
        }
        // Ports send back by the way that frames came, and no container takes its own question for a duplicate.
        settles_at(&before, "the network is at rest");
        let addresses = sh("ip -n A -6 addr show dev eth0 scope link");
        assert!(addresses.contains("fe80") && !addresses.contains("dadfailed"), "{addresses}");
        assert!(!addresses.contains("tentative"), "{addresses}");
    });
}

#[test]
fn a_barrier_holds_for_neighbouring_bridges_and_bridged_frames() {
    isolated("a_barrier_holds_for_neighbouring_bridges_and_bridged_frames", || {
        let mut linux = place();
        sh("ip link add br1 type bridge && ip link set br1 up && ip addr add 10.8.0.1/24 dev br1");
        sh("ip netns add C && ip link add c0 master br1 up type veth peer name eth0 netns C");
        sh("ip -n C link set eth0 up && ip -n C addr add 10.8.0.2/24 dev eth0");
        sh("ip -n C route add default via 10.8.0.1");
        assert!(reaches("C", "10.7.0.2"));
        done(&mut linux, &create([barrier(false)]));
        assert!(!reaches("C", "10.7.0.2") && !reaches("A", "10.8.0.2"));
        // Both closed: neither is inside for the other.
        done(
            &mut linux,
            &create([Object::Barrier(Barrier {
                bridge: "br1".into(),
                host: HostSide::Open,
                ways: Ways::Closed,
            })]),
        );
        assert!(!reaches("C", "10.7.0.2") && !reaches("A", "10.8.0.2"));
        for seen in [0, 1] {
            let _ = succeeds(&format!("echo {seen} > /proc/sys/net/bridge/bridge-nf-call-iptables"));
            assert!(reaches("A", "10.7.0.3"), "bridge-nf-call-iptables {seen}");
        }
        let error = linux.apply(&create([barrier(true)])).unwrap_err();
        assert_eq!(error.source.errno, Some(libc::EEXIST));
        assert!(error.source.message.contains("already"), "{}", error.source);
    });
}

#[test]
fn without_arp_the_host_is_no_neighbour() {
    isolated("without_arp_the_host_is_no_neighbour", || {
        let mut linux = start();
        let mut objects = network();
        for object in &mut objects {
            if let Object::Bridge(bridge) = object {
                bridge.arp = false;
            }
        }
        done(&mut linux, &create(objects.clone()));
        assert!(sh(&format!("ip link show {BRIDGE}")).contains("NOARP"));
        for (n, name) in [(2, "A"), (3, "B")] {
            done(&mut linux, &create([vec![netns(name)], endpoint(n, name)].concat()));
        }
        assert!(reaches("A", "10.7.0.3"));
        assert!(!reaches("A", "10.7.0.1") && !reaches("", "10.7.0.2"));
        // It stays so when the removal of the bridge is taken back.
        let endpoints: Vec<Object> = [(2, "A"), (3, "B")]
            .into_iter()
            .flat_map(|(n, name)| [vec![netns(name)], endpoint(n, name)].concat())
            .collect();
        done(&mut linux, &remove(&endpoints));
        let applied = apply(&mut linux, &remove(&objects));
        linux.undo(applied).unwrap();
        assert!(sh(&format!("ip link show {BRIDGE}")).contains("NOARP"));
    });
}
