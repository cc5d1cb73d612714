//! What detailed queries add, and what an endpoint at a port of a virtual machine says (contract 2.4).

use hcn_schema::call::{Kind, Reference, Verb};
use serde_json::json;

use crate::world::{World, assert_has};

const DETAILED: &str = r#"{"SchemaVersion":{"Major":2},"Flags":1}"#;

#[test]
fn networks_that_lead_outside_always_name_their_switch() {
    let mut world = World::default();
    let nat = world.network();
    assert!(world.v2(Kind::Network, nat)["Health"].get("Extra").is_none());
    let one = world
        .create(Kind::Network, json!({"Name": "a", "Type": "Transparent", "NetworkAdapterName": "eth1"}));
    let two = world
        .create(Kind::Network, json!({"Name": "b", "Type": "Transparent", "NetworkAdapterName": "eth1"}));
    let extra = |id| world.v2(Kind::Network, id)["Health"]["Extra"].clone();
    assert_eq!(extra(one)["SwitchGuid"], json!(one));
    assert_eq!(extra(one)["LayeredOn"], extra(two)["LayeredOn"]);
    let detailed = world.query(Kind::Network, nat, DETAILED);
    assert_has(&detailed, &json!({"Health": {"Extra": {"Resources": {"ID": nat}}}}));
    let bridge = detailed["Health"]["Extra"]["Resources"]["Allocators"][0]["Description"].as_str().unwrap();
    assert!(!bridge.is_empty());
}

#[test]
fn containers_of_an_endpoint_are_a_detail() {
    let mut world = World::default();
    let network = world.network();
    let endpoint = world.create(Kind::Endpoint, json!({"VirtualNetwork": network}));
    let namespace = world.create(Kind::Namespace, json!({}));
    for request in [
        json!({"ResourceType": "Endpoint", "RequestType": "Add", "Settings": {"EndpointId": endpoint}}),
        json!({"ResourceType": "Container", "RequestType": "Add", "Settings": {"ContainerId": "web1"}}),
    ] {
        let target = Reference { id: namespace, incarnation: None };
        world.change(Kind::Namespace, Verb::Modify { target, document: Some(request.to_string()) }).unwrap();
    }
    assert!(world.v2(Kind::Endpoint, endpoint)["Health"].get("Extra").is_none());
    assert_has(
        &world.query(Kind::Endpoint, endpoint, DETAILED),
        &json!({"Health": {"Extra": {"SharedContainers": ["web1"], "Resources": {"ID": endpoint}}}}),
    );
    assert_has(
        &world.v1(Kind::Endpoint, endpoint),
        &json!({"SharedContainers": ["web1"], "State": 3, "Namespace": {"ID": namespace, "CompartmentId": 2}}),
    );
    assert_has(
        &world.v1(Kind::Namespace, namespace),
        &json!({"Containers": ["web1"], "ResourceList": [
            {"Type": "Endpoint", "Data": {"Id": endpoint}}, {"Type": "Container", "Data": {"Id": "web1"}}]}),
    );
    let flat = world.query(Kind::Namespace, namespace, r#"{"Flags":1}"#);
    assert_has(&flat, &json!({"Resources": {"ID": namespace}}));
}

#[test]
fn an_endpoint_at_a_port_names_the_port_and_the_machine() {
    let mut world = World::default();
    let network = world.network();
    let given = json!({"VirtualNetwork": network, "AdditionalParams": {"Mine": 1}});
    let endpoint = world.create(Kind::Endpoint, given);
    assert_has(&world.v2(Kind::Endpoint, endpoint), &json!({"AdditionalParams": {"Mine": 1}}));
    let port = "A0000000-0000-4000-8000-000000000001";
    let machine = "B0000000-0000-4000-8000-000000000002";
    let request = json!({"ResourceType": "Port", "RequestType": "Add",
        "Settings": {"PortId": port, "VirtualMachineId": machine, "VirtualNicName": ""}});
    let target = Reference { id: endpoint, incarnation: None };
    world.change(Kind::Endpoint, Verb::Modify { target, document: Some(request.to_string()) }).unwrap();
    let params = json!({"SwitchId": network, "SwitchPortId": port});
    assert_has(
        &world.v2(Kind::Endpoint, endpoint),
        &json!({"State": 2, "AdditionalParams": params, "Health": {"Extra": {"VirtualMachine": machine}}}),
    );
    assert_has(
        &world.v1(Kind::Endpoint, endpoint),
        &json!({"AdditionalParams": params, "VirtualMachine": machine}),
    );
}
