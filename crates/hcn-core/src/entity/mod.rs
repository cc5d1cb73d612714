//! The records: what the service knows of each entity. Addresses, MAC addresses and references live here and
//! nowhere else; everything else is derived from them.

mod endpoint;
mod guest_network_service;
mod load_balancer;
mod namespace;
mod network;
mod port_reservation;
mod sdn_route;

use std::sync::Arc;

use hcn_dataplane::Frontend;
use hcn_schema::call::Kind;
use hcn_schema::{Guid, HResult};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use endpoint::{Endpoint, Place, PortMapping, Route, VmPort};
pub use guest_network_service::GuestNetworkService;
pub use load_balancer::{BalancedPort, LoadBalancer};
pub use namespace::{Namespace, Resource};
pub use network::{Junction, Network, PORTS_OF_A_BRIDGE, RemoteSubnet, RoutingTable, Subnet, Tunnel, Uplink};
pub(crate) use network::{MOST_SHARDS, leads_outside};
pub use port_reservation::PortReservation;
pub use sdn_route::SdnRoute;

/// What all entities have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Identifier.
    pub id: Guid,
    /// Unique among all entities that ever were; grows with age, so it also orders them.
    pub incarnation: u64,
    /// Counts the changes of the entity, from 1.
    pub revision: u64,
    /// When it changed last, as FILETIME.
    pub updated: u64,
    /// Why the entity is degraded: something of it could not be undone and is being retried. Not kept in the store: a
    /// start finds out anew.
    #[serde(skip)]
    pub degraded: Option<HResult>,
    /// The user who made it.
    #[serde(default)]
    pub creator_uid: u32,
}

impl Meta {
    /// The meta data of the entity after one more change.
    #[must_use]
    pub fn next(&self, updated: u64) -> Self {
        Self { revision: self.revision + 1, updated, ..self.clone() }
    }
}

/// Identifies an entity: IDs are unique within a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey {
    /// The kind.
    pub kind: Kind,
    /// The ID.
    pub id: Guid,
}

/// A record of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entity {
    /// A network.
    Network(Arc<Network>),
    /// An endpoint.
    Endpoint(Arc<Endpoint>),
    /// A namespace.
    Namespace(Arc<Namespace>),
    /// A load balancer.
    LoadBalancer(Arc<LoadBalancer>),
    /// An SDN route.
    SdnRoute(Arc<SdnRoute>),
    /// A guest network service.
    GuestNetworkService(Arc<GuestNetworkService>),
    /// A port reservation.
    PortReservation(Arc<PortReservation>),
}

impl Entity {
    /// The common part.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Network(network) => &network.meta,
            Self::Endpoint(endpoint) => &endpoint.meta,
            Self::Namespace(namespace) => &namespace.meta,
            Self::LoadBalancer(balancer) => &balancer.meta,
            Self::SdnRoute(route) => &route.meta,
            Self::GuestNetworkService(service) => &service.meta,
            Self::PortReservation(reservation) => &reservation.meta,
        }
    }

    fn meta_mut(&mut self) -> &mut Meta {
        match self {
            Self::Network(network) => &mut Arc::make_mut(network).meta,
            Self::Endpoint(endpoint) => &mut Arc::make_mut(endpoint).meta,
            Self::Namespace(namespace) => &mut Arc::make_mut(namespace).meta,
            Self::LoadBalancer(balancer) => &mut Arc::make_mut(balancer).meta,
            Self::SdnRoute(route) => &mut Arc::make_mut(route).meta,
            Self::GuestNetworkService(service) => &mut Arc::make_mut(service).meta,
            Self::PortReservation(reservation) => &mut Arc::make_mut(reservation).meta,
        }
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Network(_) => Kind::Network,
            Self::Endpoint(_) => Kind::Endpoint,
            Self::Namespace(_) => Kind::Namespace,
            Self::LoadBalancer(_) => Kind::LoadBalancer,
            Self::SdnRoute(_) => Kind::SdnRoute,
            Self::GuestNetworkService(_) => Kind::GuestNetworkService,
            Self::PortReservation(_) => Kind::PortReservation,
        }
    }

    /// What identifies it.
    pub fn key(&self) -> EntityKey {
        EntityKey { kind: self.kind(), id: self.meta().id }
    }

    /// The owner that its document names.
    pub fn owner(&self) -> &str {
        let owner = match self {
            Self::Network(network) => &network.document.owner,
            Self::Endpoint(endpoint) => &endpoint.document.owner,
            Self::Namespace(namespace) => &namespace.document.owner,
            Self::LoadBalancer(balancer) => &balancer.document.owner,
            Self::SdnRoute(route) => &route.document.owner,
            Self::GuestNetworkService(service) => &service.document.owner,
            Self::PortReservation(_) => &None,
        };
        owner.as_deref().unwrap_or_default()
    }

    /// The name that its document gives it.
    pub fn name(&self) -> &str {
        let name = match self {
            Self::Network(network) => &network.document.name,
            Self::Endpoint(endpoint) => &endpoint.document.name,
            Self::Namespace(namespace) => &namespace.document.name,
            Self::LoadBalancer(balancer) => &balancer.document.name,
            Self::SdnRoute(route) => &route.document.name,
            Self::GuestNetworkService(service) => &service.document.name,
            Self::PortReservation(_) => &None,
        };
        name.as_deref().unwrap_or_default()
    }

    /// What it has published.
    pub fn frontends(&self) -> Vec<Frontend> {
        match self {
            Self::Endpoint(endpoint) => endpoint.ports.iter().map(|port| port.frontend).collect(),
            Self::LoadBalancer(balancer) => balancer.frontends().map(|(frontend, _)| frontend).collect(),
            Self::PortReservation(reservation) => reservation.frontends().collect(),
            Self::Network(_) | Self::Namespace(_) | Self::SdnRoute(_) | Self::GuestNetworkService(_) => {
                Vec::new()
            }
        }
    }

    /// The endpoints that it is about, if it goes on without one that is deleted.
    fn referred(&self) -> &[Guid] {
        match self {
            Self::LoadBalancer(balancer) => &balancer.endpoints,
            Self::SdnRoute(route) => &route.endpoints,
            Self::Network(_)
            | Self::Endpoint(_)
            | Self::Namespace(_)
            | Self::GuestNetworkService(_)
            | Self::PortReservation(_) => &[],
        }
    }

    /// The same record, marked degraded or not.
    #[must_use]
    pub fn with_degraded(&self, degraded: Option<HResult>) -> Self {
        let mut entity = self.clone();
        entity.meta_mut().degraded = degraded;
        entity
    }
}

