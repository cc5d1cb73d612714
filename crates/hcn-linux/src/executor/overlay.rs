//! What carries an overlay to other hosts: VXLAN links, where they send frames, and neighbours.

use hcn_dataplane::{FdbEntry, Neighbour, Vxlan};

use super::{Away, Run, Stop};

impl Run<'_> {
    pub(super) fn make_vxlan(&mut self, op: usize, _object: &Vxlan, _again: bool) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_vxlan(&mut self, op: usize, _object: &Vxlan, _away: Away) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn make_fdb_entry(&mut self, op: usize, _object: &FdbEntry, _again: bool) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_fdb_entry(
        &mut self,
        op: usize,
        _object: &FdbEntry,
        _away: Away,
    ) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn make_neighbour(
        &mut self,
        op: usize,
        _object: &Neighbour,
        _again: bool,
    ) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_neighbour(
        &mut self,
        op: usize,
        _object: &Neighbour,
        _away: Away,
    ) -> Result<(), Stop> {
        self.cannot(op)
    }
}
