//! What a link of the host has, on its way to another link and back: addresses, and routes that came from no address.
//! They are taken from the kernel and given to it again as they are, with all that the kernel says of them; only what
//! names the link is changed.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::NetlinkSerializable;
use netlink_packet_route::AddressFamily;

use crate::socket::{Socket, Wire};
use crate::{address, attributes, route};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

/// Length of `struct ifaddrmsg`, and of `struct rtmsg`.
const IFADDRMSG: usize = 8;
const RTMSG: usize = 12;
const AF_INET6: u8 = 10;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
/// What an address can be given: no duplicate detection, optimistic, home, parent of temporary ones, no route to its
/// prefix, and joining groups. The rest is for the kernel to say.
const GIVEN: u32 = IFA_F_NODAD | 0x04 | 0x10 | 0x100 | 0x200 | 0x400;
const RT_SCOPE_LINK: u8 = 253;

const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_KERNEL: u8 = 2;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTM_F_CLONED: u32 = 0x200;
const RTNH_F_ONLINK: u8 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;
/// Length of `struct rtnexthop`.
const RTNEXTHOP: usize = 8;

/// A message that is written by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    kind: u16,
    octets: Vec<u8>,
}

impl Raw {
    /// The payload, if it is an address that is given.
    pub(crate) fn address(&self) -> Option<Vec<u8>> {
        (self.kind == RTM_NEWADDR).then(|| self.octets.clone())
    }
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.octets.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.octets);
    }
}

/// One of the two links.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carrier<'a> {
    pub(crate) index: u32,
    pub(crate) name: &'a str,
}

/// What a link has, as dumps tell: the payloads of RTM_NEWADDR, and those of RTM_NEWROUTE with the routes by which
/// gateways are reached before those by gateways.
#[derive(Debug, Default)]
pub(crate) struct Belongings {
    addresses: Vec<Vec<u8>>,
    routes: Vec<Vec<u8>>,
}

impl Belongings {
    /// Reads what the link with this index has. IPv6 addresses of the link alone stay with it.
    pub(crate) fn read(wire: &mut Wire, socket: &Socket, index: u32) -> io::Result<Self> {
        let addresses = wire.dump(socket, &address::get_all())?;
        let mut routes = wire.dump(socket, &route::get_all(AddressFamily::Inet))?;
        routes.extend(wire.dump(socket, &route::get_all(AddressFamily::Inet6))?);
        Ok(Self::of(addresses, routes, index))
    }

    /// What of these addresses and routes is of the link.
    pub(crate) fn of(addresses: Vec<Vec<u8>>, routes: Vec<Vec<u8>>, index: u32) -> Self {
        let is_meant = |payload: &Vec<u8>| {
            payload.len() >= IFADDRMSG
                && attributes::number(&payload[4..8]) == Some(index)
                && !(payload[0] == AF_INET6 && payload[3] == RT_SCOPE_LINK)
        };
        let addresses = addresses.into_iter().filter(is_meant).collect();
        let by_it = routes.into_iter().filter(|payload| leaves_by(payload, index));
        let mut routes: Vec<Vec<u8>> = by_it.flat_map(|payload| apart(payload, index)).collect();
        routes.sort_by_key(|payload| {
            attributes::all(&payload[RTMSG..])
                .any(|(kind, _)| matches!(kind, RTA_GATEWAY | RTA_VIA | RTA_MULTIPATH))
        });
        Self { addresses, routes }
    }

