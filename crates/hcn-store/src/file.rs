//! Opening the file so that whatever is wrong with it is told, and nothing is made worse.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hcn_core::Entity;
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Builder, Database, DatabaseError};

use crate::backup::Backup;
use crate::error::OpenError;
use crate::rehearsal::Rehearsal;
use crate::{record, schema};

/// Octets of the file that are kept in memory: all of it, for as many entities as most hosts have.
const CACHE: usize = 4 << 20;

/// Opens the file, or makes it.
pub(crate) fn open(path: &Path) -> Result<Database, OpenError> {
    if !is_made(path)?
        && let Some(database) = make(path)?
    {
        return Ok(database);
    }
    look(path)?;
    reopen(path)
}

/// Opens it again after an error that left the old one unusable.
pub(crate) fn reopen(path: &Path) -> Result<Database, OpenError> {
    checked(|| builder().open(path))
}

/// Refuses a file that cannot be used before it is opened for writing, which repairs one that was not closed and changes
/// some octets of any.
fn look(path: &Path) -> Result<(), OpenError> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(OpenError::Io)?;
    let looked = unpanicked(|| {
        let opened = Rehearsal::of(file).and_then(|backend| builder().create_with_backend(backend));
        schema::check(&opened.map_err(|error| OpenError::of(error.into()))?)
    });
    looked.unwrap_or_else(|| Err(OpenError::unreadable()))
}

/// What can be read of a file that [`crate::Store::open`] says is damaged, without writing to it: where the file itself is
/// sound, all records but those that do not read and endpoints whose network is one of these. Nothing where it is not: what
/// octets say that fail their checks may be anything.
pub fn salvage(path: &Path) -> Vec<Entity> {
    let read = || {
        let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        let backend = Rehearsal::of(file).ok()?;
        schema::readable(&builder().create_with_backend(backend).ok()?)
    };
    unpanicked(read).flatten().unwrap_or_default()
}

/// Puts the records of a backup in the place of a damaged file, which keeps its content under another name, the answer.
///
/// # Errors
/// The file is as it was, under its own name.
pub fn replace_damaged(path: &Path, backup: &Backup) -> Result<PathBuf, OpenError> {
    let new = with_suffix(path, ".restored");
    let _ = fs::remove_file(&new);
    let put = || {
        let database = make(&new)?.ok_or(OpenError::InUse)?;
        let records: Vec<_> = backup.entities.iter().map(record::encode).collect();
        schema::replace(&database, &records, &backup.era).map_err(OpenError::Unwritten)?;
        drop(database);
        let aside = (0u32..)
            .map(|number| with_suffix(path, &format!(".damaged-{number}")))
            .find(|aside| !aside.exists())
            .unwrap_or_else(|| with_suffix(path, ".damaged"));
        fs::hard_link(path, &aside).map_err(OpenError::Io)?;
        fs::rename(&new, path).map_err(OpenError::Io)?;
        File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(OpenError::Io)?;
        Ok(aside)
    };
    put().inspect_err(|_| {
        // It is of no use to anyone.
        let _ = fs::remove_file(&new);
    })
}

/// A database that lasts as long as it is held.
pub(crate) fn in_memory() -> Result<Database, OpenError> {
    checked(|| builder().create_with_backend(InMemoryBackend::new()))
}

/// Makes the file under another name and gives it its own when it is whole: one that is there always opens, whenever
/// hcnd was killed or the disk was full. None if another process has made it meanwhile.
fn make(path: &Path) -> Result<Option<Database>, OpenError> {
    let folder = folder_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(OpenError::Io)?;
    let unfinished = with_suffix(path, ".unfinished");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&unfinished)
        .map_err(OpenError::Io)?;
    // Whoever makes the file holds this lock, and keeps it: it is also the one of the file that was made.
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse),
        Err(TryLockError::Error(error)) => return Err(OpenError::Io(error)),
    }
    if is_made(path)? {
        return Ok(None);
    }
    let made = fill(file).and_then(|database| {
        fs::rename(&unfinished, path).map_err(OpenError::Io)?;
        // The name is to outlive a loss of power too.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(OpenError::Io)?;
        Ok(database)
    });
    if made.is_err() {
        // It is of no use to anyone; the next start makes it anew if it stays.
        let _ = fs::remove_file(&unfinished);
    }
    made.map(Some)
}

fn fill(file: File) -> Result<Database, OpenError> {
    file.set_len(0).map_err(OpenError::Io)?;
    let database = checked(|| builder().create_with_backend(FileBackend::new(file)?))?;
    schema::prepare(&database)?;
    Ok(database)
}

/// Whether there is a file. An empty one holds nothing, so it counts as none.
fn is_made(path: &Path) -> Result<bool, OpenError> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(OpenError::Io(error)),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

fn checked(open: impl FnOnce() -> Result<Database, DatabaseError>) -> Result<Database, OpenError> {
    match unpanicked(open) {
        Some(Ok(database)) => Ok(database),
        Some(Err(error)) => Err(OpenError::of(error.into())),
        None => Err(OpenError::unreadable()),
    }
}

/// Does something with the file; none if it panics. A damaged file may look like anything, and not every way of it is
/// foreseen by redb: whatever reading or writing it leads to is an error, not the end of hcnd.
pub(crate) fn unpanicked<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
