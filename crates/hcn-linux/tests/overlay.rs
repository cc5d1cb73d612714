//! Overlays: VXLAN links, where they send frames, neighbours, and what several claim of one of them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::collections::BTreeSet;

use common::*;
use hcn_dataplane::{
    Chaos, Dataplane, FdbEntry, LinkId, Mac, Neighbour, Object, Op, Plan, Route, State, Vxlan, diff,
};

const LINK: &str = "hvx00000001";

fn vxlan(name: &str, vni: u32, port: u16) -> Object {
    Object::Vxlan(Vxlan {
        name: name.into(),
        alias: "hcn network 1".into(),
        bridge: BRIDGE.into(),
        vni,
        local: Some("192.0.2.10".parse().unwrap()),
        port,
        mtu: 1450,
    })
}

fn way(mac: u8, host: u8, claimant: &str) -> Object {
    Object::FdbEntry(FdbEntry {
        vxlan: LINK.into(),
        mac: Mac([2, 0, 0, 0, 3, mac]),
        destination: format!("192.0.2.{host}").parse().unwrap(),
        vni: (host > 100).then_some(5000),
        claimant: claimant.into(),
    })
}

fn neighbour(address: &str, mac: u8, claimant: &str) -> Object {
    let address: std::net::IpAddr = address.parse().unwrap();
    // The network has 10.7.0.0/16 and fd07::/64.
    let text = address.to_string();
    let routed = !text.starts_with("10.7.") && !text.starts_with("fd07:") && !text.ends_with(".0");
    Object::Neighbour(Neighbour {
        link: BRIDGE.into(),
        address,
        mac: Mac([2, 0, 0, 0, 3, mac]),
        routed,
        claimant: claimant.into(),
    })
}

fn subnet(prefix: &str) -> Object {
    let destination: ipnet::IpNet = prefix.parse().unwrap();
    Object::Route(Route {
        link: LinkId::host(BRIDGE),
        destination,
        gateway: Some(destination.addr()),
        metric: 0,
    })
}

/// What an overlay has besides the network: a link, an endpoint of another host inside of the network's prefix, one
/// outside of it, and a subnet of another host.
fn elsewhere() -> Vec<Object> {
    vec![
        vxlan(LINK, 4096, 4789),
        way(1, 20, "one"),
        way(2, 20, "two"),
        way(3, 130, "subnet"),
        neighbour("10.7.9.1", 1, "one"),
        neighbour("fd07::9:1", 1, "one"),
        neighbour("198.51.100.7", 2, "two"),
        neighbour("2001:db8:7::7", 2, "two"),
        neighbour("10.44.2.0", 3, "subnet"),
        subnet("10.44.2.0/24"),
    ]
}

/// The kernel, with what overlays have.
fn whole() -> BTreeSet<String> {
    let mut lines = snapshot();
    lines.extend(tunnels());
    lines
}

fn tunnels() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for line in sh("bridge fdb show").lines().filter(|line| line.contains("dev hvx")) {
        // The link's own address is by chance.
        if line.contains("dst") || line.contains("static") {
            lines.insert(format!("fdb {}", line.trim()));
        }
    }
    for family in ["-4", "-6"] {
        for line in sh(&format!("ip {family} neigh show nud permanent")).lines() {
            lines.insert(format!("neighbour {}", line.trim()));
        }
    }
    for line in sh("ip -d -o link show type vxlan").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |word: &str| {
            let at = words.iter().position(|other| *other == word);
            at.map_or("", |at| words.get(at + 1).copied().unwrap_or(""))
        };
        let told: Vec<String> = [
            "id",
            "local",
            "dstport",
            "master",
            "mtu",
            "learning",
            "flood",
            "mcast_flood",
            "bcast_flood",
            "mcast_router",
            "neigh_suppress",
            "alias",
        ]
        .iter()
        .map(|word| format!("{word} {}", after(word)))
        .collect();
        lines.insert(format!("vxlan {} {}", words[1], told.join(", ")));
    }
    lines
}

fn settles(wanted: &BTreeSet<String>, what: &str) {
    settles_as(wanted, whole, what);
}

fn rest() -> BTreeSet<String> {
    at_rest();
    whole()
}

fn without(objects: &[Object]) -> Plan {
    let ops = objects.iter().rev().map(|object| Op::Remove { object: object.clone(), implied: false });
    Plan { ops: ops.collect() }
}

