//! The file, with everything that is written to it kept in memory: to see whether it can be used without touching it.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// A file that is locked as if it were used, and never written.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    file: FileBackend,
    /// The octets as they would be; none before the first write.
    written: Mutex<Option<Vec<u8>>>,
}

impl Rehearsal {
    /// `file` must be open for writing, without which it cannot be locked.
    pub(crate) fn of(file: File) -> Result<Self, redb::DatabaseError> {
        Ok(Self { file: FileBackend::new(file)?, written: Mutex::new(None) })
    }

    /// Changes the octets in memory.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<u8>) -> io::Result<T>) -> io::Result<T> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let octets = match &mut *written {
            Some(octets) => octets,
            None => {
                let mut octets = vec![0; length(self.file.len()?)?];
                self.file.read(0, &mut octets)?;
                written.insert(octets)
            }
        };
        change(octets)
    }
}

impl StorageBackend for Rehearsal {
    fn len(&self) -> io::Result<u64> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.as_ref().map_or_else(|| self.file.len(), |octets| Ok(octets.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(octets) = &*written else { return self.file.read(offset, out) };
        let from = length(offset)?;
        let found = octets.get(from..from.saturating_add(out.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|octets| {
            octets.resize(length(len)?, 0);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|octets| {
            let from = length(offset)?;
            let place = octets.get_mut(from..from.saturating_add(data.len()));
            place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

fn length(of: u64) -> io::Result<usize> {
    usize::try_from(of).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
