//! A set of kernel objects: what stands on what, and which object provides which link.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::object::{Interception, Key, LinkId, Netns, Object, Site};

/// A set of kernel objects, at most one per key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    objects: BTreeMap<Key, Object>,
    /// Which object provides which link.
    links: HashMap<LinkId, Key>,
}

impl State {
    /// No objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object, returning the one that had its key.
    pub fn insert(&mut self, object: Object) -> Option<Object> {
        let key = object.key();
        let before = self.remove(&key);
        for link in links_of(&object) {
            self.links.insert(link, key.clone());
        }
        self.objects.insert(key, object);
        before
    }

    /// Takes an object away.
    pub fn remove(&mut self, key: &Key) -> Option<Object> {
        let object = self.objects.remove(key)?;
        for link in links_of(&object) {
            if self.links.get(&link) == Some(key) {
                self.links.remove(&link);
            }
        }
        Some(object)
    }

    /// The object with this key.
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// All objects, in the order in which they are built.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Key, &Object)> {
        self.objects.iter()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The object that provides `link`: a bridge, or a veth pair of which it is either end.
    pub fn link_owner(&self, link: &LinkId) -> Option<Key> {
        self.links.get(link).cloned()
    }

    /// The objects that `object` cannot exist without. A part that the state does not hold is `None`.
    pub fn parents(&self, object: &Object) -> Vec<Option<Key>> {
        let present = |key: Key| self.objects.contains_key(&key).then_some(key);
        let bridge = |name: &str| present(Key::Bridge(name.to_owned()));
        match object {
            Object::Veth(veth) => {
                let mut parents = vec![present(Key::Bridge(veth.bridge.clone()))];
                if let Netns::Named(name) = &veth.peer.netns {
                    parents.push(present(Key::Netns(name.clone())));
                }
                parents
            }
            Object::Joint(joint) => joint.bridges.iter().map(|name| bridge(name)).collect(),
            Object::Vxlan(vxlan) => vec![bridge(&vxlan.bridge)],
            Object::Vlan(vlan) => vec![bridge(&vlan.bridge)],
            Object::Enslaved(enslaved) => vec![bridge(&enslaved.bridge)],
            Object::Tap(tap) => vec![bridge(&tap.bridge)],
            Object::Sublink(sublink) => match &sublink.link.netns {
                Netns::Host => Vec::new(),
                Netns::Named(name) => vec![present(Key::Netns(name.clone()))],
            },
            Object::Isolation(isolation) => vec![self.link_owner(&LinkId::host(&isolation.port))],
            Object::FdbEntry(entry) => vec![present(Key::Vxlan(entry.vxlan.clone()))],
            Object::Neighbour(neighbour) => vec![self.link_owner(&LinkId::host(&neighbour.link))],
            // The host's own links are no objects.
            Object::ProxyNeighbour(proxy) => {
                self.link_owner(&LinkId::host(&proxy.link)).map(Some).into_iter().collect()
            }
            // With an address of a link the kernel may drop its routes, and IPv6 asks where a next hop is.
            Object::Origin(origin) => {
                let of_address = |address: &IpAddr| present(Key::Address(origin.link.clone(), *address));
                let addresses = origin.addresses.iter().map(of_address);
                [self.link_owner(&origin.link)].into_iter().chain(addresses).collect()
            }
            Object::Steering(steering) => vec![bridge(&steering.bridge)],
            Object::Responder(responder) => vec![bridge(&responder.bridge)],
            Object::Lease(lease) => vec![present(Key::Responder(lease.bridge.clone()))],
            Object::Address(address) => vec![self.link_owner(&address.link)],
            Object::Route(route) => vec![self.link_owner(&route.link)],
            Object::Resolver(resolver) => vec![present(Key::Netns(resolver.netns.clone()))],
            Object::Claim(claim) => vec![match &claim.link.netns {
                Netns::Host => self.link_owner(&claim.link),
                Netns::Named(name) => present(Key::Netns(name.clone())),
            }],
            Object::Shaper(shaper) => vec![self.link_owner(&shaper.link)],
            // What names a link may be there before it; but a namespace must be, and sets that rules name.
            Object::Filter(filter) => {
                let netns = match &filter.site {
                    Site::Link(LinkId { netns: Netns::Named(name), .. }) => Some(Key::Netns(name.clone())),
                    _ => None,
                };
                let names: BTreeSet<&str> = filter.sets().collect();
                let sets = names.into_iter().map(|name| Key::AddressSet(name.to_owned()));
                netns.into_iter().chain(sets).map(present).collect()
            }
            Object::Interception(Interception { link, .. }) => match &link.netns {
                Netns::Host => Vec::new(),
                Netns::Named(name) => vec![present(Key::Netns(name.clone()))],
            },
            Object::AddressSet(_)
            | Object::Outbound(_)
            | Object::Diversion(_)
            | Object::Guard(_)
            | Object::Preserved(_)
            | Object::Forwarding(_)
            | Object::Netns(_)
            | Object::Barrier(_)
            | Object::Annex(_)
            | Object::Bridge(_)
            | Object::Home(_)
            | Object::Masquerade(_)
            | Object::HeldPort(_)
            | Object::Affinity(_)
            | Object::Service(_)
            | Object::ReservedPorts(_) => Vec::new(),
        }
    }
}

/// The links that an object provides.
fn links_of(object: &Object) -> Vec<LinkId> {
    match object {
        Object::Bridge(bridge) => vec![LinkId::host(&bridge.name)],
        Object::Veth(veth) => vec![LinkId::host(&veth.name), veth.peer.clone()],
        Object::Joint(joint) => joint.ends.iter().map(|end| LinkId::host(end)).collect(),
        Object::Vxlan(vxlan) => vec![LinkId::host(&vxlan.name)],
        Object::Vlan(vlan) => vec![LinkId::host(&vlan.name)],
        Object::Sublink(sublink) => vec![sublink.link.clone()],
        Object::Tap(tap) => vec![LinkId::host(&tap.name)],
        _ => Vec::new(),
    }
}

impl Extend<Object> for State {
    fn extend<I: IntoIterator<Item = Object>>(&mut self, objects: I) {
        for object in objects {
            self.insert(object);
        }
    }
}

impl FromIterator<Object> for State {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        let mut state = Self::new();
        state.extend(objects);
        state
    }
}
