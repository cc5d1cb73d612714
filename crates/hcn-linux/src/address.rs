//! Messages about addresses.

use hcn_dataplane::{Address, Claim, Mac, Netns};
use ipnet::{IpNet, Ipv6Net};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// RTM_NEWADDR.
pub(crate) fn create(index: u32, address: &Address) -> RouteNetlinkMessage {
    let mut message = body(index, address.address);
    if address.address.addr().is_loopback() {
        // So it is nobody's source outside.
        message.header.scope = AddressScope::Host;
    }
    let mut flags = AddressFlags::empty();
    if address.address.addr().is_ipv6() {
        // Usable at once: duplicate detection would keep it tentative for up to 2.4 s.
        flags |= AddressFlags::Nodad;
    }
    if !address.prefix_route {
        flags |= AddressFlags::Noprefixroute;
    }
    if !flags.is_empty() {
        message.attributes.push(AddressAttribute::Flags(flags));
    }
    RouteNetlinkMessage::NewAddress(message)
}

/// By which hcnd's own addresses are known in namespaces, where others have theirs (`IFA_PROTO`, of Linux 5.18).
pub(crate) const PROTOCOL: AddressProtocol = AddressProtocol::Other(0x68);

/// RTM_NEWADDR of an address that is claimed: who speaks to it is answered, but nobody speaks first in its name. Of IPv6 the
/// kernel would choose it as the source where it is closest to the destination; one that is deprecated it does not (RFC
/// 6724, 5, rule 3). Of IPv4 it chooses the one whose prefix has the destination.
pub(crate) fn create_claimed(index: u32, address: &Address) -> RouteNetlinkMessage {
    let mut message = create(index, address);
    if let RouteNetlinkMessage::NewAddress(message) = &mut message {
        if address.address.addr().is_ipv6() {
            let mut lifetimes = CacheInfo::default();
            (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, u32::MAX);
            message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
        if address.link.netns != Netns::Host {
            message.attributes.push(AddressAttribute::Protocol(PROTOCOL));
        }
    }
    message
}

/// The address that claims stand for: a single host's, without a route.
pub(crate) fn of_claim(claim: &Claim) -> Address {
    Address { link: claim.link.clone(), address: IpNet::from(claim.address), prefix_route: false }
}

/// The link-local address that belongs to a MAC address (RFC 4291, appendix A).
pub(crate) fn link_local(mac: Mac) -> IpNet {
    let [a, b, c, d, e, f] = mac.0;
    let address = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    Ipv6Net::new_assert(address.into(), 64).into()
}

/// RTM_NEWADDR of the link-local address of a MAC address, usable at once.
pub(crate) fn create_link_local(index: u32, mac: Mac) -> RouteNetlinkMessage {
    let mut message = body(index, link_local(mac));
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    RouteNetlinkMessage::NewAddress(message)
}

/// RTM_DELADDR.
pub(crate) fn delete(index: u32, address: IpNet) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelAddress(body(index, address))
}

/// RTM_GETADDR of all addresses, both families.
pub(crate) fn get_all() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessage::default())
}

fn body(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if address.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.attributes =
        vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    message
}
