//! What gives endpoints packets under the address that they were sent to.

use hcn_dataplane::Preserved;

use super::{Place, Run};
use crate::nft;

impl Run<'_> {
    /// The tables are there as long as any endpoint has a part in them. Who has one is noted when the operation begins, and
    /// forgotten when it is taken back.
    pub(super) fn make_preserved(&mut self, op: usize, preserved: &Preserved) {
        let first = self.linux.preserving.len() == 1;
        for (flags, message) in nft::preserve(preserved, first.then_some(self.linux.owns_tables)) {
            self.write(&Place::Nft, op, flags, message);
        }
    }

    pub(super) fn unmake_preserved(&mut self, op: usize, preserved: &Preserved) {
        let last = self.linux.preserving.is_empty();
        for (flags, message) in nft::preserve_no_more(preserved, last) {
            self.write(&Place::Nft, op, flags, message);
        }
    }

    pub(super) fn alter_preserved(&mut self, op: usize, from: &Preserved, to: &Preserved) {
        for (flags, message) in nft::preserve_otherwise(from, to) {
            self.write(&Place::Nft, op, flags, message);
        }
    }
}
