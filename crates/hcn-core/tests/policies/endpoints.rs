//! Settings of the policies of endpoints.

use hcn_schema::HResult;
use hcn_schema::call::Kind;

use crate::{Service, one, refused};

/// What clients send, each kept as it came (contract 2.14, 7, 8).
pub(crate) const ACCEPTED: &[(&str, &str)] = &[
    ("PortMapping", r#"{"Protocol":17,"InternalPort":45678,"ExternalPort":56789}"#),
    ("PortMapping", r#"{"InternalPort":"80","ExternalPort":"8080","VIP":"","Flags":1}"#),
    (
        "ACL",
        r#"{"Protocols":"6","Action":"Allow","Direction":"In","LocalAddresses":"192.168.100.0/24,10.0.0.21","RemoteAddresses":"192.168.100.0/24,10.0.0.21","LocalPorts":"80,8080","RemotePorts":"80,8080","RuleType":"Switch","Priority":200}"#,
    ),
    (
        "ACL",
        r#"{"Protocols":"","Action":"Block","Direction":"Out","LocalAddresses":"","RemoteAddresses":"10.1.2.3/8","LocalPorts":"","RemotePorts":"","Priority":65499}"#,
    ),
    ("ACL", r#"{"Action":"Allow","Direction":"In","RuleType":"Host"}"#),
    ("ACL", r#"{"Action":"allow","Direction":"OUT","Protocols":"256","Priority":"1000"}"#),
    (
        "ACL",
        r#"{"Action":1,"Direction":0,"RuleType":1,"Protocols":"252","RemotePorts":"0-65535,80 , 443-445"}"#,
    ),
    (
        "ACL",
        r#"{"Id":"azure-acl-prod-p1","Action":"Block","Direction":"In","RuleType":"Switch","Priority":3000}"#,
    ),
    (
        "ACL",
        r#"{"Protocols":"TCP,udp,132","Action":"Allow","Direction":"In","RemoteAddresses":"2001:db8:0:0::/64,::1","Unknown":[1]}"#,
    ),
    (
        "ACL",
        r#"{"Protocols":null,"Action":"Allow","Direction":"In","RemoteAddresses":{},"LocalPorts":[],"Id":""}"#,
    ),
    ("QOS", r#"{"MaximumOutgoingBandwidthInBytes":1250000}"#),
    ("QOS", r#"{"MaximumOutgoingBandwidthInBytes":"18446744073709551615"}"#),
    ("QOS", "{}"),
    ("L2Driver", "{}"),
    ("L2Driver", r#"["whatever",1.50]"#),
    ("OutBoundNAT", "{}"),
    ("OutBoundNAT", r#"{"Exceptions":["198.51.100.0/24","192.0.2.0/24"]}"#),
    ("OutBoundNAT", r#"{"Exceptions":null,"VirtualIP":""}"#),
    (
        "OutBoundNAT",
        r#"{"VirtualIP":"203.0.113.10","Exceptions":["",null,"10.0.0.1/8"],"Flags":2,"MaxPortPoolUsage":64}"#,
    ),
    ("OutBoundNAT", r#"{"Destinations":["10.0.0.5","fd00::5"],"Flags":"LocalRoutedVip,IPv6"}"#),
    ("SDNRoute", r#"{"DestinationPrefix":"192.0.2.0/24","NeedEncap":true}"#),
    ("SDNRoute", r#"{"DestinationPrefix":"169.254.169.254/24","NextHop":"127.10.0.34"}"#),
    (
        "SDNRoute",
        r#"{"DestinationPrefix":"0.0.0.0/0","NextHop":"","NeedEncap":"false","AutomaticEndpointMonitor":0}"#,
    ),
    ("SDNRoute", r#"{"DestinationPrefix":"fd00::/8","NextHop":"0.0.0.0"}"#),
    ("L4Proxy", r#"{"Destination":"10.0.0.7:15001"}"#),
    (
        "L4Proxy",
        r#"{"IP":"10.0.0.0/8","Port":"80","Protocol":6,"ExceptionList":["10.0.0.9","10.1.0.0/16"],"Destination":"10.0.0.7:15001","OutboundNat":true}"#,
    ),
    (
        "L4Proxy",
        r#"{"Port":"80","Protocol":"tcp","Exceptions":["10.0.0.9"],"Destination":"[fd00::7]:15001","OutboundNAT":false}"#,
    ),
    ("L4Proxy", r#"{"Protocol":47,"Destination":"10.0.0.7:1"}"#),
    (
        "L4WFPPROXY",
        r#"{"InboundProxyPort":"80","OutboundProxyPort":"81","FilterTuple":{"Protocols":"6","RemoteAddresses":"10.0.0.4","Priority":8},"UserSID":"user-1","InboundExceptions":{},"OutboundExceptions":{"IpAddressExceptions":["10.0.0.4"],"PortExceptions":["22","8000-8100"]}}"#,
    ),
    (
        "L4WFPPROXY",
        r#"{"OutboundProxyPort":"15001","UserSID":"S-1-5-32-556","FilterTuple":{"Protocols":"6"}}"#,
    ),
    ("L4WFPPROXY", r#"{"InboundProxyPort":"15003","FilterTuple":{}}"#),
    ("ProviderAddress", r#"{"ProviderAddress":"203.0.113.20"}"#),
    ("ProviderAddress", r#"{"ProviderAddress":"2001:db8::20"}"#),
    ("PortName", r#"{"Name":""}"#),
    ("PortName", r#"{"Name":"eth0 of a pod"}"#),
    ("PortName", "{}"),
    ("EncapOverhead", r#"{"Overhead":50}"#),
    ("EncapOverhead", r#"{"Overhead":"0"}"#),
    ("EncapOverhead", r#"{"Overhead":874}"#),
    ("EncapOverhead", "{}"),
    ("InterfaceConstraint", r#"{"InterfaceAlias":"eth0"}"#),
    (
        "InterfaceConstraint",
        r#"{"InterfaceGuid":"00000000-0000-0000-0000-000000000000","InterfaceLuid":0,"InterfaceIndex":0,"InterfaceMediaType":0}"#,
    ),
    ("InterfaceConstraint", r#"{"InterfaceGuid":"{5F0B1190-63BE-4E0C-B974-BD0F55675A42}"}"#),
    ("InterfaceConstraint", r#""eth0""#),
    ("VLAN", r#"{"IsolationId":1}"#),
    ("VLAN", r#"{"IsolationId":"4094"}"#),
    ("InterfaceParameters", r#"{"Mtu":576}"#),
    ("InterfaceParameters", r#"{"Mtu":9000}"#),
    ("Iov", r#"{"IovOffloadWeight":100}"#),
    ("Iov", r#"{"IovOffloadWeight":100,"QueuePairsRequested":1,"InterruptModeration":200}"#),
    ("Iov", r#"{"InterruptModeration":7}"#),
    ("Iov", r#"{"InterruptModeration":"IovInterruptModerationAdaptive"}"#),
    ("Iov", "{}"),
    (
        "TierAcl",
        r#"{"Name":"TierIn1","Direction":"In","Order":1001,"TierAclRules":[{"Id":"r1","Protocols":"6","TierAclRuleAction":"Pass","RemoteAddresses":"198.51.100.0/24","LocalPorts":"80","Priority":2001},{"Id":"r2","TierAclRuleAction":"Block","Priority":2100}]}"#,
    ),
    ("TierAcl", r#"{"Name":"TierOut1","Direction":"Out","TierAclRules":[{"TierAclRuleAction":"Allow"}]}"#),
    ("TierAcl", r#"{"Direction":1,"Order":"65535","TierAclRules":[]}"#),
    ("TierAcl", r#"{"Name":"T1","Direction":"In","Order":1}"#),
    ("Firewall", r#"{"VmType":"WSL","FirewallPolicyFlags":"ConstrainedInterface"}"#),
    ("Firewall", r#"{"VmCreatorId":"5f0b1190-63be-4e0c-b974-bd0f55675a42","PolicyFlags":1}"#),
    ("Firewall", r#"{"a":{"b":[1e999]}}"#),
    // Blank settings say nothing, and come back nevertheless.
    ("QOS", r#""""#),
    ("OutBoundNAT", "[]"),
    ("Iov", "{ }"),
    ("L2Driver", r#""""#),
    ("EncapOverhead", "[ ]"),
    ("PortName", r#""""#),
    // Everything between the members is kept, too.
    ("ACL", "{ \"Action\" : \"\\u0041llow\",\t\"Direction\":\"In\" , \"Priority\":1 }"),
    ("QOS", r#"{"MaximumOutgoingBandwidthInBytes":8,"Note":1.50e+01}"#),
    ("SDNRoute", r#"{"NeedEncap":true,"DestinationPrefix":"10.0.0.0/8","z":{},"a":null}"#),
    ("Firewall", "12"),
];

/// What is wrong, and where: the path behind `Settings`.
const REFUSED: &[(&str, &str, &str)] = &[
    ("ACL", "{}", ".Action"),
    ("ACL", "7", ""),
    ("ACL", r#""ACL""#, ""),
    ("ACL", "[1]", ""),
    ("ACL", r#"{"Direction":"In"}"#, ".Action"),
    ("ACL", r#"{"Action":"Allow"}"#, ".Direction"),
    ("ACL", r#"{"Action":"Maybe","Direction":"In"}"#, ".Action"),
    ("ACL", r#"{"Action":"Pass","Direction":"In"}"#, ".Action"),
    ("ACL", r#"{"Action":["Allow"],"Direction":"In"}"#, ".Action"),
    ("ACL", r#"{"Action":"Allow","Direction":"Up"}"#, ".Direction"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","RuleType":"Door"}"#, ".RuleType"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","Priority":65536}"#, ".Priority"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","Priority":-1}"#, ".Priority"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","Priority":1.5}"#, ".Priority"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","Protocols":"6,x"}"#, ".Protocols"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","Protocols":"257"}"#, ".Protocols"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","LocalAddresses":"300.0.0.1"}"#, ".LocalAddresses"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","RemoteAddresses":"192.0.2.0/33"}"#, ".RemoteAddresses"),
    (
        "ACL",
        r#"{"Action":"Allow","Direction":"In","RemoteAddresses":"10.0.0.1,no-such-set"}"#,
        ".RemoteAddresses",
    ),
    ("ACL", r#"{"Action":"Allow","Direction":"In","RemoteAddresses":["10.0.0.1"]}"#, ".RemoteAddresses"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","RemoteAddresses":"10.0.0.1,"}"#, ".RemoteAddresses"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","LocalPorts":"90-80"}"#, ".LocalPorts"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","LocalPorts":"http"}"#, ".LocalPorts"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","RemotePorts":"80-"}"#, ".RemotePorts"),
    ("ACL", r#"{"Action":"Allow","Direction":"In","RemotePorts":"70000"}"#, ".RemotePorts"),
    ("QOS", r#"{"MaximumOutgoingBandwidthInBytes":"fast"}"#, ".MaximumOutgoingBandwidthInBytes"),
    (
        "QOS",
        r#"{"MaximumOutgoingBandwidthInBytes":18446744073709551616}"#,
        ".MaximumOutgoingBandwidthInBytes",
    ),
    ("QOS", r#"{"MaximumOutgoingBandwidthInBytes":-1}"#, ".MaximumOutgoingBandwidthInBytes"),
    ("OutBoundNAT", r#"{"VirtualIP":"x"}"#, ".VirtualIP"),
    ("OutBoundNAT", r#"{"VirtualIP":"0.0.0.0"}"#, ".VirtualIP"),
    ("OutBoundNAT", r#"{"Exceptions":"10.0.0.0/8"}"#, ".Exceptions"),
    ("OutBoundNAT", r#"{"Exceptions":["10.0.0.0/8","everything"]}"#, ".Exceptions[1]"),
    ("OutBoundNAT", r#"{"Destinations":["192.0.2.5/40"]}"#, ".Destinations[0]"),
    ("OutBoundNAT", r#"{"Flags":"Turbo"}"#, ".Flags"),
    ("OutBoundNAT", r#"{"MaxPortPoolUsage":65536}"#, ".MaxPortPoolUsage"),
    ("SDNRoute", "{}", ".DestinationPrefix"),
    ("SDNRoute", r#"{"DestinationPrefix":"10.0.0.0"}"#, ".DestinationPrefix"),
    ("SDNRoute", r#"{"DestinationPrefix":"10.0.0.0/8","NextHop":"x"}"#, ".NextHop"),
    ("SDNRoute", r#"{"DestinationPrefix":"10.0.0.0/8","NextHop":"fd00::1"}"#, ".NextHop"),
    ("SDNRoute", r#"{"DestinationPrefix":"10.0.0.0/8","NeedEncap":"yes"}"#, ".NeedEncap"),
    ("L4Proxy", "{}", ".Destination"),
    ("L4Proxy", r#"{"Destination":"10.0.0.7"}"#, ".Destination"),
    ("L4Proxy", r#"{"Destination":"10.0.0.7:0"}"#, ".Destination"),
    ("L4Proxy", r#"{"Destination":"proxy:80"}"#, ".Destination"),
    ("L4Proxy", r#"{"Destination":"10.0.0.7:1,10.0.0.8:1"}"#, ".Destination"),
    ("L4Proxy", r#"{"Destination":"10.0.0.7:1","IP":"x"}"#, ".IP"),
    ("L4Proxy", r#"{"Destination":"10.0.0.7:1","Port":"x"}"#, ".Port"),
    ("L4Proxy", r#"{"Destination":"10.0.0.7:1","Protocol":257}"#, ".Protocol"),
    ("L4Proxy", r#"{"Destination":"10.0.0.7:1","Protocol":"pigeon"}"#, ".Protocol"),
    ("L4Proxy", r#"{"Destination":"10.0.0.7:1","ExceptionList":["x"]}"#, ".ExceptionList[0]"),
    ("L4Proxy", r#"{"Destination":"10.0.0.7:1","Exceptions":["x"]}"#, ".Exceptions[0]"),
    ("L4WFPPROXY", "{}", ".OutboundProxyPort"),
    ("L4WFPPROXY", r#"{"OutboundProxyPort":"0x50"}"#, ".OutboundProxyPort"),
    ("L4WFPPROXY", r#"{"OutboundProxyPort":"0"}"#, ".OutboundProxyPort"),
    ("L4WFPPROXY", r#"{"InboundProxyPort":"80-81"}"#, ".InboundProxyPort"),
    ("L4WFPPROXY", r#"{"InboundProxyPort":"80","FilterTuple":{"Protocols":"x"}}"#, ".FilterTuple.Protocols"),
    (
        "L4WFPPROXY",
        r#"{"InboundProxyPort":"80","FilterTuple":{"RemoteAddresses":"set"}}"#,
        ".FilterTuple.RemoteAddresses",
    ),
    ("L4WFPPROXY", r#"{"InboundProxyPort":"80","FilterTuple":{"Priority":"x"}}"#, ".FilterTuple.Priority"),
    (
        "L4WFPPROXY",
        r#"{"InboundProxyPort":"80","InboundExceptions":{"IpAddressExceptions":["x"]}}"#,
        ".InboundExceptions.IpAddressExceptions[0]",
    ),
    (
        "L4WFPPROXY",
        r#"{"InboundProxyPort":"80","OutboundExceptions":{"PortExceptions":["22","x"]}}"#,
        ".OutboundExceptions.PortExceptions[1]",
    ),
    ("ProviderAddress", "{}", ".ProviderAddress"),
    ("ProviderAddress", r#"{"ProviderAddress":"x"}"#, ".ProviderAddress"),
    ("ProviderAddress", r#"{"ProviderAddress":"0.0.0.0"}"#, ".ProviderAddress"),
    ("ProviderAddress", r#"{"ProviderAddress":"224.0.0.1"}"#, ".ProviderAddress"),
    ("ProviderAddress", r#"{"ProviderAddress":"203.0.113.20/24"}"#, ".ProviderAddress"),
    ("PortName", r#"{"Name":"a\u0000b"}"#, ".Name"),
    ("PortName", r#"{"Name":5}"#, ".Name"),
    ("EncapOverhead", r#"{"Overhead":70000}"#, ".Overhead"),
    ("EncapOverhead", r#"{"Overhead":875}"#, ".Overhead"),
    ("InterfaceConstraint", r#"{"InterfaceGuid":"x"}"#, ".InterfaceGuid"),
    ("InterfaceConstraint", r#"{"InterfaceIndex":"x"}"#, ".InterfaceIndex"),
    ("InterfaceConstraint", "5", ""),
    ("VLAN", "{}", ".IsolationId"),
    ("VLAN", r#"{"IsolationId":0}"#, ".IsolationId"),
    ("VLAN", r#"{"IsolationId":4095}"#, ".IsolationId"),
    ("InterfaceParameters", "{}", ".Mtu"),
    ("InterfaceParameters", r#"{"Mtu":"big"}"#, ".Mtu"),
    ("InterfaceParameters", r#"{"Mtu":575}"#, ".Mtu"),
    ("InterfaceParameters", r#"{"Mtu":65536}"#, ".Mtu"),
    ("Iov", r#"{"IovOffloadWeight":"heavy"}"#, ".IovOffloadWeight"),
    ("Iov", r#"{"InterruptModeration":"Sometimes"}"#, ".InterruptModeration"),
    ("TierAcl", "{}", ".Direction"),
    ("TierAcl", r#"{"Direction":"Up"}"#, ".Direction"),
    ("TierAcl", r#"{"Direction":"In","Order":65536}"#, ".Order"),
    ("TierAcl", r#"{"Direction":"In","TierAclRules":[{}]}"#, ".TierAclRules[0].TierAclRuleAction"),
    (
        "TierAcl",
        r#"{"Direction":"In","TierAclRules":[{"TierAclRuleAction":"Skip"}]}"#,
        ".TierAclRules[0].TierAclRuleAction",
    ),
    (
        "TierAcl",
        r#"{"Direction":"In","TierAclRules":[{"TierAclRuleAction":"Allow"},{"TierAclRuleAction":"Allow","RemoteAddresses":"x/y"}]}"#,
        ".TierAclRules[1].RemoteAddresses",
    ),
    (
        "TierAcl",
        r#"{"Direction":"In","TierAclRules":[{"TierAclRuleAction":"Allow","Priority":"x"}]}"#,
        ".TierAclRules[0].Priority",
    ),
];

#[test]
fn what_clients_send_is_accepted_and_comes_back_byte_for_byte() {
    let mut service = Service::default();
    let network = service.network("Overlay", "[]").unwrap();
    for (kind, settings) in ACCEPTED {
        let created = service.endpoint(network, &one(kind, settings));
        let created = created.unwrap_or_else(|error| panic!("{kind} {settings}: {error}"));
        assert_eq!(service.policies(Kind::Endpoint, created), [format!("{kind} {settings}")]);
        service.delete(Kind::Endpoint, created);

        let added = service.endpoint(network, "[]").unwrap();
        // A name in another case, as some clients write it.
        service.modify(Kind::Endpoint, added, "Add", &one(&kind.to_lowercase(), settings)).unwrap();
        assert_eq!(service.policies(Kind::Endpoint, added), [format!("{kind} {settings}")]);
        service.modify(Kind::Endpoint, added, "Remove", &one(kind, settings)).unwrap();
        assert!(service.policies(Kind::Endpoint, added).is_empty());
        service.delete(Kind::Endpoint, added);
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    let mut service = Service::default();
    let network = service.network("Overlay", "[]").unwrap();
    let endpoint = service.endpoint(network, "[]").unwrap();
    for (kind, settings, member) in REFUSED {
        let policy = one(kind, settings);
        let result = service.endpoint(network, &policy);
        refused(result, HResult::INVALID_POLICY, &format!("Policies[0].Settings{member}"));
        // Behind one that is right.
        let policies = format!(r#"[{{"Type":"L2Driver"}},{}"#, &policy[1..]);
        for request in ["Add", "Update"] {
            let result = service.modify(Kind::Endpoint, endpoint, request, &policies);
            let error = result.as_ref().unwrap_err();
            assert!(error.expected.is_some(), "{kind} {settings}: {error}");
            refused(result, HResult::INVALID_POLICY, &format!("Settings.Policies[1].Settings{member}"));
        }
    }
    assert!(service.policies(Kind::Endpoint, endpoint).is_empty(), "of a refused request nothing is done");
}

#[test]
fn types_that_are_not_there_or_not_offered_are_refused() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    for policy in [r#"{"Type":"Magic"}"#, r#"{"Type":17}"#, "{}", r#"{"Settings":{"a":1}}"#] {
        let result = service.endpoint(network, &format!("[{policy}]"));
        refused(result, HResult::INVALID_POLICY_TYPE, "Policies[0].Type");
    }
    let key = r#"{"EncryptionMethodType":"Ipsec","AuthenticationMethods":[{"Type":"PresharedKey","Settings":{"Key":"k"}}]}"#;
    let result = service.endpoint(network, &one("Encryption", key));
    refused(result, HResult::REQUEST_UNSUPPORTED, "Policies[0].Type");
    let endpoint = service.endpoint(network, "[]").unwrap();
    let result = service.modify(Kind::Endpoint, endpoint, "Remove", &one("Encryption", key));
    refused(result, HResult::POLICY_NOT_FOUND, "Settings.Policies[0]");
}

#[test]
fn an_mtu_leaves_room_for_the_families_of_the_network() {
    let mut service = Service::default();
    let document = r#"{"Ipams":[{"Subnets":[{"IpAddressPrefix":"10.9.0.0/24"},{"IpAddressPrefix":"fd00::/64"}]}],
        "SchemaVersion":{"Major":2}}"#;
    let verb = hcn_schema::call::Verb::Create { id: None, parent: None, document: Some(document.to_owned()) };
    let network = service.call(Kind::Network, verb).unwrap();
    for (kind, member, right, wrong) in
        [("EncapOverhead", "Overhead", 220, 221), ("InterfaceParameters", "Mtu", 1280, 1279)]
    {
        let settings = |value: u32| one(kind, &format!(r#"{{"{member}":{value}}}"#));
        service.endpoint(network, &settings(right)).unwrap();
        let result = service.endpoint(network, &settings(wrong));
        refused(result, HResult::INVALID_POLICY, &format!("Policies[0].Settings.{member}"));
    }
}
