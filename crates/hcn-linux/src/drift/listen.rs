//! Listens to what the kernel tells of changes, and says which of them may be of hcnd's things and not hcnd's doing. Word
//! of a change that turns out to be none costs a look; so what hcnd itself does all the time is told apart: a link that
//! it takes away is not known as its own any more.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use hcn_dataplane::{Notice, Notify};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_sys::SocketAddr;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::unistd::pipe;

use crate::attributes;
use crate::known::OnHost;
use crate::link::{LinkFacts, PortWord};
use crate::socket::{Batch, Message, Messages, Socket, Wire};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_DELRULE: u16 = 33;
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_DELTFILTER: u16 = 45;
const RTM_NEWNETCONF: u16 = 80;

/// `RTNLGRP_*`: links, neighbours, traffic control, addresses, routes and rules of both families, and settings.
const GROUPS: [u32; 11] = [1, 3, 4, 5, 7, 8, 9, 11, 19, 24, 25];
const NFNLGRP_NFTABLES: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, as the upper octet of a type.
const NFTABLES: u16 = 10;
/// What takes something away: table, chain, rule, set, elements (`NFT_MSG_DEL*`).
const NFT_MSG_DEL: [u16; 5] = [2, 5, 8, 11, 14];
/// Length of `struct nfgenmsg`.
const NFGENMSG: usize = 4;

const NLM_F_REPLACE: u16 = 0x100;
const AF_BRIDGE: u8 = 7;
const IFF_UP: u32 = 1;
const RT_TABLE_LOCAL: u8 = 255;
const RTA_OIF: u16 = 4;
const NUD_PERMANENT: u16 = 0x80;
const NUD_NOARP: u16 = 0x40;
const NTF_PROXY: u8 = 8;
const NDA_DST: u16 = 1;
const NDA_PROTOCOL: u16 = 12;
const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_FORWARDING: u16 = 2;
const NETCONFA_RP_FILTER: u16 = 3;
const NETCONFA_PROXY_NEIGH: u16 = 5;
/// `NETCONFA_IFINDEX_ALL`.
const EVERYWHERE: u32 = u32::MAX;
/// Replies leave by the link that the request came by, or it is dropped (RFC 3704, 2.2).
const STRICT: u32 = 1;
const SOL_NETLINK: i32 = 270;
const NETLINK_LISTEN_ALL_NSID: i32 = 8;

/// Octets that wait to be read: what a thousand namespaces tell when they all change at once.
const ROOM: usize = 8 << 20;

/// The thread that listens; it ends with this.
pub(crate) struct Listener {
    thread: Option<(OwnedFd, JoinHandle<()>)>,
}

/// What is listened to.
struct Ears {
    route: netlink_sys::Socket,
    /// Where anybody can change the rules.
    nft: Option<netlink_sys::Socket>,
    /// Names of namespaces that are taken away.
    names: Inotify,
    stopped: OwnedFd,
    judge: Judge,
}

/// What tells hcnd's things, and its doing, from those of others.
pub(crate) struct Judge {
    pub(crate) on_host: Arc<OnHost>,
    /// Of the sockets by which hcnd itself changes rules, and the rest.
    pub(crate) own_nft: u32,
    pub(crate) own_route: u32,
}

impl Listener {
    /// Starts in the network namespace that the calling thread is in.
    pub(crate) fn start(
        on_host: Arc<OnHost>,
        names: &Path,
        host: &Socket,
        rules: Option<&Socket>,
        notify: Notify,
    ) -> io::Result<Self> {
        let route = open(NETLINK_ROUTE, &GROUPS)?;
        let nft = rules.map(|_| open(NETLINK_NETFILTER, &[NFNLGRP_NFTABLES])).transpose()?;
        let (own_route, own_nft) = (host.port()?, rules.map_or(Ok(0), Socket::port)?);
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(names, AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM)?;
        let (stopped, stop) = pipe()?;
        let judge = Judge { on_host, own_nft, own_route };
        let ears = Ears { route, nft, names: inotify, stopped, judge };
        let thread =
            std::thread::Builder::new().name("listener".to_owned()).spawn(move || ears.listen(&notify))?;
        Ok(Self { thread: Some((stop, thread)) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some((stop, thread)) = self.thread.take() else { return };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the thread that listens for changes panicked");
        }
    }
}

/// A socket that is told of what happens in this network namespace and in those that have a number here.
fn open(protocol: isize, groups: &[u32]) -> io::Result<netlink_sys::Socket> {
    let mut socket = netlink_sys::Socket::new(protocol)?;
    if setsockopt(&socket, sockopt::RcvBufForce, &ROOM).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &ROOM)?;
    }
    socket.bind(&SocketAddr::new(0, 0))?;
    if let Err(error) = socket.set_listen_all_namespaces(true) {
        // CAP_NET_BROADCAST, which nothing else needs.
        tracing::warn!(%error, "what others change in network namespaces of endpoints is not noticed");
    }
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

