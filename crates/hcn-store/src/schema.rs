//! What the file holds: a table of facts about the file, a table of records, and the way from older versions.

use std::collections::BTreeMap;

use hcn_core::{Change, Entity, restore};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};

use crate::error::{CommitError, OpenError};
use crate::record::{self, Key, Record};
use crate::{Era, Loaded};

/// Facts about the file, by name.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Records, by kind and ID.
const ENTITIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entities");

const VERSION: &str = "version";
const BOOT_ID: &str = "boot id";
const NETNS_COOKIE: &str = "netns cookie";
const LAST_INCARNATION: &str = "last incarnation";

/// The steps from each version to the next. What a step did in a release is never changed; new steps are added.
const MIGRATIONS: &[Migration] = &[
    // To 2: there are records of kinds that an earlier hcnd does not know, and none yet in the file.
    |_| Ok(()),
];

type Migration = fn(&WriteTransaction) -> Result<(), redb::Error>;

/// One record of a change.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(Record),
    Delete(Key),
}

impl Step {
    pub(crate) fn of(change: &Change) -> Vec<Self> {
        change
            .steps
            .iter()
            .filter_map(|step| match (&step.before, &step.after) {
                (_, Some(after)) => Some(Self::Write(record::encode(after))),
                (Some(before), None) => Some(Self::Delete(record::key(before.key()))),
                (None, None) => None,
            })
            .collect()
    }
}

/// Makes the tables of a new file, and brings those of an older version up to date.
pub(crate) fn prepare(database: &Database) -> Result<(), OpenError> {
    migrate(database, MIGRATIONS)
}

/// Refuses a file that this hcnd cannot read, in case it is opened only for that.
pub(crate) fn check(database: &impl ReadableDatabase) -> Result<(), OpenError> {
    match version(database)? {
        Some(version) if version == current(MIGRATIONS) => load(database, &Era::default()).map(drop),
        Some(version) => known(version, MIGRATIONS),
        // A file gets its name when it is whole.
        None => Err(OpenError::Corrupt("it holds no state".to_owned())),
    }
}

/// Reads everything.
pub(crate) fn load(database: &impl ReadableDatabase, era: &Era) -> Result<Loaded, OpenError> {
    let transaction = database.begin_read().map_err(|error| OpenError::of(error.into()))?;
    let meta = transaction.open_table(META).map_err(|error| OpenError::of(error.into()))?;
    let fact = |name: &str| -> Result<Vec<u8>, OpenError> {
        let value = meta.get(name).map_err(|error| OpenError::of(error.into()))?;
        Ok(value.map(|value| value.value().to_vec()).unwrap_or_default())
    };
    let written = Era {
        boot_id: String::from_utf8_lossy(&fact(BOOT_ID)?).into_owned(),
        netns_cookie: known_number(NETNS_COOKIE, &fact(NETNS_COOKIE)?)?,
    };
    let last_incarnation = known_number(LAST_INCARNATION, &fact(LAST_INCARNATION)?)?;
    let table = transaction.open_table(ENTITIES).map_err(|error| OpenError::of(error.into()))?;
    let mut entities: Vec<Entity> = Vec::new();
    for entry in table.iter().map_err(|error| OpenError::of(error.into()))? {
        let (key, value) = entry.map_err(|error| OpenError::of(error.into()))?;
        entities.push(record::decode(key.value(), value.value()).map_err(OpenError::Corrupt)?);
    }
    entities.sort_by_key(|entity| entity.meta().incarnation);
    Ok(Loaded { entities, same_era: written == *era, last_incarnation })
}

