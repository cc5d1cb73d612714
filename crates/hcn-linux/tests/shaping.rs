//! Guards and rates: made to fail at every message, taken over, changed and removed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::*;
use hcn_dataplane::{
    Dataplane, Guard, LinkId, Mac, Netns, Object, Op, Plan, Shaper, Sharing, State, Sublink, Tap, diff,
};
use hcn_linux::Linux;

/// Of the endpoint `n` of [`endpoint`].
fn guard(n: u8) -> Object {
    let addresses = [format!("10.7.0.{n}"), format!("fd07::{n:x}")].map(|address| address.parse().unwrap());
    Object::Guard(Guard {
        port: format!("hve{n:08x}"),
        mac: Mac([2, 0, 0, 0, 2, n]),
        addresses: Some(addresses.into()),
        autoconfigured: false,
    })
}

/// The same endpoint with other addresses, or with any.
fn otherwise(n: u8, addresses: Option<&[&str]>) -> Object {
    let Object::Guard(mut other) = guard(n) else { panic!("no guard") };
    other.addresses =
        addresses.map(|addresses| addresses.iter().map(|address| address.parse().unwrap()).collect());
    other.autoconfigured = other.addresses.is_some();
    Object::Guard(other)
}

fn shaper(port: &str, rate: u64) -> Object {
    Object::Shaper(Shaper { link: LinkId::host(port), received: true, rate, mtu: 1450 })
}

fn of(n: u8, rate: u64) -> Object {
    shaper(&format!("hve{n:08x}"), rate)
}

fn tap(n: u8) -> Object {
    Object::Tap(Tap {
        name: format!("hvt{n:08x}"),
        alias: format!("hcn endpoint {n}"),
        bridge: BRIDGE.into(),
        mtu: 1500,
        owner: None,
        isolated: false,
        vlan: None,
    })
}

/// A plan that removes what stands on a link with it.
fn with_its_link(objects: &[Object]) -> Plan {
    let mut plan = remove(objects);
    for op in &mut plan.ops {
        if let Op::Remove { object: Object::Shaper(_), implied } = op {
            *implied = true;
        }
    }
    plan
}

type Case = (&'static str, Vec<Object>, Plan);

fn cases() -> Vec<Case> {
    let attached = |n: u8, name: &str| {
        let mut objects = vec![netns(name), guard(n)];
        objects.extend(endpoint(n, name));
        objects
    };
    let limited = |n: u8, name: &str| {
        let mut objects = attached(n, name);
        objects.insert(3, of(n, 1 << 20));
        objects
    };
    let (a, b) = (attached(2, "A"), attached(3, "B"));
    let slow = limited(2, "A");
    let machine = vec![tap(5), shaper("hvt00000005", 1000)];
    let change = |from: Object, to: Object| Op::Change { from, to };
    let one = otherwise(2, Some(&["10.7.0.2", "10.7.0.22", "fd07::22"]));
    vec![
        ("guard the first", [network(), vec![netns("A")]].concat(), create(a[1..].to_vec())),
        ("guard another one", [network(), a.clone()].concat(), create(b.clone())),
        ("guard otherwise", a.clone()[..2].to_vec(), Plan { ops: vec![change(guard(2), one)] }),
        (
            "guard no address",
            a.clone()[..2].to_vec(),
            Plan { ops: vec![change(guard(2), otherwise(2, None))] },
        ),
        ("release one of two", [network(), a.clone(), b.clone()].concat(), remove(&b)),
        ("release both", [network(), a.clone(), b.clone()].concat(), remove(&[a.clone(), b].concat())),
        (
            "replace the only one",
            vec![guard(2)],
            Plan { ops: [remove(&[guard(2)]).ops, create([guard(3)]).ops].concat() },
        ),
        ("limit", [network(), a.clone()].concat(), create([of(2, 125_000)])),
        ("limit and attach", network(), create(slow.clone())),
        (
            "limit otherwise",
            [network(), slow.clone()].concat(),
            Plan { ops: vec![change(of(2, 1 << 20), of(2, 1 << 40))] },
        ),
        ("limit no more", [network(), slow.clone()].concat(), remove(&[of(2, 1 << 20)])),
        ("detach", [network(), slow.clone()].concat(), with_its_link(&slow)),
        (
            "attach again",
            [network(), slow.clone()].concat(),
            Plan { ops: [with_its_link(&slow[1..]).ops, create(slow[1..].to_vec()).ops].concat() },
        ),
        ("limit a machine", network(), create(machine.clone())),
        ("unplug a machine", [network(), machine.clone()].concat(), with_its_link(&machine)),
    ]
}

/// Elements of a set come in any order, several on a line; and what is on links.
fn rules() -> Vec<String> {
    let rules = sh("nft list table bridge hcnd_guard 2>/dev/null || true");
    let mut parts: Vec<String> =
        rules.split(['\n', ',', '{', '}']).map(|part| part.trim().to_owned()).collect();
    parts.extend(disciplines());
    parts.sort_unstable();
    parts
}

/// What is on links, and where filters lead.
fn disciplines() -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in sh("tc qdisc show").lines().filter(|line| line.contains("tbf") || line.contains("ingress")) {
        // A bucket that is made anew has another handle.
        let words = line.split_whitespace().filter(|word| !word.ends_with(':'));
        lines.push(words.collect::<Vec<_>>().join(" "));
        let link = line.split_whitespace().skip_while(|word| *word != "dev").nth(1).unwrap();
        // One that is set aside may have lost its name.
        let filters = if line.contains("ingress") {
            sh(&format!("tc filter show dev {link} ingress"))
        } else {
            String::new()
        };
        lines.extend(
            filters
                .lines()
                .filter(|line| line.contains("mirred"))
                .map(|line| format!("{link} {}", line.trim())),
        );
    }
    lines
}

