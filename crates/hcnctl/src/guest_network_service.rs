//! `hcnctl gns`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hcn_client::{Kind, Raw};
use serde_json::{Value, json};

use crate::arguments::{Get, List, Modify, Remove};
use crate::entity::{each, number_named, text};
use crate::failure::Result;
use crate::{Context, document, entity, lookup};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List guest network services.
    Ls(List),
    /// Show one guest network service.
    Get(Get),
    /// Create a guest network service and print its ID.
    Create(Create),
    /// Apply a modify request to a guest network service.
    Modify(Modify),
    /// Delete guest network services, and release the ports that were reserved through them.
    Rm(Remove),
    /// Note how far the guest has got.
    State {
        /// Name, ID, or unique start of an ID.
        #[arg(value_name = "NAME|ID")]
        which: String,
        /// Created, Bootstrapping, Synchronized, Paused, Desynchronized, …
        state: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The HCN document of the guest network service, passed on unchanged; - = standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "Flags")]
    file: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,
}

/// What a document is built from.
#[derive(Debug, Default, Args)]
pub(crate) struct Flags {
    /// GUID of the virtual machine; it is the service's, too.
    #[arg(long, value_name = "ID", required_unless_present = "file")]
    pub(crate) vm: Option<String>,

    /// Name.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Let the guest mirror all interfaces of the host.
    #[arg(long)]
    pub(crate) mirror_host: bool,
}

const COLUMNS: [&str; 5] = ["NAME", "ID", "MACHINE", "STATE", "MIRRORS"];

pub(crate) fn run(context: &mut Context, command: Command) -> Result<()> {
    let kind = Kind::GuestNetworkService;
    match command {
        Command::Ls(list) => entity::list(context, kind, &list, &COLUMNS, row),
        Command::Get(get) => entity::get(context, kind, &get, details),
        Command::Create(create) => {
            let document = match &create.file {
                Some(file) => entity::read_document(file)?,
                None => document::guest_network_service(&create.flags),
            };
            entity::create(context, kind, None, &document)
        }
        Command::Modify(modify) => entity::modify(context, kind, &modify),
        Command::Rm(remove) => entity::remove(context, kind, &remove),
        Command::State { which, state } => {
            let id = lookup::find(&mut context.client, kind, &which)?;
            let settings = json!({ "State": state });
            entity::change(context, kind, id, "State", "Update", Some(Raw::of(&settings)))
        }
    }
}

fn state(service: &Value) -> String {
    let names = [
        "None",
        "Created",
        "Bootstrapping",
        "Synchronized",
        "Paused",
        "Desynchronized",
        "Rehydrating",
        "Degraded",
        "Destroyed",
    ];
    number_named(&service["State"], &names)
}

fn mirrors(service: &Value) -> String {
    if service["MirrorHostNetworking"] == true {
        return "the host".to_owned();
    }
    match each(&service["MirroredInterfaces"]).count() {
        0 => String::new(),
        1 => "1 interface".to_owned(),
        count => format!("{count} interfaces"),
    }
}

fn row(service: &Value) -> Vec<String> {
    vec![
        text(&service["Name"]),
        text(&service["ID"]),
        text(&service["VirtualMachineId"]),
        state(service),
        mirrors(service),
    ]
}

fn details(service: &Value) -> Vec<(&'static str, String)> {
    let mut details = vec![
        ("Name:", text(&service["Name"])),
        ("ID:", text(&service["ID"])),
        ("Machine:", text(&service["VirtualMachineId"])),
        ("State:", state(service)),
        ("Mirrors:", mirrors(service)),
    ];
    for interface in each(&service["MirroredInterfaces"]) {
        let (id, state) = (text(&interface["InterfaceGuid"]), text(&interface["State"]));
        details.push(("Interface:", format!("{id} {state}").trim().to_owned()));
    }
    details.push(("Flags:", text(&service["Flags"])));
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_told_in_words() {
        let service = json!({"ID": "X", "State": 3, "MirroredInterfaces": [{"InterfaceGuid": "Y"}]});
        assert_eq!(row(&service), ["", "X", "", "Synchronized", "1 interface"]);
        assert_eq!(mirrors(&json!({"MirrorHostNetworking": true})), "the host");
        assert_eq!(mirrors(&json!({})), "");
    }
}
