//! The task that owns the state: it feeds the engine and does what the engine says. Readers go past it, to
//! the published records.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hcn_core::{Action, CallId, Context, Engine, Failure, Job, Registry, Ticket, compile, read};
use hcn_dataplane::{HostFacts, State, diff};
use hcn_ipc::{Answered, Caller, Hub, Later, Pending, Usage, params};
use hcn_schema::call::{Answer, Call, Kind, Verb};
use hcn_schema::{Error, HResult, Result};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::status::{self, Probe};
use crate::worker::{Stopped, Worker};

/// Seconds from 1601-01-01 (FILETIME) to 1970-01-01 (Unix).
const FILETIME_EPOCH: u64 = 11_644_473_600;

enum Message {
    Call {
        caller_uid: u32,
        call: Call,
        reply: oneshot::Sender<Result<Answer>>,
    },
    Finished {
        ticket: Ticket,
        result: std::result::Result<(), Failure>,
    },
    /// Take down what the service made, then end.
    Stop {
        done: oneshot::Sender<()>,
    },
}

/// The way to the service; cheap to clone.
#[derive(Clone)]
pub struct Service {
    inbox: mpsc::UnboundedSender<Message>,
    published: Arc<RwLock<Registry>>,
    hub: Hub,
    metrics: Arc<Metrics>,
    probe: Probe,
    started: Instant,
}

impl Service {
    /// Starts the owner task on the current runtime.
    pub fn start(worker: Worker, hub: Hub) -> Self {
        let (inbox, messages) = mpsc::unbounded_channel();
        let published = Arc::new(RwLock::new(Registry::new()));
        let metrics = Arc::new(Metrics::default());
        let started = Instant::now();
        let owner = Owner {
            engine: Engine::new(),
            published: Arc::clone(&published),
            inbox: inbox.downgrade(),
            worker,
            hub: hub.clone(),
            metrics: Arc::clone(&metrics),
            replies: HashMap::new(),
            last_call: 0,
            started,
            host: Arc::default(),
        };
        tokio::spawn(owner.run(messages));
        Self { inbox, published, hub, metrics, probe: Probe::none(), started }
    }

    /// The same service, which can tell what the kernel has.
    #[must_use]
    pub fn with_probe(self, probe: Probe) -> Self {
        Self { probe, ..self }
    }

    fn published(&self) -> RwLockReadGuard<'_, Registry> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for calls under way, takes down what the service made, and ends it. State is in memory, so
    /// nobody would know of those objects afterwards.
    pub async fn stop(&self) {
        let (done, waiting) = oneshot::channel();
        if self.inbox.send(Message::Stop { done }).is_ok() {
            // An error means that the owner has ended already.
            let _ = waiting.await;
        }
    }
}

impl hcn_ipc::Service for Service {
    fn call(&self, caller: &Caller, call: Call) -> Pending {
        if !call.verb.is_change() {
            return Box::pin(ready(read::read(&self.published(), &call)));
        }
        tracing::debug!(kind = %call.kind, verb = call.verb.name(), uid = caller.uid, pid = caller.pid, "call");
        let (reply, answer) = oneshot::channel();
        let stopped = || Error::new(HResult::MANAGER_STOPPED, "the service is stopping");
        if self.inbox.send(Message::Call { caller_uid: caller.uid, call, reply }).is_err() {
            return Box::pin(ready(Err(stopped())));
        }
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(stopped())) })
    }

    fn status(&self) -> Later<params::Status> {
        Box::pin(status::status(self.started, status::count(&self.published()), self.probe.clone()))
    }

    fn metrics(&self, usage: Usage) -> Later<String> {
        let text = self.metrics.text(&self.published(), self.hub.counts(), usage);
        Box::pin(ready(text))
    }

    fn answered(&self, call: &Answered) {
        self.metrics.answered(call);
    }
}

struct Owner {
    engine: Engine,
    published: Arc<RwLock<Registry>>,
    /// Weak: the task ends when the last [`Service`] is gone.
    inbox: mpsc::WeakUnboundedSender<Message>,
    worker: Worker,
    hub: Hub,
    metrics: Arc<Metrics>,
    replies: HashMap<CallId, oneshot::Sender<Result<Answer>>>,
    last_call: CallId,
    started: Instant,
    host: Arc<HostFacts>,
}

