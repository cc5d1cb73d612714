//! `hcnctl endpoint`.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use hcn_client::{ErrorClass, Guid, Kind, Target};
use serde_json::{Value, json};

use crate::arguments::{Get, List, Modify, Remove};
use crate::entity::{each, joined, number_named, parsed, text};
use crate::failure::{Failure, Result};
use crate::output::Format;
use crate::policy::{self, Policy};
use crate::publish::{Port, protocol_name};
use crate::{Context, document, entity, lookup, port};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List endpoints.
    Ls(List),
    /// Show one endpoint.
    Get(Get),
    /// Create an endpoint and print its ID.
    Create(Create),
    /// Apply a modify request to an endpoint.
    Modify(Modify),
    /// Delete endpoints.
    Rm(Remove),
    /// Put an endpoint into a namespace.
    Attach {
        /// Name, ID, or unique start of an ID.
        endpoint: String,
        /// Name, ID, or unique start of an ID.
        namespace: String,
    },
    /// Take an endpoint out of its namespace.
    Detach {
        /// Name, ID, or unique start of an ID.
        endpoint: String,
    },
    /// List, add, remove and update policies.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Plug an endpoint into a virtual machine, or pull it out.
    #[command(subcommand)]
    Port(port::Command),
    /// Show what an endpoint has received and sent.
    Stats {
        /// Name, ID, or unique start of an ID.
        endpoint: String,
    },
    /// Tell what becomes of a packet of an endpoint, or for it, and which policy decides.
    Explain(Explain),
    /// Print the addresses of an endpoint.
    Addresses {
        /// Name, ID, or unique start of an ID.
        endpoint: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Name, ID, or unique start of an ID.
    endpoint: String,

    /// Where the endpoint sends: ADDRESS:PORT, [ADDRESS]:PORT, or ADDRESS for protocols without ports.
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "from")]
    to: Option<String>,

    /// Who sends to the endpoint: ADDRESS, or ADDRESS:PORT.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "to")]
    from: Option<String>,

    /// The port of the endpoint that it is sent to.
    #[arg(long, requires = "from")]
    port: Option<u16>,

    /// Protocol, by name or number.
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    proto: String,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The HCN document of the endpoint, passed on unchanged; - = standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "Flags")]
    file: Option<PathBuf>,

    /// The network: name, ID, or unique start of an ID; with --file the document's HostComputeNetwork will do.
    #[arg(long, value_name = "NAME|ID", required_unless_present = "file")]
    network: Option<String>,

    #[command(flatten)]
    flags: Flags,
}

/// What a document is built from.
#[derive(Debug, Default, Args)]
pub(crate) struct Flags {
    /// Name.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Address, optionally with its prefix length; can be given for IPv4 and IPv6 [default: a free one of each subnet].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Vec<String>,

    /// MAC address [default: a free one of the network's pool].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mac: Option<String>,

    /// DNS server [default: the network's].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<String>,

    /// Publish a port of the host: [ADDRESS:]EXTERNAL:INTERNAL[/udp]; EXTERNAL 0 = any that is free.
    #[arg(long, value_name = "PORTS")]
    pub(crate) publish: Vec<Port>,

    /// It lives on another host; nothing is made of it here.
    #[arg(long)]
    pub(crate) remote: bool,

    /// Address of that host, on an overlay.
    #[arg(long, value_name = "ADDRESS", requires = "remote")]
    pub(crate) provider_address: Option<String>,

    /// Policy, with its settings as JSON; can be given several times.
    #[arg(long, value_name = "TYPE=JSON")]
    pub(crate) policy: Vec<Policy>,
}

const COLUMNS: [&str; 6] = ["NAME", "ID", "NETWORK", "ADDRESSES", "MAC", "NAMESPACE"];

