//! Decisions on endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use hcn_schema::call::{Answer, Kind, Reference};
use hcn_schema::endpoint::HostComputeEndpoint;
use hcn_schema::enums::{EndpointFlags, EndpointPolicyType, EndpointResourceType, ModifyRequestType};
use hcn_schema::modify::{ModifyRequest, PolicyRequest, VmEndpointRequest};
use hcn_schema::notification::NotificationType;
use hcn_schema::policy::EndpointPolicy;
use hcn_schema::route::Route as RouteDocument;
use hcn_schema::settings::L4WfpProxySettings;
use hcn_schema::{Error, Guid, HResult, Result};
use ipnet::IpNet;

use super::{
    Cursors, Decision, Outcome, Refusal, View, addresses, document, event, filters, gates, interface,
    junction, load_balancer, missing, policies, ports, request, sdn_route, shards, spoofing, steering,
};
use crate::entity::{
    Change, Endpoint, Entity, EntityKey, Junction, Meta, Namespace, Network, Place, Resource, Route, VmPort,
};
use crate::{lists, names, pools, text};

pub(super) fn create(
    view: &View<'_>,
    id: Option<Guid>,
    parent: Option<Reference>,
    given: Option<&str>,
) -> Outcome<Decision> {
    let (mut document, flat): (HostComputeEndpoint, _) = document(view, given)?;
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
    policies::check_endpoint(view, network, &document.policies)?;
    let remote = document.flags.has(EndpointFlags::REMOTE_ENDPOINT);
    check_flags(view, &document)?;
    let mut cursors = Cursors::default();
    let addresses = if remote {
        addresses::remote(&document)?
    } else {
        addresses::local(view, network, &mut document, &mut cursors)?
    };
    if !remote {
        gates::addresses(view.context.hns, &addresses)?;
    }
    let key = EntityKey { kind: Kind::Endpoint, id };
    let owner = ports::Owner { key, network, addresses: &addresses, remote };
    let ports = ports::mappings(view, &owner, &mut document.policies, "Policies", &mut cursors)?;
    let vlan = junction::endpoint_vlan(view, network, &document.policies, "Policies")?;
    filters::check_endpoint(view, network, &document.policies, "Policies")?;
    let table = steering::of_endpoint(view, network, remote, (&document.policies, "Policies"), None)?;
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
    let spoofing = spoofing::choose(view, document.additional_params.as_ref())?;
    interface::asked(document.additional_params.as_ref())?;
    if document.routes.is_empty() && !remote {
        document.routes = default_routes(network, &addresses);
    }
    let routes = routes(&document.routes)?;
    let network_dns = document.dns.is_none();
    if network_dns {
        document.dns.clone_from(&network.document.dns);
    }
    clear_generated(&mut document);
    document.host_compute_network = Some(network.meta.id.to_string());
    let users = users(view, &document.policies);
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
        rank: None,
        shard: 0,
        vlan,
        network_dns,
        on_host: false,
        containers: Vec::new(),
        vm_port: None,
        users,
        table,
        spoofing,
        flat,
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

/// Refuses flags that this kernel has nothing for.
pub(super) fn check_flags(view: &View<'_>, document: &HostComputeEndpoint) -> Result<()> {
    let isolated = document.flags.has(EndpointFlags::DISABLE_INTER_COMPUTE_COMMUNICATION);
    if isolated && !view.context.host.kernel.bridge_rules {
        let message = "this kernel has no rules between the ports of a bridge (CONFIG_NF_TABLES_BRIDGE)";
        let error = Error::new(HResult::REQUEST_UNSUPPORTED, message).at("Flags");
        return Err(error.expected("flags without DisableInterComputeCommunication (2)"));
    }
    Ok(())
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
        if *document == RouteDocument::default() {
            continue;
        }
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
    match request.target()? {
        (
            EndpointResourceType::Policy,
            kind @ (ModifyRequestType::Add | ModifyRequestType::Remove | ModifyRequestType::Update),
        ) => {
            let settings: PolicyRequest<EndpointPolicyType> = request.settings()?;
            let network = view.network(Reference { id: endpoint.network, incarnation: None })?;
            let policies = policies::modify_endpoint(view, network, &endpoint, kind, &settings.policies)?;
            // What the request gives comes last; what comes before it was there and is right.
            let kept = policies.len().saturating_sub(settings.policies.len());
            with_policies(view, &endpoint, policies, "Policies")
                .map_err(|refusal| refusal.map(|error| policies::in_given(error, kept).within("Settings")))
        }
        (EndpointResourceType::Port, ModifyRequestType::Add) => {
            vm_port(view, &endpoint, &request.settings()?, "Settings.")
        }
        (EndpointResourceType::Port, ModifyRequestType::Remove) => unplug(view, &endpoint),
        (EndpointResourceType::Port, ModifyRequestType::Refresh) => {
            // The guest would hear everything anew; hcnd talks to none, so whoever does is told.
            let mut decision = Decision::new(Change::default(), Answer::Done);
            decision.after.push(event("refresh", None, &Entity::Endpoint(endpoint)));
            Ok(decision)
        }
        (resource, kind) => Err(Refusal::Error(policies::unsupported(resource.name(), kind))),
    }
}

/// The decision that an endpoint has these policies from now on. `path` is that of the list.
pub(super) fn with_policies(
    view: &View<'_>,
    endpoint: &Arc<Endpoint>,
    policies: Vec<EndpointPolicy>,
    path: &str,
) -> Outcome<Decision> {
    let mut new = Endpoint::clone(endpoint);
    let cursors = set_policies(view, &mut new, policies, path)?;
    let mut decision = replaced(view, endpoint, new);
    decision.cursors = cursors;
    Ok(decision)
}

/// Gives an endpoint these policies. `path` is that of the list.
pub(super) fn set_policies(
    view: &View<'_>,
    endpoint: &mut Endpoint,
    policies: Vec<EndpointPolicy>,
    path: &str,
) -> Outcome<Cursors> {
    let key = EntityKey { kind: Kind::Endpoint, id: endpoint.meta.id };
    let network = view.network(Reference { id: endpoint.network, incarnation: None })?;
    endpoint.table =
        steering::of_endpoint(view, network, endpoint.remote, (&policies, path), Some(&*endpoint))?;
    endpoint.document.policies = policies;
    let owner = ports::Owner { key, network, addresses: &endpoint.addresses, remote: endpoint.remote };
    let mut cursors = Cursors::default();
    filters::check_endpoint(view, network, &endpoint.document.policies, path)?;
    endpoint.vlan = junction::endpoint_vlan(view, network, &endpoint.document.policies, path)?;
    endpoint.ports = ports::mappings(view, &owner, &mut endpoint.document.policies, path, &mut cursors)?;
    filters::settle(view, network, endpoint, 0)?;
    endpoint.users = users(view, &endpoint.document.policies);
    Ok(cursors)
}

/// The users whose SIDs policies name, as far as the configuration knows them.
fn users(view: &View<'_>, policies: &[EndpointPolicy]) -> BTreeMap<String, u32> {
    let given = lists::settings::<L4WfpProxySettings, _>(policies, EndpointPolicyType::L4WfpProxy);
    let sids = given.filter_map(|(_, given)| given.user_sid).map(|sid| sid.trim().to_owned());
    sids.filter_map(|sid| Some((sid.clone(), *view.context.settings.sids.get(&sid)?))).collect()
}

/// The decision that an endpoint is changed.
pub(super) fn replaced(view: &View<'_>, endpoint: &Arc<Endpoint>, mut new: Endpoint) -> Decision {
    new.meta = Meta::next(&endpoint.meta, view.context.filetime);
    let after = Entity::Endpoint(Arc::new(new));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    decision.after.push(event("modify", None, &after));
    decision.change.replace(Entity::Endpoint(Arc::clone(endpoint)), after);
    decision
}

/// The decision that an endpoint is attached to something that is no namespace, or detached from it.
pub(super) fn plugged(view: &View<'_>, endpoint: &Arc<Endpoint>, new: Endpoint) -> Decision {
    let attached = new.place().is_some();
    let mut decision = replaced(view, endpoint, new);
    let after = decision.change.steps.iter().find_map(|step| step.after.clone());
    if let Some(after) = after {
        decision.after.push(if attached {
            event("attach", Some(NotificationType::NetworkEndpointAttached), &after)
        } else {
            event("detach", Some(NotificationType::NetworkEndpointDetached), &after)
        });
    }
    decision
}

/// The error for an endpoint that is somewhere already.
pub(super) fn attached_already(endpoint: &Endpoint) -> Error {
    let place = match endpoint.place() {
        Some(Place::Namespace(id)) => format!("the namespace {id}"),
        Some(Place::VmPort(port)) => format!("the port {}", port.id),
        Some(Place::Containers) => format!("the containers {}", endpoint.containers.join(", ")),
        Some(Place::Host) | None => "the host".to_owned(),
    };
    let message = format!("the endpoint {} is attached to {place} already", endpoint.meta.id);
    Error::new(HResult::ENDPOINT_ALREADY_ATTACHED, message)
}

/// Attaches an endpoint to a port of a virtual machine (2.12). `path` is what leads to the request.
pub(super) fn vm_port(
    view: &View<'_>,
    endpoint: &Arc<Endpoint>,
    request: &VmEndpointRequest,
    path: &str,
) -> Outcome<Decision> {
    let parse = |given: &Option<String>, member: &str| {
        given.as_deref().map(|id| text::guid(id, &format!("{path}{member}"))).transpose()
    };
    let id = parse(&request.port_id, "PortId")?.filter(|id| !id.is_zero());
    let machine = parse(&request.virtual_machine_id, "VirtualMachineId")?.filter(|id| !id.is_zero());
    let nic = request.virtual_nic_name.clone().unwrap_or_default();
    text::check_free(Some(&nic), &format!("{path}VirtualNicName"))?;
    if endpoint.remote {
        return Err(Refusal::Error(not_here(endpoint)));
    }
    if endpoint.place().is_some() {
        return Err(Refusal::Error(attached_already(endpoint)));
    }
    junction::check_vm_port(view.network(Reference { id: endpoint.network, incarnation: None })?)?;
    if !view.context.host.kernel.tun {
        let message =
            "this kernel has no TAP interfaces (tun, CONFIG_TUN), which the ports of virtual machines are";
        return Err(Refusal::Error(Error::new(HResult::REQUEST_UNSUPPORTED, message)));
    }
    let network = view.registry.networks.get(endpoint.network);
    if network.is_some_and(|network| matches!(network.junction, Some(Junction::Shared(_)))) {
        let message =
            "the endpoints of this network stand on its uplink itself, where no virtual machine can";
        return Err(Refusal::Error(Error::new(HResult::REQUEST_UNSUPPORTED, message)));
    }
    let id = id.unwrap_or(view.context.fresh_id);
    let room = shards::room(view, endpoint)?;
    let tap = names::link(view.registry, "hvt", id);
    let owner = Some(view.context.caller_uid).filter(|uid| *uid != 0);
    let new = Endpoint {
        vm_port: Some(VmPort { id, nic, machine, tap, owner }),
        shard: room.shard,
        ..Endpoint::clone(endpoint)
    };
    let mut decision = plugged(view, endpoint, new);
    room.take(&mut decision);
    Ok(decision)
}

fn unplug(view: &View<'_>, endpoint: &Arc<Endpoint>) -> Outcome<Decision> {
    if endpoint.vm_port.is_none() {
        let message = format!("the endpoint {} is attached to no port", endpoint.meta.id);
        return Err(Refusal::Error(Error::new(HResult::PORT_NOT_FOUND, message)));
    }
    Ok(plugged(view, endpoint, Endpoint { vm_port: None, shard: 0, ..Endpoint::clone(endpoint) }))
}

/// The error for an endpoint of another host.
pub(super) fn not_here(endpoint: &Endpoint) -> Error {
    let message = format!("the endpoint {} lives on another host", endpoint.meta.id);
    Error::new(HResult::INVALID_REMOTE_ENDPOINT_OPERATION, message)
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
        view.turns.letting_go(endpoint.meta.id).try_for_each(|key| view.settled(key.kind, key.id))?;
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
    sdn_route::forget(view, endpoints, decision)?;
    for endpoint in endpoints {
        let before = Entity::Endpoint(Arc::clone(endpoint));
        if endpoint.place().is_some() {
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

/// Lets what is made for endpoints follow something else that is decided, such as an SDN route, whether they are attached
/// now or not: it is theirs, and an attach must not come between.
pub(super) fn follow(view: &View<'_>, endpoints: &[Guid], decision: &mut Decision) -> Outcome<()> {
    let keys: Vec<_> = endpoints.iter().map(|id| (Kind::Endpoint, *id)).collect();
    view.all_settled(&keys)?;
    for id in endpoints {
        let endpoint = Arc::clone(view.endpoint(Reference { id: *id, incarnation: None })?);
        let same = Entity::Endpoint(endpoint);
        decision.change.replace(same.clone(), same);
    }
    Ok(())
}
