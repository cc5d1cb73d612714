//! The kernel objects that hcnd makes, each with the key that identifies it.

mod basics;
mod links;
mod policies;
mod routes;
mod rules;
mod services;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

pub use basics::{Family, LinkId, Mac, Netns, Protocol};
pub use links::{Bridge, Enslaved, HostRoute, Joint, Sharing, Sublink, Tap, Veth, Vlan, Vxlan};
pub use policies::{
    AddressSet, Addresses, Diversion, DiversionRule, Exceptions, Filter, FilterRule, Guard, Interception,
    InterceptionRule, Outbound, OutboundRule, Ports, Shaper, Site, Tier, Verdict,
};
pub use routes::{
    Address, Claim, FdbEntry, Forwarding, Hop, Neighbour, Origin, ProxyNeighbour, Route, Sender, Steering,
};
pub use rules::{
    Affinity, Annex, Barrier, Frontend, HeldPort, Home, HostSide, Isolation, Masquerade, Preserved,
    PreservedFront, ReservedPorts, Service, Source, Ways,
};
pub use services::{Existing, Lease, NetnsFile, Resolver, Responder};

/// One kernel object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// IP forwarding in the host's namespace. Taking a claim away leaves the host's setting alone: by then
    /// other programs may rely on it.
    Forwarding(Forwarding),
    /// A named network namespace.
    Netns(NetnsFile),
    /// What keeps packets on a bridge.
    Barrier(Barrier),
    /// What makes two bridges one.
    Annex(Annex),
    /// Addresses that rules know by a name.
    AddressSet(AddressSet),
    /// Which packets pass.
    Filter(Filter),
    /// Whose address packets leave with.
    Outbound(Outbound),
    /// What goes to a proxy.
    Diversion(Diversion),
    /// What goes to a proxy in the namespace.
    Interception(Interception),
    /// What keeps an endpoint from sending in others' name.
    Guard(Guard),
    /// A bridge.
    Bridge(Bridge),
    /// Where a prefix lives.
    Home(Home),
    /// Source translation of a prefix.
    Masquerade(Masquerade),
    /// A pair between two bridges.
    Joint(Joint),
    /// A VXLAN port.
    Vxlan(Vxlan),
    /// A VLAN port.
    Vlan(Vlan),
    /// A link of the host that is a port.
    Enslaved(Enslaved),
    /// A veth pair.
    Veth(Veth),
    /// An interface on a link of the host.
    Sublink(Sublink),
    /// A TAP interface.
    Tap(Tap),
    /// What keeps an endpoint from others.
    Isolation(Isolation),
    /// How fast an endpoint may send.
    Shaper(Shaper),
    /// An address.
    Address(Address),
    /// An address that several may claim.
    Claim(Claim),
    /// Where frames to a MAC address go.
    FdbEntry(FdbEntry),
    /// A neighbour.
    Neighbour(Neighbour),
    /// A neighbour that the host speaks for.
    ProxyNeighbour(ProxyNeighbour),
    /// A route.
    Route(Route),
    /// A routing table of an interface.
    Origin(Origin),
    /// A routing table of a bridge.
    Steering(Steering),
    /// What answers on a bridge.
    Responder(Responder),
    /// What it knows of an endpoint.
    Lease(Lease),
    /// A resolver configuration.
    Resolver(Resolver),
    /// What gives an endpoint packets under the address that they were sent to.
    Preserved(Preserved),
    /// A port that is kept from others.
    HeldPort(HeldPort),
    /// Who of services a client can stay with.
    Affinity(Affinity),
    /// Destination translation.
    Service(Service),
    /// Ports kept from those that the kernel chooses.
    ReservedPorts(ReservedPorts),
}

