//! Decisions on networks.

use std::net::IpAddr;
use std::sync::Arc;

use hcn_dataplane::Mac;
use hcn_schema::call::{Answer, Kind, Reference};
use hcn_schema::dns::Dns;
use hcn_schema::enums::{
    Enumeration, IpamType, ModifyRequestType, NetworkMode, NetworkPolicyType, NetworkResourceType, OneOf,
    SubnetFlags,
};
use hcn_schema::modify::{ModifyRequest, PolicyRequest, SubnetRequest};
use hcn_schema::network::{HostComputeNetwork, Ipam, MacPool, MacRange, Subnet as SubnetDocument};
use hcn_schema::notification::NotificationType;
use hcn_schema::route::Route;
use hcn_schema::{Error, Guid, HResult, Result};
use ipnet::IpNet;

use super::{Decision, Outcome, Refusal, View, document, event, policies, request};
use crate::entity::{Change, Entity, Meta, Network, Subnet};
use crate::{names, pools, text};

/// MTU in octets when the host has no uplink to take it from.
const DEFAULT_MTU: u32 = 1500;

pub(super) fn create(view: &View<'_>, id: Option<Guid>, given: Option<&str>) -> Outcome<Decision> {
    let mut document = document(given, |document: &HostComputeNetwork| document.schema_version)?;
    let id = view.new_id(id, document.id.as_deref())?;
    view.settled(Kind::Network, id)?;
    text::check_free(document.name.as_deref(), "Name")?;
    text::check_free(document.owner.as_deref(), "Owner")?;
    let mode = mode(&document)?;
    if view.registry.networks.get(id).is_some() {
        let error =
            Error::new(HResult::NETWORK_ALREADY_EXISTS, format!("there is a network with the ID {id}"));
        return Err(Refusal::Error(error.at("ID")));
    }
    if let Some(other) = document.name.as_deref().and_then(|name| view.registry.network_named(name)) {
        view.settled(Kind::Network, other.meta.id)?;
        return Err(Refusal::Error(
            Error::new(
                HResult::NETWORK_ALREADY_EXISTS,
                format!("the network {} has the name {} already", other.meta.id, text::shown(other.name())),
            )
            .at("Name"),
        ));
    }
    policies::check(&document.policies, "Policies")?;
    let mac_ranges = mac_ranges(view, &mut document, id)?;
    let subnets = subnets(view, &mut document.ipams, mode, id, &[])?;
    document.kind = Some(OneOf::Known(mode));
    clear_generated(&mut document);
    let network = Network {
        meta: view.new_meta(id),
        document,
        mode,
        subnets,
        mac_ranges,
        bridge: names::link(view.registry, "hcn", id),
        bridge_mac: names::bridge_mac(id),
        mtu: view.context.host.uplink_mtu.unwrap_or(DEFAULT_MTU),
    };
    let answer = Answer::Entity { id, incarnation: network.meta.incarnation };
    let entity = Entity::Network(Arc::new(network));
    let mut change = Change::default();
    change.create(entity.clone());
    let mut decision = Decision::new(change, answer);
    decision.before.push(event("pre-create", Some(NotificationType::NetworkPreCreate), &entity));
    decision.after.push(event("create", Some(NotificationType::NetworkCreate), &entity));
    Ok(decision)
}

/// The fields that the service fills on query are not kept from the client's document.
fn clear_generated(document: &mut HostComputeNetwork) {
    document.id = None;
    document.version = None;
    document.health = None;
    document.schema_version = None;
}

fn mode(document: &HostComputeNetwork) -> Result<NetworkMode> {
    let mode = match &document.kind {
        None => NetworkMode::Nat,
        Some(OneOf::Known(mode)) => *mode,
        Some(OneOf::Unknown(text)) => {
            return Err(Error::new(
                HResult::INVALID_NETWORK_TYPE,
                format!("there is no network type {}", text::shown(text)),
            )
            .at("Type")
            .expected(NetworkMode::names()));
        }
    };
    let code = match mode {
        NetworkMode::Nat | NetworkMode::Internal | NetworkMode::Private => return Ok(mode),
        NetworkMode::Mirrored | NetworkMode::Infiniband => HResult::INVALID_NETWORK_TYPE,
        _ => HResult::REQUEST_UNSUPPORTED,
    };
    Err(Error::new(code, format!("networks of type {} are not offered", mode.name()))
        .at("Type")
        .expected("NAT, Internal or Private"))
}

