//! What policies that translate and route mean for the kernel.

use hcn_core::compile;
use hcn_dataplane::{Diversion, Family, Interception, Netns, Object, Outbound, Route, Source};
use hcn_schema::Guid;
use hcn_schema::call::{Kind, Reference, Verb};

use crate::{Service, one};

/// A service with an attached endpoint of a network of this type.
fn attached(mode: &str, of_network: &str, policies: &str) -> (Service, Guid, Guid) {
    let mut service = Service::default();
    let network = service.network(mode, of_network).unwrap();
    let endpoint = service.endpoint(network, policies).unwrap();
    attach(&mut service, endpoint, "Host");
    (service, network, endpoint)
}

fn attach(service: &mut Service, endpoint: Guid, kind: &str) -> Guid {
    let document = Some(format!(r#"{{"Type":"{kind}","SchemaVersion":{{"Major":2}}}}"#));
    let namespace = service.call(Kind::Namespace, Verb::Create { id: None, parent: None, document }).unwrap();
    let document = Some(format!(
        r#"{{"ResourceType":"Endpoint","RequestType":"Add","Settings":{{"EndpointId":"{endpoint}"}}}}"#
    ));
    let target = Reference { id: namespace, incarnation: None };
    service.call(Kind::Namespace, Verb::Modify { target, document }).unwrap();
    namespace
}

fn objects<T>(service: &Service, meant: impl Fn(&Object) -> Option<T>) -> Vec<T> {
    compile::all(&service.published).iter().filter_map(|(_, object)| meant(object)).collect()
}

fn outbound(service: &Service) -> Vec<Outbound> {
    objects(service, |object| match object {
        Object::Outbound(outbound) => Some(outbound.clone()),
        _ => None,
    })
}

fn diversions(service: &Service) -> Vec<Diversion> {
    objects(service, |object| match object {
        Object::Diversion(diversion) => Some(diversion.clone()),
        _ => None,
    })
}

fn interceptions(service: &Service) -> Vec<Interception> {
    objects(service, |object| match object {
        Object::Interception(interception) => Some(interception.clone()),
        _ => None,
    })
}

/// The routes in namespaces, as `DESTINATION GATEWAY`.
fn routes(service: &Service) -> Vec<String> {
    objects(service, |object| match object {
        Object::Route(Route { link, destination, gateway: Some(gateway), .. })
            if link.netns != Netns::Host =>
        {
            Some(format!("{destination} {gateway}"))
        }
        _ => None,
    })
}

#[test]
fn outbound_rules_keep_their_order_and_know_their_family() {
    let policies = r#"[{"Type":"OutBoundNAT","Settings":{"Exceptions":["10.1.2.3/8"]}},
        {"Type":"OutBoundNAT","Settings":{"Flags":2,"Destinations":["2001:db8::1"]}},
        {"Type":"OutBoundNAT","Settings":{"VirtualIP":"2001:db8::7","Flags":1}}]"#;
    let (service, ..) = attached("NAT", "[]", policies);
    let [found] = &outbound(&service)[..] else { panic!("one") };
    let shown: Vec<_> = found.rules.iter().map(|rule| (rule.family, rule.source)).collect();
    let virtual_ip = Source::Address("2001:db8::7".parse().unwrap());
    let expected =
        [(Family::V4, Source::Masquerade), (Family::V6, Source::Masquerade), (Family::V6, virtual_ip)];
    assert_eq!(shown, expected);
    assert_eq!(found.rules[0].exceptions, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(found.rules[1].destinations, ["2001:db8::1/128".parse().unwrap()]);
}

#[test]
fn a_virtual_address_of_the_network_is_answered_for() {
    let claims = |policies: &str| {
        let (service, ..) = attached("NAT", "[]", policies);
        objects(&service, |object| match object {
            Object::Claim(claim) => Some(claim.address.to_string()),
            _ => None,
        })
    };
    assert_eq!(claims(&one("OutBoundNAT", r#"{"VirtualIP":"10.0.0.200"}"#)), ["10.0.0.200"]);
    // The endpoint's own, the gateway, and one of elsewhere.
    for address in ["10.0.0.2", "10.0.0.1", "203.0.113.77"] {
        let none = claims(&one("OutBoundNAT", &format!(r#"{{"VirtualIP":"{address}"}}"#)));
        assert!(none.is_empty(), "{address}");
    }
}

#[test]
fn a_virtual_address_of_the_network_is_given_to_nobody_else() {
    let policies = one("OutBoundNAT", r#"{"VirtualIP":"10.0.0.3"}"#);
    let (mut service, network, _) = attached("NAT", "[]", &policies);
    let next = service.endpoint(network, "[]").unwrap();
    let next = service.published.endpoints.get(next).unwrap();
    assert_eq!(next.addresses, ["10.0.0.4/24".parse().unwrap()]);
}

#[test]
fn only_what_the_host_carries_is_translated() {
    let policies = r#"[{"Type":"OutBoundNAT","Settings":{}},
        {"Type":"L4Proxy","Settings":{"Destination":"203.0.113.1:1"}},
        {"Type":"L4WFPPROXY","Settings":{"OutboundProxyPort":"1"}}]"#;
    for (mode, carried) in [("NAT", true), ("L2Bridge", true), ("Overlay", true), ("Private", false)] {
        let (service, ..) = attached(mode, "[]", policies);
        assert_eq!(outbound(&service).len(), usize::from(carried), "{mode}");
        assert_eq!(diversions(&service).len(), usize::from(carried), "{mode}");
        // The namespace is the endpoint's own, wherever its packets go.
        assert_eq!(interceptions(&service).len(), 1, "{mode}");
    }
    // In the host's namespace connections are the host's.
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let endpoint = service.endpoint(network, policies).unwrap();
    assert!(outbound(&service).is_empty(), "it is attached to nothing");
    attach(&mut service, endpoint, "HostDefault");
    assert_eq!(outbound(&service).len(), 1);
    assert!(diversions(&service).is_empty() && interceptions(&service).is_empty());
}

#[test]
fn a_networks_proxy_is_that_of_each_endpoint_after_its_own() {
    let of_network =
        one("L4Proxy", r#"{"Destination":"10.0.0.3:1080","Protocol":6,"Exceptions":["10.0.0.0/8"]}"#);
    let own = r#"[{"Type":"L4Proxy","Settings":{"IP":"198.51.100.7/24","Port":"80,8000-8100","Protocol":17,
        "Destination":"[fd00::7]:1","OutboundNAT":true}},
        {"Type":"L4Proxy","Settings":{"Destination":"127.0.0.1:1080"}}]"#;
    let (mut service, network, endpoint) = attached("NAT", &of_network, own);
    let proxy = service.endpoint(network, "[]").unwrap();
    attach(&mut service, proxy, "Host");
    // The endpoint that is the proxy has none.
    let [found] = &diversions(&service)[..] else { panic!("one") };
    let shown: Vec<_> = found
        .rules
        .iter()
        .map(|rule| (rule.proxy.to_string(), rule.protocols.clone(), rule.masquerade))
        .collect();
    assert_eq!(
        shown,
        [("[fd00::7]:1".to_owned(), vec![17], true), ("10.0.0.3:1080".to_owned(), vec![6], false)]
    );
    assert_eq!(found.rules[0].ports.len(), 2);
    // What the network says no more is gone at once.
    service.modify(Kind::Network, network, "Remove", &of_network).unwrap();
    assert_eq!(diversions(&service)[0].rules.len(), 1);
    service.modify(Kind::Endpoint, endpoint, "Update", "[{}]").unwrap();
    assert!(diversions(&service).is_empty());
}

#[test]
fn users_are_those_that_the_configuration_says() {
    let policies = r#"[
        {"Type":"L4WFPPROXY","Settings":{"OutboundProxyPort":"15001","FilterTuple":{"Priority":9}}},
        {"Type":"L4WFPPROXY","Settings":{"OutboundProxyPort":"15002","UserSID":"S-1-5-18"}},
        {"Type":"L4WFPPROXY","Settings":{"InboundProxyPort":"15003","UserSID":"S-1-5-32-556",
            "FilterTuple":{"Protocols":"6,17","LocalPorts":"80","Priority":1}}}]"#;
    let (service, ..) = attached("NAT", "[]", policies);
    let [found] = &interceptions(&service)[..] else { panic!("one") };
    let shown: Vec<_> = found.rules.iter().map(|rule| (rule.outbound, rule.inbound, rule.user)).collect();
    // Without a priority first.
    let expected =
        [(Some(15_002), None, Some(1337)), (None, Some(15_003), Some(7)), (Some(15_001), None, None)];
    assert_eq!(shown, expected);
}

#[test]
fn routes_go_by_neighbours_or_by_the_gateway_and_policies_win() {
    let policies = r#"[
        {"Type":"SDNRoute","Settings":{"DestinationPrefix":"198.51.100.7/24","NextHop":"127.10.0.34"}},
        {"Type":"SDNRoute","Settings":{"DestinationPrefix":"198.51.101.0/24","NextHop":"10.0.0.9"}},
        {"Type":"SDNRoute","Settings":{"DestinationPrefix":"198.51.102.0/24","NextHop":"10.0.0.9","NeedEncap":true}},
        {"Type":"SDNRoute","Settings":{"DestinationPrefix":"198.51.103.0/24","NextHop":"203.0.113.1"}},
        {"Type":"SDNRoute","Settings":{"DestinationPrefix":"2001:db8::/64"}}]"#;
    let (mut service, _, endpoint) = attached("NAT", "[]", policies);
    let by_policy = [
        "0.0.0.0/0 10.0.0.1",
        "198.51.100.0/24 10.0.0.1",
        "198.51.101.0/24 10.0.0.9",
        "198.51.102.0/24 10.0.0.1",
        "198.51.103.0/24 10.0.0.1",
    ];
    assert_eq!(routes(&service), &by_policy[..]);
    let document = Some(format!(
        r#"{{"HostComputeEndpoints":["{endpoint}"],"SchemaVersion":{{"Major":2}},"Routes":[
            {{"DestinationPrefix":"198.51.101.0/24","NextHop":"10.0.0.8"}},
            {{"DestinationPrefix":"203.0.113.128/25","NextHop":"10.0.0.8"}}]}}"#
    ));
    let sdn = service.call(Kind::SdnRoute, Verb::Create { id: None, parent: None, document }).unwrap();
    let both = [&by_policy[..], &["203.0.113.128/25 10.0.0.8"]].concat();
    assert_eq!(routes(&service), both);
    service
        .modify(Kind::Endpoint, endpoint, "Update", &one("SDNRoute", r#"{"DestinationPrefix":"0.0.0.0/0"}"#))
        .unwrap();
    let left = ["0.0.0.0/0 10.0.0.1", "198.51.101.0/24 10.0.0.8", "203.0.113.128/25 10.0.0.8"];
    assert_eq!(routes(&service), left);
    service.delete(Kind::SdnRoute, sdn);
    assert_eq!(routes(&service), left[..1]);
}
