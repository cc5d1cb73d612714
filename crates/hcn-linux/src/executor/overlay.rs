//! What carries an overlay to other hosts: VXLAN links, where they send frames, and neighbours.

use std::net::IpAddr;

use hcn_dataplane::{FdbEntry, LinkId, Mac, Neighbour, Route, Vxlan};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::{Away, Place, Run, Stop, Tag};
use crate::link::{self, IpTraits};
use crate::{neighbour, route};

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
const SET: u16 = NLM_F_CREATE | NLM_F_REPLACE;
/// Gone already, as wanted.
const GONE: &[i32] = &[libc::ENOENT, libc::ENODEV, libc::ESRCH, libc::EINVAL];

/// Where frames to a MAC address are sent.
pub(crate) type WayKey = (String, Mac);
/// Which neighbour of a link is where.
pub(crate) type NeighbourKey = (String, IpAddr);

impl Run<'_> {
    pub(super) fn make_vxlan(&mut self, op: usize, vxlan: &Vxlan, _again: bool) -> Result<(), Stop> {
        let bridge = self.index(op, &LinkId::host(&vxlan.bridge))?;
        self.write(&Place::Host, op, NEW, link::new_vxlan(vxlan, bridge));
        self.ask(op, &vxlan.name);
        let sent = self.flush(|queue| queue.place == Place::Host);
        if self.touched[op]
            && let Some(facts) = self.answers.remove(&op)
        {
            self.linux.links.insert(LinkId::host(&vxlan.name), facts.index);
        }
        sent?;
        let index = self.index(op, &LinkId::host(&vxlan.name))?;
        let traits = IpTraits { no_ipv6_link_local: self.linux.ipv6, ..IpTraits::default() };
        self.write(&Place::Host, op, 0, link::describe_tunnel(index, &vxlan.alias, traits));
        // Last: one that is up is complete.
        self.write(&Place::Host, op, 0, link::plug(index, bridge));
        Ok(())
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

    pub(super) fn make_fdb_entry(&mut self, op: usize, entry: &FdbEntry, _again: bool) -> Result<(), Stop> {
        let index = self.index(op, &LinkId::host(&entry.vxlan))?;
        let key = (entry.vxlan.clone(), entry.mac);
        self.linux.ways.push(key.clone(), &entry.claimant, entry.clone());
        self.write(&Place::Host, op, SET, neighbour::create_way(index, entry));
        self.claimed(op, |run| {
            run.linux.ways.remove(&key, &entry.claimant);
        })
    }

    pub(super) fn unmake_fdb_entry(&mut self, op: usize, entry: &FdbEntry, away: Away) -> Result<(), Stop> {
        self.touched[op] = true;
        let key = (entry.vxlan.clone(), entry.mac);
        if !self.linux.ways.remove(&key, &entry.claimant) || away == (Away::Removed { implied: true }) {
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
        _again: bool,
    ) -> Result<(), Stop> {
        let index = self.index(op, &LinkId::host(&neighbour.link))?;
        let key = (neighbour.link.clone(), neighbour.address);
        let routed = self.linux.neighbours.top(&key).is_some_and(|other| other.routed);
        self.linux.neighbours.push(key.clone(), &neighbour.claimant, neighbour.clone());
        let message = neighbour::create(index, neighbour.address, neighbour.mac);
        self.write(&Place::Host, op, SET, message);
        if neighbour.routed && !routed {
            // Another claim, or one of before a kill, may have made it.
            let tag = Tag { op, writes: true, tolerate: &[libc::EEXIST] };
            self.push(&Place::Host, tag, NEW, route::create(index, &route_to(neighbour), false));
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
        let held = self.linux.neighbours.remove(&key, &neighbour.claimant);
        if !held || away == (Away::Removed { implied: true }) {
            return Ok(());
        }
        let lenient = away == Away::TakenBack;
        let Some(index) = self.index_if_any(op, &LinkId::host(&neighbour.link), lenient)? else {
            return Ok(());
        };
        let next = self.linux.neighbours.top(&key).cloned();
        let tag = || Tag { op, writes: true, tolerate: GONE };
        if neighbour.routed && next.as_ref().is_none_or(|next| !next.routed) {
            self.push(&Place::Host, tag(), 0, route::delete(index, &route_to(neighbour)));
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
fn route_to(neighbour: &Neighbour) -> Route {
    Route {
        link: LinkId::host(&neighbour.link),
        destination: IpNet::from(neighbour.address),
        gateway: None,
        metric: 0,
    }
}
