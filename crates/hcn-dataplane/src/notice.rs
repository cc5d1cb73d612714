//! Word of changes that others made, and where to look because of it.

use std::collections::BTreeSet;

use crate::object::{Netns, Object};

/// Is told of changes; called from a thread of the data plane's own, and must not wait.
pub type Notify = Box<dyn Fn(Notice) + Send>;

/// Where something may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// In the network namespace of the data plane itself.
    pub host: bool,
    /// In other namespaces, by the numbers that this one has for them (`nsid`).
    pub numbers: BTreeSet<i32>,
    /// In namespaces that are known by name.
    pub names: BTreeSet<String>,
    /// In the rules.
    pub rules: bool,
    /// Anywhere: word of something was lost.
    pub lost: bool,
}

impl Notice {
    /// A notice about everything.
    pub fn of_everything() -> Self {
        Self { rules: true, lost: true, ..Self::default() }
    }

    /// A notice about the places where these can be seen.
    pub fn about<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Self {
        let mut notice = Self::default();
        for place in objects.into_iter().flat_map(places_of) {
            match place {
                Netns::Host => notice.host = true,
                Netns::Named(name) => {
                    notice.names.insert(name);
                }
            }
        }
        notice
    }

    /// Adds what another one says.
    pub fn merge(&mut self, other: Self) {
        self.host |= other.host;
        self.numbers.extend(other.numbers);
        self.names.extend(other.names);
        self.rules |= other.rules;
        self.lost |= other.lost;
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Where to look, by what a number stands for: none of hcnd's namespaces where that is not known.
    pub fn scope(&self, mut name_of: impl FnMut(i32) -> Option<String>) -> Option<Scope> {
        if self.lost {
            return Some(Scope::Everything);
        }
        let mut places: BTreeSet<Netns> = self.names.iter().cloned().map(Netns::Named).collect();
        places.extend(self.numbers.iter().filter_map(|number| name_of(*number)).map(Netns::Named));
        if self.host {
            places.insert(Netns::Host);
        }
        (!places.is_empty()).then_some(Scope::Places(places))
    }
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Everything,
    /// In these network namespaces.
    Places(BTreeSet<Netns>),
}

impl Scope {
    /// Whether a network namespace is looked at.
    pub fn holds(&self, netns: &Netns) -> bool {
        match self {
            Self::Everything => true,
            Self::Places(places) => places.contains(netns),
        }
    }

    /// Whether something of an object can be seen in it.
    pub fn shows(&self, object: &Object) -> bool {
        *self == Self::Everything || places_of(object).iter().any(|place| self.holds(place))
    }
}

/// Where an object is.
fn places_of(object: &Object) -> Vec<Netns> {
    match object {
        Object::Netns(netns) => vec![Netns::Named(netns.name.clone())],
        Object::Resolver(resolver) => vec![Netns::Named(resolver.netns.clone())],
        Object::Veth(veth) => vec![Netns::Host, veth.peer.netns.clone()],
        Object::Sublink(sublink) => vec![sublink.link.netns.clone()],
        Object::Address(address) => vec![address.link.netns.clone()],
        Object::Claim(claim) => vec![claim.link.netns.clone()],
        Object::Route(route) => vec![route.link.netns.clone()],
        Object::Origin(origin) => vec![origin.link.netns.clone()],
        Object::Shaper(shaper) => vec![shaper.link.netns.clone()],
        _ => vec![Netns::Host],
    }
}
