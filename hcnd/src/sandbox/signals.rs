//! Which signals the sandbox takes, and from whom: blocked, and read from a signalfd, so that both of its
//! processes are plain loops without handlers.

use std::os::fd::AsFd as _;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Passed on to the command. QUIT is here because Ctrl-\ would otherwise take the sandbox away from under a
/// command that handles it, as Go programs do.
const FORWARDED: [Signal; 5] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGWINCH];

/// The blocked signals of this process.
pub(super) struct Signals {
    fd: SignalFd,
}

/// One signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// A child has ended, or several.
    ChildEnded,
    /// Something for the command.
    ToForward {
        signal: Signal,
        /// Made by the kernel (Ctrl-C, a resized or closed terminal), which sent it to the whole foreground
        /// group: the command has it already.
        from_terminal: bool,
    },
}

impl Signals {
    /// Blocks the signals in this thread and in the threads and processes that it starts.
    pub(super) fn block() -> anyhow::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        for signal in FORWARDED {
            mask.add(signal);
        }
        mask.thread_block().context("cannot block signals")?;
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("cannot make a signalfd")?;
        Ok(Self { fd })
    }

    /// Waits for a signal or for the timeout.
    pub(super) fn wait(&self, timeout: PollTimeout) -> anyhow::Result<()> {
        match poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], timeout) {
            // EINTR: stopped and continued by job control.
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for signals"),
        }
    }

    /// The next signal that has arrived, without waiting.
    pub(super) fn next(&self) -> anyhow::Result<Option<Received>> {
        while let Some(info) = self.fd.read_signal().context("cannot read signals")? {
            match i32::try_from(info.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGCHLD)) => return Ok(Some(Received::ChildEnded)),
                Ok(Ok(signal)) => {
                    let from_terminal = info.ssi_code == libc::SI_KERNEL;
                    return Ok(Some(Received::ToForward { signal, from_terminal }));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}