/// One record before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// None = it did not exist.
    pub before: Option<Entity>,
    /// None = it is gone.
    pub after: Option<Entity>,
}

/// What a call changes: records before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// One per record.
    pub steps: Vec<Step>,
}

impl Change {
    /// A new record.
    pub fn create(&mut self, after: Entity) {
        self.steps.push(Step { before: None, after: Some(after) });
    }

    /// A changed record.
    pub fn replace(&mut self, before: Entity, after: Entity) {
        self.steps.push(Step { before: Some(before), after: Some(after) });
    }

    /// A record that goes.
    pub fn delete(&mut self, before: Entity) {
        self.steps.push(Step { before: Some(before), after: None });
    }

    /// The change that takes this one back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let flip = |step: &Step| Step { before: step.after.clone(), after: step.before.clone() };
        Self { steps: self.steps.iter().rev().map(flip).collect() }
    }

    /// The part that makes and replaces records, and the part that deletes them.
    #[must_use]
    pub fn split(&self) -> (Self, Self) {
        let (kept, deleted) = self.steps.iter().cloned().partition(|step| step.after.is_some());
        (Self { steps: kept }, Self { steps: deleted })
    }

    /// The prefixes that networks lose by it without being deleted.
    pub fn lost_prefixes(&self) -> impl Iterator<Item = (EntityKey, IpNet)> {
        self.steps.iter().flat_map(|step| {
            let (Some(Entity::Network(before)), Some(Entity::Network(after))) = (&step.before, &step.after)
            else {
                return Vec::new();
            };
            let key = EntityKey { kind: Kind::Network, id: before.meta.id };
            let lost = before.subnets.iter().filter(|subnet| !after.subnets.contains(subnet));
            lost.map(|subnet| (key, subnet.prefix)).collect()
        })
    }

    /// What load balancers and endpoints withdraw by it without being deleted.
    pub fn lost_frontends(&self) -> impl Iterator<Item = (EntityKey, Frontend)> {
        self.steps.iter().flat_map(|step| {
            let (Some(before), Some(after)) = (&step.before, &step.after) else { return Vec::new() };
            let kept = after.frontends();
            let lost = before.frontends().into_iter().filter(|frontend| !kept.contains(frontend));
            lost.map(|frontend| (before.key(), frontend)).collect()
        })
    }

    /// The endpoints that load balancers and SDN routes let go of.
    pub fn lost_endpoints(&self) -> impl Iterator<Item = (EntityKey, Guid)> {
        self.steps.iter().flat_map(|step| {
            let (Some(before), Some(after)) = (&step.before, &step.after) else { return Vec::new() };
            let lost = before.referred().iter().filter(|endpoint| !after.referred().contains(endpoint));
            lost.map(|endpoint| (before.key(), *endpoint)).collect()
        })
    }

    /// The entities that it touches.
    pub fn keys(&self) -> impl Iterator<Item = EntityKey> {
        self.steps.iter().filter_map(|step| step.after.as_ref().or(step.before.as_ref()).map(Entity::key))
    }
}
