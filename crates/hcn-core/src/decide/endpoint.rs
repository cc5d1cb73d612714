//! Decisions on endpoints.

use std::net::IpAddr;
use std::sync::Arc;

use hcn_schema::call::{Answer, Kind, Reference};
use hcn_schema::endpoint::{HostComputeEndpoint, IpConfig};
use hcn_schema::enums::{EndpointFlags, EndpointPolicyType, EndpointResourceType};
use hcn_schema::modify::{ModifyRequest, PolicyRequest};
use hcn_schema::notification::NotificationType;
use hcn_schema::route::Route as RouteDocument;
use hcn_schema::{Error, Guid, HResult, Result};
use ipnet::IpNet;

use super::{
    Cursors, Decision, Outcome, Refusal, View, document, event, load_balancer, missing, policies, ports,
    request,
};
use crate::entity::{Change, Endpoint, Entity, EntityKey, Meta, Namespace, Network, Resource, Route, Subnet};
use crate::registry::Uses;
use crate::{names, pools, text};

pub(super) fn create(
    view: &View<'_>,
    id: Option<Guid>,
    parent: Option<Reference>,
    given: Option<&str>,
) -> Outcome<Decision> {
    let mut document = document(given, |document: &HostComputeEndpoint| document.schema_version)?;
    text::check_free(document.name.as_deref(), "Name")?;
    text::check_free(document.owner.as_deref(), "Owner")?;
    let id = view.new_id(id, document.id.as_deref())?;
    let parent = parent_of(parent, document.host_compute_network.as_deref())?;
    view.all_settled(&[(Kind::Endpoint, id), (Kind::Network, parent.id)])?;
    let network = view.network(parent)?;
    if view.registry.endpoints.get(id).is_some() {
        let error =
            Error::new(HResult::OBJECT_ALREADY_EXISTS, format!("there is an endpoint with the ID {id}"));
        return Err(Refusal::Error(error.at("ID")));
    }
    policies::check(&document.policies, "Policies")?;
    let remote = document.flags.has(EndpointFlags::REMOTE_ENDPOINT);
    let mut cursors = Cursors::default();
    let addresses = if remote {
        remote_addresses(&document)?
    } else {
        local_addresses(view, network, &mut document, &mut cursors)?
    };
    let key = EntityKey { kind: Kind::Endpoint, id };
    let owner = ports::Owner { key, network, addresses: &addresses, remote };
    let ports = ports::mappings(view, &owner, &mut document.policies, "Policies", &mut cursors)?;
    let mac = match &document.mac_address {
        // Not checked for uniqueness: kube-proxy gives the host's address to several endpoints (B16).
        Some(given) => text::mac(given, HResult::INVALID_ENDPOINT, "MacAddress")?,
        None => {
            let after = view.cursors.macs.get(&network.meta.id).copied();
            let taken = view.registry.endpoint_count(network.meta.id);
            let is_free = |mac| !view.registry.mac_is_used(network.meta.id, mac);
            let mac = pools::next_mac(&network.mac_ranges, after, taken, is_free).ok_or_else(|| {
                let message = "every MAC address of the network's MacPool is in use";
                Error::new(HResult::ADDR_INVALID_OR_RESERVED, message).at("MacAddress")
            })?;
            cursors.macs.insert(network.meta.id, mac);
            mac
        }
    };
    document.mac_address = Some(text::hcn_mac(mac));
    if document.routes.is_empty() && !remote {
        document.routes = default_routes(network, &addresses);
    }
    let routes = routes(&document.routes)?;
    if document.dns.is_none() {
        document.dns.clone_from(&network.document.dns);
    }
    clear_generated(&mut document);
    document.host_compute_network = Some(network.meta.id.to_string());
    let endpoint = Endpoint {
        meta: view.new_meta(id),
        document,
        network: network.meta.id,
        namespace: None,
        remote,
        addresses,
        mac,
        ports,
        routes,
        veth: names::link(view.registry, "hve", id),
        interface: None,
    };
    let answer = Answer::Entity { id, incarnation: endpoint.meta.incarnation };
    let entity = Entity::Endpoint(Arc::new(endpoint));
    let mut change = Change::default();
    change.create(entity.clone());
    let mut decision = Decision::new(change, answer);
    decision.cursors = cursors;
    decision.after.push(event("create", None, &entity));
    Ok(decision)
}

/// The fields that the service fills on query are not kept from the client's document.
fn clear_generated(document: &mut HostComputeEndpoint) {
    document.id = None;
    document.version = None;
    document.host_compute_namespace = None;
    document.state = None;
    document.health = None;
    document.schema_version = None;
}

