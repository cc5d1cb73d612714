//! `hcnctl network`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hcn_client::Kind;
use serde_json::Value;

use crate::arguments::{Get, List, Modify, Remove};
use crate::entity::{each, joined, text};
use crate::failure::Result;
use crate::{Context, document, entity};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List networks.
    Ls(List),
    /// Show one network.
    Get(Get),
    /// Create a network and print its ID.
    Create(Create),
    /// Apply a modify request to a network.
    Modify(Modify),
    /// Delete networks.
    Rm(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The HCN document of the network, passed on unchanged; - = standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["name", "type", "subnet", "gateway", "flags"])]
    file: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,
}

/// What a document is built from.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Name, unique among networks.
    #[arg(long, required_unless_present = "file")]
    pub(crate) name: Option<String>,

    /// NAT, Private, Internal, L2Bridge, Transparent, Overlay, …, as far as hcnd has it.
    #[arg(long = "type", id = "type", value_name = "TYPE", default_value = "NAT")]
    pub(crate) kind: String,

    /// Subnet; can be given for IPv4 and IPv6.
    #[arg(long, value_name = "CIDR")]
    pub(crate) subnet: Vec<String>,

    /// Gateway of the subnet that it is in [default: the subnet's first address].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<std::net::IpAddr>,

    /// Network flags, as a number or as names separated by commas: EnableNonPersistent,…
    #[arg(long)]
    pub(crate) flags: Option<String>,
}

pub(crate) fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::Ls(list) => {
            entity::list(context, Kind::Network, &list, &["NAME", "ID", "TYPE", "SUBNETS"], row)
        }
        Command::Get(get) => entity::get(context, Kind::Network, &get, details),
        Command::Create(create) => {
            let document = match &create.file {
                Some(file) => entity::read_document(file)?,
                None => document::network(&create.flags)?,
            };
            entity::create(context, Kind::Network, None, &document)
        }
        Command::Modify(modify) => entity::modify(context, Kind::Network, &modify),
        Command::Rm(remove) => entity::remove(context, Kind::Network, &remove),
    }
}

fn row(network: &Value) -> Vec<String> {
    let prefixes: Vec<&str> =
        subnets(network).filter_map(|subnet| subnet["IpAddressPrefix"].as_str()).collect();
    vec![text(&network["Name"]), text(&network["ID"]), text(&network["Type"]), prefixes.join(", ")]
}

fn details(network: &Value) -> Vec<(&'static str, String)> {
    let mut details = vec![
        ("Name:", text(&network["Name"])),
        ("ID:", text(&network["ID"])),
        ("Type:", text(&network["Type"])),
    ];
    for subnet in subnets(network) {
        let gateways = joined(&subnet["Routes"], "NextHop");
        let via = if gateways.is_empty() { String::new() } else { format!(" via {gateways}") };
        details.push(("Subnet:", format!("{}{via}", text(&subnet["IpAddressPrefix"]))));
    }
    for range in each(&network["MacPool"]["Ranges"]) {
        let (start, end) = (text(&range["StartMacAddress"]), text(&range["EndMacAddress"]));
        details.push(("MAC range:", format!("{start} to {end}")));
    }
    details.push(("Flags:", text(&network["Flags"])));
    details
}

fn subnets(network: &Value) -> impl Iterator<Item = &Value> {
    each(&network["Ipams"]).flat_map(|ipam| each(&ipam["Subnets"]))
}
