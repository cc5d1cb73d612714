//! DHCP and DNS on a bridge.

use hcn_dataplane::{Lease, Responder};

use super::{Away, Run, Stop};

impl Run<'_> {
    pub(super) fn make_responder(
        &mut self,
        op: usize,
        _object: &Responder,
        _again: bool,
    ) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_responder(
        &mut self,
        op: usize,
        _object: &Responder,
        _away: Away,
    ) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn make_lease(&mut self, op: usize, _object: &Lease, _again: bool) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_lease(&mut self, op: usize, _object: &Lease, _away: Away) -> Result<(), Stop> {
        self.cannot(op)
    }
}
