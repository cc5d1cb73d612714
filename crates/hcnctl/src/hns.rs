//! `hcnctl hns`: calls of version 1, as HNSCall makes them.

use std::path::PathBuf;

use clap::Args;
use hcn_client::{ErrorClass, HResult, Raw};
use serde_json::Value;

use crate::Context;
use crate::entity::{members, read_document};
use crate::failure::{Failure, Result};
use crate::output::Format;

#[derive(Debug, Args)]
pub(crate) struct Hns {
    /// GET, POST or DELETE.
    method: String,

    /// As /networks/, /endpoints/ID or /globals/version.
    path: String,

    /// The version 1 document, passed on unchanged.
    #[arg(value_name = "JSON", conflicts_with = "file")]
    body: Option<String>,

    /// The same from a file; - = standard input.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(context: &mut Context, command: &Hns) -> Result<()> {
    let body = match &command.file {
        Some(file) => Some(read_document(file)?),
        None => command.body.clone(),
    };
    let envelope = context.client.hns(&command.method.to_uppercase(), &command.path, body.as_deref())?;
    let output = output(&envelope);
    if context.output.format == Format::Json {
        context.output.line(envelope.get())?;
        // The envelope has told already.
        return output.map(|_| ()).map_err(|failure| Failure::Told(failure.exit_code()));
    }
    match output? {
        Some(output) => Ok(context.output.line(output.get())?),
        None => Ok(()),
    }
}

/// The output of a call, byte for byte, if it has one.
fn output(envelope: &Raw) -> Result<Option<Raw>> {
    let mut members = members(envelope);
    let mut value = |member: &str| {
        let raw = members.remove(member).unwrap_or_else(|| Raw::of(&Value::Null));
        (crate::entity::parsed(&raw), raw)
    };
    if value("Success").0 == true {
        let (value, output) = value("Output");
        return Ok((!value.is_null()).then_some(output));
    }
    let code = value("ErrorCode").0.as_u64().and_then(|code| u32::try_from(code).ok()).map(HResult);
    let error = value("Error").0;
    let error = error.as_str().map_or("hcnd does not say why", str::trim_end);
    let (class, code) = match code {
        Some(code) => (ErrorClass::of(code), format!(" [{code}]")),
        None => (ErrorClass::Failure, String::new()),
    };
    Err(Failure::new(class, format!("{error}{code}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(envelope: &str) -> Result<Option<String>> {
        let output = output(&Raw::new(envelope.to_owned()).unwrap())?;
        Ok(output.map(|raw| raw.get().to_owned()))
    }

    #[test]
    fn the_output_keeps_its_bytes() {
        assert_eq!(of(r#"{"Success":true,"Output":[ 1.0 ]}"#).unwrap().as_deref(), Some("[ 1.0 ]"));
        assert_eq!(of(r#"{"Success":true,"Output":null}"#).unwrap(), None);
        assert_eq!(of(r#"{"Success":true}"#).unwrap(), None);
    }

    #[test]
    fn the_code_of_the_envelope_decides_the_exit_code() {
        for (envelope, exit_code) in [
            (r#"{"Success":false,"Error":"The network was not found. ","ErrorCode":2151350273}"#, 3),
            (r#"{"Success":false,"Error":"x"}"#, 1),
            ("{}", 1),
        ] {
            assert_eq!(of(envelope).unwrap_err().exit_code(), exit_code, "{envelope}");
        }
    }
}
