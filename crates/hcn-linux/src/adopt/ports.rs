//! Taking over joints, TAP interfaces and what isolates ports.

use hcn_dataplane::{Joint, LinkId, Netns, Object, Tap};

use super::{Adoption, is_same};
use crate::link::{GROUP, LinkFacts};

impl Adoption<'_> {
    /// Joints are there when both ends are described, and ports of their bridges: that is the last thing that is done.
    pub(super) fn joints(&mut self) {
        for wanted in self.wanted.iter().filter_map(|(_, object)| match object {
            Object::Joint(joint) => Some(joint),
            _ => None,
        }) {
            let Some([first, second]) = self.joint(wanted) else { continue };
            let mtu = if first.mtu == wanted.mtu { second.mtu } else { first.mtu };
            let found = Joint { alias: first.alias.clone(), mtu, ..wanted.clone() };
            let indexes = [first.index, second.index];
            for (end, index) in wanted.ends.iter().zip(indexes) {
                self.linux.links.insert(LinkId::host(end), index);
            }
            self.linux.joined.insert(wanted.bridges[1].clone(), wanted.clone());
            self.found.insert(Object::Joint(found));
        }
    }

    fn joint(&self, wanted: &Joint) -> Option<[&LinkFacts; 2]> {
        let links = self.links.get(&Netns::Host)?;
        let ends = [links.get(&wanted.ends[0])?, links.get(&wanted.ends[1])?];
        let plugged = |end: usize| {
            let bridge = self.linux.links.get(&LinkId::host(&wanted.bridges[end]));
            let facts = ends[end];
            facts.group == GROUP
                && facts.up
                && is_same(&facts.alias, &wanted.alias)
                && bridge.is_some()
                && facts.master.as_ref() == bridge
                && facts.peer == Some(ends[1 - end].index)
        };
        (plugged(0) && plugged(1)).then_some(ends)
    }

    /// What a virtual machine has open, and goes on using.
    pub(super) fn taps(&mut self) {
        for wanted in self.wanted.iter().filter_map(|(_, object)| match object {
            Object::Tap(tap) => Some(tap),
            _ => None,
        }) {
            let link = LinkId::host(&wanted.name);
            let Some(facts) = self.link(&link) else { continue };
            let bridge = self.linux.links.get(&LinkId::host(&wanted.bridge));
            let complete =
                facts.group == GROUP && facts.up && bridge.is_some() && facts.master.as_ref() == bridge;
            if !complete || !is_same(&facts.alias, &wanted.alias) {
                continue;
            }
            let index = facts.index;
            let vlan = self.vlans.of(facts, wanted.vlan);
            let found = Tap { alias: facts.alias.clone(), mtu: facts.mtu, vlan, ..wanted.clone() };
            self.linux.links.insert(link, index);
            self.found.insert(Object::Tap(found));
        }
    }
}
