//! Where frames go, neighbours that the host does not ask for, and those that it speaks for.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

use hcn_dataplane::{FdbEntry, LinkId, Mac, Neighbour, Netns, Object, ProxyNeighbour};
use netlink_packet_route::AddressFamily;

use super::Look;
use super::inside::Inside;
use crate::neighbour::{self, NeighbourFacts};
use crate::proxy::{self, Proxied};
use crate::{Linux, executor};

/// What the host knows.
#[derive(Default)]
pub(super) struct Overlay {
    /// Link, MAC address, destination and VNI.
    ways: HashSet<(u32, Mac, IpAddr, Option<u32>)>,
    /// Ports of bridges, and what is for ever behind them.
    behind: HashSet<(u32, Mac)>,
    neighbours: HashSet<(u32, IpAddr, Mac)>,
    proxied: HashSet<(u32, IpAddr)>,
    /// Links of the host by name.
    links: std::collections::HashMap<String, u32>,
}

impl Look<'_> {
    pub(super) fn overlay(&mut self) -> io::Result<Overlay> {
        let mut overlay = Overlay::default();
        if !self.scope.holds(&Netns::Host) {
            return Ok(overlay);
        }
        let wanted = |kind: fn(&Object) -> bool| self.wanted.iter().any(|(_, object)| kind(object));
        let ways = wanted(|object| matches!(object, Object::FdbEntry(_)));
        let neighbours = wanted(|object| matches!(object, Object::Neighbour(_)));
        let proxied = wanted(|object| matches!(object, Object::ProxyNeighbour(_)));
        if ways {
            for facts in self.neighbours_of(AddressFamily::Bridge)? {
                match (facts.mac, facts.address) {
                    (Some(mac), Some(address)) => {
                        overlay.ways.insert((facts.index, mac, address, facts.vni));
                    }
                    (Some(mac), None) if !facts.ages => {
                        overlay.behind.insert((facts.index, mac));
                    }
                    _ => {}
                }
            }
        }
        if neighbours {
            for family in [AddressFamily::Inet, AddressFamily::Inet6] {
                let all = self.neighbours_of(family)?.into_iter().filter(|facts| facts.ours);
                overlay
                    .neighbours
                    .extend(all.filter_map(|facts| Some((facts.index, facts.address?, facts.mac?))));
            }
        }
        if proxied {
            let linux = &mut *self.linux;
            let payloads = linux.wire.dump(&linux.host, &proxy::get_all())?;
            let all = payloads.iter().filter_map(|payload| Proxied::read(payload));
            overlay.proxied.extend(all.map(|found| (found.index, found.address)));
            let links = self.links[&Netns::Host].values();
            overlay.links.extend(links.map(|facts| (facts.name.clone(), facts.index)));
        }
        Ok(overlay)
    }

    fn neighbours_of(&mut self, family: AddressFamily) -> io::Result<Vec<NeighbourFacts>> {
        let answers = self.linux.wire.dump(&self.linux.host, &neighbour::get_all(family))?;
        Ok(answers.iter().filter_map(|payload| NeighbourFacts::read(payload)).collect())
    }
}

impl Overlay {
    /// The kernel has what the claim says that holds.
    pub(super) fn way(&self, linux: &Linux, wanted: &FdbEntry) -> Option<Object> {
        let index = *linux.links.get(&LinkId::host(&wanted.vxlan))?;
        let top = linux.ways.top(&(wanted.vxlan.clone(), wanted.mac))?;
        let there = self.ways.contains(&(index, top.mac, top.destination, top.vni))
            && self.behind.contains(&(index, top.mac));
        there.then(|| Object::FdbEntry(wanted.clone()))
    }

    pub(super) fn neighbour(&self, linux: &Linux, inside: &Inside, wanted: &Neighbour) -> Option<Object> {
        let index = *linux.links.get(&LinkId::host(&wanted.link))?;
        let top = linux.neighbours.top(&(wanted.link.clone(), wanted.address))?;
        let there = self.neighbours.contains(&(index, top.address, top.mac))
            && (!top.routed || inside.leads_to(linux, &executor::route_to(&wanted.link, wanted.address)));
        there.then(|| Object::Neighbour(wanted.clone()))
    }

    pub(super) fn proxy(&self, linux: &Linux, wanted: &ProxyNeighbour) -> Option<Object> {
        let known = linux.links.get(&LinkId::host(&wanted.link));
        let index = known.or_else(|| self.links.get(&wanted.link))?;
        self.proxied.contains(&(*index, wanted.address)).then(|| Object::ProxyNeighbour(wanted.clone()))
    }
}
