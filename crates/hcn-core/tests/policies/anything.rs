//! Whatever stands in the settings: it is refused with a code and a place, or comes back byte for byte.

use hcn_schema::HResult;
use hcn_schema::call::Kind;
use hcn_schema::enums::{EndpointPolicyType, Enumeration, NetworkPolicyType};
use proptest::prelude::*;

use crate::endpoints::ACCEPTED;
use crate::{Service, one};

/// Words that mean something somewhere.
fn word() -> impl Strategy<Value = String> {
    let known = [
        "",
        " ",
        "In",
        "Out",
        "Allow",
        "Block",
        "Pass",
        "Host",
        "Switch",
        "IPSET",
        "NESTEDIPSET",
        "set",
        "80",
        "80-90",
        "90-80",
        "6",
        "256",
        "252",
        "10.0.0.1",
        "10.0.0.1/8",
        "fd00::1",
        "fd00::/8",
        "0.0.0.0",
        "10.0.0.7:80",
        "00-15-5D-00-00-01",
        "00:15:5d:00:00:02",
        "5F0B1190-63BE-4E0C-B974-BD0F55675A42",
        "eth0",
        "None",
        ",",
        "true",
    ];
    let known = prop::sample::select(known.to_vec()).prop_map(str::to_owned);
    let list = prop::collection::vec(known.clone(), 1..4).prop_map(|words| words.join(","));
    prop_oneof![4 => known, 1 => list, 1 => ".{0,12}"]
}

/// Members of the settings of all types.
fn member() -> impl Strategy<Value = String> {
    let known = [
        "Action",
        "Direction",
        "RuleType",
        "Protocols",
        "LocalAddresses",
        "RemoteAddresses",
        "LocalPorts",
        "RemotePorts",
        "Priority",
        "Id",
        "Name",
        "Order",
        "TierAclRules",
        "TierAclRuleAction",
        "InternalPort",
        "ExternalPort",
        "Protocol",
        "VIP",
        "Flags",
        "MaximumOutgoingBandwidthInBytes",
        "VirtualIP",
        "Exceptions",
        "Destinations",
        "MaxPortPoolUsage",
        "DestinationPrefix",
        "NextHop",
        "NeedEncap",
        "IP",
        "Port",
        "ExceptionList",
        "Destination",
        "OutboundNat",
        "InboundProxyPort",
        "OutboundProxyPort",
        "FilterTuple",
        "UserSID",
        "InboundExceptions",
        "IpAddressExceptions",
        "PortExceptions",
        "ProviderAddress",
        "Overhead",
        "InterfaceGuid",
        "InterfaceAlias",
        "IsolationId",
        "Mtu",
        "IovOffloadWeight",
        "InterruptModeration",
        "SourceMacAddress",
        "NetworkAdapterName",
        "Address",
        "Enable",
        "DistributedRouterMacAddress",
        "PolicyType",
        "Values",
        "LayerId",
        "TargetIpPrefix",
    ];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "[a-zA-Z]{0,4}"]
}

