//! Subnets of networks: parsing, filling what was not given, choosing a prefix, and who else has it.

use std::net::{IpAddr, Ipv4Addr};

use hcn_schema::enums::{IpamType, NetworkMode, SubnetFlags};
use hcn_schema::network::{IpSubnet, Ipam, Subnet as SubnetDocument};
use hcn_schema::route::Route;
use hcn_schema::{Error, Guid, HResult, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Outcome, Refusal, View, policies};
use crate::entity::{Junction, Subnet, Uplink};
use crate::{names, pools, text};

/// The network that subnets are for.
pub(super) struct Place<'a> {
    pub id: Guid,
    pub mode: NetworkMode,
    pub uplink: Option<&'a Uplink>,
    /// Subnets that it has already.
    pub present: &'a [Subnet],
}

/// The prefixes by which clients ask for a subnet of the service's choice.
const ANY: &str = "0.0.0.0/0";
const ANY_V6: &str = "::/0";

/// Parses the subnets, fills their generated fields, and checks them against each other, the other networks
/// and the host.
pub(super) fn parse(view: &View<'_>, ipams: &mut [Ipam], place: &Place<'_>) -> Outcome<Vec<Subnet>> {
    let mut parsed: Vec<Subnet> = Vec::new();
    for (i, ipam) in ipams.iter_mut().enumerate() {
        if ipam.kind == Some(IpamType::Dhcp) && manages_addresses(place.mode) {
            let message = format!("a network of type {} manages its addresses itself", place.mode.name());
            let error = Error::new(HResult::REQUEST_UNSUPPORTED, message);
            return Err(Refusal::Error(error.at(format!("Ipams[{i}].Type")).expected("Static")));
        }
        for (s, subnet) in ipam.subnets.iter_mut().enumerate() {
            let path = format!("Ipams[{i}].Subnets[{s}]");
            let within = |error: Error| error.within(&path);
            let chosen = match subnet.ip_address_prefix.as_deref() {
                Some(ANY) if chooses(place.mode) => Some(choose(view, place, &parsed)),
                Some(ANY_V6) if chooses(place.mode) => Some(choose_v6(view, place, &parsed)),
                _ => None,
            };
            if let Some(prefix) = chosen.transpose().map_err(within)? {
                subnet.ip_address_prefix = Some(prefix.to_string());
            }
            let new = subnet_of(view, subnet, place, parsed.len()).map_err(within)?;
            check_overlap(view, &new, place, &parsed).map_err(|refusal| refusal.map(within))?;
            parsed.push(new);
        }
    }
    Ok(parsed)
}

/// A network of such a type has exactly one subnet if the client names none (B6).
pub(super) fn needs_one(mode: NetworkMode) -> bool {
    matches!(mode, NetworkMode::Ics | NetworkMode::ConstrainedIcs)
}

/// The document of a subnet of the service's choice.
pub(super) fn any() -> SubnetDocument {
    SubnetDocument { ip_address_prefix: Some(ANY.to_owned()), ..SubnetDocument::default() }
}

/// Whether endpoints get their addresses from the network; else they may come from outside.
fn manages_addresses(mode: NetworkMode) -> bool {
    mode != NetworkMode::Transparent
}

/// Whether networks of a type may have the prefix of their uplink.
fn joins_uplink(mode: NetworkMode) -> bool {
    matches!(mode, NetworkMode::Transparent | NetworkMode::L2Bridge | NetworkMode::L2Tunnel)
}

/// Whether a prefix is one of the uplink's: the host cannot be its gateway then.
fn is_outside(view: &View<'_>, place: &Place<'_>, prefix: &IpNet) -> bool {
    let of_uplink = |link: &str| place.uplink.is_some_and(|uplink| uplink.link == link);
    let addresses = &view.context.host.addresses;
    joins_uplink(place.mode)
        && addresses.iter().any(|host| of_uplink(&host.link) && overlap(prefix, &host.address.trunc()))
}

fn chooses(mode: NetworkMode) -> bool {
    matches!(mode, NetworkMode::Nat | NetworkMode::Ics | NetworkMode::ConstrainedIcs)
}

