//! Who gets a connection, how much is held, and how does the server stop?

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hcn_schema::{Error, HResult, Result};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::connection::{self, Phase, Shared};
use crate::pipeline::Gauge;
use crate::session::{Registry, locked};
use crate::{Access, Caller, HnsDoor, Hub, Limits, Service, message};

/// Connections per user.
pub(crate) type Users = Arc<Mutex<HashMap<u32, usize>>>;

/// How much clients hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Connections.
    pub connections: usize,
    /// Sessions.
    pub sessions: usize,
    /// Open handles of all sessions.
    pub handles: usize,
}

/// Tells how much clients hold; clones tell of the same server.
#[derive(Clone, Debug)]
pub struct Meter {
    registry: Arc<Registry>,
    users: Users,
}

impl Meter {
    pub(crate) fn new(registry: &Arc<Registry>, users: &Users) -> Self {
        Self { registry: Arc::clone(registry), users: Arc::clone(users) }
    }

    /// How much they hold now.
    pub fn read(&self) -> Usage {
        Usage {
            connections: locked(&self.users).values().sum(),
            sessions: self.registry.sessions(),
            handles: self.registry.handles(),
        }
    }
}

/// A server that does not listen yet.
pub struct Server {
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
}

impl Server {
    /// A server for this service.
    pub fn new(service: Arc<dyn Service>, hub: Hub, limits: Limits, access: Access) -> Self {
        let (phase, watched) = watch::channel(Phase::Running);
        let shared = Arc::new(Shared {
            service,
            hub,
            limits,
            access,
            registry: Registry::new(limits.handles),
            users: Users::default(),
            gauge: Arc::default(),
            phase: watched,
            connections: AtomicU64::new(0),
        });
        Self { shared, phase }
    }

    /// Tells how much clients hold.
    pub fn meter(&self) -> Meter {
        self.shared.meter()
    }

    /// Where connections that carry requests of HNS version 1 come in; it is open as long as this server serves.
    pub fn hns_door(&self) -> HnsDoor {
        HnsDoor::new(&self.shared)
    }

    /// Serves the socket until `shutdown` is finished, and then until the calls in flight are answered and
    /// subscribers have got their last notice, each within `limits.grace`. New calls in that time get 0x803b0020.
    ///
    /// The futures of the service and the connections run as tasks of the current runtime, of any flavour.
    pub async fn serve(self, listener: UnixListener, shutdown: impl Future<Output = ()>) {
        let Self { shared, phase } = self;
        let (hub, grace) = (shared.hub.clone(), shared.limits.grace);
        let gauge: Arc<Gauge> = Arc::clone(&shared.gauge);
        let mut connections = JoinSet::new();
        tokio::select! {
            () = accept(&listener, &shared, &mut connections) => {}
            () = shutdown => {}
        }
        info!(connections = connections.len(), "stopping");
        drop(listener);
        phase.send_replace(Phase::Stopping);
        if timeout(grace, gauge.drained()).await.is_err() {
            warn!("calls are still running after {grace:?}");
        }
        hub.close();
        phase.send_replace(Phase::Closing);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(grace, ended).await.is_err() {
            debug!(connections = connections.len(), "clients did not take their replies");
            connections.shutdown().await;
        }
        // What ended with its handle is deleted while there is a service that can do it.
        if timeout(grace, gauge.drained()).await.is_err() {
            warn!("what clients have left is not deleted after {grace:?}");
        }
    }
}

async fn accept(listener: &UnixListener, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    loop {
        // Also when no tasks are left, which answers None at once, the next connection is waited for.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted.and_then(|(stream, _)| Ok(((shared.access.identify)(&stream)?, stream))) {
            Ok((caller, stream)) => {
                let number = shared.next_connection();
                let place = match Place::take(&shared.users, &caller, shared.limits_of(&caller).connections) {
                    Ok(place) => place,
                    Err(error) => {
                        // A fresh connection takes that much at once; if not, its end says enough.
                        let _ = stream.try_write(&message::failure(&error));
                        continue;
                    }
                };
                let shared = Arc::clone(shared);
                connections.spawn(async move {
                    connection::run(shared, stream, caller, number).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Most likely no file descriptors are left; they come back when connections end.
                warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A connection counted for its user.
pub(crate) struct Place {
    users: Users,
    uid: u32,
}

impl Place {
    /// Counts one more, unless the user has as many as one may have.
    pub(crate) fn take(users: &Users, caller: &Caller, limit: usize) -> Result<Self> {
        let Caller { uid, pid, .. } = *caller;
        let mut counts = locked(users);
        let count = counts.entry(uid).or_default();
        if *count >= limit {
            let message = format!("user {uid} has {limit} connections already");
            let error = Error::new(HResult::LIMIT_EXCEEDED, message);
            warn!(uid, pid, %error, "refused a connection");
            return Err(error);
        }
        *count += 1;
        Ok(Self { users: Arc::clone(users), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = locked(&self.users);
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}
