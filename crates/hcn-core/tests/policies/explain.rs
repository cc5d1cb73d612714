//! What becomes of packets, and which policy decides, told from the records.

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
