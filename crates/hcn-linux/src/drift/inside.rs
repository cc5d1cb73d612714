//! Addresses, claims and routes.

use std::collections::{BTreeSet, HashMap};
use std::io;

use hcn_dataplane::{Address, Claim, Family, Key, Netns, Object, Route, State};
use ipnet::IpNet;

use super::Look;
use crate::netns::socket_in;
use crate::observe::{self, Addresses, Routes};
use crate::{Linux, adopt};

/// What is in the places that are looked at.
#[derive(Default)]
pub(super) struct Inside {
    addresses: HashMap<Netns, Addresses>,
    routes: HashMap<Netns, Routes>,
}

impl Look<'_> {
    pub(super) fn inside(&mut self) -> io::Result<Inside> {
        let mut inside = Inside::default();
        let mut families: HashMap<&Netns, BTreeSet<Family>> = HashMap::new();
        let host = Netns::Host;
        for (_, object) in self.wanted.iter() {
            match object {
                Object::Route(route) => {
                    let family = Family::of(route.destination.addr());
                    families.entry(&route.link.netns).or_default().insert(family);
                }
                Object::Neighbour(neighbour) if neighbour.routed => {
                    families.entry(&host).or_default().insert(Family::of(neighbour.address));
                }
                _ => {}
            }
        }
        for place in self.places() {
            let linux = &mut *self.linux;
            let Some(socket) = socket_in(&linux.host, &linux.namespaces, &place) else { continue };
            let addresses = observe::addresses(&mut linux.wire, socket)?;
            let mut routes = Routes::new();
            for family in families.remove(&place).unwrap_or_default() {
                observe::routes(&mut linux.wire, socket, family, &mut routes)?;
            }
            inside.addresses.insert(place.clone(), addresses);
            inside.routes.insert(place, routes);
        }
        Ok(inside)
    }
}

impl Inside {
    fn addresses_of(&self, netns: &Netns) -> Option<&Addresses> {
        self.addresses.get(netns)
    }

    pub(super) fn address(&self, linux: &Linux, wanted: &Address) -> Option<Object> {
        let index = linux.links.get(&wanted.link)?;
        adopt::find_address(*index, wanted, self.addresses_of(&wanted.link.netns)?).map(Object::Address)
    }

    pub(super) fn route(&self, linux: &Linux, wanted: &Route) -> Option<Object> {
        let index = linux.links.get(&wanted.link)?;
        adopt::find_route(*index, wanted, self.routes.get(&wanted.link.netns)?).map(Object::Route)
    }

    /// Where the bridge has the address anyway, claims are only counted.
    pub(super) fn claim(&self, linux: &Linux, wanted: &State, claim: &Claim) -> Option<Object> {
        let own = wanted.get(&Key::Address(claim.link.clone(), claim.address));
        let covered = matches!(own, Some(Object::Address(own))
            if claim.address.is_ipv6() || own.address == IpNet::from(claim.address));
        let index = adopt::index_of_claim(linux, &claim.link)?;
        let addresses = self.addresses_of(&claim.link.netns)?.get(&(index, claim.address));
        let there = covered || addresses.is_some_and(|found| found.iter().any(adopt::is_claim));
        there.then(|| Object::Claim(claim.clone()))
    }

    /// Whether there is the route to a neighbour alone.
    pub(super) fn leads_to(&self, linux: &Linux, route: &Route) -> bool {
        self.route(linux, route).is_some()
    }
}
