//! Messages about links: bridges, veth pairs, and what their removal needs.

mod facts;

use std::net::IpAddr;
use std::os::fd::RawFd;

use hcn_dataplane::{Bridge, Joint, Mac, Sharing, Sublink, Veth, Vlan, Vxlan};
use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, BridgeMulticastRouterType, BridgeStpState, In6AddrGenMode,
    InetDevConf, InfoBridge, InfoBridgePort, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoPortData,
    InfoPortKind, InfoVeth, InfoVlan, InfoVxlan, IpVlanMode, LinkAttribute, LinkExtentMask, LinkFlags,
    LinkInfo, LinkMessage, MacVlanMode,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

pub(crate) use facts::{LinkFacts, PortFacts, PortWord};

/// `IFLA_GROUP` of every link that is hcnd's own ("hcnd").
pub(crate) const GROUP: u32 = 0x6863_6e64;

/// Index of the loopback of every namespace.
pub(crate) const LOOPBACK: u32 = 1;

const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_ALT_IFNAME: u16 = 53;
/// Octets of an alternative name, the NUL that ends it included (`ALTIFNAMSIZ`).
const ALTIFNAMSIZ: usize = 128;

pub(crate) fn message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    message
}

fn up_or_down(message: &mut LinkMessage, up: bool) {
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
}

/// Without the terminating NUL, which would count towards the 255 bytes that an alias may have.
fn alias(alias: &str) -> LinkAttribute {
    LinkAttribute::Other(DefaultNla::new(IFLA_IFALIAS, alias.as_bytes().to_vec()))
}

/// RTM_NEWLINK of a bridge, down.
pub(crate) fn new_bridge(bridge: &Bridge) -> RouteNetlinkMessage {
    // A bridge follows the lowest MTU of its ports unless one was *changed* by its owner; creating it with the
    // wanted MTU, or setting the MTU that it has, does not count. So it starts with a neighbour of the wanted one.
    let other_mtu = if bridge.mtu > 1280 { bridge.mtu - 1 } else { bridge.mtu + 1 };
    let mut message = message(
        0,
        vec![
            LinkAttribute::IfName(bridge.name.clone()),
            LinkAttribute::Group(GROUP),
            LinkAttribute::Address(bridge.mac.0.to_vec()),
            LinkAttribute::Mtu(other_mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![
                    InfoBridge::StpState(BridgeStpState::Disabled),
                    InfoBridge::ForwardDelay(0),
                ])),
            ]),
        ],
    );
    if !bridge.arp {
        message.header.flags = LinkFlags::Noarp;
        message.header.change_mask = LinkFlags::Noarp;
    }
    RouteNetlinkMessage::NewLink(message)
}

/// RTM_NEWLINK of a veth pair: the host end up and a port of the bridge, the peer down in its namespace.
pub(crate) fn new_veth(veth: &Veth, bridge: u32, peer_netns: Option<RawFd>) -> RouteNetlinkMessage {
    let mut peer = message(
        0,
        vec![
            LinkAttribute::IfName(veth.peer.name.clone()),
            LinkAttribute::Address(veth.mac.0.to_vec()),
            LinkAttribute::Mtu(veth.mtu),
        ],
    );
    match peer_netns {
        Some(netns) => peer.attributes.push(LinkAttribute::NetNsFd(netns)),
        // Seen by the host, so it must be recognised as ours there.
        None => peer.attributes.push(LinkAttribute::Group(GROUP)),
    }
    let mut host = message(
        0,
        vec![
            LinkAttribute::IfName(veth.name.clone()),
            LinkAttribute::Group(GROUP),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::Controller(bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ],
    );
    up_or_down(&mut host, true);
    RouteNetlinkMessage::NewLink(host)
}

/// RTM_NEWLINK of a pair between two bridges: the first end up and a port of the first bridge, the second down.
pub(crate) fn new_joint(joint: &Joint, bridge: u32) -> RouteNetlinkMessage {
    let [here, there] = joint.ends.each_ref().map(|name| {
        vec![LinkAttribute::IfName(name.clone()), LinkAttribute::Group(GROUP), LinkAttribute::Mtu(joint.mtu)]
    });
    let mut first = message(0, here);
    first.attributes.extend([
        LinkAttribute::Controller(bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(message(0, there)))),
        ]),
    ]);
    up_or_down(&mut first, true);
    RouteNetlinkMessage::NewLink(first)
}

