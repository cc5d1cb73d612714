//! The record of a network.

use std::net::IpAddr;

use hcn_dataplane::{HostRoute, Mac, Sharing};
use hcn_schema::enums::NetworkMode;
use hcn_schema::network::HostComputeNetwork;
use hcn_schema::{Guid, Raw};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Meta;

/// A subnet of a network, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Identifier.
    pub id: Guid,
    /// Prefix, host bits zero.
    pub prefix: IpNet,
    /// Next hop of its first default route, else the address that the host has in it, if any.
    pub gateway: Option<IpAddr>,
    /// Whether endpoints take over a default route to the gateway.
    pub default_route: bool,
    /// Whether the gateway's address is kept from endpoints.
    pub reserve_gateway: bool,
    /// Parts of the prefix that endpoints can ask for by identifier.
    pub parts: Vec<(Guid, IpNet)>,
    /// Whether it is of a prefix of the uplink, so that others outside are on it too, the gateway among them.
    #[serde(default)]
    pub outside: bool,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Common part.
    pub meta: Meta,
    /// The document as it is returned, without the fields that are filled on query.
    pub document: HostComputeNetwork,
    /// Parsed `Type`.
    pub mode: NetworkMode,
    /// Parsed subnets of all Ipams, in order.
    pub subnets: Vec<Subnet>,
    /// Parsed MacPool, both ends included.
    pub mac_ranges: Vec<(Mac, Mac)>,
    /// Interface name of the bridge.
    pub bridge: String,
    /// Address of the bridge.
    pub bridge_mac: Mac,
    /// Octets.
    pub mtu: u32,
    /// The link of the host that leads outside, for the types that have one.
    #[serde(default)]
    pub uplink: Option<Uplink>,
    /// Whether the host has an address on the network, by which endpoints reach it.
    #[serde(default = "yes")]
    pub host: bool,
    /// How it is joined to its uplink, for the types that are part of a network outside.
    #[serde(default)]
    pub junction: Option<Junction>,
    /// What carries an overlay to other hosts.
    #[serde(default)]
    pub tunnel: Option<Tunnel>,
    /// The routing table of its own, where packets from it do not go where the host's go.
    #[serde(default)]
    pub table: Option<RoutingTable>,
    /// How many bridges it has besides the first: each takes up to [`PORTS_OF_A_BRIDGE`] endpoints.
    #[serde(default)]
    pub shards: u16,
    /// Switch extensions that were switched on or off.
    #[serde(default)]
    pub extensions: Vec<(Guid, bool)>,
    /// Policies as a version 1 client wrote them, where their version 1 form would say it otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flat: Vec<Raw>,
}

/// Networks of before did not say it: they were of types that have the host on them.
fn yes() -> bool {
    true
}

/// How many endpoints a bridge takes. Attaching one takes the kernel longer with each that is there, and 1023 ports are
/// the most that a bridge can have.
pub const PORTS_OF_A_BRIDGE: usize = 250;

/// How many bridges a network can have besides the first: what joins them are ports of the first, and the number is a
/// part of names of 15 octets.
pub(crate) const MOST_SHARDS: u16 = 700;

/// How a network that is part of a network outside is joined to its uplink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Junction {
    /// The host routes between the two and answers on each for what is on the other.
    Routed,
    /// The uplink is a port of the bridge, which has its addresses and routes; they are those of before.
    Enslaved {
        /// Addresses of the uplink.
        addresses: Vec<IpNet>,
        /// Routes by the uplink that came from no address.
        routes: Vec<HostRoute>,
    },
    /// A VLAN of the uplink is a port of the bridge.
    Vlan {
        /// 1 to 4094.
        id: u16,
        /// Interface name of the port.
        link: String,
    },
    /// There is no bridge: endpoints stand on the uplink itself.
    Shared(Sharing),
}

/// What carries an overlay to other hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// UDP port.
    pub port: u16,
    /// The host's address that packets come from; none = that of the link that they leave by.
    pub local: Option<IpAddr>,
    /// Each VSID of its subnets with the interface name of its VXLAN link.
    pub links: Vec<(u32, String)>,
    /// The VSID of each subnet.
    pub subnets: Vec<(Guid, u32)>,
    /// Subnets of other hosts.
    #[serde(default)]
    pub remote: Vec<RemoteSubnet>,
}

/// A subnet of another host, which routes to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteSubnet {
    /// Prefix, host bits zero.
    pub prefix: IpNet,
    /// The VSID that the other host has it in.
    pub vsid: u32,
    /// The other host's address.
    pub provider: IpAddr,
    /// The MAC address of the other host's router.
    pub router: Mac,
}

