//! Taking over filters, and in namespaces what is intercepted, too: the tables of each namespace are made anew as they are
//! wanted, each in one transaction. Where none is wanted and one is there, it goes.

use std::collections::HashMap;
use std::io;

use hcn_dataplane::{Interception, LinkId, Netns, Object, Op, Site};

use super::{Adoption, translation};
use crate::executor::{has_bridge_netfilter, netns_of};
use crate::nft::filters::{self, Contents};
use crate::socket::{Batch, Socket, Wire};
use crate::{aside, link, nft};

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
        let messages = match contents.get(&Netns::Host) {
            Some(wanted) => filters::anew(wanted, linux.owns_tables),
            None => filters::none(&mut linux.wire, &linux.nft)?,
        };
        nft::write(&mut linux.wire, &linux.nft, messages)?;
        let names: Vec<String> = linux.namespaces.keys().cloned().collect();
        let mut intercepted = translation::intercepted(self.wanted);
        for name in names {
            let filters = contents.get(&Netns::Named(name.clone()));
            let written = self.rules_inside(&name, filters, intercepted.remove(&name).unwrap_or_default());
            match written {
                Err(error) if error.raw_os_error() == Some(libc::ETIMEDOUT) => {
                    tracing::error!(
                        netns = name,
                        "rules cannot be taken over: somebody inside changes rules, too"
                    );
                    if let Some(handle) = self.linux.namespaces.get_mut(&name) {
                        handle.rules.doubt();
                    }
                    self.hung.insert(name);
                }
                other => other?,
            }
        }
        if self.is_start {
            let hangs = |object: &&Object| match object {
                Object::Filter(filter) => self.hangs(netns_of(filter)),
                _ => false,
            };
            kept.retain(|object| !hangs(object));
        }
        let objects = self.wanted.iter().map(|(_, object)| object);
        for object in objects.filter(|object| matches!(object, Object::Diversion(_))) {
            self.linux.filtering.note(&Op::Create(object.clone()));
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
        linux.folder.open_rules(handle)?;
        let mut messages = match filters {
            Some(wanted) => filters::anew(wanted, linux.owns_tables),
            None => handle.rules.ask(|socket| filters::none(&mut linux.wire, socket))?,
        };
        messages
            .extend(handle.rules.ask(|socket| nft::intercept_anew(&mut linux.wire, socket, &intercepted))?);
        if !messages.is_empty() {
            let work = |wire: &mut Wire, socket: &Socket| nft::write(wire, socket, messages).map(Ok);
            // What the kernel refuses is an error already: here it was not begun, since too much hangs.
            handle.rules.transact(&mut linux.aside, &mut linux.wire, work)?.map_err(|_| aside::hangs())?;
        }
        if filters.is_none() && intercepted.is_empty() {
            handle.rules.close(&mut linux.aside);
        }
        for interception in intercepted {
            linux.intercepted.insert(interception.link.clone(), interception.clone());
            self.found.insert(Object::Interception(interception.clone()));
        }
        Ok(())
    }

    fn hangs(&self, netns: &Netns) -> bool {
        matches!(netns, Netns::Named(name) if self.hung.contains(name))
    }

    /// Bridges show their frames to rules if there are filters or diversions for them.
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
