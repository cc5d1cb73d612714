//! Routing tables of interfaces, and what leads to them.

use std::collections::HashMap;
use std::io;

use hcn_dataplane::{Key, Netns, Object, Origin};

use super::Look;
use crate::adopt::origins::ways;
use crate::adopt::steering::{rules_of, tables_of};
use crate::steering::Rule;

impl Look<'_> {
    /// The tables that are wanted, as they are.
    pub(super) fn origins(&mut self) -> io::Result<HashMap<Key, Object>> {
        let mut seen = HashMap::new();
        for (key, object) in self.wanted.iter() {
            let Object::Origin(wanted) = object else { continue };
            let place: &Netns = &wanted.link.netns;
            if !self.scope.holds(place) {
                continue;
            }
            let rules = rules_of(self.linux, place, wanted.family)?;
            let tables = tables_of(self.linux, place, wanted.family)?;
            let index = self.linux.links.get(&wanted.link).copied();
            let led = Rule::of_origin(wanted).iter().all(|rule| rules.contains(rule));
            let right = index.is_some_and(|index| tables.get(&wanted.table) == Some(&ways(wanted, index)));
            let mut found = Origin::clone(wanted);
            if !(led && right) {
                // Which part is wrong does not matter: all of it is said again.
                found.addresses.clear();
                found.routes.clear();
            }
            seen.insert(key.clone(), Object::Origin(found));
        }
        Ok(seen)
    }
}
