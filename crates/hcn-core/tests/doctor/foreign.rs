//! Rules of other programs: whom they hit, how they are told, what lets packets pass.

use hcn_core::doctor::Severity;
use hcn_dataplane::{BaseChain, Rules};
use hcn_schema::call::Kind;
use serde_json::{Value, json};

use super::{DUAL, Service, set};

/// Chains of a table of another program.
fn foreign(objects: &[Value]) -> Rules {
    Rules { listings: vec![json!({"nftables": objects}).to_string()], ..Rules::default() }
}

fn base(family: &str, table: &str, hook: &str, policy: &str) -> Value {
    json!({"chain": {"family": family, "table": table, "name": "c", "hook": hook, "type": "filter", "prio": 0,
        "policy": policy}})
}

#[test]
fn a_foreign_chain_that_drops_is_found_with_whom_it_hits_and_what_lets_them_pass() {
    let service = Service::with_container(&DUAL);
    let bridge = service.bridge();
    let finding = service.one(|survey| survey.rules = foreign(&[base("ip", "filter", "forward", "drop")]));
    assert_eq!((finding.check, finding.severity), ("foreign-rules", Severity::Error));
    assert_eq!(
        (finding.subject.as_str(), finding.found.as_str()),
        ("table ip filter chain c policy", "policy drop")
    );
    for packets in [
        "from containers of \"web\" to elsewhere",
        "answers from elsewhere to containers of \"web\"",
        "from elsewhere to port 8080 of \"web\", which is published",
    ] {
        assert!(finding.consequence.contains(packets), "{finding:?}");
    }
    assert!(!finding.consequence.contains("may"), "{finding:?}");
    assert!(finding.remedy.contains(&format!("iptables -I c -i {bridge} -j ACCEPT")), "{finding:?}");
    // Where bridges show their frames, those are dropped, too.
    let mut survey = service.host();
    survey.rules = foreign(&[base("ip", "filter", "forward", "drop")]);
    set(&mut survey, "net.bridge.bridge-nf-call-iptables", "1");
    let findings = service.findings(&survey);
    assert_eq!(findings[0].check, "bridge-nf-call");
    assert!(findings[1].consequence.contains("between containers of \"web\", on its bridge"), "{findings:?}");
    // What forwards nothing of hcnd's concerns nobody.
    for (family, hook) in [("ip", "input"), ("ip", "output"), ("bridge", "forward")] {
        let mut survey = service.host();
        survey.rules = foreign(&[base(family, "filter", hook, "drop")]);
        assert_eq!(service.findings(&survey), [], "{family} {hook}");
    }
    let mut survey = Service::default().host();
    survey.rules = foreign(&[base("ip", "filter", "forward", "drop")]);
    assert_eq!(Service::default().findings(&survey), []);
}

#[test]
fn a_rule_is_told_by_its_handle_and_in_the_words_of_nft() {
    let service = Service::with_container(&DUAL);
    let statements = json!([{"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "eth0"}},
        {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]);
    let rule = json!({"rule": {"family": "inet", "table": "firewalld", "chain": "c", "handle": 12, "expr": statements}});
    let finding = service.one(|survey| {
        survey.rules = foreign(&[base("inet", "firewalld", "forward", "accept"), rule]);
        let text = "oifname \"eth0\" reject with icmpx admin-prohibited".to_owned();
        survey.rules.texts.insert(("inet firewalld".to_owned(), 12), text);
    });
    assert_eq!(finding.subject, "table inet firewalld chain c handle 12");
    assert_eq!(finding.found, "oifname \"eth0\" reject with icmpx admin-prohibited");
    assert!(finding.remedy.contains("firewall-cmd --permanent --zone=trusted"), "{finding:?}");
}

#[test]
fn two_networks_meet_a_rule_between_them() {
    let mut service = Service::with_container(&DUAL);
    service.create(
        Kind::Network,
        None,
        json!({"Type": "NAT", "Name": "db", "Ipams": [{"Subnets": [{"IpAddressPrefix": "198.51.100.0/24"}]}]}),
    );
    let bridges: Vec<String> =
        service.published.networks.iter().map(|network| network.bridge.clone()).collect();
    let condition = |key: &str, right: &str| json!({"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}});
    let statements =
        json!([condition("iifname", &bridges[0]), condition("oifname", &bridges[1]), {"drop": null}]);
    let rule = json!({"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 1, "expr": statements}});
    let finding = service.one(|survey| survey.rules = foreign(&[base("ip", "t", "forward", "accept"), rule]));
    assert_eq!(finding.consequence, "it drops packets from containers of \"web\" to those of \"db\"");
}

#[test]
fn a_rule_that_keeps_containers_from_localhost_is_enough() {
    let service = Service::with_container(&DUAL);
    let condition = json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}},
        "right": {"prefix": {"addr": "127.0.0.0", "len": 8}}}});
    let rule = json!({"rule": {"family": "ip", "table": "filter", "chain": "c", "handle": 1,
        "expr": [condition, {"drop": null}]}});
    let mut survey = service.host();
    set(&mut survey, "net.ipv4.conf.all.route_localnet", "1");
    survey.rules = foreign(&[base("ip", "filter", "input", "accept"), rule]);
    assert_eq!(service.findings(&survey), []);
}

#[test]
fn without_nft_the_kernel_tells_which_chains_drop() {
    let service = Service::with_container(&DUAL);
    let mut survey = service.host();
    let chain = |table: &str, hook: &str, drops: bool| BaseChain {
        table: table.to_owned(),
        name: "FORWARD".to_owned(),
        hook: hook.to_owned(),
        drops,
    };
    survey.rules = Rules {
        problem: Some("No such file or directory".to_owned()),
        no_nft: true,
        chains: vec![
            chain("ip filter", "forward", true),
            chain("ip6 filter", "forward", false),
            chain("ip mangle", "input", true),
            chain("inet hcnd", "forward", true),
        ],
        ..Rules::default()
    };
    survey.legacy_tables = vec!["ip filter".to_owned()];
    let findings = service.findings(&survey);
    let told: Vec<(&str, Severity)> =
        findings.iter().map(|finding| (finding.subject.as_str(), finding.severity)).collect();
    assert_eq!(
        told,
        [
            ("nft", Severity::Notice),
            ("table ip filter chain FORWARD policy", Severity::Warning),
            ("table ip filter of iptables-legacy", Severity::Notice),
        ]
    );
    assert!(findings[0].found.contains("nft is not installed"), "{findings:?}");
}
