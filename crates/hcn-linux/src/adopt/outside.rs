//! Taking over what joins networks to links of the host.

use std::collections::HashSet;
use std::io;

use hcn_dataplane::{Enslaved, Family, LinkId, Netns, Object, Sublink, Vlan};

use super::{Adoption, is_ours, is_same};
use crate::link::{self, GROUP, LinkFacts};
use crate::moving::Belongings;
use crate::proxy::{self, Proxied};
use crate::socket::Batch;
use crate::{Claimed, executor};

impl Adoption<'_> {
    pub(super) fn outside(&mut self) -> io::Result<()> {
        let wanted: Vec<Object> = self.wanted.iter().map(|(_, object)| object.clone()).collect();
        for object in wanted {
            match object {
                Object::Vlan(vlan) => self.vlan(&vlan),
                Object::Enslaved(enslaved) => self.enslaved(&enslaved)?,
                Object::Sublink(sublink) => self.sublink(&sublink),
                _ => {}
            }
        }
        self.give_back()?;
        self.remove_sublinks()
    }

    fn vlan(&mut self, wanted: &Vlan) {
        let link = LinkId::host(&wanted.name);
        let (Some(facts), Some(bridge)) =
            (self.link(&link), self.linux.links.get(&LinkId::host(&wanted.bridge)))
        else {
            return;
        };
        let parent = self.link(&LinkId::host(&wanted.parent)).map(|parent| parent.index);
        let complete = facts.group == GROUP
            && is_same(&facts.alias, &wanted.alias)
            && facts.up
            && facts.master == Some(*bridge)
            && facts.peer == parent;
        if complete {
            let (index, alias) = (facts.index, facts.alias.clone());
            self.linux.links.insert(link, index);
            self.found.insert(Object::Vlan(Vlan { alias, ..wanted.clone() }));
        }
    }

    /// A port of the bridge that has nothing of its own any more. One that was left half-way is not there: making it
    /// goes on from where it is.
    fn enslaved(&mut self, wanted: &Enslaved) -> io::Result<()> {
        let Some(bridge) = self.linux.links.get(&LinkId::host(&wanted.bridge)).copied() else {
            return Ok(());
        };
        let Some(facts) = self.link(&LinkId::host(&wanted.link)) else { return Ok(()) };
        if facts.master != Some(bridge) || !facts.up {
            return Ok(());
        }
        let index = facts.index;
        let linux = &mut *self.linux;
        let left = Belongings::read(&mut linux.wire, &linux.host, index)?;
        let moved = Belongings::read(&mut linux.wire, &linux.host, bridge)?;
        if left.is_bare() && (!moved.is_bare() || wanted.addresses.is_empty()) {
            self.found.insert(Object::Enslaved(wanted.clone()));
        }
        Ok(())
    }

    fn sublink(&mut self, wanted: &Sublink) {
        let Some(facts) = self.link(&wanted.link) else { return };
        let parent = self.link(&LinkId::host(&wanted.parent)).map(|parent| parent.index);
        let elsewhere = wanted.link.netns != Netns::Host;
        let complete = facts.group == GROUP
            && is_same(&facts.alias, &wanted.alias)
            && facts.up
            && parent.is_some()
            && facts.peer == parent
            && facts.peer_elsewhere == elsewhere;
        if complete {
            let index = facts.index;
            let (alias, mac, mtu) = (facts.alias.clone(), facts.mac.unwrap_or(wanted.mac), facts.mtu);
            self.linux.links.insert(wanted.link.clone(), index);
            self.found.insert(Object::Sublink(Sublink { alias, mac, mtu, ..wanted.clone() }));
        }
    }

    /// Links of the host that are ports of bridges which nobody wants any more get back what these have of them.
    fn give_back(&mut self) -> io::Result<()> {
        let links = &self.links[&Netns::Host];
        let kept: HashSet<u32> = self.kept_on_host();
        let leftover = |index: u32| {
            links.values().find(|facts| facts.index == index && is_ours(facts) && !kept.contains(&index))
        };
        let ports: Vec<(LinkFacts, LinkFacts)> = links
            .values()
            .filter(|facts| facts.group != GROUP)
            .filter_map(|port| Some((leftover(port.master?)?.clone(), port.clone())))
            .collect();
        for (bridge, port) in ports {
            tracing::warn!(link = %port.name, bridge = %bridge.name, "giving a link of the host back");
            executor::give_back(self.linux, &bridge, &port)?;
        }
        Ok(())
    }

    fn kept_on_host(&self) -> HashSet<u32> {
        let on_host = self.linux.links.iter().filter(|(link, _)| link.netns == Netns::Host);
        on_host.map(|(_, index)| *index).collect()
    }

    /// Removes interfaces on links of the host from namespaces, where no other end leads to them.
    fn remove_sublinks(&mut self) -> io::Result<()> {
        for (netns, links) in &self.links {
            let Netns::Named(name) = netns else { continue };
            let kept = |facts: &LinkFacts| {
                self.linux.links.contains_key(&LinkId { netns: netns.clone(), name: facts.name.clone() })
            };
            let unwanted =
                links.values().filter(|facts| is_ours(facts) && facts.peer_elsewhere && !kept(facts));
            let mut batch = Batch::new();
            unwanted.for_each(|facts| batch.push((), 0, link::delete(facts.index)));
            if batch.len() > 0
                && let Some(handle) = self.linux.namespaces.get(name)
            {
                tracing::warn!(count = batch.len(), netns = %name, "removing interfaces that an earlier hcnd left");
                // What has gone meanwhile is gone.
                self.linux.wire.exchange(&handle.socket, &mut batch)?;
            }
        }
        Ok(())
    }

    /// Neighbours that the host speaks for.
    pub(super) fn answers(&mut self) -> io::Result<()> {
        let linux = &mut *self.linux;
        let payloads = linux.wire.dump(&linux.host, &proxy::get_all())?;
        let there: Vec<Proxied> = payloads.iter().filter_map(|payload| Proxied::read(payload)).collect();
        let wanted = self.wanted.iter().filter_map(|(_, object)| match object {
            Object::ProxyNeighbour(proxy) => Some(proxy),
            _ => None,
        });
        let mut kept = HashSet::new();
        for wanted in wanted {
            let index = self.links[&Netns::Host].get(&wanted.link).map(|facts| facts.index);
            let found =
                there.iter().find(|found| Some(found.index) == index && found.address == wanted.address);
            let Some(found) = found else { continue };
            let key = (wanted.link.clone(), wanted.address);
            let claimed = self.linux.proxied.entry(key).or_insert(Claimed { count: 0, added: found.ours });
            claimed.count += 1;
            if claimed.count == 1 {
                self.linux.answering.adopt(Family::of(wanted.address), &wanted.link)?;
                if found.ours {
                    self.linux.watch.add_proxied(&wanted.link, wanted.address)?;
                }
            }
            kept.insert((found.index, found.address));
            self.found.insert(Object::ProxyNeighbour(wanted.clone()));
        }
        let mut batch = Batch::new();
        for left in there.iter().filter(|left| left.ours && !kept.contains(&(left.index, left.address))) {
            batch.push((), 0, proxy::delete(left.index, left.address));
        }
        let linux = &mut *self.linux;
        // What has gone meanwhile is gone.
        linux.wire.exchange(&linux.host, &mut batch).map(drop)
    }
}
