//! Routing tables of their own, and what leads to them.

use std::collections::HashMap;
use std::io;

use hcn_dataplane::{Family, Key, LinkId, Netns, Object, Steering};

use super::Look;
use crate::adopt::steering::{end, rules_of, tables_of, ways};
use crate::steering::Rule;

impl Look<'_> {
    /// The tables that are there, as they are.
    pub(super) fn steering(&mut self) -> io::Result<HashMap<Key, Object>> {
        let mut seen = HashMap::new();
        if !self.scope.holds(&Netns::Host) {
            return Ok(seen);
        }
        let wanted: Vec<(&Key, &Steering)> = self
            .wanted
            .iter()
            .filter_map(|(key, object)| match object {
                Object::Steering(steering) => Some((key, steering)),
                _ => None,
            })
            .collect();
        for family in [Family::V4, Family::V6] {
            let of_family = || wanted.iter().filter(|(_, steering)| steering.family == family);
            if of_family().next().is_none() {
                continue;
            }
            let (rules, tables) =
                (rules_of(self.linux, &Netns::Host, family)?, tables_of(self.linux, &Netns::Host, family)?);
            let links = &self.links[&Netns::Host];
            let index = |name: &str| match self.linux.links.get(&LinkId::host(name)) {
                Some(index) => links.get(index),
                None => links.values().find(|facts| facts.name == name),
            };
            let up = |name: &str| Some(index(name).filter(|facts| facts.up)?.index);
            for (key, wanted) in of_family() {
                let led = Rule::all(wanted).iter().all(|rule| rules.contains(rule));
                let Some(there) =
                    tables.get(&wanted.table).filter(|there| led && there.contains(&end(family)))
                else {
                    continue;
                };
                let mut found = Steering::clone(wanted);
                if *there != ways(wanted, up) {
                    // Which of them are wrong does not matter: each takes the place of what is there.
                    found.hops.clear();
                }
                seen.insert((*key).clone(), Object::Steering(found));
            }
        }
        Ok(seen)
    }
}
