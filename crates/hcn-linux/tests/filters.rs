//! Filters and address sets: made, made to fail at every message, changed, taken over, removed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;
mod filtering;

use std::time::{Duration, Instant};

use common::*;
use filtering::*;
use hcn_dataplane::{Dataplane, Object, Op, Plan, Site, State, diff};
use hcn_linux::Linux;

const TCP: u8 = 6;

fn endpoints() -> Vec<Object> {
    [network(), vec![netns("A")], endpoint(2, "A"), vec![netns("B")], endpoint(3, "B")].concat()
}

/// With lists of everything.
fn large(n: u8) -> Object {
    let listed = rule(NEXT)
        .protocols(&[6, 17])
        .from(&["10.7.0.0/24", "10.7.2.0/24", "10.7.0.128/25", "fd07::/64", "fd08::/64"])
        .to(&["10.7.0.2", "10.7.0.3", "10.7.0.4"])
        .to_ports(&[(80, 80), (443, 444), (8000, 9000)]);
    let first = tier(
        "TierAcl one",
        vec![listed, rule(ALLOW).of_set("set 1").of_set("set-2"), rule(DROP).from(&["192.0.2.0/24"])],
    );
    let last = tier("TierAcl two", vec![rule(NEXT).protocols(&[1, 58]), rule(DROP).to_ports(&[(22, 22)])]);
    let outgoing =
        tier("ACL", vec![rule(DROP).protocols(&[17]).to(&["198.51.100.0/23"]).to_ports(&[(53, 55)])]);
    filter(n, on_bridge(), vec![first, last], vec![outgoing])
}

fn small(n: u8) -> Object {
    filter(n, on_bridge(), Vec::new(), vec![tier("ACL", vec![rule(DROP).protocols(&[TCP])])])
}

fn inner(n: u8, netns: &str) -> Object {
    let rules =
        vec![rule(ALLOW).from(&["10.7.0.0/16"]).to_ports(&[(1, 2), (5, 6)]), rule(DROP).protocols(&[TCP])];
    filter(n, on_link(eth0(netns)), vec![tier("ACL", rules.clone())], vec![tier("ACL", rules)])
}

fn of_host(n: u8) -> Object {
    filter(
        n,
        Site::Host(BRIDGE.into()),
        vec![tier("ACL", vec![rule(DROP)])],
        vec![tier("ACL", vec![rule(DROP)])],
    )
}

fn sets() -> Vec<Object> {
    vec![set("set 1", &["10.7.0.2", "10.7.0.0/24", "fd07::2"]), set("set-2", &["0.0.0.0/0"])]
}

/// What is there before the plan, the plan, and its name.
fn cases() -> Vec<(&'static str, Vec<Object>, Plan)> {
    let of = |objects: &[Object]| objects.iter().cloned().collect::<State>();
    let all = [sets(), vec![large(2), small(3), inner(2, "A"), of_host(7)]].concat();
    let filtered = [endpoints(), all.clone()].concat();
    let with_network = [network(), sets(), vec![large(2), of_host(7)]].concat();
    let with_namespace = [vec![netns("A")], endpoint(2, "A"), vec![inner(2, "A")]].concat();
    let mut other =
        [vec![set("set 1", &["10.7.0.8/29", "fd07::/64"]), set("new", &[])], endpoints()].concat();
    other.push(filter(2, on_bridge(), vec![tier("ACL", vec![rule(DROP).of_set("new")])], Vec::new()));
    other.extend(
        [large(4), inner(3, "B")]
            .into_iter()
            .filter(|object| !matches!(object, Object::Filter(f) if f.port.ends_with('4'))),
    );
    vec![
        ("filter", endpoints(), create(all.clone())),
        ("filter with the network", vec![], diff(&State::new(), &of(&with_network))),
        ("filter with the namespace", network(), diff(&State::new(), &of(&with_namespace))),
        (
            "a namespace with its filter goes",
            [network(), with_namespace.clone()].concat(),
            diff(&of(&with_namespace), &State::new()),
        ),
        ("filter no more", filtered.clone(), diff(&of(&filtered), &of(&endpoints()))),
        ("remove the network", with_network.clone(), diff(&of(&with_network), &State::new())),
        ("filter otherwise", filtered.clone(), diff(&of(&filtered), &of(&other))),
        ("one filter more", [endpoints(), vec![small(2)]].concat(), create([small(3)])),
        (
            "one filter less",
            [endpoints(), vec![small(2), small(3)]].concat(),
            diff(&of(&[small(2), small(3)]), &of(&[small(2)])),
        ),
        ("sets alone", vec![], create(sets())),
        ("sets no more", sets(), diff(&of(&sets()), &State::new())),
        ("a link's filter alone", endpoints(), create([inner(2, "A")])),
        ("move ports", [endpoints(), shard()].concat(), moved()),
    ]
}

