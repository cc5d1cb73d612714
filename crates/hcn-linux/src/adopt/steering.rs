//! Taking over routing tables of bridges. Rules and routes that hcnd made say so; those of a table that is not wanted,
//! or not as it is wanted, go, and the table is made anew.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;

use hcn_dataplane::{Family, Hop, Key, LinkId, Netns, Object, Steering};
use ipnet::IpNet;
use netlink_packet_core::Parseable as _;
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Adoption;
use crate::netns::socket_in;
use crate::observe::plain;
use crate::socket::Batch;
use crate::steering::Rule;
use crate::{Linux, route, steering};

/// A route of ours: destination, and the link and the next hop that it leaves by; none of both = it discards.
pub(crate) type Way = (IpNet, Option<u32>, Option<std::net::IpAddr>);

impl Adoption<'_> {
    pub(super) fn steering(&mut self) -> io::Result<()> {
        let wanted: Vec<&Steering> = self
            .wanted
            .iter()
            .filter_map(|(_, object)| match object {
                Object::Steering(steering) => Some(steering),
                _ => None,
            })
            .collect();
        for family in [Family::V4, Family::V6] {
            let mut rules = rules_of(self.linux, &Netns::Host, family)?;
            let mut tables = tables_of(self.linux, &Netns::Host, family)?;
            // Those of interfaces are another hcnd's, in whose container this one is.
            rules.retain(|rule| {
                if rule.bridge.is_none() {
                    tables.remove(&rule.table);
                }
                rule.bridge.is_some()
            });
            let mut kept = HashSet::new();
            for wanted in wanted.iter().filter(|wanted| wanted.family == family) {
                let leading = Rule::all(wanted);
                let led = leading.iter().all(|rule| rules.contains(rule));
                let there = tables.get(&wanted.table);
                if led && there.is_some_and(|there| self.is_right(wanted, there)) {
                    kept.extend(leading);
                    tables.remove(&wanted.table);
                    self.linux.watch.add(wanted)?;
                    self.found.insert(Object::Steering((*wanted).clone()));
                }
            }
            let mut batch = Batch::new();
            for rule in rules.difference(&kept) {
                batch.push((), 0, RouteNetlinkMessage::DelRule(rule.message(family)));
            }
            for (table, ways) in tables {
                for (destination, link, _) in ways {
                    let gone = match link {
                        Some(_) => steering::way(table, destination),
                        None => steering::end(table, family),
                    };
                    batch.push((), 0, RouteNetlinkMessage::DelRoute(gone));
                }
            }
            if batch.len() > 0 {
                // What has gone meanwhile is gone.
                self.linux.wire.exchange(&self.linux.host, &mut batch)?;
            }
        }
        Ok(())
    }

    fn is_right(&self, wanted: &Steering, there: &BTreeSet<Way>) -> bool {
        // With a bridge that has to be made anew its route has to be.
        if self.found.get(&Key::Bridge(wanted.bridge.clone())).is_none() {
            return false;
        }
        let up = |name: &str| Some(self.link(&LinkId::host(name)).filter(|facts| facts.up)?.index);
        ways(wanted, up) == *there
    }
}

/// A table as it is made: without the routes of links that are not up.
pub(crate) fn ways(wanted: &Steering, up: impl Fn(&str) -> Option<u32>) -> BTreeSet<Way> {
    let way = |hop: &Hop| Some((hop.destination.trunc(), Some(up(&hop.link)?), hop.gateway));
    wanted.hops.iter().filter_map(way).chain([end(wanted.family)]).collect()
}

/// The route that discards what no other leads anywhere.
pub(crate) fn end(family: Family) -> Way {
    (steering::everything(family), None, None)
}

/// The rules that are hcnd's.
pub(crate) fn rules_of(linux: &mut Linux, place: &Netns, family: Family) -> io::Result<HashSet<Rule>> {
    let mut rules = HashSet::new();
    let Some(socket) = socket_in(&linux.host, &linux.namespaces, place) else { return Ok(rules) };
    for payload in linux.wire.dump(socket, &steering::get_rules(family))? {
        // What a newer kernel describes in an unknown way is not what hcnd made.
        let Ok(message) = RuleMessage::parse(&payload[..]) else { continue };
        let (mut bridge, mut table, mut source, mut ours) = (None, None, None, false);
        for attribute in message.attributes {
            match attribute {
                RuleAttribute::Iifname(name) => bridge = Some(name),
                RuleAttribute::Table(number) => table = Some(number),
                RuleAttribute::Source(address) => source = Some(address),
                RuleAttribute::Protocol(protocol) => ours = protocol == steering::OURS,
                _ => {}
            }
        }
        let rule = table.map(|table| Rule { bridge, source, table });
        rules.extend(rule.filter(|_| ours));
    }
    Ok(rules)
}

/// The routes that are hcnd's, by table.
pub(crate) fn tables_of(
    linux: &mut Linux,
    place: &Netns,
    family: Family,
) -> io::Result<HashMap<u32, BTreeSet<Way>>> {
    let mut tables: HashMap<u32, BTreeSet<Way>> = HashMap::new();
    let Some(socket) = socket_in(&linux.host, &linux.namespaces, place) else { return Ok(tables) };
    let question = match family {
        Family::V4 => route::get_all(AddressFamily::Inet),
        Family::V6 => route::get_all(AddressFamily::Inet6),
    };
    for payload in linux.wire.dump(socket, &question)? {
        // The fixed part tells most routes apart without decoding the rest.
        let Ok(header) = RouteHeader::parse(&payload) else { continue };
        if header.protocol != steering::OURS {
            continue;
        }
        let Ok(message) = RouteMessage::parse(&payload[..]) else { continue };
        let (mut table, mut link, mut gateway) = (u32::from(header.table), None, None);
        let mut destination = Some(steering::everything(family));
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::Oif(index) => link = Some(*index),
                RouteAttribute::Gateway(address) => gateway = plain(address),
                RouteAttribute::Destination(address) => {
                    let length = header.destination_prefix_length;
                    destination = plain(address).and_then(|address| IpNet::new(address, length).ok());
                }
                _ => {}
            }
        }
        // The kernel has routes that discard leave by loopback.
        let link = link.filter(|_| header.kind != RouteType::BlackHole);
        if let Some(destination) = destination {
            tables.entry(table).or_default().insert((destination, link, gateway));
        }
    }
    Ok(tables)
}
