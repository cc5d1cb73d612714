//! What ends with a handle? The port reservation that its client made: it is deleted when the handle is closed, when the
//! session ends, and when there is nobody any more to give the handle to.

use std::fmt;
use std::sync::Arc;

use hcn_schema::call::{Answer, Call, Kind, Reference, Verb as Asked};
use hcn_schema::{Error, Guid, HResult, Result};
use tokio::runtime::Handle;
use tracing::warn;

use crate::account::{Account, Subject};
use crate::interfaces::Verb;
use crate::pipeline::Gauge;
use crate::{Caller, Service};

/// Whether an entity of this kind lasts only as long as the handle of whoever made it.
pub(crate) fn ends_with_its_handle(kind: Kind) -> bool {
    kind == Kind::PortReservation
}

/// An entity that ends with a handle: it is deleted when this is dropped.
pub(crate) struct Owned(Option<Entity>);

/// Who owns which entity, and how it is deleted.
struct Entity {
    service: Arc<dyn Service>,
    gauge: Arc<Gauge>,
    caller: Caller,
    connection: u64,
    kind: Kind,
    id: Guid,
    incarnation: u64,
}

impl Owned {
    /// Takes what a call made.
    pub(crate) fn new(
        service: &Arc<dyn Service>,
        gauge: &Arc<Gauge>,
        made_by: &Account,
        kind: Kind,
        (id, incarnation): (Guid, u64),
    ) -> Self {
        Self(Some(Entity {
            service: Arc::clone(service),
            gauge: Arc::clone(gauge),
            caller: made_by.caller().clone(),
            connection: made_by.connection(),
            kind,
            id,
            incarnation,
        }))
    }

    /// Deletes it now.
    ///
    /// # Errors
    /// The service's, and it is still owned.
    pub(crate) async fn release(mut self) -> std::result::Result<(), (Error, Self)> {
        let Some(entity) = self.0.take() else { return Ok(()) };
        match entity.delete().await {
            Ok(()) => Ok(()),
            Err(error) => Err((error, Self(Some(entity)))),
        }
    }

    /// What it is, as a handle is bound to it.
    pub(crate) fn bound_to(&self) -> Option<(Kind, Reference)> {
        let Entity { kind, id, incarnation, .. } = self.0.as_ref()?;
        Some((*kind, Reference { id: *id, incarnation: Some(*incarnation) }))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let Some(entity) = self.0.take() else { return };
        // Without a runtime the daemon has ended; the next one knows that nobody owns it any more.
        let Ok(runtime) = Handle::try_current() else { return };
        let entered = entity.gauge.enter();
        runtime.spawn(async move {
            if let Err(error) = entity.delete().await {
                warn!(kind = %entity.kind, id = %entity.id, %error, "cannot delete what a client has left");
            }
            drop(entered);
        });
    }
}

impl Entity {
    async fn delete(&self) -> Result<()> {
        let Self { kind, id, .. } = *self;
        // Whoever deleted it may have made another one under its ID.
        match self.call(Asked::Open { id }).await {
            Ok(Answer::Entity { incarnation, .. }) if incarnation == self.incarnation => {}
            Err(error) if error.code != HResult::NOT_FOUND => return Err(error),
            _ => return Ok(()),
        }
        let (service, caller) = (Arc::clone(&self.service), self.caller.clone());
        let mut account =
            Account::open(service, caller, self.connection, Subject::entity(kind, Verb::Delete));
        account.begin(Some(id));
        let result = self.call(Asked::Delete { id }).await;
        account.close(result.as_ref().map(|_| None));
        match result {
            // Somebody else was quicker.
            Err(error) if error.code != HResult::NOT_FOUND => Err(error),
            _ => Ok(()),
        }
    }

    async fn call(&self, verb: Asked) -> Result<Answer> {
        self.service.call(&self.caller, Call { kind: self.kind, verb }).await
    }
}

impl fmt::Debug for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owned").field(&self.bound_to()).finish()
    }
}
