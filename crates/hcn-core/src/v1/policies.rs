//! Flat policies, as version 1 writes them, and policies with settings, as version 2 does (contract 5.4).
//!
//! The version 2 form is what the records hold. A flat policy that comes out otherwise than its client wrote it (numbers
//! as texts, members that version 2 has another way to say) is kept beside it, for version 1 readers; it counts as long
//! as the record holds a policy that it means.

use hcn_schema::enums::{Enumeration, NatFlags, OneOf, ProtocolType};
use hcn_schema::policy::Policy;
use hcn_schema::{Error, HResult, Raw, Result};
use serde_json::Value;

use super::members::{Members, number_of, text_of};

/// A type of version 1 that version 2 calls otherwise.
struct Row {
    v1: &'static str,
    v2: &'static str,
    /// What its members are called in version 1 and in version 2.
    members: &'static [(&'static str, &'static str)],
}

const fn row(v1: &'static str, v2: &'static str, members: &'static [(&'static str, &'static str)]) -> Row {
    Row { v1, v2, members }
}

/// Where several mean the same in version 2, the first is what version 1 readers get.
const ROWS: [Row; 10] = [
    row("NAT", "PortMapping", &[]),
    row("PA", "ProviderAddress", &[("PA", "ProviderAddress")]),
    row("VNET", "ProviderAddress", &[("PA", "ProviderAddress")]),
    row("VLAN", "VLAN", &[("VLAN", "IsolationId")]),
    row("VSID", "VSID", &[("VSID", "IsolationId")]),
    row("OutBoundNAT", "OutBoundNAT", &[("VIP", "VirtualIP"), ("ExceptionList", "Exceptions")]),
    row("PROXY", "L4Proxy", &[]),
    row("ROUTE", "SDNRoute", &[]),
    row("Isolation", "VLAN", &[("VLAN", "IsolationId")]),
    row("Isolation", "VSID", &[("VSID", "IsolationId")]),
];

/// Members of version 2 settings that a flat policy may have under another name.
const OTHER_NAMES: [(&str, &str); 10] = [
    ("ProviderAddress", "PA"),
    ("IsolationId", "VLAN"),
    ("IsolationId", "VSID"),
    ("VirtualIP", "VIP"),
    ("Exceptions", "ExceptionList"),
    ("Protocols", "Protocol"),
    ("LocalPorts", "LocalPort"),
    ("LocalPorts", "InternalPort"),
    ("RemotePorts", "RemotePort"),
    ("Flags", "ExternalPortReserved"),
];

/// ACLs of version 1 call any protocol so.
const ANY_PROTOCOL: u64 = 256;

/// Refuses what is no policy.
pub(super) fn check(flats: &[Raw]) -> Result<()> {
    match flats.iter().position(|flat| Members::of(flat).is_none()) {
        Some(index) => Err(Error::new(HResult::INVALID_JSON, "the policy is not a JSON object")
            .at(format!("Policies[{index}]"))
            .expected("an object")),
        None => Ok(()),
    }
}

/// What a flat policy calls its type.
pub(super) fn type_of(flat: &Raw) -> Option<String> {
    let members = Members::of(flat)?;
    members.get("Type").filter(|name| !name.is_blank()).map(text_of)
}

/// Whether a flat policy isolates subnets.
pub(super) fn isolates(flat: &Raw) -> bool {
    let isolating = ["VLAN", "VSID", "Isolation"];
    type_of(flat).is_some_and(|name| isolating.iter().any(|other| other.eq_ignore_ascii_case(&name)))
}

