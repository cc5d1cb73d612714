//! Files of every earlier version are read by this one, with the records that they held.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

mod world;

use std::fs;
use std::path::Path;

use hcn_core::Registry;
use redb::{Database, TableDefinition};
use serde_json::Value;
use tempfile::TempDir;
use world::{World, open, wait};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const ENTITIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entities");

fn octets(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Makes the file that a fixture describes: its tables, octet by octet.
fn make(path: &Path, fixture: &str) -> usize {
    let tables: Value = serde_json::from_str(fixture).unwrap();
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        for (name, value) in tables["meta"].as_object().unwrap() {
            meta.insert(name.as_str(), octets(value).as_slice()).unwrap();
        }
        let mut entities = transaction.open_table(ENTITIES).unwrap();
        for (key, value) in tables["entities"].as_object().unwrap() {
            let value = value.as_str().unwrap().as_bytes();
            entities.insert(octets(&Value::from(key.as_str())).as_slice(), value).unwrap();
        }
    }
    transaction.commit().unwrap();
    tables["entities"].as_object().unwrap().len()
}

/// To make the fixture of a new version, once it is the current one: `HCN_STORE_FIXTURE=FILE`. One that is there is never
/// changed.
fn write(fixture: &Path) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    let (store, _) = open(&path);
    for change in &World::filled().1 {
        wait(store.commit(change)).unwrap();
    }
    drop(store);
    use redb::{ReadableDatabase as _, ReadableTable as _};
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_read().unwrap();
    let mut tables = serde_json::json!({"meta": {}, "entities": {}});
    for entry in transaction.open_table(META).unwrap().iter().unwrap() {
        let (name, value) = entry.unwrap();
        tables["meta"][name.value()] = Value::from(hex(value.value()));
    }
    for entry in transaction.open_table(ENTITIES).unwrap().iter().unwrap() {
        let (key, value) = entry.unwrap();
        tables["entities"][hex(key.value())] =
            Value::from(String::from_utf8(value.value().to_vec()).unwrap());
    }
    fs::write(fixture, serde_json::to_string_pretty(&tables).unwrap() + "\n").unwrap();
}

#[test]
fn files_of_every_version_are_read_and_brought_up_to_date() {
    if let Some(fixture) = std::env::var_os("HCN_STORE_FIXTURE") {
        return write(Path::new(&fixture));
    }
    for (version, fixture) in
        [(1, include_str!("fixtures/version-1.json")), (2, include_str!("fixtures/version-2.json"))]
    {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("state");
        let count = make(&path, fixture);
        assert_eq!(count, 4, "version {version}");
        let (store, loaded) = open(&path);
        assert_eq!(Registry::of(&loaded.entities), World::filled().0.published, "version {version}");
        drop(store);
        // Once it is up to date it stays as it is.
        assert_eq!(open(&path).1.entities.len(), count);
    }
}
