//! All records as a text: for a file that a person keeps, and that any later hcnd reads.
//!
//! Lines of JSON. The first says what it is: `{"hcnd_backup": 1, "boot_id": …, "netns_cookie": …, "records": N}`. N lines
//! follow, one for each record: `{"kind": "Network", "record": {…}}`, or with the record as a text, `"text": "{…}"`, where
//! what clients gave, which is kept octet by octet, has ends of lines in it. The last is `{"crc32": "…"}`, over the octets of all
//! lines before it with their ends.

use std::collections::HashSet;
use std::fmt::Write as _;

use hcn_core::{Entity, restore};
use hcn_schema::call::Kind;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Era, record};

/// Of the text; a later one is refused.
const VERSION: u64 = 1;

/// All records at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backup {
    /// Where they were true: what does not outlive a reboot is left out where it is another one.
    pub era: Era,
    /// The records.
    pub entities: Vec<Entity>,
}

/// Why a text is no backup that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("it is no backup of hcnd: its first line is not {{\"hcnd_backup\": …}}")]
    Foreign,
    /// A newer hcnd wrote it.
    #[error(
        "it is a backup of version {found}, this hcnd knows {VERSION} and older; restore it with the hcnd that wrote it"
    )]
    Newer {
        /// Of the text.
        found: u64,
    },
    /// Its end is missing.
    #[error("its end is missing: it has {found} of {records} records and no line with their checksum")]
    Truncated {
        /// How many there are.
        found: usize,
        /// How many there should be.
        records: u64,
    },
    /// It is not as it was written.
    #[error("it was altered: its checksum is {found}, its content has {computed}")]
    Altered {
        /// What it says.
        found: String,
        /// What it should say.
        computed: String,
    },
    /// A record is wrong.
    #[error("line {line}: {what}")]
    Record {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Head {
    hcnd_backup: u64,
    #[serde(default)]
    boot_id: String,
    #[serde(default)]
    netns_cookie: u64,
    #[serde(default)]
    records: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    kind: String,
    #[serde(borrow, default)]
    record: Option<&'a RawValue>,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    crc32: String,
}

impl Backup {
    /// As a text.
    pub fn encode(&self) -> String {
        let head = Head {
            hcnd_backup: VERSION,
            boot_id: self.era.boot_id.clone(),
            netns_cookie: self.era.netns_cookie,
            records: self.entities.len() as u64,
        };
        // None of these can fail: no Serialize of them does, and a String takes everything.
        let mut text = serde_json::to_string(&head).unwrap_or_default();
        text.push('\n');
        for entity in &self.entities {
            let value = record::encode(entity).value;
            let value = String::from_utf8_lossy(&value);
            let kind = entity.kind().name();
            let _ = match value.contains('\n') {
                false => writeln!(text, r#"{{"kind":"{kind}","record":{value}}}"#),
                true => writeln!(text, r#"{{"kind":"{kind}","text":{}}}"#, serde_json::Value::from(value)),
            };
        }
        let tail = serde_json::to_string(&Tail { crc32: checksum(text.as_bytes()) }).unwrap_or_default();
        text + &tail + "\n"
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it: nothing of it may be used.
    pub fn decode(text: &str) -> Result<Self, BackupError> {
        let mut lines = text.split_inclusive('\n').enumerate();
        let head: Head =
            lines.next().and_then(|(_, line)| serde_json::from_str(line).ok()).ok_or(BackupError::Foreign)?;
        if head.hcnd_backup > VERSION {
            return Err(BackupError::Newer { found: head.hcnd_backup });
        }
        let count = usize::try_from(head.records).unwrap_or(usize::MAX);
        let body: Vec<(usize, &str)> = lines.by_ref().take(count).collect();
        let truncated = BackupError::Truncated { found: body.len(), records: head.records };
        let Some((_, last)) = lines.next() else { return Err(truncated) };
        let tail: Tail = serde_json::from_str(last).map_err(|_| match last.ends_with('\n') {
            true => BackupError::Altered { found: "none".to_owned(), computed: checksum(upto(text, last)) },
            false => truncated,
        })?;
        let computed = checksum(upto(text, last));
        if tail.crc32 != computed || lines.any(|(_, line)| !line.trim().is_empty()) {
            return Err(BackupError::Altered { found: tail.crc32, computed });
        }
        let entities = body.into_iter().map(|(number, line)| decode_line(number + 1, line));
        let entities: Vec<Entity> = entities.collect::<Result<_, _>>()?;
        check(&entities)?;
        Ok(Self { era: Era { boot_id: head.boot_id, netns_cookie: head.netns_cookie }, entities })
    }
}

/// The octets before a line.
fn upto<'a>(text: &'a str, line: &str) -> &'a [u8] {
    let at = line.as_ptr().addr() - text.as_ptr().addr();
    &text.as_bytes()[..at]
}

fn decode_line(number: usize, line: &str) -> Result<Entity, BackupError> {
    let wrong = |what: String| BackupError::Record { line: number, what };
    let line: Line<'_> = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == line.kind);
    let kind = kind.ok_or_else(|| wrong(format!("there is no kind {:?}", line.kind)))?;
    let record = match (line.record, &line.text) {
        (Some(record), None) => record.get(),
        (None, Some(text)) => text,
        _ => return Err(wrong("it has not one of record and text".to_owned())),
    };
    record::read_kind(kind, record.as_bytes()).map_err(|error| wrong(error.to_string()))
}

/// Refuses records that cannot be together.
fn check(entities: &[Entity]) -> Result<(), BackupError> {
    let wrong = |at: usize, what: String| BackupError::Record { line: at + 2, what };
    let (mut keys, mut incarnations) = (HashSet::new(), HashSet::new());
    for (at, entity) in entities.iter().enumerate() {
        let (key, incarnation) = (entity.key(), entity.meta().incarnation);
        if !keys.insert(key) || !incarnations.insert(incarnation) {
            return Err(wrong(at, format!("{} {} is there twice", key.kind, key.id)));
        }
    }
    match restore::dangling(entities).pop() {
        None => Ok(()),
        Some((key, what)) => {
            let at = entities.iter().position(|entity| entity.key() == key).unwrap_or_default();
            Err(wrong(at, what))
        }
    }
}

/// CRC-32 as in zip and Ethernet: against accidents. Whoever may restore a backup may change everything anyway.
fn checksum(octets: &[u8]) -> String {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    let crc = octets.iter().fold(u32::MAX, |crc, octet| (0..8).fold(crc ^ u32::from(*octet), step));
    format!("{:08x}", !crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(checksum(b"123456789"), "cbf43926");
        assert_eq!(checksum(b""), "00000000");
    }

    #[test]
    fn what_is_no_backup_is_told_by_what_it_is() {
        assert_eq!(Backup::decode(&Backup::default().encode()), Ok(Backup::default()));
        assert_eq!(Backup::decode(""), Err(BackupError::Foreign));
        assert_eq!(Backup::decode("{}\n"), Err(BackupError::Foreign));
        assert_eq!(Backup::decode("{\"hcnd_backup\":2}\n?"), Err(BackupError::Newer { found: 2 }));
        let missing = Backup::decode("{\"hcnd_backup\":1,\"records\":3}\n");
        assert_eq!(missing, Err(BackupError::Truncated { found: 0, records: 3 }));
    }
}
