//! All records, with indexes that are derived from them: an index changes only when a record does.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use hcn_dataplane::Mac;
use hcn_schema::Guid;

use crate::entity::{Change, Endpoint, Entity, Namespace, Network};

/// The records of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Table<T> {
    by_id: HashMap<Guid, (u64, Arc<T>)>,
    by_age: BTreeMap<u64, Guid>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { by_id: HashMap::new(), by_age: BTreeMap::new() }
    }
}

impl<T> Table<T> {
    /// The record with this ID.
    pub fn get(&self, id: Guid) -> Option<&Arc<T>> {
        self.by_id.get(&id).map(|(_, record)| record)
    }

    /// All records, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.by_age.values().filter_map(|id| self.get(*id))
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn insert(&mut self, id: Guid, incarnation: u64, record: Arc<T>) {
        self.by_age.insert(incarnation, id);
        self.by_id.insert(id, (incarnation, record));
    }

    fn remove(&mut self, id: Guid) {
        if let Some((incarnation, _)) = self.by_id.remove(&id) {
            self.by_age.remove(&incarnation);
        }
    }
}

/// How often an address is used in a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// By endpoints of this host: at most one (B22).
    pub local: u32,
    /// By endpoints of other hosts.
    pub remote: u32,
}

/// All records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    /// Networks.
    pub networks: Table<Network>,
    /// Endpoints.
    pub endpoints: Table<Endpoint>,
    /// Namespaces.
    pub namespaces: Table<Namespace>,
    network_names: HashMap<String, Guid>,
    endpoints_of: HashMap<Guid, BTreeMap<u64, Guid>>,
    addresses: HashMap<(Guid, IpAddr), Uses>,
    macs: Counts<(Guid, Mac)>,
    links: Counts<String>,
    numbers: Counts<u32>,
}

/// How often something occurs; what does not occur is not held.
#[derive(Clone, Debug, PartialEq)]
struct Counts<K: Hash + Eq>(HashMap<K, u32>);

impl<K: Hash + Eq> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Counts<K> {
    fn add(&mut self, key: K) {
        *self.0.entry(key).or_insert(0) += 1;
    }

    fn take(&mut self, key: &K) {
        if let Some(count) = self.0.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }

    fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }
}

impl Registry {
    /// No records.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a change over.
    pub fn apply(&mut self, change: &Change) {
        for step in &change.steps {
            if let Some(before) = &step.before {
                self.remove(before);
            }
            if let Some(after) = &step.after {
                self.insert(after);
            }
        }
    }

    /// The network with this name.
    pub fn network_named(&self, name: &str) -> Option<&Arc<Network>> {
        self.network_names.get(name).and_then(|id| self.networks.get(*id))
    }

    /// The endpoints of a network, oldest first.
    pub fn endpoints_of(&self, network: Guid) -> impl Iterator<Item = &Arc<Endpoint>> {
        let ids = self.endpoints_of.get(&network);
        ids.into_iter().flat_map(BTreeMap::values).filter_map(|id| self.endpoints.get(*id))
    }

    /// How many endpoints a network has.
    pub fn endpoint_count(&self, network: Guid) -> usize {
        self.endpoints_of.get(&network).map_or(0, BTreeMap::len)
    }

    /// How often an address is used in a network.
    pub fn uses_of(&self, network: Guid, address: IpAddr) -> Uses {
        self.addresses.get(&(network, address)).copied().unwrap_or_default()
    }

    /// Whether an endpoint of the network has this MAC address.
    pub fn mac_is_used(&self, network: Guid, mac: Mac) -> bool {
        self.macs.contains(&(network, mac))
    }

    /// Whether a bridge or a host end has this interface name.
    pub fn link_is_used(&self, name: &str) -> bool {
        self.links.0.contains_key(name)
    }

    /// Whether a namespace has this number.
    pub fn number_is_used(&self, number: u32) -> bool {
        self.numbers.contains(&number)
    }

    fn insert(&mut self, entity: &Entity) {
        let (id, incarnation) = (entity.meta().id, entity.meta().incarnation);
        match entity {
            Entity::Network(network) => {
                if !network.name().is_empty() {
                    self.network_names.insert(network.name().to_owned(), id);
                }
                self.links.add(network.bridge.clone());
                self.networks.insert(id, incarnation, Arc::clone(network));
            }
            Entity::Endpoint(endpoint) => {
                self.endpoints_of.entry(endpoint.network).or_default().insert(incarnation, id);
                for address in &endpoint.addresses {
                    let uses = self.addresses.entry((endpoint.network, address.addr())).or_default();
                    *if endpoint.remote { &mut uses.remote } else { &mut uses.local } += 1;
                }
                self.macs.add((endpoint.network, endpoint.mac));
                self.links.add(endpoint.veth.clone());
                self.endpoints.insert(id, incarnation, Arc::clone(endpoint));
            }
            Entity::Namespace(namespace) => {
                self.numbers.add(namespace.number);
                self.namespaces.insert(id, incarnation, Arc::clone(namespace));
            }
        }
    }

    fn remove(&mut self, entity: &Entity) {
        let (id, incarnation) = (entity.meta().id, entity.meta().incarnation);
        match entity {
            Entity::Network(network) => {
                self.network_names.remove(network.name());
                self.links.take(&network.bridge);
                self.networks.remove(id);
            }
            Entity::Endpoint(endpoint) => {
                if let Some(ids) = self.endpoints_of.get_mut(&endpoint.network) {
                    ids.remove(&incarnation);
                    if ids.is_empty() {
                        self.endpoints_of.remove(&endpoint.network);
                    }
                }
                for address in &endpoint.addresses {
                    let key = (endpoint.network, address.addr());
                    if let Some(uses) = self.addresses.get_mut(&key) {
                        *if endpoint.remote { &mut uses.remote } else { &mut uses.local } -= 1;
                        if *uses == Uses::default() {
                            self.addresses.remove(&key);
                        }
                    }
                }
                self.macs.take(&(endpoint.network, endpoint.mac));
                self.links.take(&endpoint.veth);
                self.endpoints.remove(id);
            }
            Entity::Namespace(namespace) => {
                self.numbers.take(&namespace.number);
                self.namespaces.remove(id);
            }
        }
    }
}
