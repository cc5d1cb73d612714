//! Endpoints in version 1 (contract 2.16, 5.3).

use hcn_schema::HResult;
use hcn_schema::call::Kind;
use serde_json::json;

use crate::world::{World, assert_has};

#[test]
fn an_endpoint_is_returned_as_it_was_given() {
    let mut world = World::default();
    let network = world.network();
    let document = json!({
        "Name": "web", "VirtualNetwork": network, "IPAddress": "192.0.2.20", "PrefixLength": 24,
        "GatewayAddress": "192.0.2.2", "MacAddress": "00-15-5D-52-C0-20", "DNSServerList": "192.0.2.53",
        "DNSSuffix": "a.test", "DNSDomain": "b.test", "EnableInternalDNS": true, "DisableICC": true,
        "EnableLowMetric": true, "EncapOverhead": 50, "PortFriendlyName": "port",
        "Policies": [
            {"Type": "NAT", "Protocol": "TCP", "InternalPort": 80, "ExternalPort": 8080, "ExternalPortReserved": true},
            {"Type": "QOS", "MaximumOutgoingBandwidthInBytes": 1_000_000},
            {"Type": "ACL", "Protocol": 6, "Action": "Allow", "Direction": "In", "RuleType": "Switch", "Priority": 1000},
            {"Type": "OutBoundNAT", "ExceptionList": ["192.0.2.0/24"]},
            {"Type": "SDNROUTE", "DestinationPrefix": "198.51.100.0/24", "NeedEncap": true},
        ],
    });
    let endpoint = world.create(Kind::Endpoint, document.clone());
    let read = world.v1(Kind::Endpoint, endpoint);
    assert_has(&read, &document);
    assert_has(
        &read,
        &json!({"ID": endpoint, "VirtualNetworkName": "nat", "State": 1, "Flags": 26,
                "SchemaVersion": {"Major": 1, "Minor": 0}}),
    );
    assert_has(
        &world.v2(Kind::Endpoint, endpoint),
        &json!({
            "HostComputeNetwork": network, "Flags": 26, "MacAddress": "00-15-5D-52-C0-20",
            "IpConfigurations": [{"IpAddress": "192.0.2.20", "PrefixLength": 24}],
            "Routes": [{"NextHop": "192.0.2.2", "DestinationPrefix": "0.0.0.0/0"}],
            "Dns": {"ServerList": ["192.0.2.53"], "Search": ["a.test"], "Domain": "b.test"},
            "Policies": [
                {"Type": "PortMapping",
                 "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080, "Flags": 4}},
                {"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": 1_000_000}},
                {"Type": "ACL", "Settings": {"Protocols": "6", "Action": "Allow", "Direction": "In",
                                             "RuleType": "Switch", "Priority": 1000}},
                {"Type": "OutBoundNAT", "Settings": {"Exceptions": ["192.0.2.0/24"]}},
                {"Type": "SDNRoute", "Settings": {"DestinationPrefix": "198.51.100.0/24", "NeedEncap": true}},
                {"Type": "EncapOverhead", "Settings": {"Overhead": 50}},
                {"Type": "PortName", "Settings": {"Name": "port"}},
            ],
        }),
    );
}

#[test]
fn docker_gets_a_port_of_the_services_choice() {
    let mut world = World::default();
    let network = world.network();
    let endpoint = world.create(
        Kind::Endpoint,
        json!({"VirtualNetwork": network, "Policies": [
            {"Type": "NAT", "Protocol": "TCP", "InternalPort": 80, "ExternalPortReserved": true},
            {"Type": "NAT", "Protocol": "udp", "InternalPort": 53}]}),
    );
    let read = world.v1(Kind::Endpoint, endpoint);
    let ports: Vec<u64> = (0..2).map(|i| read["Policies"][i]["ExternalPort"].as_u64().unwrap()).collect();
    assert_eq!(
        read["Policies"],
        json!([
            {"Type": "NAT", "Protocol": "TCP", "InternalPort": 80, "ExternalPort": ports[0], "ExternalPortReserved": true},
            {"Type": "NAT", "Protocol": "UDP", "InternalPort": 53, "ExternalPort": ports[1]},
        ])
    );
    assert!(ports.iter().all(|port| *port >= 49152));
    assert_has(&read, &json!({"IPAddress": "192.0.2.2", "PrefixLength": 24, "GatewayAddress": "192.0.2.1"}));
}

