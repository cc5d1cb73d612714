//! The task that owns the state: it feeds the engine and does what the engine says. Readers go past it, to
//! the published records.

mod job;
mod looks;
mod restore;

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hcn_core::{
    Action, CallId, Context, Engine, Failure, Job, Registry, Settings, Ticket, compile, named_links,
    named_netns, needs_host, read,
};
use hcn_dataplane::{Counters, HostFacts, Kernel, Notice, State};
use hcn_ipc::{Answered, Caller, Hub, Later, Pending, Usage, params};
use hcn_schema::call::{Answer, Call, HnsRequest, Kind, Reference, Verb};
use hcn_schema::hns::HnsVersion;
use hcn_schema::{Error, Guid, HResult, Raw, Result};
use hcn_store::{Era, Store};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::drift::{Looking, Outcome};
use crate::metrics::Metrics;
use crate::state::{Fault, Keeping, Restored};
use crate::status::{self, Probe, Start};
use crate::worker::{Stopped, Worker};
use crate::{doctor, hns};

use restore::Restoring;

/// Seconds from 1601-01-01 (FILETIME) to 1970-01-01 (Unix).
const FILETIME_EPOCH: u64 = 11_644_473_600;

/// How long the host is looked at before a call is decided with what was seen before.
const LOOK: Duration = Duration::from_secs(1);

/// How long the data plane has for a call. Calls that wait for others' turns fail before that.
const ANSWER: Duration = Duration::from_secs(32);

enum Message {
    Call {
        caller: Caller,
        call: Call,
        reply: oneshot::Sender<Result<Answer>>,
    },
    Finished {
        ticket: Ticket,
        result: std::result::Result<(), Failure>,
    },
    /// Others may have changed something.
    Notice(Notice),
    /// A step of looking is done.
    Looked(Outcome),
    /// Look at everything, and say what is found wrong.
    Look {
        asked: oneshot::Sender<Vec<String>>,
    },
    /// Answer, to show that messages are still read.
    Echo {
        done: oneshot::Sender<()>,
    },
    /// Finish what is under way, put the records of a backup in the place of all, then end.
    Restore(Restoring),
    /// Finish what is under way, then end.
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
    worker: Worker,
    started: Instant,
    start: u64,
    era: Era,
    fault: Option<Arc<Fault>>,
    /// Whether the service is to be started again, with other records.
    again: watch::Receiver<bool>,
    /// The MAC addresses of `/accelnet/`: kept for those who ask for them, until the service ends.
    pub(crate) accelnet: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// Takes over what is there of what the store has loaded, and starts the owner task on the current runtime. Where the
    /// records are unreadable the kernel is left as it is.
    pub async fn start(
        worker: Worker,
        restored: Restored,
        hub: Hub,
        settings: Settings,
        probe: Probe,
    ) -> Self {
        let Restored { keeping, loaded, era, start } = restored;
        let (store, fault) = match keeping {
            Keeping::Durable(store) => (Some(store), None),
            Keeping::Damaged(fault) => (None, Some(fault)),
        };
        let (inbox, messages) = mpsc::unbounded_channel();
        let (restart, again) = watch::channel(false);
        let engine = Engine::restored(&loaded.entities, loaded.last_incarnation);
        let published = Arc::new(RwLock::new(engine.working().clone()));
        let metrics = Arc::new(Metrics::default());
        let started = Instant::now();
        let mut owner = Owner {
            engine,
            published: Arc::clone(&published),
            inbox: inbox.downgrade(),
            worker: worker.clone(),
            store,
            fault: fault.clone(),
            era: era.clone(),
            restart,
            restoring: None,
            hub: hub.clone(),
            metrics: Arc::clone(&metrics),
            replies: HashMap::new(),
            last_call: 0,
            started,
            host: Arc::default(),
            late: None,
            kernel: None,
            settings: Arc::new(settings),
            probe: probe.clone(),
            looking: Looking::default(),
            asked: Vec::new(),
            waiting: Vec::new(),
        };
        if fault.is_none() {
            owner.adopt().await;
            owner.watch().await;
        }
        tokio::spawn(owner.run(messages));
        let accelnet = Arc::default();
        Self { inbox, published, hub, metrics, probe, worker, started, start, era, fault, again, accelnet }
    }

    pub(crate) fn published(&self) -> RwLockReadGuard<'_, Registry> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of a packet, by the records and the addresses that the host has now.
    fn explain(&self, kind: Kind, target: Reference, question: Option<String>) -> Pending {
        let service = self.clone();
        in_time(async move {
            let failed = |message: String| Error::new(HResult::GENERAL_FAILURE, message);
            let host = match service.worker.host(Vec::new()).await {
                Ok(Ok(host)) => host,
                Ok(Err(error)) => return Err(failed(error.to_string())),
                Err(error) => return Err(failed(error.to_string())),
            };
            let registry = service.published();
            let answer =
                read::explain(&registry, &host, kind, target, question.as_deref(), hcn_linux::rules_of);
            answer.map(Answer::Document)
        })
    }