/// Whether the network's prefixes mean something to the host alone, so that two networks cannot share one.
fn is_of_the_host(mode: NetworkMode) -> bool {
    chooses(mode) || matches!(mode, NetworkMode::Internal | NetworkMode::Private)
}

/// A private prefix (RFC 1918) that nothing on the host uses: /24, for ICS /20 as on Windows.
fn choose(view: &View<'_>, place: &Place<'_>, siblings: &[Subnet]) -> Result<IpNet> {
    let length = if place.mode == NetworkMode::Nat { 24 } else { 20 };
    let step = 1u32 << (32 - length);
    let private = [
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
    ];
    let candidates = private.into_iter().flat_map(|(first, whole)| {
        let count = 1u32 << (length - whole);
        // From the ID, so that hosts with one network each do not all use the same prefix.
        let start = u32::try_from(names::hash(place.id, 0) % u64::from(count)).unwrap_or_default();
        let address = move |offset| u32::from(first) + (start + offset) % count * step;
        (0..count).map(move |offset| IpNet::V4(Ipv4Net::new_assert(address(offset).into(), length)))
    });
    first_free(view, place, siblings, candidates)
}

/// A unique local prefix (RFC 4193) of 64 bits that nothing on the host uses.
fn choose_v6(view: &View<'_>, place: &Place<'_>, siblings: &[Subnet]) -> Result<IpNet> {
    let candidates = (1..1024).map(|salt| {
        // 0xfd, and 56 bits of a hash of the ID: global identifier and subnet.
        let high = 0xfd << 56 | names::hash(place.id, salt) >> 8;
        IpNet::V6(Ipv6Net::new_assert((u128::from(high) << 64).into(), 64))
    });
    first_free(view, place, siblings, candidates)
}

/// The first prefix that neither a network nor the host uses.
fn first_free(
    view: &View<'_>,
    place: &Place<'_>,
    siblings: &[Subnet],
    mut candidates: impl Iterator<Item = IpNet>,
) -> Result<IpNet> {
    let host = &view.context.host;
    let is_free = |candidate: &IpNet| {
        let overlaps = |other: &IpNet| overlap(candidate, other);
        let networks = view.registry.networks.iter().flat_map(|network| &network.subnets);
        let own = networks.chain(place.present).chain(siblings).map(|subnet| &subnet.prefix);
        let routes = host.routes.iter().map(|route| &route.destination).filter(|to| to.prefix_len() > 0);
        !own.chain(view.turns.leaving().iter().map(|(_, prefix)| prefix)).chain(routes).any(overlaps)
            && !host.addresses.iter().any(|address| overlaps(&address.address.trunc()))
    };
    candidates.find(is_free).ok_or_else(|| {
        Error::new(HResult::INVALID_PREFIX, "every private prefix is in use on this host")
            .at("IpAddressPrefix")
            .expected("a prefix")
    })
}

/// An identifier for a part of the entity, from the fresh one.
fn part_id(view: &View<'_>, salt: u64) -> Guid {
    let (high, low) =
        (names::hash(view.context.fresh_id, 2 * salt + 1), names::hash(view.context.fresh_id, 2 * salt + 2));
    Guid::random_from(high, low)
}

fn subnet_of(
    view: &View<'_>,
    subnet: &mut SubnetDocument,
    place: &Place<'_>,
    index: usize,
) -> Result<Subnet> {
    policies::check_subnet(&subnet.policies)?;
    let seed = u64::try_from(place.present.len() + index).unwrap_or_default();
    let prefix = unicast_prefix(subnet.ip_address_prefix.as_deref())?;
    let id = match &subnet.id {
        Some(id) => text::guid(id, "ID")?,
        None => part_id(view, seed << 16),
    };
    subnet.id = Some(id.to_string());
    let given = default_gateway(subnet, prefix)?;
    let first = || pools::next_address(&prefix, None, 0, |_| true).ok_or_else(too_small);
    let gateway = match (given, place.mode) {
        (Some(_), _) => given,
        // The host is there, but leads nowhere.
        (None, NetworkMode::Internal) => Some(first()?),
        (None, mode) if chooses(mode) => {
            let first = first()?;
            let destination = if first.is_ipv4() { ANY } else { ANY_V6 };
            subnet.routes.push(Route {
                next_hop: Some(first.to_string()),
                destination_prefix: Some(destination.to_owned()),
                metric: None,
            });
            Some(first)
        }
        // Nobody forwards there, or somebody outside does.
        (None, _) => None,
    };
    let default_route = given.is_some() || chooses(place.mode);
    let parts = parts(view, &mut subnet.ip_subnets, &prefix, seed << 16)?;
    let reserve_gateway = !subnet.flags.has(SubnetFlags::DO_NOT_RESERVE_GATEWAY_ADDRESS);
    let outside = is_outside(view, place, &prefix);
    Ok(Subnet { id, prefix, gateway, default_route, reserve_gateway, parts, outside })
}

