//! A record as bytes: JSON, so that a person can read it and a later version can add members.

use std::sync::Arc;

use hcn_core::{Entity, EntityKey};
use hcn_schema::Guid;
use hcn_schema::call::Kind;
use serde::de::DeserializeOwned;

/// Key and value of a record in the file.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) value: Vec<u8>,
    /// The incarnation of its entity.
    pub(crate) incarnation: u64,
}

/// The kind's number and the 16 bytes of the ID.
pub(crate) type Key = [u8; 17];

/// Numbers of kinds in the file; they never change.
fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Network => 1,
        Kind::Endpoint => 2,
        Kind::Namespace => 3,
        Kind::LoadBalancer => 4,
        Kind::SdnRoute => 5,
        Kind::GuestNetworkService => 6,
        Kind::PortReservation => 7,
    }
}

pub(crate) fn key(of: EntityKey) -> Key {
    let mut key = [number(of.kind); 17];
    key[1..].copy_from_slice(of.id.as_bytes());
    key
}

pub(crate) fn encode(entity: &Entity) -> Record {
    let value = match entity {
        Entity::Network(record) => serde_json::to_vec(&**record),
        Entity::Endpoint(record) => serde_json::to_vec(&**record),
        Entity::Namespace(record) => serde_json::to_vec(&**record),
        Entity::LoadBalancer(record) => serde_json::to_vec(&**record),
        Entity::SdnRoute(record) => serde_json::to_vec(&**record),
        Entity::GuestNetworkService(record) => serde_json::to_vec(&**record),
        Entity::PortReservation(record) => serde_json::to_vec(&**record),
    };
    // Records hold no maps with keys that are not texts and no Serialize that fails, so this cannot fail.
    Record {
        key: key(entity.key()),
        value: value.unwrap_or_default(),
        incarnation: entity.meta().incarnation,
    }
}

/// The entity of a record, or what is wrong with it.
pub(crate) fn decode(found: &[u8], value: &[u8]) -> Result<Entity, String> {
    let Some((kind, id)) = split(found) else {
        return Err(format!("a record has the unknown key {found:02X?}"));
    };
    let entity = read_kind(kind, value)
        .map_err(|error| format!("the record of {kind} {id} does not read: {error}"))?;
    if key(entity.key()) == found {
        Ok(entity)
    } else {
        Err(format!("the record of {kind} {id} is another one's"))
    }
}

/// The entity of this kind that JSON says.
pub(crate) fn read_kind(kind: Kind, value: &[u8]) -> serde_json::Result<Entity> {
    match kind {
        Kind::Network => read(value).map(Entity::Network),
        Kind::Endpoint => read(value).map(Entity::Endpoint),
        Kind::Namespace => read(value).map(Entity::Namespace),
        Kind::LoadBalancer => read(value).map(Entity::LoadBalancer),
        Kind::SdnRoute => read(value).map(Entity::SdnRoute),
        Kind::GuestNetworkService => read(value).map(Entity::GuestNetworkService),
        Kind::PortReservation => read(value).map(Entity::PortReservation),
    }
}

fn read<T: DeserializeOwned>(value: &[u8]) -> serde_json::Result<Arc<T>> {
    serde_json::from_slice(value).map(Arc::new)
}

/// The kind and the ID of a key.
fn split(key: &[u8]) -> Option<(Kind, Guid)> {
    let (first, id) = key.split_first()?;
    let kind = Kind::ALL.into_iter().find(|kind| number(*kind) == *first)?;
    Some((kind, Guid::from_bytes(id.try_into().ok()?)))
}
