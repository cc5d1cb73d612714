//! What InterfaceConstraint means for what an endpoint sends.

use hcn_core::compile;
use hcn_dataplane::{Object, Steering};

use super::*;

impl Service {
    /// The routing tables of endpoints.
    fn steerings(&self) -> Vec<Steering> {
        let all = compile::all(&self.published);
        let tables = all.iter().filter_map(|(_, object)| match object {
            Object::Steering(steering) if steering.sender.is_some() => Some(steering.clone()),
            _ => None,
        });
        tables.collect()
    }

    fn hops(&self) -> Vec<String> {
        let tables = self.steerings();
        tables.iter().flat_map(|table| &table.hops).map(|hop| hop.destination.to_string()).collect()
    }
}

#[test]
fn an_endpoint_has_a_table_while_it_is_attached_and_constrained() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let eth0 = one("InterfaceConstraint", r#"{"InterfaceAlias":"eth0"}"#);
    service.endpoint(network, &eth0).unwrap();
    assert!(service.steerings().is_empty());
    let id = service.attached(network, &eth0, false);
    let [table] = &service.steerings()[..] else { panic!("one table") };
    let sender = table.sender.as_ref().unwrap();
    assert_eq!((sender.endpoint.clone(), sender.addresses.len()), (id.to_string(), 1));
    assert_eq!(service.hops(), ["10.0.0.0/24", "0.0.0.0/0"]);
    // Another policy is another matter; the same link by another name keeps the table's number.
    service.modify(Kind::Endpoint, id, "Add", &one("PortName", r#"{"Name":"a"}"#)).unwrap();
    service.modify(Kind::Endpoint, id, "Update", &one("InterfaceConstraint", "\"eth0\"")).unwrap();
    assert_eq!(service.steerings(), std::slice::from_ref(table));
    service.modify(Kind::Endpoint, id, "Update", &one("InterfaceConstraint", "{}")).unwrap();
    assert!(service.steerings().is_empty());
    service.modify(Kind::Endpoint, id, "Update", &eth0).unwrap();
    assert_eq!(service.steerings().len(), 1);
    service.modify(Kind::Endpoint, id, "Remove", &eth0).unwrap();
    assert!(service.steerings().is_empty());
    let unknown = one("InterfaceConstraint", r#"{"InterfaceAlias":"eth2"}"#);
    let path = "Settings.Policies[0].Settings.InterfaceAlias";
    refused(service.modify(Kind::Endpoint, id, "Add", &unknown), HResult::ADAPTER_NOT_FOUND, path);
}

#[test]
fn a_table_follows_the_subnets_of_its_network() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    service.attached(network, &one("InterfaceConstraint", "\"eth0\""), false);
    let target = Reference { id: network, incarnation: None };
    let request = r#"{"ResourceType":"Subnet","RequestType":"Add","Settings":{"Subnets":[{"IpAddressPrefix":"10.9.0.0/24"}]}}"#;
    service.call(Kind::Network, Verb::Modify { target, document: Some(request.to_owned()) }).unwrap();
    assert_eq!(service.hops(), ["10.0.0.0/24", "10.9.0.0/24", "0.0.0.0/0"]);
}

#[test]
fn who_does_not_send_by_the_host_has_none() {
    let mut service = Service::default();
    let bare = one("InterfaceConstraint", "\"eth0\"");
    let nat = service.network("NAT", "[]").unwrap();
    service.attached(nat, &bare, true);
    for mode in ["Private", "Overlay"] {
        let network = service.network(mode, "[]").unwrap();
        service.attached(network, &bare, false);
    }
    assert!(service.steerings().is_empty());
    let routed = service.network("L2Bridge", "[]").unwrap();
    service.attached(routed, &bare, false);
    assert_eq!(service.steerings().len(), 1);
}

#[test]
fn the_way_out_is_told() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let id = service.attached(network, &one("InterfaceConstraint", "\"eth0\""), false);
    let far = service.network("Internal", "[]").unwrap();
    let other = service.attached(far, "[]", false);
    let told = service.explained(id, r#"{"To":"198.18.0.1:80"}"#).unwrap();
    assert_eq!(
        (&told["Steps"][0]["Stage"], &told["Verdict"]),
        (&"InterfaceConstraint".into(), &"Allow".into())
    );
    assert_eq!(told["Steps"][0]["Effect"], "leaves by eth0 alone, and not while that is down");
    // Other networks are out of reach.
    let told = service.explained(id, &format!(r#"{{"To":"{}:80"}}"#, service.address(other))).unwrap();
    assert_eq!(told["Steps"][0]["Stage"], "InterfaceConstraint", "{told}");
}

#[test]
fn constraints_that_contradict_each_other_leave_no_way_out() {
    let mut service = Service::default();
    let constraint = |link: &str| one("InterfaceConstraint", &format!("\"{link}\""));
    let network = service.network("ICS", &constraint("eth0")).unwrap();
    let id = service.attached(network, &constraint("eth1"), false);
    let decided = |service: &Service, question: &str| {
        let told = service.explained(id, question).unwrap();
        (told["Verdict"].as_str().unwrap().to_owned(), told["DecidedBy"].as_str().unwrap().to_owned())
    };
    let out = r#"{"To":"198.18.0.1:80"}"#;
    assert_eq!(decided(&service, out), ("Block".to_owned(), format!("ICS of network {network}")));
    // Neighbours and the host are where they were.
    let peer = service.attached(network, "[]", false);
    for address in [service.address(peer), "203.0.113.10".to_owned()] {
        assert_eq!(decided(&service, &format!(r#"{{"To":"{address}:80"}}"#)).0, "Allow");
    }
    // When they agree, and when the network's is alone.
    service.modify(Kind::Endpoint, id, "Update", &constraint("eth0")).unwrap();
    assert_eq!(decided(&service, out).0, "Allow");
    service.modify(Kind::Endpoint, id, "Remove", &constraint("eth0")).unwrap();
    assert_eq!(decided(&service, out).0, "Allow");
}
