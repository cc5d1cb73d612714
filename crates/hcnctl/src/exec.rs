//! How does a command get into a namespace? As `ip netns exec` does it: the network namespace, a /sys that shows it,
//! and the files of /etc/netns/<ID> over those of /etc. And how does one run beside hcnctl?

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use hcn_client::{ErrorClass, Guid};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::failure::{Failure, Result};

/// Exit codes of shells for a command that is not there or cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

/// What shells add to the number of the signal that a command died of.
const SIGNALLED: i32 = 128;

/// Replaces this process by the command. Returns only when that fails.
pub(crate) fn run(namespace: Guid, kind: &str, command: &[OsString]) -> Result<()> {
    match kind {
        "HostDefault" => {}
        "Host" => enter(namespace)?,
        other => {
            let message = format!("a namespace of type {other} has no network namespace of this host");
            return Err(Failure::new(ErrorClass::Failure, message));
        }
    }
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::usage("no command given"));
    };
    Err(not_started(program, &Command::new(program).args(arguments).exec()))
}

/// Runs a command beside this process, with these variables in its environment. Gives its exit code, as shells do.
pub(crate) fn beside(command: &[OsString], variables: &[(&str, String)]) -> Result<u8> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::usage("no command given"));
    };
    let variables = variables.iter().map(|(name, value)| (name, value));
    let started = Command::new(program).args(arguments).envs(variables).spawn();
    let mut child = started.map_err(|error| not_started(program, &error))?;
    // What the terminal sends to both of us is for the command, which ends when it likes.
    let terminal: SigSet = [Signal::SIGINT, Signal::SIGQUIT].into_iter().collect();
    terminal.thread_block().map_err(|errno| failed("cannot block signals", &errno.into()))?;
    let status = child.wait().map_err(|error| failed("cannot wait for the command", &error))?;
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

fn not_started(program: &OsStr, error: &io::Error) -> Failure {
    // The kernel answers EACCES also for a folder of the path that the caller may not enter.
    let nowhere = error.kind() == io::ErrorKind::NotFound || !is_anywhere(Path::new(program));
    let exit_code = if nowhere { NOT_FOUND } else { NOT_RUNNABLE };
    Failure::Own { exit_code, message: format!("cannot run {}: {error}", program.display()) }
}

/// Whether there is such a file at all.
fn is_anywhere(program: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    program.components().count() > 1
        || std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

fn enter(namespace: Guid) -> Result<()> {
    let path = PathBuf::from(format!("/run/netns/{namespace}"));
    let file =
        File::open(&path).map_err(|error| failed(&format!("cannot open {}", path.display()), &error))?;
    setns(&file, CloneFlags::CLONE_NEWNET)
        .map_err(|errno| failed(&format!("cannot enter {}", path.display()), &errno.into()))?;
    own_mounts().map_err(|errno| failed("cannot make a mount namespace", &errno.into()))?;
    if let Err(errno) = fresh_sys() {
        warn(&format!("/sys shows another network namespace: {errno}"));
    }
    bind_etc(&PathBuf::from(format!("/etc/netns/{namespace}")));
    Ok(())
}

/// A mount namespace that gets mounts of the host but gives none back.
fn own_mounts() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
}

fn fresh_sys() -> nix::Result<()> {
    let mut flags = MsFlags::empty();
    // Where the old one may not be unmounted (in user namespaces), the new one covers it; read-only if it must be.
    if umount2("/sys", MntFlags::MNT_DETACH).is_err()
        && statvfs("/sys").is_ok_and(|old| old.flags().contains(FsFlags::ST_RDONLY))
    {
        flags = MsFlags::MS_RDONLY;
    }
    mount(Some("hcnctl"), "/sys", Some("sysfs"), flags, None::<&str>)
}

fn bind_etc(folder: &Path) {
    // Most namespaces have no files of their own.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (from, to) = (entry.path(), Path::new("/etc").join(entry.file_name()));
        let bound = mount(Some(&from), &to, None::<&str>, MsFlags::MS_BIND, None::<&str>);
        if let Err(errno) = bound {
            warn(&format!("cannot bind {} over {}: {errno}", from.display(), to.display()));
        }
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    let class = match error.kind() {
        io::ErrorKind::NotFound => ErrorClass::NotFound,
        io::ErrorKind::PermissionDenied => ErrorClass::Denied,
        _ => ErrorClass::Failure,
    };
    Failure::new(class, format!("{what}: {error}"))
}

fn warn(message: &str) {
    // Nothing else can be done when stderr is closed.
    let _ = writeln!(io::stderr(), "hcnctl: {message}");
}
