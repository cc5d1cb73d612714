//! Settings of the policies of networks and subnets, and of the routes of SDN routes.

use hcn_schema::call::{Kind, Verb};
use hcn_schema::{Error, Guid, HResult};

use crate::{Service, one, refused};

/// What clients send, each kept as it came (contract 2.13, 7, 8).
const ACCEPTED: &[(&str, &str)] = &[
    ("SourceMacAddress", r#"{"SourceMacAddress":"00-15-5D-00-00-01"}"#),
    ("NetAdapterName", r#"{"NetworkAdapterName":"eth0"}"#),
    ("InterfaceConstraint", r#"{"InterfaceAlias":"eth0"}"#),
    ("InterfaceConstraint", r#""eth0""#),
    (
        "InterfaceConstraint",
        r#"{"InterfaceGuid":"00000000-0000-0000-0000-000000000000","InterfaceMediaType":0}"#,
    ),
    ("VSwitchExtension", r#"{"ExtensionID":"583CC151-73EC-4A6A-8B47-578297AD7623","Enable":true}"#),
    ("VSwitchExtension", r#"{"ExtensionID":"no GUID","Port":4789.0}"#),
    ("ProviderAddress", r#"{"ProviderAddress":"203.0.113.10"}"#),
    ("DrMacAddress", r#"{"Address":"00-15-5D-11-22-33"}"#),
    ("AutomaticDNS", r#"{"Enable":true}"#),
    ("AutomaticDNS", r#"{"Enable":"0"}"#),
    ("AutomaticDNS", "{}"),
    (
        "RemoteSubnetRoute",
        r#"{"DestinationPrefix":"192.168.2.0/24","IsolationId":5000,"ProviderAddress":"1.1.1.1","DistributedRouterMacAddress":"00-12-34-56-78-9a"}"#,
    ),
    (
        "RemoteSubnetRoute",
        r#"{"IsolationId":16777215,"DistributedRouterMacAddress":"00:12:34:56:78:9A","ProviderAddress":"2001:db8::1","DestinationPrefix":"fd00:1::7/64"}"#,
    ),
    ("VxlanPort", r#"{"Port":8472}"#),
    ("VxlanPort", r#"{"Port":"4789"}"#),
    ("VxlanPort", "{}"),
    ("HostRoute", "{}"),
    ("HostRoute", r#"{"Note":"whatever"}"#),
    ("HostRoute", r#""""#),
    (
        "SetPolicy",
        r#"{"Id":"azure-npm-1001","Name":"podlabel-app:web","PolicyType":"IPSET","Values":"192.0.2.11,192.0.2.12"}"#,
    ),
    ("SetPolicy", r#"{"Id":"s","PolicyType":0,"Values":"10.0.0.0/8, fd00::1,10.0.0.9/8"}"#),
    ("SetPolicy", r#"{"Id":"s","Values":""}"#),
    ("SetPolicy", r#"{"Id":"n","Name":"n","PolicyType":"nestedipset","Values":""}"#),
    (
        "L4Proxy",
        r#"{"IP":"10.0.0.0/8","Port":"80","Protocol":6,"Exceptions":["10.0.0.9"],"Destination":"10.0.0.7:15001","OutboundNAT":true}"#,
    ),
    ("L4Proxy", r#"{"ExceptionList":null,"Destination":"10.0.0.7:15001"}"#),
    ("LayerConstraint", r#"{"LayerId":"{5F0B1190-63BE-4E0C-B974-BD0F55675A42}"}"#),
    (
        "NetworkACL",
        r#"{"Protocols":"6","Action":"Block","Direction":"In","RemoteAddresses":"203.0.113.66","LocalPorts":"22","RuleType":"Switch","Priority":200}"#,
    ),
    (
        "NetworkACL",
        r#"{"Protocols":"6","Action":"Allow","Direction":"In","LocalAddresses":"192.168.100.0/24,10.0.0.21","RemoteAddresses":"192.168.100.0/24,10.0.0.21","LocalPorts":"80,8080","RemotePorts":"80,8080","RuleType":"Switch","Priority":200}"#,
    ),
    (
        "NeighborDiscovery",
        r#"{"TargetIpPrefix":"10.0.0.0/24","SenderIpAddress":"10.0.0.1","SenderMacAddress":"00-15-5D-00-00-01"}"#,
    ),
    ("NeighborDiscovery", r#"{"TargetIpPrefix":"fd00::/64","SenderIpAddress":"","SenderMacAddress":null}"#),
    ("AutomaticDNS", "[]"),
    ("VSwitchExtension", "[1e999]"),
];

/// What is wrong, and where: the path behind `Settings`.
const REFUSED: &[(&str, &str, &str)] = &[
    ("SourceMacAddress", "{}", ".SourceMacAddress"),
    ("SourceMacAddress", r#"{"SourceMacAddress":"00-15"}"#, ".SourceMacAddress"),
    ("SourceMacAddress", r#"{"SourceMacAddress":"01-00-5E-00-00-01"}"#, ".SourceMacAddress"),
    ("NetAdapterName", "{}", ".NetworkAdapterName"),
    ("NetAdapterName", r#"{"NetworkAdapterName":""}"#, ".NetworkAdapterName"),
    ("NetAdapterName", r#"{"NetworkAdapterName":7}"#, ".NetworkAdapterName"),
    ("InterfaceConstraint", r#"{"InterfaceGuid":"eth0"}"#, ".InterfaceGuid"),
    ("InterfaceConstraint", r#"{"InterfaceLuid":-1}"#, ".InterfaceLuid"),
    ("ProviderAddress", "{}", ".ProviderAddress"),
    ("ProviderAddress", r#"{"ProviderAddress":"here"}"#, ".ProviderAddress"),
    ("DrMacAddress", "{}", ".Address"),
    ("DrMacAddress", r#"{"Address":"00-00-00-00-00-00"}"#, ".Address"),
    ("AutomaticDNS", r#"{"Enable":"maybe"}"#, ".Enable"),
    ("AutomaticDNS", "true", ""),
    ("RemoteSubnetRoute", "{}", ".DestinationPrefix"),
    (
        "RemoteSubnetRoute",
        r#"{"DestinationPrefix":"everywhere","IsolationId":5000,"ProviderAddress":"1.1.1.1","DistributedRouterMacAddress":"00-12-34-56-78-9a"}"#,
        ".DestinationPrefix",
    ),
    (
        "RemoteSubnetRoute",
        r#"{"DestinationPrefix":"192.168.2.0/24","ProviderAddress":"1.1.1.1","DistributedRouterMacAddress":"00-12-34-56-78-9a"}"#,
        ".IsolationId",
    ),
    (
        "RemoteSubnetRoute",
        r#"{"DestinationPrefix":"192.168.2.0/24","IsolationId":0,"ProviderAddress":"1.1.1.1","DistributedRouterMacAddress":"00-12-34-56-78-9a"}"#,
        ".IsolationId",
    ),
    (
        "RemoteSubnetRoute",
        r#"{"DestinationPrefix":"192.168.2.0/24","IsolationId":16777216,"ProviderAddress":"1.1.1.1","DistributedRouterMacAddress":"00-12-34-56-78-9a"}"#,
        ".IsolationId",
    ),
    (
        "RemoteSubnetRoute",
        r#"{"DestinationPrefix":"192.168.2.0/24","IsolationId":5000,"DistributedRouterMacAddress":"00-12-34-56-78-9a"}"#,
        ".ProviderAddress",
    ),
    (
        "RemoteSubnetRoute",
        r#"{"DestinationPrefix":"192.168.2.0/24","IsolationId":5000,"ProviderAddress":"x","DistributedRouterMacAddress":"00-12-34-56-78-9a"}"#,
        ".ProviderAddress",
    ),
    (
        "RemoteSubnetRoute",
        r#"{"DestinationPrefix":"192.168.2.0/24","IsolationId":5000,"ProviderAddress":"1.1.1.1"}"#,
        ".DistributedRouterMacAddress",
    ),
    (
        "RemoteSubnetRoute",
        r#"{"DestinationPrefix":"192.168.2.0/24","IsolationId":5000,"ProviderAddress":"1.1.1.1","DistributedRouterMacAddress":"00-12"}"#,
        ".DistributedRouterMacAddress",
    ),
    ("VxlanPort", r#"{"Port":0}"#, ".Port"),
    ("VxlanPort", r#"{"Port":70000}"#, ".Port"),
    ("HostRoute", "1", ""),
    ("HostRoute", r#"["x"]"#, ""),
    ("SetPolicy", "{}", ".Id"),
    ("SetPolicy", r#"{"Id":"","PolicyType":"IPSET"}"#, ".Id"),
    ("SetPolicy", r#"{"Id":"a,b","PolicyType":"IPSET"}"#, ".Id"),
    ("SetPolicy", r#"{"Id":" a","PolicyType":"IPSET"}"#, ".Id"),
    ("SetPolicy", r#"{"Id":"10.0.0.1","PolicyType":"IPSET"}"#, ".Id"),
    ("SetPolicy", r#"{"Id":"a","PolicyType":"BAG"}"#, ".PolicyType"),
    ("SetPolicy", r#"{"Id":"a","PolicyType":"IPSET","Values":"192.0.2.1,door"}"#, ".Values"),
    ("SetPolicy", r#"{"Id":"a","PolicyType":"IPSET","Values":["192.0.2.1"]}"#, ".Values"),
    ("SetPolicy", r#"{"Id":"a","PolicyType":"IPSET","Values":"192.0.2.1:80"}"#, ".Values"),
    ("SetPolicy", r#"{"Id":"a","PolicyType":"NESTEDIPSET","Values":"nowhere"}"#, ".Values"),
    ("SetPolicy", r#"{"Id":"a","PolicyType":"NESTEDIPSET","Values":"a"}"#, ".Values"),
    ("L4Proxy", r#"{"Destination":"10.0.0.7"}"#, ".Destination"),
    ("LayerConstraint", "{}", ".LayerId"),
    ("LayerConstraint", r#"{"LayerId":"x"}"#, ".LayerId"),
    ("NetworkACL", r#"{"Direction":"In"}"#, ".Action"),
    ("NetworkACL", r#"{"Action":"Pass","Direction":"In"}"#, ".Action"),
    ("NetworkACL", r#"{"Action":"Allow"}"#, ".Direction"),
    (
        "NetworkACL",
        r#"{"Action":"Allow","Direction":"In","RemoteAddresses":"no-such-set"}"#,
        ".RemoteAddresses",
    ),
    ("NetworkACL", r#"{"Action":"Allow","Direction":"In","RemotePorts":"80-"}"#, ".RemotePorts"),
    ("NeighborDiscovery", "{}", ".TargetIpPrefix"),
    ("NeighborDiscovery", r#"{"TargetIpPrefix":"10.0.0.0/24","SenderIpAddress":"x"}"#, ".SenderIpAddress"),
    ("NeighborDiscovery", r#"{"TargetIpPrefix":"10.0.0.0/24","SenderMacAddress":"x"}"#, ".SenderMacAddress"),
    ("AutomaticDNS", r#"{"Enable":[true]}"#, ".Enable"),
];

#[test]
fn what_clients_send_is_accepted_and_comes_back_byte_for_byte() {
    let mut service = Service::default();
    for (kind, settings) in ACCEPTED {
        let created = service.network("Overlay", &one(kind, settings));
        let created = created.unwrap_or_else(|error| panic!("{kind} {settings}: {error}"));
        assert_eq!(service.policies(Kind::Network, created)[0], format!("{kind} {settings}"));
        service.delete(Kind::Network, created);
    }
    // Those of which the service makes one itself were there already.
    let network = service.network("Overlay", "[]").unwrap();
    let before = service.policies(Kind::Network, network);
    let own = ["DrMacAddress", "ProviderAddress"];
    for (kind, settings) in ACCEPTED.iter().filter(|(kind, _)| !own.contains(kind)) {
        service.modify(Kind::Network, network, "Add", &one(&kind.to_uppercase(), settings)).unwrap();
        assert_eq!(service.policies(Kind::Network, network)[2..], [format!("{kind} {settings}")]);
        service.modify(Kind::Network, network, "Remove", &one(kind, settings)).unwrap();
        assert_eq!(service.policies(Kind::Network, network), before);
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    let mut service = Service::default();
    let network = service.network("Overlay", "[]").unwrap();
    let before = service.policies(Kind::Network, network);
    for (kind, settings, member) in REFUSED {
        let policy = one(kind, settings);
        let result = service.network("Overlay", &policy);
        let error = result.as_ref().unwrap_err();
        assert!(error.expected.is_some(), "{kind} {settings}: {error}");
        refused(result, HResult::INVALID_POLICY, &format!("Policies[0].Settings{member}"));
        if ["DrMacAddress", "ProviderAddress"].contains(kind) {
            continue;
        }
        let policies = format!(
            r#"[{{"Type":"NetworkACL","Settings":{{"Action":"Allow","Direction":"In"}}}},{}"#,
            &policy[1..]
        );
        let result = service.modify(Kind::Network, network, "Add", &policies);
        refused(result, HResult::INVALID_POLICY, &format!("Settings.Policies[1].Settings{member}"));
    }
    assert_eq!(service.policies(Kind::Network, network), before, "of a refused request nothing is done");
}

#[test]
fn what_only_an_overlay_has_is_refused_elsewhere() {
    let mut service = Service::default();
    let route = r#"{"DestinationPrefix":"192.168.2.0/24","IsolationId":5000,"ProviderAddress":"1.1.1.1","DistributedRouterMacAddress":"00-12-34-56-78-9a"}"#;
    let bridge = service.network("L2Bridge", "[]").unwrap();
    for (kind, settings) in [
        ("RemoteSubnetRoute", route),
        ("HostRoute", "{}"),
        ("VxlanPort", r#"{"Port":4789}"#),
        ("DrMacAddress", r#"{"Address":"00-15-5D-11-22-33"}"#),
    ] {
        for mode in
            ["NAT", "ICS", "Transparent", "L2Bridge", "L2Tunnel", "Private", "Internal", "ConstrainedICS"]
        {
            let result = service.network(mode, &one(kind, settings));
            refused(result, HResult::INVALID_POLICY_TYPE, "Policies[0].Type");
        }
        for request in ["Add", "Update"] {
            let result = service.modify(Kind::Network, bridge, request, &one(kind, settings));
            refused(result, HResult::INVALID_POLICY_TYPE, "Settings.Policies[0].Type");
        }
    }
    // What means nothing to a type of network does not harm it.
    let harmless = r#"[{"Type":"NetAdapterName","Settings":{"NetworkAdapterName":"Ethernet 7"}},
        {"Type":"SourceMacAddress","Settings":{"SourceMacAddress":"00-15-5D-00-00-01"}},
        {"Type":"SetPolicy","Settings":{"Id":"s","PolicyType":"IPSET","Values":""}}]"#;
    service.network("NAT", harmless).unwrap();
}

fn with_subnet(service: &mut Service, policies: &str) -> Result<Guid, Error> {
    let document = format!(
        r#"{{"Type":"Overlay","Ipams":[{{"Subnets":[{{"IpAddressPrefix":"10.8.0.0/24","Policies":{policies}}}]}}],
            "SchemaVersion":{{"Major":2}}}}"#
    );
    service.call(Kind::Network, Verb::Create { id: None, parent: None, document: Some(document) })
}

#[test]
fn a_subnet_has_a_vlan_and_a_vsid_nested_or_flat() {
    let mut service = Service::default();
    for policies in [
        r#"[{"Type":"VSID","Settings":{"IsolationId":4096}}]"#,
        r#"[{"Type":"VLAN","Settings":{"IsolationId":"100"}},{"Type":"VSID","Settings":{"IsolationId":16777215}}]"#,
        r#"[{"Type":"VLAN","IsolationId":4094}]"#,
        r#"[{"Type":1,"Settings":{},"IsolationId":1}]"#,
        "[]",
        "null",
    ] {
        let network =
            with_subnet(&mut service, policies).unwrap_or_else(|error| panic!("{policies}: {error}"));
        service.delete(Kind::Network, network);
    }
    for (policies, code, path) in [
        (
            r#"[{"Type":"VLAN","Settings":{"IsolationId":4095}}]"#,
            HResult::INVALID_POLICY,
            "[0].Settings.IsolationId",
        ),
        (
            r#"[{"Type":"VLAN","Settings":{"IsolationId":"x"}}]"#,
            HResult::INVALID_POLICY,
            "[0].Settings.IsolationId",
        ),
        (
            r#"[{"Type":"VSID","Settings":{"IsolationId":16777216}}]"#,
            HResult::INVALID_POLICY,
            "[0].Settings.IsolationId",
        ),
        (r#"[{"Type":"VSID","Settings":5000}]"#, HResult::INVALID_POLICY, "[0].Settings"),
        (r#"[{"Type":"VSID"}]"#, HResult::INVALID_POLICY, "[0].Settings.IsolationId"),
        (r#"[{"Type":"VLAN","IsolationId":5000}]"#, HResult::INVALID_POLICY, "[0].IsolationId"),
        (r#"[{"Type":"Magic","IsolationId":1}]"#, HResult::INVALID_POLICY_TYPE, "[0].Type"),
        (r#"[{"IsolationId":1}]"#, HResult::INVALID_POLICY_TYPE, "[0].Type"),
        (
            r#"[{"Type":"VLAN","IsolationId":1},{"Type":"VLAN","IsolationId":2}]"#,
            HResult::POLICY_ALREADY_EXISTS,
            "[1]",
        ),
    ] {
        refused(with_subnet(&mut service, policies), code, &format!("Ipams[0].Subnets[0].Policies{path}"));
    }
}

#[test]
fn routes_of_sdn_routes_have_the_codes_of_routes() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let endpoint = service.endpoint(network, "[]").unwrap();
    let mut create = |list: &str| {
        let document =
            format!(r#"{{"HostComputeEndpoints":["{endpoint}"],{list},"SchemaVersion":{{"Major":2}}}}"#);
        service.call(Kind::SdnRoute, Verb::Create { id: None, parent: None, document: Some(document) })
    };
    create(r#""Setting":[{"DestinationPrefix":"169.254.169.254/24","NextHop":"127.10.0.34"}]"#).unwrap();
    create(r#""Routes":[{"DestinationPrefix":"fd00::/8","NeedEncap":true}]"#).unwrap();
    let result = create(r#""Routes":[{"DestinationPrefix":"nowhere","NextHop":"192.0.2.1"}]"#);
    refused(result, HResult::INVALID_PREFIX, "Routes[0].DestinationPrefix");
    let result = create(r#""Setting":[{"DestinationPrefix":"10.0.0.0/8"},{"NextHop":"192.0.2.1"}]"#);
    refused(result, HResult::INVALID_PREFIX, "Setting[1].DestinationPrefix");
    let result = create(r#""Setting":[{"DestinationPrefix":"198.51.100.0/24","NextHop":"x"}]"#);
    refused(result, HResult::INVALID_IP, "Setting[0].NextHop");
}
