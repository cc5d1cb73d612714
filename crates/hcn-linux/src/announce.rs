//! After attaching: waiting until new pairs carry packets, and telling neighbours who has their addresses now.
//!
//! The kernel tells a bridge by a worker of its own that a port has a carrier, and by another that an IPv6 address is
//! its own; a packet that comes before is lost, and with it a second. And whoever knew the last owner of an address would go on sending to its MAC
//! address, for up to a minute. So when an address comes back with another MAC address, a gratuitous ARP
//! (RFC 5944, 4.6) or an unsolicited neighbour advertisement (RFC 4861, 7.2.6) leaves by the peer of the new pair.
//! Only then: the bridge copies it to every port, which takes 5 µs each.

use std::collections::HashMap;
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hcn_dataplane::{LinkId, Mac, Netns, Object, Op, ProxyNeighbour, Sharing, Veth};
use netlink_packet_core::NLM_F_CREATE;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::Linux;
use crate::link::{self, LinkFacts};
use crate::socket::Batch;
use crate::{proxy, route};

/// How long pairs are waited for: the kernel handles carriers at most once a second unless they are urgent.
const DEADLINE: Duration = Duration::from_millis(1500);
const PAUSE: Duration = Duration::from_micros(200);

const BROADCAST: Mac = Mac([0xff; 6]);
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// All nodes of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);
const ICMPV6: u8 = 58;

/// Addresses that are remembered at least; twice as many at most. About 40 bytes each.
const REMEMBERED: usize = 32_768;

/// A MAC address, and the bridge (by its index) that it is a port of.
type Owner = (Mac, u32);

/// Who was last seen with each address of a segment, by the index of the segment's first bridge.
#[derive(Default)]
pub(crate) struct Owners {
    young: HashMap<(u32, IpAddr), Owner>,
    /// The generation before, forgotten as a whole.
    old: HashMap<(u32, IpAddr), Owner>,
}

impl Owners {
    /// Notes an owner and says whether neighbours may know another one, or bridges that it is elsewhere.
    fn replace(&mut self, segment: u32, address: IpAddr, owner: Owner) -> bool {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        let key = (segment, address);
        let before = self.young.insert(key, owner).or_else(|| self.old.get(&key).copied());
        before.is_some_and(|before| before != owner)
    }
}

/// Notes who has an address, and says whether others must be told.
pub(crate) fn note(linux: &mut Linux, veth: &Veth, address: IpAddr) -> bool {
    let index = |bridge: &str| linux.links.get(&LinkId::host(bridge)).copied().unwrap_or_default();
    let first = linux.joined.get(&veth.bridge).map_or(&veth.bridge, |joint| &joint.bridges[0]);
    let (segment, bridge) = (index(first), index(&veth.bridge));
    linux.owners.replace(segment, address, (veth.mac, bridge))
}

/// A packet socket that only sends; of the network namespace that it was opened in.
pub(crate) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens a socket in the namespace that the calling thread is in.
    pub(crate) fn open() -> io::Result<Self> {
        // Protocol 0: it receives nothing.
        Ok(Self(socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?))
    }

    fn send(&self, link: u32, frame: &[u8]) -> io::Result<()> {
        let protocol = u16::from_ne_bytes([frame[12], frame[13]]);
        let mut address = [0; 8];
        address[..6].copy_from_slice(&frame[..6]);
        let to = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: protocol,
            sll_ifindex: link.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: address,
        };
        #[allow(unsafe_code, reason = "no safe wrapper builds a link-layer address from an interface index")]
        // SAFETY: the descriptor is open; `frame` and `to` are valid for reads of the lengths that are given with
        // them, and sendto keeps neither pointer.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// An interface that a plan made, with what is on the way to it, and when its addresses are announced.
struct Arrival<'a> {
    link: &'a LinkId,
    /// None: that of the link below it, which it has too.
    mac: Option<Mac>,
    way: Vec<LinkId>,
    /// The pair whose peer it is; what else it is others, unknown here, may know its addresses of.
    veth: Option<&'a Veth>,
}

fn arrival(op: &Op) -> Option<Arrival<'_>> {
    match op {
        Op::Create(Object::Veth(veth)) => Some(Arrival {
            link: &veth.peer,
            mac: Some(veth.mac),
            way: vec![LinkId::host(&veth.name), veth.peer.clone(), LinkId::host(&veth.bridge)],
            veth: Some(veth),
        }),
        Op::Create(Object::Sublink(sublink)) => Some(Arrival {
            link: &sublink.link,
            mac: (sublink.sharing != Sharing::Ipvlan).then_some(sublink.mac),
            way: vec![sublink.link.clone()],
            veth: None,
        }),
        _ => None,
    }
}

