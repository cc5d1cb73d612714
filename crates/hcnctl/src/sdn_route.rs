//! `hcnctl route`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hcn_client::Kind;
use serde_json::Value;

use crate::arguments::{Get, List, Modify, Remove};
use crate::entity::{each, text};
use crate::failure::Result;
use crate::{Context, document, entity, lookup};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List SDN routes.
    Ls(List),
    /// Show one SDN route.
    Get(Get),
    /// Create an SDN route and print its ID.
    Create(Create),
    /// Give an SDN route another whole document.
    Modify(Modify),
    /// Delete SDN routes.
    Rm(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The HCN document of the SDN route, passed on unchanged; - = standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["Flags", "endpoint"])]
    file: Option<PathBuf>,

    /// An endpoint that gets the routes: name, ID, or unique start of an ID; can be given several times.
    #[arg(long, value_name = "NAME|ID", required_unless_present = "file")]
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

    /// Destination, and where to send it if not to the gateway; can be given several times.
    #[arg(long, value_name = "CIDR[,NEXTHOP]", required_unless_present = "file")]
    pub(crate) route: Vec<String>,

    /// Send it encapsulated, on an overlay.
    #[arg(long)]
    pub(crate) need_encap: bool,
}

const COLUMNS: [&str; 4] = ["NAME", "ID", "ROUTES", "ENDPOINTS"];

pub(crate) fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::Ls(list) => entity::list(context, Kind::SdnRoute, &list, &COLUMNS, row),
        Command::Get(get) => entity::get(context, Kind::SdnRoute, &get, details),
        Command::Create(create) => {
            let document = match &create.file {
                Some(file) => entity::read_document(file)?,
                None => {
                    let endpoints = lookup::find_all(&mut context.client, Kind::Endpoint, &create.endpoint)?;
                    document::sdn_route(&create.flags, &endpoints)
                }
            };
            entity::create(context, Kind::SdnRoute, None, &document)
        }
        Command::Modify(modify) => entity::modify(context, Kind::SdnRoute, &modify),
        Command::Rm(remove) => entity::remove(context, Kind::SdnRoute, &remove),
    }
}

fn routes(route: &Value) -> Vec<String> {
    let shown = |route: &Value| {
        let (to, via) = (text(&route["DestinationPrefix"]), text(&route["NextHop"]));
        let via = if via.is_empty() { via } else { format!(" via {via}") };
        let encapsulated = if route["NeedEncap"] == true { " encapsulated" } else { "" };
        format!("{to}{via}{encapsulated}")
    };
    each(&route["Routes"]).map(shown).collect()
}

fn row(route: &Value) -> Vec<String> {
    vec![
        text(&route["Name"]),
        text(&route["ID"]),
        routes(route).join(", "),
        each(&route["HostComputeEndpoints"]).count().to_string(),
    ]
}

fn details(route: &Value) -> Vec<(&'static str, String)> {
    let mut details = vec![("Name:", text(&route["Name"])), ("ID:", text(&route["ID"]))];
    details.extend(routes(route).into_iter().map(|route| ("Route:", route)));
    details.extend(each(&route["HostComputeEndpoints"]).map(|endpoint| ("Endpoint:", text(endpoint))));
    details
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn routes_are_told_with_what_they_have() {
        let route = json!({"Routes": [
            {"DestinationPrefix": "10.0.0.0/8", "NextHop": "192.0.2.1", "NeedEncap": true},
            {"DestinationPrefix": "fd00::/8"},
        ]});
        assert_eq!(routes(&route), ["10.0.0.0/8 via 192.0.2.1 encapsulated", "fd00::/8"]);
    }
}
