//! The nftables socket inside a namespace. The kernel has a lock of rules for each namespace, and the root of a container
//! can hold it for as long as a transaction of his takes: so hcnd's own go aside, and one that hangs is left to end.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{Receiver, TryRecvError};

use hcn_dataplane::Key;

use crate::aside::{self, Aside, Outcome};
use crate::socket::{Refusal, Socket, Wire};

/// Done, or which messages were refused: then nothing was.
pub(crate) type Transacted = Result<(), Vec<(usize, Refusal)>>;

/// The nftables socket inside a namespace, and what of it is not known.
#[derive(Default)]
pub(crate) struct Rules {
    socket: Option<Socket>,
    hanging: Option<Hanging>,
    /// What a transaction was about that hung and was then refused: taking it back means nothing.
    in_vain: BTreeSet<Key>,
    /// hcnd's tables may be there, and no book says what is in them.
    unsure: bool,
}

/// What a transaction that hangs is about.
#[derive(Clone, Debug)]
pub(crate) enum About {
    /// These objects.
    Objects(BTreeSet<Key>),
    /// All of hcnd's tables there, which an earlier hcnd left.
    Everything,
}

/// A transaction whose end is not known.
struct Hanging {
    end: Receiver<(Wire, Socket, io::Result<Transacted>)>,
    about: About,
}

impl Rules {
    /// Whether the socket is there to be used.
    ///
    /// # Errors
    /// ETIMEDOUT while a transaction hangs.
    pub(crate) fn is_open(&mut self) -> io::Result<bool> {
        self.see_the_end()?;
        Ok(self.socket.is_some())
    }

    pub(crate) fn open(&mut self, socket: Socket) {
        self.socket = Some(socket);
    }

    /// Closes the socket: there are no rules.
    pub(crate) fn close(&mut self) {
        self.socket = None;
    }

    /// Asks what takes no lock.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&Socket) -> io::Result<T>) -> io::Result<T> {
        question(self.socket.as_ref().ok_or_else(not_there)?)
    }

    /// Changes rules.
    ///
    /// # Errors
    /// ETIMEDOUT when it hangs: what becomes of it is seen later.
    pub(crate) fn transact(
        &mut self,
        aside: &mut Aside,
        wire: &mut Wire,
        about: About,
        work: impl FnOnce(&mut Wire, &Socket) -> io::Result<Transacted> + Send + 'static,
    ) -> io::Result<Transacted> {
        aside.prepare()?;
        let socket = self.socket.take().ok_or_else(not_there)?;
        let mut own = wire.twin();
        let outcome = aside.run(move || {
            let result = work(&mut own, &socket);
            (own, socket, result)
        })?;
        match outcome {
            Outcome::Done((used, socket, result)) => {
                *wire = used;
                self.socket = Some(socket);
                result
            }
            Outcome::Hangs(end) => {
                self.hanging = Some(Hanging { end, about });
                Err(aside::hangs())
            }
        }
    }

    /// Whether an object was in a transaction that came to nothing after it hung; forgets it.
    pub(crate) fn was_in_vain(&mut self, key: &Key) -> bool {
        self.in_vain.remove(key)
    }

    /// Whether hcnd's tables may be there with anything in them; forgets it.
    pub(crate) fn take_unsure(&mut self) -> bool {
        std::mem::take(&mut self.unsure)
    }

    fn see_the_end(&mut self) -> io::Result<()> {
        let Some(hanging) = &self.hanging else { return Ok(()) };
        let (socket, done) = match hanging.end.try_recv() {
            Ok((_, socket, result)) => (Some(socket), matches!(result, Ok(Ok(())))),
            Err(TryRecvError::Empty) => return Err(aside::hangs()),
            Err(TryRecvError::Disconnected) => (None, false),
        };
        self.socket = socket;
        match self.hanging.take().map(|hanging| hanging.about) {
            Some(About::Objects(keys)) if !done => self.in_vain.extend(keys),
            Some(About::Everything) => self.unsure = true,
            _ => {}
        }
        Ok(())
    }
}

fn not_there() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}