impl Ears {
    fn listen(self, notify: &Notify) {
        let mut buffer = vec![0; 64 << 10];
        while self.wait() {
            let mut notice = Notice::default();
            self.hear(&self.route, &mut buffer, &mut notice, Judge::route);
            if let Some(nft) = &self.nft {
                self.hear(nft, &mut buffer, &mut notice, |judge, message, _, notice| {
                    notice.rules |= judge.is_foreign_rule(message);
                });
            }
            self.hear_names(&mut notice);
            if !notice.is_empty() {
                notify(notice);
            }
        }
    }

    /// Waits for something to hear; `false` = it is time to end.
    fn wait(&self) -> bool {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled = vec![readable(self.stopped.as_fd()), readable(self.names.as_fd())];
        let sockets = [Some(&self.route), self.nft.as_ref()];
        for socket in sockets.into_iter().flatten() {
            #[allow(unsafe_code, reason = "the crate's socket gives a number only")]
            // SAFETY: the descriptor is open as long as `self` is borrowed, and is only polled.
            let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
            polled.push(readable(fd));
        }
        loop {
            match poll(&mut polled, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot listen for changes");
                    return false;
                }
                // The other end is closed.
                Ok(_) => return polled[0].revents().is_none_or(|events| events.is_empty()),
            }
        }
    }

    /// Reads all that waits.
    fn hear(
        &self,
        socket: &netlink_sys::Socket,
        buffer: &mut [u8],
        notice: &mut Notice,
        mut tell: impl FnMut(&Judge, &Message<'_>, Option<i32>, &mut Notice),
    ) {
        loop {
            let mut control = cmsg_space!(i32);
            let mut vectors = [IoSliceMut::new(buffer)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let received = recvmsg::<()>(socket.as_raw_fd(), &mut vectors, Some(&mut control), flags);
            let (length, number) = match received {
                Ok(received) => {
                    (received.bytes, received.cmsgs().ok().and_then(|mut all| all.find_map(number_of)))
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return,
                Err(Errno::ENOBUFS) => {
                    tracing::warn!(
                        "the kernel told of more changes than could be heard; everything is looked at"
                    );
                    notice.merge(Notice::of_everything());
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot hear of changes");
                    return;
                }
            };
            for message in Messages::all(&buffer[..length]) {
                tell(&self.judge, &message, number, notice);
            }
        }
    }

    fn hear_names(&self, notice: &mut Notice) {
        // There is none: as wanted.
        let Ok(events) = self.names.read_events() else { return };
        for event in events {
            match event.name {
                Some(name) => {
                    notice.names.extend(name.into_string().ok());
                }
                None if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) => notice.lost = true,
                None => {}
            }
        }
    }
}

impl Judge {
    /// A change of links, addresses, routes or neighbours; `number` = in another network namespace.
    pub(crate) fn route(&self, message: &Message<'_>, number: Option<i32>, notice: &mut Notice) {
        match number {
            Some(number) => {
                if !notice.numbers.contains(&number) && takes_away(message).is_some() {
                    notice.numbers.insert(number);
                }
            }
            // Asked each time, since how links are is noted, too.
            None => notice.host |= self.concerns_host(message).unwrap_or(false),
        }
    }

    /// Whether a change in hcnd's own namespace may be of something of hcnd's.
    fn concerns_host(&self, message: &Message<'_>) -> Option<bool> {
        let Message { kind, payload, .. } = *message;
        let bridge = payload.first() == Some(&AF_BRIDGE);
        let ours = |index: u32| self.on_host.has(index);
        let index = || attributes::number(payload.get(4..8)?);
        Some(match kind {
            RTM_NEWLINK if bridge => self.on_host.changed_port(&PortWord::read(payload)?),
            RTM_NEWLINK => self.on_host.changed(&LinkFacts::read(payload)?),
            RTM_NEWNEIGH | RTM_DELNEIGH => {
                let state = u16::from_ne_bytes(payload.get(8..10)?.try_into().ok()?);
                let find = |kind| attributes::find(payload.get(12..)?, kind);
                let said = state & (NUD_PERMANENT | NUD_NOARP) != 0;
                let proxy = payload.get(10)? & NTF_PROXY != 0;
                match kind {
                    // What is permanent for a bridge are its ports' own addresses.
                    RTM_DELNEIGH if bridge => {
                        (state & NUD_NOARP != 0 || find(NDA_DST).is_some()) && ours(index()?)
                    }
                    // Who has changed where frames go is not said.
                    _ if bridge => find(NDA_DST).is_some() && ours(index()?),
                    _ if message.port == self.own_route => false,
                    // One that is deleted is first one that has failed.
                    RTM_DELNEIGH => proxy || (find(NDA_PROTOCOL).is_some() && ours(index()?)),
                    _ => said && ours(index()?),
                }
            }
            RTM_NEWQDISC | RTM_DELQDISC | RTM_DELTFILTER => ours(index()?),
            RTM_NEWNETCONF => {
                let all = attributes::all(payload.get(4..)?);
                let settings: HashMap<u16, &[u8]> = all.collect();
                let index: u32 = attributes::number(settings.get(&NETCONFA_IFINDEX)?)?;
                let is = |kind, value: u32| {
                    settings.get(&kind).copied().and_then(attributes::number) == Some(value)
                };
                match index {
                    EVERYWHERE => is(NETCONFA_FORWARDING, 0),
                    _ if is(NETCONFA_FORWARDING, 0)
                        || is(NETCONFA_PROXY_NEIGH, 0)
                        || is(NETCONFA_RP_FILTER, STRICT) =>
                    {
                        self.on_host.has_settled(index)
                    }
                    _ => false,
                }
            }
            _ => match takes_away(message)? {
                Some(index) => ours(index),
                None => true,
            },
        })
    }

    /// Whether somebody else takes rules away that are hcnd's.
    pub(crate) fn is_foreign_rule(&self, message: &Message<'_>) -> bool {
        let deleted = message.kind >> 8 == NFTABLES && NFT_MSG_DEL.contains(&(message.kind & 0xff));
        // The name of the table is the first attribute of each.
        let table = message.payload.get(NFGENMSG..).and_then(|body| attributes::find(body, 1));
        let ours = table.is_some_and(|name| attributes::text(name).starts_with("hcnd"));
        deleted && message.port != self.own_nft && ours
    }
}

/// Whether something is told of that takes a link, an address, a route or a rule away, or changes it; and the link.
#[allow(clippy::option_option, reason = "the outer says whether, the inner which link where that is known")]
fn takes_away(message: &Message<'_>) -> Option<Option<u32>> {
    let Message { kind, flags, payload, .. } = *message;
    let index = || attributes::number(payload.get(4..8)?);
    match kind {
        RTM_NEWLINK if payload.first() != Some(&AF_BRIDGE) => {
            let flags: u32 = attributes::number(payload.get(8..12)?)?;
            let changed: u32 = attributes::number(payload.get(12..16)?)?;
            // A new link changes everything.
            (flags & IFF_UP == 0 && changed & IFF_UP != 0 && changed != u32::MAX).then(index)
        }
        RTM_DELLINK if payload.first() != Some(&AF_BRIDGE) => Some(index()),
        RTM_DELADDR => Some(index()),
        RTM_DELROUTE if payload.get(4) != Some(&RT_TABLE_LOCAL) => {
            Some(attributes::find(payload.get(12..)?, RTA_OIF).and_then(attributes::number))
        }
        RTM_NEWROUTE if flags & NLM_F_REPLACE != 0 => Some(None),
        RTM_DELRULE => Some(None),
        _ => None,
    }
}

/// The number of the network namespace that a message is about.
fn number_of(message: ControlMessageOwned) -> Option<i32> {
    match message {
        ControlMessageOwned::Unknown(other)
            if other.cmsg_header.cmsg_level == SOL_NETLINK
                && other.cmsg_header.cmsg_type == NETLINK_LISTEN_ALL_NSID =>
        {
            Some(i32::from_ne_bytes(other.data_bytes.get(..4)?.try_into().ok()?))
        }
        _ => None,
    }
}

/// Asks for the number that this network namespace has for another one, given by a descriptor.
pub(crate) fn ask_number(wire: &mut Wire, socket: &Socket, netns: RawFd) -> io::Result<Option<i32>> {
    let mut question = NsidMessage::default();
    question.attributes = vec![NsidAttribute::Fd(netns.cast_unsigned())];
    let mut batch = Batch::new();
    batch.push((), 0, RouteNetlinkMessage::GetNsId(question));
    let answer = wire.exchange(socket, &mut batch)?.pop().and_then(|fate| fate.ok().flatten());
    // struct rtgenmsg, padded; then NETNSA_NSID (1).
    let number = answer.as_deref().and_then(|payload| attributes::find(payload.get(4..)?, 1));
    Ok(number.and_then(attributes::number).map(u32::cast_signed).filter(|number| *number >= 0))
}

/// RTM_NEWNSID: a network namespace, given by a descriptor, has a number from now on.
pub(crate) fn give_number(netns: RawFd) -> RouteNetlinkMessage {
    let mut message = NsidMessage::default();
    message.attributes = vec![NsidAttribute::Fd(netns.cast_unsigned()), NsidAttribute::Id(-1)];
    RouteNetlinkMessage::NewNsId(message)
}
