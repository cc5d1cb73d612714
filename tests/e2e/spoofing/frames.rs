//! Frames as no honest endpoint sends them, and whether they arrive.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use hcn_tests::patience;
use hcn_tests::traffic::in_netns;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

pub(crate) type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// By which a frame is known again; as an option of neighbour discovery (RFC 4861, 4.6) it is an unknown one.
const MARK: [u8; 6] = [253, 1, b'h', b'c', b'n', b'd'];

/// A frame's number, and the frame.
pub(crate) struct Frame {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

fn marked(number: u16) -> [u8; 8] {
    let [a, b] = number.to_be_bytes();
    let [c, d, e, f, g, h] = MARK;
    [c, d, e, f, g, h, a, b]
}

fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let octets = parts.concat();
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// An IPv4 packet with a UDP datagram to everybody.
pub(crate) fn udp(mac: Mac, from: Ipv4Addr, ports: (u16, u16)) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 36, 0, 0, 0x40, 0, 64, 17, 0, 0];
    header.extend(from.octets());
    header.extend([255; 4]);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum);
    // Without a checksum.
    let datagram = [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes(), &[0, 16, 0, 0], &marked(0)].concat();
    ethernet(BROADCAST, mac, 0x0800, &[header, datagram].concat())
}

/// The same packet with two tags in front of it.
pub(crate) fn tagged_twice(frame: &[u8]) -> Vec<u8> {
    let tag = [0x81, 0, 0, 0];
    [&frame[..12], &tag, &tag, &frame[12..]].concat()
}

/// An ARP request; the sender is the given one.
pub(crate) fn arp(mac: Mac, sender: (Mac, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, 1];
    message.extend(sender.0);
    message.extend(sender.1.octets());
    message.extend([0; 6]);
    message.extend(target.octets());
    message.extend(marked(0));
    ethernet(BROADCAST, mac, 0x0806, &message)
}

fn ipv6(mac: Mac, from: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 255];
    header.extend(from.octets());
    header.extend(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets());
    ethernet(ALL_NODES, mac, 0x86dd, &[&header, payload].concat())
}

fn icmpv6(mac: Mac, from: Ipv6Addr, body: &[u8]) -> Vec<u8> {
    let mut message = [body, &marked(0)].concat();
    let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let pseudo = [&from.octets()[..], &to.octets(), &[0, 0, 0, message.len() as u8, 0, 0, 0, 58]].concat();
    let sum = checksum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&sum);
    ipv6(mac, from, 58, &message)
}

/// An IPv6 packet with a UDP datagram to everybody.
pub(crate) fn udp6(mac: Mac, from: Ipv6Addr, ports: (u16, u16)) -> Vec<u8> {
    let datagram = [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes(), &[0, 16, 0x12, 0x34], &marked(0)];
    ipv6(mac, from, 17, &datagram.concat())
}

/// A message of neighbour discovery about a target: a solicitation (135), an advertisement (136) or a redirect (137).
pub(crate) fn neighbour(mac: Mac, from: Ipv6Addr, kind: u8, target: Ipv6Addr) -> Vec<u8> {
    let mut body = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat();
    if kind == 137 {
        body.extend(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 1).octets());
    }
    icmpv6(mac, from, &body)
}

/// A router that advertises nothing.
pub(crate) fn router(mac: Mac, from: Ipv6Addr) -> Vec<u8> {
    icmpv6(mac, from, &[134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

fn open(netns: &str) -> OwnedFd {
    in_netns(netns, || {
        let flags = SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap()
    })
}

/// A link of a namespace.
fn link(netns: &str, name: &str) -> LinkAddr {
    let of_link = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        address.as_link_addr().copied().filter(|_| entry.interface_name == name)
    };
    in_netns(netns, || getifaddrs().unwrap().find_map(of_link).unwrap())
}

/// Sends frames as they are.
#[allow(dead_code, reason = "not every test that makes frames sends them so")]
pub(crate) fn send(from: &str, frames: impl Iterator<Item = Vec<u8>>) {
    let (sender, link) = (open(from), link(from, "eth0"));
    for frame in frames {
        sendto(sender.as_raw_fd(), &frame, &link, MsgFlags::empty()).unwrap();
    }
}

/// The same frames to one receiver alone.
pub(crate) fn addressed(mac: Mac, frames: Vec<Frame>) -> Vec<Frame> {
    let to = |frame: Frame| Frame { bytes: [&mac, &frame.bytes[6..]].concat(), ..frame };
    frames.into_iter().map(to).collect()
}

/// Which of the frames that `from` sends arrive at `to`.
pub(crate) fn arriving(from: &str, to: &str, frames: &[Frame]) -> Vec<&'static str> {
    arriving_on(from, (to, "eth0"), frames)
}

/// The same on a link of any name.
pub(crate) fn arriving_on(from: &str, to: (&str, &str), frames: &[Frame]) -> Vec<&'static str> {
    let (sender, own, receiver) = (open(from), link(from, "eth0"), open(to.0));
    bind(receiver.as_raw_fd(), &link(to.0, to.1)).unwrap();
    setsockopt(&receiver, sockopt::ReceiveTimeout, &TimeVal::new(0, 20_000)).unwrap();
    setsockopt(&receiver, sockopt::RcvBuf, &(1 << 20)).unwrap();
    for (number, frame) in (0u16..).zip(frames) {
        let mut bytes = frame.bytes.clone();
        let at = bytes.windows(6).position(|window| window == MARK).unwrap();
        bytes[at + 6..at + 8].copy_from_slice(&number.to_be_bytes());
        if frame.bytes[12..14] == [0x86, 0xdd] && frame.bytes[20] == 58 {
            // The number is part of what the checksum is of.
            let old = u16::from_be_bytes([bytes[56], bytes[57]]);
            let sum = u32::from(!old) + u32::from(number);
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            bytes[56..58].copy_from_slice(&sum.to_be_bytes());
        }
        sendto(sender.as_raw_fd(), &bytes, &own, MsgFlags::empty()).unwrap();
    }
    let mut arrived = Vec::new();
    let until = Instant::now() + patience(Duration::from_millis(400));
    let mut frame = [0; 2048];
    while Instant::now() < until && arrived.len() < frames.len() {
        let Ok(length) = recv(receiver.as_raw_fd(), &mut frame, MsgFlags::empty()) else { continue };
        let bytes = &frame[..length];
        let Some(at) = bytes.windows(6).position(|window| window == MARK) else { continue };
        let number = usize::from(u16::from_be_bytes([bytes[at + 6], bytes[at + 7]]));
        if !arrived.contains(&number) {
            arrived.push(number);
        }
    }
    arrived.sort_unstable();
    arrived.into_iter().map(|number| frames[number].name).collect()
}