pub(crate) fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::Ls(list) => {
            let networks = network_names(context)?;
            entity::list(context, Kind::Endpoint, &list, &COLUMNS, |endpoint| row(endpoint, &networks))
        }
        Command::Get(get) => {
            let networks = network_names(context)?;
            entity::get(context, Kind::Endpoint, &get, |endpoint| details(endpoint, &networks))
        }
        Command::Create(create) => {
            let network = match &create.network {
                Some(which) => Some(lookup::find(&mut context.client, Kind::Network, which)?),
                None => None,
            };
            let document = match (&create.file, network) {
                (Some(file), _) => entity::read_document(file)?,
                (None, network) => document::endpoint(&create.flags, network)?,
            };
            entity::create(context, Kind::Endpoint, network, &document)
        }
        Command::Modify(modify) => entity::modify(context, Kind::Endpoint, &modify),
        Command::Rm(remove) => entity::remove(context, Kind::Endpoint, &remove),
        Command::Attach { endpoint, namespace } => {
            let endpoint = lookup::find(&mut context.client, Kind::Endpoint, &endpoint)?;
            let namespace = lookup::find(&mut context.client, Kind::Namespace, &namespace)?;
            member(context, namespace, "Add", endpoint)
        }
        Command::Detach { endpoint: which } => {
            let endpoint = lookup::find(&mut context.client, Kind::Endpoint, &which)?;
            let document = parsed(&lookup::document(&mut context.client, Kind::Endpoint, endpoint)?);
            let namespace = document["HostComputeNamespace"].as_str().and_then(|id| id.parse::<Guid>().ok());
            let Some(namespace) = namespace.filter(|id| !id.is_zero()) else {
                let message = format!("the endpoint {which:?} is not in a namespace");
                return Err(Failure::new(ErrorClass::NotFound, message));
            };
            member(context, namespace, "Remove", endpoint)
        }
        Command::Policy(command) => policy::run(context, Kind::Endpoint, &command),
        Command::Port(command) => port::run(context, &command),
        Command::Stats { endpoint } => {
            let endpoint = lookup::find(&mut context.client, Kind::Endpoint, &endpoint)?;
            stats(context, endpoint)
        }
        Command::Explain(explain) => explain.run(context),
        Command::Addresses { endpoint } => {
            let endpoint = lookup::find(&mut context.client, Kind::Endpoint, &endpoint)?;
            addresses(context, endpoint)
        }
    }
}

impl Explain {
    fn run(&self, context: &mut Context) -> Result<()> {
        let endpoint = lookup::find(&mut context.client, Kind::Endpoint, &self.endpoint)?;
        let mut question = json!({"Protocol": self.proto});
        for (member, value) in [("To", &self.to), ("From", &self.from)] {
            if let Some(value) = value {
                question[member] = json!(value);
            }
        }
        if let Some(port) = self.port {
            question["Port"] = json!(port);
        }
        let answer = context.client.explain(Target::Id(endpoint), &question.to_string())?;
        if context.output.format == Format::Json {
            return Ok(context.output.line(answer.get())?);
        }
        let told = parsed(&answer);
        let mut summary = vec![vec!["packet".to_owned(), text(&told["Packet"])]];
        if told["Arrives"] != told["Packet"] {
            summary.push(vec!["arrives as".to_owned(), text(&told["Arrives"])]);
        }
        summary.push(vec!["verdict".to_owned(), text(&told["Verdict"])]);
        summary.push(vec!["decided by".to_owned(), text(&told["DecidedBy"])]);
        context.output.table(&[], &summary)?;
        let row = |step: &Value| {
            let place = if step["Nft"].is_null() { &step["Object"] } else { &step["Nft"] };
            let told = ["Stage", "Entity", "Rule", "Effect"].map(|column| text(&step[column]));
            told.into_iter().chain([text(place)]).collect()
        };
        let steps: Vec<Vec<String>> = each(&told["Steps"]).map(row).collect();
        if steps.is_empty() {
            return Ok(());
        }
        context.output.line("")?;
        Ok(context.output.table(&["STAGE", "OF", "RULE", "EFFECT", "IN THE KERNEL"], &steps)?)
    }
}

fn member(context: &mut Context, namespace: Guid, request: &str, endpoint: Guid) -> Result<()> {
    let request = document::member(request, endpoint);
    Ok(context.client.modify(Kind::Namespace, Target::Id(namespace), &request)?)
}

/// The names of all networks by their IDs.
fn network_names(context: &mut Context) -> Result<HashMap<String, String>> {
    if context.output.format == Format::Json {
        return Ok(HashMap::new());
    }
    let networks = entity::matching(context, Kind::Network, &List { filters: Vec::new() })?;
    let named = networks.iter().map(parsed).map(|network| (text(&network["ID"]), text(&network["Name"])));
    Ok(named.filter(|(_, name)| !name.is_empty()).collect())
}

