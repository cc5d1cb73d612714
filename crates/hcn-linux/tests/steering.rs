//! Tables of bridges and what answers on them: what a restart finds, what an uplink does to them, and ports in use.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::*;
use hcn_dataplane::{Dataplane, Family, Object, Op, Plan, State, diff};

/// A link of the host that leads to another namespace.
fn uplink() {
    sh("ip netns add outside && ip link add up0 type veth peer name up1 netns outside");
    sh("ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad");
    sh("ip link set up0 up && ip -n outside link set up1 up");
}

fn steered() -> Vec<Object> {
    [network(), vec![steering(Family::V4, "up0"), steering(Family::V6, "up0")]].concat()
}

/// The routes of our tables, and what leads to them.
fn tables() -> String {
    let of = |family: &str| {
        let rules = sh(&format!("ip {family} rule"));
        rules + &sh(&format!("ip {family} route show table all proto 104"))
    };
    let text = of("-4") + &of("-6");
    let ours = text.lines().filter(|line| line.contains("iif hcn") || line.contains("table"));
    let mut lines: Vec<String> = ours.map(|line| line.replace(" linkdown", "").trim().to_owned()).collect();
    lines.sort();
    lines.join("\n")
}

fn change(from: Vec<Object>, to: Vec<Object>) -> Plan {
    Plan { ops: from.into_iter().zip(to).map(|(from, to)| Op::Change { from, to }).collect() }
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = soon();
    while !is_so() {
        assert!(Instant::now() < until, "{what}: {}", tables());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_restart_keeps_wanted_tables_and_removes_others() {
    isolated("a_restart_keeps_wanted_tables_and_removes_others", || {
        uplink();
        let wanted: State = steered().into_iter().collect();
        let (mut linux, _) = start_with(&State::new());
        done(&mut linux, &diff(&State::new(), &wanted));
        let made = tables();
        assert_eq!(made.matches("iif hcn00000001 lookup").count(), 2, "{made}");
        assert_eq!(made.matches("dev up0").count(), 2, "{made}");
        assert_eq!(made.matches("blackhole default").count(), 2, "{made}");
        // Not one route of somebody else's.
        sh("ip rule add iif lo lookup 4711 && ip route add 198.18.0.0/15 dev up0 table 4711");
        drop(linux);
        let (linux, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted).to_string(), "");
        assert_eq!(tables(), made);
        drop(linux);
        // One of another form is made anew, whole.
        for spoil in [
            "ip -6 rule del iif hcn00000001",
            "ip -6 route del ::/0 dev up0 table 1751318535",
            "ip -6 route add fd09::/64 dev up0 table 1751318535 proto 104",
            "ip -6 route del blackhole ::/0 table 1751318535",
        ] {
            sh(spoil);
            let (mut linux, found) = start_with(&wanted);
            let plan = diff(&found, &wanted);
            assert_eq!(plan.to_string(), "create IPv6 routing table of hcn00000001", "{spoil}");
            done(&mut linux, &plan);
            assert_eq!(tables(), made, "{spoil}");
        }
        // What nobody wants goes, bridge or not.
        let only_bridge: State = network().into_iter().collect();
        let (linux, found) = start_with(&only_bridge);
        assert_eq!(diff(&found, &only_bridge).to_string(), "");
        assert_eq!(tables(), "");
        drop(linux);
        let foreign = sh("ip rule show lookup 4711") + &sh("ip route show table 4711");
        assert!(foreign.contains("198.18.0.0/15") && foreign.contains("iif lo"), "{foreign}");
    });
}

#[test]
fn routes_go_with_their_uplink_and_come_back_with_it() {
    isolated("routes_go_with_their_uplink_and_come_back_with_it", || {
        uplink();
        let mut linux = start();
        done(&mut linux, &create(steered()));
        let made = tables();
        sh("ip link set up0 down");
        assert_eq!(tables().matches("dev up0").count(), 0);
        assert_eq!(tables().matches("blackhole default").count(), 2);
        sh("ip link set up0 up");
        eventually("the routes are back", || tables() == made);
        // As another link of the same name, too.
        sh("ip link del up0");
        assert_eq!(tables().matches("dev up0").count(), 0);
        sh("ip link add up0 type veth peer name up1 netns outside && ip link set up0 up");
        eventually("the routes are there for the new link", || tables() == made);
        // A table that is gone gets none.
        done(&mut linux, &remove(&steered()[network().len()..]));
        sh("ip link set up0 down && ip link set up0 up");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(tables(), "");
        // One that is made while its uplink is down has its routes once that is up.
        sh("ip link set up0 down");
        done(&mut linux, &create(steered()[network().len()..].to_vec()));
        assert_eq!(tables().matches("dev up0").count(), 0);
        sh("ip link set up0 up");
        eventually("the routes are there", || tables() == made);
    });
}

#[test]
fn an_endpoint_has_its_own_table_which_changes_in_place() {
    isolated("an_endpoint_has_its_own_table_which_changes_in_place", || {
        uplink();
        sh("ip link add up2 type veth peer name up3");
        sh("ip link set up2 up && ip link set up3 up");
        let families = [Family::V4, Family::V6];
        let of = |n: u8, link: &'static str| families.map(|family| steering_of(n, family, link)).to_vec();
        let bridge = families.map(|family| steering(family, "up2")).to_vec();
        let wanted: State = [network(), bridge, of(2, "up0"), of(3, "up0")].concat().into_iter().collect();
        let (mut linux, _) = start_with(&State::new());
        done(&mut linux, &diff(&State::new(), &wanted));
        let made = tables();
        let way = |source: &str, outside: &str| {
            let told = sh(&format!("ip route get {outside} from {source} iif hcn00000001 2>&1 || true"));
            told.split_whitespace().skip_while(|word| *word != "dev").nth(1).unwrap_or("none").to_owned()
        };
        for (source, outside) in [("10.7.0.2", "198.18.0.1"), ("fd07::2", "2001:db8:18::1")] {
            assert_eq!(way(source, outside), "up0");
        }
        // Everybody else goes as the bridge says.
        for (source, outside) in [("10.7.0.9", "198.18.0.1"), ("fd07::9", "2001:db8:18::1")] {
            assert_eq!(way(source, outside), "up2");
        }
        // Its neighbours are where they were.
        assert_eq!((way("10.7.0.2", "10.7.0.9"), way("fd07::2", "fd07::9")), (BRIDGE.into(), BRIDGE.into()));

        // In place: the rule stays, and is never without a route.
        let watch = std::thread::spawn(|| sh("timeout 1 ip -4 monitor rule route || true"));
        std::thread::sleep(Duration::from_millis(200));
        done(&mut linux, &change(of(2, "up0"), of(2, "up2")));
        let seen = watch.join().unwrap();
        assert!(!seen.contains("Deleted") && seen.contains("up2"), "{seen}");
        assert_eq!(
            (way("10.7.0.2", "198.18.0.1"), way("10.7.0.3", "198.18.0.1")),
            ("up2".into(), "up0".into())
        );
        done(&mut linux, &change(of(2, "up2"), of(2, "up0")));
        assert_eq!(tables(), made);

        // A link that is down leads nowhere, from a change on, too; up again it leads there.
        sh("ip link set up2 down");
        done(&mut linux, &change(of(2, "up0"), of(2, "up2")));
        assert_eq!(
            (way("10.7.0.2", "198.18.0.1"), way("fd07::2", "2001:db8:18::1")),
            ("none".into(), "none".into())
        );
        sh("ip link set up2 up");
        eventually("the routes are there", || {
            way("fd07::2", "2001:db8:18::1") == "up2" && way("10.7.0.2", "198.18.0.1") == "up2"
        });
        done(&mut linux, &change(of(2, "up2"), of(2, "up0")));
        eventually("all is as before", || tables() == made);

        // A restart keeps them, and makes anew what is not right.
        drop(linux);
        let (linux, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted).to_string(), "");
        assert_eq!(tables(), made);
        drop(linux);
        for spoil in [
            "ip rule del from 10.7.0.2 iif hcn00000001",
            "ip route del blackhole default table 1751318537",
            "ip rule add from 10.7.0.99 iif hcn00000001 lookup 1751318537 protocol 104 priority 26623",
        ] {
            sh(spoil);
            let (mut linux, found) = start_with(&wanted);
            let plan = diff(&found, &wanted);
            let left = if spoil.contains("add") {
                ""
            } else {
                "create IPv4 routing table of endpoint 2 on hcn00000001"
            };
            assert_eq!(plan.to_string(), left, "{spoil}");
            done(&mut linux, &plan);
            assert_eq!(tables(), made, "{spoil}");
        }
        let without: State = [network(), of(3, "up0")].concat().into_iter().collect();
        let (linux, found) = start_with(&without);
        assert_eq!(diff(&found, &without).to_string(), "");
        assert_eq!(tables().matches("iif hcn00000001").count(), 2, "{}", tables());
        drop(linux);
    });
}

