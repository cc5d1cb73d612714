//! Flags become HCN documents.
//!
//! Texts that the service understands better are passed on unchanged, so that a wrong one gets the service's code.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hcn_client::Guid;
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Result};
use crate::publish::Port;
use crate::{endpoint, load_balancer, namespace, network};

/// The document of a network.
pub(crate) fn network(flags: &network::Flags) -> Result<String> {
    let mut gateways = flags.gateway.clone();
    let mut subnets = Vec::new();
    for text in &flags.subnet {
        let mut subnet = json!({ "IpAddressPrefix": text });
        let prefix = Prefix::parse(text);
        let given =
            gateways.iter().position(|gateway| prefix.is_some_and(|prefix| prefix.contains(*gateway)));
        let gateway = match given {
            Some(place) => Some(gateways.remove(place)),
            // On networks that lead nowhere the host's address, if any, is the service's choice.
            None if flags.kind.eq_ignore_ascii_case("NAT") => prefix.and_then(Prefix::first_address),
            None => None,
        };
        if let Some(gateway) = gateway {
            let everywhere = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            subnet["Routes"] = json!([{ "NextHop": gateway, "DestinationPrefix": everywhere }]);
        }
        subnets.push(subnet);
    }
    if let Some(gateway) = gateways.first() {
        let message = format!("--gateway {gateway} is in no --subnet that has no gateway yet");
        return Err(Failure::usage(message));
    }
    let mut document = document(flags.name.as_deref());
    document.insert("Type".to_owned(), json!(flags.kind));
    if !subnets.is_empty() {
        document.insert("Ipams".to_owned(), json!([{ "Type": "Static", "Subnets": subnets }]));
    }
    if let Some(flags) = &flags.flags {
        let number = flags.parse::<u32>().ok();
        document.insert("Flags".to_owned(), number.map_or_else(|| json!(flags), Value::from));
    }
    Ok(Value::Object(document).to_string())
}

/// The document of an endpoint.
pub(crate) fn endpoint(flags: &endpoint::Flags, network: Option<Guid>) -> Result<String> {
    let mut document = document(flags.name.as_deref());
    if let Some(network) = network {
        document.insert("HostComputeNetwork".to_owned(), json!(network.to_string()));
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
        document.insert("IpConfigurations".to_owned(), json!(addresses));
    }
    if let Some(mac) = &flags.mac {
        document.insert("MacAddress".to_owned(), json!(mac));
    }
    if !flags.dns.is_empty() {
        document.insert("Dns".to_owned(), json!({ "ServerList": flags.dns }));
    }
    if !flags.publish.is_empty() {
        let policies: Vec<Value> = flags.publish.iter().map(Port::policy).collect();
        document.insert("Policies".to_owned(), json!(policies));
    }
    Ok(Value::Object(document).to_string())
}

/// The document of a namespace.
pub(crate) fn namespace(flags: &namespace::Flags) -> String {
    let mut document = document(flags.name.as_deref());
    document.insert("Type".to_owned(), json!(flags.kind));
    Value::Object(document).to_string()
}

