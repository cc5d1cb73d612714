//! Rules as `nft --json` lists them, and what becomes of packets.

use std::collections::BTreeMap;

use hcn_dataplane::{Protocol, Rules};
use serde_json::{Value, json};

use super::evaluate::{Dropped, drops};
use super::packet::Packet;
use super::ruleset::Ruleset;

const FORWARD: &str = "forward";

/// A container's packet to elsewhere.
fn outgoing() -> Packet {
    Packet {
        what: "out".to_owned(),
        input: Some("hcn1".to_owned()),
        output: Some("eth0".to_owned()),
        source: "192.0.2.7".parse().unwrap(),
        destination: "198.41.0.4".parse().unwrap(),
        sent_to: None,
        protocol: Protocol::Tcp,
        source_port: 40_000,
        port: 443,
        answer: false,
        published: false,
    }
}

/// A client's packet to a published port.
fn incoming() -> Packet {
    Packet {
        input: Some("eth0".to_owned()),
        output: Some("hcn1".to_owned()),
        source: "198.41.0.4".parse().unwrap(),
        destination: "192.0.2.7".parse().unwrap(),
        sent_to: Some(("203.0.113.10".parse().unwrap(), 8080)),
        port: 80,
        published: true,
        ..outgoing()
    }
}

fn chain(name: &str, hook: &str, policy: &str) -> Value {
    json!({"chain": {"family": "inet", "table": "t", "name": name, "hook": hook, "type": "filter", "prio": 0,
        "policy": policy}})
}

fn rule(chain: &str, handle: u64, statements: &Value) -> Value {
    json!({"rule": {"family": "inet", "table": "t", "chain": chain, "handle": handle, "expr": statements}})
}

