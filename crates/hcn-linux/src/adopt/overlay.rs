//! Taking over VXLAN links, where they send frames, and neighbours. Ways and neighbours that nobody wants go, if they
//! are hcnd's: what a link of hcnd's own sends anywhere, and neighbours with hcnd's mark.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;

use hcn_dataplane::{Family, FdbEntry, LinkId, Neighbour, Netns, Object, Route, Vxlan};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;

use super::{Adoption, is_same};
use crate::executor::{self, NeighbourKey, WayKey};
use crate::link::GROUP;
use crate::neighbour::{self, NeighbourFacts};
use crate::observe::{self, Routes};
use crate::route;
use crate::socket::Batch;

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

impl Adoption<'_> {
    /// A link is there once it is up: that is the last thing that is done to a new one.
    pub(super) fn vxlans(&mut self) {
        for wanted in self.wanted.iter().filter_map(|(_, object)| match object {
            Object::Vxlan(vxlan) => Some(vxlan),
            _ => None,
        }) {
            let link = LinkId::host(&wanted.name);
            let bridge = self.linux.links.get(&LinkId::host(&wanted.bridge));
            let Some(facts) = self.link(&link) else { continue };
            let complete =
                facts.group == GROUP && facts.up && bridge.is_some() && facts.master.as_ref() == bridge;
            let Some(tunnel) =
                facts.vxlan.as_ref().filter(|_| complete && is_same(&facts.alias, &wanted.alias))
            else {
                continue;
            };
            let index = facts.index;
            let found = Vxlan {
                alias: facts.alias.clone(),
                vni: tunnel.vni,
                local: tunnel.local,
                port: tunnel.port,
                mtu: facts.mtu,
                ..wanted.clone()
            };
            self.linux.links.insert(link, index);
            self.found.insert(Object::Vxlan(found));
        }
    }

    /// Where frames go, and which neighbours are known.
    pub(super) fn overlay(&mut self) -> io::Result<()> {
        let names: HashMap<u32, String> = self
            .linux
            .links
            .iter()
            .filter(|(link, _)| link.netns == Netns::Host)
            .map(|(link, index)| (*index, link.name.clone()))
            .collect();
        let wanted: Vec<&Object> = self.wanted.iter().map(|(_, object)| object).collect();
        let mut batch = Batch::new();
        if wanted.iter().any(|object| matches!(object, Object::Vxlan(_))) {
            self.ways(&names, &mut batch)?;
        }
        self.neighbours(&names, &mut batch)?;
        if batch.len() > 0 {
            for fate in self.linux.wire.exchange(&self.linux.host, &mut batch)? {
                // Gone meanwhile, as wanted.
                drop(fate);
            }
        }
        Ok(())
    }

    fn ways(&mut self, names: &HashMap<u32, String>, batch: &mut Batch<()>) -> io::Result<()> {
        let mut claims: HashMap<WayKey, Vec<&FdbEntry>> = HashMap::new();
        let mut tunnels = HashSet::new();
        for (_, object) in self.wanted.iter() {
            match object {
                Object::FdbEntry(entry) => {
                    claims.entry((entry.vxlan.clone(), entry.mac)).or_default().push(entry);
                }
                Object::Vxlan(vxlan) => {
                    tunnels.insert(vxlan.name.clone());
                }
                _ => {}
            }
        }
        for facts in self.known(AddressFamily::Bridge)? {
            let (Some(name), Some(mac), Some(destination)) =
                (names.get(&facts.index).filter(|name| tunnels.contains(*name)), facts.mac, facts.address)
            else {
                continue;
            };
            let key = (name.clone(), mac);
            let Some(entries) = claims.get(&key) else {
                for message in neighbour::delete_way(facts.index, mac) {
                    batch.push((), 0, message);
                }
                continue;
            };
            let holds = |entry: &FdbEntry| entry.destination == destination && entry.vni == facts.vni;
            for entry in entries.iter().filter(|_| entries.iter().any(|entry| holds(entry))) {
                let depth = (!holds(entry)).then_some(0);
                self.linux.ways.insert(key.clone(), &entry.claimant, FdbEntry::clone(entry), depth);
                self.found.insert(Object::FdbEntry(FdbEntry::clone(entry)));
            }
        }
        Ok(())
    }

    fn neighbours(&mut self, names: &HashMap<u32, String>, batch: &mut Batch<()>) -> io::Result<()> {
        let mut claims: HashMap<NeighbourKey, Vec<&Neighbour>> = HashMap::new();
        for (_, object) in self.wanted.iter() {
            if let Object::Neighbour(neighbour) = object {
                claims.entry((neighbour.link.clone(), neighbour.address)).or_default().push(neighbour);
            }
        }
        let mut stale = HashMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            for facts in self.known(family)?.into_iter().filter(|facts| facts.ours) {
                let (Some(name), Some(address), Some(mac)) =
                    (names.get(&facts.index), facts.address, facts.mac)
                else {
                    continue;
                };
                let key = (name.clone(), address);
                let Some(entries) = claims.get(&key) else {
                    batch.push((), 0, neighbour::delete(facts.index, address));
                    stale.insert((facts.index, address), name);
                    continue;
                };
                for entry in entries.iter().filter(|_| entries.iter().any(|entry| entry.mac == mac)) {
                    if entry.mac == mac && entry.routed {
                        // It is there, but for a kill.
                        let route = executor::route_to(name, address);
                        batch.push((), NEW, route::create(facts.index, &route, false));
                    }
                    let depth = (entry.mac != mac).then_some(0);
                    let claim = Neighbour::clone(entry);
                    self.linux.neighbours.insert(key.clone(), &entry.claimant, claim, depth);
                    self.found.insert(Object::Neighbour(Neighbour::clone(entry)));
                }
            }
        }
        self.lost_routes(&stale, batch)
    }

    /// Takes away the routes to neighbours that are no longer known, and by them.
    fn lost_routes(
        &mut self,
        stale: &HashMap<(u32, IpAddr), &String>,
        batch: &mut Batch<()>,
    ) -> io::Result<()> {
        let mut routes = Routes::new();
        for family in [Family::V4, Family::V6] {
            if stale.keys().any(|(_, address)| Family::of(*address) == family) {
                observe::routes(&mut self.linux.wire, &self.linux.host, family, &mut routes)?;
            }
        }
        for ((index, destination, metric), gateways) in routes {
            for gateway in gateways {
                let place = (index, gateway.unwrap_or(destination.addr()));
                let alone = destination.prefix_len() == destination.max_prefix_len();
                if let Some(name) = stale.get(&place).filter(|_| gateway.is_some() || alone) {
                    let route = Route { link: LinkId::host(name), destination, gateway, metric };
                    batch.push((), 0, route::delete(index, &route));
                }
            }
        }
        Ok(())
    }

    fn known(&mut self, family: AddressFamily) -> io::Result<Vec<NeighbourFacts>> {
        let answers = self.linux.wire.dump(&self.linux.host, &neighbour::get_all(family))?;
        Ok(answers.iter().filter_map(|payload| NeighbourFacts::read(payload)).collect())
    }
}
