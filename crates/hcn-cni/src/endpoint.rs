//! What a configuration and its runtime ask of an endpoint, as a document of hcnd's, and which key asked for what.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::attachment::{self, OWNER};
use crate::config::{Config, PortMapping};
use crate::environment::Container;
use crate::error::{Error, Result};
use crate::network::{Family, Network};

/// NatFlags: the host's own programs get there, too; the mapping is of IPv6; hcnd need not hold the port, since podman
/// does, and would fail otherwise.
const LOCAL_ROUTED_VIP: u32 = 1;
const IPV6: u32 = 2;
const EXTERNAL_PORT_RESERVED: u32 = 4;

/// A document, and the keys that its lists were made of.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) document: Value,
    policies: Vec<String>,
    addresses: Vec<String>,
    mac: String,
    dns: &'static str,
}

/// The endpoint of an attachment. Of several that tell the same, the runtime's capabilities win over `args`, and those
/// over `CNI_ARGS`.
pub(crate) fn describe(config: &Config, container: &Container, network: &Network) -> Result<Endpoint> {
    let arguments = &container.arguments;
    let (addresses, from) = if !config.runtime_config.ips.is_empty() {
        (config.runtime_config.ips.clone(), "runtimeConfig.ips")
    } else if !config.args.cni.ips.is_empty() {
        (config.args.cni.ips.clone(), "args.cni.ips")
    } else {
        (arguments.ip.iter().cloned().collect(), "CNI_ARGS.IP")
    };
    let (mac, mac_from) = match (&config.runtime_config.mac, &config.args.cni.mac) {
        (Some(mac), _) => (Some(mac), "runtimeConfig.mac"),
        (None, Some(mac)) => (Some(mac), "args.cni.mac"),
        (None, None) => (arguments.mac.as_ref(), "CNI_ARGS.MAC"),
    };
    let mut families: Vec<Family> = addresses.iter().map(|address| Family::of(address)).collect();
    if families.is_empty() {
        families = network.families();
    }
    let policies = policies(config, &families)?;
    let (dns, dns_from) = dns(config);

    let mut document = Map::new();
    let mut set = |member: &str, value: Value| document.insert(member.to_owned(), value);
    set("SchemaVersion", json!({"Major": 2}));
    // Networks that answer for names know the endpoint by it.
    set("Name", json!(arguments.name.as_ref().unwrap_or(&container.id)));
    set("Owner", json!(OWNER));
    let record = attachment::record(&config.name, &container.id, &container.interface);
    set("AdditionalParams", json!({"InterfaceName": container.interface, "Cni": record}));
    if !addresses.is_empty() {
        let configs: Result<Vec<Value>> =
            addresses.iter().enumerate().map(|(index, text)| address(text, from, index)).collect();
        set("IpConfigurations", json!(configs?));
    }
    if let Some(mac) = mac {
        set("MacAddress", json!(mac));
    }
    if let Some(dns) = dns {
        set("Dns", dns);
    }
    let (policies, keys) = policies.into_iter().unzip();
    set("Policies", Value::Array(policies));
    Ok(Endpoint {
        document: Value::Object(document),
        policies: keys,
        addresses: (0..addresses.len()).map(|index| place(from, index)).collect(),
        mac: mac_from.to_owned(),
        dns: dns_from,
    })
}

/// Variables have no indexes.
fn place(from: &str, index: usize) -> String {
    if from.starts_with("CNI_ARGS") { from.to_owned() } else { format!("{from}[{index}]") }
}

/// An address, with or without a prefix length.
fn address(text: &str, from: &str, index: usize) -> Result<Value> {
    let (address, length) = match text.split_once('/') {
        None => (text, None),
        Some((address, length)) => {
            let wrong = |_| Error::at(place(from, index), format!("{text:?} is no address"));
            (address, Some(length.parse::<u8>().map_err(wrong)?))
        }
    };
    let mut config = json!({"IpAddress": address});
    if let Some(length) = length {
        config["PrefixLength"] = json!(length);
    }
    Ok(config)
}

