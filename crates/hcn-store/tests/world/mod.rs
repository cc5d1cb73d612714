//! What the tests share: an engine that makes records as hcnd does, and file systems of their own.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(unreachable_pub, reason = "a module of each test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hcn_core::{Action, Change, Context, Engine, Registry};
use hcn_schema::Guid;
use hcn_schema::call::{Call, Kind, Reference, Verb};
use hcn_schema::hns::HnsVersion;
use hcn_store::{Era, Loaded, OpenError, Store};

const MARKER: &str = "HCN_STORE_TEST_ISOLATED";

pub fn era() -> Era {
    Era { boot_id: "a boot".to_owned(), netns_cookie: 7 }
}

pub fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

pub fn open(path: &Path) -> (Store, Loaded) {
    Store::open(path, &era()).unwrap()
}

pub fn refused(path: &Path) -> OpenError {
    match Store::open(path, &era()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

/// Runs `body` with mounts of its own, as root there, and an empty folder in memory of this many kilobytes.
pub fn isolated(test: &str, kilobytes: u32, body: impl FnOnce(&Path)) {
    if std::env::var_os(MARKER).is_some() {
        sh(&format!("mount -t tmpfs -o size={kilobytes}k tmpfs /mnt"));
        return body(Path::new("/mnt"));
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARKER, "1")
        .output()
        .expect("unshare (util-linux) is needed");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "with the mounts of {test}:\n{text}");
    assert!(text.contains("1 passed"), "{test} did not run:\n{text}");
}

/// Runs a shell command that must succeed.
pub fn sh(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An engine whose changes succeed at once.
#[derive(Default)]
pub struct World {
    engine: Engine,
    pub published: Registry,
    calls: u64,
}

impl World {
    pub fn guid(n: u64) -> Guid {
        Guid::random_from(n, 7)
    }

    /// Makes a call and gives the changes of records that came of it.
    pub fn call(&mut self, kind: Kind, verb: Verb) -> Vec<Change> {
        self.calls += 1;
        let context = Context {
            now: Duration::ZERO,
            filetime: 1,
            caller_uid: 0,
            caller_pid: None,
            settings: Arc::default(),
            fresh_id: Self::guid(1000 + self.calls),
            host: Arc::default(),
            hns: HnsVersion::default(),
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
                // Whoever cares looks at the changes.
                Action::Reply(..) | Action::Announce(_) => {}
            }
        }
        changes
    }

    pub fn create(&mut self, kind: Kind, id: u64, parent: Option<u64>, document: &str) -> Vec<Change> {
        let parent = parent.map(|id| Reference { id: Self::guid(id), incarnation: None });
        self.call(
            kind,
            Verb::Create { id: Some(Self::guid(id)), parent, document: Some(document.to_owned()) },
        )
    }

    /// One of each kind, with settings that are kept byte for byte.
    pub fn filled() -> (Self, Vec<Change>) {
        let mut world = Self::default();
        let mut changes = world.create(
            Kind::Network,
            1,
            None,
            r#"{"Name":"n","Flags":8,"Ipams":[{"Subnets":[{"IpAddressPrefix":"10.0.0.0/24"},
                {"IpAddressPrefix":"fd00::/64"}]}],"AdditionalParams":{ "b" : 1.50, "a":[ ] },
                "Policies":[{"Type":"VSwitchExtension","Settings":{ "Port":4789.0 }}],"SchemaVersion":{"Major":2}}"#,
        );
        changes.extend(world.create(
            Kind::Endpoint,
            2,
            Some(1),
            r#"{"Name":"ü\u0041","MacAddress":"00:15:5d:01:02:03","Policies":[{"Type":"PortMapping",
                "Settings":{"InternalPort":"80","ExternalPort":8080}},{"Type":"Firewall","Settings":{"b":2,"a":1e3}}],
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
        assert_eq!(changes.len(), 5, "a call was refused");
        (world, changes)
    }
}
