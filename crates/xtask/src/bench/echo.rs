//! The floor of a round trip: another process that reads a message, parses it, and writes it back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

use super::wire::Wire;

/// The other process; it ends when this is dropped.
pub(super) struct Echo {
    wire: Option<Wire>,
    child: Child,
}

impl Echo {
    pub(super) fn start() -> anyhow::Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a pair of sockets")?;
        let own = std::env::current_exe().context("cannot find this program")?;
        let child = Command::new(own)
            .args(["bench", "echo"])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .context("cannot start the echo")?;
        Ok(Self { wire: Some(Wire::over(ours)?), child })
    }

    pub(super) fn exchange(&mut self, message: &Value) -> anyhow::Result<Value> {
        self.wire.as_mut().context("the echo has ended")?.exchange(message)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Its stdin ends, and so does it.
        self.wire = None;
        // If it cannot be waited for, PID 1 does it.
        let _ = self.child.wait();
    }
}

/// What the other process does.
pub(super) fn serve() -> anyhow::Result<()> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut reader = BufReader::new(UnixStream::from(stdin));
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        reader.read_until(0, &mut bytes)?;
        if bytes.pop() != Some(0) {
            return Ok(());
        }
        let message: Value = serde_json::from_slice(&bytes)?;
        let mut answer = serde_json::to_vec(&message)?;
        answer.push(0);
        reader.get_mut().write_all(&answer)?;
    }
}
