//! What is in a network namespace: its links, addresses and routes, as dumps tell.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use hcn_dataplane::Family;
use ipnet::IpNet;
use netlink_packet_core::Parseable as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};

use crate::link::LinkFacts;
use crate::socket::{Socket, Wire};
use crate::{address, link, route};

/// Links by name.
pub(crate) type Links = HashMap<String, LinkFacts>;

/// All links.
pub(crate) fn links(wire: &mut Wire, socket: &Socket) -> io::Result<Links> {
    let answers = wire.dump(socket, &link::get_all())?;
    let read = answers.iter().filter_map(|payload| LinkFacts::read(payload));
    Ok(read.map(|facts| (facts.name.clone(), facts)).collect())
}

/// An address with its prefix length, whether it brought the route to its prefix, and whether it says that it is hcnd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) address: IpNet,
    pub(crate) prefix_route: bool,
    pub(crate) marked: bool,
}

/// Addresses by link and host part: the same address can be there with several prefix lengths.
pub(crate) type Addresses = HashMap<(u32, IpAddr), Vec<Found>>;

/// All addresses.
pub(crate) fn addresses(wire: &mut Wire, socket: &Socket) -> io::Result<Addresses> {
    let mut addresses = Addresses::new();
    for payload in wire.dump(socket, &address::get_all())? {
        if let Some((index, found)) = address(&payload) {
            addresses.entry((index, found.address.addr())).or_default().push(found);
        }
    }
    Ok(addresses)
}

/// Reads an RTM_NEWADDR payload: the link and the address.
pub(crate) fn address(payload: &[u8]) -> Option<(u32, Found)> {
    // What a newer kernel describes in an unknown way is not what hcnd made.
    let message = AddressMessage::parse(payload).ok()?;
    let mut own = None;
    let (mut flags, mut marked) = (AddressFlags::empty(), false);
    for attribute in &message.attributes {
        match attribute {
            // Where there are both, "address" is the other side's.
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) if own.is_none() => own = Some(*address),
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Protocol(protocol) => marked = *protocol == address::PROTOCOL,
            _ => {}
        }
    }
    let address = IpNet::new(own?, message.header.prefix_len).ok()?;
    let prefix_route = !flags.contains(AddressFlags::Noprefixroute);
    Some((message.header.index, Found { address, prefix_route, marked }))
}

/// Gateways of routes by link, destination and metric.
pub(crate) type Routes = HashMap<(u32, IpNet, u32), Vec<Option<IpAddr>>>;

/// Adds all unicast routes of the main table that have one next hop.
pub(crate) fn routes(
    wire: &mut Wire,
    socket: &Socket,
    family: Family,
    routes: &mut Routes,
) -> io::Result<()> {
    let (family, anywhere) = match family {
        Family::V4 => (AddressFamily::Inet, IpAddr::from([0; 4])),
        Family::V6 => (AddressFamily::Inet6, IpAddr::from([0; 16])),
    };
    for payload in wire.dump(socket, &route::get_all(family))? {
        if let Some((place, gateway)) = route(&payload, anywhere) {
            routes.entry(place).or_default().push(gateway);
        }
    }
    Ok(())
}

/// Reads an RTM_NEWROUTE payload: link, destination and metric, and the gateway.
pub(crate) fn route(payload: &[u8], anywhere: IpAddr) -> Option<((u32, IpNet, u32), Option<IpAddr>)> {
    // The fixed part tells most routes apart without decoding the rest.
    let header = RouteHeader::parse(payload).ok()?;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let message = RouteMessage::parse(payload).ok()?;
    let (mut link, mut destination, mut metric, mut gateway) = (None, anywhere, 0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Destination(address) => destination = plain(address).unwrap_or(anywhere),
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Gateway(address) => gateway = plain(address),
            _ => {}
        }
    }
    let destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
    Some(((link?, destination, metric), gateway))
}

/// The address of a route's attribute, if it is one.
pub(crate) fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
