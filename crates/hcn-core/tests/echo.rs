//! What a client wrote comes back: any valid document survives create, query, and create elsewhere from what was read;
//! and any JSON at all gets an answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::sync::Arc;
use std::time::Duration;

use hcn_core::{Action, Context, Engine, Registry, read};
use hcn_dataplane::{HostAddress, HostFacts, HostLink};
use hcn_schema::call::{Action as Deed, Answer, Call, Kind, Reference, Verb};
use hcn_schema::hns::HnsVersion;
use hcn_schema::{Error, Guid};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

/// A service whose kernel takes everything at once.
#[derive(Default)]
struct Service {
    engine: Engine,
    published: Registry,
    calls: u64,
}

impl Service {
    fn call(&mut self, kind: Kind, verb: Verb) -> Result<Answer, Error> {
        self.calls += 1;
        let address = HostAddress { link: "eth0".to_owned(), address: "203.0.113.10/24".parse().unwrap() };
        let host = HostFacts {
            addresses: vec![address],
            uplink: Some("eth0".to_owned()),
            links: vec![HostLink { name: "eth0".to_owned(), mtu: 1500, ..HostLink::default() }],
            ..HostFacts::default()
        };
        let context = Context {
            now: Duration::ZERO,
            filetime: 1,
            fresh_id: Guid::random_from(1000 + self.calls, 7),
            host: Arc::new(host),
            caller_uid: 0,
            caller_pid: None,
            settings: Arc::default(),
            hns: HnsVersion::default(),
        };
        let mut answer = None;
        let mut actions = self.engine.submit(self.calls, Call { kind, verb }, context);
        while !actions.is_empty() {
            match actions.remove(0) {
                Action::Start(job) => actions.extend(self.engine.finish(job.ticket, Ok(()), Duration::ZERO)),
                Action::Publish(change) => self.published.apply(&change),
                Action::Reply(_, result) => answer = Some(result),
                Action::Announce(_) => {}
            }
        }
        answer.expect("every call is answered")
    }

    fn create(&mut self, kind: Kind, id: Option<Guid>, document: &Value) -> Result<Guid, Error> {
        let verb = Verb::Create { id, parent: None, document: Some(document.to_string()) };
        match self.call(kind, verb)? {
            Answer::Entity { id, .. } => Ok(id),
            other => panic!("{other:?}"),
        }
    }

