//! Named network namespaces: files in a folder, as `ip netns` makes them, each with a socket opened inside.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::announce::PacketSocket;
use crate::socket::Socket;

const NONE: Option<&str> = None;
/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// A namespace that is held open.
pub(crate) struct Handle {
    file: File,
    /// A route socket inside it.
    pub(crate) socket: Socket,
    /// For announcements inside it. Closing one takes the kernel a while, so it lives as long as the rest.
    pub(crate) packets: PacketSocket,
}

impl Handle {
    /// For `IFLA_NET_NS_FD`.
    pub(crate) fn raw(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// The folder of namespaces and the way back to the host's own.
pub(crate) struct Folder {
    path: PathBuf,
    host: File,
}

impl Folder {
    /// Makes the folder a shared mount of its own, as `ip netns add` does: a namespace that is mounted or
    /// unmounted below is then seen so in every mount namespace.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().mode(0o755).recursive(true).create(path)?;
        let shared = || mount(NONE, path, NONE, MsFlags::MS_SHARED | MsFlags::MS_REC, NONE);
        if let Err(error) = shared() {
            if error != nix::errno::Errno::EINVAL {
                return Err(error.into());
            }
            // Not a mount point yet.
            mount(Some(path), path, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
            shared()?;
        }
        Ok(Self { path: path.to_owned(), host: File::open(OWN)? })
    }

    /// A new namespace under this name.
    ///
    /// # Errors
    /// EEXIST when the name is taken; nothing is left then or after any other error.
    pub(crate) fn create(&self, name: &str) -> io::Result<Handle> {
        let path = self.file(name)?;
        touch(&path)?;
        let made = self.within(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let file = File::open(OWN)?;
            mount(Some(OWN), &path, NONE, MsFlags::MS_BIND, NONE)?;
            Ok(Handle { file, socket: Socket::open(NETLINK_ROUTE)?, packets: PacketSocket::open()? })
        });
        if made.is_err() {
            // After an error there is nothing more to lose; EINVAL = was not mounted.
            let _ = umount2(&path, MntFlags::MNT_DETACH);
            let _ = std::fs::remove_file(&path);
        }
        made
    }

    /// A namespace that exists already, such as one made before a restart.
    pub(crate) fn adopt(&self, name: &str) -> io::Result<Handle> {
        let file = File::open(self.file(name)?)?;
        self.within(|| {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            Ok((Socket::open(NETLINK_ROUTE)?, PacketSocket::open()?))
        })
        .map(|(socket, packets)| Handle { file, socket, packets })
    }

    /// One more route socket inside a namespace.
    pub(crate) fn socket(&self, handle: &Handle) -> io::Result<Socket> {
        self.within(|| {
            setns(&handle.file, CloneFlags::CLONE_NEWNET)?;
            Socket::open(NETLINK_ROUTE)
        })
    }

    /// Takes the name away; the namespace lives on as long as something holds it.
    pub(crate) fn unbind(&self, name: &str) -> io::Result<()> {
        let path = self.file(name)?;
        match umount2(&path, MntFlags::MNT_DETACH) {
            // Someone unmounted it (EINVAL) or removed it (ENOENT) already: as wanted.
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a file that has not become a namespace.
    pub(crate) fn discard_unfinished(&self, name: &str) -> io::Result<()> {
        let path = self.file(name)?;
        match std::fs::symlink_metadata(&path) {
            Ok(file) if file.is_file() && file.len() == 0 => self.unbind(name),
            _ => Ok(()),
        }
    }

    /// Gives a namespace that lost its name a name again.
    pub(crate) fn bind(&self, name: &str, handle: &Handle) -> io::Result<()> {
        let path = self.file(name)?;
        touch(&path)?;
        let source = format!("/proc/thread-self/fd/{}", handle.raw());
        mount(Some(source.as_str()), &path, NONE, MsFlags::MS_BIND, NONE).map_err(|error| {
            let _ = std::fs::remove_file(&path);
            error.into()
        })
    }

    /// The names in the folder.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.path)?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }

    fn file(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name)?;
        Ok(self.path.join(name))
    }

    /// Runs `work`, which may take this thread into another namespace, and comes back.
    fn within<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let result = work();
        if let Err(error) = back(self.host.as_fd()) {
            // Whatever this thread did from now on would land in a container: there is no safe way on.
            tracing::error!(%error, "cannot return to the host's network namespace");
            std::process::abort();
        }
        result
    }
}

fn back(host: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setns(host, CloneFlags::CLONE_NEWNET)?)
}

fn touch(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o444).open(path).map(drop)
}

/// A name becomes a file below a folder of root's: it must not lead elsewhere.
pub(crate) fn check_name(name: &str) -> io::Result<()> {
    let fine = !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.bytes().any(|byte| byte == b'/' || byte == 0);
    if fine { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
}
