//! Which MAC addresses send frames on a link.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use hcn_tests::traffic::in_netns;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// A capture under way.
pub(crate) struct Capture {
    over: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Capture {
    /// Listens in a namespace on the link of this name.
    pub(crate) fn start(netns: &str, link: &str) -> Self {
        let socket = in_netns(netns, || {
            let flags = SockFlag::SOCK_CLOEXEC;
            socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap()
        });
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 20_000)).unwrap();
        let index = in_netns(netns, || nix::net::if_::if_nametoindex(link).unwrap());
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut seen = BTreeSet::new();
            let mut frame = [0; 2048];
            while !ends.load(Ordering::Relaxed) {
                match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
                    // What this side sends is seen, too.
                    Ok((length, Some(from))) if length >= 14 && from.ifindex() == index as usize => {
                        let source = frame[6..12].iter().map(|octet| format!("{octet:02x}"));
                        seen.insert(source.collect::<Vec<_>>().join(":"));
                    }
                    Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            seen
        });
        Self { over, thread }
    }

    /// The source addresses of all frames since.
    pub(crate) fn end(self) -> BTreeSet<String> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
