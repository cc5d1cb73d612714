//! Addresses, claims and routes of the links that were taken over. Those that nobody wants are not ours: the
//! container's root, or the host's, may have them for reasons of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use hcn_dataplane::{Address, Claim, Family, Key, LinkId, Netns, Object, Route};
use ipnet::IpNet;

use super::Adoption;
use crate::link::LOOPBACK;
use crate::observe::{self, Addresses, Found, Routes};
use crate::socket::Batch;
use crate::{Claimed, Linux, address};

/// The kernel's metric of an IPv6 route that is given none.
const DEFAULT_METRIC_V6: u32 = 1024;

/// What is wanted in one namespace.
#[derive(Default)]
struct Wanted<'a> {
    addresses: Vec<&'a Address>,
    claims: Vec<&'a Claim>,
    routes: Vec<&'a Route>,
}

impl Adoption<'_> {
    /// Reads addresses and routes where some are wanted.
    pub(super) fn inside(&mut self) -> io::Result<()> {
        let names: Vec<Netns> = self.linux.namespaces.keys().cloned().map(Netns::Named).collect();
        let mut places: BTreeMap<&Netns, Wanted<'_>> = BTreeMap::new();
        for netns in [Netns::Host].iter().chain(&names) {
            places.entry(netns).or_default();
        }
        for (_, object) in self.wanted.iter() {
            match object {
                Object::Address(address) => {
                    places.entry(&address.link.netns).or_default().addresses.push(address);
                }
                Object::Claim(claim) => {
                    places.entry(&claim.link.netns).or_default().claims.push(claim);
                }
                Object::Route(route) => places.entry(&route.link.netns).or_default().routes.push(route),
                _ => {}
            }
        }
        for (netns, wanted) in places {
            let linux = &mut *self.linux;
            let socket = match netns {
                Netns::Host => &linux.host,
                Netns::Named(name) => match linux.namespaces.get(name) {
                    Some(handle) => &handle.socket,
                    None => continue,
                },
            };
            let addresses = observe::addresses(&mut linux.wire, socket)?;
            let mut routes = Routes::new();
            let families: BTreeSet<Family> =
                wanted.routes.iter().map(|route| Family::of(route.destination.addr())).collect();
            for family in families {
                observe::routes(&mut linux.wire, socket, family, &mut routes)?;
            }
            for wanted in wanted.addresses {
                self.address(wanted, &addresses);
            }
            for wanted in wanted.claims {
                self.claim(wanted, &addresses);
            }
            for wanted in wanted.routes {
                self.route(wanted, &routes);
            }
            match netns {
                Netns::Host => self.remove_claims(&addresses)?,
                Netns::Named(name) => self.remove_claims_in(name, &addresses)?,
            }
        }
        Ok(())
    }

    fn address(&mut self, wanted: &Address, addresses: &Addresses) {
        let Some(index) = self.linux.links.get(&wanted.link) else { return };
        self.found.extend(find_address(*index, wanted, addresses).map(Object::Address));
    }

    fn claim(&mut self, wanted: &Claim, addresses: &Addresses) {
        let Some(index) = index_of_claim(self.linux, &wanted.link) else { return };
        // Where the bridge has the address anyway, claims are only counted.
        let own = Key::Address(wanted.link.clone(), wanted.address);
        let covered = match self.wanted.get(&own) {
            Some(Object::Address(own)) => {
                wanted.address.is_ipv6() || own.address == IpNet::from(wanted.address)
            }
            _ => false,
        };
        let there = if covered {
            self.found.get(&own).is_some()
        } else {
            addresses.get(&(index, wanted.address)).is_some_and(|found| found.iter().any(is_claim))
        };
        if there {
            let key = (wanted.link.clone(), wanted.address);
            let claimed = self.linux.claims.entry(key).or_insert(Claimed { count: 0, added: !covered });
            claimed.count += 1;
            self.found.insert(Object::Claim(wanted.clone()));
        }
    }

    fn route(&mut self, wanted: &Route, routes: &Routes) {
        let Some(index) = self.linux.links.get(&wanted.link) else { return };
        self.found.extend(find_route(*index, wanted, routes).map(Object::Route));
    }

    /// The same of the loopback of a namespace, where those that are hcnd's say so.
    fn remove_claims_in(&mut self, name: &str, addresses: &Addresses) -> io::Result<()> {
        let link = LinkId { netns: Netns::Named(name.to_owned()), name: "lo".to_owned() };
        let mut batch = Batch::new();
        for ((index, address), found) in addresses {
            let claimed = self.linux.claims.contains_key(&(link.clone(), *address));
            for found in found.iter().filter(|found| *index == LOOPBACK && found.marked && !claimed) {
                batch.push((), 0, address::delete(LOOPBACK, found.address));
            }
        }
        if let Some(handle) = self.linux.namespaces.get(name)
            && batch.len() > 0
        {
            self.linux.wire.exchange(&handle.socket, &mut batch)?;
        }
        Ok(())
    }

    /// Takes addresses away that nobody claims any more. On a bridge of ours nothing else has their form, and the host
    /// would go on answering for them.
    fn remove_claims(&mut self, addresses: &Addresses) -> io::Result<()> {
        let bridges: BTreeMap<u32, &str> = self
            .found
            .iter()
            .filter_map(|(_, object)| match object {
                Object::Bridge(bridge) => {
                    Some((*self.linux.links.get(&LinkId::host(&bridge.name))?, bridge.name.as_str()))
                }
                _ => None,
            })
            .collect();
        let mut batch = Batch::new();
        for ((index, address), found) in addresses {
            let Some(bridge) = bridges.get(index) else { continue };
            let claimed = self.linux.claims.contains_key(&(LinkId::host(bridge), *address));
            let own = self.found.get(&Key::Address(LinkId::host(bridge), *address));
            let is_own = |found: &Found| match own {
                Some(Object::Address(own)) => own.address == found.address,
                _ => false,
            };
            for found in found.iter().filter(|found| is_claim(found) && !claimed && !is_own(found)) {
                batch.push((), 0, address::delete(*index, found.address));
            }
        }
        if batch.len() > 0 {
            // What has gone meanwhile is gone.
            self.linux.wire.exchange(&self.linux.host, &mut batch)?;
        }
        Ok(())
    }
}

