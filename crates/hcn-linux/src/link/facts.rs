//! What the kernel says about links.

use std::net::IpAddr;

use hcn_dataplane::{Joint, Mac};
use netlink_packet_route::link::LinkFlags;

use super::{IFLA_ALT_IFNAME, IFLA_GROUP, IFLA_IFALIAS};
use crate::attributes;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_OPERSTATE: u16 = 16;
const IF_OPER_UP: u8 = 6;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_BR_VLAN_PROTOCOL: u16 = 8;
const IFLA_BR_NF_CALL_IPTABLES: u16 = 36;
const IFLA_BR_NF_CALL_IP6TABLES: u16 = 37;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_MCAST_FLOOD: u16 = 27;
const IFLA_BRPORT_BCAST_FLOOD: u16 = 30;
const IFLA_BRPORT_NEIGH_SUPPRESS: u16 = 32;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_AF_SPEC: u16 = 26;
const AF_INET: u16 = 2;
const IFLA_INET_CONF: u16 = 1;
/// Settings are numbered from 1.
const IPV4_DEVCONF_PROXY_ARP: usize = 3;
const IPV4_DEVCONF_RP_FILTER: usize = 8;
const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
const BRIDGE_VLAN_INFO_PVID: u16 = 2;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_LOCAL6: u16 = 17;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_PROP_LIST: u16 = 52;
/// Length of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;

/// What an answer says about a link.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkFacts {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) group: u32,
    pub(crate) alias: String,
    /// Alternative names.
    pub(crate) other_names: Vec<String>,
    /// Of an Ethernet link.
    pub(crate) mac: Option<Mac>,
    /// Administratively up.
    pub(crate) up: bool,
    /// It leads to the host itself.
    pub(crate) loopback: bool,
    /// It takes part in ARP.
    pub(crate) arp: bool,
    /// It carries packets (RFC 2863 state "up").
    pub(crate) operational: bool,
    /// The bridge, or other link, that it is a port of.
    pub(crate) master: Option<u32>,
    /// Of a veth the index of the peer, of a link that stands on another one that of the other, in its namespace.
    pub(crate) peer: Option<u32>,
    /// That is in another namespace.
    pub(crate) peer_elsewhere: bool,
    /// It answers for IPv4 addresses that are reached by another link.
    pub(crate) proxy_arp: bool,
    /// `rp_filter`, for packets of IPv4 that come by it.
    pub(crate) reverse_path: u32,
    /// Of a bridge's port.
    pub(crate) port: Option<PortFacts>,
    /// A bridge that can tell VLANs apart.
    pub(crate) knows_vlans: bool,
    /// A bridge that does.
    pub(crate) filters_vlans: bool,
    /// A bridge that shows its frames to rules: of IPv4, of IPv6.
    pub(crate) shows_frames: [bool; 2],
    /// Of a VXLAN link.
    pub(crate) vxlan: Option<VxlanFacts>,
}

/// How a bridge uses a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PortFacts {
    /// Frames may leave by the port that they came by.
    pub(crate) hairpin: bool,
    /// It exchanges nothing with other isolated ports.
    pub(crate) isolated: bool,
    /// The bridge learns who is behind it.
    pub(crate) learns: bool,
    /// Frames leave by it that are for an unknown one, for a group, for everybody.
    pub(crate) floods: [bool; 3],
    /// The bridge answers for the neighbours behind it.
    pub(crate) suppresses: bool,
}

impl PortFacts {
    /// As the kernel makes it.
    pub(crate) const NEW: Self =
        Self { hairpin: false, isolated: false, learns: true, floods: [true; 3], suppresses: false };
    /// The port of a tunnel whose far ends are all known.
    pub(crate) const TUNNEL: Self = Self { learns: false, floods: [false; 3], suppresses: true, ..Self::NEW };

    /// The port of an endpoint. It sends frames back by the way they came: what a service sends back to its client leaves
    /// so where br_netfilter translates it on the bridge.
    pub(crate) fn of_endpoint(isolated: bool) -> Self {
        Self { hairpin: true, isolated, ..Self::NEW }
    }

    /// An end of a joint between bridges.
    pub(crate) fn of_joint(joint: &Joint, end: usize) -> Self {
        Self { isolated: joint.isolated && end == 0, ..Self::NEW }
    }

    /// Reads IFLA_INFO_SLAVE_DATA, or IFLA_PROTINFO.
    fn read(data: &[u8]) -> Self {
        let is_on = |kind, new| attributes::find(data, kind).map_or(new, |value| value == [1]);
        let floods = [IFLA_BRPORT_UNICAST_FLOOD, IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_BCAST_FLOOD];
        Self {
            hairpin: is_on(IFLA_BRPORT_MODE, Self::NEW.hairpin),
            isolated: is_on(IFLA_BRPORT_ISOLATED, Self::NEW.isolated),
            learns: is_on(IFLA_BRPORT_LEARNING, Self::NEW.learns),
            floods: floods.map(|kind| is_on(kind, true)),
            suppresses: is_on(IFLA_BRPORT_NEIGH_SUPPRESS, Self::NEW.suppresses),
        }
    }

    /// Reads IFLA_LINKINFO; none if it is no bridge's port.
    fn of_link(info: &[u8]) -> Option<Self> {
        let kind = attributes::find(info, IFLA_INFO_SLAVE_KIND).map(attributes::text);
        (kind.as_deref() == Some("bridge")).then_some(())?;
        attributes::find(info, IFLA_INFO_SLAVE_DATA).map(Self::read)
    }
}

