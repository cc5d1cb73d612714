//! The daemon inside the test's own process, on any data plane.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use hcn_core::restore;
use hcn_dataplane::{
    Applied, ApplyError, Chaos, Counters, Dataplane, Fake, HostAddress, HostFacts, HostLink, LinkId,
    NetnsFacts, OpError, Plan, State, UndoError,
};
use hcn_store::{Era, Loaded, Store};
use hcnd::config::Config;
use hcnd::daemon::{Listeners, runtime, serve_on};
use hcnd::state::Restored;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

use crate::client::Client;
use crate::process::{Background, descendants, eventually};
use crate::wire::Wire;

/// A data plane that the test can look into, and make fail, while the daemon uses it.
pub struct Shared<D>(Arc<Mutex<Chaos<D>>>);

impl<D> Clone for Shared<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dataplane> Shared<D> {
    /// Shares a data plane.
    pub fn new(dataplane: D) -> Self {
        Self(Arc::new(Mutex::new(Chaos::new(dataplane))))
    }

    /// The data plane; the daemon waits meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, Chaos<D>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Dataplane> Dataplane for Shared<D> {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, ApplyError> {
        self.lock().apply(plan)
    }
    fn settle(&mut self, applied: Applied) {
        self.lock().settle(applied);
    }
    fn undo(&mut self, applied: Applied) -> Result<(), UndoError> {
        self.lock().undo(applied)
    }
    fn adopt(&mut self, wanted: &State) -> Result<State, OpError> {
        self.lock().adopt(wanted)
    }
    fn host(&mut self, links: &[String]) -> Result<HostFacts, OpError> {
        self.lock().host(links)
    }
    fn netns(&mut self, place: &str) -> NetnsFacts {
        self.lock().netns(place)
    }
    fn counters(&mut self, link: &LinkId) -> Result<Option<Counters>, OpError> {
        self.lock().counters(link)
    }
}

/// A kernel in memory on a host that looks like the one in a sandbox.
#[must_use]
pub fn fake_host() -> Shared<Fake> {
    let address = |text: &str| HostAddress { link: "eth0".to_owned(), address: text.parse().unwrap() };
    let addresses = vec![address("203.0.113.10/24"), address("2001:db8:ffff::10/64")];
    let facts = HostFacts {
        addresses,
        uplink: Some("eth0".to_owned()),
        links: vec![HostLink { name: "eth0".to_owned(), mtu: 1500, ..HostLink::default() }],
        ..HostFacts::default()
    };
    Shared::new(Fake { facts, ..Fake::new() })
}

/// A daemon in a thread of this process; it stops when dropped.
pub struct InProcess<D> {
    folder: TempDir,
    dataplane: Shared<D>,
    durable: bool,
    boots: u32,
    store: Option<Store>,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl<D: Dataplane + 'static> InProcess<D> {
    /// Starts a daemon on a socket of its own; it listens when this returns.
    pub fn start(dataplane: Shared<D>) -> Self {
        Self::of(dataplane, false)
    }

    /// Starts one whose records are in a file, so that it can be started again.
    pub fn start_durable(dataplane: Shared<D>) -> Self {
        Self::of(dataplane, true)
    }

    fn of(dataplane: Shared<D>, durable: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let mut daemon = Self { folder, dataplane, durable, boots: 0, store: None, running: None };
        daemon.launch();
        daemon
    }

    /// Starts it again, after a new start of the machine if so.
    pub fn start_again(&mut self, reboot: bool) {
        assert!(self.durable, "what it knew is gone with it");
        self.end();
        if reboot {
            self.boots += 1;
            self.dataplane.lock().adopt(&State::new()).unwrap();
        }
        self.launch();
    }