fn network(endpoint: &Value, networks: &HashMap<String, String>) -> String {
    let id = text(&endpoint["HostComputeNetwork"]);
    networks.get(&id.to_uppercase()).cloned().unwrap_or(id)
}

fn row(endpoint: &Value, networks: &HashMap<String, String>) -> Vec<String> {
    vec![
        text(&endpoint["Name"]),
        text(&endpoint["ID"]),
        network(endpoint, networks),
        joined(&endpoint["IpConfigurations"], "IpAddress"),
        text(&endpoint["MacAddress"]),
        text(&endpoint["HostComputeNamespace"]),
    ]
}

fn details(endpoint: &Value, networks: &HashMap<String, String>) -> Vec<(&'static str, String)> {
    let mut details = vec![
        ("Name:", text(&endpoint["Name"])),
        ("ID:", text(&endpoint["ID"])),
        ("Network:", network(endpoint, networks)),
        ("Namespace:", text(&endpoint["HostComputeNamespace"])),
        ("State:", state(&endpoint["State"])),
        ("MAC:", text(&endpoint["MacAddress"])),
    ];
    if let Some(tap) = endpoint["AdditionalParams"]["TapInterface"].as_str() {
        details.push(("TAP:", tap.to_owned()));
    }
    for address in each(&endpoint["IpConfigurations"]) {
        details.push(("Address:", with_length(address)));
    }
    for route in each(&endpoint["Routes"]) {
        let (to, via) = (text(&route["DestinationPrefix"]), text(&route["NextHop"]));
        details.push(("Route:", if via.is_empty() { to } else { format!("{to} via {via}") }));
    }
    for policy in each(&endpoint["Policies"]).filter(|policy| policy["Type"] == "PortMapping") {
        let settings = &policy["Settings"];
        let vip = settings["VIP"].as_str().map(|vip| format!("{vip}:")).unwrap_or_default();
        let (external, internal) = (text(&settings["ExternalPort"]), text(&settings["InternalPort"]));
        details
            .push(("Port:", format!("{vip}{external}:{internal}/{}", protocol_name(&settings["Protocol"]))));
    }
    let servers: Vec<&str> = each(&endpoint["Dns"]["ServerList"]).filter_map(Value::as_str).collect();
    details.push(("DNS:", servers.join(", ")));
    details
}

fn state(state: &Value) -> String {
    let names =
        ["Uninitialized", "Created", "Attached", "AttachedSharing", "Detached", "Degraded", "Destroyed"];
    number_named(state, &names)
}

const COUNTERS: [(&str, &str); 6] = [
    ("Packets received:", "PacketsReceived"),
    ("Packets sent:", "PacketsSent"),
    ("Bytes received:", "BytesReceived"),
    ("Bytes sent:", "BytesSent"),
    ("Dropped on the way in:", "DroppedPacketsIncoming"),
    ("Dropped on the way out:", "DroppedPacketsOutgoing"),
];

fn stats(context: &mut Context, endpoint: Guid) -> Result<()> {
    let stats = context.client.query_stats(Target::Id(endpoint), None)?;
    if context.output.format == Format::Json {
        return Ok(context.output.line(stats.get())?);
    }
    let stats = parsed(&stats);
    let rows = COUNTERS.map(|(label, member)| vec![label.to_owned(), text(&stats[member])]);
    Ok(context.output.table(&[], &rows)?)
}

fn addresses(context: &mut Context, endpoint: Guid) -> Result<()> {
    let addresses = context.client.query_addresses(Target::Id(endpoint), None)?;
    if context.output.format == Format::Json {
        return Ok(context.output.line(addresses.get())?);
    }
    let rows: Vec<Vec<String>> =
        each(&parsed(&addresses)["Addresses"]).map(|address| vec![with_length(address)]).collect();
    Ok(context.output.table(&[], &rows)?)
}

/// An address, with the length of its prefix if there is one.
fn with_length(address: &Value) -> String {
    let length = text(&address["PrefixLength"]);
    let slash = if length.is_empty() { "" } else { "/" };
    format!("{}{slash}{length}", text(&address["IpAddress"]))
}
