//! The kernel objects that hcnd makes, each with the key that identifies it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An EUI-48 address. Its text form here is Linux's: lower case, colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = ();

    /// Accepts six pairs of hex digits, separated by all colons or all dashes, in either case.
    fn from_str(text: &str) -> Result<Self, ()> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0u8; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part =
                parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit())).ok_or(())?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        parts.next().is_none().then_some(Self(bytes)).ok_or(())
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom(format_args!("{text:?} is not a MAC address")))
    }
}

impl From<Mac> for u64 {
    fn from(mac: Mac) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

impl From<u64> for Mac {
    /// Takes the low 48 bits.
    fn from(value: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// A transport protocol whose ports can be translated. The discriminants are IANA's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Protocol {
    /// RFC 9293.
    Tcp = 6,
    /// RFC 768.
    Udp = 17,
    /// RFC 9260.
    Sctp = 132,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// A network namespace, seen from the daemon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Netns {
    /// The namespace that hcnd itself runs in.
    Host,
    /// The namespace whose file has this name in the netns folder (`/run/netns`).
    Named(String),
}

/// A link, by namespace and interface name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    /// The namespace that the link is in.
    pub netns: Netns,
    /// Its interface name, at most 15 bytes.
    pub name: String,
}

impl LinkId {
    /// A link of the host's own namespace.
    pub fn host(name: &str) -> Self {
        Self { netns: Netns::Host, name: name.to_owned() }
    }
}

/// A bridge's claim that the host forwards packets of one family. A claim each, and not one setting that all
/// share, so that no plan depends on another one that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The address family.
    pub family: Family,
    /// The bridge whose packets are to be forwarded.
    pub bridge: String,
}

/// A named network namespace whose loopback is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsFile {
    /// The file's name in the netns folder.
    pub name: String,
    /// Link alias of its loopback, at most 255 bytes, by which it is recognised.
    pub alias: String,
}

/// A bridge in the host's namespace, administratively up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Interface name.
    pub name: String,
    /// Link alias, at most 255 bytes.
    pub alias: String,
    /// Its own address, fixed so that it does not follow its ports.
    pub mac: Mac,
    /// Octets.
    pub mtu: u32,
    /// Whether the bridge takes part in IPv6 (otherwise it gets no link-local address).
    pub ipv6: bool,
    /// Whether the host asks and answers for IPv4 neighbours on it.
    pub arp: bool,
}

/// Keeps what is on a bridge from elsewhere: packets are forwarded neither from it nor to it, except back onto it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// The bridge.
    pub bridge: String,
    /// Whether the host itself is elsewhere, too: it then neither receives from the bridge nor sends to it.
    pub host: bool,
}

/// A claim that the host answers for an address on a bridge. Several claims of one address are one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The bridge that carries the address, as a single host's, without a route.
    pub bridge: String,
    /// The address.
    pub address: IpAddr,
    /// Tells claims of the same address apart.
    pub claimant: String,
}

/// A veth pair: the host end is a port of a bridge, the peer is an interface of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veth {
    /// Name of the host end.
    pub name: String,
    /// Link alias of the host end, at most 255 bytes.
    pub alias: String,
    /// The bridge that the host end is a port of.
    pub bridge: String,
    /// Where the peer lives, and its name there.
    pub peer: LinkId,
    /// Address of the peer.
    pub mac: Mac,
    /// Octets, both ends.
    pub mtu: u32,
    /// Whether the peer takes part in IPv6 (otherwise it gets no link-local address).
    pub ipv6: bool,
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

/// Where a prefix lives. Packets from the prefix that leave by its own bridge keep their source, except those that
/// a [`Service`] has sent back: these take the bridge's address, so that their replies come back to be translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The prefix.
    pub prefix: IpNet,
    /// The bridge that the prefix lives on.
    pub bridge: String,
}

/// Source translation for a prefix: its packets that leave by any other link than its [`Home`] take the address of
/// that link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// Source prefix.
    pub prefix: IpNet,
}

/// A port of the host that no program may listen on, since packets to it are translated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeldPort {
    /// Of the host's addresses that are meant.
    pub family: Family,
    /// Transport protocol.
    pub protocol: Protocol,
    /// 1 to 65535.
    pub port: u16,
}

/// Ports of the host that its programs are not given when they leave the choice to the kernel
/// (`ip_local_reserved_ports`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservedPorts {
    /// The first port.
    pub first: u16,
    /// The last port, included.
    pub last: u16,
}

/// What a service is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Frontend {
    /// Of the address.
    pub family: Family,
    /// The virtual address; none = every address of the host but loopback's.
    pub address: Option<IpAddr>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// 1 to 65535.
    pub port: u16,
}

/// The source of packets that a service sends to its back ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The client's own.
    #[default]
    Client,
    /// This address.
    Address(IpAddr),
    /// The address of the link that they leave by.
    Masquerade,
}

