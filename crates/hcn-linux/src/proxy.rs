//! Messages about neighbours that the host speaks for. Those that are hcnd's say so by their protocol.

use std::net::IpAddr;

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::attributes;

/// `NDA_PROTOCOL` of hcnd's: no routing daemon has it (`/etc/iproute2/rt_protos`).
pub(crate) const OURS: u8 = 104;

const NDA_DST: u16 = 1;
const NDA_PROTOCOL: u16 = 12;
/// Length of `struct ndmsg`.
const NDMSG: usize = 12;

/// RTM_NEWNEIGH.
pub(crate) fn create(index: u32, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = body(index, address);
    // Newer kernels keep it when the link loses its carrier, then.
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::from(OURS)));
    RouteNetlinkMessage::NewNeighbour(message)
}

/// RTM_DELNEIGH.
pub(crate) fn delete(index: u32, address: IpAddr) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelNeighbour(body(index, address))
}

/// RTM_GETNEIGH of one.
pub(crate) fn get(index: u32, address: IpAddr) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetNeighbour(body(index, address))
}

/// RTM_GETNEIGH of all, as a dump.
pub(crate) fn get_all() -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.flags = NeighbourFlags::Proxy;
    RouteNetlinkMessage::GetNeighbour(message)
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proxied {
    /// Of the link.
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    pub(crate) ours: bool,
}

impl Proxied {
    /// Reads an RTM_NEWNEIGH payload.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let index = attributes::number(payload.get(4..8)?)?;
        let (mut address, mut ours) = (None, false);
        for (kind, value) in attributes::all(payload.get(NDMSG..)?) {
            match kind {
                NDA_DST => {
                    address = match value.len() {
                        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
                        _ => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
                    }
                }
                NDA_PROTOCOL => ours = value.first() == Some(&OURS),
                _ => {}
            }
        }
        Some(Self { index, address: address?, ours })
    }
}

fn body(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = index;
    message.header.flags = NeighbourFlags::Proxy;
    message.attributes.push(NeighbourAttribute::Destination(match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }));
    message
}
