//! Descriptors that whoever started this process passes by number.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::sys::socket::{AddressFamily, SockaddrLike as _, SockaddrStorage, getsockname};

/// The listening unix socket behind a descriptor that was passed (`LISTEN_FDS`) and that nobody else uses.
///
/// # Errors
/// It is none.
pub fn passed_listener(fd: RawFd) -> io::Result<UnixListener> {
    let address: SockaddrStorage = getsockname(fd)?;
    if address.family() != Some(AddressFamily::Unix) {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    }
    // SAFETY: the descriptor is open, since it has an address, and by the protocol it is passed to this process alone.
    #[allow(unsafe_code, reason = "a number becomes a descriptor only this way")]
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(owned.into())
}