/// Parses IP subnets of a subnet and fills in their identifiers; `seed` tells those of one call apart.
pub(super) fn parts(
    view: &View<'_>,
    given: &mut [IpSubnet],
    prefix: &IpNet,
    seed: u64,
) -> Result<Vec<(Guid, IpNet)>> {
    let mut parts = Vec::new();
    for (index, part) in given.iter_mut().enumerate() {
        let path = format!("IpSubnets[{index}]");
        let inner = ip_subnet_prefix(part.ip_address_prefix.as_deref(), prefix)
            .map_err(|error| error.within(&path))?;
        let part_seed = seed + 1 + u64::try_from(index).unwrap_or_default();
        let id = match &part.id {
            Some(id) => text::guid(id, &format!("{path}.ID"))?,
            None => part_id(view, part_seed),
        };
        part.id = Some(id.to_string());
        parts.push((id, inner));
    }
    Ok(parts)
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
        return refuse("a prefix of length 0 (choose one for me) is for networks of type NAT and ICS");
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

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn check_overlap(view: &View<'_>, new: &Subnet, place: &Place<'_>, siblings: &[Subnet]) -> Outcome<()> {
    let overlaps = |other: &IpNet| overlap(&new.prefix, other);
    let refuse = |code: HResult, what: String| {
        Err(Refusal::Error(
            Error::new(code, format!("{} overlaps {what}", new.prefix))
                .at("IpAddressPrefix")
                .expected("a prefix that nothing on this host uses"),
        ))
    };
    let taken = if needs_one(place.mode) { HResult::DUPLICATE_NAME } else { HResult::OBJECT_ALREADY_EXISTS };
    if let Some((key, _)) = view.turns.leaving().iter().find(|(_, prefix)| overlaps(prefix)) {
        view.settled(key.kind, key.id)?;
    }
    for sibling in place.present.iter().chain(siblings) {
        if overlaps(&sibling.prefix) {
            let what = format!("the subnet {} of the same network", sibling.prefix);
            return refuse(HResult::INVALID_SUBNET, what);
        }
    }
    for other in view.registry.networks.iter().filter(|other| other.meta.id != place.id) {
        // Networks that lead outside may be parts of one outside; on this host a bridge with an address has it alone.
        let alone = |subnet: &&Subnet| is_of_the_host(place.mode) || (other.host && !subnet.outside);
        if let Some(subnet) = other.subnets.iter().filter(alone).find(|subnet| overlaps(&subnet.prefix)) {
            let what =
                format!("{} of the network {} {}", subnet.prefix, other.meta.id, text::shown(other.name()));
            return refuse(taken, what);
        }
    }
    for host in &view.context.host.addresses {
        let own = view.registry.link_is_used(&host.link);
        // A bridged network has the prefix of its uplink.
        let outside = joins_uplink(place.mode) && place.uplink.is_some_and(|uplink| uplink.link == host.link);
        if !own && !outside && overlaps(&host.address.trunc()) {
            let what = format!("the address {} of the host's link {}", host.address, host.link);
            return refuse(taken, what);
        }
    }
    Ok(())
}

/// Whether the host is on a network of this type that is joined to its uplink so: as its gateway, or as who routes
/// between it and the outside.
pub(super) fn host_is_on(mode: NetworkMode, junction: Option<&Junction>) -> bool {
    match junction {
        None => !matches!(mode, NetworkMode::Private | NetworkMode::Transparent),
        Some(junction) => *junction == Junction::Routed,
    }
}
