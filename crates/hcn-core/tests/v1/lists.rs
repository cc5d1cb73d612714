//! Policy lists: load balancers and SDN routes in version 1 (contract 5.4).

use hcn_schema::HResult;
use hcn_schema::call::Kind;
use serde_json::json;

use crate::world::{World, assert_has};

#[test]
fn a_load_balancer_is_a_list_of_elb_policies() {
    let mut world = World::default();
    let network = world.network();
    let endpoint = world.create(Kind::Endpoint, json!({"VirtualNetwork": network}));
    let given = json!({
        "References": [format!("/endpoints/{}", endpoint.to_string().to_lowercase())],
        "Policies": [{"Type": "ELB", "Protocol": 6, "InternalPort": 8080, "ExternalPort": 80, "SourceVIP": "192.0.2.200",
                      "VIPs": ["198.51.100.200"], "ILB": true}],
    });
    let balancer = world.create(Kind::LoadBalancer, given.clone());
    assert_has(
        &world.v1(Kind::LoadBalancer, balancer),
        &json!({"ID": balancer, "References": [format!("/endpoints/{endpoint}")], "Policies": given["Policies"], "State": 1}),
    );
    assert_has(
        &world.v2(Kind::LoadBalancer, balancer),
        &json!({"HostComputeEndpoints": [endpoint], "SourceVIP": "192.0.2.200", "FrontendVIPs": ["198.51.100.200"],
            "PortMappings": [{"Protocol": 6, "InternalPort": 8080, "ExternalPort": 80, "Flags": 1}]}),
    );
    let v2 = json!({"HostComputeEndpoints": [endpoint], "FrontendVIPs": ["203.0.113.100"], "Flags": 1,
        "PortMappings": [{"Protocol": 6, "InternalPort": 443, "ExternalPort": 443, "Flags": 28, "DistributionType": 2}],
        "SchemaVersion": {"Major": 2}});
    let balancer = world.create(Kind::LoadBalancer, v2.clone());
    let mut flat = world.v1(Kind::LoadBalancer, balancer);
    assert_has(&flat, &json!({"Policies": [{"Type": "ELB", "IsDSR": true, "VIPs": ["203.0.113.100"]}]}));
    world.delete(Kind::LoadBalancer, balancer);
    // What version 1 says of it makes the same again.
    flat.as_object_mut().unwrap().remove("SchemaVersion");
    let again = world.create(Kind::LoadBalancer, flat);
    let mut expected = v2;
    expected.as_object_mut().unwrap().remove("SchemaVersion");
    assert_eq!(again, balancer);
    assert_has(&world.v2(Kind::LoadBalancer, again), &expected);
}

#[test]
fn an_sdn_route_is_a_list_of_route_policies() {
    let mut world = World::default();
    let network = world.network();
    let endpoint = world.create(Kind::Endpoint, json!({"VirtualNetwork": network}));
    let given = json!({
        "References": [format!("/endpoints/{endpoint}")],
        "Policies": [{"Type": "ROUTE", "DestinationPrefix": "198.51.100.0/24", "NextHop": "192.0.2.9", "NeedEncap": true}],
    });
    let route = world.create(Kind::SdnRoute, given.clone());
    assert_has(&world.v1(Kind::SdnRoute, route), &given);
    assert_has(
        &world.v2(Kind::SdnRoute, route),
        &json!({"Routes": [{"DestinationPrefix": "198.51.100.0/24", "NextHop": "192.0.2.9", "NeedEncap": true}]}),
    );
}

#[test]
fn what_is_wrong_is_told_by_the_clients_own_members() {
    let mut world = World::default();
    let network = world.network();
    let endpoint = world.create(Kind::Endpoint, json!({"VirtualNetwork": network}));
    let elb = |policies: serde_json::Value| json!({"References": [format!("/endpoints/{endpoint}")], "Policies": policies});
    for (document, code, path) in [
        (json!({"References": ["/networks/x"]}), HResult::INVALID_JSON_REFERENCE, "References[0]"),
        (
            json!({"References": ["/endpoints/x"], "Policies": [{"Type": "ELB"}]}),
            HResult::GUID_CONVERSION_FAILURE,
            "References[0]",
        ),
        (
            json!({"References": [format!("/endpoints/{network}")], "Policies": [{"Type": "ELB"}]}),
            HResult::ENDPOINT_NOT_FOUND,
            "References[0]",
        ),
        (elb(json!([])), HResult::INVALID_ARGUMENT, "Policies"),
        (elb(json!([{"Type": "ACL"}])), HResult::INVALID_POLICY_TYPE, "Policies[0].Type"),
        (
            elb(json!([{"Type": "ELB", "Protocol": 6, "InternalPort": 80}])),
            HResult::INVALID_ARGUMENT,
            "Policies[0].ExternalPort",
        ),
        (
            elb(
                json!([{"Type": "ELB", "Protocol": 6, "InternalPort": 80, "ExternalPort": 80, "VIPs": ["x"]}]),
            ),
            HResult::INVALID_IP,
            "Policies[0].VIPs[0]",
        ),
        (
            elb(json!([{"Type": "ELB", "VIPs": ["192.0.2.9"]}, {"Type": "ELB"}])),
            HResult::INVALID_POLICY,
            "Policies[1]",
        ),
    ] {
        assert_eq!(
            world.refused(Kind::LoadBalancer, document.clone()),
            (code, path.to_owned()),
            "{document}"
        );
    }
}
