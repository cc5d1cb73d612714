//! `hcnctl loadbalancer`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hcn_client::{Kind, Target};
use serde_json::Value;

use crate::arguments::{Get, List, Modify, Remove};
use crate::entity::{each, text};
use crate::failure::Result;
use crate::publish::{Port, protocol_name};
use crate::{Context, document, entity, lookup};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List load balancers.
    Ls(List),
    /// Show one load balancer.
    Get(Get),
    /// Create a load balancer and print its ID.
    Create(Create),
    /// Give a load balancer another whole document.
    Modify(Modify),
    /// Delete load balancers.
    Rm(Remove),
    /// Add back ends to a load balancer, or take them out.
    #[command(subcommand)]
    Backend(Backend),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Backend {
    /// Add back ends.
    Add(Members),
    /// Take back ends out.
    Rm(Members),
}

#[derive(Debug, Args)]
pub(crate) struct Members {
    /// Name, ID, or unique start of an ID.
    #[arg(value_name = "LOADBALANCER")]
    balancer: String,
    /// Endpoints: names, IDs, or unique starts of IDs.
    #[arg(value_name = "ENDPOINT", required = true)]
    endpoints: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The HCN document of the load balancer, passed on unchanged; - = standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["Flags", "endpoint"])]
    file: Option<PathBuf>,

    /// A back end: name, ID, or unique start of an ID of an endpoint; can be given several times.
    #[arg(long, value_name = "NAME|ID")]
    endpoint: Vec<String>,

    #[command(flatten)]
    flags: Flags,
}

/// What a document is built from.
#[derive(Debug, Default, Args)]
pub(crate) struct Flags {
    /// Name.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Virtual address; can be given several times [default: every address of the host].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) vip: Vec<String>,

    /// EXTERNAL:INTERNAL, for TCP, or EXTERNAL:INTERNAL/udp; can be given several times.
    #[arg(long, value_name = "PORTS", required_unless_present = "file")]
    pub(crate) port: Vec<Port>,

    /// What back ends see as the client [default: the client itself].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) source_vip: Option<String>,

    /// Keep connections of one client at one back end.
    #[arg(long)]
    pub(crate) affinity: bool,

    /// Let the host's own programs use it, too.
    #[arg(long)]
    pub(crate) from_host: bool,

    /// Only endpoints of the same network may use it.
    #[arg(long)]
    pub(crate) internal: bool,

    /// Direct server return: back ends see the client itself, whatever the source is.
    #[arg(long)]
    pub(crate) dsr: bool,

    /// Without --vip, the host's IPv6 addresses.
    #[arg(long)]
    pub(crate) ipv6: bool,
}

const COLUMNS: [&str; 5] = ["NAME", "ID", "ADDRESSES", "PORTS", "ENDPOINTS"];

pub(crate) fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::Ls(list) => entity::list(context, Kind::LoadBalancer, &list, &COLUMNS, row),
        Command::Get(get) => entity::get(context, Kind::LoadBalancer, &get, details),
        Command::Create(create) => {
            let document = match &create.file {
                Some(file) => entity::read_document(file)?,
                None => {
                    let endpoints = lookup::find_all(&mut context.client, Kind::Endpoint, &create.endpoint)?;
                    document::load_balancer(&create.flags, &endpoints)
                }
            };
            entity::create(context, Kind::LoadBalancer, None, &document)
        }
        Command::Modify(modify) => entity::modify(context, Kind::LoadBalancer, &modify),
        Command::Rm(remove) => entity::remove(context, Kind::LoadBalancer, &remove),
        Command::Backend(Backend::Add(members)) => change(context, "Add", &members),
        Command::Backend(Backend::Rm(members)) => change(context, "Remove", &members),
    }
}

/// One request for each back end, which the service applies to what there is by then: writing a whole document back
/// would undo what others change meanwhile.
fn change(context: &mut Context, request: &str, members: &Members) -> Result<()> {
    let balancer = lookup::find(&mut context.client, Kind::LoadBalancer, &members.balancer)?;
    for endpoint in lookup::find_all(&mut context.client, Kind::Endpoint, &members.endpoints)? {
        let request = document::member(request, endpoint);
        context.client.modify(Kind::LoadBalancer, Target::Id(balancer), &request)?;
    }
    Ok(())
}

fn addresses(balancer: &Value) -> String {
    let vips: Vec<&str> = each(&balancer["FrontendVIPs"]).filter_map(Value::as_str).collect();
    if vips.is_empty() { "every".to_owned() } else { vips.join(", ") }
}

fn ports(balancer: &Value) -> Vec<String> {
    let shown = |port: &Value| {
        let (external, internal) = (text(&port["ExternalPort"]), text(&port["InternalPort"]));
        format!("{external}:{internal}/{}", protocol_name(&port["Protocol"]))
    };
    each(&balancer["PortMappings"]).map(shown).collect()
}

fn row(balancer: &Value) -> Vec<String> {
    vec![
        text(&balancer["Name"]),
        text(&balancer["ID"]),
        addresses(balancer),
        ports(balancer).join(", "),
        each(&balancer["HostComputeEndpoints"]).count().to_string(),
    ]
}

fn details(balancer: &Value) -> Vec<(&'static str, String)> {
    let mut details = vec![
        ("Name:", text(&balancer["Name"])),
        ("ID:", text(&balancer["ID"])),
        ("Addresses:", addresses(balancer)),
    ];
    details.extend(ports(balancer).into_iter().map(|port| ("Port:", port)));
    details.extend(each(&balancer["HostComputeEndpoints"]).map(|endpoint| ("Endpoint:", text(endpoint))));
    details.push(("Source:", text(&balancer["SourceVIP"])));
    details.push(("Flags:", text(&balancer["Flags"])));
    details
}
