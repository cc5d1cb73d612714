//! A model of the kernel for tests: refuses what the kernel would refuse.

use crate::backend::{Applied, ApplyError, Counters, Dataplane, HostFacts, HostLink, OpError, UndoError};
use crate::notice::Scope;
use crate::object::{LinkId, Object};
use crate::plan::{Op, Plan};
use crate::state::State;

/// A data plane in memory.
#[derive(Debug, Default)]
pub struct Fake {
    /// What "the kernel" holds.
    pub state: State,
    /// What the host looks like.
    pub facts: HostFacts,
}

impl Fake {
    /// An empty kernel on a host without addresses.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does one operation.
    ///
    /// # Errors
    /// As the kernel: EEXIST (17) for what is there already, ENOENT (2) for what is missing, EBUSY (16) for
    /// what others stand on, EINVAL (22) for a change that does not start from what is there.
    pub fn execute(&mut self, op: &Op) -> Result<(), OpError> {
        match op {
            Op::Create(object) => self.create(object),
            Op::Change { from, to } => match self.state.get(&to.key()) {
                Some(present) if present == from && from.changes_in_place(to) => {
                    if self.state.parents(to).iter().any(Option::is_none) {
                        return Err(refused(2, "what the object is to stand on is missing"));
                    }
                    self.state.insert(to.clone());
                    Ok(())
                }
                Some(_) => Err(refused(22, "the object is not what the change starts from")),
                None => Err(refused(2, "no such object")),
            },
            Op::Remove { object, .. } => self.remove(object),
        }
    }

    fn create(&mut self, object: &Object) -> Result<(), OpError> {
        if self.state.get(&object.key()).is_some() {
            return Err(refused(17, "the object exists"));
        }
        if self.state.parents(object).iter().any(Option::is_none) {
            return Err(refused(2, "what the object stands on is missing"));
        }
        self.state.insert(object.clone());
        Ok(())
    }

    fn remove(&mut self, object: &Object) -> Result<(), OpError> {
        let key = object.key();
        match self.state.get(&key) {
            None => return Err(refused(2, "no such object")),
            Some(present) if present != object => return Err(refused(22, "the object is another one")),
            Some(_) => {}
        }
        if self.state.iter().any(|(_, other)| self.state.parents(other).contains(&Some(key.clone()))) {
            return Err(refused(16, "other objects stand on it"));
        }
        self.state.remove(&key);
        Ok(())
    }
}

fn refused(errno: i32, message: &str) -> OpError {
    OpError { errno: Some(errno), message: message.to_owned() }
}

impl Dataplane for Fake {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, ApplyError> {
        for (index, op) in plan.ops.iter().enumerate() {
            if let Err(source) = self.execute(op) {
                let undo = self.undo(Applied { plan: plan.prefix(index) }).err();
                return Err(ApplyError { index, op: op.to_string(), source, undo });
            }
        }
        Ok(Applied { plan: plan.clone() })
    }

    fn settle(&mut self, _applied: Applied) {}

    fn undo(&mut self, applied: Applied) -> Result<(), UndoError> {
        let mut left = Plan::default();
        let mut errors = Vec::new();
        for op in applied.plan.inverse().ops {
            if let Err(error) = self.execute(&op) {
                errors.push((op.clone(), error));
                left.ops.push(op);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(UndoError { left, errors }) }
    }

    fn adopt(&mut self, wanted: &State) -> Result<State, OpError> {
        let kept = self.state.iter().filter(|(key, _)| wanted.get(key).is_some());
        let mut state = State::new();
        for (_, object) in kept {
            // What stood on something that goes is gone with it.
            if state.parents(object).iter().all(Option::is_some) {
                state.insert(object.clone());
            }
        }
        self.state = state.clone();
        Ok(state)
    }

    fn look(&mut self, wanted: &State, scope: &Scope) -> Result<State, OpError> {
        let mut found = State::new();
        for (key, object) in wanted.iter() {
            let seen = if scope.shows(object) { self.state.get(key) } else { Some(object) };
            found.extend(seen.cloned());
        }
        Ok(found)
    }

    fn host(&mut self, links: &[String]) -> Result<HostFacts, OpError> {
        let mut facts = self.facts.clone();
        let asked = |link: &HostLink| {
            links.iter().any(|name| {
                link.name == *name || link.other_names.contains(name) || name.parse() == Ok(link.index)
            })
        };
        facts.links.retain(|link| asked(link) || facts.uplink.as_ref() == Some(&link.name));
        Ok(facts)
    }

    fn counters(&mut self, link: &LinkId) -> Result<Option<Counters>, OpError> {
        Ok(self.state.link_owner(link).map(|_| Counters::default()))
    }
}
