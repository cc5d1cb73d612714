//! Whatever a client sends: a document is read or refused with a code, and what was read is written the same way for
//! ever after. Valid documents are made from the JSON Schemas, so the schemas are held to what the types read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::LazyLock;

use hcn_schema::enums::{
    EndpointPolicyType, EndpointResourceType, GuestNetworkServiceResourceType, NamespaceResourceType,
    NetworkPolicyType, NetworkResourceType,
};
use hcn_schema::json_schema::{self, Group};
use hcn_schema::modify::{self, ModifyRequest, PolicyRequest};
use hcn_schema::query::HostComputeQuery;
use hcn_schema::{
    HResult, endpoint, guest_network_service as gns, load_balancer, namespace, network, to_text,
};
use hcn_schema::{notification, policy, policy_list, sdn_route, settings};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Reads a text; gives what is written then.
type Read = fn(&str) -> hcn_schema::Result<Option<String>>;

/// Reads a document, and checks that writing it loses nothing.
fn whole<T: DeserializeOwned + Serialize + PartialEq + Debug>(
    text: &str,
) -> hcn_schema::Result<Option<String>> {
    let document: T = hcn_schema::parse(text)?;
    let written = to_text(&document);
    let again: T = hcn_schema::parse(&written).expect("what was written can be read");
    assert_eq!(to_text(&again), written);
    Ok(Some(written))
}

/// Reads a request, which the service never writes.
fn read<T: DeserializeOwned>(text: &str) -> hcn_schema::Result<Option<String>> {
    hcn_schema::parse::<T>(text).map(|_| None)
}

fn query(text: &str) -> hcn_schema::Result<Option<String>> {
    let query = HostComputeQuery::parse(Some(text))?;
    // A filter has its own errors; it must not panic either.
    let _ = query.filter();
    whole::<HostComputeQuery>(text)
}

