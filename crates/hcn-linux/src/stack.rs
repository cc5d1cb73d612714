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
    /// Puts a claim on top, or with so many others below it; one of the same claimant goes. Says whether it holds now.
    pub(crate) fn insert(&mut self, key: K, claimant: &str, value: V, depth: Option<usize>) -> bool {
        let claims = self.claims.entry(key).or_default();
        claims.retain(|(other, _)| other != claimant);
        let depth = depth.unwrap_or(usize::MAX).min(claims.len());
        claims.insert(depth, (claimant.to_owned(), value));
        depth + 1 == claims.len()
    }

    /// Gives a claim up. Says how many others were below it, and whether it held.
    pub(crate) fn remove(&mut self, key: &K, claimant: &str) -> Option<(usize, bool)> {
        let claims = self.claims.get_mut(key)?;
        let depth = claims.iter().position(|(other, _)| other == claimant)?;
        claims.remove(depth);
        let held = depth == claims.len();
        if claims.is_empty() {
            self.claims.remove(key);
        }
        Some((depth, held))
    }

    /// Gives up all claims of some things.
    pub(crate) fn forget(&mut self, mut what: impl FnMut(&K) -> bool) {
        self.claims.retain(|key, _| !what(key));
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
        assert!(stacks.insert("it", "a", 1, None));
        assert!(stacks.insert("it", "b", 2, None));
        assert_eq!(stacks.top(&"it"), Some(&2));
        assert_eq!(stacks.remove(&"it", "a"), Some((0, false)));
        assert_eq!(stacks.remove(&"it", "nobody"), None);
        assert!(!stacks.insert("it", "c", 3, Some(0)));
        assert_eq!(stacks.remove(&"it", "b"), Some((1, true)));
        assert_eq!(stacks.top(&"it"), Some(&3));
        assert!(stacks.insert("it", "b", 2, Some(1)));
        assert_eq!(stacks.top(&"it"), Some(&2));
        assert_eq!(stacks.remove(&"it", "b"), Some((1, true)));
        assert_eq!(stacks.remove(&"it", "c"), Some((0, true)));
        assert_eq!(stacks.top(&"it"), None);
        assert!(stacks.claims.is_empty());
    }
}
