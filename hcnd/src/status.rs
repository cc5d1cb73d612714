//! What does the service say of itself? Versions, what there is, and what the kernel has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use hcn_core::Registry;
use hcn_dataplane::Kernel;
use hcn_ipc::params;
use hcn_linux::Features;
use hcn_schema::base::Version;
use hcn_schema::call::Kind;
use nix::unistd::geteuid;
use tokio::sync::{Mutex, watch};

use crate::config::Paths;

/// What the kernel has, as soon as it is known, and what else is looked at when somebody asks.
#[derive(Clone, Debug)]
pub struct Probe {
    found: watch::Receiver<Option<Arc<Features>>>,
    /// Where the host is looked at for a diagnosis; none = it is not.
    pub(crate) places: Option<Arc<Places>>,
}

/// Where to look for a diagnosis, and whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) netns: PathBuf,
    pub(crate) store: PathBuf,
    pub(crate) turn: Mutex<()>,
}

impl Probe {
    /// Starts to look, on a thread of its own: nothing waits for it but who asks for the status.
    pub fn start(paths: &Paths) -> Self {
        let (sender, found) = watch::channel(None);
        let look = move || {
            let features = hcn_linux::features();
            for feature in features.list.iter().filter(|feature| !feature.present) {
                tracing::debug!(feature = feature.name, needed_for = feature.needed_for, "the kernel lacks");
            }
            sender.send_replace(Some(Arc::new(features)));
        };
        if let Err(error) = std::thread::Builder::new().name("probe".to_owned()).spawn(look) {
            tracing::warn!(%error, "cannot start the thread that looks at the kernel");
        }
        let (netns, store) = (paths.netns.clone(), paths.store.clone());
        Self { found, places: Some(Arc::new(Places { netns, store, turn: Mutex::default() })) }
    }

    /// Finds nothing: for a data plane that is not the kernel.
    pub fn none() -> Self {
        Self { found: watch::channel(None).1, places: None }
    }

    /// What of it decisions depend on; everything where nobody looks.
    pub(crate) async fn kernel(&self) -> Kernel {
        self.clone().found().await.map_or_else(Kernel::default, |found| found.kernel_facts())
    }

    pub(crate) async fn found(mut self) -> Option<Arc<Features>> {
        // An error means that nobody looks any more.
        self.found.wait_for(Option::is_some).await.ok()?.clone()
    }
}

/// Which start of this process this is, and why it changes nothing, where it does not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Start {
    pub(crate) number: u64,
    pub(crate) read_only: Option<String>,
}

/// Writes the status.
pub(crate) async fn status(
    started: Instant,
    start: Start,
    entities: Vec<(Kind, usize)>,
    probe: Probe,
) -> params::Status {
    let found = probe.found().await;
    let features = found.iter().flat_map(|found| &found.list).map(|feature| params::Feature {
        name: feature.name.to_owned(),
        present: feature.present,
        needed_for: feature.needed_for.to_owned(),
    });
    params::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: format!("{}.{}", Version::V2.major, Version::V2.minor),
        kernel: found.as_ref().map(|found| found.kernel.clone()).unwrap_or_default(),
        uptime_s: started.elapsed().as_secs(),
        starts: start.number,
        read_only: start.read_only,
        uid: geteuid().as_raw(),
        pid: std::process::id(),
        entities: entities.into_iter().map(|(kind, count)| (kind.name().to_owned(), count as u64)).collect(),
        features: features.collect(),
    }
}

/// How many entities there are of each kind.
pub(crate) fn count(registry: &Registry) -> Vec<(Kind, usize)> {
    Kind::ALL.into_iter().map(|kind| (kind, registry.count(kind))).collect()
}

/// How many entities of each kind are degraded.
pub(crate) fn count_degraded(registry: &Registry) -> Vec<(Kind, usize)> {
    let count = |kind| registry.of_kind(kind).filter(|of| of.meta().degraded.is_some()).count();
    Kind::ALL.into_iter().map(|kind| (kind, count(kind))).collect()
}