fn moved() -> Plan {
    let from = [veth(2, "A"), tap(SHARD)];
    let to = [at(veth(2, "A"), SHARD), tap(BRIDGE)];
    Plan { ops: from.into_iter().zip(to).map(|(from, to)| Op::Change { from, to }).collect() }
}

/// The rules of the host and of the namespaces, and which bridges show frames to them.
fn rules() -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for netns in ["", "A", "B"] {
        if !netns.is_empty() && !succeeds(&format!("test -e /run/netns/{netns}")) {
            continue;
        }
        let enter =
            if netns.is_empty() { String::new() } else { format!("nsenter --net=/run/netns/{netns} ") };
        let list = sh(&format!("{enter}nft list table inet hcnd_filter 2>/dev/null || true"));
        let mut place = String::new();
        for line in list.lines() {
            if line.starts_with('\t') && line.ends_with('{') {
                place = line.trim().to_owned();
            }
            // Elements of a set come in any order, several on a line.
            let parts = line.split([',', '{', '}']).map(|part| format!("{netns} {place} {}", part.trim()));
            lines.extend(parts);
        }
    }
    let shown = sh(
        "ip -d link show type bridge | grep -oE '^[0-9]+: [^:]+|nf_call_ip6?tables [01]' | sed 's/^[0-9]*: //'",
    );
    lines.push(shown);
    let ports = sh(
        "bridge -d link | grep -oE '^[0-9]+: [^:@]+|master [^ ]+|hairpin o[nf]+|isolated o[nf]+' | sed 's/^[0-9]*: //'",
    );
    lines.push(ports);
    lines.sort_unstable();
    lines
}

