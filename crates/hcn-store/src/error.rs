//! What can go wrong, and what to do about it.

use std::io;

use hcn_schema::HResult;

/// Why the file cannot be used. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What is in it is damaged.
    #[error(
        "the file is damaged ({0}); put a copy of it in its place, or move it away to start without state"
    )]
    Corrupt(String),
    /// A newer hcnd wrote it.
    #[error("the file has version {found}, this hcnd knows {known} and older; start the hcnd that wrote it")]
    Newer {
        /// Of the file.
        found: u64,
        /// The highest that is known.
        known: u64,
    },
    /// Another process holds it.
    #[error("another hcnd has the file in use")]
    InUse,
    /// It cannot be opened, read or written.
    #[error("{}", explained(.0))]
    Io(#[source] io::Error),
    /// What was to be in a new file cannot be written.
    #[error(transparent)]
    Unwritten(CommitError),
    /// The thread that writes cannot be made.
    #[error("cannot make the thread that writes: {0}")]
    Thread(#[source] io::Error),
}

impl OpenError {
    /// redb panics over what it finds.
    pub(crate) fn unreadable() -> Self {
        Self::Corrupt("reading it fails".to_owned())
    }

    pub(crate) fn of(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse,
            redb::Error::Io(error) if error.raw_os_error().is_some() => Self::Io(error),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// Why a change is not in the file.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk, or the file system.
    #[error("cannot write the state: {}", explained(.0))]
    Io(#[source] io::Error),
    /// The file turned out to be damaged.
    #[error("cannot write the state: {0}")]
    Damaged(String),
    /// The store is being closed.
    #[error("the store is closed")]
    Stopped,
}

impl CommitError {
    pub(crate) fn of(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::Io(error),
            other => Self::Damaged(other.to_string()),
        }
    }

    /// The code that a client gets.
    pub fn code(&self) -> HResult {
        match self {
            Self::Io(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                HResult::DISK_FULL
            }
            Self::Stopped => HResult::MANAGER_STOPPED,
            Self::Io(_) | Self::Damaged(_) => HResult::GENERAL_FAILURE,
        }
    }
}

fn explained(error: &io::Error) -> String {
    let todo = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "mount the file system writable, or set paths.store",
        io::ErrorKind::PermissionDenied => "run hcnd as root, or set paths.store",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make space",
        _ => return error.to_string(),
    };
    format!("{error}; {todo}")
}
