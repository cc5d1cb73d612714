//! Putting endpoints and containers into a namespace, and taking them out.

use std::sync::Arc;

use hcn_schema::call::{Kind, Reference};
use hcn_schema::enums::ModifyRequestType;
use hcn_schema::v1::HnsResource;
use hcn_schema::{Error, HResult};

use crate::decide::{Decision, Outcome, Refusal, View, namespace};
use crate::text;

pub(super) fn add(view: &View<'_>, target: Reference, given: &str) -> Outcome<Decision> {
    change(view, target, given, ModifyRequestType::Add)
}

pub(super) fn remove(view: &View<'_>, target: Reference, given: &str) -> Outcome<Decision> {
    change(view, target, given, ModifyRequestType::Remove)
}

fn change(view: &View<'_>, target: Reference, given: &str, kind: ModifyRequestType) -> Outcome<Decision> {
    let given: HnsResource = hcn_schema::parse(given)?;
    let path = "Data.Id";
    let id = given.data.and_then(|data| data.id).ok_or_else(|| {
        Error::new(HResult::INVALID_ARGUMENT, "the request names no resource")
            .at(path)
            .expected("the identifier of an endpoint or of a container")
    })?;
    let resource = given.kind.unwrap_or_default();
    let decision = if resource.eq_ignore_ascii_case("Endpoint") {
        let id = text::guid(&id, path)?;
        view.all_settled(&[(Kind::Namespace, target.id), (Kind::Endpoint, id)])?;
        let namespace = view.namespace(target)?;
        if kind == ModifyRequestType::Add {
            namespace::attach(view, namespace, id)
        } else {
            namespace::detach(view, namespace, id)
        }
    } else if resource.eq_ignore_ascii_case("Container") {
        text::check_free(Some(&id), path)?;
        let namespace = Arc::clone(view.namespace(target)?);
        namespace::container(view, &namespace, &id, kind).map_err(Refusal::Error)
    } else {
        let message = format!("a namespace has no resources of type {}", text::shown(&resource));
        let error = Error::new(HResult::REQUEST_UNSUPPORTED, message);
        return Err(Refusal::Error(error.at("Type").expected("Endpoint or Container")));
    };
    decision.map_err(|refusal| refusal.map(|error| if error.path.is_some() { error.at(path) } else { error }))
}