/// The policy that a flat one means.
pub(super) fn read<T: Enumeration>(flat: &Raw) -> Policy<T> {
    let mut members = Members::of(flat).unwrap_or_default();
    let Some(name) = members.take("Type").filter(|name| !name.is_blank()).map(|name| text_of(&name)) else {
        return Policy { kind: None, settings: (!members.is_empty()).then(|| members.raw()) };
    };
    let row = row_of(&name, &members);
    let v2 = row.map_or(name.as_str(), |row| row.v2);
    let kind = Some(T::find(v2).map_or_else(|| OneOf::Unknown(name.clone()), OneOf::Known));
    if let (1, Some(settings)) = (members.len(), members.get("Settings")) {
        // Not flat at all.
        return Policy { kind, settings: Some(settings.clone()) };
    }
    for (from, to) in row.map_or(&[][..], |row| row.members) {
        members.rename(from, to);
    }
    match v2.to_ascii_uppercase().as_str() {
        "PORTMAPPING" => read_mapping(&mut members),
        "ACL" => read_rule(&mut members),
        _ => {}
    }
    Policy { kind, settings: Some(members.raw()) }
}

fn row_of(name: &str, members: &Members) -> Option<&'static Row> {
    let is_meant = |row: &&Row| row.v1.eq_ignore_ascii_case(name);
    let mut rows = ROWS.iter().filter(is_meant);
    let first = rows.next()?;
    // Isolation is by VLAN or by VSID.
    let given = |row: &&Row| {
        row.members.iter().any(|(v1, _)| members.has(v1) && members.get(v1).and_then(number_of) != Some(0))
    };
    Some(std::iter::once(first).chain(rows).find(given).unwrap_or(first))
}

/// NAT: the protocol is a name, and the flag of a reserved port a member of its own.
fn read_mapping(members: &mut Members) {
    if let Some(protocol) =
        members.get("Protocol").map(text_of).and_then(|name| ProtocolType::find(name.trim()))
    {
        members.set("Protocol", &protocol);
    }
    let Some(reserved) = members.get("ExternalPortReserved") else { return };
    let flags = members.get("Flags").map(|flags| serde_json::from_str::<NatFlags>(flags.get()));
    match (text_of(reserved).to_ascii_lowercase().as_str(), flags.unwrap_or(Ok(NatFlags::default()))) {
        ("true" | "1", Ok(flags)) => {
            let flags = NatFlags(flags.0 | NatFlags::EXTERNAL_PORT_RESERVED.0);
            members.replace("ExternalPortReserved", "Flags", &flags);
        }
        ("false" | "0" | "null" | "", _) => {
            members.take("ExternalPortReserved");
        }
        // Whatever it is, it is refused as flags.
        (_, Ok(_)) => members.rename("ExternalPortReserved", "Flags"),
        (_, Err(_)) => {}
    }
}

/// ACL: a single protocol and single ports.
fn read_rule(members: &mut Members) {
    if let Some(protocol) = members.get("Protocol") {
        let text = text_of(protocol);
        let known = ProtocolType::find(text.trim());
        match known.map(ProtocolType::number).or_else(|| text.trim().parse().ok()) {
            _ if members.has("Protocols") => {}
            Some(0 | ANY_PROTOCOL) => {}
            Some(number) => members.replace("Protocol", "Protocols", &number.to_string()),
            None => members.replace("Protocol", "Protocols", &text),
        }
        members.take("Protocol");
    }
    for (one, list) in
        [("LocalPort", "LocalPorts"), ("InternalPort", "LocalPorts"), ("RemotePort", "RemotePorts")]
    {
        let Some(port) = members.get(one).map(text_of) else { continue };
        if !members.has(list) && !matches!(port.trim(), "" | "0" | "null") {
            members.replace(one, list, &port.trim());
        }
        members.take(one);
    }
}

/// The flat form of a policy.
pub(super) fn write<T: Enumeration + PartialEq>(policy: &Policy<T>) -> Raw {
    let name = match &policy.kind {
        Some(OneOf::Known(kind)) => {
            T::VALUES.iter().find(|(value, ..)| value == kind).map(|(_, name, _)| *name)
        }
        Some(OneOf::Unknown(name)) => Some(name.as_str()),
        None => None,
    };
    let mut members = match &policy.settings {
        None => Members::default(),
        Some(settings) => match Members::of(settings) {
            Some(members) if members.get("Type").is_none() && members.get("Settings").is_none() => members,
            // What cannot be flat.
            _ => {
                let mut members = Members::default();
                members.set("Settings", settings);
                members
            }
        },
    };
    let Some(name) = name else { return members.raw() };
    let row = ROWS.iter().find(|row| row.v2 == name);
    for (v1, v2) in row.map_or(&[][..], |row| row.members) {
        members.rename(v2, v1);
    }
    if name == "PortMapping" {
        write_mapping(&mut members);
    }
    members.put_first("Type", &row.map_or(name, |row| row.v1));
    members.raw()
}