    /// The addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().filter_map(|payload| {
            let rest = payload.get(IFADDRMSG..)?;
            // Of a point-to-point link the other one is the other side's.
            let own = attributes::find(rest, IFA_LOCAL).or_else(|| attributes::find(rest, IFA_ADDRESS))?;
            match own.len() {
                4 => <[u8; 4]>::try_from(own).ok().map(IpAddr::from),
                _ => <[u8; 16]>::try_from(own).ok().map(IpAddr::from),
            }
        })
    }

    /// The IPv6 addresses that packets to the host are not yet taken for by the other link that got them, too. The kernel
    /// adds the route that says so by a worker: before, an answer to what was asked by that link would be lost.
    pub(crate) fn not_yet_own(
        &self,
        wire: &mut Wire,
        socket: &Socket,
        other: u32,
    ) -> io::Result<Vec<Ipv6Addr>> {
        let mut waiting: Vec<Ipv6Addr> = self
            .addresses()
            .filter_map(|address| match address {
                IpAddr::V6(address) => Some(address),
                IpAddr::V4(_) => None,
            })
            .collect();
        if waiting.is_empty() {
            return Ok(waiting);
        }
        for payload in wire.dump(socket, &route::get_all(AddressFamily::Inet6))? {
            let Some((header, rest)) = payload.split_at_checked(RTMSG) else { continue };
            let is_own = header[7] == RTN_LOCAL
                && attributes::find(rest, RTA_OIF).and_then(attributes::number) == Some(other);
            let address = attributes::find(rest, RTA_DST).and_then(|value| <[u8; 16]>::try_from(value).ok());
            if let Some(address) = address.filter(|_| is_own) {
                waiting.retain(|waited| *waited != Ipv6Addr::from(address));
            }
        }
        Ok(waiting)
    }

    /// Whether there is no address.
    pub(crate) fn is_bare(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Whether a route leads further than to neighbours.
    pub(crate) fn leads_further(&self) -> bool {
        let further = |payload: &Vec<u8>| attributes::find(&payload[RTMSG..], RTA_GATEWAY).is_some();
        self.routes.iter().any(further)
    }

    /// The messages that give all of it to another link: addresses first.
    pub(crate) fn give(&self, from: Carrier<'_>, to: Carrier<'_>) -> Vec<Raw> {
        let addresses = self
            .addresses
            .iter()
            .map(|payload| Raw { kind: RTM_NEWADDR, octets: address_of(payload, from, to) });
        let routes = self
            .routes
            .iter()
            .map(|payload| Raw { kind: RTM_NEWROUTE, octets: route_of(payload, from.index, to.index) });
        addresses.chain(routes).collect()
    }

    /// The messages that take all of it from its link: routes first, of addresses the last first, so that none becomes
    /// the first of its prefix meanwhile.
    pub(crate) fn take(&self, from: Carrier<'_>) -> Vec<Raw> {
        let routes = self
            .routes
            .iter()
            .rev()
            .map(|payload| Raw { kind: RTM_DELROUTE, octets: route_of(payload, from.index, from.index) });
        let addresses = self
            .addresses
            .iter()
            .rev()
            .map(|payload| Raw { kind: RTM_DELADDR, octets: address_of(payload, from, from) });
        routes.chain(addresses).collect()
    }
}

/// Whether a route by the link came from no address of it and can be said of another link.
fn leaves_by(payload: &[u8], index: u32) -> bool {
    let Some((header, rest)) = payload.split_at_checked(RTMSG) else { return false };
    let flags = attributes::number(&header[8..]).unwrap_or_default();
    if header[4] == RT_TABLE_LOCAL
        || header[5] == RTPROT_KERNEL
        || header[7] != RTN_UNICAST
        || flags & RTM_F_CLONED != 0
        || attributes::find(rest, RTA_NH_ID).is_some()
    {
        return false;
    }
    attributes::all(rest).any(|(kind, value)| match kind {
        RTA_OIF => attributes::number(value) == Some(index),
        RTA_MULTIPATH => hops(value).any(|at| attributes::number(&value[at + 4..]) == Some(index)),
        _ => false,
    })
}

