//! The life of the daemon: start, serve, stop.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use hcn_dataplane::Dataplane;
use hcn_ipc::{Hub, Server};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::access::access;
use crate::config::{Config, LogFormat};
use crate::http;
use crate::service::Service;
use crate::state::Restored;
use crate::status::Probe;
use crate::systemd;
use crate::worker::Worker;

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting: the socket, the kernel, the runtime.
pub fn run(config: &Config) -> anyhow::Result<()> {
    start_log(config)?;
    // Before the kernel is touched: where nftables tables have no owner, its rules would be made anew.
    let passed = systemd::listeners()?;
    if passed.calls.is_none() {
        refuse_a_second(&config.socket)?;
    }
    let probe = Probe::start(&config.paths);
    let mut restored = Restored::open(&config.paths.store, 1)?;
    if let (None, Some(socket)) = (&passed.hns, config.hns_socket()) {
        refuse_a_second(&socket)?;
    }
    let mut doors = Doors { calls: passed.calls, hns: passed.hns };
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        loop {
            let start = restored.start;
            let dataplane = hcn_linux::Linux::start(hcn_linux::Config {
                netns_dir: config.paths.netns.clone(),
                netns_etc: config.paths.netns_etc.clone(),
            })
            .context("cannot take over the kernel's side")?;
            let mut stop = stop.clone();
            let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
            let listen = || doors.open(config);
            let again =
                serve_with(listen, config, Box::new(dataplane), restored, probe.clone(), stopped).await?;
            if !again {
                return Ok(());
            }
            tracing::info!("starting over with the records of a backup");
            restored = Restored::open(&config.paths.store, start + 1)?;
        }
    })
}

/// Becomes true with SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        systemd::stopping();
        sender.send_replace(true);
    });
    Ok(stop)
}

/// Where clients come in.
pub struct Listeners {
    /// For calls.
    pub calls: UnixListener,
    /// For HNS version 1 over HTTP.
    pub hns: Option<UnixListener>,
}

/// The sockets, which stay open while hcnd starts over: whoever connects meanwhile waits.
struct Doors {
    calls: Option<StdListener>,
    hns: Option<StdListener>,
}

impl Doors {
    /// Takes what systemd passes, or what is there from before, and makes the rest.
    fn open(&mut self, config: &Config) -> anyhow::Result<Listeners> {
        let another = |listener: &StdListener| {
            let listener = listener.try_clone().and_then(UnixListener::from_std);
            listener.context("cannot use the socket")
        };
        // First, so that whoever reaches the service by the other one finds this one too.
        if let (None, Some(path)) = (&self.hns, config.hns_socket()) {
            self.hns = Some(bind(&path)?);
        }
        let hns = self.hns.as_ref().map(another).transpose()?;
        if self.calls.is_none() {
            self.calls = Some(bind(&config.socket)?);
        }
        let calls = self.calls.as_ref().map(another).transpose()?.context("no socket")?;
        Ok(Listeners { calls, hns })
    }
}

/// One thread serves all clients: their calls are short, and each hand-over between threads would cost more
/// than the work. The kernel has a thread of its own.
///
/// # Errors
/// The system has no timer or no event queue left.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Takes over what is there, then serves on the sockets that `listen` gives, with any data plane, until `stop` ends.
///
/// # Errors
/// The data plane's thread cannot be made, or nobody can listen.
pub async fn serve_on(
    listen: impl FnOnce() -> anyhow::Result<Listeners>,
    config: &Config,
    dataplane: Box<dyn Dataplane>,
    restored: Restored,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    serve_with(listen, config, dataplane, restored, Probe::none(), stop).await.map(drop)
}

/// Whether to start over, with other records.
async fn serve_with(
    listen: impl FnOnce() -> anyhow::Result<Listeners>,
    config: &Config,
    dataplane: Box<dyn Dataplane>,
    restored: Restored,
    probe: Probe,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<bool> {
    let (worker, thread) = Worker::start(dataplane).context("cannot start the data plane's thread")?;
    let hub = Hub::new();
    let service = Service::start(worker, restored, hub.clone(), config.settings(), probe).await;
    let mut again = service.again();
    let stop = async move {
        tokio::select! {
            () = stop => {}
            Ok(_) = again.wait_for(|again| *again) => {}
        }
    };
    let (limits, access) = (limits(config), access(&config.access, config.hns.version));
    // Whoever gets through finds everything in its place.
    let Listeners { calls, hns } = listen()?;
    let server = Server::new(Arc::new(service.clone()), hub, limits, access);
    let metrics = match config.metrics.listen {
        Some(address) => {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("metrics.listen: cannot listen on {address}"))?;
            Some(tokio::spawn(http::metrics::serve(listener, service.clone(), server.meter())))
        }
        None => None,
    };
    let hns = hns.map(|listener| tokio::spawn(http::hns::serve(listener, server.hns_door(), limits.grace)));
    tracing::info!(socket = %config.socket.display(), version = env!("CARGO_PKG_VERSION"), "hcnd is ready");
    systemd::ready();
    let alive = tokio::spawn(watchdog(service.clone()));
    server.serve(calls, stop).await;
    if let Some(hns) = hns {
        // It ends by itself; an error means that it panicked.
        let _ = hns.await;
    }
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    service.stop().await;
    let again = *service.again().borrow();
    alive.abort();
    drop((service, alive));
    // The thread ends when the last worker is gone, and with it the data plane, which finishes what it owes.
    tokio::task::spawn_blocking(move || thread.join()).await.context("the data plane did not end")?;
    Ok(again)
}

/// Tells systemd, as often as it wants to hear, that the task which owns the state still answers.
async fn watchdog(service: Service) {
    let Some(interval) = systemd::watchdog() else { return };
    loop {
        tokio::time::sleep(interval / 3).await;
        if service.is_alive().await {
            systemd::alive();
        }
    }
}

fn limits(config: &Config) -> hcn_ipc::Limits {
    hcn_ipc::Limits {
        message: config.limits.message_bytes,
        nesting: config.limits.nesting,
        handles: config.limits.handles,
        in_flight: config.limits.in_flight,
        connections: config.limits.connections,
        ..hcn_ipc::Limits::default()
    }
}

fn refuse_a_second(socket: &Path) -> anyhow::Result<()> {
    if std::os::unix::net::UnixStream::connect(socket).is_ok() {
        anyhow::bail!("another hcnd listens on {}", socket.display());
    }
    Ok(())
}

/// Binds the socket. A socket that nobody listens on is what an earlier daemon left; it is replaced.
fn bind(path: &Path) -> anyhow::Result<StdListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    if path.exists() {
        refuse_a_second(path)?;
        std::fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    let listener = StdListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    listener.set_nonblocking(true).with_context(|| format!("cannot use {}", path.display()))?;
    // Everybody may connect: who may do what is decided per call.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .with_context(|| format!("cannot open {} to everybody", path.display()))?;
    Ok(listener)
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log.filter)
        .with_context(|| format!("log.filter {:?} is not a filter", config.log.filter))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.log.format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
