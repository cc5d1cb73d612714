//! Packets made by hand: sent by raw sockets, and received by raw sockets, which get what the rules of their namespace have
//! let pass.
#![allow(unreachable_pub, reason = "a module of each test")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike, recv, sendto};

use crate::traffic::inside;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const GRE: u8 = 47;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

/// What a packet ends in, before its number.
const MARK: [u8; 4] = *b"HCN!";

/// Who sends and receives, with a raw socket for each family and protocol.
pub struct Node {
    pub v4: IpAddr,
    pub v6: IpAddr,
    sockets: HashMap<(bool, u8), OwnedFd>,
}

/// A packet to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Indexes of nodes.
    pub from: usize,
    pub to: usize,
    pub v6: bool,
    pub protocol: u8,
    /// For protocols without ports only told apart by.
    pub source_port: u16,
    pub destination_port: u16,
}

impl Node {
    pub fn new(name: &'static str, v4: &str, v6: &str) -> Self {
        let sockets = inside(name, || {
            let v4 = [ICMP, TCP, UDP, GRE, SCTP].map(|protocol| ((false, protocol), raw(false, protocol)));
            let v6 = [ICMPV6, TCP, UDP, GRE, SCTP].map(|protocol| ((true, protocol), raw(true, protocol)));
            v4.into_iter().chain(v6).collect()
        });
        Self { v4: v4.parse().unwrap(), v6: v6.parse().unwrap(), sockets }
    }

    pub fn address(&self, v6: bool) -> IpAddr {
        if v6 { self.v6 } else { self.v4 }
    }

    pub fn send(&self, to: &Self, packet: &Packet, number: u32) {
        let socket = &self.sockets[&(packet.v6, packet.protocol)];
        let (source, destination) = (self.address(packet.v6), to.address(packet.v6));
        let payload = payload(packet, number, source, destination);
        match destination {
            IpAddr::V4(address) => send(socket, &payload, &SockaddrIn::from(SocketAddrV4::new(address, 0))),
            IpAddr::V6(address) => {
                send(socket, &payload, &SockaddrIn6::from(SocketAddrV6::new(address, 0, 0, 0)));
            }
        }
    }

    /// The numbers of the packets that have arrived since.
    pub fn received(&self) -> BTreeSet<u32> {
        let mut numbers = BTreeSet::new();
        let mut buffer = [0; 2048];
        for socket in self.sockets.values() {
            loop {
                match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                    Ok(length) => {
                        let Some(end) = length.checked_sub(8).map(|start| &buffer[start..length]) else {
                            continue;
                        };
                        if end[..4] == MARK {
                            numbers.insert(u32::from_be_bytes(end[4..].try_into().unwrap()));
                        }
                    }
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        numbers
    }
}

fn send<A: SockaddrLike>(socket: &OwnedFd, payload: &[u8], to: &A) {
    match sendto(socket.as_raw_fd(), payload, to, MsgFlags::empty()) {
        // What rules drop on its way out is an error for who sends it.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(error) => panic!("{error}"),
    }
}

fn raw(v6: bool, protocol: u8) -> OwnedFd {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    #[allow(unsafe_code, reason = "nix has no names for all of these protocols")]
    // SAFETY: socket takes numbers alone, and what it gives is owned by nobody else.
    unsafe {
        let made = libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol.into());
        assert!(made >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(made)
    }
}

/// What follows the IP header.
fn payload(packet: &Packet, number: u32, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let ports = [packet.source_port.to_be_bytes(), packet.destination_port.to_be_bytes()].concat();
    let end = [MARK, number.to_be_bytes()].concat();
    let mut bytes = match packet.protocol {
        // A SYN.
        TCP => {
            let header = [&number.to_be_bytes()[..], &[0; 4], &[0x50, 0x02, 0x20, 0, 0, 0, 0, 0]].concat();
            [ports, header, end].concat()
        }
        UDP => [&ports[..], &16u16.to_be_bytes(), &[0, 0], &end].concat(),
        // An INIT, but for its checksum.
        SCTP => [&ports[..], &[0; 8], &[1, 0, 0, 28], &[0; 16], &end].concat(),
        // An echo request: the ports are its identifier and number.
        ICMP => [&[8, 0, 0, 0][..], &ports, &end].concat(),
        ICMPV6 => [&[128, 0, 0, 0][..], &ports, &end].concat(),
        _ => [&[0, 0, 0x88, 0xb5][..], &end].concat(),
    };
    let place = match packet.protocol {
        TCP => Some(16),
        UDP => Some(6),
        ICMP => Some(2),
        // The kernel does it for ICMPv6.
        _ => None,
    };
    if let Some(place) = place {
        let pseudo = if packet.protocol == ICMP {
            Vec::new()
        } else {
            let octets = |address| match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let length = bytes.len() as u16;
            [octets(source), octets(destination), vec![0, packet.protocol], length.to_be_bytes().to_vec()]
                .concat()
        };
        let checksum = checksum(&[pseudo, bytes.clone()].concat());
        bytes[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    bytes
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xffff,
        other => other,
    }
}