/// The network of a new endpoint: the call decides, the document must agree (2.6).
fn parent_of(parent: Option<Reference>, given: Option<&str>) -> Result<Reference> {
    let path = "HostComputeNetwork";
    let given = given.map(|given| text::guid(given, path)).transpose()?.filter(|id| !id.is_zero());
    match (parent, given) {
        (Some(parent), Some(id)) if parent.id != id => Err(Error::new(
            HResult::INVALID_ARGUMENT,
            format!("the document names the network {id}, the call {}", parent.id),
        )
        .at(path)),
        (Some(parent), _) => Ok(parent),
        (None, Some(id)) => Ok(Reference { id, incarnation: None }),
        (None, None) => Err(Error::new(HResult::INVALID_ARGUMENT, "an endpoint needs a network")
            .at(path)
            .expected("the GUID of a network")),
    }
}

/// The addresses of an endpoint of another host: anything that is an address (B21).
fn remote_addresses(document: &HostComputeEndpoint) -> Result<Vec<IpNet>> {
    let mut addresses = Vec::new();
    for (index, config) in document.ip_configurations.iter().enumerate() {
        let path = format!("IpConfigurations[{index}]");
        let Some(given) = &config.ip_address else { continue };
        let address = text::address(given, &format!("{path}.IpAddress"))?;
        addresses.push(with_length(address, config.prefix_length, None, &path)?);
    }
    Ok(addresses)
}

/// The addresses of an endpoint of this host: given ones checked, missing ones allocated; the document gets
/// what was missing (B11 to B13, B17, B20).
fn local_addresses(
    view: &View<'_>,
    network: &Network,
    document: &mut HostComputeEndpoint,
    cursors: &mut Cursors,
) -> Result<Vec<IpNet>> {
    let mut taken = Vec::new();
    if document.ip_configurations.is_empty() {
        for ipv4 in [true, false] {
            let subnets: Vec<&Subnet> =
                network.subnets.iter().filter(|subnet| subnet.prefix.addr().is_ipv4() == ipv4).collect();
            if !subnets.is_empty() {
                let address = allocate(view, network, &subnets, &taken, cursors)?;
                taken.push(address);
                document.ip_configurations.push(config_of(address));
            }
        }
        return Ok(taken);
    }
    for (index, config) in document.ip_configurations.iter_mut().enumerate() {
        let path = format!("IpConfigurations[{index}]");
        let within = |error: Error| error.within(&path);
        let part = config.ip_subnet_id.as_deref().map(|id| part(network, id)).transpose().map_err(within)?;
        let address = match &config.ip_address {
            Some(given) => {
                let address = text::address(given, "IpAddress").map_err(within)?;
                let subnet = check_address(view, network, part.as_ref(), address, &taken).map_err(within)?;
                with_length(address, config.prefix_length, Some(&subnet.prefix), &path)?
            }
            None => {
                let subnets = match &part {
                    Some(part) => vec![part],
                    None => network.subnets.iter().collect(),
                };
                let address = allocate(view, network, &subnets, &taken, cursors).map_err(within)?;
                let length = config.prefix_length;
                with_length(address.addr(), length.or(Some(address.prefix_len())), None, &path)?
            }
        };
        config.ip_address.get_or_insert_with(|| address.addr().to_string());
        config.prefix_length.get_or_insert(address.prefix_len());
        taken.push(address);
    }
    Ok(taken)
}

fn config_of(address: IpNet) -> IpConfig {
    IpConfig {
        ip_address: Some(address.addr().to_string()),
        prefix_length: Some(address.prefix_len()),
        ip_subnet_id: None,
    }
}

/// The part of a subnet that an IpSubnetId names, as a subnet that is only as large as the part.
fn part(network: &Network, id: &str) -> Result<Subnet> {
    let wanted = text::guid(id, "IpSubnetId")?;
    let found = network.subnets.iter().find_map(|subnet| {
        let (_, prefix) = subnet.parts.iter().find(|(id, _)| *id == wanted)?;
        Some(Subnet { prefix: *prefix, ..subnet.clone() })
    });
    found.ok_or_else(|| {
        Error::new(HResult::SUBNET_NOT_FOUND, format!("the network has no IpSubnet {wanted}"))
            .at("IpSubnetId")
    })
}

/// Gives an address its prefix length: the client's, else the subnet's, else that of a single host.
fn with_length(address: IpAddr, given: Option<u8>, subnet: Option<&IpNet>, path: &str) -> Result<IpNet> {
    let full = if address.is_ipv4() { 32 } else { 128 };
    let length = given.or(subnet.map(IpNet::prefix_len)).unwrap_or(full);
    IpNet::new(address, length).ok().filter(|_| length > 0).ok_or_else(|| {
        Error::new(HResult::INVALID_PREFIX, format!("{length} is not a prefix length for {address}"))
            .at(format!("{path}.PrefixLength"))
            .expected(format!("1 to {full}"))
    })
}

