//! Addresses, neighbours, routes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::basics::{Family, LinkId, Mac};

/// A bridge's claim that the host forwards packets of one family. A claim each, and not one setting that all
/// share, so that no plan depends on another one that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The address family.
    pub family: Family,
    /// The bridge whose packets are to be forwarded.
    pub bridge: String,
}

/// An address of a link, usable at once (no duplicate address detection).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link that carries it.
    pub link: LinkId,
    /// Address and prefix length; the host bits are kept.
    pub address: IpNet,
    /// Whether the kernel adds the route to the address's own prefix.
    pub prefix_route: bool,
}

/// A unicast route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The link that packets leave by.
    pub link: LinkId,
    /// Destination prefix, host bits zero.
    pub destination: IpNet,
    /// Next hop; none = on link. A next hop outside the link's prefixes is taken as on link.
    pub gateway: Option<IpAddr>,
    /// Priority; lower wins.
    pub metric: u32,
}

/// A claim that an address is answered for: by the host on a bridge, or by a namespace, whose loopback has it. Several
/// claims of one address are one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The link that carries the address, as a single host's, without a route.
    pub link: LinkId,
    /// The address.
    pub address: IpAddr,
    /// Tells claims of the same address apart.
    pub claimant: String,
}

/// Where a [`Vxlan`](super::Vxlan) sends frames to a MAC address, and the bridge that it is a port of forwards them to
/// it. Several claimants may say it of one address; if they say different things, the last one's holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// Interface name of the VXLAN link.
    pub vxlan: String,
    /// Destination of the frames.
    pub mac: Mac,
    /// The host that has it.
    pub destination: IpAddr,
    /// The VNI that it has it in; none = that of the link.
    pub vni: Option<u32>,
    /// Tells claims of the same address apart.
    pub claimant: String,
}

/// A neighbour that the host need not ask for. Several claimants as for [`FdbEntry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// A link of the host's namespace.
    pub link: String,
    /// Its address.
    pub address: IpAddr,
    /// Where it is.
    pub mac: Mac,
    /// Whether the host has a route to it, because no prefix of the link covers it.
    pub routed: bool,
    /// Tells claims of the same address apart.
    pub claimant: String,
}

/// An address that the host answers for on a link, since it reaches it by another one (proxy ARP, RFC 1027; proxy
/// neighbour advertisement, RFC 4861 7.2.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyNeighbour {
    /// A link of the host's namespace.
    pub link: String,
    /// The address.
    pub address: IpAddr,
    /// Tells claims of the same address apart.
    pub claimant: String,
}

/// A way for packets that come from a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Destination, host bits zero.
    pub destination: IpNet,
    /// A link of the host's namespace.
    pub link: String,
    /// Next hop; none = on link.
    pub gateway: Option<IpAddr>,
}

/// Whose packets a [`Steering`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The endpoint, which tells tables of one bridge apart.
    pub endpoint: String,
    /// Its addresses of the family.
    pub addresses: Vec<IpAddr>,
}

/// A routing table of its own for packets of one family that come from a bridge. What none of its routes leads to is
/// discarded. One of a sender goes before that of all who are on the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// The bridge.
    pub bridge: String,
    /// Who sends the packets; none = everybody there.
    pub sender: Option<Sender>,
    /// The address family.
    pub family: Family,
    /// The number of the table.
    pub table: u32,
    /// Its routes.
    pub hops: Vec<Hop>,
}

/// What an interface's addresses send leaves by it, whichever other interfaces the namespace has (the strong end system of
/// RFC 1122, 3.3.4.2): a routing table for packets from them, before the main one. What it has no route for goes by that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The interface.
    pub link: LinkId,
    /// The address family.
    pub family: Family,
    /// The number of the table, in the interface's namespace.
    pub table: u32,
    /// The interface's addresses of the family.
    pub addresses: Vec<IpAddr>,
    /// Destinations with the next hop; none = on link.
    pub routes: Vec<(IpNet, Option<IpAddr>)>,
}