/// What is there before the plan, the plan, and its name.
fn cases() -> Vec<(&'static str, Vec<Object>, Plan)> {
    let all = [network(), elsewhere()].concat();
    let state = |objects: &[Object]| -> State { objects.iter().cloned().collect() };
    let mut moved = all.clone();
    for object in &mut moved {
        if let Object::Vxlan(vxlan) = object {
            vxlan.port = 4790;
        }
    }
    let rivals =
        [way(1, 30, "rival"), neighbour("10.7.9.1", 9, "rival"), neighbour("198.51.100.7", 9, "rival")];
    let contested = [all.clone(), rivals.to_vec()].concat();
    let below = [way(1, 20, "one"), neighbour("10.7.9.1", 1, "one"), neighbour("198.51.100.7", 2, "two")];
    vec![
        ("an overlay", network(), create(elsewhere())),
        ("an overlay with its network", vec![], create(all.clone())),
        ("rivals", all.clone(), create(rivals.clone())),
        ("those below", contested.clone(), without(&below)),
        ("those above", contested.clone(), without(&rivals)),
        ("exchange", contested, Plan { ops: [without(&below).ops, create(below.clone()).ops].concat() }),
        ("another port", all.clone(), diff(&state(&all), &state(&moved))),
        ("what is elsewhere goes", all.clone(), without(&elsewhere()[1..])),
        ("all goes", all.clone(), diff(&state(&all), &State::new())),
    ]
}

#[test]
fn after_a_failure_all_is_as_before() {
    isolated("after_a_failure_all_is_as_before", || {
        let mut linux = Chaos::new(start());
        let mut tried = 0;
        for (name, objects, plan) in cases() {
            done(&mut linux.inner, &create(objects.clone()));
            let before = rest();
            for k in 0..plan.ops.len() {
                linux.fail_at = Some(k);
                let error = linux.apply(&plan).unwrap_err();
                assert!(error.undo.is_none(), "{name}, operation {k}: {:?}", error.undo);
                settles(&before, &format!("{name}, operation {k} failed"));
            }
            for k in 0.. {
                linux.inner.fail_message(k);
                match linux.inner.apply(&plan) {
                    Ok(applied) => {
                        assert!(linux.inner.fault_pending(), "{name}: message {k} was not missed");
                        linux.inner.undo(applied).unwrap();
                        settles(&before, &format!("{name} was taken back"));
                        break;
                    }
                    Err(error) => {
                        tried += 1;
                        assert!(error.undo.is_none(), "{name}, message {k}: {error}: {:?}", error.undo);
                        let what = format!("{name}, message {k} refused ({error}: {})", error.source);
                        settles(&before, &what);
                    }
                }
            }
            let there: State = objects.into_iter().collect();
            done(&mut linux.inner, &diff(&there, &State::new()));
            for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                sh(&format!("echo 0 > /proc/sys/net/{file}"));
            }
        }
        println!("measured: {tried} messages about overlays refused, one at a time");
    });
}

#[test]
fn the_last_claim_holds() {
    isolated("the_last_claim_holds", || {
        let mut linux = start();
        done(&mut linux, &create([network(), vec![vxlan(LINK, 4096, 4789)]].concat()));
        let holds = |host: u8, mac: u8| {
            let ways = sh("bridge fdb show dev hvx00000001");
            let self_entries: Vec<&str> = ways
                .lines()
                .filter(|line| line.starts_with("02:00:00:00:03:01") && line.contains("dst"))
                .collect();
            let neighbours = sh("ip neigh show 198.51.100.7");
            assert_eq!(self_entries.len(), 1, "{ways}");
            assert!(self_entries[0].contains(&format!("dst 192.0.2.{host} ")), "{ways}");
            assert!(neighbours.contains(&format!("02:00:00:00:03:{mac:02x}")), "{neighbours}");
        };
        let claims = |n: u8, claimant: &str| [way(1, n, claimant), neighbour("198.51.100.7", n, claimant)];
        done(&mut linux, &create(claims(1, "one")));
        holds(1, 1);
        done(&mut linux, &create(claims(2, "two")));
        holds(2, 2);
        done(&mut linux, &create(claims(3, "three")));
        holds(3, 3);
        // One in the middle, and back.
        let applied = apply(&mut linux, &without(&claims(2, "two")));
        holds(3, 3);
        linux.undo(applied).unwrap();
        holds(3, 3);
        done(&mut linux, &without(&claims(3, "three")));
        holds(2, 2);
        done(&mut linux, &without(&claims(2, "two")));
        holds(1, 1);
        assert!(!sh("ip route show 198.51.100.7").is_empty());
        done(&mut linux, &without(&claims(1, "one")));
        assert!(!sh("bridge fdb show").contains("02:00:00:00:03:01"));
        assert!(sh("ip route show 198.51.100.7").is_empty());
    });
}

