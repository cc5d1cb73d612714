//! Decisions on namespaces, and with them attaching and detaching endpoints.

use std::sync::Arc;

use hcn_schema::call::{Answer, Kind, Reference};
use hcn_schema::enums::{Enumeration, ModifyRequestType, NamespaceResourceType, NamespaceType, OneOf};
use hcn_schema::modify::{ModifyRequest, NamespaceContainerRequest, NamespaceEndpointRequest};
use hcn_schema::namespace::HostComputeNamespace;
use hcn_schema::notification::NotificationType;
use hcn_schema::{Error, Guid, HResult, Result};

use super::{
    Decision, Outcome, Refusal, View, document, endpoint, event, interface, netns, policies, request, shards,
};
use crate::entity::{Change, Endpoint, Entity, Meta, Namespace, Place, Resource};
use crate::{names, text};

/// The compartment number of the host's own namespace; numbers of new namespaces are larger.
const HOST_NUMBER: u32 = 1;

pub(super) fn create(view: &View<'_>, id: Option<Guid>, given: Option<&str>) -> Outcome<Decision> {
    let (mut document, _): (HostComputeNamespace, _) = document(view, given)?;
    let id = view.new_id(id, document.id.as_deref())?;
    view.settled(Kind::Namespace, id)?;
    text::check_free(document.name.as_deref(), "Name")?;
    text::check_free(document.owner.as_deref(), "Owner")?;
    let kind = match &document.kind {
        None => NamespaceType::Host,
        Some(OneOf::Known(kind)) => *kind,
        Some(OneOf::Unknown(text)) => {
            let message = format!("there is no namespace type {}", text::shown(text));
            return Err(Refusal::Error(
                Error::new(HResult::INVALID_ARGUMENT, message).at("Type").expected(NamespaceType::names()),
            ));
        }
    };
    if view.registry.namespaces.get(id).is_some() {
        let error =
            Error::new(HResult::OBJECT_ALREADY_EXISTS, format!("there is a namespace with the ID {id}"));
        return Err(Refusal::Error(error.at("ID")));
    }
    let from = netns::existing(view, kind, document.additional_params.as_ref())?;
    let number = number(view, kind, document.namespace_id);
    document.kind = Some(OneOf::Known(kind));
    clear_generated(&mut document);
    let namespace =
        Namespace { meta: view.new_meta(id), document, kind, number, from, resources: Vec::new() };
    let answer = Answer::Entity { id, incarnation: namespace.meta.incarnation };
    let entity = Entity::Namespace(Arc::new(namespace));
    let mut change = Change::default();
    change.create(entity.clone());
    let mut decision = Decision::new(change, answer);
    decision.after.push(event("create", Some(NotificationType::NamespaceCreate), &entity));
    Ok(decision)
}

/// The fields that the service fills on query are not kept from the client's document.
fn clear_generated(document: &mut HostComputeNamespace) {
    document.id = None;
    document.version = None;
    document.namespace_id = None;
    document.namespace_guid = None;
    document.resources = Vec::new();
    document.health = None;
    document.schema_version = None;
    document.state = None;
}

/// The compartment number: the client's if it is free, else the lowest free one (contract 10, question 20).
fn number(view: &View<'_>, kind: NamespaceType, given: Option<u32>) -> u32 {
    let given = given.filter(|number| *number != 0);
    if kind == NamespaceType::HostDefault {
        return given.unwrap_or(HOST_NUMBER);
    }
    let is_free = |number: &u32| *number != HOST_NUMBER && !view.registry.number_is_used(*number);
    given.filter(is_free).or_else(|| (HOST_NUMBER + 1..).find(is_free)).unwrap_or(u32::MAX)
}