#[test]
fn after_a_refused_message_all_is_as_before() {
    isolated("after_a_refused_message_all_is_as_before", || {
        let mut linux = start();
        let mut tried = 0;
        for (name, objects, plan) in cases() {
            done(&mut linux, &create(objects.clone()));
            let (before, rules_before) = (at_rest(), rules());
            sh("nft -j list ruleset");
            tried += refuse_each(&mut linux, name, &plan, 1, |_, what| {
                settles_at(&before, what);
                assert_eq!(rules(), rules_before, "{what}");
            });
            done(&mut linux, &with_its_link(&objects));
            assert!(!succeeds("nft list table bridge hcnd_guard"), "{name}");
        }
        println!("measured: {tried} messages refused, one at a time");
    });
}

fn world() -> State {
    let mut objects = [network(), vec![guard(2), guard(3), otherwise(4, None), tap(5)]].concat();
    for (n, name) in [(2, "A"), (3, "B"), (4, "C")] {
        objects.push(netns(name));
        objects.extend(endpoint(n, name));
    }
    objects.extend([of(2, 125_000), of(3, 1 << 40), shaper("hvt00000005", 1_000_000)]);
    objects.into_iter().collect()
}

fn build(wanted: &State) -> Linux {
    let (mut linux, found) = start_with(&State::new());
    done(&mut linux, &diff(&found, wanted));
    linux
}

