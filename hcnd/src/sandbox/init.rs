//! PID 1 of a sandbox: sets it up, starts hcnd and the command, passes on signals, reaps what is left over, stops
//! hcnd, and ends with the command's exit code. When it ends, the kernel kills whatever still runs inside.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, close};

use super::signals::{Received, Signals};
use super::{ExecArgs, InitArgs, SANDBOX_FAILED, exit_code, mounts, runnable, say, spawn, uplink};

const SOCKET: &str = "/run/hcnd/hcnd.sock";
const HNS_SOCKET: &str = "/run/hcnd/hns.sock";
const LOG: &str = "/run/hcnd/hcnd.log";
const STORE: &str = "/run/hcnd/state.redb";
/// An hcnd that ends is noticed at once; one that loads the kernel's modules on a slow machine takes 20 s.
const READY_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How often the socket of an hcnd that is starting is tried, in milliseconds.
const READY_POLL: u8 = 2;
/// Lines of hcnd's log that are shown when it fails: the log itself vanishes with the sandbox.
const LOG_LINES: usize = 100;

/// Runs PID 1 and returns what the command returned.
pub(crate) fn run(args: &InitArgs) -> ExitCode {
    match live(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::from(SANDBOX_FAILED)
        }
    }
}

fn live(args: &InitArgs) -> anyhow::Result<u8> {
    set_pdeathsig(Signal::SIGKILL).context("cannot tie the sandbox to its parent")?;
    if parent_is_gone(args.parent_fd)? {
        return Ok(SANDBOX_FAILED);
    }
    let signals = Signals::block()?;

    let missing = mounts::set_up()?;
    uplink::set_up(!args.inside.no_uplink, args.inside.nodes)?;
    let mut log = Log::open(args.inside.log)?;
    for text in missing {
        log.warn(&text);
    }

    let mut children = Children { signals, hcnds: Vec::new(), command: None, command_status: None, log };
    for node in 1..=args.inside.nodes {
        children.start_hcnd(args, node)?;
    }
    let code = match children.wait_until_ready()? {
        Start::Ready => {
            children.start_command(args)?;
            children.wait_for_command()?
        }
        Start::Interrupted(signal) => exit_code(WaitStatus::Signaled(Pid::this(), signal, false)),
    };
    children.stop_hcnd()?;
    Ok(code)
}

/// Whether the outer process ended before the death signal was set. The parent's PID would not tell: it is 0 in
/// this namespace, alive or not.
fn parent_is_gone(fd: i32) -> anyhow::Result<bool> {
    let pipe = File::open(format!("/proc/self/fd/{fd}")).context("cannot open the pipe to the parent")?;
    close(fd).context("cannot close the pipe to the parent")?;
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).context("cannot poll the pipe to the parent")?;
    Ok(fds.iter().any(|fd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))))
}

/// Where hcnd writes, and what this process has to say beside it.
enum Log {
    Stderr,
    File(File),
}

impl Log {
    fn open(on_stderr: bool) -> anyhow::Result<Self> {
        if on_stderr {
            return Ok(Self::Stderr);
        }
        let file = OpenOptions::new().create(true).append(true).open(LOG).context("cannot create the log")?;
        Ok(Self::File(file))
    }

    fn warn(&mut self, text: &str) {
        match self {
            Self::Stderr => say(text),
            Self::File(file) => {
                let _ = writeln!(file, "sandbox: {text}");
            }
        }
    }

    fn for_child(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Stderr => io::stderr().as_fd().try_clone_to_owned(),
            Self::File(file) => Ok(file.try_clone()?.into()),
        }
    }

    /// The end of what hcnd wrote, for a person who cannot read it any more.
    fn tail(&self) -> String {
        let Self::File(_) = self else { return String::new() };
        let bytes = std::fs::read(LOG).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            return "; its log is empty".into();
        }
        let shown = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        format!("; its log:\n  {}", shown.join("\n  "))
    }
}

/// How the wait for hcnd ended.
enum Start {
    Ready,
    Interrupted(Signal),
}