/// Checks a given address; answers the subnet that it belongs to.
fn check_address(
    view: &View<'_>,
    network: &Network,
    part: Option<&Subnet>,
    address: IpAddr,
    taken: &[IpNet],
) -> Result<Subnet> {
    let refuse = |code, message: String| Error::new(code, message).at("IpAddress");
    let subnet =
        network.subnet_of(address).filter(|_| part.is_none_or(|part| part.prefix.contains(&address)));
    let Some(subnet) = subnet else {
        let prefixes: Vec<String> = match part {
            Some(part) => vec![part.prefix.to_string()],
            None => network.subnets.iter().map(|subnet| subnet.prefix.to_string()).collect(),
        };
        let message = format!("{address} is outside the network's subnets");
        let expected = if prefixes.is_empty() {
            "no address: there is no subnet".to_owned()
        } else {
            prefixes.join(", ")
        };
        return Err(refuse(HResult::INVALID_IP, message).expected(expected));
    };
    if pools::is_reserved(&subnet.prefix, address) {
        let message = format!("{address} is the network or broadcast address of {}", subnet.prefix);
        return Err(refuse(HResult::ADDR_INVALID_OR_RESERVED, message));
    }
    if subnet.reserve_gateway && subnet.gateway == Some(address) {
        return Err(refuse(HResult::ADDR_INVALID_OR_RESERVED, format!("{address} is the gateway's address")));
    }
    let repeated = taken.iter().any(|other| other.addr() == address);
    if repeated || view.registry.uses_of(network.meta.id, address).local > 0 {
        return Err(refuse(HResult::INVALID_IP, format!("{address} is in use by another endpoint")));
    }
    Ok(subnet.clone())
}

/// The next free address of the first of the subnets that has one.
fn allocate(
    view: &View<'_>,
    network: &Network,
    subnets: &[&Subnet],
    taken: &[IpNet],
    cursors: &mut Cursors,
) -> Result<IpNet> {
    let Some(first) = subnets.first() else {
        return Err(Error::new(
            HResult::SUBNET_NOT_FOUND,
            "the network has no subnet to take an address from",
        )
        .at("IpAddress"));
    };
    // Every endpoint of the network may hold addresses of each family; the gateway is one more.
    let in_use = view.registry.addresses_in(network.meta.id) + taken.len() + 1;
    for subnet in subnets {
        let after =
            cursors.addresses.get(&subnet.id).or_else(|| view.cursors.addresses.get(&subnet.id)).copied();
        let after = after.filter(|address| subnet.prefix.contains(address));
        let is_free = |address: IpAddr| {
            let uses = view.registry.uses_of(network.meta.id, address);
            uses == Uses::default()
                && !(subnet.reserve_gateway && subnet.gateway == Some(address))
                && !taken.iter().any(|other| other.addr() == address)
        };
        if let Some(address) = pools::next_address(&subnet.prefix, after, in_use, is_free) {
            cursors.addresses.insert(subnet.id, address);
            let whole = network.subnet_of(address).map_or(subnet.prefix, |subnet| subnet.prefix);
            return with_length(address, Some(whole.prefix_len()), None, "IpConfigurations");
        }
    }
    let message = format!("every address of {} is in use", first.prefix);
    Err(Error::new(HResult::ADDR_INVALID_OR_RESERVED, message).at("IpAddress"))
}

/// The default routes that an endpoint takes over from its subnets (B15).
fn default_routes(network: &Network, addresses: &[IpNet]) -> Vec<RouteDocument> {
    let mut routes: Vec<RouteDocument> = Vec::new();
    for address in addresses {
        let subnet = network.subnet_of(address.addr()).filter(|subnet| subnet.default_route);
        let Some(gateway) = subnet.and_then(|subnet| subnet.gateway) else {
            continue;
        };
        let destination = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        if routes.iter().all(|route| route.destination_prefix.as_deref() != Some(destination)) {
            routes.push(RouteDocument {
                next_hop: Some(gateway.to_string()),
                destination_prefix: Some(destination.to_owned()),
                metric: None,
            });
        }
    }
    routes
}

