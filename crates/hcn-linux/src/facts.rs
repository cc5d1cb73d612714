//! What the host looks like besides what is hcnd's own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use hcn_dataplane::{HostAddress, HostFacts};
use ipnet::IpNet;
use netlink_packet_core::Parseable as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};

use crate::link::{GROUP, LinkFacts};
use crate::socket::{Batch, Socket, Wire};
use crate::{address, link, route};

/// Reads addresses, routes and the uplink. Links are asked for one by one, only those that have an address or a
/// default route or are `named`: a dump of all would grow with every endpoint.
pub(crate) fn read(wire: &mut Wire, socket: &Socket, named: &[String]) -> io::Result<HostFacts> {
    let mut addresses = Vec::new();
    for payload in wire.dump(socket, &address::get_all())? {
        // An address that a newer kernel describes in an unknown way is no reason to know none.
        if let Ok(message) = AddressMessage::parse(&payload[..])
            && let Some(prefix) = prefix(&message)
        {
            addresses.push((message.header.index, prefix));
        }
    }
    let routes = Routes::read(wire, socket, AddressFamily::Inet)?;
    let mut uplink = routes.default_link;
    if uplink.is_none() {
        uplink = Routes::read(wire, socket, AddressFamily::Inet6)?.default_link;
    }

    let wanted: BTreeSet<u32> = addresses.iter().map(|(index, _)| *index).chain(uplink).collect();
    let mut batch = Batch::new();
    for index in &wanted {
        batch.push((), 0, link::get_index(*index));
    }
    for name in named.iter().filter(|name| link::is_name(name)) {
        batch.push((), 0, link::get(name));
    }
    let links: BTreeMap<u32, LinkFacts> = wire
        .exchange(socket, &mut batch)?
        .into_iter()
        // A link that has gone meanwhile has no addresses any more.
        .filter_map(|fate| LinkFacts::read(&fate.ok()??))
        .filter(|link| link.group != GROUP)
        .map(|link| (link.index, link))
        .collect();
    let uplink = uplink.and_then(|index| links.get(&index));
    let there = |name: &&String| links.values().any(|link| link.name == **name);
    Ok(HostFacts {
        addresses: addresses
            .into_iter()
            .filter_map(|(index, address)| {
                Some(HostAddress { link: links.get(&index)?.name.clone(), address })
            })
            .collect(),
        routes: routes.destinations,
        uplink: uplink.map(|link| link.name.clone()),
        uplink_mtu: uplink.map(|link| link.mtu),
        links: named.iter().filter(there).cloned().collect(),
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

/// What the host's main routing table says.
#[derive(Default)]
struct Routes {
    /// Where unicast routes lead, the default route aside.
    destinations: Vec<IpNet>,
    /// The link of the default route with the lowest metric.
    default_link: Option<u32>,
}

impl Routes {
    fn read(wire: &mut Wire, socket: &Socket, family: AddressFamily) -> io::Result<Self> {
        let mut routes = Self::default();
        let mut lowest = u32::MAX;
        for payload in wire.dump(socket, &route::get_all(family))? {
            // The fixed part tells most routes apart without decoding the rest.
            let Ok(header) = RouteHeader::parse(&payload) else { continue };
            if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
                continue;
            }
            let Ok(message) = RouteMessage::parse(&payload[..]) else { continue };
            let mut metric = 0;
            let mut link = None;
            let mut destination = None;
            for attribute in &message.attributes {
                match attribute {
                    RouteAttribute::Priority(value) => metric = *value,
                    RouteAttribute::Oif(index) => link = Some(*index),
                    RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                        destination = Some(IpAddr::V4(*address));
                    }
                    RouteAttribute::MultiPath(hops) => {
                        link = link.or(hops.first().map(|hop| hop.interface_index));
                    }
                    _ => {}
                }
            }
            let length = message.header.destination_prefix_length;
            if length > 0 {
                routes.destinations.extend(destination.and_then(|address| IpNet::new(address, length).ok()));
            } else if link.is_some() && (routes.default_link.is_none() || metric < lowest) {
                (routes.default_link, lowest) = (link, metric);
            }
        }
        Ok(routes)
    }
}