impl Owner {
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut stopping: Option<oneshot::Sender<()>> = None;
        loop {
            if stopping.is_some() && self.engine.is_idle() {
                self.take_down().await;
                return;
            }
            let next_tick = self.engine.next_tick().map(|due| due.saturating_sub(self.now()));
            let actions = tokio::select! {
                message = messages.recv() => match message {
                    None => return,
                    Some(Message::Call { reply, .. }) if stopping.is_some() => {
                        // A caller that is gone wants no answer.
                        let _ = reply.send(Err(Error::new(HResult::MANAGER_STOPPED, "the service is stopping")));
                        continue;
                    }
                    Some(Message::Call { caller_uid, call, reply }) => {
                        self.submit(caller_uid, call, reply).await
                    }
                    Some(Message::Finished { ticket, result }) => self.engine.finish(ticket, result, self.now()),
                    Some(Message::Stop { done }) => {
                        stopping = Some(done);
                        continue;
                    }
                },
                () = tokio::time::sleep(next_tick.unwrap_or_default()), if next_tick.is_some() => {
                    self.engine.tick(self.now())
                }
            };
            self.perform(actions);
            self.metrics.set_repairs(self.engine.repairs());
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn submit(
        &mut self,
        caller_uid: u32,
        call: Call,
        reply: oneshot::Sender<Result<Answer>>,
    ) -> Vec<Action> {
        if needs_host(&call) {
            match self.worker.host().await {
                Ok(Ok(facts)) => self.host = Arc::new(facts),
                // The facts from before are better than none.
                Ok(Err(error)) => tracing::warn!(%error, "cannot look at the host"),
                Err(error) => tracing::error!(%error, "cannot look at the host"),
            }
        }
        self.last_call += 1;
        self.replies.insert(self.last_call, reply);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let filetime = (since_1970 + Duration::from_secs(FILETIME_EPOCH)).as_nanos() / 100;
        let context = Context {
            now: self.now(),
            filetime: u64::try_from(filetime).unwrap_or(u64::MAX),
            fresh_id: Uuid::new_v4().into(),
            host: Arc::clone(&self.host),
            caller_uid,
        };
        self.engine.submit(self.last_call, call, context)
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Announce(event) => {
                    tracing::info!(kind = %event.kind, id = %event.id, revision = event.revision, "{}", event.action);
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
        let Some(inbox) = self.inbox.upgrade() else { return };
        tokio::spawn(async move {
            let ticket = job.ticket;
            let has_plan = !job.plan.is_empty();
            let result = carry_out(&worker, job).await;
            if has_plan {
                metrics.applied(result.is_ok());
            }
            // The owner outlives its jobs, except when the daemon ends.
            let _ = inbox.send(Message::Finished { ticket, result });
        });
    }

    async fn take_down(&mut self) {
        let plan = diff(&compile::all(self.engine.working()), &State::new());
        if plan.is_empty() {
            return;
        }
        match self.worker.apply(plan).await {
            Ok(Ok(applied)) => self.worker.settle(applied),
            Ok(Err(error)) => {
                tracing::error!(%error, source = %error.source, "cannot take down what was made");
            }
            Err(error) => tracing::error!(%error, "cannot take down what was made"),
        }
    }
}

/// Whether a decision depends on addresses of the host.
fn needs_host(call: &Call) -> bool {
    call.kind == Kind::Network && matches!(call.verb, Verb::Create { .. } | Verb::Modify { .. })
}

/// Changes the kernel. This is also where the change is made durable, beside the data plane's work: the reply
/// waits for both, and if one fails the other is taken back.
async fn carry_out(worker: &Worker, job: Job) -> std::result::Result<(), Failure> {
    if job.plan.is_empty() {
        return Ok(());
    }
    tracing::debug!(ticket = job.ticket, plan = %job.plan, "apply");
    match worker.apply(job.plan).await {
        Ok(Ok(applied)) => {
            if applied.holds_removals() {
                worker.settle(applied);
            }
            Ok(())
        }
        Ok(Err(error)) => {
            let message = format!("{error}: {}", error.source);
            if let Some(undo) = &error.undo {
                tracing::error!(ticket = job.ticket, error = %message, %undo, "a change failed and is not wholly undone");
            } else {
                tracing::warn!(ticket = job.ticket, error = %message, "a change failed and was undone");
            }
            Err(Failure { message, left: error.undo.map(|undo| undo.left) })
        }
        Err(Stopped) => Err(Failure { message: Stopped.to_string(), left: None }),
    }
}
