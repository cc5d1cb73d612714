//! hcnd's side: networks and containers by documents.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::super::wire::Wire;

/// A host with an hcnd.
pub(in crate::bench) struct Host {
    wire: Wire,
    /// Folder of its namespaces.
    netns: PathBuf,
}

/// An endpoint in a namespace.
pub(in crate::bench) struct Container {
    /// Path of the namespace's file.
    pub(in crate::bench) netns: String,
    pub(in crate::bench) address: Ipv4Addr,
    /// ID of the endpoint.
    pub(in crate::bench) endpoint: String,
    mac: String,
}

/// The policy that chooses the uplink.
pub(in crate::bench) fn by_eth0() -> Value {
    json!([{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}])
}

impl Host {
    /// The sandbox itself.
    pub(in crate::bench) fn first() -> anyhow::Result<Self> {
        let socket: PathBuf = std::env::var_os("HCND_SOCKET").context("HCND_SOCKET is not set")?.into();
        Ok(Self { wire: Wire::connect(&socket)?, netns: "/run/netns".into() })
    }

    /// Its second node.
    pub(in crate::bench) fn second() -> anyhow::Result<Self> {
        let folder = PathBuf::from("/run/hcnd/node2");
        Ok(Self { wire: Wire::connect(&folder.join("hcnd.sock"))?, netns: folder.join("netns") })
    }

    /// A network with one subnet, whose gateway is the host's first address.
    pub(in crate::bench) fn network(
        &mut self,
        kind: &str,
        prefix: &str,
        gateway: bool,
        policies: &Value,
    ) -> anyhow::Result<String> {
        let first = prefix.replace(".0/24", ".1");
        let routes = json!([{"NextHop": first, "DestinationPrefix": "0.0.0.0/0"}]);
        let routes = if gateway { routes } else { json!([]) };
        self.create_network(kind, &json!({"IpAddressPrefix": prefix, "Routes": routes}), policies)
    }

    /// A network with the prefix of eth0.
    pub(in crate::bench) fn uplink_network(&mut self, kind: &str) -> anyhow::Result<String> {
        let routes = json!([{"NextHop": "203.0.113.1", "DestinationPrefix": "0.0.0.0/0"}]);
        let subnet = json!({"IpAddressPrefix": "203.0.113.0/24", "Routes": routes});
        self.create_network(kind, &subnet, &by_eth0())
    }

    fn create_network(&mut self, kind: &str, subnet: &Value, policies: &Value) -> anyhow::Result<String> {
        let settings = json!({
            "Type": kind, "Policies": policies, "Ipams": [{"Type": "Static", "Subnets": [subnet]}],
            "SchemaVersion": {"Major": 2, "Minor": 0},
        });
        self.create("Network", &json!({"settings": settings}))
    }

    fn create(&mut self, kind: &str, parameters: &Value) -> anyhow::Result<String> {
        let made = self.wire.call(&format!("io.hcn.{kind}.Create"), parameters)?;
        made["id"].as_str().map(str::to_owned).context("a reply without an ID")
    }

    /// Gives an endpoint these policies in place of those of their types.
    pub(in crate::bench) fn update(&mut self, endpoint: &str, policies: &Value) -> anyhow::Result<()> {
        let settings =
            json!({"ResourceType": "Policy", "RequestType": "Update", "Settings": {"Policies": policies}});
        self.wire.call("io.hcn.Endpoint.Modify", &json!({"id": endpoint, "settings": settings})).map(drop)
    }

    pub(in crate::bench) fn container(&mut self, network: &str) -> anyhow::Result<Container> {
        self.container_of(network, &json!([]))
    }

    pub(in crate::bench) fn container_at(
        &mut self,
        network: &str,
        address: &str,
    ) -> anyhow::Result<Container> {
        self.container_of(network, &json!([{"IpAddress": address}]))
    }

    fn container_of(&mut self, network: &str, configs: &Value) -> anyhow::Result<Container> {
        let version = json!({"Major": 2, "Minor": 0});
        let settings = json!({"IpConfigurations": configs, "SchemaVersion": version});
        let endpoint = self.create("Endpoint", &json!({"network_id": network, "settings": settings}))?;
        let settings = json!({"Type": "Host", "SchemaVersion": version});
        let namespace = self.create("Namespace", &json!({"settings": settings}))?;
        let settings = json!({
            "ResourceType": "Endpoint", "RequestType": "Add", "Settings": {"EndpointId": endpoint},
        });
        self.wire.call("io.hcn.Namespace.Modify", &json!({"id": namespace, "settings": settings}))?;
        let query = json!({"id": endpoint, "query": {"SchemaVersion": version}});
        let document = self.wire.call("io.hcn.Endpoint.Query", &query)?["properties"].take();
        let address = &document["IpConfigurations"][0]["IpAddress"];
        Ok(Container {
            endpoint,
            netns: self.netns.join(namespace).display().to_string(),
            address: address.as_str().context("an endpoint without an address")?.parse()?,
            mac: document["MacAddress"].as_str().context("an endpoint without a MAC address")?.to_owned(),
        })
    }
}

/// One overlay on two hosts, with a container on each that the other host knows of.
pub(in crate::bench) fn overlay(hosts: &mut [Host; 2]) -> anyhow::Result<[Container; 2]> {
    let mut containers = Vec::new();
    let mut networks = Vec::new();
    for (host, last) in hosts.iter_mut().zip([10, 20]) {
        let subnet = json!({
            "IpAddressPrefix": "10.26.0.0/24",
            "Policies": [{"Type": "VSID", "Settings": {"IsolationId": 5000}}],
            "Routes": [{"NextHop": "10.26.0.1", "DestinationPrefix": "0.0.0.0/0"}],
        });
        let network = host.create_network("Overlay", &subnet, &by_eth0())?;
        containers.push(host.container_at(&network, &format!("10.26.0.{last}"))?);
        networks.push(network);
    }
    let containers: [Container; 2] = containers.try_into().ok().context("two containers")?;
    for (index, provider) in [(0, "203.0.113.20"), (1, "203.0.113.10")] {
        let other = &containers[1 - index];
        let settings = json!({
            "IpConfigurations": [{"IpAddress": other.address, "PrefixLength": 24}], "MacAddress": other.mac,
            "Flags": 1, "Policies": [{"Type": "ProviderAddress", "Settings": {"ProviderAddress": provider}}],
            "SchemaVersion": {"Major": 2, "Minor": 0},
        });
        let call = json!({"network_id": networks[index], "settings": settings});
        hosts[index].create("Endpoint", &call)?;
    }
    Ok(containers)
}