/// RTM_SETLINK of a link that was made otherwise: what it is recognised by, and its MTU.
pub(crate) fn mark_ours(index: u32, link_alias: &str, mtu: u32) -> RouteNetlinkMessage {
    let attributes = vec![LinkAttribute::Group(GROUP), LinkAttribute::Mtu(mtu), alias(link_alias)];
    RouteNetlinkMessage::SetLink(message(index, attributes))
}

/// The address of a port that nobody is reached by: always the same for a name, so that one that is made again is the same
/// (FNV-1a, locally administered).
fn mac_of_port(name: &str) -> Mac {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
    Mac([0x02, a, b, c, d, e])
}

/// RTM_NEWLINK of a VXLAN link, down, a port of the bridge.
pub(crate) fn new_vxlan(vxlan: &Vxlan, bridge: u32) -> RouteNetlinkMessage {
    let mut data = vec![InfoVxlan::Id(vxlan.vni), InfoVxlan::Port(vxlan.port), InfoVxlan::Learning(false)];
    data.extend(vxlan.local.map(|local| match local {
        IpAddr::V4(local) => InfoVxlan::Local(local),
        IpAddr::V6(local) => InfoVxlan::Local6(local),
    }));
    RouteNetlinkMessage::NewLink(message(
        0,
        vec![
            LinkAttribute::IfName(vxlan.name.clone()),
            LinkAttribute::Group(GROUP),
            LinkAttribute::Address(mac_of_port(&vxlan.name).0.to_vec()),
            LinkAttribute::Mtu(vxlan.mtu),
            LinkAttribute::Controller(bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vxlan),
                LinkInfo::Data(InfoData::Vxlan(data)),
            ]),
        ],
    ))
}

/// RTM_NEWLINK of how the bridge uses such a port: it learns nothing from it, floods nothing to it, and answers for
/// the neighbours that are behind it.
pub(crate) fn describe_tunnel(index: u32, link_alias: &str, traits: IpTraits) -> RouteNetlinkMessage {
    let mut port = flags_of_port(&PortFacts::TUNNEL);
    port.push(InfoBridgePort::MulticastRouter(BridgeMulticastRouterType::Disabled));
    let mut attributes = vec![alias(link_alias), port_data(port)];
    attributes.extend(traits.attribute());
    RouteNetlinkMessage::NewLink(message(index, attributes))
}

/// RTM_GETLINK by name.
pub(crate) fn get(name: &str) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(message(0, vec![LinkAttribute::IfName(name.to_owned()), skip_stats()]))
}

/// RTM_GETLINK by an alternative name.
pub(crate) fn get_other(name: &str) -> RouteNetlinkMessage {
    let name = DefaultNla::new(IFLA_ALT_IFNAME, [name.as_bytes(), &[0]].concat());
    RouteNetlinkMessage::GetLink(message(0, vec![LinkAttribute::Other(name), skip_stats()]))
}

/// Whether a link can have this alternative name.
pub(crate) fn is_other_name(text: &str) -> bool {
    (1..ALTIFNAMSIZ).contains(&text.len()) && !text.contains(['/', '\0'])
}

/// Whether the kernel takes this as the name of a link.
pub(crate) fn is_name(text: &str) -> bool {
    (1..libc::IFNAMSIZ).contains(&text.len())
        && !text.contains(['/', ':', '\0'])
        && text != "."
        && text != ".."
}

/// RTM_GETLINK by name, with what the link has carried.
pub(crate) fn get_with_counters(name: &str) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(message(0, vec![LinkAttribute::IfName(name.to_owned())]))
}

/// RTM_GETLINK of every link, as a dump.
pub(crate) fn get_all() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(message(0, vec![skip_stats()]))
}

/// RTM_GETLINK of every port of a bridge, with its VLANs, as a dump.
pub(crate) fn get_ports() -> RouteNetlinkMessage {
    let mut message = message(0, vec![LinkAttribute::ExtMask(vec![LinkExtentMask::Brvlan])]);
    message.header.interface_family = AddressFamily::Bridge;
    RouteNetlinkMessage::GetLink(message)
}

/// RTM_GETLINK by index.
pub(crate) fn get_index(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(message(index, vec![skip_stats()]))
}

/// Counters are half of an answer and not asked for.
fn skip_stats() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

/// Packets must come from where any link leads (RFC 3704, 2.4), as a value of `rp_filter`.
const LOOSE: u32 = 2;

