//! What endpoints' own policies translate: made to fail at every message, taken over, changed and removed, and the packets
//! that prove it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::*;
use hcn_dataplane::{
    Dataplane, Diversion, DiversionRule, Exceptions, Family, Interception, InterceptionRule, LinkId, Object,
    Op, Outbound, OutboundRule, Plan, Ports, Source, State, diff,
};
use hcn_linux::Linux;

fn nets(list: &[&str]) -> Vec<ipnet::IpNet> {
    list.iter().map(|prefix| prefix.parse().unwrap()).collect()
}

fn addresses(n: u8) -> Vec<std::net::IpAddr> {
    vec![format!("10.7.0.{n}").parse().unwrap(), format!("fd07::{n:x}").parse().unwrap()]
}

fn outbound_rule(family: Family, destinations: &[&str], exceptions: &[&str], source: Source) -> OutboundRule {
    OutboundRule { family, destinations: nets(destinations), exceptions: nets(exceptions), source }
}

fn outbound(n: u8, rules: Vec<OutboundRule>) -> Object {
    Object::Outbound(Outbound {
        port: format!("hve{n:08x}"),
        bridge: BRIDGE.into(),
        addresses: addresses(n),
        rules,
    })
}

/// Rules of every kind.
fn all_outbound(n: u8) -> Object {
    let virtual_ip = Source::Address("192.0.2.77".parse().unwrap());
    outbound(
        n,
        vec![
            outbound_rule(Family::V4, &["198.51.100.7/32", "198.51.100.128/25"], &[], virtual_ip),
            outbound_rule(
                Family::V4,
                &[],
                &["192.0.2.0/24", "10.0.0.0/9", "203.0.113.7/32"],
                Source::Masquerade,
            ),
            outbound_rule(Family::V6, &["2001:db8:64::/64"], &["2001:db8::/63", "::/0"], Source::Client),
        ],
    )
}

fn diversion_rule(
    proxy: &str,
    protocols: &[u8],
    destinations: &[&str],
    ports: &[(u16, u16)],
) -> DiversionRule {
    DiversionRule {
        protocols: protocols.to_vec(),
        destinations: nets(destinations),
        ports: ports.iter().map(|(first, last)| Ports { first: *first, last: *last }).collect(),
        exceptions: Vec::new(),
        proxy: proxy.parse().unwrap(),
        masquerade: false,
    }
}

fn diversion(n: u8, rules: Vec<DiversionRule>) -> Object {
    Object::Diversion(Diversion {
        port: format!("hve{n:08x}"),
        bridge: BRIDGE.into(),
        addresses: addresses(n),
        rules,
    })
}

/// Rules of every kind.
fn all_diversions(n: u8) -> Object {
    let mut first = diversion_rule(
        "10.7.0.1:1080",
        &[6, 17],
        &["198.51.100.0/24", "0.0.0.0/0"],
        &[(80, 80), (8000, 8100)],
    );
    first.exceptions = nets(&["198.51.100.9/32", "10.7.0.0/16"]);
    let mut second = diversion_rule("[fd07::1]:1080", &[1, 58, 132], &[], &[]);
    second.masquerade = true;
    diversion(n, vec![first, second, diversion_rule("192.0.2.2:1081", &[], &[], &[])])
}

fn interception(netns: &str, link: &str, user: u32) -> Object {
    let ports = |first, last| vec![Ports { first, last }];
    let all = InterceptionRule {
        outbound: Some(15_001),
        inbound: Some(15_003),
        protocols: vec![6, 17],
        local: nets(&["10.7.0.0/16", "fd07::/64"]),
        remote: nets(&["0.0.0.0/0", "2000::/3"]),
        local_ports: ports(1, 65_535),
        remote_ports: vec![Ports { first: 80, last: 80 }, Ports { first: 8000, last: 8100 }],
        user: Some(user),
        outbound_exceptions: Exceptions {
            addresses: nets(&["192.0.2.9/32", "2001:db8::9/128"]),
            ports: ports(22, 22),
        },
        inbound_exceptions: Exceptions { addresses: nets(&["192.0.2.0/24"]), ports: ports(8080, 8090) },
    };
    let usual = InterceptionRule {
        protocols: Vec::new(),
        local: Vec::new(),
        remote: Vec::new(),
        local_ports: Vec::new(),
        remote_ports: Vec::new(),
        outbound_exceptions: Exceptions::default(),
        inbound_exceptions: Exceptions::default(),
        ..all.clone()
    };
    let link = LinkId { name: link.into(), ..eth0(netns) };
    Object::Interception(Interception { link, rules: vec![all, usual] })
}

fn attached(n: u8, netns_name: &str, more: Vec<Object>) -> Vec<Object> {
    [vec![netns(netns_name)], more, endpoint(n, netns_name)].concat()
}

fn with_all(n: u8, name: &str) -> Vec<Object> {
    attached(n, name, vec![all_outbound(n), all_diversions(n), interception(name, "eth0", 1337)])
}