pub(super) fn modify(view: &View<'_>, target: Reference, given: Option<&str>) -> Outcome<Decision> {
    let request: ModifyRequest<NamespaceResourceType> = hcn_schema::parse(request(given)?)?;
    let (resource, kind) = request.target()?;
    match (resource, kind) {
        (NamespaceResourceType::Endpoint, ModifyRequestType::Add | ModifyRequestType::Remove) => {
            let settings: NamespaceEndpointRequest = request.settings()?;
            let path = "Settings.EndpointId";
            let id = settings.endpoint_id.ok_or_else(|| {
                Error::new(HResult::INVALID_ARGUMENT, "the request names no endpoint")
                    .at(path)
                    .expected("a GUID")
            })?;
            let id = text::guid(&id, path)?;
            view.all_settled(&[(Kind::Namespace, target.id), (Kind::Endpoint, id)])?;
            let namespace = view.namespace(target)?;
            if kind == ModifyRequestType::Add {
                attach(view, namespace, id)
            } else {
                detach(view, namespace, id)
            }
        }
        (NamespaceResourceType::Container, ModifyRequestType::Add | ModifyRequestType::Remove) => {
            let settings: NamespaceContainerRequest = request.settings()?;
            let path = "Settings.ContainerId";
            let id = settings.container_id.ok_or_else(|| {
                Error::new(HResult::INVALID_ARGUMENT, "the request names no container")
                    .at(path)
                    .expected("a text")
            })?;
            text::check_free(Some(&id), path)?;
            Ok(container(view, view.namespace(target)?, &id, kind)?)
        }
        _ => {
            view.namespace(target)?;
            Err(Refusal::Error(policies::unsupported(resource.name(), kind)))
        }
    }
}

/// The records and the event of a change of the namespace's members alone.
fn members(view: &View<'_>, namespace: &Arc<Namespace>, resources: Vec<Resource>) -> Decision {
    let meta = Meta::next(&namespace.meta, view.context.filetime);
    let new = Namespace { meta, resources, ..Namespace::clone(namespace) };
    let after = Entity::Namespace(Arc::new(new));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    decision.after.push(event("modify", None, &after));
    decision.change.replace(Entity::Namespace(Arc::clone(namespace)), after);
    decision
}

/// Puts an endpoint into a namespace.
pub(super) fn attach(view: &View<'_>, namespace: &Arc<Namespace>, id: Guid) -> Outcome<Decision> {
    let endpoint = endpoint::find(view, id)?;
    if endpoint.remote {
        let message = format!("the endpoint {id} lives on another host");
        let error = Error::new(HResult::INVALID_REMOTE_ENDPOINT_OPERATION, message);
        return Err(Refusal::Error(error.at("Settings.EndpointId")));
    }
    match endpoint.place() {
        // Clients repeat the call for an endpoint that is there already (B43).
        Some(Place::Namespace(present)) if present == namespace.meta.id => {
            return Ok(Decision::new(Change::default(), Answer::Done));
        }
        Some(Place::Namespace(other)) => {
            let message = format!("the endpoint {id} is in the namespace {other}");
            let error = Error::new(HResult::ENDPOINT_NAMESPACE_ALREADY_EXISTS, message);
            return Err(Refusal::Error(error.at("Settings.EndpointId")));
        }
        Some(Place::Host) => {
            // The host's own compartment is a namespace like others.
            let code = HResult::ENDPOINT_NAMESPACE_ALREADY_EXISTS;
            let error = Error { code, ..endpoint::attached_already(endpoint) };
            return Err(Refusal::Error(error.at("Settings.EndpointId")));
        }
        Some(Place::VmPort(_)) => {
            return Err(Refusal::Error(endpoint::attached_already(endpoint).at("Settings.EndpointId")));
        }
        Some(Place::Containers) | None => {}
    }
    let interface = match namespace.kind {
        NamespaceType::Host => Some(interface::name(view, namespace, endpoint)?),
        // The host's ethN are its adapters'; there the peer is named as the host end is.
        NamespaceType::HostDefault => Some(names::host_peer(&endpoint.veth)),
        NamespaceType::Guest | NamespaceType::GuestDefault => None,
    };
    let room = interface.as_ref().map(|_| shards::room(view, endpoint)).transpose()?;
    let mut attached = Endpoint {
        meta: Meta::next(&endpoint.meta, view.context.filetime),
        namespace: Some(namespace.meta.id),
        interface,
        shard: room.as_ref().map_or(0, |room| room.shard),
        ..Endpoint::clone(endpoint)
    };
    if namespace.kind == NamespaceType::Host {
        attached.rank = interface::rank(view, namespace, &attached);
    }
    let after = Entity::Endpoint(Arc::new(attached));
    let mut resources = namespace.resources.clone();
    resources.push(Resource::Endpoint(id));
    let mut decision = members(view, namespace, resources);
    decision.failure_code = HResult::NAMESPACE_ATTACH_FAILED;
    decision.after.push(event("attach", Some(NotificationType::NetworkEndpointAttached), &after));
    decision.change.replace(Entity::Endpoint(Arc::clone(endpoint)), after);
    if let Some(room) = room {
        room.take(&mut decision);
    }
    Ok(decision)
}

