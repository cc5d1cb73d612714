//! A link of the host becomes a port of a bridge, which stands for it from then on: addresses and routes move there.
//!
//! The host must not be cut off, whatever fails. So nothing is taken from one link before the other one has all of it;
//! while both have it packets find their way, since the host takes what is for it whichever link it comes by. What is
//! moved is what the kernel has at that moment, not what was noted of it: so a move that was interrupted anywhere is
//! gone on with, or back, from wherever things are. What was noted counts only where neither link has anything.
//!
//! Where a gateway answered before it must answer by the bridge, too, or all is moved back.

use std::io;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hcn_dataplane::{Address, Enslaved, LinkId, Mac, OpError, Route};
use netlink_packet_core::NLM_F_CREATE;

use super::{Away, Place, Run, Stop, Tag, facts_of, quietly};
use crate::announce;
use crate::link::{self, LinkFacts};
use crate::moving::{Belongings, Carrier};
use crate::neighbours;
use crate::socket::Batch;
use crate::{Linux, address, route, sysctl, vlans};

/// Beside what is there already, such as the same route by another link.
const BESIDE: u16 = NLM_F_CREATE | libc::NLM_F_APPEND as u16;
/// How long a gateway may take to answer before the move.
const BEFORE: Duration = Duration::from_secs(1);
/// And after it.
const AFTER: Duration = Duration::from_secs(5);
/// How long the bridge may take to notice that its port has a carrier.
const CARRIER: Duration = Duration::from_millis(1500);
/// How long the kernel may take to make an IPv6 address the host's own.
const OWN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(1);

const THERE: &[i32] = &[libc::EEXIST];
const GONE: &[i32] = &[libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENODEV];

impl Run<'_> {
    pub(super) fn make_enslaved(&mut self, op: usize, wanted: &Enslaved, _again: bool) -> Result<(), Stop> {
        let uplink = self.foreign(op, &wanted.link)?;
        let bridge = self.index(op, &LinkId::host(&wanted.bridge))?;
        if uplink.master.is_some_and(|master| master != bridge) {
            let message = format!("the link {} is part of another link already", wanted.link);
            self.note(op, OpError { errno: Some(libc::EBUSY), message });
            return Err(Stop);
        }
        sysctl::hear_routers_as(&wanted.bridge, &wanted.link).map_err(|error| self.stop(op, &error))?;
        let from = Carrier { index: uplink.index, name: &wanted.link };
        let to = Carrier { index: bridge, name: &wanted.bridge };
        let gateways: Vec<IpAddr> = wanted.routes.iter().filter_map(|route| route.gateway).collect();
        let answering = if self.back || uplink.master.is_some() {
            Vec::new()
        } else {
            neighbours::reached(self.linux, from, &gateways, BEFORE)
        };
        self.write(&Place::Host, op, 0, link::plug(uplink.index, bridge));
        if quietly(self.linux, |linux| facts_of(linux, bridge)).is_some_and(|facts| facts.knows_vlans) {
            // Endpoints may be in VLANs.
            self.write(&Place::Host, op, 0, vlans::trunk(uplink.index));
        }
        self.flush(|queue| queue.place == Place::Host)?;
        if uplink.operational {
            quietly(self.linux, |linux| wait_for_carrier(linux, bridge));
        }
        self.carry(op, from, to, wanted)?;
        announce_all(self.linux, to);
        let reached = neighbours::reached(self.linux, to, &answering, AFTER);
        match answering.iter().find(|gateway| !reached.contains(gateway)) {
            Some(silent) => {
                let message = format!(
                    "{silent} has answered on {} and does not answer any more since it is a port of {}",
                    wanted.link, wanted.bridge
                );
                self.note(op, OpError { errno: Some(libc::ETIMEDOUT), message });
                Err(Stop)
            }
            None => Ok(()),
        }
    }

    pub(super) fn unmake_enslaved(&mut self, op: usize, wanted: &Enslaved, _away: Away) -> Result<(), Stop> {
        let bridge = self.index_if_any(op, &LinkId::host(&wanted.bridge), true)?;
        let uplink = self.look_up(op, &Place::Host, &wanted.link)?;
        self.touched[op] = true;
        // A link that is gone has nothing to get back.
        let Some(uplink) = uplink else { return Ok(()) };
        let to = Carrier { index: uplink.index, name: &wanted.link };
        // A bridge that is gone has taken what it had with it.
        let from = Carrier { index: bridge.unwrap_or_default(), name: &wanted.bridge };
        // First, so that what is asked of neighbours by the link comes back by it. Until all is moved the host takes what
        // is for it by this link, too.
        if uplink.master.is_some() && uplink.master == bridge {
            self.write(&Place::Host, op, 0, link::unplug(uplink.index));
        }
        self.flush(|queue| queue.place == Place::Host)?;
        self.carry(op, from, to, wanted)?;
        announce_all(self.linux, to);
        Ok(())
    }

    /// Moves everything from one link to the other.
    fn carry(&mut self, op: usize, from: Carrier<'_>, to: Carrier<'_>, noted: &Enslaved) -> Result<(), Stop> {
        let mut read = |index| Belongings::read(&mut self.linux.wire, &self.linux.host, index);
        let (there, here) = match (read(from.index), read(to.index)) {
            (Ok(there), Ok(here)) => (there, here),
            (Err(error), _) | (_, Err(error)) => return Err(self.stop(op, &error)),
        };
        let tag = |tolerate| Tag { op, writes: true, tolerate };
        if there.is_bare() && here.is_bare() {
            self.give_noted(op, to, noted);
        }
        for message in there.give(from, to) {
            self.push(&Place::Host, tag(THERE), BESIDE, message);
        }
        self.flush(|queue| queue.place == Place::Host)?;
        if self.errors.contains_key(&op) {
            // What the other link did not take stays.
            return Err(Stop);
        }
        quietly(self.linux, |linux| wait_until_own(linux, &there, to.index));
        // One by one, the last first: what is kept after a refusal are those that come first, so that bringing back the
        // others brings back their order.
        for message in there.take(from) {
            self.push(&Place::Host, tag(GONE), 0, message);
            self.flush(|queue| queue.place == Place::Host)?;
            if self.errors.contains_key(&op) {
                break;
            }
        }
        // What was there, or gone, already is as wanted.
        self.missed.remove(&op);
        if self.errors.contains_key(&op) { Err(Stop) } else { Ok(()) }
    }

    /// Gives a link what was noted when the network was made.
    fn give_noted(&mut self, op: usize, to: Carrier<'_>, noted: &Enslaved) {
        let link = LinkId::host(to.name);
        let tag = || Tag { op, writes: true, tolerate: THERE };
        for address in &noted.addresses {
            let address = Address { link: link.clone(), address: *address, prefix_route: true };
            self.push(&Place::Host, tag(), BESIDE, address::create(to.index, &address));
        }
        for route in &noted.routes {
            let covers = |gateway: &IpAddr| noted.addresses.iter().any(|address| address.contains(gateway));
            let on_link = route.gateway.is_some_and(|gateway| !covers(&gateway));
            let route = Route {
                link: link.clone(),
                destination: route.destination,
                gateway: route.gateway,
                metric: route.metric,
            };
            self.push(&Place::Host, tag(), BESIDE, route::create(to.index, &route, on_link));
        }
    }
}

