//! What systemd and hcnd say to each other: the sockets, ready, still alive, stopping. Without systemd nothing is said.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sd_notify::NotifyState;

/// What the socket of HNS version 1 is called (`FileDescriptorName`); any other name is that of the socket for calls.
const HNS: &str = "hns";

/// The sockets that systemd listens on for hcnd.
#[derive(Debug, Default)]
pub struct Passed {
    /// For calls (`hcnd.socket`).
    pub calls: Option<UnixListener>,
    /// For HNS version 1 (`hcnd-hns.socket`).
    pub hns: Option<UnixListener>,
}

/// The sockets that systemd listens on for hcnd, as far as it started hcnd so.
///
/// # Errors
/// It passed something else.
pub fn listeners() -> anyhow::Result<Passed> {
    let mut passed = Passed::default();
    let sockets = sd_notify::listen_fds_with_names().context("cannot read what systemd passes")?;
    for (socket, name) in sockets {
        let place = if name == HNS { &mut passed.hns } else { &mut passed.calls };
        let listener = hcn_linux::passed_listener(socket)
            .with_context(|| format!("what systemd passes as {name:?} is no unix socket"))?;
        listener.set_nonblocking(true).context("cannot use systemd's socket")?;
        if place.replace(listener).is_some() {
            bail!(
                "systemd passes more than one socket like {name:?}; hcnd listens on one for calls and one for HNS"
            );
        }
    }
    Ok(passed)
}

/// Calls are served from now on.
pub fn ready() {
    say(NotifyState::Ready);
}

/// No new calls are served from now on.
pub fn stopping() {
    say(NotifyState::Stopping);
}

/// Everything still moves.
pub fn alive() {
    say(NotifyState::Watchdog);
}

/// After how long without [`alive`] systemd starts another hcnd.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn say(what: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[what]) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What is passed is tested with a process that it is passed to, in tests/e2e/systemd.rs.
    #[test]
    fn what_systemd_passed_to_another_process_is_not_taken() {
        let passed = listeners().unwrap();
        assert!(passed.calls.is_none() && passed.hns.is_none());
        assert_eq!(watchdog(), None);
    }
}
