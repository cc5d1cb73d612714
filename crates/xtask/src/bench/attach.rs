//! `bench attach`: at each size hcnd and the floor take turns, so that whatever else the machine does hits both.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::Plan;
use super::containers::Containers;
use super::echo::Echo;
use super::floor::{Attach, Floor};
use super::machine::{self, Memory};
use super::table::{Goal, HEAD, Row, Samples};

/// Round trips measured in each round.
const QUERIES: u32 = 10;
/// After a fill the kernel is busy for a while with what it was asked.
const SETTLE: Duration = Duration::from_millis(1500);
/// Between two measurements.
const REST: Duration = Duration::from_millis(3);
/// Longer than anything but a hang.
const DEADLINE: Duration = Duration::from_secs(30);

/// What was measured at one size.
#[derive(Default)]
struct Figures {
    create_endpoint: Samples,
    add: Samples,
    attach: Samples,
    remove: Samples,
    reaped: Samples,
    delete_detached: Samples,
    delete_attached: Samples,
    create_namespace: Samples,
    delete_namespace: Samples,
    query: Samples,
    floor_attach: Samples,
    floor_marked: Samples,
    floor_detach: Samples,
    floor_create_namespace: Samples,
    floor_delete_namespace: Samples,
    floor_query: Samples,
}

/// Runs inside the sandbox.
pub(super) fn run(plan: &Plan) -> anyhow::Result<()> {
    if std::env::var_os("HCND_SANDBOX").is_none() {
        bail!("this changes networks; run `cargo xtask bench attach`, which makes a sandbox first");
    }
    raise_open_files()?;
    let socket: PathBuf = std::env::var_os("HCND_SOCKET").context("HCND_SOCKET is not set")?.into();
    let daemon = machine::hcnd()?;
    println!("{}", machine::describe());
    println!(
        "{} rounds at each size, times in microseconds; hcnd has no warm pool yet, so everything is cold\n",
        plan.rounds
    );

    let idle = Memory::of(daemon)?;
    let mut hcnd = Containers::new(&socket)?;
    let mut floor = Floor::new()?;
    let mut echo = Echo::start()?;
    let mut filled = Vec::new();
    for &size in &plan.existing {
        floor.fill(size)?;
        let resident = hcnd.fill(size)?;
        filled.push((size, Memory::of(daemon)?));
        sleep(SETTLE);
        let mut figures = Figures::default();
        for round in 0..plan.rounds {
            if round % 2 == 0 {
                floor_round(&mut floor, &mut figures)?;
                hcnd_round(&mut hcnd, &mut figures)?;
            } else {
                hcnd_round(&mut hcnd, &mut figures)?;
                floor_round(&mut floor, &mut figures)?;
            }
            round_trips(&mut hcnd, &mut echo, &resident, &mut figures)?;
        }
        print(size, &figures);
    }
    let end = Memory::of(daemon)?;
    delete_all(&mut hcnd, &mut floor)?;
    print_memory(idle, &filled, end);
    Ok(())
}

fn floor_round(floor: &mut Floor, figures: &mut Figures) -> anyhow::Result<()> {
    for how in [Attach::Bare, Attach::Marked] {
        sleep(REST);
        let mut namespace = figures.floor_create_namespace.time(|| floor.new_namespace())?;
        let attach = match how {
            Attach::Bare => &mut figures.floor_attach,
            Attach::Marked => &mut figures.floor_marked,
        };
        attach.time(|| floor.attach(&mut namespace, how))?;
        figures.floor_detach.time(|| floor.detach(&namespace))?;
        floor.reap()?;
        figures.floor_delete_namespace.time(|| Floor::delete_namespace(namespace))?;
    }
    Ok(())
}

fn hcnd_round(hcnd: &mut Containers, figures: &mut Figures) -> anyhow::Result<()> {
    sleep(REST);
    let before = machine::links()?;
    let namespace = figures.create_namespace.time(|| hcnd.create_namespace())?;
    let start = Instant::now();
    let endpoint = figures.create_endpoint.time(|| hcnd.create_endpoint())?;
    figures.add.time(|| hcnd.modify("Add", &namespace, &endpoint))?;
    figures.attach.add(start.elapsed());
    figures.remove.time(|| hcnd.modify("Remove", &namespace, &endpoint))?;
    figures.reaped.time(|| wait_until_gone(before))?;
    figures.delete_detached.time(|| hcnd.delete_endpoint(&endpoint))?;
    figures.delete_namespace.time(|| hcnd.delete_namespace(&namespace))?;

    sleep(REST);
    let namespace = hcnd.create_namespace()?;
    let endpoint = hcnd.create_endpoint()?;
    hcnd.modify("Add", &namespace, &endpoint)?;
    figures.delete_attached.time(|| hcnd.delete_endpoint(&endpoint))?;
    wait_until_gone(before)?;
    hcnd.delete_namespace(&namespace)
}

