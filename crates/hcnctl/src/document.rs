//! Flags become HCN documents.
//!
//! Texts that the service understands better are passed on unchanged, so that a wrong one gets the service's code.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hcn_client::{Guid, Raw};
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::policy::Policy;
use crate::publish::Port;
use crate::subnet::Parts;
use crate::{endpoint, guest_network_service, load_balancer, namespace, network, sdn_route};

/// A document in the making. What was given as JSON keeps its bytes.
#[derive(Debug, Default)]
pub(crate) struct Document(BTreeMap<&'static str, Raw>);

impl Document {
    /// A document of version 2.
    fn new(name: Option<&str>) -> Self {
        let mut document = Self::default();
        document.set("SchemaVersion", &json!({ "Major": 2, "Minor": 0 }));
        if let Some(name) = name {
            document.set("Name", &json!(name));
        }
        document
    }

    /// Sets a member.
    pub(crate) fn set(&mut self, member: &'static str, value: &Value) {
        self.keep(member, Raw::of(value));
    }

    /// Sets a member to what was given.
    pub(crate) fn keep(&mut self, member: &'static str, value: Raw) {
        self.0.insert(member, value);
    }

    /// As one JSON value.
    pub(crate) fn raw(&self) -> Raw {
        Raw::of(&self.0)
    }

    fn text(&self) -> String {
        self.raw().get().to_owned()
    }
}

/// A modify request.
pub(crate) fn request(resource: &str, request: &str, settings: Option<Raw>) -> String {
    let mut document = Document::default();
    document.set("ResourceType", &json!(resource));
    document.set("RequestType", &json!(request));
    if let Some(settings) = settings {
        document.keep("Settings", settings);
    }
    document.text()
}

/// The document of a network.
pub(crate) fn network(flags: &network::Flags, parts: &Parts) -> Result<String> {
    let mut document = Document::new(flags.name.as_deref());
    document.set("Type", &json!(flags.kind));
    let subnets = subnets(&flags.subnet, parts)?;
    if !subnets.is_empty() {
        document.set("Ipams", &json!([{ "Type": "Static", "Subnets": subnets }]));
    }
    if !flags.dns.is_empty() {
        document.set("Dns", &json!({ "ServerList": flags.dns }));
    }
    if let Some(flags) = &flags.flags {
        let number = flags.parse::<u32>().ok();
        document.set("Flags", &number.map_or_else(|| json!(flags), Value::from));
    }
    let adapter = flags
        .adapter
        .as_ref()
        .map(|name| Policy::of("NetAdapterName", &json!({ "NetworkAdapterName": name })));
    policies(&mut document, adapter.iter().chain(&flags.policy));
    Ok(document.text())
}

/// The documents of subnets.
pub(crate) fn subnets(prefixes: &[String], parts: &Parts) -> Result<Vec<Value>> {
    let isolation = parts.vlan.map(|id| ("VLAN", id)).or(parts.vsid.map(|id| ("VSID", id)));
    if let (true, Some((name, _))) = (prefixes.is_empty(), isolation) {
        let message = format!("--{} is of a --subnet, and none is given", name.to_lowercase());
        return Err(Failure::usage(message));
    }
    let mut gateways = parts.gateway.clone();
    let mut subnets = Vec::new();
    for text in prefixes {
        let mut subnet = json!({ "IpAddressPrefix": text });
        let prefix = Prefix::parse(text);
        let is_inside = |gateway: &IpAddr| prefix.is_some_and(|prefix| prefix.contains(*gateway));
        if let Some(place) = gateways.iter().position(is_inside) {
            let gateway = gateways.remove(place);
            let everywhere = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            subnet["Routes"] = json!([{ "NextHop": gateway, "DestinationPrefix": everywhere }]);
        }
        if let Some((name, id)) = isolation {
            subnet["Policies"] = json!([{ "Type": name, "Settings": { "IsolationId": id } }]);
        }
        subnets.push(subnet);
    }
    if let Some(gateway) = gateways.first() {
        let message = format!("--gateway {gateway} is in no subnet that has no gateway yet");
        return Err(Failure::usage(message));
    }
    Ok(subnets)
}

/// DNS settings.
pub(crate) fn dns(dns: &network::Dns) -> Raw {
    let mut document = Document::default();
    for (member, texts) in [("ServerList", &dns.server), ("Search", &dns.search), ("Options", &dns.option)] {
        if !texts.is_empty() {
            document.set(member, &json!(texts));
        }
    }
    if let Some(domain) = &dns.domain {
        document.set("Domain", &json!(domain));
    }
    document.raw()
}

/// The document of an endpoint.
pub(crate) fn endpoint(flags: &endpoint::Flags, network: Option<Guid>) -> Result<String> {
    let mut document = Document::new(flags.name.as_deref());
    if let Some(network) = network {
        document.set("HostComputeNetwork", &json!(network.to_string()));
    }
    let mut addresses = Vec::new();
    for text in &flags.ip {
        addresses.push(match text.split_once('/') {
            None => json!({ "IpAddress": text }),
            Some((address, length)) => {
                let length: u8 =
                    length.parse().map_err(|_| Failure::usage(format!("--ip {text}: bad prefix length")))?;
                json!({ "IpAddress": address, "PrefixLength": length })
            }
        });
    }
    if !addresses.is_empty() {
        document.set("IpConfigurations", &json!(addresses));
    }
    if let Some(mac) = &flags.mac {
        document.set("MacAddress", &json!(mac));
    }
    if !flags.dns.is_empty() {
        document.set("Dns", &json!({ "ServerList": flags.dns }));
    }
    if flags.remote {
        document.set("Flags", &json!(REMOTE_ENDPOINT));
    }
    let mut given: Vec<Policy> = flags.publish.iter().map(Port::policy).collect();
    if let Some(address) = &flags.provider_address {
        given.push(Policy::of("ProviderAddress", &json!({ "ProviderAddress": address })));
    }
    policies(&mut document, given.iter().chain(&flags.policy));
    Ok(document.text())
}

/// EndpointFlags.
const REMOTE_ENDPOINT: u32 = 1;

fn policies<'a>(document: &mut Document, policies: impl Iterator<Item = &'a Policy>) {
    let policies: Vec<Raw> = policies.map(Policy::raw).collect();
    if !policies.is_empty() {
        document.keep("Policies", Raw::of(&policies));
    }
}

