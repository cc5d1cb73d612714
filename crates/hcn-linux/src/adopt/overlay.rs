//! Taking over VXLAN links, where they send frames, and neighbours.

use std::io;

use super::Adoption;

impl Adoption<'_> {
    pub(super) fn vxlans(&mut self) {}

    pub(super) fn overlay(&mut self) -> io::Result<()> {
        Ok(())
    }
}