/// Links that are set aside are deleted later; until then they would disturb what is measured next.
fn wait_until_gone(before: usize) -> anyhow::Result<()> {
    let until = Instant::now() + DEADLINE;
    while machine::links()? > before {
        if Instant::now() > until {
            bail!("after {DEADLINE:?} there are still links that should be gone");
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn round_trips(
    hcnd: &mut Containers,
    echo: &mut Echo,
    endpoint: &str,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    // The echo is as long as the query's answer, in both directions.
    let message = json!({"parameters": hcnd.query_endpoint(endpoint)?});
    for _ in 0..QUERIES {
        figures.query.time(|| hcnd.query_endpoint(endpoint))?;
        figures.floor_query.time(|| echo.exchange(&message))?;
    }
    Ok(())
}

fn print(size: u32, figures: &Figures) {
    let row = |what, ours, floor, goal| println!("{}", Row { what, ours, floor, goal }.line());
    println!("--- {size} endpoint{} on the network", if size == 1 { "" } else { "s" });
    println!("{HEAD}");
    let bare = Some(&figures.floor_attach);
    let marked = Some(&figures.floor_marked);
    row("attach (create endpoint + add)", &figures.attach, bare, Some(Goal::Ratio("P1", 1.25)));
    row("  beside a floor with alias, no IPv6 LL", &figures.attach, marked, None);
    row("  create endpoint", &figures.create_endpoint, None, None);
    row("  add to namespace", &figures.add, marked, None);
    let detach = Some(&figures.floor_detach);
    row("detach (remove from namespace)", &figures.remove, detach, Some(Goal::Milliseconds("P4", 0.4)));
    row("  until its kernel objects are gone", &figures.reaped, None, Some(Goal::Milliseconds("P4", 200.0)));
    row("delete endpoint, attached", &figures.delete_attached, detach, Some(Goal::Milliseconds("P4", 0.4)));
    row("delete endpoint, detached", &figures.delete_detached, None, Some(Goal::Milliseconds("P4", 0.4)));
    let made = Some(&figures.floor_create_namespace);
    row("create namespace", &figures.create_namespace, made, Some(Goal::Ratio("P3", 1.3)));
    row("delete namespace", &figures.delete_namespace, Some(&figures.floor_delete_namespace), None);
    row("query endpoint / echo", &figures.query, Some(&figures.floor_query), Some(Goal::Ratio("P16", 1.5)));
    println!();
}

/// Once, at the last size: a network with all its endpoints, until nothing of it is left.
fn delete_all(hcnd: &mut Containers, floor: &mut Floor) -> anyhow::Result<()> {
    let (mut ours, mut reply, mut kernel) = (Samples::default(), Samples::default(), Samples::default());
    kernel.time(|| floor.delete_all())?;
    floor.delete_namespaces()?;
    let start = Instant::now();
    reply.time(|| hcnd.delete_network())?;
    // Two lines of heading and the loopback.
    wait_until_gone(3)?;
    ours.add(start.elapsed());
    hcnd.delete_namespaces()?;
    println!("--- once: delete the network with all its endpoints\n{HEAD}");
    let row = |what, ours, floor, goal| println!("{}", Row { what, ours, floor, goal }.line());
    row("until the reply", &reply, Some(&kernel), None);
    row("until all kernel objects are gone", &ours, Some(&kernel), Some(Goal::Ratio("P5", 1.3)));
    println!();
    Ok(())
}

fn print_memory(idle: Memory, filled: &[(u32, Memory)], end: Memory) {
    println!("--- memory of hcnd, KiB\n                                     resident  anonymous");
    let line =
        |what: &str, memory: Memory| println!("{what:36} {:8} {:10}", memory.resident, memory.anonymous);
    let met = |met: bool| if met { "met" } else { "MISSED" };
    line(&format!("idle (P15 <= 12288: {})", met(idle.resident <= 12_288)), idle);
    for (size, memory) in filled {
        line(&format!("{size} attached, with their namespaces"), *memory);
    }
    line("at the end of the rounds", end);
    if let (Some((first, from)), Some((last, to))) = (filled.first(), filled.last())
        && last > first
    {
        let grown = to.anonymous.saturating_sub(from.anonymous) as f64 / f64::from(last - first);
        println!(
            "per endpoint with its namespace, anonymous: {grown:.1} KiB (P15 <= 4: {})",
            met(grown <= 4.0)
        );
    }
}

/// Two descriptors for each of the floor's namespaces.
fn raise_open_files() -> anyhow::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit of open files")
}
