//! Removing objects so that they can be brought back, and bringing them back.
//!
//! A link that is removed is set aside: down, its peer likewise. Its addresses and routes are
//! free at once, and so are its names: whoever wants one renames what holds it. Deleting it is the reaper's work,
//! after the removal is settled.

use hcn_dataplane::{Key, LinkId, Netns, NetnsFile, Object, Veth};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::{Away, Pair, Place, Run, Stop, Tag};
use crate::{Limbo, Retired, address, link, resolver, route};

/// Gone already, as wanted: the container's root may delete what is in the container.
const GONE: &[i32] = &[libc::ENODEV];
const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

impl Run<'_> {
    pub(super) fn remove(&mut self, op: usize, object: &Object, implied: bool) -> Result<(), Stop> {
        match object {
            // Other programs may rely on it by now.
            Object::Forwarding(claim) => {
                self.linux.forwarding.release(claim);
                self.touched[op] = true;
                Ok(())
            }
            Object::Netns(netns) => self.remove_netns(op, netns),
            Object::Bridge(bridge) => {
                let retired = match self.own_link(op, &bridge.name)? {
                    Some(index) => {
                        self.set_bridge_aside(op, index);
                        Retired::Link { index, peer: None, incomplete: false }
                    }
                    None => Retired::Nothing,
                };
                self.touched[op] = true;
                self.retire(Key::Bridge(bridge.name.clone()), retired);
                Ok(())
            }
            Object::Veth(veth) => {
                let retired = match self.own_veth(op, veth)? {
                    Some(pair) => {
                        self.set_veth_aside(op, veth, &pair);
                        Retired::Link { index: pair.host, peer: pair.peer, incomplete: false }
                    }
                    None => Retired::Nothing,
                };
                // Bringing back what was not set aside after all changes nothing.
                self.touched[op] = true;
                self.retire(Key::Veth(veth.name.clone()), retired);
                Ok(())
            }
            Object::Home(_)
            | Object::Masquerade(_)
            | Object::Barrier(_)
            | Object::Annex(_)
            | Object::Affinity(_)
            | Object::Service(_) => {
                self.elements(op, object, true);
                Ok(())
            }
            Object::HeldPort(port) => {
                self.touched[op] = true;
                let held = self.linux.ports.remove(port);
                self.retire(object.key(), held.map_or(Retired::Nothing, Retired::Port));
                Ok(())
            }
            Object::ReservedPorts(ports) => {
                self.linux.reserved.remove(*ports).map_err(|error| self.stop(op, &error))?;
                self.touched[op] = true;
                Ok(())
            }
            Object::Address(address) => {
                // It may go with another one (the kernel takes the secondary addresses of a prefix with the primary), so
                // it counts as gone even if its own message is refused; bringing back what is there changes nothing.
                self.touched[op] = true;
                // An IPv4 address of the host outlives its link's going down: the host would go on answering to it
                // until the link is deleted.
                if implied && address.link.netns != Netns::Host {
                    return Ok(());
                }
                let Some(index) = self.index_if_any(op, &address.link, implied)? else { return Ok(()) };
                let tolerate: &[i32] = if implied { &[libc::EADDRNOTAVAIL, libc::ENODEV] } else { &[] };
                let tag = Tag { op, writes: true, tolerate };
                let place = Place::from(&address.link.netns);
                self.push(&place, tag, 0, address::delete(index, address.address));
                Ok(())
            }
            Object::Route(route) => {
                // The same: the last address of a link takes its routes with it.
                self.touched[op] = true;
                if implied {
                    // The kernel drops the routes of a link that goes down.
                    return Ok(());
                }
                let index = self.index(op, &route.link)?;
                self.write(&Place::from(&route.link.netns), op, 0, route::delete(index, route));
                Ok(())
            }
            Object::Resolver(resolver) => {
                self.touched[op] = true;
                resolver::remove(&self.linux.netns_etc, &resolver.netns)
                    .map_err(|error| self.stop(op, &error))
            }
            Object::Claim(claim) => self.release_claim(op, claim, implied),
            // `rooms` knows who.
            _ => self.unmake(op, object, Away::Removed { implied }),
        }
    }

    /// Brings back what `remove` took away.
    pub(super) fn restore(&mut self, op: usize, object: &Object) -> Result<(), Stop> {
        match object {
            // The host still forwards.
            Object::Forwarding(claim) => self.forward(op, claim),
            Object::Netns(netns) => {
                self.flush(|_| true)?;
                let key = Key::Netns(netns.name.clone());
                let Some(Retired::Netns(handle)) = self.unretire(&key) else { return Ok(()) };
                let bound = self.linux.folder.bind(&netns.name, &handle);
                self.linux.namespaces.insert(netns.name.clone(), handle);
                bound.map_err(|error| self.stop(op, &error))?;
                if netns.from.is_some() {
                    let mark = link::mark_up(link::LOOPBACK, &netns.alias);
                    self.write(&Place::Named(netns.name.clone()), op, 0, mark);
                }
                Ok(())
            }
            Object::Bridge(bridge) => {
                let key = Key::Bridge(bridge.name.clone());
                let Some(Retired::Link { index, .. }) = self.unretire(&key) else { return Ok(()) };
                self.linux.links.insert(LinkId::host(&bridge.name), index);
                self.restored.push((op, index));
                // It may not have been set aside after all, and still be up.
                self.write(&Place::Host, op, 0, link::set_up(index, false));
                self.write(&Place::Host, op, 0, link::rename(index, &bridge.name));
                self.write(&Place::Host, op, 0, link::set_up(index, true));
                Ok(())
            }
            Object::Veth(veth) => self.restore_veth(op, veth),
            Object::Home(_)
            | Object::Masquerade(_)
            | Object::Barrier(_)
            | Object::Annex(_)
            | Object::Affinity(_)
            | Object::Service(_) => {
                self.elements(op, object, false);
                Ok(())
            }
            Object::HeldPort(port) => {
                if let Some(Retired::Port(held)) = self.unretire(&object.key()) {
                    self.linux.ports.insert(port.clone(), held);
                }
                Ok(())
            }
            Object::ReservedPorts(ports) => self.reserve(op, *ports),
            Object::Address(address) => {
                let index = self.index(op, &address.link)?;
                // IPv4 addresses stay on a link that goes down.
                let tag = Tag { op, writes: true, tolerate: &[libc::EEXIST] };
                self.push(&Place::from(&address.link.netns), tag, NEW, address::create(index, address));
                Ok(())
            }
            Object::Route(route) => {
                let index = self.index(op, &route.link)?;
                let on_link = self.needs_on_link(route);
                let tag = Tag { op, writes: true, tolerate: &[libc::EEXIST] };
                let place = Place::from(&route.link.netns);
                self.push(&place, tag, NEW, route::create(index, route, on_link));
                Ok(())
            }
            Object::Resolver(resolver) => {
                resolver::write(&self.linux.netns_etc, resolver).map_err(|error| self.stop(op, &error))
            }
            Object::Claim(claim) => self.claim(op, claim),
            // `rooms` knows who.
            _ => self.make(op, object, true),
        }
    }

    fn restore_veth(&mut self, op: usize, veth: &Veth) -> Result<(), Stop> {
        self.restore_pair(op, &Key::Veth(veth.name.clone()), veth)?;
        // A port begins as every port, also where it was before.
        let Some(index) = self.linux.links.get(&LinkId::host(&veth.name)).copied() else { return Ok(()) };
        let tag = Tag { op, writes: true, tolerate: &[libc::ENODEV] };
        let port = link::describe_port(index, &veth.alias, self.of_port(), veth.isolated);
        self.push(&Place::Host, tag, 0, port);
        match veth.vlan {
            Some(vlan) => self.tag_port(op, &veth.bridge, index, vlan),
            None => Ok(()),
        }
    }

    /// Brings back a pair that was retired under this key.
    pub(super) fn restore_pair(&mut self, op: usize, key: &Key, veth: &Veth) -> Result<(), Stop> {
        let Some(Retired::Link { index, peer, incomplete }) = self.unretire(key) else { return Ok(()) };
        self.linux.links.insert(LinkId::host(&veth.name), index);
        self.restored.push((op, index));
        let bridge = self.index(op, &LinkId::host(&veth.bridge))?;
        let held = match self.linux.limbo.iter().position(|limbo| limbo.host == index) {
            Some(position) => self.linux.limbo.swap_remove(position).held,
            None => Vec::new(),
        };
        // What took the names meanwhile may itself have been taken back just now.
        self.free_name(op, &LinkId::host(&veth.name));
        self.free_name(op, &veth.peer);
        let renamed = |end: &LinkId| !held.iter().any(|(held, _)| held == end);
        // What was gone before stays gone.
        let tolerate = if incomplete { GONE } else { &[] };
        let tag = || Tag { op, writes: true, tolerate };
        if renamed(&LinkId::host(&veth.name)) {
            self.push(&Place::Host, tag(), 0, link::rename(index, &veth.name));
        }
        self.push(&Place::Host, tag(), 0, link::plug(index, bridge));
        if let Some((place, peer)) = peer {
            self.linux.links.insert(veth.peer.clone(), peer);
            if renamed(&veth.peer) {
                self.push(&place, tag(), 0, link::rename(peer, &veth.peer.name));
            }
            self.push(&place, tag(), 0, link::set_up(peer, true));
        }
        Ok(())
    }

    /// The indexes of a veth pair; `None` when it is gone.
    pub(super) fn own_veth(&mut self, op: usize, veth: &Veth) -> Result<Option<Pair>, Stop> {
        let (host, peer) = match self.linux.links.remove(&LinkId::host(&veth.name)) {
            Some(host) => (host, self.linux.links.remove(&veth.peer)),
            None => {
                let facts = self.look_up(op, &Place::Host, &veth.name)?;
                // Who has the peer's name may be another one's by now.
                let Some(facts) = self.check_ours(op, facts)? else { return Ok(None) };
                if self.linux.links.get(&veth.peer).copied() == facts.peer {
                    self.linux.links.remove(&veth.peer);
                }
                (facts.index, facts.peer)
            }
        };
        let place = Place::from(&veth.peer.netns);
        if let Place::Named(name) = &place {
            self.open(op, name)?;
        }
        Ok(Some(Pair { host, peer: peer.map(|peer| (place, peer)) }))
    }

    pub(super) fn set_veth_aside(&mut self, op: usize, veth: &Veth, pair: &Pair) {
        let tag = || Tag { op, writes: true, tolerate: GONE };
        // It stays a port of its bridge, down, until the reaper deletes it: unplugging alone would take as long
        // again as the rest, and a port that is down carries nothing.
        self.push(&Place::Host, tag(), 0, link::set_up(pair.host, false));
        let mut held = vec![(LinkId::host(&veth.name), pair.host)];
        if let Some((place, peer)) = &pair.peer {
            self.push(place, tag(), 0, link::set_up(*peer, false));
            held.push((veth.peer.clone(), *peer));
        }
        self.linux.limbo.push(Limbo { host: pair.host, held });
    }

    pub(super) fn set_bridge_aside(&mut self, op: usize, index: u32) {
        let name = format!("hcr{}", self.next_sequence());
        let tag = || Tag { op, writes: true, tolerate: GONE };
        self.push(&Place::Host, tag(), 0, link::set_up(index, false));
        self.push(&Place::Host, tag(), 0, link::rename(index, &name));
    }

    /// Takes a name from a link that was set aside, if one holds it.
    pub(super) fn free_name(&mut self, op: usize, link: &LinkId) {
        let found = self.linux.limbo.iter_mut().find_map(|limbo| {
            let position = limbo.held.iter().position(|(held, _)| held == link)?;
            Some((limbo.host, limbo.held.swap_remove(position)))
        });
        let Some((host, held)) = found else { return };
        let prefix = if host == held.1 && link.netns == Netns::Host { "hcr" } else { "hcx" };
        let name = format!("{prefix}{}", self.next_sequence());
        self.rename_aside(op, host, held, &name);
    }

    fn remove_netns(&mut self, op: usize, netns: &NetnsFile) -> Result<(), Stop> {
        let name = netns.name.as_str();
        // What is still to be done inside needs the namespace under this name.
        self.flush(|_| true)?;
        let key = Key::Netns(name.to_owned());
        if !self.linux.namespaces.contains_key(name) {
            match self.linux.folder.adopt(name) {
                Ok(handle) => {
                    self.linux.namespaces.insert(name.to_owned(), handle);
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    self.touched[op] = true;
                    self.retire(key, Retired::Nothing);
                    return Ok(());
                }
                Err(error) => return Err(self.stop(op, &error)),
            }
        }
        self.unmark(op, netns);
        self.flush(|_| true)?;
        self.linux.folder.unbind(name).map_err(|error| self.stop(op, &error))?;
        self.touched[op] = true;
        let handle = self.linux.namespaces.remove(name);
        self.retire(key, handle.map_or(Retired::Nothing, Retired::Netns));
        Ok(())
    }

    /// The index of a link that may be gone, if `lenient`.
    pub(super) fn index_if_any(
        &mut self,
        op: usize,
        link: &LinkId,
        lenient: bool,
    ) -> Result<Option<u32>, Stop> {
        if !lenient {
            return self.index(op, link).map(Some);
        }
        match self.linux.links.get(link) {
            Some(index) => Ok(Some(*index)),
            None => {
                let facts = self.look_up(op, &Place::from(&link.netns), &link.name)?;
                Ok(facts.map(|facts| facts.index))
            }
        }
    }

    /// Base 36, so that name and prefix fit an interface name.
    pub(super) fn next_sequence(&mut self) -> String {
        self.linux.sequence = self.linux.sequence.wrapping_add(1);
        let mut left = self.linux.sequence;
        let mut digits = Vec::new();
        while left > 0 || digits.is_empty() {
            digits.push(char::from_digit((left % 36) as u32, 36).unwrap_or('0'));
            left /= 36;
        }
        digits.iter().rev().collect()
    }
}