/// The records that read, without endpoints whose network does not. None if not even the table does, or the version is not
/// known.
pub(crate) fn readable(database: &impl ReadableDatabase) -> Option<Vec<Entity>> {
    known(version(database).ok()??, MIGRATIONS).ok()?;
    let table = database.begin_read().ok()?.open_table(ENTITIES).ok()?;
    let mut entities: Vec<Entity> = Vec::new();
    for entry in table.iter().ok()? {
        let (key, value) = entry.ok()?;
        entities.extend(record::decode(key.value(), value.value()).ok());
    }
    entities.sort_by_key(|entity| entity.meta().incarnation);
    let lost = restore::dangling(&entities);
    entities.retain(|entity| !lost.iter().any(|(of, _)| *of == entity.key()));
    Some(entities)
}

/// The version that these steps lead to.
fn current(migrations: &[Migration]) -> u64 {
    1 + migrations.len() as u64
}

fn known(version: u64, migrations: &[Migration]) -> Result<(), OpenError> {
    let known = current(migrations);
    if version > known { Err(OpenError::Newer { found: version, known }) } else { Ok(()) }
}

/// Checks the version, without writing anything into a newer file.
fn migrate(database: &Database, migrations: &[Migration]) -> Result<(), OpenError> {
    let current = current(migrations);
    let found = version(database)?;
    if let Some(version) = found {
        known(version, migrations)?;
        if version == current {
            return Ok(());
        }
    }
    let failed = |error: redb::Error| OpenError::of(error);
    let transaction = database.begin_write().map_err(|error| failed(error.into()))?;
    if let Some(version) = found {
        let done = usize::try_from(version).unwrap_or_default().saturating_sub(1);
        for step in migrations.iter().skip(done) {
            step(&transaction).map_err(failed)?;
        }
    }
    {
        transaction.open_table(ENTITIES).map_err(|error| failed(error.into()))?;
        let mut meta = transaction.open_table(META).map_err(|error| failed(error.into()))?;
        meta.insert(VERSION, current.to_be_bytes().as_slice()).map_err(|error| failed(error.into()))?;
    }
    transaction.commit().map_err(|error| failed(error.into()))
}

/// The version of the file; none of a new one.
fn version(database: &impl ReadableDatabase) -> Result<Option<u64>, OpenError> {
    let transaction = database.begin_read().map_err(|error| OpenError::of(error.into()))?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(OpenError::of(error.into())),
    };
    let version = meta.get(VERSION).map_err(|error| OpenError::of(error.into()))?;
    match version {
        Some(version) => known_number(VERSION, version.value()).map(Some),
        None => Err(OpenError::Corrupt("the file does not say its version".to_owned())),
    }
}

