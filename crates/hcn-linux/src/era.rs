//! Which run of the machine, and of its network, this is.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;

/// `SO_NETNS_COOKIE`, Linux 5.14.
const NETNS_COOKIE: libc::c_int = 71;

/// What tells one run of the machine's network from the next: after a reboot nothing of the last one is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Era {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The cookie of the network namespace that the calling thread is in; never used again until the next boot.
    pub netns_cookie: u64,
}

/// The era that this is.
///
/// # Errors
/// /proc is not there, or the kernel is older than 5.14.
pub fn era() -> io::Result<Era> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    let socket = UnixDatagram::unbound()?;
    let mut netns_cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` octets, the size of what the pointer leads to.
    #[allow(unsafe_code, reason = "neither std nor nix has this option")]
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            NETNS_COOKIE,
            (&raw mut netns_cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(Era { boot_id, netns_cookie }) } else { Err(io::Error::last_os_error()) }
}