#[test]
fn answers_begin_anew_after_a_restart() {
    isolated("answers_begin_anew_after_a_restart", || {
        let objects = [network(), vec![responder(&["10.7.0.1/16", "fd07::1/64"], true), lease(2)]].concat();
        let wanted: State = objects.into_iter().collect();
        let mut linux = start();
        done(&mut linux, &diff(&State::new(), &wanted));
        assert_eq!(listeners().len(), 5, "{:?}", listeners());
        drop(linux);
        eventually("the ports are free", || listeners().is_empty());
        let (mut linux, found) = start_with(&wanted);
        let plan = diff(&found, &wanted);
        assert_eq!(plan.ops.len(), 2, "{plan}");
        done(&mut linux, &plan);
        assert_eq!(listeners().len(), 5);
        // An address that comes in the same plan is listened at, too.
        let more = State::from_iter(
            wanted
                .iter()
                .map(|(_, object)| object.clone())
                .chain([Object::Address(hcn_dataplane::Address {
                    link: hcn_dataplane::LinkId::host(BRIDGE),
                    address: "10.8.0.1/16".parse().unwrap(),
                    prefix_route: true,
                })])
                .map(|object| match object {
                    Object::Responder(_) => responder(&["10.7.0.1/16", "10.8.0.1/16"], false),
                    other => other,
                }),
        );
        done(&mut linux, &diff(&wanted, &more));
        let there = listeners();
        assert_eq!(there.len(), 4, "{there:?}");
        assert!(there.iter().any(|line| line.contains("0100080A:0035")), "{there:?}");
    });
}

