//! What becomes of packets, and which policy decides, told from the records.

use hcn_core::TransparentBy;
use hcn_core::read;
use hcn_dataplane::{HostAddress, HostFacts};
use hcn_schema::call::{Kind, Reference, Verb};
use hcn_schema::{Error, Guid, HResult};
use serde_json::Value;

use super::{Service, one, refused};

impl Service {
    pub(super) fn explained(&self, endpoint: Guid, question: &str) -> Result<Value, Error> {
        let address = HostAddress { link: "eth0".to_owned(), address: "203.0.113.10/24".parse().unwrap() };
        let host = HostFacts { addresses: vec![address], ..HostFacts::default() };
        let target = Reference { id: endpoint, incarnation: None };
        let answer =
            read::explain(&self.published, &host, Kind::Endpoint, target, Some(question), |_, _| None)?;
        Ok(serde_json::from_str(answer.get()).unwrap())
    }

    /// Verdict, and what it is decided by.
    fn verdict(&self, endpoint: Guid, question: &str) -> (String, String) {
        let told = self.explained(endpoint, question).unwrap();
        let text = |member: &str| told[member].as_str().unwrap().to_owned();
        (text("Verdict"), text("DecidedBy"))
    }

    pub(super) fn address(&self, endpoint: Guid) -> String {
        self.published.endpoints.get(endpoint).unwrap().addresses[0].addr().to_string()
    }
}

