//! What policies mean for what an endpoint sends: whose name, how fast, how large.

use hcn_core::compile;
use hcn_dataplane::{Guard, Kernel, Key, LinkId, Object, Shaper, Tap};

use super::*;

const TAP: &str = "hvta0000000";

impl Service {
    /// Makes an endpoint, and plugs it into a port of a virtual machine.
    fn plugged(&mut self, network: Guid, params: &str, policies: &str) -> Result<Guid, Error> {
        let document = format!(
            r#"{{"Name":"e","AdditionalParams":{params},"Policies":{policies},"SchemaVersion":{{"Major":2}}}}"#
        );
        let parent = Some(Reference { id: network, incarnation: None });
        let id = self.call(Kind::Endpoint, Verb::Create { id: None, parent, document: Some(document) })?;
        let request = r#"{"ResourceType":"Port","RequestType":"Add","Settings":{"PortId":"A0000000-0000-4000-8000-000000000001"}}"#;
        let target = Reference { id, incarnation: None };
        self.call(Kind::Endpoint, Verb::Modify { target, document: Some(request.to_owned()) })?;
        Ok(id)
    }

    fn object(&self, key: &Key) -> Option<Object> {
        compile::all(&self.published).get(key).cloned()
    }

    fn tap(&self) -> Tap {
        let Some(Object::Tap(tap)) = self.object(&Key::Tap(TAP.to_owned())) else {
            panic!("no TAP interface")
        };
        tap
    }

    fn shaper(&self) -> Option<Shaper> {
        match self.object(&Key::Shaper(LinkId::host(TAP))) {
            Some(Object::Shaper(shaper)) => Some(shaper),
            _ => None,
        }
    }

    fn guard(&self) -> Option<Guard> {
        match self.object(&Key::Guard(TAP.to_owned())) {
            Some(Object::Guard(guard)) => Some(guard),
            _ => None,
        }
    }
}

#[test]
fn policies_mean_a_rate_an_mtu_and_an_alias_until_they_change() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let policies = r#"[{"Type":"QOS","Settings":{"MaximumOutgoingBandwidthInBytes":1000}},
        {"Type":"EncapOverhead","Settings":{"Overhead":50}},{"Type":"PortName","Settings":{"Name":"front"}}]"#;
    let id = service.plugged(network, "{}", policies).unwrap();
    let shaper = |rate, mtu| Some(Shaper { link: LinkId::host(TAP), received: true, rate, mtu });
    assert_eq!(service.shaper(), shaper(1000, 1450));
    assert_eq!((service.tap().mtu, service.tap().alias), (1450, format!("hcn endpoint {id} e front")));
    for (mtu, holds) in [(1400, 1400), (9000, 1450)] {
        let policy = one("InterfaceParameters", &format!(r#"{{"Mtu":{mtu}}}"#));
        service.modify(Kind::Endpoint, id, "Update", &policy).unwrap();
        assert_eq!(service.tap().mtu, holds);
        assert_eq!(service.shaper(), shaper(1000, holds));
    }
    service.modify(Kind::Endpoint, id, "Update", &one("PortName", r#"{"Name":""}"#)).unwrap();
    assert_eq!(service.tap().alias, format!("hcn endpoint {id} e"));
    // No rate is no limit, and so is zero.
    for settings in ["{}", r#"{"MaximumOutgoingBandwidthInBytes":0}"#] {
        service.modify(Kind::Endpoint, id, "Update", &one("QOS", settings)).unwrap();
        assert_eq!(service.shaper(), None);
    }
}

#[test]
fn an_endpoint_is_guarded_unless_its_document_or_the_kernel_says_otherwise() {
    let mut service = Service::default();
    let network = service.network("NAT", "[]").unwrap();
    let id = service.plugged(network, r#"{"mine":[1]}"#, "[]").unwrap();
    let guard = service.guard().expect("a guard");
    assert_eq!((guard.addresses.map(|addresses| addresses.len()), guard.autoconfigured), (Some(1), false));
    service.delete(Kind::Endpoint, id);
    for (word, is_there) in [("\"On\"", false), ("\"off\"", true), ("null", true)] {
        let params = format!(r#"{{"MacAddressSpoofing":{word}}}"#);
        let id = service.plugged(network, &params, "[]").unwrap();
        assert_eq!(service.guard().is_some(), is_there, "{word}");
        service.delete(Kind::Endpoint, id);
    }
    let path = "AdditionalParams.MacAddressSpoofing";
    for word in ["\"\"", "true", "1", "{}"] {
        let params = format!(r#"{{"MacAddressSpoofing":{word}}}"#);
        refused(service.plugged(network, &params, "[]"), HResult::INVALID_ARGUMENT, path);
    }
    // Nobody knows the addresses of a network without any.
    let document = r#"{"Type":"Internal","SchemaVersion":{"Major":2}}"#.to_owned();
    let verb = Verb::Create { id: None, parent: None, document: Some(document) };
    if let Ok(bare) = service.call(Kind::Network, verb) {
        let id = service.plugged(bare, "{}", "[]").unwrap();
        assert!(service.guard().is_some_and(|guard| guard.addresses.is_none()));
        service.delete(Kind::Endpoint, id);
    }
    service.kernel = Kernel { bridge_rules: false, ..Kernel::default() };
    service.plugged(network, "{}", "[]").unwrap();
    assert_eq!(service.guard(), None);
    let off = r#"{"MacAddressSpoofing":"Off"}"#;
    refused(service.plugged(network, off, "[]"), HResult::REQUEST_UNSUPPORTED, path);
}