/// What identifies an object. The order of the variants is the order in which objects are built; they are
/// taken down in the reverse order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Family and bridge.
    Forwarding(Family, String),
    /// File name.
    Netns(String),
    /// The bridge.
    Barrier(String),
    /// The bridge that is joined.
    Annex(String),
    /// Its name.
    AddressSet(String),
    /// Interface name of the port, and whether it filters on the endpoint's own link.
    Filter(String, bool),
    /// Interface name of the port.
    Outbound(String),
    /// Interface name of the port.
    Diversion(String),
    /// The endpoint's own link.
    Interception(LinkId),
    /// Interface name of the port.
    Guard(String),
    /// Interface name.
    Bridge(String),
    /// The prefix and the bridge.
    Home(IpNet, String),
    /// Source prefix.
    Masquerade(IpNet),
    /// Name of the first end.
    Joint(String),
    /// Interface name.
    Vxlan(String),
    /// Interface name.
    Vlan(String),
    /// Interface name of the host's link.
    Enslaved(String),
    /// Name of the host end.
    Veth(String),
    /// Where it is.
    Sublink(LinkId),
    /// Interface name.
    Tap(String),
    /// Interface name of the port.
    Isolation(String),
    /// The link that carries the packets.
    Shaper(LinkId),
    /// Link and address.
    Address(LinkId, IpAddr),
    /// Link, address and claimant.
    Claim(LinkId, IpAddr, String),
    /// VXLAN link, MAC address and claimant.
    FdbEntry(String, Mac, String),
    /// Link, address and claimant.
    Neighbour(String, IpAddr, String),
    /// Link, address and claimant.
    ProxyNeighbour(String, IpAddr, String),
    /// Link, destination and metric.
    Route(LinkId, IpNet, u32),
    /// The interface and the family.
    Origin(LinkId, Family),
    /// The bridge, the family, and the endpoint if it is about one alone.
    Steering(String, Family, Option<String>),
    /// The bridge.
    Responder(String),
    /// The bridge and the claimant.
    Lease(String, String),
    /// The namespace's file name.
    Resolver(String),
    /// Interface name of the port.
    Preserved(String),
    /// The port itself.
    HeldPort(HeldPort),
    /// Its group.
    Affinity(u32),
    /// The front end.
    Service(Frontend),
    /// Of [`ReservedPorts`].
    ReservedPorts(ReservedPorts),
}

/// The alias of an object that is, or has, a link; as it is borrowed.
macro_rules! alias_of {
    ($object:expr) => {
        match $object {
            Object::Netns(NetnsFile { alias, .. })
            | Object::Bridge(Bridge { alias, .. })
            | Object::Veth(Veth { alias, .. })
            | Object::Joint(Joint { alias, .. })
            | Object::Vxlan(Vxlan { alias, .. })
            | Object::Vlan(Vlan { alias, .. })
            | Object::Sublink(Sublink { alias, .. })
            | Object::Tap(Tap { alias, .. }) => Some(alias),
            _ => None,
        }
    };
}

