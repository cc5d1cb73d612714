//! Messages about neighbours, and about where a VXLAN link sends frames.

use std::net::IpAddr;

use hcn_dataplane::{FdbEntry, Mac};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::attributes;

/// By which neighbours are seen to be hcnd's ("h"): iproute2 leaves such numbers to whoever takes them.
const PROTOCOL: u8 = 0x68;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_VNI: u16 = 7;
const NDA_PROTOCOL: u16 = 12;
/// Length of `struct ndmsg`.
const NDMSG: usize = 12;

/// RTM_NEWNEIGH of a neighbour that is not asked for.
pub(crate) fn create(index: u32, address: IpAddr, mac: Mac) -> RouteNetlinkMessage {
    let mut message = of(index, address);
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    RouteNetlinkMessage::NewNeighbour(message)
}

/// RTM_DELNEIGH.
pub(crate) fn delete(index: u32, address: IpAddr) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelNeighbour(of(index, address))
}

/// RTM_NEWNEIGH of a MAC address behind a VXLAN link: at once for the bridge, which forwards to the link for ever, and
/// for the link, which sends to the other host.
pub(crate) fn create_way(index: u32, entry: &FdbEntry) -> RouteNetlinkMessage {
    let mut message = way(index, entry.mac);
    // For the bridge "no ARP" is a static entry ("permanent" would be the bridge's own address); the link wants one of
    // "permanent" and "reachable", and lets none of them age that is "no ARP" too.
    message.header.state = NeighbourState::Other(NUD_NOARP | NUD_REACHABLE);
    message.header.flags = NeighbourFlags::Own | NeighbourFlags::Controller;
    message.attributes.push(NeighbourAttribute::Destination(destination(entry.destination)));
    message.attributes.extend(entry.vni.map(NeighbourAttribute::Vni));
    RouteNetlinkMessage::NewNeighbour(message)
}

const NUD_REACHABLE: u16 = 0x02;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

/// RTM_DELNEIGH of the same: one for the link, one for the bridge, since the kernel does not go on when one is gone.
pub(crate) fn delete_way(index: u32, mac: Mac) -> [RouteNetlinkMessage; 2] {
    [NeighbourFlags::Own, NeighbourFlags::Controller].map(|flags| {
        let mut message = way(index, mac);
        message.header.flags = flags;
        RouteNetlinkMessage::DelNeighbour(message)
    })
}

/// RTM_GETNEIGH of all neighbours of a family, as a dump; of the family `Bridge` where frames go.
pub(crate) fn get_all(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    RouteNetlinkMessage::GetNeighbour(message)
}

/// RTM_GETNEIGH of what a bridge knows of one of its ports, as a dump.
pub(crate) fn get_learned(port: u32) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    RouteNetlinkMessage::GetNeighbour(message)
}

/// RTM_NEWNEIGH of a MAC address behind a port of a bridge, as if it had been learned.
pub(crate) fn learn(port: u32, mac: Mac, vlan: Option<u16>) -> RouteNetlinkMessage {
    let mut message = way(port, mac);
    message.header.state = NeighbourState::Reachable;
    message.header.flags = NeighbourFlags::Controller;
    message.attributes.extend(vlan.map(NeighbourAttribute::Vlan));
    RouteNetlinkMessage::NewNeighbour(message)
}

fn way(index: u32, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())];
    message
}

fn of(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = index;
    message.attributes = vec![NeighbourAttribute::Destination(destination(address))];
    message
}

fn destination(address: IpAddr) -> NeighbourAddress {
    match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }
}

/// What a dump says of a neighbour, or of where frames go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NeighbourFacts {
    /// Of the link.
    pub(crate) index: u32,
    pub(crate) mac: Option<Mac>,
    /// Of the neighbour, or of the host that frames are sent to.
    pub(crate) address: Option<IpAddr>,
    pub(crate) vni: Option<u32>,
    /// It has the mark of hcnd's.
    pub(crate) ours: bool,
    /// A bridge has learned it, and forgets it.
    pub(crate) ages: bool,
}

impl NeighbourFacts {
    /// Reads an RTM_NEWNEIGH payload.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let mut facts = Self {
            index: attributes::number(payload.get(4..8)?)?,
            mac: None,
            address: None,
            vni: None,
            ours: false,
            ages: u16::from_ne_bytes(payload.get(8..10)?.try_into().ok()?) & (NUD_PERMANENT | NUD_NOARP) == 0,
        };
        for (kind, value) in attributes::all(payload.get(NDMSG..)?) {
            match kind {
                NDA_LLADDR => facts.mac = value.try_into().ok().map(Mac),
                NDA_DST => {
                    let v4 = || <[u8; 4]>::try_from(value).ok().map(IpAddr::from);
                    facts.address = v4().or_else(|| <[u8; 16]>::try_from(value).ok().map(IpAddr::from));
                }
                NDA_VNI => facts.vni = attributes::number(value),
                NDA_PROTOCOL => facts.ours = value == [PROTOCOL],
                _ => {}
            }
        }
        Some(facts)
    }
}
