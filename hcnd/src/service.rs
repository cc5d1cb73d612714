//! The way to the service: readers are answered from the published records, all else goes to the task that owns the state.

mod job;
mod looks;
mod owner;
mod restore;

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use hcn_core::{Engine, Failure, Registry, Settings, Ticket, read};
use hcn_dataplane::{Counters, Notice};
use hcn_ipc::{Answered, Caller, Hub, Later, Pending, Usage, params};
use hcn_schema::call::{Answer, Call, HnsRequest, Kind, Reference, Verb};
use hcn_schema::{Error, HResult, Raw, Result};
use hcn_store::Era;
use tokio::sync::{mpsc, oneshot, watch};

use crate::drift::{Looking, Outcome};
use crate::metrics::Metrics;
use crate::state::{Fault, Keeping, Restored};
use crate::status::{self, Probe, Start};
use crate::worker::Worker;
use crate::{doctor, hns};

use owner::Owner;
use restore::Restoring;

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
