//! The record of a load balancer.

use std::net::IpAddr;

use hcn_dataplane::{Family, Frontend, Protocol};
use hcn_schema::Guid;
use hcn_schema::load_balancer::HostComputeLoadBalancer;
use serde::{Deserialize, Serialize};

use super::Meta;

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
    /// Whether connections to a back end that goes end, too.
    #[serde(default)]
    pub terminates: bool,
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
    /// Of one protocol only: others of the same address may go to another one.
    #[serde(default)]
    pub per_protocol: bool,
    /// Whether only the network's own endpoints can use it.
    pub only_inside: bool,
    /// Whether the host's own programs can use it.
    pub from_host: bool,
    /// Whether back ends see the virtual address as the destination.
    #[serde(default)]
    pub preserves: bool,
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
