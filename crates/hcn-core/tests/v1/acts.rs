//! What version 1 does with entities that are there: update, attach, detach, resources of namespaces (contract 5.2).

use hcn_schema::call::{Action, Answer, Kind, Reference, Verb};
use hcn_schema::notification::NotificationType;
use hcn_schema::{Error, Guid, HResult};
use serde_json::{Value, json};

use crate::world::{World, assert_has};

impl World {
    fn act(&mut self, kind: Kind, id: Guid, action: Action, document: Value) -> Result<Answer, Error> {
        let target = Reference { id, incarnation: None };
        self.change(kind, Verb::Act { target, action, document: Some(document.to_string()) })
    }

    fn attach(&mut self, id: Guid, document: Value) -> Result<Answer, Error> {
        self.act(Kind::Endpoint, id, Action::Attach, document)
    }

    fn detach(&mut self, id: Guid, document: Value) -> Result<Answer, Error> {
        self.act(Kind::Endpoint, id, Action::Detach, document)
    }

    fn endpoint(&mut self) -> Guid {
        if self.published.networks.is_empty() {
            self.network();
        }
        self.create(Kind::Endpoint, json!({"VirtualNetworkName": "nat"}))
    }
}

fn code(result: Result<Answer, Error>) -> HResult {
    result.expect_err("a refusal").code
}

#[test]
fn an_update_of_rules_replaces_the_rules_and_nothing_else() {
    let mut world = World::default();
    world.network();
    let others = [
        json!({"Type": "NAT", "Protocol": "TCP", "InternalPort": 80, "ExternalPort": 8080}),
        json!({"Type": "QOS", "MaximumOutgoingBandwidthInBytes": 1000}),
    ];
    let rule = |priority: u16| {
        json!({"Type": "ACL", "Protocol": 256, "Action": "Block", "Direction": "In", "RuleType": "Switch",
               "Priority": priority})
    };
    let list = |rules: &[Value]| Value::Array(others.iter().chain(rules).cloned().collect());
    let given =
        json!({"VirtualNetworkName": "nat", "DNSServerList": "192.0.2.53", "Policies": list(&[rule(1)])});
    let endpoint = world.create(Kind::Endpoint, given);
    for rules in [vec![rule(2), rule(3)], vec![rule(3)], vec![rule(3), rule(4)]] {
        let document = json!({"ID": endpoint, "Policies": rules});
        world.act(Kind::Endpoint, endpoint, Action::Update, document).unwrap();
        assert_has(
            &world.v1(Kind::Endpoint, endpoint),
            &json!({"Policies": list(&rules), "DNSServerList": "192.0.2.53"}),
        );
        let record = world.published.endpoints.get(endpoint).unwrap();
        assert_eq!(record.flat.len(), rules.len(), "only what is still there is kept");
        assert_eq!(record.ports.len(), 1);
    }
    world.act(Kind::Endpoint, endpoint, Action::Update, json!({"ID": endpoint})).unwrap();
    assert_has(&world.v1(Kind::Endpoint, endpoint), &json!({"Policies": list(&[rule(3), rule(4)])}));
    world.act(Kind::Endpoint, endpoint, Action::Update, json!({"ID": endpoint, "Policies": []})).unwrap();
    assert_has(&world.v1(Kind::Endpoint, endpoint), &json!({"Policies": list(&[])}));
}

#[test]
fn a_client_can_send_back_what_it_got() {
    let mut world = World::default();
    let given = json!({"Name": "a", "Type": "L2Bridge", "NetworkAdapterName": "eth1", "DNSServerList": "192.0.2.53",
        "Policies": [{"Type": "VLAN", "VLAN": 5}], "Subnets": [{"AddressPrefix": "192.0.2.0/24"}],
        "Extensions": [{"Id": "583CC151-73EC-4A6A-8B47-578297AD7623", "IsEnabled": true}]});
    let network = world.create(Kind::Network, given);
    let endpoint = world.create(
        Kind::Endpoint,
        json!({"Name": "e", "VirtualNetwork": network, "EncapOverhead": 50, "DisableICC": true, "Policies": [
            {"Type": "NAT", "Protocol": "tcp", "InternalPort": 80}, {"Type": "ACL", "Protocol": 6, "Action": "Allow", "Direction": "In"}]}),
    );
    for (kind, id) in [(Kind::Network, network), (Kind::Endpoint, endpoint)] {
        let mut before = world.v1(kind, id);
        world.act(kind, id, Action::Update, before.clone()).unwrap();
        before["Version"] = json!(2);
        assert_eq!(world.v1(kind, id), before);
    }
}

