//! Creating and changing objects, and taking creations back.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::ops::Range;

use hcn_dataplane::{
    Bridge, Existing, Family, Forwarding, HeldPort, Key, LinkId, Netns, NetnsFile, Object, Op, OpError,
    Protocol, ReservedPorts, Route, Veth,
};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::{Away, Place, Run, Stop, Tag};
use crate::link::{self, GROUP, IpTraits, LOOPBACK};
use crate::netns::Handle;
use crate::reaper::Released;
use crate::socket::Batch;
use crate::{Linux, Retired, address, conntrack, nft, ports, resolver, route, sysctl};

/// Make it, and refuse if it is there.
const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

impl Run<'_> {
    /// Creates anything but a link.
    pub(super) fn create(&mut self, op: usize, object: &Object) -> Result<(), Stop> {
        match object {
            Object::Forwarding(claim) => self.forward(op, claim),
            Object::Netns(netns) => {
                let mark = || link::mark_up(LOOPBACK, &netns.alias);
                let handle = match &netns.from {
                    None => {
                        let Linux { folder, wire, .. } = &mut *self.linux;
                        folder.create(&netns.name, |socket| {
                            let mut batch = Batch::new();
                            batch.push((), 0, mark());
                            wire.exchange(socket, &mut batch)?
                                .into_iter()
                                .try_for_each(|fate| fate.map(drop))?;
                            Ok(())
                        })
                    }
                    Some(existing) => self.take_in(&netns.name, existing),
                };
                let handle = handle.map_err(|error| self.stop(op, &error))?;
                self.linux.namespaces.insert(netns.name.clone(), handle);
                self.touched[op] = true;
                if netns.from.is_some() {
                    self.write(&Place::Named(netns.name.clone()), op, 0, mark());
                }
                Ok(())
            }
            Object::Service(service)
                if service.frontend.protocol == Protocol::Sctp && !conntrack::tracks_sctp() =>
            {
                Err(self.stop(op, &io::Error::from_raw_os_error(libc::EPROTONOSUPPORT)))
            }
            Object::Home(_)
            | Object::Masquerade(_)
            | Object::Barrier(_)
            | Object::Annex(_)
            | Object::Affinity(_)
            | Object::Service(_) => {
                self.elements(op, object, false);
                Ok(())
            }
            Object::HeldPort(port) => self.hold(op, port),
            Object::ReservedPorts(ports) => self.reserve(op, *ports),
            Object::Address(address) => {
                let index = self.index(op, &address.link)?;
                if self.linux.half_back.contains(&object.key()) {
                    self.take_from_claims(op, index, address);
                }
                let tag = Tag { op, writes: true, tolerate: self.there_already(object) };
                let place = Place::from(&address.link.netns);
                self.push(&place, tag, NEW, address::create(index, address));
                Ok(())
            }
            Object::Route(route) => {
                let index = self.index(op, &route.link)?;
                let on_link = self.needs_on_link(route);
                let tag = Tag { op, writes: true, tolerate: self.there_already(object) };
                let place = Place::from(&route.link.netns);
                self.push(&place, tag, NEW, route::create(index, route, on_link));
                Ok(())
            }
            Object::Resolver(resolver) => {
                self.touched[op] = true;
                resolver::write(&self.linux.netns_etc, resolver).map_err(|error| self.stop(op, &error))
            }
            Object::Claim(claim) => self.claim(op, claim),
            // `step` gathers these.
            Object::Bridge(_) => self.create_bridges(op..op + 1),
            Object::Veth(_) => self.create_veths(op..op + 1),
            // `rooms` knows who.
            // What would have been set aside was given up.
            Object::Joint(_) | Object::Tap(_) | Object::Shaper(_) | Object::Sublink(_) => {
                self.make(op, object, false)
            }
            _ => self.make(op, object, self.linux.half_back.contains(&object.key())),
        }
    }

    /// The refusals that mean that an object is there as wanted.
    fn there_already(&self, object: &Object) -> &'static [i32] {
        if self.linux.half_back.contains(&object.key()) { &[libc::EEXIST] } else { &[] }
    }

    /// Takes back what creating changed. The names are free as soon as this is sent.
    pub(super) fn uncreate(&mut self, op: usize, object: &Object) -> Result<(), Stop> {
        match object {
            Object::Forwarding(claim) => {
                self.linux.forwarding.take_back(claim).map_err(|error| self.stop(op, &error))
            }
            Object::Netns(netns) => {
                self.unmark(op, netns);
                self.flush(|_| true)?;
                self.linux.folder.unbind(&netns.name).map_err(|error| self.stop(op, &error))?;
                if let Some(handle) = self.linux.namespaces.remove(&netns.name) {
                    self.linux.reaper.release(Released::Netns(handle));
                }
                Ok(())
            }
            Object::Bridge(bridge) => {
                let Some(index) = self.own_link(op, &bridge.name)? else { return Ok(()) };
                self.set_bridge_aside(op, index);
                self.doomed.push(index);
                Ok(())
            }
            Object::Veth(veth) => {
                let Some(pair) = self.own_veth(op, veth)? else { return Ok(()) };
                self.set_veth_aside(op, veth, &pair);
                self.doomed.push(pair.host);
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
                self.linux.ports.remove(port);
                Ok(())
            }
            Object::ReservedPorts(ports) => {
                self.linux.reserved.remove(*ports).map_err(|error| self.stop(op, &error))
            }
            Object::Address(address) => {
                let index = self.index(op, &address.link)?;
                let tag = Tag { op, writes: true, tolerate: &[libc::EADDRNOTAVAIL, libc::ENODEV] };
                let place = Place::from(&address.link.netns);
                self.push(&place, tag, 0, address::delete(index, address.address));
                Ok(())
            }
            Object::Route(route) => {
                let index = self.index(op, &route.link)?;
                let tag = Tag { op, writes: true, tolerate: &[libc::ESRCH, libc::ENODEV] };
                self.push(&Place::from(&route.link.netns), tag, 0, route::delete(index, route));
                Ok(())
            }
            Object::Resolver(resolver) => resolver::remove(&self.linux.netns_etc, &resolver.netns)
                .map_err(|error| self.stop(op, &error)),
            Object::Claim(claim) => self.release_claim(op, claim, false),
            // `rooms` knows who.
            _ => self.unmake(op, object, Away::TakenBack),
        }
    }

    /// Changes an object in place.
    pub(super) fn change(&mut self, op: usize, from: &Object, to: &Object) -> Result<(), Stop> {
        if to.is_distorted() {
            // What was put right stays so.
            return Ok(());
        }
        if from.is_distorted() {
            return self.straighten(op, to);
        }
        match (from, to) {
            (Object::Bridge(from), Object::Bridge(to)) => {
                let index = self.index(op, &LinkId::host(&to.name))?;
                let message = link::change(index, Some(&to.alias), Some(to.mac), to.mtu);
                self.write(&Place::Host, op, 0, message);
                let tag = |tolerate| Tag { op, writes: true, tolerate };
                match (from.ipv6, to.ipv6) {
                    (false, true) => {
                        let message = address::create_link_local(index, to.mac);
                        self.push(&Place::Host, tag(&[libc::EEXIST]), NEW, message);
                    }
                    (true, false) => {
                        let message = address::delete(index, address::link_local(from.mac));
                        self.push(&Place::Host, tag(&[libc::EADDRNOTAVAIL]), 0, message);
                    }
                    _ => {}
                }
                Ok(())
            }
            (Object::Veth(from), Object::Veth(to)) => {
                let host = self.index(op, &LinkId::host(&to.name))?;
                let peer = self.index(op, &to.peer)?;
                self.change_port(op, host, [&from.into(), &to.into()])?;
                self.write(&Place::Host, op, 0, link::change(host, Some(&to.alias), None, to.mtu));
                let place = Place::from(&to.peer.netns);
                self.write(&place, op, 0, link::change(peer, None, Some(to.mac), to.mtu));
                Ok(())
            }
            (Object::Joint(_), Object::Joint(to)) => {
                for end in &to.ends {
                    let end = self.index(op, &LinkId::host(end))?;
                    self.write(&Place::Host, op, 0, link::change(end, Some(&to.alias), None, to.mtu));
                }
                Ok(())
            }
            (Object::Tap(from), Object::Tap(to)) => {
                let index = self.index(op, &LinkId::host(&to.name))?;
                self.change_port(op, index, [&from.into(), &to.into()])?;
                self.write(&Place::Host, op, 0, link::change(index, Some(&to.alias), None, to.mtu));
                Ok(())
            }
            (Object::Resolver(_), Object::Resolver(to)) => {
                self.touched[op] = true;
                resolver::write(&self.linux.netns_etc, to).map_err(|error| self.stop(op, &error))
            }
            (Object::Service(_), Object::Service(_))
            | (Object::Affinity(_), Object::Affinity(_))
            | (Object::Barrier(_), Object::Barrier(_)) => {
                if let (Object::Service(before), Object::Service(after)) = (from, to) {
                    self.stale.extend(conntrack::stale(Some(before), Some(after)));
                }
                self.other_elements(op, from, to);
                Ok(())
            }
            _ => self.alter(op, from, to),
        }
    }

    fn other_elements(&mut self, op: usize, from: &Object, to: &Object) {
        let (gone, come) = nft::difference(from, to);
        let messages = nft::change(&gone, true).chain(nft::change(&come, false));
        messages.for_each(|(flags, message)| self.write(&Place::Nft, op, flags, message));
    }

    pub(super) fn create_bridges(&mut self, range: Range<usize>) -> Result<(), Stop> {
        let bridges: Vec<(usize, &Bridge)> = self.ops[range.clone()]
            .iter()
            .zip(range)
            .filter_map(|(op, index)| match op {
                Op::Create(Object::Bridge(bridge)) => Some((index, bridge)),
                _ => None,
            })
            .collect();
        for (op, bridge) in &bridges {
            self.write(&Place::Host, *op, NEW, link::new_bridge(bridge));
            self.ask(*op, &bridge.name);
        }
        let sent = self.flush(|queue| queue.place == Place::Host);
        for (op, bridge) in &bridges {
            if self.touched[*op]
                && let Some(facts) = self.answers.remove(op)
            {
                self.linux.links.insert(LinkId::host(&bridge.name), facts.index);
            }
        }
        sent?;
        for (op, bridge) in &bridges {
            sysctl::hear_no_routers(&bridge.name).map_err(|error| self.stop(*op, &error))?;
            let index = self.index(*op, &LinkId::host(&bridge.name))?;
            self.describe_bridge(*op, index, bridge)?;
            self.write(&Place::Host, *op, 0, link::set_up_with_mtu(index, bridge.mtu));
            if bridge.ipv6 {
                self.write(&Place::Host, *op, NEW, address::create_link_local(index, bridge.mac));
            }
        }
        Ok(())
    }

    /// What is said of a bridge once it is there.
    pub(super) fn describe_bridge(&mut self, op: usize, index: u32, bridge: &Bridge) -> Result<(), Stop> {
        if bridge.proxy_arp {
            sysctl::answer_at_once(Family::V4, &bridge.name).map_err(|error| self.stop(op, &error))?;
        }
        let traits = IpTraits::of_bridge(bridge, self.linux.ipv6);
        self.write(&Place::Host, op, 0, link::describe(index, Some(&bridge.alias), traits));
        if self.linux.filtering.on(&bridge.name) {
            self.write(&Place::Host, op, 0, link::show_frames(index, true));
        }
        Ok(())
    }

    /// Creates veth pairs: one batch makes them and learns their indexes; a second on the host and one in each
    /// namespace complete them, and take along what follows.
    pub(super) fn create_veths(&mut self, range: Range<usize>) -> Result<(), Stop> {
        let veths: Vec<(usize, &Veth)> = self.ops[range.clone()]
            .iter()
            .zip(range)
            .filter_map(|(op, index)| match op {
                Op::Create(Object::Veth(veth)) => Some((index, veth)),
                _ => None,
            })
            .collect();
        let mut messages = Vec::new();
        for (op, veth) in &veths {
            let bridge = self.index(*op, &LinkId::host(&veth.bridge))?;
            let netns = match &veth.peer.netns {
                Netns::Host => None,
                Netns::Named(name) => {
                    self.open(*op, name)?;
                    self.linux.namespaces.get(name).map(Handle::raw)
                }
            };
            messages.push((*op, veth, link::new_veth(veth, bridge, netns)));
        }
        for index in self.linux.reaper.reaped() {
            self.linux.limbo.retain(|limbo| limbo.host != index);
        }
        for (op, veth) in &veths {
            self.free_name(*op, &LinkId::host(&veth.name));
            self.free_name(*op, &veth.peer);
        }
        // The pair is made by the host's socket, the peer's name freed by that of its namespace.
        self.flush(|queue| queue.frees_names() && queue.place != Place::Host)?;
        for (op, veth, message) in messages {
            self.write(&Place::Host, op, NEW, message);
            self.ask(op, &veth.name);
        }
        let sent = self.flush(|queue| queue.place == Place::Host);
        for (op, veth) in &veths {
            // If the name was taken, the answer is about a link that is not ours.
            if self.touched[*op]
                && let Some(facts) = self.answers.remove(op)
            {
                self.linux.links.insert(LinkId::host(&veth.name), facts.index);
                // The host end's answer names its peer: no question in the namespace is needed.
                if let Some(peer) = facts.peer {
                    self.linux.links.insert(veth.peer.clone(), peer);
                }
            }
        }
        sent?;
        for (op, veth) in veths {
            let host = self.index(op, &LinkId::host(&veth.name))?;
            let peer = self.index(op, &veth.peer)?;
            // The host end is only a port. It generates its link-local address when the peer comes up, not before.
            let port = IpTraits { no_ipv6_link_local: self.linux.ipv6, ..IpTraits::default() };
            self.write(&Place::Host, op, 0, link::describe_port(host, &veth.alias, port, veth.isolated));
            if let Some(vlan) = veth.vlan {
                self.tag_port(op, &veth.bridge, host, vlan)?;
            }
            let traits = IpTraits {
                no_ipv6_link_local: !veth.ipv6 && self.linux.ipv6,
                promote_secondaries: true,
                // The bridge has a route to the same prefix, so packets come by another link than replies leave.
                loose_reverse_path: veth.peer.netns == Netns::Host,
                proxy_arp: false,
            };
            let place = Place::from(&veth.peer.netns);
            if traits.no_ipv6_link_local {
                self.write(&place, op, 0, link::describe(peer, None, traits));
                self.write(&place, op, 0, link::set_up(peer, true));
            } else {
                self.write(&place, op, 0, link::describe_up(peer, traits));
            }
        }
        Ok(())
    }

    /// Asks for the index of a link that is made in the same batch.
    pub(super) fn ask(&mut self, op: usize, name: &str) {
        let tag = Tag { op, writes: false, tolerate: &[] };
        self.push(&Place::Host, tag, 0, link::get(name));
    }

    /// Adds or takes away the set elements of an object that is nothing else.
    pub(super) fn elements(&mut self, op: usize, object: &Object, delete: bool) {
        if let Object::Service(service) = object {
            let (from, to) = if delete { (Some(service), None) } else { (None, Some(service)) };
            self.stale.extend(conntrack::stale(from, to));
        }
        for (flags, message) in nft::change(&nft::of(object), delete) {
            self.write(&Place::Nft, op, flags, message);
        }
    }

    fn take_in(&mut self, name: &str, existing: &Existing) -> io::Result<Handle> {
        let Linux { folder, paths, .. } = &mut *self.linux;
        let handle = folder.take_in(paths, name, existing)?;
        // The one that has it already was not there when the call was decided.
        match self.linux.namespace_of(handle.identity()?) {
            None => Ok(handle),
            Some(_) => {
                self.linux.folder.unbind(name)?;
                Err(io::Error::from_raw_os_error(libc::EALREADY))
            }
        }
    }

    /// Takes hcnd's mark from a namespace that lives on with who made it.
    pub(super) fn unmark(&mut self, op: usize, netns: &NetnsFile) {
        if netns.from.is_some() && self.linux.namespaces.contains_key(&netns.name) {
            let tag = Tag { op, writes: true, tolerate: &[libc::ENODEV] };
            self.push(&Place::Named(netns.name.clone()), tag, 0, link::unmark(LOOPBACK));
        }
    }

    fn hold(&mut self, op: usize, port: &HeldPort) -> Result<(), Stop> {
        // A removal that is not settled holds the port still.
        let retired = self.linux.retired.get(&Key::HeldPort(port.clone())).and_then(VecDeque::back);
        let held = match retired {
            Some(Retired::Port(held)) => held.clone(),
            _ => ports::hold(port).map_err(|error| self.stop(op, &error))?,
        };
        self.linux.ports.insert(port.clone(), held);
        self.touched[op] = true;
        Ok(())
    }

    pub(super) fn reserve(&mut self, op: usize, ports: ReservedPorts) -> Result<(), Stop> {
        self.linux.reserved.add(ports).map_err(|error| self.stop(op, &error))?;
        self.touched[op] = true;
        Ok(())
    }

    pub(super) fn forward(&mut self, op: usize, claim: &Forwarding) -> Result<(), Stop> {
        let links = &self.linux.links;
        let ours = |name: &str| links.contains_key(&LinkId::host(name));
        match self.linux.forwarding.claim(claim, ours) {
            Ok(()) => {
                self.touched[op] = true;
                Ok(())
            }
            Err(error) => Err(self.stop(op, &error)),
        }
    }

    /// Whether no prefix of the link covers the route's gateway.
    pub(super) fn needs_on_link(&self, route: &Route) -> bool {
        let covers = |gateway: &IpAddr| {
            self.linux
                .prefixes
                .get(&route.link)
                .is_some_and(|prefixes| prefixes.iter().any(|prefix| prefix.contains(gateway)))
        };
        route.gateway.is_some_and(|gateway| !covers(&gateway))
    }

    /// The index of a link of the host that should be ours; `None` when it is gone.
    pub(super) fn own_link(&mut self, op: usize, name: &str) -> Result<Option<u32>, Stop> {
        if let Some(index) = self.linux.links.remove(&LinkId::host(name)) {
            return Ok(Some(index));
        }
        let facts = self.look_up(op, &Place::Host, name)?;
        self.check_ours(op, facts).map(|facts| facts.map(|facts| facts.index))
    }

    pub(super) fn check_ours(
        &mut self,
        op: usize,
        facts: Option<link::LinkFacts>,
    ) -> Result<Option<link::LinkFacts>, Stop> {
        match facts {
            Some(facts) if facts.group != GROUP => {
                let message =
                    format!("the link {} is not ours to touch (its group is not hcnd's)", facts.name);
                self.note(op, OpError { errno: Some(libc::EPERM), message });
                Err(Stop)
            }
            other => Ok(other),
        }
    }
}
