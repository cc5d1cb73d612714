//! `hcnctl network`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hcn_client::{Kind, Raw};
use serde_json::{Value, json};

use crate::arguments::{Get, List, Modify, Remove};
use crate::entity::{each, joined, text};
use crate::failure::Result;
use crate::policy::{self, Policy};
use crate::{Context, document, entity, lookup, subnet};

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
    /// Replace the DNS settings that new endpoints get.
    Dns(Dns),
    /// Add and remove subnets.
    #[command(subcommand)]
    Subnet(subnet::Command),
    /// List, add, remove and update policies.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Turn an extension of the network's switch on or off.
    Extension {
        /// Name, ID, or unique start of an ID.
        network: String,
        /// GUID of the extension.
        extension: String,
        /// What it shall be.
        state: Switch,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The HCN document of the network, passed on unchanged; - = standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["Flags", "Parts"])]
    file: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,

    #[command(flatten)]
    parts: subnet::Parts,
}

/// What a document is built from.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Name, unique among networks.
    #[arg(long, required_unless_present = "file")]
    pub(crate) name: Option<String>,

    /// NAT, ICS, ConstrainedICS, Internal, Private, Transparent, L2Bridge, L2Tunnel or Overlay.
    #[arg(long = "type", id = "type", value_name = "TYPE", default_value = "NAT")]
    pub(crate) kind: String,

    /// Subnet; can be given for IPv4 and IPv6.
    #[arg(long, value_name = "CIDR")]
    pub(crate) subnet: Vec<String>,

    /// The link of the host that leads outside, for types that have one [default: that of the default route].
    #[arg(long, value_name = "NAME")]
    pub(crate) adapter: Option<String>,

    /// DNS server that endpoints get.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<String>,

    /// Network flags, as a number or as names separated by commas: EnableNonPersistent,…
    #[arg(long)]
    pub(crate) flags: Option<String>,

    /// Policy, with its settings as JSON; can be given several times.
    #[arg(long, value_name = "TYPE=JSON")]
    pub(crate) policy: Vec<Policy>,
}

/// What DNS settings are built from.
#[derive(Debug, Args)]
pub(crate) struct Dns {
    /// Name, ID, or unique start of an ID.
    #[arg(value_name = "NAME|ID")]
    which: String,

    /// Server; can be given several times.
    #[arg(long, value_name = "ADDRESS", required_unless_present_any = ["search", "domain", "option", "clear"])]
    pub(crate) server: Vec<String>,

    /// Domain in which short names are looked up; can be given several times.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) search: Vec<String>,

    /// Domain of the endpoints themselves.
    #[arg(long)]
    pub(crate) domain: Option<String>,

    /// Option of the resolver, as ndots:2; can be given several times.
    #[arg(long)]
    pub(crate) option: Vec<String>,

    /// No DNS settings at all.
    #[arg(long, conflicts_with_all = ["server", "search", "domain", "option"])]
    clear: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
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
                None => document::network(&create.flags, &create.parts)?,
            };
            entity::create(context, Kind::Network, None, &document)
        }
        Command::Modify(modify) => entity::modify(context, Kind::Network, &modify),
        Command::Rm(remove) => entity::remove(context, Kind::Network, &remove),
        Command::Dns(dns) => change(context, &dns.which, "DNS", document::dns(&dns)),
        Command::Subnet(command) => subnet::run(context, &command),
        Command::Policy(command) => policy::run(context, Kind::Network, &command),
        Command::Extension { network, extension, state } => {
            let settings = json!({ "Id": extension, "IsEnabled": state == Switch::On });
            change(context, &network, "Extension", Raw::of(&settings))
        }
    }
}

fn change(context: &mut Context, which: &str, resource: &str, settings: Raw) -> Result<()> {
    let id = lookup::find(&mut context.client, Kind::Network, which)?;
    entity::change(context, Kind::Network, id, resource, "Update", Some(settings))
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
        details.extend(subnet::shown(subnet));
    }
    for range in each(&network["MacPool"]["Ranges"]) {
        let (start, end) = (text(&range["StartMacAddress"]), text(&range["EndMacAddress"]));
        details.push(("MAC range:", format!("{start} to {end}")));
    }
    details.push(("Flags:", text(&network["Flags"])));
    details
}

/// The subnets of a network.
pub(crate) fn subnets(network: &Value) -> impl Iterator<Item = &Value> {
    each(&network["Ipams"]).flat_map(|ipam| each(&ipam["Subnets"]))
}
