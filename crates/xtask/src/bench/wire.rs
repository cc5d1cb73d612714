//! A client of the wire: JSON, NUL, a unix socket.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// Longer than anything but a hang.
const DEADLINE: Duration = Duration::from_secs(20);

/// Calls that are under way at once: as many as the service reads before it has answered one.
const TOGETHER: usize = 64;

/// Calls of one method as they are written.
pub(super) fn calls(method: &str, parameters: &[Value]) -> anyhow::Result<Vec<Vec<u8>>> {
    let written = parameters.iter().map(|parameters| {
        let mut call = serde_json::to_vec(&json!({"method": method, "parameters": parameters}))?;
        call.push(0);
        Ok(call)
    });
    written.collect()
}

pub(super) struct Wire {
    reader: BufReader<UnixStream>,
}

impl Wire {
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        Self::over(UnixStream::connect(socket)?)
    }

    pub(super) fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Calls and waits for the reply's parameters.
    pub(super) fn call(&mut self, method: &str, parameters: &Value) -> anyhow::Result<Value> {
        let mut reply = self.exchange(&json!({"method": method, "parameters": parameters}))?;
        if !reply["error"].is_null() {
            bail!("{method} failed: {reply}");
        }
        Ok(reply["parameters"].take())
    }

    /// Calls several times, without waiting for one reply before the next call; the replies' parameters in their order.
    pub(super) fn call_all(&mut self, method: &str, parameters: &[Value]) -> anyhow::Result<Vec<Value>> {
        let mut replies = Vec::with_capacity(parameters.len());
        self.exchange_all(&calls(method, parameters)?, |reply| {
            let mut reply: Value = serde_json::from_slice(reply)?;
            if !reply["error"].is_null() {
                bail!("{method} failed: {reply}");
            }
            replies.push(reply["parameters"].take());
            Ok(())
        })?;
        Ok(replies)
    }

    /// The same, with calls and replies as they are on the wire.
    pub(super) fn exchange_all(
        &mut self,
        calls: &[Vec<u8>],
        mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        for together in calls.chunks(TOGETHER) {
            self.reader.get_mut().write_all(&together.concat()).context("cannot send")?;
            for _ in together {
                bytes.clear();
                self.reader.read_until(0, &mut bytes).context("no answer")?;
                if bytes.pop() != Some(0) {
                    bail!("the other side is gone");
                }
                take(&bytes)?;
            }
        }
        Ok(())
    }

    /// Sends a message and waits for the one that answers it.
    pub(super) fn exchange(&mut self, message: &Value) -> anyhow::Result<Value> {
        let mut bytes = serde_json::to_vec(message)?;
        bytes.push(0);
        self.reader.get_mut().write_all(&bytes).context("cannot send")?;
        bytes.clear();
        self.reader.read_until(0, &mut bytes).context("no answer")?;
        if bytes.pop() != Some(0) {
            bail!("the other side is gone");
        }
        Ok(serde_json::from_slice(&bytes)?)
    }
}
