//! The routes that policy SDNRoute and SDN routes give an endpoint (contract 2.9, 2.14, B80).

use std::net::IpAddr;

use hcn_schema::enums::EndpointPolicyType;
use hcn_schema::settings::SdnRouteSettings;
use ipnet::IpNet;

use super::outside;
use crate::entity::{Endpoint, Network, Route};
use crate::lists;
use crate::registry::Registry;

/// Those of policies first: where several lead to one destination, the first one holds.
pub(super) fn of_endpoint(registry: &Registry, network: &Network, endpoint: &Endpoint) -> Vec<Route> {
    let policies = lists::settings(&endpoint.document.policies, EndpointPolicyType::SdnRoute);
    let own = policies.filter_map(|(_, given)| route(network, endpoint, &given));
    let documents = registry.routes_of(endpoint.meta.id).flat_map(|sdn| sdn.document.list());
    let common = documents.filter_map(|given| route(network, endpoint, given));
    own.chain(common).collect()
}

/// None if nothing leads there.
fn route(network: &Network, endpoint: &Endpoint, given: &SdnRouteSettings) -> Option<Route> {
    let destination: IpNet = given.destination_prefix.as_deref()?.parse().ok()?;
    let destination = destination.trunc();
    let hop: Option<IpAddr> = given.next_hop.as_deref().and_then(|hop| hop.parse().ok());
    // What is to be encapsulated goes to whoever does that.
    let hop =
        hop.filter(|hop| !given.need_encap.unwrap_or_default() && is_neighbour(network, endpoint, *hop));
    let gateway =
        hop.or_else(|| gateway(network, endpoint, &destination, given.need_encap.unwrap_or_default()))?;
    Some(Route { destination, gateway: Some(gateway), metric: None })
}

/// Whether the endpoint finds this host by itself.
fn is_neighbour(network: &Network, endpoint: &Endpoint, hop: IpAddr) -> bool {
    let usable = !hop.is_loopback() && !hop.is_unspecified() && !hop.is_multicast();
    let own = endpoint.addresses.iter().any(|address| address.addr() == hop);
    let of_prefix = endpoint.addresses.iter().any(|address| address.contains(&hop));
    let near = network.subnet_of(hop).is_some() || of_prefix;
    usable && !own && near && outside::is_on_link(network, hop.into())
}

/// What the endpoint sends everything else to: what its default route says, else the host; what is to be encapsulated to
/// the host first.
fn gateway(network: &Network, endpoint: &Endpoint, destination: &IpNet, host_first: bool) -> Option<IpAddr> {
    let same = |address: &IpAddr| address.is_ipv4() == destination.addr().is_ipv4();
    let defaults = endpoint.routes.iter().filter(|route| route.destination.prefix_len() == 0);
    let own = defaults.filter_map(|route| route.gateway).find(same);
    let subnets = endpoint.addresses.iter().filter_map(|address| network.subnet_of(address.addr()));
    let host = subnets.filter_map(|subnet| subnet.gateway).find(same);
    if host_first { host.or(own) } else { own.or(host) }
}