/// The MAC pool: the given one, or a default range that no other network has.
fn mac_ranges(view: &View<'_>, document: &mut HostComputeNetwork, id: Guid) -> Result<Vec<(Mac, Mac)>> {
    if let Some(pool) = &document.mac_pool {
        return pool.ranges.iter().enumerate().map(|(index, range)| mac_range(range, index)).collect();
    }
    let taken: Vec<(Mac, Mac)> =
        view.registry.networks.iter().flat_map(|network| network.mac_ranges.iter().copied()).collect();
    let is_free = |(first, last): (Mac, Mac)| taken.iter().all(|(start, end)| last < *start || *end < first);
    // The 12 bits come from the ID, so that hosts with one network each do not all use the same range.
    let start = u16::try_from(names::hash(id, 0) & 0xfff).unwrap_or_default();
    let range = (0..0x1000)
        .map(|offset| pools::default_mac_range(start.wrapping_add(offset) & 0xfff))
        .find(|range| is_free(*range))
        .ok_or_else(|| {
            Error::new(HResult::INVALID_NETWORK, "all default MAC pools are in use")
                .at("MacPool")
                .expected("a MacPool")
        })?;
    document.mac_pool = Some(MacPool {
        ranges: vec![MacRange { start: Some(text::hcn_mac(range.0)), end: Some(text::hcn_mac(range.1)) }],
    });
    Ok(vec![range])
}

fn mac_range(range: &MacRange, index: usize) -> Result<(Mac, Mac)> {
    let end_of = |value: &Option<String>, member: &str| {
        let path = format!("MacPool.Ranges[{index}].{member}");
        text::mac(value.as_deref().unwrap_or_default(), HResult::INVALID_NETWORK, &path)
    };
    let (first, last) = (end_of(&range.start, "StartMacAddress")?, end_of(&range.end, "EndMacAddress")?);
    if first > last {
        return Err(Error::new(HResult::INVALID_NETWORK, format!("the range {first} to {last} is empty"))
            .at(format!("MacPool.Ranges[{index}]")));
    }
    Ok((first, last))
}

/// Parses the subnets, fills their generated fields, and checks them against each other, the other networks
/// and the host. `present` are the subnets that the network has already.
fn subnets(
    view: &View<'_>,
    ipams: &mut [Ipam],
    mode: NetworkMode,
    network: Guid,
    present: &[Subnet],
) -> Outcome<Vec<Subnet>> {
    let mut parsed: Vec<Subnet> = Vec::new();
    for (i, ipam) in ipams.iter_mut().enumerate() {
        if ipam.kind == Some(IpamType::Dhcp) {
            return Err(Refusal::Error(
                Error::new(
                    HResult::REQUEST_UNSUPPORTED,
                    format!("a network of type {} manages its addresses itself", mode.name()),
                )
                .at(format!("Ipams[{i}].Type"))
                .expected("Static"),
            ));
        }
        for (s, subnet) in ipam.subnets.iter_mut().enumerate() {
            let path = format!("Ipams[{i}].Subnets[{s}]");
            let seed = u64::try_from(present.len() + parsed.len()).unwrap_or_default();
            let new = subnet_of(view, subnet, mode, seed).map_err(|error| error.within(&path))?;
            check_overlap(view, &new, network, present.iter().chain(&parsed))
                .map_err(|refusal| refusal.map(|error| error.within(&path)))?;
            parsed.push(new);
        }
    }
    Ok(parsed)
}

