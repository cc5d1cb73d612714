//! What Add, Remove and Update do to the lists (contract 2.12, 10 question 2).

use hcn_schema::HResult;
use hcn_schema::call::{Kind, Reference, Verb};

use crate::{Service, one, refused};

const NAT: &str = r#"{"Type":"OutBoundNAT","Settings":{"Exceptions":["10.0.0.0/8"]}}"#;
const NAT6: &str = r#"{"Type":"OutBoundNAT","Settings":{"Exceptions":["fd00::/8"],"Flags":2}}"#;
const ROUTE: &str = r#"{"Type":"SDNRoute","Settings":{"DestinationPrefix":"10.0.0.0/8","NeedEncap":true}}"#;
const PORT: &str = r#"{"Type":"PortMapping","Settings":{"InternalPort":80,"ExternalPort":8080}}"#;
const QOS: &str = r#"{"Type":"QOS","Settings":{"MaximumOutgoingBandwidthInBytes":1000}}"#;
const PROXY: &str = r#"{"Type":"L4WFPPROXY","Settings":{"OutboundProxyPort":"81"}}"#;
const L4: &str = r#"{"Type":"L4Proxy","Settings":{"Destination":"10.0.0.7:1"}}"#;
const ALLOW: &str = r#"{"Type":"ACL","Settings":{"Action":"Allow","Direction":"In","Priority":200}}"#;
const BLOCK: &str = r#"{"Type":"ACL","Settings":{"Action":"Block","Direction":"In","Priority":300}}"#;
const TIER: &str = r#"{"Type":"TierAcl","Settings":{"Name":"t","Direction":"In","Order":1}}"#;

/// The types of the policies of an endpoint with these, after a request.
fn after(present: &[&str], request: &str, given: &[&str]) -> Vec<String> {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let endpoint = service.endpoint(network, &format!("[{}]", present.join(","))).unwrap();
    service.modify(Kind::Endpoint, endpoint, request, &format!("[{}]", given.join(","))).unwrap();
    service.policies(Kind::Endpoint, endpoint)
}

/// The same of a list as it is sent.
fn shown(policies: &[&str]) -> Vec<String> {
    after(&[], "Add", policies)
}

#[test]
fn add_appends_also_what_is_there_already() {
    assert_eq!(after(&[NAT, ALLOW], "Add", &[ALLOW, NAT6, ROUTE]), shown(&[NAT, ALLOW, ALLOW, NAT6, ROUTE]));
    assert_eq!(after(&[NAT], "Add", &[]), shown(&[NAT]));
    // Twice in one request, as the tests of clients list rules (B70), and routes (B80).
    assert_eq!(after(&[], "Update", &[ALLOW, ALLOW]), shown(&[ALLOW, ALLOW]));
    assert_eq!(after(&[], "Add", &[ROUTE, ROUTE]).len(), 2);
}