    fn query(&self, kind: Kind, id: Guid) -> Value {
        let target = Reference { id, incarnation: None };
        let query = Some(r#"{"SchemaVersion":{"Major":2,"Minor":0}}"#.to_owned());
        match read::read(&self.published, &Call { kind, verb: Verb::Query { target, query } }) {
            Ok(Answer::Document(document)) => serde_json::from_str(document.get()).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

/// The members that have a value, as an object.
fn object(members: Vec<(&str, Option<Value>)>) -> Value {
    let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let mut object: Map<String, Value> = given.collect();
    object.insert("SchemaVersion".to_owned(), json!({"Major": 2, "Minor": 0}));
    Value::Object(object)
}

fn text() -> impl Strategy<Value = Value> {
    prop_oneof!["[a-z][a-z0-9.-]{0,20}", "[äöü\"\\\\/😀 ]{1,6}"].prop_map(Value::String)
}

fn dns() -> impl Strategy<Value = Value> {
    let names = || vec("[a-z]{1,8}\\.test", 1..3);
    (names(), names()).prop_map(|(search, options)| {
        json!({"Domain": "example.test", "Search": search, "ServerList": ["192.0.2.53", "2001:db8::53"], "Options": options})
    })
}

fn subnet(number: usize) -> impl Strategy<Value = Value> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(move |(ipv6, routed, parted)| {
        let (prefix, gateway, all, part) = if ipv6 {
            (
                format!("2001:DB8:{number}::/48"),
                format!("2001:db8:{number}::1"),
                "::/0",
                format!("2001:db8:{number}:1::/64"),
            )
        } else {
            (
                format!("10.{number}.0.0/16"),
                format!("10.{number}.0.1"),
                "0.0.0.0/0",
                format!("10.{number}.3.0/24"),
            )
        };
        let mut subnet = json!({"IpAddressPrefix": prefix});
        if routed {
            subnet["Routes"] = json!([{"NextHop": gateway, "DestinationPrefix": all}]);
        }
        if parted {
            subnet["IpSubnets"] = json!([{"IpAddressPrefix": part, "Flags": 3}]);
        }
        subnet
    })
}

/// Of each type at most one.
fn network_policies() -> impl Strategy<Value = Vec<Value>> {
    let policies = vec![
        json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}),
        json!({"Type": "AutomaticDNS", "Settings": {"Enable": true}}),
        json!({"Type": "LayerConstraint", "Settings": {"LayerId": "5F0B1190-63BE-4E0C-B974-BD0F55675A42"}}),
        json!({"Type": "NetworkACL", "Settings": {"Protocols": "6", "Action": "Block", "Direction": "In", "Priority": 200}}),
    ];
    let most = policies.len();
    subsequence(policies, 0..=most)
}

fn network() -> impl Strategy<Value = Value> {
    let types = vec![
        "NAT",
        "ICS",
        "ConstrainedICS",
        "Transparent",
        "L2Bridge",
        "L2Tunnel",
        "Overlay",
        "Private",
        "Internal",
    ];
    let subnets = vec(0..3usize, 0..3).prop_flat_map(|numbers| {
        let mut numbers = numbers;
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(subnet).collect::<Vec<_>>()
    });
    let texts = (option::of(text()), option::of(text()), option::of(dns()));
    (select(types), texts, subnets, network_policies(), option::of(select(vec![8, 16, 40, 1 << 20])))
        .prop_map(|(kind, (name, owner, dns), subnets, policies, flags)| {
            let given = |list: Vec<Value>| (!list.is_empty()).then_some(Value::Array(list));
            let ipams = given(subnets).map(|subnets| json!([{"Type": "Static", "Subnets": subnets}]));
            let policies = given(policies);
            object(vec![
                ("Name", name),
                ("Owner", owner),
                ("Type", Some(json!(kind))),
                ("Policies", policies),
                ("Dns", dns),
                ("Ipams", ipams),
                ("Flags", flags.map(|flags| json!(flags))),
                ("AdditionalParams", Some(json!({"ICSFlags": 1}))),
            ])
        })
}

/// Of each type at most one.
fn endpoint_policies() -> impl Strategy<Value = Vec<Value>> {
    let policies = vec![
        json!({"Type": "ACL", "Settings": {"Protocols": "6,17", "Action": "Allow", "Direction": "In", "RemoteAddresses": "192.0.2.0/24,2001:db8::1", "LocalPorts": "80,90-95", "RuleType": "Switch", "Priority": 200}}),
        json!({"Type": "OutBoundNAT", "Settings": {"Exceptions": ["198.51.100.0/24"]}}),
        json!({"Type": "SDNRoute", "Settings": {"DestinationPrefix": "192.0.2.0/24", "NeedEncap": true}}),
        json!({"Type": "Iov", "Settings": {"IovOffloadWeight": 100}}),
        json!({"Type": "PortName", "Settings": {"Name": ""}}),
        json!({"Type": "Firewall", "Settings": {"VmCreatorId": "5f0b1190-63be-4e0c-b974-bd0f55675a42", "PolicyFlags": 1}}),
    ];
    let most = policies.len();
    subsequence(policies, 0..=most)
}

fn endpoint() -> impl Strategy<Value = Value> {
    let configs = select(vec![
        None,
        Some(json!([{}])),
        Some(json!([{"IpAddress": "10.0.0.77"}])),
        Some(
            json!([{"IpAddress": "10.0.9.9", "PrefixLength": 20}, {"IpAddress": "2001:db8:1::106", "PrefixLength": 120}]),
        ),
    ]);
    let mac = option::of(select(vec!["00-15-5D-01-02-03", "0e:2a:0a:00:00:07"]));
    (
        option::of(text()),
        option::of(text()),
        option::of(dns()),
        configs,
        mac,
        endpoint_policies(),
        any::<bool>(),
    )
        .prop_map(|(name, owner, dns, configs, mac, policies, remote)| {
            object(vec![
                ("Name", name),
                ("Owner", owner),
                ("Dns", dns),
                ("IpConfigurations", configs),
                ("MacAddress", mac.map(|mac| json!(mac))),
                ("Policies", Some(Value::Array(policies))),
                ("Flags", remote.then_some(json!(1))),
            ])
        })
}

/// Whether a document holds what was sent: texts and policies as they were, members of objects at least.
fn holds(found: &Value, sent: &Value) -> bool {
    match (found, sent) {
        (Value::Object(found), Value::Object(sent)) => {
            sent.iter().all(|(name, value)| found.get(name).is_some_and(|found| holds(found, value)))
        }
        (Value::Array(found), Value::Array(sent)) => {
            found.len() >= sent.len() && found.iter().zip(sent).all(|(found, sent)| holds(found, sent))
        }
        _ => found == sent,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_network_survives_being_read_and_made_elsewhere(document in network()) {
        let (mut here, mut there) = (Service::default(), Service::default());
        let id = here.create(Kind::Network, None, &document).unwrap();
        let read = here.query(Kind::Network, id);
        prop_assert!(holds(&read, &document), "sent {document}\nread {read}");
        there.create(Kind::Network, None, &read).unwrap();
        prop_assert_eq!(there.query(Kind::Network, id), read);
    }

    #[test]
    fn an_endpoint_survives_being_read_and_made_elsewhere(document in endpoint()) {
        let network = json!({"Type": "L2Bridge", "SchemaVersion": {"Major": 2}, "Ipams": [{"Subnets": [
            {"IpAddressPrefix": "10.0.0.0/16", "Routes": [{"NextHop": "10.0.0.1", "DestinationPrefix": "0.0.0.0/0"}]},
            {"IpAddressPrefix": "2001:db8:1::/48"}]}]});
        let (mut here, mut there) = (Service::default(), Service::default());
        let parent = here.create(Kind::Network, None, &network).unwrap();
        let mut document = document;
        document["HostComputeNetwork"] = json!(parent);
        let id = here.create(Kind::Endpoint, None, &document).unwrap();
        let read = here.query(Kind::Endpoint, id);
        let mut sent = document.clone();
        if let Some(mac) = sent["MacAddress"].as_str() {
            sent["MacAddress"] = json!(mac.replace(':', "-").to_uppercase());
        }
        sent.as_object_mut().unwrap().retain(|_, value| *value != json!([]) && *value != Value::Null);
        prop_assert!(holds(&read, &sent), "sent {sent}\nread {read}");
        there.create(Kind::Network, None, &here.query(Kind::Network, parent)).unwrap();
        there.create(Kind::Endpoint, None, &read).unwrap();
        prop_assert_eq!(there.query(Kind::Endpoint, id), read);
    }

    #[test]
    fn load_balancers_and_routes_survive_being_read_and_made_elsewhere(
        vips in vec(select(vec!["1.1.1.2", "1.1.1.3", "2001:DB8::5"]), 0..3),
        flags in 0..4u32,
        mapping_flags in select(vec![0u32, 2, 8, 16, 28]),
        distribution in 0..3u32,
        name in option::of(text()),
    ) {
        let mut vips = vips;
        vips.sort_unstable();
        vips.dedup();
        let mapping = json!({"Protocol": 6, "InternalPort": 8080, "ExternalPort": 8090, "DistributionType": distribution, "Flags": mapping_flags});
        let balancer = object(vec![
            ("Name", name.clone()), ("FrontendVIPs", (!vips.is_empty()).then(|| json!(vips))),
            ("SourceVIP", Some(json!("10.0.0.1"))), ("Flags", (flags > 0).then(|| json!(flags))),
            ("PortMappings", Some(json!([mapping]))),
        ]);
        let route = object(vec![
            ("Name", name), ("Routes", Some(json!([{"DestinationPrefix": "169.254.169.254/24", "NextHop": "127.10.0.34", "NeedEncap": true}]))),
        ]);
        for (kind, document) in [(Kind::LoadBalancer, balancer), (Kind::SdnRoute, route)] {
            let (mut here, mut there) = (Service::default(), Service::default());
            let id = here.create(kind, None, &document).unwrap();
            let read = here.query(kind, id);
            let mut sent = document.clone();
            if let Some(mapping) = sent["PortMappings"].as_array_mut().and_then(|list| list.first_mut()) {
                mapping.as_object_mut().unwrap().retain(|name, value| name != "Flags" || *value != json!(0));
            }
            sent.as_object_mut().unwrap().retain(|_, value| *value != Value::Null);
            prop_assert!(holds(&read, &sent), "sent {sent}\nread {read}");
            there.create(kind, None, &read).unwrap();
            prop_assert_eq!(there.query(kind, id), read);
        }
    }
}

#[test]
fn a_prefix_length_of_zero_is_the_subnets() {
    let mut service = Service::default();
    let network =
        json!({"SchemaVersion": {"Major": 2}, "Ipams": [{"Subnets": [{"IpAddressPrefix": "10.0.0.0/24"}]}]});
    let network = service.create(Kind::Network, None, &network).unwrap();
    for config in [json!({"PrefixLength": 0}), json!({"IpAddress": "10.0.0.9", "PrefixLength": 0})] {
        let document = json!({"SchemaVersion": {"Major": 2}, "HostComputeNetwork": network, "IpConfigurations": [config]});
        let endpoint = service.create(Kind::Endpoint, None, &document).unwrap();
        assert_eq!(service.query(Kind::Endpoint, endpoint)["IpConfigurations"][0]["PrefixLength"], 24);
    }
}

/// Names that documents have, so that what is tried is not all unknown members.
const NAMES: [&str; 40] = [
    "ID",
    "Name",
    "Owner",
    "Type",
    "Flags",
    "Policies",
    "Settings",
    "SchemaVersion",
    "Major",
    "Minor",
    "Ipams",
    "Subnets",
    "IpAddressPrefix",
    "Routes",
    "NextHop",
    "DestinationPrefix",
    "MacPool",
    "Ranges",
    "Dns",
    "ServerList",
    "Health",
    "IpConfigurations",
    "IpAddress",
    "PrefixLength",
    "HostComputeNetwork",
    "HostComputeEndpoints",
    "PortMappings",
    "Protocol",
    "InternalPort",
    "ExternalPort",
    "ResourceType",
    "RequestType",
    "EndpointId",
    "ContainerId",
    "State",
    "Data",
    "AddressPrefix",
    "GatewayAddress",
    "References",
    "VirtualNetwork",
];

fn anything() -> impl Strategy<Value = Value> {
    let known = select(vec![
        "NAT",
        "Overlay",
        "ACL",
        "PortMapping",
        "Policy",
        "Subnet",
        "Port",
        "Endpoint",
        "Add",
        "Remove",
        "Update",
        "10.0.0.0/24",
        "10.0.0.5",
        "::1",
        "00-15-5D-00-00-01",
        "5F0B1190-63BE-4E0C-B974-BD0F55675A42",
        "Container",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| json!(n)),
        (0..300u16).prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        known.prop_map(|text| json!(text)),
        ".{0,6}".prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let name = prop_oneof![8 => select(NAMES.to_vec()).prop_map(str::to_owned), 1 => ".{0,4}"];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((name, inner), 0..7).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_gets_an_answer(
        kind in select(Kind::ALL.to_vec()),
        verb in 0..8usize,
        document in anything(),
        versioned in any::<bool>(),
    ) {
        let mut service = Service::default();
        let network = json!({"SchemaVersion": {"Major": 2}, "Ipams": [{"Subnets": [{"IpAddressPrefix": "10.0.0.0/24"}]}]});
        let id: Guid = "5F0B1190-63BE-4E0C-B974-BD0F55675A42".parse().unwrap();
        service.create(Kind::Network, Some(id), &network).unwrap();
        service.create(Kind::Endpoint, Some(id), &json!({"SchemaVersion": {"Major": 2}, "HostComputeNetwork": id})).unwrap();
        service.create(Kind::Namespace, Some(id), &json!({"SchemaVersion": {"Major": 2}})).unwrap();
        let mut document = document;
        if versioned && let Some(members) = document.as_object_mut() {
            members.insert("SchemaVersion".to_owned(), json!({"Major": 2}));
        }
        let document = Some(document.to_string());
        let target = Reference { id, incarnation: None };
        let act = |action| Verb::Act { target, action, document: document.clone() };
        let verb = match verb {
            0 | 1 => Verb::Create { id: None, parent: None, document: document.clone() },
            2 => Verb::Modify { target, document: document.clone() },
            3 => act(Deed::Update),
            4 => act(Deed::Attach),
            5 => act(Deed::Detach),
            6 => act(Deed::AddResource),
            _ => act(Deed::RemoveResource),
        };
        if let Ok(Answer::Entity { id, .. }) = service.call(kind, verb) {
            // Whatever was accepted can be read and deleted.
            service.query(kind, id);
            service.call(kind, Verb::Delete { id }).unwrap();
        }
        let queries = [Verb::Query { target, query: document.clone() }, Verb::Enumerate { query: document }];
        for verb in queries {
            let _: Result<Answer, Error> = read::read(&service.published, &Call { kind, verb });
        }
    }
}