#[test]
fn a_vni_is_free_as_soon_as_its_link_is_removed() {
    isolated("a_vni_is_free_as_soon_as_its_link_is_removed", || {
        let mut linux = start();
        done(&mut linux, &create(network()));
        for n in 0..5 {
            let link = [vxlan(&format!("hvx0000001{n}"), 4096, 4789)];
            done(&mut linux, &create(link.clone()));
            // Not settled: its successor does not wait for that.
            let _ = apply(&mut linux, &without(&link));
        }
        sh("ip link add other type vxlan id 77 dstport 4789");
        let error = linux.apply(&create([vxlan(LINK, 77, 4789)])).unwrap_err();
        assert_eq!(error.source.errno, Some(libc::EEXIST));
        assert!(error.source.message.contains("VNI 77 on UDP port 4789"), "{}", error.source);
    });
}

#[test]
fn an_overlay_is_taken_over_as_it_is() {
    isolated("an_overlay_is_taken_over_as_it_is", || {
        let rivals = [way(1, 30, "a rival"), neighbour("198.51.100.7", 9, "a rival")];
        let wanted: State = [network(), elsewhere(), rivals.to_vec()].concat().into_iter().collect();
        let mut linux = start();
        // The rivals come last, as they did.
        done(&mut linux, &create([network(), elsewhere(), rivals.to_vec()].concat()));
        let before = rest();
        let index = sh("ip -o link show hvx00000001");
        drop(linux);
        sh("for f in '' '-6'; do ip $f monitor link neigh route >> /run/monitor 2>&1 & done; sleep 0.3");
        let (mut linux, found) = start_with(&wanted);
        assert!(diff(&found, &wanted).is_empty(), "{}", diff(&found, &wanted));
        assert_eq!(sh("cat /run/monitor"), "");
        assert_eq!(sh("ip -o link show hvx00000001"), index);
        assert_eq!(whole(), before);
        // What was known of the claims is known again.
        done(&mut linux, &without(&rivals));
        assert!(sh("bridge fdb show").contains("02:00:00:00:03:01 dev hvx00000001 dst 192.0.2.20 "));
        assert!(sh("ip neigh show 198.51.100.7").contains("02:00:00:00:03:02"));
        drop(linux);

        // What is no longer wanted goes, what is missing comes, and what others have put there stays.
        let fewer: State =
            [network(), elsewhere()[..2].to_vec(), elsewhere()[4..6].to_vec()].concat().into_iter().collect();
        sh("bridge fdb del 02:00:00:00:03:01 dev hvx00000001 self; ip neigh del 10.7.9.1 dev hcn00000001");
        sh("ip neigh add 10.7.9.9 lladdr 02:00:00:00:09:09 dev hcn00000001 nud permanent");
        let (mut linux, found) = start_with(&fewer);
        done(&mut linux, &diff(&found, &fewer));
        let after = tunnels();
        let lines = |word: &str| after.iter().filter(|line| line.contains(word)).count();
        assert_eq!((lines("192.0.2.20"), lines("192.0.2.130"), lines("10.7.9.9")), (1, 0, 1), "{after:#?}");
        assert_eq!((lines("10.7.9.1 "), lines("198.51.100.7"), lines("10.44.2.0")), (1, 0, 0), "{after:#?}");
        let routes = sh("ip route; ip -6 route");
        assert!(
            !["198.51.100.7", "2001:db8:7::7", "10.44.2.0"].iter().any(|to| routes.contains(to)),
            "{routes}"
        );
        // A link with another VNI is made anew, with all that is behind it.
        drop(linux);
        let mut other = elsewhere();
        other[0] = vxlan(LINK, 4097, 4789);
        let other: State = [network(), other].concat().into_iter().collect();
        let (mut linux, found) = start_with(&other);
        done(&mut linux, &diff(&found, &other));
        assert!(sh("ip -d link show hvx00000001").contains("vxlan id 4097 "));
        assert!(sh("bridge fdb show").contains("02:00:00:00:03:02 dev hvx00000001 dst 192.0.2.20 "));
    });
}