/// The index of the link that a claimed address is on.
pub(crate) fn index_of_claim(linux: &Linux, link: &LinkId) -> Option<u32> {
    match link.netns {
        Netns::Host => linux.links.get(link).copied(),
        Netns::Named(_) => Some(LOOPBACK),
    }
}

/// The address on a link, as it is.
pub(crate) fn find_address(index: u32, wanted: &Address, addresses: &Addresses) -> Option<Address> {
    let found = addresses.get(&(index, wanted.address.addr()))?;
    let same = |found: &&Found| (found.address, found.prefix_route) == (wanted.address, wanted.prefix_route);
    // IPv4 can have one address with several prefix lengths; a claim's is not this one.
    let other = || found.iter().find(|found| wanted.address.addr().is_ipv6() || !is_claim(found));
    let Found { address, prefix_route, .. } = found.iter().find(same).or_else(other).copied()?;
    Some(Address { address, prefix_route, ..wanted.clone() })
}

/// The route by a link, as it is.
pub(crate) fn find_route(index: u32, wanted: &Route, routes: &Routes) -> Option<Route> {
    let metric = match (wanted.destination.addr().is_ipv6(), wanted.metric) {
        (true, 0) => DEFAULT_METRIC_V6,
        (_, metric) => metric,
    };
    let gateways = routes.get(&(index, wanted.destination.trunc(), metric))?;
    let same = gateways.iter().find(|gateway| **gateway == wanted.gateway);
    let gateway = same.or(gateways.first()).copied()?;
    Some(Route { gateway, ..wanted.clone() })
}

/// Whether an address has the form that claims give it.
pub(crate) fn is_claim(found: &Found) -> bool {
    found.address.prefix_len() == found.address.max_prefix_len() && !found.prefix_route
}
