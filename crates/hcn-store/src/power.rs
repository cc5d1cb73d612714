//! What a loss of power leaves of the file: everything up to the last sync, and of the writes since then any, whole or in
//! part. Of each such file the store reads what was acknowledged, with the change under way or without it.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use tokio::sync::oneshot;

use crate::file;
use crate::record::{Key, Record};
use crate::schema::{self, Step};
use crate::writer::Writer;

/// What is lost at once: disks write sectors whole.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Io {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
}

/// A file that remembers how it came to be.
#[derive(Clone, Debug, Default)]
struct Journal {
    octets: Arc<Mutex<Vec<u8>>>,
    done: Arc<Mutex<Vec<Io>>>,
}

impl Journal {
    fn note(&self, io: Io) {
        apply(&mut self.octets.lock().unwrap(), &io);
        self.done.lock().unwrap().push(io);
    }
}

fn apply(octets: &mut Vec<u8>, io: &Io) {
    match io {
        Io::Write(at, data) => {
            let end = octets.len().max(at + data.len());
            octets.resize(end, 0);
            octets[*at..at + data.len()].copy_from_slice(data);
        }
        Io::Length(length) => octets.resize(*length, 0),
        Io::Sync => {}
    }
}

fn place(of: u64) -> usize {
    usize::try_from(of).unwrap()
}

impl StorageBackend for Journal {
    fn len(&self) -> io::Result<u64> {
        Ok(self.octets.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let octets = self.octets.lock().unwrap();
        out.copy_from_slice(&octets[place(offset)..place(offset) + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(Io::Length(place(len)));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(Io::Write(place(offset), data.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(Io::Sync);
        Ok(())
    }
}

/// Numbers that come the same in each run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        place(self.0 % limit.max(1) as u64)
    }
}

type State = Vec<(Key, Vec<u8>)>;

/// A run of commits: how the file came to be, and after how many steps of that which state was acknowledged.
fn run_of_commits(dice: &mut Dice) -> (Vec<Io>, Vec<(usize, State)>) {
    let journal = Journal::default();
    let database = redb::Database::builder().create_with_backend(journal.clone()).unwrap();
    schema::prepare(&database).unwrap();
    let mut state = State::new();
    let steps_so_far = || journal.done.lock().unwrap().len();
    let mut acknowledged = vec![(steps_so_far(), state.clone())];
    let writer = Writer::start(database, None).unwrap();
    for number in 0..60u64 {
        let steps: Vec<Step> = (0..=dice.below(4))
            .map(|_| {
                let key = [u8::try_from(dice.below(20)).unwrap(); 17];
                state.retain(|(other, _)| *other != key);
                if dice.below(3) == 0 {
                    return Step::Delete(key);
                }
                let value = vec![u8::try_from(number).unwrap(); 1 + dice.below(3000)];
                state.push((key, value.clone()));
                Step::Write(Record { key, value, incarnation: number })
            })
            .collect();
        let (reply, answer) = oneshot::channel();
        writer.write(steps, reply).unwrap();
        answer.blocking_recv().unwrap().unwrap();
        state.sort();
        acknowledged.push((steps_so_far(), state.clone()));
    }
    // Not closed, as the power goes: what closing writes comes after the last of these.
    let done = journal.done.lock().unwrap().clone();
    drop(writer);
    (done, acknowledged)
}

/// What is on the disk after a loss of power at a moment: writes since the last sync are there, torn, or not.
fn left(done: &[Io], dice: &mut Dice) -> Vec<u8> {
    let synced = done.iter().rposition(|io| matches!(io, Io::Sync)).map_or(0, |at| at + 1);
    let mut octets = Vec::new();
    done[..synced].iter().for_each(|io| apply(&mut octets, io));
    let reached = dice.below(3);
    for io in &done[synced..] {
        let io = match io {
            Io::Write(at, data) => match (reached, dice.below(3)) {
                (0, _) | (1, 0) => continue,
                (1, 1) => {
                    let part = dice.below(data.len() / SECTOR + 1) * SECTOR;
                    Io::Write(*at, data[..part].to_vec())
                }
                _ => io.clone(),
            },
            other => other.clone(),
        };
        apply(&mut octets, &io);
    }
    octets
}

#[test]
fn after_a_loss_of_power_the_file_holds_what_was_acknowledged() {
    let rounds = std::env::var("HCN_POWER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("state");
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut with, mut without) = (0, 0);
    let (mut done, mut acknowledged) = run_of_commits(&mut dice);
    for round in 0..rounds {
        if round % 1000 == 999 {
            (done, acknowledged) = run_of_commits(&mut dice);
        }
        let (first, last) = (acknowledged[0].0, done.len());
        let moment = first + dice.below(last - first + 1);
        std::fs::write(&path, left(&done[..moment], &mut dice)).unwrap();
        let known = acknowledged.iter().rposition(|(steps, _)| *steps <= moment).unwrap();
        let opened = file::reopen(&path);
        assert!(opened.is_ok(), "round {round}: {opened:?}");
        let database = opened.unwrap();
        let found = schema::records(&database);
        let next = acknowledged.get(known + 1).map(|(_, state)| state);
        if found == acknowledged[known].1 {
            without += 1;
        } else {
            assert_eq!(Some(&found), next, "round {round}, after {known} commits");
            with += 1;
        }
    }
    // All of a change is seldom there before its sync.
    assert!(
        without > 0 && (with > 0 || rounds < 1000),
        "{with} with the change under way, {without} without"
    );
}

#[test]
fn what_no_loss_of_power_leaves_is_told_or_read_as_it_was_at_some_moment() {
    let rounds = std::env::var("HCN_POWER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("state");
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (done, acknowledged) = run_of_commits(&mut dice);
    let (mut told, mut read) = (0, 0);
    for round in 0..rounds {
        let moment = acknowledged[0].0 + dice.below(done.len() - acknowledged[0].0);
        let mut octets = Vec::new();
        // Synced or not, some writes never came: a disk that lies, or a copy that was made while they came.
        let lost = dice.below(done.len());
        let kept = done[..moment].iter().enumerate().filter(|(at, _)| at % 97 != lost % 97);
        kept.for_each(|(_, io)| apply(&mut octets, io));
        match round % 3 {
            0 => octets.truncate(octets.len() - dice.below(octets.len() / 2)),
            1 => {
                let page = dice.below(octets.len() / 4096) * 4096;
                octets[page..page + 4096].fill(0);
            }
            _ => {}
        }
        std::fs::write(&path, octets).unwrap();
        match file::reopen(&path) {
            Err(_) => told += 1,
            // A file that never was whole, which the store does not take for one.
            Ok(database) if !schema::is_prepared(&database) => told += 1,
            Ok(database) => {
                let found = schema::records(&database);
                assert!(acknowledged.iter().any(|(_, state)| *state == found), "round {round}: a mixture");
                read += 1;
            }
        }
    }
    assert!(told > 0 && (read > 0 || rounds < 1000), "{told} told, {read} read");
}