#[test]
fn what_is_wanted_is_found_and_left_alone_and_the_rest_goes() {
    isolated("what_is_wanted_is_found_and_left_alone_and_the_rest_goes", || {
        let wanted = world();
        let linux = build(&wanted);
        let links = || sh("ip -o link | sed 's/ state.*//' | sort");
        let before = (at_rest(), rules(), links());
        drop(linux);
        let (linux, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted).to_string(), "");
        assert_eq!((at_rest(), rules(), links()), before);
        drop(linux);
        // What was put aside or half made is made anew.
        for damage in [
            "tc qdisc del dev hve00000002 ingress",
            "tc qdisc del dev hvi00000002 root",
            "ip link set hvi00000002 down",
            "ip link del hvi00000002",
            "nft add table bridge hcnd_guard; nft add element bridge hcnd_guard guarded '{ hve00000009 }'",
            "nft delete table bridge hcnd_guard",
        ] {
            // A table that is owned and outlives its owner takes nothing from others.
            let _ = succeeds(damage);
            let (mut linux, found) = start_with(&wanted);
            done(&mut linux, &diff(&found, &wanted));
            assert_eq!(rules(), before.1, "{damage}");
            assert_eq!(at_rest(), before.0, "{damage}");
            drop(linux);
        }
        // Other rates, and a port without one.
        let mut other = wanted.clone();
        other.insert(of(2, 250_000));
        other.remove(&of(3, 1).key());
        other.insert(otherwise(3, Some(&["10.7.0.33"])));
        let (mut linux, found) = start_with(&other);
        let plan = diff(&found, &other);
        assert_eq!(plan.to_string(), "change rate of hve00000002");
        done(&mut linux, &plan);
        let shown = disciplines().join("\n");
        assert!(shown.contains("tbf dev hvi00000002 root") && shown.contains("rate 2Mbit"), "{shown}");
        assert!(!shown.contains("hve00000003") && !links().contains("hvi00000003"), "{shown}");
        let table = sh("nft list table bridge hcnd_guard");
        assert!(table.contains("10.7.0.33") && !table.contains("fd07::3"), "{table}");
        drop(linux);
        let (linux, _) = start_with(&State::new());
        assert_eq!(sh("ip -o link | grep -v ' lo:' || true"), "");
        assert!(!succeeds("nft list table bridge hcnd_guard"));
        drop(linux);
    });
}

#[test]
fn an_interface_on_an_uplink_is_limited_where_it_is() {
    isolated("an_interface_on_an_uplink_is_limited_where_it_is", || {
        sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up");
        if !succeeds("ip link add probe link up0 type macvlan && ip link del probe") {
            println!("measured: this kernel has no macvlan");
            return;
        }
        let sublink = |mtu, alias: &str| {
            Object::Sublink(Sublink {
                link: eth0("A"),
                alias: alias.to_owned(),
                parent: "up0".into(),
                sharing: Sharing::Macvlan,
                mac: Mac([2, 0, 0, 0, 2, 2]),
                mtu,
                ipv6: false,
            })
        };
        let rate = |rate| Object::Shaper(Shaper { link: eth0("A"), received: false, rate, mtu: 1400 });
        let shown = || sh("tc -n A qdisc show dev eth0");
        let wanted: State =
            [netns("A"), sublink(1400, "hcn endpoint 2 a"), rate(125_000)].into_iter().collect();
        let mut linux = build(&wanted);
        assert!(
            shown().contains("qdisc tbf") && shown().contains(" root ") && shown().contains("rate 1Mbit"),
            "{}",
            shown()
        );
        let index = sh("ip -n A -o link show eth0 | cut -d: -f1");
        // In place, whatever changes.
        let mut other = wanted.clone();
        other.insert(sublink(1300, "hcn endpoint 2 b"));
        other.insert(rate(250_000));
        let applied = apply(&mut linux, &diff(&wanted, &other));
        assert!(shown().contains("rate 2Mbit"), "{}", shown());
        let link = sh("ip -n A link show eth0");
        assert!(link.contains("mtu 1300") && link.contains("hcn endpoint 2 b"), "{link}");
        linux.undo(applied).unwrap();
        assert!(shown().contains("rate 1Mbit"), "{}", shown());
        assert_eq!(sh("ip -n A -o link show eth0 | cut -d: -f1"), index);
        let mut free = wanted.clone();
        free.remove(&rate(1).key());
        let applied = apply(&mut linux, &diff(&wanted, &free));
        assert!(!shown().contains("tbf"), "{}", shown());
        linux.undo(applied).unwrap();
        assert!(shown().contains("rate 1Mbit"), "{}", shown());
        drop(linux);
        let (linux, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted).to_string(), "");
        drop(linux);
        let (linux, found) = start_with(&free);
        assert_eq!(diff(&found, &free).to_string(), "");
        assert!(!shown().contains("tbf"), "{}", shown());
        drop(linux);
        assert!(matches!(eth0("A").netns, Netns::Named(_)));
    });
}
