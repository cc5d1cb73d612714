//! Brings back what the kernel takes away with a link, when the link is back: the routes of tables, since what is
//! discarded meanwhile would be discarded for good, and the neighbours that the host speaks for, whom nobody would find
//! any more. A link that only loses its carrier loses these, too. There is a thread for it once there is one of either.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
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
use crate::{proxy, steering};

/// `RTMGRP_LINK`
const LINKS: u32 = 1;
const RTM_NEWLINK: u16 = 16;

/// What is looked after.
#[derive(Default)]
struct Kept {
    /// Tables by number and family.
    tables: HashMap<(u32, Family), Steering>,
    /// Neighbours that the host speaks for, by link.
    proxied: BTreeSet<(String, IpAddr)>,
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is looked after, and the thread that does it.
#[derive(Default)]
pub(crate) struct Watch {
    kept: Arc<Mutex<Kept>>,
    thread: Option<(OwnedFd, JoinHandle<()>)>,
}

impl Watch {
    /// Looks after a table from now on, in the network namespace that the calling thread is in.
    pub(crate) fn add(&mut self, steering: &Steering) -> io::Result<()> {
        lock(&self.kept).tables.insert((steering.table, steering.family), steering.clone());
        self.begin()
    }

    /// Looks after a neighbour that the host speaks for on a link.
    pub(crate) fn add_proxied(&mut self, link: &str, address: IpAddr) -> io::Result<()> {
        lock(&self.kept).proxied.insert((link.to_owned(), address));
        self.begin()
    }

    /// Leaves a neighbour alone: once this returns, the host is not made to speak for it any more.
    pub(crate) fn remove_proxied(&mut self, link: &str, address: IpAddr) {
        lock(&self.kept).proxied.remove(&(link.to_owned(), address));
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.thread.is_none() {
            let mut events = netlink_sys::Socket::new(NETLINK_ROUTE)?;
            events.bind(&SocketAddr::new(0, LINKS))?;
            let socket = Socket::open(NETLINK_ROUTE)?;
            let (stopped, stop) = pipe()?;
            let kept = Arc::clone(&self.kept);
            let thread = std::thread::Builder::new()
                .name("uplinks".to_owned())
                .spawn(move || run(&events, &socket, &stopped, &kept))?;
            self.thread = Some((stop, thread));
        }
        Ok(())
    }

    /// Leaves a table alone: once this returns, nothing is added to it any more.
    pub(crate) fn remove(&mut self, steering: &Steering) {
        lock(&self.kept).tables.remove(&(steering.table, steering.family));
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

fn run(events: &netlink_sys::Socket, socket: &Socket, stopped: &OwnedFd, kept: &Mutex<Kept>) {
    let mut wire = Wire::new();
    let mut carriers = HashMap::new();
    let mut buffer = vec![0; 64 << 10];
    // The descriptor is the socket's, which outlives this.
    while wait(events, stopped) {
        let mended = match events.recv(&mut &mut buffer[..], 0) {
            Ok(length) => {
                let messages = Messages::of(&buffer[..length]).filter(|(kind, _)| *kind == RTM_NEWLINK);
                let found = messages.filter_map(|(_, payload)| LinkFacts::read(payload));
                let up: Vec<LinkFacts> = found.filter(|facts| facts.up).collect();
                up.into_iter().try_for_each(|facts| {
                    // Most events of links are about something else.
                    if carriers.insert(facts.index, facts.operational) != Some(facts.operational) {
                        speak_again(&mut wire, socket, kept, Some(&facts.name))?;
                    }
                    mend(&mut wire, socket, kept, Some(&facts.name))
                })
            }
            // Some were lost: any link may be meant.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                speak_again(&mut wire, socket, kept, None).and_then(|()| mend(&mut wire, socket, kept, None))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = mended {
            tracing::warn!(%error, "cannot look after what stands on links of the host");
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

/// Makes the host speak again for its neighbours on a link; on all links, if none is named.
fn speak_again(wire: &mut Wire, socket: &Socket, kept: &Mutex<Kept>, only: Option<&str>) -> io::Result<()> {
    // Held until it is done, so that nobody is spoken for who has gone meanwhile.
    let kept = lock(kept);
    let meant = |(link, _): &&(String, IpAddr)| only.is_none_or(|only| only == link);
    let mut batch = Batch::new();
    let mut indexes: HashMap<&str, Option<u32>> = HashMap::new();
    for (link, address) in kept.proxied.iter().filter(meant) {
        let index = match indexes.get(link.as_str()) {
            Some(index) => *index,
            None => {
                let index = ask(wire, socket, link)?.map(|facts| facts.index);
                *indexes.entry(link).or_insert(index)
            }
        };
        if let Some(index) = index {
            batch.push((), NLM_F_CREATE, proxy::create(index, *address));
        }
    }
    // A link that has gone meanwhile has no neighbours.
    wire.exchange(socket, &mut batch).map(drop)
}

/// What the kernel says of a link, if it is there.
fn ask(wire: &mut Wire, socket: &Socket, name: &str) -> io::Result<Option<LinkFacts>> {
    let mut question = Batch::new();
    question.push((), 0, link::get(name));
    let answer = wire.exchange(socket, &mut question)?.pop().and_then(|fate| fate.ok().flatten());
    Ok(answer.and_then(|payload| LinkFacts::read(&payload)))
}

/// Adds the routes by a link that are missing; by all links, if none is named.
fn mend(wire: &mut Wire, socket: &Socket, kept: &Mutex<Kept>, only: Option<&str>) -> io::Result<()> {
    // Held until it is done, so that a table that goes gets no route afterwards.
    let kept = lock(kept);
    let mut batch = Batch::new();
    let mut indexes: HashMap<&str, Option<u32>> = HashMap::new();
    for table in kept.tables.values() {
        let outside = table.hops.iter().filter(|hop| hop.link != table.bridge);
        for hop in outside.filter(|hop| only.is_none_or(|link| link == hop.link)) {
            let index = match indexes.get(hop.link.as_str()) {
                Some(index) => *index,
                None => {
                    let index = ask(wire, socket, &hop.link)?.filter(|facts| facts.up);
                    *indexes.entry(&hop.link).or_insert(index.map(|facts| facts.index))
                }
            };
            if let Some(index) = index {
                let route = steering::new_way(table.table, hop, index);
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
            Ok(_) => tracing::info!(link, "a constrained network or endpoint has its uplink again"),
            Err(refusal) if refusal.errno == libc::EEXIST => {}
            Err(refusal) => {
                let error = io::Error::from(refusal);
                tracing::warn!(%error, link, "cannot make a route of a constrained network or endpoint");
            }
        }
    }
    Ok(())
}
