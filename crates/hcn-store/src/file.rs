//! Opening the file so that whatever is wrong with it is told, and nothing is made worse.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Builder, Database};

use crate::error::OpenError;

/// Octets of the file that are kept in memory: all of it, for as many entities as most hosts have.
const CACHE: usize = 4 << 20;

/// Opens the file, or makes it.
pub(crate) fn open(path: &Path) -> Result<Database, OpenError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(OpenError::Io)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(OpenError::Io)?;
    checked(|| builder().create_with_backend(FileBackend::new(file)?))
}

/// A database that lasts as long as it is held.
pub(crate) fn in_memory() -> Result<Database, OpenError> {
    checked(|| builder().create_with_backend(InMemoryBackend::new()))
}

/// Opens it again after an error that left the old one unusable.
pub(crate) fn reopen(path: &Path) -> Result<Database, OpenError> {
    let file: io::Result<File> = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(OpenError::Io)?;
    checked(|| builder().create_with_backend(FileBackend::new(file)?))
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

/// A damaged file may look like anything, so whatever reading it leads to is an error.
fn checked(open: impl FnOnce() -> Result<Database, redb::DatabaseError>) -> Result<Database, OpenError> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(OpenError::of(error.into())),
        Err(_) => Err(OpenError::Corrupt("reading it fails".to_owned())),
    }
}
