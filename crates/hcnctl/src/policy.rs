//! Policies of networks and endpoints: `policy ls|add|rm|update`, and `TYPE=JSON` as an option.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use hcn_client::{ErrorClass, Guid, Kind, Raw};
use serde_json::{Value, json};

use crate::document::Document;
use crate::entity::{members, parsed, read_json, text};
use crate::failure::{Failure, Result};
use crate::output::Format;
use crate::{Context, entity, lookup};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the policies with their settings.
    Ls {
        /// Name, ID, or unique start of an ID.
        #[arg(value_name = "NAME|ID")]
        which: String,
    },
    /// Add a policy, or those of a file.
    Add(Given),
    /// Remove a policy that has these settings, or without settings all of the type.
    Rm(Given),
    /// Put policies in the place of all that have the same type.
    Update(Given),
}

#[derive(Debug, Args)]
pub(crate) struct Given {
    /// Name, ID, or unique start of an ID.
    #[arg(value_name = "NAME|ID")]
    which: String,

    /// Type of the policy: ACL, PortMapping, OutBoundNAT, …
    #[arg(value_name = "TYPE", required_unless_present = "file")]
    kind: Option<String>,

    /// Settings of the policy, a JSON object, passed on unchanged.
    #[arg(value_name = "SETTINGS", value_parser = json_text)]
    settings: Option<Raw>,

    /// The policies as {"Policies": [{"Type", "Settings"}, …]}, passed on unchanged; - = standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["kind", "settings"])]
    file: Option<PathBuf>,
}

pub(crate) fn run(context: &mut Context, kind: Kind, command: &Command) -> Result<()> {
    match command {
        Command::Ls { which } => list(context, kind, which),
        Command::Add(given) => change(context, kind, "Add", given),
        Command::Rm(given) => change(context, kind, "Remove", given),
        Command::Update(given) => change(context, kind, "Update", given),
    }
}

fn list(context: &mut Context, kind: Kind, which: &str) -> Result<()> {
    let id = lookup::find(&mut context.client, kind, which)?;
    let policies = of_entity(context, kind, id)?;
    if context.output.format == Format::Json {
        return Ok(context.output.documents(&policies)?);
    }
    let row = |policy: &Raw| {
        let members = members(policy);
        let settings = members.get("Settings").map_or_else(String::new, |raw| raw.get().to_owned());
        vec![text(&parsed(policy)["Type"]), settings]
    };
    let rows: Vec<Vec<String>> = policies.iter().map(row).collect();
    Ok(context.output.table(&["TYPE", "SETTINGS"], &rows)?)
}

fn change(context: &mut Context, kind: Kind, request: &str, given: &Given) -> Result<()> {
    let id = lookup::find(&mut context.client, kind, &given.which)?;
    let settings = match (&given.file, &given.kind, &given.settings) {
        (Some(file), ..) => read_json(file)?,
        (None, Some(of_type), None) if request == "Remove" => {
            let mut policies = of_entity(context, kind, id)?;
            policies.retain(|policy| text(&parsed(policy)["Type"]).eq_ignore_ascii_case(of_type));
            if policies.is_empty() {
                let message = format!("the {kind} {:?} has no policy of type {of_type}", given.which);
                return Err(Failure::new(ErrorClass::NotFound, message));
            }
            list_of(&policies)
        }
        (None, of_type, settings) => {
            let settings = settings.clone().unwrap_or_else(|| Raw::of(&json!({})));
            let policy = Policy { kind: of_type.clone().unwrap_or_default(), settings };
            list_of(&[policy.raw()])
        }
    };
    entity::change(context, kind, id, "Policy", request, Some(settings))
}

/// The policies of an entity, byte for byte.
fn of_entity(context: &mut Context, kind: Kind, id: Guid) -> Result<Vec<Raw>> {
    let document = lookup::document(&mut context.client, kind, id)?;
    let policies = members(&document).remove("Policies");
    Ok(policies.and_then(|policies| serde_json::from_str(policies.get()).ok()).unwrap_or_default())
}

fn list_of(policies: &[Raw]) -> Raw {
    let mut settings = Document::default();
    settings.keep("Policies", Raw::of(&policies));
    settings.raw()
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    kind: String,
    settings: Raw,
}

impl Policy {
    /// A policy of our own.
    pub(crate) fn of(kind: &str, settings: &Value) -> Self {
        Self { kind: kind.to_owned(), settings: Raw::of(settings) }
    }

    /// As in documents.
    pub(crate) fn raw(&self) -> Raw {
        let mut document = Document::default();
        document.set("Type", &json!(self.kind));
        document.keep("Settings", self.settings.clone());
        document.raw()
    }
}

impl FromStr for Policy {
    type Err = String;

    /// `TYPE=JSON`; `TYPE` alone has no settings.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (kind, settings) = text.split_once('=').unwrap_or((text, "{}"));
        if kind.is_empty() {
            return Err("expected TYPE=JSON".to_owned());
        }
        Ok(Self { kind: kind.to_owned(), settings: json_text(settings)? })
    }
}

/// A JSON value on the command line.
pub(crate) fn json_text(text: &str) -> std::result::Result<Raw, String> {
    Raw::new(text.to_owned()).map_err(|error| format!("not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_keep_their_bytes() {
        let policy: Policy = r#"ACL={"Priority": 1e2,"Action":"Block"}"#.parse().unwrap();
        let expected = r#"{"Policies":[{"Settings":{"Priority": 1e2,"Action":"Block"},"Type":"ACL"}]}"#;
        assert_eq!(list_of(&[policy.raw()]).get(), expected);
        assert_eq!("HostRoute".parse::<Policy>().unwrap(), Policy::of("HostRoute", &json!({})));
        for wrong in ["", "={}", "ACL=", "ACL={", "ACL={} {}"] {
            assert!(wrong.parse::<Policy>().is_err(), "{wrong}");
        }
    }
}
