//! Decisions on load balancers.

use std::net::IpAddr;
use std::sync::Arc;

use hcn_schema::call::{Answer, Kind, Reference};
use hcn_schema::enums::{
    DistributionType, LoadBalancerFlags, ModifyRequestType, NetworkMode, OneOf, PortMappingFlags,
};
use hcn_schema::load_balancer::{HostComputeLoadBalancer, LoadBalancerPortMapping};
use hcn_schema::modify::NamespaceEndpointRequest as EndpointRequest;
use hcn_schema::{Error, Guid, HResult, Raw, Result};
use serde::Deserialize;
use serde_json::Value;

use super::{Decision, Outcome, Refusal, View, document, endpoint, event, gates, policies, ports, request};
use crate::entity::{BalancedPort, Change, Endpoint, Entity, EntityKey, LoadBalancer, Meta, Network};
use crate::text;

/// As many as the data plane can choose from.
const MOST_ENDPOINTS: usize = hcn_dataplane::Service::MOST_BACKENDS;

pub(super) fn create(view: &View<'_>, id: Option<Guid>, given: Option<&str>) -> Outcome<Decision> {
    let (document, _): (HostComputeLoadBalancer, _) = document(view, given)?;
    let id = view.new_id(id, document.id.as_deref())?;
    let balancer = parse(view, document, view.new_meta(id))?;
    if view.registry.load_balancers.get(id).is_some() {
        let error =
            Error::new(HResult::OBJECT_ALREADY_EXISTS, format!("there is a load balancer with the ID {id}"));
        return Err(Refusal::Error(error.at("ID")));
    }
    let answer = Answer::Entity { id, incarnation: balancer.meta.incarnation };
    let told = seeing(view, [&balancer]);
    let entity = Entity::LoadBalancer(Arc::new(balancer));
    let mut change = Change::default();
    change.create(entity.clone());
    let mut decision = Decision::new(change, answer);
    endpoint::follow(view, &told, &mut decision)?;
    decision.after.push(event("create", None, &entity));
    Ok(decision)
}

/// The endpoints that see virtual addresses, before or after, and so are changed along with it.
fn seeing<'a>(view: &View<'_>, balancers: impl IntoIterator<Item = &'a LoadBalancer>) -> Vec<Guid> {
    let mut ids = Vec::new();
    for balancer in balancers {
        if balancer.ports.iter().any(|port| port.preserves) {
            let here =
                |id: &&Guid| view.registry.endpoints.get(**id).is_some_and(|endpoint| !endpoint.remote);
            let new: Vec<Guid> = balancer.endpoints.iter().filter(here).copied().collect();
            ids.extend(new.into_iter().filter(|id| !ids.contains(id)).collect::<Vec<_>>());
        }
    }
    ids
}

/// What tells a modify request from a whole document.
#[derive(Deserialize)]
struct Probe {
    #[serde(rename = "RequestType")]
    request: Option<Raw>,
}

pub(super) fn modify(view: &View<'_>, target: Reference, given: Option<&str>) -> Outcome<Decision> {
    let given = request(given)?;
    gates::modify_load_balancer(view.context.hns)?;
    let before = Arc::clone(view.load_balancer(target)?);
    let probe: Probe = hcn_schema::parse(given)?;
    let new = if probe.request.is_some() {
        modified_members(&before, given)?
    } else {
        whole_document(&before, given)?
    };
    let balancer = parse(view, new, Meta::next(&before.meta, view.context.filetime))?;
    let told = seeing(view, [&*before, &balancer]);
    let after = Entity::LoadBalancer(Arc::new(balancer));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    endpoint::follow(view, &told, &mut decision)?;
    decision.after.push(event("modify", None, &after));
    decision.change.replace(Entity::LoadBalancer(before), after);
    Ok(decision)
}

/// A whole document takes the place of the one from before; what clients leave out that cannot change stays (B91, B92).
fn whole_document(before: &LoadBalancer, given: &str) -> Result<HostComputeLoadBalancer> {
    let mut document: HostComputeLoadBalancer = hcn_schema::parse(given)?;
    super::known_version(document.schema_version)?;
    super::same_id(document.id.as_deref(), before.meta.id)?;
    if document.owner.is_none() {
        document.owner.clone_from(&before.document.owner);
    }
    if document.name.is_none() {
        document.name.clone_from(&before.document.name);
    }
    Ok(document)
}