    /// Performs `call` while the daemon waits for the data plane to end, and starts it again.
    pub fn call_while_stopping<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let socket = self.socket();
        let dataplane = self.dataplane.clone();
        let held = dataplane.lock();
        let mut busy = Wire::connect(&socket).unwrap();
        let settings = json!({"Name": "in flight", "SchemaVersion": {"Major": 2}});
        busy.send("io.hcn.Network.Create", &json!({"settings": settings}), false).unwrap();
        let mut other = Wire::connect(&socket).unwrap();
        for _ in 0..3 {
            // By then the one before is under way.
            other.call("io.hcn.Service.Ping", &json!({})).unwrap();
        }
        let Running { stop, thread } = self.running.take().unwrap();
        stop.send(()).unwrap();
        eventually("nobody listens", || UnixStream::connect(&socket).is_err());
        let reply = call();
        drop(held);
        let made = busy.receive().unwrap();
        assert_eq!(made.error, None, "{}", made.raw);
        thread.join().unwrap();
        self.launch();
        let id = &made.parameters["id"];
        let deleted =
            Wire::connect(&socket).unwrap().call("io.hcn.Network.Delete", &json!({"id": id})).unwrap();
        assert_eq!(deleted.error, None, "{}", deleted.raw);
        reply
    }

    fn launch(&mut self) {
        drop(self.store.take());
        let (store, loaded) =
            if self.durable { self.open() } else { (Store::in_memory().unwrap(), Loaded::default()) };
        self.store = Some(store.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let (socket, dataplane) = (self.socket(), self.dataplane.clone());
        for socket in [&socket, &self.hns_socket()] {
            let _ = fs::remove_file(socket);
        }
        let thread = thread::spawn(move || {
            runtime().unwrap().block_on(async {
                let config = Config { socket, ..Config::default() };
                let listen = || {
                    let hns = Some(UnixListener::bind(config.hns_socket().unwrap())?);
                    Ok(Listeners { calls: UnixListener::bind(&config.socket)?, hns })
                };
                let stop = async move { drop(stopped.await) };
                let restored = Restored::from_store(store, loaded);
                serve_on(listen, &config, Box::new(dataplane), restored, stop).await.unwrap();
            });
        });
        self.running = Some(Running { stop, thread });
        let socket = self.socket();
        eventually("the daemon listens", || UnixStream::connect(&socket).is_ok());
    }

    /// As the daemon opens its file.
    fn open(&self) -> (Store, Loaded) {
        let era = Era { boot_id: format!("boot {}", self.boots), netns_cookie: 1 };
        let (store, mut loaded) = Store::open(&self.folder.path().join("state.redb"), &era).unwrap();
        if loaded.same_era {
            loaded.entities = restore::after_restart(loaded.entities);
        } else {
            loaded.entities = restore::after_reboot(loaded.entities);
            store.replace_all(&loaded.entities, &era).unwrap();
        }
        (store, loaded)
    }
}

impl<D> InProcess<D> {
    /// Makes the next commits fail.
    pub fn fail_commits(&self, count: usize) {
        self.store.as_ref().unwrap().fail_commits(count);
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("hcnd.sock")
    }

    /// Where it listens for HNS version 1 over HTTP.
    #[must_use]
    pub fn hns_socket(&self) -> PathBuf {
        self.folder.path().join("hns.sock")
    }

    fn end(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            drop(stop);
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the daemon panicked");
        }
    }
}

impl<D> Drop for InProcess<D> {
    fn drop(&mut self) {
        self.end();
    }
}

/// The socket of the daemon that the sandbox started.
#[must_use]
pub fn sandbox_socket() -> PathBuf {
    Path::new(&std::env::var_os("HCND_SOCKET").unwrap()).to_owned()
}

/// The process of the daemon that the sandbox started; where it has several hosts, of that of this one.
#[must_use]
pub fn sandbox_hcnd() -> Pid {
    let netns = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let here = netns("self");
    let is_hcnd = |pid: &Pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "hcnd\n")
            && netns(&pid.to_string()) == here
    };
    let found: Vec<Pid> = descendants(Pid::from_raw(1)).into_iter().filter(is_hcnd).collect();
    assert_eq!(found.len(), 1, "one hcnd below PID 1: {found:?}");
    found[0]
}

/// Kills the sandbox's hcnd and starts another one with the same options, which lives until the next one and has put right
/// what it found wrong.
#[must_use]
pub fn kill_hcnd() -> Client {
    kill_hcnd_and(|| ())
}

/// The same, with something that happens while there is none.
#[must_use]
pub fn kill_hcnd_and(meanwhile: impl FnOnce()) -> Client {
    static LATEST: Mutex<Option<Background>> = Mutex::new(None);
    let old = sandbox_hcnd();
    let words = fs::read_to_string(format!("/proc/{old}/cmdline")).unwrap();
    let options = words.split_terminator('\0').skip(1);
    kill(old, Signal::SIGKILL).unwrap();
    let mut latest = LATEST.lock().unwrap();
    // What it held is free once the last of its threads has ended.
    match latest.take() {
        Some(ours) => drop(ours),
        None => eventually("hcnd is gone", || !Path::new(&format!("/proc/{old}")).exists()),
    }
    meanwhile();
    *latest = Some(Background::start(Command::new("hcnd").args(options).env_remove("HCND_SOCKET")));
    eventually("another one listens", || UnixStream::connect(sandbox_socket()).is_ok());
    let mut client = Client::new();
    let metrics = |client: &mut Client| client.ok("Service.Metrics", &json!({}))["text"].to_string();
    eventually("what was missing is there", || metrics(&mut client).contains("hcnd_repairs 0\\n"));
    client
}

/// How much a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Open files.
    pub files: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory in KiB.
    pub memory: usize,
}

/// How much a process holds now.
#[must_use]
pub fn held_by(pid: Pid) -> Held {
    let count = |folder: &str| fs::read_dir(format!("/proc/{pid}/{folder}")).unwrap().count();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory = resident.split_whitespace().next().unwrap().parse().unwrap();
    Held { files: count("fd"), threads: count("task"), memory }
}