#[test]
fn an_update_changes_what_is_given() {
    let mut world = World::default();
    let network = world.network();
    let extension = "583CC151-73EC-4A6A-8B47-578297AD7623";
    let document =
        json!({"Extensions": [{"Id": extension, "IsEnabled": true}], "DNSSuffix": "a.test,b.test"});
    world.act(Kind::Network, network, Action::Update, document.clone()).unwrap();
    assert_has(&world.v1(Kind::Network, network), &document);

    let endpoint = world.endpoint();
    let namespace = world.create(Kind::Namespace, json!({}));
    let resource = json!({"Type": "Endpoint", "Data": {"Id": endpoint}});
    world.act(Kind::Namespace, namespace, Action::AddResource, resource).unwrap();
    let document = json!({"DNSServerList": "192.0.2.53", "DisableICC": true, "EnableInternalDNS": false});
    world.act(Kind::Endpoint, endpoint, Action::Update, document).unwrap();
    assert_has(
        &world.v1(Kind::Endpoint, endpoint),
        &json!({"DNSServerList": "192.0.2.53", "DNSSuffix": "a.test,b.test", "DisableICC": true, "Flags": 2}),
    );
    assert!(world.resolvers().iter().any(|contents| contents.contains("nameserver 192.0.2.53")));
}

#[test]
fn what_an_update_cannot_change_is_refused() {
    let mut world = World::default();
    let network = world.network();
    let endpoint = world.endpoint();
    for (kind, id, document, path) in [
        (Kind::Network, network, json!({"Type": "ICS"}), "Type"),
        (Kind::Network, network, json!({"Name": "other"}), "Name"),
        (Kind::Network, network, json!({"Subnets": [{"AddressPrefix": "192.0.3.0/24"}]}), "Subnets"),
        (
            Kind::Network,
            network,
            json!({"Policies": [{"Type": "HostRoute"}, {"Type": "VLAN", "VLAN": 5}]}),
            "Policies[1]",
        ),
        (Kind::Endpoint, endpoint, json!({"VirtualNetwork": endpoint}), "VirtualNetwork"),
        (Kind::Endpoint, endpoint, json!({"IPAddress": "192.0.2.9"}), "IPAddress"),
        (Kind::Endpoint, endpoint, json!({"MacAddress": "02-00-00-00-00-01"}), "MacAddress"),
        (Kind::Endpoint, endpoint, json!({"IsRemoteEndpoint": true}), "IsRemoteEndpoint"),
    ] {
        let error = world.act(kind, id, Action::Update, document.clone()).unwrap_err();
        assert_eq!(
            (error.code, error.path.as_deref()),
            (HResult::REQUEST_UNSUPPORTED, Some(path)),
            "{document}"
        );
    }
    for (document, code, path) in [
        (json!({"ID": network}), HResult::INVALID_ARGUMENT, "ID"),
        (
            json!({"Policies": [{"Type": "QOS", "MaximumOutgoingBandwidthInBytes": 1}, {"Type": "NAT", "Protocol": "TCP"}]}),
            HResult::INVALID_INTERNAL_PORT,
            "Policies[1].InternalPort",
        ),
        (json!({"Policies": [{"Type": "Colour"}]}), HResult::INVALID_POLICY_TYPE, "Policies[0].Type"),
        (
            json!({"Policies": [{"Type": "ACL", "Protocol": 6, "LocalPort": "x", "Action": "Allow", "Direction": "In"}]}),
            HResult::INVALID_POLICY,
            "Policies[0].LocalPort",
        ),
    ] {
        let error = world.act(Kind::Endpoint, endpoint, Action::Update, document.clone()).unwrap_err();
        assert_eq!((error.code, error.path.as_deref()), (code, Some(path)), "{document}");
    }
}