/// What is there before the plan, the plan, and its name.
fn cases() -> Vec<(&'static str, Vec<Object>, Plan)> {
    let a = attached(2, "A", Vec::new());
    let there = [network(), a.clone()].concat();
    let all = vec![all_outbound(2), all_diversions(2), interception("A", "eth0", 1337)];
    let others = vec![
        outbound(2, vec![outbound_rule(Family::V4, &[], &[], Source::Masquerade)]),
        diversion(2, vec![diversion_rule("10.7.0.1:1", &[6], &["192.0.2.0/24"], &[])]),
        interception("A", "eth0", 7),
    ];
    let change = |from: &[Object], to: &[Object]| {
        let ops = from.iter().zip(to).map(|(from, to)| Op::Change { from: from.clone(), to: to.clone() });
        Plan { ops: ops.collect() }
    };
    let with_all_of_both = [network(), with_all(2, "A"), with_all(3, "B")].concat();
    let state = |objects: &[Object]| objects.iter().cloned().collect::<State>();
    vec![
        ("give policies", there.clone(), create(all.clone())),
        ("attach with policies", network(), create(with_all(2, "A"))),
        ("give the second policies", with_all_of_both.clone(), change(&all, &others)),
        ("change them back", [there.clone(), others.clone()].concat(), change(&others, &all)),
        ("take them from one of two", with_all_of_both.clone(), remove(&all)),
        ("take them away", [there.clone(), all.clone()].concat(), remove(&all)),
        ("detach one of two", with_all_of_both.clone(), remove(&with_all(2, "A"))),
        (
            "two links of one namespace",
            [there, all[2..].to_vec()].concat(),
            create([interception("A", "eth1", 1337)]),
        ),
        ("remove all", with_all_of_both.clone(), diff(&state(&with_all_of_both), &State::new())),
    ]
}

/// The rules of the host and of namespaces, in an order of their own.
fn rules() -> Vec<String> {
    let mut places = vec![sh("nft list ruleset")];
    for name in ["A", "B"] {
        if succeeds(&format!("test -e /run/netns/{name}")) {
            places.push(sh(&format!("nsenter --net=/run/netns/{name} nft list ruleset")));
            sh(&format!("nsenter --net=/run/netns/{name} nft -j list ruleset"));
        }
    }
    sh("nft -j list ruleset");
    let text = places.join("\nnamespace\n");
    let mut parts: Vec<String> =
        text.split(['\n', ',', '{', '}']).map(|part| part.trim().to_owned()).collect();
    parts.sort_unstable();
    parts
}

#[test]
fn after_a_refused_message_all_is_as_before() {
    isolated("after_a_refused_message_all_is_as_before", || {
        let mut linux = start();
        let mut tried = 0;
        for (name, objects, plan) in cases() {
            done(&mut linux, &create(objects.clone()));
            let (before, rules_before) = (at_rest(), rules());
            // What one of them leaves is still there when the next look is taken.
            tried += refuse_each(&mut linux, name, &plan, 1, |k, what| {
                if k.is_none_or(|k| k % 11 == 0) {
                    settles_at(&before, what);
                    assert_eq!(rules(), rules_before, "{what}");
                }
            });
            done(&mut linux, &remove(&objects));
        }
        assert!(!succeeds("nft list table inet hcnd_nat"));
        println!("measured: {tried} messages refused, one at a time");
    });
}

fn world() -> State {
    [network(), with_all(2, "A"), with_all(3, "B")].concat().into_iter().collect()
}

fn build(wanted: &State) -> Linux {
    let (mut linux, found) = start_with(&State::new());
    done(&mut linux, &diff(&found, wanted));
    linux
}

#[test]
fn what_is_wanted_is_found_and_the_rest_goes() {
    isolated("what_is_wanted_is_found_and_the_rest_goes", || {
        let wanted = world();
        let linux = build(&wanted);
        let before = rules();
        drop(linux);
        let (linux, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted).to_string(), "");
        assert_eq!(rules(), before);
        drop(linux);
        // Some of it is not wanted any more, some was taken away meanwhile.
        sh("nft add rule inet hcnd_nat prerouting counter");
        sh("nsenter --net=/run/netns/B nft delete table inet hcnd_proxy");
        let less: State =
            [network(), attached(2, "A", Vec::new()), with_all(3, "B")].concat().into_iter().collect();
        let (mut linux, found) = start_with(&less);
        assert_eq!(diff(&found, &less).to_string(), "");
        let left = sh("nft list table inet hcnd_nat");
        assert!(
            left.contains("hve00000003") && !left.contains("hve00000002") && !left.contains("counter"),
            "{left}"
        );
        assert_eq!(sh("nsenter --net=/run/netns/A nft list ruleset"), "");
        assert!(sh("nsenter --net=/run/netns/B nft list ruleset").contains("hcnd_proxy"));
        // Where the kernel can keep others from it, a foreign firewall does not take it along.
        if hcn_linux::features().has("nftables table persist") {
            sh("nft flush ruleset");
            assert_eq!(sh("nft list table inet hcnd_nat"), left);
        }
        let removed = apply(&mut linux, &diff(&found, &State::new()));
        assert!(!succeeds("nft list table inet hcnd_nat"));
        linux.undo(removed).unwrap();
        assert_eq!(sh("nft list table inet hcnd_nat"), left);
        // The namespace's root has thrown the rules away: they still go and come.
        sh("nsenter --net=/run/netns/B nft flush ruleset");
        let without: State = [network(), attached(3, "B", Vec::new())].concat().into_iter().collect();
        done(&mut linux, &diff(&less, &without));
        drop(linux);
        let (linux, _) = start_with(&State::new());
        assert!(!succeeds("nft list table inet hcnd_nat"));
        drop(linux);
    });
}