/// Parses routes. A default route without a next hop is what clients send that want none (B15); it is kept in
/// the document and has no effect.
fn routes(documents: &[RouteDocument]) -> Result<Vec<Route>> {
    let mut routes: Vec<Route> = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let path = format!("Routes[{index}]");
        let destination = document.destination_prefix.as_deref().unwrap_or_default();
        let destination = text::prefix(destination, &format!("{path}.DestinationPrefix"))?.trunc();
        let next_hop = document.next_hop.as_deref().map(|hop| text::address(hop, &format!("{path}.NextHop")));
        let gateway = next_hop.transpose()?.filter(|gateway| !gateway.is_unspecified());
        if gateway.is_some_and(|gateway| gateway.is_ipv4() != destination.addr().is_ipv4()) {
            return Err(Error::new(
                HResult::INVALID_IP,
                "the next hop is of another family than the destination",
            )
            .at(format!("{path}.NextHop")));
        }
        if gateway.is_none() && destination.prefix_len() == 0 {
            continue;
        }
        let route = Route { destination, gateway, metric: document.metric };
        if routes.iter().any(|r| r.destination == route.destination && r.metric == route.metric) {
            return Err(Error::new(
                HResult::INVALID_ENDPOINT,
                format!("there are two routes to {destination}"),
            )
            .at(path)
            .expected("another Metric"));
        }
        routes.push(route);
    }
    Ok(routes)
}

pub(super) fn modify(view: &View<'_>, target: Reference, given: Option<&str>) -> Outcome<Decision> {
    let endpoint = Arc::clone(view.endpoint(target)?);
    let request: ModifyRequest<EndpointResourceType> = hcn_schema::parse(request(given)?)?;
    let (resource, kind) = request.target()?;
    if resource == EndpointResourceType::Port {
        let message = "ports of virtual machines are not offered";
        return Err(Refusal::Error(Error::new(HResult::REQUEST_UNSUPPORTED, message).at("ResourceType")));
    }
    let settings: PolicyRequest<EndpointPolicyType> = request.settings()?;
    let mut new = Endpoint::clone(&endpoint);
    new.document.policies = policies::modify_endpoint(&endpoint.document.policies, kind, &settings.policies)?;
    let key = EntityKey { kind: Kind::Endpoint, id: endpoint.meta.id };
    let network = view.network(Reference { id: endpoint.network, incarnation: None })?;
    let owner = ports::Owner { key, network, addresses: &endpoint.addresses, remote: endpoint.remote };
    let mut cursors = Cursors::default();
    new.ports = ports::mappings(view, &owner, &mut new.document.policies, "Settings.Policies", &mut cursors)?;
    new.meta = Meta::next(&endpoint.meta, view.context.filetime);
    let after = Entity::Endpoint(Arc::new(new));
    let mut change = Change::default();
    change.replace(Entity::Endpoint(endpoint), after.clone());
    let mut decision = Decision::new(change, Answer::Done);
    decision.cursors = cursors;
    decision.after.push(event("modify", None, &after));
    Ok(decision)
}

pub(super) fn delete(view: &View<'_>, id: Guid) -> Outcome<Decision> {
    let endpoint = Arc::clone(view.endpoint(Reference { id, incarnation: None })?);
    let mut decision = Decision::new(Change::default(), Answer::Done);
    remove_all(view, &[endpoint], &mut decision)?;
    Ok(decision)
}

/// Removes endpoints with their membership in namespaces (B31).
pub(super) fn remove_all(
    view: &View<'_>,
    endpoints: &[Arc<Endpoint>],
    decision: &mut Decision,
) -> Outcome<()> {
    let mut left: Vec<(Arc<Namespace>, Namespace)> = Vec::new();
    for endpoint in endpoints {
        view.endpoint(Reference { id: endpoint.meta.id, incarnation: None })?;
        if let Some(id) = endpoint.namespace {
            let namespace = view.namespace(Reference { id, incarnation: None })?;
            let index = left.iter().position(|(before, _)| before.meta.id == id).unwrap_or_else(|| {
                let next = Meta::next(&namespace.meta, view.context.filetime);
                left.push((Arc::clone(namespace), Namespace { meta: next, ..Namespace::clone(namespace) }));
                left.len() - 1
            });
            left[index].1.resources.retain(|resource| *resource != Resource::Endpoint(endpoint.meta.id));
        }
    }
    load_balancer::forget(view, endpoints, decision)?;
    for endpoint in endpoints {
        let before = Entity::Endpoint(Arc::clone(endpoint));
        if endpoint.namespace.is_some() {
            decision.after.push(event("detach", Some(NotificationType::NetworkEndpointDetached), &before));
        }
        decision.after.push(event("delete", None, &before));
        decision.change.delete(before);
    }
    for (before, after) in left {
        decision.change.replace(Entity::Namespace(before), Entity::Namespace(Arc::new(after)));
    }
    Ok(())
}

/// The endpoint of a namespace request.
pub(super) fn find<'a>(view: &'a View<'_>, id: Guid) -> Outcome<&'a Arc<Endpoint>> {
    let target = Reference { id, incarnation: None };
    if view.registry.endpoints.get(id).is_none() {
        return Err(Refusal::Error(missing(Kind::Endpoint, target).at("Settings.EndpointId")));
    }
    view.endpoint(target)
}
