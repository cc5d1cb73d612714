//! Word of changes that others made, and where to look because of it.

use std::collections::BTreeSet;

use crate::object::{LinkId, Netns, Object};

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

    /// Whether an object can be seen in it.
    pub fn shows(&self, object: &Object) -> bool {
        match object {
            Object::Netns(netns) => self.holds(&Netns::Named(netns.name.clone())),
            Object::Resolver(resolver) => self.holds(&Netns::Named(resolver.netns.clone())),
            Object::Veth(veth) => self.holds(&Netns::Host) || self.holds(&veth.peer.netns),
            Object::Sublink(sublink) => self.holds_link(&sublink.link),
            Object::Address(address) => self.holds_link(&address.link),
            Object::Route(route) => self.holds_link(&route.link),
            Object::Shaper(shaper) => self.holds_link(&shaper.link),
            _ => self.holds(&Netns::Host),
        }
    }

    fn holds_link(&self, link: &LinkId) -> bool {
        self.holds(&link.netns)
    }
}