/// An hcnd that runs.
struct Hcnd {
    pid: Pid,
    socket: PathBuf,
}

/// Where hcnd is on a host.
struct Home {
    netns: Option<PathBuf>,
    socket: PathBuf,
    /// What its command line says of it.
    options: Vec<(&'static str, PathBuf)>,
}

impl Home {
    /// That of host `node`: of the first the usual places, of others those in a folder of its own.
    fn of(node: u8) -> Self {
        if node == 1 {
            let options = [("--socket", SOCKET), ("--hns-socket", HNS_SOCKET), ("--store", STORE)];
            let options = options.map(|(option, path)| (option, path.into())).to_vec();
            return Self { netns: None, socket: SOCKET.into(), options };
        }
        let name = uplink::name_of(node);
        let folder = Path::new(SOCKET).with_file_name(&name);
        let options = [
            ("--socket", "hcnd.sock"),
            ("--hns-socket", "hns.sock"),
            ("--store", "state.redb"),
            ("--netns-dir", "netns"),
            ("--netns-etc", "etc-netns"),
        ];
        Self {
            netns: Some(Path::new("/run/netns").join(&name)),
            socket: folder.join("hcnd.sock"),
            options: options.map(|(option, file)| (option, folder.join(file))).to_vec(),
        }
    }
}

struct Children {
    signals: Signals,
    /// Those that run, one for each host.
    hcnds: Vec<Hcnd>,
    command: Option<Pid>,
    command_status: Option<WaitStatus>,
    log: Log,
}

impl Children {
    fn start_hcnd(&mut self, args: &InitArgs, node: u8) -> anyhow::Result<()> {
        let exe = runnable(&args.exe);
        let Home { netns, socket, options } = Home::of(node);
        let mut argv: Vec<OsString> = vec![exe.into()];
        argv.extend(options.into_iter().flat_map(|(option, path)| [option.into(), path.into()]));
        if let Some(config) = &args.inside.config {
            argv.extend(["--config".into(), config.into()]);
        }
        let mut hcnd = Command::new(exe);
        hcnd.args(ExecArgs::to_argv(true, netns.as_deref(), argv)).stdin(Stdio::null());
        hcnd.stdout(self.log.for_child()?).stderr(self.log.for_child()?);
        self.hcnds.push(Hcnd { pid: spawn(&mut hcnd).context("cannot start hcnd")?, socket });
        Ok(())
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<Start> {
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            while let Some(received) = self.signals.next()? {
                if let Some(signal) = ends_a_program(received) {
                    return Ok(Start::Interrupted(signal));
                }
            }
            if let Some(status) = self.reap()? {
                bail!("hcnd ended before it was ready: {}{}", describe(status), self.log.tail());
            }
            let is_silent = |hcnd: &&Hcnd| UnixStream::connect(&hcnd.socket).is_err();
            let Some(silent) = self.hcnds.iter().find(is_silent) else { return Ok(Start::Ready) };
            if Instant::now() >= deadline {
                let (socket, waited) = (silent.socket.display(), READY_DEADLINE.as_secs());
                bail!("hcnd does not answer on {socket} after {waited} s{}", self.log.tail());
            }
            self.signals.wait(READY_POLL.into())?;
        }
    }

    fn start_command(&mut self, args: &InitArgs) -> anyhow::Result<()> {
        let mut command = Command::new(runnable(&args.exe));
        command.args(ExecArgs::to_argv(false, None, args.inside.command.iter().cloned()));
        command.env("PATH", path_with(args.exe.parent(), std::env::var_os("PATH").as_deref()));
        // An hcnd that is started by hand inside goes on with the sandbox's own state.
        command.env("HCND_SOCKET", SOCKET).env("HCND_HNS_SOCKET", HNS_SOCKET).env("HCND_STORE", STORE);
        command.env("HCND_SANDBOX", "1");
        self.command = Some(spawn(&mut command).context("cannot start the command")?);
        Ok(())
    }

