//! REST paths (contract 5.1, 5.2).

use hcn_core::v1::rest::{self, Accelnet, Asked, Then};
use hcn_schema::call::{Action, Call, HnsRequest, Kind, Reference, Verb};
use hcn_schema::hns::HnsVersion;
use hcn_schema::{Error, Guid, HResult, Raw};
use serde_json::{Value, json};

use crate::world::{World, assert_has};

const ID: &str = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";

impl World {
    fn asked(&self, method: &str, path: &str, body: Option<&str>) -> Result<Asked, Error> {
        let request =
            HnsRequest { method: method.to_owned(), path: path.to_owned(), body: body.map(str::to_owned) };
        rest::asked(&self.published, self.hns, &request)
    }

    fn call(&self, method: &str, path: &str, body: Option<&str>) -> (Call, Then) {
        match self.asked(method, path, body) {
            Ok(Asked::Call { call, then }) => (call, then),
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    fn output(&self, method: &str, path: &str) -> Value {
        match self.asked(method, path, None) {
            Ok(Asked::Output(output)) => value(&output),
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    fn rest_code(&self, method: &str, path: &str, body: Option<&str>) -> HResult {
        match self.asked(method, path, body) {
            Err(error) => error.code,
            other => panic!("{method} {path}: {other:?}"),
        }
    }
}

fn value(raw: &Raw) -> Value {
    serde_json::from_str(raw.get()).unwrap()
}

fn target() -> Reference {
    Reference { id: ID.parse().unwrap(), incarnation: None }
}

#[test]
fn the_version_is_the_one_that_the_client_is_told() {
    let mut world = World::default();
    assert_eq!(world.output("GET", "/globals/version"), json!({"Major": 16, "Minor": 0}));
    world.hns = HnsVersion::new(9, 2);
    assert_eq!(world.output("GET", "globals/version/"), json!({"Major": 9, "Minor": 2}));
}

#[test]
fn lists_are_arrays_of_documents_oldest_first() {
    let mut world = World::default();
    for path in
        ["/networks/", "/networks", "networks", "/Networks/", "/endpoints/", "/policylists/", "/namespaces/"]
    {
        assert_eq!(world.output("GET", path), json!([]), "{path}");
    }
    for path in ["/activities/", "/plugins", "/portpools/"] {
        assert_eq!(world.output("GET", path), json!([]), "{path}");
    }
    let network = world.network();
    let endpoint = world.create(Kind::Endpoint, json!({"VirtualNetwork": network}));
    let other = world.create(Kind::Endpoint, json!({"VirtualNetwork": network}));
    assert_has(&world.output("GET", "/networks/"), &json!([{"ID": network, "Subnets": [{}]}]));
    assert_has(&world.output("GET", "/endpoints/"), &json!([{"ID": endpoint}, {"ID": other}]));
    let references = [format!("/endpoints/{endpoint}")];
    let route =
        json!({"References": references, "Policies": [{"Type": "ROUTE", "DestinationPrefix": "10.0.0.0/8"}]});
    let elb = json!({"References": references,
        "Policies": [{"Type": "ELB", "Protocol": 6, "InternalPort": 80, "ExternalPort": 80}]});
    let route = world.create(Kind::SdnRoute, route);
    let balancer = world.create(Kind::LoadBalancer, elb);
    let types = json!([{"ID": balancer, "Policies": [{"Type": "ELB"}]}, {"ID": route, "Policies": [{"Type": "ROUTE"}]}]);
    assert_has(&world.output("GET", "/policylists/"), &types);
    assert_has(&world.output("GET", &format!("/policylists/{route}")), &types[1]);
    let delete = |id| Verb::Delete { id };
    assert_eq!(world.call("DELETE", &format!("/policylists/{route}"), None).0.verb, delete(route));
    assert_eq!(world.call("DELETE", &format!("/policylists/{route}"), None).0.kind, Kind::SdnRoute);
    assert_eq!(world.call("DELETE", &format!("/policylists/{balancer}"), None).0.kind, Kind::LoadBalancer);
}

#[test]
fn an_entity_is_found_by_its_id_in_any_form() {
    let mut world = World::default();
    let network = world.network();
    let lower = network.to_string().to_lowercase();
    for path in
        [format!("/networks/{network}"), format!("/networks/{lower}/"), format!("/networks/{{{lower}}}")]
    {
        assert_eq!(world.output("GET", &path), world.v1(Kind::Network, network));
    }
    for path in [format!("/networks/{network}/detailed"), "/networks/detailed".to_owned()] {
        let output = world.output("GET", &path);
        let document = output.get(0).unwrap_or(&output);
        assert_has(document, &json!({"ID": network, "Resources": {"ID": network}}));
    }
    assert!(world.output("GET", &format!("/networks/{network}")).get("Resources").is_none());
}

#[test]
fn requests_that_change_something_are_calls() {
    let world = World::default();
    let document = || Some("{}".to_owned());
    let create = |kind| Call { kind, verb: Verb::Create { id: None, parent: None, document: document() } };
    let act =
        |kind, action| Call { kind, verb: Verb::Act { target: target(), action, document: document() } };
    for (path, call, then) in [
        ("/networks/".to_owned(), create(Kind::Network), Then::Document),
        ("/endpoints/".to_owned(), create(Kind::Endpoint), Then::Document),
        ("/namespaces/".to_owned(), create(Kind::Namespace), Then::Document),
        ("/policylists/".to_owned(), create(Kind::LoadBalancer), Then::Document),
        (format!("/networks/{ID}"), act(Kind::Network, Action::Update), Then::Document),
        (format!("/endpoints/{ID}"), act(Kind::Endpoint, Action::Update), Then::Document),
        (format!("/endpoints/{ID}/attach"), act(Kind::Endpoint, Action::Attach), Then::Nothing),
        (format!("/endpoints/{ID}/detach"), act(Kind::Endpoint, Action::Detach), Then::Nothing),
        (format!("/namespaces/{ID}/addresource"), act(Kind::Namespace, Action::AddResource), Then::Document),
        (
            format!("/namespaces/{ID}/removeresource"),
            act(Kind::Namespace, Action::RemoveResource),
            Then::Document,
        ),
    ] {
        assert_eq!(world.call("POST", &path, Some("{}")), (call, then), "{path}");
    }
    let (call, _) = world.call("POST", "/policylists/", Some(r#"{"Policies":[{"Type":"route"}]}"#));
    assert_eq!(call.kind, Kind::SdnRoute);
    let stats = Verb::QueryStats { target: target(), query: None };
    assert_eq!(world.call("GET", &format!("/endpointstats/{ID}"), None).0.verb, stats);
    let addresses = Verb::QueryAddresses { target: target(), query: None };
    assert_eq!(world.call("GET", &format!("/endpointaddresses/{ID}"), None).0.verb, addresses);
}

#[test]
fn what_is_deleted_is_the_output() {
    let mut world = World::default();
    let network = world.network();
    let (call, then) = world.call("DELETE", &format!("/networks/{network}"), None);
    assert_eq!(call, Call { kind: Kind::Network, verb: Verb::Delete { id: network } });
    let Then::Output(output) = then else { panic!("{then:?}") };
    assert_eq!(value(&output), world.v1(Kind::Network, network));
    let (_, then) = world.call("DELETE", &format!("/networks/{ID}"), None);
    assert_eq!(then, Then::Nothing, "whether it is there is decided by the call");
}

#[test]
fn what_is_no_path_or_no_method_is_refused() {
    let world = World::default();
    let under_id = |rest: &str| format!("/networks/{ID}{rest}");
    for path in [
        "/moons/",
        "/",
        "",
        "/globals/moon",
        "/globals",
        "/endpointstats",
        "/activities/x",
        &under_id("/moon"),
        &under_id("/detailed/x"),
    ] {
        assert_eq!(world.rest_code("GET", path, None), HResult::NOT_FOUND, "{path}");
    }
    for (method, path) in [
        ("PUT", "/networks/".to_owned()),
        ("get", "/networks/".to_owned()),
        ("", String::new()),
        ("DELETE", "/networks/".to_owned()),
        ("POST", "/globals/version".to_owned()),
        ("POST", "/activities/".to_owned()),
        ("DELETE", format!("/endpointstats/{ID}")),
        ("POST", format!("/namespaces/{ID}")),
        ("POST", format!("/policylists/{ID}")),
        ("GET", format!("/endpoints/{ID}/attach")),
    ] {
        assert_eq!(world.rest_code(method, &path, None), HResult::NOT_IMPLEMENTED, "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/networks/x"),
        ("DELETE", "/networks/x"),
        ("POST", "/endpoints/x/attach"),
        ("GET", "/endpointstats/x"),
    ] {
        assert_eq!(world.rest_code(method, path, Some("{}")), HResult::GUID_CONVERSION_FAILURE, "{path}");
    }
    assert_eq!(world.rest_code("POST", "/policylists/", Some("{")), HResult::INVALID_JSON);
    assert_eq!(world.rest_code("POST", "/policylists/", Some(" ")), HResult::INVALID_JSON);
}

#[test]
fn what_is_not_there_has_the_text_that_clients_look_for() {
    let world = World::default();
    for (collection, code, text) in [
        ("networks", HResult::NETWORK_NOT_FOUND, "The network was not found. "),
        ("endpoints", HResult::ENDPOINT_NOT_FOUND, "The endpoint was not found. "),
        ("namespaces", HResult::NOT_FOUND, "Element not found. "),
        ("policylists", HResult::NOT_FOUND, "Element not found. "),
    ] {
        let error = world.asked("GET", &format!("/{collection}/{ID}"), None).unwrap_err();
        let envelope = value(&rest::failure(&error));
        assert_eq!(envelope, json!({"Success": false, "Error": text, "ErrorCode": code.0}));
    }
}

#[test]
fn a_success_has_an_output_where_there_is_one() {
    assert_eq!(rest::success(None).get(), r#"{"Success":true}"#);
    assert_eq!(rest::success(Some(&Raw::of(&[1]))).get(), r#"{"Success":true,"Output":[1]}"#);
}

#[test]
fn the_list_of_mac_addresses_is_checked_and_kept_as_it_came() {
    let mut world = World::default();
    let accelnet = |method: &str, body| world.asked(method, "/accelnet/", body);
    let given =
        r#"{"MacAddressList":[{"MacAddress":"00-15-5D-0A-B7-C6"},{"MacAddress":"00:15:5d:38:01:00"}]}"#;
    let addresses = vec!["00-15-5D-0A-B7-C6".to_owned(), "00:15:5d:38:01:00".to_owned()];
    assert_eq!(rest::accelnet(&addresses).get(), given);
    assert_eq!(accelnet("POST", Some(given)), Ok(Asked::Accelnet(Accelnet::Set(addresses))));
    assert_eq!(accelnet("GET", None), Ok(Asked::Accelnet(Accelnet::Get)));
    assert_eq!(accelnet("DELETE", None), Ok(Asked::Accelnet(Accelnet::Clear)));
    assert_eq!(rest::accelnet(&[]).get(), r#"{"MacAddressList":[]}"#);
    let error = accelnet("POST", Some(r#"{"MacAddressList":[{"MacAddress":"x"}]}"#)).unwrap_err();
    assert_eq!(error.path.as_deref(), Some("MacAddressList[0].MacAddress"));
    assert_eq!(accelnet("POST", None).unwrap_err().code, HResult::INVALID_JSON);
    world.hns = HnsVersion::new(15, 3);
    assert_eq!(world.rest_code("GET", "/accelnet/", None), HResult::REQUEST_UNSUPPORTED);
}

#[test]
fn the_document_of_what_was_made_is_found_again() {
    let mut world = World::default();
    let network = world.network();
    let document = rest::document(&world.published, Kind::Network, network).unwrap();
    assert_eq!(value(&document), world.v1(Kind::Network, network));
    assert_eq!(rest::document(&world.published, Kind::Network, Guid::ZERO), None);
}
