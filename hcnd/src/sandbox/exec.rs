//! The step between PID 1 and a program that it starts: a child inherits the blocked signals of PID 1, and only the
//! child itself can unblock them without losing one that has been sent to it already.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::SigSet;
use nix::unistd::setsid;

use super::say;

/// The command line of the step.
#[derive(Debug, Args)]
#[command(about = "Become a program inside a sandbox; its PID 1 starts it")]
pub(crate) struct ExecArgs {
    /// Away from the terminal, whose signals are for the command.
    #[arg(long)]
    new_session: bool,
    /// In the network namespace whose file this is.
    #[arg(long, value_name = "FILE")]
    netns: Option<PathBuf>,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl ExecArgs {
    /// The command line that leads here.
    pub(super) fn to_argv(
        new_session: bool,
        netns: Option<&Path>,
        command: impl IntoIterator<Item = OsString>,
    ) -> Vec<OsString> {
        let mut argv = vec![OsString::from("sandbox-exec")];
        argv.extend(new_session.then(|| "--new-session".into()));
        argv.extend(netns.into_iter().flat_map(|netns| ["--netns".into(), netns.into()]));
        argv.push("--".into());
        argv.extend(command);
        argv
    }
}

/// Becomes the program. Returns only if it cannot, with the exit code that a shell would give.
pub(crate) fn run(args: &ExecArgs) -> ExitCode {
    let Some((name, rest)) = args.command.split_first() else { return ExitCode::from(127) };
    if args.new_session {
        // Fails only for the leader of a process group, which a new child is not.
        let _ = setsid();
    }
    if let Some(netns) = &args.netns
        && let Err(error) = enter(netns)
    {
        say(&format!("cannot enter the network namespace {}: {error}", netns.display()));
        return ExitCode::from(126);
    }
    if let Err(errno) = SigSet::empty().thread_set_mask() {
        say(&format!("cannot unblock signals: {errno}"));
    }
    let error = Command::new(name).args(rest).exec();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if error.kind() == ErrorKind::NotFound || !is_anywhere(name, &path) {
        say(&format!("cannot run {}: not found", name.display()));
        return ExitCode::from(127);
    }
    say(&format!("cannot run {}: {error}", name.display()));
    ExitCode::from(126)
}

fn enter(netns: &Path) -> std::io::Result<()> {
    Ok(setns(File::open(netns)?, CloneFlags::CLONE_NEWNET)?)
}

/// Whether there is such a file at all. The kernel answers EACCES also for a folder of the path that the caller may
/// not enter, which must not turn a command that is nowhere into one that cannot be executed.
fn is_anywhere(name: &OsStr, path: &OsStr) -> bool {
    let has_slash = name.as_encoded_bytes().contains(&b'/');
    has_slash || std::env::split_paths(path).any(|dir| dir.join(Path::new(name)).exists())
}
