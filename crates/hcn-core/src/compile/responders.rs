//! The kernel objects that answer on a network: DHCP, DNS.

use std::net::IpAddr;

use hcn_dataplane::{Lease, Object, Responder};
use hcn_schema::dns::Dns;
use hcn_schema::enums::{NetworkFlags, NetworkMode, NetworkPolicyType};
use hcn_schema::settings::AutomaticDnsSettings;
use ipnet::IpNet;

use super::shaping;
use crate::entity::{Endpoint, Network, Route};
use crate::{lists, text};

pub(super) fn of_network(network: &Network) -> Vec<Object> {
    responder(network).map(Object::Responder).into_iter().collect()
}

pub(super) fn of_endpoint(network: &Network, endpoint: &Endpoint) -> Vec<Object> {
    if endpoint.remote || !answers(network) {
        return Vec::new();
    }
    let mut lease = Lease {
        bridge: network.bridge.clone(),
        claimant: endpoint.meta.id.to_string(),
        mac: endpoint.mac,
        addresses: endpoint.addresses.clone(),
        gateway: None,
        routes: Vec::new(),
        servers: servers(network, endpoint),
        search: search(endpoint.document.dns.as_ref()),
        name: endpoint.document.name.clone().filter(|name| text::is_host_label(name)),
        mtu: shaping::mtu(network, endpoint),
    };
    for Route { destination, gateway, .. } in &endpoint.routes {
        if let (IpNet::V4(destination), Some(IpAddr::V4(gateway))) = (destination, gateway) {
            match destination.prefix_len() {
                0 => lease.gateway = lease.gateway.or(Some(*gateway)),
                _ => lease.routes.push((*destination, *gateway)),
            }
        }
    }
    vec![Object::Lease(lease)]
}

/// What answers on the network, if anything does.
fn responder(network: &Network) -> Option<Responder> {
    answers(network).then(|| Responder {
        bridge: network.bridge.clone(),
        addresses: network.subnets.iter().filter_map(host_in).collect(),
        dhcp: gives_addresses(network),
        dns: resolves_names(network),
        domain: network
            .document
            .dns
            .as_ref()
            .and_then(|dns| dns.domain.clone())
            .filter(|domain| text::is_domain(domain)),
    })
}

/// Whether endpoints are told the same on both: if not, what is made for each of them differs.
pub(crate) fn tell_alike(one: &Network, other: &Network) -> bool {
    gives_addresses(one) == gives_addresses(other) && resolves_names(one) == resolves_names(other)
}

/// Whether anything answers on the network.
fn answers(network: &Network) -> bool {
    gives_addresses(network) || resolves_names(network)
}

/// Whether the host gives endpoints their addresses (flag EnableDhcpServer).
fn gives_addresses(network: &Network) -> bool {
    is_alone(network) && network.document.flags.has(NetworkFlags::ENABLE_DHCP_SERVER)
}

/// Whether the host resolves names for endpoints: as policy AutomaticDNS says, else flag EnableDnsProxy.
fn resolves_names(network: &Network) -> bool {
    let policies = lists::settings(&network.document.policies, NetworkPolicyType::AutomaticDns);
    let automatic = policies.filter_map(|(_, given): (_, AutomaticDnsSettings)| given.enable).next();
    let flag = || network.document.flags.has(NetworkFlags::ENABLE_DNS_PROXY);
    is_alone(network) && automatic.unwrap_or_else(flag)
}

/// Whether nobody but the host answers on the network: it leads to no other servers than the host's.
fn is_alone(network: &Network) -> bool {
    let alone = matches!(
        network.mode,
        NetworkMode::Nat | NetworkMode::Ics | NetworkMode::ConstrainedIcs | NetworkMode::Internal
    );
    alone && network.host
}

/// The address of the host in a subnet.
fn host_in(subnet: &crate::entity::Subnet) -> Option<IpNet> {
    IpNet::new(subnet.gateway?, subnet.prefix.prefix_len()).ok()
}

/// The name servers of an endpoint: those of its document, else the host's addresses where it resolves names.
pub(super) fn servers(network: &Network, endpoint: &Endpoint) -> Vec<IpAddr> {
    let listed = endpoint.document.dns.iter().flat_map(|dns| &dns.server_list);
    let given: Vec<IpAddr> = listed.filter_map(|server| server.parse().ok()).collect();
    if !given.is_empty() || !resolves_names(network) {
        return given;
    }
    let mut servers = Vec::new();
    for address in &endpoint.addresses {
        let host = network.subnet_of(address.addr()).and_then(|subnet| subnet.gateway);
        servers.extend(host.filter(|host| !servers.contains(host)));
    }
    servers
}

/// The domains that an endpoint searches.
fn search(dns: Option<&Dns>) -> Vec<String> {
    let mut search: Vec<String> = Vec::new();
    for domain in dns.iter().flat_map(|dns| dns.domain.iter().chain(&dns.search)) {
        if text::is_domain(domain) && !search.contains(domain) {
            search.push(domain.clone());
        }
    }
    search
}