#[test]
fn a_port_in_use_is_named_and_all_is_as_before() {
    isolated("a_port_in_use_is_named_and_all_is_as_before", || {
        let mut linux = start();
        done(&mut linux, &create(network()));
        let mut before = at_rest();
        for (address, words) in [("[::]:53", "UDP port 53 of"), ("0.0.0.0:67", "UDP port 67")] {
            let held = UdpSocket::bind(address).unwrap();
            let plan = create([responder(&["10.7.0.1/16", "fd07::1/64"], true), lease(2)]);
            let error = linux.apply(&plan).unwrap_err();
            assert!(error.source.message.contains(words), "{}", error.source);
            assert!(error.source.message.contains("a program of the host listens there"), "{}", error.source);
            assert_eq!(error.source.errno, Some(98));
            drop(held);
            settles_at(&before, words);
        }
        // What answered before goes on when a change fails.
        done(&mut linux, &create([responder(&["10.7.0.1/16"], false)]));
        before = at_rest();
        let held = UdpSocket::bind("0.0.0.0:67").unwrap();
        let change =
            Op::Change { from: responder(&["10.7.0.1/16"], false), to: responder(&["fd07::1/64"], true) };
        linux.apply(&Plan { ops: vec![change] }).unwrap_err();
        drop(held);
        settles_at(&before, "a change failed");
    });
}
