//! The records from before, and how they are kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use hcn_core::restore;
use hcn_schema::{Error, HResult};
use hcn_store::{Era, Loaded, OpenError, Store, salvage};

/// Why the state is unreadable.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, reason } = self;
        write!(
            f,
            "the state in {} is damaged ({reason}): nothing is changed; restore a backup with `hcnctl restore FILE`, or put a \
             copy in its place, or move it away to begin without state, and restart hcnd",
            path.display()
        )
    }
}

impl Fault {
    /// What every change is answered.
    pub(crate) fn error(&self) -> Error {
        Error::new(HResult::FILE_CORRUPT, self.to_string())
    }
}

/// How the records are kept.
#[derive(Clone, Debug)]
pub enum Keeping {
    /// In a file.
    Durable(Store),
    /// Not at all: the file is damaged, so nothing is changed, neither it nor the kernel.
    Damaged(Arc<Fault>),
}

/// State from before.
#[derive(Debug)]
pub struct Restored {
    /// How it is kept.
    pub keeping: Keeping,
    /// What it was.
    pub loaded: Loaded,
    /// Where it is true.
    pub era: Era,
    /// Which start of this process it is for, counted from 1.
    pub start: u64,
}

impl Restored {
    /// What was loaded from a store, for the first start.
    pub fn from_store(store: Store, loaded: Loaded) -> Self {
        Self { keeping: Keeping::Durable(store), loaded, era: Era::default(), start: 1 }
    }

    /// Opens the file; what does not outlive a reboot is dropped if there was one since. Of a damaged one, what can be read
    /// is loaded, and it stays as it is.
    pub(crate) fn open(path: &Path, start: u64) -> anyhow::Result<Self> {
        let hcn_linux::Era { boot_id, netns_cookie } =
            hcn_linux::era().context("cannot tell this boot from others")?;
        let era = Era { boot_id, netns_cookie };
        let (store, mut loaded) = match Store::open(path, &era) {
            Ok(opened) => opened,
            Err(OpenError::Corrupt(reason)) => return Ok(Self::damaged(path, reason, era, start)),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot use the state in {}", path.display()));
            }
        };
        let before = loaded.entities.len();
        if loaded.same_era {
            loaded.entities = restore::after_restart(loaded.entities);
        } else {
            loaded.entities = restore::after_reboot(loaded.entities);
            store
                .replace_all(&loaded.entities, &era)
                .with_context(|| format!("cannot write the state in {}", path.display()))?;
            if before > 0 {
                let after = loaded.entities.len();
                tracing::info!(before, after, "the machine, or its network, was started anew");
            }
        }
        Ok(Self { keeping: Keeping::Durable(store), loaded, era, start })
    }

    fn damaged(path: &Path, reason: String, era: Era, start: u64) -> Self {
        let fault = Fault { path: path.to_owned(), reason };
        let entities = restore::after_restart(salvage(path));
        tracing::error!(readable = entities.len(), "{fault}");
        let loaded = Loaded { entities, same_era: true, last_incarnation: 0 };
        Self { keeping: Keeping::Damaged(Arc::new(fault)), loaded, era, start }
    }
}
