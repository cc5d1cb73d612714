//! Taking over filters: the table of each namespace is made anew as it is wanted, in one transaction. Where none is wanted
//! and one is there, it goes.

use std::collections::HashMap;
use std::io;

use hcn_dataplane::{LinkId, Netns, Object, Op, Site};

use super::Adoption;
use crate::executor::{has_bridge_netfilter, netns_of};
use crate::link;
use crate::nft::filters::{self, Contents};
use crate::socket::Batch;

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
        for name in names {
            let wanted = contents.get(&Netns::Named(name.clone()));
            self.filters_inside(&name, wanted)?;
        }
        for object in kept {
            self.linux.filtering.note(&Op::Create(object.clone()));
            self.found.insert(object.clone());
        }
        self.show_frames()
    }

    fn filters_inside(&mut self, name: &str, wanted: Option<&Contents<'_>>) -> io::Result<()> {
        let linux = &mut *self.linux;
        let Some(handle) = linux.namespaces.get_mut(name) else { return Ok(()) };
        if let Some(wanted) = wanted {
            if handle.nft().is_none() {
                linux.folder.open_nft(handle)?;
            }
            if let Some(socket) = handle.nft() {
                filters::take_over(&mut linux.wire, socket, wanted, linux.owns_tables)?;
            }
            return Ok(());
        }
        match handle.nft() {
            Some(socket) => filters::clear(&mut linux.wire, socket),
            // Not kept: most namespaces never have rules.
            None => {
                let socket = linux.folder.nft_socket(handle)?;
                filters::clear(&mut linux.wire, &socket)
            }
        }
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
