//! In which order do the calls of a connection run? All go to the service in the order of arrival. Changes run side by
//! side; what only reads waits until the changes before it are finished, and holds up those behind it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use hcn_schema::call::{Answer, Call, HnsRequest, Kind, Verb};
use hcn_schema::{Error, Guid, HResult, Result};
use tokio::sync::{Notify, oneshot};

use crate::account::Account;
use crate::owned::{Owned, ends_with_its_handle};
use crate::params::{Created, Empty, HnsResponse, Ids, Opened, Properties};
use crate::session::{Release, Room, locked};
use crate::{Service, hns, message};

/// Calls of all connections that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    count: AtomicUsize,
    zero: Notify,
}

impl Gauge {
    /// One more, until what this gives is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        self.count.fetch_add(1, Ordering::SeqCst);
        Entered(Arc::clone(self))
    }

    /// Waits until every call is answered.
    pub(crate) async fn drained(&self) {
        loop {
            let zero = self.zero.notified();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            zero.await;
        }
    }
}

/// A call that is not answered yet.
pub(crate) struct Entered(Arc<Gauge>);

impl Drop for Entered {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.zero.notify_waiters();
        }
    }
}

/// What the service is asked.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A call on entities, with room for the handle that Create and Open give; none when nobody wants the reply.
    Entity(Call, Option<Room>),
    /// Close of a handle with which something ends.
    Release(Release),
    /// A request of HNS version 1.
    Hns(HnsRequest),
}

impl Asked {
    pub(crate) fn is_change(&self) -> bool {
        match self {
            Self::Entity(call, _) => call.verb.is_change(),
            Self::Release(_) => true,
            Self::Hns(request) => request.is_change(),
        }
    }

    /// What it is about, as far as it says.
    fn about(&self) -> Option<Guid> {
        match self {
            Self::Entity(call, _) => about(&call.verb),
            Self::Release(release) => release.id(),
            Self::Hns(request) => hns::about(&request.path),
        }
    }
}

/// A call for the service.
pub(crate) struct Job {
    pub(crate) asked: Asked,
    /// Whose it is, and where its answer is recorded.
    pub(crate) account: Account,
    /// Where the frame of the reply goes.
    pub(crate) reply: oneshot::Sender<Vec<u8>>,
}

/// The calls of one connection.
pub(crate) struct Pipeline {
    service: Arc<dyn Service>,
    gauge: Arc<Gauge>,
    /// A change is finished.
    finished: Notify,
    /// Reads that may run or wait for being written.
    read_limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Changes so far.
    changes: u64,
    /// Numbers of the changes that are not finished.
    unfinished: BTreeSet<u64>,
    waiting: VecDeque<Waiting>,
    /// Reads that are running or not written yet.
    unwritten_reads: usize,
    /// Nobody reads replies any more: reads need not run, changes do.
    abandoned: bool,
}

/// A read that waits, or a change behind one.
struct Waiting {
    /// The changes before it.
    after: u64,
    /// Whether it is a change itself.
    is_change: bool,
    job: Job,
    entered: Entered,
}

impl State {
    /// The next call that waits, if it can go.
    fn next(&mut self, read_limit: usize) -> Option<Waiting> {
        let Waiting { after, is_change, .. } = *self.waiting.front()?;
        if !is_change && self.abandoned {
            self.unwritten_reads += 1;
        } else if !is_change {
            let settled = self.unfinished.first().is_none_or(|change| *change >= after);
            if !settled || self.unwritten_reads >= read_limit {
                return None;
            }
            self.unwritten_reads += 1;
        }
        self.waiting.pop_front()
    }
}

impl Pipeline {
    pub(crate) fn new(service: Arc<dyn Service>, gauge: Arc<Gauge>, read_limit: usize) -> Arc<Self> {
        Arc::new(Self { service, gauge, finished: Notify::new(), read_limit, state: Mutex::default() })
    }

    /// Takes the next call of the connection.
    pub(crate) fn submit(self: &Arc<Self>, job: Job) {
        let entered = self.gauge.enter();
        let is_change = job.asked.is_change();
        let mut state = locked(&self.state);
        let after = state.changes;
        if is_change {
            state.unfinished.insert(after);
            state.changes += 1;
        }
        state.waiting.push_back(Waiting { after, is_change, job, entered });
        drop(state);
        self.run_waiting();
    }

    /// Waits until the changes so far are finished.
    pub(crate) async fn settled(&self) {
        loop {
            let finished = self.finished.notified();
            if locked(&self.state).unfinished.is_empty() {
                return;
            }
            finished.await;
        }
    }

    /// A read's reply was written, or is not wanted any more.
    pub(crate) fn read_written(self: &Arc<Self>) {
        locked(&self.state).unwritten_reads -= 1;
        self.run_waiting();
    }

    /// The client is gone. What it sent is carried out all the same.
    pub(crate) fn abandon(self: &Arc<Self>) {
        locked(&self.state).abandoned = true;
        self.run_waiting();
    }

