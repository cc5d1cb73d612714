//! What carries an overlay to other hosts: VXLAN links, where they send frames, and neighbours.

use std::net::IpAddr;

use hcn_dataplane::{FdbEntry, LinkId, Mac, Neighbour, Object, Route, Vxlan};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::{Away, Place, Run, Stop, Tag};
use crate::link::{self, IpTraits};
use crate::{Retired, neighbour, route};

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
const SET: u16 = NLM_F_CREATE | NLM_F_REPLACE;
/// Gone already, as wanted.
const GONE: &[i32] = &[libc::ENOENT, libc::ENODEV, libc::ESRCH, libc::EINVAL];

/// Where frames to a MAC address are sent.
pub(crate) type WayKey = (String, Mac);
/// Which neighbour of a link is where.
pub(crate) type NeighbourKey = (String, IpAddr);

impl Run<'_> {
    pub(super) fn make_vxlan(&mut self, op: usize, vxlan: &Vxlan, again: bool) -> Result<(), Stop> {
        let bridge = self.index(op, &LinkId::host(&vxlan.bridge))?;
        // Deleting it may have been refused.
        let left = if again { self.own_link(op, &vxlan.name)? } else { None };
        match left {
            Some(index) => {
                self.linux.links.insert(LinkId::host(&vxlan.name), index);
            }
            None => self.new_vxlan(op, vxlan, bridge)?,
        }
        let index = self.index(op, &LinkId::host(&vxlan.name))?;
        let traits = IpTraits { no_ipv6_link_local: self.linux.ipv6, ..IpTraits::default() };
        self.write(&Place::Host, op, 0, link::describe_tunnel(index, &vxlan.alias, traits));
        // Last: one that is up is complete.
        self.write(&Place::Host, op, 0, link::plug(index, bridge));
        Ok(())
    }

    fn new_vxlan(&mut self, op: usize, vxlan: &Vxlan, bridge: u32) -> Result<(), Stop> {
        self.write(&Place::Host, op, NEW, link::new_vxlan(vxlan, bridge));
        self.ask(op, &vxlan.name);
        let sent = self.flush(|queue| queue.place == Place::Host);
        if self.touched[op]
            && let Some(facts) = self.answers.remove(&op)
        {
            self.linux.links.insert(LinkId::host(&vxlan.name), facts.index);
        }
        sent
    }

    /// It goes at once, and is made anew if it is wanted back: one that was set aside would keep its VNI and port from
    /// others. That takes the kernel 15 to 30 ms.
    pub(super) fn unmake_vxlan(&mut self, op: usize, vxlan: &Vxlan, _away: Away) -> Result<(), Stop> {
        let found = self.own_link(op, &vxlan.name)?;
        self.touched[op] = true;
        if let Some(index) = found {
            self.push(&Place::Host, Tag { op, writes: true, tolerate: GONE }, 0, link::delete(index));
        }
        Ok(())
    }

    pub(super) fn make_fdb_entry(&mut self, op: usize, entry: &FdbEntry, again: bool) -> Result<(), Stop> {
        let index = self.index(op, &LinkId::host(&entry.vxlan))?;
        let key = (entry.vxlan.clone(), entry.mac);
        let depth = self.depth(&Object::FdbEntry(entry.clone()), again);
        if !self.linux.ways.insert(key.clone(), &entry.claimant, entry.clone(), depth) {
            self.touched[op] = true;
            return Ok(());
        }
        self.write(&Place::Host, op, SET, neighbour::create_way(index, entry));
        self.claimed(op, |run| {
            run.linux.ways.remove(&key, &entry.claimant);
        })
    }

    pub(super) fn unmake_fdb_entry(&mut self, op: usize, entry: &FdbEntry, away: Away) -> Result<(), Stop> {
        self.touched[op] = true;
        let key = (entry.vxlan.clone(), entry.mac);
        let gone = self.linux.ways.remove(&key, &entry.claimant);
        if !self.gives_up(&Object::FdbEntry(entry.clone()), gone, away) {
            return Ok(());
        }
        let lenient = away == Away::TakenBack;
        let Some(index) = self.index_if_any(op, &LinkId::host(&entry.vxlan), lenient)? else { return Ok(()) };
        match self.linux.ways.top(&key).cloned() {
            Some(other) => self.write(&Place::Host, op, SET, neighbour::create_way(index, &other)),
            None => {
                for message in neighbour::delete_way(index, entry.mac) {
                    self.push(&Place::Host, Tag { op, writes: true, tolerate: GONE }, 0, message);
                }
            }
        }
        Ok(())
    }

    pub(super) fn make_neighbour(
        &mut self,
        op: usize,
        neighbour: &Neighbour,
        again: bool,
    ) -> Result<(), Stop> {
        let index = self.index(op, &LinkId::host(&neighbour.link))?;
        let key = (neighbour.link.clone(), neighbour.address);
        let depth = self.depth(&Object::Neighbour(neighbour.clone()), again);
        let routed = self.linux.neighbours.top(&key).is_some_and(|other| other.routed);
        if !self.linux.neighbours.insert(key.clone(), &neighbour.claimant, neighbour.clone(), depth) {
            self.touched[op] = true;
            return Ok(());
        }
        let message = neighbour::create(index, neighbour.address, neighbour.mac);
        self.write(&Place::Host, op, SET, message);
        if neighbour.routed && !routed {
            // Another claim, or one of before a kill, may have made it.
            let tag = Tag { op, writes: true, tolerate: &[libc::EEXIST] };
            self.push(
                &Place::Host,
                tag,
                NEW,
                route::create(index, &route_to(&neighbour.link, neighbour.address), false),
            );
        }
        self.claimed(op, |run| {
            run.linux.neighbours.remove(&key, &neighbour.claimant);
        })
    }

    pub(super) fn unmake_neighbour(
        &mut self,
        op: usize,
        neighbour: &Neighbour,
        away: Away,
    ) -> Result<(), Stop> {
        self.touched[op] = true;
        let key = (neighbour.link.clone(), neighbour.address);
        let gone = self.linux.neighbours.remove(&key, &neighbour.claimant);
        if !self.gives_up(&Object::Neighbour(neighbour.clone()), gone, away) {
            return Ok(());
        }
        let lenient = away == Away::TakenBack;
        let Some(index) = self.index_if_any(op, &LinkId::host(&neighbour.link), lenient)? else {
            return Ok(());
        };
        let next = self.linux.neighbours.top(&key).cloned();
        let tag = || Tag { op, writes: true, tolerate: GONE };
        if neighbour.routed && next.as_ref().is_none_or(|next| !next.routed) {
            self.push(
                &Place::Host,
                tag(),
                0,
                route::delete(index, &route_to(&neighbour.link, neighbour.address)),
            );
        }
        match next {
            Some(next) => {
                self.write(&Place::Host, op, SET, neighbour::create(index, next.address, next.mac));
            }
            None => {
                self.push(&Place::Host, tag(), 0, neighbour::delete(index, neighbour.address));
            }
        }
        Ok(())
    }

    /// How many claims of others are to be below one that is made: those that were when it was given up, else all.
    fn depth(&mut self, claim: &Object, again: bool) -> Option<usize> {
        match again.then(|| self.unretire(&claim.key())).flatten() {
            Some(Retired::Claim(depth)) => Some(depth),
            _ => None,
        }
    }

    /// Notes where a claim was, if it may come back. Says whether the kernel is to be told.
    fn gives_up(&mut self, claim: &Object, gone: Option<(usize, bool)>, away: Away) -> bool {
        if away != Away::TakenBack {
            self.retire(claim.key(), gone.map_or(Retired::Nothing, |(depth, _)| Retired::Claim(depth)));
        }
        let held = gone.is_some_and(|(_, held)| held);
        // What stands on a link goes with it.
        held && away != (Away::Removed { implied: true })
    }

    /// Sends what makes a claim hold, and forgets the claim if it was refused.
    fn claimed(&mut self, op: usize, forget: impl FnOnce(&mut Self)) -> Result<(), Stop> {
        let sent = self.flush(|queue| queue.place == Place::Host);
        if self.errors.contains_key(&op) && !self.touched[op] {
            forget(self);
        }
        sent
    }
}

/// The route to a neighbour alone.
pub(crate) fn route_to(link: &str, neighbour: IpAddr) -> Route {
    Route { link: LinkId::host(link), destination: IpNet::from(neighbour), gateway: None, metric: 0 }
}
