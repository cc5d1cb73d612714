//! What the kernel says about links.

use std::net::IpAddr;

use hcn_dataplane::Mac;
use netlink_packet_route::link::LinkFlags;

use super::{IFLA_ALT_IFNAME, IFLA_GROUP, IFLA_IFALIAS};
use crate::attributes;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IF_OPER_UP: u8 = 6;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_BR_VLAN_PROTOCOL: u16 = 8;
const IFLA_BR_NF_CALL_IPTABLES: u16 = 36;
const IFLA_BR_NF_CALL_IP6TABLES: u16 = 37;
const IFLA_INFO_DATA: u16 = 2;
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
    /// A bridge that can tell VLANs apart.
    pub(crate) knows_vlans: bool,
    /// A bridge that shows its frames to rules: of IPv4, of IPv6.
    pub(crate) shows_frames: [bool; 2],
    /// Of a VXLAN link.
    pub(crate) vxlan: Option<VxlanFacts>,
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

/// Whether IFLA_LINKINFO is that of a bridge that knows a protocol of VLANs.
fn knows_vlans(info: &[u8]) -> bool {
    let kind = attributes::find(info, IFLA_INFO_KIND).map(attributes::text);
    let data = attributes::find(info, IFLA_INFO_DATA).unwrap_or_default();
    kind.as_deref() == Some("bridge") && attributes::find(data, IFLA_BR_VLAN_PROTOCOL).is_some()
}

/// What IFLA_LINKINFO says of a bridge's frames.
fn shows_frames(info: &[u8]) -> [bool; 2] {
    let kind = attributes::find(info, IFLA_INFO_KIND).map(attributes::text);
    let data = attributes::find(info, IFLA_INFO_DATA).filter(|_| kind.as_deref() == Some("bridge"));
    [IFLA_BR_NF_CALL_IPTABLES, IFLA_BR_NF_CALL_IP6TABLES]
        .map(|kind| data.and_then(|data| attributes::find(data, kind)).is_some_and(|value| value == [1]))
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
                    facts.knows_vlans = knows_vlans(value);
                    facts.shows_frames = shows_frames(value);
                }
                IFLA_LINK_NETNSID => facts.peer_elsewhere = true,
                _ => {}
            }
        }
        (!facts.name.is_empty()).then_some(facts)
    }
}
