//! Brings the routes of tables back when a link of the host is up again: the kernel takes them away with the link, and
//! what is discarded meanwhile would be discarded for good. There is a thread for it as long as there are tables.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hcn_dataplane::{Family, Steering};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe;

use crate::link::{self, LinkFacts};
use crate::socket::{Batch, Messages, Socket, Wire};
use crate::steering;

/// `RTMGRP_LINK`
const LINKS: u32 = 1;
const RTM_NEWLINK: u16 = 16;

/// The tables that there are, by bridge and family.
type Tables = Mutex<HashMap<(String, Family), Steering>>;

fn lock(tables: &Tables) -> MutexGuard<'_, HashMap<(String, Family), Steering>> {
    tables.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tables, and the thread that looks after them.
#[derive(Default)]
pub(crate) struct Watch {
    tables: Arc<Tables>,
    thread: Option<(OwnedFd, JoinHandle<()>)>,
}

impl Watch {
    /// Looks after a table from now on, in the network namespace that the calling thread is in.
    pub(crate) fn add(&mut self, steering: &Steering) -> io::Result<()> {
        lock(&self.tables).insert((steering.bridge.clone(), steering.family), steering.clone());
        if self.thread.is_none() {
            let mut events = netlink_sys::Socket::new(NETLINK_ROUTE)?;
            events.bind(&SocketAddr::new(0, LINKS))?;
            let socket = Socket::open(NETLINK_ROUTE)?;
            let (stopped, stop) = pipe()?;
            let tables = Arc::clone(&self.tables);
            let thread = std::thread::Builder::new()
                .name("uplinks".to_owned())
                .spawn(move || run(&events, &socket, &stopped, &tables))?;
            self.thread = Some((stop, thread));
        }
        Ok(())
    }

    /// Leaves a table alone: once this returns, nothing is added to it any more.
    pub(crate) fn remove(&mut self, steering: &Steering) {
        lock(&self.tables).remove(&(steering.bridge.clone(), steering.family));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some((stop, thread)) = self.thread.take() else { return };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the thread that looks after uplinks panicked");
        }
    }
}

fn run(events: &netlink_sys::Socket, socket: &Socket, stopped: &OwnedFd, tables: &Tables) {
    let mut wire = Wire::new();
    let mut buffer = vec![0; 64 << 10];
    // The descriptor is the socket's, which outlives this.
    while wait(events, stopped) {
        let mended = match events.recv(&mut &mut buffer[..], 0) {
            Ok(length) => {
                let messages = Messages::of(&buffer[..length]).filter(|(kind, _)| *kind == RTM_NEWLINK);
                let up =
                    messages.filter_map(|(_, payload)| LinkFacts::read(payload)).filter(|facts| facts.up);
                up.map(|facts| facts.name).try_for_each(|name| mend(&mut wire, socket, tables, Some(&name)))
            }
            // Some were lost: any link may be meant.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                mend(&mut wire, socket, tables, None)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = mended {
            tracing::warn!(%error, "cannot look after the routes of constrained networks");
        }
    }
}

/// Waits for an event; `false` = it is time to end.
fn wait(events: &netlink_sys::Socket, stopped: &OwnedFd) -> bool {
    #[allow(unsafe_code, reason = "the crate's socket gives a number only")]
    // SAFETY: the descriptor is open as long as `events` is borrowed, and is only polled.
    let readable = unsafe { BorrowedFd::borrow_raw(events.as_raw_fd()) };
    let mut polled =
        [PollFd::new(readable, PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut polled, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, "cannot wait for events of links");
                return false;
            }
            // The other end is closed.
            Ok(_) => return polled[1].revents().is_none_or(|events| events.is_empty()),
        }
    }
}

/// Adds the routes by a link that are missing; by all links, if none is named.
fn mend(wire: &mut Wire, socket: &Socket, tables: &Tables, only: Option<&str>) -> io::Result<()> {
    // Held until it is done, so that a table that goes gets no route afterwards.
    let tables = lock(tables);
    let mut batch = Batch::new();
    for table in tables.values() {
        let outside = table.hops.iter().filter(|hop| hop.link != table.bridge);
        for hop in outside.filter(|hop| only.is_none_or(|link| link == hop.link)) {
            let mut question = Batch::new();
            question.push((), 0, link::get(&hop.link));
            let answer = wire.exchange(socket, &mut question)?.pop().and_then(|fate| fate.ok().flatten());
            let facts = answer.and_then(|payload| LinkFacts::read(&payload)).filter(|facts| facts.up);
            if let Some(facts) = facts {
                let route = steering::new_way(table.table, hop, facts.index);
                batch.push(hop.link.clone(), NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewRoute(route));
            }
        }
    }
    if batch.len() == 0 {
        return Ok(());
    }
    let fates = wire.exchange(socket, &mut batch)?;
    for (link, fate) in batch.tags().zip(fates) {
        match fate {
            Ok(_) => tracing::info!(link, "a constrained network has its uplink again"),
            Err(refusal) if refusal.errno == libc::EEXIST => {}
            Err(refusal) => {
                let error = io::Error::from(refusal);
                tracing::warn!(%error, link, "cannot make a route of a constrained network");
            }
        }
    }
    Ok(())
}
