//! Reading calls: enumerate, open, query. They look at published records only.

mod documents;
mod explain;
mod filter;

use hcn_dataplane::{Counters, LinkId};
use hcn_schema::base::Version;
use hcn_schema::call::{Answer, Call, Kind, Reference, Verb};
use hcn_schema::enums::QueryFlags;
use hcn_schema::query::HostComputeQuery;
use hcn_schema::{Error, Guid, HResult, Raw, Result};
use serde_json::{Value, json};

pub(crate) use documents::{containers, endpoint_params, resources, state};
pub use explain::{RulesOf, explain};

use crate::compile;
use crate::decide::{check_incarnation, missing};
use crate::entity::{Endpoint, Entity, EntityKey};
use crate::registry::Registry;
use crate::v1;

/// Answers a reading call.
///
/// # Errors
/// Those of contract 3.6 for a missing entity, a bad query or a handle that outlived its entity.
pub fn read(registry: &Registry, call: &Call) -> Result<Answer> {
    match &call.verb {
        Verb::Enumerate { query } => {
            filter::enumerate(registry, call.kind, query.as_deref()).map(Answer::Ids)
        }
        Verb::Open { id } => {
            let entity = find(registry, call.kind, Reference { id: *id, incarnation: None })?;
            Ok(Answer::Entity { id: *id, incarnation: entity.meta().incarnation })
        }
        Verb::Query { target, query } => {
            let query = HostComputeQuery::parse(query.as_deref())?;
            let entity = find(registry, call.kind, *target)?;
            let detailed = query.flags.has(QueryFlags::DETAILED);
            Ok(Answer::Document(match query.schema_version {
                Some(Version { major: 0 | 2, .. }) => documents::document(registry, &entity, detailed),
                Some(_) | None => flat_document(registry, &entity, detailed),
            }))
        }
        Verb::QueryAddresses { target, query } => {
            HostComputeQuery::parse(query.as_deref())?;
            match find(registry, call.kind, *target)? {
                Entity::Endpoint(endpoint) => Ok(Answer::Document(addresses(&endpoint))),
                _ => {
                    Err(Error::new(HResult::REQUEST_UNSUPPORTED, format!("a {} has no addresses", call.kind)))
                }
            }
        }
        Verb::Explain { .. } => {
            Err(Error::new(HResult::INVALID_ARGUMENT, "what becomes of packets depends on the host, too"))
        }
        Verb::QueryStats { .. } => {
            Err(Error::new(HResult::INVALID_ARGUMENT, "counters are read from the kernel"))
        }
        Verb::Create { .. } | Verb::Modify { .. } | Verb::Act { .. } | Verb::Delete { .. } => {
            Err(Error::new(HResult::INVALID_ARGUMENT, "changing calls are decided by the engine"))
        }
    }
}

/// The version 1 document of an entity; kinds that came with version 2 have only that form.
pub(crate) fn flat_document(registry: &Registry, entity: &Entity, detailed: bool) -> Raw {
    let flat = v1::document(registry, entity, detailed);
    flat.unwrap_or_else(|| documents::document(registry, entity, detailed))
}

/// HcnQueryEndpointAddresses.
fn addresses(endpoint: &Endpoint) -> Raw {
    let addresses: Vec<Value> = endpoint
        .addresses
        .iter()
        .map(|address| json!({"IpAddress": address.addr(), "PrefixLength": address.prefix_len()}))
        .collect();
    Raw::of(&json!({ "Addresses": addresses }))
}

/// The endpoint whose counters a call is for: its link, none while it has none, and whether that is its own end of it.
///
/// # Errors
/// Those of [`read`].
pub fn stats_link(
    registry: &Registry,
    kind: Kind,
    target: Reference,
    query: Option<&str>,
) -> Result<(Guid, Option<(LinkId, bool)>)> {
    HostComputeQuery::parse(query)?;
    let Entity::Endpoint(endpoint) = find(registry, kind, target)? else {
        return Err(Error::new(HResult::REQUEST_UNSUPPORTED, format!("a {kind} has no counters")));
    };
    Ok((endpoint.meta.id, compile::carrier(registry, &endpoint)))
}

/// The statistics of an endpoint. What the host receives from its link, the endpoint has sent.
pub fn stats(id: Guid, counters: &Counters) -> Raw {
    Raw::of(&json!({
        "BytesReceived": counters.sent_bytes,
        "BytesSent": counters.received_bytes,
        "DroppedPacketsIncoming": counters.sent_dropped,
        "DroppedPacketsOutgoing": counters.received_dropped,
        "EndpointId": id,
        "InstanceId": id,
        "PacketsReceived": counters.sent_packets,
        "PacketsSent": counters.received_packets,
    }))
}

fn find(registry: &Registry, kind: Kind, target: Reference) -> Result<Entity> {
    let entity = registry.get(EntityKey { kind, id: target.id });
    let entity = entity.ok_or_else(|| match (kind, target.incarnation) {
        // A read through a handle: the object is torn down, whatever its kind (1.2).
        (Kind::Endpoint, Some(_)) => {
            let message = format!("the endpoint {} of this handle was deleted", target.id);
            Error::new(HResult::OBJECT_USED_AFTER_UNLOAD, message)
        }
        _ => missing(kind, target),
    })?;
    check_incarnation(kind, target, entity.meta())?;
    Ok(entity)
}
