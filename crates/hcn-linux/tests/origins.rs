//! Interfaces of a namespace that has several: what the addresses of each send leaves by it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::mpsc::channel;
use std::time::Duration;

use common::*;
use hcn_dataplane::{Dataplane, Family, Netns, Object, Op, Plan, Scope, State, diff};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn first() -> Vec<Object> {
    [network(), vec![netns("A")], endpoint(2, "A")].concat()
}

fn both() -> State {
    [first(), second_endpoint(3, "A")].concat().into_iter().collect()
}

/// By which interface packets from an address go elsewhere, of both families.
fn ways(n: u8) -> [String; 2] {
    let way = |source: String, outside: &str| {
        let told = sh(&format!("ip -n A route get {outside} from {source}"));
        told.split_whitespace().skip_while(|word| *word != "dev").nth(1).unwrap().to_owned()
    };
    [way(format!("10.7.0.{n}"), "198.18.0.1"), way(format!("fd07::{n:x}"), "2001:db8:18::1")]
}

/// The rules and tables of the namespace.
fn tables() -> String {
    sh("for f in -4 -6; do ip -n A $f rule; ip -n A $f route show table all proto 104; done")
}

#[test]
fn what_an_interface_sends_leaves_by_it() {
    isolated("what_an_interface_sends_leaves_by_it", || {
        let mut linux = start();
        done(&mut linux, &create(first()));
        let bare = tables();
        done(&mut linux, &create(second_endpoint(3, "A")));
        assert_eq!((ways(2), ways(3)), (["eth0"; 2].map(Into::into), ["eth1"; 2].map(Into::into)));
        // What says nothing of where it is from goes as the first one.
        assert!(sh("ip -n A route get 198.18.0.1").contains("dev eth0"));
        // Its own network is on it.
        assert!(sh("ip -n A route get 10.7.0.9 from 10.7.0.3").contains("dev eth1"));
        // Other addresses, in place.
        let change = |from: &[u8], to: &[u8]| Plan {
            ops: FAMILIES.map(|f| Op::Change { from: origin(from, f, "A"), to: origin(to, f, "A") }).to_vec(),
        };
        sh("ip -n A addr add 10.7.0.4/16 dev eth1; ip -n A addr add fd07::4/64 dev eth1 nodad");
        let made = tables();
        done(&mut linux, &change(&[3], &[4]));
        assert_eq!(ways(4), ["eth1"; 2]);
        assert_eq!(ways(3), ["eth0"; 2]);
        done(&mut linux, &change(&[4], &[3]));
        assert_eq!(tables(), made);
        done(&mut linux, &remove(&second_endpoint(3, "A")));
        assert_eq!(tables(), bare);
    });
}

/// What the container's root takes away is noticed when it is looked at, and put right; so does a start.
#[test]
fn what_is_missing_is_made_again() {
    isolated("what_is_missing_is_made_again", || {
        let mut linux = start();
        done(&mut linux, &create(first()));
        let bare = tables();
        done(&mut linux, &diff(&first().into_iter().collect(), &both()));
        let made = tables();
        // It is told of.
        let (tell, told) = channel();
        linux.watch(Box::new(move |notice| drop(tell.send(notice)))).unwrap();
        sh("ip -n A rule del from 10.7.0.3");
        let notice = told.recv_timeout(patience(Duration::from_secs(5))).unwrap();
        let scope = linux.scope(&notice).unwrap();
        assert!(scope.holds(&Netns::Named("A".into())), "{scope:?}");
        let plan = diff(&linux.look(&both(), &scope).unwrap(), &both());
        done(&mut linux, &plan);
        assert_eq!(tables(), made);
        for by_hand in [
            "ip -n A rule del from 10.7.0.3",
            "ip -n A -6 rule del from fd07::3; ip -n A -6 route flush table 26625",
            "ip -n A route del default table 26625",
            "ip -n A link set eth1 down",
            "true",
        ] {
            sh(by_hand);
            let plan = diff(&linux.look(&both(), &Scope::Everything).unwrap(), &both());
            assert_eq!(plan.ops.is_empty(), by_hand == "true", "{by_hand}: {plan}");
            done(&mut linux, &plan);
            assert_eq!(tables(), made, "{by_hand}");
            sh(by_hand);
            drop(linux);
            let found;
            (linux, found) = start_with(&both());
            done(&mut linux, &diff(&found, &both()));
            assert_eq!(tables(), made, "{by_hand}, at a start");
        }
        // Nobody wants it any more: its rules go with it. Those of another hcnd, whose host the container is, stay, and so do
        // those of the one whose container this host is.
        drop(linux);
        let others = [
            "ip -n A rule add iif br9 lookup 77 protocol 104; ip -n A route add blackhole default table 77 proto 104",
            "ip rule add from 192.0.2.7 lookup 78 protocol 104; ip route add blackhole default table 78 proto 104",
        ];
        others.iter().for_each(|command| drop(sh(command)));
        let wanted = first().into_iter().collect();
        let (_, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted), Plan::default());
        assert!(tables().contains("iif br9") && tables().contains("table 77"), "{}", tables());
        assert!(sh("ip rule; ip route show table 78").contains("from 192.0.2.7"));
        assert!(sh("ip route show table 78").contains("blackhole"));
        sh("ip -n A rule del iif br9 lookup 77; ip -n A route flush table 77");
        assert_eq!(tables(), bare);
    });
}