/// Every type that stands at the top of a text, by the name of its schema.
const TYPES: &[(&str, Read)] = &[
    ("HostComputeNetwork", whole::<network::HostComputeNetwork>),
    ("HostComputeEndpoint", whole::<endpoint::HostComputeEndpoint>),
    ("HostComputeNamespace", whole::<namespace::HostComputeNamespace>),
    ("HostComputeLoadBalancer", whole::<load_balancer::HostComputeLoadBalancer>),
    ("HostComputeRoute", whole::<sdn_route::HostComputeRoute>),
    ("GuestNetworkService", whole::<gns::GuestNetworkService>),
    ("HostComputePolicyList", whole::<policy_list::HostComputePolicyList>),
    ("HostComputeQuery", query),
    ("ModifyNetworkSettingRequest", read::<ModifyRequest<NetworkResourceType>>),
    ("PolicyNetworkRequest", read::<PolicyRequest<NetworkPolicyType>>),
    ("SubnetNetworkRequest", whole::<modify::SubnetRequest>),
    ("IPSubnetNetworkRequest", whole::<modify::IpSubnetRequest>),
    ("Extension", whole::<modify::Extension>),
    ("ModifyEndpointSettingRequest", read::<ModifyRequest<EndpointResourceType>>),
    ("PolicyEndpointRequest", read::<PolicyRequest<EndpointPolicyType>>),
    ("VmEndpointRequest", whole::<modify::VmEndpointRequest>),
    ("ModifyNamespaceSettingRequest", read::<ModifyRequest<NamespaceResourceType>>),
    ("NamespaceEndpointRequest", whole::<modify::NamespaceEndpointRequest>),
    ("NamespaceContainerRequest", whole::<modify::NamespaceContainerRequest>),
    ("ModifyGuestNetworkServiceSettingRequest", read::<ModifyRequest<GuestNetworkServiceResourceType>>),
    ("GuestNetworkServiceStateRequest", whole::<modify::GuestNetworkServiceStateRequest>),
    ("NotificationBase", whole::<notification::NotificationBase>),
    ("GuestNetworkServiceNotificationData", whole::<gns::GuestNetworkServiceNotificationData>),
    ("SourceMacAddressNetworkPolicySetting", whole::<settings::SourceMacAddressSettings>),
    ("NetAdapterNameNetworkPolicySetting", whole::<settings::NetAdapterNameSettings>),
    ("InterfaceConstraintNetworkPolicySetting", whole::<settings::InterfaceConstraintSettings>),
    ("VSwitchExtensionNetworkPolicySetting", whole::<settings::VSwitchExtensionSettings>),
    ("ProviderAddressNetworkPolicySetting", whole::<settings::ProviderAddressSettings>),
    ("DrMacAddressNetworkPolicySetting", whole::<settings::DrMacAddressSettings>),
    ("AutomaticDNSNetworkPolicySetting", whole::<settings::AutomaticDnsSettings>),
    ("RemoteSubnetRoutePolicySetting", whole::<settings::RemoteSubnetRouteSettings>),
    ("VxlanPortPolicySetting", whole::<settings::VxlanPortSettings>),
    ("HostRoutePolicySetting", whole::<settings::HostRouteSettings>),
    ("SetPolicySetting", whole::<settings::SetPolicySettings>),
    ("LayerConstraintNetworkPolicySetting", whole::<settings::LayerConstraintSettings>),
    ("NetworkAclPolicySetting", whole::<settings::NetworkAclSettings>),
    ("SubnetPolicy", whole::<policy::SubnetPolicy>),
    ("VsidPolicySetting", whole::<settings::VsidSettings>),
    ("VlanPolicySetting", whole::<settings::VlanSettings>),
    ("PortMappingPolicySetting", whole::<settings::PortMappingSettings>),
    ("AclPolicySetting", whole::<settings::AclSettings>),
    ("QosPolicySetting", whole::<settings::QosSettings>),
    ("OutboundNatPolicySetting", whole::<settings::OutboundNatSettings>),
    ("SDNRoutePolicySetting", whole::<settings::SdnRouteSettings>),
    ("L4ProxyPolicySetting", whole::<settings::L4ProxySettings>),
    ("L4WfpProxyPolicySetting", whole::<settings::L4WfpProxySettings>),
    ("ProviderAddressEndpointPolicySetting", whole::<settings::ProviderAddressSettings>),
    ("PortnameEndpointPolicySetting", whole::<settings::PortNameSettings>),
    ("EncapOverheadEndpointPolicySetting", whole::<settings::EncapOverheadSettings>),
    ("InterfaceConstraintEndpointPolicySetting", whole::<settings::InterfaceConstraintSettings>),
    ("EncryptionPolicySetting", whole::<settings::EncryptionSettings>),
    ("AuthenticationPresharedKey", whole::<settings::AuthenticationPresharedKey>),
    ("AuthenticationCertificate", whole::<settings::AuthenticationCertificate>),
    ("InterfaceParametersPolicySetting", whole::<settings::InterfaceParametersSettings>),
    ("IovPolicySetting", whole::<settings::IovSettings>),
    ("TierAclPolicySetting", whole::<settings::TierAclSettings>),
    ("FirewallPolicySetting", whole::<settings::FirewallSettings>),
    ("NetworkAdditionalParams", whole::<network::NetworkAdditionalParams>),
    ("EndpointAdditionalParams", whole::<endpoint::EndpointAdditionalParams>),
    ("NamespaceResourceEndpoint", whole::<namespace::ResourceData>),
    ("NamespaceResourceContainer", whole::<namespace::ResourceData>),
];

#[test]
fn every_schema_has_its_type_here() {
    // The error record is only ever written; enumerations stand inside of documents.
    let readable = |entry: &json_schema::Entry| entry.group != Group::Enumeration && entry.name != "Response";
    let schemas: Vec<String> =
        json_schema::all().into_iter().filter(readable).map(|entry| entry.name.into_owned()).collect();
    let types: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    assert_eq!(types, schemas);
}

/// Any JSON at all; members are often named as in documents.
fn any_json() -> BoxedStrategy<Value> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "ID",
            "Name",
            "Type",
            "Flags",
            "Policies",
            "Settings",
            "SchemaVersion",
            "Ipams",
            "Subnets",
            "Routes",
            "Dns",
            "MacPool",
            "IpConfigurations",
            "Health",
            "AdditionalParams",
            "Resources",
            "Data",
            "Filter",
            "ResourceType",
            "RequestType",
            "PortMappings",
            "Protocol",
            "Priority",
            "State",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<u8>().prop_map(|number| number.to_string().into()),
        any::<String>().prop_map(Value::from),
        Just(json!("")),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|members| Map::from_iter(members).into()),
        ]
    })
    .boxed()
}

