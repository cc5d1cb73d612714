//! Failure on demand, for any backend.

use std::collections::HashSet;
use std::mem::{Discriminant, discriminant};

use crate::backend::{Applied, ApplyError, Counters, Dataplane, HostFacts, NetnsFacts, OpError, UndoError};
use crate::notice::{Notice, Notify, Scope};
use crate::object::{LinkId, Object};
use crate::plan::{Op, Plan};
use crate::state::State;

/// Wraps a backend and fails one operation of the next plan: the operations before it are really done, and
/// really undone.
#[derive(Debug)]
pub struct Chaos<D> {
    /// The backend that does the work.
    pub inner: D,
    /// Which operation of the next plan that is long enough fails; used up by failing.
    pub fail_at: Option<usize>,
    /// Whether the undoing of the operation that fails then fails, too: nothing of it is taken back.
    pub fail_undo: bool,
    /// How many plans were made to fail.
    pub injected: usize,
    /// Where failing is expensive: the shapes of plans that have failed at each of their operations, and need not again.
    pub known: Option<HashSet<Shape>>,
}

/// With what operations fail, in turn.
const REFUSALS: [(i32, &str); 6] =
    [(5, "EIO"), (12, "ENOMEM"), (28, "ENOSPC"), (16, "EBUSY"), (1, "EPERM"), (17, "EEXIST")];

/// What a plan does to which kinds of objects, in order.
type Shape = Vec<(Discriminant<Op>, Discriminant<Object>)>;

fn shape(plan: &Plan) -> Shape {
    plan.ops.iter().map(|op| (discriminant(op), discriminant(op.object()))).collect()
}

impl<D: Dataplane> Chaos<D> {
    /// A backend that does not fail until told to.
    pub fn new(inner: D) -> Self {
        Self { inner, fail_at: None, fail_undo: false, injected: 0, known: None }
    }
}

impl<D: Dataplane> Dataplane for Chaos<D> {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, ApplyError> {
        let is_known = self.known.as_ref().is_some_and(|known| known.contains(&shape(plan)));
        let Some(index) = self.fail_at.filter(|index| *index < plan.ops.len() && !is_known) else {
            if let Some(known) = self.known.as_mut().filter(|_| self.fail_at.is_some()) {
                known.insert(shape(plan));
            }
            return self.inner.apply(plan);
        };
        self.fail_at = None;
        self.injected += 1;
        let before = self.inner.apply(&plan.prefix(index))?;
        let (errno, name) = REFUSALS[self.injected % REFUSALS.len()];
        let source = OpError { errno: Some(errno), message: format!("injected failure ({name})") };
        let undo = if self.fail_undo {
            self.fail_undo = false;
            let left = before.plan.inverse();
            let refused =
                OpError { errno: Some(12), message: "injected failure of the undo (ENOMEM)".to_owned() };
            let errors = left.ops.iter().map(|op| (op.clone(), refused.clone())).collect();
            Some(UndoError { left, errors })
        } else {
            self.inner.undo(before).err()
        };
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

    fn look(&mut self, wanted: &State, scope: &Scope) -> Result<State, OpError> {
        self.inner.look(wanted, scope)
    }

    fn restore_rules(&mut self, wanted: &State) -> Result<bool, OpError> {
        self.inner.restore_rules(wanted)
    }

    fn watch(&mut self, notify: Notify) -> Result<(), OpError> {
        self.inner.watch(notify)
    }

    fn scope(&mut self, notice: &Notice) -> Option<Scope> {
        self.inner.scope(notice)
    }

    fn host(&mut self, links: &[String]) -> Result<HostFacts, OpError> {
        self.inner.host(links)
    }

    fn netns(&mut self, place: &str) -> NetnsFacts {
        self.inner.netns(place)
    }

    fn counters(&mut self, link: &LinkId) -> Result<Option<Counters>, OpError> {
        self.inner.counters(link)
    }
}
