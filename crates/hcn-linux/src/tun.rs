//! TAP interfaces are made through a character device, not by netlink (Documentation/networking/tuntap.rst).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

const DEVICE: &str = "/dev/net/tun";
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNSETPERSIST: libc::Ioctl = 0x4004_54cb;
const TUNSETOWNER: libc::Ioctl = 0x4004_54cc;

const IFF_TAP: u16 = 0x0002;
/// Frames come without a header that says their protocol.
const IFF_NO_PI: u16 = 0x1000;
/// Frames come with a header of virtio, by which a virtual machine can leave checksums and segments to the host.
const IFF_VNET_HDR: u16 = 0x4000;
/// An interface that is there already is not meant.
const IFF_TUN_EXCL: u16 = 0x8000;

/// `struct ifreq`, as far as TUNSETIFF reads it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    rest: [u8; 22],
}

/// For tests: opens a TAP interface as a virtual machine does, with the header of virtio before each frame or without. One
/// that is not there is made, and goes with the descriptor.
///
/// # Errors
/// It belongs to another user, or is open already.
#[doc(hidden)]
pub fn open_tap(name: &str, header: bool) -> io::Result<File> {
    open(name, if header { IFF_VNET_HDR } else { 0 })
}

fn open(name: &str, flags: u16) -> io::Result<File> {
    let file = File::options().read(true).write(true).open(DEVICE)?;
    let mut request =
        Request { name: [0; libc::IFNAMSIZ], flags: IFF_TAP | IFF_NO_PI | flags, rest: [0; 22] };
    // The last octet stays the NUL that ends the name.
    request.name.iter_mut().zip(name.bytes()).take(libc::IFNAMSIZ - 1).for_each(|(to, from)| *to = from);
    #[allow(unsafe_code, reason = "nix has no wrapper for the device")]
    // SAFETY: the descriptor is open; the kernel reads and writes one `ifreq`, which is as long as `Request`, and keeps no
    // pointer to it.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(file) }
}

/// A TAP interface that goes when this is dropped, until [`keep`](Self::keep).
pub(crate) struct Tap(File);

impl Tap {
    /// Makes one in the network namespace that the calling thread is in; `owner` may open it besides root.
    ///
    /// # Errors
    /// EBUSY when the name is taken by another one, EINVAL when it is by another link; ENOENT, ENXIO or ENODEV where the
    /// kernel has none.
    pub(crate) fn create(name: &str, owner: Option<u32>) -> io::Result<Self> {
        let tap = Self(open(name, IFF_VNET_HDR | IFF_TUN_EXCL)?);
        if let Some(owner) = owner {
            tap.set(TUNSETOWNER, owner)?;
        }
        Ok(tap)
    }

    /// Lets it outlive this.
    pub(crate) fn keep(&self) -> io::Result<()> {
        self.set(TUNSETPERSIST, 1)
    }

    fn set(&self, request: libc::Ioctl, value: u32) -> io::Result<()> {
        #[allow(unsafe_code, reason = "nix has no wrapper for the device")]
        // SAFETY: the descriptor is open, and these requests take a number.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), request, libc::c_ulong::from(value)) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
