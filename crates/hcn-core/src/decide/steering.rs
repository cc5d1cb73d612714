//! Routing tables of networks whose packets do not go where the host's go.

use super::junction::Ground;
use super::{Outcome, View};
use crate::entity::RoutingTable;

pub(super) fn choose(_view: &View<'_>, _ground: &Ground<'_>) -> Outcome<Option<RoutingTable>> {
    Ok(None)
}
