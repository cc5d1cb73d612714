//! What becomes of the file where the disk is full or cannot be written, and when hcnd is killed while it makes it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod world;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hcn_core::Registry;
use hcn_schema::HResult;
use hcn_schema::call::Kind;
use hcn_store::{CommitError, OpenError, Store};
use tempfile::TempDir;
use world::{World, era, isolated, open, refused, sh, wait};

/// Names the file that a child process makes.
const CHILD: &str = "HCN_STORE_TEST_MAKE";

/// Leaves no room on the file system of `folder`.
fn fill(folder: &Path) {
    let full = fs::write(folder.join("filler"), vec![1; 64 << 20]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
}

fn free(folder: &Path) {
    fs::remove_file(folder.join("filler")).unwrap();
}

#[test]
fn a_full_disk_fails_changes_until_there_is_room_again() {
    isolated("a_full_disk_fails_changes_until_there_is_room_again", 4096, |folder| {
        let path = folder.join("state");
        let (store, _) = open(&path);
        store.replace_all(&[], &era()).unwrap();
        let mut world = World::default();
        let mut next = 0..;
        let document =
            format!(r#"{{"AdditionalParams":["{}"],"SchemaVersion":{{"Major":2}}}}"#, "x".repeat(3000));
        let mut kept = Registry::new();
        for _ in 0..3 {
            fill(folder);
            let mut failed = 0;
            while failed < 40 {
                // They meet in one transaction, and what fails there is tried alone: each is told what became of it.
                let changes: Vec<_> = (0..8)
                    .flat_map(|_| world.create(Kind::Namespace, next.next().unwrap(), None, &document))
                    .collect();
                let asked: Vec<_> = changes.iter().map(|change| store.commit(change)).collect();
                for (change, commit) in changes.iter().zip(asked) {
                    match wait(commit) {
                        Ok(()) => kept.apply(change),
                        Err(error) => {
                            assert!(matches!(error, CommitError::Io(_)), "{error}");
                            assert!(error.to_string().contains("make space"), "{error}");
                            assert_eq!(error.code(), HResult::DISK_FULL);
                            failed += 1;
                        }
                    }
                }
            }
            free(folder);
            let changes = world.create(Kind::Namespace, next.next().unwrap(), None, &document);
            wait(store.commit(&changes[0])).unwrap();
            kept.apply(&changes[0]);
        }
        drop(store);
        let (_store, loaded) = open(&path);
        assert_eq!(Registry::of(&loaded.entities), kept);
    });
}

#[test]
fn a_file_is_made_whole_or_not_at_all() {
    isolated("a_file_is_made_whole_or_not_at_all", 2048, |folder| {
        let path = folder.join("state");
        fill(folder);
        // Less and less is in the way, a page at a time: somewhere in between making it fails half-way.
        let mut room = 2048 * 1024 - 4096;
        let mut refusals = 0;
        let (store, loaded) = loop {
            match Store::open(&path, &era()) {
                Ok(opened) => break opened,
                Err(error) => {
                    assert!(
                        matches!(&error, OpenError::Io(io) if io.kind() == io::ErrorKind::StorageFull),
                        "{error:?}"
                    );
                    assert!(error.to_string().contains("make space"), "{error}");
                    refusals += 1;
                }
            }
            room -= 4096;
            fs::File::options().write(true).open(folder.join("filler")).unwrap().set_len(room).unwrap();
        };
        assert!(refusals > 1, "{refusals}");
        assert!(loaded.entities.is_empty());
        drop(store);
        let names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        open(&path);
    });
}

#[test]
fn a_file_opens_on_a_full_disk_or_says_that_it_is_full() {
    isolated("a_file_opens_on_a_full_disk_or_says_that_it_is_full", 4096, |folder| {
        let path = folder.join("state");
        let copy = folder.join("copy");
        let (store, _) = open(&path);
        let (world, changes) = World::filled();
        for change in &changes {
            wait(store.commit(change)).unwrap();
        }
        // As a killed hcnd leaves it.
        fs::copy(&path, &copy).unwrap();
        drop(store);
        fill(folder);
        for path in [path, copy] {
            match Store::open(&path, &era()) {
                Ok((store, loaded)) => {
                    assert_eq!(Registry::of(&loaded.entities), world.published);
                    drop(store);
                }
                Err(error) => assert!(error.to_string().contains("make space"), "{error}"),
            }
            let left = fs::metadata(&path).unwrap().len();
            free(folder);
            assert_eq!(open(&path).1.entities.len(), 4, "{left} octets");
            fill(folder);
        }
    });
}

#[test]
fn where_nothing_can_be_written_it_says_so() {
    isolated("where_nothing_can_be_written_it_says_so", 4096, |folder| {
        let path = folder.join("state");
        let (store, _) = open(&path);
        let (_, changes) = World::filled();
        wait(store.commit(&changes[0])).unwrap();
        drop(store);
        let before = fs::read(&path).unwrap();
        sh("mount -o remount,ro /mnt");
        for path in [path.clone(), folder.join("new"), folder.join("a/b")] {
            let error = refused(&path);
            assert!(
                matches!(&error, OpenError::Io(io) if io.kind() == io::ErrorKind::ReadOnlyFilesystem),
                "{error:?}"
            );
            assert!(error.to_string().contains("mount the file system writable"), "{error}");
        }
        assert!(fs::read(&path).unwrap() == before);
        sh("mount -o remount,rw /mnt");

        // A folder in the place of the file, and a file in the place of the folder.
        assert!(matches!(refused(folder), OpenError::Io(_)));
        assert!(matches!(refused(&path.join("state")), OpenError::Io(_)));
        assert_eq!(open(&path).1.entities.len(), 1);
    });
}

#[test]
fn only_its_owner_may_read_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a/state");
    open(&path);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn a_kill_while_the_file_is_made_leaves_none_or_a_whole_one() {
    if let Some(path) = std::env::var_os(CHILD) {
        println!("go");
        drop(open(Path::new(&path)));
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state");
    let mut unfinished = 0;
    for after in 0..60 {
        let _ = fs::remove_file(&path);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_kill_while_the_file_is_made_leaves_none_or_a_whole_one", "--exact"])
            .env(CHILD, &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // A start takes 2 to 10 ms.
        std::thread::sleep(Duration::from_micros(after * 200));
        child.kill().unwrap();
        child.wait().unwrap();
        unfinished += u32::from(!path.exists());
        assert!(open(&path).1.entities.is_empty(), "killed after {after} times 0.2 ms");
    }
    assert!(unfinished > 0);
}

#[test]
fn of_two_that_make_the_file_at_once_one_has_it() {
    let folder = TempDir::new().unwrap();
    for round in 0..30 {
        let path = folder.path().join(round.to_string());
        let opened: Vec<Result<_, OpenError>> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| Store::open(&path, &era()))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let mut winners = 0;
        for result in opened.iter() {
            match result {
                Ok(_) => winners += 1,
                Err(error) => assert!(matches!(error, OpenError::InUse), "{error}"),
            }
        }
        assert_eq!(winners, 1);
        let (_, changes) = World::filled();
        let store = opened.into_iter().find_map(Result::ok).unwrap().0;
        wait(store.commit(&changes[0])).unwrap();
        drop(store);
        assert_eq!(open(&path).1.entities.len(), 1);
    }
}