/// A number of the file; 0 if it was never written.
fn known_number(name: &str, bytes: &[u8]) -> Result<u64, OpenError> {
    match bytes {
        [] => Ok(0),
        _ => number(bytes).ok_or_else(|| OpenError::Corrupt(format!("its {name} is no number"))),
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// What records were before transactions that failed at their end: such a one may be in the file nevertheless.
pub(crate) type Doubt = BTreeMap<Key, Option<Vec<u8>>>;

/// Writes changes in one transaction, all or none, after what is in doubt has been put back. If it fails, what it changes
/// is in doubt, too.
pub(crate) fn write(
    database: &Database,
    doubt: &mut Doubt,
    changes: &[Vec<Step>],
) -> Result<(), CommitError> {
    let steps = || changes.iter().flatten();
    let transaction = begin(database)?;
    let before = (|| {
        let mut table = transaction.open_table(ENTITIES)?;
        for (key, value) in &*doubt {
            match value {
                Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                None => drop(table.remove(key.as_slice())?),
            }
        }
        let mut before = doubt.clone();
        for step in steps() {
            let (key, old) = match step {
                Step::Write(record) => {
                    (record.key, table.insert(record.key.as_slice(), record.value.as_slice())?)
                }
                Step::Delete(key) => (*key, table.remove(key.as_slice())?),
            };
            // The first change of a record in this transaction finds what it was before it.
            before.entry(key).or_insert_with(|| old.map(|old| old.value().to_vec()));
        }
        drop(table);
        let youngest = steps().filter_map(|step| match step {
            Step::Write(record) => Some(record.incarnation),
            Step::Delete(_) => None,
        });
        note_incarnation(&transaction, youngest.max())?;
        Ok(before)
    })()
    .map_err(CommitError::of)?;
    // From here on it may reach the file, whatever is answered.
    *doubt = before;
    transaction.commit().map_err(|error| CommitError::of(error.into()))?;
    doubt.clear();
    Ok(())
}

/// Writes these records in place of all others, in one transaction. One that fails may be in the file nevertheless; it
/// says the same as the next attempt.
pub(crate) fn replace(database: &Database, records: &[Record], era: &Era) -> Result<(), CommitError> {
    let transaction = begin(database)?;
    (|| {
        transaction.delete_table(ENTITIES)?;
        let mut table = transaction.open_table(ENTITIES)?;
        for record in records {
            table.insert(record.key.as_slice(), record.value.as_slice())?;
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert(BOOT_ID, era.boot_id.as_bytes())?;
        meta.insert(NETNS_COOKIE, era.netns_cookie.to_be_bytes().as_slice())?;
        drop(meta);
        note_incarnation(&transaction, records.iter().map(|record| record.incarnation).max())
    })()
    .map_err(CommitError::of)?;
    transaction.commit().map_err(|error| CommitError::of(error.into()))
}

/// Durability is immediate unless told otherwise.
fn begin(database: &Database) -> Result<WriteTransaction, CommitError> {
    database.begin_write().map_err(|error| CommitError::of(error.into()))
}

/// Keeps the highest incarnation, also of entities that are gone: handles are told apart by it.
fn note_incarnation(transaction: &WriteTransaction, youngest: Option<u64>) -> Result<(), redb::Error> {
    let Some(youngest) = youngest else { return Ok(()) };
    let mut meta = transaction.open_table(META)?;
    let known = meta.get(LAST_INCARNATION)?.and_then(|value| number(value.value())).unwrap_or_default();
    if youngest > known {
        meta.insert(LAST_INCARNATION, youngest.to_be_bytes().as_slice())?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) fn is_prepared(database: &Database) -> bool {
    version(database).is_ok_and(|version| version.is_some())
}

/// What is in the file, undecoded.
#[cfg(test)]
pub(crate) fn records(database: &Database) -> Vec<(Key, Vec<u8>)> {
    let table = database.begin_read().unwrap().open_table(ENTITIES).unwrap();
    let entry = |(key, value): (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>)| {
        (key.value().try_into().unwrap(), value.value().to_vec())
    };
    table.iter().unwrap().map(|found| entry(found.unwrap())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_version(database: &Database, version: u64) {
        let transaction = database.begin_write().unwrap();
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert(VERSION, version.to_be_bytes().as_slice()).unwrap();
        drop(meta);
        transaction.commit().unwrap();
    }

    #[test]
    fn an_older_file_is_brought_up_to_date_once_and_a_newer_one_is_refused() {
        let step: Migration = |transaction| {
            let mut meta = transaction.open_table(META)?;
            let done = meta.get("steps")?.and_then(|value| number(value.value())).unwrap_or(0);
            meta.insert("steps", (done + 1).to_be_bytes().as_slice())?;
            Ok(())
        };
        let database = crate::file::in_memory().unwrap();
        migrate(&database, &[]).unwrap();
        assert_eq!(version(&database).unwrap(), Some(1));
        let steps = || {
            let transaction = database.begin_read().unwrap();
            let meta = transaction.open_table(META).unwrap();
            meta.get("steps").unwrap().and_then(|value| number(value.value())).unwrap_or(0)
        };
        for _ in 0..2 {
            migrate(&database, &[step, step]).unwrap();
            assert_eq!((version(&database).unwrap(), steps()), (Some(3), 2));
        }
        set_version(&database, 9);
        let refused = migrate(&database, &[step, step]).unwrap_err();
        assert!(matches!(refused, OpenError::Newer { found: 9, known: 3 }), "{refused}");
        assert_eq!((version(&database).unwrap(), steps()), (Some(9), 2));
    }
}
