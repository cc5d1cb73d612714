//! A virtual machine, as far as its network card goes: it opens the TAP interface of an endpoint as qemu does, and what
//! it does with the frames is the work of a network namespace, so that all of a guest's network is there.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

pub use hcn_linux::open_tap;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::process::run_ok;
use crate::traffic::in_netns;

/// Octets of `struct virtio_net_hdr`, which stands before each frame.
const HEADER: usize = 10;

/// A machine that runs until this is dropped.
pub struct Machine {
    /// The namespace that stands for its inside; its card is `eth0`.
    pub netns: String,
    stop: Arc<AtomicBool>,
    pumps: Vec<JoinHandle<()>>,
}

impl Machine {
    /// Starts a machine whose card has this MAC address.
    ///
    /// # Panics
    /// The TAP interface cannot be opened.
    #[must_use]
    pub fn start(netns: &str, tap: &str, mac: &str) -> Self {
        run_ok(&["ip", "netns", "add", netns]);
        let outer = Arc::new(open_tap(tap, true).unwrap());
        let inner = Arc::new(in_netns(netns, || open_tap("eth0", false).unwrap()));
        run_ok(&["ip", "-n", netns, "link", "set", "eth0", "address", mac, "up"]);
        run_ok(&["ip", "-n", netns, "link", "set", "lo", "up"]);
        let stop = Arc::new(AtomicBool::new(false));
        let to_guest = pump(Arc::clone(&stop), Arc::clone(&outer), Arc::clone(&inner), |frame| {
            frame.get(HEADER..).unwrap_or_default().to_vec()
        });
        let to_host = pump(Arc::clone(&stop), inner, outer, |frame| [&[0; HEADER][..], frame].concat());
        Self { netns: netns.to_owned(), stop, pumps: vec![to_guest, to_host] }
    }

    /// Gives the card an address with the prefix length, and a gateway.
    pub fn configure(&self, address: &str, gateway: &str) {
        run_ok(&["ip", "-n", &self.netns, "addr", "add", address, "dev", "eth0", "nodad"]);
        let family = if gateway.contains(':') { "-6" } else { "-4" };
        run_ok(&["ip", "-n", &self.netns, family, "route", "add", "default", "via", gateway]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for pump in self.pumps.drain(..) {
            let ended = pump.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a pump panicked");
        }
    }
}

/// Carries frames from one interface to the other, until it is stopped or one of them is gone.
fn pump(
    stop: Arc<AtomicBool>,
    from: Arc<File>,
    to: Arc<File>,
    change: fn(&[u8]) -> Vec<u8>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut frame = vec![0; 65_600];
        while !stop.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, PollTimeout::from(50_u8)).unwrap() == 0 {
                continue;
            }
            let Ok(length) = (&*from).read(&mut frame) else { return };
            // A card that is down takes nothing.
            let _ = (&*to).write(&change(&frame[..length]));
        }
    })
}
