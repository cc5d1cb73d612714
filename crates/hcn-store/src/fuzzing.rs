//! Records as they are in the file, for the fuzz targets and for nobody else.

use hcn_core::Entity;

use crate::record;

/// Key and value of an entity's record.
pub fn encode(entity: &Entity) -> (Vec<u8>, Vec<u8>) {
    let record = record::encode(entity);
    (record.key.to_vec(), record.value)
}

/// The entity of a record.
///
/// # Errors
/// What is wrong with it.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Entity, String> {
    record::decode(key, value)
}
