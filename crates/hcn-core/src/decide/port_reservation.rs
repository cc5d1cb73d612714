//! Decisions on port reservations (contract 1.4, 1.5).

use std::sync::Arc;

use hcn_dataplane::{Family, Frontend, Protocol};
use hcn_schema::call::{Answer, Kind, Reference};
use hcn_schema::port_reservation::PortReservationRequest;
use hcn_schema::{Error, Guid, HResult, Result};

use super::{Decision, Outcome, Refusal, View, event, ports};
use crate::entity::{Change, Entity, PortReservation};
use crate::{pools, text};

pub(super) fn create(view: &View<'_>, id: Option<Guid>, given: Option<&str>) -> Outcome<Decision> {
    let request: PortReservationRequest = hcn_schema::parse(super::text(given)?)?;
    let id = view.new_id(id, None)?;
    let path = "GuestNetworkService";
    let service = request.guest_network_service.as_deref().ok_or_else(|| {
        Error::new(HResult::INVALID_ARGUMENT, "the request names no guest network service")
            .at(path)
            .expected("a GUID")
    })?;
    let service = Reference { id: text::guid(service, path)?, incarnation: None };
    view.all_settled(&[(Kind::PortReservation, id), (Kind::GuestNetworkService, service.id)])?;
    let service =
        view.guest_network_service(service).map_err(|refusal| refusal.map(|error| error.at(path)))?;
    if view.registry.port_reservations.get(id).is_some() {
        let message = format!("there is a port reservation with the ID {id}");
        return Err(Refusal::Error(Error::new(HResult::OBJECT_ALREADY_EXISTS, message)));
    }
    let machine = service.document.virtual_machine_id.as_deref().and_then(|id| id.parse().ok());
    let (protocols, exclusive, first, last) =
        match (request.port.filter(|port| *port != 0), request.port_count) {
            (Some(port), None) => (protocols(request.protocol)?, exclusive(request.access)?, port, port),
            // Always for both protocols, and for nobody else (contract 1.4).
            (None, Some(count)) => {
                let (first, last) = range(view, count)?;
                (vec![Protocol::Tcp, Protocol::Udp], true, first, last)
            }
            _ => {
                let error =
                    Error::new(HResult::INVALID_ARGUMENT, "the request must name a port, or how many");
                return Err(Refusal::Error(error.at("Port").expected("Port from 1 to 65535, or PortCount")));
            }
        };
    let reservation = PortReservation {
        meta: view.new_meta(id),
        service: service.meta.id,
        machine: machine.unwrap_or(service.meta.id),
        protocols,
        exclusive,
        first,
        last,
    };
    if first == last {
        check_free(view, &reservation)?;
    }
    let answer = Answer::Entity { id, incarnation: reservation.meta.incarnation };
    let entity = Entity::PortReservation(Arc::new(reservation));
    let mut change = Change::default();
    change.create(entity.clone());
    let mut decision = Decision::new(change, answer);
    decision.after.push(event("create", None, &entity));
    Ok(decision)
}

fn protocols(given: Option<u8>) -> Result<Vec<Protocol>> {
    match given {
        Some(1) => Ok(vec![Protocol::Tcp]),
        Some(2) => Ok(vec![Protocol::Udp]),
        Some(3) => Ok(vec![Protocol::Tcp, Protocol::Udp]),
        _ => Err(Error::new(HResult::INVALID_ARGUMENT, "the protocol is missing or unknown")
            .at("Protocol")
            .expected("1 (TCP), 2 (UDP) or 3 (both)")),
    }
}

fn exclusive(given: Option<u8>) -> Result<bool> {
    match given {
        Some(1) => Ok(true),
        Some(2) => Ok(false),
        _ => Err(Error::new(HResult::INVALID_ARGUMENT, "the access is missing or unknown")
            .at("Access")
            .expected("1 (exclusive) or 2 (shared)")),
    }
}

/// Refuses a port that others have published or reserved, unless both share it.
fn check_free(view: &View<'_>, new: &PortReservation) -> Outcome<()> {
    let refuse = |by: &str| {
        let message = format!("port {} is reserved or published already by {by}", new.first);
        Err(Refusal::Error(
            Error::new(HResult::PORT_ALREADY_EXISTS, message).at("Port").expected("another port"),
        ))
    };
    for other in view.registry.port_reservations.iter() {
        let same = (other.first..=other.last).contains(&new.first)
            && other.protocols.iter().any(|protocol| new.protocols.contains(protocol));
        if same && (new.exclusive || other.exclusive) {
            view.settled(Kind::PortReservation, other.meta.id)?;
            return refuse(&format!("the port reservation {}", other.meta.id));
        }
    }
    for protocol in &new.protocols {
        for family in [Family::V4, Family::V6] {
            let frontend = Frontend { family, address: None, protocol: *protocol, port: new.first };
            ports::check_free(view, frontend, Entity::PortReservation(Arc::new(new.clone())).key())
                .map_err(|refusal| refusal.map(|error| error.at("Port")))?;
        }
    }
    Ok(())
}

/// `count` + 1 dynamic ports in a row that nobody has published or reserved (contract 10, question 11).
fn range(view: &View<'_>, count: u16) -> Result<(u16, u16)> {
    let registry = view.registry;
    let mut reserved = vec![false; usize::from(u16::MAX) + 1];
    for other in registry.port_reservations.iter() {
        reserved[usize::from(other.first)..=usize::from(other.last)].fill(true);
    }
    let is_published = |port: u16| {
        [Protocol::Tcp, Protocol::Udp].into_iter().any(|protocol| {
            [Family::V4, Family::V6].into_iter().any(|family| {
                let frontend = Frontend { family, address: None, protocol, port };
                registry.publisher_of(&frontend).or(view.turns.withdraws(&frontend)).is_some()
            })
        })
    };
    let is_taken = |port: u16| reserved[usize::from(port)] || is_published(port);
    pools::next_ports(count, is_taken).ok_or_else(|| {
        Error::new(
            HResult::PORT_ALREADY_EXISTS,
            format!("there are no {} free ports in a row", u32::from(count) + 1),
        )
        .at("PortCount")
        .expected("fewer ports")
    })
}

pub(super) fn modify(view: &View<'_>, target: Reference) -> Outcome<Decision> {
    view.port_reservation(target)?;
    Err(Refusal::Error(Error::new(HResult::REQUEST_UNSUPPORTED, "a port reservation cannot be modified")))
}

pub(super) fn delete(view: &View<'_>, id: Guid) -> Outcome<Decision> {
    let reservation = view.port_reservation(Reference { id, incarnation: None })?;
    let before = Entity::PortReservation(Arc::clone(reservation));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    decision.after.push(event("delete", None, &before));
    decision.change.delete(before);
    Ok(decision)
}