/// A value that `schema` allows; `root` holds what it refers to.
fn valid(schema: &Value, root: &Value) -> BoxedStrategy<Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        return valid(root.pointer(&reference[1..]).unwrap(), root);
    }
    if let Some(forms) = schema["anyOf"].as_array() {
        // A text of several flags is the one form that its schema does not spell out.
        let spelt = forms.iter().filter(|form| form["type"] != "string" || form["enum"].is_array());
        let forms: Vec<_> = spelt.map(|form| valid(form, root)).collect();
        return prop::sample::select(forms).prop_flat_map(|form| form).boxed();
    }
    if let Some(values) = schema["enum"].as_array() {
        return prop::sample::select(values.clone()).boxed();
    }
    match schema["type"].as_str() {
        Some("object") => object(schema, root),
        Some("array") => {
            prop::collection::vec(valid(&schema["items"], root), 0..3).prop_map(Value::from).boxed()
        }
        Some("string") if schema["format"] == "uuid" => {
            "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}".prop_map(Value::from).boxed()
        }
        Some("string") => any::<String>().prop_map(Value::from).boxed(),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("integer") => (0..=schema["maximum"].as_u64().unwrap()).prop_map(Value::from).boxed(),
        _ => any_json(),
    }
}

/// Some of the properties; other names of them are left out, since no property may come twice.
fn object(schema: &Value, root: &Value) -> BoxedStrategy<Value> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let members: Vec<_> = properties
        .filter(|(_, property)| property["deprecated"] != true)
        .map(|(name, property)| {
            let name = name.clone();
            prop::option::of(valid(property, root))
                .prop_map(move |value| value.map(|value| (name.clone(), value)))
        })
        .collect();
    members.prop_map(|members| Map::from_iter(members.into_iter().flatten()).into()).boxed()
}

/// One of the types, and a document that its schema allows.
fn valid_document() -> impl Strategy<Value = ((&'static str, Read), Value)> {
    static SCHEMAS: LazyLock<HashMap<&str, Value>> = LazyLock::new(|| {
        let schema = |name| serde_json::from_str(&json_schema::find(name).unwrap().text()).unwrap();
        TYPES.iter().map(|(name, _)| (*name, schema(*name))).collect()
    });
    prop::sample::select(TYPES).prop_flat_map(|(name, read)| {
        let root = &SCHEMAS[name];
        valid(root, root).prop_map(move |document| ((name, read), document))
    })
}

/// Refused with a code of the contract, or read.
fn holds(read: Read, text: &str) {
    if let Err(error) = read(text) {
        assert!([HResult::INVALID_JSON, HResult::REQUEST_UNSUPPORTED].contains(&error.code), "{error}");
        assert!(!error.message.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_schema_allows_is_read_and_written_alike(((name, read), document) in valid_document()) {
        let text = document.to_string();
        // A query for a schema later than 2 is well-formed and refused.
        if name != "HostComputeQuery" {
            read(&text).map_err(|error| TestCaseError::fail(format!("{name}: {error}\n{text}")))?;
        }
        holds(read, &text);
    }

    #[test]
    fn any_json_is_read_or_refused(document in any_json()) {
        let text = document.to_string();
        for (_, read) in TYPES {
            holds(*read, &text);
        }
    }

    #[test]
    fn a_document_with_one_part_of_any_kind_is_read_or_refused(
        ((_, read), mut document) in valid_document(),
        part in any_json(),
        place in any::<prop::sample::Index>(),
    ) {
        let mut places = Vec::new();
        paths(&document, "", &mut places);
        *document.pointer_mut(&places[place.index(places.len())]).unwrap() = part;
        holds(read, &document.to_string());
    }

    #[test]
    fn a_document_with_one_wrong_octet_is_read_or_refused(
        ((_, read), document) in valid_document(),
        place in any::<prop::sample::Index>(),
        octet in 0x20_u8..0x7f,
    ) {
        let mut text = document.to_string().into_bytes();
        let place = place.index(text.len());
        text[place] = octet;
        holds(read, &String::from_utf8_lossy(&text));
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        for (_, read) in TYPES {
            holds(*read, &text);
            holds(*read, &format!("{{{text}}}"));
        }
    }
}

/// The JSON pointers of all parts.
fn paths(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                paths(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                paths(item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn deep_nesting_is_read_or_refused() {
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for (_, read) in TYPES {
        for member in ["ID", "Policies", "Settings", "AdditionalParams", "Data", "Health", "Flags", "Unknown"]
        {
            holds(*read, &format!(r#"{{"{member}":{deep}}}"#));
        }
    }
}