fn write_mapping(members: &mut Members) {
    let protocol = members.get("Protocol").and_then(number_of).filter(|number| *number != 0);
    if let Some(protocol) = protocol.and_then(|number| ProtocolType::find(&number.to_string())) {
        members.set("Protocol", &protocol.name());
    }
    let flags = members.get("Flags").and_then(|flags| serde_json::from_str::<NatFlags>(flags.get()).ok());
    let Some(flags) = flags.filter(|flags| flags.has(NatFlags::EXTERNAL_PORT_RESERVED)) else { return };
    match flags.0 & !NatFlags::EXTERNAL_PORT_RESERVED.0 {
        0 => members.replace("Flags", "ExternalPortReserved", &true),
        others => {
            members.set("Flags", &others);
            members.set("ExternalPortReserved", &true);
        }
    }
}

/// A list of flat policies, read; and those of them that are to be kept as they are. `elsewhere` are the types that
/// version 1 documents have members for.
pub(super) fn read_list<T: Enumeration + PartialEq>(
    flats: &[Raw],
    elsewhere: &[T],
) -> (Vec<Policy<T>>, Vec<Raw>) {
    let policies: Vec<Policy<T>> = flats.iter().map(read).collect();
    let same =
        |policy: &Policy<T>, flat: &Raw| value(flat).is_some_and(|flat| value(&write(policy)) == Some(flat));
    let differs =
        |(policy, flat): &(&Policy<T>, &Raw)| is_elsewhere(policy, elsewhere) || !same(policy, flat);
    let kept = policies.iter().zip(flats).filter(differs).map(|(_, flat)| flat.clone()).collect();
    (policies, kept)
}

/// The flat form of a list of policies, each as it was written if that is kept.
pub(super) fn write_list<T: Enumeration + PartialEq>(
    policies: &[Policy<T>],
    kept: &[Raw],
    elsewhere: &[T],
) -> Vec<Raw> {
    let mut kept: Vec<(Policy<T>, &Raw)> = kept.iter().map(|flat| (read(flat), flat)).collect();
    let mut list = Vec::new();
    for policy in policies {
        if let Some(index) = kept.iter().position(|(meant, _)| meant == policy) {
            list.push(kept.remove(index).1.clone());
        } else if !is_elsewhere(policy, elsewhere) {
            list.push(write(policy));
        }
    }
    list
}

fn is_elsewhere<T: Enumeration + PartialEq>(policy: &Policy<T>, elsewhere: &[T]) -> bool {
    policy.kind.as_ref().and_then(OneOf::known).is_some_and(|kind| elsewhere.contains(&kind))
}

fn value(raw: &Raw) -> Option<Value> {
    serde_json::from_str(raw.get()).ok()
}

/// What a member of a policy's settings is called in the flat policy.
pub(super) fn own_member<'a>(flat: &Raw, member: &'a str) -> &'a str {
    let Some(members) = Members::of(flat) else { return member };
    if members.get(member).is_some() {
        return member;
    }
    let other = OTHER_NAMES.iter().find(|(v2, v1)| *v2 == member && members.get(v1).is_some());
    other.map_or(member, |(_, v1)| v1)
}