/// An identifier for a part of the entity, from the fresh one.
fn part_id(view: &View<'_>, salt: u64) -> Guid {
    let (high, low) =
        (names::hash(view.context.fresh_id, 2 * salt + 1), names::hash(view.context.fresh_id, 2 * salt + 2));
    Guid::random_from(high, low)
}

fn subnet_of(view: &View<'_>, subnet: &mut SubnetDocument, mode: NetworkMode, seed: u64) -> Result<Subnet> {
    let prefix = unicast_prefix(subnet.ip_address_prefix.as_deref())?;
    let id = match &subnet.id {
        Some(id) => text::guid(id, "ID")?,
        None => part_id(view, seed << 16),
    };
    subnet.id = Some(id.to_string());
    let given = default_gateway(subnet, prefix)?;
    let first = || pools::next_address(&prefix, None, 0, |_| true).ok_or_else(too_small);
    let gateway = match (given, mode) {
        (Some(_), _) => given,
        // Nobody there forwards.
        (None, NetworkMode::Private) => None,
        // The host is there, but leads nowhere.
        (None, NetworkMode::Internal) => Some(first()?),
        (None, _) => {
            let first = first()?;
            let destination = if first.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            subnet.routes.push(Route {
                next_hop: Some(first.to_string()),
                destination_prefix: Some(destination.to_owned()),
                metric: None,
            });
            Some(first)
        }
    };
    let default_route = given.is_some() || mode == NetworkMode::Nat;
    let mut parts = Vec::new();
    for (index, part) in subnet.ip_subnets.iter_mut().enumerate() {
        let path = format!("IpSubnets[{index}]");
        let inner = ip_subnet_prefix(part.ip_address_prefix.as_deref(), &prefix)
            .map_err(|error| error.within(&path))?;
        let part_seed = (seed << 16) + 1 + u64::try_from(index).unwrap_or_default();
        let id = match &part.id {
            Some(id) => text::guid(id, &format!("{path}.ID"))?,
            None => part_id(view, part_seed),
        };
        part.id = Some(id.to_string());
        parts.push((id, inner));
    }
    let reserve_gateway = !subnet.flags.has(SubnetFlags::DO_NOT_RESERVE_GATEWAY_ADDRESS);
    Ok(Subnet { id, prefix, gateway, default_route, reserve_gateway, parts })
}

fn too_small() -> Error {
    Error::new(HResult::INVALID_PREFIX, "the prefix is too small for a gateway and an endpoint")
        .at("IpAddressPrefix")
        .expected("at most /30 for IPv4, /126 for IPv6")
}

/// A prefix that endpoints can live in.
fn unicast_prefix(given: Option<&str>) -> Result<IpNet> {
    let path = "IpAddressPrefix";
    let given =
        given.ok_or_else(|| Error::new(HResult::INVALID_PREFIX, "the subnet has no prefix").at(path))?;
    let prefix = text::prefix(given, path)?;
    let refuse = |message: &str| Err(Error::new(HResult::INVALID_PREFIX, message).at(path));
    if prefix.addr() != prefix.network() {
        let error = Error::new(HResult::INVALID_PREFIX, format!("{given} has bits behind the prefix length"));
        return Err(error.at(path).expected(prefix.trunc().to_string()));
    }
    if prefix.prefix_len() == 0 {
        return refuse("a prefix of length 0 (choose one for me) is not offered for version 2 documents");
    }
    let address = prefix.addr();
    let special = address.is_loopback() || address.is_multicast() || address.is_unspecified();
    if special || matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 224) {
        return refuse("the prefix is not one of unicast addresses");
    }
    if prefix.max_prefix_len() - prefix.prefix_len() < 2 {
        return Err(too_small());
    }
    Ok(prefix)
}

fn ip_subnet_prefix(given: Option<&str>, subnet: &IpNet) -> Result<IpNet> {
    let refuse = |message: String| Error::new(HResult::INVALID_IP_SUBNET, message).at("IpAddressPrefix");
    let given = given.ok_or_else(|| refuse("the IP subnet has no prefix".to_owned()))?;
    let prefix = text::prefix(given, "IpAddressPrefix")?;
    if subnet.contains(&prefix) { Ok(prefix) } else { Err(refuse(format!("{given} is not inside {subnet}"))) }
}

