//! The kernel objects of a load balancer: a service for each front end, who its clients can stay with where they shall,
//! and claims of the addresses that live in the network's own subnets, where nobody else would answer for them.

use std::net::SocketAddr;

use hcn_dataplane::{Affinity, Family, Frontend, Object, Protocol, Service, Source};
use hcn_schema::enums::LoadBalancerFlags;
use ipnet::IpNet;

use super::outside;
use crate::entity::{BalancedPort, LoadBalancer, Network};
use crate::registry::Registry;

pub(super) fn objects(registry: &Registry, balancer: &LoadBalancer) -> Vec<Object> {
    let network = balancer.network.and_then(|id| registry.networks.get(id));
    let mut objects = Vec::new();
    if let Some(network) = network {
        let direct = balancer.document.flags.has(LoadBalancerFlags::ENABLE_DIRECT_SERVER_RETURN);
        let source = balancer.source.filter(|_| !direct);
        let claimed = balancer.addresses.iter().copied().chain(source);
        objects
            .extend(claimed.flat_map(|address| outside::answered_for(network, address, &balancer.meta.id)));
    }
    // Without a network nobody is inside of it.
    let reached = |(_, port): &(Frontend, &BalancedPort)| !port.only_inside || balancer.network.is_some();
    let services = balancer.frontends().filter(reached).map(|(frontend, port)| {
        service(registry, network.map(|network| &**network), balancer, frontend, port)
    });
    let services: Vec<Service> = services.collect();
    let mut affinities: Vec<&Affinity> =
        services.iter().filter_map(|service| service.affinity.as_ref()).collect();
    affinities.sort_unstable_by_key(|affinity| affinity.group);
    affinities.dedup();
    objects.extend(affinities.into_iter().cloned().map(Object::Affinity));
    objects.extend(services.into_iter().map(Object::Service));
    objects
}

/// What the clients of a port are remembered by: one number for all ports of the load balancer with this family, and with
/// this protocol if each is remembered for itself. Numbers come again after 2²⁸ entities.
fn group(balancer: &LoadBalancer, family: Family, port: &BalancedPort) -> u32 {
    let family = match family {
        Family::V4 => 0,
        Family::V6 => 1,
    };
    let protocol = match port.protocol {
        _ if !port.per_protocol => 0,
        Protocol::Tcp => 1,
        Protocol::Udp => 2,
        Protocol::Sctp => 3,
    };
    number(balancer.meta.incarnation << 3 | family << 2 | protocol)
}

/// The part of a number that is used.
fn number(long: u64) -> u32 {
    (long & 0x7fff_ffff) as u32
}

fn service(
    registry: &Registry,
    network: Option<&Network>,
    balancer: &LoadBalancer,
    frontend: Frontend,
    port: &BalancedPort,
) -> Service {
    let (mut backends, mut members) = (Vec::new(), Vec::new());
    let mut elsewhere = false;
    for endpoint in balancer.endpoints.iter().filter_map(|id| registry.endpoints.get(*id)) {
        let addresses = endpoint.addresses.iter().map(IpNet::addr);
        let Some(address) = addresses.into_iter().find(|a| Family::of(*a) == frontend.family) else {
            continue;
        };
        backends.push(SocketAddr::new(address, port.internal));
        members.push(number(endpoint.meta.incarnation));
        elsewhere |= endpoint.remote;
    }
    let direct = balancer.document.flags.has(LoadBalancerFlags::ENABLE_DIRECT_SERVER_RETURN);
    let source = balancer.source.filter(|source| !direct && Family::of(*source) == frontend.family);
    // Without members there is nobody to stay with.
    let affinity = (port.affinity && !members.is_empty())
        .then(|| Affinity { group: group(balancer, frontend.family, port), members });
    Service {
        frontend,
        backends,
        affinity,
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
        terminates: balancer.terminates,
    }
}

#[cfg(test)]
mod tests {
    use hcn_schema::Guid;

    use super::*;
    use crate::entity::Meta;

    fn balancer(incarnation: u64) -> LoadBalancer {
        let meta =
            Meta { id: Guid::ZERO, incarnation, revision: 1, updated: 0, degraded: None, creator_uid: 0 };
        LoadBalancer {
            meta,
            document: Default::default(),
            network: None,
            endpoints: Vec::new(),
            addresses: Vec::new(),
            ipv6: false,
            source: None,
            terminates: false,
            ports: Vec::new(),
        }
    }

    #[test]
    fn ports_share_clients_as_far_as_they_say() {
        let port = |protocol, per_protocol| BalancedPort {
            protocol,
            external: 80,
            internal: 80,
            affinity: true,
            per_protocol,
            only_inside: false,
            from_host: false,
            preserves: false,
        };
        let of = |family, protocol, per_protocol| group(&balancer(7), family, &port(protocol, per_protocol));
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        assert_eq!(of(Family::V4, tcp, false), of(Family::V4, udp, false));
        let mut apart: Vec<u32> = [Family::V4, Family::V6]
            .into_iter()
            .flat_map(|family| [of(family, tcp, false), of(family, tcp, true), of(family, udp, true)])
            .collect();
        apart.push(group(&balancer(8), Family::V4, &port(tcp, false)));
        apart.sort_unstable();
        apart.dedup();
        assert_eq!(apart.len(), 7);
        // However old the service is.
        assert!(group(&balancer(u64::MAX), Family::V6, &port(Protocol::Sctp, true)) < 1 << 31);
    }
}
