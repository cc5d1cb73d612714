//! How fast endpoints may send. The device that a port's packets wait in comes and goes with the limit, and is set aside
//! as other links are.

use hcn_dataplane::{Key, LinkId, Op, Shaper};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::{Away, Place, Run, Stop, Tag};
use crate::link::{self, IpTraits};
use crate::shaping::{self, Rate};
use crate::{Limbo, Retired};

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// Gone already, as wanted.
const GONE: &[i32] = &[libc::ENODEV, libc::ENOENT, libc::EINVAL];

impl Run<'_> {
    pub(super) fn make_shaper(&mut self, op: usize, shaper: &Shaper, again: bool) -> Result<(), Stop> {
        // What goes with its link comes back with it.
        let kept = again && matches!(self.ops[op], Op::Remove { implied: true, .. });
        if !shaper.received {
            if !kept {
                let index = self.index(op, &shaper.link)?;
                self.limit(op, &Place::from(&shaper.link.netns), index, shaper);
            }
            return Ok(());
        }
        let name = LinkId::host(&shaping::ifb(&shaper.link.name));
        if again {
            let key = Key::Shaper(shaper.link.clone());
            let Some(Retired::Link { index, .. }) = self.unretire(&key) else { return Ok(()) };
            self.restore_ifb(op, &name, index);
            return if kept { Ok(()) } else { self.lead(op, shaper, index) };
        }
        self.free_name(op, &name);
        self.write(&Place::Host, op, NEW, shaping::new_ifb(&name.name));
        self.ask(op, &name.name);
        let sent = self.flush(|queue| queue.place == Place::Host);
        if self.touched[op]
            && let Some(facts) = self.answers.remove(&op)
        {
            self.linux.links.insert(name.clone(), facts.index);
        }
        sent?;
        let index = self.index(op, &name)?;
        let traits = IpTraits { no_ipv6_link_local: self.linux.ipv6, ..IpTraits::default() };
        let alias = shaping::alias(&shaper.link.name);
        self.write(&Place::Host, op, 0, link::describe(index, Some(&alias), traits));
        self.limit(op, &Place::Host, index, shaper);
        self.write(&Place::Host, op, 0, link::set_up(index, true));
        self.lead(op, shaper, index)
    }

    fn limit(&mut self, op: usize, place: &Place, index: u32, shaper: &Shaper) {
        self.linux.sequence = self.linux.sequence.wrapping_add(1);
        // The kernel takes numbers from 0x8000 on for those that are given none.
        let number = (self.linux.sequence % 0x7fff) as u16 + 1;
        let rate = Rate { rate: shaper.rate, mtu: shaper.mtu };
        let message = shaping::limit(index, number, rate);
        self.write(place, op, NLM_F_CREATE | NLM_F_REPLACE, message);
    }

    /// From then on the port's packets go by the device.
    fn lead(&mut self, op: usize, shaper: &Shaper, ifb: u32) -> Result<(), Stop> {
        let port = self.index(op, &shaper.link)?;
        if self.back {
            // Some of it may be there still.
            let tag = Tag { op, writes: true, tolerate: GONE };
            self.push(&Place::Host, tag, 0, shaping::listen_no_more(port));
        }
        self.write(&Place::Host, op, NEW, shaping::listen(port));
        self.write(&Place::Host, op, NEW, shaping::lead(port, ifb));
        Ok(())
    }

    fn restore_ifb(&mut self, op: usize, name: &LinkId, index: u32) {
        self.linux.links.insert(name.clone(), index);
        self.restored.push((op, index));
        let held = self.linux.limbo.iter().position(|limbo| limbo.host == index);
        let named = held.is_some_and(|position| !self.linux.limbo.swap_remove(position).held.is_empty());
        if !named {
            self.free_name(op, name);
            self.write(&Place::Host, op, 0, link::rename(index, &name.name));
        }
        self.write(&Place::Host, op, 0, link::set_up(index, true));
    }

    pub(super) fn unmake_shaper(&mut self, op: usize, shaper: &Shaper, away: Away) -> Result<(), Stop> {
        let implied = away == Away::Removed { implied: true };
        let tag = || Tag { op, writes: true, tolerate: GONE };
        if !shaper.received {
            self.touched[op] = true;
            if !implied && let Some(index) = self.index_if_any(op, &shaper.link, true)? {
                self.push(&Place::from(&shaper.link.netns), tag(), 0, shaping::free(index));
            }
            return Ok(());
        }
        let name = LinkId::host(&shaping::ifb(&shaper.link.name));
        let found = self.own_link(op, &name.name)?;
        if !implied && let Some(port) = self.index_if_any(op, &shaper.link, true)? {
            self.push(&Place::Host, tag(), 0, shaping::listen_no_more(port));
        }
        if let Some(index) = found {
            self.push(&Place::Host, tag(), 0, link::set_up(index, false));
            self.linux.limbo.push(Limbo { host: index, held: vec![(name, index)] });
        }
        match (away, found) {
            (Away::TakenBack, found) => self.doomed.extend(found),
            (Away::Removed { .. }, found) => {
                self.touched[op] = true;
                let retired = found.map_or(Retired::Nothing, |index| Retired::Link {
                    index,
                    peer: None,
                    incomplete: false,
                });
                self.retire(Key::Shaper(shaper.link.clone()), retired);
            }
        }
        Ok(())
    }

    pub(super) fn alter_shaper(&mut self, op: usize, to: &Shaper) -> Result<(), Stop> {
        let (place, link) = if to.received {
            (Place::Host, LinkId::host(&shaping::ifb(&to.link.name)))
        } else {
            (Place::from(&to.link.netns), to.link.clone())
        };
        let index = self.index(op, &link)?;
        self.limit(op, &place, index, to);
        Ok(())
    }
}
