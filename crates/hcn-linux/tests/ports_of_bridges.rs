//! Bridges that are joined, ports of virtual machines, isolated ports, and namespaces that others made: made to fail at
//! every message, taken over, changed and removed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::*;
use hcn_dataplane::{
    Address, Annex, Bridge, Dataplane, Existing, Home, Isolation, Joint, LinkId, Mac, NetnsFile, Object, Op,
    Plan, State, Tap, Veth, diff,
};
use hcn_linux::Linux;

const SHARD: &str = "hcn00000001-1";

/// A second bridge of the network.
fn shard() -> Vec<Object> {
    let address =
        Address { link: LinkId::host(SHARD), address: "10.7.0.1/32".parse().unwrap(), prefix_route: false };
    vec![
        Object::Annex(Annex { bridge: SHARD.into(), of: BRIDGE.into() }),
        Object::Bridge(Bridge {
            name: SHARD.into(),
            alias: "hcn network 1".into(),
            mac: Mac([2, 0, 0, 0, 1, 2]),
            mtu: 1500,
            ipv6: false,
            arp: false,
            proxy_arp: false,
        }),
        Object::Home(Home { prefix: "10.7.0.0/16".parse().unwrap(), bridge: SHARD.into() }),
        joint(1500),
        Object::Address(address),
    ]
}

fn joint(mtu: u32) -> Object {
    Object::Joint(Joint {
        ends: ["hcj00000001-1".into(), "hck00000001-1".into()],
        alias: "hcn network 1".into(),
        bridges: [BRIDGE.into(), SHARD.into()],
        mtu,
        isolated: false,
    })
}

fn tap(n: u8, bridge: &str, mtu: u32) -> Object {
    Object::Tap(Tap {
        name: format!("hvt0000000{n}"),
        alias: format!("hcn endpoint {n}"),
        bridge: bridge.into(),
        mtu,
        owner: None,
        isolated: false,
        vlan: None,
    })
}

fn isolation(n: u8) -> Object {
    Object::Isolation(Isolation {
        port: format!("hvt0000000{n}"),
        bridge: BRIDGE.into(),
        outside: vec!["up0".into()],
        addresses: vec![format!("10.7.0.{n}").parse().unwrap(), format!("fd07::{n}").parse().unwrap()],
    })
}

/// A namespace that somebody else has made is `theirs`, with a link of its own.
fn theirs() -> Object {
    if !succeeds("ip netns list | grep -q theirs") {
        sh(
            "ip netns add theirs && ip -n theirs link set lo up && ip -n theirs link add own0 type veth peer name own1",
        );
    }
    let inode = sh("stat -L -c %i /run/netns/theirs").trim().parse().unwrap();
    let from = Some(Existing { path: "/run/netns/theirs".into(), inode });
    Object::Netns(NetnsFile { name: "T".into(), alias: "hcn namespace T".into(), from })
}

/// An endpoint on the second bridge.
fn far_endpoint() -> Vec<Object> {
    let mut objects = endpoint(2, "A");
    if let Object::Veth(veth) = objects[0].clone() {
        objects[0] = Object::Veth(Veth { bridge: SHARD.into(), ..veth });
    }
    [vec![netns("A")], objects].concat()
}

/// What is there before the plan, the plan, and its name.
fn cases() -> Vec<(&'static str, Vec<Object>, Plan)> {
    let large = [network(), shard()].concat();
    let taps = vec![tap(5, BRIDGE, 1500), tap(6, BRIDGE, 1500)];
    let isolated = [taps.clone(), vec![isolation(5), isolation(6)]].concat();
    let change = vec![
        Op::Change { from: joint(1500), to: joint(1400) },
        Op::Change { from: tap(5, BRIDGE, 1500), to: tap(5, BRIDGE, 1400) },
    ];
    let from = vec![theirs(), endpoint(3, "T").remove(0)];
    let of = |objects: &[Object]| objects.iter().cloned().collect::<State>();
    vec![
        ("join a bridge", network(), create(shard())),
        ("join a bridge and attach", network(), create([shard(), far_endpoint()].concat())),
        ("remove all bridges", large.clone(), diff(&of(&large), &State::new())),
        ("plug in machines", network(), create(taps.clone())),
        ("unplug one", [network(), taps.clone()].concat(), remove(&taps[..1])),
        ("isolate", [network(), taps.clone()].concat(), create([isolation(5), isolation(6)])),
        ("isolate one more", [network(), taps.clone(), vec![isolation(5)]].concat(), create([isolation(6)])),
        ("release one", [network(), isolated.clone()].concat(), remove(&[isolation(5)])),
        ("release both", [network(), isolated.clone()].concat(), remove(&isolated)),
        ("change", [large, taps].concat(), Plan { ops: change }),
        ("take a namespace in", network(), create(from.clone())),
        ("let a namespace go", [network(), from.clone()].concat(), remove(&from)),
    ]
}

