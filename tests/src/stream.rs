//! A connection that must not be interrupted.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::netns_exec;
use crate::traffic::in_netns;

/// A download that never pauses for long: bytes arrive in order, with numbers.
#[derive(Debug)]
pub struct Stream {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Stream {
    /// Starts it: `server` listens on port `listen`, `client` connects to `to`; both are names for `ip netns`.
    #[must_use]
    pub fn start(server: &str, client: &str, to: (&str, u16), listen: u16) -> Self {
        // A lost segment would be sent again after 200 ms at the earliest.
        Self::start_within(Duration::from_millis(190), server, client, to, listen)
    }

    /// Starts one that may stand still for as long: for tests that count what is sent again by [`sent_again`].
    #[must_use]
    pub fn start_within(longest: Duration, server: &str, client: &str, to: (&str, u16), listen: u16) -> Self {
        let listener = in_netns(server, || TcpListener::bind(("0.0.0.0", listen)).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut number = 0u64;
            while !stopped.load(Ordering::Relaxed) {
                stream.write_all(&number.to_be_bytes()).unwrap();
                number += 1;
                sleep(Duration::from_micros(200));
            }
        });
        let mut stream = in_netns(client, || TcpStream::connect(to).unwrap());
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let received = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&received);
        let thread = thread::spawn(move || {
            let mut bytes = [0; 8];
            let mut last = Instant::now();
            while stream.read_exact(&mut bytes).is_ok() {
                assert_eq!(u64::from_be_bytes(bytes), count.fetch_add(1, Ordering::Relaxed));
                assert!(last.elapsed() < longest, "the stream stood still: {:?}", last.elapsed());
                last = Instant::now();
            }
        });
        Self { received, stop, thread }
    }

    /// Ends it, and gives how many numbers came. Fails if it ever stood still.
    #[must_use]
    pub fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("an unbroken stream");
        self.received.load(Ordering::Relaxed)
    }
}

/// How many TCP segments a network namespace has sent more than once.
#[must_use]
pub fn sent_again(netns: &str) -> u64 {
    let counters = netns_exec(netns, &["cat", "/proc/net/snmp"]).stdout;
    let mut lines = counters.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.split(' ').position(|name| name == "RetransSegs").unwrap();
    values.split(' ').nth(place).unwrap().parse().unwrap()
}