    /// What an endpoint's link has carried, seen from the endpoint (contract 5.2, 9.7).
    fn stats(&self, kind: Kind, target: Reference, query: Option<&str>) -> Pending {
        let found = read::stats_link(&self.published(), kind, target, query);
        let worker = self.worker.clone();
        in_time(async move {
            let (id, link) = found?;
            let failed = |message: String| Error::new(HResult::GENERAL_FAILURE, message);
            let counters = match link {
                Some((link, own)) => match worker.counters(link).await {
                    Ok(Ok(found)) => {
                        let counters = found.unwrap_or_default();
                        if own { counters.of_the_other_end() } else { counters }
                    }
                    Ok(Err(error)) => return Err(failed(error.to_string())),
                    Err(error) => return Err(failed(error.to_string())),
                },
                None => Counters::default(),
            };
            Ok(Answer::Document(read::stats(id, &counters)))
        })
    }

    /// Whether the owner task answers.
    pub async fn is_alive(&self) -> bool {
        let (done, waiting) = oneshot::channel();
        self.inbox.send(Message::Echo { done }).is_ok() && waiting.await.is_ok()
    }

    /// Waits for calls under way and ends the service. What it made stays, for the one after it.
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
        if let Verb::QueryStats { target, query } = &call.verb {
            return self.stats(call.kind, *target, query.as_deref());
        }
        if let Verb::Explain { target, question } = &call.verb {
            return self.explain(call.kind, *target, question.clone());
        }
        if !call.verb.is_change() {
            return Box::pin(ready(read::read(&self.published(), &call)));
        }
        tracing::debug!(kind = %call.kind, verb = call.verb.name(), uid = caller.uid, pid = caller.pid, "call");
        let (reply, answer) = oneshot::channel();
        let stopped = || Error::new(HResult::MANAGER_STOPPED, "the service is stopping");
        if self.inbox.send(Message::Call { caller: caller.clone(), call, reply }).is_err() {
            return Box::pin(ready(Err(stopped())));
        }
        in_time(async move { answer.await.unwrap_or_else(|_| Err(stopped())) })
    }

    fn hns(&self, caller: &Caller, request: HnsRequest) -> Later<Raw> {
        hns::answer(self.clone(), caller, &request)
    }

    fn status(&self) -> Later<params::Status> {
        let read_only = self.fault.as_ref().map(ToString::to_string);
        let start = Start { number: self.start, read_only };
        Box::pin(status::status(self.started, start, status::count(&self.published()), self.probe.clone()))
    }

    fn backup(&self) -> Later<Result<params::Backup>> {
        Box::pin(ready(self.backup_of_now()))
    }

    fn restore(&self, caller: &Caller, text: String) -> Later<Result<params::Restored>> {
        self.restore_from(caller, &text)
    }

    fn doctor(&self) -> Later<params::Findings> {
        let (published, probe) = (Arc::clone(&self.published), self.probe.clone());
        let repairs = self.metrics.repairs();
        let (asked, seen) = oneshot::channel();
        // One that has stopped has seen nothing.
        let _ = self.inbox.send(Message::Look { asked });
        Box::pin(async move { doctor::doctor(published, probe, repairs, seen.await.ok()).await })
    }

    fn metrics(&self, usage: Usage) -> Later<String> {
        let text = self.metrics.text(&self.published(), self.hub.counts(), usage);
        Box::pin(ready(text))
    }

    fn answered(&self, call: &Answered) {
        self.metrics.answered(call);
    }
}

/// An answer that somebody waits for no longer than the data plane may take. What it does at last, counts.
fn in_time(answer: impl Future<Output = Result<Answer>> + Send + 'static) -> Pending {
    Box::pin(async move {
        tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(|_| {
            let message = "the kernel does not answer; whether the call is carried out yet is not known";
            Err(Error::new(HResult::TIMEOUT, message))
        })
    })
}

struct Owner {
    engine: Engine,
    published: Arc<RwLock<Registry>>,
    /// Weak: the task ends when the last [`Service`] is gone.
    inbox: mpsc::WeakUnboundedSender<Message>,
    worker: Worker,
    /// Where the records are kept; none where the file is damaged, and nothing is changed.
    store: Option<Store>,
    fault: Option<Arc<Fault>>,
    era: Era,
    /// Says that the service is to be started again.
    restart: watch::Sender<bool>,
    /// A backup that waits for what is under way.
    restoring: Option<Restoring>,
    hub: Hub,
    metrics: Arc<Metrics>,
    replies: HashMap<CallId, oneshot::Sender<Result<Answer>>>,
    last_call: CallId,
    started: Instant,
    host: Arc<HostFacts>,
    /// A look that took too long; until it is done there is no other.
    late: Option<AbortHandle>,
    /// What the kernel has, once it is known.
    kernel: Option<Kernel>,
    settings: Arc<Settings>,
    probe: Probe,
    looking: Looking,
    /// Who has asked for a look, and who waits for the one that is under way.
    asked: Vec<oneshot::Sender<Vec<String>>>,
    waiting: Vec<oneshot::Sender<Vec<String>>>,
}

impl Owner {
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
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

    fn now(&self) -> Duration {
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

    fn perform(&mut self, actions: Vec<Action>) {
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
    async fn adopt(&mut self) {
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
