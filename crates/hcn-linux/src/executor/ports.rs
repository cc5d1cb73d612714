//! Ports besides those of veth pairs: joints between bridges, TAP interfaces; and what keeps a port from others.

use hcn_dataplane::{Isolation, Joint, Tap};

use super::{Away, Run, Stop};

impl Run<'_> {
    pub(super) fn make_joint(&mut self, op: usize, _object: &Joint, _again: bool) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_joint(&mut self, op: usize, _object: &Joint, _away: Away) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn make_tap(&mut self, op: usize, _object: &Tap, _again: bool) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_tap(&mut self, op: usize, _object: &Tap, _away: Away) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn make_isolation(
        &mut self,
        op: usize,
        _object: &Isolation,
        _again: bool,
    ) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_isolation(
        &mut self,
        op: usize,
        _object: &Isolation,
        _away: Away,
    ) -> Result<(), Stop> {
        self.cannot(op)
    }
}