#[test]
fn after_a_refused_message_all_is_as_before() {
    isolated("after_a_refused_message_all_is_as_before", || {
        let mut linux = start();
        theirs();
        let mut tried = 0;
        for (name, objects, plan) in cases() {
            done(&mut linux, &create(objects.clone()));
            let rules = || sh("nft list ruleset");
            let (before, rules_before) = (at_rest(), rules());
            tried += refuse_each(&mut linux, name, &plan, 1, |_, what| {
                settles_at(&before, what);
                assert_eq!(sorted(&rules()), sorted(&rules_before), "{what}");
            });
            done(&mut linux, &remove(&objects));
        }
        println!("measured: {tried} messages refused, one at a time");
    });
}

/// Elements of a set come in any order, several on a line.
fn sorted(rules: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = rules.split(['\n', ',', '{', '}']).map(str::trim).collect();
    parts.sort_unstable();
    parts
}

fn world() -> State {
    [
        network(),
        shard(),
        far_endpoint(),
        vec![tap(5, BRIDGE, 1500), tap(6, SHARD, 1500), isolation(5), theirs()],
        endpoint(3, "T"),
    ]
    .concat()
    .into_iter()
    .collect()
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
        let links = || {
            ["", "-n A", "-n theirs"]
                .map(|at| sh(&format!("ip {at} -o link | sed 's/ state.*//' | sort")))
                .concat()
        };
        let (before, links_before) = (at_rest(), links());
        drop(linux);
        let (mut linux, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted).to_string(), "");
        assert_eq!(links(), links_before);
        assert_eq!(at_rest(), before);
        let removed = apply(&mut linux, &diff(&found, &State::new()));
        linux.undo(removed).unwrap();
        settles_at(&before, "all was removed and brought back");
        drop(linux);
        // Nothing of it is wanted any more.
        let (linux, _) = start_with(&State::new());
        assert_eq!(sh("ip -o link | grep -v ' lo:' || true"), "");
        assert_eq!(sh("ls /run/netns").trim(), "theirs");
        assert_eq!(sh("ip -n theirs -o link | grep -c own"), "2\n");
        assert!(!sh("ip -n theirs link").contains("alias"), "its mark is taken away");
        assert!(!succeeds("nft list table bridge hcnd") && !succeeds("nft list table ip hcnd"));
        drop(linux);
    });
}

#[test]
fn a_machine_is_plugged_in_as_its_owner_wants_and_names_of_others_are_not_touched() {
    isolated("a_machine_is_plugged_in_as_its_owner_wants_and_names_of_others_are_not_touched", || {
        let mut linux = start();
        done(&mut linux, &create(network()));
        let Object::Tap(mut owned) = tap(5, BRIDGE, 1400) else { panic!("no tap") };
        owned.owner = Some(0);
        done(&mut linux, &create([Object::Tap(owned)]));
        let shown = sh("ip -d link show hvt00000005");
        for part in
            ["tun type tap pi off vnet_hdr on persist on user", "mtu 1400", "hairpin on", "hcn endpoint 5"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        sh("ip link add hvt00000006 type veth peer name other");
        let error = linux.apply(&create([tap(6, BRIDGE, 1500)])).unwrap_err();
        assert!(error.source.message.contains("not ours"), "{}", error.source);
        assert!(error.undo.is_none());
        sh("ip link show hvt00000006");
    });
}
