//! Ports besides those of veth pairs: joints between bridges, TAP interfaces; and what keeps a port from others.

use hcn_dataplane::{Isolation, Joint, Key, LinkId, Mac, Tap, Veth};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::{Away, Place, Run, Stop, Tag, facts_of, quietly};
use crate::link::{self, IpTraits, PortFacts};
use crate::neighbour::{self, NeighbourFacts};
use crate::{Retired, nft, tun, vlans};

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// Gone already, as wanted.
const GONE: &[i32] = &[libc::ENODEV];
const SET: u16 = NLM_F_CREATE | NLM_F_REPLACE;

/// What the host's end of an endpoint is on a bridge.
pub(super) struct Port<'a> {
    bridge: &'a str,
    alias: &'a str,
    isolated: bool,
    vlan: Option<u16>,
}

impl<'a> From<&'a Veth> for Port<'a> {
    fn from(veth: &'a Veth) -> Self {
        Self { bridge: &veth.bridge, alias: &veth.alias, isolated: veth.isolated, vlan: veth.vlan }
    }
}

impl<'a> From<&'a Tap> for Port<'a> {
    fn from(tap: &'a Tap) -> Self {
        Self { bridge: &tap.bridge, alias: &tap.alias, isolated: tap.isolated, vlan: tap.vlan }
    }
}

