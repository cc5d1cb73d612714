//! What the host looks like besides what is hcnd's own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use hcn_dataplane::{HostAddress, HostFacts};
use ipnet::IpNet;
use netlink_packet_core::Parseable as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};

use crate::link::{GROUP, LinkFacts};
use crate::socket::{Batch, Socket, Wire};
use crate::{address, link, route};

/// Reads addresses and the uplink's MTU. Links are asked for one by one, only those that have an address or a
/// default route: a dump of all would grow with every endpoint.
pub(crate) fn read(wire: &mut Wire, socket: &Socket) -> io::Result<HostFacts> {
    let mut addresses = Vec::new();
    for payload in wire.dump(socket, &address::get_all())? {
        // An address that a newer kernel describes in an unknown way is no reason to know none.
        if let Ok(message) = AddressMessage::parse(&payload[..])
            && let Some(prefix) = prefix(&message)
        {
            addresses.push((message.header.index, prefix));
        }
    }
    let mut uplink = default_link(wire, socket, AddressFamily::Inet)?;
    if uplink.is_none() {
        uplink = default_link(wire, socket, AddressFamily::Inet6)?;
    }

    let wanted: BTreeSet<u32> = addresses.iter().map(|(index, _)| *index).chain(uplink).collect();
    let mut batch = Batch::new();
    for index in &wanted {
        batch.push((), 0, link::get_index(*index));
    }
    let links: BTreeMap<u32, LinkFacts> = wire
        .exchange(socket, &mut batch)?
        .into_iter()
        // A link that has gone meanwhile has no addresses any more.
        .filter_map(|fate| LinkFacts::read(&fate.ok()??))
        .filter(|link| link.group != GROUP)
        .map(|link| (link.index, link))
        .collect();
    Ok(HostFacts {
        addresses: addresses
            .into_iter()
            .filter_map(|(index, address)| {
                Some(HostAddress { link: links.get(&index)?.name.clone(), address })
            })
            .collect(),
        uplink_mtu: uplink.and_then(|index| links.get(&index)).map(|link| link.mtu),
    })
}

/// The address with its prefix length; `None` for those that concern nobody else.
fn prefix(message: &AddressMessage) -> Option<IpNet> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            // Of a point-to-point link "address" is the other side's.
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) if found.is_none() => found = Some(*address),
            _ => {}
        }
    }
    let address = found.filter(|address| !address.is_loopback())?;
    IpNet::new(address, message.header.prefix_len).ok()
}

/// The link of the default route with the lowest metric.
fn default_link(wire: &mut Wire, socket: &Socket, family: AddressFamily) -> io::Result<Option<u32>> {
    let mut best: Option<(u32, u32)> = None;
    for payload in wire.dump(socket, &route::get_all(family))? {
        // The fixed part tells most routes apart without decoding the rest.
        let Ok(header) = RouteHeader::parse(&payload) else { continue };
        if header.destination_prefix_length != 0
            || header.table != RouteHeader::RT_TABLE_MAIN
            || header.kind != RouteType::Unicast
        {
            continue;
        }
        let Ok(message) = RouteMessage::parse(&payload[..]) else { continue };
        let mut metric = 0;
        let mut link = None;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Priority(value) => metric = *value,
                RouteAttribute::Oif(index) => link = Some(*index),
                RouteAttribute::MultiPath(hops) => {
                    link = link.or(hops.first().map(|hop| hop.interface_index));
                }
                _ => {}
            }
        }
        if let Some(link) = link
            && best.is_none_or(|(lowest, _)| metric < lowest)
        {
            best = Some((metric, link));
        }
    }
    Ok(best.map(|(_, link)| link))
}