    fn run_waiting(self: &Arc<Self>) {
        loop {
            let next = locked(&self.state).next(self.read_limit);
            match next {
                None => return,
                Some(Waiting { after, is_change: true, job, entered }) => {
                    let change = Change { pipeline: Arc::clone(self), number: after };
                    self.run(job, entered, Some(change));
                }
                // The connection is gone.
                Some(read) if read.job.reply.is_closed() || locked(&self.state).abandoned => {
                    locked(&self.state).unwritten_reads -= 1;
                }
                Some(read) => self.run(read.job, read.entered, None),
            }
        }
    }

    fn run(&self, job: Job, entered: Entered, change: Option<Change>) {
        let Job { asked, mut account, reply } = job;
        account.begin(asked.about());
        let held = (change, entered);
        match asked {
            Asked::Entity(call, room) => answer(self.entity(call, room, account), reply, held),
            Asked::Release(release) => {
                let closed = async move {
                    let closed = release.carry_out().await.map_err(message::shortened);
                    account.close(closed.as_ref().map(|()| None));
                    match closed {
                        Ok(()) => message::reply(&Empty {}, false),
                        Err(error) => message::failure(&error),
                    }
                };
                answer(closed, reply, held);
            }
            Asked::Hns(request) => {
                let is_change = request.is_change();
                let envelope = self.service.hns(account.caller(), request);
                let answered = async move {
                    let response = envelope.await;
                    hns::close(account, &response, is_change);
                    message::reply(&HnsResponse { response }, false)
                };
                answer(answered, reply, held);
            }
        }
    }

    /// Hands a call on entities to the service at once; gives the frame of its reply, to come.
    fn entity(
        &self,
        call: Call,
        room: Option<Room>,
        account: Account,
    ) -> impl Future<Output = Vec<u8>> + Send + use<> {
        let creates = matches!(call.verb, Verb::Create { .. });
        let kind = call.kind;
        let pending = self.service.call(account.caller(), call);
        let (service, gauge) = (Arc::clone(&self.service), Arc::clone(&self.gauge));
        async move {
            let result = pending.await.map_err(message::shortened);
            // Whatever becomes of the reply, from here on it ends with its handle.
            let owned = match &result {
                Ok(Answer::Entity { id, incarnation }) if creates && ends_with_its_handle(kind) => {
                    Some(Owned::new(&service, &gauge, &account, kind, (*id, *incarnation)))
                }
                _ => None,
            };
            account.close(match &result {
                Ok(Answer::Entity { id, .. }) => Ok(Some(*id)),
                Ok(_) => Ok(None),
                Err(error) => Err(error),
            });
            entity_frame(result, kind, creates, room, owned)
        }
    }
}

fn entity_frame(
    result: Result<Answer>,
    kind: Kind,
    creates: bool,
    room: Option<Room>,
    owned: Option<Owned>,
) -> Vec<u8> {
    match result {
        Err(error) => message::failure(&error),
        Ok(Answer::Ids(ids)) => message::reply(&Ids { ids }, false),
        Ok(Answer::Document(properties)) => message::reply(&Properties { properties }, false),
        Ok(Answer::Done) => message::reply(&Empty {}, false),
        Ok(Answer::Entity { id, incarnation }) => {
            let handle = room.map_or(0, |room| room.bind(kind, id, incarnation, owned));
            if creates {
                message::reply(&Created::new(id, handle), false)
            } else {
                message::reply(&Opened { handle }, false)
            }
        }
    }
}

/// Sends the frame when it is there; `held` is kept until then.
fn answer(
    frame: impl Future<Output = Vec<u8>> + Send + 'static,
    reply: oneshot::Sender<Vec<u8>>,
    held: (Option<Change>, Entered),
) {
    let mut frame = Box::pin(frame);
    // Most reads are answered at once and need no task. What a finished change lets go might come back here.
    if held.0.is_none()
        && let Poll::Ready(frame) = frame.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    {
        // Nobody may be there to read it.
        let _ = reply.send(frame);
        return;
    }
    tokio::spawn(async move {
        // Nobody may be there to read it.
        let _ = reply.send(frame.await);
        drop(held);
    });
}

/// A change that is not finished; finished when dropped, also by a panic.
struct Change {
    pipeline: Arc<Pipeline>,
    number: u64,
}

impl Drop for Change {
    fn drop(&mut self) {
        locked(&self.pipeline.state).unfinished.remove(&self.number);
        self.pipeline.finished.notify_waiters();
        self.pipeline.run_waiting();
    }
}

/// The frame for a call whose answer got lost.
pub(crate) fn broken_off() -> Vec<u8> {
    message::failure(&Error::new(HResult::CALL_FAILED, "the service broke the call off"))
}

fn about(verb: &Verb) -> Option<Guid> {
    match verb {
        Verb::Enumerate { .. } => None,
        Verb::Create { id, .. } => *id,
        Verb::Open { id } | Verb::Delete { id } => Some(*id),
        Verb::Modify { target, .. }
        | Verb::Act { target, .. }
        | Verb::Query { target, .. }
        | Verb::QueryStats { target, .. }
        | Verb::Explain { target, .. }
        | Verb::QueryAddresses { target, .. } => Some(target.id),
    }
}
