//! The same as the floor's, asked of hcnd over its socket.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::wire::Wire;

/// A network of hcnd and the way to it.
pub(super) struct Containers {
    wire: Wire,
    network: String,
    last: u32,
    residents: Vec<String>,
}

impl Containers {
    pub(super) fn new(socket: &Path) -> anyhow::Result<Self> {
        let wire =
            Wire::connect(socket).with_context(|| format!("nobody listens at {}", socket.display()))?;
        let mut new = Self { wire, network: String::new(), last: 0, residents: Vec::new() };
        let settings = json!({
            "Name": "bench", "Type": "NAT", "SchemaVersion": {"Major": 2, "Minor": 0},
            "Ipams": [{"Type": "Static", "Subnets": [{
                "IpAddressPrefix": "10.200.0.0/16",
                "Routes": [{"NextHop": "10.200.0.1", "DestinationPrefix": "0.0.0.0/0"}],
            }]}],
        });
        let made = new.wire.call("io.hcn.Network.Create", &json!({"settings": settings}))?;
        new.network = id(&made)?;
        Ok(new)
    }

    /// Attaches until so many endpoints stay, and gives one of them.
    pub(super) fn fill(&mut self, size: u32) -> anyhow::Result<String> {
        let mut endpoint = None;
        while self.residents.len() < size as usize {
            let namespace = self.create_namespace()?;
            let made = self.create_endpoint()?;
            self.modify("Add", &namespace, &made)?;
            self.residents.push(namespace);
            endpoint = Some(made);
        }
        endpoint.context("sizes must grow")
    }

    pub(super) fn create_namespace(&mut self) -> anyhow::Result<String> {
        let settings = json!({"Type": "Host", "SchemaVersion": {"Major": 2, "Minor": 0}});
        let made = self.wire.call("io.hcn.Namespace.Create", &json!({"settings": settings}))?;
        id(&made)
    }

    pub(super) fn create_endpoint(&mut self) -> anyhow::Result<String> {
        self.last += 1;
        let name = format!("bench-{}", self.last);
        let settings = json!({"Name": name, "SchemaVersion": {"Major": 2, "Minor": 0}});
        let call = json!({"network_id": self.network, "settings": settings});
        let made = self.wire.call("io.hcn.Endpoint.Create", &call)?;
        id(&made)
    }

    /// `request`: `Add` or `Remove`.
    pub(super) fn modify(&mut self, request: &str, namespace: &str, endpoint: &str) -> anyhow::Result<()> {
        let settings = json!({
            "ResourceType": "Endpoint", "RequestType": request, "Settings": {"EndpointId": endpoint},
        });
        self.wire.call("io.hcn.Namespace.Modify", &json!({"id": namespace, "settings": settings}))?;
        Ok(())
    }

    /// `document`: of a load balancer.
    pub(super) fn create_load_balancer(&mut self, document: &Value) -> anyhow::Result<String> {
        id(&self.wire.call("io.hcn.LoadBalancer.Create", &json!({"settings": document}))?)
    }

    pub(super) fn delete_load_balancer(&mut self, id: &str) -> anyhow::Result<()> {
        self.wire.call("io.hcn.LoadBalancer.Delete", &json!({"id": id})).map(drop)
    }

    /// Goes on with another hcnd that has the same state.
    pub(super) fn reconnect(&mut self, socket: &Path) -> anyhow::Result<()> {
        self.wire = Wire::connect(socket).context("hcnd does not listen any more")?;
        Ok(())
    }

    pub(super) fn query_endpoint(&mut self, endpoint: &str) -> anyhow::Result<Value> {
        let query = json!({"SchemaVersion": {"Major": 2, "Minor": 0}});
        self.wire.call("io.hcn.Endpoint.Query", &json!({"id": endpoint, "query": query}))
    }

    pub(super) fn delete_endpoint(&mut self, endpoint: &str) -> anyhow::Result<()> {
        self.wire.call("io.hcn.Endpoint.Delete", &json!({"id": endpoint})).map(drop)
    }

    pub(super) fn delete_namespace(&mut self, namespace: &str) -> anyhow::Result<()> {
        self.wire.call("io.hcn.Namespace.Delete", &json!({"id": namespace})).map(drop)
    }

    /// The network, with its endpoints.
    pub(super) fn delete_network(&mut self) -> anyhow::Result<()> {
        self.wire.call("io.hcn.Network.Delete", &json!({"id": self.network})).map(drop)
    }

    pub(super) fn delete_namespaces(&mut self) -> anyhow::Result<()> {
        for namespace in std::mem::take(&mut self.residents) {
            self.delete_namespace(&namespace)?;
        }
        Ok(())
    }
}

/// Handles are left open, as most clients do until they end: the ID is what is worked with.
fn id(made: &Value) -> anyhow::Result<String> {
    made["id"].as_str().map(str::to_owned).context("a reply without an ID")
}
