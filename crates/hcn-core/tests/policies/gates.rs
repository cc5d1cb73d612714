//! What a client that is told an older version of HNS may not use yet (contract 5.5).

use hcn_schema::HResult;
use hcn_schema::call::{Kind, Verb};

use crate::{Service, one, refused};

#[test]
fn policy_types_need_the_version_that_brought_them() {
    let route = r#"{"DestinationPrefix":"192.168.2.0/24","IsolationId":5000,"ProviderAddress":"1.1.1.1","DistributedRouterMacAddress":"00-12-34-56-78-9a"}"#;
    let on_network = [
        ("RemoteSubnetRoute", route, "9.1", "9.2", "Type"),
        ("HostRoute", "{}", "9.1", "9.2", "Type"),
        ("VxlanPort", "{}", "10.2", "10.3", "Type"),
        ("SetPolicy", r#"{"Id":"a"}"#, "12.9", "13.0", "Type"),
        ("SetPolicy", r#"{"Id":"a","PolicyType":"NESTEDIPSET"}"#, "14.9", "15.0", "Settings.PolicyType"),
        ("SetPolicy", r#"{"Id":"a","PolicyType":1}"#, "14.9", "15.0", "Settings.PolicyType"),
        ("L4Proxy", r#"{"Destination":"10.0.0.7:1"}"#, "13.0", "13.1", "Type"),
        ("NetworkACL", r#"{"Action":"Allow","Direction":"In"}"#, "14.9", "15.0", "Type"),
    ];
    let on_endpoint = [
        ("L4Proxy", r#"{"Destination":"10.0.0.7:1"}"#, "12.0", "12.1", "Type"),
        ("L4WFPPROXY", r#"{"InboundProxyPort":"80"}"#, "13.1", "13.2", "Type"),
        ("TierAcl", r#"{"Direction":"In"}"#, "13.9", "14.0", "Type"),
        (
            "ACL",
            r#"{"Action":"Allow","Direction":"In","Protocols":"6, 252"}"#,
            "10.9",
            "11.0",
            "Settings.Protocols",
        ),
        ("ACL", r#"{"Action":"Allow","Direction":"In","Id":"a"}"#, "7.1", "7.2", "Settings.Id"),
        (
            "ACL",
            r#"{"Action":"Allow","Direction":"In","LocalAddresses":"10.0.0.1,10.0.0.2"}"#,
            "7.1",
            "7.2",
            "Settings.LocalAddresses",
        ),
        (
            "ACL",
            r#"{"Action":"Allow","Direction":"In","RemoteAddresses":"10.0.0.1,10.0.0.2"}"#,
            "7.1",
            "7.2",
            "Settings.RemoteAddresses",
        ),
        (
            "ACL",
            r#"{"Action":"Allow","Direction":"In","LocalPorts":"80-90"}"#,
            "7.1",
            "7.2",
            "Settings.LocalPorts",
        ),
        (
            "ACL",
            r#"{"Action":"Allow","Direction":"In","RemotePorts":"80,90"}"#,
            "7.1",
            "7.2",
            "Settings.RemotePorts",
        ),
        (
            "ACL",
            r#"{"Action":"Allow","Direction":"In","RuleType":"Host"}"#,
            "7.1",
            "7.2",
            "Settings.Priority",
        ),
    ];
    for (kind, cases) in [(Kind::Network, &on_network[..]), (Kind::Endpoint, &on_endpoint[..])] {
        let mut service = Service::default();
        let network = service.network("Overlay", "[]").unwrap();
        let id = if kind == Kind::Network { network } else { service.endpoint(network, "[]").unwrap() };
        for (policy, settings, before, since, member) in cases {
            service.hns = before.parse().unwrap();
            let result = service.modify(kind, id, "Add", &one(policy, settings));
            refused(result, HResult::REQUEST_UNSUPPORTED, &format!("Settings.Policies[0].{member}"));
            service.hns = since.parse().unwrap();
            service.modify(kind, id, "Add", &one(policy, settings)).unwrap();
            service.hns = hcn_schema::hns::HnsVersion::NEWEST;
            service.modify(kind, id, "Remove", &one(policy, settings)).unwrap();
        }
    }
}

#[test]
fn what_the_first_versions_had_passes() {
    let mut service = Service::default();
    let network = service.network("Overlay", "[]").unwrap();
    let endpoint = service.endpoint(network, "[]").unwrap();
    service.hns = "7.0".parse().unwrap();
    for rule in [
        r#"{"Action":"Allow","Direction":"In","Protocols":"6","RemoteAddresses":"10.0.0.0/8","LocalPorts":"80","Priority":100}"#,
        r#"{"Action":"Allow","Direction":"In","RuleType":"Host","Priority":100}"#,
    ] {
        service.modify(Kind::Endpoint, endpoint, "Add", &one("ACL", rule)).unwrap();
    }
    service.modify(Kind::Endpoint, endpoint, "Add", &one("OutBoundNAT", "{}")).unwrap();
}

/// Clients of versions without documents of version 2 have those of version 1.
#[test]
fn flat_rules_have_the_same_gates() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let mut create = |version: &str, members: &str| {
        service.hns = version.parse().unwrap();
        let document = format!(
            r#"{{"VirtualNetwork":"{network}","Policies":[{{"Type":"ACL","Action":"Allow","Direction":"In",{members}}}]}}"#
        );
        service.call(Kind::Endpoint, Verb::Create { id: None, parent: None, document: Some(document) })
    };
    for (members, path) in [
        (r#""Protocol":6,"Id":"a""#, "Policies[0].Id"),
        (r#""RemoteAddresses":"10.0.0.1,10.0.0.2""#, "Policies[0].RemoteAddresses"),
        (r#""LocalPorts":"80-90""#, "Policies[0].LocalPorts"),
        (r#""RuleType":"Host""#, "Policies[0].Priority"),
    ] {
        refused(create("7.1", members), HResult::REQUEST_UNSUPPORTED, path);
        create("7.2", members).unwrap();
    }
    create("7.1", r#""Protocol":6,"LocalPort":80,"RemoteAddresses":"10.0.0.0/8","Priority":1000"#).unwrap();
}
