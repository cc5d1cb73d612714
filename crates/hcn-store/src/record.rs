//! A record as bytes: JSON, so that a person can read it and a later version can add members.

use std::sync::Arc;

use hcn_core::{Entity, EntityKey};
use hcn_schema::call::Kind;

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
    let kind = Kind::ALL.into_iter().find(|kind| found.first() == Some(&number(*kind)));
    let entity = match kind {
        Some(Kind::Network) => serde_json::from_slice(value).map(|record| Entity::Network(Arc::new(record))),
        Some(Kind::Endpoint) => {
            serde_json::from_slice(value).map(|record| Entity::Endpoint(Arc::new(record)))
        }
        Some(Kind::Namespace) => {
            serde_json::from_slice(value).map(|record| Entity::Namespace(Arc::new(record)))
        }
        Some(Kind::LoadBalancer) => {
            serde_json::from_slice(value).map(|record| Entity::LoadBalancer(Arc::new(record)))
        }
        None => return Err(format!("the record {} is of no known kind", hex(found))),
    };
    let entity = entity.map_err(|error| format!("the record {} does not read: {error}", hex(found)))?;
    if key(entity.key()) == found {
        Ok(entity)
    } else {
        Err(format!("the record {} is another one's", hex(found)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
