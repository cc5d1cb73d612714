//! `bench attach`: at each size hcnd and the floor take turns, so that whatever else the machine does hits both.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

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
/// Between two measurements: the kernel destroys namespaces and links behind the back of whoever asked for it.
const REST: Duration = Duration::from_millis(50);
/// How long a container lives: until then the kernel is busy with the news of its link.
const LIFE: Duration = Duration::from_millis(20);
/// Round trips before a measurement, so that neither side is charged for waking a processor.
const WARM_UP: u32 = 3;
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
    first_query: Samples,
    floor_attach: Samples,
    floor_marked: Samples,
    floor_detach: Samples,
    floor_create_namespace: Samples,
    floor_delete_namespace: Samples,
    floor_query: Samples,
    floor_first_query: Samples,
}

/// Both sides of the comparison, and what they talk about.
struct Bench {
    hcnd: Containers,
    floor: Floor,
    echo: Echo,
    /// An endpoint that stays.
    resident: String,
    /// As long as the answer to a query of it.
    message: Value,
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
    let (hcnd, floor, echo) = (Containers::new(&socket)?, Floor::new()?, Echo::start()?);
    let mut bench = Bench { hcnd, floor, echo, resident: String::new(), message: Value::Null };
    let mut filled = Vec::new();
    for &size in &plan.existing {
        bench.fill(size)?;
        filled.push((size, Memory::of(daemon)?));
        sleep(SETTLE);
        let mut figures = Figures::default();
        for round in 0..plan.rounds {
            bench.round(round, &mut figures)?;
        }
        print(size, &figures);
    }
    let end = Memory::of(daemon)?;
    delete_all(&mut bench.hcnd, &mut bench.floor)?;
    print_memory(idle, &filled, end);
    Ok(())
}

impl Bench {
    fn fill(&mut self, size: u32) -> anyhow::Result<()> {
        self.floor.fill(size)?;
        self.resident = self.hcnd.fill(size)?;
        self.message = json!({"parameters": self.hcnd.query_endpoint(&self.resident)?});
        self.open_bridge()
    }

    /// One attach beforehand: where all bridges of the network are full, the next one makes another bridge, which stays and
    /// is no part of a round.
    fn open_bridge(&mut self) -> anyhow::Result<()> {
        let namespace = self.hcnd.create_namespace()?;
        let endpoint = self.hcnd.create_endpoint()?;
        self.hcnd.modify("Add", &namespace, &endpoint)?;
        self.hcnd.delete_endpoint(&endpoint)?;
        self.hcnd.delete_namespace(&namespace)
    }

    fn round(&mut self, round: u32, figures: &mut Figures) -> anyhow::Result<()> {
        // Each comes first as often as second.
        if round.is_multiple_of(2) {
            self.floor_round(round, figures)?;
            self.hcnd_round(figures)?;
        } else {
            self.hcnd_round(figures)?;
            self.floor_round(round, figures)?;
        }
        self.round_trips(figures)
    }

    fn floor_round(&mut self, round: u32, figures: &mut Figures) -> anyhow::Result<()> {
        let order =
            if round % 4 < 2 { [Attach::Bare, Attach::Marked] } else { [Attach::Marked, Attach::Bare] };
        for how in order {
            sleep(REST);
            self.warm_up_floor()?;
            let mut namespace = figures.floor_create_namespace.time(|| self.floor.new_namespace())?;
            let attach = match how {
                Attach::Bare => &mut figures.floor_attach,
                Attach::Marked => &mut figures.floor_marked,
            };
            attach.time(|| self.floor.attach(&mut namespace, how))?;
            sleep(LIFE);
            self.warm_up_floor()?;
            figures.floor_detach.time(|| self.floor.detach(&namespace))?;
            self.floor.reap()?;
            figures.floor_delete_namespace.time(|| Floor::delete_namespace(namespace))?;
        }
        Ok(())
    }

    fn hcnd_round(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        sleep(REST);
        self.warm_up_hcnd()?;
        let before = machine::links()?;
        let namespace = figures.create_namespace.time(|| self.hcnd.create_namespace())?;
        let start = Instant::now();
        let endpoint = figures.create_endpoint.time(|| self.hcnd.create_endpoint())?;
        figures.add.time(|| self.hcnd.modify("Add", &namespace, &endpoint))?;
        figures.attach.add(start.elapsed());
        sleep(LIFE);
        self.warm_up_hcnd()?;
        figures.remove.time(|| self.hcnd.modify("Remove", &namespace, &endpoint))?;
        figures.reaped.time(|| wait_until_gone(before))?;
        figures.delete_detached.time(|| self.hcnd.delete_endpoint(&endpoint))?;
        figures.delete_namespace.time(|| self.hcnd.delete_namespace(&namespace))?;

        sleep(REST);
        let namespace = self.hcnd.create_namespace()?;
        let endpoint = self.hcnd.create_endpoint()?;
        self.hcnd.modify("Add", &namespace, &endpoint)?;
        sleep(LIFE);
        self.warm_up_hcnd()?;
        figures.delete_attached.time(|| self.hcnd.delete_endpoint(&endpoint))?;
        wait_until_gone(before)?;
        self.hcnd.delete_namespace(&namespace)
    }

    fn warm_up_hcnd(&mut self) -> anyhow::Result<()> {
        (0..WARM_UP).try_for_each(|_| self.hcnd.query_endpoint(&self.resident).map(drop))
    }

    fn warm_up_floor(&mut self) -> anyhow::Result<()> {
        (0..WARM_UP).try_for_each(|_| self.echo.exchange(&self.message).map(drop))
    }

    fn round_trips(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        sleep(REST);
        figures.first_query.time(|| self.hcnd.query_endpoint(&self.resident))?;
        sleep(REST);
        figures.floor_first_query.time(|| self.echo.exchange(&self.message))?;
        for _ in 0..QUERIES {
            figures.query.time(|| self.hcnd.query_endpoint(&self.resident))?;
            figures.floor_query.time(|| self.echo.exchange(&self.message))?;
        }
        Ok(())
    }
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
    row("  the first after a rest", &figures.first_query, Some(&figures.floor_first_query), None);
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
