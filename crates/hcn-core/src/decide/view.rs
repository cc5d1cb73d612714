//! What a decision looks at: records, whose turn it is, and what comes in with the call.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use hcn_dataplane::Mac;
use hcn_schema::call::{Kind, Reference};
use hcn_schema::{Error, Guid, HResult};

use super::{Context, Outcome, Refusal};
use crate::entity::{
    Endpoint, EntityKey, GuestNetworkService, LoadBalancer, Meta, Namespace, Network, PortReservation,
    SdnRoute,
};
use crate::registry::{Registry, Table};
use crate::turns::{CallId, Turns};

/// Where the search for the next free value goes on, per pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursors {
    /// By subnet.
    pub addresses: HashMap<Guid, IpAddr>,
    /// By network.
    pub macs: HashMap<Guid, Mac>,
    /// The port that was chosen last.
    pub port: Option<u16>,
}

impl Cursors {
    /// Goes on where these searches ended.
    pub(crate) fn advance(&mut self, by: Self) {
        self.addresses.extend(by.addresses);
        self.macs.extend(by.macs);
        self.port = by.port.or(self.port);
    }
}

/// What a decision looks at.
pub(crate) struct View<'a> {
    /// Records, reservations of pending calls included.
    pub registry: &'a Registry,
    /// Whose turn it is at an entity.
    pub turns: &'a Turns,
    /// The call that is being decided.
    pub call: CallId,
    /// The entities that it has turned out to need.
    pub needed: RefCell<Vec<EntityKey>>,
    /// Last results of the pools.
    pub cursors: &'a Cursors,
    /// Time, randomness, host.
    pub context: &'a Context,
    /// The incarnation of an entity that this call makes.
    pub next_incarnation: u64,
}

impl<'a> View<'a> {
    /// Waits for an entity that is being changed, or that a call which came earlier waits to change.
    pub(super) fn settled(&self, kind: Kind, id: Guid) -> Outcome<()> {
        self.all_settled(&[(kind, id)])
    }

    /// The same for several entities; the call has its turn at all of them, whichever it waits for.
    pub(super) fn all_settled(&self, entities: &[(Kind, Guid)]) -> Outcome<()> {
        let keys = entities.iter().map(|(kind, id)| EntityKey { kind: *kind, id: *id });
        self.needed.borrow_mut().extend(keys.clone());
        match keys.into_iter().find(|key| !self.turns.is_turn_of(self.call, key)) {
            Some(key) => Err(Refusal::Wait(key)),
            None => Ok(()),
        }
    }

    /// What a call is about, once it is its turn.
    fn target<T>(
        &self,
        kind: Kind,
        target: Reference,
        records: &'a Table<T>,
        meta: fn(&T) -> &Meta,
    ) -> Outcome<&'a Arc<T>> {
        self.settled(kind, target.id)?;
        let record = records.get(target.id).ok_or_else(|| missing(kind, target))?;
        check_target(kind, target, meta(record))?;
        Ok(record)
    }

    pub(super) fn network(&self, target: Reference) -> Outcome<&'a Arc<Network>> {
        self.target(Kind::Network, target, &self.registry.networks, |record| &record.meta)
    }

    pub(super) fn endpoint(&self, target: Reference) -> Outcome<&'a Arc<Endpoint>> {
        self.target(Kind::Endpoint, target, &self.registry.endpoints, |record| &record.meta)
    }

    pub(super) fn namespace(&self, target: Reference) -> Outcome<&'a Arc<Namespace>> {
        self.target(Kind::Namespace, target, &self.registry.namespaces, |record| &record.meta)
    }

    pub(super) fn load_balancer(&self, target: Reference) -> Outcome<&'a Arc<LoadBalancer>> {
        self.target(Kind::LoadBalancer, target, &self.registry.load_balancers, |record| &record.meta)
    }

    pub(super) fn sdn_route(&self, target: Reference) -> Outcome<&'a Arc<SdnRoute>> {
        self.target(Kind::SdnRoute, target, &self.registry.sdn_routes, |record| &record.meta)
    }

    pub(super) fn guest_network_service(&self, target: Reference) -> Outcome<&'a Arc<GuestNetworkService>> {
        self.target(Kind::GuestNetworkService, target, &self.registry.guest_network_services, |record| {
            &record.meta
        })
    }

    pub(super) fn port_reservation(&self, target: Reference) -> Outcome<&'a Arc<PortReservation>> {
        self.target(Kind::PortReservation, target, &self.registry.port_reservations, |record| &record.meta)
    }

    /// The ID of a new entity: the call's wins over the document's (B3), else a fresh one.
    pub(super) fn new_id(&self, given: Option<Guid>, document: Option<&str>) -> hcn_schema::Result<Guid> {
        let given = given.filter(|id| !id.is_zero());
        let in_document = document.map(|text| crate::text::guid(text, "ID")).transpose()?;
        Ok(given.or(in_document.filter(|id| !id.is_zero())).unwrap_or(self.context.fresh_id))
    }

    pub(super) fn new_meta(&self, id: Guid) -> Meta {
        Meta {
            id,
            incarnation: self.next_incarnation,
            revision: 1,
            updated: self.context.filetime,
            degraded: None,
            creator_uid: self.context.caller_uid,
        }
    }
}

/// The error for an entity that is not there (3.6), or whose handle outlived it (1.2).
pub(crate) fn missing(kind: Kind, target: Reference) -> Error {
    if target.incarnation.is_some() {
        // A client that modifies an endpoint whose network was deleted expects to hear of the endpoint.
        let code = match kind {
            Kind::Endpoint => HResult::ENDPOINT_NOT_FOUND,
            _ => HResult::OBJECT_USED_AFTER_UNLOAD,
        };
        return Error::new(code, format!("the {kind} {} of this handle was deleted", target.id));
    }
    let code = match kind {
        Kind::Network => HResult::NETWORK_NOT_FOUND,
        Kind::Endpoint => HResult::ENDPOINT_NOT_FOUND,
        _ => HResult::NOT_FOUND,
    };
    Error::new(code, format!("there is no {kind} {}", target.id))
}

/// Refuses a handle of an earlier incarnation, and changes of a degraded entity.
fn check_target(kind: Kind, target: Reference, meta: &Meta) -> Outcome<()> {
    check_incarnation(kind, target, meta)?;
    match meta.degraded {
        None => Ok(()),
        Some(code) => Err(Refusal::Error(Error::new(
            HResult::DEGRADED_OPERATION,
            format!("the {kind} {} is degraded ({code}); the service is repairing it", meta.id),
        ))),
    }
}

/// Refuses a handle of an earlier incarnation.
pub(crate) fn check_incarnation(kind: Kind, target: Reference, meta: &Meta) -> hcn_schema::Result<()> {
    match target.incarnation {
        Some(incarnation) if incarnation != meta.incarnation => Err(Error::new(
            HResult::OBJECT_USED_AFTER_UNLOAD,
            format!("the {kind} {} of this handle was deleted and made again", target.id),
        )),
        _ => Ok(()),
    }
}
