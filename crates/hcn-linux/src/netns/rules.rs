//! The nftables socket inside a namespace. The kernel has a lock of rules for each namespace, and the root of a container
//! can hold it for as long as a transaction of his takes: so hcnd's own go aside, and one that hangs is left to end. What
//! became of it is then not asked: the next change writes all of hcnd's rules there anew.

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;

use crate::aside::{self, Aside, Outcome, PATIENCE};
use crate::socket::{Refusal, Socket, Wire};

/// Done, or which messages were refused: then nothing was.
pub(crate) type Transacted = Result<(), Vec<(usize, Refusal)>>;

/// A transaction that is done.
type Ended = (Wire, Socket, io::Result<Transacted>);

/// The nftables socket inside a namespace.
#[derive(Default)]
pub(crate) struct Rules {
    socket: Option<Socket>,
    hanging: Option<Receiver<Ended>>,
    /// How often one hung: it is waited for less each time, so that nobody can keep others waiting again and again.
    hung: u32,
    /// No book says what hcnd's tables have.
    unsure: bool,
}

impl Rules {
    /// Makes sure that the socket is open.
    ///
    /// # Errors
    /// ETIMEDOUT while a transaction hangs.
    pub(crate) fn open(&mut self, new: impl FnOnce() -> io::Result<Socket>) -> io::Result<()> {
        if let Some(hanging) = self.hanging.take() {
            match hanging.try_recv() {
                Ok((_, socket, _)) => self.socket = Some(socket),
                Err(TryRecvError::Disconnected) => {}
                Err(TryRecvError::Empty) => {
                    self.hanging = Some(hanging);
                    return Err(aside::hangs());
                }
            }
        }
        if self.socket.is_none() {
            self.socket = Some(new()?);
        }
        Ok(())
    }

    /// Closes the socket: there are no rules. For that the kernel takes the lock, too.
    pub(crate) fn close(&mut self, aside: &mut Aside) {
        if let Some(socket) = self.socket.take() {
            // One that hangs is closed when it can be.
            let _ = aside.run(PATIENCE, move || drop(socket));
        }
    }

    /// Asks what takes no lock.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&Socket) -> io::Result<T>) -> io::Result<T> {
        question(self.socket.as_ref().ok_or_else(not_open)?)
    }

    /// Whether the next change has to write everything anew.
    pub(crate) fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Has the next change write everything anew.
    pub(crate) fn doubt(&mut self) {
        self.unsure = true;
    }

    /// Changes rules; everything, where [`is_unsure`](Self::is_unsure) says so.
    ///
    /// # Errors
    /// ETIMEDOUT when it hangs.
    pub(crate) fn transact(
        &mut self,
        aside: &mut Aside,
        wire: &mut Wire,
        work: impl FnOnce(&mut Wire, &Socket) -> io::Result<Transacted> + Send + 'static,
    ) -> io::Result<Transacted> {
        if aside.prepare().is_err() {
            let detail = Some("too much hangs already".to_owned());
            return Ok(Err(vec![(0, Refusal { errno: libc::EAGAIN, detail })]));
        }
        let socket = self.socket.take().ok_or_else(not_open)?;
        let mut own = wire.twin();
        let patience = PATIENCE / 2_u32.pow(self.hung.min(3));
        let outcome = aside.run(patience, move || {
            let result = work(&mut own, &socket);
            (own, socket, result)
        })?;
        match outcome {
            Outcome::Done((used, socket, result)) => {
                *wire = used;
                self.socket = Some(socket);
                self.unsure &= !matches!(result, Ok(Ok(())));
                result
            }
            Outcome::Hangs(end) => {
                self.hanging = Some(end);
                self.hung += 1;
                self.unsure = true;
                Err(aside::hangs())
            }
        }
    }
}

impl Drop for Rules {
    /// Who drops it does not wait for the kernel's lock.
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            // Without a thread it is closed here.
            let _ = thread::Builder::new().name("close".to_owned()).spawn(move || drop(socket));
        }
    }
}

fn not_open() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}