/// How a link takes part in IP, beyond its addresses.
#[derive(Clone, Copy, Default)]
pub(crate) struct IpTraits {
    /// No link-local address: without IPv6 its multicast would only cost.
    pub(crate) no_ipv6_link_local: bool,
    /// Taking one address away leaves the others of its prefix.
    pub(crate) promote_secondaries: bool,
    /// Replies may leave by another link than the request came by.
    pub(crate) loose_reverse_path: bool,
    /// It answers for every IPv4 address that is reached by another link.
    pub(crate) proxy_arp: bool,
}

impl IpTraits {
    /// How a bridge takes part.
    pub(crate) fn of_bridge(bridge: &Bridge, has_ipv6: bool) -> Self {
        Self {
            // The kernel would check its own link-local address for duplicates for up to 2.4 s, and until then not ask
            // for neighbours that it forwards to.
            no_ipv6_link_local: has_ipv6,
            promote_secondaries: true,
            // Where the host has no neighbours, packets that come by it leave by another link.
            loose_reverse_path: !bridge.arp,
            proxy_arp: bridge.proxy_arp,
        }
    }

    /// Whether a link takes part so, in what others may change.
    pub(crate) fn hold(self, facts: &LinkFacts) -> bool {
        (!self.proxy_arp || facts.proxy_arp) && (!self.loose_reverse_path || facts.reverse_path == LOOSE)
    }

    fn attribute(self) -> Option<LinkAttribute> {
        let mut families = Vec::new();
        if self.promote_secondaries || self.loose_reverse_path || self.proxy_arp {
            let mut conf = InetDevConf::default();
            conf.promote_secondaries = i32::from(self.promote_secondaries);
            conf.proxy_arp = i32::from(self.proxy_arp);
            conf.rp_filter = if self.loose_reverse_path { LOOSE.cast_signed() } else { 0 };
            families.push(AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(conf)]));
        }
        if self.no_ipv6_link_local {
            families.push(AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]));
        }
        (!families.is_empty()).then_some(LinkAttribute::AfSpecUnspec(families))
    }
}

/// RTM_SETLINK of what a creating message ignores or refuses: alias and IP traits.
pub(crate) fn describe(index: u32, link_alias: Option<&str>, traits: IpTraits) -> RouteNetlinkMessage {
    let attributes = link_alias.map(alias).into_iter().chain(traits.attribute()).collect();
    RouteNetlinkMessage::SetLink(message(index, attributes))
}

/// The same of an endpoint's port on a bridge, as RTM_NEWLINK, which knows of ports.
pub(crate) fn describe_port(
    index: u32,
    link_alias: &str,
    traits: IpTraits,
    isolated: bool,
) -> RouteNetlinkMessage {
    let port = flags_of_port(&PortFacts::of_endpoint(isolated));
    let mut attributes = vec![alias(link_alias), port_data(port)];
    attributes.extend(traits.attribute());
    RouteNetlinkMessage::NewLink(message(index, attributes))
}

/// RTM_NEWLINK of how a bridge uses a port.
pub(crate) fn set_port(index: u32, port: &PortFacts) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewLink(message(index, vec![port_data(flags_of_port(port))]))
}

fn flags_of_port(port: &PortFacts) -> Vec<InfoBridgePort> {
    vec![
        InfoBridgePort::HairpinMode(port.hairpin),
        InfoBridgePort::Isolated(port.isolated),
        InfoBridgePort::Learning(port.learns),
        InfoBridgePort::UnicastFlood(port.floods[0]),
        InfoBridgePort::MulticastFlood(port.floods[1]),
        InfoBridgePort::BroadcastFlood(port.floods[2]),
        InfoBridgePort::NeighSupress(port.suppresses),
    ]
}

fn port_data(flags: Vec<InfoBridgePort>) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(flags)),
    ])
}

/// RTM_SETLINK: IP traits and up, in one. Not for the lack of a link-local address, which must come first.
pub(crate) fn describe_up(index: u32, traits: IpTraits) -> RouteNetlinkMessage {
    let mut message = message(index, traits.attribute().into_iter().collect());
    up_or_down(&mut message, true);
    RouteNetlinkMessage::SetLink(message)
}

/// RTM_SETLINK: administratively up or down.
pub(crate) fn set_up(index: u32, up: bool) -> RouteNetlinkMessage {
    let mut message = message(index, Vec::new());
    up_or_down(&mut message, up);
    RouteNetlinkMessage::SetLink(message)
}