impl Tunnel {
    /// The VSID and the link by which an address is reached: those of its subnet, else the first.
    pub fn link_to(&self, subnet: Option<&Subnet>) -> Option<&(u32, String)> {
        let vsid = subnet.and_then(|subnet| self.subnets.iter().find(|(id, _)| *id == subnet.id));
        let link = vsid.and_then(|(_, vsid)| self.links.iter().find(|(other, _)| other == vsid));
        link.or(self.links.first())
    }
}

/// A routing table of a network's own, or of an endpoint's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingTable {
    /// Its number.
    pub number: u32,
    /// Routes by the uplink.
    pub routes: Vec<HostRoute>,
}

/// A link of the host that a network leads out by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Interface name.
    pub link: String,
    /// The address of the host on it: ManagementIP, and the provider address of an overlay.
    pub address: Option<IpNet>,
}

/// Whether networks of a type are parts of a network outside, or carried by one.
pub(crate) fn leads_outside(mode: NetworkMode) -> bool {
    matches!(
        mode,
        NetworkMode::Transparent | NetworkMode::L2Bridge | NetworkMode::L2Tunnel | NetworkMode::Overlay
    )
}

impl Network {
    /// The interface name of one of its bridges: 0 is the first.
    pub fn shard(&self, number: u16) -> String {
        if number == 0 { self.bridge.clone() } else { format!("{}-{number}", self.bridge) }
    }

    /// The interface names of the pair that joins the first bridge, which has the first of them, to another one.
    pub fn joint(&self, number: u16) -> [String; 2] {
        let stem = self.bridge.strip_prefix("hcn").unwrap_or(&self.bridge);
        ["hcj", "hck"].map(|prefix| format!("{prefix}{stem}-{number}"))
    }

    /// The interface names of its links: its bridges, what joins them, and what carries them to others.
    pub fn links(&self) -> impl Iterator<Item = String> + '_ {
        let joints = (1..=self.shards).flat_map(|number| self.joint(number));
        let tunnel = self.tunnel.iter().flat_map(|tunnel| tunnel.links.iter().map(|(_, link)| link.clone()));
        let vlan = match &self.junction {
            Some(Junction::Vlan { link, .. }) => Some(link.clone()),
            _ => None,
        };
        self.bridges().chain(joints).chain(tunnel).chain(vlan)
    }

    /// The interface names of all its bridges, the first first.
    pub fn bridges(&self) -> impl Iterator<Item = String> + '_ {
        (0..=self.shards).map(|number| self.shard(number))
    }

    /// The name, empty when none was given.
    pub fn name(&self) -> &str {
        self.document.name.as_deref().unwrap_or_default()
    }

    /// The subnet that an address belongs to.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.prefix.contains(&address))
    }

    /// The GUID of its switch: it has one of its own.
    pub fn switch(&self) -> Guid {
        self.meta.id
    }

    /// The GUID of what networks on the same uplink share; none where the type leads nowhere or translates.
    pub fn layer(&self) -> Option<Guid> {
        let uplink = self.uplink.as_ref().filter(|_| leads_outside(self.mode))?;
        Some(crate::names::layer(&uplink.link))
    }

    /// Whether the host routes what endpoints send to others than their neighbours.
    pub fn is_carried(&self) -> bool {
        let bridged = self.sharing().is_some() || self.is_enslaving();
        !bridged && (self.host || self.is_routed())
    }

    /// Whether the host routes between it and its uplink, as if they were one segment.
    pub fn is_routed(&self) -> bool {
        self.junction == Some(Junction::Routed)
    }

    /// How its endpoints share the uplink, if they stand on it: there is no bridge then.
    pub fn sharing(&self) -> Option<Sharing> {
        match self.junction {
            Some(Junction::Shared(sharing)) => Some(sharing),
            _ => None,
        }
    }

    /// Whether the uplink is a port of its bridge.
    pub fn is_enslaving(&self) -> bool {
        matches!(self.junction, Some(Junction::Enslaved { .. }))
    }

    /// Whether its interfaces take part in IPv6: they may get addresses from outside, too.
    pub fn takes_ipv6(&self) -> bool {
        self.has_ipv6() || (self.subnets.is_empty() && (self.sharing().is_some() || self.is_enslaving()))
    }

    /// Whether the network has a subnet of this family.
    pub fn has_ipv6(&self) -> bool {
        self.subnets.iter().any(|subnet| subnet.prefix.addr().is_ipv6())
    }
}