/// The document of a namespace.
pub(crate) fn namespace(flags: &namespace::Flags) -> String {
    let mut document = Document::new(flags.name.as_deref());
    document.set("Type", &json!(flags.kind));
    if let Some(netns) = &flags.netns {
        document.set("AdditionalParams", &json!({"NetnsPath": netns}));
    }
    document.text()
}

/// The document of a load balancer.
pub(crate) fn load_balancer(flags: &load_balancer::Flags, endpoints: &[Guid]) -> String {
    let mut document = Document::new(flags.name.as_deref());
    document.set("HostComputeEndpoints", &ids(endpoints));
    if !flags.vip.is_empty() {
        document.set("FrontendVIPs", &json!(flags.vip));
    }
    if let Some(source) = &flags.source_vip {
        document.set("SourceVIP", &json!(source));
    }
    // EnableDirectServerReturn, IPv6.
    let bits = u32::from(flags.dsr) | u32::from(flags.ipv6) << 1;
    if bits != 0 {
        document.set("Flags", &json!(bits));
    }
    // EnableInternalLoadBalancer, LocalRoutedVip; DistributionType SourceIP.
    let bits = u32::from(flags.internal) | u32::from(flags.from_host) << 1;
    let mapping = |port: &Port| {
        let mut mapping = json!({
            "Protocol": port.protocol, "InternalPort": port.internal, "ExternalPort": port.external, "Flags": bits,
        });
        if flags.affinity {
            mapping["DistributionType"] = json!(2);
        }
        mapping
    };
    let mappings: Vec<Value> = flags.port.iter().map(mapping).collect();
    document.set("PortMappings", &json!(mappings));
    document.text()
}

