//! What joins networks to a link of the host: VLANs, interfaces on it, answers on it. How it becomes a port itself is
//! in `enslave`.

use hcn_dataplane::{Family, Key, LinkId, Netns, ProxyNeighbour, Sublink, Vlan};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::{Away, Place, Run, Stop, Tag};
use crate::link::{self, IpTraits, LinkFacts};
use crate::proxy::{self, Proxied};
use crate::socket::Batch;
use crate::{Claimed, Linux, Retired, drift, error, vlans};

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// Gone already, as wanted.
const GONE: &[i32] = &[libc::ENODEV];

impl Run<'_> {
    /// A link of the host that is not hcnd's: asked for each time, since another one may have the name by now.
    pub(super) fn foreign(&mut self, op: usize, name: &str) -> Result<LinkFacts, Stop> {
        self.look_up(op, &Place::Host, name)?.ok_or_else(|| {
            let error = std::io::Error::other(format!("the host has no link {name}"));
            self.stop(op, &error)
        })
    }

    /// The index of a link of the host, hcnd's or not.
    fn any_link(&mut self, op: usize, name: &str) -> Result<u32, Stop> {
        match self.linux.links.get(&LinkId::host(name)) {
            Some(index) => Ok(*index),
            None => self.foreign(op, name).map(|facts| facts.index),
        }
    }

    /// Two VLAN links of one number cannot be on one parent, not even for a moment: so one that goes is deleted at once,
    /// and made anew if that is taken back.
    pub(super) fn make_vlan(&mut self, op: usize, vlan: &Vlan, again: bool) -> Result<(), Stop> {
        if again {
            // Deleting it may have been refused, or all of it was not made.
            self.unmake_vlan(op, vlan, Away::TakenBack)?;
        }
        let parent = self.foreign(op, &vlan.parent)?.index;
        let bridge = self.index(op, &LinkId::host(&vlan.bridge))?;
        self.write(&Place::Host, op, NEW, link::new_vlan(vlan, parent, bridge));
        self.flush(|queue| queue.place == Place::Host)?;
        let index = self.index(op, &LinkId::host(&vlan.name))?;
        let port = IpTraits { no_ipv6_link_local: self.linux.ipv6, ..IpTraits::default() };
        self.write(&Place::Host, op, 0, link::describe_port(index, &vlan.alias, port, false));
        Ok(())
    }

    pub(super) fn unmake_vlan(&mut self, op: usize, vlan: &Vlan, _away: Away) -> Result<(), Stop> {
        let found = self.own_link(op, &vlan.name)?;
        self.touched[op] = true;
        if let Some(index) = found {
            self.push(&Place::Host, Tag { op, writes: true, tolerate: GONE }, 0, link::delete(index));
        }
        Ok(())
    }

    /// Puts a port of a bridge into a VLAN and out of all others. The bridge tells VLANs apart from then on, and so does
    /// the one that it is joined to.
    pub(super) fn tag_port(&mut self, op: usize, bridge: &str, port: u32, vlan: u16) -> Result<(), Stop> {
        let joint = self.linux.joined.get(bridge).cloned();
        for bridge in joint.iter().map(|joint| joint.bridges[0].as_str()).chain([bridge]) {
            let bridge = self.index(op, &LinkId::host(bridge))?;
            self.write(&Place::Host, op, 0, vlans::filter_vlans(bridge));
        }
        // Every port carries the first one.
        for end in joint.iter().filter(|_| vlan != vlans::FIRST_VLAN).flat_map(|joint| &joint.ends) {
            let end = self.index(op, &LinkId::host(end))?;
            self.write(&Place::Host, op, 0, vlans::carry(end, vlan));
        }
        self.write(&Place::Host, op, 0, vlans::tag_port(port, vlan));
        self.write(&Place::Host, op, 0, vlans::leave_other_vlans(port, vlan));
        Ok(())
    }

    pub(super) fn make_sublink(&mut self, op: usize, sublink: &Sublink, again: bool) -> Result<(), Stop> {
        let place = Place::from(&sublink.link.netns);
        if let Place::Named(name) = &place {
            self.open(op, name)?;
        }
        if again && let Some(retired) = self.unretire(&Key::Sublink(sublink.link.clone())) {
            let Retired::Inside { place, index } = retired else { return Ok(()) };
            self.linux.links.insert(sublink.link.clone(), index);
            // Kernels before 6.2 rename no link that is up, as it may still be.
            self.write(&place, op, 0, link::set_up(index, false));
            self.write(&place, op, 0, link::rename(index, &sublink.link.name));
            self.write(&place, op, 0, link::set_up(index, true));
            return Ok(());
        }
        let parent = self.foreign(op, &sublink.parent)?.index;
        let netns = match &sublink.link.netns {
            Netns::Host => None,
            Netns::Named(name) => self.linux.namespaces.get(name).map(crate::netns::Handle::raw),
        };
        // What holds the name still is inside.
        self.free_name(op, &sublink.link);
        self.flush(|queue| queue.place == place)?;
        let first = at_first(sublink);
        self.write(&Place::Host, op, NEW, link::new_sublink(sublink, &first.name, parent, netns));
        if let Some(netns) = netns {
            // No link of the host leads there, by which it would get a number: nobody would hear of changes in it.
            let tag = Tag { op, writes: false, tolerate: &[libc::EEXIST] };
            self.push(&Place::Host, tag, 0, drift::give_number(netns));
        }
        self.flush(|queue| queue.place == Place::Host)?;
        let index = self.index(op, &first)?;
        if first != sublink.link {
            self.linux.links.remove(&first);
            self.linux.links.insert(sublink.link.clone(), index);
            self.write(&place, op, 0, link::rename(index, &sublink.link.name));
        }
        let traits = IpTraits {
            no_ipv6_link_local: !sublink.ipv6 && self.linux.ipv6,
            promote_secondaries: true,
            loose_reverse_path: sublink.link.netns == Netns::Host,
            proxy_arp: false,
        };
        self.write(&place, op, 0, link::describe(index, Some(&sublink.alias), traits));
        self.write(&place, op, 0, link::set_up(index, true));
        Ok(())
    }

    /// An interface that goes is set aside, down and without its name; the reaper deletes it.
    pub(super) fn unmake_sublink(&mut self, op: usize, sublink: &Sublink, away: Away) -> Result<(), Stop> {
        let place = Place::from(&sublink.link.netns);
        let index = match self.linux.links.remove(&sublink.link) {
            Some(index) => Some(index),
            None => {
                let mut facts = self.look_up(op, &place, &sublink.link.name)?;
                if facts.is_none() {
                    facts = self.look_up(op, &place, &at_first(sublink).name)?;
                }
                self.check_ours(op, facts)?.map(|facts| facts.index)
            }
        };
        self.touched[op] = true;
        let tag = || Tag { op, writes: true, tolerate: GONE };
        if away == Away::TakenBack {
            if let Some(index) = index {
                self.push(&place, tag(), 0, link::delete(index));
            }
            return Ok(());
        }
        let retired = index.map_or(Retired::Nothing, |index| Retired::Inside { place: place.clone(), index });
        self.retire(Key::Sublink(sublink.link.clone()), retired);
        if let Some(index) = index {
            let name = format!("hcx{}", self.next_sequence());
            self.push(&place, tag(), 0, link::set_up(index, false));
            self.push(&place, tag(), 0, link::rename(index, &name));
        }
        Ok(())
    }

    pub(super) fn alter_sublink(&mut self, op: usize, to: &Sublink) -> Result<(), Stop> {
        let index = self.index(op, &to.link)?;
        let message = link::change(index, Some(&to.alias), None, to.mtu);
        self.write(&Place::from(&to.link.netns), op, 0, message);
        Ok(())
    }

    pub(super) fn make_proxy_neighbour(
        &mut self,
        op: usize,
        proxy: &ProxyNeighbour,
        _again: bool,
    ) -> Result<(), Stop> {
        let key = (proxy.link.clone(), proxy.address);
        if let Some(claimed) = self.linux.proxied.get_mut(&key) {
            claimed.count += 1;
            self.touched[op] = true;
            return Ok(());
        }
        let index = self.any_link(op, &proxy.link)?;
        let foreign = self.proxied_by_others(op, index, proxy)?;
        let family = Family::of(proxy.address);
        self.linux.answering.claim(family, &proxy.link).map_err(|error| self.stop(op, &error))?;
        self.touched[op] = true;
        self.linux.proxied.insert(key, Claimed { count: 1, added: !foreign });
        if !foreign {
            let watched = self.linux.watch.add_proxied(&proxy.link, proxy.address);
            watched.map_err(|error| self.stop(op, &error))?;
            self.write(&Place::Host, op, NLM_F_CREATE, proxy::create(index, proxy.address));
        }
        Ok(())
    }

    pub(super) fn unmake_proxy_neighbour(
        &mut self,
        op: usize,
        proxy: &ProxyNeighbour,
        _away: Away,
    ) -> Result<(), Stop> {
        let key = (proxy.link.clone(), proxy.address);
        let last = self.linux.proxied.get(&key).filter(|claimed| claimed.count == 1);
        // Before anything is changed: what fails here leaves all as it is.
        let index = match last {
            Some(_) => self.index_if_any(op, &LinkId::host(&proxy.link), true)?,
            None => None,
        };
        self.touched[op] = true;
        let Some(claimed) = self.linux.proxied.get_mut(&key) else { return Ok(()) };
        claimed.count -= 1;
        if claimed.count > 0 {
            return Ok(());
        }
        let added = claimed.added;
        self.linux.proxied.remove(&key);
        self.linux.watch.remove_proxied(&proxy.link, proxy.address);
        if added && let Some(index) = index {
            let tag = Tag { op, writes: true, tolerate: &[libc::ENOENT, libc::ENODEV] };
            self.push(&Place::Host, tag, 0, proxy::delete(index, proxy.address));
        }
        let family = Family::of(proxy.address);
        self.linux.answering.release(family, &proxy.link).map_err(|error| self.stop(op, &error))
    }

    /// Whether the host speaks for the address already, because somebody else wants it to.
    fn proxied_by_others(&mut self, op: usize, index: u32, proxy: &ProxyNeighbour) -> Result<bool, Stop> {
        // What is under way may be about the same.
        self.flush(|queue| queue.place == Place::Host)?;
        let mut batch = Batch::new();
        batch.push((), 0, proxy::get(index, proxy.address));
        let linux = &mut *self.linux;
        let fates = linux.wire.exchange(&linux.host, &mut batch).map_err(|error| self.stop(op, &error))?;
        match fates.into_iter().next() {
            Some(Ok(Some(payload))) => Ok(Proxied::read(&payload).is_some_and(|found| !found.ours)),
            Some(Err(refusal)) if refusal.errno != libc::ENOENT => {
                let error = error::refused(&self.words(op), &refusal);
                self.note(op, error);
                Err(Stop)
            }
            _ => Ok(false),
        }
    }
}

impl Linux {
    /// Forgets one of those who want the host to speak for a neighbour for whom it does not any more.
    pub(crate) fn forget_proxy(&mut self, proxy: &ProxyNeighbour) -> std::io::Result<()> {
        let key = (proxy.link.clone(), proxy.address);
        let Some(claimed) = self.proxied.get_mut(&key) else { return Ok(()) };
        claimed.count -= 1;
        if claimed.count > 0 {
            return Ok(());
        }
        self.proxied.remove(&key);
        self.watch.remove_proxied(&proxy.link, proxy.address);
        self.answering.release(Family::of(proxy.address), &proxy.link)
    }
}

/// What an interface is called until it has its name. Kernels before 6.13 look for the name of a new link where its
/// parent is, although it is to be elsewhere, and the host has an `eth0` of its own.
fn at_first(sublink: &Sublink) -> LinkId {
    let mut link = sublink.link.clone();
    if link.netns != Netns::Host {
        let [_, _, a, b, c, d] = sublink.mac.0;
        link.name = format!("hcs{a:02x}{b:02x}{c:02x}{d:02x}");
    }
    link
}
