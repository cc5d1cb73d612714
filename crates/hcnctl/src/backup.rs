//! `hcnctl backup` and `hcnctl restore`: all records of hcnd in a file, and back.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use hcn_client::ErrorClass;
use hcn_client::blocking::Client;

use crate::Context;
use crate::failure::{Failure, Result};
use crate::output::Format;

/// How long hcnd may take to start over.
const START: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The new file; one that exists is not overwritten.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// What `hcnctl backup` wrote.
    file: PathBuf,
}

pub(crate) fn backup(context: &mut Context, command: &Backup) -> Result<()> {
    let path = &command.file;
    let refused = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            let message = format!("{} exists; it is not overwritten", path.display());
            Failure::new(ErrorClass::Conflict, message)
        }
        _ => Failure::new(ErrorClass::Failure, format!("cannot write {}: {error}", path.display())),
    };
    // First, so that nothing is asked for that cannot be kept. Policies may hold secrets.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(refused)?;
    let written = context.client.backup().map_err(Failure::from).and_then(|text| {
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(refused)?;
        Ok(text.lines().count().saturating_sub(2))
    });
    match written {
        Ok(records) => told(context, "backed up", records as u64, path),
        Err(failure) => {
            // It is this call's, and not whole.
            let _ = fs::remove_file(path);
            Err(failure)
        }
    }
}

/// Restores, and waits until hcnd serves what was restored.
pub(crate) fn restore(context: &mut Context, command: &Restore, socket: &Path) -> Result<()> {
    let path = &command.file;
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::new(ErrorClass::Failure, format!("cannot read {}: {error}", path.display()))
    })?;
    let started = context.client.status()?.starts;
    let records = context.client.restore(&text)?;
    let deadline = Instant::now() + START;
    let back = || Client::connect(socket).and_then(|mut client| client.status());
    // The old one may still answer.
    while !back().is_ok_and(|status| status.starts > started) {
        if Instant::now() > deadline {
            let message = format!(
                "{records} records are restored, but hcnd does not serve them after {START:?}; its log says why"
            );
            return Err(Failure::new(ErrorClass::Timeout, message));
        }
        sleep(Duration::from_millis(20));
    }
    told(context, "restored", records, path)
}

fn told(context: &mut Context, what: &str, records: u64, path: &Path) -> Result<()> {
    let text = match context.output.format {
        Format::Json => serde_json::json!({ "records": records }).to_string(),
        Format::Table => format!("{what} {records} records: {}", path.display()),
    };
    Ok(context.output.line(&text)?)
}