impl Object {
    /// The object's key.
    pub fn key(&self) -> Key {
        match self {
            Self::Forwarding(claim) => Key::Forwarding(claim.family, claim.bridge.clone()),
            Self::Netns(netns) => Key::Netns(netns.name.clone()),
            Self::Barrier(barrier) => Key::Barrier(barrier.bridge.clone()),
            Self::Annex(annex) => Key::Annex(annex.bridge.clone()),
            Self::AddressSet(set) => Key::AddressSet(set.name.clone()),
            Self::Filter(filter) => Key::Filter(filter.port.clone(), matches!(filter.site, Site::Link(_))),
            Self::Outbound(outbound) => Key::Outbound(outbound.port.clone()),
            Self::Diversion(diversion) => Key::Diversion(diversion.port.clone()),
            Self::Interception(interception) => Key::Interception(interception.link.clone()),
            Self::Guard(guard) => Key::Guard(guard.port.clone()),
            Self::Bridge(bridge) => Key::Bridge(bridge.name.clone()),
            Self::Home(home) => Key::Home(home.prefix, home.bridge.clone()),
            Self::Masquerade(masquerade) => Key::Masquerade(masquerade.prefix),
            Self::Joint(joint) => Key::Joint(joint.ends[0].clone()),
            Self::Vxlan(vxlan) => Key::Vxlan(vxlan.name.clone()),
            Self::Vlan(vlan) => Key::Vlan(vlan.name.clone()),
            Self::Enslaved(enslaved) => Key::Enslaved(enslaved.link.clone()),
            Self::Veth(veth) => Key::Veth(veth.name.clone()),
            Self::Sublink(sublink) => Key::Sublink(sublink.link.clone()),
            Self::Tap(tap) => Key::Tap(tap.name.clone()),
            Self::Isolation(isolation) => Key::Isolation(isolation.port.clone()),
            Self::Shaper(shaper) => Key::Shaper(shaper.link.clone()),
            Self::Address(address) => Key::Address(address.link.clone(), address.address.addr()),
            Self::Claim(claim) => Key::Claim(claim.link.clone(), claim.address, claim.claimant.clone()),
            Self::FdbEntry(entry) => Key::FdbEntry(entry.vxlan.clone(), entry.mac, entry.claimant.clone()),
            Self::Neighbour(neighbour) => {
                Key::Neighbour(neighbour.link.clone(), neighbour.address, neighbour.claimant.clone())
            }
            Self::ProxyNeighbour(proxy) => {
                Key::ProxyNeighbour(proxy.link.clone(), proxy.address, proxy.claimant.clone())
            }
            Self::Route(route) => Key::Route(route.link.clone(), route.destination, route.metric),
            Self::Origin(origin) => Key::Origin(origin.link.clone(), origin.family),
            Self::Steering(steering) => {
                let sender = steering.sender.as_ref().map(|sender| sender.endpoint.clone());
                Key::Steering(steering.bridge.clone(), steering.family, sender)
            }
            Self::Responder(responder) => Key::Responder(responder.bridge.clone()),
            Self::Lease(lease) => Key::Lease(lease.bridge.clone(), lease.claimant.clone()),
            Self::Resolver(resolver) => Key::Resolver(resolver.netns.clone()),
            Self::Preserved(preserved) => Key::Preserved(preserved.port.clone()),
            Self::HeldPort(port) => Key::HeldPort(port.clone()),
            Self::Affinity(affinity) => Key::Affinity(affinity.group),
            Self::Service(service) => Key::Service(service.frontend),
            Self::ReservedPorts(ports) => Key::ReservedPorts(*ports),
        }
    }

    /// What is seen of the object while something about it is wrong that objects do not tell, such as that it is down. A
    /// change from this to the object puts all of it right; a change to this does nothing.
    #[must_use]
    pub fn distorted(&self) -> Self {
        let mut seen = self.clone();
        if let Some(alias) = alias_of!(&mut seen) {
            alias.clear();
        }
        seen
    }

    /// Whether it is what [`distorted`](Self::distorted) gives: all that is made has an alias.
    pub fn is_distorted(&self) -> bool {
        alias_of!(self).is_some_and(String::is_empty)
    }

    /// Whether the object can become `to` (same key) in place, without being taken down.
    pub fn changes_in_place(&self, to: &Self) -> bool {
        if self.is_distorted() || to.is_distorted() {
            return true;
        }
        match (self, to) {
            (Self::Bridge(a), Self::Bridge(b)) => a.arp == b.arp && a.proxy_arp == b.proxy_arp,
            (Self::Veth(a), Self::Veth(b)) => {
                a.peer == b.peer && a.ipv6 == b.ipv6 && a.isolated == b.isolated
            }
            (Self::Joint(a), Self::Joint(b)) => {
                a.ends == b.ends && a.bridges == b.bridges && a.isolated == b.isolated
            }
            (Self::Tap(a), Self::Tap(b)) => a.owner == b.owner && a.isolated == b.isolated,
            (Self::Sublink(a), Self::Sublink(b)) => {
                a.parent == b.parent && a.sharing == b.sharing && a.mac == b.mac && a.ipv6 == b.ipv6
            }
            (Self::Filter(a), Self::Filter(b)) => a.site == b.site,
            (Self::Shaper(a), Self::Shaper(b)) => a.received == b.received,
            (Self::Diversion(a), Self::Diversion(b)) => a.bridge == b.bridge,
            (Self::Origin(a), Self::Origin(b)) => a.table == b.table,
            (Self::Steering(a), Self::Steering(b)) => a.table == b.table && a.sender == b.sender,
            (Self::AddressSet(_), Self::AddressSet(_))
            | (Self::Outbound(_), Self::Outbound(_))
            | (Self::Interception(_), Self::Interception(_))
            | (Self::Guard(_), Self::Guard(_))
            | (Self::Preserved(_), Self::Preserved(_))
            | (Self::Resolver(_), Self::Resolver(_))
            | (Self::Affinity(_), Self::Affinity(_))
            | (Self::Service(_), Self::Service(_))
            | (Self::Barrier(_), Self::Barrier(_))
            | (Self::Responder(_), Self::Responder(_))
            | (Self::Lease(_), Self::Lease(_)) => true,
            _ => false,
        }
    }
}

