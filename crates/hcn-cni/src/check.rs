//! CHECK and STATUS: is a container connected as ADD has left it, and could another one be?

use std::path::Path;

use hcn_client::Kind;
use hcn_client::blocking::Client;
use serde_json::Value;

use crate::config::Config;
use crate::environment::Container;
use crate::error::{Code, Error, Result};
use crate::kernel::{self, Interface};
use crate::network::{self, Family};
use crate::{add, attachment, result};

/// CHECK.
pub(crate) fn run(client: &mut Client, config: &Config, container: &Container) -> Result<()> {
    let netns = container.netns()?;
    let expected = config.prev_result.as_ref().ok_or_else(|| Error::at("prevResult", "it is missing"))?;
    let id = attachment::endpoint_id(&config.name, &container.id, &container.interface);
    let endpoint = network::document(client, Kind::Endpoint, id)?;
    let endpoint = endpoint.ok_or_else(|| changed("hcnd has no endpoint of this attachment"))?;
    let namespace = endpoint["HostComputeNamespace"].as_str().and_then(|id| id.parse().ok());
    if !namespace.is_some_and(|namespace| add::is_at(namespace, netns)) {
        return Err(changed(format!("the endpoint {id} is not in {}", netns.display())));
    }
    if let Some(code) = endpoint["Health"]["Data"]["LastErrorCode"].as_u64().filter(|code| *code != 0) {
        return Err(changed(format!("the endpoint {id} is degraded: 0x{code:08x}")));
    }
    let there = kernel::interface(netns, &container.interface);
    let there = there.map_err(|error| add::unreachable(netns, &error))?;
    let name = &container.interface;
    let there = there.ok_or_else(|| changed(format!("{} has no interface {name}", netns.display())))?;
    if !there.up {
        return Err(changed(format!("{name} is down")));
    }
    addresses(config, expected.get("ips"), &endpoint, container, &there)?;
    for family in [Family::V4, Family::V6] {
        let number = if family == Family::V4 { "4" } else { "6" };
        if expects_default_route(&endpoint, family) && !there.default_routes.contains(number) {
            return Err(changed(format!("{name} has no IPv{number} default route")));
        }
    }
    ports(config, &endpoint)
}

fn changed(message: impl Into<String>) -> Error {
    Error::new(Code::Changed, message)
}

/// The interface must have the addresses that the result gives it, and hcnd must know the same. A later plugin of the
/// chain may have added others, and another MAC address.
fn addresses(
    config: &Config,
    ips: Option<&Value>,
    endpoint: &Value,
    container: &Container,
    there: &Interface,
) -> Result<()> {
    let name = &container.interface;
    let interfaces = config.prev_result.as_ref().and_then(|result| result.get("interfaces")?.as_array());
    let own = interfaces.and_then(|interfaces| {
        interfaces.iter().position(|one| {
            let sandbox = one["sandbox"].as_str().unwrap_or_default();
            one["name"] == **name && container.netns.as_deref() == Some(Path::new(sandbox))
        })
    });
    let own = own.ok_or_else(|| changed(format!("prevResult has no interface {name} of this container")))?;
    let expected = ips.and_then(Value::as_array).into_iter().flatten();
    let expected = expected.filter(|ip| ip["interface"].as_u64() == u64::try_from(own).ok());
    let known = result::addresses(endpoint);
    for address in expected.filter_map(|ip| ip["address"].as_str()) {
        if !known.iter().any(|known| known == address) {
            return Err(changed(format!("the endpoint does not have the address {address}")));
        }
        if !there.addresses.contains(address) {
            return Err(changed(format!("{name} does not have the address {address}")));
        }
    }
    Ok(())
}

fn expects_default_route(endpoint: &Value, family: Family) -> bool {
    let routes = endpoint["Routes"].as_array().into_iter().flatten();
    let mut destinations = routes.filter(|route| route["NextHop"].is_string());
    let everywhere = if family == Family::V4 { "0.0.0.0/0" } else { "::/0" };
    destinations.any(|route| route["DestinationPrefix"] == everywhere)
}

/// The ports that the runtime has published must be the endpoint's.
fn ports(config: &Config, endpoint: &Value) -> Result<()> {
    let policies = endpoint["Policies"].as_array().map(Vec::as_slice).unwrap_or_default();
    for mapping in &config.runtime_config.port_mappings {
        let is_mapped = policies.iter().any(|policy| {
            policy["Type"] == "PortMapping"
                && policy["Settings"]["ExternalPort"] == mapping.host_port
                && policy["Settings"]["InternalPort"] == mapping.container_port
        });
        if !is_mapped {
            return Err(changed(format!("port {} is not published", mapping.host_port)));
        }
    }
    Ok(())
}

/// STATUS.
pub(crate) fn status(client: &mut Client, config: &Config) -> Result<()> {
    let unavailable = |error: Error| Error { code: Code::NotAvailable, ..error };
    let status = client.status().map_err(|error| unavailable(error.into()))?;
    if let Some(why) = status.read_only {
        return Err(Error::new(Code::NotAvailable, format!("hcnd refuses every change: {why}")));
    }
    let network = network::find(client, config).map_err(unavailable)?;
    match network {
        Some(network) => match network.trouble() {
            Some(trouble) => Err(Error::new(Code::LimitedConnectivity, trouble)),
            None => Ok(()),
        },
        None if network::described(config)?.is_some() => Ok(()),
        None => Err(unavailable(network::missing(config))),
    }
}
