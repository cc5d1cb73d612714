//! One job: the kernel is changed and, beside it, the records.

use hcn_core::{Failure, Job, Ticket};
use hcn_dataplane::{Applied, Object, Op, Plan};
use hcn_schema::HResult;
use hcn_store::Store;

use crate::worker::{Stopped, Worker};

/// What must be durable before it is done, and done before it is forgotten: what would cut the host off if nobody knew
/// how to take it back.
fn is_delicate(op: &Op) -> bool {
    matches!(op.object(), Object::Enslaved(_))
}

/// Changes the kernel and, beside it, makes the change durable. Both must succeed; if one fails the other is taken
/// back.
pub(super) async fn carry_out(worker: &Worker, store: &Store, job: Job) -> Result<(), Failure> {
    let Job { ticket, plan, change } = job;
    tracing::debug!(ticket, %plan, "apply");
    let delicate = |op: &&Op| is_delicate(op);
    let (applied, committed) = match plan.ops.iter().find(delicate) {
        None => tokio::join!(apply(worker, ticket, plan), store.commit(&change)),
        Some(Op::Remove { .. }) => {
            let applied = apply(worker, ticket, plan).await?;
            (Ok(applied), store.commit(&change).await)
        }
        Some(_) => {
            if let Err(error) = store.commit(&change).await {
                return Err(Failure { message: error.to_string(), left: None, code: Some(error.code()) });
            }
            (apply(worker, ticket, plan).await, Ok(()))
        }
    };
    match (applied, committed) {
        (Ok(applied), Ok(())) => {
            settle(worker, applied).await;
            Ok(())
        }
        (Ok(applied), Err(error)) => {
            tracing::error!(ticket, %error, "a change cannot be made durable and is taken back");
            let left = take_back(worker, ticket, applied).await;
            Err(Failure { message: error.to_string(), left, code: Some(error.code()) })
        }
        (Err(failure), Ok(())) => {
            if let Err(error) = store.commit(&change.inverse()).await {
                tracing::error!(ticket, %error, "the store holds a change that failed; a restart will try it again");
            }
            Err(failure)
        }
        (Err(failure), Err(_)) => Err(failure),
    }
}

/// What the data plane did; nothing if there was nothing to do.
type Done = Option<Applied>;

async fn apply(worker: &Worker, ticket: Ticket, plan: Plan) -> Result<Done, Failure> {
    if plan.is_empty() {
        return Ok(None);
    }
    match worker.apply(plan).await {
        Ok(Ok(applied)) => Ok(Some(applied)),
        Ok(Err(error)) => {
            let mut message = format!("{error}: {}", error.source);
            if let Some(undo) = &error.undo {
                tracing::error!(ticket, error = %message, %undo, "a change failed and is not wholly undone");
                message = format!("{message}; {undo}");
            } else {
                tracing::warn!(ticket, error = %message, "a change failed and was undone");
            }
            Err(Failure {
                message,
                left: error.undo.map(|undo| undo.left),
                code: code_of(error.source.errno),
            })
        }
        Err(Stopped) => Err(Failure { message: Stopped.to_string(), left: None, code: None }),
    }
}

async fn settle(worker: &Worker, done: Done) {
    let Some(applied) = done.filter(Applied::holds_removals) else { return };
    // What others can want at once must be free when the caller hears that it is gone; links can wait.
    let frees_port = |op: &Op| matches!(op, Op::Remove { object: Object::HeldPort(_), .. });
    let wanted_at_once = applied.plan.ops.iter().any(frees_port);
    let settled = worker.settle(applied);
    if wanted_at_once {
        // Nobody is left to settle if the thread has ended.
        let _ = settled.await;
    }
}

/// Takes the data plane's work back; answers what is left over.
async fn take_back(worker: &Worker, ticket: Ticket, done: Done) -> Option<Plan> {
    match worker.undo(done?).await {
        Ok(Ok(())) => None,
        Ok(Err(undo)) => {
            tracing::error!(ticket, %undo, "a change is not wholly undone");
            Some(undo.left)
        }
        Err(error) => {
            tracing::error!(ticket, %error, "a change is not undone");
            None
        }
    }
}

/// The code of a refusal by the kernel that says more than what was being done.
fn code_of(errno: Option<i32>) -> Option<HResult> {
    match nix::errno::Errno::from_raw(errno?) {
        nix::errno::Errno::EADDRINUSE => Some(HResult::PORT_ALREADY_EXISTS),
        nix::errno::Errno::EPROTONOSUPPORT | nix::errno::Errno::EOPNOTSUPP => {
            Some(HResult::REQUEST_UNSUPPORTED)
        }
        nix::errno::Errno::ETIMEDOUT => Some(HResult::TIMEOUT),
        _ => None,
    }
}
