//! What others change of what hcnd made: noticed, and looked at. What is then to be done is a plan like any other.

mod inside;
mod links;
mod listen;
mod origins;
mod overlay;
mod steering;

use std::collections::{BTreeSet, HashMap};
use std::io;

use hcn_dataplane::{Key, LinkId, Netns, Notice, Object, OpError, Scope, Shaper, State};

pub(crate) use listen::{Judge, Listener, give_number};

use crate::link::LinkFacts;
use crate::netns::socket_in;
use crate::reserved::Reserved;
use crate::socket::Batch;
use crate::vlans::Vlans;
use crate::{Linux, adopt, nft, observe, reaper, resolver, shaping};

/// See [`Dataplane::look`](hcn_dataplane::Dataplane::look).
pub(crate) fn look(linux: &mut Linux, wanted: &State, scope: &Scope) -> Result<State, OpError> {
    let mut look = Look {
        linux,
        wanted,
        scope,
        found: State::new(),
        gone: BTreeSet::new(),
        left: Vec::new(),
        links: HashMap::new(),
        vlans: Vlans::default(),
    };
    look.run().map_err(|(step, error)| OpError {
        errno: error.raw_os_error(),
        message: format!("cannot {step}: {error}"),
    })?;
    Ok(look.found)
}

/// See [`Dataplane::scope`](hcn_dataplane::Dataplane::scope).
pub(crate) fn scope(linux: &mut Linux, notice: &Notice) -> Option<Scope> {
    let of = |linux: &Linux, number| {
        let mut all = linux.namespaces.iter();
        all.find(|(_, handle)| handle.number == Some(number)).map(|(name, _)| name.clone())
    };
    // A namespace has its number since its first link, and keeps it.
    if notice.numbers.iter().any(|number| of(linux, *number).is_none()) {
        for handle in linux.namespaces.values_mut().filter(|handle| handle.number.is_none()) {
            match listen::ask_number(&mut linux.wire, &linux.host, handle.raw()) {
                Ok(number) => handle.number = number,
                Err(error) => tracing::warn!(%error, "cannot learn the number of a network namespace"),
            }
        }
    }
    let mut known = notice.clone();
    known.names.retain(|name| linux.namespaces.contains_key(name));
    known.scope(|number| of(linux, number))
}

type Failure = (&'static str, io::Error);

struct Look<'a> {
    linux: &'a mut Linux,
    wanted: &'a State,
    scope: &'a Scope,
    found: State,
    /// What is not there.
    gone: BTreeSet<Key>,
    /// Links of the host that are left of what is not whole any more.
    left: Vec<u32>,
    /// Links of the places that are looked at, by index.
    links: HashMap<Netns, HashMap<u32, LinkFacts>>,
    vlans: Vlans,
}

