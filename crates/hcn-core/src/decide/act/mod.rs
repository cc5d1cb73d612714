//! What HNS version 1 does with entities besides creating, reading and deleting them (contract 5.2).

mod attach;
mod resource;
mod update;

use hcn_schema::call::{Action, Kind, Reference};
use hcn_schema::{Error, HResult};

use super::{Decision, Outcome, Refusal, View, request};

/// Decides an action.
pub(super) fn act(
    view: &View<'_>,
    kind: Kind,
    target: Reference,
    action: Action,
    document: Option<&str>,
) -> Outcome<Decision> {
    match (kind, action) {
        (Kind::Network, Action::Update) => update::network(view, target, request(document)?),
        (Kind::Endpoint, Action::Update) => update::endpoint(view, target, request(document)?),
        (Kind::Endpoint, Action::Attach) => attach::attach(view, target, request(document)?),
        (Kind::Endpoint, Action::Detach) => attach::detach(view, target, request(document)?),
        (Kind::Namespace, Action::AddResource) => resource::add(view, target, request(document)?),
        (Kind::Namespace, Action::RemoveResource) => resource::remove(view, target, request(document)?),
        _ => {
            let message = format!("a {kind} knows no {}", action.name());
            Err(Refusal::Error(Error::new(HResult::REQUEST_UNSUPPORTED, message)))
        }
    }
}
