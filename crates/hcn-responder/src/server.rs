//! The servers: one thread for the sockets of all bridges. Sockets are opened by whoever asks, so that a port that is
//! in use is known before anything is answered; once one is closed its port is free.

mod dhcp;
mod dns;
mod sockets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hcn_dataplane::{Lease, Responder};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::book::Book;
use crate::dns::Upstream;

/// Why nothing answers on a bridge.
#[derive(Debug)]
pub struct Failure {
    /// What could not be had.
    pub what: String,
    /// Why.
    pub source: io::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot have {}: {}", self.what, self.source)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What all servers know.
struct Shared {
    /// By bridge.
    books: Mutex<HashMap<String, Book>>,
    upstream: Mutex<Upstream>,
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, HashMap<String, Book>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a responder listens at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Port {
    Dhcp,
    DnsByUdp(IpAddr),
    DnsByTcp(IpAddr),
}

/// The responders of all bridges. Dropping it ends them.
pub struct Responders {
    shared: Arc<Shared>,
    /// There once there was a first responder.
    thread: Option<Thread>,
    open: HashMap<String, BTreeMap<Port, Task>>,
}

/// The thread that has the sockets.
struct Thread {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A server of one port.
struct Task {
    abort: AbortHandle,
    /// Says nothing, and ends with the task.
    ended: Receiver<()>,
}

impl Task {
    /// Ends the server and waits until its port is free.
    fn end(&self) {
        self.abort.abort();
        // The sender is dropped with the task.
        let _ = self.ended.recv();
    }
}

impl Responders {
    /// None yet. `resolv_conf`: the file that names the host's own name servers.
    pub fn new(resolv_conf: &Path) -> Self {
        let shared = Shared { books: Mutex::default(), upstream: Mutex::new(Upstream::new(resolv_conf)) };
        Self { shared: Arc::new(shared), thread: None, open: HashMap::new() }
    }

    /// Begins to answer on a bridge, in the network namespace of the calling thread; or goes on otherwise where
    /// something answers already.
    ///
    /// # Errors
    /// A port cannot be had; what answered before still does.
    pub fn set(&mut self, responder: &Responder) -> Result<(), Failure> {
        let bridge = &responder.bridge;
        let wanted = ports_of(responder);
        let open: BTreeSet<Port> =
            self.open.get(bridge).into_iter().flatten().map(|(port, _)| *port).collect();
        let mut begun = Vec::new();
        for port in wanted.difference(&open) {
            match self.begin(bridge, *port) {
                Ok(task) => begun.push((*port, task)),
                Err(failure) => {
                    begun.iter().for_each(|(_, task)| task.end());
                    return Err(failure);
                }
            }
        }
        self.shared.books().entry(bridge.clone()).or_default().set(Some(responder.clone()));
        let tasks = self.open.entry(bridge.clone()).or_default();
        for port in open.difference(&wanted) {
            if let Some(task) = tasks.remove(port) {
                task.end();
            }
        }
        tasks.extend(begun);
        Ok(())
    }

    /// Answers nothing on a bridge any more. What is known of endpoints stays.
    pub fn end(&mut self, bridge: &str) {
        self.open.remove(bridge).iter().flatten().for_each(|(_, task)| task.end());
        let mut books = self.shared.books();
        if let Some(book) = books.get_mut(bridge) {
            book.set(None);
        }
        books.retain(|_, book| book.responder.is_some() || !book.leases.is_empty());
    }

    /// Notes what is known of an endpoint, in place of what was.
    pub fn note(&self, lease: &Lease) {
        self.shared.books().entry(lease.bridge.clone()).or_default().note(lease.clone());
    }

    /// Forgets an endpoint.
    pub fn forget(&self, lease: &Lease) {
        let mut books = self.shared.books();
        if let Some(book) = books.get_mut(&lease.bridge) {
            book.forget(&lease.claimant);
        }
        books.retain(|_, book| book.responder.is_some() || !book.leases.is_empty());
    }

    /// Opens a port and serves it.
    fn begin(&mut self, bridge: &str, port: Port) -> Result<Task, Failure> {
        let failed = |source: io::Error| Failure { what: words(bridge, port), source };
        let thread = match &mut self.thread {
            Some(thread) => thread,
            none => none.insert(Thread::start().map_err(failed)?),
        };
        let shared = Arc::clone(&self.shared);
        let bridge = bridge.to_owned();
        // Sockets become the runtime's where it is entered.
        let _entered = thread.handle.enter();
        let (alive, ended) = channel();
        let task = match port {
            Port::Dhcp => {
                let socket = sockets::dhcp(&bridge).map_err(failed)?;
                spawn(&thread.handle, alive, dhcp::serve(shared, bridge, socket))
            }
            Port::DnsByUdp(address) => {
                let socket = sockets::dns_by_udp(&bridge, address).map_err(failed)?;
                spawn(&thread.handle, alive, dns::serve_udp(shared, bridge, socket))
            }
            Port::DnsByTcp(address) => {
                let socket = sockets::dns_by_tcp(&bridge, address).map_err(failed)?;
                spawn(&thread.handle, alive, dns::serve_tcp(shared, bridge, socket))
            }
        };
        Ok(Task { abort: task, ended })
    }
}

impl Drop for Responders {
    fn drop(&mut self) {
        self.open.values().flatten().for_each(|(_, task)| task.abort.abort());
    }
}

/// Serves until it is told to end; `alive` goes with what it serves.
fn spawn(
    handle: &Handle,
    alive: Sender<()>,
    serve: impl Future<Output = ()> + Send + 'static,
) -> AbortHandle {
    let task = handle.spawn(async move {
        // Locals are dropped the last first: the socket before the word that it is gone.
        let _alive = alive;
        serve.await;
    });
    task.abort_handle()
}

fn ports_of(responder: &Responder) -> BTreeSet<Port> {
    let mut ports = BTreeSet::new();
    if responder.dhcp {
        ports.insert(Port::Dhcp);
    }
    for address in responder.addresses.iter().filter(|_| responder.dns) {
        ports.extend([Port::DnsByUdp(address.addr()), Port::DnsByTcp(address.addr())]);
    }
    ports
}

fn words(bridge: &str, port: Port) -> String {
    match port {
        Port::Dhcp => format!("UDP port {} on {bridge} for DHCP", sockets::DHCP_PORT),
        Port::DnsByUdp(address) => format!("UDP port {} of {address} on {bridge} for DNS", sockets::DNS_PORT),
        Port::DnsByTcp(address) => format!("TCP port {} of {address} on {bridge} for DNS", sockets::DNS_PORT),
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("responders".to_owned()).spawn(move || {
            // Dropped or sent: both mean the end.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that answers DHCP and DNS panicked");
        }
    }
}

/// After an error of a socket, which may come back at once.
async fn pause(bridge: &str, protocol: &str, error: &io::Error) {
    tracing::warn!(%error, bridge, protocol, "a responder cannot receive");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}
