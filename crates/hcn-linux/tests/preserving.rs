//! Preserved destinations: made to fail at every operation and message, taken over, lost and found.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::*;
use hcn_dataplane::{
    Chaos, Claim, Dataplane, LinkId, Notice, Object, Op, Plan, Preserved, PreservedFront, Protocol, State,
    diff,
};
use hcn_linux::Linux;

const VIPS: [&str; 3] = ["198.18.0.1", "198.18.0.2", "2001:db8:18::1"];

fn front(n: u8, address: &str, port: u16) -> PreservedFront {
    let address: std::net::IpAddr = address.parse().unwrap();
    let backend = if address.is_ipv4() { format!("10.7.0.{n}") } else { format!("fd07::{n:x}") };
    PreservedFront { address, protocol: Protocol::Tcp, port, backend: backend.parse().unwrap() }
}

/// Of the endpoint `n` of [`endpoint`], with as many addresses.
fn preserved(n: u8, count: usize) -> Object {
    let fronts = VIPS[..count].iter().flat_map(|vip| [front(n, vip, 80), front(n, vip, 443)]).collect();
    Object::Preserved(Preserved { port: format!("hve{n:08x}"), fronts })
}

fn claim(netns: &str, address: &str, claimant: &str) -> Object {
    let link = LinkId { name: "lo".into(), ..eth0(netns) };
    Object::Claim(Claim { link, address: address.parse().unwrap(), claimant: claimant.into() })
}

fn claims(n: u8, netns: &str, count: usize) -> Vec<Object> {
    VIPS[..count].iter().map(|vip| claim(netns, vip, &format!("endpoint {n}"))).collect()
}

/// An endpoint in a namespace of its own that sees so many virtual addresses.
fn seeing(n: u8, name: &str, count: usize) -> Vec<Object> {
    let mut objects = vec![netns(name)];
    objects.extend(endpoint(n, name));
    objects.extend(claims(n, name, count));
    objects.push(preserved(n, count));
    objects
}

