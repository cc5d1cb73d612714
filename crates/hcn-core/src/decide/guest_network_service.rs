//! Decisions on guest network services: records with a state, which hcnd keeps for whoever talks to the guest.

use std::sync::Arc;

use hcn_schema::call::{Answer, Kind, Reference};
use hcn_schema::enums::{
    Enumeration, GuestNetworkServiceInterfaceState, GuestNetworkServiceResourceType,
    GuestNetworkServiceState, ModifyRequestType, OneOf,
};
use hcn_schema::guest_network_service::GuestNetworkService as Document;
use hcn_schema::modify::{GuestNetworkServiceStateRequest, ModifyRequest};
use hcn_schema::notification::NotificationType;
use hcn_schema::{Error, Guid, HResult, Raw, Result};

use super::{Decision, Outcome, Refusal, View, event, policies, request};
use crate::entity::{Change, Entity, GuestNetworkService, Meta};
use crate::text;

pub(super) fn create(view: &View<'_>, id: Option<Guid>, given: Option<&str>) -> Outcome<Decision> {
    // There is no version 1 form of it, so the version does not matter.
    let mut document: Document = hcn_schema::parse(super::text(given)?)?;
    text::check_free(document.name.as_deref(), "Name")?;
    text::check_free(document.owner.as_deref(), "Owner")?;
    let machine = document.virtual_machine_id.as_deref();
    let machine =
        machine.map(|id| text::guid(id, "VirtualMachineId")).transpose()?.filter(|id| !id.is_zero());
    let in_document = document.id.clone().or_else(|| machine.map(|id| id.to_string()));
    // Clients pass the machine's ID as the service's.
    let id = view.new_id(id, in_document.as_deref())?;
    view.settled(Kind::GuestNetworkService, id)?;
    if view.registry.guest_network_services.get(id).is_some() {
        let message = format!("there is a guest network service with the ID {id}");
        return Err(Refusal::Error(Error::new(HResult::OBJECT_ALREADY_EXISTS, message).at("ID")));
    }
    check(&mut document)?;
    document.id = None;
    document.version = None;
    document.health = None;
    document.schema_version = None;
    document.state = None;
    let state = GuestNetworkServiceState::Created;
    let service = GuestNetworkService { meta: view.new_meta(id), document, state };
    let answer = Answer::Entity { id, incarnation: service.meta.incarnation };
    let entity = Entity::GuestNetworkService(Arc::new(service));
    let mut change = Change::default();
    change.create(entity.clone());
    let mut decision = Decision::new(change, answer);
    decision.after.push(event("create", Some(NotificationType::GuestNetworkServiceCreate), &entity));
    Ok(decision)
}

/// Checks the GUIDs of a document, and writes them as all are written.
fn check(document: &mut Document) -> Result<()> {
    let canonical = |id: &mut Option<String>, path: &str| -> Result<()> {
        if let Some(given) = id {
            *given = text::guid(given, path)?.to_string();
        }
        Ok(())
    };
    canonical(&mut document.virtual_machine_id, "VirtualMachineId")?;
    for (index, interface) in document.mirrored_interfaces.iter_mut().enumerate() {
        let path = |member: &str| format!("MirroredInterfaces[{index}].{member}");
        canonical(&mut interface.endpoint_id, &path("EndpointId"))?;
        canonical(&mut interface.interface_guid, &path("InterfaceGuid"))?;
    }
    if let Some(server) = &mut document.gns_rpc_server_information {
        canonical(&mut server.object_uuid, "GnsRpcServerInformation.ObjectUuid")?;
    }
    Ok(())
}

pub(super) fn modify(view: &View<'_>, target: Reference, given: Option<&str>) -> Outcome<Decision> {
    let service = Arc::clone(view.guest_network_service(target)?);
    let request: ModifyRequest<GuestNetworkServiceResourceType> = hcn_schema::parse(request(given)?)?;
    let (resource, kind) = request.target()?;
    if kind != ModifyRequestType::Update {
        return Err(Refusal::Error(policies::unsupported(resource.name(), kind)));
    }
    let settings: GuestNetworkServiceStateRequest = request.settings()?;
    let state = match settings.state {
        Some(OneOf::Known(state)) => state,
        given => {
            let message = match given {
                Some(OneOf::Unknown(text)) => format!("there is no state {}", text::shown(&text)),
                _ => "the request names no state".to_owned(),
            };
            let error = Error::new(HResult::INVALID_ARGUMENT, message);
            return Err(Refusal::Error(
                error.at("Settings.State").expected(GuestNetworkServiceState::names()),
            ));
        }
    };
    let meta = Meta::next(&service.meta, view.context.filetime);
    let mut after = GuestNetworkService { meta, state, ..GuestNetworkService::clone(&service) };
    let moved = move_interfaces(&mut after.document, state);
    // GuestNetworkServiceNotificationData, with its list even where that is empty.
    let interfaces = &after.document.mirrored_interfaces;
    let data = Raw::of(&serde_json::json!({"State": state.name(), "Interfaces": interfaces}));
    let after = Entity::GuestNetworkService(Arc::new(after));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    let mut notifications = vec![NotificationType::GuestNetworkServiceStateChanged];
    notifications.extend(moved.then_some(NotificationType::GuestNetworkServiceInterfaceStateChanged));
    for notification in notifications {
        let mut notice = event("state-change", Some(notification), &after);
        notice.data = super::notification(&after, Some(data.clone()));
        decision.after.push(notice);
    }
    decision.change.replace(Entity::GuestNetworkService(service), after);
    Ok(decision)
}

/// The interfaces that the guest mirrors go the way of the service, as far as they know its state; answers whether one
/// moved.
fn move_interfaces(document: &mut Document, state: GuestNetworkServiceState) -> bool {
    let Some(state) = GuestNetworkServiceInterfaceState::find(state.name()) else { return false };
    let mut moved = false;
    for interface in &mut document.mirrored_interfaces {
        moved |= interface.state != Some(OneOf::Known(state));
        interface.state = Some(OneOf::Known(state));
    }
    moved
}

/// Deletes a service with the ports that were reserved through it.
pub(super) fn delete(view: &View<'_>, id: Guid) -> Outcome<Decision> {
    let service = view.guest_network_service(Reference { id, incarnation: None })?;
    let before = Entity::GuestNetworkService(Arc::clone(service));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    for reservation in view.registry.port_reservations.iter().filter(|reservation| reservation.service == id)
    {
        let reservation = view.port_reservation(Reference { id: reservation.meta.id, incarnation: None })?;
        let gone = Entity::PortReservation(Arc::clone(reservation));
        decision.after.push(event("delete", None, &gone));
        decision.change.delete(gone);
    }
    decision.after.push(event("delete", Some(NotificationType::GuestNetworkServiceDelete), &before));
    decision.change.delete(before);
    Ok(decision)
}
