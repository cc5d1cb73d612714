//! What is committed is there after whatever happens; what cannot be used is told and left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod world;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hcn_core::{Change, Entity, Registry};
use hcn_schema::HResult;
use hcn_schema::call::Kind;
use hcn_store::{CommitError, Era, OpenError, Store};
use tempfile::TempDir;
use world::{World, era, open, refused, wait};

/// Names the test that a child process runs.
const CHILD: &str = "HCN_STORE_TEST_CHILD";

#[test]
fn every_kind_comes_back_as_it_was() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a/b/state");
    let (world, changes) = World::filled();
    let (store, loaded) = open(&path);
    assert!(loaded.entities.is_empty() && !loaded.same_era);
    store.replace_all(&[], &era()).unwrap();
    for change in changes {
        wait(store.commit(&change)).unwrap();
    }
    drop(store);
    let (store, loaded) = open(&path);
    assert!(loaded.same_era);
    assert_eq!(Registry::of(&loaded.entities), world.published);
    let youngest = world.published.entities().map(|entity| entity.meta().incarnation).max();
    assert_eq!(Some(loaded.last_incarnation), youngest);

    // What is deleted is gone; the incarnations stay.
    let mut change = Change::default();
    world.published.entities().for_each(|entity| change.delete(entity));
    wait(store.commit(&change)).unwrap();
    drop(store);
    let other = Era { netns_cookie: 8, ..era() };
    let (_store, loaded) = Store::open(&path, &other).unwrap();
    assert!(loaded.entities.is_empty() && !loaded.same_era);
    assert_eq!(Some(loaded.last_incarnation), youngest);
}

#[test]
fn replacing_everything_is_one_step() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    let (world, changes) = World::filled();
    let (store, _) = open(&path);
    for change in changes {
        wait(store.commit(&change)).unwrap();
    }
    let networks: Vec<Entity> =
        world.published.entities().filter(|entity| entity.kind() == Kind::Network).collect();
    let now = Era { boot_id: "another boot".to_owned(), ..era() };
    store.replace_all(&networks, &now).unwrap();
    drop(store);
    let (_store, loaded) = Store::open(&path, &now).unwrap();
    assert!(loaded.same_era);
    assert_eq!(loaded.entities, networks);
}

#[test]
fn a_failed_commit_fails_alone_and_those_after_it_succeed() {
    let store = Store::in_memory().unwrap();
    let (_, changes) = World::filled();
    store.fail_commits(1);
    let failed = wait(store.commit(&changes[0])).unwrap_err();
    assert!(matches!(failed, CommitError::Io(_)), "{failed}");
    assert_eq!(failed.code(), HResult::GENERAL_FAILURE);
    for change in changes {
        wait(store.commit(&change)).unwrap();
    }
}

#[test]
fn what_was_asked_is_finished_when_the_store_goes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    let (store, _) = open(&path);
    let (world, changes) = World::filled();
    for change in &changes {
        // Nobody waits for the answer.
        drop(store.commit(change));
    }
    drop(store);
    assert_eq!(Registry::of(&open(&path).1.entities), world.published);
}

#[test]
fn commits_take_this_long() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(&folder.path().join("state"));
    let (_, changes) = World::filled();
    // What the disk takes by itself, in turn with the commits: both meet the same load.
    let file = fs::File::create(folder.path().join("floor")).unwrap();
    file.write_all_at(&[1; 8 * 4096], 0).unwrap();
    let timed = |work: &dyn Fn()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let (mut floor, mut times): (Vec<Duration>, Vec<Duration>) = (0..100u8)
        .map(|n| {
            let sync = || {
                file.write_all_at(&[n; 2 * 4096], u64::from(n % 4) * 8192).unwrap();
                file.sync_data().unwrap();
            };
            (timed(&sync), timed(&|| wait(store.commit(&changes[1])).unwrap()))
        })
        .unzip();
    floor.sort();
    times.sort();
    let start = Instant::now();
    wait(async {
        let all: Vec<_> = (0..100).map(|_| store.commit(&changes[1])).collect();
        for commit in all {
            commit.await.unwrap();
        }
    });
    let sum: Duration = times.iter().sum();
    println!(
        "measured: commit p50 {:?} (fdatasync {:?}), 100 one after the other {sum:?}, 100 at once {:?}",
        times[50],
        floor[50],
        start.elapsed()
    );
}

#[test]
fn a_damaged_file_is_told_and_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    let (store, _) = open(&path);
    let (_, changes) = World::filled();
    for change in changes {
        wait(store.commit(&change)).unwrap();
    }
    assert!(matches!(refused(&path), OpenError::InUse));
    drop(store);
    let whole = fs::read(&path).unwrap();
    let mut damaged = vec![b"no database".to_vec(), whole[..whole.len() / 2].to_vec()];
    for page in 0..whole.len() / 4096 {
        if whole[page * 4096..(page + 1) * 4096].iter().any(|byte| *byte != 0) {
            let mut zeroed = whole.clone();
            zeroed[page * 4096..(page + 1) * 4096].fill(0);
            damaged.push(zeroed);
        }
    }
    let count = damaged.len();
    let mut told = 0;
    for bytes in damaged {
        fs::write(&path, &bytes).unwrap();
        match Store::open(&path, &era()) {
            Err(error) => {
                assert!(matches!(error, OpenError::Corrupt(_)), "{error}");
                assert!(fs::read(&path).unwrap() == bytes, "the file was changed");
                told += 1;
            }
            // A page that nothing refers to any more.
            Ok((store, loaded)) => {
                assert_eq!(loaded.entities.len(), 4);
                drop(store);
            }
        }
    }
    assert!(told >= 4, "{told} of {count}");
    fs::write(&path, &whole).unwrap();
    assert_eq!(open(&path).1.entities.len(), 4);
}

/// Runs the rest of a test as another process, which is killed.
#[test]
fn after_a_kill_everything_acknowledged_is_there() {
    if let Some(path) = std::env::var_os(CHILD) {
        let (store, _) = open(Path::new(&path));
        let mut world = World::default();
        for id in 0.. {
            for change in world.create(Kind::Namespace, id, None, r#"{"SchemaVersion":{"Major":2}}"#) {
                wait(store.commit(&change)).unwrap();
            }
            println!("done {id}");
        }
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    for wait_ms in [5, 20, 60] {
        let _ = fs::remove_file(&path);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["after_a_kill_everything_acknowledged_is_there", "--exact", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = None;
        let note = |line: String, last: &mut Option<u64>| {
            if let Some((_, id)) = line.split_once("done ") {
                *last = Some(id.parse().unwrap());
            }
        };
        while last.is_none() {
            note(lines.next().unwrap().unwrap(), &mut last);
        }
        std::thread::sleep(Duration::from_millis(wait_ms));
        child.kill().unwrap();
        lines.map_while(Result::ok).for_each(|line| note(line, &mut last));
        child.wait().unwrap();
        let (_, loaded) = open(&path);
        assert!(loaded.entities.len() as u64 > last.unwrap(), "{} of {last:?}", loaded.entities.len());
    }
}