/// The form of an old sample: adds or removes one endpoint (contract 2.12).
fn modified_members(before: &LoadBalancer, given: &str) -> Result<HostComputeLoadBalancer> {
    #[derive(Deserialize)]
    struct Request {
        #[serde(rename = "RequestType")]
        kind: OneOf<ModifyRequestType>,
        #[serde(rename = "Settings")]
        settings: EndpointRequest,
    }
    let request: Request = hcn_schema::parse(given)?;
    let path = "Settings.EndpointId";
    let id = request.settings.endpoint_id.as_deref().ok_or_else(|| {
        Error::new(HResult::INVALID_ARGUMENT, "the request names no endpoint").at(path).expected("a GUID")
    })?;
    let id = text::guid(id, path)?.to_string();
    let mut document = before.document.clone();
    let present = document.host_compute_endpoints.contains(&id);
    match request.kind {
        OneOf::Known(ModifyRequestType::Add) if present => {}
        OneOf::Known(ModifyRequestType::Add) => document.host_compute_endpoints.push(id),
        OneOf::Known(ModifyRequestType::Remove) if present => {
            document.host_compute_endpoints.retain(|other| *other != id);
        }
        OneOf::Known(ModifyRequestType::Remove) => {
            let message = format!("the endpoint {id} is no back end of the load balancer");
            return Err(Error::new(HResult::NOT_FOUND, message).at(path));
        }
        OneOf::Known(other) => return Err(policies::unsupported("Endpoint", other)),
        OneOf::Unknown(text) => {
            let message = format!("there is no RequestType {}", text::shown(&text));
            return Err(Error::new(HResult::REQUEST_UNSUPPORTED, message).at("RequestType"));
        }
    }
    Ok(document)
}

/// Checks a document and gives the record that it means.
fn parse(view: &View<'_>, mut document: HostComputeLoadBalancer, meta: Meta) -> Outcome<LoadBalancer> {
    text::check_free(document.name.as_deref(), "Name")?;
    text::check_free(document.owner.as_deref(), "Owner")?;
    gates::load_balancer(view.context.hns, &document)?;
    let ids = endpoint_ids(&document.host_compute_endpoints)?;
    let own = EntityKey { kind: Kind::LoadBalancer, id: meta.id };
    let mut needed = vec![(Kind::LoadBalancer, meta.id)];
    needed.extend(ids.iter().map(|id| (Kind::Endpoint, *id)));
    view.all_settled(&needed)?;
    let endpoints = endpoints(view, &ids)?;
    let network = network_of(view, document.host_compute_network.as_deref(), &endpoints)?;
    if let Some(network) = network.filter(|network| network.mode == NetworkMode::Private) {
        let message =
            format!("a network of type {} cannot be reached by load balancers", network.mode.name());
        let error = Error::new(HResult::REQUEST_UNSUPPORTED, message);
        return Err(Refusal::Error(error.at("HostComputeNetwork")));
    }
    let network = network.map(|network| network.meta.id);
    document.host_compute_network = document.host_compute_network.and(network).map(|id| id.to_string());
    document.host_compute_endpoints = ids.iter().map(Guid::to_string).collect();
    let mut addresses = Vec::new();
    for (index, vip) in document.frontend_vips.iter().enumerate() {
        let path = format!("FrontendVIPs[{index}]");
        let address = text::address(vip, &path)?;
        if address.is_multicast() || address.is_loopback() {
            let message = format!("{address} cannot be a virtual address");
            return Err(Refusal::Error(Error::new(HResult::INVALID_IP, message).at(path)));
        }
        if !address.is_unspecified() && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let source = document.source_vip.as_deref().map(|vip| text::address(vip, "SourceVIP")).transpose()?;
    if let Some(address) = source.filter(is_no_source) {
        let message = format!("{address} cannot be a source address");
        return Err(Refusal::Error(Error::new(HResult::ADDR_INVALID_OR_RESERVED, message).at("SourceVIP")));
    }
    let mut balanced = balanced_ports(&document, addresses.is_empty())?;
    for port in &mut balanced {
        // A kernel without rules for the ports of a bridge translates (contract 9.5).
        port.preserves &= view.context.host.kernel.bridge_rules && !addresses.is_empty();
    }
    let balancer = LoadBalancer {
        meta,
        network,
        endpoints: ids,
        addresses,
        ipv6: document.flags.has(LoadBalancerFlags::IPV6),
        source,
        terminates: terminates(document.additional_params.as_ref())?,
        ports: balanced,
        document: cleared(document),
    };
    let mut seen = Vec::new();
    for (index, port) in balancer.ports.iter().enumerate() {
        let within = |error: Error| error.within(&format!("PortMappings[{index}]"));
        for frontend in balancer.frontends_of(port) {
            if seen.contains(&frontend) {
                return Err(Refusal::Error(within(ports::repeated(frontend, "the same load balancer"))));
            }
            seen.push(frontend);
            ports::check_free(view, frontend, own).map_err(|refusal| refusal.map(within))?;
        }
    }
    Ok(balancer)
}

/// An address that no packet can come from.
fn is_no_source(address: &IpAddr) -> bool {
    address.is_multicast() || address.is_loopback() || address.is_unspecified()
}

/// Whether the document says that connections end with their back end. Other members are the client's own.
fn terminates(params: Option<&Raw>) -> Result<bool> {
    const MEMBER: &str = "TerminateConnections";
    let Some(params) = params.filter(|params| params.get().contains(MEMBER)) else { return Ok(false) };
    let Ok(params) = serde_json::from_str::<Value>(params.get()) else { return Ok(false) };
    match params.get(MEMBER) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(terminates)) => Ok(*terminates),
        Some(_) => {
            let error = Error::new(HResult::INVALID_ARGUMENT, "this is neither true nor false");
            Err(error.at(format!("AdditionalParams.{MEMBER}")).expected("true or false"))
        }
    }
}