impl Run<'_> {
    /// Makes a port another one, in place.
    pub(super) fn change_port(
        &mut self,
        op: usize,
        link: u32,
        [from, to]: [&Port<'_>; 2],
    ) -> Result<(), Stop> {
        if from.bridge != to.bridge {
            self.move_port(op, link, to)
        } else if from.vlan != to.vlan {
            self.tag_port(op, to.bridge, link, to.vlan.unwrap_or(vlans::FIRST_VLAN))
        } else {
            Ok(())
        }
    }

    /// Makes a port what it was made as.
    pub(super) fn straighten_port(&mut self, op: usize, link: u32, port: &Port<'_>) -> Result<(), Stop> {
        self.move_port(op, link, port)?;
        let bridge = self.index(op, &LinkId::host(port.bridge))?;
        let filters =
            quietly(self.linux, |linux| facts_of(linux, bridge)).is_some_and(|facts| facts.filters_vlans);
        match port.vlan {
            None if filters => self.tag_port(op, port.bridge, link, vlans::FIRST_VLAN),
            _ => Ok(()),
        }
    }

    /// Makes a link a port of another bridge of the same network. Connections go on: the new bridge knows at once whose
    /// frames go to the port, which the old one had learned; it would send them over the joint otherwise, as before.
    pub(super) fn move_port(&mut self, op: usize, link: u32, port: &Port<'_>) -> Result<(), Stop> {
        let bridge = self.index(op, &LinkId::host(port.bridge))?;
        self.flush(|queue| queue.place == Place::Host)?;
        let dump = self.linux.wire.dump(&self.linux.host, &neighbour::get_learned(link));
        let learned = dump.map_err(|error| self.stop(op, &error))?;
        let learned = learned.iter().filter_map(|payload| NeighbourFacts::read(payload));
        let macs: Vec<Mac> =
            learned.filter(|facts| facts.index == link && facts.ages).filter_map(|facts| facts.mac).collect();
        self.write(&Place::Host, op, 0, link::plug(link, bridge));
        // A port of another bridge begins as every port.
        self.write(&Place::Host, op, 0, link::describe_port(link, port.alias, self.of_port(), port.isolated));
        if let Some(vlan) = port.vlan {
            self.tag_port(op, port.bridge, link, vlan)?;
        }
        for mac in macs {
            self.write(&Place::Host, op, SET, neighbour::learn(link, mac, port.vlan));
        }
        Ok(())
    }

    pub(super) fn make_joint(&mut self, op: usize, joint: &Joint, again: bool) -> Result<(), Stop> {
        self.linux.joined.insert(joint.bridges[1].clone(), joint.clone());
        if again {
            self.restore_pair(op, &Key::Joint(joint.ends[0].clone()), &as_pair(joint))?;
            // As every port, it begins anew.
            if joint.isolated
                && let Some(index) = self.linux.links.get(&LinkId::host(&joint.ends[0])).copied()
            {
                let tag = Tag { op, writes: true, tolerate: GONE };
                self.push(&Place::Host, tag, 0, link::set_port(index, &PortFacts::of_joint(joint, 0)));
            }
            return Ok(());
        }
        let [first, second] = &joint.bridges;
        let first = self.index(op, &LinkId::host(first))?;
        let second = self.index(op, &LinkId::host(second))?;
        let [here, there] = joint.ends.each_ref().map(|end| LinkId::host(end));
        self.free_name(op, &here);
        self.free_name(op, &there);
        self.write(&Place::Host, op, NEW, link::new_joint(joint, first));
        self.ask(op, &here.name);
        let sent = self.flush(|queue| queue.place == Place::Host);
        if self.touched[op]
            && let Some(facts) = self.answers.remove(&op)
        {
            self.linux.links.insert(here.clone(), facts.index);
            if let Some(peer) = facts.peer {
                self.linux.links.insert(there.clone(), peer);
            }
        }
        sent?;
        let (here, there) = (self.index(op, &here)?, self.index(op, &there)?);
        for end in [here, there] {
            self.write(&Place::Host, op, 0, link::describe(end, Some(&joint.alias), self.of_port()));
        }
        self.write(&Place::Host, op, 0, link::plug(there, second));
        if joint.isolated {
            self.write(&Place::Host, op, 0, link::set_port(here, &PortFacts::of_joint(joint, 0)));
        }
        Ok(())
    }

    pub(super) fn unmake_joint(&mut self, op: usize, joint: &Joint, away: Away) -> Result<(), Stop> {
        self.linux.joined.remove(&joint.bridges[1]);
        let pair = as_pair(joint);
        let found = self.own_veth(op, &pair)?;
        if let Some(found) = &found {
            self.set_veth_aside(op, &pair, found);
        }
        match (away, found) {
            (Away::TakenBack, Some(found)) => self.doomed.push(found.host),
            (Away::TakenBack, None) => {}
            (Away::Removed { .. }, found) => {
                self.touched[op] = true;
                let retired = found.map_or(Retired::Nothing, |found| Retired::Link {
                    index: found.host,
                    peer: found.peer,
                    incomplete: false,
                });
                self.retire(Key::Joint(joint.ends[0].clone()), retired);
            }
        }
        Ok(())
    }

    pub(super) fn make_tap(&mut self, op: usize, tap: &Tap, again: bool) -> Result<(), Stop> {
        if again {
            return self.restore_tap(op, tap);
        }
        let bridge = self.index(op, &LinkId::host(&tap.bridge))?;
        // What is still to be sent may free the name.
        self.flush(|queue| queue.place == Place::Host)?;
        let made = tun::Tap::create(&tap.name, tap.owner).map_err(|error| self.stop(op, &error))?;
        // Until it is kept it goes by itself, whatever fails and whoever is killed.
        let Some(facts) = self.look_up(op, &Place::Host, &tap.name)? else {
            return Err(self.stop(op, &std::io::Error::from_raw_os_error(libc::ENODEV)));
        };
        let index = facts.index;
        self.write(&Place::Host, op, 0, link::mark_ours(index, &tap.alias, tap.mtu));
        self.flush(|queue| queue.place == Place::Host)?;
        made.keep().map_err(|error| self.stop(op, &error))?;
        self.linux.links.insert(LinkId::host(&tap.name), index);
        self.write(&Place::Host, op, 0, link::plug(index, bridge));
        self.write(&Place::Host, op, 0, link::describe_port(index, &tap.alias, self.of_port(), tap.isolated));
        match tap.vlan {
            Some(vlan) => self.tag_port(op, &tap.bridge, index, vlan),
            None => Ok(()),
        }
    }

    pub(super) fn unmake_tap(&mut self, op: usize, tap: &Tap, away: Away) -> Result<(), Stop> {
        let index = match (away, self.linux.links.contains_key(&LinkId::host(&tap.name))) {
            // One that was not kept has gone by itself.
            (Away::TakenBack, false) => return Ok(()),
            _ => self.own_link(op, &tap.name)?,
        };
        if let Some(index) = index {
            self.set_bridge_aside(op, index);
        }
        match (away, index) {
            (Away::TakenBack, Some(index)) => self.doomed.push(index),
            (Away::TakenBack, None) => {}
            (Away::Removed { .. }, index) => {
                self.touched[op] = true;
                let retired = index.map_or(Retired::Nothing, |index| Retired::Link {
                    index,
                    peer: None,
                    incomplete: false,
                });
                self.retire(Key::Tap(tap.name.clone()), retired);
            }
        }
        Ok(())
    }

    fn restore_tap(&mut self, op: usize, tap: &Tap) -> Result<(), Stop> {
        let key = Key::Tap(tap.name.clone());
        let Some(Retired::Link { index, .. }) = self.unretire(&key) else { return Ok(()) };
        self.linux.links.insert(LinkId::host(&tap.name), index);
        self.restored.push((op, index));
        self.write(&Place::Host, op, 0, link::set_up(index, false));
        self.write(&Place::Host, op, 0, link::rename(index, &tap.name));
        self.write(&Place::Host, op, 0, link::set_up(index, true));
        Ok(())
    }

    /// How a link takes part in IP that is only a port.
    pub(super) fn of_port(&self) -> IpTraits {
        IpTraits { no_ipv6_link_local: self.linux.ipv6, ..IpTraits::default() }
    }

    /// The tables are there as long as anybody is isolated. Who is, is noted when the operation begins, and forgotten when
    /// it is taken back.
    pub(super) fn make_isolation(&mut self, op: usize, isolation: &Isolation) {
        let first = self.linux.isolated.len() == 1;
        for (flags, message) in nft::isolate(isolation, first) {
            self.write(&Place::Nft, op, flags, message);
        }
    }

    pub(super) fn unmake_isolation(&mut self, op: usize, isolation: &Isolation) {
        let last = self.linux.isolated.is_empty();
        for (flags, message) in nft::release(isolation, last) {
            self.write(&Place::Nft, op, flags, message);
        }
    }
}

/// A joint as a pair of which both ends are on the host.
fn as_pair(joint: &Joint) -> Veth {
    Veth {
        name: joint.ends[0].clone(),
        alias: joint.alias.clone(),
        bridge: joint.bridges[0].clone(),
        peer: LinkId::host(&joint.ends[1]),
        mac: Mac([0; 6]),
        mtu: joint.mtu,
        ipv6: false,
        isolated: joint.isolated,
        vlan: None,
    }
}
