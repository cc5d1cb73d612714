//! Overlays: what their policies mean together, and which endpoints a change takes along.

use hcn_dataplane::{Kernel, Key, Object, Op};
use hcn_schema::HResult;
use hcn_schema::call::Kind;

use super::{Service, one, refused};

const ROUTE: &str = r#"{"DestinationPrefix":"198.51.100.0/24","IsolationId":4096,"ProviderAddress":"203.0.113.20",
    "DistributedRouterMacAddress":"00-15-5d-11-22-33"}"#;

/// The keys that the plan of the running job makes and takes away, in words.
fn plan(service: &Service) -> Vec<String> {
    let words = |op: &Op| match op.key() {
        Key::Route(..) | Key::FdbEntry(..) | Key::Neighbour(..) | Key::Vxlan(..) => Some(op.to_string()),
        _ => None,
    };
    service.jobs[0].plan.ops.iter().filter_map(words).collect()
}

#[test]
fn a_kernel_without_vxlan_is_told_of() {
    let kernel = Kernel { vxlan: false, ..Kernel::default() };
    let mut service = Service { kernel, ..Service::default() };
    let result = service.network("Overlay", "[]");
    assert!(result.as_ref().unwrap_err().message.contains("vxlan (CONFIG_VXLAN)"));
    refused(result, HResult::REQUEST_UNSUPPORTED, "Type");
}

#[test]
fn a_vsid_is_one_networks() {
    let mut service = Service::default();
    service.network("Overlay", "[]").unwrap();
    let path = "Ipams[0].Subnets[0].Policies";
    refused(service.network("Overlay", "[]"), HResult::LAYER_ALREADY_EXISTS, path);
    let other = service.network("Overlay", &one("VxlanPort", r#"{"Port":4790}"#)).unwrap();
    let back = service.modify(Kind::Network, other, "Update", &one("VxlanPort", r#"{"Port":4789}"#));
    refused(back, HResult::LAYER_ALREADY_EXISTS, "Settings.Policies[0].Settings.Port");
}

#[test]
fn another_hosts_router_is_not_ones_own() {
    let mut service = Service::default();
    let own = one("DrMacAddress", r#"{"Address":"00-15-5D-11-22-33"}"#);
    let network = service.network("Overlay", &own).unwrap();
    let route = one("RemoteSubnetRoute", ROUTE);
    let added = service.modify(Kind::Network, network, "Add", &route);
    let path = "Settings.Policies[0].Settings.DistributedRouterMacAddress";
    refused(added, HResult::INVALID_POLICY, path);
    let changed = one("DrMacAddress", r#"{"Address":"00-15-5D-11-22-34"}"#);
    service.modify(Kind::Network, network, "Update", &changed).unwrap();
    service.modify(Kind::Network, network, "Add", &route).unwrap();
}

#[test]
fn taking_out_a_route_leaves_the_others_alone() {
    let mut service = Service::default();
    let network = service.network("Overlay", "[]").unwrap();
    let others = [20, 30, 40].map(|host| {
        let route = ROUTE.replace("113.20", &format!("113.{host}")).replace("100.0", &format!("{host}.0"));
        one("RemoteSubnetRoute", &route.replace("33\"", &format!("{host}\"")))
    });
    for route in &others {
        service.modify(Kind::Network, network, "Add", route).unwrap();
    }
    service.submit_modify(Kind::Network, network, "Remove", &others[0]);
    let plan = plan(&service);
    assert_eq!(plan.len(), 3, "{plan:?}");
    assert!(plan.iter().all(|op| op.starts_with("remove")), "{plan:?}");
    service.finish_all();
}

#[test]
fn what_endpoints_of_other_hosts_stand_on_takes_them_along() {
    let mut service = Service::default();
    let network = service.network("Overlay", "[]").unwrap();
    let provider = one("ProviderAddress", r#"{"ProviderAddress":"203.0.113.20"}"#);
    let document = format!(
        r#"{{"Flags":1,"MacAddress":"02-11-00-00-00-07","IpConfigurations":[{{"IpAddress":"198.51.100.7"}}],
            "Policies":{provider},"SchemaVersion":{{"Major":2}}}}"#
    );
    let parent = Some(hcn_schema::call::Reference { id: network, incarnation: None });
    let create = hcn_schema::call::Verb::Create { id: None, parent, document: Some(document) };
    let endpoint = service.call(Kind::Endpoint, create).unwrap();

    // A link that is made anew, and a subnet whose router leads to the endpoint from then on.
    service.submit_modify(Kind::Network, network, "Add", &one("VxlanPort", r#"{"Port":4790}"#));
    let way = format!("way to 02:11:00:00:00:07 by {}", "hvx");
    let moved = plan(&service);
    assert!(moved.iter().filter(|op| op.contains(&way)).count() == 2, "{moved:?}");
    service.finish_all();
    service.submit_modify(Kind::Network, network, "Add", &one("RemoteSubnetRoute", ROUTE));
    let routed = plan(&service);
    let own = format!("for {endpoint} 198.51.100.7");
    assert!(routed.iter().any(|op| op.starts_with("create neighbour") && op.ends_with(&own)), "{routed:?}");
    service.finish_all();
    // What does not concern it leaves it alone.
    service.submit_modify(Kind::Network, network, "Add", &one("HostRoute", "{}"));
    assert!(plan(&service).is_empty());
    service.finish_all();
}

#[test]
fn a_provider_address_of_another_family_leaves_another_size() {
    let mut service = Service::default();
    let network = service.network("Overlay", "[]").unwrap();
    service.attached(network, "[]", false);
    let sizes = |service: &Service| {
        let all = hcn_core::compile::all(&service.published);
        let size = |object: &Object| match object {
            Object::Bridge(bridge) => Some(bridge.mtu),
            Object::Vxlan(vxlan) => Some(vxlan.mtu),
            Object::Veth(veth) => Some(veth.mtu),
            _ => None,
        };
        all.iter().filter_map(|(_, object)| size(object)).collect::<Vec<u32>>()
    };
    assert_eq!(sizes(&service), [1450; 3]);
    for (request, address, size) in [
        ("Update", "2001:db8::10", 1430),
        ("Update", "203.0.113.11", 1450),
        ("Update", "2001:db8::10", 1430),
        // What the host chooses then is an IPv4 address.
        ("Remove", "2001:db8::10", 1450),
    ] {
        let policy = one("ProviderAddress", &format!(r#"{{"ProviderAddress":"{address}"}}"#));
        service.modify(Kind::Network, network, request, &policy).unwrap();
        assert_eq!(sizes(&service), [size; 3], "{request} {address}");
    }
}
