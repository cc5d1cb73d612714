//! Deletes released links. Deleting one waits 15-30 ms for the kernel, whoever asks; a group is deleted in the
//! time of one. So a thread of its own gathers what was released and deletes it as a group.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::link::{self, GROUP};
use crate::netns::Handle;
use crate::socket::{Batch, Socket, Wire};

/// How long the first of a group waits for others.
const GATHER: Duration = Duration::from_millis(20);
/// A larger group would hold the kernel's one lock of all links for too long (64 links: 18-28 ms).
const AT_MOST: usize = 16;

/// What may be destroyed.
pub(crate) enum Released {
    /// A link of the host, by index; the peer of a veth goes with it.
    Link(u32),
    /// An interface, by index, in the namespace of the socket.
    Inside(Socket, u32),
    /// A namespace that has no name any more. Closing it is quick, but what it waits for is not ours to know.
    Netns(Handle),
}

/// The way to the thread.
pub(crate) struct Reaper {
    sender: Option<Sender<Released>>,
    reaped: Receiver<u32>,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    /// `socket`: a route socket of the host's namespace.
    pub(crate) fn start(socket: Socket) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let (done, reaped) = channel();
        let thread = std::thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || run(&socket, &receiver, &done))?;
        Ok(Self { sender: Some(sender), reaped, thread: Some(thread) })
    }

    /// The indexes of links that were deleted since the last time this was asked.
    pub(crate) fn reaped(&self) -> impl Iterator<Item = u32> {
        self.reaped.try_iter()
    }

    pub(crate) fn release(&self, released: Released) {
        if let Some(sender) = &self.sender
            && sender.send(released).is_err()
        {
            tracing::error!("the thread that deletes released links has died");
        }
    }
}

impl Drop for Reaper {
    /// Lets the thread finish what it was given.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that deletes released links panicked");
        }
    }
}

fn run(socket: &Socket, receiver: &Receiver<Released>, done: &Sender<u32>) {
    let mut wire = Wire::new();
    // A closed channel still gives what it holds.
    while let Ok(first) = receiver.recv() {
        let mut links = Vec::new();
        let mut namespaces = Vec::new();
        let mut inside = Vec::new();
        let mut sort = |released| match released {
            Released::Link(index) => {
                links.push(index);
                links.len()
            }
            Released::Inside(socket, index) => {
                inside.push((socket, index));
                0
            }
            Released::Netns(handle) => {
                namespaces.push(handle);
                0
            }
        };
        let mut full = sort(first) >= AT_MOST;
        let until = Instant::now() + GATHER;
        while !full {
            match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(released) => full = sort(released) >= AT_MOST,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = delete(&mut wire, socket, &links) {
            tracing::warn!(%error, count = links.len(), "cannot delete released links");
        }
        for (socket, index) in inside {
            let mut batch = Batch::new();
            batch.push((), 0, link::delete(index));
            // Gone already, or as good as gone with its namespace.
            if let Err(error) = wire.exchange(&socket, &mut batch) {
                tracing::warn!(%error, index, "cannot delete a released interface");
            }
        }
        drop(namespaces);
        for index in links {
            // Nobody listens any more when the data plane is being dropped.
            let _ = done.send(index);
        }
    }
}

/// Deletes links without waiting for others to be released.
pub(crate) fn delete_all(wire: &mut Wire, socket: &Socket, links: &[u32]) -> io::Result<()> {
    links.chunks(AT_MOST).try_for_each(|links| delete(wire, socket, links))
}

/// Deletes exactly these links, by way of a group that nothing else can be a member of.
fn delete(wire: &mut Wire, socket: &Socket, links: &[u32]) -> io::Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    let group = random_group();
    let mut batch = Batch::new();
    for index in links {
        batch.push((), 0, link::set_group(*index, group));
    }
    batch.push((), 0, link::delete_group(group));
    let mut fates = wire.exchange(socket, &mut batch)?;
    let deleted = fates.pop();
    for (index, fate) in links.iter().zip(fates) {
        match fate {
            // Gone already: the peer was deleted inside the container, or its namespace died.
            Err(refusal) if refusal.errno != libc::ENODEV => {
                tracing::warn!(index, error = %io::Error::from(refusal), "deleting a link alone");
                let mut batch = Batch::new();
                batch.push((), 0, link::delete(*index));
                wire.exchange(socket, &mut batch)?;
            }
            _ => {}
        }
    }
    match deleted {
        Some(Err(refusal)) if refusal.errno != libc::ENODEV => Err(refusal.into()),
        _ => Ok(()),
    }
}

/// Not 0, the group of all other links, nor our own. Seeded by the kernel's random numbers.
fn random_group() -> u32 {
    loop {
        let group = random() as u32;
        if group != 0 && group != GROUP {
            return group;
        }
    }
}

pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
