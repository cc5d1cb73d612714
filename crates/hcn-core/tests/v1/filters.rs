//! Filters: by the names of version 1 documents (contract 2.11).

use hcn_schema::call::Kind;
use serde_json::json;

use crate::world::World;

#[test]
fn entities_are_found_by_any_member_of_their_version_1_document() {
    let mut world = World::default();
    let network = world.network();
    let endpoint = world.create(
        Kind::Endpoint,
        json!({"Name": "web", "VirtualNetwork": network, "MacAddress": "00-15-5D-52-C0-20", "DNSDomain": "a.test"}),
    );
    world.create(Kind::Endpoint, json!({"Name": "other", "VirtualNetwork": network}));
    let braced = format!("{{{}}}", network.to_string().to_lowercase());
    for (filter, count) in [
        (json!({}), 2),
        (json!({"ID": endpoint.to_string().to_lowercase()}), 1),
        (json!({"ID": format!("{{{endpoint}}}"), "Name": "web"}), 1),
        (json!({"ID": endpoint, "Name": "other"}), 0),
        (json!({"ID": ""}), 0),
        (json!({"Name": "web"}), 1),
        (json!({"Name": "Web"}), 0),
        (json!({"VirtualNetwork": braced}), 2),
        (json!({"HostComputeNetwork": network}), 2),
        (json!({"VirtualNetwork": endpoint}), 0),
        (json!({"VirtualNetworkName": "nat"}), 2),
        (json!({"State": 1}), 2),
        (json!({"State": "1"}), 0),
        (json!({"State": 3}), 0),
        (json!({"Flags": 0}), 2),
        (json!({"IsRemoteEndpoint": false}), 2),
        (json!({"MacAddress": "00-15-5D-52-C0-20"}), 1),
        (json!({"DNSDomain": "a.test", "GatewayAddress": "192.0.2.1"}), 1),
        (json!({"PrefixLength": 24, "State": 1}), 2),
        (json!({"IPAddress": "192.0.2.2"}), 0),
        (json!({"IpAddress": "192.0.2.2"}), 0),
        (json!({"Colour": null}), 0),
        (json!({"HostComputeNamespace": network}), 0),
    ] {
        assert_eq!(world.found(Kind::Endpoint, filter.clone()), count, "{filter}");
    }
}

#[test]
fn flags_of_a_network_are_compared_as_a_whole() {
    let mut world = World::default();
    let network = world.create(Kind::Network, json!({"Name": "a", "Type": "NAT", "Flags": 264}));
    for (filter, count) in [
        (json!({"Flags": 264}), 1),
        (json!({"Flags": 8}), 0),
        (json!({"Type": "NAT"}), 1),
        (json!({"Type": "nat"}), 0),
        (json!({"SwitchGuid": network.to_string().to_lowercase()}), 1),
        (json!({"IsolateSwitch": true}), 0),
        (json!({"State": 1}), 1),
    ] {
        assert_eq!(world.found(Kind::Network, filter.clone()), count, "{filter}");
    }
}

#[test]
fn namespaces_are_found_by_their_number() {
    let mut world = World::default();
    let namespace = world.create(Kind::Namespace, json!({}));
    for (filter, count) in [
        (json!({"CompartmentId": 2}), 1),
        (json!({"NamespaceId": 2}), 1),
        (json!({"IsDefault": false}), 1),
        (json!({"Type": "Host"}), 1),
        (json!({"CompartmentGuid": namespace.to_string().to_lowercase()}), 1),
    ] {
        assert_eq!(world.found(Kind::Namespace, filter.clone()), count, "{filter}");
    }
}
