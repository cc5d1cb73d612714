//! Looking at what others changed: the steps between word of a change and the repairs that follow.

use hcn_core::{Action, compile};
use hcn_dataplane::{Notice, Op, OpError};
use tokio::sync::oneshot;

use super::{Message, Owner};
use crate::drift::{Outcome, Step};
use crate::worker::Stopped;

impl Owner {
    /// Hears of what others change, from now on.
    pub(super) async fn watch(&self) {
        let inbox = self.inbox.clone();
        let notify = Box::new(move |notice| {
            if let Some(inbox) = inbox.upgrade() {
                // The owner has ended: nothing is to be repaired any more.
                let _ = inbox.send(Message::Notice(notice));
            }
        });
        if let Err(error) = flat(self.worker.watch(notify).await) {
            tracing::error!(error, "what others change is not noticed");
        }
    }

    /// Begins to look at what others changed, if it is time.
    pub(super) fn look(&mut self) {
        let now = self.now();
        if let Some(notice) = self.engine.take_due_look(now) {
            self.looking.note(notice, now);
        }
        match self.looking.begin(now, self.engine.is_idle()) {
            None => {}
            Some(Step::Resolve(notice)) => {
                if notice.lost {
                    self.waiting.append(&mut self.asked);
                }
                let scope = self.worker.clone();
                self.report(async move { Outcome::Resolved(scope.scope(notice).await.ok().flatten()) });
            }
            Some(Step::Rules) => {
                let restored = self.worker.restore_rules(compile::all(self.engine.working()));
                self.report(async move {
                    let restored = flat(restored.await).unwrap_or_else(|error| {
                        tracing::error!(error, "cannot restore rules");
                        false
                    });
                    Outcome::Rules { restored }
                });
            }
        }
    }

    pub(super) fn looked(&mut self, outcome: Outcome) -> Vec<Action> {
        match outcome {
            Outcome::Resolved(Some(scope)) => {
                tracing::debug!(?scope, "looking for changes of others");
                let wanted = self.engine.expected(&scope, self.now());
                let found = self.worker.look(wanted, scope);
                self.report(async move {
                    let found = flat(found.await).inspect_err(|error| {
                        tracing::warn!(error, "cannot look for changes of others");
                    });
                    Outcome::Seen(found.ok())
                });
                return Vec::new();
            }
            Outcome::Rules { restored } => {
                if restored {
                    tracing::warn!("restored rules that another program took away");
                    self.metrics.repaired();
                }
            }
            Outcome::Resolved(None) => {}
            Outcome::Seen(None) => self.engine.unseen(self.now()),
            Outcome::Seen(Some(found)) => {
                let actions = self.engine.looked(&found, self.now());
                let seen = differences(&actions);
                for asked in self.waiting.drain(..) {
                    // Whoever asked may have given up.
                    let _ = asked.send(seen.clone());
                }
                self.looking.end(self.now());
                return actions;
            }
        }
        // Whoever waits for a look hears that there was none.
        self.waiting.clear();
        self.looking.end(self.now());
        Vec::new()
    }

    /// Somebody wants to know how the kernel differs from the records.
    pub(super) fn look_for(&mut self, asked: oneshot::Sender<Vec<String>>) {
        if self.accepts().is_err() {
            // Nothing is known of what should be there: whoever asks hears that there was no look.
            return;
        }
        self.asked.push(asked);
        self.looking.note(Notice { lost: true, ..Notice::default() }, self.now());
    }

    /// Does a step of looking beside the rest.
    fn report(&self, step: impl Future<Output = Outcome> + Send + 'static) {
        let Some(inbox) = self.inbox.upgrade() else { return };
        tokio::spawn(async move {
            // The owner outlives it, except when the daemon ends.
            let _ = inbox.send(Message::Looked(step.await));
        });
    }
}

/// What the data plane answered, or why it did not.
fn flat<T>(answer: Result<Result<T, OpError>, Stopped>) -> Result<T, String> {
    answer.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// What repairs are begun for, in words.
fn differences(actions: &[Action]) -> Vec<String> {
    let jobs = actions.iter().filter_map(|action| match action {
        Action::Start(job) => Some(job),
        _ => None,
    });
    let mut words = Vec::new();
    for job in jobs {
        let of: Vec<String> = job.change.keys().map(|key| format!("{} {}", key.kind, key.id)).collect();
        words.extend(job.plan.ops.iter().map(|op| {
            let what = match op {
                Op::Create(_) => "is missing",
                Op::Change { .. } => "is not as it was made",
                Op::Remove { .. } => "is in the way",
            };
            format!("{} of the {} {what}", op.key(), of.join(", "))
        }));
    }
    words
}
