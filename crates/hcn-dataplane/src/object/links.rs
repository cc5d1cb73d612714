//! Links: bridges, what their ports are, and what stands on a link of the host.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::basics::{LinkId, Mac};

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
    /// Whether the host answers on it for every IPv4 address that it reaches by another link (proxy ARP, RFC 1027).
    pub proxy_arp: bool,
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
    /// Whether it exchanges no frames with other isolated ports of the bridge.
    pub isolated: bool,
    /// The VLAN of its untagged frames, on a bridge that filters by VLAN.
    pub vlan: Option<u16>,
}

/// A veth pair whose ends are ports of two bridges, so that these are one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joint {
    /// Names of the two ends.
    pub ends: [String; 2],
    /// Link alias of both ends, at most 255 bytes.
    pub alias: String,
    /// The bridge of each end.
    pub bridges: [String; 2],
    /// Octets, both ends.
    pub mtu: u32,
    /// Whether the first end exchanges no frames with isolated ports of its bridge (`IFLA_BRPORT_ISOLATED`).
    pub isolated: bool,
}

/// A port of a bridge that carries its frames to other hosts (VXLAN, RFC 7348). It learns nothing: where frames go is
/// said by [`FdbEntry`](super::FdbEntry) alone, and what nothing is said of goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// Interface name.
    pub name: String,
    /// Link alias, at most 255 bytes.
    pub alias: String,
    /// The bridge that it is a port of.
    pub bridge: String,
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// The host's address that packets come from; none = that of the link that they leave by.
    pub local: Option<IpAddr>,
    /// UDP port of the destination.
    pub port: u16,
    /// Octets of the frames' payload.
    pub mtu: u32,
}

/// A port of a bridge that carries its frames, tagged, over a link of the host (IEEE 802.1Q).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Interface name.
    pub name: String,
    /// Link alias, at most 255 bytes.
    pub alias: String,
    /// The link that frames leave by.
    pub parent: String,
    /// 1 to 4094.
    pub id: u16,
    /// The bridge that it is a port of.
    pub bridge: String,
    /// Octets.
    pub mtu: u32,
}

/// How a [`Sublink`] shares its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sharing {
    /// With a MAC address of its own; those of one parent exchange frames on the host.
    Macvlan,
    /// With a MAC address of its own; frames between those of one parent leave the host (IEEE 802.1Qbg).
    MacvlanVepa,
    /// With the parent's MAC address.
    Ipvlan,
}

/// An interface of a container that stands on a link of the host, with which it exchanges nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sublink {
    /// Where it lives, and its name there.
    pub link: LinkId,
    /// Link alias, at most 255 bytes.
    pub alias: String,
    /// The link of the host.
    pub parent: String,
    /// How.
    pub sharing: Sharing,
    /// Its address; with [`Sharing::Ipvlan`] it has that of its parent.
    pub mac: Mac,
    /// Octets.
    pub mtu: u32,
    /// Whether it takes part in IPv6.
    pub ipv6: bool,
}

/// A TAP interface for a virtual machine, a port of a bridge. It is there whether a program has opened it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Interface name.
    pub name: String,
    /// Link alias, at most 255 bytes.
    pub alias: String,
    /// The bridge that it is a port of.
    pub bridge: String,
    /// Octets.
    pub mtu: u32,
    /// The user who may open it besides root; none = nobody.
    pub owner: Option<u32>,
    /// Whether it exchanges no frames with other isolated ports of the bridge.
    pub isolated: bool,
    /// The VLAN of its untagged frames, on a bridge that filters by VLAN.
    pub vlan: Option<u16>,
}

/// A route of the host by one of its own links.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostRoute {
    /// Interface name.
    pub link: String,
    /// Destination, host bits zero.
    pub destination: IpNet,
    /// Next hop; none = on link.
    pub gateway: Option<IpAddr>,
    /// Priority; lower wins.
    pub metric: u32,
}

/// A link of the host that is a port of a bridge, which has its addresses and routes meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enslaved {
    /// Interface name.
    pub link: String,
    /// The bridge.
    pub bridge: String,
    /// The addresses that the link had, and has again afterwards.
    pub addresses: Vec<IpNet>,
    /// The routes by it that came from no address, those with a next hop last.
    pub routes: Vec<HostRoute>,
}
