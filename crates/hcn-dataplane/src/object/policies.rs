//! What policies mean for the packets of an endpoint: which of them pass, whose they may claim to be, how fast they leave,
//! and what becomes of their addresses.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::basics::{Family, LinkId, Mac};
use super::rules::Source;

/// Addresses that rules know by a name. A change acts at once on every rule that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSet {
    /// Its name, unique on the host.
    pub name: String,
    /// Addresses and prefixes; they may overlap.
    pub members: Vec<IpNet>,
}

/// Where the packets of an endpoint are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// Where the host carries them: on this bridge, and routed from and to it. The endpoint is known by its addresses,
    /// which a [`Guard`] keeps others from using.
    Bridge(String),
    /// The same, and the addresses are the host's own, too.
    Host(String),
    /// On the endpoint's own link, whatever its addresses are.
    Link(LinkId),
}

/// Which packets an endpoint gets, and which of its own go on. Rules are asked about the first packet of a connection and
/// about those that go the same way; what answers them passes. Neighbour discovery (RFC 4861) passes always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Interface name of the endpoint's port, by which filters are told apart.
    pub port: String,
    /// Where it filters.
    pub site: Site,
    /// The endpoint's addresses.
    pub addresses: Vec<IpAddr>,
    /// For packets to the endpoint.
    pub incoming: Vec<Tier>,
    /// For packets from it.
    pub outgoing: Vec<Tier>,
}

/// Rules of which the first that matches decides; where none does, the next tier is asked, and after the last one the packet
/// passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tier {
    /// What it is in the documents, such as `TierAcl TierIn1`.
    pub name: String,
    /// In the order in which they are asked.
    pub rules: Vec<FilterRule>,
}

impl Filter {
    /// The names of the address sets that its rules name, some of them several times.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        let tiers = self.incoming.iter().chain(&self.outgoing);
        let rules = tiers.flat_map(|tier| &tier.rules);
        rules.flat_map(|rule| rule.source.iter().chain(&rule.destination)).filter_map(|addresses| {
            match addresses {
                Addresses::Set(name) => Some(name.as_str()),
                Addresses::Prefixes(_) => None,
            }
        })
    }
}

/// A rule of a [`Filter`]: what is empty matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRule {
    /// What it is in the documents: the policy's place and the rule's Id.
    pub name: String,
    /// Numbers of IP protocols.
    pub protocols: Vec<u8>,
    /// Where packets come from: every one of these must hold it.
    pub source: Vec<Addresses>,
    /// Where they go.
    pub destination: Vec<Addresses>,
    /// Ports that they come from. Where ports are named and protocols are not, TCP, UDP and SCTP are meant; what has no
    /// ports is not.
    pub source_ports: Vec<Ports>,
    /// Ports that they go to.
    pub destination_ports: Vec<Ports>,
    /// What becomes of them.
    pub verdict: Verdict,
}

/// Addresses that a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// One of these.
    Prefixes(Vec<IpNet>),
    /// Of an [`AddressSet`].
    Set(String),
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

/// What a rule says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes; no further tier is asked.
    Allow,
    /// The next tier is asked.
    Next,
    /// It is dropped.
    Drop,
}

/// Keeps an endpoint from sending in the name of others: frames with another source MAC address than its own, packets, ARP
/// messages and neighbour advertisements with another source address are dropped. IPv6 link-local addresses are free, and
/// so is what a client without an address sends (0.0.0.0 to ask for one, `::` to look for duplicates).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Interface name of the endpoint's port on a bridge.
    pub port: String,
    /// Its MAC address.
    pub mac: Mac,
    /// Its addresses; none = any, since hcnd does not know them.
    pub addresses: Option<Vec<IpAddr>>,
    /// It may have other IPv6 addresses, too: a router outside of the host gives them (RFC 4862).
    pub autoconfigured: bool,
}

/// Limits what an endpoint sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shaper {
    /// The link that carries its packets.
    pub link: LinkId,
    /// What the endpoint sends is received there: at the host's end of a pair, at a TAP interface. Else it is sent there.
    pub received: bool,
    /// Octets per second, Ethernet headers included.
    pub rate: u64,
    /// Octets of the largest packet.
    pub mtu: u32,
}

/// Whose address the packets of an endpoint leave the host with. What a [`Service`](super::Service) leads elsewhere is
/// treated as that says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Interface name of the endpoint's port, by which these are told apart.
    pub port: String,
    /// The bridge that it is on. What leaves by it again keeps its source, but where a rule names destinations.
    pub bridge: String,
    /// The endpoint's addresses.
    pub addresses: Vec<IpAddr>,
    /// The first that is about a packet decides; what none is about is treated as without them.
    pub rules: Vec<OutboundRule>,
}

/// A rule of [`Outbound`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundRule {
    /// Of the packets.
    pub family: Family,
    /// Where they go; none = anywhere.
    pub destinations: Vec<IpNet>,
    /// Where they go with their own address.
    pub exceptions: Vec<IpNet>,
    /// What they get.
    pub source: Source,
}

/// Sends connections of an endpoint to a proxy instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diversion {
    /// Interface name of the endpoint's port, by which these are told apart.
    pub port: String,
    /// The bridge that its packets come from.
    pub bridge: String,
    /// The endpoint's addresses.
    pub addresses: Vec<IpAddr>,
    /// The first that matches decides.
    pub rules: Vec<DiversionRule>,
}

/// A rule of a [`Diversion`]: what is empty matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiversionRule {
    /// Numbers of IP protocols; of those without ports the address alone is changed.
    pub protocols: Vec<u8>,
    /// Where connections go.
    pub destinations: Vec<IpNet>,
    /// Ports that they go to.
    pub ports: Vec<Ports>,
    /// Where they go nevertheless.
    pub exceptions: Vec<IpNet>,
    /// The proxy.
    pub proxy: SocketAddr,
    /// The proxy sees them come from the host, not from the endpoint.
    pub masquerade: bool,
}

/// Sends connections to a proxy that listens in the endpoint's own namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interception {
    /// The endpoint's own link.
    pub link: LinkId,
    /// The first that matches decides.
    pub rules: Vec<InterceptionRule>,
}

/// A rule of an [`Interception`]: what is empty matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterceptionRule {
    /// What is begun in the namespace, if a port is to get it.
    pub outbound: Option<u16>,
    /// What comes from outside, if a port is to get it.
    pub inbound: Option<u16>,
    /// Numbers of IP protocols; none = TCP.
    pub protocols: Vec<u8>,
    /// Addresses on the endpoint's side.
    pub local: Vec<IpNet>,
    /// Addresses on the other side.
    pub remote: Vec<IpNet>,
    /// Ports on the endpoint's side.
    pub local_ports: Vec<Ports>,
    /// Ports on the other side.
    pub remote_ports: Vec<Ports>,
    /// The user whose connections are left alone: the proxy's own.
    pub user: Option<u32>,
    /// What is begun in the namespace and left alone: by the other side's addresses, and by the ports that it goes to.
    pub outbound_exceptions: Exceptions,
    /// The same of what comes from outside.
    pub inbound_exceptions: Exceptions,
}

/// What is left alone: whatever one of these is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// Addresses of the other side.
    pub addresses: Vec<IpNet>,
    /// Destination ports.
    pub ports: Vec<Ports>,
}