#[cfg(test)]
mod tests {
    use hcn_schema::enums::{EndpointPolicyType, NetworkPolicyType};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Types of both versions, one that has a member of its own in version 1 documents, and one that nobody knows.
    const TYPES: [&str; 19] = [
        "NAT",
        "nat",
        "QOS",
        "PA",
        "VNET",
        "VLAN",
        "VSID",
        "Isolation",
        "OutBoundNAT",
        "PROXY",
        "ACL",
        "L2Driver",
        "ROUTE",
        "SDNROUTE",
        "L4WFPPROXY",
        "SetPolicy",
        "PortMapping",
        "EncapOverhead",
        "Bandwidth",
    ];
    /// Members of both versions, and one that nobody knows.
    const MEMBERS: [&str; 21] = [
        "Protocol",
        "Protocols",
        "InternalPort",
        "ExternalPort",
        "ExternalPortReserved",
        "Flags",
        "VIP",
        "VirtualIP",
        "ExceptionList",
        "Exceptions",
        "PA",
        "ProviderAddress",
        "VLAN",
        "VSID",
        "IsolationId",
        "LocalPort",
        "LocalPorts",
        "RemotePort",
        "Id",
        "Settings",
        "Colour",
    ];

    fn flat() -> impl Strategy<Value = Value> {
        let value = prop_oneof![
            Just(json!(null)),
            Just(json!("TCP")),
            Just(json!("udp")),
            Just(json!("")),
            Just(json!(true)),
            Just(json!(false)),
            Just(json!(["10.0.0.0/8"])),
            Just(json!({"a": [1.5]})),
            (0u32..300).prop_map(|number| json!(number)),
            (0u32..300).prop_map(|number| json!(number.to_string())),
        ];
        let member = (prop::sample::select(&MEMBERS[..]), value);
        let members = prop::collection::vec(member, 0..5);
        (prop::option::weighted(0.95, prop::sample::select(&TYPES[..])), members).prop_map(
            |(name, members)| {
                let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
                let name = name.map(|name| ("Type".to_owned(), json!(name)));
                Value::Object(name.into_iter().chain(members).collect())
            },
        )
    }

    fn raws(flats: &[Value]) -> Vec<Raw> {
        flats.iter().map(Raw::of).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn flat_policies_come_back_as_they_were(flats in prop::collection::vec(flat(), 0..6)) {
            let given = raws(&flats);
            let own = [EndpointPolicyType::EncapOverhead];
            let (policies, kept) = read_list::<EndpointPolicyType>(&given, &own);
            // Of two that mean the same, one can take the other's place.
            let is_new = |index: usize| policies[..index].iter().all(|other| !other.same(&policies[index]));
            prop_assume!((0..policies.len()).all(is_new));
            let written = write_list(&policies, &kept, &own);
            let written: Vec<Value> = written.iter().filter_map(value).collect();
            prop_assert_eq!(&written, &flats);
            // What is kept does not grow when a client sends back what it got.
            let (again, kept_again) = read_list::<EndpointPolicyType>(&given, &own);
            prop_assert_eq!((again, kept_again), (policies, kept));
        }
    }

    fn settings_of(flat: &Value) -> (String, Value) {
        let policy = read::<EndpointPolicyType>(&Raw::of(flat));
        let name = policy.kind.as_ref().and_then(OneOf::known).map(|kind| kind.name().to_owned());
        (name.unwrap_or_default(), policy.settings.as_ref().and_then(value).unwrap_or_default())
    }

