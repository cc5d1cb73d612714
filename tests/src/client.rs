//! The calls that most tests begin with, so that a test shows only what it is about.

use std::path::Path;

use serde_json::{Value, json};

use crate::service::sandbox_socket;
use crate::wire::{Reply, Wire};

/// A NAT network with an IPv4 and an IPv6 subnet.
pub const DUAL: [&str; 2] = ["192.0.2.0/24", "2001:db8:abcd:12::/64"];

/// Answers a v2 document.
#[must_use]
pub fn v2() -> Value {
    json!({"SchemaVersion": {"Major": 2}})
}

/// A connection whose calls are expected to succeed.
pub struct Client {
    /// The connection.
    pub wire: Wire,
}

/// An endpoint in a namespace of its own.
#[derive(Clone, Debug)]
pub struct Container {
    /// ID of the namespace, which is its name for `ip netns` too.
    pub namespace: String,
    /// ID of the endpoint.
    pub endpoint: String,
    /// The endpoint's addresses.
    pub addresses: Vec<String>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// Connects to the sandbox's hcnd.
    #[must_use]
    pub fn new() -> Self {
        Self::of(&sandbox_socket())
    }

    /// Connects to an hcnd.
    #[must_use]
    pub fn of(socket: &Path) -> Self {
        Self { wire: Wire::connect(socket).unwrap() }
    }

    /// Calls a method, named without `io.hcn.`, whatever comes of it.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Reply {
        let reply = self.wire.call(&format!("io.hcn.{method}"), parameters);
        reply.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Calls a method that must succeed.
    pub fn ok(&mut self, method: &str, parameters: &Value) -> Value {
        let reply = self.call(method, parameters);
        assert_eq!(reply.error, None, "{method} {parameters}: {}", reply.raw);
        reply.parameters
    }

    /// Calls a method that must fail, and returns its code.
    pub fn refused(&mut self, method: &str, parameters: &Value) -> u32 {
        let reply = self.call(method, parameters);
        reply.hresult().unwrap_or_else(|| panic!("{method} {parameters} succeeded: {}", reply.raw))
    }

    /// Makes a request of HNS version 1 that must succeed, and returns what comes out.
    pub fn v1(&mut self, method: &str, path: &str, request: &Value) -> Value {
        let call = json!({"method": method, "path": path, "request": request});
        let response = self.ok("V1.Call", &call)["response"].clone();
        assert_eq!(response["Success"], true, "{method} {path} {request}: {response}");
        response["Output"].clone()
    }

    /// Creates a NAT network with these subnets, whose gateways are their first addresses.
    pub fn network(&mut self, subnets: &[&str]) -> String {
        self.ok("Network.Create", &json!({"settings": network_document(subnets)}))["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Creates a load balancer with these settings and the schema version.
    pub fn load_balancer(&mut self, settings: &Value) -> String {
        let settings = with_version(settings);
        self.ok("LoadBalancer.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned()
    }

    /// Creates an endpoint with these settings and the schema version.
    pub fn endpoint(&mut self, network: &str, settings: &Value) -> String {
        let settings = with_version(settings);
        let created = self.ok("Endpoint.Create", &json!({"network_id": network, "settings": settings}));
        created["id"].as_str().unwrap().to_owned()
    }

    /// Creates a namespace of a type.
    pub fn namespace(&mut self, kind: &str) -> String {
        let settings = with_version(&json!({"Type": kind}));
        self.ok("Namespace.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned()
    }

    /// The document of an entity.
    pub fn query(&mut self, kind: &str, id: &str) -> Value {
        self.ok(&format!("{kind}.Query"), &json!({"id": id, "query": v2()}))["properties"].clone()
    }

    /// Puts an endpoint into a namespace.
    pub fn attach(&mut self, namespace: &str, endpoint: &str) {
        self.ok("Namespace.Modify", &membership("Add", namespace, endpoint));
    }

    /// Takes an endpoint out of a namespace.
    pub fn detach(&mut self, namespace: &str, endpoint: &str) {
        self.ok("Namespace.Modify", &membership("Remove", namespace, endpoint));
    }

    /// Deletes an entity.
    pub fn delete(&mut self, kind: &str, id: &str) {
        self.ok(&format!("{kind}.Delete"), &json!({"id": id}));
    }

    /// Creates an endpoint and a namespace, and attaches.
    pub fn container(&mut self, network: &str, settings: &Value) -> Container {
        let namespace = self.namespace("Host");
        let endpoint = self.endpoint(network, settings);
        self.attach(&namespace, &endpoint);
        let addresses = self.addresses(&endpoint);
        Container { namespace, endpoint, addresses }
    }

    /// The addresses of an endpoint.
    pub fn addresses(&mut self, endpoint: &str) -> Vec<String> {
        let document = self.query("Endpoint", endpoint);
        let configurations = document["IpConfigurations"].as_array().unwrap();
        configurations.iter().map(|given| given["IpAddress"].as_str().unwrap().to_owned()).collect()
    }

    /// The IDs of all entities of a kind.
    pub fn ids(&mut self, kind: &str) -> Vec<String> {
        crate::conformance::ids(&mut self.wire, kind)
    }
}

/// The document of a NAT network, with a default route for each subnet by its first address.
#[must_use]
pub fn network_document(subnets: &[&str]) -> Value {
    let subnets: Vec<Value> = subnets
        .iter()
        .map(|prefix| {
            let (gateway, everything) = match prefix.strip_suffix("::/64") {
                Some(start) => (format!("{start}::1"), "::/0"),
                None => (format!("{}.1", prefix.rsplit_once('.').unwrap().0), "0.0.0.0/0"),
            };
            let route = json!({"NextHop": gateway, "DestinationPrefix": everything});
            json!({"IpAddressPrefix": prefix, "Routes": [route]})
        })
        .collect();
    with_version(&json!({"Type": "NAT", "Ipams": [{"Type": "Static", "Subnets": subnets}]}))
}

/// A Modify of a namespace that adds or removes an endpoint.
#[must_use]
pub fn membership(request: &str, namespace: &str, endpoint: &str) -> Value {
    let settings = json!({
        "ResourceType": "Endpoint", "RequestType": request, "Settings": {"EndpointId": endpoint},
    });
    json!({"id": namespace, "settings": settings})
}

/// The same settings, of schema version 2.
#[must_use]
pub fn with_version(settings: &Value) -> Value {
    let mut settings = settings.clone();
    settings["SchemaVersion"] = json!({"Major": 2});
    settings
}

impl Reply {
    /// The code, if it is an error of hcnd.
    #[must_use]
    pub fn hresult(&self) -> Option<u32> {
        self.error.as_ref()?;
        u32::try_from(self.parameters["hresult"].as_u64()?).ok()
    }
}
