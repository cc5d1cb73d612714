//! The mounts of a sandbox: a /run, /etc/netns, /proc and /sys of its own over those of the host, which it cannot
//! change and still sees.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};

use super::namespaces::forbidden;

/// The folder of hcnd inside: socket, log, store.
pub(super) const HCND_DIR: &str = "/run/hcnd";

/// Entries of the host's /run that a sandbox must not see: its own take their place.
const REPLACED: [&str; 2] = ["netns", "hcnd"];
const HARMLESS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Makes all mounts. What could not be had, and can be done without, is returned as text for the log.
pub(super) fn set_up() -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    make_private()?;
    replace_run(&mut missing).context("cannot make a private /run")?;
    if let Err(error) = own_etc_netns(&mut missing) {
        missing.push(format!("/etc/netns is that of the host, if it has one: {error:#}"));
    }
    if let Err(error) = fresh_sys(&mut missing) {
        missing.push(format!("/sys shows the links of the host: {error:#}"));
    }
    if let Err(errno) = mount(Some("proc"), "/proc", Some("proc"), HARMLESS, None::<&str>) {
        missing.push(format!("/proc shows the processes of the host: cannot mount proc: {}", errno.desc()));
    }
    Ok(missing)
}

/// Nothing mounted from here on reaches the host.
fn make_private() -> anyhow::Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    match mount(None::<&str>, "/", None::<&str>, flags, None::<&str>) {
        Ok(()) => Ok(()),
        // Ubuntu 24.04 grants the user namespace and then no capability in it.
        Err(errno @ (Errno::EPERM | Errno::EACCES)) => {
            Err(forbidden(&format!("cannot make / a private mount: {}", errno.desc())))
        }
        Err(errno) => Err(errno).context("cannot make / a private mount"),
    }
}

fn replace_run(missing: &mut Vec<String>) -> anyhow::Result<()> {
    let old = Covered::open("/run")?;
    let entries: Vec<_> = fs::read_dir("/run")?.collect::<Result<_, _>>()?;
    mount_tmpfs("/run")?;
    for entry in entries {
        let name = entry.file_name();
        if REPLACED.iter().any(|replaced| name == *replaced) {
            continue;
        }
        if let Err(error) = restore(&old.path(Path::new(&name)), &Path::new("/run").join(&name)) {
            missing.push(format!("/run/{}: {error:#}", name.display()));
        }
    }
    make_dir(Path::new(HCND_DIR))
}

/// Makes `target` show what `source` is.
fn restore(source: &Path, target: &Path) -> anyhow::Result<()> {
    let kind = fs::symlink_metadata(source)?.file_type();
    if kind.is_symlink() {
        return Ok(std::os::unix::fs::symlink(fs::read_link(source)?, target)?);
    }
    if kind.is_dir() {
        make_dir(target)?;
    } else {
        File::create(target)?;
    }
    bind(source, target)
}

/// A private /etc/netns, where `ip netns exec NAME` finds its files for NAME. Where the host has none, the folder
/// can only come into being on an overlay over all of /etc.
fn own_etc_netns(missing: &mut Vec<String>) -> anyhow::Result<()> {
    let netns = Path::new("/etc/netns");
    if netns.is_dir() {
        return mount_tmpfs("/etc/netns");
    }
    let old = Covered::open("/etc")?;
    let upper = Path::new(HCND_DIR).join("sandbox/etc");
    let work = Path::new(HCND_DIR).join("sandbox/etc-work");
    make_dir(&upper)?;
    make_dir(&work)?;
    let layers = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    let overlay =
        |data: &str| mount(Some("overlay"), "/etc", Some("overlay"), MsFlags::MS_NOSUID, Some(data));
    if in_user_namespace() {
        // The overlay's own marks go into user.*, since trusted.* is not for those who are root only here.
        overlay(&format!("{layers},userxattr")).or_else(|_| overlay(&layers))
    } else {
        overlay(&layers)
    }
    .context("cannot mount an overlay over /etc")?;
    old.restore_mounts(missing);
    make_dir(netns)
}

/// A sysfs that shows this network namespace, with what the host has mounted below it.
fn fresh_sys(missing: &mut Vec<String>) -> anyhow::Result<()> {
    let old = Covered::open("/sys")?;
    let sysfs = |flags| mount(Some("sysfs"), "/sys", Some("sysfs"), flags, None::<&str>);
    // Where the host's is read-only, ours must be.
    sysfs(HARMLESS).or_else(|_| sysfs(HARMLESS | MsFlags::MS_RDONLY)).context("cannot mount sysfs")?;
    old.restore_mounts(missing);
    Ok(())
}

/// A folder that is about to be covered by a mount, and how to reach it still.
struct Covered {
    at: &'static str,
    dir: File,
    /// Mount points below it, relative to it; not those below one another.
    mounts: Vec<PathBuf>,
}

impl Covered {
    fn open(at: &'static str) -> anyhow::Result<Self> {
        let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY).bits();
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(at)
            .with_context(|| format!("cannot open {at}"))?;
        let mountinfo = fs::read("/proc/self/mountinfo").context("cannot read the list of mounts")?;
        Ok(Self { at, dir, mounts: outermost_mounts_below(Path::new(at), &mountinfo) })
    }

    fn path(&self, relative: &Path) -> PathBuf {
        Path::new(&format!("/proc/self/fd/{}", self.dir.as_raw_fd())).join(relative)
    }

    fn restore_mounts(&self, missing: &mut Vec<String>) {
        for relative in &self.mounts {
            let target = Path::new(self.at).join(relative);
            if let Err(error) = bind(&self.path(relative), &target) {
                missing.push(format!("{}: {error:#}", target.display()));
            }
        }
    }
}

/// The mount points below `dir` as paths relative to it, leaving out those that lie below others of them.
fn outermost_mounts_below(dir: &Path, mountinfo: &[u8]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .filter_map(|path| path.strip_prefix(dir).ok().map(Path::to_path_buf))
        .filter(|relative| !relative.as_os_str().is_empty())
        .collect();
    found.sort();
    found.dedup_by(|later, kept| later.starts_with(&*kept));
    found
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let octal = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                path.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => path.push(*first),
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&path))
}

fn bind(source: &Path, target: &Path) -> anyhow::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>).context("cannot bind it")
}

fn mount_tmpfs(target: &str) -> anyhow::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some("mode=0755"))
        .with_context(|| format!("cannot mount a tmpfs on {target}"))
}

/// Makes a folder that others can read, whatever the umask says.
fn make_dir(path: &Path) -> anyhow::Result<()> {
    let made = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
    };
    made().with_context(|| format!("cannot make {}", path.display()))
}

/// Only the host's own user namespace has all IDs.
fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().ne(["0", "0", "4294967295"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_others_are_left_out() {
        let mountinfo = b"1 0 8:1 / / rw - ext4 a rw\n\
            2 1 0:1 / /sys rw - sysfs sysfs rw\n\
            3 2 0:2 / /sys/fs/cgroup rw - tmpfs t rw\n\
            4 3 0:3 / /sys/fs/cgroup/cpu rw - cgroup c rw\n\
            5 2 0:4 / /sys/fs/bpf rw - bpf b rw\n\
            6 1 0:5 / /system rw - tmpfs t rw\n\
            7 2 0:6 / /sys/a\\040b rw - tmpfs t rw\n";
        let found = outermost_mounts_below(Path::new("/sys"), mountinfo);
        assert_eq!(found, ["a b", "fs/bpf", "fs/cgroup"].map(PathBuf::from));
    }
}
