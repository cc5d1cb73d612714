//! `hcnd sandbox`: an hcnd and a command in namespaces of their own. Here: the command line and the outer
//! process, which makes the namespaces, starts their PID 1 (`init`), and passes on signals and the exit code.

mod exec;
mod init;
mod mounts;
mod namespaces;
mod signals;
mod uplink;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::PollTimeout;
use nix::sys::signal::kill;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};

use signals::{Received, Signals};

pub(crate) use exec::{ExecArgs, run as run_exec};
pub(crate) use init::run as run_init;

/// What `hcnd sandbox` itself answers with when it fails, as `env`, `timeout` and container runtimes do.
const SANDBOX_FAILED: u8 = 125;

/// The command line of `hcnd sandbox`.
#[derive(Debug, Args)]
#[command(
    about = "Run a command beside an hcnd of its own, in namespaces of their own; no root needed",
    long_about = "Run hcnd and COMMAND inside user, network, mount and PID namespaces of their own. No root is \
                  needed, and nothing is left on the host.\n\nInside, eth0 (203.0.113.10, 2001:db8:ffff::10) leads \
                  to a namespace `outside` (203.0.113.1, 2001:db8:ffff::1), which plays the rest of the world: \
                  `ip netns exec outside ...`. With --nodes N there are N hosts on one segment, each with an hcnd of \
                  its own: this one and the namespaces node2 (203.0.113.20, 2001:db8:ffff::20), node3 (.30, ::30) \
                  and so on; /run/hcnd/node2 has the socket of node2's hcnd, and its namespaces in netns. HCND_SOCKET and PATH are set, so that hcnctl finds this hcnd, and \
                  HCND_HNS_SOCKET, for `curl --unix-socket $HCND_HNS_SOCKET http://hns/networks/`.",
    after_help = "Exit codes: that of COMMAND, 128 + N if signal N killed it, 127 if it was not found, 126 if it \
                  cannot be executed, 125 if the sandbox itself failed."
)]
pub(crate) struct SandboxArgs {
    #[command(flatten)]
    inside: InsideArgs,
}

/// The command line of PID 1: the same, and what the outer process hands over.
#[derive(Debug, Args)]
#[command(about = "PID 1 of a sandbox; `hcnd sandbox` starts it")]
pub(crate) struct InitArgs {
    /// Path of this executable, found before the mounts changed.
    #[arg(long)]
    exe: PathBuf,
    /// Read end of a pipe that only the outer process can write to: hung up means that it is gone.
    #[arg(long)]
    parent_fd: i32,
    #[command(flatten)]
    inside: InsideArgs,
}

/// What happens inside.
#[derive(Debug, Args)]
struct InsideArgs {
    /// Leave out eth0 and the namespace `outside`.
    #[arg(long)]
    no_uplink: bool,
    /// How many hosts there are, each with an hcnd; 1 to 9.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    #[arg(conflicts_with = "no_uplink")]
    nodes: u8,
    /// Leave hcnd's log on stderr instead of /run/hcnd/hcnd.log inside.
    #[arg(long)]
    log: bool,
    /// Read hcnd's configuration from this TOML file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The command to run and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the outer process and returns what the command returned.
pub(crate) fn run(args: &SandboxArgs) -> ExitCode {
    match supervise(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::from(SANDBOX_FAILED)
        }
    }
}

fn supervise(args: &SandboxArgs) -> anyhow::Result<u8> {
    let signals = Signals::block()?;
    // Mounts inside may hide the path that /proc would show later.
    let exe = std::fs::read_link("/proc/self/exe").context("cannot find the executable of hcnd")?;
    let (parent_read, parent_write) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
    namespaces::enter()?;

    fcntl(&parent_read, FcntlArg::F_SETFD(FdFlag::empty())).context("cannot pass a pipe on")?;
    let mut command = Command::new(runnable(&exe));
    command.arg("sandbox-init").arg("--exe").arg(&exe);
    command.arg("--parent-fd").arg(parent_read.as_raw_fd().to_string());
    command.args(args.inside.to_argv());
    // It inherits the blocked signals, so that one sent before it can take it waits for it.
    let init = spawn(&mut command).with_context(|| format!("cannot start {}", exe.display()))?;
    drop(parent_read);

    let outcome = watch(&signals, init);
    // Held until here: when this process is gone, however it went, init sees the pipe hung up.
    drop(parent_write);
    outcome
}

/// Passes signals on until init has ended.
fn watch(signals: &Signals, init: Pid) -> anyhow::Result<u8> {
    loop {
        while let Some(received) = signals.next()? {
            if let Received::ToForward { signal, from_terminal: false } = received {
                // It may have ended in the meantime; then its status follows.
                let _ = kill(init, signal);
            }
        }
        let status = waitpid(init, Some(WaitPidFlag::WNOHANG)).context("cannot wait for the sandbox")?;
        if matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {
            return Ok(exit_code(status));
        }
        signals.wait(PollTimeout::NONE)?;
    }
}

impl InsideArgs {
    /// The same words again, for the process that acts on them.
    fn to_argv(&self) -> Vec<OsString> {
        let mut argv = Vec::new();
        if self.no_uplink {
            argv.push("--no-uplink".into());
        }
        if self.nodes > 1 {
            argv.push("--nodes".into());
            argv.push(self.nodes.to_string().into());
        }
        if self.log {
            argv.push("--log".into());
        }
        if let Some(config) = &self.config {
            argv.push("--config".into());
            argv.push(config.into());
        }
        argv.push("--".into());
        argv.extend(self.command.iter().cloned());
        argv
    }
}

/// The path of the executable, which gives the process its right name, or the kernel's own link to it where the
/// path has been replaced, deleted or hidden since.
fn runnable(exe: &Path) -> &Path {
    if exe.exists() { exe } else { Path::new("/proc/self/exe") }
}

/// Starts a process whose end is learnt from waitpid, not from std's `Child`.
fn spawn(command: &mut Command) -> std::io::Result<Pid> {
    let id = command.spawn()?.id();
    i32::try_from(id).map(Pid::from_raw).map_err(std::io::Error::other)
}

/// The exit code that a shell would report.
fn exit_code(status: WaitStatus) -> u8 {
    match status {
        WaitStatus::Exited(_, code) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        WaitStatus::Signaled(_, signal, _) => 128 + u8::try_from(signal as i32).unwrap_or(0),
        _ => SANDBOX_FAILED,
    }
}

/// Tells the person at the terminal. The log is for hcnd, stdout for the command.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "hcnd sandbox: {message}");
}
