//! Whose packets keep the destination that they were sent to (flag PreserveDIP of load balancers).

use hcn_core::compile;
use hcn_dataplane::{Kernel, Netns, Object};
use hcn_schema::Guid;
use hcn_schema::call::{Kind, Reference, Verb};

use crate::Service;

const VIP: &str = "10.96.0.1";

fn mapping(internal: u16, external: u16, flags: u32) -> String {
    format!(r#"{{"Protocol":6,"InternalPort":{internal},"ExternalPort":{external},"Flags":{flags}}}"#)
}

fn document(endpoints: &[Guid], vips: &[&str], mappings: &[String]) -> String {
    let quoted = |all: Vec<String>| all.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(",");
    let (ids, vips) = (
        quoted(endpoints.iter().map(Guid::to_string).collect()),
        quoted(vips.iter().map(|vip| (*vip).to_owned()).collect()),
    );
    format!(
        r#"{{"HostComputeEndpoints":[{ids}],"FrontendVIPs":[{vips}],"PortMappings":[{}],
            "SchemaVersion":{{"Major":2}}}}"#,
        mappings.join(",")
    )
}

impl Service {
    fn balancer(&mut self, endpoints: &[Guid], vips: &[&str], mappings: &[String]) -> Guid {
        let document = Some(document(endpoints, vips, mappings));
        self.call(Kind::LoadBalancer, Verb::Create { id: None, parent: None, document }).unwrap()
    }

    fn rebalance(&mut self, id: Guid, endpoints: &[Guid], vips: &[&str], mappings: &[String]) {
        let document = Some(document(endpoints, vips, mappings));
        let target = Reference { id, incarnation: None };
        self.call(Kind::LoadBalancer, Verb::Modify { target, document }).unwrap();
    }

    /// `ADDRESS:PORT BACKEND` of each endpoint, and the addresses on loopbacks of namespaces.
    fn seen(&self) -> (Vec<String>, Vec<String>) {
        let (mut fronts, mut claims) = (Vec::new(), Vec::new());
        for (_, object) in compile::all(&self.published).iter() {
            match object {
                Object::Preserved(preserved) => fronts.extend(
                    preserved
                        .fronts
                        .iter()
                        .map(|front| format!("{}:{} {}", front.address, front.port, front.backend)),
                ),
                Object::Claim(claim) if claim.link.netns != Netns::Host => {
                    assert_eq!(claim.link.name, "lo");
                    claims.push(claim.address.to_string());
                }
                _ => {}
            }
        }
        (fronts, claims)
    }
}

#[test]
fn a_port_that_stays_and_a_virtual_address_are_needed() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let [one, other] = [(); 2].map(|()| service.attached(network, "[]", false));
    let own = service.address(one);
    let nothing = (Vec::new(), Vec::new());
    let id =
        service.balancer(&[one], &[VIP], &[mapping(80, 80, 8), mapping(8443, 443, 8), mapping(53, 53, 0)]);
    assert_eq!(service.seen(), (vec![format!("{VIP}:80 {own}")], vec![VIP.to_owned()]));
    service.rebalance(id, &[one, other], &[VIP, "10.96.0.2"], &[mapping(80, 80, 8)]);
    let (fronts, claims) = service.seen();
    assert_eq!((fronts.len(), claims.len()), (4, 4), "{fronts:?} {claims:?}");
    service.rebalance(id, &[other], &[VIP], &[mapping(80, 80, 12)]);
    assert_eq!(service.seen().0, [format!("{VIP}:80 {}", service.address(other))]);
    for (vips, mapped) in
        [(&[VIP][..], mapping(80, 80, 4)), (&[VIP], mapping(81, 80, 8)), (&[], mapping(80, 80, 8))]
    {
        service.rebalance(id, &[one], vips, &[mapped]);
        assert_eq!(service.seen(), nothing);
    }
    // What the endpoint has, or sends to, it must not take for its own.
    let gateway = service.published.networks.get(network).unwrap().subnets[0].gateway.unwrap().to_string();
    service.rebalance(id, &[one], &[&gateway, &own], &[mapping(80, 80, 8)]);
    assert_eq!(service.seen(), nothing);
    service.rebalance(id, &[one], &[VIP], &[mapping(80, 80, 8)]);
    service.delete(Kind::Endpoint, one);
    assert_eq!(service.seen(), nothing);
    service.rebalance(id, &[other], &[VIP], &[mapping(80, 80, 8)]);
    service.delete(Kind::LoadBalancer, id);
    assert_eq!(service.seen(), nothing);
}

