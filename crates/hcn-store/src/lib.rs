//! The durable state of the service: its records, in one file, each change in a transaction that is on the disk before
//! the client hears of it.
//!
//! [`Store::open`] checks the file and gives what it holds; [`Store::commit`] writes a change. What the file looks like is
//! in `schema`, how a record becomes bytes in `record`, the thread that writes in `writer`, what can go wrong in `error`,
//! and a copy of all records as a text in `backup`. Of a damaged file [`salvage`] reads what can be read, and
//! [`replace_damaged`] puts a copy in its place.

mod backup;
mod error;
mod file;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod power;
mod record;
mod rehearsal;
mod schema;
mod writer;

use std::path::Path;
use std::sync::Arc;

use hcn_core::{Change, Entity};
use tokio::sync::oneshot;

pub use backup::{Backup, BackupError};
pub use error::{CommitError, OpenError};
pub use file::{replace_damaged, salvage};

use schema::Step;
use writer::Writer;

/// What tells one run of the machine's network from the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Era {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Of the network namespace that the service runs in (`SO_NETNS_COOKIE`).
    pub netns_cookie: u64,
}

/// What the file held.
#[derive(Debug, Default)]
pub struct Loaded {
    /// All records, oldest first.
    pub entities: Vec<Entity>,
    /// Whether they were written in the same era.
    pub same_era: bool,
    /// The highest incarnation that was ever given.
    pub last_incarnation: u64,
}

/// The store; cheap to clone. The last one to be dropped finishes what was asked.
#[derive(Clone, Debug)]
pub struct Store {
    writer: Arc<Writer>,
}

impl Store {
    /// Opens the file, or makes it, with its folder.
    ///
    /// # Errors
    /// The file cannot be used; it is left as it is.
    pub fn open(path: &Path, era: &Era) -> Result<(Self, Loaded), OpenError> {
        let database = file::open(path)?;
        let read =
            file::unpanicked(|| schema::prepare(&database).and_then(|()| schema::load(&database, era)));
        let loaded = read.unwrap_or_else(|| Err(OpenError::unreadable()))?;
        Ok((Self::on(database, Some(path))?, loaded))
    }

    /// A store that lasts as long as it is held, for tests.
    ///
    /// # Errors
    /// The thread that writes cannot be made.
    pub fn in_memory() -> Result<Self, OpenError> {
        let database = file::in_memory()?;
        schema::prepare(&database)?;
        Self::on(database, None)
    }

    fn on(database: redb::Database, path: Option<&Path>) -> Result<Self, OpenError> {
        let writer = Writer::start(database, path.map(Path::to_owned)).map_err(OpenError::Thread)?;
        Ok(Self { writer: Arc::new(writer) })
    }

    /// Makes a change durable, from now on, in the order of asking.
    ///
    /// # Errors
    /// Nothing of the change is in the file.
    pub fn commit(&self, change: &Change) -> impl Future<Output = Result<(), CommitError>> + use<> {
        let (reply, answer) = oneshot::channel();
        let asked = self.writer.write(Step::of(change), reply);
        async move {
            asked?;
            answer.await.map_err(|_| CommitError::Stopped)?
        }
    }

    /// Writes these records in place of all others, as those of this era. Waits for the disk.
    ///
    /// # Errors
    /// The file is as it was.
    pub fn replace_all(&self, entities: &[Entity], era: &Era) -> Result<(), CommitError> {
        let (reply, answer) = std::sync::mpsc::channel();
        self.writer.replace(entities.iter().map(record::encode).collect(), era.clone(), reply)?;
        answer.recv().map_err(|_| CommitError::Stopped)?
    }

    /// For tests: the next `count` commits fail.
    #[doc(hidden)]
    pub fn fail_commits(&self, count: usize) {
        self.writer.fail(count);
    }
}
