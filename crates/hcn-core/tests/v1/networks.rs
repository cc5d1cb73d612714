//! Networks and namespaces in version 1 (contract 2.16, 5.3).

use hcn_schema::HResult;
use hcn_schema::call::Kind;
use serde_json::json;

use crate::world::{World, assert_has};

#[test]
fn a_network_is_returned_as_it_was_given() {
    let mut world = World::default();
    let document = json!({
        "Name": "ext", "Type": "L2Bridge", "Flags": 8, "NetworkAdapterName": "eth1", "SourceMac": "02-00-5e-00-00-01",
        "LayerId": "1B2C3D4E-0000-4000-8000-000000000001",
        "DNSServerList": "198.51.100.53,198.51.100.54", "DNSSuffix": "a.test,b.test", "DNSDomain": "a.test",
        "MacPools": [{"StartMacAddress": "00-15-5d-52-c0-00", "EndMacAddress": "00-15-5d-52-cf-ff"}],
        "Subnets": [{"AddressPrefix": "192.0.2.0/24", "GatewayAddress": "192.0.2.1",
                     "Policies": [{"Type": "VLAN", "VLAN": 100}],
                     "IpSubnets": [{"IpAddressPrefix": "192.0.2.0/26", "Flags": 2}]}],
        "Extensions": [{"Id": "583CC151-73EC-4A6A-8B47-578297AD7623", "IsEnabled": true}],
        "AdditionalParams": {"ICSFlags": 3},
    });
    let network = world.create(Kind::Network, document.clone());
    let read = world.v1(Kind::Network, network);
    assert_has(&read, &document);
    assert_has(
        &read,
        &json!({
            "ID": network, "ManagementIP": "198.51.100.10", "State": 1, "IPv6": false, "CurrentEndpointCount": 0,
            "SwitchGuid": network, "Subnets": [{"ObjectType": 5, "IpSubnets": [{"ObjectType": 6}]}],
            "SchemaVersion": {"Major": 1, "Minor": 0}, "Health": {"LastErrorCode": 0, "LastUpdateTime": 7},
        }),
    );
    assert!(read.get("Policies").is_none(), "{read}");
    assert_has(
        &world.v2(Kind::Network, network),
        &json!({
            "Name": "ext", "Type": "L2Bridge", "Flags": 8,
            "Policies": [
                {"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth1"}},
                {"Type": "SourceMacAddress", "Settings": {"SourceMacAddress": "02-00-5e-00-00-01"}},
                {"Type": "LayerConstraint", "Settings": {"LayerId": "1B2C3D4E-0000-4000-8000-000000000001"}},
                {"Type": "VSwitchExtension",
                 "Settings": {"ExtensionID": "583CC151-73EC-4A6A-8B47-578297AD7623", "Enable": true}},
            ],
            "MacPool": {"Ranges": [{"StartMacAddress": "00-15-5d-52-c0-00", "EndMacAddress": "00-15-5d-52-cf-ff"}]},
            "Dns": {"Domain": "a.test", "Search": ["a.test", "b.test"],
                    "ServerList": ["198.51.100.53", "198.51.100.54"]},
            "Ipams": [{"Type": "Static", "Subnets": [{
                "IpAddressPrefix": "192.0.2.0/24",
                "Routes": [{"NextHop": "192.0.2.1", "DestinationPrefix": "0.0.0.0/0"}],
                "Policies": [{"Type": "VLAN", "Settings": {"IsolationId": 100}}],
                "IpSubnets": [{"IpAddressPrefix": "192.0.2.0/26"}],
            }]}],
        }),
    );
}

