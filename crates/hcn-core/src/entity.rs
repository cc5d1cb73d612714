//! The records: what the service knows of each entity. Addresses, MAC addresses and references live here and
//! nowhere else; everything else is derived from them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hcn_dataplane::{Family, Frontend, Mac, Protocol};
use hcn_schema::call::Kind;
use hcn_schema::endpoint::HostComputeEndpoint;
use hcn_schema::enums::{NamespaceResourceType, NamespaceType, NetworkMode};
use hcn_schema::load_balancer::HostComputeLoadBalancer;
use hcn_schema::namespace::HostComputeNamespace;
use hcn_schema::network::HostComputeNetwork;
use hcn_schema::{Guid, HResult};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

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

/// A subnet of a network, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Identifier.
    pub id: Guid,
    /// Prefix, host bits zero.
    pub prefix: IpNet,
    /// Next hop of its first default route, else the address that the host has in it, if any.
    pub gateway: Option<IpAddr>,
    /// Whether endpoints take over a default route to the gateway.
    pub default_route: bool,
    /// Whether the gateway's address is kept from endpoints.
    pub reserve_gateway: bool,
    /// Parts of the prefix that endpoints can ask for by identifier.
    pub parts: Vec<(Guid, IpNet)>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Common part.
    pub meta: Meta,
    /// The document as it is returned, without the fields that are filled on query.
    pub document: HostComputeNetwork,
    /// Parsed `Type`.
    pub mode: NetworkMode,
    /// Parsed subnets of all Ipams, in order.
    pub subnets: Vec<Subnet>,
    /// Parsed MacPool, both ends included.
    pub mac_ranges: Vec<(Mac, Mac)>,
    /// Interface name of the bridge.
    pub bridge: String,
    /// Address of the bridge.
    pub bridge_mac: Mac,
    /// Octets.
    pub mtu: u32,
}

impl Network {
    /// The name, empty when none was given.
    pub fn name(&self) -> &str {
        self.document.name.as_deref().unwrap_or_default()
    }

    /// The subnet that an address belongs to.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.prefix.contains(&address))
    }

    /// Whether the host has an address on the network, by which endpoints reach it.
    pub fn has_host(&self) -> bool {
        self.mode != NetworkMode::Private
    }

    /// Whether the network has a subnet of this family.
    pub fn has_ipv6(&self) -> bool {
        self.subnets.iter().any(|subnet| subnet.prefix.addr().is_ipv6())
    }
}

/// A route of an endpoint, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination, host bits zero.
    pub destination: IpNet,
    /// Next hop; none = on link.
    pub gateway: Option<IpAddr>,
    /// Lower wins.
    pub metric: Option<u16>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Common part.
    pub meta: Meta,
    /// The document as it is returned, without the fields that are filled on query.
    pub document: HostComputeEndpoint,
    /// Its network.
    pub network: Guid,
    /// The namespace that it is attached to.
    pub namespace: Option<Guid>,
    /// Whether it lives on another host (flag RemoteEndpoint): it has no link then.
    pub remote: bool,
    /// Addresses with their prefix lengths, in the order of the document.
    pub addresses: Vec<IpNet>,
    /// MAC address.
    pub mac: Mac,
    /// Parsed port mappings.
    pub ports: Vec<PortMapping>,
    /// Parsed routes; those that cannot be routes of Linux (default without a next hop) are left out.
    pub routes: Vec<Route>,
    /// Interface name of the host end while attached.
    pub veth: String,
    /// Interface name in the namespace while attached.
    pub interface: Option<String>,
}

/// A port mapping of an endpoint, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// What packets are sent to.
    pub frontend: Frontend,
    /// The endpoint's address and port that they get to.
    pub target: SocketAddr,
    /// Whether the host's own programs can use it, too.
    pub from_host: bool,
    /// Whether hcnd keeps the port from the host's programs; else the client does, or it need not be kept.
    pub held: bool,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Common part.
    pub meta: Meta,
    /// The document as it is returned, without the fields that are filled on query.
    pub document: HostComputeLoadBalancer,
    /// The network of its endpoints.
    pub network: Option<Guid>,
    /// The back ends, in the order of the document, each once.
    pub endpoints: Vec<Guid>,
    /// Virtual addresses; none = every address of the host.
    pub addresses: Vec<IpAddr>,
    /// Whether IPv6 is meant where there is no virtual address.
    pub ipv6: bool,
    /// What back ends see as the client.
    pub source: Option<IpAddr>,
    /// Ports.
    pub ports: Vec<BalancedPort>,
}