#[test]
fn who_has_no_loopback_of_its_own_here_gets_translated_packets() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let unattached = service.endpoint(network, "[]").unwrap();
    let of_host = service.attached(network, "[]", true);
    let own = service.attached(network, "[]", false);
    service.balancer(&[unattached, of_host, own], &[VIP], &[mapping(80, 80, 8)]);
    assert_eq!(service.seen().0, [format!("{VIP}:80 {}", service.address(own))]);
    let mut service =
        Service { kernel: Kernel { bridge_rules: false, ..Kernel::default() }, ..Service::default() };
    let network = service.network("NAT", "[]").unwrap();
    let endpoint = service.attached(network, "[]", false);
    service.balancer(&[endpoint], &[VIP], &[mapping(80, 80, 8)]);
    assert_eq!(service.seen().0.len(), 0);
}

#[test]
fn no_attach_comes_between_a_load_balancer_and_its_end() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let endpoint = service.endpoint(network, "[]").unwrap();
    let document = Some(r#"{"SchemaVersion":{"Major":2}}"#.to_owned());
    let namespace = service.call(Kind::Namespace, Verb::Create { id: None, parent: None, document }).unwrap();
    let create = Verb::Create { id: None, parent: None, document: Some(document_of(endpoint)) };
    service.submit(Kind::LoadBalancer, create);
    assert_eq!(service.jobs.len(), 1);
    let document = Some(format!(
        r#"{{"ResourceType":"Endpoint","RequestType":"Add","Settings":{{"EndpointId":"{endpoint}"}}}}"#
    ));
    let target = Reference { id: namespace, incarnation: None };
    let attach = service.submit(Kind::Namespace, Verb::Modify { target, document });
    assert!(service.reply(attach).is_none() && service.jobs.len() == 1, "it waits");
    // The load balancer fails; the attach goes on without it.
    service.finish(true);
    service.finish_all();
    service.reply(attach).unwrap().clone().unwrap();
    assert_eq!(service.seen().0.len(), 0);
    let create = Verb::Create { id: None, parent: None, document: Some(document_of(endpoint)) };
    service.call(Kind::LoadBalancer, create).unwrap();
    assert_eq!(service.seen().0.len(), 1);
}

fn document_of(endpoint: Guid) -> String {
    document(&[endpoint], &[VIP], &[mapping(80, 80, 8)])
}

#[test]
fn the_way_of_a_packet_ends_as_it_began() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let [server, client] = [(); 2].map(|()| service.attached(network, "[]", false));
    service.balancer(&[server], &[VIP], &[mapping(80, 80, 8), mapping(8443, 443, 8)]);
    let told = service.explained(client, &format!(r#"{{"To":"{VIP}:80"}}"#)).unwrap();
    assert!(told["Arrives"].as_str().unwrap().ends_with(&format!("{VIP}:80")), "{told}");
    assert_eq!(told["Steps"].as_array().unwrap().last().unwrap()["Stage"], "PreserveDIP", "{told}");
    let told = service.explained(client, &format!(r#"{{"To":"{VIP}:443"}}"#)).unwrap();
    assert!(
        told["Arrives"].as_str().unwrap().ends_with(&format!("{}:8443", service.address(server))),
        "{told}"
    );
    // Who is asked by its own address sees that.
    let own = service.address(server);
    let told = service.explained(client, &format!(r#"{{"To":"{own}:80"}}"#)).unwrap();
    assert!(told["Arrives"].as_str().unwrap().ends_with(&format!("{own}:80")), "{told}");
}
