//! What is wrong with a file is told, and the file is left as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

mod world;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use hcn_core::Registry;
use hcn_schema::call::Kind;
use hcn_store::OpenError;
use redb::{Database, TableDefinition};
use tempfile::TempDir;
use world::{World, era, open, refused, wait};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const ENTITIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entities");

/// A file with one record of each kind.
fn filled(path: &Path) -> World {
    let (store, _) = open(path);
    store.replace_all(&[], &era()).unwrap();
    let (world, changes) = World::filled();
    for change in &changes {
        wait(store.commit(change)).unwrap();
    }
    world
}

fn put(path: &Path, table: TableDefinition<'_, &str, &[u8]>, key: &str, value: &[u8]) {
    let transaction = Database::open(path).unwrap().begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(key, value).unwrap();
    transaction.commit().unwrap();
}

fn put_record(path: &Path, key: &[u8], value: &[u8]) {
    let transaction = Database::open(path).unwrap().begin_write().unwrap();
    transaction.open_table(ENTITIES).unwrap().insert(key, value).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn nothing_is_written_into_a_newer_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    filled(&path);
    put(&path, META, "version", &9u64.to_be_bytes());
    let before = fs::read(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::Newer { found: 9, known: 2 }), "{error}");
    assert!(fs::read(&path).unwrap() == before, "the file was changed");
}

#[test]
fn nothing_is_written_into_a_newer_file_that_was_not_closed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    filled(&path);
    let killed = folder.path().join("killed");
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("version", 9u64.to_be_bytes().as_slice()).unwrap();
    transaction.commit().unwrap();
    fs::copy(&path, &killed).unwrap();
    let before = fs::read(&killed).unwrap();
    let error = refused(&killed);
    assert!(matches!(error, OpenError::Newer { found: 9, known: 2 }), "{error}");
    assert!(fs::read(&killed).unwrap() == before, "the file was changed");
}

#[test]
fn a_damaged_file_that_was_not_closed_is_told_or_read_without_its_last_change() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    let (store, _) = open(&path);
    let (_, changes) = World::filled();
    let mut registry = Registry::new();
    let mut states = Vec::new();
    for change in &changes {
        wait(store.commit(change)).unwrap();
        registry.apply(change);
        states.push(registry.clone());
    }
    let whole = fs::read(&path).unwrap();
    drop(store);
    // A last change whose octets are wrong may have been cut short by a loss of power: who sees the file cannot tell.
    let last = &states[states.len() - 2..];
    let (mut told, mut read) = (0, 0);
    let used = (0..whole.len()).filter(|at| whole[*at] != 0).step_by(251);
    let flipped = used.map(|at| {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        damaged
    });
    let cut = (1..8).map(|eighths| whole[..whole.len() / 8 * eighths].to_vec());
    for damaged in flipped.chain(cut) {
        fs::write(&path, &damaged).unwrap();
        match hcn_store::Store::open(&path, &era()) {
            Err(OpenError::Corrupt(_)) => {
                assert!(fs::read(&path).unwrap() == damaged, "the file was changed");
                told += 1;
            }
            Err(error) => panic!("{error}"),
            Ok((_store, loaded)) => {
                assert!(last.contains(&Registry::of(&loaded.entities)), "{:?}", loaded.entities);
                read += 1;
            }
        }
    }
    assert!(told > 0 && read > 0, "{told} told, {read} read");
}

#[test]
fn a_version_that_is_none_is_no_old_one() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    filled(&path);
    for (name, value) in [("version", &b"one"[..]), ("last incarnation", b"?"), ("netns cookie", b"????")] {
        let whole = fs::read(&path).unwrap();
        put(&path, META, name, value);
        let error = refused(&path);
        assert!(matches!(&error, OpenError::Corrupt(what) if what.contains(name)), "{error}");
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn a_record_that_does_not_read_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    filled(&path);
    let whole = fs::read(&path).unwrap();
    let id = World::guid(99);
    let mut key = vec![2];
    key.extend(id.as_bytes());
    let mut unknown = key.clone();
    unknown[0] = 77;
    let cases: [(&[u8], &[u8], String); 4] = [
        (&key, b"{}", format!("endpoint {id}")),
        (&key, b"\xff\x00", format!("endpoint {id}")),
        (&unknown, b"{}", "unknown key".to_owned()),
        (b"", b"{}", "unknown key".to_owned()),
    ];
    for (key, value, told) in cases {
        put_record(&path, key, value);
        let before = fs::read(&path).unwrap();
        let error = refused(&path);
        assert!(matches!(&error, OpenError::Corrupt(what) if what.contains(&told)), "{error}");
        assert!(fs::read(&path).unwrap() == before, "the file was changed");
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn one_wrong_octet_is_told_or_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    let world = filled(&path);
    let whole = fs::read(&path).unwrap();
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let (mut told, mut harmless) = (0, 0);
    // Most of it is what pages held before.
    for at in used.into_iter().step_by(251) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        fs::write(&path, &damaged).unwrap();
        match hcn_store::Store::open(&path, &era()) {
            Err(OpenError::Corrupt(_)) => {
                assert!(fs::read(&path).unwrap() == damaged, "octet {at}: the file was changed");
                told += 1;
            }
            Err(error) => panic!("octet {at}: {error}"),
            Ok((_store, loaded)) => {
                assert_eq!(Registry::of(&loaded.entities), world.published, "octet {at}");
                harmless += 1;
            }
        }
    }
    assert!(told > 10, "{told} told, {harmless} harmless");
}

#[test]
fn what_happens_to_the_file_of_a_running_hcnd_does_not_end_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    let (store, _) = open(&path);
    let mut world = World::default();
    let mut commit = |id| {
        let changes = world.create(Kind::Namespace, id, None, r#"{"SchemaVersion":{"Major":2}}"#);
        wait(store.commit(&changes[0]))
    };
    for id in 0..20 {
        commit(id).unwrap();
    }
    let file = fs::File::options().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    for at in (0..length).step_by(4096) {
        file.write_all_at(&[0x5a; 4096], at).unwrap();
    }
    file.set_len(8192).unwrap();
    for id in 20..30 {
        // It may go on from memory or fail, as long as it answers.
        drop(commit(id));
    }
    drop(store);
}