/// Without the fields that the service fills on query.
fn cleared(mut document: HostComputeLoadBalancer) -> HostComputeLoadBalancer {
    document.id = None;
    document.version = None;
    document.health = None;
    document.schema_version = None;
    document.state = None;
    document
}

/// The endpoints that a document lists, each once.
pub(super) fn endpoint_ids(given: &[String]) -> Result<Vec<Guid>> {
    let mut ids = Vec::new();
    for (index, id) in given.iter().enumerate() {
        let id = text::guid(id, &format!("HostComputeEndpoints[{index}]"))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.len() > MOST_ENDPOINTS {
        let message = format!("{} back ends are too many", ids.len());
        return Err(Error::new(HResult::REQUEST_UNSUPPORTED, message)
            .at("HostComputeEndpoints")
            .expected(format!("at most {MOST_ENDPOINTS}")));
    }
    Ok(ids)
}

/// The endpoints with these IDs.
pub(super) fn endpoints<'a>(view: &'a View<'_>, ids: &[Guid]) -> Outcome<Vec<&'a Arc<Endpoint>>> {
    let find = |(index, id): (usize, &Guid)| {
        let target = Reference { id: *id, incarnation: None };
        let path = format!("HostComputeEndpoints[{index}]");
        view.endpoint(target).map_err(|refusal| refusal.map(|error| error.at(path)))
    };
    ids.iter().enumerate().map(find).collect()
}

/// The network of all endpoints, with which the document must agree.
pub(super) fn network_of<'a>(
    view: &'a View<'_>,
    given: Option<&str>,
    endpoints: &[&Arc<Endpoint>],
) -> Outcome<Option<&'a Arc<Network>>> {
    let path = "HostComputeNetwork";
    let given = given.map(|id| text::guid(id, path)).transpose()?;
    let network = given.filter(|id| !id.is_zero()).or(endpoints.first().map(|endpoint| endpoint.network));
    let Some(id) = network else { return Ok(None) };
    let target = Reference { id, incarnation: None };
    let network = view.network(target).map_err(|refusal| refusal.map(|error| error.at(path)))?;
    if let Some(index) = endpoints.iter().position(|endpoint| endpoint.network != id) {
        let message = format!("the endpoint {} is on another network than {id}", endpoints[index].meta.id);
        let error = Error::new(HResult::INVALID_ARGUMENT, message);
        return Err(Refusal::Error(error.at(format!("HostComputeEndpoints[{index}]"))));
    }
    Ok(Some(network))
}

