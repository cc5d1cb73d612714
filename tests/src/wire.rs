//! A client of the wire that knows nothing of hcnd's own code: JSON, NUL, a unix socket.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::time::patience;

/// A reply that takes longer fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
pub struct Wire {
    reader: BufReader<UnixStream>,
}

/// A reply: its parsed form and its bytes.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Name of the error, if it is one.
    pub error: Option<String>,
    /// The parameters.
    pub parameters: Value,
    /// The whole message.
    pub raw: String,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience(PATIENCE)))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Sends a call without waiting for its reply.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn send(&mut self, method: &str, parameters: &Value, more: bool) -> io::Result<()> {
        let mut message = json!({"method": method, "parameters": parameters});
        if more {
            message["more"] = Value::Bool(true);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.send_raw(&bytes)
    }

    /// Reads the next reply.
    ///
    /// # Errors
    /// The other side is gone, silent, or does not speak Varlink.
    pub fn receive(&mut self) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        self.reader.read_until(0, &mut bytes)?;
        if bytes.pop() != Some(0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let raw = String::from_utf8(bytes).map_err(io::Error::other)?;
        let message: Value = serde_json::from_str(&raw)?;
        Ok(Reply {
            error: message["error"].as_str().map(str::to_owned),
            parameters: message["parameters"].clone(),
            raw,
        })
    }

    /// Reads the next reply, if its first octet arrives in time.
    ///
    /// # Errors
    /// Those of [`receive`](Self::receive).
    pub fn receive_within(&mut self, time: Duration) -> io::Result<Option<Reply>> {
        self.reader.get_ref().set_read_timeout(Some(time))?;
        let arrived = self.reader.fill_buf().map(|_| ());
        self.reader.get_ref().set_read_timeout(Some(patience(PATIENCE)))?;
        match arrived {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
            Ok(_) => self.receive().map(Some),
        }
    }

    /// Calls and waits for the reply.
    ///
    /// # Errors
    /// Those of [`send`](Self::send) and [`receive`](Self::receive).
    pub fn call(&mut self, method: &str, parameters: &Value) -> io::Result<Reply> {
        self.send(method, parameters, false)?;
        self.receive()
    }
}
