//! All records as a text, and back: what is asked of the service, and what the task that owns the state does about it.

use std::sync::Arc;

use hcn_core::Entity;
use hcn_ipc::{Caller, Later, params};
use hcn_schema::{Error, HResult, Result};
use hcn_store::{Backup, BackupError, Store, replace_damaged};
use tokio::sync::{oneshot, watch};

use super::{Message, Owner, Service};
use crate::state::Fault;

/// The target of the lines that say who changed what.
const AUDIT: &str = "audit";

/// Records that are to be in the place of all others.
pub(super) struct Restoring {
    backup: Arc<Backup>,
    reply: oneshot::Sender<Result<()>>,
}

impl Service {
    pub(super) fn backup_of_now(&self) -> Result<params::Backup> {
        if let Some(fault) = &self.fault {
            return Err(fault.error());
        }
        // What is being made is not among them: nobody has heard that it is there.
        let entities = self.published().entities().collect();
        Ok(params::Backup { text: Backup { era: self.era.clone(), entities }.encode() })
    }

    pub(super) fn restore_from(&self, caller: &Caller, text: &str) -> Later<Result<params::Restored>> {
        let (uid, pid) = (caller.uid, caller.pid);
        let decoded = Backup::decode(text).map_err(|error| refused(&error));
        let inbox = self.inbox.clone();
        Box::pin(async move {
            let backup = Arc::new(decoded?);
            let records = backup.entities.len() as u64;
            let (reply, answer) = oneshot::channel();
            let stopped = || Error::new(HResult::MANAGER_STOPPED, "the service is stopping");
            inbox.send(Message::Restore(Restoring { backup, reply })).map_err(|_| stopped())?;
            answer.await.map_err(|_| stopped())??;
            tracing::info!(target: AUDIT, uid, pid, verb = "Restore", kind = "Service", records, "restored");
            Ok(params::Restored { records })
        })
    }

    /// Becomes true when the service is to be started again, with other records.
    pub fn again(&self) -> watch::Receiver<bool> {
        self.again.clone()
    }
}

fn refused(error: &BackupError) -> Error {
    let code = match error {
        BackupError::Newer { .. } => HResult::NOT_SUPPORTED,
        _ => HResult::INVALID_DATA,
    };
    Error::new(code, format!("the backup cannot be used, and nothing was changed: {error}"))
        .at("text")
        .expected("what io.hcn.Service.Backup answers")
}

impl Owner {
    /// Whether changes are decided at all.
    pub(super) fn accepts(&self) -> Result<()> {
        match (&self.fault, &self.restoring) {
            (Some(fault), _) => Err(fault.error()),
            (None, Some(_)) => Err(Error::new(HResult::MANAGER_STOPPED, "a backup is being restored")),
            (None, None) => Ok(()),
        }
    }

    /// Restores a backup as soon as nothing is under way.
    pub(super) fn begin_to_restore(&mut self, asked: Restoring, stopping: bool) {
        let error = match (stopping, &self.restoring) {
            (true, _) => "the service is stopping",
            (false, Some(_)) => "another backup is being restored",
            (false, None) => {
                self.restoring = Some(asked);
                return;
            }
        };
        // A caller that is gone wants no answer.
        let _ = asked.reply.send(Err(Error::new(HResult::MANAGER_STOPPED, error)));
    }

    /// Puts the records of a backup that waits in the place of all others. From then on the service only ends: the next one
    /// takes over the kernel with them, as after any start.
    pub(super) async fn is_restored(&mut self) -> bool {
        let Some(Restoring { backup, reply }) = self.restoring.take() else { return false };
        let (store, fault) = (self.store.clone(), self.fault.clone());
        let before = (self.engine.working().entities().collect::<Vec<_>>(), self.era.clone());
        let written = tokio::task::spawn_blocking(move || match (store, fault) {
            (Some(store), _) => replace(&store, &backup, &before.0, &before.1),
            (None, Some(fault)) => replace_file(&fault, &backup),
            (None, None) => Ok(()),
        });
        let outcome = written.await.unwrap_or_else(|error| {
            Err(Error::new(HResult::GENERAL_FAILURE, format!("cannot write the records: {error}")))
        });
        let restored = outcome.is_ok();
        // A caller that is gone wants no answer.
        let _ = reply.send(outcome);
        if restored {
            self.restart.send_replace(true);
        }
        restored
    }
}

fn replace(store: &Store, backup: &Backup, before: &[Entity], era: &hcn_store::Era) -> Result<()> {
    let Err(error) = store.replace_all(&backup.entities, &backup.era) else { return Ok(()) };
    // It may be in the file nevertheless.
    if let Err(error) = store.replace_all(before, era) {
        tracing::error!(%error, "a backup that could not be restored may be in the file");
    }
    Err(Error::new(error.code(), format!("the backup is not restored: {error}")))
}

fn replace_file(fault: &Fault, backup: &Backup) -> Result<()> {
    match replace_damaged(&fault.path, backup) {
        Ok(aside) => {
            let (store, aside) = (fault.path.display(), aside.display());
            tracing::warn!(%store, %aside, "a backup is in the place of the damaged state, which is kept aside");
            Ok(())
        }
        Err(error) => {
            Err(Error::new(HResult::GENERAL_FAILURE, format!("the backup is not restored: {error}")))
        }
    }
}
