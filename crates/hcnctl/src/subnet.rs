//! `hcnctl network subnet`.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use hcn_client::{ErrorClass, Guid, Kind, Raw};
use serde_json::{Value, json};

use crate::entity::{each, parsed, text};
use crate::failure::{Failure, Result};
use crate::{Context, document, entity, lookup, network};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add subnets to a network, or parts to one of its subnets.
    Add {
        /// Name, ID, or unique start of an ID.
        network: String,
        /// The prefixes.
        #[arg(value_name = "CIDR", required = true)]
        subnets: Vec<String>,
        /// Add parts (IP subnets) to this subnet instead: its prefix or ID.
        #[arg(long, value_name = "CIDR|ID", conflicts_with = "Parts")]
        within: Option<String>,
        #[command(flatten)]
        parts: Parts,
    },
    /// Remove subnets from a network, or parts from one of its subnets.
    Rm {
        /// Name, ID, or unique start of an ID.
        network: String,
        /// Their prefixes or IDs.
        #[arg(value_name = "CIDR|ID", required = true)]
        subnets: Vec<String>,
        /// Remove parts (IP subnets) from this subnet instead: its prefix or ID.
        #[arg(long, value_name = "CIDR|ID")]
        within: Option<String>,
    },
}

/// What subnets have.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Parts {
    /// Gateway of the subnet that it is in [default: for NAT the subnet's first address].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<IpAddr>,

    /// VLAN of the subnets.
    #[arg(long, value_name = "ID", conflicts_with = "vsid")]
    pub(crate) vlan: Option<u32>,

    /// Virtual subnet (VNI) of the subnets of an overlay.
    #[arg(long, value_name = "ID")]
    pub(crate) vsid: Option<u32>,
}

pub(crate) fn run(context: &mut Context, command: &Command) -> Result<()> {
    let (request, network, within) = match command {
        Command::Add { network, within, .. } => ("Add", network, within),
        Command::Rm { network, within, .. } => ("Remove", network, within),
    };
    let id = lookup::find(&mut context.client, Kind::Network, network)?;
    let subnets = match command {
        Command::Add { subnets, parts, .. } => document::subnets(subnets, parts)?,
        Command::Rm { subnets, .. } => subnets.iter().map(|text| named(text)).collect(),
    };
    let (resource, settings) = match within {
        None => ("Subnet", json!({ "Subnets": subnets })),
        Some(within) => {
            let whole = parsed(&lookup::document(&mut context.client, Kind::Network, id)?);
            ("IPSubnet", json!({ "SubnetId": whole_subnet(&whole, within)?, "IpSubnets": subnets }))
        }
    };
    entity::change(context, Kind::Network, id, resource, request, Some(Raw::of(&settings)))
}

/// A subnet by its prefix or ID.
fn named(text: &str) -> Value {
    match text.parse::<Guid>() {
        Ok(id) => json!({ "ID": id.to_string() }),
        Err(_) => json!({ "IpAddressPrefix": text }),
    }
}

/// The ID of a subnet of a network.
fn whole_subnet(network: &Value, which: &str) -> Result<String> {
    if let Ok(id) = which.parse::<Guid>() {
        return Ok(id.to_string());
    }
    let mut subnets = network::subnets(network);
    let found = subnets.find(|subnet| subnet["IpAddressPrefix"] == which);
    let id = found.and_then(|subnet| subnet["ID"].as_str());
    id.map(str::to_owned)
        .ok_or_else(|| Failure::new(ErrorClass::NotFound, format!("the network has no subnet {which:?}")))
}

/// The parts of a subnet, for `network get`.
pub(crate) fn shown(subnet: &Value) -> Vec<(&'static str, String)> {
    let part = |part: &Value| ("  Part:", text(&part["IpAddressPrefix"]));
    each(&subnet["IpSubnets"]).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_named_by_prefix_or_id() {
        let id = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";
        assert_eq!(named(&id.to_lowercase()), json!({ "ID": id }));
        assert_eq!(named("10.0.0.0/8"), json!({ "IpAddressPrefix": "10.0.0.0/8" }));
        let network = json!({"Ipams": [{"Subnets": [{"ID": id, "IpAddressPrefix": "10.0.0.0/8"}]}]});
        assert_eq!(whole_subnet(&network, "10.0.0.0/8").unwrap(), id);
        assert_eq!(whole_subnet(&network, id).unwrap(), id);
        assert_eq!(whole_subnet(&network, "10.1.0.0/16").unwrap_err().exit_code(), 3);
    }
}
