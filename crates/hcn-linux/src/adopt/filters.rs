//! Taking over filters, and in namespaces what is intercepted, too: the tables of each namespace are made anew as they are
//! wanted, each in one transaction. Where none is wanted and one is there, it goes.

use std::collections::HashMap;
use std::io;

use hcn_dataplane::{Interception, LinkId, Netns, Object, Op, Site};

use super::{Adoption, translation};
use crate::executor::{has_bridge_netfilter, netns_of};
use crate::nft::filters::{self, Contents};
use crate::socket::Batch;
use crate::{link, nft};

impl Adoption<'_> {
    pub(super) fn filters(&mut self) -> io::Result<()> {
        let mut contents: HashMap<&Netns, Contents<'_>> = HashMap::new();
        let on_bridges = has_bridge_netfilter();
        let mut kept = Vec::new();
        for (_, object) in self.wanted.iter() {
            match object {
                Object::AddressSet(set) => contents.entry(&Netns::Host).or_default().sets.push(set),
                Object::Filter(filter) => {
                    let possible = match &filter.site {
                        Site::Bridge(_) | Site::Host(_) => on_bridges,
                        Site::Link(LinkId { netns: Netns::Named(name), .. }) => {
                            self.linux.namespaces.contains_key(name)
                        }
                        Site::Link(_) => true,
                    };
                    if !possible {
                        continue;
                    }
                    contents.entry(netns_of(filter)).or_default().filters.push(filter);
                }
                _ => continue,
            }
            kept.push(object);
        }
        let linux = &mut *self.linux;
        match contents.get(&Netns::Host) {
            Some(wanted) => filters::take_over(&mut linux.wire, &linux.nft, wanted, linux.owns_tables)?,
            None => filters::clear(&mut linux.wire, &linux.nft)?,
        }
        let names: Vec<String> = linux.namespaces.keys().cloned().collect();
        let mut intercepted = translation::intercepted(self.wanted);
        for name in names {
            let filters = contents.get(&Netns::Named(name.clone()));
            self.rules_inside(&name, filters, intercepted.remove(&name).unwrap_or_default())?;
        }
        for object in kept {
            self.linux.filtering.note(&Op::Create(object.clone()));
            self.found.insert(object.clone());
        }
        self.show_frames()
    }

    /// One socket for all that is in a namespace; it is kept where there are rules, which most never have.
    fn rules_inside(
        &mut self,
        name: &str,
        filters: Option<&Contents<'_>>,
        intercepted: Vec<&Interception>,
    ) -> io::Result<()> {
        let linux = &mut *self.linux;
        let Some(handle) = linux.namespaces.get_mut(name) else { return Ok(()) };
        if handle.nft().is_none() {
            linux.folder.open_nft(handle)?;
        }
        let Some(socket) = handle.nft() else { return Ok(()) };
        match filters {
            Some(wanted) => filters::take_over(&mut linux.wire, socket, wanted, linux.owns_tables)?,
            None => filters::clear(&mut linux.wire, socket)?,
        }
        nft::take_over_interception(&mut linux.wire, socket, &intercepted)?;
        if filters.is_none() && intercepted.is_empty() {
            handle.close_nft();
        }
        for interception in intercepted {
            linux.intercepted.insert(interception.link.clone(), interception.clone());
            self.found.insert(Object::Interception(interception.clone()));
        }
        Ok(())
    }

    /// Bridges show their frames to rules if there are filters for them.
    fn show_frames(&mut self) -> io::Result<()> {
        let linux = &mut *self.linux;
        let mut batch = Batch::new();
        let links = &self.links[&Netns::Host];
        for (_, object) in self.found.iter() {
            if let Object::Bridge(bridge) = object
                && let Some(index) = linux.links.get(&LinkId::host(&bridge.name))
            {
                let wanted = linux.filtering.on(&bridge.name);
                // What is right is not written.
                if links.get(&bridge.name).is_none_or(|facts| facts.shows_frames != [wanted; 2]) {
                    batch.push((), 0, link::show_frames(*index, wanted));
                }
            }
        }
        if batch.len() > 0 {
            for fate in linux.wire.exchange(&linux.host, &mut batch)? {
                fate?;
            }
        }
        Ok(())
    }
}
