//! Links of the host that networks stand on: made, taken back, failed at each message, taken over; the link afterwards
//! as it was.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::*;
use hcn_dataplane::{
    Address, Bridge, Dataplane, Enslaved, HostRoute, Mac, Object, Op, Plan, ProxyNeighbour, Sharing, State,
    Sublink, diff,
};
use hcn_linux::Linux;

const UPLINK: &str = "up0";
const UPLINK_MAC: Mac = Mac([2, 0, 0, 0, 9, 1]);

/// An uplink with all sorts of addresses and routes, and a gateway behind it.
fn add_uplink() {
    sh("ip netns add far; ip -n far link set lo up");
    sh("ip link add up0 address 02:00:00:00:09:01 type veth peer name up1 netns far");
    sh("ip -n far addr add 192.0.2.1/24 dev up1; ip -n far addr add 2001:db8::1/64 dev up1 nodad");
    sh("ip -n far link set up1 up; ip link set up0 up");
    sh("ip addr add 192.0.2.10/24 dev up0; ip addr add 192.0.2.11/24 dev up0 label up0:1");
    sh("ip addr add 192.0.2.99/32 dev up0; ip addr add 2001:db8::10/64 dev up0 nodad");
    sh("ip route add default via 192.0.2.1 dev up0 proto dhcp metric 100 src 192.0.2.10");
    sh("ip route add 203.0.113.0/24 dev up0 proto static mtu 1400");
    sh(
        "ip route add 198.51.100.0/24 proto static nexthop via 192.0.2.1 dev up0 nexthop via 192.0.2.2 dev up0",
    );
    sh("ip route add default via 192.0.2.1 dev up0 table 77");
    sh("ip -6 route add default via 2001:db8::1 dev up0 metric 1024 src 2001:db8::10");
    let until = Instant::now() + Duration::from_secs(5);
    while !(answers("192.0.2.1") && answers("2001:db8::1")) {
        assert!(Instant::now() < until, "the gateway answers");
    }
}

fn answers(address: &str) -> bool {
    succeeds(&format!("ping -n -c 1 -W 1 {address}"))
}

/// What is looked at besides what all tests look at.
fn all() -> BTreeSet<String> {
    let mut lines = snapshot();
    // Whose the table is changes with each start.
    lines.retain(|line| !line.starts_with("nft  flags") && !line.starts_with("nft  table"));
    let mut add = |what: &str, command: &str| {
        lines.extend(sh(command).lines().map(|line| format!("{what} {}", line.trim())));
    };
    add("proxy4", "ip -4 neigh show proxy");
    add("proxy6", "ip -6 neigh show proxy");
    add(
        "routes",
        "ip route show table all proto static; ip route show table all proto dhcp; ip route show table 77",
    );
    add("address", "ip -br -4 addr show dev up0; ip -o -4 addr show dev up0");
    for file in ["ipv4/neigh/up0/proxy_delay", "ipv6/neigh/up0/proxy_delay", "ipv6/conf/up0/proxy_ndp"] {
        add(file, &format!("cat /proc/sys/net/{file}"));
    }
    lines
}

