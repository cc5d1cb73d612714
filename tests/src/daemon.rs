//! The program hcnd, started by a test beside or in place of the sandbox's.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process::{Background, Finished, eventually};

/// Longer than a clean end takes.
pub const END: Duration = Duration::from_secs(10);

/// An hcnd of a test's own, with its sockets and its state in a folder.
#[derive(Debug)]
pub struct Hcnd {
    /// The program.
    pub process: Background,
    /// Where it listens.
    pub socket: PathBuf,
    /// Where it keeps its state.
    pub store: PathBuf,
}

impl Hcnd {
    /// Starts one; it listens when this returns.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        let (socket, store) = (folder.join("hcnd.sock"), folder.join("state.redb"));
        let process = Background::start(command(&socket, &store));
        eventually("hcnd listens", || UnixStream::connect(&socket).is_ok());
        Self { process, socket, store }
    }

    /// Ends it by a signal.
    pub fn end(&mut self, signal: Signal) -> Finished {
        self.process.signal(signal);
        self.process.wait(END)
    }

    /// Ends it by a signal and starts another one.
    pub fn again(&mut self, signal: Signal) {
        let ended = self.end(signal);
        assert!(ended.code == Some(0) || signal == Signal::SIGKILL, "{ended}");
        *self = Self::start(self.socket.parent().unwrap());
    }
}

/// The command that starts one.
#[must_use]
pub fn command(socket: &Path, store: &Path) -> &'static mut Command {
    let mut command = Command::new("hcnd");
    command.arg("--socket").arg(socket).arg("--store").arg(store).env_remove("HCND_SOCKET");
    Box::leak(Box::new(command))
}
