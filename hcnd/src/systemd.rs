//! What systemd and hcnd say to each other: the socket, ready, still alive, stopping. Without systemd nothing is said.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sd_notify::NotifyState;

/// The socket that systemd listens on for hcnd (`hcnd.socket`), if it started hcnd so.
///
/// # Errors
/// It passed something else.
pub fn listener() -> anyhow::Result<Option<UnixListener>> {
    let mut passed = sd_notify::listen_fds().context("cannot read what systemd passes")?;
    let Some(socket) = passed.next() else { return Ok(None) };
    if passed.next().is_some() {
        bail!("systemd passes more than one socket; hcnd listens on one");
    }
    let listener = hcn_linux::passed_listener(socket).context("systemd passes no unix socket")?;
    listener.set_nonblocking(true).context("cannot use systemd's socket")?;
    Ok(Some(listener))
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
        assert!(listener().unwrap().is_none());
        assert_eq!(watchdog(), None);
    }
}