type Case = (&'static str, Vec<Object>, Plan);

fn cases() -> Vec<Case> {
    let (a, b) = (seeing(2, "A", 3), seeing(3, "B", 1));
    let attached = [vec![netns("A")], endpoint(2, "A")].concat();
    let with = |parts: &[&[Object]]| {
        [&[network()][..], &parts.iter().map(|p| p.to_vec()).collect::<Vec<_>>()].concat().concat()
    };
    let fewer = Plan {
        ops: [
            remove(&claims(2, "A", 3)[1..]).ops,
            vec![Op::Change { from: preserved(2, 3), to: preserved(2, 1) }],
        ]
        .concat(),
    };
    let more = Plan {
        ops: [
            vec![Op::Change { from: preserved(3, 1), to: preserved(3, 3) }],
            create(claims(3, "B", 3).split_off(1)).ops,
        ]
        .concat(),
    };
    let twice = claim("A", VIPS[0], "another endpoint");
    let state = |objects: &[Object]| objects.iter().cloned().collect::<State>();
    let everything = with(&[&a, &b]);
    vec![
        ("see with the endpoint", network(), create(a.clone())),
        ("see less", with(&[&a]), fewer),
        ("see more", with(&[&b]), more),
        (
            "one of two sees no more",
            with(&[&a, &b]),
            remove(&[claims(3, "B", 1), vec![preserved(3, 1)]].concat()),
        ),
        (
            "one of two in one namespace",
            with(&[&a, std::slice::from_ref(&twice)]),
            remove(std::slice::from_ref(&twice)),
        ),
        ("go with the namespace", everything.clone(), diff(&state(&everything), &state(&with(&[&b])))),
        (
            "replace the only one",
            with(&[&a]),
            diff(&state(&with(&[&a])), &state(&with(&[&attached, &seeing(4, "C", 2)]))),
        ),
    ]
}

/// Elements of a set come in any order, several on a line.
fn rules() -> Vec<String> {
    let rules = sh("for family in inet bridge; do nft list table $family hcnd_dip 2>/dev/null || true; done");
    let mut parts: Vec<String> =
        rules.split(['\n', ',', '{', '}']).map(|part| part.trim().to_owned()).collect();
    parts.sort_unstable();
    parts
}

fn clean(linux: &mut Linux, name: &str, objects: &[Object]) {
    let all: State = objects.iter().cloned().collect();
    done(linux, &diff(&all, &State::new()));
    assert_eq!(rules().concat(), "", "{name}");
}

#[test]
fn after_a_refused_message_all_is_as_before() {
    isolated("after_a_refused_message_all_is_as_before", || {
        let mut linux = start();
        let mut tried = 0;
        for (name, objects, plan) in cases() {
            done(&mut linux, &create(objects.clone()));
            let (before, rules_before) = (at_rest(), rules());
            tried += refuse_each(&mut linux, name, &plan, 1, |_, what| {
                settles_at(&before, what);
                assert_eq!(rules(), rules_before, "{what}");
            });
            clean(&mut linux, name, &objects);
        }
        println!("measured: {tried} messages refused, one at a time");
    });
}

#[test]
fn after_a_failed_operation_all_is_as_before() {
    isolated("after_a_failed_operation_all_is_as_before", || {
        let mut linux = Chaos::new(start());
        for (name, objects, plan) in cases() {
            done(&mut linux.inner, &create(objects.clone()));
            let (before, rules_before) = (at_rest(), rules());
            for k in 0..plan.ops.len() {
                linux.fail_at = Some(k);
                let error = linux.apply(&plan).unwrap_err();
                assert!(error.undo.is_none(), "{name}, operation {k}: {:?}", error.undo);
                settles_at(&before, &format!("{name}, operation {k} failed"));
                assert_eq!(rules(), rules_before, "{name}, operation {k}");
            }
            clean(&mut linux.inner, name, &objects);
        }
    });
}

fn loopback(netns: &str) -> String {
    sh(&format!("ip -n {netns} addr show lo"))
}

#[test]
fn what_is_wanted_is_found_and_the_rest_goes() {
    isolated("what_is_wanted_is_found_and_the_rest_goes", || {
        let wanted: State = [network(), seeing(2, "A", 3), seeing(3, "B", 1)].concat().into_iter().collect();
        let (mut linux, found) = start_with(&State::new());
        done(&mut linux, &diff(&found, &wanted));
        // The container's own.
        sh("ip -n A addr add 198.18.0.9/32 dev lo");
        let before = (at_rest(), rules());
        drop(linux);
        let (linux, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted).to_string(), "");
        assert_eq!((at_rest(), rules()), before);
        drop(linux);
        for damage in [
            "ip -n A addr del 198.18.0.2/32 dev lo",
            "ip -n A addr del 2001:db8:18::1/128 dev lo",
            "nft delete table inet hcnd_dip",
            "nft delete table bridge hcnd_dip",
            "nft flush map bridge hcnd_dip sent4",
        ] {
            // A table that is owned and outlives its owner takes nothing from others.
            let _ = succeeds(damage);
            let (mut linux, found) = start_with(&wanted);
            done(&mut linux, &diff(&found, &wanted));
            assert_eq!((at_rest(), rules()), before, "{damage}");
            drop(linux);
        }
        // Killed before its last word: what is not wanted goes, also from a namespace that stays.
        let mut less = wanted.clone();
        less.insert(preserved(2, 1));
        for gone in &claims(2, "A", 3)[1..] {
            less.remove(&gone.key());
        }
        let (linux, found) = start_with(&less);
        assert_eq!(diff(&found, &less).to_string(), "");
        let shown = loopback("A");
        assert!(shown.contains("198.18.0.1/32") && shown.contains("198.18.0.9/32"), "{shown}");
        let marked = sh("uname -r | cut -d. -f1,2 | awk '{ print ($1 >= 5.18) }'").trim() == "1";
        assert_eq!(!shown.contains("198.18.0.2/32") && !shown.contains("2001:db8:18::1"), marked, "{shown}");
        assert!(!rules().concat().contains("198.18.0.2"));
        drop(linux);
        let (linux, _) = start_with(&State::new());
        assert_eq!(rules().concat(), "");
        drop(linux);
    });
}

#[test]
fn an_address_that_others_take_from_a_loopback_is_missed() {
    isolated("an_address_that_others_take_from_a_loopback_is_missed", || {
        let wanted: State = [network(), seeing(2, "A", 3)].concat().into_iter().collect();
        let mut linux = start();
        done(&mut linux, &diff(&State::new(), &wanted));
        let look = |linux: &mut Linux| {
            let notice = Notice { names: ["A".to_owned()].into(), ..Notice::default() };
            let scope = linux.scope(&notice).unwrap();
            linux.look(&wanted, &scope).unwrap()
        };
        assert_eq!(diff(&look(&mut linux), &wanted).to_string(), "");
        sh("ip -n A addr del 198.18.0.1/32 dev lo");
        let found = look(&mut linux);
        let plan = diff(&found, &wanted);
        assert_eq!(plan.to_string(), "create 198.18.0.1 on lo in netns A for endpoint 2");
        done(&mut linux, &plan);
        assert!(loopback("A").contains("198.18.0.1/32"));
        assert_eq!(diff(&look(&mut linux), &wanted).to_string(), "");
    });
}
