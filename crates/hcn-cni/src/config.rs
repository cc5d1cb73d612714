//! What a network configuration says, and which of its keys says it.

use hcn_client::Guid;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::environment::is_identifier;
use crate::error::{Code, Error, Result};
use crate::version::Version;

/// Keys that mean something; those of the runtime's own begin with `cni.dev/`.
const KEYS: [&str; 14] = [
    "cniVersion",
    "name",
    "type",
    "network",
    "networkType",
    "subnets",
    "policies",
    "mtu",
    "dns",
    "ipam",
    "args",
    "capabilities",
    "runtimeConfig",
    "prevResult",
];

/// A network configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    /// The configuration's own name, which attachments are told apart by.
    pub(crate) name: String,
    pub(crate) network: Option<Value>,
    pub(crate) network_type: Option<String>,
    pub(crate) subnets: Vec<Subnet>,
    /// Policies of each endpoint.
    pub(crate) policies: Vec<Value>,
    pub(crate) mtu: Option<u16>,
    pub(crate) dns: Option<Dns>,
    ipam: Option<Value>,
    pub(crate) args: Args,
    pub(crate) runtime_config: RuntimeConfig,
    pub(crate) prev_result: Option<Map<String, Value>>,
    #[serde(rename = "cni.dev/valid-attachments")]
    pub(crate) valid_attachments: Option<Vec<ValidAttachment>>,
}

/// A subnet of a network that is to be made: a prefix, or one with a gateway.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Subnet {
    Prefix(String),
    WithGateway { subnet: String, gateway: String },
}

/// `dns` as configurations and results have it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Dns {
    pub(crate) nameservers: Vec<String>,
    pub(crate) domain: Option<String>,
    pub(crate) search: Vec<String>,
    pub(crate) options: Vec<String>,
}

/// `args`, of which only those of the conventions are known.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Args {
    pub(crate) cni: CniArgs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CniArgs {
    pub(crate) ips: Vec<String>,
    pub(crate) mac: Option<String>,
}

/// What the runtime gives for the capabilities that the configuration declares.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RuntimeConfig {
    pub(crate) port_mappings: Vec<PortMapping>,
    pub(crate) bandwidth: Option<Bandwidth>,
    pub(crate) dns: Option<RuntimeDns>,
    pub(crate) ips: Vec<String>,
    pub(crate) mac: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortMapping {
    pub(crate) host_port: u16,
    pub(crate) container_port: u16,
    #[serde(default)]
    pub(crate) protocol: Option<String>,
    #[serde(default, rename = "hostIP")]
    pub(crate) host_ip: Option<String>,
}

/// In bits a second, as the container sees them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Bandwidth {
    pub(crate) ingress_rate: u64,
    pub(crate) egress_rate: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RuntimeDns {
    pub(crate) servers: Vec<String>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<String>,
}

/// An attachment that GC leaves alone.
#[derive(Debug, Deserialize)]
pub(crate) struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub(crate) container: String,
    #[serde(rename = "ifname")]
    pub(crate) interface: String,
}

/// A configuration as it came: JSON, and of a version that is spoken.
#[derive(Debug)]
pub(crate) struct Given {
    members: Map<String, Value>,
    pub(crate) version: Version,
}

impl Given {
    /// The version that errors are told in comes with them, as far as it is known.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, (Error, Option<String>)> {
        let members: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            (
                Error::new(
                    Code::Undecodable,
                    format!("the network configuration is no JSON object: {error}"),
                ),
                None,
            )
        })?;
        let said = members.get("cniVersion").and_then(Value::as_str).map(str::to_owned);
        let version = Version::of(said.as_deref()).map_err(|error| (error, said))?;
        Ok(Self { members, version })
    }

    /// The name of the network, which is all that DEL needs: it goes on whatever else is wrong.
    pub(crate) fn name(&self) -> Result<String> {
        let name = self.members.get("name").and_then(Value::as_str).unwrap_or_default();
        if is_identifier(name) {
            return Ok(name.to_owned());
        }
        Err(Error::at("name", format!("{name:?} is no name of a network")))
    }

    /// All of it.
    pub(crate) fn config(self) -> Result<Config> {
        let name = self.name()?;
        let known = |key: &str| KEYS.contains(&key) || key.starts_with("cni.dev/");
        if let Some((key, value)) = self.members.iter().find(|(key, _)| !known(key)) {
            return Err(Error::unsupported(key, value));
        }
        let config: Config = serde_path_to_error::deserialize(Value::Object(self.members))
            .map_err(|error| Error::at(error.path(), error.inner()))?;
        // hcnd gives the addresses itself.
        let empty = Value::Object(Map::new());
        if let Some(ipam) = config.ipam.as_ref().filter(|ipam| **ipam != empty) {
            return Err(Error::unsupported("ipam", ipam));
        }
        Ok(Config { name, ..config })
    }
}

impl Config {
    /// The network that the configuration is about, by name or ID.
    pub(crate) fn network_name(&self) -> Result<&str> {
        match &self.network {
            None => Ok(&self.name),
            Some(Value::String(name)) => Ok(name),
            Some(Value::Object(document)) => match document.get("Name") {
                None | Some(Value::Null) => Ok(&self.name),
                Some(Value::String(name)) => Ok(name),
                Some(_) => Err(Error::at("network.Name", "this is no text")),
            },
            Some(_) => Err(Error::at("network", "neither the name or ID of a network nor a document of one")),
        }
    }

    /// Its ID, if that is what it is named by.
    pub(crate) fn network_id(&self) -> Option<Guid> {
        self.network.as_ref()?.as_str()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Error {
        match Given::parse(text) {
            Ok(given) => given.config().unwrap_err(),
            Err((error, _)) => error,
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let with =
            |members: &str| format!(r#"{{"cniVersion":"1.0.0","name":"lab","type":"hcn-cni",{members}}}"#);
        for (members, code, told) in [
            (r#""ipMasq":true"#, Code::UnsupportedField, "ipMasq: true"),
            (r#""ipam":{"type":"host-local"}"#, Code::UnsupportedField, r#"ipam: {"type":"host-local"}"#),
            (r#""mtu":"x""#, Code::InvalidConfiguration, "mtu: "),
            (r#""subnets":["a",7]"#, Code::InvalidConfiguration, "subnets[1]: "),
            (
                r#""runtimeConfig":{"portMappings":[{"hostPort":70000,"containerPort":1}]}"#,
                Code::InvalidConfiguration,
                "runtimeConfig.portMappings[0].hostPort: ",
            ),
        ] {
            let error = error(&with(members));
            assert_eq!(error.code, code, "{members}");
            assert!(error.message.contains(told), "{error:?}");
        }
        assert_eq!(error("[").code, Code::Undecodable);
        assert_eq!(error(r#"{"cniVersion":"0.2.0"}"#).code, Code::IncompatibleVersion);
        assert_eq!(error(r#"{"cniVersion":"1.1.0","name":"a/b"}"#).code, Code::InvalidConfiguration);
        // What is the runtime's business is not looked at.
        let fine = with(
            r#""ipam":{},"capabilities":{"aliases":true},"runtimeConfig":{"aliases":{}},"args":{"x":1}"#,
        );
        Given::parse(&fine).unwrap().config().unwrap();
    }
}