/// Destination translation: new connections to the front end go to one of the back ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it is reached by.
    pub frontend: Frontend,
    /// Where connections go, each with the same probability, at most [`Service::MOST_BACKENDS`]; none = they are
    /// dropped. Repeating one gives it a larger share.
    pub backends: Vec<SocketAddr>,
    /// Whether connections of one client address go to the same back end.
    pub affinity: bool,
    /// Only packets that come in by this link are meant; the front end has an address then.
    pub only_from: Option<String>,
    /// Whether the host's own programs can use it, too.
    pub from_host: bool,
    /// What back ends see as the client.
    pub source: Source,
}

impl Service {
    /// How many back ends there can be.
    pub const MOST_BACKENDS: usize = 1024;
}

/// The resolver configuration of a named namespace (`/etc/netns/NAME/resolv.conf`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// The namespace's file name.
    pub netns: String,
    /// The whole file.
    pub contents: String,
}

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
    /// A bridge.
    Bridge(Bridge),
    /// Where a prefix lives.
    Home(Home),
    /// Source translation of a prefix.
    Masquerade(Masquerade),
    /// A veth pair.
    Veth(Veth),
    /// An address.
    Address(Address),
    /// An address of the host on a bridge that several may claim.
    Claim(Claim),
    /// A route.
    Route(Route),
    /// A resolver configuration.
    Resolver(Resolver),
    /// A port that is kept from others.
    HeldPort(HeldPort),
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
    /// Interface name.
    Bridge(String),
    /// The prefix.
    Home(IpNet),
    /// Source prefix.
    Masquerade(IpNet),
    /// Name of the host end.
    Veth(String),
    /// Link and address.
    Address(LinkId, IpAddr),
    /// Bridge, address and claimant.
    Claim(String, IpAddr, String),
    /// Link, destination and metric.
    Route(LinkId, IpNet, u32),
    /// The namespace's file name.
    Resolver(String),
    /// The port itself.
    HeldPort(HeldPort),
    /// The front end.
    Service(Frontend),
    /// Of [`ReservedPorts`].
    ReservedPorts(ReservedPorts),
}

impl Object {
    /// The object's key.
    pub fn key(&self) -> Key {
        match self {
            Self::Forwarding(claim) => Key::Forwarding(claim.family, claim.bridge.clone()),
            Self::Netns(netns) => Key::Netns(netns.name.clone()),
            Self::Barrier(barrier) => Key::Barrier(barrier.bridge.clone()),
            Self::Bridge(bridge) => Key::Bridge(bridge.name.clone()),
            Self::Home(home) => Key::Home(home.prefix),
            Self::Masquerade(masquerade) => Key::Masquerade(masquerade.prefix),
            Self::Veth(veth) => Key::Veth(veth.name.clone()),
            Self::Address(address) => Key::Address(address.link.clone(), address.address.addr()),
            Self::Claim(claim) => Key::Claim(claim.bridge.clone(), claim.address, claim.claimant.clone()),
            Self::Route(route) => Key::Route(route.link.clone(), route.destination, route.metric),
            Self::Resolver(resolver) => Key::Resolver(resolver.netns.clone()),
            Self::HeldPort(port) => Key::HeldPort(port.clone()),
            Self::Service(service) => Key::Service(service.frontend),
            Self::ReservedPorts(ports) => Key::ReservedPorts(*ports),
        }
    }

    /// Whether the object can become `to` (same key) in place, without being taken down.
    pub fn changes_in_place(&self, to: &Self) -> bool {
        match (self, to) {
            (Self::Bridge(a), Self::Bridge(b)) => a.ipv6 == b.ipv6 && a.arp == b.arp,
            (Self::Veth(a), Self::Veth(b)) => a.bridge == b.bridge && a.peer == b.peer && a.ipv6 == b.ipv6,
            (Self::Resolver(_), Self::Resolver(_)) | (Self::Service(_), Self::Service(_)) => true,
            _ => false,
        }
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
            Self::Home(prefix) => write!(f, "home of {prefix}"),
            Self::Masquerade(prefix) => write!(f, "masquerade of {prefix}"),
            Self::Veth(name) => write!(f, "veth {name}"),
            Self::Address(link, address) => write!(f, "address {address} on {link}"),
            Self::Claim(bridge, address, claimant) => write!(f, "{address} on {bridge} for {claimant}"),
            Self::Route(link, destination, _) => write!(f, "route to {destination} by {link}"),
            Self::Resolver(netns) => write!(f, "resolv.conf of netns {netns}"),
            Self::HeldPort(held) => write!(f, "{} port {}", held.protocol, held.port),
            Self::Service(frontend) => write!(f, "service {frontend}"),
            Self::ReservedPorts(ports) => write!(f, "reserved ports {} to {}", ports.first, ports.last),
        }
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.family) {
            (Some(address), _) => SocketAddr::new(address, self.port).fmt(f)?,
            (None, Family::V4) => write!(f, "IPv4 port {}", self.port)?,
            (None, Family::V6) => write!(f, "IPv6 port {}", self.port)?,
        }
        write!(f, " {}", self.protocol)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.netns {
            Netns::Host => f.write_str(&self.name),
            Netns::Named(netns) => write!(f, "{} in netns {netns}", self.name),
        }
    }
}
