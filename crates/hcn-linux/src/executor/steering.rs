//! Routing tables of their own for packets from a bridge.

use hcn_dataplane::Steering;

use super::{Away, Run, Stop};

impl Run<'_> {
    pub(super) fn make_steering(&mut self, op: usize, _object: &Steering, _again: bool) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_steering(&mut self, op: usize, _object: &Steering, _away: Away) -> Result<(), Stop> {
        self.cannot(op)
    }
}
