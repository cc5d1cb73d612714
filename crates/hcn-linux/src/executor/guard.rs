//! What keeps endpoints from sending in the name of others.

use hcn_dataplane::Guard;

use super::{Place, Run};
use crate::nft;

impl Run<'_> {
    /// The table is there as long as anybody is guarded. Who is, is noted when the operation begins, and forgotten when it
    /// is taken back.
    pub(super) fn make_guard(&mut self, op: usize, guard: &Guard) {
        let first = self.linux.guarded.len() == 1;
        for (flags, message) in nft::guard(guard, first, self.linux.owns_tables) {
            self.write(&Place::Nft, op, flags, message);
        }
    }

    pub(super) fn unmake_guard(&mut self, op: usize, guard: &Guard) {
        let last = self.linux.guarded.is_empty();
        for (flags, message) in nft::unguard(guard, last) {
            self.write(&Place::Nft, op, flags, message);
        }
    }

    pub(super) fn alter_guard(&mut self, op: usize, from: &Guard, to: &Guard) {
        for (flags, message) in nft::reguard(from, to) {
            self.write(&Place::Nft, op, flags, message);
        }
    }
}
