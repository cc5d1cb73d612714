//! What `libcomputenetwork.so` and `libvmcompute.so` are made of: the C API of the Host Compute Network service (contract
//! 1) over [`hcn_client::blocking`]. The two libraries only give names to what is here.
//!
//! One process is one session of the service, so that a handle is good in every thread; each thread has a connection of
//! its own, so that no call waits for another ([`session`]). Handles are numbers of this process ([`handles`]): what a
//! caller gives is looked up, never followed. Callbacks run on a thread for each registration ([`callbacks`]).
//!
//! Nothing here unwinds into C, raises SIGPIPE, or keeps a thread or a runtime where there is no registration.
#![allow(unsafe_code, reason = "what C gives are pointers")]

pub mod callbacks;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod handles;
pub mod memory;
pub mod ports;
mod session;
pub mod verbs;
pub mod vmcompute;

pub use fault::Fault;
pub use hcn_client::{HResult, Kind};

/// HRESULT.
pub type Code = i32;
/// PCWSTR: UTF-16 with a NUL at the end, the caller's.
pub type Text = *const u16;
/// PWSTR*: where a text goes that the caller frees with CoTaskMemFree.
pub type TextOut = *mut *mut u16;
/// A handle of any kind.
pub type Handle = *mut std::ffi::c_void;

/// S_OK.
pub const OK: Code = 0;
/// E_NOTIMPL.
pub const NOT_IMPLEMENTED: Code = HResult::NOT_IMPLEMENTED.0 as Code;

/// Carries out what an export does: its HRESULT, and the ErrorRecord, which is written whatever happens.
///
/// # Safety
/// `record` is null or valid for a write.
pub(crate) unsafe fn answer(record: TextOut, work: impl FnOnce() -> Result<(), Fault>) -> Code {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    let outcome = outcome.unwrap_or_else(|_| Err(HResult::UNEXPECTED.into()));
    // SAFETY: the caller's word.
    let place = unsafe { memory::Out::new(record) }.ok();
    match outcome {
        Ok(()) => OK,
        Err(fault) => {
            if let Some(mut place) = place
                && let Ok(text) = memory::give(&fault.record)
            {
                place.set(text);
            }
            fault.code.0 as Code
        }
    }
}
