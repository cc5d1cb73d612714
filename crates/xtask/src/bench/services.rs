//! `bench services`: what a load balancer costs while many are there, to whoever makes one and to whoever connects.

use std::fs::File;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

use super::containers::Containers;
use super::machine;
use super::table::Samples;

/// Back ends of each load balancer.
const BACKENDS: usize = 4;
/// Where the back ends listen, on a port for each size: connections that are over would be in the way of new ones to the
/// same port for two minutes.
const INTERNAL: u16 = 7000;
/// How long connections are made and counted.
const COUNTED: Duration = Duration::from_secs(2);
/// Between two measurements.
const REST: Duration = Duration::from_millis(10);

/// Runs inside the sandbox.
pub(super) fn run(sizes: &[u32], rounds: u32) -> anyhow::Result<()> {
    if std::env::var_os("HCND_SANDBOX").is_none() {
        bail!("this changes networks; run `cargo xtask bench services`, which makes a sandbox first");
    }
    let socket: PathBuf = std::env::var_os("HCND_SOCKET").context("HCND_SOCKET is not set")?.into();
    println!("{}", machine::describe());
    println!(
        "{BACKENDS} back ends each; {rounds} rounds at each size; through the socket, durable before the reply\n"
    );
    let mut hcnd = Containers::new(&socket)?;
    let mut backends = Vec::new();
    for _ in 0..BACKENDS {
        let (namespace, endpoint) = (hcnd.create_namespace()?, hcnd.create_endpoint()?);
        hcnd.modify("Add", &namespace, &endpoint)?;
        for port in (INTERNAL..).take(sizes.len()) {
            serve(&namespace, port)?;
        }
        backends.push(endpoint);
    }
    let client = hcnd.create_namespace()?;
    let endpoint = hcnd.create_endpoint()?;
    hcnd.modify("Add", &client, &endpoint)?;

    println!("load balancers   create p50 us   create p95 us   delete p50 us   new connections/s");
    let mut first: Option<(f64, f64)> = None;
    let (mut create_ratio, mut rate_ratio) = (1.0, 1.0);
    let mut made = 0u32;
    for (&size, internal) in sizes.iter().zip(INTERNAL..) {
        let start = Instant::now();
        while made < size {
            hcnd.create_load_balancer(&document(&backends, made, internal))?;
            made += 1;
        }
        let filled = start.elapsed();
        let (mut create, mut delete) = (Samples::default(), Samples::default());
        for _ in 0..rounds {
            thread::sleep(REST);
            let document = document(&backends, 65_000, internal);
            let id = create.time(|| hcnd.create_load_balancer(&document))?;
            thread::sleep(REST);
            delete.time(|| hcnd.delete_load_balancer(&id))?;
        }
        let rate = connections_per_second(&client, vip(size - 1))?;
        let (p50, p95) = (create.percentile(50), create.percentile(95));
        println!(
            "{size:14} {p50:15.0} {p95:15.0} {:15.0} {rate:19.0}   (filled in {filled:.1?})",
            delete.percentile(50)
        );
        let (first_create, first_rate) = *first.get_or_insert((p50, rate));
        (create_ratio, rate_ratio) = (p50 / first_create, rate / first_rate);
    }
    let met = |met: bool| if met { "met" } else { "MISSED" };
    println!("\nlast / first: create {create_ratio:.2} (P8 <= 1.2: {})", met(create_ratio <= 1.2));
    println!("last / first: new connections {rate_ratio:.2} (P13 >= 0.97: {})", met(rate_ratio >= 0.97));
    Ok(())
}

/// The virtual address and port of a load balancer by its number.
fn vip(number: u32) -> SocketAddr {
    let [_, _, high, low] = (number / 250).to_be_bytes();
    let port = 1 + u16::try_from(number % 250).unwrap_or_default();
    SocketAddr::from(([198, 18, high, low], port))
}

fn document(backends: &[String], number: u32, internal: u16) -> Value {
    let vip = vip(number);
    json!({
        "HostComputeEndpoints": backends, "FrontendVIPs": [vip.ip()],
        "PortMappings": [{"Protocol": 6, "InternalPort": internal, "ExternalPort": vip.port()}],
        "SchemaVersion": {"Major": 2, "Minor": 0},
    })
}

/// Enters a namespace with this thread.
fn enter(namespace: &str) -> anyhow::Result<()> {
    let file = File::open(format!("/run/netns/{namespace}")).context("no such namespace")?;
    Ok(setns(file, CloneFlags::CLONE_NEWNET)?)
}

/// Accepts connections and closes them, until the end.
fn serve(namespace: &str, port: u16) -> anyhow::Result<()> {
    let namespace = namespace.to_owned();
    let listener = thread::spawn(move || -> anyhow::Result<TcpListener> {
        enter(&namespace)?;
        Ok(TcpListener::bind(("0.0.0.0", port))?)
    });
    let listener = listener.join().map_err(|_| anyhow::anyhow!("a server panicked"))??;
    thread::spawn(move || listener.incoming().for_each(drop));
    Ok(())
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
