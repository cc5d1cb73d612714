//! `hcn-cni`, the CNI plugin of hcnd: podman, containerd and others connect their containers to hcnd's networks by it.
//! It keeps nothing of its own; what it has made is in hcnd's documents.

mod add;
mod attachment;
mod check;
mod config;
mod endpoint;
mod environment;
mod error;
mod kernel;
mod network;
mod remove;
mod result;
mod version;

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use hcn_client::blocking::Client;
use hcn_client::default_socket;
use serde_json::{Value, json};

use config::Given;
use environment::{Container, required};
use error::{Code, Error, Result};
use version::{SUPPORTED, Version};

/// hcnd gives up after 30 s what cannot be done.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    // Errors are told in the version that was asked for, whether it is known or not.
    let mut version = SUPPORTED[SUPPORTED.len() - 1].to_owned();
    let (said, code) = match run(&mut version) {
        Ok(result) => (result, ExitCode::SUCCESS),
        Err(error) => (Some(error.json(&version)), ExitCode::FAILURE),
    };
    let Some(said) = said else { return code };
    match writeln!(io::stdout(), "{said}") {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(told: &mut String) -> Result<Option<Value>> {
    let command = required("CNI_COMMAND")?;
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Error::new(Code::Io, format!("cannot read the network configuration: {error}")))?;
    if command == "VERSION" {
        return Ok(Some(versions(&text, told)));
    }
    let given = Given::parse(&text).map_err(|(error, version)| {
        *told = version.unwrap_or_else(|| told.clone());
        error
    })?;
    let version = given.version;
    version.text().clone_into(told);
    let since = |first: Version| {
        let message = format!("{command} is not in cniVersion {}", version.text());
        if version < first { Err(Error::new(Code::IncompatibleVersion, message)) } else { Ok(()) }
    };
    match command.as_str() {
        "ADD" => {
            let (container, config) = (Container::from_environment()?, given.config()?);
            add::run(&mut connect()?, &config, version, &container).map(Some)
        }
        "DEL" => {
            let (container, network) = (Container::from_environment()?, given.name()?);
            remove::run(&mut connect()?, &network, &container).map(|()| None)
        }
        "CHECK" => {
            since(Version::V0_4)?;
            let (container, config) = (Container::from_environment()?, given.config()?);
            check::run(&mut connect()?, &config, &container).map(|()| None)
        }
        "GC" => {
            since(Version::V1_1)?;
            remove::collect(&mut connect()?, &given.config()?).map(|()| None)
        }
        "STATUS" => {
            since(Version::V1_1)?;
            let config = given.config()?;
            let mut client = connect().map_err(|error| Error { code: Code::NotAvailable, ..error })?;
            check::status(&mut client, &config).map(|()| None)
        }
        other => Err(Error::new(Code::InvalidEnvironment, format!("CNI_COMMAND {other:?} is not known"))),
    }
}

/// VERSION, which everybody gets an answer to.
fn versions(text: &str, told: &mut String) -> Value {
    let given: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(version) = given["cniVersion"].as_str() {
        version.clone_into(told);
    }
    json!({"cniVersion": told, "supportedVersions": SUPPORTED})
}

fn connect() -> Result<Client> {
    let mut client = Client::connect(&default_socket())?;
    client
        .set_timeout(Some(PATIENCE))
        .map_err(|error| Error::new(Code::Io, format!("cannot set a time limit: {error}")))?;
    Ok(client)
}
