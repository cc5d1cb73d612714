//! Plans taken back, and what is left to do where the kernel refuses that, too.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use hcn_dataplane::{Key, Object, Op, OpError, Plan, State, UndoError};

use super::Run;
use crate::reaper::Released;
use crate::{Linux, nft};

/// Takes operations back, the last first; `touched` says which changed anything. Goes on after errors.
pub(crate) fn take_back(linux: &mut Linux, ops: &[Op], touched: &[bool]) -> Result<(), UndoError> {
    let mut run = Run::new(linux, ops, true);
    for (index, op) in ops.iter().enumerate().rev() {
        run.forget(op);
        if touched[index] {
            // Why it could not be taken back is in `errors`.
            let _ = run.unstep(index);
        }
    }
    run.push_last();
    let _ = run.flush(|_| true);
    run.drop_stale_flows();
    run.give_up_links();
    for link in std::mem::take(&mut run.doomed) {
        run.linux.reaper.release(Released::Link(link));
    }
    if run.errors.is_empty() {
        run.linux.claims.retain(|_, claimed| claimed.count > 0);
    }
    let errors = std::mem::take(&mut run.errors);
    if errors.is_empty() {
        return Ok(());
    }
    for index in errors.keys() {
        // It is as the operation left it.
        run.remember(&ops[*index]);
        match &ops[*index] {
            Op::Remove { object, .. } => {
                run.linux.half_back.insert(object.key());
            }
            Op::Create(Object::Claim(claim)) => run.linux.keep_claim(claim),
            _ => {}
        }
    }
    let gone = gone_with_parents(ops, |index| touched[index] && !errors.contains_key(&index));
    let left = |index: usize| match ops[index].inverse() {
        Op::Remove { object, .. } => Op::Remove { implied: gone.contains(&object.key()), object },
        op => op,
    };
    let errors: Vec<(Op, OpError)> =
        errors.into_iter().rev().map(|(index, error)| (left(index), error)).collect();
    Err(UndoError { left: Plan { ops: errors.iter().map(|(op, _)| op.clone()).collect() }, errors })
}

impl Run<'_> {
    /// What was half brought back is worse than gone: it is given up with all that stands on it, and what is left to do says
    /// to make it anew.
    fn give_up_links(&mut self) {
        let restored = std::mem::take(&mut self.restored);
        let lost = restored.iter().filter(|(index, _)| self.errors.contains_key(index));
        for index in gone_with_links(self.ops, lost.map(|(index, _)| self.ops[*index].key()).collect()) {
            if let Entry::Vacant(entry) = self.errors.entry(index) {
                let message = "the link that it stands on could not be brought back".to_owned();
                entry.insert(OpError { errno: None, message });
                if let Err(error) = self.linux.forget(self.ops[index].object()) {
                    tracing::warn!(%error, "cannot clear what stood on a link that is gone");
                }
            }
        }
        for (index, link) in restored {
            if self.errors.contains_key(&index) {
                self.linux.links.forget(link);
                self.doomed.push(link);
            }
        }
    }
}

/// Which of the objects that operations made stood on one that is gone again: they went with it.
fn gone_with_parents(ops: &[Op], is_undone: impl Fn(usize) -> bool) -> BTreeSet<Key> {
    let made = |op: &Op| matches!(op, Op::Create(_)).then(|| op.object().clone());
    let made_here: State = ops.iter().filter_map(made).collect();
    let (mut gone, mut with_parents) = (BTreeSet::new(), BTreeSet::new());
    for (index, op) in ops.iter().enumerate() {
        let Op::Create(object) = op else { continue };
        // Parents are made first.
        if made_here.parents(object).iter().flatten().any(|parent| gone.contains(parent)) {
            with_parents.insert(object.key());
            gone.insert(object.key());
        } else if is_undone(index) {
            gone.insert(object.key());
        }
    }
    with_parents
}

/// Which operations took away what stood on links that could not be brought back.
fn gone_with_links(ops: &[Op], mut lost: BTreeSet<Key>) -> Vec<usize> {
    if lost.is_empty() {
        return Vec::new();
    }
    let removed = |op: &Op| matches!(op, Op::Remove { .. }).then(|| op.object().clone());
    let removed_here: State = ops.iter().filter_map(removed).collect();
    let mut gone = Vec::new();
    // Parents are removed last.
    for (index, op) in ops.iter().enumerate().rev() {
        let Op::Remove { object, .. } = op else { continue };
        // Rules name links, and stay.
        if !nft::holds(object)
            && removed_here.parents(object).iter().flatten().any(|parent| lost.contains(parent))
        {
            lost.insert(object.key());
            gone.push(index);
        }
    }
    gone
}
