//! `hcnctl namespace`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use hcn_client::{Kind, Raw};
use serde_json::{Value, json};

use crate::arguments::{Get, List, Modify, Remove};
use crate::entity::{each, parsed, text};
use crate::failure::Result;
use crate::{Context, document, entity, exec, lookup};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List namespaces.
    Ls(List),
    /// Show one namespace.
    Get(Get),
    /// Create a namespace and print its ID.
    Create(Create),
    /// Apply a modify request to a namespace.
    Modify(Modify),
    /// Delete namespaces.
    Rm(Remove),
    /// Note which containers are in a namespace.
    #[command(subcommand)]
    Container(Container),
    /// Run a command inside a namespace, and end with its exit code.
    Exec {
        /// Name, ID, or unique start of an ID.
        namespace: String,
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Container {
    /// Note that a container is in a namespace, which then cannot be deleted.
    Add(Member),
    /// Forget a container.
    Rm(Member),
}

#[derive(Debug, Args)]
pub(crate) struct Member {
    /// Name, ID, or unique start of an ID.
    namespace: String,
    /// ID of the container, any text.
    container: String,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The HCN document of the namespace, passed on unchanged; - = standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "Flags")]
    file: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,
}

/// What a document is built from.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Name.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Host = a network namespace of its own; HostDefault = the host's.
    #[arg(long = "type", id = "type", value_name = "TYPE", default_value = "Host")]
    pub(crate) kind: String,

    /// Path of a network namespace that is there already, such as /var/run/netns/x or /proc/PID/ns/net.
    #[arg(long, value_name = "PATH")]
    pub(crate) netns: Option<String>,
}

pub(crate) fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::Ls(list) => {
            entity::list(context, Kind::Namespace, &list, &["NAME", "ID", "TYPE", "NUMBER", "ENDPOINTS"], row)
        }
        Command::Get(get) => entity::get(context, Kind::Namespace, &get, details),
        Command::Create(create) => {
            let document = match &create.file {
                Some(file) => entity::read_document(file)?,
                None => document::namespace(&create.flags),
            };
            entity::create(context, Kind::Namespace, None, &document)
        }
        Command::Modify(modify) => entity::modify(context, Kind::Namespace, &modify),
        Command::Rm(remove) => entity::remove(context, Kind::Namespace, &remove),
        Command::Container(command) => {
            let (request, member) = match command {
                Container::Add(member) => ("Add", member),
                Container::Rm(member) => ("Remove", member),
            };
            let id = lookup::find(&mut context.client, Kind::Namespace, &member.namespace)?;
            let settings = Raw::of(&json!({ "ContainerId": member.container }));
            entity::change(context, Kind::Namespace, id, "Container", request, Some(settings))
        }
        Command::Exec { namespace, command } => {
            let id = lookup::find(&mut context.client, Kind::Namespace, &namespace)?;
            let document = parsed(&lookup::document(&mut context.client, Kind::Namespace, id)?);
            exec::run(id, document["Type"].as_str().unwrap_or("Host"), &command)
        }
    }
}

fn row(namespace: &Value) -> Vec<String> {
    vec![
        text(&namespace["Name"]),
        text(&namespace["ID"]),
        text(&namespace["Type"]),
        text(&namespace["NamespaceId"]),
        members(namespace, "Endpoint").count().to_string(),
    ]
}

fn details(namespace: &Value) -> Vec<(&'static str, String)> {
    let mut details = vec![
        ("Name:", text(&namespace["Name"])),
        ("ID:", text(&namespace["ID"])),
        ("Type:", text(&namespace["Type"])),
        ("Number:", text(&namespace["NamespaceId"])),
    ];
    details.extend(members(namespace, "Endpoint").map(|id| ("Endpoint:", id.to_owned())));
    details.extend(members(namespace, "Container").map(|id| ("Container:", id.to_owned())));
    details
}

fn members<'a>(namespace: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a str> {
    let resources = each(&namespace["Resources"]).filter(move |resource| resource["Type"] == kind);
    resources.filter_map(|resource| resource["Data"]["ID"].as_str())
}
