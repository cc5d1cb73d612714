//! What rules say of packets: where they may go, what is translated, which ports are kept.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::basics::{Family, Protocol};

/// What the host and a bridge exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostSide {
    /// Everything.
    #[default]
    Open,
    /// What is for these addresses of the host, and answers; the host itself begins nothing.
    Only(Vec<IpAddr>),
    /// Nothing but what it takes to find neighbours (RFC 4861).
    Closed,
}

/// Where packets are forwarded between a bridge and elsewhere; from the bridge back onto it they always are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ways {
    /// Everywhere.
    #[default]
    Open,
    /// By this link alone.
    Only(String),
    /// Nowhere.
    Closed,
}

/// Keeps what is on a bridge from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// The bridge.
    pub bridge: String,
    /// Between it and the host itself.
    pub host: HostSide,
    /// Between it and what is behind the host.
    pub ways: Ways,
}

/// A bridge that is joined to another one, by which its packets are routed. Where br_netfilter shows its frames to
/// rules, those that only cross it are left alone: the other bridge, too, shows them, and each would translate them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annex {
    /// The bridge.
    pub bridge: String,
    /// The one that it is joined to.
    pub of: String,
}

/// An endpoint that exchanges nothing with other endpoints, whether its bridge or the host would carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// Interface name of its port.
    pub port: String,
    /// The bridge by which the host reaches it.
    pub bridge: String,
    /// Ports of bridges that lead to no endpoint of this host, with which it does exchange frames.
    pub outside: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
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

/// Session affinity: services with the same one send a client address to the same member, as long as there is that member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// What clients are remembered by, below 2³¹. Services of one group have the same members, and one family.
    pub group: u32,
    /// Who can be chosen, each by a number below 2³¹ of its own, that it keeps.
    pub members: Vec<u32>,
}

/// Destination translation: new connections to the front end go to one of the back ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it is reached by.
    pub frontend: Frontend,
    /// Where connections go, each with the same probability, at most [`Service::MOST_BACKENDS`]; none = they are
    /// refused. Repeating one gives it a larger share.
    pub backends: Vec<SocketAddr>,
    /// Connections of one client address go to the same back end; its members are those of `backends`, in their order.
    pub affinity: Option<Affinity>,
    /// Only packets that come in by these links are meant, and the front end has an address; none = by any.
    pub only_from: Vec<String>,
    /// Whether the host's own programs can use it, too.
    pub from_host: bool,
    /// What back ends see as the client.
    pub source: Source,
    /// Whether connections to a back end that goes end, too. UDP flows always do.
    pub terminates: bool,
}

/// Gives an endpoint the packets of services with the destination that they were sent to: the translation of the address
/// is taken back at its port, and what it answers gets its own address there, so that all others see a translated
/// connection. Its namespace must take packets to the front ends' addresses ([`Claim`](super::Claim)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preserved {
    /// Interface name of its port.
    pub port: String,
    /// The front ends, each once. Those of one family have one back end.
    pub fronts: Vec<PreservedFront>,
}

/// A front end of a [`Service`] whose back end is an endpoint that shall see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreservedFront {
    /// The virtual address.
    pub address: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The port, before and after translation.
    pub port: u16,
    /// The endpoint's own address, of the same family.
    pub backend: IpAddr,
}

impl Service {
    /// How many back ends there can be.
    pub const MOST_BACKENDS: usize = 1024;
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
