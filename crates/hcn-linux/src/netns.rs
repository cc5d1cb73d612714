//! Named network namespaces: files in a folder, as `ip netns` makes them, each with a socket opened inside.

mod rules;

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hcn_dataplane::{Existing, Netns};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, fstatfs};

pub(crate) use rules::{Rules, Transacted};

use crate::announce::PacketSocket;
use crate::aside::Paths;
use crate::nft;
use crate::socket::Socket;

const NONE: Option<&str> = None;
const NSFS_MAGIC: FsType = FsType(libc::NSFS_MAGIC);
/// The mode of files that hcnd mounts namespaces on: the sticky bit, which means nothing there, tells them from others'.
const OURS: u32 = 0o1444;
/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// A file that was opened, or why not.
pub(crate) type Opened = io::Result<File>;

/// A namespace that is held open.
pub(crate) struct Handle {
    file: File,
    /// A route socket inside it.
    pub(crate) socket: Socket,
    /// For announcements inside it, once there was one. Closing it takes the kernel some 10 ms, so it lives as long as the
    /// rest, and few have one.
    packets: Option<PacketSocket>,
    /// What changes rules inside it.
    pub(crate) rules: Rules,
    /// The number that the host's own namespace has for it, once it is known: it stays the same.
    pub(crate) number: Option<i32>,
}

