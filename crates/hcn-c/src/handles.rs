//! What did this process give out as handles? A handle is a number that is never used again, and never an address.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hcn_client::{Guid, HResult, Kind};

use crate::Handle;

/// How far handles are from each other: those of Windows are multiples of 4, and no caller may count them.
const STEP: usize = 0x10;

/// What a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Of what kind it is.
    pub(crate) kind: Kind,
    /// In which session of this process it was opened.
    pub(crate) session: u64,
    /// The service's handle.
    pub(crate) handle: i64,
    /// The entity.
    pub(crate) id: Guid,
}

struct Table {
    next: usize,
    live: BTreeMap<usize, Entry>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { next: STEP, live: BTreeMap::new() });

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new number.
pub(crate) fn number() -> usize {
    let mut table = table();
    let number = table.next;
    table.next += STEP;
    number
}

/// A number as C holds it.
pub(crate) fn as_handle(number: usize) -> Handle {
    ptr::without_provenance_mut(number)
}

/// A handle for this.
pub(crate) fn give(entry: Entry) -> Handle {
    let number = number();
    table().live.insert(number, entry);
    as_handle(number)
}

/// What a handle of this kind stands for.
///
/// # Errors
/// E_HANDLE: it was closed; E_INVALIDARG: it never was a handle, or is of another kind.
pub(crate) fn find(handle: Handle, kind: Kind) -> Result<Entry, HResult> {
    let table = table();
    match table.live.get(&handle.addr()) {
        Some(entry) if entry.kind == kind => Ok(*entry),
        Some(_) => Err(HResult::INVALID_ARGUMENT),
        None => Err(unknown(&table, handle.addr())),
    }
}

/// Takes a handle of this kind back.
///
/// # Errors
/// As of [`find`].
pub(crate) fn take(handle: Handle, kind: Kind) -> Result<Entry, HResult> {
    let found = find(handle, kind)?;
    // Of two who close it at once one comes late.
    table().live.remove(&handle.addr()).map(|_| found).ok_or(HResult::INVALID_HANDLE)
}

/// A handle that could not be closed is as before.
pub(crate) fn put_back(handle: Handle, entry: Entry) {
    table().live.insert(handle.addr(), entry);
}

/// Why there is no such handle.
fn unknown(table: &Table, number: usize) -> HResult {
    let was_given = number != 0 && number < table.next && number.is_multiple_of(STEP);
    if was_given { HResult::INVALID_HANDLE } else { HResult::INVALID_ARGUMENT }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "what fails must fail the test")]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_known_until_it_is_taken_and_never_again() {
        let entry = Entry { kind: Kind::Network, session: 1, handle: 7, id: Guid::ZERO };
        let handle = give(entry);
        assert_eq!(find(handle, Kind::Network), Ok(entry));
        assert_eq!(find(handle, Kind::Endpoint), Err(HResult::INVALID_ARGUMENT));
        assert_eq!(take(handle, Kind::Network), Ok(entry));
        assert_eq!(take(handle, Kind::Network), Err(HResult::INVALID_HANDLE));
        assert_ne!(give(entry), handle);
        for wild in [0, 1, handle.addr() + 1, usize::MAX] {
            assert_eq!(find(as_handle(wild), Kind::Network), Err(HResult::INVALID_ARGUMENT), "{wild:x}");
        }
    }
}
