//! The task that owns the state: it feeds the engine and does what the engine says.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hcn_core::{
    Action, CallId, Context, Engine, Job, Registry, Settings, compile, named_links, named_netns, needs_host,
};
use hcn_dataplane::{HostFacts, Kernel, State};
use hcn_ipc::{Caller, Hub};
use hcn_schema::call::{Answer, Call, Kind, Verb};
use hcn_schema::hns::HnsVersion;
use hcn_schema::{Error, Guid, HResult, Result};
use hcn_store::{Era, Store};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::restore::Restoring;
use super::{Message, job};
use crate::drift::Looking;
use crate::metrics::Metrics;
use crate::state::Fault;
use crate::status::Probe;
use crate::worker::{Stopped, Worker};

/// Seconds from 1601-01-01 (FILETIME) to 1970-01-01 (Unix).
const FILETIME_EPOCH: u64 = 11_644_473_600;

/// How long the host is looked at before a call is decided with what was seen before.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Owner {
    pub(super) engine: Engine,
    pub(super) published: Arc<RwLock<Registry>>,
    /// Weak: the task ends when the last [`Service`] is gone.
    pub(super) inbox: mpsc::WeakUnboundedSender<Message>,
    pub(super) worker: Worker,
    /// Where the records are kept; none where the file is damaged, and nothing is changed.
    pub(super) store: Option<Store>,
    pub(super) fault: Option<Arc<Fault>>,
    pub(super) era: Era,
    /// Says that the service is to be started again.
    pub(super) restart: watch::Sender<bool>,
    /// A backup that waits for what is under way.
    pub(super) restoring: Option<Restoring>,
    pub(super) hub: Hub,
    pub(super) metrics: Arc<Metrics>,
    pub(super) replies: HashMap<CallId, oneshot::Sender<Result<Answer>>>,
    pub(super) last_call: CallId,
    pub(super) started: Instant,
    pub(super) host: Arc<HostFacts>,
    /// A look that took too long; until it is done there is no other.
    pub(super) late: Option<AbortHandle>,
    /// What the kernel has, once it is known.
    pub(super) kernel: Option<Kernel>,
    pub(super) settings: Arc<Settings>,
    pub(super) probe: Probe,
    pub(super) looking: Looking,
    /// Who has asked for a look, and who waits for the one that is under way.
    pub(super) asked: Vec<oneshot::Sender<Vec<String>>>,
    pub(super) waiting: Vec<oneshot::Sender<Vec<String>>>,
}

impl Owner {
    pub(super) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut stopping: Option<oneshot::Sender<()>> = None;
        loop {
            if self.engine.is_idle() && (stopping.is_some() || self.is_restored().await) {
                return;
            }
            let due = self.next_tick();
            let next_tick = due.map(|due| due.saturating_sub(self.now()));
            let actions = tokio::select! {
                message = messages.recv() => match message {
                    None => return,
                    Some(Message::Call { reply, .. }) if stopping.is_some() || self.accepts().is_err() => {
                        let stopped = || Error::new(HResult::MANAGER_STOPPED, "the service is stopping");
                        // A caller that is gone wants no answer.
                        let _ = reply.send(Err(self.accepts().err().unwrap_or_else(stopped)));
                        continue;
                    }
                    Some(Message::Call { caller, call, reply }) => self.submit(&caller, call, reply).await,
                    Some(Message::Finished { ticket, result }) => self.engine.finish(ticket, result, self.now()),
                    Some(Message::Notice(notice)) => {
                        self.looking.note(notice, self.now());
                        continue;
                    }
                    Some(Message::Looked(outcome)) => self.looked(outcome),
                    Some(Message::Look { asked }) => {
                        self.look_for(asked);
                        continue;
                    }
                    Some(Message::Echo { done }) => {
                        // Whoever asked may have given up.
                        let _ = done.send(());
                        continue;
                    }
                    Some(Message::Restore(asked)) => {
                        self.begin_to_restore(asked, stopping.is_some());
                        continue;
                    }
                    Some(Message::Stop { done }) => {
                        stopping = Some(done);
                        continue;
                    }
                },
                () = tokio::time::sleep(next_tick.unwrap_or_default()), if next_tick.is_some() => {
                    self.look();
                    self.engine.tick(self.now())
                }
            };
            self.perform(actions);
            self.metrics.set_repairs(self.engine.repairs());
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// When there is something to do by itself.
    fn next_tick(&self) -> Option<Duration> {
        self.accepts().ok()?;
        self.engine.next_tick().into_iter().chain(self.looking.next()).min()
    }

    async fn submit(
        &mut self,
        caller: &Caller,
        call: Call,
        reply: oneshot::Sender<Result<Answer>>,
    ) -> Vec<Action> {
        if needs_host(&call) || self.host.links.is_empty() {
            let (worker, links) = (self.worker.clone(), named_links(&call, &self.settings));
            match self.ask(async move { worker.host(links).await }).await {
                Some(Ok(facts)) => self.host = Arc::new(facts),
                // The facts from before are better than none.
                Some(Err(error)) => tracing::warn!(%error, "cannot look at the host"),
                None => {}
            }
        }
        self.look_at_kernel().await;
        self.look_at_netns(caller, &call).await;
        self.last_call += 1;
        self.replies.insert(self.last_call, reply);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let filetime = (since_1970 + Duration::from_secs(FILETIME_EPOCH)).as_nanos() / 100;
        let context = Context {
            now: self.now(),
            filetime: u64::try_from(filetime).unwrap_or(u64::MAX),
            fresh_id: Uuid::new_v4().into(),
            host: Arc::clone(&self.host),
            caller_uid: caller.uid,
            caller_pid: caller.pid,
            settings: Arc::clone(&self.settings),
            hns: caller.hns,
        };
        self.engine.submit(self.last_call, call, context)
    }

    /// Asks the data plane, which may be busy for long with what somebody else wants: others are not to wait for it.
    async fn ask<T: Send + 'static>(
        &mut self,
        question: impl Future<Output = std::result::Result<T, Stopped>> + Send + 'static,
    ) -> Option<T> {
        if self.late.as_ref().is_some_and(|late| !late.is_finished()) {
            return None;
        }
        let mut asked = tokio::spawn(question);
        match tokio::time::timeout(LOOK, &mut asked).await {
            Ok(Ok(Ok(answer))) => Some(answer),
            Ok(_) => {
                tracing::error!("the data plane has stopped");
                None
            }
            Err(_) => {
                tracing::warn!("the data plane does not answer");
                self.late = Some(asked.abort_handle());
                None
            }
        }
    }

