//! `hcnctl schema`: what documents look like, as JSON Schemas. hcnctl knows that by itself.

use clap::Args;
use hcn_client::ErrorClass;
use hcn_client::json_schema::{self, Entry};

use crate::failure::{Failure, Result};
use crate::output::{Format, Output};

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// The contract's name of the type, as HostComputeNetwork, in any case; without one, all are listed.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn run(output: &mut Output, command: &Schema) -> Result<()> {
    if let Some(name) = &command.name {
        let entry = json_schema::find(name).ok_or_else(|| unknown(name))?;
        return Ok(output.line(&entry.text())?);
    }
    let entries = json_schema::all();
    match output.format {
        Format::Table => Ok(output.table(&["NAME", "GROUP", "ABOUT"], &rows(&entries))?),
        Format::Json => Ok(output.line(&object(&entries))?),
    }
}

fn rows(entries: &[Entry]) -> Vec<Vec<String>> {
    entries
        .iter()
        .map(|entry| vec![entry.name.to_string(), entry.group.name().to_owned(), entry.summary()])
        .collect()
}

/// All schemas by their names.
fn object(entries: &[Entry]) -> String {
    let members: Vec<String> =
        entries.iter().map(|entry| format!("\"{}\": {}", entry.name, entry.text())).collect();
    format!("{{{}}}", members.join(",\n"))
}

fn unknown(name: &str) -> Failure {
    let wanted = name.to_ascii_lowercase();
    let close: Vec<String> = json_schema::all()
        .iter()
        .map(|entry| entry.name.to_string())
        .filter(|known| known.to_ascii_lowercase().contains(&wanted))
        .collect();
    let hint = match close.as_slice() {
        [] => "`hcnctl schema` lists them".to_owned(),
        close => format!("there are {}", close.join(", ")),
    };
    Failure::new(ErrorClass::NotFound, format!("there is no schema {name:?}; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_is_answered_with_the_names_that_have_it() {
        let failure = unknown("hostcomputen");
        assert_eq!(failure.exit_code(), 3);
        let Failure::Own { message, .. } = failure else { unreachable!() };
        assert!(message.ends_with("there are HostComputeNetwork, HostComputeNamespace"), "{message}");
        let Failure::Own { message, .. } = unknown("moon") else { unreachable!() };
        assert!(message.ends_with("`hcnctl schema` lists them"), "{message}");
    }

    #[test]
    fn all_schemas_together_are_one_object() {
        let entries = json_schema::all();
        let all: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&object(&entries)).unwrap();
        assert_eq!(all.len(), entries.len());
        assert_eq!(all["HostComputeNetwork"]["title"], "HostComputeNetwork");
    }
}