fn balanced_ports(document: &HostComputeLoadBalancer, everywhere: bool) -> Result<Vec<BalancedPort>> {
    if document.port_mappings.is_empty() {
        let error = Error::new(HResult::INVALID_ARGUMENT, "a load balancer needs a port mapping");
        return Err(error.at("PortMappings").expected("one or more"));
    }
    let parsed = document.port_mappings.iter().enumerate().map(|(index, mapping)| {
        balanced_port(mapping, everywhere).map_err(|error| error.within(&format!("PortMappings[{index}]")))
    });
    parsed.collect()
}

fn balanced_port(mapping: &LoadBalancerPortMapping, everywhere: bool) -> Result<BalancedPort> {
    let protocol = ports::protocol(mapping.protocol.as_ref(), None, HResult::INVALID_ARGUMENT)?;
    let internal = ports::internal_port(mapping.internal_port)?;
    let external = mapping.external_port.filter(|port| *port != 0).ok_or_else(|| {
        Error::new(HResult::INVALID_ARGUMENT, "the external port is missing or zero")
            .at("ExternalPort")
            .expected("1 to 65535")
    })?;
    let only_inside = mapping.flags.has(PortMappingFlags::ENABLE_INTERNAL_LOAD_BALANCER);
    if only_inside && everywhere {
        let message = "an internal load balancer needs a virtual address";
        return Err(Error::new(HResult::REQUEST_UNSUPPORTED, message).at("Flags").expected("FrontendVIPs"));
    }
    let (affinity, per_protocol) = match &mapping.distribution_type {
        None | Some(OneOf::Known(DistributionType::None)) => (false, false),
        Some(OneOf::Known(DistributionType::SourceIp)) => (true, false),
        Some(OneOf::Known(DistributionType::SourceIpProtocol)) => (true, true),
        Some(OneOf::Unknown(text)) => {
            let message = format!("there is no distribution type {}", text::shown(text));
            return Err(Error::new(HResult::INVALID_ARGUMENT, message)
                .at("DistributionType")
                .expected("0, 1 or 2"));
        }
    };
    Ok(BalancedPort {
        protocol,
        external,
        internal,
        affinity,
        per_protocol,
        only_inside,
        from_host: mapping.flags.has(PortMappingFlags::LOCAL_ROUTED_VIP),
        preserves: mapping.flags.has(PortMappingFlags::ENABLE_PRESERVE_DIP) && internal == external,
    })
}

pub(super) fn delete(view: &View<'_>, id: Guid) -> Outcome<Decision> {
    let balancer = view.load_balancer(Reference { id, incarnation: None })?;
    let told = seeing(view, [&**balancer]);
    let before = Entity::LoadBalancer(Arc::clone(balancer));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    endpoint::follow(view, &told, &mut decision)?;
    decision.after.push(event("delete", None, &before));
    decision.change.delete(before);
    Ok(decision)
}

/// Takes endpoints that go out of the load balancers that they are back ends of (B31).
pub(super) fn forget(view: &View<'_>, endpoints: &[Arc<Endpoint>], decision: &mut Decision) -> Outcome<()> {
    let gone: Vec<Guid> = endpoints.iter().map(|endpoint| endpoint.meta.id).collect();
    let mut balancers: Vec<Arc<LoadBalancer>> = Vec::new();
    for id in &gone {
        for balancer in view.registry.balancers_of(*id) {
            if balancers.iter().all(|other| other.meta.id != balancer.meta.id) {
                balancers.push(Arc::clone(balancer));
            }
        }
    }
    for before in balancers {
        view.load_balancer(Reference { id: before.meta.id, incarnation: None })?;
        let mut after = LoadBalancer::clone(&before);
        after.meta = Meta::next(&before.meta, view.context.filetime);
        after.endpoints.retain(|id| !gone.contains(id));
        after.document.host_compute_endpoints = after.endpoints.iter().map(Guid::to_string).collect();
        let after = Entity::LoadBalancer(Arc::new(after));
        decision.after.push(event("modify", None, &after));
        decision.change.replace(Entity::LoadBalancer(before), after);
    }
    Ok(())
}