    fn wait_for_command(&mut self) -> anyhow::Result<u8> {
        loop {
            while let Some(received) = self.signals.next()? {
                if let (Received::ToForward { signal, from_terminal: false }, Some(command)) =
                    (received, self.command)
                {
                    // It may have ended in the meantime; then its status follows.
                    let _ = kill(command, signal);
                }
            }
            // One that was asked to end, and did, may be followed by one that is started by hand.
            if let Some(status) = self.reap()?.filter(|status| !matches!(status, WaitStatus::Exited(_, 0))) {
                let how = describe(status);
                say(&format!("hcnd ended while the command runs: {how}{}", self.log.tail()));
            }
            if let Some(status) = self.command_status {
                return Ok(exit_code(status));
            }
            self.signals.wait(PollTimeout::NONE)?;
        }
    }

    /// Asks each hcnd to stop, waits, and kills it in the end, or at once when a signal says that nobody wants to wait.
    fn stop_hcnd(&mut self) -> anyhow::Result<()> {
        self.signal_hcnds(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_DEADLINE;
        let mut killed = false;
        while !self.hcnds.is_empty() {
            // Signals before the children: one who ends in between is told of by a signal that is still unread.
            let mut give_up = false;
            while let Some(received) = self.signals.next()? {
                give_up |= ends_a_program(received).is_some();
            }
            if let Some(status) = self.reap()? {
                if !killed && !matches!(status, WaitStatus::Exited(_, 0)) {
                    say(&format!("hcnd did not stop cleanly: {}{}", describe(status), self.log.tail()));
                }
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            give_up |= left.is_zero();
            if give_up && !killed {
                killed = true;
                say(&format!("hcnd was asked to stop and did not; killed{}", self.log.tail()));
                self.signal_hcnds(Signal::SIGKILL);
            }
            let timeout =
                if killed { PollTimeout::NONE } else { left.try_into().unwrap_or(PollTimeout::MAX) };
            self.signals.wait(timeout)?;
        }
        Ok(())
    }

    fn signal_hcnds(&self, signal: Signal) {
        for hcnd in &self.hcnds {
            // It may have ended in the meantime; then its status follows.
            let _ = kill(hcnd.pid, signal);
        }
    }

    /// Reaps what has ended: an hcnd, the command, and orphans that were left to PID 1. Remembers the command's status
    /// and returns that of an hcnd, the others' at the next call.
    fn reap(&mut self) -> anyhow::Result<Option<WaitStatus>> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno).context("cannot wait for children"),
            };
            if let Some(place) = self.hcnds.iter().position(|hcnd| Some(hcnd.pid) == status.pid()) {
                self.hcnds.remove(place);
                return Ok(Some(status));
            }
            if status.pid() == self.command {
                self.command = None;
                self.command_status = Some(status);
            }
        }
    }
}

/// The signals that mean "stop" to a program that does not handle them.
fn ends_a_program(received: Received) -> Option<Signal> {
    match received {
        Received::ToForward { signal, .. } if signal != Signal::SIGWINCH => Some(signal),
        _ => None,
    }
}

fn describe(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit code {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("killed by {signal}"),
        other => format!("{other:?}"),
    }
}

/// The search path with the folder of hcnd in front, where hcnctl is too.
fn path_with(first: Option<&Path>, path: Option<&OsStr>) -> OsString {
    let mut all = first.map(|dir| dir.as_os_str().to_owned()).unwrap_or_default();
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        if !all.is_empty() {
            all.push(":");
        }
        all.push(path);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_hcnd_comes_first_on_the_path() {
        let with =
            |first: Option<&str>, path: Option<&str>| path_with(first.map(Path::new), path.map(OsStr::new));
        assert_eq!(with(Some("/opt/hcn"), Some("/usr/bin:/bin")), "/opt/hcn:/usr/bin:/bin");
        assert_eq!(with(Some("/opt/hcn"), None), "/opt/hcn");
        assert_eq!(with(None, Some("/bin")), "/bin");
    }
}