#[test]
fn what_version_1_says_of_a_network_made_in_version_2() {
    let mut world = World::default();
    let network = world.create(
        Kind::Network,
        json!({
            "Name": "over", "Type": "Overlay", "SchemaVersion": {"Major": 2, "Minor": 0},
            "Ipams": [{"Subnets": [{"IpAddressPrefix": "192.0.2.0/24", "Policies": [{"Type": "VSID", "IsolationId": 4096}],
                "Routes": [{"NextHop": "192.0.2.1", "DestinationPrefix": "0.0.0.0/0"}]}]}],
            "Policies": [{"Type": "HostRoute", "Settings": {}},
                {"Type": "RemoteSubnetRoute", "Settings": {"IsolationId": 4096, "DestinationPrefix": "192.0.3.0/24",
                    "ProviderAddress": "203.0.113.20", "DistributedRouterMacAddress": "00-15-5d-00-00-01"}}],
        }),
    );
    let read = world.v1(Kind::Network, network);
    assert_has(
        &read,
        &json!({
            "Type": "Overlay", "ManagementIP": "203.0.113.10", "NetworkAdapterName": "eth0",
            "Subnets": [{"AddressPrefix": "192.0.2.0/24", "GatewayAddress": "192.0.2.1",
                         "Policies": [{"Type": "VSID", "VSID": 4096}]}],
            "Policies": [{"Type": "HostRoute"},
                {"Type": "RemoteSubnetRoute", "IsolationId": 4096, "DestinationPrefix": "192.0.3.0/24",
                 "ProviderAddress": "203.0.113.20", "DistributedRouterMacAddress": "00-15-5d-00-00-01"}],
        }),
    );
    assert!(read["DrMacAddress"].as_str().unwrap().starts_with("00-15-5D-"));
    assert_eq!(read["LayeredOn"], world.v2(Kind::Network, network)["Health"]["Extra"]["LayeredOn"]);
}

#[test]
fn docker_asks_for_a_subnet_of_the_services_choice() {
    let mut world = World::default();
    let nat = json!({"Name": "nat", "Type": "nat", "Subnets": [{"AddressPrefix": "0.0.0.0/0"}]});
    let network = world.create(Kind::Network, nat);
    let read = world.v1(Kind::Network, network);
    let subnets = read["Subnets"].as_array().unwrap();
    assert_eq!(subnets.len(), 1);
    let prefix: ipnet::IpNet = subnets[0]["AddressPrefix"].as_str().unwrap().parse().unwrap();
    let gateway: std::net::IpAddr = subnets[0]["GatewayAddress"].as_str().unwrap().parse().unwrap();
    assert!(prefix.prefix_len() == 24 && prefix.contains(&gateway), "{prefix} {gateway}");

    // Where addresses come from outside it means that there are none to manage.
    let transparent = json!({"Name": "tr", "Type": "transparent", "Policies": [{"Type": "VLAN", "VLAN": 7}],
        "Subnets": [{"AddressPrefix": "0.0.0.0/0", "GatewayAddress": "0.0.0.0"}]});
    let network = world.create(Kind::Network, transparent);
    assert_has(&world.v2(Kind::Network, network), &json!({"Ipams": [{"Type": "Dhcp"}]}));
    assert_has(&world.v1(Kind::Network, network), &json!({"Policies": [{"Type": "VLAN", "VLAN": 7}]}));
}

#[test]
fn an_ics_network_of_wsl_has_exactly_one_subnet() {
    let mut world = World::default();
    let given = json!({
        "Name": "WSL", "Type": "ICS", "IsolateSwitch": true, "Flags": 9, "Subnets": [],
        "InterfaceConstraint": {"InterfaceGuid": "00000000-0000-0000-0000-000000000000", "InterfaceIndex": 0,
                                "InterfaceMediaType": 0, "InterfaceAlias": ""},
    });
    let network = world.create(Kind::Network, given.clone());
    let read = world.query(Kind::Network, network, "");
    assert_eq!(read["Subnets"].as_array().unwrap().len(), 1);
    assert_has(
        &read,
        &json!({"IsolateSwitch": true, "Flags": 41, "InterfaceConstraint": given["InterfaceConstraint"]}),
    );
    let with_parts = json!({"Name": "WSL2", "Type": "ConstrainedICS", "Flags": 265,
        "Subnets": [{"GatewayAddress": "172.30.0.1", "AddressPrefix": "172.30.0.0/20",
                     "IpSubnets": [{"IpAddressPrefix": "172.30.0.0/20"}]}]});
    let network = world.create(Kind::Network, with_parts.clone());
    assert_has(&world.query(Kind::Network, network, ""), &with_parts);
}

