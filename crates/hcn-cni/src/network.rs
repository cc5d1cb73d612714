//! The network of a configuration: the one that is there, else the one that the configuration describes.

use hcn_client::blocking::Client;
use hcn_client::{ErrorClass, Guid, Kind, Target};
use serde_json::{Map, Value, json};

use crate::attachment::OWNER;
use crate::config::{Config, Subnet};
use crate::error::{Code, Error, Result, is_missing};

/// Asks for version 2 of a document.
pub(crate) const V2: &str = r#"{"SchemaVersion":{"Major":2}}"#;

/// A network of hcnd.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) id: Guid,
    pub(crate) document: Value,
}

/// An entity's document, if there is such an entity.
pub(crate) fn document(client: &mut Client, kind: Kind, id: Guid) -> Result<Option<Value>> {
    match client.query(kind, Target::Id(id), Some(V2)) {
        Ok(document) => Ok(Some(parsed(document.get())?)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn parsed(document: &str) -> Result<Value> {
    serde_json::from_str(document)
        .map_err(|error| Error::new(Code::Failed, format!("hcnd's answer is no document: {error}")))
}

/// The entities that have all of these members.
pub(crate) fn with_members(client: &mut Client, kind: Kind, members: &Value) -> Result<Vec<Guid>> {
    let query = json!({"SchemaVersion": {"Major": 2}, "Filter": members.to_string()});
    Ok(client.enumerate(kind, Some(&query.to_string()))?)
}

/// The network, if it is there.
pub(crate) fn find(client: &mut Client, config: &Config) -> Result<Option<Network>> {
    let name = config.network_name()?;
    let members = match config.network_id() {
        Some(id) => json!({"ID": id}),
        None => json!({"Name": name}),
    };
    let Some(id) = with_members(client, Kind::Network, &members)?.pop() else { return Ok(None) };
    let document = document(client, Kind::Network, id)?;
    Ok(document.map(|document| Network { id, document }))
}

/// The network, made if it is not there. It stays when its last attachment goes, as the configuration does.
pub(crate) fn find_or_create(client: &mut Client, config: &Config) -> Result<Network> {
    if let Some(network) = find(client, config)? {
        return Ok(network);
    }
    let wanted = described(config)?.ok_or_else(|| missing(config))?;
    match client.create(Kind::Network, None, None, &wanted.to_string()) {
        Ok(_) => {}
        // Another container's ADD was quicker.
        Err(error) if error.class() == ErrorClass::Conflict => {
            return find(client, config)?.ok_or_else(|| error.into());
        }
        Err(error) => return Err(placed(error, config)),
    }
    find(client, config)?.ok_or_else(|| missing(config))
}

/// There is no such network, and the configuration does not describe it.
pub(crate) fn missing(config: &Config) -> Error {
    let name = config.network_name().unwrap_or_default();
    let key = if config.network.is_some() { "network" } else { "name" };
    Error::at(key, format!("there is no network {name:?}, and neither subnets nor networkType describe one"))
}

/// The document of the network that is to be made, if the configuration describes one.
pub(crate) fn described(config: &Config) -> Result<Option<Value>> {
    let short = !config.subnets.is_empty() || config.network_type.is_some();
    let mut document = match &config.network {
        Some(Value::Object(_)) if short => {
            return Err(Error::at(
                "network",
                "this is a document, beside which there are no subnets and networkType",
            ));
        }
        Some(Value::Object(document)) => document.clone(),
        _ if !short => return Ok(None),
        _ => {
            let mut document = Map::new();
            document.insert("Type".to_owned(), json!(config.network_type.as_deref().unwrap_or("NAT")));
            if !config.subnets.is_empty() {
                let subnets: Vec<Value> = config.subnets.iter().map(subnet).collect();
                document.insert("Ipams".to_owned(), json!([{"Type": "Static", "Subnets": subnets}]));
            }
            document
        }
    };
    let name = config.network_name()?;
    document.insert("Name".to_owned(), json!(name));
    document.entry("Owner").or_insert(json!(OWNER));
    document.entry("SchemaVersion").or_insert(json!({"Major": 2}));
    Ok(Some(Value::Object(document)))
}

fn subnet(subnet: &Subnet) -> Value {
    match subnet {
        Subnet::Prefix(prefix) => json!({"IpAddressPrefix": prefix}),
        Subnet::WithGateway { subnet, gateway } => {
            let everywhere = if gateway.contains(':') { "::/0" } else { "0.0.0.0/0" };
            let route = json!({"NextHop": gateway, "DestinationPrefix": everywhere});
            json!({"IpAddressPrefix": subnet, "Routes": [route]})
        }
    }
}

/// Names the key of the configuration instead of the place in the document that was made of it.
fn placed(error: hcn_client::Error, config: &Config) -> Error {
    let hcn_client::Error::Failed { error: mut failed, record } = error else { return error.into() };
    failed.path = failed.path.map(|path| match (&config.network, path.as_str()) {
        (Some(Value::Object(_)), _) => format!("network.{path}"),
        (_, "Type") => "networkType".to_owned(),
        (_, other) => match other.strip_prefix("Ipams[0].Subnets[").and_then(|rest| rest.split_once(']')) {
            Some((index, _)) => format!("subnets[{index}]"),
            None => path,
        },
    });
    hcn_client::Error::Failed { error: failed, record }.into()
}

impl Network {
    /// The families of its subnets; those of a network without any are not known.
    pub(crate) fn families(&self) -> Vec<Family> {
        let ipams = self.document["Ipams"].as_array().into_iter().flatten();
        let subnets = ipams.filter_map(|ipam| ipam["Subnets"].as_array()).flatten();
        let prefixes: Vec<&str> = subnets.filter_map(|subnet| subnet["IpAddressPrefix"].as_str()).collect();
        let has = |family: &Family| prefixes.iter().any(|prefix| Family::of(prefix) == *family);
        [Family::V4, Family::V6].into_iter().filter(has).collect()
    }

    /// Why its containers may lack connections, by hcnd's own words.
    pub(crate) fn trouble(&self) -> Option<String> {
        let code = self.document["Health"]["Data"]["LastErrorCode"].as_u64().filter(|code| *code != 0)?;
        Some(format!("the network {} is degraded: 0x{code:08x}", self.id))
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// That of an address or a prefix.
    pub(crate) fn of(text: &str) -> Self {
        if text.contains(':') { Self::V6 } else { Self::V4 }
    }
}
