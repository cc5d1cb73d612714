//! Decisions on SDN routes.

use std::sync::Arc;

use hcn_schema::call::{Answer, Kind, Reference};
use hcn_schema::sdn_route::HostComputeRoute;
use hcn_schema::{Error, Guid, HResult, Result};

use super::load_balancer::{endpoint_ids, endpoints, network_of};
use super::{Decision, Outcome, Refusal, View, document, endpoint, event, policies, request};
use crate::entity::{Change, Endpoint, Entity, Meta, SdnRoute};
use crate::text;

pub(super) fn create(view: &View<'_>, id: Option<Guid>, given: Option<&str>) -> Outcome<Decision> {
    let (document, _): (HostComputeRoute, _) = document(view, given)?;
    let id = view.new_id(id, document.id.as_deref())?;
    let route = parse(view, document, view.new_meta(id))?;
    if view.registry.sdn_routes.get(id).is_some() {
        let error =
            Error::new(HResult::OBJECT_ALREADY_EXISTS, format!("there is an SDN route with the ID {id}"));
        return Err(Refusal::Error(error.at("ID")));
    }
    let answer = Answer::Entity { id, incarnation: route.meta.incarnation };
    let endpoints = route.endpoints.clone();
    let entity = Entity::SdnRoute(Arc::new(route));
    let mut change = Change::default();
    change.create(entity.clone());
    let mut decision = Decision::new(change, answer);
    endpoint::follow(view, &endpoints, &mut decision)?;
    decision.after.push(event("create", None, &entity));
    Ok(decision)
}

/// A whole document takes the place of the one from before (contract 2.12).
pub(super) fn modify(view: &View<'_>, target: Reference, given: Option<&str>) -> Outcome<Decision> {
    let given = request(given)?;
    let before = Arc::clone(view.sdn_route(target)?);
    let mut document: HostComputeRoute = hcn_schema::parse(given)?;
    super::known_version(document.schema_version)?;
    super::same_id(document.id.as_deref(), before.meta.id)?;
    if document.owner.is_none() {
        document.owner.clone_from(&before.document.owner);
    }
    if document.name.is_none() {
        document.name.clone_from(&before.document.name);
    }
    let keys: Vec<_> = before.endpoints.iter().map(|id| (Kind::Endpoint, *id)).collect();
    view.all_settled(&keys)?;
    let after = parse(view, document, Meta::next(&before.meta, view.context.filetime))?;
    let mut endpoints = after.endpoints.clone();
    endpoints.extend(before.endpoints.iter().filter(|id| !after.endpoints.contains(id)));
    let after = Entity::SdnRoute(Arc::new(after));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    endpoint::follow(view, &endpoints, &mut decision)?;
    decision.after.push(event("modify", None, &after));
    decision.change.replace(Entity::SdnRoute(before), after);
    Ok(decision)
}

/// Checks a document and gives the record that it means.
fn parse(view: &View<'_>, mut document: HostComputeRoute, meta: Meta) -> Outcome<SdnRoute> {
    text::check_free(document.name.as_deref(), "Name")?;
    text::check_free(document.owner.as_deref(), "Owner")?;
    let ids = endpoint_ids(&document.host_compute_endpoints)?;
    let mut needed = vec![(Kind::SdnRoute, meta.id)];
    needed.extend(ids.iter().map(|id| (Kind::Endpoint, *id)));
    view.all_settled(&needed)?;
    let endpoints = endpoints(view, &ids)?;
    let network = network_of(view, document.host_compute_network.as_deref(), &endpoints)?;
    // The schema calls the list `Routes`, Go clients `Setting` (contract 2.9).
    let name = if document.routes.is_empty() { "Setting" } else { "Routes" };
    if document.routes.is_empty() {
        document.routes.clone_from(&document.setting);
    }
    document.setting.clone_from(&document.routes);
    check(&document, name)?;
    document.id = None;
    document.version = None;
    document.health = None;
    document.schema_version = None;
    document.state = None;
    document.host_compute_endpoints = ids.iter().map(Guid::to_string).collect();
    let network = network.map(|network| network.meta.id);
    document.host_compute_network = document.host_compute_network.and(network).map(|id| id.to_string());
    Ok(SdnRoute { meta, document, network, endpoints: ids })
}

fn check(document: &HostComputeRoute, name: &str) -> Result<()> {
    if document.routes.is_empty() {
        let error = Error::new(HResult::INVALID_POLICY, "an SDN route needs a route");
        return Err(error.at("Routes").expected("one or more"));
    }
    for (index, route) in document.routes.iter().enumerate() {
        policies::check_sdn_route(route).map_err(|error| error.within(&format!("{name}[{index}]")))?;
    }
    Ok(())
}

pub(super) fn delete(view: &View<'_>, id: Guid) -> Outcome<Decision> {
    let route = view.sdn_route(Reference { id, incarnation: None })?;
    let before = Entity::SdnRoute(Arc::clone(route));
    let mut decision = Decision::new(Change::default(), Answer::Done);
    endpoint::follow(view, &route.endpoints, &mut decision)?;
    decision.after.push(event("delete", None, &before));
    decision.change.delete(before);
    Ok(decision)
}

/// Takes endpoints that go out of the SDN routes that they have (B31).
pub(super) fn forget(view: &View<'_>, endpoints: &[Arc<Endpoint>], decision: &mut Decision) -> Outcome<()> {
    let gone: Vec<Guid> = endpoints.iter().map(|endpoint| endpoint.meta.id).collect();
    let mut routes: Vec<Arc<SdnRoute>> = Vec::new();
    for route in gone.iter().flat_map(|id| view.registry.routes_of(*id)) {
        if routes.iter().all(|other| other.meta.id != route.meta.id) {
            routes.push(Arc::clone(route));
        }
    }
    for before in routes {
        view.sdn_route(Reference { id: before.meta.id, incarnation: None })?;
        let mut after = SdnRoute::clone(&before);
        after.meta = Meta::next(&before.meta, view.context.filetime);
        after.endpoints.retain(|id| !gone.contains(id));
        after.document.host_compute_endpoints = after.endpoints.iter().map(Guid::to_string).collect();
        let after = Entity::SdnRoute(Arc::new(after));
        decision.after.push(event("modify", None, &after));
        decision.change.replace(Entity::SdnRoute(before), after);
    }
    Ok(())
}