/// An IPv6 route by several next hops is as many routes, of which those by other links stay where they are: while two
/// links have the same, the kernel tells them as one.
fn apart(payload: Vec<u8>, index: u32) -> Vec<Vec<u8>> {
    let hops_of = |payload: &[u8]| attributes::find(&payload[RTMSG..], RTA_MULTIPATH).map(<[u8]>::to_vec);
    let Some(several) = hops_of(&payload).filter(|_| payload[0] == AF_INET6) else { return vec![payload] };
    let by_it = hops(&several).filter(|at| attributes::number(&several[at + 4..]) == Some(index));
    let alone = by_it.map(|at| {
        let mut octets = payload[..RTMSG].to_vec();
        octets[8] |= several[at + 2] & RTNH_F_ONLINK;
        let common = attributes::all(&payload[RTMSG..]).filter(|(kind, _)| *kind != RTA_MULTIPATH);
        common.for_each(|(kind, value)| append(&mut octets, kind, value));
        append(&mut octets, RTA_OIF, &index.to_ne_bytes());
        let length = u16::from_ne_bytes([several[at], several[at + 1]]);
        let own = several.get(at + RTNEXTHOP..at + usize::from(length)).unwrap_or_default();
        attributes::all(own).for_each(|(kind, value)| append(&mut octets, kind, value));
        octets
    });
    alone.collect()
}

/// Where the next hops of RTA_MULTIPATH begin.
fn hops(value: &[u8]) -> impl Iterator<Item = usize> {
    let length = |at: usize| Some(usize::from(u16::from_ne_bytes(value.get(at..at + 2)?.try_into().ok()?)));
    let whole = move |at: &usize| value.len() >= at + RTNEXTHOP;
    std::iter::successors(Some(0).filter(whole), move |at| {
        let length = length(*at).filter(|length| *length >= RTNEXTHOP)?;
        Some(at + length.next_multiple_of(4)).filter(whole)
    })
}

fn address_of(payload: &[u8], from: Carrier<'_>, to: Carrier<'_>) -> Vec<u8> {
    let mut octets = payload[..IFADDRMSG].to_vec();
    // The flags are in an attribute.
    octets[2] = 0;
    octets[4..8].copy_from_slice(&to.index.to_ne_bytes());
    let mut flags = 0;
    for (kind, value) in attributes::all(&payload[IFADDRMSG..]) {
        match kind {
            IFA_FLAGS => flags = attributes::number(value).unwrap_or_default() & GIVEN,
            // The kernel's own choice, the name of the link.
            IFA_LABEL if attributes::text(value) == from.name => {}
            _ => append(&mut octets, kind, value),
        }
    }
    if payload[0] == AF_INET6 {
        // It was checked for duplicates where it comes from, and must be usable at once.
        flags |= IFA_F_NODAD;
    }
    append(&mut octets, IFA_FLAGS, &flags.to_ne_bytes());
    octets
}

fn route_of(payload: &[u8], from: u32, to: u32) -> Vec<u8> {
    let mut octets = payload[..RTMSG].to_vec();
    let flags = attributes::number(&octets[8..]).unwrap_or_default() & u32::from(RTNH_F_ONLINK);
    octets[8..].copy_from_slice(&flags.to_ne_bytes());
    let moved = |index: u32| if index == from { to } else { index };
    for (kind, value) in attributes::all(&payload[RTMSG..]) {
        match kind {
            RTA_OIF => {
                let index = attributes::number(value).unwrap_or_default();
                append(&mut octets, kind, &moved(index).to_ne_bytes());
            }
            RTA_MULTIPATH => {
                let mut changed = value.to_vec();
                for at in hops(value) {
                    changed[at + 2] &= RTNH_F_ONLINK;
                    let index = attributes::number(&value[at + 4..]).unwrap_or_default();
                    changed[at + 4..at + 8].copy_from_slice(&moved(index).to_ne_bytes());
                }
                append(&mut octets, kind, &changed);
            }
            // What has become of it, not what it is.
            RTA_CACHEINFO => {}
            _ => append(&mut octets, kind, value),
        }
    }
    octets
}

fn append(octets: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = (4 + value.len()) as u16;
    octets.extend(length.to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend_from_slice(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
}
