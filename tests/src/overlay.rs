//! Networks of type Overlay that reach over several hosts, and who is on them.

use serde_json::{Value, json};

use crate::client::{Client, Container, with_version};
use crate::nodes::Node;

/// A network of a host, by the number of its subnets.
pub fn overlay(client: &mut Client, subnet: u8, vsid: u32, policies: &[Value]) -> String {
    flagged(client, subnet, vsid, policies, 0)
}

/// The same, with flags.
pub fn flagged(client: &mut Client, subnet: u8, vsid: u32, policies: &[Value], flags: u32) -> String {
    let vsid = json!([{"Type": "VSID", "Settings": {"IsolationId": vsid}}]);
    let subnets = json!([
        {"IpAddressPrefix": format!("10.44.{subnet}.0/24"), "Policies": vsid,
         "Routes": [{"NextHop": format!("10.44.{subnet}.1"), "DestinationPrefix": "0.0.0.0/0"}]},
        {"IpAddressPrefix": format!("fd44:{subnet}::/64"), "Policies": vsid,
         "Routes": [{"NextHop": format!("fd44:{subnet}::1"), "DestinationPrefix": "::/0"}]},
    ]);
    let mut all = vec![json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}})];
    all.extend_from_slice(policies);
    let settings = with_version(&json!({
        "Type": "Overlay", "Policies": all, "Ipams": [{"Type": "Static", "Subnets": subnets}], "Flags": flags,
    }));
    client.ok("Network.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned()
}

/// A container with these last parts of its addresses.
pub fn container(client: &mut Client, network: &str, subnet: u8, last: u8) -> Container {
    let configs = json!([{"IpAddress": format!("10.44.{subnet}.{last}")}, {"IpAddress": format!("fd44:{subnet}::{last}")}]);
    client.container(network, &json!({"IpConfigurations": configs}))
}

/// The MAC address of an endpoint, as documents have it.
pub fn mac(client: &mut Client, endpoint: &str) -> String {
    client.query("Endpoint", endpoint)["MacAddress"].as_str().unwrap().to_owned()
}

/// An endpoint of another host, as this one is told of it.
pub fn remote(client: &mut Client, network: &str, addresses: &[String], mac: &str, provider: &str) -> String {
    let configs: Vec<Value> = addresses.iter().map(|address| json!({"IpAddress": address})).collect();
    let provider = json!({"Type": "ProviderAddress", "Settings": {"ProviderAddress": provider}});
    let settings =
        json!({"Flags": 1, "MacAddress": mac, "IpConfigurations": configs, "Policies": [provider]});
    client.endpoint(network, &settings)
}

/// Two hosts with one subnet, a container on each, and each host told of the other's.
#[must_use]
pub fn stretched(vsid: u32, extra: &[Value]) -> ([Client; 2], [String; 2], [Container; 2], [String; 2]) {
    let mut clients = [1, 2].map(|number| Node::new(number).client());
    let networks = [0, 1].map(|at: usize| overlay(&mut clients[at], 1, vsid, extra));
    let (containers, remotes) = populate(&mut clients, &networks, 1, 0);
    (clients, networks, containers, remotes)
}

/// A container on each of two hosts, which are told of each other's by provider addresses of a family.
pub fn populate(
    clients: &mut [Client; 2],
    networks: &[String; 2],
    subnet: u8,
    family: usize,
) -> ([Container; 2], [String; 2]) {
    let containers = [(0, 10), (1, 20)]
        .map(|(at, last): (usize, u8)| container(&mut clients[at], &networks[at], subnet, last));
    let macs = [0, 1].map(|at: usize| mac(&mut clients[at], &containers[at].endpoint));
    let remotes = [(0, 2), (1, 1)].map(|(at, other): (usize, u8)| {
        let provider = &Node::new(other).addresses()[family];
        remote(&mut clients[at], &networks[at], &containers[1 - at].addresses, &macs[1 - at], provider)
    });
    (containers, remotes)
}

/// The namespaces of the two, each on its host.
#[must_use]
pub fn places(containers: &[Container; 2]) -> [String; 2] {
    [0, 1].map(|at: usize| Node::new(u8::try_from(at).unwrap() + 1).place(&containers[at].namespace))
}
