//! Messages about routing tables of bridges: the rules that lead to one (`ip rule add iif BRIDGE lookup TABLE`, for an
//! endpoint `from ADDRESS iif BRIDGE`), its routes, and the last of them, which discards what no other leads anywhere. And
//! about those of interfaces in a container (`ip rule add from ADDRESS lookup TABLE`).

use std::net::IpAddr;

use hcn_dataplane::{Family, Hop, Origin, Steering};
use ipnet::IpNet;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// Who made a rule or a route (`FRA_PROTOCOL`, `rtm_protocol`): a number that nobody else has.
pub(crate) const OURS: RouteProtocol = RouteProtocol::Other(0x68);
/// Before the main table (32766), after the host's own addresses (0).
const PRIORITY: u32 = 0x6800;
/// Of rules about one sender: before those about everybody on its bridge.
const OF_SENDER: u32 = PRIORITY - 1;
/// Of the last route: nothing loses to it.
const WORST: u32 = u32::MAX;
/// What the kernel takes for an IPv6 route whose metric is zero.
const IPV6_METRIC: u32 = 1024;
/// `RT_TABLE_COMPAT`: the number does not fit into the header.
const IN_ATTRIBUTE: u8 = 252;

fn family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// What leads to a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    /// The bridge that packets come from; none = whoever forwards or begins them.
    pub(crate) bridge: Option<String>,
    /// Who sends them; none = anybody.
    pub(crate) source: Option<IpAddr>,
    /// The table.
    pub(crate) table: u32,
}

impl Rule {
    /// The rules that lead to a table.
    pub(crate) fn all(steering: &Steering) -> Vec<Self> {
        let rule = |source| Self { bridge: Some(steering.bridge.clone()), source, table: steering.table };
        match &steering.sender {
            Some(sender) => sender.addresses.iter().map(|address| rule(Some(*address))).collect(),
            None => vec![rule(None)],
        }
    }

    /// The rules that lead to an interface's table.
    pub(crate) fn of_origin(origin: &Origin) -> Vec<Self> {
        let rule = |address: &IpAddr| Self { bridge: None, source: Some(*address), table: origin.table };
        origin.addresses.iter().map(rule).collect()
    }

    /// For RTM_NEWRULE and RTM_DELRULE.
    pub(crate) fn message(&self, of: Family) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = family(of);
        message.header.table = IN_ATTRIBUTE;
        message.header.action = RuleAction::ToTable;
        message.attributes = vec![
            RuleAttribute::Table(self.table),
            RuleAttribute::Priority(if self.source.is_some() { OF_SENDER } else { PRIORITY }),
            RuleAttribute::Protocol(OURS),
        ];
        message.attributes.extend(self.bridge.clone().map(RuleAttribute::Iifname));
        if let Some(source) = self.source {
            message.header.src_len = IpNet::from(source).prefix_len();
            message.attributes.push(RuleAttribute::Source(source));
        }
        message
    }
}

/// RTM_GETRULE of all rules of a family.
pub(crate) fn get_rules(of: Family) -> RouteNetlinkMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(of);
    RouteNetlinkMessage::GetRule(message)
}

fn route(table: u32, destination: IpNet) -> RouteMessage {
    let destination = destination.trunc();
    let mut message = RouteMessage::default();
    message.header.address_family = family(Family::of(destination.addr()));
    message.header.destination_prefix_length = destination.prefix_len();
    message.header.table = IN_ATTRIBUTE;
    message.header.protocol = OURS;
    message.attributes.push(RouteAttribute::Table(table));
    if destination.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(destination.addr())));
    }
    message
}

/// A route as RTM_DELROUTE wants it, whichever link it leaves by.
pub(crate) fn way(table: u32, destination: IpNet) -> RouteMessage {
    let mut message = route(table, destination);
    message.header.kind = RouteType::Unicast;
    message.header.scope = RouteScope::NoWhere;
    if destination.addr().is_ipv6() {
        message.attributes.push(RouteAttribute::Priority(IPV6_METRIC));
    }
    message
}

/// A route as RTM_NEWROUTE wants it. The next hop is taken on trust: it was one of the host's own.
pub(crate) fn new_way(table: u32, hop: &Hop, link: u32) -> RouteMessage {
    let mut message = way(table, hop.destination);
    let on_link = hop.destination.addr().is_ipv4() && hop.gateway.is_none();
    message.header.scope = if on_link { RouteScope::Link } else { RouteScope::Universe };
    message.attributes.push(RouteAttribute::Oif(link));
    if let Some(gateway) = hop.gateway {
        message.header.flags = RouteFlags::Onlink;
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
    }
    message
}

/// The route that discards what no other leads anywhere.
pub(crate) fn end(table: u32, of: Family) -> RouteMessage {
    let mut message = route(table, everything(of));
    message.header.kind = RouteType::BlackHole;
    message.attributes.push(RouteAttribute::Priority(WORST));
    message
}

pub(crate) fn everything(of: Family) -> IpNet {
    let address: IpAddr = match of {
        Family::V4 => [0; 4].into(),
        Family::V6 => [0; 16].into(),
    };
    IpNet::new_assert(address, 0)
}
