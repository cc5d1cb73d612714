//! Taking over joints, TAP interfaces and what isolates ports.

use super::Adoption;

impl Adoption<'_> {
    pub(super) fn joints(&mut self) {}

    pub(super) fn taps(&mut self) {}
}
