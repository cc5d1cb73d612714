//! Endpoints in version 1.

use hcn_schema::base::Version;
use hcn_schema::endpoint::{HostComputeEndpoint, IpConfig};
use hcn_schema::enums::{EndpointFlags, EndpointPolicyType};
use hcn_schema::route::Route;
use hcn_schema::settings::{EncapOverheadSettings, PortNameSettings};
use hcn_schema::v1::HnsEndpoint;
use hcn_schema::{Error, HResult, Raw, Result};
use ipnet::IpNet;

use super::policies::{check, write_list};
use super::{Origins, Read, Versioned, add_member, read_policies, settings_of, text_in};
use crate::entity::Endpoint;
use crate::registry::Registry;
use crate::text;

/// Policies that version 1 has members of the document for.
pub(super) const MEMBERS: [EndpointPolicyType; 3] = [
    EndpointPolicyType::PortName,
    EndpointPolicyType::EncapOverhead,
    EndpointPolicyType::InterfaceConstraint,
];

impl Versioned for HostComputeEndpoint {
    fn from_v1(text: &str, registry: &Registry) -> Result<Read<Self>> {
        let given: HnsEndpoint = hcn_schema::parse(text)?;
        let mut origins = Origins::default();
        let network = if given.virtual_network.is_none() && given.virtual_network_name.is_some() {
            origins.leaf("HostComputeNetwork", "VirtualNetworkName");
            Some(named_network(registry, given.virtual_network_name.as_deref().unwrap_or_default())?)
        } else {
            origins.leaf("HostComputeNetwork", "VirtualNetwork");
            given.virtual_network.clone()
        };
        let dns = super::dns(
            given.dns_server_list.as_deref(),
            given.dns_suffix.as_deref(),
            given.dns_domain.as_deref(),
            &mut origins,
        );
        check(&given.policies)?;
        let (mut policies, flat) = read_policies(&given.policies, &MEMBERS, &mut origins);
        for (kind, settings, member) in members(&given) {
            add_member(&mut policies, kind, settings, member, &mut origins);
        }
        let flags = flags(&given);
        let document = Self {
            ip_configurations: addresses(&given, &mut origins),
            routes: routes(&given, &mut origins),
            id: given.id,
            owner: given.owner,
            name: given.name,
            additional_params: given.additional_params,
            host_compute_network: network,
            policies,
            dns,
            mac_address: given.mac_address,
            flags,
            ..Self::default()
        };
        Ok(Read { document, flat, origins })
    }
}

fn named_network(registry: &Registry, name: &str) -> Result<String> {
    let network = registry.network_named(name).ok_or_else(|| {
        let message = format!("there is no network with the name {}", text::shown(name));
        Error::new(HResult::NETWORK_NOT_FOUND, message).at("VirtualNetworkName")
    })?;
    Ok(network.meta.id.to_string())
}

