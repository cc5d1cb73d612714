//! The result of ADD: what earlier plugins of the chain have made, and the endpoint's interface.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::environment::Container;
use crate::network::Family;
use crate::version::Version;

/// Adds the interface of an endpoint, by its document, to the result of those before.
pub(crate) fn of(
    config: &Config,
    version: Version,
    container: &Container,
    netns: &Path,
    endpoint: &Value,
    mtu: Option<u32>,
) -> Value {
    let mut result = config.prev_result.clone().unwrap_or_default();
    result.insert("cniVersion".to_owned(), json!(version.text()));
    let mut interface = json!({
        "name": container.interface, "mac": mac(endpoint), "sandbox": netns.display().to_string(),
    });
    if let Some(mtu) = mtu.filter(|_| version >= Version::V1_1) {
        interface["mtu"] = json!(mtu);
    }
    let index = append(&mut result, "interfaces", vec![interface]);
    let gateways = gateways(endpoint);
    let addresses = addresses(endpoint).into_iter().map(|address| {
        let family = Family::of(&address);
        let mut ip = json!({"address": address, "interface": index});
        if let Some(gateway) = gateways.iter().find(|gateway| Family::of(gateway) == family) {
            ip["gateway"] = json!(gateway);
        }
        if version < Version::V1_0 {
            ip["version"] = json!(if family == Family::V6 { "6" } else { "4" });
        }
        ip
    });
    append(&mut result, "ips", addresses.collect());
    append(&mut result, "routes", routes(endpoint, version));
    if let Some(dns) = dns(endpoint) {
        result.insert("dns".to_owned(), dns);
    }
    Value::Object(result)
}

/// Adds to a list; answers where it begins.
fn append(result: &mut Map<String, Value>, list: &str, values: Vec<Value>) -> usize {
    let list = result.entry(list).or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return 0 };
    let index = list.len();
    list.extend(values);
    index
}

/// As Linux writes it.
pub(crate) fn mac(endpoint: &Value) -> String {
    endpoint["MacAddress"].as_str().unwrap_or_default().replace('-', ":").to_lowercase()
}

/// The addresses with their prefix lengths.
pub(crate) fn addresses(endpoint: &Value) -> Vec<String> {
    let configs = endpoint["IpConfigurations"].as_array().into_iter().flatten();
    configs
        .filter_map(|config| {
            Some(format!("{}/{}", config["IpAddress"].as_str()?, config["PrefixLength"].as_u64()?))
        })
        .collect()
}

fn gateways(endpoint: &Value) -> Vec<&str> {
    let routes = endpoint["Routes"].as_array().into_iter().flatten();
    let default = |route: &&Value| route["DestinationPrefix"].as_str().is_some_and(|to| to.ends_with("/0"));
    routes.filter(default).filter_map(|route| route["NextHop"].as_str()).collect()
}

fn routes(endpoint: &Value, version: Version) -> Vec<Value> {
    let routes = endpoint["Routes"].as_array().into_iter().flatten();
    routes
        .filter_map(|route| {
            let mut listed = json!({"dst": route["DestinationPrefix"].as_str()?});
            if let Some(gateway) = route["NextHop"].as_str().filter(|gateway| !gateway.is_empty()) {
                listed["gw"] = json!(gateway);
            }
            if let Some(metric) = route["Metric"].as_u64().filter(|_| version >= Version::V1_1) {
                listed["priority"] = json!(metric);
            }
            Some(listed)
        })
        .collect()
}

fn dns(endpoint: &Value) -> Option<Value> {
    let dns = endpoint["Dns"].as_object()?;
    let mut said = Map::new();
    for (from, to) in
        [("ServerList", "nameservers"), ("Domain", "domain"), ("Search", "search"), ("Options", "options")]
    {
        let blank = |value: &Value| value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty);
        if let Some(value) = dns.get(from).filter(|value| !value.is_null() && !blank(value)) {
            said.insert(to.to_owned(), value.clone());
        }
    }
    (!said.is_empty()).then_some(Value::Object(said))
}