#[test]
fn both_families_have_members_of_their_own() {
    let mut world = World::default();
    let network = world.create(
        Kind::Network,
        json!({"Type": "NAT", "Subnets": [{"AddressPrefix": "192.0.2.0/24"}, {"AddressPrefix": "2001:db8::/64"}]}),
    );
    let given =
        json!({"VirtualNetwork": network, "IPv6Address": "2001:db8::9", "GatewayAddressV6": "2001:db8::2"});
    let endpoint = world.create(Kind::Endpoint, given.clone());
    let read = world.v1(Kind::Endpoint, endpoint);
    assert_has(&read, &given);
    assert_has(&read, &json!({"IPv6PrefixLength": 64}));
    assert!(read.get("IPAddress").is_none() && read.get("GatewayAddress").is_none());
    let automatic = world.create(Kind::Endpoint, json!({"VirtualNetwork": network}));
    assert_has(
        &world.v1(Kind::Endpoint, automatic),
        &json!({"IPAddress": "192.0.2.2", "IPv6Address": "2001:db8::2", "GatewayAddressV6": "2001:db8::1"}),
    );
}

#[test]
fn a_network_is_found_by_its_name() {
    let mut world = World::default();
    let network = world.network();
    let endpoint = world.create(Kind::Endpoint, json!({"VirtualNetworkName": "nat"}));
    assert_has(&world.v1(Kind::Endpoint, endpoint), &json!({"VirtualNetwork": network}));
    let missing = world.refused(Kind::Endpoint, json!({"VirtualNetworkName": "none"}));
    assert_eq!(missing, (HResult::NETWORK_NOT_FOUND, "VirtualNetworkName".to_owned()));
}

#[test]
fn a_remote_endpoint_says_so() {
    let mut world = World::default();
    let network = world.network();
    let given = json!({"VirtualNetwork": network, "IPAddress": "198.51.100.7", "MacAddress": "02-11-C6-33-64-07",
        "IsRemoteEndpoint": true, "Policies": [{"Type": "PA", "PA": "203.0.113.20"}]});
    let endpoint = world.create(Kind::Endpoint, given.clone());
    assert_has(&world.v1(Kind::Endpoint, endpoint), &given);
    assert_has(
        &world.v2(Kind::Endpoint, endpoint),
        &json!({"Flags": 1, "Policies": [{"Type": "ProviderAddress", "Settings": {"ProviderAddress": "203.0.113.20"}}]}),
    );
}

#[test]
fn a_policy_that_has_a_member_of_its_own_is_told_once() {
    let mut world = World::default();
    let network = world.network();
    let v2 = json!({"HostComputeNetwork": network, "SchemaVersion": {"Major": 2},
        "Policies": [{"Type": "PortName", "Settings": {"Name": ""}}, {"Type": "EncapOverhead", "Settings": {"Overhead": 50}}]});
    let endpoint = world.create(Kind::Endpoint, v2);
    let read = world.v1(Kind::Endpoint, endpoint);
    assert_has(&read, &json!({"PortFriendlyName": "", "EncapOverhead": 50}));
    assert!(read.get("Policies").is_none());
    // As a policy if it was given as one.
    let listed = json!({"VirtualNetwork": network, "EncapOverhead": 50,
        "Policies": [{"Type": "EncapOverhead", "Overhead": 60}]});
    let endpoint = world.create(Kind::Endpoint, listed.clone());
    assert_has(
        &world.v1(Kind::Endpoint, endpoint),
        &json!({"EncapOverhead": 60, "Policies": listed["Policies"]}),
    );
}

#[test]
fn what_is_wrong_is_told_by_the_clients_own_members() {
    let mut world = World::default();
    let network = world.network();
    let given = |mut document: serde_json::Value| {
        document["VirtualNetwork"] = json!(network);
        document
    };
    for (document, code, path) in [
        (json!({}), HResult::INVALID_ARGUMENT, "VirtualNetwork"),
        (json!({"VirtualNetwork": "x"}), HResult::GUID_CONVERSION_FAILURE, "VirtualNetwork"),
        (given(json!({"IPAddress": "198.51.100.1"})), HResult::INVALID_IP, "IPAddress"),
        (given(json!({"IPv6Address": "2001:db8::1"})), HResult::INVALID_IP, "IPv6Address"),
        (
            given(json!({"IPAddress": "192.0.2.9", "PrefixLength": 33})),
            HResult::INVALID_PREFIX,
            "PrefixLength",
        ),
        (given(json!({"GatewayAddress": "x"})), HResult::INVALID_IP, "GatewayAddress"),
        (given(json!({"MacAddress": "x"})), HResult::INVALID_ENDPOINT, "MacAddress"),
        (given(json!({"PrefixLength": true})), HResult::INVALID_JSON, "PrefixLength"),
        (
            given(
                json!({"Policies": [{"Type": "QOS", "MaximumOutgoingBandwidthInBytes": 9}, {"Type": "NAT"}]}),
            ),
            HResult::INVALID_INTERNAL_PORT,
            "Policies[1].InternalPort",
        ),
        (
            given(json!({"Policies": [{"Type": "VSID", "VSID": 5000}]})),
            HResult::INVALID_POLICY_TYPE,
            "Policies[0].Type",
        ),
    ] {
        assert_eq!(world.refused(Kind::Endpoint, document.clone()), (code, path.to_owned()), "{document}");
    }
}
