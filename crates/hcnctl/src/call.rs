//! `hcnctl call`.

use std::path::PathBuf;

use clap::Args;
use hcn_client::Raw;

use crate::Context;
use crate::entity::read_json;
use crate::failure::Result;
use crate::policy::json_text;

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The method with its interface: io.hcn.Network.Enumerate
    method: String,

    /// Its parameters, a JSON object.
    #[arg(value_name = "JSON", value_parser = json_text, default_value = "{}", conflicts_with = "file")]
    parameters: Raw,

    /// Its parameters from a file; - = standard input.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Welcome several results, and print each on a line of its own.
    #[arg(long)]
    more: bool,
}

pub(crate) fn run(context: &mut Context, command: &Call) -> Result<()> {
    let read = command.file.as_deref().map(read_json).transpose()?;
    let parameters = read.as_ref().unwrap_or(&command.parameters);
    if !command.more {
        let results = context.client.call(&command.method, parameters)?;
        return Ok(context.output.line(results.get())?);
    }
    for results in context.client.call_more(&command.method, parameters)? {
        context.output.line(results?.get())?;
    }
    Ok(())
}
