//! The kernel objects of a load balancer: a service for each front end, and claims of the addresses that live in the
//! network's own subnets, where nobody else would answer for them.

use std::net::{IpAddr, SocketAddr};

use hcn_dataplane::{Claim, Family, Frontend, Object, Service, Source};
use hcn_schema::enums::LoadBalancerFlags;
use ipnet::IpNet;

use crate::entity::{BalancedPort, LoadBalancer, Network};
use crate::registry::Registry;

pub(super) fn objects(registry: &Registry, balancer: &LoadBalancer) -> Vec<Object> {
    let network = balancer.network.and_then(|id| registry.networks.get(id));
    let mut objects = Vec::new();
    if let Some(network) = network.filter(|network| network.host) {
        let direct = balancer.document.flags.has(LoadBalancerFlags::ENABLE_DIRECT_SERVER_RETURN);
        let source = balancer.source.filter(|_| !direct);
        let claimed = balancer.addresses.iter().copied().chain(source);
        objects.extend(claimed.filter(|address| is_unanswered(network, *address)).map(|address| {
            Object::Claim(Claim {
                bridge: network.bridge.clone(),
                address,
                claimant: balancer.meta.id.to_string(),
            })
        }));
    }
    let services = balancer.frontends().map(|(frontend, port)| {
        Object::Service(service(registry, network.map(|network| &**network), balancer, frontend, port))
    });
    objects.extend(services);
    objects
}

/// Whether an address is in one of the network's subnets without being the bridge's own.
fn is_unanswered(network: &Network, address: IpAddr) -> bool {
    network.subnet_of(address).is_some_and(|subnet| subnet.gateway != Some(address))
}

fn service(
    registry: &Registry,
    network: Option<&Network>,
    balancer: &LoadBalancer,
    frontend: Frontend,
    port: &BalancedPort,
) -> Service {
    let mut backends = Vec::new();
    let mut elsewhere = false;
    for endpoint in balancer.endpoints.iter().filter_map(|id| registry.endpoints.get(*id)) {
        let addresses = endpoint.addresses.iter().map(IpNet::addr);
        let Some(address) = addresses.into_iter().find(|a| Family::of(*a) == frontend.family) else {
            continue;
        };
        backends.push(SocketAddr::new(address, port.internal));
        elsewhere |= endpoint.remote;
    }
    let direct = balancer.document.flags.has(LoadBalancerFlags::ENABLE_DIRECT_SERVER_RETURN);
    let source = balancer.source.filter(|source| !direct && Family::of(*source) == frontend.family);
    Service {
        frontend,
        backends,
        affinity: port.affinity,
        only_from: network
            .filter(|_| port.only_inside)
            .map(|network| network.bridges().collect())
            .unwrap_or_default(),
        from_host: port.from_host,
        source: match source {
            Some(address) => Source::Address(address),
            // Back ends on other hosts would answer the client past this one, which has to translate the answer.
            None if elsewhere => Source::Masquerade,
            None => Source::Client,
        },
    }
}
