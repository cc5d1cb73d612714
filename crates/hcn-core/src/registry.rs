//! All records, with indexes that are derived from them: an index changes only when a record does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use hcn_dataplane::{Frontend, Mac};
use hcn_schema::Guid;
use hcn_schema::call::Kind;

use crate::entity::{
    Change, Endpoint, Entity, EntityKey, GuestNetworkService, LoadBalancer, Namespace, Network,
    PortReservation, SdnRoute,
};

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
    /// As virtual or source address, by load balancers and by translations of endpoints.
    pub virtuals: u32,
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
    /// Load balancers.
    pub load_balancers: Table<LoadBalancer>,
    /// SDN routes.
    pub sdn_routes: Table<SdnRoute>,
    /// Guest network services.
    pub guest_network_services: Table<GuestNetworkService>,
    /// Port reservations.
    pub port_reservations: Table<PortReservation>,
    network_names: HashMap<String, Guid>,
    endpoints_of: HashMap<Guid, BTreeMap<u64, Guid>>,
    addresses: HashMap<(Guid, IpAddr), Uses>,
    macs: Counts<(Guid, Mac)>,
    links: Counts<String>,
    shards: Counts<(Guid, u16)>,
    numbers: Counts<u32>,
    tables: Counts<u32>,
    frontends: HashMap<Frontend, EntityKey>,
    balancers_of: Referrers,
    routes_of: Referrers,
    virtual_addresses: Counts<Guid>,
}

/// Which entities refer to an endpoint; what nobody refers to is not held.
type Referrers = HashMap<Guid, BTreeSet<Guid>>;

fn refer(referrers: &mut Referrers, to: &[Guid], from: Guid) {
    for endpoint in to {
        referrers.entry(*endpoint).or_default().insert(from);
    }
}