impl Look<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let at = |step: &'static str| move |error: io::Error| (step, error);
        self.read_links().map_err(at("read links"))?;
        self.decide_links();
        let inside = self.inside().map_err(at("read addresses and routes"))?;
        let overlay = self.overlay().map_err(at("read neighbours"))?;
        let shapers = self.shapers().map_err(at("read what limits rates"))?;
        let steering = self.steering().map_err(at("read routing tables"))?;
        let origins = self.origins().map_err(at("read routing tables of interfaces"))?;
        for (key, object) in self.wanted.iter() {
            if self.gone.contains(key) || self.found.get(key).is_some() {
                continue;
            }
            let parents = self.wanted.parents(object);
            let went_along = parents.iter().flatten().any(|parent| self.gone.contains(parent));
            let linux = &mut *self.linux;
            let seen = match object {
                object if nft::holds(object) || nft::is_rule(object) => Some(object.clone()),
                _ if went_along => None,
                object if !self.scope.shows(object) => Some(object.clone()),
                Object::Address(address) => inside.address(linux, address),
                Object::Route(route) => inside.route(linux, route),
                Object::Claim(claim) => inside.claim(linux, self.wanted, claim),
                Object::FdbEntry(entry) => overlay.way(linux, entry),
                Object::Neighbour(neighbour) => overlay.neighbour(linux, &inside, neighbour),
                Object::ProxyNeighbour(proxy) => overlay.proxy(linux, proxy),
                Object::Shaper(shaper) => shapers.get(&shaper.link).cloned().map(Object::Shaper),
                Object::Origin(_) => origins.get(key).cloned(),
                Object::Steering(_) => steering.get(key).cloned(),
                Object::Forwarding(claim) => linux.forwarding.adopt(claim).then(|| object.clone()),
                Object::Resolver(wanted) => {
                    let contents = resolver::read(&linux.netns_etc, &wanted.netns);
                    let contents = contents.map_err(at("read resolver configurations"))?;
                    contents.map(|contents| {
                        let mut found = wanted.clone();
                        found.contents = contents;
                        Object::Resolver(found)
                    })
                }
                Object::ReservedPorts(range) => Reserved::holds(*range).then(|| object.clone()),
                // Sockets of hcnd's own.
                other => Some(other.clone()),
            };
            match seen {
                Some(seen) => {
                    self.found.insert(seen);
                }
                None => {
                    self.gone.insert(key.clone());
                    self.forget(object).map_err(at("remove what is left of what is gone"))?;
                }
            }
        }
        let left = std::mem::take(&mut self.left);
        left.iter().for_each(|index| self.linux.links.forget(*index));
        reaper::delete_all(&mut self.linux.wire, &self.linux.host, &left)
            .map_err(at("delete what is left of links"))
    }

    /// The places that are looked at.
    fn places(&self) -> Vec<Netns> {
        let names = self.linux.namespaces.keys().cloned().map(Netns::Named);
        [Netns::Host].into_iter().chain(names).filter(|place| self.scope.holds(place)).collect()
    }

    fn read_links(&mut self) -> io::Result<()> {
        for place in self.places() {
            let linux = &mut *self.linux;
            let Some(socket) = socket_in(&linux.host, &linux.namespaces, &place) else { continue };
            let links = observe::links(&mut linux.wire, socket)?;
            self.links.insert(place, links.into_values().map(|facts| (facts.index, facts)).collect());
        }
        if let Some(links) = self.links.get(&Netns::Host) {
            self.vlans = Vlans::read(&mut self.linux.wire, &self.linux.host, links.values())?;
        }
        Ok(())
    }

    /// The limits that are there, as they are.
    fn shapers(&mut self) -> io::Result<HashMap<LinkId, Shaper>> {
        let mut shapers = HashMap::new();
        let wanted: Vec<&Shaper> = self
            .wanted
            .iter()
            .filter_map(|(_, object)| match object {
                Object::Shaper(shaper) if self.scope.shows(object) => Some(shaper),
                _ => None,
            })
            .collect();
        let places: BTreeSet<&Netns> = wanted.iter().map(|shaper| &shaper.link.netns).collect();
        for place in places {
            let there = adopt::disciplines(self.linux, place)?;
            for wanted in wanted.iter().filter(|shaper| shaper.link.netns == *place) {
                let Some(port) = self.linux.links.get(&wanted.link).copied() else { continue };
                let rate = if wanted.received {
                    let ifb = LinkId::host(&shaping::ifb(&wanted.link.name));
                    let ifb = self.linux.links.get(&ifb).copied();
                    let up = ifb.filter(|ifb| self.links[place].get(ifb).is_some_and(|facts| facts.up));
                    let leads = there.listeners.contains(&port) && self.leads(port, ifb)?;
                    up.filter(|_| leads).and_then(|ifb| there.buckets.get(&ifb))
                } else {
                    there.buckets.get(&port)
                };
                if let Some(rate) = rate {
                    shapers.insert(wanted.link.clone(), Shaper { rate: *rate, ..Shaper::clone(wanted) });
                }
            }
        }
        Ok(shapers)
    }

    fn leads(&mut self, port: u32, ifb: Option<u32>) -> io::Result<bool> {
        let linux = &mut *self.linux;
        let filters = linux.wire.dump(&linux.host, &shaping::get_filters(port))?;
        Ok(ifb.is_some() && filters.iter().any(|payload| shaping::leads_to(payload) == ifb))
    }

    /// Makes creating an object that is gone possible.
    fn forget(&mut self, object: &Object) -> io::Result<()> {
        let linux = &mut *self.linux;
        match object {
            Object::Shaper(shaper) if shaper.received => {
                let ifb = LinkId::host(&shaping::ifb(&shaper.link.name));
                self.left.extend(linux.links.get(&ifb));
                if let Some(port) = linux.links.get(&shaper.link) {
                    let mut batch = Batch::new();
                    batch.push((), 0, shaping::listen_no_more(*port));
                    // What has gone already is gone.
                    linux.wire.exchange(&linux.host, &mut batch)?;
                }
            }
            Object::Address(_) | Object::Route(_) => {
                if let Some((link, prefix)) = crate::executor::on_link(object)
                    && let Some(known) = linux.prefixes.get_mut(link)
                    && let Some(position) = known.iter().position(|other| *other == prefix)
                {
                    known.swap_remove(position);
                }
            }
            other => linux.forget(other)?,
        }
        Ok(())
    }
}

impl Linux {
    /// Forgets an object that went with what it stood on, so that it can be made.
    pub(crate) fn forget(&mut self, object: &Object) -> io::Result<()> {
        match object {
            Object::Responder(responder) => self.responders.end(&responder.bridge),
            Object::Lease(lease) => self.responders.forget(lease),
            Object::Claim(claim) => {
                let key = (claim.link.clone(), claim.address);
                if let Some(claimed) = self.claims.get_mut(&key) {
                    claimed.count = claimed.count.saturating_sub(1);
                }
            }
            Object::FdbEntry(entry) => {
                self.ways.remove(&(entry.vxlan.clone(), entry.mac), &entry.claimant);
            }
            Object::Neighbour(neighbour) => {
                let key = (neighbour.link.clone(), neighbour.address);
                self.neighbours.remove(&key, &neighbour.claimant);
            }
            Object::ProxyNeighbour(proxy) => self.forget_proxy(proxy)?,
            Object::Origin(origin) => self.remove_origin(origin)?,
            Object::Steering(steering) => self.remove_steering(steering)?,
            _ => {}
        }
        Ok(())
    }
}
