//! hcnd under load, and among clients that behave badly: no error, nothing left over, nobody else held up.
//!
//! `HCN_LOAD_CLIENTS` and `HCN_LOAD_OPERATIONS` (of each client) make it a long run; it prints its figures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, DUAL, v2};
use hcn_tests::daemon::{END, command};
use hcn_tests::kernel::{assert_unchanged, dump, enter_own_namespaces};
use hcn_tests::service::{Held, held_by, sandbox_hcnd, sandbox_socket};
use hcn_tests::{Background, Sandbox, eventually, in_sandbox};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const LIMIT_EXCEEDED: u32 = 0x8007_000e;

fn asked_for(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What a client does: one change in twenty operations, the rest is reading. Answers how long each took.
fn operate(number: usize, operations: usize) -> Vec<Duration> {
    let mut client = Client::new();
    let (third, fourth) = (number / 200, number % 200);
    let network = client.network(&[&format!("10.{third}.{fourth}.0/24")]);
    let namespace = client.namespace("Host");
    let mut endpoint: Option<String> = None;
    let mut times = Vec::with_capacity(operations);
    for step in 0..operations {
        let started = Instant::now();
        match step % 80 {
            0 => endpoint = Some(client.endpoint(&network, &json!({}))),
            20 => client.attach(&namespace, endpoint.as_ref().unwrap()),
            40 => client.detach(&namespace, endpoint.as_ref().unwrap()),
            60 => client.delete("Endpoint", &endpoint.take().unwrap()),
            at => match at % 5 {
                1 => drop(client.query("Network", &network)),
                2 => drop(client.ok("Endpoint.Enumerate", &json!({}))),
                3 => drop(client.query("Namespace", &namespace)),
                4 => drop(client.ok("Service.Ping", &json!({}))),
                _ => {
                    let opened = client.ok("Network.Open", &json!({"id": network}));
                    client.ok("Network.Close", &json!({"handle": opened["handle"]}));
                }
            },
        }
        times.push(started.elapsed());
    }
    // The network's endpoints go with it.
    client.delete("Network", &network);
    client.delete("Namespace", &namespace);
    times
}

fn handles(client: &mut Client) -> u64 {
    let text = client.ok("Service.Metrics", &json!({}))["text"].as_str().unwrap().to_owned();
    let line = text.lines().find(|line| line.starts_with("hcnd_handles ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

fn percentile(times: &mut [Duration], of_1000: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * of_1000 / 1000]
}

#[test]
fn many_clients_are_served_without_an_error_and_leave_nothing() {
    let clients = asked_for("HCN_LOAD_CLIENTS", 16);
    let operations = asked_for("HCN_LOAD_OPERATIONS", 160);
    // A hundred in a second are slow.
    let deadline = Duration::from_secs(120 + (clients * operations / 100) as u64);
    in_sandbox!(Sandbox::new().deadline(deadline), {
        let hcnd = sandbox_hcnd();
        let clean = dump();
        let round = |operations: usize| -> Vec<Duration> {
            thread::scope(|scope| {
                let running: Vec<_> =
                    (0..clients).map(|number| scope.spawn(move || operate(number, operations))).collect();
                running.into_iter().flat_map(|client| client.join().unwrap()).collect()
            })
        };
        // What the first round opens is enough for the second.
        round(operations.min(80));
        let before = settled(hcnd, &clean);
        let deaf = subscribed(&sandbox_socket());
        let over = AtomicBool::new(false);
        let started = Instant::now();
        let (mut times, most) = thread::scope(|scope| {
            let most = scope.spawn(|| {
                let mut most = held_by(hcnd).memory;
                while !over.load(Ordering::Relaxed) {
                    sleep(Duration::from_millis(50));
                    most = most.max(held_by(hcnd).memory);
                }
                most
            });
            let times = round(operations);
            over.store(true, Ordering::Relaxed);
            (times, most.join().unwrap())
        });
        let took = started.elapsed();
        drop(deaf);
        let after = settled(hcnd, &clean);
        println!(
            "measured: {clients} clients, {} operations in {took:?}, p50 {:?}, p99 {:?}, longest {:?}; before \
             {before:?}, at most {most} KiB, after {after:?}",
            times.len(),
            percentile(&mut times, 500),
            percentile(&mut times, 990),
            percentile(&mut times, 1000),
        );
        assert_eq!((after.files, after.threads), (before.files, before.threads));
        assert!(after.memory < before.memory + 8192, "{before:?}, {after:?}");
        // Each client's answers, and for who subscribes and never reads 4096 events at most.
        assert!(most < before.memory + (16 << 10), "{before:?}, at most {most} KiB");
    });
}

/// What hcnd holds when all clients are gone and the kernel is as before.
fn settled(
    hcnd: nix::unistd::Pid,
    clean: &std::collections::BTreeMap<String, std::collections::BTreeSet<String>>,
) -> Held {
    let mut client = Client::new();
    eventually("no handles are left", || handles(&mut client) == 0);
    for kind in ["Network", "Endpoint", "Namespace"] {
        assert_eq!(client.ids(kind), [""; 0], "{kind}");
    }
    drop(client);
    assert_unchanged(clean, "something is left");
    held_by(hcnd)
}

/// How long a call of a good client takes at most, of 99 in 100.
fn p99(client: &mut Client, network: &str) -> Duration {
    let mut times: Vec<Duration> = (0..1500)
        .map(|_| {
            let started = Instant::now();
            client.query("Network", network);
            started.elapsed()
        })
        .collect();
    percentile(&mut times, 990)
}

fn message(method: &str, parameters: &Value) -> Vec<u8> {
    let mut bytes =
        json!({"method": format!("io.hcn.{method}"), "parameters": parameters}).to_string().into_bytes();
    bytes.push(0);
    bytes
}

/// Subscribes to all events, and never reads one.
fn subscribed(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    let subscribe = json!({"method": "io.hcn.Events.Subscribe", "parameters": {}, "more": true}).to_string();
    stream.write_all(&[subscribe.as_bytes(), &[0]].concat()).unwrap();
    stream
}

/// Sends calls and never reads an answer, until hcnd takes no more.
fn never_reads(socket: &Path, calls: &[u8]) -> (UnixStream, usize) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut sent = 0;
    while sent < 64 << 20 {
        match stream.write(calls) {
            Ok(0) | Err(_) => break,
            Ok(written) => sent += written,
        }
    }
    (stream, sent)
}

#[test]
fn clients_that_behave_badly_are_bounded_and_hold_nobody_up() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let folder = TempDir::new().unwrap();
        let (socket, store) = (folder.path().join("hcnd.sock"), folder.path().join("state.redb"));
        let config = folder.path().join("hcnd.toml");
        fs::write(&config, "limits.handles = 10000\n").unwrap();
        let mut hcnd = Background::start(command(&socket, &store).arg("--config").arg(&config));
        eventually("hcnd listens", || UnixStream::connect(&socket).is_ok());
        let mut good = Client::of(&socket);
        let network = good.network(&DUAL);
        for _ in 0..50 {
            good.endpoint(&network, &json!({}));
        }
        let idle = p99(&mut good, &network);
        let before = held_by(hcnd.pid());

        // Answers of 2 KiB each pile up, if at all, in the socket.
        let calls = message("Endpoint.Enumerate", &json!({})).repeat(100);
        let (unread, sent) = never_reads(&socket, &calls);
        assert!(sent < 64 << 20, "hcnd took {sent} bytes of calls whose answers nobody reads");
        let deaf = subscribed(&socket);
        let mut greedy = Client::of(&socket);
        for _ in 0..10_000 {
            greedy.ok("Network.Open", &json!({"id": network}));
        }
        let refused = greedy.call("Network.Open", &json!({"id": network}));
        assert_eq!(refused.hresult(), Some(LIMIT_EXCEEDED), "{}", refused.raw);
        assert!(refused.raw.contains("10000"), "{}", refused.raw);
        let over = AtomicBool::new(false);
        let (with, after) = thread::scope(|scope| {
            scope.spawn(|| {
                let mut slow = UnixStream::connect(&socket).unwrap();
                for byte in message("Network.Query", &json!({"id": network, "query": v2()})) {
                    if over.load(Ordering::Relaxed) || slow.write_all(&[byte]).is_err() {
                        return;
                    }
                    sleep(Duration::from_millis(100));
                }
            });
            for _ in 0..20 {
                let endpoint = good.endpoint(&network, &json!({}));
                good.delete("Endpoint", &endpoint);
            }
            // Other programs of the machine may be in the way of one measurement, not of each.
            let with = (0..4).map(|_| p99(&mut good, &network)).min().unwrap();
            let again = p99(&mut good, &network).min(with);
            over.store(true, Ordering::Relaxed);
            (again, held_by(hcnd.pid()))
        });
        println!(
            "measured: p99 of a query {idle:?} idle, {with:?} among clients that behave badly; {before:?}, {after:?}"
        );
        assert!(with <= idle * 2, "p99 of a query is {with:?}, idle {idle:?}");
        assert!(after.memory < before.memory + (32 << 10), "{before:?}, {after:?}");
        drop((unread, deaf, greedy));
        eventually("what they held is free", || handles(&mut Client::of(&socket)) < 100);
        hcnd.signal(Signal::SIGTERM);
        assert_eq!(hcnd.wait(END).code, Some(0));
    });
}
