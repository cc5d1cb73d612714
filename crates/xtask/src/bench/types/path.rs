//! What packets cost between two network namespaces.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;

/// How long each thing is measured in a turn.
const COUNTED: Duration = Duration::from_millis(700);
/// Before that, until caches and windows are warm.
const WARM_UP: Duration = Duration::from_millis(150);
/// Both ends are bound to it: waking the other processor would cost more than the packets.
const PROCESSOR: usize = 1;
const PORT: u16 = 7100;
const CHUNK: usize = 128 << 10;

/// From where to where.
pub(in crate::bench) struct Path {
    /// Paths of the files of the namespaces.
    pub(in crate::bench) from: String,
    pub(in crate::bench) to: String,
    /// The far end's.
    pub(in crate::bench) address: Ipv4Addr,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} to {} in {}", self.from, self.address, self.to)
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::bench) struct Figures {
    /// Of one stream, in Gbit/s.
    pub(in crate::bench) gigabits: f64,
    /// Median, in microseconds.
    pub(in crate::bench) round_trip: f64,
    /// One after the other, per second.
    pub(in crate::bench) connections: f64,
}

impl Figures {
    /// The median of each figure.
    pub(in crate::bench) fn medians(all: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            let mut values: Vec<f64> = all.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Self {
            gigabits: of(|figures| figures.gigabits),
            round_trip: of(|figures| figures.round_trip),
            connections: of(|figures| figures.connections),
        }
    }
}

/// What a server does with a connection.
#[derive(Clone, Copy)]
enum Serve {
    /// Closes it.
    Close,
    /// Sends back each octet.
    Echo,
    /// Reads until the end.
    Swallow,
}

impl Path {
    pub(in crate::bench) fn measure(&self) -> anyhow::Result<Figures> {
        Ok(Figures {
            gigabits: self.exchange(Serve::Swallow, throughput)?,
            round_trip: self.exchange(Serve::Echo, round_trip)?,
            connections: self.exchange(Serve::Close, connections)?,
        })
    }

    /// Runs a server at the far end and a client at the near one.
    fn exchange(&self, serve: Serve, client: fn(SocketAddr) -> anyhow::Result<f64>) -> anyhow::Result<f64> {
        let bound = !matches!(serve, Serve::Swallow);
        let to = self.to.clone();
        let listener =
            thread::spawn(move || enter(&to).and_then(|()| Ok(TcpListener::bind(("0.0.0.0", PORT))?)));
        let listener = listener.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
        let stopper = listener.try_clone()?;
        let server = thread::spawn(move || {
            if bound && bind_to_processor().is_err() {
                return;
            }
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                serve_one(stream, serve);
            }
        });
        let (from, address) = (self.from.clone(), SocketAddr::from((self.address, PORT)));
        let measured = thread::spawn(move || {
            enter(&from)?;
            if bound {
                bind_to_processor()?;
            }
            client(address)
        });
        let figure = measured.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
        // Ends the wait for connections.
        shutdown(stopper.as_raw_fd(), Shutdown::Both)?;
        if server.join().is_err() {
            bail!("the server panicked");
        }
        figure
    }
}

fn enter(netns: &str) -> anyhow::Result<()> {
    let file = File::open(netns).with_context(|| format!("no namespace {netns}"))?;
    Ok(setns(file, CloneFlags::CLONE_NEWNET)?)
}

fn bind_to_processor() -> anyhow::Result<()> {
    let mut processors = CpuSet::new();
    // On a machine with one there is nothing to choose.
    if thread::available_parallelism().is_ok_and(|count| count.get() > PROCESSOR) {
        processors.set(PROCESSOR)?;
        sched_setaffinity(Pid::from_raw(0), &processors)?;
    }
    Ok(())
}

/// A client that leaves ends it.
fn serve_one(mut stream: TcpStream, serve: Serve) {
    let _ = stream.set_nodelay(true);
    match serve {
        Serve::Close => {}
        Serve::Echo => {
            let mut octet = [0];
            while stream.read_exact(&mut octet).is_ok() && stream.write_all(&octet).is_ok() {}
        }
        Serve::Swallow => {
            let mut chunk = vec![0; CHUNK];
            while stream.read(&mut chunk).is_ok_and(|length| length > 0) {}
        }
    }
}

fn throughput(to: SocketAddr) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(to).context("no connection")?;
    let chunk = vec![0; CHUNK];
    let mut send = |time: Duration| -> anyhow::Result<(f64, f64)> {
        let (start, mut sent) = (Instant::now(), 0usize);
        while start.elapsed() < time {
            sent += stream.write(&chunk)?;
        }
        Ok((sent as f64, start.elapsed().as_secs_f64()))
    };
    send(WARM_UP)?;
    let (octets, seconds) = send(COUNTED)?;
    Ok(octets * 8.0 / seconds / 1e9)
}

fn round_trip(to: SocketAddr) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(to).context("no connection")?;
    stream.set_nodelay(true)?;
    let mut octet = [0];
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < COUNTED + WARM_UP {
        let asked = Instant::now();
        stream.write_all(&octet)?;
        stream.read_exact(&mut octet)?;
        if start.elapsed() > WARM_UP {
            times.push(asked.elapsed());
        }
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).context("no round trip")?;
    Ok(median.as_secs_f64() * 1e6)
}

fn connections(to: SocketAddr) -> anyhow::Result<f64> {
    let (start, mut count) = (Instant::now(), 0u32);
    while start.elapsed() < COUNTED {
        let mut stream = TcpStream::connect(to).context("no connection")?;
        // The server closes first, so that the client's ports are free at once.
        let _ = stream.read(&mut [0]);
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}
