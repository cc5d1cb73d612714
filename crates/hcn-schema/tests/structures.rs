//! Structures whose form differs between clients: settings of policies, SDN routes, guest network services.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use hcn_schema::endpoint::HostComputeEndpoint;
use hcn_schema::enums::{DirectionType, GuestNetworkServiceState, IovInterruptModerationType, OneOf};
use hcn_schema::guest_network_service::GuestNetworkService;
use hcn_schema::modify::{GuestNetworkServiceStateRequest, ModifyRequest};
use hcn_schema::network::HostComputeNetwork;
use hcn_schema::sdn_route::HostComputeRoute;
use hcn_schema::settings::{
    AclSettings, FirewallSettings, IovSettings, L4ProxySettings, OutboundNatSettings, SdnRouteSettings,
};
use hcn_schema::{HResult, parse, to_text};

#[test]
fn truth_is_a_boolean_a_number_or_a_text() {
    for (text, truth) in
        [("true", true), ("false", false), ("1", true), ("0", false), (r#""True""#, true), (r#""0""#, false)]
    {
        let settings: SdnRouteSettings = parse(&format!(r#"{{"NeedEncap":{text}}}"#)).unwrap();
        assert_eq!(settings.need_encap, Some(truth), "{text}");
    }
    for text in ["null", r#""""#, "[]", "{}"] {
        let settings: SdnRouteSettings = parse(&format!(r#"{{"NeedEncap":{text}}}"#)).unwrap();
        assert_eq!(settings.need_encap, None, "{text}");
    }
    for text in ["2", r#""yes""#, "[true]", "-1"] {
        let error = parse::<SdnRouteSettings>(&format!(r#"{{"NeedEncap":{text}}}"#)).unwrap_err();
        assert_eq!(error.code, HResult::INVALID_JSON);
        assert_eq!(error.path.as_deref(), Some("NeedEncap"), "{text}");
        assert_eq!(error.expected.as_deref(), Some("true or false"), "{text}");
    }
}

#[test]
fn both_spellings_of_a_property_are_read() {
    let schema: L4ProxySettings =
        parse(r#"{"Port":"80","Protocol":6,"ExceptionList":["10.0.0.1"],"OutboundNat":true}"#).unwrap();
    let go: L4ProxySettings =
        parse(r#"{"Port":"80","Protocol":"TCP","Exceptions":["10.0.0.1"],"OutboundNAT":true}"#).unwrap();
    assert_eq!(schema, go);
    let wsl: FirewallSettings = parse(r#"{"PolicyFlags":1}"#).unwrap();
    assert_eq!(wsl, parse(r#"{"FirewallPolicyFlags":"ConstrainedInterface"}"#).unwrap());
}

#[test]
fn a_protocol_is_written_as_a_number_also_an_unknown_one() {
    for (given, written) in [("\"udp\"", "17"), ("\"6\"", "6"), ("47", "47"), ("\"GRE\"", "\"GRE\"")] {
        let settings: L4ProxySettings = parse(&format!(r#"{{"Protocol":{given}}}"#)).unwrap();
        assert_eq!(to_text(&settings), format!(r#"{{"Protocol":{written}}}"#));
    }
}

#[test]
fn settings_are_read_as_clients_write_them() {
    let acl: AclSettings = parse(
        r#"{"Protocols":"6,17","Action":"Block","Direction":"in","RemoteAddresses":"10.0.0.0/8","RemotePorts":"",
            "RuleType":"Switch","Priority":"200","Id":"rule-1"}"#,
    )
    .unwrap();
    assert_eq!(acl.direction, Some(OneOf::Known(DirectionType::In)));
    assert_eq!((acl.priority, acl.remote_ports, acl.id.as_deref()), (Some(200), None, Some("rule-1")));
    let nat: OutboundNatSettings =
        parse(r#"{"Exceptions":null,"Destinations":["10.0.0.5"],"MaxPortPoolUsage":64}"#).unwrap();
    assert_eq!((nat.exceptions.len(), nat.destinations.len(), nat.max_port_pool_usage), (0, 1, Some(64)));
    let iov: IovSettings = parse(r#"{"IovOffloadWeight":100,"InterruptModeration":200}"#).unwrap();
    assert_eq!(iov.interrupt_moderation, Some(OneOf::Known(IovInterruptModerationType::Medium)));
}

#[test]
fn the_routes_of_an_sdn_route_have_two_names() {
    for name in ["Routes", "Setting"] {
        let text = format!(r#"{{"{name}":[{{"DestinationPrefix":"10.0.0.0/8","NeedEncap":true}}]}}"#);
        let document: HostComputeRoute = parse(&text).unwrap();
        assert_eq!(document.list().len(), 1, "{name}");
        assert_eq!(to_text(&document), text);
    }
}

#[test]
fn the_state_of_a_guest_network_service_is_a_name_or_its_number() {
    let service: GuestNetworkService =
        parse(r#"{"VirtualMachineId":"5F0B1190-63BE-4E0C-B974-BD0F55675A42","MirrorHostNetworking":true,"Flags":1}"#)
            .unwrap();
    assert_eq!(service.mirror_host_networking, Some(true));
    for state in [r#""Synchronized""#, "3"] {
        let request: ModifyRequest<hcn_schema::enums::GuestNetworkServiceResourceType> = parse(&format!(
            r#"{{"ResourceType":"State","RequestType":"Update","Settings":{{"State":{state}}}}}"#
        ))
        .unwrap();
        let settings: GuestNetworkServiceStateRequest = request.settings().unwrap();
        assert_eq!(settings.state, Some(OneOf::Known(GuestNetworkServiceState::Synchronized)));
    }
}

#[test]
fn subnets_are_entities_and_health_names_what_a_network_stands_on() {
    let text = r#"{"Ipams":[{"Subnets":[{"Name":"a","IpAddressPrefix":"192.0.2.0/24","IpSubnets":[{"Name":"b"}]}]}],"Health":{"Extra":{"SwitchGuid":"5F0B1190-63BE-4E0C-B974-BD0F55675A42"}}}"#;
    let network: HostComputeNetwork = parse(text).unwrap();
    assert_eq!(to_text(&network), text);
    let blank: HostComputeNetwork = parse(r#"{"Health":{"Data":{},"Extra":{"Resources":null}}}"#).unwrap();
    assert_eq!(blank, HostComputeNetwork::default());
}

#[test]
fn telemetry_is_never_looked_at() {
    let endpoint: HostComputeEndpoint = parse(r#"{"Telemetry":{"Data":1},"Name":"a"}"#).unwrap();
    assert_eq!(to_text(&endpoint), r#"{"Name":"a"}"#);
}