#[test]
fn an_endpoint_is_attached_to_the_host_once() {
    let mut world = World::default();
    let endpoint = world.endpoint();
    let host = json!({"SystemType": "Host", "CompartmentId": 1});
    world.events.clear();
    world.attach(endpoint, host.clone()).unwrap();
    let announced = |world: &World| world.events.last().unwrap().notification;
    assert_eq!(announced(&world), Some(NotificationType::NetworkEndpointAttached));
    assert_has(&world.v1(Kind::Endpoint, endpoint), &json!({"State": 2}));
    let record = world.published.endpoints.get(endpoint).unwrap();
    assert!(record.interface.as_deref().unwrap().starts_with("hvp"));
    assert!(world.has_link(&record.veth));
    assert_eq!(code(world.attach(endpoint, host.clone())), HResult::ENDPOINT_ALREADY_ATTACHED);
    let container = json!({"SystemType": "Container", "ContainerId": "c"});
    assert_eq!(code(world.attach(endpoint, container.clone())), HResult::ENDPOINT_ALREADY_ATTACHED);
    assert_eq!(code(world.detach(endpoint, container)), HResult::ENDPOINT_NOT_ATTACHED);
    world.detach(endpoint, json!({"SystemType": "Host"})).unwrap();
    assert_eq!(announced(&world), Some(NotificationType::NetworkEndpointDetached));
    assert_has(&world.v1(Kind::Endpoint, endpoint), &json!({"State": 1}));
    assert_eq!(code(world.detach(endpoint, host)), HResult::ENDPOINT_NOT_ATTACHED);
}

#[test]
fn containers_share_an_endpoint_and_the_last_one_takes_it_out_of_the_namespace() {
    let mut world = World::default();
    let endpoint = world.endpoint();
    let namespace = world.create(Kind::Namespace, json!({}));
    let container = |id: &str, number: u32| json!({"ContainerId": id, "SystemType": "Container", "CompartmentId": number});
    world.attach(endpoint, container("a", 0)).unwrap();
    world.attach(endpoint, container("a", 0)).unwrap();
    assert_has(
        &world.v1(Kind::Endpoint, endpoint),
        &json!({"SharedContainers": ["a"], "State": 3, "Version": 2}),
    );
    // The compartment is known by now.
    world.attach(endpoint, container("a", 2)).unwrap();
    world.attach(endpoint, container("b", 2)).unwrap();
    assert_has(
        &world.v1(Kind::Endpoint, endpoint),
        &json!({"SharedContainers": ["a", "b"], "State": 3, "Namespace": {"ID": namespace}}),
    );
    world.create(Kind::Namespace, json!({}));
    assert_eq!(code(world.attach(endpoint, container("c", 3))), HResult::ENDPOINT_ALREADY_ATTACHED);
    assert_eq!(code(world.detach(endpoint, container("c", 0))), HResult::ENDPOINT_NOT_ATTACHED);
    world.detach(endpoint, container("a", 0)).unwrap();
    assert_has(&world.v1(Kind::Endpoint, endpoint), &json!({"SharedContainers": ["b"], "State": 3}));
    world.detach(endpoint, container("b", 0)).unwrap();
    let read = world.v1(Kind::Endpoint, endpoint);
    assert_has(&read, &json!({"State": 1}));
    assert!(read.get("Namespace").is_none() && read.get("SharedContainers").is_none());
    assert!(world.v1(Kind::Namespace, namespace).get("ResourceList").is_none());
}

#[test]
fn an_endpoint_is_attached_to_a_virtual_machine_by_the_name_of_its_adapter() {
    let mut world = World::default();
    let endpoint = world.endpoint();
    let machine = "B0000000-0000-4000-8000-000000000002";
    let request = json!({"SystemType": "VirtualMachine", "VirtualNicName": format!("{machine}--{endpoint}")});
    assert_eq!(code(world.detach(endpoint, request.clone())), HResult::ENDPOINT_NOT_ATTACHED);
    world.attach(endpoint, request.clone()).unwrap();
    assert_has(&world.v1(Kind::Endpoint, endpoint), &json!({"State": 2, "VirtualMachine": machine}));
    assert_eq!(code(world.attach(endpoint, request.clone())), HResult::ENDPOINT_ALREADY_ATTACHED);
    world.detach(endpoint, request).unwrap();
    assert_has(&world.v1(Kind::Endpoint, endpoint), &json!({"State": 1}));
}

