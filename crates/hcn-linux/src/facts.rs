//! What the host looks like besides what is hcnd's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use hcn_dataplane::{HostAddress, HostFacts, HostLink, HostRoute, Kernel};
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
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        read_routes(wire, socket, family, &mut routes)?;
    }
    // The first family that has one, and of that the one that wins.
    let defaults = || routes.iter().filter(|route| route.destination.prefix_len() == 0);
    let uplink = [true, false].into_iter().find_map(|ipv4| {
        let of_family = defaults().filter(|route| route.destination.addr().is_ipv4() == ipv4);
        of_family.min_by_key(|route| route.metric).map(|route| route.link)
    });

    let wanted: BTreeSet<u32> =
        addresses.iter().map(|(index, _)| *index).chain(defaults().map(|route| route.link)).collect();
    let mut batch = Batch::new();
    for index in &wanted {
        batch.push((), 0, link::get_index(*index));
    }
    for name in named {
        match name.parse() {
            // An index, as InterfaceConstraint has it.
            Ok(index) => batch.push((), 0, link::get_index(index)),
            Err(_) if link::is_name(name) => batch.push((), 0, link::get(name)),
            Err(_) if link::is_other_name(name) => batch.push((), 0, link::get_other(name)),
            Err(_) => {}
        }
    }
    let links: BTreeMap<u32, LinkFacts> = wire
        .exchange(socket, &mut batch)?
        .into_iter()
        // A link that has gone meanwhile has no addresses any more.
        .filter_map(|fate| LinkFacts::read(&fate.ok()??))
        // A bridge that stands for an uplink is as good as one: by no other of hcnd's does a default route leave.
        .filter(|link| link.group != GROUP || defaults().any(|route| route.link == link.index))
        .map(|link| (link.index, link))
        .collect();
    let name = |index: u32| links.get(&index).map(|link| link.name.clone());
    let routes = routes.iter().filter_map(|route| {
        let Way { destination, gateway, metric, .. } = *route;
        Some(HostRoute { link: name(route.link)?, destination, gateway, metric })
    });
    let addresses = addresses.into_iter();
    Ok(HostFacts {
        addresses: addresses
            .filter_map(|(index, address)| Some(HostAddress { link: name(index)?, address }))
            .collect(),
        routes: routes.collect(),
        uplink: uplink.and_then(name),
        links: links.into_values().map(host_link).collect(),
        shows_frames: ["iptables", "ip6tables"].map(shows_frames),
        kernel: Kernel::default(),
        netns: None,
    })
}

/// Without br_netfilter there is no such setting.
fn shows_frames(to: &str) -> bool {
    let setting = format!("/proc/sys/net/bridge/bridge-nf-call-{to}");
    fs::read_to_string(setting).is_ok_and(|value| value.trim() != "0")
}

fn host_link(facts: LinkFacts) -> HostLink {
    let wireless = Path::new("/sys/class/net").join(&facts.name).join("phy80211").exists();
    let other_names =
        facts.other_names.into_iter().chain(Some(facts.alias).filter(|alias| !alias.is_empty()));
    HostLink {
        other_names: other_names.collect(),
        name: facts.name,
        index: facts.index,
        mtu: facts.mtu,
        mac: facts.mac,
        loopback: facts.loopback,
        wireless,
        port: facts.master.is_some(),
    }
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

/// A unicast route of the main table.
struct Way {
    link: u32,
    destination: IpNet,
    gateway: Option<IpAddr>,
    metric: u32,
}

/// Adds the routes of a family.
fn read_routes(
    wire: &mut Wire,
    socket: &Socket,
    family: AddressFamily,
    routes: &mut Vec<Way>,
) -> io::Result<()> {
    let plain = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    let anywhere = if family == AddressFamily::Inet { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    for payload in wire.dump(socket, &route::get_all(family))? {
        // The fixed part tells most routes apart without decoding the rest.
        let Ok(header) = RouteHeader::parse(&payload) else { continue };
        if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
            continue;
        }
        let Ok(message) = RouteMessage::parse(&payload[..]) else { continue };
        let (mut link, mut destination, mut gateway, mut metric) = (None, anywhere, None, 0);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Priority(value) => metric = *value,
                RouteAttribute::Oif(index) => link = Some(*index),
                RouteAttribute::Destination(address) => destination = plain(address).unwrap_or(anywhere),
                RouteAttribute::Gateway(address) => gateway = plain(address),
                RouteAttribute::MultiPath(hops) => {
                    link = link.or(hops.first().map(|hop| hop.interface_index));
                }
                _ => {}
            }
        }
        let destination = IpNet::new(destination, message.header.destination_prefix_length);
        if let (Some(link), Ok(destination)) = (link, destination) {
            routes.push(Way { link, destination, gateway, metric });
        }
    }
    Ok(())
}