fn settles(wanted: &BTreeSet<String>, what: &str) {
    let until = Instant::now() + Duration::from_secs(4);
    loop {
        let now = all();
        if now == *wanted {
            return;
        }
        if Instant::now() > until {
            let missing: Vec<_> = wanted.difference(&now).collect();
            let extra: Vec<_> = now.difference(wanted).collect();
            panic!("{what}\nmissing: {missing:#?}\nleft over: {extra:#?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn rests() -> BTreeSet<String> {
    at_rest();
    all()
}

fn uplink_bridge() -> Object {
    Object::Bridge(Bridge {
        name: BRIDGE.into(),
        alias: "hcn network 1".into(),
        mac: UPLINK_MAC,
        mtu: 1500,
        ipv6: true,
        arp: true,
        proxy_arp: false,
        vlan_filtering: false,
    })
}

fn enslaved() -> Vec<Object> {
    let route = |destination: &str, gateway: &str, metric| HostRoute {
        link: UPLINK.into(),
        destination: destination.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        metric,
    };
    let addresses = ["192.0.2.10/24", "2001:db8::10/64"];
    vec![
        uplink_bridge(),
        Object::Enslaved(Enslaved {
            link: UPLINK.into(),
            bridge: BRIDGE.into(),
            addresses: addresses.map(|address| address.parse().unwrap()).to_vec(),
            routes: vec![route("0.0.0.0/0", "192.0.2.1", 100), route("::/0", "2001:db8::1", 1024)],
        }),
    ]
}

fn sublink(n: u8, netns: &str) -> Vec<Object> {
    let link = eth0(netns);
    vec![
        Object::Sublink(Sublink {
            link: link.clone(),
            alias: format!("hcn endpoint {n}"),
            parent: UPLINK.into(),
            sharing: Sharing::Macvlan,
            mac: Mac([2, 0, 0, 0, 2, n]),
            mtu: 1500,
            ipv6: true,
        }),
        Object::Address(Address {
            link,
            address: format!("192.0.2.{n}/24").parse().unwrap(),
            prefix_route: true,
        }),
    ]
}

fn proxies() -> Vec<Object> {
    let proxy = |link: &str, address: &str, claimant: &str| {
        Object::ProxyNeighbour(ProxyNeighbour {
            link: link.into(),
            address: address.parse().unwrap(),
            claimant: claimant.into(),
        })
    };
    vec![
        proxy(UPLINK, "192.0.2.50", "one"),
        proxy(UPLINK, "2001:db8::50", "one"),
        proxy(UPLINK, "2001:db8::50", "two"),
        proxy(BRIDGE, "2001:db8::1", "one"),
    ]
}

fn reachable() {
    for address in ["192.0.2.1", "2001:db8::1"] {
        assert!(answers(address), "{address}");
    }
}

/// The plan with each of its messages refused once, and done and taken back: every time all is as before.
fn fail_everywhere(linux: &mut Linux, name: &str, plan: &Plan) -> usize {
    let before = rests();
    for k in 0.. {
        linux.fail_message(k);
        match linux.apply(plan) {
            Ok(applied) => {
                assert!(linux.fault_pending(), "{name}: the refusal of message {k} was not noticed");
                linux.undo(applied).unwrap();
                settles(&before, &format!("{name} was taken back"));
                return k;
            }
            Err(error) => {
                assert!(error.undo.is_none(), "{name}, message {k}: {error}: {:?}", error.undo);
                settles(&before, &format!("{name}, message {k} refused ({error}: {})", error.source));
            }
        }
        reachable();
    }
    unreachable!()
}

fn removal(objects: &[Object]) -> Plan {
    diff(&objects.iter().cloned().collect(), &State::new())
}

#[test]
fn the_uplink_is_as_before_whatever_fails() {
    isolated("the_uplink_is_as_before_whatever_fails", || {
        add_uplink();
        let mut linux = start();
        let mut tried = 0;
        let a = [vec![netns("A")], sublink(20, "A")].concat();
        let cases = [
            ("a port", vec![], enslaved()),
            ("an interface on it", vec![netns("A")], sublink(20, "A")),
            ("an interface with its namespace", vec![], a),
            ("answers on it", vec![bridge()], proxies()),
            ("answers on it, with the bridge", vec![], [vec![bridge()], proxies()].concat()),
        ];
        for (name, before, objects) in cases {
            let bare = rests();
            done(&mut linux, &create(before.clone()));
            tried += fail_everywhere(&mut linux, name, &create(objects.clone()));
            let start = Instant::now();
            done(&mut linux, &create(objects.clone()));
            println!("measured: {name} in {:?}", start.elapsed());
            reachable();
            tried += fail_everywhere(&mut linux, &format!("without {name}"), &removal(&objects));
            done(&mut linux, &removal(&objects));
            done(&mut linux, &removal(&before));
            settles(&bare, &format!("{name} is gone"));
        }
        println!("measured: {tried} messages refused, one at a time");
    });
}

#[test]
fn what_stands_on_the_uplink_is_taken_over_or_goes() {
    isolated("what_stands_on_the_uplink_is_taken_over_or_goes", || {
        add_uplink();
        let mut linux = start();
        let before = rests();
        let objects = [vec![netns("A")], vec![bridge()], sublink(20, "A"), proxies()].concat();
        done(&mut linux, &create(objects.clone()));
        let there = rests();
        let wanted: State = objects.iter().cloned().collect();
        drop(linux);
        let (mut linux, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted), Plan::default());
        settles(&there, "taken over");
        // The claims were counted anew.
        let proxies = proxies();
        done(&mut linux, &Plan { ops: vec![Op::Remove { object: proxies[1].clone(), implied: false }] });
        assert!(sh("ip -6 neigh show proxy").contains("2001:db8::50 dev up0"));
        done(&mut linux, &Plan { ops: vec![Op::Remove { object: proxies[2].clone(), implied: false }] });
        assert!(!sh("ip -6 neigh show proxy").contains("2001:db8::50"));
        drop(linux);
        // Only the namespace is wanted from here on.
        let kept: State = [netns("A")].into_iter().collect();
        let (mut linux, _) = start_with(&kept);
        assert_eq!(sh("ip -n A -br link").lines().count(), 1, "the loopback");
        done(&mut linux, &removal(&[netns("A")]));
        // What was changed for an earlier process stays: nobody knows what it was.
        sh("echo 0 > /proc/sys/net/ipv6/conf/up0/proxy_ndp");
        for family in ["ipv4", "ipv6"] {
            sh(&format!("echo 80 > /proc/sys/net/{family}/neigh/up0/proxy_delay"));
        }
        settles(&before, "nothing is left");
    });
}

#[test]
fn a_port_is_taken_over_gone_on_with_or_given_back() {
    isolated("a_port_is_taken_over_gone_on_with_or_given_back", || {
        add_uplink();
        let mut linux = start();
        let before = rests();
        let wanted: State = enslaved().into_iter().collect();
        done(&mut linux, &create(enslaved()));
        let there = rests();
        drop(linux);
        let (linux, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted), Plan::default());
        settles(&there, "taken over");
        drop(linux);
        // As a kill in the midst of the move leaves it.
        for halfway in [
            "ip addr add 192.0.2.10/24 dev up0",
            "ip addr add 192.0.2.10/24 dev up0; ip addr del 192.0.2.11/24 dev hcn00000001; \
             ip addr add 192.0.2.11/24 dev up0 label up0:1",
            "ip link set up0 nomaster",
        ] {
            sh(halfway);
            let (mut linux, found) = start_with(&wanted);
            assert!(found.get(&enslaved()[1].key()).is_none(), "{halfway}");
            done(&mut linux, &diff(&found, &wanted));
            settles(&there, halfway);
            reachable();
        }
        // Nobody wants it any more.
        drop(start());
        settles(&before, "given back");
        reachable();
    });
}

#[test]
fn a_bridge_that_is_lost_is_made_up_for_by_what_was_noted() {
    isolated("a_bridge_that_is_lost_is_made_up_for_by_what_was_noted", || {
        add_uplink();
        let mut linux = start();
        done(&mut linux, &create(enslaved()));
        sh("ip link del hcn00000001");
        drop(linux);
        let wanted: State = enslaved().into_iter().collect();
        let (mut linux, found) = start_with(&wanted);
        done(&mut linux, &diff(&found, &wanted));
        reachable();
        done(&mut linux, &removal(&enslaved()));
        reachable();
    });
}

#[test]
fn the_settings_and_answers_of_others_stay() {
    isolated("the_settings_and_answers_of_others_stay", || {
        add_uplink();
        sh("ip -6 neigh add proxy 2001:db8::50 dev up0");
        sh("echo 1 > /proc/sys/net/ipv6/conf/up0/proxy_ndp");
        let mut linux = start();
        let before = rests();
        let objects = [vec![bridge()], proxies()].concat();
        done(&mut linux, &create(objects.clone()));
        done(&mut linux, &removal(&objects));
        settles(&before, "theirs");
    });
}
