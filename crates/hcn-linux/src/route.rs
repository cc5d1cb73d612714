//! Messages about routes.

use std::net::IpAddr;

use hcn_dataplane::Route;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// RTM_NEWROUTE. `on_link`: no prefix of the link covers the gateway, so the kernel must take it on trust.
pub(crate) fn create(index: u32, route: &Route, on_link: bool) -> RouteNetlinkMessage {
    let mut message = body(index, route);
    if on_link {
        message.header.flags = RouteFlags::Onlink;
    }
    RouteNetlinkMessage::NewRoute(message)
}

/// RTM_DELROUTE, whoever made the route: one that was found in place of a wanted one may not be hcnd's.
pub(crate) fn delete(index: u32, route: &Route) -> RouteNetlinkMessage {
    let mut message = body(index, route);
    message.header.protocol = RouteProtocol::Unspec;
    RouteNetlinkMessage::DelRoute(message)
}

/// RTM_GETROUTE of all routes of a family.
pub(crate) fn get_all(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    RouteNetlinkMessage::GetRoute(message)
}

/// RTM_GETROUTE of the route that a packet to this address takes.
pub(crate) fn get(address: IpAddr) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    let (family, length) =
        if address.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) };
    message.header.address_family = family;
    message.header.destination_prefix_length = length;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(address)));
    RouteNetlinkMessage::GetRoute(message)
}

/// Whether an answer is about a route to the namespace itself.
pub(crate) fn is_local(payload: &[u8]) -> bool {
    RouteHeader::parse(payload).is_ok_and(|header| header.kind == RouteType::Local)
}

fn body(index: u32, route: &Route) -> RouteMessage {
    let destination = route.destination.trunc();
    let ipv4 = destination.addr().is_ipv4();
    let mut message = RouteMessage::default();
    message.header.address_family = if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.destination_prefix_length = destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    // IPv6 knows no scopes of routes.
    message.header.scope =
        if ipv4 && route.gateway.is_none() { RouteScope::Link } else { RouteScope::Universe };
    message.header.kind = RouteType::Unicast;
    if destination.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(destination.addr())));
    }
    if let Some(gateway) = route.gateway {
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
    }
    message.attributes.push(RouteAttribute::Oif(index));
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    message
}