    /// Notes what the kernel has. It is known some milliseconds after the start, and does not change.
    async fn look_at_kernel(&mut self) {
        let kernel = match self.kernel {
            Some(known) => known,
            None => *self.kernel.insert(self.probe.kernel().await),
        };
        if self.host.kernel != kernel {
            Arc::make_mut(&mut self.host).kernel = kernel;
        }
    }

    /// Looks at the network namespace that a call is about, where somebody else made it.
    async fn look_at_netns(&mut self, caller: &Caller, call: &Call) {
        let place = named_netns(self.engine.working(), call, caller.pid);
        if place.is_none() && self.host.netns.is_none() {
            return;
        }
        let netns = match place {
            Some(place) => {
                let worker = self.worker.clone();
                self.ask(async move { worker.netns(place).await }).await
            }
            None => None,
        };
        self.host = Arc::new(HostFacts { netns, ..HostFacts::clone(&self.host) });
    }

    pub(super) fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Announce(event) => {
                    tracing::info!(kind = %event.kind, id = %event.id, revision = event.revision, "{}", event.action);
                    if event.action == "repair" {
                        self.metrics.repaired();
                    }
                    self.hub.publish(&event);
                }
                Action::Start(job) => self.start(job),
                Action::Publish(change) => {
                    self.published.write().unwrap_or_else(PoisonError::into_inner).apply(&change);
                }
                Action::Reply(call, result) => {
                    if let Some(reply) = self.replies.remove(&call) {
                        // A caller that is gone wants no answer.
                        let _ = reply.send(result);
                    }
                }
            }
        }
    }

    fn start(&self, job: Job) {
        let (worker, metrics) = (self.worker.clone(), Arc::clone(&self.metrics));
        // Without a store nothing is decided, so there are no jobs.
        let (Some(inbox), Some(store)) = (self.inbox.upgrade(), self.store.clone()) else { return };
        tokio::spawn(async move {
            let ticket = job.ticket;
            let has_plan = !job.plan.is_empty();
            let result = job::carry_out(&worker, &store, job).await;
            if has_plan {
                metrics.applied(result.is_ok());
            }
            // The owner outlives its jobs, except when the daemon ends.
            let _ = inbox.send(Message::Finished { ticket, result });
        });
    }

    /// Takes over what is there of what the records mean, and starts making the rest.
    pub(super) async fn adopt(&mut self) {
        let wanted = compile::all(self.engine.working());
        let found = match self.worker.adopt(wanted).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot see what an earlier run left; everything is made anew");
                State::new()
            }
            Err(error) => return tracing::error!(%error, "cannot see what an earlier run left"),
        };
        let actions = self.engine.reconcile(&found);
        let entities = self.engine.working().entities().count();
        tracing::info!(entities, found = found.len(), repairs = actions.len(), "took over what was there");
        self.perform(actions);
        self.metrics.set_repairs(self.engine.repairs());
        self.release_reservations().await;
    }

    /// Ports that were reserved belonged to clients, whose connections are gone.
    async fn release_reservations(&mut self) {
        let working = self.engine.working();
        let groups = Arc::new([]);
        let hcnd = Caller { uid: 0, gid: 0, groups, pid: None, hns: HnsVersion::default() };
        let ids: Vec<Guid> =
            working.port_reservations.iter().map(|reservation| reservation.meta.id).collect();
        for id in ids {
            let call = Call { kind: Kind::PortReservation, verb: Verb::Delete { id } };
            let actions = self.submit(&hcnd, call, oneshot::channel().0).await;
            self.perform(actions);
        }
    }
}
