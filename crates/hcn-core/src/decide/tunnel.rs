//! What carries an overlay to other hosts.

use super::junction::Ground;
use super::{Outcome, View};
use crate::entity::Tunnel;

pub(super) fn choose(_view: &View<'_>, _ground: &Ground<'_>) -> Outcome<Option<Tunnel>> {
    Ok(None)
}