/// The document of an SDN route.
pub(crate) fn sdn_route(flags: &sdn_route::Flags, endpoints: &[Guid]) -> String {
    let mut document = Document::new(flags.name.as_deref());
    document.set("HostComputeEndpoints", &ids(endpoints));
    let route = |text: &String| {
        let (prefix, next_hop) = text.split_once(',').unwrap_or((text, ""));
        let mut route = json!({ "DestinationPrefix": prefix });
        if !next_hop.is_empty() {
            route["NextHop"] = json!(next_hop);
        }
        if flags.need_encap {
            route["NeedEncap"] = json!(true);
        }
        route
    };
    let routes: Vec<Value> = flags.route.iter().map(route).collect();
    document.set("Routes", &json!(routes));
    document.text()
}

/// The document of a guest network service.
pub(crate) fn guest_network_service(flags: &guest_network_service::Flags) -> String {
    let mut document = Document::new(flags.name.as_deref());
    document.set("VirtualMachineId", &json!(flags.vm));
    if flags.mirror_host {
        document.set("MirrorHostNetworking", &json!(true));
    }
    document.text()
}

/// The request that adds an endpoint to a namespace or a load balancer, or removes it.
pub(crate) fn member(kind: &str, endpoint: Guid) -> String {
    let settings = json!({ "EndpointId": endpoint.to_string() });
    request("Endpoint", kind, Some(Raw::of(&settings)))
}

fn ids(ids: &[Guid]) -> Value {
    ids.iter().map(ToString::to_string).collect()
}

/// An IP prefix, as far as gateways need it.
#[derive(Clone, Copy)]
struct Prefix {
    network: IpAddr,
    length: u32,
}

