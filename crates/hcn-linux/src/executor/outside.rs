//! What joins networks to a link of the host: VLANs, the link as a port, interfaces on it, answers on it.

use hcn_dataplane::{Enslaved, ProxyNeighbour, Sublink, Vlan};

use super::{Away, Run, Stop};

impl Run<'_> {
    pub(super) fn make_vlan(&mut self, op: usize, _object: &Vlan, _again: bool) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_vlan(&mut self, op: usize, _object: &Vlan, _away: Away) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn make_enslaved(&mut self, op: usize, _object: &Enslaved, _again: bool) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_enslaved(&mut self, op: usize, _object: &Enslaved, _away: Away) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn make_sublink(&mut self, op: usize, _object: &Sublink, _again: bool) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_sublink(&mut self, op: usize, _object: &Sublink, _away: Away) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn make_proxy_neighbour(
        &mut self,
        op: usize,
        _object: &ProxyNeighbour,
        _again: bool,
    ) -> Result<(), Stop> {
        self.cannot(op)
    }

    pub(super) fn unmake_proxy_neighbour(
        &mut self,
        op: usize,
        _object: &ProxyNeighbour,
        _away: Away,
    ) -> Result<(), Stop> {
        self.cannot(op)
    }
}