fn unrefer(referrers: &mut Referrers, to: &[Guid], from: Guid) {
    for endpoint in to {
        if let Some(ids) = referrers.get_mut(endpoint) {
            ids.remove(&from);
            if ids.is_empty() {
                referrers.remove(endpoint);
            }
        }
    }
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

    fn get(&self, key: &K) -> usize {
        self.0.get(key).map_or(0, |count| usize::try_from(*count).unwrap_or(usize::MAX))
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

    /// These records.
    pub fn of(entities: &[Entity]) -> Self {
        let mut registry = Self::new();
        entities.iter().for_each(|entity| registry.insert(entity));
        registry
    }

    /// All records: what others stand on comes first; of one kind the oldest.
    pub fn entities(&self) -> impl Iterator<Item = Entity> {
        let order = [
            Kind::Network,
            Kind::Namespace,
            Kind::Endpoint,
            Kind::LoadBalancer,
            Kind::SdnRoute,
            Kind::GuestNetworkService,
            Kind::PortReservation,
        ];
        order.into_iter().flat_map(|kind| self.of_kind(kind))
    }

    /// The records of a kind, oldest first.
    pub fn of_kind(&self, kind: Kind) -> Box<dyn Iterator<Item = Entity> + '_> {
        match kind {
            Kind::Network => Box::new(self.networks.iter().cloned().map(Entity::Network)),
            Kind::Endpoint => Box::new(self.endpoints.iter().cloned().map(Entity::Endpoint)),
            Kind::Namespace => Box::new(self.namespaces.iter().cloned().map(Entity::Namespace)),
            Kind::LoadBalancer => Box::new(self.load_balancers.iter().cloned().map(Entity::LoadBalancer)),
            Kind::SdnRoute => Box::new(self.sdn_routes.iter().cloned().map(Entity::SdnRoute)),
            Kind::GuestNetworkService => {
                Box::new(self.guest_network_services.iter().cloned().map(Entity::GuestNetworkService))
            }
            Kind::PortReservation => {
                Box::new(self.port_reservations.iter().cloned().map(Entity::PortReservation))
            }
        }
    }

    /// How many records of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Network => self.networks.len(),
            Kind::Endpoint => self.endpoints.len(),
            Kind::Namespace => self.namespaces.len(),
            Kind::LoadBalancer => self.load_balancers.len(),
            Kind::SdnRoute => self.sdn_routes.len(),
            Kind::GuestNetworkService => self.guest_network_services.len(),
            Kind::PortReservation => self.port_reservations.len(),
        }
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

    /// At most how many addresses are used in a network.
    pub fn addresses_in(&self, network: Guid) -> usize {
        2 * self.endpoint_count(network) + self.virtual_addresses.get(&network)
    }

    /// Whether an endpoint of the network has this MAC address.
    pub fn mac_is_used(&self, network: Guid, mac: Mac) -> bool {
        self.macs.contains(&(network, mac))
    }

    /// How many ports one of a network's bridges has; those that join bridges do not count.
    pub fn ports_of(&self, network: Guid, shard: u16) -> usize {
        self.shards.get(&(network, shard))
    }

    /// Whether a bridge, what joins two, or the port of an endpoint has this interface name.
    pub fn link_is_used(&self, name: &str) -> bool {
        self.links.0.contains_key(name)
    }

    /// Whether a namespace has this number.
    pub fn number_is_used(&self, number: u32) -> bool {
        self.numbers.contains(&number)
    }

    /// Whether a network or an endpoint has the routing table with this number.
    pub fn table_is_used(&self, number: u32) -> bool {
        self.tables.contains(&number)
    }

    /// What has published this.
    pub fn publisher_of(&self, frontend: &Frontend) -> Option<EntityKey> {
        self.frontends.get(frontend).copied()
    }

    /// The load balancers that an endpoint is a back end of.
    pub fn balancers_of(&self, endpoint: Guid) -> impl Iterator<Item = &Arc<LoadBalancer>> {
        let ids = self.balancers_of.get(&endpoint);
        ids.into_iter().flatten().filter_map(|id| self.load_balancers.get(*id))
    }

    /// The entity that a key names.
    pub fn get(&self, key: EntityKey) -> Option<Entity> {
        match key.kind {
            Kind::Network => self.networks.get(key.id).cloned().map(Entity::Network),
            Kind::Endpoint => self.endpoints.get(key.id).cloned().map(Entity::Endpoint),
            Kind::Namespace => self.namespaces.get(key.id).cloned().map(Entity::Namespace),
            Kind::LoadBalancer => self.load_balancers.get(key.id).cloned().map(Entity::LoadBalancer),
            Kind::SdnRoute => self.sdn_routes.get(key.id).cloned().map(Entity::SdnRoute),
            Kind::GuestNetworkService => {
                self.guest_network_services.get(key.id).cloned().map(Entity::GuestNetworkService)
            }
            Kind::PortReservation => self.port_reservations.get(key.id).cloned().map(Entity::PortReservation),
        }
    }

    /// The SDN routes that an endpoint has.
    pub fn routes_of(&self, endpoint: Guid) -> impl Iterator<Item = &Arc<SdnRoute>> {
        let ids = self.routes_of.get(&endpoint);
        ids.into_iter().flatten().filter_map(|id| self.sdn_routes.get(*id))
    }

    /// Notes how an address is used in a network, or, with `change` going down, that it is not any more.
    fn note_use(&mut self, network: Guid, address: IpAddr, change: impl Fn(&mut Uses)) {
        let uses = self.addresses.entry((network, address)).or_default();
        change(uses);
        if *uses == Uses::default() {
            self.addresses.remove(&(network, address));
        }
    }

    fn insert(&mut self, entity: &Entity) {
        let (id, incarnation) = (entity.meta().id, entity.meta().incarnation);
        match entity {
            Entity::Network(network) => {
                if !network.name().is_empty() {
                    self.network_names.insert(network.name().to_owned(), id);
                }
                network.links().for_each(|link| self.links.add(link));
                network.table.iter().for_each(|table| self.tables.add(table.number));
                self.networks.insert(id, incarnation, Arc::clone(network));
            }
            Entity::Endpoint(endpoint) => {
                self.endpoints_of.entry(endpoint.network).or_default().insert(incarnation, id);
                for address in &endpoint.addresses {
                    self.note_use(endpoint.network, address.addr(), |uses| {
                        *if endpoint.remote { &mut uses.remote } else { &mut uses.local } += 1;
                    });
                }
                for address in endpoint.virtual_addresses() {
                    self.note_use(endpoint.network, address, |uses| uses.virtuals += 1);
                    self.virtual_addresses.add(endpoint.network);
                }
                for port in &endpoint.ports {
                    self.frontends.insert(port.frontend, entity.key());
                }
                self.macs.add((endpoint.network, endpoint.mac));
                self.links.add(endpoint.veth.clone());
                endpoint.table.iter().for_each(|table| self.tables.add(table.number));
                if let Some(port) = endpoint.vm_port.as_ref().filter(|port| !port.tap.is_empty()) {
                    self.links.add(port.tap.clone());
                }
                if endpoint.port().is_some() {
                    self.shards.add((endpoint.network, endpoint.shard));
                }
                self.endpoints.insert(id, incarnation, Arc::clone(endpoint));
            }
            Entity::Namespace(namespace) => {
                self.numbers.add(namespace.number);
                self.namespaces.insert(id, incarnation, Arc::clone(namespace));
            }
            Entity::LoadBalancer(balancer) => {
                for (frontend, _) in balancer.frontends() {
                    self.frontends.insert(frontend, entity.key());
                }
                refer(&mut self.balancers_of, &balancer.endpoints, id);
                for address in balancer.addresses.iter().chain(&balancer.source) {
                    if let Some(network) = balancer.network {
                        self.note_use(network, *address, |uses| uses.virtuals += 1);
                        self.virtual_addresses.add(network);
                    }
                }
                self.load_balancers.insert(id, incarnation, Arc::clone(balancer));
            }
            Entity::SdnRoute(route) => {
                refer(&mut self.routes_of, &route.endpoints, id);
                self.sdn_routes.insert(id, incarnation, Arc::clone(route));
            }
            Entity::GuestNetworkService(service) => {
                self.guest_network_services.insert(id, incarnation, Arc::clone(service));
            }
            Entity::PortReservation(reservation) => {
                for frontend in reservation.frontends() {
                    self.frontends.insert(frontend, entity.key());
                }
                self.port_reservations.insert(id, incarnation, Arc::clone(reservation));
            }
        }
    }

    fn remove(&mut self, entity: &Entity) {
        let (id, incarnation) = (entity.meta().id, entity.meta().incarnation);
        match entity {
            Entity::Network(network) => {
                self.network_names.remove(network.name());
                network.links().for_each(|link| self.links.take(&link));
                network.table.iter().for_each(|table| self.tables.take(&table.number));
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
                    self.note_use(endpoint.network, address.addr(), |uses| {
                        *if endpoint.remote { &mut uses.remote } else { &mut uses.local } -= 1;
                    });
                }
                for address in endpoint.virtual_addresses() {
                    self.note_use(endpoint.network, address, |uses| uses.virtuals -= 1);
                    self.virtual_addresses.take(&endpoint.network);
                }
                for port in &endpoint.ports {
                    self.withdraw(&port.frontend, entity);
                }
                self.macs.take(&(endpoint.network, endpoint.mac));
                self.links.take(&endpoint.veth);
                endpoint.table.iter().for_each(|table| self.tables.take(&table.number));
                if let Some(port) = endpoint.vm_port.as_ref().filter(|port| !port.tap.is_empty()) {
                    self.links.take(&port.tap);
                }
                if endpoint.port().is_some() {
                    self.shards.take(&(endpoint.network, endpoint.shard));
                }
                self.endpoints.remove(id);
            }
            Entity::Namespace(namespace) => {
                self.numbers.take(&namespace.number);
                self.namespaces.remove(id);
            }
            Entity::LoadBalancer(balancer) => {
                for (frontend, _) in balancer.frontends() {
                    self.withdraw(&frontend, entity);
                }
                unrefer(&mut self.balancers_of, &balancer.endpoints, id);
                for address in balancer.addresses.iter().chain(&balancer.source) {
                    if let Some(network) = balancer.network {
                        self.note_use(network, *address, |uses| uses.virtuals -= 1);
                        self.virtual_addresses.take(&network);
                    }
                }
                self.load_balancers.remove(id);
            }
            Entity::SdnRoute(route) => {
                unrefer(&mut self.routes_of, &route.endpoints, id);
                self.sdn_routes.remove(id);
            }
            Entity::GuestNetworkService(_) => self.guest_network_services.remove(id),
            Entity::PortReservation(reservation) => {
                for frontend in reservation.frontends() {
                    self.withdraw(&frontend, entity);
                }
                self.port_reservations.remove(id);
            }
        }
    }

    fn withdraw(&mut self, frontend: &Frontend, entity: &Entity) {
        if self.frontends.get(frontend) == Some(&entity.key()) {
            self.frontends.remove(frontend);
        }
    }
}