/// Waits for the interfaces that a plan made, and announces their addresses. What fails here costs time, nothing else.
pub(crate) fn announce(linux: &mut Linux, ops: &[Op]) {
    let arrivals: Vec<Arrival<'_>> = ops.iter().filter_map(arrival).collect();
    if arrivals.is_empty() {
        return;
    }
    // Tests that make messages fail mean those of the plan; here a failure would change nothing.
    let fault = linux.wire.fault.take();
    if let Err(error) = wait(linux, &arrivals, ops) {
        tracing::warn!(%error, "new links do not carry packets yet");
    }
    for op in ops {
        match op {
            Op::Create(Object::Address(address)) => {
                if let Some(arrival) = arrivals.iter().find(|arrival| *arrival.link == address.link) {
                    announce_address(linux, arrival, address.address.addr());
                }
            }
            Op::Create(Object::ProxyNeighbour(proxy)) => speak_for(linux, proxy),
            _ => {}
        }
    }
    linux.wire.fault = fault;
}

fn announce_address(linux: &mut Linux, arrival: &Arrival<'_>, address: IpAddr) {
    let Some(index) = linux.links.get(arrival.link).copied() else { return };
    if arrival.veth.is_some_and(|veth| !note(linux, veth, address)) {
        return;
    }
    let mac = arrival.mac.or_else(|| read(linux, arrival.link)?.mac);
    let socket = match &arrival.link.netns {
        Netns::Host => Ok(&linux.packets),
        Netns::Named(name) => match linux.namespaces.get_mut(name) {
            Some(handle) => linux.folder.packets(handle),
            None => return,
        },
    };
    match (socket, mac) {
        (Ok(socket), Some(mac)) => tell(socket, index, mac, address),
        (Err(error), _) => tracing::debug!(%error, %address, "cannot announce"),
        (Ok(_), None) => {}
    }
}

/// What the kernel says of a link now.
fn read(linux: &mut Linux, link: &LinkId) -> Option<LinkFacts> {
    let socket = match &link.netns {
        Netns::Host => &linux.host,
        Netns::Named(name) => &linux.namespaces.get(name)?.socket,
    };
    let mut batch = Batch::new();
    batch.push((), 0, link::get(&link.name));
    let answer = linux.wire.exchange(socket, &mut batch).ok()?.pop()?.ok()?;
    LinkFacts::read(&answer?)
}

/// Outside, somebody else may have had an address for which the host speaks now. On a bridge the kernel has forgotten
/// what it was told before the bridge had its first port: it is told again.
fn speak_for(linux: &mut Linux, proxy: &ProxyNeighbour) {
    let added = linux.proxied.get(&(proxy.link.clone(), proxy.address)).is_some_and(|claimed| claimed.added);
    let link = LinkId::host(&proxy.link);
    if let Some(index) = linux.links.get(&link) {
        if added {
            let mut batch = Batch::new();
            batch.push((), NLM_F_CREATE, proxy::create(*index, proxy.address));
            if let Err(error) = linux.wire.exchange(&linux.host, &mut batch) {
                tracing::debug!(%error, address = %proxy.address, "cannot speak for a neighbour");
            }
        }
        return;
    }
    if let Some(LinkFacts { index, mac: Some(mac), .. }) = read(linux, &link) {
        tell(&linux.packets, index, mac, proxy.address);
    }
}

/// Tells those on a link where an address is.
pub(crate) fn tell(socket: &PacketSocket, link: u32, mac: Mac, address: IpAddr) {
    let frame = match address {
        IpAddr::V4(address) => gratuitous_arp(mac, address),
        IpAddr::V6(address) => neighbour_advertisement(mac, address),
    };
    if let Err(error) = socket.send(link, &frame) {
        tracing::debug!(%error, %address, "cannot announce");
    }
}

/// What must be so before packets flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Awaited {
    /// The link with this index is operational: until the kernel has handled its carrier it drops what is sent there.
    Carrier(u32),
    /// The address is the namespace's own. The kernel adds the route that says so by a worker; until then it takes
    /// packets to the address for others.
    Own(Ipv6Addr),
}

/// Waits until both ends of the pairs, and the bridges that got their first ports, are operational, and the addresses
/// of the pairs usable.
fn wait(linux: &mut Linux, arrivals: &[Arrival<'_>], ops: &[Op]) -> io::Result<()> {
    let mut waiting: Vec<(Netns, Awaited)> = Vec::new();
    for link in arrivals.iter().flat_map(|arrival| &arrival.way) {
        waiting.extend(linux.links.get(link).map(|index| (link.netns.clone(), Awaited::Carrier(*index))));
    }
    for op in ops {
        if let Op::Create(Object::Joint(joint)) = op {
            for end in joint.ends.iter().chain(&joint.bridges) {
                let index = linux.links.get(&LinkId::host(end));
                waiting.extend(index.map(|index| (Netns::Host, Awaited::Carrier(*index))));
            }
        }
        if let Op::Create(Object::Address(address)) = op
            && let IpAddr::V6(own) = address.address.addr()
            && arrivals.iter().any(|arrival| *arrival.link == address.link)
        {
            waiting.push((address.link.netns.clone(), Awaited::Own(own)));
        }
    }
    // Those of one socket together, each once.
    waiting.sort();
    waiting.dedup();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut left = Vec::new();
        for of_netns in waiting.chunk_by(|(netns, _), (next, _)| netns == next) {
            left.extend(still_awaited(linux, of_netns)?);
        }
        waiting = left;
        if waiting.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(PAUSE);
    }
}

