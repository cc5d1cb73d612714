//! In which order do the calls of a connection run? Changes go to the service in the order of arrival and run side
//! by side; Enumerate, Open and Query go there in order too, each when the changes before it are finished.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hcn_schema::call::{Answer, Call, Verb};
use hcn_schema::{Error, Guid, HResult};
use tokio::sync::{Notify, oneshot};

use crate::account::Account;
use crate::params::{Created, Empty, Ids, Opened, Properties};
use crate::session::{Reservation, locked};
use crate::{Caller, Pending, Service, message};

/// Calls of all connections that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    count: AtomicUsize,
    zero: Notify,
}

impl Gauge {
    fn enter(self: &Arc<Self>) -> Entered {
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

struct Entered(Arc<Gauge>);

impl Drop for Entered {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.zero.notify_waiters();
        }
    }
}

/// A call for the service.
pub(crate) struct Job {
    pub(crate) call: Call,
    /// Room for the handle that Create and Open give; none when nobody wants the reply.
    pub(crate) reservation: Option<Reservation>,
    /// Where its answer is recorded.
    pub(crate) account: Account,
    /// Where the frame of the reply goes.
    pub(crate) reply: oneshot::Sender<Vec<u8>>,
}

/// The calls of one connection.
pub(crate) struct Pipeline {
    service: Arc<dyn Service>,
    caller: Caller,
    gauge: Arc<Gauge>,
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
}

struct Waiting {
    /// The changes before it.
    after: u64,
    job: Job,
    entered: Entered,
}

impl State {
    fn next_read(&mut self, read_limit: usize) -> Option<Waiting> {
        let after = self.waiting.front()?.after;
        if self.unfinished.first().is_some_and(|change| *change < after) || self.unwritten_reads >= read_limit
        {
            return None;
        }
        self.unwritten_reads += 1;
        self.waiting.pop_front()
    }
}

impl Pipeline {
    pub(crate) fn new(
        service: Arc<dyn Service>,
        caller: Caller,
        gauge: Arc<Gauge>,
        read_limit: usize,
    ) -> Arc<Self> {
        Arc::new(Self { service, caller, gauge, read_limit, state: Mutex::default() })
    }

    /// Takes the next call of the connection.
    pub(crate) fn submit(self: &Arc<Self>, job: Job) {
        let entered = self.gauge.enter();
        if !job.call.verb.is_change() {
            let mut state = locked(&self.state);
            let after = state.changes;
            state.waiting.push_back(Waiting { after, job, entered });
            drop(state);
            return self.run_reads();
        }
        let mut state = locked(&self.state);
        let number = state.changes;
        state.changes += 1;
        state.unfinished.insert(number);
        drop(state);
        let change = Change { pipeline: Arc::clone(self), number };
        self.run(job, entered, Some(change));
    }

    /// A read's reply was written, or is not wanted any more.
    pub(crate) fn read_written(self: &Arc<Self>) {
        locked(&self.state).unwritten_reads -= 1;
        self.run_reads();
    }

    fn run_reads(self: &Arc<Self>) {
        loop {
            let next = locked(&self.state).next_read(self.read_limit);
            match next {
                None => return,
                // The connection is gone.
                Some(read) if read.job.reply.is_closed() => locked(&self.state).unwritten_reads -= 1,
                Some(read) => self.run(read.job, read.entered, None),
            }
        }
    }

    fn run(&self, job: Job, entered: Entered, change: Option<Change>) {
        let Job { call, reservation, mut account, reply } = job;
        account.begin(about(&call.verb));
        let creates = matches!(call.verb, Verb::Create { .. });
        let kind = call.kind;
        let pending: Pending = self.service.call(&self.caller, call);
        tokio::spawn(async move {
            let result = pending.await.map_err(message::shortened);
            account.close(match &result {
                Ok(Answer::Entity { id, .. }) => Ok(Some(*id)),
                Ok(_) => Ok(None),
                Err(error) => Err(error),
            });
            let frame = match result {
                Err(error) => message::failure(&error),
                Ok(Answer::Ids(ids)) => message::reply(&Ids { ids }, false),
                Ok(Answer::Document(properties)) => message::reply(&Properties { properties }, false),
                Ok(Answer::Done) => message::reply(&Empty {}, false),
                Ok(Answer::Entity { id, incarnation }) => {
                    let handle = reservation.map_or(0, |room| room.bind(kind, id, incarnation));
                    if creates {
                        message::reply(&Created::new(id, handle), false)
                    } else {
                        message::reply(&Opened { handle }, false)
                    }
                }
            };
            // Nobody may be there to read it.
            let _ = reply.send(frame);
            drop((change, entered));
        });
    }
}

/// A change that is not finished; finished when dropped, also by a panic.
struct Change {
    pipeline: Arc<Pipeline>,
    number: u64,
}

impl Drop for Change {
    fn drop(&mut self) {
        locked(&self.pipeline.state).unfinished.remove(&self.number);
        self.pipeline.run_reads();
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
        | Verb::QueryAddresses { target, .. } => Some(target.id),
    }
}