/// Takes an endpoint out of a namespace.
pub(super) fn detach(view: &View<'_>, namespace: &Arc<Namespace>, id: Guid) -> Outcome<Decision> {
    if view.registry.endpoints.get(id).is_none_or(|endpoint| endpoint.namespace != Some(namespace.meta.id)) {
        // Not the endpoint's own code: hcsshim's IsNotFoundError knows only this one (B44).
        let message = format!("the endpoint {id} is not in the namespace {}", namespace.meta.id);
        return Err(Refusal::Error(Error::new(HResult::NOT_FOUND, message).at("Settings.EndpointId")));
    }
    let endpoint = endpoint::find(view, id)?;
    let detached = Endpoint {
        meta: Meta::next(&endpoint.meta, view.context.filetime),
        namespace: None,
        interface: None,
        rank: None,
        shard: 0,
        ..Endpoint::clone(endpoint)
    };
    let after = Entity::Endpoint(Arc::new(detached));
    let mut resources = namespace.resources.clone();
    resources.retain(|resource| *resource != Resource::Endpoint(id));
    let mut decision = members(view, namespace, resources);
    decision.after.push(event("detach", Some(NotificationType::NetworkEndpointDetached), &after));
    decision.change.replace(Entity::Endpoint(Arc::clone(endpoint)), after);
    Ok(decision)
}

/// Adds a container to a namespace, or takes it out.
pub(super) fn container(
    view: &View<'_>,
    namespace: &Arc<Namespace>,
    id: &str,
    kind: ModifyRequestType,
) -> Result<Decision> {
    let resource = Resource::Container(id.to_owned());
    let present = namespace.resources.contains(&resource);
    let mut resources = namespace.resources.clone();
    if kind == ModifyRequestType::Add {
        if present {
            return Ok(Decision::new(Change::default(), Answer::Done));
        }
        resources.push(resource);
    } else {
        if !present {
            let message = format!("the container {} is not in the namespace", text::shown(id));
            return Err(Error::new(HResult::NOT_FOUND, message).at("Settings.ContainerId"));
        }
        resources.retain(|other| *other != resource);
    }
    Ok(members(view, namespace, resources))
}

pub(super) fn delete(view: &View<'_>, id: Guid) -> Outcome<Decision> {
    let namespace = view.namespace(Reference { id, incarnation: None })?;
    let endpoints: Vec<String> = namespace.endpoints().map(|id| id.to_string()).collect();
    if !endpoints.is_empty() {
        let message = format!("the namespace still holds the endpoints {}", endpoints.join(", "));
        return Err(Refusal::Error(Error::new(HResult::ENTITY_HAS_REFERENCES, message)));
    }
    let containers: Vec<String> = namespace
        .resources
        .iter()
        .filter_map(|resource| match resource {
            Resource::Container(id) => Some(text::shown(id)),
            Resource::Endpoint(_) => None,
        })
        .collect();
    if !containers.is_empty() {
        let message = format!("the namespace still holds the containers {}", containers.join(", "));
        return Err(Refusal::Error(Error::new(HResult::REQUEST_UNSUPPORTED, message)));
    }
    let before = Entity::Namespace(Arc::clone(namespace));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    decision.after.push(event("delete", Some(NotificationType::NamespaceDelete), &before));
    decision.change.delete(before);
    Ok(decision)
}
