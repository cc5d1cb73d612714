//! Taking over routing tables of interfaces in namespaces. Those that are not whole, or that nobody wants, go.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;

use hcn_dataplane::{Family, LinkId, Netns, Object, Origin};
use netlink_packet_route::RouteNetlinkMessage;

use super::Adoption;
use super::steering::{Way, rules_of, tables_of};
use crate::link::LOOPBACK;
use crate::netns::socket_in;
use crate::socket::Batch;
use crate::steering::{self, Rule};

impl Adoption<'_> {
    pub(super) fn origins(&mut self) -> io::Result<()> {
        let mut places: BTreeMap<Netns, Vec<&Origin>> = self.with_strangers();
        for (_, object) in self.wanted.iter() {
            if let Object::Origin(origin) = object {
                places.entry(origin.link.netns.clone()).or_default().push(origin);
            }
        }
        for (place, wanted) in places {
            for family in [Family::V4, Family::V6] {
                let of_family = wanted.iter().filter(|origin| origin.family == family);
                self.origins_of(&place, family, &of_family.copied().collect::<Vec<_>>())?;
            }
        }
        Ok(())
    }

    /// Namespaces with a link that nobody wants: one that was an endpoint's, whose rules are there still.
    fn with_strangers<'a>(&self) -> BTreeMap<Netns, Vec<&'a Origin>> {
        let is_strange = |(place, links): &(&Netns, &crate::observe::Links)| {
            **place != Netns::Host
                && links.values().any(|facts| {
                    let link = LinkId { netns: (*place).clone(), name: facts.name.clone() };
                    facts.index != LOOPBACK && self.linux.links.get(&link).is_none()
                })
        };
        self.links.iter().filter(is_strange).map(|(place, _)| (place.clone(), Vec::new())).collect()
    }

    fn origins_of(&mut self, place: &Netns, family: Family, wanted: &[&Origin]) -> io::Result<()> {
        let mut rules = rules_of(self.linux, place, family)?;
        // The others are another hcnd's, whose host the container is.
        rules.retain(|rule| rule.bridge.is_none());
        let none = rules.is_empty() && wanted.is_empty();
        let tables = if none { HashMap::new() } else { tables_of(self.linux, place, family)? };
        let mut kept = HashSet::new();
        for origin in wanted {
            let leading = Rule::of_origin(origin);
            let index = self.linux.links.get(&origin.link).copied();
            let led = leading.iter().all(|rule| rules.contains(rule));
            if led && index.is_some_and(|index| tables.get(&origin.table) == Some(&ways(origin, index))) {
                kept.extend(leading);
                self.found.insert(Object::Origin((*origin).clone()));
            }
        }
        let mut batch = Batch::new();
        let led = rules.iter().map(|rule| rule.table).chain(wanted.iter().map(|origin| origin.table));
        let mut gone: BTreeSet<u32> = led.collect();
        for rule in &kept {
            gone.remove(&rule.table);
        }
        for rule in rules.difference(&kept) {
            batch.push((), 0, RouteNetlinkMessage::DelRule(rule.message(family)));
        }
        for (table, ways) in tables.iter().filter(|(table, _)| gone.contains(table)) {
            for (destination, _, _) in ways {
                batch.push((), 0, RouteNetlinkMessage::DelRoute(steering::way(*table, *destination)));
            }
        }
        if batch.len() > 0
            && let Some(socket) = socket_in(&self.linux.host, &self.linux.namespaces, place)
        {
            // What has gone meanwhile is gone.
            self.linux.wire.exchange(socket, &mut batch)?;
        }
        Ok(())
    }
}

/// A table as it is made.
pub(crate) fn ways(origin: &Origin, index: u32) -> BTreeSet<Way> {
    origin.routes.iter().map(|(destination, gateway)| (destination.trunc(), Some(index), *gateway)).collect()
}
