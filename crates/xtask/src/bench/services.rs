//! `bench services`: what a load balancer costs while many are there, to whoever makes one and to whoever connects.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::containers::Containers;
use super::machine;
use super::table::Samples;

/// Back ends of each load balancer.
const BACKENDS: usize = 4;
/// Where the back ends close connections.
const INTERNAL: u16 = 7000;
/// Where they send back what they get.
const ECHO: u16 = 7001;
/// How long connections are made and counted.
const COUNTED: Duration = Duration::from_secs(2);
/// Between two measurements.
const REST: Duration = Duration::from_millis(10);

/// How often each size has its turn: each time in a sandbox of its own, since connections that are over slow down new
/// ones for two minutes.
const TURNS: usize = 3;

/// What is measured at one size: create p50 and p95, delete p50 (µs), new connections per second, a round trip p50 (µs),
/// the time that making all of them took (ms).
const FIGURES: usize = 6;

/// Lets each size have its turns, and prints the medians.
pub(super) fn compare(
    sizes: &[u32],
    rounds: u32,
    run: impl Fn(u32) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    println!("{}", machine::describe());
    println!(
        "{BACKENDS} back ends each; {rounds} rounds a turn, median of {TURNS} turns; through the socket, durable before \
         the reply\n"
    );
    let mut all: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); FIGURES]; sizes.len()];
    for _ in 0..TURNS {
        for (size, figures) in sizes.iter().zip(&mut all) {
            let printed = run(*size)?;
            let words: Vec<&str> = printed.split_whitespace().collect();
            if words.len() != FIGURES {
                bail!("the measurement at {size} printed {printed:?}");
            }
            for (figure, word) in figures.iter_mut().zip(words) {
                figure.push(word.parse().with_context(|| format!("{word:?} is no figure"))?);
            }
        }
    }
    println!(
        "load balancers   create p50 us   create p95 us   delete p50 us   new connections/s   round trip us   made in ms"
    );
    let mut medians = Vec::new();
    for (size, figures) in sizes.iter().zip(all) {
        let of = |mut figure: Vec<f64>| {
            figure.sort_by(f64::total_cmp);
            figure[figure.len() / 2]
        };
        let figures: Vec<f64> = figures.into_iter().map(of).collect();
        let [create, slow, delete, rate, trip, made] = figures[..] else { bail!("a figure is missing") };
        println!("{size:14} {create:15.0} {slow:15.0} {delete:15.0} {rate:19.0} {trip:15.1} {made:12.0}");
        medians.push((create, rate, trip));
    }
    let (Some((first_create, first_rate, first_trip)), Some((last_create, last_rate, last_trip))) =
        (medians.first(), medians.last())
    else {
        return Ok(());
    };
    let met = |met: bool| if met { "met" } else { "MISSED" };
    let (create, rate) = (last_create / first_create, last_rate / first_rate);
    println!("\nlast / first: create {create:.2} (P8 <= 1.2: {})", met(create <= 1.2));
    println!("last / first: new connections {rate:.2} (P13 >= 0.97: {})", met(rate >= 0.97));
    println!("last / first: round trip {:.2}", last_trip / first_trip);
    Ok(())
}

/// Runs inside the sandbox.
pub(super) fn run(sizes: &[u32], rounds: u32) -> anyhow::Result<()> {
    if std::env::var_os("HCND_SANDBOX").is_none() {
        bail!("this changes networks; run `cargo xtask bench services`, which makes a sandbox first");
    }
    let [size] = sizes else { bail!("one size at a time") };
    let socket: PathBuf = std::env::var_os("HCND_SOCKET").context("HCND_SOCKET is not set")?.into();
    let mut hcnd = Containers::new(&socket)?;
    let mut backends = Vec::new();
    for _ in 0..BACKENDS {
        let (namespace, endpoint) = (hcnd.create_namespace()?, hcnd.create_endpoint()?);
        hcnd.modify("Add", &namespace, &endpoint)?;
        serve(&namespace, INTERNAL, drop)?;
        serve(&namespace, ECHO, echo)?;
        backends.push(endpoint);
    }
    let client = hcnd.create_namespace()?;
    let endpoint = hcnd.create_endpoint()?;
    hcnd.modify("Add", &client, &endpoint)?;

    let start = Instant::now();
    for number in 0..*size {
        hcnd.create_load_balancer(&document(&backends, number))?;
    }
    let made = start.elapsed();
    let (mut create, mut delete) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        thread::sleep(REST);
        let document = document(&backends, 65_000);
        let id = create.time(|| hcnd.create_load_balancer(&document))?;
        thread::sleep(REST);
        delete.time(|| hcnd.delete_load_balancer(&id))?;
    }
    let rate = connections_per_second(&client, vip(size / 2))?;
    let mut echoing = document(&backends, 65_001);
    echoing["PortMappings"][0]["InternalPort"] = json!(ECHO);
    hcnd.create_load_balancer(&echoing)?;
    let trip = round_trip(&client, vip(65_001))?;
    let (p50, p95) = (create.percentile(50), create.percentile(95));
    println!("{p50:.0} {p95:.0} {:.0} {rate:.0} {trip:.2} {}", delete.percentile(50), made.as_millis());
    Ok(())
}

