//! What policies OutBoundNAT, L4Proxy and L4WFPPROXY mean (contract 2.14, 9.4). The first two are the host's, so they
//! have an effect where it carries the endpoint's packets; the third is the endpoint's own.

use std::net::{IpAddr, SocketAddr};

use hcn_dataplane::{
    Diversion, DiversionRule, Exceptions, Family, Interception, InterceptionRule, LinkId, Netns, Object,
    Outbound, OutboundRule, Source,
};
use hcn_schema::enums::{EndpointPolicyType, NatFlags, NetworkPolicyType, OneOf, ProtocolType};
use hcn_schema::settings::{L4ProxySettings, L4WfpProxySettings, OutboundNatSettings, ProxyExceptions};
use ipnet::IpNet;

use super::outside;
use crate::entity::{Endpoint, Network};
use crate::lists::{self, Protocol};

/// The user that a proxy runs as, where the configuration does not say which one a SID means.
const PROXY_USER: u32 = 1337;

/// Of an attached endpoint; `own` is its own link.
pub(super) fn of_endpoint(network: &Network, endpoint: &Endpoint, own: Option<&LinkId>) -> Vec<Object> {
    let mut objects = Vec::new();
    if let Some(port) = endpoint.port().filter(|_| network.is_carried()) {
        objects.extend(outbound(network, endpoint, port));
        if own.is_none_or(|link| link.netns != Netns::Host) {
            objects.extend(diversion(network, endpoint, port));
        }
    }
    // In the host's own namespace it would be about connections of the host.
    let own = own.filter(|link| link.netns != Netns::Host);
    objects.extend(own.and_then(|link| interception(endpoint, link)));
    objects
}

fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    endpoint.addresses.iter().map(IpNet::addr).collect()
}

fn outbound(network: &Network, endpoint: &Endpoint, port: &str) -> Vec<Object> {
    let policies = lists::settings(&endpoint.document.policies, EndpointPolicyType::OutBoundNat);
    let rules: Vec<OutboundRule> = policies.map(|(_, given)| outbound_rule(&given)).collect();
    if rules.is_empty() || endpoint.addresses.is_empty() {
        return Vec::new();
    }
    let mut objects = Vec::new();
    for address in rules.iter().filter_map(|rule| match rule.source {
        Source::Address(address) => Some(address),
        Source::Client | Source::Masquerade => None,
    }) {
        let own = endpoint.addresses.iter().any(|other| other.addr() == address);
        if !own {
            objects.extend(outside::answered_for(network, address, &endpoint.meta.id));
        }
    }
    objects.push(Object::Outbound(Outbound {
        port: port.to_owned(),
        bridge: network.bridge.clone(),
        addresses: addresses(endpoint),
        rules,
    }));
    objects
}

fn outbound_rule(given: &OutboundNatSettings) -> OutboundRule {
    let virtual_ip: Option<IpAddr> = given.virtual_ip.as_deref().and_then(|address| address.parse().ok());
    let family = match virtual_ip {
        Some(address) => Family::of(address),
        None if given.flags.has(NatFlags::IPV6) => Family::V6,
        None => Family::V4,
    };
    OutboundRule {
        family,
        destinations: places(&given.destinations),
        exceptions: places(&given.exceptions),
        source: virtual_ip.map_or(Source::Masquerade, Source::Address),
    }
}

/// Those of the endpoint come before those of its network.
fn diversion(network: &Network, endpoint: &Endpoint, port: &str) -> Option<Object> {
    let own = lists::settings(&endpoint.document.policies, EndpointPolicyType::L4Proxy);
    let common = lists::settings(&network.document.policies, NetworkPolicyType::L4Proxy);
    let given = own.map(|(_, given)| given).chain(common.map(|(_, given)| given));
    let addresses = addresses(endpoint);
    // A proxy is not sent to itself.
    let rules: Vec<DiversionRule> = given
        .filter_map(|given| diversion_rule(&given))
        .filter(|rule| !addresses.contains(&rule.proxy.ip()))
        .collect();
    (!rules.is_empty() && !addresses.is_empty()).then(|| {
        let (port, bridge) = (port.to_owned(), network.bridge.clone());
        Object::Diversion(Diversion { port, bridge, addresses, rules })
    })
}

fn diversion_rule(given: &L4ProxySettings) -> Option<DiversionRule> {
    let proxy: SocketAddr = given.destination.as_deref()?.trim().parse().ok()?;
    // Packets from elsewhere never get to such an address.
    if proxy.ip().is_loopback() || proxy.ip().is_unspecified() || proxy.ip().is_multicast() {
        return None;
    }
    let protocols = match &given.protocol {
        None | Some(OneOf::Known(ProtocolType::Unknown)) => Vec::new(),
        Some(OneOf::Known(known)) => vec![u8::try_from(known.number()).ok()?],
        Some(OneOf::Unknown(text)) => match lists::protocol(text)? {
            Protocol::Any => Vec::new(),
            Protocol::Number(number) => vec![number],
        },
    };
    Some(DiversionRule {
        protocols,
        destinations: lists::places(given.ip.as_deref()),
        ports: lists::port_ranges(given.port.as_deref()),
        exceptions: places(&given.exception_list),
        proxy,
        masquerade: given.outbound_nat.unwrap_or_default(),
    })
}

fn interception(endpoint: &Endpoint, link: &LinkId) -> Option<Object> {
    let policies = lists::settings(&endpoint.document.policies, EndpointPolicyType::L4WfpProxy);
    let mut given: Vec<L4WfpProxySettings> = policies.map(|(_, given)| given).collect();
    // Lower ones first; equal ones in their order.
    given.sort_by_key(|given| given.filter_tuple.as_ref().and_then(|tuple| tuple.priority));
    let rules: Vec<InterceptionRule> =
        given.into_iter().map(|given| interception_rule(endpoint, given)).collect();
    (!rules.is_empty()).then(|| Object::Interception(Interception { link: link.clone(), rules }))
}

fn interception_rule(endpoint: &Endpoint, given: L4WfpProxySettings) -> InterceptionRule {
    let port = |given: Option<&str>| given.and_then(|port| port.trim().parse().ok());
    let tuple = given.filter_tuple.unwrap_or_default();
    let user = given.user_sid.as_deref().map(str::trim).filter(|sid| !sid.is_empty());
    InterceptionRule {
        outbound: port(given.outbound_proxy_port.as_deref()),
        inbound: port(given.inbound_proxy_port.as_deref()),
        protocols: lists::protocols(tuple.protocols.as_deref()),
        local: lists::places(tuple.local_addresses.as_deref()),
        remote: lists::places(tuple.remote_addresses.as_deref()),
        local_ports: lists::port_ranges(tuple.local_ports.as_deref()),
        remote_ports: lists::port_ranges(tuple.remote_ports.as_deref()),
        user: user.map(|sid| endpoint.users.get(sid).copied().unwrap_or(PROXY_USER)),
        outbound_exceptions: exceptions(given.outbound_exceptions),
        inbound_exceptions: exceptions(given.inbound_exceptions),
    }
}

fn exceptions(given: Option<ProxyExceptions>) -> Exceptions {
    let given = given.unwrap_or_default();
    Exceptions {
        addresses: places(&given.ip_address_exceptions),
        ports: given.port_exceptions.iter().filter_map(|word| lists::ports(word.trim())).collect(),
    }
}

fn places(list: &[String]) -> Vec<IpNet> {
    list.iter().filter_map(|word| lists::place(word.trim())).collect()
}
