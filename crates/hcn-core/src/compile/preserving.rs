//! What gives back ends packets with the virtual address as their destination (flag PreserveDIP, contract 9.5): rules at
//! their port, and the address on the loopback of their namespace.

use std::net::IpAddr;

use hcn_dataplane::{Claim, Family, LinkId, Netns, Object, Preserved, PreservedFront};
use ipnet::IpNet;

use crate::entity::{Endpoint, Network};
use crate::registry::Registry;

/// The loopback of every namespace.
const LOOPBACK: &str = "lo";

/// Of an attached endpoint; `own` is its own link. In the host's namespace the address would be the host's, and a virtual
/// machine has a loopback of its own: their packets are translated as without the flag.
pub(super) fn of_endpoint(
    registry: &Registry,
    network: &Network,
    endpoint: &Endpoint,
    own: Option<&LinkId>,
) -> Vec<Object> {
    let inside = own.filter(|link| link.netns != Netns::Host && network.sharing().is_none());
    let Some((port, own)) = endpoint.port().zip(inside) else { return Vec::new() };
    let fronts = fronts(registry, network, endpoint);
    if fronts.is_empty() {
        return Vec::new();
    }
    let mut addresses: Vec<IpAddr> = fronts.iter().map(|front| front.address).collect();
    addresses.dedup();
    let link = LinkId { netns: own.netns.clone(), name: LOOPBACK.to_owned() };
    let claim = |address| {
        let (link, claimant) = (link.clone(), endpoint.meta.id.to_string());
        Object::Claim(Claim { link, address, claimant })
    };
    let claims = addresses.into_iter().map(claim);
    claims.chain([Object::Preserved(Preserved { port: port.to_owned(), fronts })]).collect()
}

/// The front ends, by address.
fn fronts(registry: &Registry, network: &Network, endpoint: &Endpoint) -> Vec<PreservedFront> {
    let mut fronts = Vec::new();
    for balancer in registry.balancers_of(endpoint.meta.id) {
        let preserving = balancer.ports.iter().filter(|port| port.preserves);
        for frontend in preserving.flat_map(|port| balancer.frontends_of(port)) {
            let backend = endpoint.addresses.iter().map(IpNet::addr);
            let backend = backend.into_iter().find(|own| Family::of(*own) == frontend.family);
            if let (Some(address), Some(backend)) = (frontend.address, backend)
                && !is_needed(network, endpoint, address)
            {
                let (protocol, port) = (frontend.protocol, frontend.port);
                fronts.push(PreservedFront { address, protocol, port, backend });
            }
        }
    }
    fronts.sort_unstable_by_key(|front| (front.address, front.protocol, front.port));
    fronts
}

/// Whether an endpoint has the address already, or sends to it: what it has on its loopback it can no longer reach.
fn is_needed(network: &Network, endpoint: &Endpoint, address: IpAddr) -> bool {
    let own = endpoint.addresses.iter().any(|own| own.addr() == address);
    let gateway = network.subnets.iter().any(|subnet| subnet.gateway == Some(address))
        || endpoint.routes.iter().any(|route| route.gateway == Some(address));
    let servers = endpoint.document.dns.iter().flat_map(|dns| &dns.server_list);
    own || gateway || servers.into_iter().any(|server| server.parse() == Ok(address))
}