#[test]
fn isolation_of_a_whole_network_is_that_of_its_subnets() {
    let mut world = World::default();
    let given = json!({"Name": "a", "Type": "Overlay", "Policies": [{"Type": "Isolation", "VLAN": 0, "VSID": 5}],
        "Subnets": [{"AddressPrefix": "192.0.2.0/25"},
                    {"AddressPrefix": "192.0.2.128/25", "Policies": [{"Type": "VSID", "VSID": 6}]}]});
    let network = world.create(Kind::Network, given);
    let policies = |id| json!([{"Type": "VSID", "Settings": {"IsolationId": id}}]);
    assert_has(
        &world.v2(Kind::Network, network),
        &json!({"Ipams": [{"Subnets": [{"Policies": policies(5)}, {"Policies": policies(6)}]}]}),
    );
    assert_has(
        &world.v1(Kind::Network, network),
        &json!({"Policies": [{"Type": "Isolation", "VLAN": 0, "VSID": 5}]}),
    );
}

#[test]
fn the_uplink_is_found_by_its_address() {
    let mut world = World::default();
    let given = json!({"Name": "a", "Type": "Transparent", "ManagementIP": "198.51.100.10/24"});
    let network = world.create(Kind::Network, given);
    let read = world.v1(Kind::Network, network);
    assert_has(&read, &json!({"ManagementIP": "198.51.100.10", "NetworkAdapterName": "eth1"}));
    assert!(read.get("Policies").is_none());
}

#[test]
fn what_is_wrong_is_told_by_the_clients_own_members() {
    let mut world = World::default();
    world.network();
    for (document, code, path) in [
        (json!({"Type": "Layered"}), HResult::INVALID_NETWORK_TYPE, "Type"),
        (
            json!({"Subnets": [{"AddressPrefix": "10.0.0.0/8"}, {"AddressPrefix": "10.1.0.0/33"}]}),
            HResult::INVALID_PREFIX,
            "Subnets[1].AddressPrefix",
        ),
        (
            json!({"Subnets": [{"AddressPrefix": "10.0.0.0/8", "GatewayAddress": "11.0.0.1"}]}),
            HResult::INVALID_SUBNET,
            "Subnets[0].GatewayAddress",
        ),
        (
            json!({"Subnets": [{"AddressPrefix": "10.0.0.0/8", "IpSubnets": [{"IpAddressPrefix": "11.0.0.0/16"}]}]}),
            HResult::INVALID_IP_SUBNET,
            "Subnets[0].IpSubnets[0].IpAddressPrefix",
        ),
        (
            json!({"MacPools": [{"StartMacAddress": "00-15-5d-52-c0-00", "EndMacAddress": "x"}]}),
            HResult::INVALID_NETWORK,
            "MacPools[0].EndMacAddress",
        ),
        (
            json!({"Type": "L2Bridge", "NetworkAdapterName": "eth9"}),
            HResult::ADAPTER_NOT_FOUND,
            "NetworkAdapterName",
        ),
        (
            json!({"Type": "L2Bridge", "ManagementIP": "192.0.2.9"}),
            HResult::ADAPTER_NOT_FOUND,
            "ManagementIP",
        ),
        (
            json!({"Type": "L2Bridge", "Policies": [{"Type": "VLAN", "VLAN": 1}, {"Type": "PA", "PA": "192.0.2.9"}]}),
            HResult::ADAPTER_NOT_FOUND,
            "Policies[1].PA",
        ),
        (json!({"Policies": [{"Type": "Colour"}]}), HResult::INVALID_POLICY_TYPE, "Policies[0].Type"),
        (json!({"Policies": {"Type": "NAT"}}), HResult::INVALID_JSON, "Policies"),
        (json!({"Policies": [1]}), HResult::INVALID_JSON, "Policies[0]"),
        (json!({"Name": "nat"}), HResult::NETWORK_ALREADY_EXISTS, "Name"),
        (json!({"ID": "x"}), HResult::GUID_CONVERSION_FAILURE, "ID"),
    ] {
        assert_eq!(world.refused(Kind::Network, document.clone()), (code, path.to_owned()), "{document}");
    }
}

#[test]
fn a_namespace_says_what_is_in_it() {
    let mut world = World::default();
    let namespace = world.create(Kind::Namespace, json!({}));
    let default = world.create(Kind::Namespace, json!({"IsDefault": true}));
    assert_has(
        &world.v1(Kind::Namespace, namespace),
        &json!({"ID": namespace, "IsDefault": false, "CompartmentId": 2, "CompartmentGuid": namespace, "State": 1}),
    );
    assert_has(&world.v1(Kind::Namespace, default), &json!({"IsDefault": true, "CompartmentId": 1}));
    assert_has(&world.v2(Kind::Namespace, default), &json!({"Type": "HostDefault"}));
}