/// The next hop of the first default route of the subnet.
fn default_gateway(subnet: &SubnetDocument, prefix: IpNet) -> Result<Option<IpAddr>> {
    for (index, route) in subnet.routes.iter().enumerate() {
        let path = format!("Routes[{index}]");
        let destination = route.destination_prefix.as_deref().unwrap_or_default();
        let destination = text::prefix(destination, &format!("{path}.DestinationPrefix"))?;
        if destination.prefix_len() != 0 || destination.addr().is_ipv4() != prefix.addr().is_ipv4() {
            continue;
        }
        let Some(next_hop) = &route.next_hop else { continue };
        let gateway = text::address(next_hop, &format!("{path}.NextHop"))?;
        if gateway.is_unspecified() {
            continue;
        }
        if !prefix.contains(&gateway) || pools::is_reserved(&prefix, gateway) {
            let message = format!("the gateway {gateway} is not a host address of {prefix}");
            return Err(Error::new(HResult::INVALID_SUBNET, message).at(format!("{path}.NextHop")));
        }
        return Ok(Some(gateway));
    }
    Ok(None)
}

fn check_overlap<'a>(
    view: &View<'_>,
    new: &Subnet,
    network: Guid,
    siblings: impl Iterator<Item = &'a Subnet>,
) -> Outcome<()> {
    let overlaps = |other: &IpNet| other.contains(&new.prefix) || new.prefix.contains(other);
    let refuse = |code: HResult, what: String| {
        Err(Refusal::Error(
            Error::new(code, format!("{} overlaps {what}", new.prefix))
                .at("IpAddressPrefix")
                .expected("a prefix that nothing on this host uses"),
        ))
    };
    if let Some((key, _)) = view.turns.leaving().iter().find(|(_, prefix)| overlaps(prefix)) {
        view.settled(key.kind, key.id)?;
    }
    for sibling in siblings {
        if overlaps(&sibling.prefix) {
            return refuse(
                HResult::INVALID_SUBNET,
                format!("the subnet {} of the same network", sibling.prefix),
            );
        }
    }
    for other in view.registry.networks.iter().filter(|other| other.meta.id != network) {
        if let Some(subnet) = other.subnets.iter().find(|subnet| overlaps(&subnet.prefix)) {
            let what =
                format!("{} of the network {} {}", subnet.prefix, other.meta.id, text::shown(other.name()));
            return refuse(HResult::OBJECT_ALREADY_EXISTS, what);
        }
    }
    for host in &view.context.host.addresses {
        let own = view.registry.link_is_used(&host.link);
        if !own && overlaps(&host.address.trunc()) {
            let what = format!("the address {} of the host's link {}", host.address, host.link);
            return refuse(HResult::OBJECT_ALREADY_EXISTS, what);
        }
    }
    Ok(())
}

pub(super) fn modify(view: &View<'_>, target: Reference, given: Option<&str>) -> Outcome<Decision> {
    let network = view.network(target)?;
    let request: ModifyRequest<NetworkResourceType> = hcn_schema::parse(request(given)?)?;
    let (resource, kind) = request.target()?;
    let mut new = Network::clone(network);
    match resource {
        NetworkResourceType::Policy => {
            let settings: PolicyRequest<NetworkPolicyType> = request.settings()?;
            new.document.policies =
                policies::modify_network(&network.document.policies, kind, &settings.policies)?;
        }
        NetworkResourceType::Dns if kind == ModifyRequestType::Update => {
            new.document.dns = Some(request.settings::<Dns>()?).filter(|dns| *dns != Dns::default());
        }
        NetworkResourceType::Subnet if matches!(kind, ModifyRequestType::Add | ModifyRequestType::Remove) => {
            let settings: SubnetRequest = request.settings()?;
            if kind == ModifyRequestType::Add {
                add_subnets(view, &mut new, settings)?;
            } else {
                remove_subnets(view, &mut new, &settings)?;
            }
        }
        NetworkResourceType::Dns | NetworkResourceType::Subnet => {
            return Err(Refusal::Error(policies::unsupported(resource.name(), kind)));
        }
        NetworkResourceType::Extension | NetworkResourceType::IpSubnet => {
            let message = format!("{} of a network cannot be modified", resource.name());
            return Err(Refusal::Error(Error::new(HResult::REQUEST_UNSUPPORTED, message).at("ResourceType")));
        }
    }
    new.meta = Meta::next(&network.meta, view.context.filetime);
    let after = Entity::Network(Arc::new(new));
    let mut change = Change::default();
    change.replace(Entity::Network(Arc::clone(network)), after.clone());
    let mut decision = Decision::new(change, Answer::Done);
    decision.after.push(event("modify", None, &after));
    Ok(decision)
}

