//! The encoding rules of the contract, section 2.1, on whole documents.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use hcn_schema::endpoint::HostComputeEndpoint;
use hcn_schema::enums::{EndpointPolicyType, NetworkMode, NetworkResourceType, OneOf};
use hcn_schema::modify::{ModifyRequest, PolicyRequest};
use hcn_schema::network::HostComputeNetwork;
use hcn_schema::query::HostComputeQuery;
use hcn_schema::{HResult, parse, to_text};

fn network(text: &str) -> hcn_schema::Result<HostComputeNetwork> {
    parse(text)
}

fn endpoint(text: &str) -> hcn_schema::Result<HostComputeEndpoint> {
    parse(text)
}

#[test]
fn what_go_clients_send_comes_back_without_the_blanks() {
    let text = r#"{"Name":"net-a","Type":"NAT","MacPool":{},"Dns":{},"Ipams":[{"Type":"Static","Subnets":[{"IpAddressPrefix":"192.0.2.0/24","Routes":[{"NextHop":"192.0.2.1","DestinationPrefix":"0.0.0.0/0"}]}]}],"Flags":8,"Health":{"Extra":{}},"SchemaVersion":{"Major":2,"Minor":0}}"#;
    assert_eq!(
        to_text(&network(text).unwrap()),
        r#"{"Name":"net-a","Type":"NAT","Ipams":[{"Type":"Static","Subnets":[{"IpAddressPrefix":"192.0.2.0/24","Routes":[{"NextHop":"192.0.2.1","DestinationPrefix":"0.0.0.0/0"}]}]}],"Flags":8,"SchemaVersion":{"Major":2,"Minor":0}}"#
    );
}

#[test]
fn nulls_empty_texts_and_wrong_blanks_count_as_not_given() {
    let text = r#"{"Name":"","Type":null,"MacPool":[],"Dns":"","Ipams":null,"Policies":{},"Flags":null,"Health":[]}"#;
    assert_eq!(network(text).unwrap(), HostComputeNetwork::default());
    let text = r#"{"IpConfigurations":[null],"Policies":[null],"Dns":{"Search":[""]}}"#;
    assert_eq!(endpoint(text).unwrap(), HostComputeEndpoint::default());
}