/// What of this is not so yet, in one namespace. Asking makes newer kernels do what is pending for a link; older ones
/// need the time.
fn still_awaited(linux: &mut Linux, awaited: &[(Netns, Awaited)]) -> io::Result<Vec<(Netns, Awaited)>> {
    let socket = match &awaited[0].0 {
        Netns::Host => &linux.host,
        Netns::Named(name) => match linux.namespaces.get(name) {
            Some(handle) => &handle.socket,
            None => return Ok(Vec::new()),
        },
    };
    let mut batch = Batch::new();
    for (_, awaited) in awaited {
        batch.push(
            (),
            0,
            match awaited {
                Awaited::Carrier(index) => link::get_index(*index),
                Awaited::Own(address) => route::get((*address).into()),
            },
        );
    }
    let fates = linux.wire.exchange(socket, &mut batch)?;
    let is_pending = |awaited: &Awaited, answer: Option<Vec<u8>>| match (awaited, answer) {
        (Awaited::Carrier(_), answer) => {
            answer.as_deref().and_then(LinkFacts::read).is_some_and(|facts| !facts.operational)
        }
        (Awaited::Own(_), answer) => !answer.is_some_and(|answer| route::is_local(&answer)),
    };
    let answers = fates.into_iter().map(|fate| fate.ok().flatten());
    let pending =
        awaited.iter().zip(answers).filter(|((_, awaited), answer)| is_pending(awaited, answer.clone()));
    Ok(pending.map(|(awaited, _)| awaited.clone()).collect())
}

fn ethernet(to: Mac, from: Mac, ethertype: u16) -> Vec<u8> {
    [&to.0[..], &from.0, &ethertype.to_be_bytes()].concat()
}

/// An ARP request (RFC 826) for the sender's own address.
fn gratuitous_arp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    // Ethernet, IPv4, lengths 6 and 4, request.
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// An unsolicited neighbour advertisement (RFC 4861, 4.4) that overrides what is known.
fn neighbour_advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
    let mut message = vec![136, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend(address.octets());
    message.extend([TARGET_LINK_LAYER_ADDRESS, 1]);
    message.extend(mac.0);
    let length = message.len() as u16;
    let pseudo_header =
        [&address.octets()[..], &ALL_NODES.octets(), &u32::from(length).to_be_bytes(), &[0, 0, 0, ICMPV6]]
            .concat();
    let sum = checksum(pseudo_header.iter().chain(&message).copied());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ethernet(ALL_NODES_MAC, mac, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    // Only a hop limit of 255 shows that nobody forwarded it.
    frame.extend([ICMPV6, 255]);
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: impl Iterator<Item = u8>) -> u16 {
    let mut sum = 0_u32;
    for (place, byte) in bytes.enumerate() {
        sum += u32::from(byte) << if place % 2 == 0 { 8 } else { 0 };
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0, 0x15, 0x5d, 1, 2, 3]);

    #[test]
    fn an_advertisement_has_a_checksum_that_receivers_accept() {
        let frame = neighbour_advertisement(MAC, "2001:db8::5".parse().unwrap());
        assert_eq!(frame.len(), 14 + 40 + 32);
        let (header, message) = (&frame[14..54], &frame[54..]);
        let pseudo = [&header[8..40], &[0, 0, 0, 32, 0, 0, 0, 58]].concat();
        assert_eq!(checksum(pseudo.iter().chain(message).copied()), 0);
    }

    #[test]
    fn only_a_change_of_the_owner_is_told() {
        let (other, address) = (Mac([2, 0, 0, 0, 0, 1]), "192.0.2.5".parse().unwrap());
        let mut owners = Owners::default();
        assert!(!owners.replace(1, address, (MAC, 1)));
        assert!(!owners.replace(1, address, (MAC, 1)));
        assert!(owners.replace(1, address, (MAC, 5)), "on another bridge of the segment");
        assert!(!owners.replace(2, address, (other, 2)), "another segment");
        assert!(owners.replace(1, address, (other, 5)));
        for n in 0..REMEMBERED as u32 {
            owners.replace(3, Ipv4Addr::from(n).into(), (MAC, 3));
        }
        assert!(owners.replace(1, address, (MAC, 5)), "the generation before is still known");
        assert!(owners.young.len() + owners.old.len() <= 2 * REMEMBERED);
    }

    #[test]
    fn an_announcement_asks_for_its_own_address() {
        let frame = gratuitous_arp(MAC, Ipv4Addr::new(192, 0, 2, 5));
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[28..32], frame[38..42]);
    }
}