/// Links that were set aside take a moment.
fn are(wanted: &[String], what: &str) {
    let until = soon();
    loop {
        let now = rules();
        if wanted == now {
            return;
        }
        let missing: Vec<_> = wanted.iter().filter(|line| !now.contains(line)).collect();
        let extra: Vec<_> = now.iter().filter(|line| !wanted.contains(line)).collect();
        assert!(Instant::now() < until, "{what}\nmissing: {missing:#?}\nleft over: {extra:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn after_a_refused_message_all_is_as_before() {
    isolated("after_a_refused_message_all_is_as_before", || {
        let mut linux = start();
        let mut tried = 0;
        for (name, objects, plan) in cases() {
            done(&mut linux, &create(objects.clone()));
            at_rest();
            let before = rules();
            tried += refuse_each(&mut linux, name, &plan, 1, |_, what| are(&before, what));
            let here: State = objects.iter().cloned().collect();
            done(&mut linux, &diff(&here, &State::new()));
        }
        println!("measured: {tried} messages refused, one at a time");
    });
}

#[test]
fn what_is_wanted_is_found_and_the_rest_goes() {
    isolated("what_is_wanted_is_found_and_the_rest_goes", || {
        let everything =
            [endpoints(), sets(), vec![large(2), small(3), inner(2, "A"), inner(3, "B"), of_host(7)]];
        let wanted: State = everything.concat().into_iter().collect();
        let (mut linux, found) = start_with(&State::new());
        done(&mut linux, &diff(&found, &wanted));
        let before = rules();
        drop(linux);
        for damage in [
            "true",
            "nft flush ruleset",
            "nft delete table inet hcnd_filter",
            "ip link set hcn00000001 type bridge nf_call_iptables 0",
        ] {
            let _ = succeeds(damage);
            let (mut linux, found) = start_with(&wanted);
            assert_eq!(diff(&found, &wanted).to_string(), "");
            are(&before, damage);
            let removed = apply(&mut linux, &diff(&found, &State::new()));
            linux.undo(removed).unwrap();
            are(&before, "all was removed and brought back");
            drop(linux);
        }
        // Less of it is wanted.
        let fewer: State = [endpoints(), vec![small(3)]].concat().into_iter().collect();
        let (linux, found) = start_with(&fewer);
        assert_eq!(diff(&found, &fewer).to_string(), "");
        let text = sh("nft list table inet hcnd_filter");
        assert!(text.contains("from/hve00000003"), "{text}");
        assert!(!text.contains("hve00000002") && !text.contains("set/"), "{text}");
        assert!(!succeeds("ip netns exec A nft list table inet hcnd_filter"));
        drop(linux);
        let (linux, _) = start_with(&endpoints().into_iter().collect());
        assert!(!succeeds("nft list table inet hcnd_filter"));
        assert!(sh("ip -d link show hcn00000001").contains("nf_call_iptables 0"));
        drop(linux);
    });
}

#[test]
fn an_administrator_sees_what_a_rule_is() {
    isolated("an_administrator_sees_what_a_rule_is", || {
        let mut linux = start();
        done(&mut linux, &create([endpoints(), sets(), vec![large(2), inner(3, "B")]].concat()));
        let text = sh("nft list table inet hcnd_filter");
        for part in [
            "comment \"TierAcl one: a rule\"",
            "comment \"set 1\"",
            "udp dport 53-55 drop comment \"ACL: a rule\"",
            "ip daddr 198.51.100.0/23",
            "jump to/hve00000002/1 comment \"TierAcl one\"",
            "ct direction reply accept",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        let inside = sh("ip netns exec B nft list table inet hcnd_filter");
        assert!(inside.contains("iifname vmap @coming"), "{inside}");
        // What lists as JSON must not abort either.
        sh("nft -j list ruleset && ip netns exec B nft -j list ruleset");
    });
}

#[test]
fn one_of_many_rules_is_changed_fast() {
    isolated("one_of_many_rules_is_changed_fast", || {
        let mut linux = start();
        done(&mut linux, &create(network()));
        let of = |n: u8, rules: usize| {
            let all = (0..rules).map(|at| {
                rule(DROP).protocols(&[TCP]).from(&["10.7.0.0/24"]).to_ports(&[(at as u16, at as u16)])
            });
            filter(n, on_bridge(), vec![tier("ACL", all.collect())], Vec::new())
        };
        let mut there = 0;
        let measure = |linux: &mut Linux, there: usize| {
            let mut times = Vec::new();
            done(linux, &create([of(250, 10)]));
            for turn in 0..20 {
                let (from, to) = if turn % 2 == 0 { (10, 11) } else { (11, 10) };
                let plan = change(&of(250, from), &of(250, to));
                // What the change before took away is destroyed after a while, for which the kernel may make others wait.
                std::thread::sleep(Duration::from_millis(40));
                let start = Instant::now();
                done(linux, &plan);
                times.push(start.elapsed());
            }
            done(linux, &remove(&[of(250, 10)]));
            times.sort_unstable();
            println!(
                "measured: {:?} to change a list of 10 rules with {there} of others",
                times[times.len() / 2]
            );
        };
        for n in 2..102 {
            if [2, 3, 12].contains(&n) {
                measure(&mut linux, there);
            }
            done(&mut linux, &create([of(n, 100)]));
            there += 100;
        }
        measure(&mut linux, there);
    });
}