fn version(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forwarding(Family::V4, bridge) => write!(f, "IPv4 forwarding for {bridge}"),
            Self::Forwarding(Family::V6, bridge) => write!(f, "IPv6 forwarding for {bridge}"),
            Self::Netns(name) => write!(f, "netns {name}"),
            Self::Bridge(name) => write!(f, "bridge {name}"),
            Self::Barrier(bridge) => write!(f, "barrier around {bridge}"),
            Self::Annex(bridge) => write!(f, "annex {bridge}"),
            Self::AddressSet(name) => write!(f, "address set {name}"),
            Self::Filter(port, false) => write!(f, "filter of {port}"),
            Self::Filter(port, true) => write!(f, "filter of {port} in its namespace"),
            Self::Outbound(port) => write!(f, "source translation of {port}"),
            Self::Diversion(port) => write!(f, "proxy of {port}"),
            Self::Interception(link) => write!(f, "proxy on {link}"),
            Self::Guard(port) => write!(f, "guard of {port}"),
            Self::Shaper(link) => write!(f, "rate of {link}"),
            Self::Home(prefix, bridge) => write!(f, "home of {prefix} on {bridge}"),
            Self::Masquerade(prefix) => write!(f, "masquerade of {prefix}"),
            Self::Joint(name) => write!(f, "joint {name}"),
            Self::Vxlan(name) => write!(f, "vxlan {name}"),
            Self::Vlan(name) => write!(f, "vlan {name}"),
            Self::Enslaved(link) => write!(f, "port {link} of a bridge"),
            Self::Veth(name) => write!(f, "veth {name}"),
            Self::Sublink(link) => write!(f, "interface {link}"),
            Self::Tap(name) => write!(f, "tap {name}"),
            Self::Isolation(port) => write!(f, "isolation of {port}"),
            Self::Address(link, address) => write!(f, "address {address} on {link}"),
            Self::Claim(link, address, claimant) => write!(f, "{address} on {link} for {claimant}"),
            Self::FdbEntry(vxlan, mac, claimant) => write!(f, "way to {mac} by {vxlan} for {claimant}"),
            Self::Neighbour(link, address, claimant) => {
                write!(f, "neighbour {address} on {link} for {claimant}")
            }
            Self::ProxyNeighbour(link, address, claimant) => {
                write!(f, "answers for {address} on {link} for {claimant}")
            }
            Self::Route(link, destination, _) => write!(f, "route to {destination} by {link}"),
            Self::Origin(link, family) => write!(f, "{} routing table of {link}", version(*family)),
            Self::Steering(bridge, family, sender) => {
                let family = version(*family);
                match sender {
                    Some(endpoint) => write!(f, "{family} routing table of {endpoint} on {bridge}"),
                    None => write!(f, "{family} routing table of {bridge}"),
                }
            }
            Self::Responder(bridge) => write!(f, "responder on {bridge}"),
            Self::Lease(bridge, claimant) => write!(f, "lease on {bridge} of {claimant}"),
            Self::Resolver(netns) => write!(f, "resolv.conf of netns {netns}"),
            Self::Preserved(port) => write!(f, "preserved destinations of {port}"),
            Self::HeldPort(held) => write!(f, "{} port {}", held.protocol, held.port),
            Self::Affinity(group) => write!(f, "session affinity {group}"),
            Self::Service(frontend) => write!(f, "service {frontend}"),
            Self::ReservedPorts(ports) => write!(f, "reserved ports {} to {}", ports.first, ports.last),
        }
    }
}