/// The policies that are members of a version 1 document.
fn members(given: &HnsEndpoint) -> [(EndpointPolicyType, Option<Raw>, &'static str); 3] {
    let overhead = given.encap_overhead.filter(|overhead| *overhead != 0);
    let overhead = overhead.map(|overhead| Raw::of(&EncapOverheadSettings { overhead: Some(overhead) }));
    let name = given.port_friendly_name.clone();
    let name = name.map(|name| Raw::of(&PortNameSettings { name: Some(name) }));
    [
        (EndpointPolicyType::EncapOverhead, overhead, "EncapOverhead"),
        (EndpointPolicyType::PortName, name, "PortFriendlyName"),
        (EndpointPolicyType::InterfaceConstraint, given.interface_constraint.clone(), "InterfaceConstraint"),
    ]
}

/// The flags, which are members of their own, too.
fn flags(given: &HnsEndpoint) -> EndpointFlags {
    let named = [
        (given.is_remote_endpoint, EndpointFlags::REMOTE_ENDPOINT),
        (given.disable_icc, EndpointFlags::DISABLE_INTER_COMPUTE_COMMUNICATION),
        (given.enable_low_metric, EndpointFlags::ENABLE_LOW_INTERFACE_METRIC),
        (given.enable_internal_dns, EndpointFlags::OVERRIDE_DNS_SERVER_ORDER),
    ];
    let set = named.iter().filter(|(value, _)| *value == Some(true));
    EndpointFlags(set.fold(given.flags.0, |flags, (_, flag)| flags | flag.0))
}

fn addresses(given: &HnsEndpoint, origins: &mut Origins) -> Vec<IpConfig> {
    let families = [
        (&given.ip_address, given.prefix_length, "IPAddress", "PrefixLength"),
        (&given.ipv6_address, given.ipv6_prefix_length, "IPv6Address", "IPv6PrefixLength"),
    ];
    let mut configs = Vec::new();
    for (address, length, member, length_member) in families {
        if address.is_some() {
            let path = format!("IpConfigurations[{}]", configs.len());
            origins.leaf(format!("{path}.PrefixLength"), length_member);
            origins.leaf(path, member);
            let prefix_length = length.filter(|length| *length != 0);
            configs.push(IpConfig { ip_address: address.clone(), prefix_length, ip_subnet_id: None });
        }
    }
    origins.leaf("IpConfigurations", "IPAddress");
    configs
}

fn routes(given: &HnsEndpoint, origins: &mut Origins) -> Vec<Route> {
    let hops = [(&given.gateway_address, "GatewayAddress"), (&given.gateway_address_v6, "GatewayAddressV6")];
    let mut routes = Vec::new();
    for (hop, member) in hops {
        if let Some(hop) = hop {
            origins.leaf(format!("Routes[{}]", routes.len()), member);
            routes.push(default_route(hop.clone()));
        }
    }
    routes
}

/// The default route of the family that the next hop is of.
pub(super) fn default_route(next_hop: String) -> Route {
    let destination = if next_hop.contains(':') { "::/0" } else { "0.0.0.0/0" };
    Route { next_hop: Some(next_hop), destination_prefix: Some(destination.to_owned()), metric: None }
}

/// The next hop of a route that is a default route and leads somewhere.
pub(super) fn default_hop(route: &Route) -> Option<&str> {
    let destination = route.destination_prefix.as_deref()?;
    let hop = route.next_hop.as_deref().filter(|hop| *hop != "0.0.0.0" && *hop != "::");
    hop.filter(|_| destination.ends_with("/0"))
}

pub(super) fn write(registry: &Registry, endpoint: &Endpoint, resources: Option<Raw>) -> Raw {
    let document = &endpoint.document;
    let dns = document.dns.clone().unwrap_or_default();
    let (address, prefix_length) = address(endpoint, true);
    let (ipv6_address, ipv6_prefix_length) = self::address(endpoint, false);
    let hop = |ipv6: bool| {
        document
            .routes
            .iter()
            .filter_map(default_hop)
            .find(|hop| hop.contains(':') == ipv6)
            .map(str::to_owned)
    };
    let flag = |flag| document.flags.has(flag).then_some(true);
    let namespace = endpoint.namespace.and_then(|id| registry.namespaces.get(id));
    let overhead = settings_of(&document.policies, EndpointPolicyType::EncapOverhead);
    let overhead = overhead.and_then(|raw| hcn_schema::parse::<EncapOverheadSettings>(raw.get()).ok());
    let machine = endpoint.vm_port.as_ref().and_then(|port| port.machine);
    Raw::of(&HnsEndpoint {
        id: Some(endpoint.meta.id.to_string()),
        owner: document.owner.clone(),
        name: document.name.clone(),
        virtual_network: Some(endpoint.network.to_string()),
        virtual_network_name: registry.networks.get(endpoint.network).and_then(|n| n.document.name.clone()),
        ip_address: address,
        prefix_length,
        ipv6_address,
        ipv6_prefix_length,
        gateway_address: hop(false),
        gateway_address_v6: hop(true),
        mac_address: document.mac_address.clone(),
        dns_server_list: super::joined(&dns.server_list),
        dns_suffix: super::joined(&dns.search),
        dns_domain: dns.domain,
        policies: write_list(&document.policies, &endpoint.flat, &MEMBERS),
        flags: document.flags,
        enable_internal_dns: flag(EndpointFlags::OVERRIDE_DNS_SERVER_ORDER),
        disable_icc: flag(EndpointFlags::DISABLE_INTER_COMPUTE_COMMUNICATION),
        enable_low_metric: flag(EndpointFlags::ENABLE_LOW_INTERFACE_METRIC),
        is_remote_endpoint: flag(EndpointFlags::REMOTE_ENDPOINT),
        encap_overhead: overhead.and_then(|settings| settings.overhead),
        port_friendly_name: text_in(&document.policies, EndpointPolicyType::PortName, "Name"),
        interface_constraint: settings_of(&document.policies, EndpointPolicyType::InterfaceConstraint)
            .cloned(),
        namespace: namespace.map(|namespace| super::namespace::short(namespace)),
        shared_containers: crate::read::containers(registry, endpoint),
        virtual_machine: machine.map(|machine| machine.to_string()),
        additional_params: crate::read::endpoint_params(endpoint),
        resources,
        health: Some(super::health(&endpoint.meta)),
        state: Some(crate::read::state(registry, endpoint) as u16),
        version: Some(endpoint.meta.revision),
        schema_version: Some(Version::V1),
    })
}

/// The first address of a family as it was given, and its prefix length.
fn address(endpoint: &Endpoint, ipv4: bool) -> (Option<String>, Option<u8>) {
    let parsed = endpoint.addresses.iter().find(|address| address.addr().is_ipv4() == ipv4);
    let given = endpoint.document.ip_configurations.iter().filter_map(|config| config.ip_address.as_ref());
    let given = given.into_iter().find(|text| text.contains(':') != ipv4);
    (given.cloned(), parsed.map(IpNet::prefix_len))
}
