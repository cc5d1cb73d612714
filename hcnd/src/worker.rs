//! The thread that owns the data plane. The kernel serialises changes of links anyway, so one thread loses
//! nothing, keeps latency fair, and may block.

use std::sync::mpsc;
use std::thread;

use hcn_dataplane::{
    Applied, ApplyError, Counters, Dataplane, HostFacts, LinkId, NetnsFacts, Notice, Notify, OpError, Plan,
    Scope, State, UndoError,
};
use tokio::sync::oneshot;

type Work<D> = Box<dyn FnOnce(&mut D) + Send>;

/// What the worker can be asked; it answers in the order of asking.
#[derive(Clone)]
pub struct Worker {
    queue: mpsc::Sender<Work<dyn Dataplane>>,
}

/// The worker's thread, to be joined once all [`Worker`]s are gone.
pub struct WorkerThread(thread::JoinHandle<()>);

impl WorkerThread {
    /// Waits until everything that was asked is done and the data plane is closed.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the data plane thread panicked");
        }
    }
}

/// The worker's thread has ended, which it does only after a panic.
#[derive(Debug, thiserror::Error)]
#[error("the data plane has stopped")]
pub struct Stopped;

impl Worker {
    /// Starts a thread that owns `dataplane`.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(mut dataplane: Box<dyn Dataplane>) -> std::io::Result<(Self, WorkerThread)> {
        let (queue, orders) = mpsc::channel::<Work<dyn Dataplane>>();
        let thread = thread::Builder::new().name("dataplane".to_owned()).spawn(move || {
            for work in orders {
                work(dataplane.as_mut());
            }
        })?;
        Ok((Self { queue }, WorkerThread(thread)))
    }

    /// Asks at once; the answer is waited for only if the future is.
    fn ask<T, F>(&self, work: F) -> impl Future<Output = Result<T, Stopped>> + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Dataplane) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        // A caller that is gone wants no answer.
        let work: Work<dyn Dataplane> = Box::new(move |dataplane| drop(reply.send(work(dataplane))));
        let asked = self.queue.send(work).map_err(|_| Stopped);
        async move {
            asked?;
            answer.await.map_err(|_| Stopped)
        }
    }

    /// See [`Dataplane::apply`].
    ///
    /// # Errors
    /// Outer: the thread has ended.
    pub async fn apply(&self, plan: Plan) -> Result<Result<Applied, ApplyError>, Stopped> {
        self.ask(move |dataplane| dataplane.apply(&plan)).await
    }

    /// See [`Dataplane::settle`]; it is done whether or not it is waited for.
    pub fn settle(&self, applied: Applied) -> impl Future<Output = Result<(), Stopped>> + use<> {
        self.ask(move |dataplane| dataplane.settle(applied))
    }

    /// See [`Dataplane::undo`].
    ///
    /// # Errors
    /// Outer: the thread has ended.
    pub async fn undo(&self, applied: Applied) -> Result<Result<(), UndoError>, Stopped> {
        self.ask(move |dataplane| dataplane.undo(applied)).await
    }

    /// See [`Dataplane::adopt`].
    ///
    /// # Errors
    /// Outer: the thread has ended.
    pub async fn adopt(&self, wanted: State) -> Result<Result<State, OpError>, Stopped> {
        self.ask(move |dataplane| dataplane.adopt(&wanted)).await
    }

    /// See [`Dataplane::look`]. It is asked at once, whenever it is waited for.
    ///
    /// # Errors
    /// Outer: the thread has ended.
    pub fn look(
        &self,
        wanted: State,
        scope: Scope,
    ) -> impl Future<Output = Result<Result<State, OpError>, Stopped>> + use<> {
        self.ask(move |dataplane| dataplane.look(&wanted, &scope))
    }

    /// See [`Dataplane::restore_rules`]. It is asked at once, whenever it is waited for.
    ///
    /// # Errors
    /// Outer: the thread has ended.
    pub fn restore_rules(
        &self,
        wanted: State,
    ) -> impl Future<Output = Result<Result<bool, OpError>, Stopped>> + use<> {
        self.ask(move |dataplane| dataplane.restore_rules(&wanted))
    }

    /// See [`Dataplane::watch`].
    ///
    /// # Errors
    /// Outer: the thread has ended.
    pub async fn watch(&self, notify: Notify) -> Result<Result<(), OpError>, Stopped> {
        self.ask(move |dataplane| dataplane.watch(notify)).await
    }

    /// See [`Dataplane::scope`].
    ///
    /// # Errors
    /// The thread has ended.
    pub async fn scope(&self, notice: Notice) -> Result<Option<Scope>, Stopped> {
        self.ask(move |dataplane| dataplane.scope(&notice)).await
    }

    /// See [`Dataplane::host`].
    ///
    /// # Errors
    /// Outer: the thread has ended.
    pub async fn host(&self, links: Vec<String>) -> Result<Result<HostFacts, OpError>, Stopped> {
        self.ask(move |dataplane| dataplane.host(&links)).await
    }

    /// See [`Dataplane::netns`].
    ///
    /// # Errors
    /// The thread has ended.
    pub async fn netns(&self, place: String) -> Result<NetnsFacts, Stopped> {
        self.ask(move |dataplane| dataplane.netns(&place)).await
    }

    /// See [`Dataplane::counters`].
    ///
    /// # Errors
    /// Outer: the thread has ended.
    pub async fn counters(&self, link: LinkId) -> Result<Result<Option<Counters>, OpError>, Stopped> {
        self.ask(move |dataplane| dataplane.counters(&link)).await
    }
}