/// A port mapping of a load balancer, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancedPort {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Of the front ends.
    pub external: u16,
    /// Of the back ends.
    pub internal: u16,
    /// Whether connections of one client address go to the same back end.
    pub affinity: bool,
    /// Whether only the network's own endpoints can use it.
    pub only_inside: bool,
    /// Whether the host's own programs can use it.
    pub from_host: bool,
}

impl LoadBalancer {
    /// What it is reached by, with the port that each belongs to.
    pub fn frontends(&self) -> impl Iterator<Item = (Frontend, &BalancedPort)> {
        self.ports.iter().flat_map(|port| self.frontends_of(port).map(move |frontend| (frontend, port)))
    }

    /// What one of its ports is reached by.
    pub fn frontends_of(&self, port: &BalancedPort) -> impl Iterator<Item = Frontend> {
        let (protocol, port) = (port.protocol, port.external);
        let family = if self.ipv6 { Family::V6 } else { Family::V4 };
        let everywhere = self.addresses.is_empty().then_some((family, None));
        let virtual_ones = self.addresses.iter().map(|address| (Family::of(*address), Some(*address)));
        let places = virtual_ones.chain(everywhere);
        places.map(move |(family, address)| Frontend { family, address, protocol, port })
    }
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Common part.
    pub meta: Meta,
    /// The document as it is returned, without the fields that are filled on query.
    pub document: HostComputeNamespace,
    /// Parsed `Type`.
    pub kind: NamespaceType,
    /// Compartment number.
    pub number: u32,
    /// What is in it, in the order of adding.
    pub resources: Vec<Resource>,
}

/// A member of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// An endpoint.
    Endpoint(Guid),
    /// A container, by the identifier that the client gave.
    Container(String),
}

impl Resource {
    /// The type in documents.
    pub fn kind(&self) -> NamespaceResourceType {
        match self {
            Self::Endpoint(_) => NamespaceResourceType::Endpoint,
            Self::Container(_) => NamespaceResourceType::Container,
        }
    }
}

impl Namespace {
    /// The endpoints in it, in the order of adding.
    pub fn endpoints(&self) -> impl Iterator<Item = Guid> {
        self.resources.iter().filter_map(|resource| match resource {
            Resource::Endpoint(id) => Some(*id),
            Resource::Container(_) => None,
        })
    }

    /// The name of its file in the netns folder: the ID in upper case.
    pub fn file(&self) -> String {
        self.meta.id.to_string()
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
}

impl Entity {
    /// The common part.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Network(network) => &network.meta,
            Self::Endpoint(endpoint) => &endpoint.meta,
            Self::Namespace(namespace) => &namespace.meta,
            Self::LoadBalancer(balancer) => &balancer.meta,
        }
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Network(_) => Kind::Network,
            Self::Endpoint(_) => Kind::Endpoint,
            Self::Namespace(_) => Kind::Namespace,
            Self::LoadBalancer(_) => Kind::LoadBalancer,
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
        };
        owner.as_deref().unwrap_or_default()
    }

    /// What it has published.
    pub fn frontends(&self) -> Vec<Frontend> {
        match self {
            Self::Endpoint(endpoint) => endpoint.ports.iter().map(|port| port.frontend).collect(),
            Self::LoadBalancer(balancer) => balancer.frontends().map(|(frontend, _)| frontend).collect(),
            Self::Network(_) | Self::Namespace(_) => Vec::new(),
        }
    }

    /// The same record, marked degraded or not.
    #[must_use]
    pub fn with_degraded(&self, degraded: Option<HResult>) -> Self {
        let mut entity = self.clone();
        match &mut entity {
            Self::Network(network) => Arc::make_mut(network).meta.degraded = degraded,
            Self::Endpoint(endpoint) => Arc::make_mut(endpoint).meta.degraded = degraded,
            Self::Namespace(namespace) => Arc::make_mut(namespace).meta.degraded = degraded,
            Self::LoadBalancer(balancer) => Arc::make_mut(balancer).meta.degraded = degraded,
        }
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

    /// The entities that it touches.
    pub fn keys(&self) -> impl Iterator<Item = EntityKey> {
        self.steps.iter().filter_map(|step| step.after.as_ref().or(step.before.as_ref()).map(Entity::key))
    }
}