/// The policies, each with the key that asks for it.
fn policies(config: &Config, families: &[Family]) -> Result<Vec<(Value, String)>> {
    let given = config.policies.iter().cloned().enumerate();
    let mut policies: Vec<_> = given.map(|(index, policy)| (policy, format!("policies[{index}]"))).collect();
    let policy = |kind: &str, settings: Value| json!({"Type": kind, "Settings": settings});
    if let Some(mtu) = config.mtu {
        policies.push((policy("InterfaceParameters", json!({"Mtu": mtu})), "mtu".to_owned()));
    }
    if let Some(bandwidth) = &config.runtime_config.bandwidth {
        if bandwidth.ingress_rate > 0 {
            // Policies limit what an endpoint sends.
            return Err(Error::unsupported(
                "runtimeConfig.bandwidth.ingressRate",
                &json!(bandwidth.ingress_rate),
            ));
        }
        if bandwidth.egress_rate > 0 {
            let settings = json!({"MaximumOutgoingBandwidthInBytes": (bandwidth.egress_rate / 8).max(1)});
            policies.push((policy("QOS", settings), "runtimeConfig.bandwidth.egressRate".to_owned()));
        }
    }
    for (index, mapping) in config.runtime_config.port_mappings.iter().enumerate() {
        let key = format!("runtimeConfig.portMappings[{index}]");
        let settings = mappings(mapping, &key, families)?;
        policies.extend(settings.into_iter().map(|settings| (policy("PortMapping", settings), key.clone())));
    }
    Ok(policies)
}

/// A mapping for each family that it is for and the endpoint has.
fn mappings(mapping: &PortMapping, key: &str, families: &[Family]) -> Result<Vec<Value>> {
    let protocol = match mapping.protocol.as_deref().unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        other => {
            return Err(Error::at(format!("{key}.protocol"), format!("{other:?} is not tcp, udp or sctp")));
        }
    };
    for (name, port) in [("hostPort", mapping.host_port), ("containerPort", mapping.container_port)] {
        if port == 0 {
            return Err(Error::at(format!("{key}.{name}"), "0 is no port"));
        }
    }
    let path = format!("{key}.hostIP");
    let given = mapping.host_ip.as_deref().filter(|address| !address.is_empty());
    let address: Option<IpAddr> = given
        .map(|text| text.parse().map_err(|_| Error::at(&path, format!("{text:?} is no address"))))
        .transpose()?;
    if address.is_some_and(|address| address.is_loopback()) {
        // The kernel lets nothing from there out to a container.
        return Err(Error::at(&path, "ports of the loopback addresses cannot be published"));
    }
    let meant = |family: &Family| given.is_none_or(|text| Family::of(text) == *family);
    let families: Vec<Family> = families.iter().copied().filter(meant).collect();
    if families.is_empty() {
        return Err(Error::at(&path, "the container has no address of this family"));
    }
    let settings = families.into_iter().map(|family| {
        let flags = LOCAL_ROUTED_VIP | EXTERNAL_PORT_RESERVED | if family == Family::V6 { IPV6 } else { 0 };
        let mut settings = json!({
            "Protocol": protocol, "ExternalPort": mapping.host_port, "InternalPort": mapping.container_port, "Flags": flags,
        });
        if let Some(address) = address.filter(|address| !address.is_unspecified()) {
            settings["VIP"] = json!(address);
        }
        settings
    });
    Ok(settings.collect())
}

/// DNS settings: the runtime's, else the configuration's, else the network's, of which nothing is said.
fn dns(config: &Config) -> (Option<Value>, &'static str) {
    if let Some(dns) = &config.runtime_config.dns {
        let document = json!({"ServerList": dns.servers, "Search": dns.searches, "Options": dns.options});
        return (Some(document), "runtimeConfig.dns");
    }
    let document = config.dns.as_ref().map(|dns| {
        json!({"ServerList": dns.nameservers, "Domain": dns.domain, "Search": dns.search, "Options": dns.options})
    });
    (document, "dns")
}

impl Endpoint {
    /// Names the key of the configuration instead of the place in the document that was made of it.
    pub(crate) fn placed(&self, error: hcn_client::Error) -> Error {
        let hcn_client::Error::Failed { error: mut failed, record } = error else { return error.into() };
        failed.path = failed.path.map(|path| self.key(&path).unwrap_or(path));
        hcn_client::Error::Failed { error: failed, record }.into()
    }

    fn key(&self, path: &str) -> Option<String> {
        if path == "MacAddress" {
            return Some(self.mac.clone());
        }
        if path.starts_with("Dns") {
            return Some(path.replacen("Dns", self.dns, 1));
        }
        let listed = |list: &str, keys: &[String]| {
            let (index, rest) = path.strip_prefix(list)?.strip_prefix('[')?.split_once(']')?;
            Some((keys.get(index.parse::<usize>().ok()?)?.clone(), rest.to_owned()))
        };
        if let Some((key, rest)) = listed("Policies", &self.policies) {
            // Only those are the configuration's own documents.
            return Some(if key.starts_with("policies[") { key + &rest } else { key });
        }
        listed("IpConfigurations", &self.addresses).map(|(key, _)| key)
    }
}