#[test]
fn the_rule_that_decides_is_named_for_both_ends() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let block = r#"{"Action":"Block","Direction":"In","LocalPorts":"22","Protocols":"6","Id":"no-ssh"}"#;
    let server = service.attached(network, &one("ACL", block), false);
    let client = service.attached(network, "[]", false);
    let address = service.address(server);
    let ssh = format!(r#"{{"To":"{address}:22"}}"#);
    let (verdict, by) = service.verdict(client, &ssh);
    assert_eq!(verdict, "Block");
    assert!(by.starts_with("ACL Policies[0] no-ssh of endpoint") && by.contains(&address), "{by}");
    let (verdict, by) = service.verdict(client, &format!(r#"{{"To":"{address}:80"}}"#));
    assert_eq!((verdict.as_str(), by.as_str()), ("Allow", "nothing: what no policy is about passes"));
    // The same packet, asked at its other end.
    let from = format!(r#"{{"From":"{}","Port":22}}"#, service.address(client));
    assert_eq!(service.verdict(server, &from).0, "Block");
    let told = service.explained(server, &from).unwrap();
    assert!(told["Steps"][0]["Object"].as_str().unwrap().starts_with("filter of hve"), "{told}");
}

#[test]
fn services_lead_to_back_ends_and_nat_leads_out() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let block = one("ACL", r#"{"Action":"Block","Direction":"In","Priority":9}"#);
    let server = service.attached(network, &block, false);
    let client = service.attached(network, "[]", false);
    let balancer = format!(
        r#"{{"HostComputeEndpoints":["{server}"],"FrontendVIPs":["10.96.0.1"],"SchemaVersion":{{"Major":2}},
            "PortMappings":[{{"Protocol":6,"InternalPort":8080,"ExternalPort":80}}]}}"#
    );
    let create = Verb::Create { id: None, parent: None, document: Some(balancer) };
    service.call(Kind::LoadBalancer, create).unwrap();
    let told = service.explained(client, r#"{"To":"10.96.0.1:80","Protocol":"TCP"}"#).unwrap();
    assert_eq!((&told["Verdict"], &told["Steps"][0]["Stage"]), (&"Block".into(), &"LoadBalancer".into()));
    let arrives = told["Arrives"].as_str().unwrap();
    assert!(arrives.ends_with(&format!("{}:8080", service.address(server))), "{arrives}");
    let (verdict, by) = service.verdict(client, r#"{"To":"192.0.2.1","Protocol":"icmp"}"#);
    assert_eq!(verdict, "Allow");
    assert!(by.starts_with("NAT of network"), "{by}");
}

#[test]
fn what_leads_nowhere_is_told() {
    let mut service = Service::default();
    let network = service.network("Internal", "[]").unwrap();
    let endpoint = service.attached(network, "[]", false);
    let (verdict, by) = service.verdict(endpoint, r#"{"To":"192.0.2.1:80"}"#);
    assert!(verdict == "Block" && by.starts_with("Internal of network"), "{by}");
    let alone = service.endpoint(network, "[]").unwrap();
    assert!(service.verdict(alone, r#"{"To":"192.0.2.1:80"}"#).1.starts_with("Attachment"));
}

/// Who asks in these tests from outside, and the host's address there.
const FAR: &str = "198.51.100.7";
const HOST: &str = "203.0.113.10";

fn from(address: &str) -> String {
    format!(r#"{{"From":"{address}","Port":80}}"#)
}

fn to(address: &str) -> String {
    format!(r#"{{"To":"{address}:80"}}"#)
}

fn gateway(address: &str) -> String {
    format!("{}.1", address.rsplit_once('.').unwrap().0)
}

#[test]
fn networks_that_lead_nowhere_are_closed_both_ways() {
    let mut service = Service::default();
    let nat = service.network("NAT", "[]").unwrap();
    let other = service.attached(nat, "[]", false);
    for (mode, with_host) in [("Internal", true), ("Private", false)] {
        let network = service.network(mode, "[]").unwrap();
        let [one, peer] = [(); 2].map(|()| service.attached(network, "[]", false));
        let [one_at, peer_at, other_at] = [one, peer, other].map(|id| service.address(id));
        let closed = format!("{mode} of network {network}");
        for (endpoint, question) in [
            (one, from(FAR)),
            (one, to(FAR)),
            (one, from(&other_at)),
            (one, to(&other_at)),
            (other, from(&one_at)),
            (other, to(&one_at)),
        ] {
            assert_eq!(
                service.verdict(endpoint, &question),
                ("Block".to_owned(), closed.clone()),
                "{question}"
            );
        }
        assert_eq!(service.verdict(one, &to(&peer_at)).0, "Allow");
        for question in [from(HOST), to(HOST), from(&gateway(&one_at)), to(&gateway(&one_at))] {
            let (verdict, by) = service.verdict(one, &question);
            // Without the host on it, a gateway is no more than an address.
            if with_host || question.contains(&gateway(&one_at)) {
                assert_eq!(verdict, "Allow", "{mode} {question} {by}");
            } else {
                assert_eq!((verdict.as_str(), by), ("Block", closed.clone()), "{question}");
            }
        }
    }
    assert_eq!(service.verdict(other, &from(FAR)).0, "Allow");
    assert_eq!(service.verdict(other, &from(HOST)).0, "Allow");
}

#[test]
fn an_overlay_and_the_host_meet_at_the_gateway_alone() {
    let mut service = Service::default();
    let document = r#"{"Type":"Overlay","SchemaVersion":{"Major":2},"Ipams":[{"Subnets":[{"IpAddressPrefix":"10.9.0.0/24",
        "Routes":[{"NextHop":"10.9.0.1","DestinationPrefix":"0.0.0.0/0"}]}]}]}"#;
    let create = Verb::Create { id: None, parent: None, document: Some(document.to_owned()) };
    let network = service.call(Kind::Network, create).unwrap();
    let nat = service.network("NAT", "[]").unwrap();
    let [endpoint, other] = [network, nat].map(|network| service.attached(network, "[]", false));
    let [at, other_at] = [endpoint, other].map(|id| service.address(id));
    let asked = |service: &Service| {
        [to(&gateway(&at)), to(HOST), to(&gateway(&other_at)), from(HOST), from(&gateway(&at))]
            .map(|question| service.verdict(endpoint, &question).0 == "Allow")
    };
    assert_eq!(asked(&service), [true, false, false, false, false]);
    assert!(service.verdict(endpoint, &from(HOST)).1.starts_with("Overlay of network"));
    // What is forwarded is not for the host.
    for question in [to(&other_at), from(&other_at), from(FAR), to(FAR)] {
        assert_eq!(service.verdict(endpoint, &question).0, "Allow", "{question}");
    }
    service.modify(Kind::Network, network, "Add", &one("HostRoute", "{}")).unwrap();
    assert_eq!(asked(&service), [true; 5]);
}

#[test]
fn a_constrained_network_is_reached_by_its_link_alone() {
    let mut service = Service::default();
    let ics = service.network("ICS", &one("InterfaceConstraint", r#"{"InterfaceAlias":"eth0"}"#)).unwrap();
    let nat = service.network("NAT", "[]").unwrap();
    let [inside, other] = [ics, nat].map(|network| service.attached(network, "[]", false));
    let (verdict, by) = service.verdict(other, &to(&service.address(inside)));
    assert!(verdict == "Block" && by.starts_with("ICS of network"), "{by}");
    assert_eq!(service.verdict(inside, &from(FAR)).0, "Allow");
    assert_eq!(service.verdict(inside, &from(HOST)).0, "Allow");
    assert!(service.verdict(inside, &to(FAR)).1.starts_with("NAT of network"));
}

#[test]
fn what_stands_on_the_uplink_and_the_host_exchange_nothing() {
    let mut service = Service::default();
    let network = service.network("Transparent", "[]").unwrap();
    let endpoint = service.attached(network, "[]", false);
    for question in [to(HOST), from(HOST)] {
        let (verdict, by) = service.verdict(endpoint, &question);
        assert!(verdict == "Block" && by.starts_with("Transparent of network"), "{question} {by}");
    }
    assert_eq!(service.verdict(endpoint, &to(FAR)).0, "Allow");
    assert_eq!(service.verdict(endpoint, &from(FAR)).0, "Allow");
}

#[test]
fn endpoints_of_a_tunnel_meet_behind_the_uplink() {
    let mut service = Service::default();
    let network = service.network("L2Tunnel", "[]").unwrap();
    let block = one("ACL", r#"{"Action":"Block","Direction":"In"}"#);
    let peer = service.attached(network, &block, false);
    let endpoint = service.attached(network, "[]", false);
    let told = service.explained(endpoint, &to(&service.address(peer))).unwrap();
    assert_eq!(
        (&told["Steps"][0]["Stage"], &told["Verdict"]),
        (&"L2Tunnel".into(), &"Block".into()),
        "{told}"
    );
}

#[test]
fn endpoints_meet_in_their_vlan_alone() {
    let mut service = Service::default();
    let vlan = |id: u16| one("VLAN", &format!(r#"{{"IsolationId":{id}}}"#));
    let network = service.network("NAT", "[]").unwrap();
    let [one, peer, other] = [10, 10, 20].map(|id| service.attached(network, &vlan(id), false));
    let bare = service.attached(network, "[]", false);
    assert_eq!(service.verdict(one, &to(&service.address(peer))).0, "Allow");
    for (asked, question) in [
        (one, to(&service.address(other))),
        (one, from(&service.address(other))),
        (one, to(&service.address(bare))),
        (bare, to(&service.address(one))),
        (one, to(HOST)),
        (one, from(HOST)),
        (one, to(FAR)),
        (one, from(FAR)),
    ] {
        let (verdict, by) = service.verdict(asked, &question);
        assert!(verdict == "Block" && by.starts_with("VLAN of endpoint"), "{question}: {verdict} {by}");
    }
    assert_eq!(service.verdict(bare, &to(FAR)).0, "Allow");
    let told = service.explained(one, &to(FAR)).unwrap();
    let object = told["Steps"][0]["Object"].as_str().unwrap();
    assert!(object.starts_with("veth hve"), "{object}");
}

/// Where the uplink is a port of the bridge, or a VLAN of it is.
#[test]
fn those_outside_may_be_in_the_vlan() {
    let mut service = Service::default();
    service.settings.transparent = TransparentBy::Bridge;
    let network = service.network("Transparent", "[]").unwrap();
    let one = service.attached(network, &one("VLAN", r#"{"IsolationId":10}"#), false);
    for (question, effect) in [
        (to(FAR), "leaves with the tag of VLAN 10"),
        (from(FAR), "passes if it comes with the tag of VLAN 10"),
    ] {
        let told = service.explained(one, &question).unwrap();
        assert_eq!(
            (&told["Verdict"], &told["Steps"][0]["Effect"]),
            (&"Allow".into(), &effect.into()),
            "{told}"
        );
    }
    assert_eq!(service.verdict(one, &to(HOST)).0, "Block");
    let mut service = Service::default();
    let document = r#"{"Type":"L2Bridge","SchemaVersion":{"Major":2},"Ipams":[{"Subnets":[{
        "IpAddressPrefix":"192.0.2.0/24","Policies":[{"Type":"VLAN","Settings":{"IsolationId":100}}]}]}]}"#;
    let create = Verb::Create { id: None, parent: None, document: Some(document.to_owned()) };
    let network = service.call(Kind::Network, create).unwrap();
    let [endpoint, peer] = [(); 2].map(|()| service.attached(network, "[]", false));
    let told = service.explained(endpoint, &to(FAR)).unwrap();
    let effect = "leaves with the tag of VLAN 100";
    assert_eq!((&told["Verdict"], &told["Steps"][0]["Effect"]), (&"Allow".into(), &effect.into()), "{told}");
    assert!(service.verdict(endpoint, &to(&service.address(peer))).1.starts_with("nothing"));
}

#[test]
fn what_the_host_sends_to_itself_meets_no_rules() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let block = |direction: &str| one("ACL", &format!(r#"{{"Action":"Block","Direction":"{direction}"}}"#));
    let client = service.attached(network, "[]", false);
    let inward = service.attached(network, &block("In"), true);
    let [client_at, inward_at] = [client, inward].map(|id| service.address(id));
    for address in [HOST, "127.0.0.1", &gateway(&client_at)] {
        assert_eq!(service.verdict(inward, &from(address)).0, "Allow", "{address}");
    }
    for address in [FAR, &client_at] {
        assert!(service.verdict(inward, &from(address)).1.starts_with("ACL Policies[0]"), "{address}");
    }
    assert_eq!(service.verdict(client, &to(&inward_at)).0, "Block");
    let outward = service.attached(network, &block("Out"), true);
    assert_eq!(service.verdict(outward, &to(HOST)).0, "Allow");
    assert_eq!(service.verdict(outward, &to(&inward_at)).0, "Allow");
    assert_eq!(service.verdict(outward, &to(&client_at)).0, "Block");
    // What the host sends to another is held against the rules of that one.
    let closed = service.attached(network, &block("In"), false);
    assert_eq!(service.verdict(closed, &from(HOST)).0, "Block");
}

#[test]
fn proxies_and_translation_act_beside_the_endpoint_too() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let [server, proxy] = [(); 2].map(|()| service.attached(network, "[]", false));
    let [server_at, proxy_at] = [server, proxy].map(|id| service.address(id));
    let whole = format!("{}.0/24", server_at.rsplit_once('.').unwrap().0);
    let outbound =
        one("OutBoundNAT", &format!(r#"{{"VirtualIP":"198.18.0.9","Destinations":["{server_at}"]}}"#));
    let client = service.attached(network, &outbound, false);
    let arrives = |service: &Service, question: &str| {
        let told = service.explained(client, question).unwrap();
        (told["Arrives"].as_str().unwrap().to_owned(), told["DecidedBy"].as_str().unwrap().to_owned())
    };
    let client_at = service.address(client);
    // Frames between neighbours are shown to no rules while there are none.
    assert!(arrives(&service, &to(&server_at)).0.starts_with(&format!("TCP {client_at}:")));
    service
        .modify(Kind::Endpoint, proxy, "Add", &one("ACL", r#"{"Action":"Allow","Direction":"In"}"#))
        .unwrap();
    let (packet, by) = arrives(&service, &to(&server_at));
    assert!(packet.starts_with("TCP 198.18.0.9:") && by.starts_with("OutBoundNAT"), "{packet} {by}");
    assert!(arrives(&service, &to(&proxy_at)).0.starts_with(&format!("TCP {client_at}:")));

    let policy = format!(r#"{{"IP":"{whole}","Port":"80","Protocol":6,"Destination":"{proxy_at}:8080"}}"#);
    service.modify(Kind::Endpoint, client, "Update", &one("L4Proxy", &policy)).unwrap();
    service.modify(Kind::Endpoint, proxy, "Update", "[]").unwrap();
    let (packet, by) = arrives(&service, &to(&server_at));
    // The proxy would answer past the host, which hides the client.
    assert_eq!(packet, format!("TCP {}:50000 -> {proxy_at}:8080", gateway(&client_at)));
    assert!(by.starts_with("L4Proxy of endpoint"), "{by}");
    assert!(arrives(&service, r#"{"To":"255.255.255.255:80"}"#).0.ends_with("255.255.255.255:80"));
    // What a proxy gets is not asked whether a service is meant.
    let balancer = format!(
        r#"{{"HostComputeEndpoints":["{server}"],"FrontendVIPs":["{proxy_at}"],"SchemaVersion":{{"Major":2}},
            "PortMappings":[{{"Protocol":6,"InternalPort":80,"ExternalPort":8080}}]}}"#
    );
    let create = Verb::Create { id: None, parent: None, document: Some(balancer) };
    service.call(Kind::LoadBalancer, create).unwrap();
    assert_eq!(arrives(&service, &to(&server_at)).0, packet);
}

#[test]
fn an_address_that_the_host_answers_for_is_its_own() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let block = one("ACL", r#"{"Action":"Block","Direction":"In","Id":"closed"}"#);
    let [server, client] = ["[]", "[]"].map(|policies| service.attached(network, policies, false));
    let server_at = service.address(server);
    let virtual_ip = format!("{}.200", server_at.rsplit_once('.').unwrap().0);
    let outbound = one("OutBoundNAT", &format!(r#"{{"VirtualIP":"{virtual_ip}"}}"#));
    let port = one("PortMapping", r#"{"Protocol":6,"InternalPort":80,"ExternalPort":8080}"#);
    service.modify(Kind::Endpoint, server, "Add", &port).unwrap();
    let mapped = format!(r#"{{"To":"{virtual_ip}:8080"}}"#);
    let arrives = |service: &Service| {
        let told = service.explained(client, &mapped).unwrap();
        told["Arrives"].as_str().unwrap().split_once("-> ").unwrap().1.to_owned()
    };
    // Until then it is nobody's.
    assert_eq!(arrives(&service), format!("{virtual_ip}:8080"));
    let translated = service.attached(network, &outbound, false);
    // What is for an address of the host is for its ports.
    assert_eq!(arrives(&service), format!("{server_at}:80"));
    // What the host sends to itself meets no rules.
    let own = service.attached(network, &block, true);
    assert_eq!(service.verdict(own, &from(&virtual_ip)).0, "Allow");
    // It goes with the policy, and with the endpoint.
    service.modify(Kind::Endpoint, translated, "Remove", &outbound).unwrap();
    assert_eq!(arrives(&service), format!("{virtual_ip}:8080"));
    assert!(service.verdict(own, &from(&virtual_ip)).1.contains("closed of"));
    service.modify(Kind::Endpoint, translated, "Add", &outbound).unwrap();
    assert_eq!(arrives(&service), format!("{server_at}:80"));
    service.delete(Kind::Endpoint, translated);
    assert_eq!(arrives(&service), format!("{virtual_ip}:8080"));
}

#[test]
fn the_hosts_own_connections_go_to_services_that_say_so() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let port = |extra: &str| {
        one("PortMapping", &format!(r#"{{"Protocol":6,"InternalPort":80,"ExternalPort":8080{extra}}}"#))
    };
    let server = service.attached(network, &port(""), false);
    let client = service.attached(network, "[]", false);
    let gateway = gateway(&service.address(server));
    let told = service.explained(client, &format!(r#"{{"To":"{gateway}:8080"}}"#)).unwrap();
    // The gateway is an address of the host, and the back end would answer its neighbour past the host.
    let arrives = format!("TCP {gateway}:50000 -> {}:80", service.address(server));
    assert_eq!((&told["Steps"][0]["Stage"], &told["Arrives"]), (&"PortMapping".into(), &arrives.into()));
}

#[test]
fn a_question_that_cannot_be_is_refused_with_its_place() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let endpoint = service.attached(network, "[]", false);
    for (question, path) in [
        (r#"{}"#, "To"),
        (r#"{"To":"192.0.2.1:1","From":"192.0.2.1"}"#, "To"),
        (r#"{"To":"192.0.2.1"}"#, "To"),
        (r#"{"To":"www:80"}"#, "To"),
        (r#"{"To":"[2001:db8::1]:80"}"#, "To"),
        (r#"{"From":"192.0.2.1"}"#, "Port"),
        (r#"{"To":"192.0.2.1:80","Protocol":"tpc"}"#, "Protocol"),
    ] {
        refused(service.explained(endpoint, question), HResult::INVALID_ARGUMENT, path);
    }
    let error = service.explained(endpoint, "[").unwrap_err();
    assert_eq!(error.code, HResult::INVALID_JSON);
}
