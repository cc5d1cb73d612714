//! Where packets come from and where they go: which endpoint has an address, and who carries what it sends.

use std::net::IpAddr;
use std::sync::Arc;

use hcn_dataplane::{Netns, Object};
use hcn_schema::Guid;
use hcn_schema::enums::{EndpointPolicyType, OneOf};

use super::walk::Walk;
use crate::compile;
use crate::entity::{Endpoint, Network};

/// Who sends a packet, or gets it.
pub(super) struct End {
    pub(super) place: Place,
    pub(super) endpoint: Option<Arc<Endpoint>>,
}

/// Where somebody is, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On a network.
    On(Arc<Network>),
    /// The host itself, and endpoints whose interfaces are its own.
    Host,
    /// Behind the host's other links.
    Outside,
}

impl End {
    pub(super) fn outside() -> Self {
        Self { place: Place::Outside, endpoint: None }
    }
}

impl Place {
    pub(super) fn network(&self) -> Option<&Arc<Network>> {
        match self {
            Self::On(network) => Some(network),
            Self::Host | Self::Outside => None,
        }
    }
}

impl Walk<'_> {
    /// An endpoint.
    pub(super) fn end_of(&self, endpoint: &Arc<Endpoint>) -> End {
        let network = self.registry.networks.get(endpoint.network).cloned();
        let place = match network {
            _ if compile::is_on_host(self.registry, endpoint) => Place::Host,
            Some(network) => Place::On(network),
            None => Place::Outside,
        };
        End { place, endpoint: Some(Arc::clone(endpoint)) }
    }

    /// Whoever has an address; of several, who is on this network.
    pub(super) fn end_at(&self, address: IpAddr, near: Guid) -> End {
        if let Some(owner) = self.owner(address, near) {
            return self.end_of(&owner);
        }
        let place = if self.is_hosts(address) { Place::Host } else { self.beyond(address, near) };
        End { place, endpoint: None }
    }

    /// The endpoint with an address: of this network, if it has one, else of one that the host reaches.
    fn owner(&self, address: IpAddr, near: Guid) -> Option<Arc<Endpoint>> {
        let has = |endpoint: &&Arc<Endpoint>| endpoint.addresses.iter().any(|own| own.addr() == address);
        let reached =
            |network: Guid| self.registry.networks.get(network).is_some_and(|network| network.is_carried());
        let owners = self.registry.endpoints.iter().filter(has);
        let first = owners
            .min_by_key(|endpoint| (endpoint.network != near, !reached(endpoint.network), endpoint.remote));
        first.map(Arc::clone)
    }

    /// Whether an address is the host's: of its own links, or of those that hcnd makes.
    pub(super) fn is_hosts(&self, address: IpAddr) -> bool {
        let of_bridge = |network: &Arc<Network>| {
            let own = network.subnet_of(address).filter(|subnet| !subnet.outside);
            network.is_carried() && network.host && own.is_some_and(|subnet| subnet.gateway == Some(address))
        };
        address.is_loopback()
            || self.host.addresses.iter().any(|own| own.address.addr() == address)
            || self.registry.networks.iter().any(of_bridge)
            || self.is_claimed(address)
    }

    /// Whether the host answers for an address as for its own: that of a load balancer, or one that an endpoint's packets
    /// leave with.
    fn is_claimed(&self, address: IpAddr) -> bool {
        let lives_in =
            |network: &Network| (network.host || network.is_routed()) && network.subnet_of(address).is_some();
        let by_balancer = self.registry.load_balancers.iter().any(|balancer| {
            let network = balancer.network.and_then(|id| self.registry.networks.get(id));
            network.is_some_and(|own| lives_in(own))
                && (balancer.addresses.contains(&address) || balancer.source == Some(address))
        });
        let mut networks = self.registry.networks.iter().filter(|network| lives_in(network));
        by_balancer
            || networks.any(|network| {
                let mut endpoints = self.registry.endpoints_of(network.meta.id);
                endpoints.any(|endpoint| self.claims(endpoint, address))
            })
    }

    /// Whether an endpoint's translation has the host answer for an address.
    fn claims(&self, endpoint: &Arc<Endpoint>, address: IpAddr) -> bool {
        let kind = Some(OneOf::Known(EndpointPolicyType::OutBoundNat));
        let is_it = |object: &Object| match object {
            Object::Claim(claim) => claim.address == address && claim.link.netns == Netns::Host,
            _ => false,
        };
        let translated = endpoint.document.policies.iter().any(|policy| policy.kind == kind);
        translated && self.objects(endpoint).iter().any(is_it)
    }

    /// Where an address is that no endpoint has: a neighbour may be one that hcnd knows nothing of.
    fn beyond(&self, address: IpAddr, near: Guid) -> Place {
        let holds = |network: &&Arc<Network>| {
            let inside = network.subnet_of(address).is_some_and(|subnet| !subnet.outside);
            let remote = network.tunnel.iter().flat_map(|tunnel| &tunnel.remote);
            inside || remote.into_iter().any(|remote| remote.prefix.contains(&address))
        };
        let near = self.registry.networks.get(near);
        let others = self.registry.networks.iter().filter(|network| network.is_carried());
        let network = near.into_iter().chain(others).find(holds);
        network.map_or(Place::Outside, |network| Place::On(Arc::clone(network)))
    }
}