fn add_subnets(view: &View<'_>, network: &mut Network, settings: SubnetRequest) -> Outcome<()> {
    let mut ipams = [Ipam { kind: None, subnets: settings.subnets }];
    let parsed =
        subnets(view, &mut ipams, network.mode, network.meta.id, &network.subnets).map_err(|refusal| {
            refusal.map(|mut error| {
                error.path = error.path.map(|path| path.replacen("Ipams[0]", "Settings", 1));
                error
            })
        })?;
    network.subnets.extend(parsed);
    let [ipam] = ipams;
    match network.document.ipams.first_mut() {
        Some(first) => first.subnets.extend(ipam.subnets),
        None => network.document.ipams.push(Ipam { kind: Some(IpamType::Static), subnets: ipam.subnets }),
    }
    Ok(())
}

fn remove_subnets(view: &View<'_>, network: &mut Network, settings: &SubnetRequest) -> Outcome<()> {
    for (index, given) in settings.subnets.iter().enumerate() {
        let path = format!("Settings.Subnets[{index}]");
        let id = given.id.as_deref().map(|id| text::guid(id, &format!("{path}.ID"))).transpose()?;
        let prefix = given.ip_address_prefix.as_deref();
        let prefix = prefix.map(|p| text::prefix(p, &format!("{path}.IpAddressPrefix"))).transpose()?;
        let is_meant = |subnet: &Subnet| match (id, prefix) {
            (Some(id), _) => subnet.id == id,
            (None, Some(prefix)) => subnet.prefix == prefix,
            (None, None) => false,
        };
        let position = network.subnets.iter().position(is_meant).ok_or_else(|| {
            Error::new(HResult::SUBNET_NOT_FOUND, "the network has no such subnet")
                .at(&path)
                .expected("ID or IpAddressPrefix of a subnet of the network")
        })?;
        let subnet = network.subnets.remove(position);
        for endpoint in view.registry.endpoints_of(network.meta.id) {
            if endpoint.addresses.iter().any(|address| subnet.prefix.contains(&address.addr())) {
                view.settled(Kind::Endpoint, endpoint.meta.id)?;
                return Err(Refusal::Error(
                    Error::new(
                        HResult::ENTITY_HAS_REFERENCES,
                        format!("the endpoint {} has an address in {}", endpoint.meta.id, subnet.prefix),
                    )
                    .at(path),
                ));
            }
        }
        let text = subnet.id.to_string();
        for ipam in &mut network.document.ipams {
            ipam.subnets.retain(|document| document.id.as_deref() != Some(&text));
        }
    }
    Ok(())
}

pub(super) fn delete(view: &View<'_>, id: Guid) -> Outcome<Decision> {
    let network = view.network(Reference { id, incarnation: None })?;
    let before = Entity::Network(Arc::clone(network));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    decision.before.push(event("pre-delete", Some(NotificationType::NetworkPreDelete), &before));
    let endpoints: Vec<_> = view.registry.endpoints_of(id).cloned().collect();
    super::endpoint::remove_all(view, &endpoints, &mut decision)?;
    decision.after.push(event("delete", Some(NotificationType::NetworkDelete), &before));
    decision.change.delete(before);
    Ok(decision)
}
