//! What HNS version 1 does with entities besides creating, reading and deleting them (contract 5.2).

use hcn_schema::call::{Action, Kind, Reference};
use hcn_schema::{Error, HResult};

use super::{Decision, Outcome, Refusal, View};

/// Decides an action.
pub(super) fn act(
    _view: &View<'_>,
    kind: Kind,
    _target: Reference,
    action: Action,
    _document: Option<&str>,
) -> Outcome<Decision> {
    let message = format!("a {kind} knows no {}", action.name());
    Err(Refusal::Error(Error::new(HResult::REQUEST_UNSUPPORTED, message)))
}
