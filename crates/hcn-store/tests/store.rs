//! What is committed is there after whatever happens; what cannot be used is told and left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcn_core::{Action, Change, Context, Engine, Entity, Registry};
use hcn_schema::call::{Call, Kind, Reference, Verb};
use hcn_schema::{Guid, HResult};
use hcn_store::{CommitError, Era, Loaded, OpenError, Store};
use tempfile::TempDir;

/// Names the test that a child process runs.
const CHILD: &str = "HCN_STORE_TEST_CHILD";

fn era() -> Era {
    Era { boot_id: "a boot".to_owned(), netns_cookie: 7 }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// An engine whose changes succeed at once.
#[derive(Default)]
struct World {
    engine: Engine,
    published: Registry,
    calls: u64,
}

impl World {
    fn guid(n: u64) -> Guid {
        Guid::random_from(n, 7)
    }

    /// Makes a call and gives the changes of records that came of it.
    fn call(&mut self, kind: Kind, verb: Verb) -> Vec<Change> {
        self.calls += 1;
        let context = Context {
            now: Duration::ZERO,
            filetime: 1,
            fresh_id: Self::guid(1000 + self.calls),
            host: Arc::default(),
        };
        let mut changes = Vec::new();
        let mut actions = self.engine.submit(self.calls, Call { kind, verb }, context);
        while let Some(action) = actions.pop() {
            match action {
                Action::Start(job) => actions.extend(self.engine.finish(job.ticket, Ok(()), Duration::ZERO)),
                Action::Publish(change) => {
                    self.published.apply(&change);
                    changes.push(change);
                }
                Action::Reply(_, result) => drop(result.unwrap()),
                Action::Announce(_) => {}
            }
        }
        changes
    }

    fn create(&mut self, kind: Kind, id: u64, parent: Option<u64>, document: &str) -> Vec<Change> {
        let parent = parent.map(|id| Reference { id: Self::guid(id), incarnation: None });
        self.call(
            kind,
            Verb::Create { id: Some(Self::guid(id)), parent, document: Some(document.to_owned()) },
        )
    }

    /// One of each kind, with settings that are kept byte for byte.
    fn filled() -> (Self, Vec<Change>) {
        let mut world = Self::default();
        let mut changes = world.create(
            Kind::Network,
            1,
            None,
            r#"{"Name":"n","Flags":8,"Ipams":[{"Subnets":[{"IpAddressPrefix":"10.0.0.0/24"},
                {"IpAddressPrefix":"fd00::/64"}]}],"AdditionalParams":{ "b" : 1.50, "a":[ ] },
                "Policies":[{"Type":"VxlanPort","Settings":{ "Port":4789.0 }}],"SchemaVersion":{"Major":2}}"#,
        );
        changes.extend(world.create(
            Kind::Endpoint,
            2,
            Some(1),
            r#"{"Name":"ü\u0041","MacAddress":"00:15:5d:01:02:03","Policies":[{"Type":"PortMapping",
                "Settings":{"InternalPort":"80","ExternalPort":8080}},{"Type":"ACL","Settings":{"b":2,"a":1e3}}],
                "SchemaVersion":{"Major":2}}"#,
        ));
        changes.extend(world.create(Kind::Namespace, 3, None, r#"{"Name":"s","SchemaVersion":{"Major":2}}"#));
        let join = format!(
            r#"{{"ResourceType":"Endpoint","RequestType":"Add","Settings":{{"EndpointId":"{}"}}}}"#,
            Self::guid(2)
        );
        let target = Reference { id: Self::guid(3), incarnation: None };
        changes.extend(world.call(Kind::Namespace, Verb::Modify { target, document: Some(join) }));
        changes.extend(world.create(
            Kind::LoadBalancer,
            4,
            None,
            &format!(
                r#"{{"HostComputeEndpoints":["{}"],"FrontendVIPs":["10.1.0.1"],"SourceVIP":"10.0.0.9",
                    "PortMappings":[{{"Protocol":6,"InternalPort":80,"ExternalPort":80,"Flags":2}}],
                    "SchemaVersion":{{"Major":2}}}}"#,
                Self::guid(2)
            ),
        ));
        (world, changes)
    }
}

fn open(path: &Path) -> (Store, Loaded) {
    Store::open(path, &era()).unwrap()
}

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
fn commits_take_this_long() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(&folder.path().join("state"));
    let (_, changes) = World::filled();
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let start = Instant::now();
            wait(store.commit(&changes[1])).unwrap();
            start.elapsed()
        })
        .collect();
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
        "measured: commit p50 {:?}, 100 one after the other {sum:?}, 100 in turn {:?}",
        times[50],
        start.elapsed()
    );
}

fn refused(path: &Path) -> OpenError {
    match Store::open(path, &era()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
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