/// RTM_SETLINK: up, with the alias by which it is recognised.
pub(crate) fn mark_up(index: u32, link_alias: &str) -> RouteNetlinkMessage {
    let mut message = message(index, vec![alias(link_alias)]);
    up_or_down(&mut message, true);
    RouteNetlinkMessage::SetLink(message)
}

/// RTM_SETLINK: without an alias.
pub(crate) fn unmark(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::SetLink(message(index, vec![alias("")]))
}

/// RTM_SETLINK: a port of this bridge and up.
pub(crate) fn plug(index: u32, bridge: u32) -> RouteNetlinkMessage {
    let mut message = message(index, vec![LinkAttribute::Controller(bridge)]);
    up_or_down(&mut message, true);
    RouteNetlinkMessage::SetLink(message)
}

/// RTM_SETLINK: a port of no bridge.
pub(crate) fn unplug(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::SetLink(message(index, vec![LinkAttribute::Controller(0)]))
}

/// RTM_NEWLINK of an interface on another link of the host, down, with this name; `netns`: where it is to be.
pub(crate) fn new_sublink(
    sublink: &Sublink,
    name: &str,
    parent: u32,
    netns: Option<RawFd>,
) -> RouteNetlinkMessage {
    let (kind, data) = match sublink.sharing {
        Sharing::Macvlan => {
            (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]))
        }
        Sharing::MacvlanVepa => {
            (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Vepa)]))
        }
        Sharing::Ipvlan => (InfoKind::IpVlan, InfoData::IpVlan(vec![InfoIpVlan::Mode(IpVlanMode::L2)])),
    };
    let mut attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Group(GROUP),
        LinkAttribute::Mtu(sublink.mtu),
        LinkAttribute::Link(parent),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]),
    ];
    if sublink.sharing != Sharing::Ipvlan {
        attributes.push(LinkAttribute::Address(sublink.mac.0.to_vec()));
    }
    attributes.extend(netns.map(LinkAttribute::NetNsFd));
    RouteNetlinkMessage::NewLink(message(0, attributes))
}

/// RTM_NEWLINK of a VLAN of another link, up and a port of the bridge.
pub(crate) fn new_vlan(vlan: &Vlan, parent: u32, bridge: u32) -> RouteNetlinkMessage {
    let mut message = message(
        0,
        vec![
            LinkAttribute::IfName(vlan.name.clone()),
            LinkAttribute::Group(GROUP),
            LinkAttribute::Mtu(vlan.mtu),
            LinkAttribute::Link(parent),
            LinkAttribute::Controller(bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(vlan.id)])),
            ]),
        ],
    );
    up_or_down(&mut message, true);
    RouteNetlinkMessage::NewLink(message)
}

/// RTM_NEWLINK: a bridge shows its frames to rules of IP, whatever holds for all bridges, or only if that does.
pub(crate) fn show_frames(bridge: u32, shown: bool) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewLink(message(
        bridge,
        vec![LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![
                InfoBridge::NfCallIpTables(shown),
                InfoBridge::NfCallIp6Tables(shown),
            ])),
        ])],
    ))
}

/// RTM_SETLINK: up, with this MTU.
pub(crate) fn set_up_with_mtu(index: u32, mtu: u32) -> RouteNetlinkMessage {
    let mut message = message(index, vec![LinkAttribute::Mtu(mtu)]);
    up_or_down(&mut message, true);
    RouteNetlinkMessage::SetLink(message)
}

/// RTM_SETLINK: another name, for a link that is down (kernels before 6.2 refuse to rename one that is up).
pub(crate) fn rename(index: u32, name: &str) -> RouteNetlinkMessage {
    RouteNetlinkMessage::SetLink(message(index, vec![LinkAttribute::IfName(name.to_owned())]))
}

/// RTM_SETLINK of what can change in place.
pub(crate) fn change(
    index: u32,
    link_alias: Option<&str>,
    mac: Option<Mac>,
    mtu: u32,
) -> RouteNetlinkMessage {
    let mut attributes = vec![LinkAttribute::Mtu(mtu)];
    attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes.extend(link_alias.map(alias));
    RouteNetlinkMessage::SetLink(message(index, attributes))
}

/// RTM_SETLINK: into a group.
pub(crate) fn set_group(index: u32, group: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::SetLink(message(index, vec![LinkAttribute::Group(group)]))
}

/// RTM_DELLINK of a whole group.
pub(crate) fn delete_group(group: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelLink(message(0, vec![LinkAttribute::Group(group)]))
}

/// RTM_DELLINK of one link.
pub(crate) fn delete(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelLink(message(index, Vec::new()))
}