impl Prefix {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let prefix = Self { network: address.parse().ok()?, length: length.parse().ok()? };
        (prefix.length <= prefix.bits()).then_some(prefix)
    }

    fn bits(self) -> u32 {
        if self.network.is_ipv4() { 32 } else { 128 }
    }

    fn contains(self, address: IpAddr) -> bool {
        self.network.is_ipv4() == address.is_ipv4()
            && self.host_cleared(address) == self.host_cleared(self.network)
    }

    fn host_cleared(self, address: IpAddr) -> u128 {
        let number = match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        let host = self.bits() - self.length;
        number.checked_shr(host).and_then(|kept| kept.checked_shl(host)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(subnets: &[&str]) -> network::Flags {
        network::Flags {
            name: Some("a".to_owned()),
            kind: "NAT".to_owned(),
            subnet: subnets.iter().map(|text| (*text).to_owned()).collect(),
            adapter: None,
            dns: Vec::new(),
            flags: None,
            policy: Vec::new(),
        }
    }

    fn gateways(texts: &[&str]) -> Parts {
        Parts { gateway: texts.iter().map(|text| text.parse().unwrap()).collect(), ..Parts::default() }
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_network_gets_its_subnets_and_gateways() {
        let document = network(&flags(&["10.0.7.0/24", "fd00:7::/64"]), &gateways(&["10.0.7.254"])).unwrap();
        let expected = json!({
            "SchemaVersion": {"Major": 2, "Minor": 0}, "Name": "a", "Type": "NAT",
            "Ipams": [{"Type": "Static", "Subnets": [
                {"IpAddressPrefix": "10.0.7.0/24",
                 "Routes": [{"NextHop": "10.0.7.254", "DestinationPrefix": "0.0.0.0/0"}]},
                {"IpAddressPrefix": "fd00:7::/64"},
            ]}],
        });
        assert_eq!(value(&document), expected);
    }

    #[test]
    fn a_network_without_subnets_has_no_address_management() {
        let mut flags = flags(&[]);
        flags.flags = Some("EnableNonPersistent".to_owned());
        let document = value(&network(&flags, &Parts::default()).unwrap());
        assert_eq!(document.get("Ipams"), None);
        assert_eq!(document["Flags"], "EnableNonPersistent");
        flags.flags = Some("8".to_owned());
        assert_eq!(value(&network(&flags, &Parts::default()).unwrap())["Flags"], 8);
    }

    #[test]
    fn an_external_network_gets_its_adapter_and_its_virtual_subnet() {
        let (mut flags, mut parts) = (flags(&["10.0.0.0/24"]), gateways(&["10.0.0.1"]));
        flags.kind = "Overlay".to_owned();
        parts.vsid = Some(4096);
        flags.adapter = Some("eth0".to_owned());
        flags.dns = vec!["10.0.0.9".to_owned()];
        flags.policy = vec![r#"VxlanPort={"Port":4790}"#.parse().unwrap()];
        let expected = json!({
            "SchemaVersion": {"Major": 2, "Minor": 0}, "Name": "a", "Type": "Overlay",
            "Ipams": [{"Type": "Static", "Subnets": [{
                "IpAddressPrefix": "10.0.0.0/24",
                "Routes": [{"NextHop": "10.0.0.1", "DestinationPrefix": "0.0.0.0/0"}],
                "Policies": [{"Type": "VSID", "Settings": {"IsolationId": 4096}}],
            }]}],
            "Dns": {"ServerList": ["10.0.0.9"]},
            "Policies": [
                {"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}},
                {"Type": "VxlanPort", "Settings": {"Port": 4790}}],
        });
        assert_eq!(value(&network(&flags, &parts).unwrap()), expected);
        (flags.subnet, parts.gateway) = (Vec::new(), Vec::new());
        assert_eq!(network(&flags, &parts).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn wrong_prefixes_are_left_to_the_service() {
        for text in ["nonsense", "10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/x"] {
            let document = value(&network(&flags(&[text]), &Parts::default()).unwrap());
            assert_eq!(document["Ipams"][0]["Subnets"], json!([{ "IpAddressPrefix": text }]));
        }
    }

    #[test]
    fn a_gateway_of_no_subnet_is_refused() {
        for outside in [&["10.1.0.1"][..], &["fd00::1"], &["10.0.0.1", "10.0.0.2"]] {
            let failure = network(&flags(&["10.0.0.0/24"]), &gateways(outside)).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
        }
    }

    #[test]
    fn an_endpoint_gets_what_was_given_and_nothing_else() {
        let empty = endpoint(&endpoint::Flags::default(), None).unwrap();
        assert_eq!(value(&empty), json!({"SchemaVersion": {"Major": 2, "Minor": 0}}));
        let flags = endpoint::Flags {
            name: Some("b".to_owned()),
            ip: vec!["10.0.0.5".to_owned(), "fd00::5/64".to_owned()],
            mac: Some("00-15-5D-00-00-01".to_owned()),
            dns: vec!["10.0.0.1".to_owned()],
            publish: vec!["0:53/udp".parse().unwrap()],
            ..endpoint::Flags::default()
        };
        let network: Guid = "5F0B1190-63BE-4E0C-B974-BD0F55675A42".parse().unwrap();
        let expected = json!({
            "SchemaVersion": {"Major": 2, "Minor": 0}, "Name": "b",
            "HostComputeNetwork": "5F0B1190-63BE-4E0C-B974-BD0F55675A42",
            "IpConfigurations": [{"IpAddress": "10.0.0.5"}, {"IpAddress": "fd00::5", "PrefixLength": 64}],
            "MacAddress": "00-15-5D-00-00-01", "Dns": {"ServerList": ["10.0.0.1"]},
            "Policies": [{"Type": "PortMapping",
                "Settings": {"Protocol": 17, "InternalPort": 53, "ExternalPort": 0}}],
        });
        assert_eq!(value(&endpoint(&flags, Some(network)).unwrap()), expected);
    }

    #[test]
    fn a_remote_endpoint_is_flagged_and_has_its_host() {
        let flags = endpoint::Flags {
            remote: true,
            provider_address: Some("192.0.2.9".to_owned()),
            policy: vec!["ACL={}".parse().unwrap()],
            ..endpoint::Flags::default()
        };
        let expected = json!({"SchemaVersion": {"Major": 2, "Minor": 0}, "Flags": 1, "Policies": [
            {"Type": "ProviderAddress", "Settings": {"ProviderAddress": "192.0.2.9"}},
            {"Type": "ACL", "Settings": {}}]});
        assert_eq!(value(&endpoint(&flags, None).unwrap()), expected);
    }

    #[test]
    fn a_load_balancer_has_the_same_flags_on_every_port() {
        let flags = load_balancer::Flags {
            vip: vec!["10.1.0.1".to_owned()],
            port: vec!["80:8080".parse().unwrap(), "53:53/udp".parse().unwrap()],
            from_host: true,
            affinity: true,
            dsr: true,
            ..load_balancer::Flags::default()
        };
        let expected = json!({
            "SchemaVersion": {"Major": 2, "Minor": 0}, "FrontendVIPs": ["10.1.0.1"], "Flags": 1,
            "HostComputeEndpoints": ["00000000-0000-0000-0000-000000000000"],
            "PortMappings": [
                {"Protocol": 6, "InternalPort": 8080, "ExternalPort": 80, "Flags": 2, "DistributionType": 2},
                {"Protocol": 17, "InternalPort": 53, "ExternalPort": 53, "Flags": 2, "DistributionType": 2}],
        });
        assert_eq!(value(&load_balancer(&flags, &[Guid::ZERO])), expected);
    }

    #[test]
    fn namespaces_and_their_members() {
        let flags = namespace::Flags { name: None, kind: "Host".to_owned(), netns: None };
        assert_eq!(
            value(&namespace(&flags)),
            json!({"SchemaVersion": {"Major": 2, "Minor": 0}, "Type": "Host"})
        );
        let flags = namespace::Flags { netns: Some("/run/netns/x".to_owned()), ..flags };
        assert_eq!(value(&namespace(&flags))["AdditionalParams"], json!({"NetnsPath": "/run/netns/x"}));
        let expected = json!({"ResourceType": "Endpoint", "RequestType": "Add",
            "Settings": {"EndpointId": "00000000-0000-0000-0000-000000000000"}});
        assert_eq!(value(&member("Add", Guid::ZERO)), expected);
    }

    #[test]
    fn an_sdn_route_lists_where_packets_go() {
        let flags = sdn_route::Flags {
            name: None,
            route: vec!["10.0.0.0/8,192.0.2.1".to_owned(), "10.1.0.0/16".to_owned()],
            need_encap: true,
        };
        let expected = json!({"SchemaVersion": {"Major": 2, "Minor": 0},
            "HostComputeEndpoints": ["00000000-0000-0000-0000-000000000000"],
            "Routes": [
                {"DestinationPrefix": "10.0.0.0/8", "NextHop": "192.0.2.1", "NeedEncap": true},
                {"DestinationPrefix": "10.1.0.0/16", "NeedEncap": true}]});
        assert_eq!(value(&sdn_route(&flags, &[Guid::ZERO])), expected);
    }

    #[test]
    fn a_guest_network_service_has_its_machine() {
        let flags = guest_network_service::Flags {
            vm: Some("m".to_owned()),
            mirror_host: true,
            ..guest_network_service::Flags::default()
        };
        let expected = json!({"SchemaVersion": {"Major": 2, "Minor": 0}, "VirtualMachineId": "m",
            "MirrorHostNetworking": true});
        assert_eq!(value(&guest_network_service(&flags)), expected);
    }
}
