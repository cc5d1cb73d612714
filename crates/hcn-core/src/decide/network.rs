//! Decisions on networks.

use std::collections::BTreeSet;
use std::sync::Arc;

use hcn_dataplane::Mac;
use hcn_schema::call::{Answer, Kind, Reference};
use hcn_schema::dns::Dns;
use hcn_schema::enums::{
    Enumeration, IpamType, ModifyRequestType, NetworkFlags, NetworkMode, NetworkPolicyType,
    NetworkResourceType, OneOf,
};
use hcn_schema::modify::{Extension, IpSubnetRequest, ModifyRequest, PolicyRequest, SubnetRequest};
use hcn_schema::network::{HostComputeNetwork, Ipam, MacPool, MacRange, Subnet as SubnetDocument};
use hcn_schema::notification::NotificationType;
use hcn_schema::{Error, Guid, HResult, Result};

use super::{
    Decision, Outcome, Refusal, View, document, event, filters, gates, junction, policies, request, steering,
    subnets, tunnel, uplink,
};
use crate::entity::{Change, Endpoint, Entity, Meta, Network, Subnet, Uplink};
use crate::{compile, names, pools, text};

/// MTU in octets when the host has no uplink to take it from.
const DEFAULT_MTU: u32 = 1500;

pub(super) fn create(view: &View<'_>, id: Option<Guid>, given: Option<&str>) -> Outcome<Decision> {
    let (mut document, flat): (HostComputeNetwork, _) = document(view, given)?;
    let id = view.new_id(id, document.id.as_deref())?;
    view.settled(Kind::Network, id)?;
    text::check_free(document.name.as_deref(), "Name")?;
    text::check_free(document.owner.as_deref(), "Owner")?;
    let mode = mode(&document)?;
    gates::network_flags(view.context.hns, document.flags)?;
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
    policies::check_network(view, mode, &document.policies)?;
    let uplink = uplink::choose(view, &document, mode)?;
    let mac_ranges = mac_ranges(view, &mut document, id)?;
    if subnets::needs_one(mode) && document.ipams.iter().all(|ipam| ipam.subnets.is_empty()) {
        document.ipams = vec![Ipam { kind: Some(IpamType::Static), subnets: vec![subnets::any()] }];
    }
    let place = subnets::Place { id, mode, uplink: uplink.as_ref(), present: &[] };
    let subnets = subnets::parse(view, &mut document.ipams, &place)?;
    gates::subnets(view.context.hns, &subnets)?;
    let ground = junction::Ground { document: &document, mode, uplink: uplink.as_ref(), subnets: &subnets };
    let junction = junction::choose(view, &ground)?;
    let host =
        !document.flags.has(NetworkFlags::DISABLE_HOST_PORT) && subnets::host_is_on(mode, junction.as_ref());
    let bridge_mac = match junction::bridge_mac(view, &ground, junction.as_ref())? {
        Some(mac) => mac,
        None => uplink::bridge_mac(&document, mode, id, (&mac_ranges, uplink.as_ref()))?,
    };
    uplink::fill_policies(&mut document, mode, &text::hcn_mac(bridge_mac), uplink.as_ref());
    let ground = junction::Ground { document: &document, mode, uplink: uplink.as_ref(), subnets: &subnets };
    let tunnel = tunnel::choose(view, id, &ground)?;
    let overhead = tunnel.as_ref().map_or(0, tunnel::overhead);
    let table = steering::choose(view, &ground)?;
    document.kind = Some(OneOf::Known(mode));
    clear_generated(&mut document);
    let network = Network {
        meta: view.new_meta(id),
        document,
        mode,
        subnets,
        mac_ranges,
        bridge: names::link(view.registry, "hcn", id),
        bridge_mac,
        mtu: mtu(view, uplink.as_ref()).saturating_sub(overhead),
        uplink,
        host,
        junction,
        tunnel,
        table,
        shards: 0,
        extensions: Vec::new(),
        flat,
    };
    let answer = Answer::Entity { id, incarnation: network.meta.incarnation };
    filters::check_network(view, &network, &network.document.policies, "Policies")?;
    let entity = Entity::Network(Arc::new(network));
    let mut change = Change::default();
    change.create(entity.clone());
    let mut decision = Decision::new(change, answer);
    decision.before.push(event("pre-create", Some(NotificationType::NetworkPreCreate), &entity));
    decision.after.push(event("create", Some(NotificationType::NetworkCreate), &entity));
    Ok(decision)
}