#[test]
fn remove_takes_out_one_for_each_that_means_the_same() {
    assert_eq!(after(&[ALLOW, NAT, ALLOW, BLOCK], "Remove", &[ALLOW]), shown(&[NAT, ALLOW, BLOCK]));
    assert_eq!(after(&[ALLOW, NAT, ALLOW, BLOCK], "Remove", &[BLOCK, ALLOW, ALLOW]), shown(&[NAT]));
    // Serialised anew: another order of members, empty ones left out or added.
    let anew = r#"{"Settings":{"Priority":200,"RemotePorts":"","Direction":"In","Id":null,"Action":"Allow"},"Type":1}"#;
    assert_eq!(after(&[ALLOW], "Remove", &[anew]), shown(&[]));
    assert_eq!(after(&[r#"{"Type":"Iov","Settings":{}}"#], "Remove", &[r#"{"Type":"Iov"}"#]), shown(&[]));
}

#[test]
fn what_is_not_there_is_not_removed_and_nothing_else_is() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let endpoint = service.endpoint(network, &format!("[{ALLOW},{NAT}]")).unwrap();
    let before = service.policies(Kind::Endpoint, endpoint);
    for (given, place) in [
        (format!("[{BLOCK}]"), 0),
        (format!("[{NAT},{ALLOW},{ALLOW}]"), 2),
        (one("ACL", r#"{"Action":"Allow","Direction":"In","Priority":"200"}"#), 0),
        (one("ACL", "{}"), 0),
        (one("ACL", r#"{"Action":"Maybe"}"#), 0),
    ] {
        let result = service.modify(Kind::Endpoint, endpoint, "Remove", &given);
        refused(result, HResult::POLICY_NOT_FOUND, &format!("Settings.Policies[{place}]"));
    }
    let result = service.modify(Kind::Endpoint, endpoint, "Remove", r#"[{"Type":"Magic"}]"#);
    refused(result, HResult::INVALID_POLICY_TYPE, "Settings.Policies[0].Type");
    assert_eq!(service.policies(Kind::Endpoint, endpoint), before);
}

#[test]
fn update_replaces_the_types_that_it_names_and_rules_of_both_kinds_together() {
    let all = [NAT, NAT6, ROUTE, PORT, PROXY, ALLOW];
    assert_eq!(after(&all, "Update", &[BLOCK]), shown(&[NAT, NAT6, ROUTE, PORT, PROXY, BLOCK]));
    assert_eq!(after(&all, "Update", &[TIER, TIER]), shown(&[NAT, NAT6, ROUTE, PORT, PROXY, TIER, TIER]));
    assert_eq!(after(&[TIER, NAT], "Update", &[ALLOW]), shown(&[NAT, ALLOW]));
    assert_eq!(after(&all, "Update", &[NAT]), shown(&[ROUTE, PORT, PROXY, ALLOW, NAT]));
    assert_eq!(after(&all, "Update", &[QOS]), shown(&[NAT, NAT6, ROUTE, PORT, PROXY, ALLOW, QOS]));
    assert_eq!(after(&[QOS], "Update", &[QOS]), shown(&[QOS]), "the second takes the place of the first");
}

#[test]
fn update_with_nothing_clears_rules_and_proxies() {
    for nothing in [&[][..], &["{}"][..], &["{}", r#"{"Settings":null}"#][..]] {
        let present = [NAT, ALLOW, ROUTE, TIER, PROXY, PORT, L4];
        assert_eq!(after(&present, "Update", nothing), shown(&[NAT, ROUTE, PORT]));
    }
}

/// Azure NPM reads the list, takes its rules out and sends the rest, which may hold no rule any more.
#[test]
fn update_with_the_whole_list_but_its_rules_clears_the_rules() {
    assert_eq!(after(&[NAT, ALLOW, ROUTE, BLOCK], "Update", &[NAT, ROUTE]), shown(&[NAT, ROUTE]));
    assert_eq!(after(&[ALLOW, QOS], "Update", &[QOS]), shown(&[QOS]));
    // Part of the list, or one that was changed, is about what it names.
    assert_eq!(after(&[NAT, ALLOW, ROUTE], "Update", &[ROUTE]), shown(&[NAT, ALLOW, ROUTE]));
    assert_eq!(after(&[NAT, ALLOW], "Update", &[NAT6]), shown(&[ALLOW, NAT6]));
    assert_eq!(after(&[ALLOW], "Update", &[NAT]), shown(&[ALLOW, NAT]));
}

#[test]
fn there_is_one_policy_of_some_types() {
    for (kind, settings, code) in [
        ("QOS", r#"{"MaximumOutgoingBandwidthInBytes":1}"#, HResult::POLICY_ALREADY_EXISTS),
        ("ProviderAddress", r#"{"ProviderAddress":"10.0.0.1"}"#, HResult::POLICY_ALREADY_EXISTS),
        ("PortName", "{}", HResult::POLICY_ALREADY_EXISTS),
        ("EncapOverhead", "{}", HResult::POLICY_ALREADY_EXISTS),
        ("InterfaceConstraint", "{}", HResult::POLICY_ALREADY_EXISTS),
        ("VLAN", r#"{"IsolationId":1}"#, HResult::POLICY_ALREADY_EXISTS),
        ("Iov", "{}", HResult::POLICY_ALREADY_EXISTS),
        ("InterfaceParameters", r#"{"Mtu":1400}"#, HResult::INTERFACEPARAMETERS_ALREADY_APPLIED),
    ] {
        let mut service = Service::default();
        let network = service.network("NAT", "[]").unwrap();
        let policy = format!(r#"{{"Type":"{kind}","Settings":{settings}}}"#);
        refused(service.endpoint(network, &format!("[{policy},{policy}]")), code, "Policies[1]");
        let endpoint = service.endpoint(network, &format!("[{policy}]")).unwrap();
        let result = service.modify(Kind::Endpoint, endpoint, "Add", &format!("[{NAT},{policy}]"));
        refused(result, code, "Settings.Policies[1]");
        let result = service.modify(Kind::Endpoint, endpoint, "Update", &format!("[{policy},{policy}]"));
        refused(result, code, "Settings.Policies[1]");
        service.modify(Kind::Endpoint, endpoint, "Update", &format!("[{policy}]")).unwrap();
        assert_eq!(service.policies(Kind::Endpoint, endpoint).len(), 1);
    }
}

#[test]
fn a_network_has_one_policy_of_some_types() {
    let mut service = Service::default();
    let network = service.network("Overlay", "[]").unwrap();
    service.modify(Kind::Network, network, "Add", &one("HostRoute", "{}")).unwrap();
    for (kind, settings) in [
        ("HostRoute", "{}"),
        ("DrMacAddress", r#"{"Address":"00-15-5D-11-22-33"}"#),
        ("ProviderAddress", r#"{"ProviderAddress":"203.0.113.10"}"#),
    ] {
        let result = service.modify(Kind::Network, network, "Add", &one(kind, settings));
        refused(result, HResult::POLICY_ALREADY_EXISTS, "Settings.Policies[0]");
    }
    let twice = r#"[{"Type":"VxlanPort","Settings":{"Port":1}},{"Type":"VxlanPort","Settings":{"Port":2}}]"#;
    refused(service.network("Overlay", twice), HResult::POLICY_ALREADY_EXISTS, "Policies[1]");
    // flannel removes routes before it adds them again, Felix the other way round.
    let route = one(
        "RemoteSubnetRoute",
        r#"{"DestinationPrefix":"192.168.2.0/24","IsolationId":5000,"ProviderAddress":"1.1.1.1","DistributedRouterMacAddress":"00-12-34-56-78-9a"}"#,
    );
    service.modify(Kind::Network, network, "Add", &route).unwrap();
    service.modify(Kind::Network, network, "Add", &route).unwrap();
    for kept in [1, 0] {
        service.modify(Kind::Network, network, "Remove", &route).unwrap();
        let left = service.policies(Kind::Network, network);
        assert_eq!(left.iter().filter(|policy| policy.starts_with("RemoteSubnetRoute")).count(), kept);
    }
}

#[test]
fn update_of_a_network_replaces_types_but_gives_sets_new_values_in_their_places() {
    let mut service = Service::default();
    let policies = r#"[{"Type":"SetPolicy","Settings":{"Id":"a","Values":"10.0.0.1"}},
        {"Type":"NetworkACL","Settings":{"Action":"Allow","Direction":"In"}},
        {"Type":"AutomaticDNS","Settings":{"Enable":true}},
        {"Type":"SetPolicy","Settings":{"Id":"b","Values":"10.0.0.2"}}]"#;
    let network = service.network("NAT", policies).unwrap();
    let update = r#"[{"Type":"NetworkACL","Settings":{"Action":"Block","Direction":"Out","RemoteAddresses":"b"}},
        {"Type":"SetPolicy","Settings":{"Values":"10.0.0.3","Id":"a"}}]"#;
    service.modify(Kind::Network, network, "Update", update).unwrap();
    assert_eq!(
        service.policies(Kind::Network, network),
        [
            r#"SetPolicy {"Values":"10.0.0.3","Id":"a"}"#,
            r#"AutomaticDNS {"Enable":true}"#,
            r#"SetPolicy {"Id":"b","Values":"10.0.0.2"}"#,
            r#"NetworkACL {"Action":"Block","Direction":"Out","RemoteAddresses":"b"}"#,
        ]
    );
}

#[test]
fn policies_are_neither_refreshed_nor_reset() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let endpoint = service.endpoint(network, "[]").unwrap();
    for request in ["Refresh", "Reset"] {
        for (kind, id) in [(Kind::Network, network), (Kind::Endpoint, endpoint)] {
            refused(service.modify(kind, id, request, "[]"), HResult::REQUEST_UNSUPPORTED, "RequestType");
            let document = Some(format!(r#"{{"ResourceType":"Policy","RequestType":"{request}"}}"#));
            let target = Reference { id, incarnation: None };
            let result = service.call(kind, Verb::Modify { target, document });
            refused(result, HResult::REQUEST_UNSUPPORTED, "RequestType");
        }
    }
}

#[test]
fn a_mapping_that_is_refused_is_told_by_its_place_in_the_request() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    service.endpoint(network, &format!("[{PORT}]")).unwrap();
    let other = r#"{"Type":"PortMapping","Settings":{"InternalPort":80,"ExternalPort":8081}}"#;
    let endpoint = service.endpoint(network, &format!("[{ALLOW},{other},{NAT}]")).unwrap();
    for request in ["Add", "Update"] {
        let result = service.modify(Kind::Endpoint, endpoint, request, &format!("[{QOS},{PORT}]"));
        refused(result, HResult::PORT_ALREADY_EXISTS, "Settings.Policies[1].Settings.ExternalPort");
        let wrong = one("PortMapping", r#"{"InternalPort":0}"#);
        let result = service.modify(Kind::Endpoint, endpoint, request, &wrong);
        refused(result, HResult::INVALID_INTERNAL_PORT, "Settings.Policies[0].Settings.InternalPort");
    }
    let result = service.modify(Kind::Endpoint, endpoint, "Add", &format!("[{other}]"));
    refused(result, HResult::PORT_ALREADY_EXISTS, "Settings.Policies[0].Settings.ExternalPort");
    let remote = r#"{"Flags":1,"IpConfigurations":[{"IpAddress":"10.7.0.1"}],"SchemaVersion":{"Major":2}}"#;
    let parent = Some(Reference { id: network, incarnation: None });
    let create = Verb::Create { id: None, parent, document: Some(remote.to_owned()) };
    let remote = service.call(Kind::Endpoint, create).unwrap();
    let result = service.modify(Kind::Endpoint, remote, "Add", &format!("[{PORT}]"));
    refused(result, HResult::INVALID_REMOTE_ENDPOINT_OPERATION, "Settings.Policies[0].Settings");
    let result = service.modify(Kind::Endpoint, remote, "Add", &format!("[{NAT},{PORT}]"));
    refused(result, HResult::INVALID_REMOTE_ENDPOINT_OPERATION, "Settings.Policies[1].Settings");
}
