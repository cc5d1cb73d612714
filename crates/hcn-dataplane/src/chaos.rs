//! Failure on demand, for any backend.

use crate::backend::{Applied, ApplyError, Counters, Dataplane, HostFacts, OpError, UndoError};
use crate::plan::Plan;
use crate::state::State;

/// Wraps a backend and fails one operation of the next plan: the operations before it are really done, and
/// really undone.
#[derive(Debug)]
pub struct Chaos<D> {
    /// The backend that does the work.
    pub inner: D,
    /// Which operation of the next plan that is long enough fails; used up by failing.
    pub fail_at: Option<usize>,
    /// How many plans were made to fail.
    pub injected: usize,
}

impl<D: Dataplane> Chaos<D> {
    /// A backend that does not fail until told to.
    pub fn new(inner: D) -> Self {
        Self { inner, fail_at: None, injected: 0 }
    }
}

impl<D: Dataplane> Dataplane for Chaos<D> {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, ApplyError> {
        let Some(index) = self.fail_at.filter(|index| *index < plan.ops.len()) else {
            return self.inner.apply(plan);
        };
        self.fail_at = None;
        self.injected += 1;
        let before = self.inner.apply(&plan.prefix(index))?;
        let source = OpError { errno: Some(5), message: "injected failure (EIO)".to_owned() };
        let undo = self.inner.undo(before).err();
        Err(ApplyError { index, op: plan.ops[index].to_string(), source, undo })
    }

    fn settle(&mut self, applied: Applied) {
        self.inner.settle(applied);
    }

    fn undo(&mut self, applied: Applied) -> Result<(), UndoError> {
        self.inner.undo(applied)
    }

    fn adopt(&mut self, wanted: &State) -> Result<State, OpError> {
        self.inner.adopt(wanted)
    }

    fn host(&mut self, links: &[String]) -> Result<HostFacts, OpError> {
        self.inner.host(links)
    }

    fn counters(&mut self, link: &str) -> Result<Option<Counters>, OpError> {
        self.inner.counters(link)
    }
}
