//! The queues that messages wait in, one for each socket, and what becomes of them.

use std::collections::BTreeSet;
use std::io;

use hcn_dataplane::{LinkId, Netns, OpError};
use netlink_packet_core::NetlinkSerializable;

use super::{Run, Stop};
use crate::link::{self, LinkFacts};
use crate::netns::Transacted;
use crate::socket::{Batch, Socket, Wire};
use crate::{Linux, error, nft};

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The route socket of the host.
    Host,
    /// The route socket in this namespace.
    Named(String),
    /// The nftables socket.
    Nft,
    /// The nftables socket in this namespace.
    NftIn(String),
}

impl Place {
    pub(super) fn is_nft(&self) -> bool {
        matches!(self, Self::Nft | Self::NftIn(_))
    }
}

impl From<&Netns> for Place {
    fn from(netns: &Netns) -> Self {
        match netns {
            Netns::Host => Self::Host,
            Netns::Named(name) => Self::Named(name.clone()),
        }
    }
}

/// What a message is for.
pub(super) struct Tag {
    pub(super) op: usize,
    /// It changes something.
    pub(super) writes: bool,
    /// Refusals that mean: as wanted already.
    pub(super) tolerate: &'static [i32],
}

pub(super) struct Queue {
    pub(super) place: Place,
    batch: Batch<Tag>,
    /// Names that it takes from links that were set aside, which messages of other sockets may want.
    freed: Vec<Freed>,
}

/// A name that a message takes from a link that was set aside.
struct Freed {
    /// Which of the queue's messages does it.
    message: usize,
    /// Index of the host end of its pair.
    host: u32,
    /// The name, and the index of its link.
    held: (LinkId, u32),
}

impl Queue {
    pub(super) fn frees_names(&self) -> bool {
        !self.freed.is_empty()
    }
}

