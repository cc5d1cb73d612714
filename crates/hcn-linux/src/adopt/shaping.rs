//! Taking over what limits rates: the device of a port, what leads there, and token buckets of links in namespaces.

use std::collections::{HashMap, HashSet};
use std::io;

use hcn_dataplane::{LinkId, Netns, Object, Shaper};

use super::{Adoption, is_ours, is_same};
use crate::Linux;
use crate::netns::socket_in;
use crate::shaping::{self, Discipline};
use crate::socket::Batch;

/// What is on each link.
#[derive(Default)]
pub(crate) struct Disciplines {
    pub(crate) buckets: HashMap<u32, u64>,
    pub(crate) listeners: HashSet<u32>,
}

impl Adoption<'_> {
    /// What leads a port's packets to a device that is not taken over goes, since they would be lost there.
    pub(super) fn shapers(&mut self) -> io::Result<()> {
        let wanted: HashMap<LinkId, Shaper> = self
            .wanted
            .iter()
            .filter_map(|(_, object)| match object {
                Object::Shaper(shaper) => Some((shaper.link.clone(), shaper.clone())),
                _ => None,
            })
            .collect();
        self.of_ports(&wanted)?;
        self.of_sublinks(&wanted)
    }

    fn of_ports(&mut self, wanted: &HashMap<LinkId, Shaper>) -> io::Result<()> {
        let links = &self.links[&Netns::Host];
        let ifbs: HashMap<&str, u32> = links
            .values()
            .filter(|facts| {
                ["hvi", "hvj"].iter().any(|prefix| facts.name.starts_with(prefix)) && is_ours(facts)
            })
            .map(|facts| (facts.name.as_str(), facts.index))
            .collect();
        if ifbs.is_empty() && !wanted.values().any(|shaper| shaper.received) {
            return Ok(());
        }
        let there = disciplines(self.linux, &Netns::Host)?;
        let linux = &mut *self.linux;
        let mut batch = Batch::new();
        let mut found = Vec::new();
        for port in links.values().filter(|facts| there.listeners.contains(&facts.index)) {
            let name = shaping::ifb(&port.name);
            let link = LinkId::host(&port.name);
            let Some(ifb) = links.get(&name).filter(|facts| is_ours(facts)) else {
                // Somebody else's, unless the device went alone.
                if wanted.contains_key(&link) {
                    batch.push((), 0, shaping::listen_no_more(port.index));
                }
                continue;
            };
            let filters = linux.wire.dump(&linux.host, &shaping::get_filters(port.index))?;
            let leads = filters.iter().any(|payload| shaping::leads_to(payload) == Some(ifb.index));
            let complete = leads && ifb.up && is_same(&ifb.alias, &shaping::alias(&port.name));
            let kept = linux.links.get(&link) == Some(&port.index);
            match (wanted.get(&link), there.buckets.get(&ifb.index)) {
                (Some(wanted), Some(rate)) if complete && kept && wanted.received => {
                    found.push((LinkId::host(&name), ifb.index, Shaper { rate: *rate, ..wanted.clone() }));
                }
                _ => batch.push((), 0, shaping::listen_no_more(port.index)),
            }
        }
        if batch.len() > 0 {
            // What has gone meanwhile is gone.
            linux.wire.exchange(&linux.host, &mut batch)?;
        }
        for (link, index, shaper) in found {
            linux.links.insert(link, index);
            self.found.insert(Object::Shaper(shaper));
        }
        Ok(())
    }

    /// Of interfaces on links of the host: what is on them and not wanted goes.
    fn of_sublinks(&mut self, wanted: &HashMap<LinkId, Shaper>) -> io::Result<()> {
        let sublinks: Vec<LinkId> = self
            .found
            .iter()
            .filter_map(|(_, object)| match object {
                Object::Sublink(sublink) => Some(sublink.link.clone()),
                _ => None,
            })
            .collect();
        let places: HashSet<Netns> = sublinks.iter().map(|link| link.netns.clone()).collect();
        for netns in places {
            let there = disciplines(self.linux, &netns)?;
            let mut batch = Batch::new();
            for link in sublinks.iter().filter(|link| link.netns == netns) {
                let index = self.linux.links.get(link).copied().unwrap_or_default();
                match (wanted.get(link), there.buckets.get(&index)) {
                    (Some(wanted), Some(rate)) => {
                        self.found.insert(Object::Shaper(Shaper { rate: *rate, ..wanted.clone() }));
                    }
                    (None, Some(_)) => batch.push((), 0, shaping::free(index)),
                    (_, None) => {}
                }
            }
            let linux = &mut *self.linux;
            let socket = match &netns {
                Netns::Host => Some(&linux.host),
                Netns::Named(name) => linux.namespaces.get(name).map(|handle| &handle.socket),
            };
            if let Some(socket) = socket.filter(|_| batch.len() > 0) {
                linux.wire.exchange(socket, &mut batch)?;
            }
        }
        Ok(())
    }
}

/// Reads what is on the links of a namespace.
pub(crate) fn disciplines(linux: &mut Linux, netns: &Netns) -> io::Result<Disciplines> {
    let socket = socket_in(&linux.host, &linux.namespaces, netns);
    let mut there = Disciplines::default();
    let Some(socket) = socket else { return Ok(there) };
    for payload in linux.wire.dump(socket, &shaping::get_all())? {
        match shaping::read(&payload) {
            Some((index, Discipline::Bucket(rate))) => {
                there.buckets.insert(index, rate);
            }
            Some((index, Discipline::Listener)) => {
                there.listeners.insert(index);
            }
            None => {}
        }
    }
    Ok(there)
}