/// The document of a load balancer.
pub(crate) fn load_balancer(flags: &load_balancer::Flags, endpoints: &[Guid]) -> String {
    let mut document = document(flags.name.as_deref());
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    document.insert("HostComputeEndpoints".to_owned(), json!(endpoints));
    if !flags.vip.is_empty() {
        document.insert("FrontendVIPs".to_owned(), json!(flags.vip));
    }
    if let Some(source) = &flags.source_vip {
        document.insert("SourceVIP".to_owned(), json!(source));
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
    document.insert("PortMappings".to_owned(), json!(mappings));
    Value::Object(document).to_string()
}

/// The request that adds an endpoint to a namespace or removes it.
pub(crate) fn member(request: &str, endpoint: Guid) -> String {
    let settings = json!({ "EndpointId": endpoint.to_string() });
    json!({ "ResourceType": "Endpoint", "RequestType": request, "Settings": settings }).to_string()
}

fn document(name: Option<&str>) -> Map<String, Value> {
    let mut document = Map::new();
    document.insert("SchemaVersion".to_owned(), json!({ "Major": 2, "Minor": 0 }));
    if let Some(name) = name {
        document.insert("Name".to_owned(), json!(name));
    }
    document
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

    /// The first address after the network's own, if the prefix has room for a gateway and others.
    fn first_address(self) -> Option<IpAddr> {
        if self.bits() - self.length < 2 {
            return None;
        }
        let first = self.host_cleared(self.network) + 1;
        Some(match self.network {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(first).ok()?)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(first)),
        })
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

    fn flags(subnets: &[&str], gateways: &[&str]) -> network::Flags {
        network::Flags {
            name: Some("a".to_owned()),
            kind: "NAT".to_owned(),
            subnet: subnets.iter().map(|text| (*text).to_owned()).collect(),
            gateway: gateways.iter().map(|text| text.parse().unwrap()).collect(),
            flags: None,
        }
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_network_gets_its_subnets_and_gateways() {
        let document = network(&flags(&["10.0.7.0/24", "fd00:7::/64"], &["10.0.7.254"])).unwrap();
        let expected = json!({
            "SchemaVersion": {"Major": 2, "Minor": 0}, "Name": "a", "Type": "NAT",
            "Ipams": [{"Type": "Static", "Subnets": [
                {"IpAddressPrefix": "10.0.7.0/24",
                 "Routes": [{"NextHop": "10.0.7.254", "DestinationPrefix": "0.0.0.0/0"}]},
                {"IpAddressPrefix": "fd00:7::/64",
                 "Routes": [{"NextHop": "fd00:7::1", "DestinationPrefix": "::/0"}]},
            ]}],
        });
        assert_eq!(value(&document), expected);
    }

    #[test]
    fn a_network_without_subnets_has_no_address_management() {
        let mut flags = flags(&[], &[]);
        flags.flags = Some("EnableNonPersistent".to_owned());
        let document = value(&network(&flags).unwrap());
        assert_eq!(document.get("Ipams"), None);
        assert_eq!(document["Flags"], "EnableNonPersistent");
        flags.flags = Some("8".to_owned());
        assert_eq!(value(&network(&flags).unwrap())["Flags"], 8);
    }

    #[test]
    fn wrong_prefixes_are_left_to_the_service() {
        for text in ["nonsense", "10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/x"] {
            let document = value(&network(&flags(&[text], &[])).unwrap());
            assert_eq!(document["Ipams"][0]["Subnets"], json!([{ "IpAddressPrefix": text }]));
        }
    }

    #[test]
    fn prefixes_without_room_get_no_gateway() {
        for (text, first) in [
            ("10.0.0.9/30", Some("10.0.0.9")),
            ("10.0.0.8/31", None),
            ("10.0.0.8/32", None),
            ("0.0.0.0/0", Some("0.0.0.1")),
            ("::/0", Some("::1")),
            ("fd00::8/127", None),
        ] {
            let first = first.map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(Prefix::parse(text).unwrap().first_address(), first, "{text}");
        }
    }

    #[test]
    fn a_gateway_of_no_subnet_is_refused() {
        for gateways in [&["10.1.0.1"][..], &["fd00::1"], &["10.0.0.1", "10.0.0.2"]] {
            let failure = network(&flags(&["10.0.0.0/24"], gateways)).unwrap_err();
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
    fn a_load_balancer_has_the_same_flags_on_every_port() {
        let flags = load_balancer::Flags {
            vip: vec!["10.1.0.1".to_owned()],
            port: vec!["80:8080".parse().unwrap(), "53:53/udp".parse().unwrap()],
            from_host: true,
            affinity: true,
            ..load_balancer::Flags::default()
        };
        let expected = json!({
            "SchemaVersion": {"Major": 2, "Minor": 0}, "FrontendVIPs": ["10.1.0.1"],
            "HostComputeEndpoints": ["00000000-0000-0000-0000-000000000000"],
            "PortMappings": [
                {"Protocol": 6, "InternalPort": 8080, "ExternalPort": 80, "Flags": 2, "DistributionType": 2},
                {"Protocol": 17, "InternalPort": 53, "ExternalPort": 53, "Flags": 2, "DistributionType": 2}],
        });
        assert_eq!(value(&load_balancer(&flags, &[Guid::ZERO])), expected);
    }

    #[test]
    fn namespaces_and_their_members() {
        let flags = namespace::Flags { name: None, kind: "Host".to_owned() };
        assert_eq!(
            value(&namespace(&flags)),
            json!({"SchemaVersion": {"Major": 2, "Minor": 0}, "Type": "Host"})
        );
        let expected = json!({"ResourceType": "Endpoint", "RequestType": "Add",
            "Settings": {"EndpointId": "00000000-0000-0000-0000-000000000000"}});
        assert_eq!(value(&member("Add", Guid::ZERO)), expected);
    }
}
