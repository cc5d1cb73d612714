//! `hcnctl call`.

use clap::Args;
use serde_json::value::RawValue;

use crate::Context;
use crate::failure::{Failure, Result};

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The method with its interface: io.hcn.Network.Enumerate
    method: String,

    /// Its parameters, a JSON object.
    #[arg(value_name = "JSON", default_value = "{}")]
    parameters: String,
}

pub(crate) fn run(context: &mut Context, command: &Call) -> Result<()> {
    let parameters: &RawValue = serde_json::from_str(&command.parameters)
        .map_err(|error| Failure::usage(format!("the parameters are not JSON: {error}")))?;
    let results = context.client.call(&command.method, parameters)?;
    Ok(context.output.line(results.get())?)
}