/// Gives everything that a bridge has back to a port of it that is not hcnd's, and the port its freedom.
///
/// # Errors
/// The kernel refused; nothing was taken from the bridge then.
pub(crate) fn give_back(linux: &mut Linux, bridge: &LinkFacts, port: &LinkFacts) -> io::Result<()> {
    let found = Belongings::read(&mut linux.wire, &linux.host, bridge.index)?;
    let stands_for_it = bridge.mac == port.mac || found.leads_further();
    let from = Carrier { index: bridge.index, name: &bridge.name };
    let to = Carrier { index: port.index, name: &port.name };
    let mut free = Batch::new();
    free.push((), 0, link::unplug(port.index));
    for fate in linux.wire.exchange(&linux.host, &mut free)? {
        fate?;
    }
    if stands_for_it {
        let mut batch = Batch::new();
        found.give(from, to).into_iter().for_each(|message| batch.push((), BESIDE, message));
        for fate in linux.wire.exchange(&linux.host, &mut batch)? {
            match fate {
                Err(refusal) if !THERE.contains(&refusal.errno) => return Err(refusal.into()),
                _ => {}
            }
        }
    }
    let mut batch = Batch::new();
    if stands_for_it {
        wait_until_own(linux, &found, to.index);
        found.take(from).into_iter().for_each(|message| batch.push((), 0, message));
    }
    linux.wire.exchange(&linux.host, &mut batch)?;
    announce_all(linux, to);
    Ok(())
}

/// Waits until a bridge carries packets.
fn wait_for_carrier(linux: &mut Linux, bridge: u32) {
    let deadline = Instant::now() + CARRIER;
    while !facts_of(linux, bridge).is_some_and(|facts| facts.operational) && Instant::now() < deadline {
        sleep(PAUSE);
    }
}

/// Waits until the host takes what it gets for the addresses by the link that they were given to.
fn wait_until_own(linux: &mut Linux, given: &Belongings, to: u32) {
    let deadline = Instant::now() + OWN;
    while given.not_yet_own(&mut linux.wire, &linux.host, to).is_ok_and(|left| !left.is_empty())
        && Instant::now() < deadline
    {
        sleep(PAUSE);
    }
}

/// Tells the neighbours of a link where the host's addresses are now.
fn announce_all(linux: &mut Linux, at: Carrier<'_>) {
    let (mac, found) = quietly(linux, |linux| {
        let mac: Option<Mac> = facts_of(linux, at.index).and_then(|facts| facts.mac);
        (mac, Belongings::read(&mut linux.wire, &linux.host, at.index))
    });
    if let (Some(mac), Ok(found)) = (mac, found) {
        for address in found.addresses() {
            announce::tell(&linux.packets, at.index, mac, address);
        }
    }
}