impl Run<'_> {
    /// Puts a message into the queue of its socket.
    pub(super) fn push<M: NetlinkSerializable>(&mut self, place: &Place, tag: Tag, flags: u16, message: M) {
        self.queue(place).batch.push(tag, flags, message);
    }

    /// The queue of a socket.
    fn queue(&mut self, place: &Place) -> &mut Queue {
        let position = self.queues.iter().position(|queue| queue.place == *place).unwrap_or_else(|| {
            self.queues.push(Queue { place: place.clone(), batch: Batch::new(), freed: Vec::new() });
            self.queues.len() - 1
        });
        &mut self.queues[position]
    }

    /// Takes a name from a link that was set aside; `host` is the index of the host end of its pair.
    pub(super) fn rename_aside(&mut self, op: usize, host: u32, held: (LinkId, u32), name: &str) {
        let queue = self.queue(&Place::from(&held.0.netns));
        let (index, message) = (held.1, queue.batch.len());
        queue.freed.push(Freed { message, host, held });
        queue.batch.push(Tag { op, writes: false, tolerate: &[libc::ENODEV] }, 0, link::rename(index, name));
    }

    /// Notes that links that were set aside have their names still, since what would have taken them was refused, or not sent.
    pub(super) fn keep_names(&mut self, queue: Queue, refused: impl Fn(usize) -> bool) {
        for Freed { host, held, .. } in queue.freed.into_iter().filter(|freed| refused(freed.message)) {
            if let Some(limbo) = self.linux.limbo.iter_mut().find(|limbo| limbo.host == host) {
                limbo.held.push(held);
            }
        }
    }

    /// Puts a changing message into the queue of its socket.
    pub(super) fn write<M: NetlinkSerializable>(&mut self, place: &Place, op: usize, flags: u16, message: M) {
        self.push(place, Tag { op, writes: true, tolerate: &[] }, flags, message);
    }

    /// Sends the queues that `wanted` picks: the host's before those of namespaces, so that a host end is complete before
    /// its peer comes up, but rules that were begun before it come first, so that no packet passes before its filter
    /// is there; and the others in the order in which they were begun.
    pub(super) fn flush(&mut self, wanted: impl Fn(&Queue) -> bool) -> Result<(), Stop> {
        let host = self.queues.iter().position(|queue| queue.place == Place::Host && wanted(queue));
        let (mut send, mut keep, mut rules) = (Vec::new(), Vec::new(), Vec::new());
        for (position, queue) in std::mem::take(&mut self.queues).into_iter().enumerate() {
            if queue.place.is_nft() && host.is_some_and(|host| position < host) {
                rules.push(queue);
            } else if wanted(&queue) {
                send.push(queue);
            } else {
                keep.push(queue);
            }
        }
        self.queues = keep;
        send.sort_by_key(|queue| queue.place != Place::Host);
        send.splice(0..0, rules);
        let mut send = send.into_iter();
        while let Some(queue) = send.next() {
            self.send(queue);
            // Backwards everything is tried.
            if !self.back && !self.errors.is_empty() {
                send.for_each(|queue| self.keep_names(queue, |_| true));
                return Err(Stop);
            }
        }
        Ok(())
    }

    fn send(&mut self, mut queue: Queue) {
        let linux = &mut *self.linux;
        let socket = match &queue.place {
            Place::Host => &linux.host,
            Place::Nft => {
                let result = linux.wire.transact(&linux.nft, &mut queue.batch, nft::transaction());
                return self.transacted(&queue, result);
            }
            Place::NftIn(name) => {
                let result = self.transact_inside(name, &queue.batch);
                return self.transacted(&queue, result);
            }
            Place::Named(name) => match linux.namespaces.get(name) {
                Some(handle) => &handle.socket,
                None => return self.lost(&queue, &io::Error::from_raw_os_error(libc::ENOENT)),
            },
        };
        let fates = match linux.wire.exchange(socket, &mut queue.batch) {
            Ok(fates) => fates,
            Err(error) => return self.lost(&queue, &error),
        };
        let mut refused = BTreeSet::new();
        for (message, (tag, fate)) in queue.batch.tags().zip(fates).enumerate() {
            match fate {
                Ok(answer) => {
                    self.touched[tag.op] |= tag.writes;
                    if let Some(facts) = answer.as_deref().and_then(LinkFacts::read) {
                        self.answers.insert(tag.op, facts);
                    }
                }
                Err(refusal) if tag.tolerate.contains(&refusal.errno) => {
                    self.missed.insert(tag.op);
                }
                Err(refusal) => {
                    let error = error::refused(&self.words(tag.op), &refusal);
                    self.note(tag.op, error);
                    refused.insert(message);
                }
            }
        }
        self.keep_names(queue, |message| refused.contains(&message));
    }

    /// Changes rules in a namespace.
    fn transact_inside(&mut self, netns: &str, batch: &Batch<Tag>) -> io::Result<Transacted> {
        let Linux { namespaces, aside, wire, .. } = &mut *self.linux;
        let handle = namespaces.get_mut(netns).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        let mut batch = batch.bare();
        let work =
            move |wire: &mut Wire, socket: &Socket| wire.transact(socket, &mut batch, nft::transaction());
        handle.rules.transact(aside, wire, work)
    }

    fn transacted(&mut self, queue: &Queue, result: io::Result<Transacted>) {
        let tags: Vec<usize> = queue.batch.tags().map(|tag| tag.op).collect();
        match result {
            Ok(Ok(())) => {
                for op in tags {
                    self.touched[op] = true;
                }
            }
            Ok(Err(refused)) => {
                for (index, refusal) in refused {
                    let Some(op) = tags.get(index).copied() else { continue };
                    let error = error::refused(&self.words(op), &refusal);
                    self.note(op, error);
                }
                if self.back {
                    // None of it was taken back.
                    let whole =
                        OpError { errno: None, message: "refused with the others of its transaction".into() };
                    for op in tags {
                        self.note(op, whole.clone());
                    }
                }
            }
            Err(error) => self.lost(queue, &error),
        }
    }

    /// The socket failed: anything may have been done.
    fn lost(&mut self, queue: &Queue, error: &io::Error) {
        for tag in queue.batch.tags() {
            self.touched[tag.op] |= tag.writes;
            let error = error::failed(&self.words(tag.op), error);
            self.errors.entry(tag.op).or_insert(error);
        }
    }

    /// Makes sure that rules can be changed in a namespace, and says where the messages go.
    pub(super) fn rules_in(&mut self, op: usize, netns: &Netns) -> Result<Place, Stop> {
        let Netns::Named(name) = netns else { return Ok(Place::Nft) };
        self.open(op, name)?;
        let Linux { folder, namespaces, .. } = &mut *self.linux;
        let opened = match namespaces.get_mut(name) {
            Some(handle) => folder.open_rules(handle),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        };
        opened.map_err(|error| self.stop(op, &error))?;
        Ok(Place::NftIn(name.clone()))
    }

    /// Writes all rules in a namespace anew, if it is not known what is there; says whether that was so.
    pub(super) fn write_all_inside(&mut self, op: usize, place: &Place, netns: &Netns) -> bool {
        let Netns::Named(name) = netns else { return false };
        if !self.linux.namespaces.get(name).is_some_and(|handle| handle.rules.is_unsure()) {
            return false;
        }
        let filters = self.linux.filtering.inside(netns);
        let mut messages = nft::filters::inside(&filters, self.linux.owns_tables);
        messages.extend(nft::intercept(self.linux.intercepted_in(netns)));
        for (flags, message) in messages {
            self.write(place, op, flags, message);
        }
        true
    }

    /// Whether a namespace is gone with all that was in it.
    pub(super) fn is_gone(&self, netns: &Netns) -> bool {
        let Netns::Named(name) = netns else { return false };
        let nothing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        !self.linux.namespaces.contains_key(name)
            && self.linux.folder.adopt(name).is_err_and(|error| nothing(&error))
    }
}