#[test]
fn an_empty_ip_configuration_stays_one() {
    assert_eq!(endpoint(r#"{"IpConfigurations":[{}]}"#).unwrap().ip_configurations.len(), 1);
}

#[test]
fn enumerations_are_names_in_any_case_or_numbers() {
    for text in [r#""nat""#, r#""NAT""#, "0", r#""0""#] {
        let kind = network(&format!(r#"{{"Type":{text}}}"#)).unwrap().kind;
        assert_eq!(kind, Some(OneOf::Known(NetworkMode::Nat)), "{text}");
    }
    let kind = network(r#"{"Type":"Layered"}"#).unwrap().kind;
    assert_eq!(kind, Some(OneOf::Unknown("Layered".to_owned())));
}

#[test]
fn flags_are_numbers_or_names_and_are_written_as_a_number() {
    for text in [
        "9",
        r#""9""#,
        r#""EnableDnsProxy, EnableNonPersistent""#,
        r#"["enablednsproxy","EnableNonPersistent"]"#,
    ] {
        assert_eq!(to_text(&network(&format!(r#"{{"Flags":{text}}}"#)).unwrap()), r#"{"Flags":9}"#, "{text}");
    }
    assert_eq!(to_text(&network(r#"{"Flags":2147483648}"#).unwrap()), r#"{"Flags":2147483648}"#);
    assert_eq!(network(r#"{"Flags":"Turbo"}"#).unwrap_err().path.as_deref(), Some("Flags"));
}

#[test]
fn numbers_may_be_written_as_strings() {
    let config = &endpoint(r#"{"IpConfigurations":[{"PrefixLength":"24"}]}"#).unwrap().ip_configurations[0];
    assert_eq!(config.prefix_length, Some(24));
}

#[test]
fn policy_settings_are_kept_byte_for_byte() {
    let settings = r#"{ "Exceptions" : ["10.0.0.0/8"],"x":1.50, "x":1e3, "Ü":"\u00e9" }"#;
    // Settings before and after Type; an internally tagged enumeration would lose them in the second form.
    for text in [
        format!(r#"{{"Policies":[{{"Type":"outboundnat","Settings":{settings}}}]}}"#),
        format!(r#"{{"Policies":[{{"Settings":{settings},"Type":"OutBoundNAT"}}]}}"#),
    ] {
        let document = endpoint(&text).unwrap();
        let policy = &document.policies[0];
        assert_eq!(policy.kind, Some(OneOf::Known(EndpointPolicyType::OutBoundNat)));
        assert_eq!(policy.settings.as_ref().unwrap().get(), settings);
        assert_eq!(
            to_text(&document),
            format!(r#"{{"Policies":[{{"Type":"OutBoundNAT","Settings":{settings}}}]}}"#)
        );
    }
}

#[test]
fn removing_a_policy_compares_values_not_bytes() {
    let policies = endpoint(
        r#"{"Policies":[{"Type":"ACL","Settings":{"a":1,"b":2}},{"Type":"acl","Settings":{ "b":2,"a":1 }},
            {"Type":"ACL","Settings":{"a":1}},{"Type":"QOS","Settings":{}},{"Type":"QOS"}]}"#,
    )
    .unwrap()
    .policies;
    assert!(policies[0].same(&policies[1]));
    assert!(!policies[0].same(&policies[2]));
    assert!(policies[3].same(&policies[4]));
}

#[test]
fn unknown_members_are_ignored_and_repeated_ones_refused() {
    assert!(network(r#"{"CreateWithCompartment":true,"Telemetry":{"Data":[[]]},"Telemetry":1}"#).is_ok());
    let error = network(r#"{"Name":"a","Name":"b"}"#).unwrap_err();
    assert_eq!(error.code, HResult::INVALID_JSON);
    assert!(error.message.contains("duplicate field `Name`"), "{}", error.message);
}

#[test]
fn wrong_types_name_the_place_and_what_was_expected() {
    let cases = [
        (r#"{"Name":5}"#, "Name", "a string"),
        (
            r#"{"Ipams":[{"Subnets":[{},{"IpAddressPrefix":true}]}]}"#,
            "Ipams[0].Subnets[1].IpAddressPrefix",
            "a string",
        ),
        (r#"{"Ipams":{"Subnets":[]}}"#, "Ipams", "an array"),
        (r#"{"Dns":["192.0.2.53"]}"#, "Dns", "an object"),
        (r#"{"Policies":["ACL"]}"#, "Policies[0]", "an object"),
        (r#"{"Flags":-1}"#, "Flags", "flags: a number from 0 to 4294967295, or names separated by commas"),
        (r#"{"Ipams":[{"Type":"Magic"}]}"#, "Ipams[0].Type", "one of Static, Dhcp"),
        (
            r#"{"Ipams":[{"Subnets":[{"Routes":[{"Metric":65536}]}]}]}"#,
            "Ipams[0].Subnets[0].Routes[0].Metric",
            "an integer from 0 to 65535",
        ),
    ];
    for (text, path, expected) in cases {
        let error = network(text).unwrap_err();
        assert_eq!(error.code, HResult::INVALID_JSON, "{text}");
        assert_eq!(error.path.as_deref(), Some(path), "{text}: {}", error.message);
        assert_eq!(error.expected.as_deref(), Some(expected), "{text}: {}", error.message);
    }
}

#[test]
fn text_that_is_not_one_json_object_is_refused() {
    for text in
        ["", "null", "[]", "[1]", "5", r#""x""#, "{", r#"{"Name":"a"}x"#, r#"{"Name":"a"} {}"#, "\u{feff}{}"]
    {
        assert_eq!(network(text).unwrap_err().code, HResult::INVALID_JSON, "{text:?}");
    }
}

#[test]
fn the_schema_version_is_told_apart_from_a_zero_one() {
    assert_eq!(network("{}").unwrap().schema_version, None);
    let version = network(r#"{"SchemaVersion":{"Major":0,"Minor":0}}"#).unwrap().schema_version.unwrap();
    assert_eq!((version.major, version.minor), (0, 0));
}

#[test]
fn queries_take_their_filter_from_a_string() {
    let query = HostComputeQuery::parse(Some(
        r#"{"SchemaVersion":{"Major":2,"Minor":0},"Flags":0,"Filter":"{\"Name\":\"a\"}"}"#,
    ))
    .unwrap();
    assert_eq!(query.filter().unwrap()["Name"], "a");
    assert!(HostComputeQuery::parse(None).unwrap().filter().unwrap().is_empty());
    assert!(HostComputeQuery::parse(Some("")).unwrap().filter().unwrap().is_empty());
    for filter in ["[]", "{", "5"] {
        let text = format!(r#"{{"Filter":{filter:?}}}"#);
        assert_eq!(
            HostComputeQuery::parse(Some(&text)).unwrap().filter().unwrap_err().code,
            HResult::INVALID_JSON
        );
    }
    let error = HostComputeQuery::parse(Some(r#"{"SchemaVersion":{"Major":3}}"#)).unwrap_err();
    assert_eq!(error.code, HResult::REQUEST_UNSUPPORTED);
}

#[test]
fn modify_requests_default_to_the_zero_enumerators_and_name_unknown_ones() {
    let request: ModifyRequest<NetworkResourceType> = parse(r#"{"Settings":{}}"#).unwrap();
    let (resource, kind) = request.target().unwrap();
    assert_eq!((resource.name(), kind.name()), ("DNS", "Add"));
    let request: ModifyRequest<NetworkResourceType> = parse(r#"{"ResourceType":"Moon"}"#).unwrap();
    let error = request.target().unwrap_err();
    assert_eq!((error.code, error.path.as_deref()), (HResult::REQUEST_UNSUPPORTED, Some("ResourceType")));
    let request: ModifyRequest<NetworkResourceType> =
        parse(r#"{"ResourceType":2,"RequestType":"remove","Settings":{"Policies":[{"Type":5}]}}"#).unwrap();
    assert_eq!(request.settings::<PolicyRequest<EndpointPolicyType>>().unwrap().policies.len(), 1);
    let request: ModifyRequest<NetworkResourceType> = parse(r#"{"Settings":{"Policies":7}}"#).unwrap();
    let error = request.settings::<PolicyRequest<EndpointPolicyType>>().unwrap_err();
    assert_eq!(error.path.as_deref(), Some("Settings.Policies"));
}
