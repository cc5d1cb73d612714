//! Which entity is meant? Names, IDs and starts of IDs.

use hcn_client::blocking::Client;
use hcn_client::{ErrorClass, Guid, Kind, Raw, Request, Target};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Result};

/// The query of every document that hcnctl asks for.
pub(crate) const VERSION_2: &str = r#"{"SchemaVersion":{"Major":2,"Minor":0}}"#;

/// Hex digits that a start of an ID must have.
const SHORTEST: usize = 4;

/// Finds the entity that is called so: by its ID, else by its name, else by a start of its ID.
pub(crate) fn find(client: &mut Client, kind: Kind, which: &str) -> Result<Guid> {
    if let Ok(id) = which.parse() {
        return Ok(id);
    }
    let mut found = client.enumerate(kind, Some(&query(&[("Name".to_owned(), which.to_owned())])))?;
    if let (true, Some(start)) = (found.is_empty(), start(which)) {
        found = client.enumerate(kind, Some(VERSION_2))?;
        found.retain(|id| bare(&id.to_string()).starts_with(&start));
    }
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(Failure::new(ErrorClass::NotFound, format!("there is no {kind} {which:?}"))),
        several => Err(ambiguous(client, kind, which, several)),
    }
}

/// Finds several entities.
pub(crate) fn find_all(client: &mut Client, kind: Kind, which: &[String]) -> Result<Vec<Guid>> {
    which.iter().map(|which| find(client, kind, which)).collect()
}

/// The version 2 document of an entity.
pub(crate) fn document(client: &mut Client, kind: Kind, id: Guid) -> Result<Raw> {
    Ok(client.query(kind, Target::Id(id), Some(VERSION_2))?)
}

/// The version 2 documents of several entities. Those that have gone in the meantime are left out.
pub(crate) fn documents(client: &mut Client, kind: Kind, ids: &[Guid]) -> Result<Vec<Raw>> {
    let requests: std::result::Result<Vec<_>, _> =
        ids.iter().map(|id| Request::query(kind, Target::Id(*id), Some(VERSION_2))).collect();
    let mut documents = Vec::with_capacity(ids.len());
    for result in client.request_all(&requests?)? {
        match result {
            Ok(document) => documents.push(document),
            Err(error) if error.class() == ErrorClass::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(documents)
}

/// A query with filters. Texts that read as a number or a truth value are one, except in properties that are texts.
pub(crate) fn query(filters: &[(String, String)]) -> String {
    let value = |key: &str, text: &str| match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) if !matches!(key, "Name" | "Owner" | "ID") => value,
        _ => Value::from(text),
    };
    let filter: Map<String, Value> =
        filters.iter().map(|(key, text)| (key.clone(), value(key, text))).collect();
    let mut query = json!({ "SchemaVersion": { "Major": 2, "Minor": 0 } });
    if !filter.is_empty() {
        query["Filter"] = Value::from(Value::Object(filter).to_string());
    }
    query.to_string()
}

fn start(which: &str) -> Option<String> {
    let bare = bare(which);
    (bare.len() >= SHORTEST && bare.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(bare)
}

fn bare(id: &str) -> String {
    id.trim_start_matches('{').replace('-', "").to_ascii_uppercase()
}

fn ambiguous(client: &mut Client, kind: Kind, which: &str, ids: &[Guid]) -> Failure {
    let mut message = format!("{which:?} can be one of {} {kind}s; give more of the ID:", ids.len());
    for id in ids.iter().take(20) {
        let document = document(client, kind, *id).ok();
        let document =
            document.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok()).unwrap_or_default();
        let name = document["Name"].as_str().unwrap_or_default();
        message.push_str(&format!("\n  {id}  {}", crate::output::shown(name)));
    }
    if ids.len() > 20 {
        message.push_str("\n  …");
    }
    Failure::usage(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_carry_the_version_and_the_filter_as_a_text() {
        assert_eq!(query(&[]), VERSION_2);
        let filters = [("Name", "8"), ("State", "3"), ("VirtualNetworkName", "a"), ("IsDefault", "true")];
        let filters = filters.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let query: Value = serde_json::from_str(&query(&filters)).unwrap();
        assert_eq!(query["SchemaVersion"]["Major"], 2);
        let filter: Value = serde_json::from_str(query["Filter"].as_str().unwrap()).unwrap();
        let expected = json!({"Name": "8", "State": 3, "VirtualNetworkName": "a", "IsDefault": true});
        assert_eq!(filter, expected);
    }

    #[test]
    fn starts_of_ids_are_told_from_names() {
        assert_eq!(start("5f0b"), Some("5F0B".to_owned()));
        assert_eq!(start("{5F0B1190-63"), Some("5F0B119063".to_owned()));
        for name in ["5f0", "web", "cafe-web", "", "----"] {
            assert_eq!(start(name), None, "{name}");
        }
    }
}