fn meta(key: &str, op: &str, right: &Value) -> Value {
    json!({"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}})
}

fn payload(protocol: &str, field: &str, right: &Value) -> Value {
    let left = json!({"payload": {"protocol": protocol, "field": field}});
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn ct(key: &str, op: &str, right: &Value) -> Value {
    json!({"match": {"op": op, "left": {"ct": {"key": key}}, "right": right}})
}

fn ruleset(objects: &[Value], texts: &[(u64, &str)]) -> Ruleset {
    let texts: BTreeMap<(String, u64), String> =
        texts.iter().map(|(handle, text)| (("inet t".to_owned(), *handle), (*text).to_owned())).collect();
    let listings = vec![json!({"nftables": objects}).to_string()];
    Ruleset::read(&Rules { listings, texts, ..Rules::default() })
}

/// What drops a packet: the handle of the rule, none for the policy, and whether it is certain.
fn found(objects: &[Value], packet: &Packet) -> Vec<(Option<u64>, bool)> {
    let ruleset = ruleset(objects, &[]);
    let all = ruleset.bases.iter().flat_map(|base| drops(&ruleset, base, packet));
    all.map(|Dropped { handle, certain, .. }| (handle, certain)).collect()
}

#[test]
fn a_policy_drops_what_no_rule_accepts() {
    let objects = vec![
        chain("f", FORWARD, "drop"),
        rule("f", 1, &json!([ct("state", "in", &json!(["established", "related"])), {"accept": null}])),
        rule("f", 2, &json!([ct("status", "in", &json!("dnat")), {"accept": null}])),
    ];
    assert_eq!(found(&objects, &outgoing()), [(None, true)]);
    assert_eq!(found(&objects, &Packet { answer: true, ..outgoing() }), []);
    assert_eq!(found(&objects, &incoming()), []);
    assert_eq!(found(&[chain("f", FORWARD, "accept")], &outgoing()), []);
    // It is not for the host.
    assert_eq!(found(&[chain("i", "input", "drop")], &outgoing()), []);
    assert_eq!(found(&[chain("p", "prerouting", "drop")], &outgoing()), [(None, true)]);
}

#[test]
fn conditions_are_understood_as_the_kernel_does() {
    let drop = json!({"drop": null});
    let dropped = |condition: Value| {
        let objects = [chain("f", FORWARD, "accept"), rule("f", 7, &json!([condition, drop]))];
        found(&objects, &outgoing())
    };
    for condition in [
        meta("iifname", "==", &json!("hcn1")),
        meta("iifname", "==", &json!("hcn*")),
        meta("oifname", "!=", &json!("docker0")),
        meta("iifname", "==", &json!({"set": ["eth0", "hcn1"]})),
        meta("l4proto", "==", &json!("tcp")),
        meta("l4proto", "==", &json!({"set": [6, 17]})),
        meta("nfproto", "==", &json!("ipv4")),
        payload("ip", "saddr", &json!({"prefix": {"addr": "192.0.2.0", "len": 24}})),
        payload("ip", "saddr", &json!({"range": ["192.0.2.1", "192.0.2.9"]})),
        payload("ip", "daddr", &json!("198.41.0.4")),
        payload("tcp", "dport", &json!({"set": [80, {"range": [440, 450]}]})),
        payload("th", "dport", &json!(443)),
        payload("tcp", "flags", &json!("syn")),
        ct("state", "in", &json!("new")),
        ct("state", "!=", &json!({"set": ["established", "related"]})),
        ct("direction", "==", &json!("original")),
        json!({"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 255]}, "right": 0}}),
        json!({"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}},
            ["fin", "syn", "rst", "ack"]]}, "right": "syn"}}),
        json!({"match": {"op": "==", "left": {"concat": [{"payload": {"protocol": "ip", "field": "saddr"}},
            {"payload": {"protocol": "tcp", "field": "dport"}}]}, "right": {"set": [{"concat": ["192.0.2.7", 443]}]}}}),
        json!({"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "unicast"}}),
    ] {
        assert_eq!(dropped(condition.clone()), [(Some(7), true)], "{condition}");
    }
    for condition in [
        meta("iifname", "==", &json!("eth0")),
        meta("oifname", "==", &json!("hcn*")),
        meta("l4proto", "==", &json!("udp")),
        meta("nfproto", "==", &json!("ipv6")),
        meta("mark", "==", &json!(1)),
        meta("pkttype", "==", &json!("broadcast")),
        payload("ip", "saddr", &json!({"set": [{"prefix": {"addr": "10.0.0.0", "len": 8}}]})),
        payload("ip6", "saddr", &json!("2001:db8::1")),
        payload("udp", "dport", &json!(443)),
        payload("icmp", "type", &json!("echo-request")),
        ct("state", "in", &json!("invalid")),
        ct("status", "in", &json!("dnat")),
        // Reverse path filters of rules.
        json!({"match": {"op": "==", "left": {"fib": {"result": "oif", "flags": ["saddr", "mark", "iif"]}},
            "right": false}}),
    ] {
        assert_eq!(dropped(condition.clone()), [], "{condition}");
    }
    for condition in [
        meta("cgroup", "==", &json!(1)),
        json!({"limit": {"rate": 5, "per": "second"}}),
        json!({"xt": {"type": "match", "name": "recent"}}),
        json!({"something of a later nft": {}}),
        payload("ip", "dscp", &json!("cs1")),
        payload("tcp", "dport", &json!("@not read")),
    ] {
        assert_eq!(dropped(condition.clone()), [(Some(7), false)], "{condition}");
    }
}

#[test]
fn what_may_be_accepted_before_may_be_dropped_after() {
    let may = json!({"limit": {"rate": 5}});
    let objects = |first: Value| {
        vec![
            chain("f", FORWARD, "drop"),
            json!({"chain": {"family": "inet", "table": "t", "name": "quiet"}}),
            json!({"chain": {"family": "inet", "table": "t", "name": "kind"}}),
            rule("quiet", 1, &json!([{"counter": {}}])),
            rule("kind", 2, &json!([{"accept": null}])),
            rule("f", 3, &first),
        ]
    };
    for (first, expected) in [
        (json!([may, {"accept": null}]), vec![(None, false)]),
        (json!([may, {"jump": {"target": "kind"}}]), vec![(None, false)]),
        // Wherever it goes, it comes back.
        (json!([may, {"jump": {"target": "quiet"}}]), vec![(None, true)]),
        (json!([may, {"goto": {"target": "quiet"}}]), vec![(None, false)]),
        (json!([{"jump": {"target": "kind"}}]), vec![]),
        (json!([{"goto": {"target": "quiet"}}]), vec![(None, true)]),
        (json!([may, {"counter": {}}]), vec![(None, true)]),
        (json!([{"queue": {}}]), vec![(Some(3), false)]),
    ] {
        assert_eq!(found(&objects(first.clone()), &outgoing()), expected, "{first}");
    }
}

#[test]
fn jumps_sets_and_maps_are_followed() {
    let objects = vec![
        chain("f", FORWARD, "accept"),
        json!({"chain": {"family": "inet", "table": "t", "name": "c"}}),
        json!({"map": {"family": "inet", "table": "t", "name": "v", "map": "verdict",
            "elem": [["eth0", {"accept": null}], ["hcn*", {"jump": {"target": "c"}}]]}}),
        json!({"set": {"family": "inet", "table": "t", "name": "s",
            "elem": [{"elem": {"val": 443, "timeout": 9}}, 80]}}),
        rule("f", 1, &json!([{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@v"}}])),
        rule("c", 2, &json!([payload("tcp", "dport", &json!("@s")), {"reject": null}])),
    ];
    assert_eq!(found(&objects, &outgoing()), [(Some(2), true)]);
    assert_eq!(found(&objects, &Packet { port: 22, ..outgoing() }), []);
    assert_eq!(found(&objects, &incoming()), []);
}

#[test]
fn extensions_of_iptables_are_read_in_words() {
    let objects = |extension: &str| {
        let statements = json!([{"xt": {"type": "match", "name": extension}}, {"counter": {}},
            {"xt": {"type": "target", "name": "REJECT"}}]);
        vec![chain("f", FORWARD, "accept"), rule("f", 9, &statements)]
    };
    for (extension, text, expected) in [
        ("conntrack", "ct state related,established counter reject", vec![]),
        ("conntrack", "ct state ! related,established counter reject", vec![true]),
        ("conntrack", "ct state new ct status dnat counter reject", vec![]),
        ("conntrack", "# xt_conntrack counter reject", vec![false]),
        ("multiport", "meta l4proto tcp tcp dport { 80, 440-450 } counter reject", vec![true]),
        ("multiport", "meta l4proto tcp tcp dport { 80, 81 } counter reject", vec![]),
        ("addrtype", "fib daddr type local counter reject", vec![]),
        ("addrtype", "fib daddr type != local counter reject", vec![true]),
        ("comment", "counter reject", vec![true]),
        ("recent", "# xt_recent counter reject", vec![false]),
    ] {
        let ruleset = ruleset(&objects(extension), &[(9, text)]);
        let all = ruleset.bases.iter().flat_map(|base| drops(&ruleset, base, &outgoing()));
        let found: Vec<Dropped> = all.collect();
        let certain: Vec<bool> = found.iter().map(|dropped| dropped.certain).collect();
        assert_eq!(certain, expected, "{extension}: {text}");
        assert!(found.iter().all(|dropped| dropped.text == text));
    }
}

#[test]
fn before_the_translation_a_packet_is_for_the_host() {
    let at = |priority: i64| {
        let mut base = chain("p", "prerouting", "accept");
        base["chain"]["prio"] = json!(priority);
        let objects = [base, rule("p", 1, &json!([payload("tcp", "dport", &json!(8080)), {"drop": null}]))];
        found(&objects, &incoming())
    };
    assert_eq!(at(-150), [(Some(1), true)]);
    assert_eq!(at(0), []);
}

#[test]
fn own_tables_and_nonsense_are_passed_by() {
    let mut own = chain("f", FORWARD, "drop");
    own["chain"]["table"] = json!("hcnd_filter");
    assert_eq!(found(&[own, json!({}), json!(1), json!({"chain": 3}), json!({"rule": {}})], &outgoing()), []);
    let rules = Rules { listings: vec!["no JSON".to_owned()], ..Rules::default() };
    assert!(Ruleset::read(&rules).bases.is_empty());
}

#[test]
fn chains_that_lead_in_a_circle_end() {
    let objects =
        vec![chain("f", FORWARD, "drop"), rule("f", 1, &json!([{"counter": {}}, {"jump": {"target": "f"}}]))];
    assert_eq!(found(&objects, &outgoing()), [(None, true)]);
}
