//! What several claim of one thing of the kernel, which can have it only one way: the last claim holds, and when it is
//! given up the one before.

use std::collections::HashMap;
use std::hash::Hash;

/// Claims by what they are about.
#[derive(Debug)]
pub(crate) struct Stacks<K, V> {
    claims: HashMap<K, Vec<(String, V)>>,
}

impl<K, V> Default for Stacks<K, V> {
    fn default() -> Self {
        Self { claims: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Stacks<K, V> {
    /// Puts a claim on top; one of the same claimant goes.
    pub(crate) fn push(&mut self, key: K, claimant: &str, value: V) {
        let claims = self.claims.entry(key).or_default();
        claims.retain(|(other, _)| other != claimant);
        claims.push((claimant.to_owned(), value));
    }

    /// Puts a claim below all others.
    pub(crate) fn push_below(&mut self, key: K, claimant: &str, value: V) {
        self.claims.entry(key).or_default().insert(0, (claimant.to_owned(), value));
    }

    /// Gives a claim up. Says whether it was the one that held.
    pub(crate) fn remove(&mut self, key: &K, claimant: &str) -> bool {
        let Some(claims) = self.claims.get_mut(key) else { return false };
        let held = claims.last().is_some_and(|(holder, _)| holder == claimant);
        claims.retain(|(other, _)| other != claimant);
        if claims.is_empty() {
            self.claims.remove(key);
        }
        held
    }

    /// The claim that holds.
    pub(crate) fn top(&self, key: &K) -> Option<&V> {
        self.claims.get(key)?.last().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_claim_holds_and_then_the_one_before() {
        let mut stacks = Stacks::default();
        stacks.push("it", "a", 1);
        stacks.push("it", "b", 2);
        assert_eq!(stacks.top(&"it"), Some(&2));
        assert!(!stacks.remove(&"it", "a"));
        assert!(!stacks.remove(&"it", "nobody"));
        stacks.push_below("it", "c", 3);
        assert!(stacks.remove(&"it", "b"));
        assert_eq!(stacks.top(&"it"), Some(&3));
        assert!(stacks.remove(&"it", "c"));
        assert_eq!(stacks.top(&"it"), None);
        assert!(stacks.claims.is_empty());
    }
}