#[test]
fn the_host_attaches_to_other_compartments_too() {
    let mut world = World::default();
    let endpoint = world.endpoint();
    let namespace = world.create(Kind::Namespace, json!({}));
    world.attach(endpoint, json!({"SystemType": "Host", "CompartmentId": 2})).unwrap();
    assert_has(&world.v1(Kind::Endpoint, endpoint), &json!({"Namespace": {"ID": namespace}, "State": 3}));
    world.detach(endpoint, json!({"SystemType": "Host"})).unwrap();
    let error = world.attach(endpoint, json!({"SystemType": "Host", "CompartmentId": 9})).unwrap_err();
    assert_eq!((error.code, error.path.as_deref()), (HResult::NOT_FOUND, Some("CompartmentId")));
}

#[test]
fn who_cannot_be_attached() {
    let mut world = World::default();
    let endpoint = world.endpoint();
    let remote = world.create(
        Kind::Endpoint,
        json!({"VirtualNetworkName": "nat", "IPAddress": "198.51.100.7", "MacAddress": "02-11-C6-33-64-07",
               "IsRemoteEndpoint": true}),
    );
    let host = json!({"SystemType": "Host", "CompartmentId": 1});
    assert_eq!(code(world.attach(remote, host.clone())), HResult::INVALID_REMOTE_ENDPOINT_OPERATION);
    assert_eq!(code(world.attach(Guid::random_from(1, 1), host)), HResult::ENDPOINT_NOT_FOUND);
    for (document, path) in [
        (json!({"SystemType": "Boat"}), "SystemType"),
        (json!({"SystemType": "Container"}), "ContainerId"),
        (json!({}), "ContainerId"),
    ] {
        let error = world.attach(endpoint, document).unwrap_err();
        assert_eq!((error.code, error.path.as_deref()), (HResult::INVALID_ARGUMENT, Some(path)));
    }
    let error = world.act(Kind::LoadBalancer, endpoint, Action::Attach, json!({})).unwrap_err();
    assert_eq!(error.code, HResult::REQUEST_UNSUPPORTED);
}

#[test]
fn resources_of_a_namespace_come_and_go() {
    let mut world = World::default();
    let endpoint = world.endpoint();
    let namespace = world.create(Kind::Namespace, json!({}));
    let resource = |kind: &str, id: &str| json!({"Type": kind, "Data": {"Id": id}});
    let of_endpoint = resource("Endpoint", &endpoint.to_string());
    let mut act = |action, document| world.act(Kind::Namespace, namespace, action, document);
    act(Action::AddResource, of_endpoint.clone()).unwrap();
    act(Action::AddResource, of_endpoint.clone()).unwrap();
    act(Action::AddResource, resource("Container", "web1")).unwrap();
    act(Action::RemoveResource, of_endpoint.clone()).unwrap();
    for (document, code, path) in [
        (of_endpoint, HResult::NOT_FOUND, "Data.Id"),
        (resource("Container", "web2"), HResult::NOT_FOUND, "Data.Id"),
        (resource("Endpoint", "x"), HResult::GUID_CONVERSION_FAILURE, "Data.Id"),
        (resource("Boat", "x"), HResult::REQUEST_UNSUPPORTED, "Type"),
        (json!({"Type": "Endpoint"}), HResult::INVALID_ARGUMENT, "Data.Id"),
    ] {
        let error = act(Action::RemoveResource, document.clone()).unwrap_err();
        assert_eq!((error.code, error.path.as_deref()), (code, Some(path)), "{document}");
    }
    let error = act(Action::AddResource, resource("Endpoint", &namespace.to_string())).unwrap_err();
    assert_eq!((error.code, error.path.as_deref()), (HResult::ENDPOINT_NOT_FOUND, Some("Data.Id")));
    assert_has(
        &world.v1(Kind::Namespace, namespace),
        &json!({"ResourceList": [{"Type": "Container", "Data": {"Id": "web1"}}]}),
    );
}

#[test]
fn an_endpoint_on_the_host_is_in_no_other_namespace() {
    let mut world = World::default();
    let endpoint = world.endpoint();
    let namespace = world.create(Kind::Namespace, json!({}));
    world.attach(endpoint, json!({"SystemType": "Host"})).unwrap();
    let resource = json!({"Type": "Endpoint", "Data": {"Id": endpoint}});
    let refused = world.act(Kind::Namespace, namespace, Action::AddResource, resource);
    assert_eq!(code(refused), HResult::ENDPOINT_NAMESPACE_ALREADY_EXISTS);
    world.delete(Kind::Endpoint, endpoint);
}