    #[test]
    fn version_2_reads_what_flat_policies_mean() {
        for (flat, name, settings) in [
            (
                json!({"Type":"NAT","Protocol":"TCP","InternalPort":80,"ExternalPort":8080,"ExternalPortReserved":true}),
                "PortMapping",
                json!({"Protocol":6,"InternalPort":80,"ExternalPort":8080,"Flags":4}),
            ),
            (
                json!({"Type":"NAT","Protocol":17,"Flags":1,"ExternalPortReserved":"true"}),
                "PortMapping",
                json!({"Protocol":17,"Flags":5}),
            ),
            (
                json!({"Type":"PA","PA":"192.0.2.1"}),
                "ProviderAddress",
                json!({"ProviderAddress":"192.0.2.1"}),
            ),
            (json!({"Type":"VLAN","VLAN":100}), "VLAN", json!({"IsolationId":100})),
            (json!({"Type":"Isolation","VLAN":0,"VSID":5000}), "", json!({"VLAN":0,"IsolationId":5000})),
            (
                json!({"Type":"OutBoundNAT","VIP":"192.0.2.1","ExceptionList":["10.0.0.0/8"],"MaxPortPoolUsage":64}),
                "OutBoundNAT",
                json!({"VirtualIP":"192.0.2.1","Exceptions":["10.0.0.0/8"],"MaxPortPoolUsage":64}),
            ),
            (
                json!({"Type":"ACL","Protocol":6,"LocalPort":80,"RemotePort":0,"Action":"Allow","ServiceName":"a"}),
                "ACL",
                json!({"Protocols":"6","LocalPorts":"80","Action":"Allow","ServiceName":"a"}),
            ),
            (json!({"Type":"ACL","Protocol":256,"InternalPort":22}), "ACL", json!({"LocalPorts":"22"})),
            (json!({"Type":"ACL","Protocol":6,"Protocols":"17"}), "ACL", json!({"Protocols":"17"})),
            (
                json!({"Type":"ROUTE","DestinationPrefix":"10.0.0.0/8","NeedEncap":true}),
                "SDNRoute",
                json!({"DestinationPrefix":"10.0.0.0/8","NeedEncap":true}),
            ),
            (
                json!({"Type":"PROXY","IP":"10.0.0.0/8","OutboundNat":true}),
                "L4Proxy",
                json!({"IP":"10.0.0.0/8","OutboundNat":true}),
            ),
            (json!({"Type":"L2Driver"}), "L2Driver", json!({})),
            (
                json!({"Type":"L4WFPPROXY","Settings":{"UserSID":"S-1"}}),
                "L4WFPPROXY",
                json!({"UserSID":"S-1"}),
            ),
        ] {
            assert_eq!(settings_of(&flat), (name.to_owned(), settings), "{flat}");
        }
    }

    #[test]
    fn version_1_reads_what_policies_with_settings_mean() {
        for (policy, flat) in [
            (
                json!({"Type":"PortMapping","Settings":{"Protocol":6,"InternalPort":80,"ExternalPort":8080,"Flags":5}}),
                json!({"Type":"NAT","Protocol":"TCP","InternalPort":80,"ExternalPort":8080,"Flags":1,"ExternalPortReserved":true}),
            ),
            (
                json!({"Type":"SDNRoute","Settings":{"NeedEncap":true}}),
                json!({"Type":"ROUTE","NeedEncap":true}),
            ),
            (json!({"Type":"ACL","Settings":{"Protocols":"6"}}), json!({"Type":"ACL","Protocols":"6"})),
            (json!({"Type":"Iov"}), json!({"Type":"Iov"})),
            (
                json!({"Type":"InterfaceConstraint","Settings":"eth0"}),
                json!({"Type":"InterfaceConstraint","Settings":"eth0"}),
            ),
            (
                json!({"Type":"PortName","Settings":{"Type":1}}),
                json!({"Type":"PortName","Settings":{"Type":1}}),
            ),
        ] {
            let policy: Policy<EndpointPolicyType> = serde_json::from_value(policy).unwrap();
            assert_eq!(value(&write(&policy)), Some(flat));
        }
        let route: Policy<NetworkPolicyType> =
            serde_json::from_value(json!({"Type":"HostRoute","Settings":{}})).unwrap();
        assert_eq!(write(&route).get(), r#"{"Type":"HostRoute"}"#);
    }

    #[test]
    fn a_policy_that_changed_is_not_told_as_it_was() {
        let flat = Raw::of(&json!({"Type":"NAT","Protocol":"tcp","InternalPort":80}));
        let (mut policies, kept) = read_list::<EndpointPolicyType>(std::slice::from_ref(&flat), &[]);
        assert_eq!(write_list(&policies, &kept, &[]), [flat]);
        policies[0].settings =
            policies[0].settings.as_ref().map(|settings| settings.with_number("ExternalPort", 9));
        let expected = Raw::of(&json!({"Type":"NAT","Protocol":"TCP","InternalPort":80,"ExternalPort":9}));
        assert_eq!(write_list(&policies, &kept, &[]).first().and_then(value), value(&expected));
    }
}