/// Octets: that of its uplink, else that of the host's.
fn mtu(view: &View<'_>, uplink: Option<&Uplink>) -> u32 {
    let host = &view.context.host;
    let link = uplink.map(|uplink| uplink.link.as_str()).or(host.uplink.as_deref());
    link.and_then(|link| host.link(link)).map_or(DEFAULT_MTU, |link| link.mtu)
}

/// The fields that the service fills on query are not kept from the client's document.
fn clear_generated(document: &mut HostComputeNetwork) {
    document.id = None;
    document.version = None;
    document.health = None;
    document.schema_version = None;
    document.state = None;
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
    match mode {
        NetworkMode::Mirrored | NetworkMode::Infiniband => Err(Error::new(
            HResult::INVALID_NETWORK_TYPE,
            format!("networks of type {} are not offered: Linux has no counterpart", mode.name()),
        )
        .at("Type")
        .expected("another type")),
        _ if document.flags.has(NetworkFlags::ENABLE_FLOW_STEERING) => {
            let message = "flow steering (flag 64) has no counterpart in Linux";
            Err(Error::new(HResult::REQUEST_UNSUPPORTED, message).at("Flags").expected("Flags without 64"))
        }
        _ => Ok(mode),
    }
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

pub(super) fn modify(view: &View<'_>, target: Reference, given: Option<&str>) -> Outcome<Decision> {
    let network = view.network(target)?;
    let request: ModifyRequest<NetworkResourceType> = hcn_schema::parse(request(given)?)?;
    let (resource, kind) = request.target()?;
    let mut new = Network::clone(network);
    // Policies that stay come before those of the request.
    let mut kept = 0;
    match (resource, kind) {
        (
            NetworkResourceType::Policy,
            ModifyRequestType::Add | ModifyRequestType::Remove | ModifyRequestType::Update,
        ) => {
            let settings: PolicyRequest<NetworkPolicyType> = request.settings()?;
            new.document.policies = policies::modify_network(view, network, kind, &settings.policies)?;
            kept = new.document.policies.len().saturating_sub(settings.policies.len());
            filters::check_network(view, &new, &new.document.policies, "Policies")
                .map_err(|error| policies::in_given(error, kept).within("Settings"))?;
        }
        (NetworkResourceType::Dns, ModifyRequestType::Update) => {
            new.document.dns = Some(request.settings::<Dns>()?).filter(|dns| *dns != Dns::default());
        }
        (NetworkResourceType::Extension, ModifyRequestType::Update) => {
            set_extension(&mut new, &request.settings()?, "Settings.")?;
        }
        (NetworkResourceType::Subnet, ModifyRequestType::Add) => {
            add_subnets(view, &mut new, request.settings()?)?;
        }
        (NetworkResourceType::Subnet, ModifyRequestType::Remove) => {
            remove_subnets(view, &mut new, &request.settings()?)?;
        }
        (NetworkResourceType::IpSubnet, ModifyRequestType::Add) => {
            add_parts(view, &mut new, request.settings()?)?;
        }
        (NetworkResourceType::IpSubnet, ModifyRequestType::Remove) => {
            remove_parts(view, &mut new, &request.settings()?)?;
        }
        _ => return Err(Refusal::Error(policies::unsupported(resource.name(), kind))),
    }
    let subnets = network.document.ipams.first().map_or(0, |ipam| ipam.subnets.len());
    replaced(view, network, new)
        .map_err(|refusal| refusal.map(|error| tunnel::in_request(error, kept, subnets)))
}

/// The decision that a network is changed, and its endpoints with it as far as they say what it says.
pub(super) fn replaced(view: &View<'_>, network: &Arc<Network>, mut new: Network) -> Outcome<Decision> {
    new.meta = Meta::next(&network.meta, view.context.filetime);
    if new.tunnel.is_some() {
        new.bridge_mac = uplink::given_router(&new.document)?.unwrap_or(new.bridge_mac);
        let overhead = |network: &Network| network.tunnel.as_ref().map_or(0, tunnel::overhead);
        let whole = new.mtu + overhead(&new);
        new.tunnel = tunnel::renew(view, &new)?;
        new.mtu = whole.saturating_sub(overhead(&new));
    }
    let constrained =
        |network: &Network| Ok::<_, Error>(uplink::constraint(&network.document)?.map(|(_, to)| to));
    if matches!(new.mode, NetworkMode::Ics | NetworkMode::ConstrainedIcs)
        && constrained(&new)? != constrained(network)?
    {
        new.uplink = uplink::choose(view, &new.document, new.mode)?;
        new.table = steering::renew(view, network, &new)?;
    }
    let new = Arc::new(new);
    let after = Entity::Network(Arc::clone(&new));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    decision.change.replace(Entity::Network(Arc::clone(network)), after.clone());
    decision.after.push(event("modify", None, &after));
    tell_endpoints(view, network, &new, &mut decision)?;
    Ok(decision)
}

/// Changes the endpoints that have taken over the network's DNS settings when these change; and lets what is made for
/// all of them follow when the host begins or ceases to answer them, when those of other hosts are reached otherwise, when
/// packets have another size, or when policies of the network mean something else for them.
/// What resolvers are asked belongs to namespaces.
fn tell_endpoints(view: &View<'_>, old: &Network, new: &Network, decision: &mut Decision) -> Outcome<()> {
    let same_dns = old.document.dns == new.document.dns;
    let all = !compile::tell_alike(old, new);
    let elsewhere = |endpoint: &Endpoint| endpoint.remote && !compile::reached_alike(old, new, endpoint);
    let ruling = compile::Ruling::of(old, new);
    let resized = old.mtu != new.mtu;
    let ruled = |endpoint: &Endpoint| {
        endpoint.place().is_some() && (resized || ruling.concerns(view.registry, endpoint))
    };
    let concerned = |endpoint: &&Arc<Endpoint>| {
        all || (!same_dns && endpoint.network_dns) || elsewhere(endpoint) || ruled(endpoint)
    };
    let endpoints: Vec<&Arc<Endpoint>> = view.registry.endpoints_of(new.meta.id).filter(concerned).collect();
    let namespaces: BTreeSet<Guid> = endpoints.iter().filter_map(|endpoint| endpoint.namespace).collect();
    let ids = endpoints.iter().map(|endpoint| (Kind::Endpoint, endpoint.meta.id));
    let keys: Vec<(Kind, Guid)> = ids.chain(namespaces.iter().map(|id| (Kind::Namespace, *id))).collect();
    view.all_settled(&keys)?;
    if old.document.policies != new.document.policies {
        // One that is being detached stays if that fails.
        let all = view.registry.endpoints_of(new.meta.id);
        all.map(|endpoint| endpoint.meta.id).try_for_each(|id| view.settled(Kind::Endpoint, id))?;
    }
    let mut moved = 0;
    for endpoint in endpoints {
        view.endpoint(Reference { id: endpoint.meta.id, incarnation: None })?;
        let before = Entity::Endpoint(Arc::clone(endpoint));
        let mut changed = Endpoint::clone(endpoint);
        filters::settle(view, new, &mut changed, moved)?;
        moved += usize::from(changed.shard != endpoint.shard);
        let told = !same_dns && endpoint.network_dns;
        if told {
            changed.meta = Meta::next(&endpoint.meta, view.context.filetime);
            changed.document.dns.clone_from(&new.document.dns);
        }
        let after = Entity::Endpoint(Arc::new(changed));
        if told {
            decision.after.push(event("modify", None, &after));
        }
        decision.change.replace(before, after);
    }
    for id in namespaces {
        let namespace = Entity::Namespace(Arc::clone(view.namespace(Reference { id, incarnation: None })?));
        decision.change.replace(namespace.clone(), namespace);
    }
    Ok(())
}

/// Notes that a switch extension is on or off; `path` is what leads to the request.
pub(super) fn set_extension(network: &mut Network, request: &Extension, path: &str) -> Result<()> {
    let at = format!("{path}Id");
    let id = request.id.as_deref().ok_or_else(|| {
        Error::new(HResult::SWITCH_EXTENSION_NOT_FOUND, "the request names no extension")
            .at(&at)
            .expected("a GUID")
    })?;
    let id = text::guid(id, &at)?;
    network.extensions.retain(|(other, _)| *other != id);
    network.extensions.push((id, request.is_enabled.unwrap_or_default()));
    Ok(())
}

fn add_subnets(view: &View<'_>, network: &mut Network, settings: SubnetRequest) -> Outcome<()> {
    let mut ipams = [Ipam { kind: None, subnets: settings.subnets }];
    let (id, mode) = (network.meta.id, network.mode);
    let place = subnets::Place { id, mode, uplink: network.uplink.as_ref(), present: &network.subnets };
    let parsed = subnets::parse(view, &mut ipams, &place).map_err(|refusal| {
        refusal.map(|mut error| {
            error.path = error.path.map(|path| path.replacen("Ipams[0]", "Settings", 1));
            error
        })
    })?;
    gates::subnets(view.context.hns, &parsed)?;
    let [ipam] = ipams;
    junction::add_subnets(network, &ipam.subnets, &parsed)?;
    network.subnets.extend(parsed);
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

/// The subnet that a request about IP subnets is for.
fn subnet_named(network: &Network, id: Option<&str>) -> Result<usize> {
    let path = "Settings.SubnetId";
    let missing = |message: String| {
        Error::new(HResult::SUBNET_NOT_FOUND, message).at(path).expected("ID of a subnet of the network")
    };
    let id = text::guid(id.ok_or_else(|| missing("the request names no subnet".to_owned()))?, path)?;
    let position = network.subnets.iter().position(|subnet| subnet.id == id);
    position.ok_or_else(|| missing(format!("the network has no subnet {id}")))
}

/// The document of a subnet of the network.
fn subnet_document(network: &mut Network, id: Guid) -> Option<&mut SubnetDocument> {
    let text = id.to_string();
    let subnets = network.document.ipams.iter_mut().flat_map(|ipam| &mut ipam.subnets);
    subnets.into_iter().find(|document| document.id.as_deref() == Some(&text))
}

fn add_parts(view: &View<'_>, network: &mut Network, mut settings: IpSubnetRequest) -> Outcome<()> {
    let index = subnet_named(network, settings.subnet_id.as_deref())?;
    let subnet = &mut network.subnets[index];
    let seed = u64::try_from(subnet.parts.len()).unwrap_or_default();
    let parts = subnets::parts(view, &mut settings.ip_subnets, &subnet.prefix, seed)
        .map_err(|error| error.within("Settings"))?;
    if let Some(place) = parts.iter().position(|(id, _)| subnet.parts.iter().any(|(other, _)| other == id)) {
        let message = format!("the subnet has an IP subnet {} already", parts[place].0);
        let path = format!("Settings.IpSubnets[{place}].ID");
        return Err(Refusal::Error(Error::new(HResult::INVALID_IP_SUBNET, message).at(path)));
    }
    let id = subnet.id;
    subnet.parts.extend(parts);
    if let Some(document) = subnet_document(network, id) {
        document.ip_subnets.extend(settings.ip_subnets);
    }
    Ok(())
}

fn remove_parts(view: &View<'_>, network: &mut Network, settings: &IpSubnetRequest) -> Outcome<()> {
    let index = subnet_named(network, settings.subnet_id.as_deref())?;
    for (place, given) in settings.ip_subnets.iter().enumerate() {
        let path = format!("Settings.IpSubnets[{place}]");
        let id = given.id.as_deref().map(|id| text::guid(id, &format!("{path}.ID"))).transpose()?;
        let prefix = given.ip_address_prefix.as_deref();
        let prefix = prefix.map(|p| text::prefix(p, &format!("{path}.IpAddressPrefix"))).transpose()?;
        let subnet = &mut network.subnets[index];
        let found = subnet.parts.iter().position(|(part, inner)| match (id, prefix) {
            (Some(id), _) => *part == id,
            (None, Some(prefix)) => *inner == prefix,
            (None, None) => false,
        });
        let found = found.ok_or_else(|| {
            Error::new(HResult::SUBNET_NOT_FOUND, "the subnet has no such IP subnet")
                .at(&path)
                .expected("ID or IpAddressPrefix of an IP subnet of the subnet")
        })?;
        let (part, _) = subnet.parts.remove(found);
        let subnet = subnet.id;
        let uses = |id: &str| id.parse() == Ok(part);
        for endpoint in view.registry.endpoints_of(network.meta.id) {
            let configs = &endpoint.document.ip_configurations;
            if configs.iter().any(|config| config.ip_subnet_id.as_deref().is_some_and(uses)) {
                view.settled(Kind::Endpoint, endpoint.meta.id)?;
                let message = format!("the endpoint {} has an address in it", endpoint.meta.id);
                return Err(Refusal::Error(Error::new(HResult::ENTITY_HAS_REFERENCES, message).at(path)));
            }
        }
        if let Some(document) = subnet_document(network, subnet) {
            document.ip_subnets.retain(|document| document.id.as_deref().is_none_or(|id| !uses(id)));
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