/// What a bridge says of one of its ports (an RTM_NEWLINK payload of AF_BRIDGE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PortWord {
    pub(crate) index: u32,
    pub(crate) port: PortFacts,
    /// The VLAN of its untagged frames.
    pub(crate) vlan: Option<u16>,
}

impl PortWord {
    /// Reads the payload.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let body = payload.get(IFINFOMSG..)?;
        let vlans = attributes::find(body, IFLA_AF_SPEC).unwrap_or_default();
        let mut vlans = attributes::all(vlans).filter(|(kind, _)| *kind == IFLA_BRIDGE_VLAN_INFO);
        Some(Self {
            index: attributes::number(payload.get(4..8)?)?,
            port: PortFacts::read(attributes::find(body, IFLA_PROTINFO)?),
            // struct bridge_vlan_info: flags, then the number.
            vlan: vlans.find_map(|(_, vlan)| {
                let [flags, number] = [vlan.get(..2)?, vlan.get(2..4)?].map(|word| [word[0], word[1]]);
                let untagged = u16::from_ne_bytes(flags) & BRIDGE_VLAN_INFO_PVID != 0;
                untagged.then_some(u16::from_ne_bytes(number))
            }),
        })
    }
}

/// What an answer says about a VXLAN link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VxlanFacts {
    pub(crate) vni: u32,
    pub(crate) local: Option<IpAddr>,
    pub(crate) port: u16,
}

impl VxlanFacts {
    /// Reads IFLA_LINKINFO; none if it is another kind's.
    fn read(info: &[u8]) -> Option<Self> {
        if attributes::text(attributes::find(info, IFLA_INFO_KIND)?) != "vxlan" {
            return None;
        }
        let mut facts = Self::default();
        for (kind, value) in attributes::all(attributes::find(info, IFLA_INFO_DATA)?) {
            match kind {
                IFLA_VXLAN_ID => facts.vni = attributes::number(value)?,
                IFLA_VXLAN_LOCAL => facts.local = <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
                IFLA_VXLAN_LOCAL6 => facts.local = <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
                IFLA_VXLAN_PORT => facts.port = u16::from_be_bytes(value.try_into().ok()?),
                _ => {}
            }
        }
        Some(facts)
    }
}

/// An attribute of IFLA_LINKINFO, if that is a bridge's.
fn of_bridge(info: &[u8], attribute: u16) -> Option<&[u8]> {
    let kind = attributes::find(info, IFLA_INFO_KIND).map(attributes::text);
    let data = attributes::find(info, IFLA_INFO_DATA).filter(|_| kind.as_deref() == Some("bridge"));
    attributes::find(data?, attribute)
}

/// What IFLA_LINKINFO says of a bridge's frames.
fn shows_frames(info: &[u8]) -> [bool; 2] {
    [IFLA_BR_NF_CALL_IPTABLES, IFLA_BR_NF_CALL_IP6TABLES].map(|kind| of_bridge(info, kind) == Some(&[1]))
}

impl LinkFacts {
    /// Reads an RTM_NEWLINK payload.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let flags = LinkFlags::from_bits_retain(attributes::number(payload.get(8..12)?)?);
        let mut facts = Self {
            index: attributes::number(payload.get(4..8)?)?,
            up: flags.contains(LinkFlags::Up),
            arp: !flags.contains(LinkFlags::Noarp),
            loopback: flags.contains(LinkFlags::Loopback),
            ..Self::default()
        };
        for (kind, value) in attributes::all(payload.get(IFINFOMSG..)?) {
            let number = || attributes::number(value);
            match kind {
                IFLA_ADDRESS => facts.mac = value.try_into().ok().map(Mac),
                IFLA_IFNAME => facts.name = attributes::text(value),
                IFLA_MTU => facts.mtu = number()?,
                IFLA_LINK => facts.peer = number(),
                IFLA_MASTER => facts.master = number(),
                IFLA_OPERSTATE => facts.operational = value == [IF_OPER_UP],
                IFLA_IFALIAS => facts.alias = attributes::text(value),
                IFLA_GROUP => facts.group = number()?,
                IFLA_PROP_LIST => {
                    let names = attributes::all(value).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
                    facts.other_names = names.map(|(_, name)| attributes::text(name)).collect();
                }
                IFLA_LINKINFO => {
                    facts.vxlan = VxlanFacts::read(value);
                    facts.knows_vlans = of_bridge(value, IFLA_BR_VLAN_PROTOCOL).is_some();
                    facts.filters_vlans = of_bridge(value, IFLA_BR_VLAN_FILTERING) == Some(&[1]);
                    facts.shows_frames = shows_frames(value);
                    facts.port = PortFacts::of_link(value);
                }
                IFLA_AF_SPEC => {
                    let inet = attributes::find(value, AF_INET).unwrap_or_default();
                    let settings = attributes::find(inet, IFLA_INET_CONF).unwrap_or_default();
                    let setting =
                        |number: usize| attributes::number(settings.get(4 * (number - 1)..4 * number)?);
                    facts.proxy_arp = setting(IPV4_DEVCONF_PROXY_ARP).is_some_and(|value| value != 0);
                    facts.reverse_path = setting(IPV4_DEVCONF_RP_FILTER).unwrap_or_default();
                }
                IFLA_LINK_NETNSID => facts.peer_elsewhere = true,
                _ => {}
            }
        }
        (!facts.name.is_empty()).then_some(facts)
    }
}