impl Handle {
    /// Device and number, by which two files are seen to be of one namespace.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        identity(&self.file)
    }

    /// For `IFLA_NET_NS_FD`.
    pub(crate) fn raw(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// The route socket of a network namespace, if it is known.
pub(crate) fn socket_in<'a>(
    host: &'a Socket,
    namespaces: &'a HashMap<String, Handle>,
    netns: &Netns,
) -> Option<&'a Socket> {
    match netns {
        Netns::Host => Some(host),
        Netns::Named(name) => namespaces.get(name).map(|handle| &handle.socket),
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

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A new namespace under this name, which `mark` makes recognisable as hcnd's before it has the name: a kill at any time
    /// leaves nothing that the next hcnd would not know for its own.
    ///
    /// # Errors
    /// EEXIST when the name is taken; nothing is left then or after any other error.
    pub(crate) fn create(
        &self,
        name: &str,
        mark: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> io::Result<Handle> {
        let path = self.file(name)?;
        touch(&path)?;
        let made = self.within(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let file = File::open(OWN)?;
            let socket = Socket::open(NETLINK_ROUTE)?;
            mark(&socket)?;
            mount(Some(OWN), &path, NONE, MsFlags::MS_BIND, NONE)?;
            Ok(Handle { file, socket, packets: None, rules: Rules::default(), number: None })
        });
        if made.is_err() {
            // After an error there is nothing more to lose; EINVAL = was not mounted.
            let _ = umount2(&path, MntFlags::MNT_DETACH);
            let _ = std::fs::remove_file(&path);
        }
        made
    }

    /// Gives a namespace that somebody else made a name.
    ///
    /// # Errors
    /// EEXIST when the name is taken, EINVAL when it is no network namespace, ESTALE when it is another one than was
    /// meant, ETIMEDOUT when its path does not answer; nothing is left then or after any other error.
    pub(crate) fn take_in(
        &self,
        paths: &mut Paths<Opened>,
        name: &str,
        existing: &Existing,
    ) -> io::Result<Handle> {
        let handle = self.enter(open_in_time(paths, Path::new(&existing.path))?)?;
        let inode = handle.identity()?.1;
        if existing.inode != 0 && existing.inode != inode {
            return Err(io::Error::from_raw_os_error(libc::ESTALE));
        }
        if self.is_own(&handle)? {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.bind(name, &handle)?;
        Ok(handle)
    }

    /// What is at a path, or below this folder if it is only a name.
    ///
    /// # Errors
    /// ENOENT, EINVAL when it is no network namespace, or ETIMEDOUT when the path does not answer.
    pub(crate) fn look(&self, paths: &mut Paths<Opened>, place: &str) -> io::Result<Handle> {
        let file = match place.contains('/') {
            true => open_in_time(paths, Path::new(place)),
            false => open_namespace(&self.file(place)?),
        };
        self.enter(file?)
    }

    /// Whether a namespace is the one that hcnd runs in.
    pub(crate) fn is_own(&self, handle: &Handle) -> io::Result<bool> {
        Ok(identity(&self.host)? == handle.identity()?)
    }

    /// A namespace that exists already, such as one made before a restart.
    pub(crate) fn adopt(&self, name: &str) -> io::Result<Handle> {
        self.enter(File::open(self.file(name)?)?)
    }

    /// Opens sockets inside a namespace.
    fn enter(&self, file: File) -> io::Result<Handle> {
        self.within(|| {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            Socket::open(NETLINK_ROUTE)
        })
        .map(|socket| Handle { file, socket, packets: None, rules: Rules::default(), number: None })
    }

    /// One more route socket inside a namespace.
    pub(crate) fn socket(&self, handle: &Handle) -> io::Result<Socket> {
        self.within(|| {
            setns(&handle.file, CloneFlags::CLONE_NEWNET)?;
            Socket::open(NETLINK_ROUTE)
        })
    }

    /// The packet socket of a namespace, opened if it is not yet.
    pub(crate) fn packets<'a>(&self, handle: &'a mut Handle) -> io::Result<&'a PacketSocket> {
        let opened = match handle.packets.take() {
            Some(open) => open,
            None => self.within(|| {
                setns(&handle.file, CloneFlags::CLONE_NEWNET)?;
                PacketSocket::open()
            })?,
        };
        Ok(handle.packets.insert(opened))
    }

    /// Makes sure that rules can be changed in a namespace.
    ///
    /// # Errors
    /// ETIMEDOUT while a change of them hangs.
    pub(crate) fn open_rules(&self, handle: &mut Handle) -> io::Result<()> {
        let Handle { file, rules, .. } = handle;
        rules.open(|| {
            let socket = self.within(|| {
                setns(&*file, CloneFlags::CLONE_NEWNET)?;
                Socket::open(NETLINK_NETFILTER)
            })?;
            socket.make_room(nft::ROOM)?;
            Ok(socket)
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

    /// Whether a namespace has its name.
    pub(crate) fn is_bound(&self, name: &str, handle: &Handle) -> bool {
        let there = self.file(name).and_then(std::fs::metadata);
        let own = handle.identity();
        matches!((there, own), (Ok(there), Ok(own)) if (there.dev(), there.ino()) == own)
    }

    /// Gives a namespace its name again; whatever has the name loses it.
    pub(crate) fn bind_again(&self, name: &str, handle: &Handle) -> io::Result<()> {
        if self.is_bound(name, handle) {
            return Ok(());
        }
        self.unbind(name)?;
        self.bind(name, handle)
    }

    /// Removes a file that has not become a namespace.
    pub(crate) fn discard_unfinished(&self, name: &str) -> io::Result<()> {
        let path = self.file(name)?;
        match std::fs::symlink_metadata(&path) {
            Ok(file) if file.is_file() && file.len() == 0 => self.unbind(name),
            _ => Ok(()),
        }
    }

    /// Removes a file that hcnd made and that has not become a namespace, or is none any more; others' stay.
    pub(crate) fn discard_own(&self, name: &str) -> io::Result<()> {
        let path = self.file(name)?;
        match std::fs::symlink_metadata(&path) {
            Ok(file) if file.is_file() && file.len() == 0 && file.mode() & 0o7777 == OURS => {
                tracing::warn!(name, "removing a file without a namespace that an earlier hcnd left behind");
                self.unbind(name)
            }
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

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let facts = file.metadata()?;
    Ok((facts.dev(), facts.ino()))
}

/// Opens what a client has named. Whatever else it is must not even be opened: a device could act on that, a pipe would
/// wait.
pub(crate) fn open_namespace(path: &Path) -> io::Result<File> {
    let there = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)?;
    if fstatfs(&there)?.filesystem_type() != NSFS_MAGIC {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    File::open(format!("/proc/thread-self/fd/{}", there.as_raw_fd()))
}

/// The same for a path that any file system may be behind.
fn open_in_time(paths: &mut Paths<Opened>, path: &Path) -> Opened {
    paths.run(path, open_namespace)?
}

fn back(host: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setns(host, CloneFlags::CLONE_NEWNET)?)
}

/// A file to mount a namespace on.
fn touch(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(OURS).open(path).map(drop)
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
