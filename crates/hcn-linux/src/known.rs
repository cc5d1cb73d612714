//! The indexes of links that hcnd knows, so that no name is looked up twice; those of the host are shared with the thread
//! that listens for changes.

use std::collections::HashMap;
use std::collections::hash_map::Iter;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hcn_dataplane::{LinkId, Netns};

use crate::link::{LinkFacts, PortWord};

/// What is compared of a link of the host, as a hash: there are thousands of them.
fn shape(facts: &LinkFacts) -> u64 {
    let LinkFacts { up, arp, name, alias, mac, group, mtu, master, shows_frames, port, .. } = facts;
    hash(&(up, arp, name, alias, mac, group, mtu, master, shows_frames, port))
}

fn hash(shape: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    shape.hash(&mut hasher);
    hasher.finish()
}

/// A new link is described, and comes up, step by step: what changes so soon is hcnd's doing.
const NEW: Duration = Duration::from_millis(300);

/// A link of the host that hcnd has.
#[derive(Debug)]
struct Own {
    since: Instant,
    /// When it was last seen.
    shape: Option<u64>,
    /// What its bridge last said of it.
    port: Option<u64>,
}

impl Own {
    fn has_settled(&self) -> bool {
        self.since.elapsed() > NEW
    }
}

/// The links of the host that hcnd has, by index.
#[derive(Debug, Default)]
pub(crate) struct OnHost(Mutex<HashMap<u32, Own>>);

impl OnHost {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Own>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a link is hcnd's.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.lock().contains_key(&index)
    }

    /// Whether a link is hcnd's, and not just made.
    pub(crate) fn has_settled(&self, index: u32) -> bool {
        self.lock().get(&index).is_some_and(Own::has_settled)
    }

    /// Notes how a link is now. Says whether it is hcnd's and has become another.
    pub(crate) fn changed(&self, facts: &LinkFacts) -> bool {
        let mut links = self.lock();
        let Some(own) = links.get_mut(&facts.index) else { return false };
        let shape = shape(facts);
        own.shape.replace(shape).is_some_and(|last| last != shape) && own.has_settled()
    }

    /// Notes what a bridge says of a port. Says whether it is hcnd's and it is the first word, or another than the last.
    pub(crate) fn changed_port(&self, word: &PortWord) -> bool {
        let mut links = self.lock();
        let Some(own) = links.get_mut(&word.index) else { return false };
        let port = hash(word);
        own.port.replace(port) != Some(port) && own.has_settled()
    }

    /// Notes how links are that were there before.
    pub(crate) fn note<'a>(&self, all: impl Iterator<Item = &'a LinkFacts>) {
        let mut links = self.lock();
        for facts in all {
            if let Some(own) = links.get_mut(&facts.index) {
                own.shape.get_or_insert_with(|| shape(facts));
            }
        }
    }

    fn insert(&self, index: u32) {
        self.lock().entry(index).or_insert_with(|| Own { since: Instant::now(), shape: None, port: None });
    }
}

/// Indexes of links.
#[derive(Debug, Default)]
pub(crate) struct Known {
    links: HashMap<LinkId, u32>,
    on_host: Arc<OnHost>,
}

impl Known {
    pub(crate) fn insert(&mut self, link: LinkId, index: u32) -> Option<u32> {
        if link.netns == Netns::Host {
            self.on_host.insert(index);
        }
        self.links.insert(link, index)
    }

    pub(crate) fn remove(&mut self, link: &LinkId) -> Option<u32> {
        let index = self.links.remove(link)?;
        if link.netns == Netns::Host {
            self.on_host.lock().remove(&index);
        }
        Some(index)
    }

    pub(crate) fn get(&self, link: &LinkId) -> Option<&u32> {
        self.links.get(link)
    }

    pub(crate) fn contains_key(&self, link: &LinkId) -> bool {
        self.links.contains_key(link)
    }

    pub(crate) fn iter(&self) -> Iter<'_, LinkId, u32> {
        self.links.iter()
    }

    /// Forgets a link of the host by its index.
    pub(crate) fn forget(&mut self, index: u32) {
        self.links.retain(|link, other| link.netns != Netns::Host || *other != index);
        self.on_host.lock().remove(&index);
    }

    /// What the thread that listens is told of.
    pub(crate) fn on_host(&self) -> Arc<OnHost> {
        Arc::clone(&self.on_host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_changed_when_it_is_another_than_it_was() {
        let mut known = Known::default();
        let on_host = known.on_host();
        let mut facts = LinkFacts { index: 7, up: true, mtu: 1500, ..LinkFacts::default() };
        assert!(!on_host.changed(&facts), "somebody else's");
        known.insert(LinkId::host("hve1"), 7);
        known.insert(LinkId { netns: Netns::Named("box".to_owned()), name: "eth0".to_owned() }, 8);
        assert!(on_host.has(7) && !on_host.has(8));
        facts.mtu = 1400;
        assert!(!on_host.changed(&facts), "it is new");
        std::thread::sleep(NEW + Duration::from_millis(10));
        assert!(!on_host.changed(&facts));
        facts.mtu = 1500;
        assert!(on_host.changed(&facts));
        assert!(!on_host.changed(&facts));
        known.remove(&LinkId::host("hve1"));
        facts.up = false;
        assert!(!on_host.changed(&facts) && !on_host.has(7));
    }
}
