//! The daemon inside the test's own process, on any data plane.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use hcn_dataplane::{
    Applied, ApplyError, Chaos, Counters, Dataplane, Fake, HostAddress, HostFacts, OpError, Plan, State,
    UndoError,
};
use hcn_store::{Loaded, Store};
use hcnd::config::Config;
use hcnd::daemon::{Restored, runtime, serve_on};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

use crate::process::{descendants, eventually};

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
    fn counters(&mut self, link: &str) -> Result<Option<Counters>, OpError> {
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
        uplink_mtu: Some(1500),
        links: vec!["eth0".to_owned()],
        ..HostFacts::default()
    };
    Shared::new(Fake { facts, ..Fake::new() })
}

/// A daemon in a thread of this process; it stops when dropped.
pub struct InProcess {
    folder: TempDir,
    store: Store,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl InProcess {
    /// Starts a daemon on a socket of its own; it listens when this returns.
    pub fn start<D: Dataplane + 'static>(dataplane: Shared<D>) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("hcnd.sock");
        let (stop, stopped) = oneshot::channel::<()>();
        let at = socket.clone();
        let store = Store::in_memory().unwrap();
        let kept = store.clone();
        let thread = thread::spawn(move || {
            runtime().unwrap().block_on(async {
                let config = Config { socket, ..Config::default() };
                let listen = || Ok(UnixListener::bind(&config.socket)?);
                let stop = async move { drop(stopped.await) };
                let restored = Restored { store, loaded: Loaded::default() };
                serve_on(listen, &config, Box::new(dataplane), restored, stop).await.unwrap();
            });
        });
        eventually("the daemon listens", || UnixStream::connect(&at).is_ok());
        Self { folder, store: kept, stop: Some(stop), thread: Some(thread) }
    }

    /// Makes the next commits fail.
    pub fn fail_commits(&self, count: usize) {
        self.store.fail_commits(count);
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("hcnd.sock")
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the daemon panicked");
        }
    }
}

/// The socket of the daemon that the sandbox started.
#[must_use]
pub fn sandbox_socket() -> PathBuf {
    Path::new(&std::env::var_os("HCND_SOCKET").unwrap()).to_owned()
}

/// The process of the daemon that the sandbox started.
#[must_use]
pub fn sandbox_hcnd() -> Pid {
    let is_hcnd =
        |pid: &Pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "hcnd\n");
    let found: Vec<Pid> = descendants(Pid::from_raw(1)).into_iter().filter(is_hcnd).collect();
    assert_eq!(found.len(), 1, "one hcnd below PID 1: {found:?}");
    found[0]
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
