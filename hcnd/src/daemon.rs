//! The life of the daemon: start, serve, stop.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use hcn_core::restore;
use hcn_dataplane::Dataplane;
use hcn_ipc::{Hub, Server};
use hcn_store::{Era, Loaded, Store};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};

use crate::access::access;
use crate::config::{Config, LogFormat};
use crate::http;
use crate::service::Service;
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
    let hcn_linux::Era { boot_id, netns_cookie } =
        hcn_linux::era().context("cannot tell this boot from others")?;
    let era = Era { boot_id, netns_cookie };
    let (store, loaded) = open_store(&config.paths.store, &era)?;
    if let (None, Some(socket)) = (&passed.hns, config.hns_socket()) {
        refuse_a_second(&socket)?;
    }
    let dataplane = hcn_linux::Linux::start(hcn_linux::Config {
        netns_dir: config.paths.netns.clone(),
        netns_etc: config.paths.netns_etc.clone(),
    })
    .context("cannot take over the kernel's side")?;
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            systemd::stopping();
        };
        serve_with(
            || listen(passed, config),
            config,
            Box::new(dataplane),
            Restored { store, loaded },
            probe,
            stop,
        )
        .await
    })
}

/// Where clients come in.
pub struct Listeners {
    /// For calls.
    pub calls: UnixListener,
    /// For HNS version 1 over HTTP.
    pub hns: Option<UnixListener>,
}

/// Takes what systemd passes, and makes the rest.
fn listen(passed: systemd::Passed, config: &Config) -> anyhow::Result<Listeners> {
    let take = |listener| UnixListener::from_std(listener).context("cannot use systemd's socket");
    // First, so that whoever reaches the service by the other one finds this one too.
    let hns = match (passed.hns, config.hns_socket()) {
        (Some(listener), _) => Some(take(listener)?),
        (None, Some(path)) => Some(bind(&path)?),
        (None, None) => None,
    };
    let calls = match passed.calls {
        Some(listener) => take(listener)?,
        None => bind(&config.socket)?,
    };
    Ok(Listeners { calls, hns })
}

/// State from before.
pub struct Restored {
    /// Where it is kept.
    pub store: Store,
    /// What it was.
    pub loaded: Loaded,
}

/// Opens the store; what does not outlive a reboot is dropped if there was one since.
fn open_store(path: &Path, era: &Era) -> anyhow::Result<(Store, Loaded)> {
    let (store, mut loaded) =
        Store::open(path, era).with_context(|| format!("cannot use the state in {}", path.display()))?;
    let before = loaded.entities.len();
    if loaded.same_era {
        loaded.entities = restore::after_restart(loaded.entities);
    } else {
        loaded.entities = restore::after_reboot(loaded.entities);
        store
            .replace_all(&loaded.entities, era)
            .with_context(|| format!("cannot write the state in {}", path.display()))?;
        if before > 0 {
            tracing::info!(
                before,
                after = loaded.entities.len(),
                "the machine, or its network, was started anew"
            );
        }
    }
    Ok((store, loaded))
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
    serve_with(listen, config, dataplane, restored, Probe::none(), stop).await
}

async fn serve_with(
    listen: impl FnOnce() -> anyhow::Result<Listeners>,
    config: &Config,
    dataplane: Box<dyn Dataplane>,
    restored: Restored,
    probe: Probe,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (worker, thread) = Worker::start(dataplane).context("cannot start the data plane's thread")?;
    let hub = Hub::new();
    let Restored { store, loaded } = restored;
    let service = Service::start(worker, store, &loaded, hub.clone(), config.settings(), probe).await;
    drop(loaded);
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
    alive.abort();
    drop((service, alive));
    // The thread ends when the last worker is gone, and with it the data plane, which finishes what it owes.
    tokio::task::spawn_blocking(move || thread.join()).await.context("the data plane did not end")?;
    Ok(())
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
fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    if path.exists() {
        refuse_a_second(path)?;
        std::fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
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