/// JSON of any shape, as text: what a parser of ours would have changed stays in it.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        6 => word().prop_map(|word| hcn_schema::to_text(&word)),
        2 => prop::sample::select(vec!["0", "1", "17", "80", "4094", "5000", "65536", "-1", "1.50", "1e999", "1E3"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec!["null", "true", "false", r#""\u0041llow""#]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let blank = prop::sample::select(vec!["", " ", "\t"]);
        let members = prop::collection::vec((member(), blank.clone(), inner.clone()), 0..6);
        let object = members.prop_map(|members| {
            let members =
                members.iter().map(|(name, blank, value)| format!("\"{name}\"{blank}:{blank}{value}"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        });
        let items = prop::collection::vec(inner, 0..4);
        let array =
            (items, blank).prop_map(|(items, blank)| format!("[{}]", items.join(&format!("{blank},"))));
        prop_oneof![3 => object, 1 => array]
    })
}

/// Codes for what is wrong in a policy.
fn is_expected(code: HResult) -> bool {
    [
        HResult::INVALID_POLICY,
        HResult::REQUEST_UNSUPPORTED,
        HResult::INVALID_INTERNAL_PORT,
        HResult::PORT_ALREADY_EXISTS,
        HResult::INVALID_IP,
    ]
    .contains(&code)
}

/// The text of a policy as it comes back; a port that the service chose is one that it wrote.
fn comes_back(kind: &str, settings: &str) -> Option<String> {
    match settings {
        "null" => Some(kind.to_owned()),
        _ if kind == "PortMapping" => None,
        _ => Some(format!("{kind} {settings}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_refused_or_comes_back(settings in json()) {
        let mut service = Service::default();
        let set = one("SetPolicy", r#"{"Id":"set","Values":"10.0.0.1"}"#);
        let network = service.network("Overlay", &set).unwrap();
        for (_, kind, _) in EndpointPolicyType::VALUES {
            match service.endpoint(network, &one(kind, &settings)) {
                Ok(id) => {
                    let found = service.policies(Kind::Endpoint, id);
                    prop_assert_eq!(found.len(), 1);
                    if let Some(expected) = comes_back(kind, &settings) {
                        prop_assert_eq!(&found[0], &expected);
                    }
                    service.delete(Kind::Endpoint, id);
                }
                Err(error) => {
                    prop_assert!(is_expected(error.code), "{kind} {settings}: {error}");
                    let path = error.path.clone().unwrap_or_default();
                    prop_assert!(path.starts_with("Policies[0]."), "{kind} {settings}: {error}");
                }
            }
        }
        let before = service.policies(Kind::Network, network);
        for (_, kind, _) in NetworkPolicyType::VALUES {
            match service.modify(Kind::Network, network, "Add", &one(kind, &settings)) {
                Ok(()) => {
                    let found = service.policies(Kind::Network, network);
                    prop_assert_eq!(&found[..before.len()], &before[..]);
                    prop_assert_eq!(Some(found[before.len()].clone()), comes_back(kind, &settings));
                    service.modify(Kind::Network, network, "Remove", &one(kind, &settings)).unwrap();
                }
                Err(error) => {
                    let known = is_expected(error.code) || error.code == HResult::POLICY_ALREADY_EXISTS;
                    prop_assert!(known, "{kind} {settings}: {error}");
                }
            }
            prop_assert_eq!(service.policies(Kind::Network, network), before.clone());
        }
    }

    #[test]
    fn members_that_are_not_known_do_not_change_what_is_right(
        known in prop::sample::select(ACCEPTED.to_vec()),
        name in "[a-z]{1,4}",
        value in json(),
        first in any::<bool>(),
    ) {
        let (kind, settings) = known;
        // Settings that are no object, or an empty one, stay as they are.
        let inner = settings.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let settings = match inner.filter(|inner| !inner.trim().is_empty()) {
            Some(inner) if first => format!("{{\"{name}\" : {value},{inner}}}"),
            Some(inner) => format!("{{{inner}, \"{name}\":{value} }}"),
            None => settings.to_owned(),
        };
        let mut service = Service::default();
        let network = service.network("Overlay", "[]").unwrap();
        let endpoint = service.endpoint(network, &one(kind, &settings)).unwrap();
        let expected = format!("{kind} {settings}");
        prop_assert_eq!(service.policies(Kind::Endpoint, endpoint), [expected.clone()]);
        service.modify(Kind::Endpoint, endpoint, "Update", &one(kind, &settings)).unwrap();
        prop_assert_eq!(service.policies(Kind::Endpoint, endpoint), [expected]);
        service.modify(Kind::Endpoint, endpoint, "Remove", &one(kind, &settings)).unwrap();
        prop_assert!(service.policies(Kind::Endpoint, endpoint).is_empty());
    }
}
