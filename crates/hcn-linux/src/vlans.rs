//! Which VLANs the ports of bridges are in, where a bridge tells them apart (IEEE 802.1Q).

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::RangeInclusive;

use netlink_packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, InfoBridge, InfoData, InfoKind, LinkAttribute,
    LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::link::{self, GROUP, LinkFacts, PortWord};
use crate::socket::{Socket, Wire};

/// The VLANs of ports' untagged frames.
#[derive(Debug, Default)]
pub(crate) struct Vlans {
    /// Those of hcnd's bridges that filter by VLAN, by index.
    filtering: HashSet<u32>,
    /// By the index of the port.
    ports: HashMap<u32, u16>,
}

impl Vlans {
    /// Reads those of a host with these links. Where none of hcnd's bridges filters by VLAN nothing is asked.
    pub(crate) fn read<'a>(
        wire: &mut Wire,
        host: &Socket,
        links: impl Iterator<Item = &'a LinkFacts>,
    ) -> io::Result<Self> {
        let own = links.filter(|facts| facts.group == GROUP && facts.filters_vlans);
        let filtering: HashSet<u32> = own.map(|facts| facts.index).collect();
        if filtering.is_empty() {
            return Ok(Self::default());
        }
        let words = wire.dump(host, &link::get_ports())?;
        let words = words.iter().filter_map(|payload| PortWord::read(payload));
        Ok(Self { filtering, ports: words.filter_map(|word| Some((word.index, word.vlan?))).collect() })
    }

    /// The VLAN of an endpoint whose port this is: `wanted`, if the port is where that says. A port of which nothing is
    /// said is in the first VLAN, with all others of its kind.
    pub(crate) fn of(&self, port: &LinkFacts, wanted: Option<u16>) -> Option<u16> {
        let found = self.ports.get(&port.index).copied().filter(|_| self.filters(port));
        if found == Some(wanted.unwrap_or(FIRST_VLAN)) { wanted } else { found }
    }

    /// Whether a port's untagged frames are in no VLAN at all: its bridge drops them.
    pub(crate) fn is_in_none(&self, port: &LinkFacts) -> bool {
        self.filters(port) && !self.ports.contains_key(&port.index)
    }

    /// Whether the bridge of a port tells VLANs apart.
    fn filters(&self, port: &LinkFacts) -> bool {
        port.master.is_some_and(|bridge| self.filtering.contains(&bridge))
    }
}

/// The VLAN that every port is in of which nothing is said.
pub(crate) const FIRST_VLAN: u16 = 1;
const LAST_VLAN: u16 = 4094;

/// RTM_NEWLINK: a bridge filters by VLAN from now on.
pub(crate) fn filter_vlans(bridge: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewLink(link::message(
        bridge,
        vec![LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(true)])),
        ])],
    ))
}

/// RTM_SETLINK of a port: its untagged frames are in this VLAN.
pub(crate) fn tag_port(index: u32, vlan: u16) -> RouteNetlinkMessage {
    let flags = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
    RouteNetlinkMessage::SetLink(port_vlans(index, vec![BridgeVlanInfo { flags, vid: vlan }]))
}

/// RTM_DELLINK of a port: it leaves all VLANs but this one; those that it is not in do not matter.
pub(crate) fn leave_other_vlans(index: u32, vlan: u16) -> RouteNetlinkMessage {
    let others = [vlans(FIRST_VLAN..=vlan - 1), vlans(vlan + 1..=LAST_VLAN)];
    RouteNetlinkMessage::DelLink(port_vlans(index, others.concat()))
}

/// RTM_SETLINK of a port: frames of this VLAN pass it with their tags.
pub(crate) fn carry(index: u32, vlan: u16) -> RouteNetlinkMessage {
    RouteNetlinkMessage::SetLink(port_vlans(index, vlans(vlan..=vlan)))
}

/// RTM_SETLINK of a port: frames of all VLANs but the first pass it with their tags.
pub(crate) fn trunk(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::SetLink(port_vlans(index, vlans(FIRST_VLAN + 1..=LAST_VLAN)))
}

/// VLANs one after another, as the kernel is told of them.
fn vlans(numbers: RangeInclusive<u16>) -> Vec<BridgeVlanInfo> {
    use BridgeVlanInfoFlags as Flags;
    let (first, last) = numbers.into_inner();
    let ends = match first.cmp(&last) {
        Ordering::Less => vec![(Flags::RangeBegin, first), (Flags::RangeEnd, last)],
        Ordering::Equal => vec![(Flags::empty(), first)],
        Ordering::Greater => Vec::new(),
    };
    ends.into_iter().map(|(flags, vid)| BridgeVlanInfo { flags, vid }).collect()
}

fn port_vlans(index: u32, vlans: Vec<BridgeVlanInfo>) -> LinkMessage {
    let vlans = vlans.into_iter().map(AfSpecBridge::VlanInfo).collect();
    let mut message = link::message(index, vec![LinkAttribute::AfSpecBridge(vlans)]);
    message.header.interface_family = AddressFamily::Bridge;
    message
}
