//! Whose turn it is at an entity: the call that is changing it, then the calls that wait for it, in the order of
//! arrival. A call waits only for running jobs and for earlier calls, so none wait in a circle.

use std::collections::{BTreeSet, HashMap, HashSet};

use hcn_dataplane::Frontend;
use hcn_schema::Guid;
use ipnet::IpNet;

use crate::entity::{Change, EntityKey};

/// A call, as its caller knows it. Grows in the order of arrival.
pub type CallId = u64;

/// Who is at which entity.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Entities that are being changed.
    busy: HashSet<EntityKey>,
    /// Which waiting calls need an entity.
    claims: HashMap<EntityKey, BTreeSet<CallId>>,
    /// Prefixes that networks are losing, and get back if their jobs fail.
    leaving: Vec<(EntityKey, IpNet)>,
    /// The same of what is published.
    withdrawn: HashMap<Frontend, EntityKey>,
    /// The same of endpoints that load balancers and SDN routes refer to.
    let_go: HashMap<Guid, HashSet<EntityKey>>,
}

impl Turns {
    /// Whether a call has its turn at an entity.
    pub(crate) fn is_turn_of(&self, call: CallId, key: &EntityKey) -> bool {
        let earliest = self.claims.get(key).and_then(BTreeSet::first);
        !self.busy.contains(key) && earliest.is_none_or(|earliest| *earliest >= call)
    }

    /// Whether a job is changing an entity.
    pub(crate) fn is_busy(&self, key: &EntityKey) -> bool {
        self.busy.contains(key)
    }

    /// The networks that are losing prefixes, and these.
    pub(crate) fn leaving(&self) -> &[(EntityKey, IpNet)] {
        &self.leaving
    }

    /// Who is withdrawing this, and gets it back if the job fails.
    pub(crate) fn withdraws(&self, frontend: &Frontend) -> Option<EntityKey> {
        self.withdrawn.get(frontend).copied()
    }

    /// Who is letting go of this endpoint, and refers to it again if the job fails.
    pub(crate) fn letting_go(&self, endpoint: Guid) -> impl Iterator<Item = EntityKey> {
        self.let_go.get(&endpoint).into_iter().flatten().copied()
    }

    /// A job makes this change from now on.
    pub(crate) fn begin(&mut self, change: &Change) {
        self.busy.extend(change.keys());
        self.leaving.extend(change.lost_prefixes());
        self.withdrawn.extend(change.lost_frontends().map(|(key, frontend)| (frontend, key)));
        for (key, endpoint) in change.lost_endpoints() {
            self.let_go.entry(endpoint).or_default().insert(key);
        }
    }

    /// The job is over.
    pub(crate) fn end(&mut self, keys: &[EntityKey]) {
        for key in keys {
            self.busy.remove(key);
        }
        self.leaving.retain(|(key, _)| !keys.contains(key));
        self.withdrawn.retain(|_, key| !keys.contains(key));
        self.let_go.retain(|_, by| {
            by.retain(|key| !keys.contains(key));
            !by.is_empty()
        });
    }

    /// A call waits for its turn at these entities.
    pub(crate) fn claim(&mut self, call: CallId, keys: &[EntityKey]) {
        for key in keys {
            self.claims.entry(*key).or_default().insert(call);
        }
    }

    /// It does not wait any longer.
    pub(crate) fn unclaim(&mut self, call: CallId, keys: &[EntityKey]) {
        for key in keys {
            if let Some(calls) = self.claims.get_mut(key) {
                calls.remove(&call);
                if calls.is_empty() {
                    self.claims.remove(key);
                }
            }
        }
    }
}
