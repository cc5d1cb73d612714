//! Responders end with the process: they are begun anew.

use super::Adoption;

impl Adoption<'_> {
    pub(super) fn responders(&mut self) {}
}