/// The virtual address and port of a load balancer by its number.
fn vip(number: u32) -> SocketAddr {
    let [_, _, high, low] = (number / 250).to_be_bytes();
    let port = 1 + u16::try_from(number % 250).unwrap_or_default();
    SocketAddr::from(([198, 18, high, low], port))
}

fn document(backends: &[String], number: u32) -> Value {
    let vip = vip(number);
    json!({
        "HostComputeEndpoints": backends, "FrontendVIPs": [vip.ip()],
        "PortMappings": [{"Protocol": 6, "InternalPort": INTERNAL, "ExternalPort": vip.port()}],
        "SchemaVersion": {"Major": 2, "Minor": 0},
    })
}

/// Enters a namespace with this thread.
fn enter(namespace: &str) -> anyhow::Result<()> {
    let file = File::open(format!("/run/netns/{namespace}")).context("no such namespace")?;
    Ok(setns(file, CloneFlags::CLONE_NEWNET)?)
}

/// Accepts connections and does the same with each, until the end.
fn serve(namespace: &str, port: u16, with: fn(std::io::Result<TcpStream>)) -> anyhow::Result<()> {
    let namespace = namespace.to_owned();
    let listener = thread::spawn(move || -> anyhow::Result<TcpListener> {
        enter(&namespace)?;
        Ok(TcpListener::bind(("0.0.0.0", port))?)
    });
    let listener = listener.join().map_err(|_| anyhow::anyhow!("a server panicked"))??;
    thread::spawn(move || listener.incoming().for_each(with));
    Ok(())
}

fn echo(stream: std::io::Result<TcpStream>) {
    let Ok(mut stream) = stream else { return };
    if bind_to_processor().is_err() || stream.set_nodelay(true).is_err() {
        return;
    }
    let mut octet = [0];
    while stream.read_exact(&mut octet).is_ok() && stream.write_all(&octet).is_ok() {}
}

/// Waking another processor would cost more than the packets.
fn bind_to_processor() -> anyhow::Result<()> {
    let mut processors = CpuSet::new();
    processors.set(thread::available_parallelism()?.get() - 1)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &processors)?)
}

/// The median of round trips on one connection, in microseconds.
fn round_trip(namespace: &str, to: SocketAddr) -> anyhow::Result<f64> {
    let namespace = namespace.to_owned();
    let counted = thread::spawn(move || -> anyhow::Result<f64> {
        enter(&namespace)?;
        bind_to_processor()?;
        let mut stream = TcpStream::connect(to).context("the load balancer does not answer")?;
        stream.set_nodelay(true)?;
        let (mut samples, start) = (Samples::default(), Instant::now());
        while start.elapsed() < COUNTED {
            samples.time(|| {
                stream.write_all(&[1])?;
                Ok(stream.read_exact(&mut [0])?)
            })?;
        }
        Ok(samples.percentile(50))
    });
    counted.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
}

/// One connection after the other, from a container of the same bridge.
fn connections_per_second(namespace: &str, to: SocketAddr) -> anyhow::Result<f64> {
    let namespace = namespace.to_owned();
    let counted = thread::spawn(move || -> anyhow::Result<f64> {
        enter(&namespace)?;
        let start = Instant::now();
        let mut count = 0u32;
        while start.elapsed() < COUNTED {
            let mut stream = TcpStream::connect(to).context("the load balancer does not answer")?;
            // The server closes first, so that the client's ports are free at once.
            let _ = stream.read(&mut [0]);
            count += 1;
        }
        Ok(f64::from(count) / start.elapsed().as_secs_f64())
    });
    counted.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
}
