//! From two states to the operations between them.

use std::collections::BTreeSet;
use std::fmt;

use crate::object::{Family, Key, Object};
use crate::state::State;

/// One operation. Each has an inverse, so that whatever was done can be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Make an object that is not there.
    Create(Object),
    /// Change an object in place; both have the same key.
    Change {
        /// As it is.
        from: Object,
        /// As it shall be.
        to: Object,
    },
    /// Take an object away.
    Remove {
        /// As it is.
        object: Object,
        /// It goes with a parent that a later operation of the same plan removes, or that is gone already: the kernel
        /// needs no word about it, but undoing the plan does.
        implied: bool,
    },
}

impl Op {
    /// The operation that takes this one back.
    pub fn inverse(&self) -> Self {
        match self {
            Self::Create(object) => Self::Remove { object: object.clone(), implied: false },
            Self::Change { from, to } => Self::Change { from: to.clone(), to: from.clone() },
            Self::Remove { object, .. } => Self::Create(object.clone()),
        }
    }

    /// The object that the operation is about, as it is to be or was.
    pub fn object(&self) -> &Object {
        match self {
            Self::Create(object) | Self::Remove { object, .. } | Self::Change { to: object, .. } => object,
        }
    }

    /// The key of the object that the operation is about.
    pub fn key(&self) -> Key {
        self.object().key()
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self {
            Self::Create(_) => "create",
            Self::Change { .. } => "change",
            Self::Remove { .. } => "remove",
        };
        write!(f, "{verb} {}", self.key())
    }
}

/// Operations in the order in which they must be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// First to last.
    pub ops: Vec<Op>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The first `count` operations.
    pub fn prefix(&self, count: usize) -> Self {
        Self { ops: self.ops[..count].to_vec() }
    }

    /// The plan that takes this one back.
    pub fn inverse(&self) -> Self {
        Self { ops: self.ops.iter().rev().map(Op::inverse).collect() }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, op) in self.ops.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{op}")?;
        }
        Ok(())
    }
}

/// The plan that leads from `from` to `to`: removals first, children before parents, then changes, then
/// creations, parents before children, then changes to what stands on something created. What stands on a removed object
/// is removed with it, and made again if `to` still holds it; so are the routes of a link that loses an address.
///
/// `from` and `to` may be parts of a larger state, as long as what their objects stand on is either in them or
/// the same before and after.
pub fn diff(from: &State, to: &State) -> Plan {
    let mut gone: BTreeSet<Key> = from
        .iter()
        .filter(|(key, object)| to.get(key).is_none_or(|new| new != *object && !object.changes_in_place(new)))
        .map(|(key, _)| key.clone())
        .collect();
    // Keys are ordered parents first, so one pass finds whole families.
    let mut implied = BTreeSet::new();
    // With the last address of a family the kernel drops the link's routes of that family. Which address is
    // the last one is not known here; a route is made again quickly.
    let mut unsettled = BTreeSet::new();
    for (key, object) in from.iter() {
        if from.parents(object).iter().flatten().any(|parent| gone.contains(parent)) {
            gone.insert(key.clone());
            implied.insert(key.clone());
        }
        match key {
            Key::Address(link, address) if gone.contains(key) => {
                unsettled.insert((link, Family::of(*address)));
            }
            Key::Route(link, destination, _)
                if unsettled.contains(&(link, Family::of(destination.addr()))) =>
            {
                gone.insert(key.clone());
            }
            _ => {}
        }
    }
    let removals = from
        .iter()
        .rev()
        .filter(|(key, _)| gone.contains(key))
        .map(|(key, object)| Op::Remove { object: object.clone(), implied: implied.contains(key) });
    let is_new = |key: &Key| from.get(key).is_none() || gone.contains(key);
    let changes = to.iter().filter_map(|(key, new)| match from.get(key) {
        Some(old) if old != new && !gone.contains(key) => {
            Some(Op::Change { from: old.clone(), to: new.clone() })
        }
        _ => None,
    });
    let waits = |op: &Op| {
        let parents = to.parents(op.object());
        parents.iter().flatten().any(|parent| to.get(parent).is_some() && is_new(parent))
    };
    let (late, early): (Vec<Op>, Vec<Op>) = changes.partition(waits);
    let creations = to.iter().filter(|(key, _)| is_new(key)).map(|(_, object)| Op::Create(object.clone()));
    Plan { ops: removals.chain(early).chain(creations).chain(late).collect() }
}
