//! `bench restart`: how long a start takes with so many endpoints that are there already, and that it touches none.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::containers::Containers;
use super::machine;
use super::table::Samples;
use super::wire::Wire;

/// Longer than anything but a hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs inside the sandbox.
pub(super) fn run(sizes: &[u32], rounds: u32) -> anyhow::Result<()> {
    if std::env::var_os("HCND_SANDBOX").is_none() {
        bail!("this changes networks; run `cargo xtask bench restart`, which makes a sandbox first");
    }
    let socket: PathBuf = std::env::var_os("HCND_SOCKET").context("HCND_SOCKET is not set")?.into();
    println!("{}", machine::describe());
    println!("{rounds} restarts at each size; from the start of the process to the first answer\n");
    println!("endpoints     p50 ms     p95 ms     `ip -o link`, p50 ms");
    let mut hcnd = Containers::new(&socket)?;
    for &size in sizes {
        hcnd.fill(size)?;
        sleep(Duration::from_secs(1));
        let (mut starts, mut dumps) = (Samples::default(), Samples::default());
        for _ in 0..rounds {
            end(machine::hcnd()?)?;
            dumps.time(dump_links)?;
            starts.time(|| start(&socket))?;
        }
        // The connection from before ended with its hcnd.
        hcnd.reconnect(&socket)?;
        let milliseconds = |samples: &Samples, percent| samples.percentile(percent) / 1e3;
        println!(
            "{size:9} {:10.1} {:10.1} {:22.1}",
            milliseconds(&starts, 50),
            milliseconds(&starts, 95),
            milliseconds(&dumps, 50)
        );
    }
    Ok(())
}

fn end(pid: u32) -> anyhow::Result<()> {
    let pid = Pid::from_raw(pid.try_into()?);
    kill(pid, Signal::SIGTERM).context("cannot end hcnd")?;
    let until = Instant::now() + DEADLINE;
    while kill(pid, None).is_ok() {
        if Instant::now() > until {
            bail!("hcnd does not end");
        }
        // Our own child is a zombie until it is waited for.
        let _ = nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Starts hcnd and waits until it has answered.
fn start(socket: &std::path::Path) -> anyhow::Result<()> {
    // It is ended by its number later.
    #[allow(clippy::zombie_processes, reason = "`end` waits for it")]
    Command::new("hcnd").stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start hcnd")?;
    let until = Instant::now() + DEADLINE;
    loop {
        let answered = Wire::connect(socket)
            .is_ok_and(|mut wire| wire.call("io.hcn.Network.Enumerate", &json!({})).is_ok());
        if answered {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("hcnd does not start");
        }
        sleep(Duration::from_micros(200));
    }
}

/// What any start must read at least.
fn dump_links() -> anyhow::Result<()> {
    let listed = Command::new("ip").args(["-o", "link"]).stdout(Stdio::null()).status()?;
    if listed.success() { Ok(()) } else { bail!("ip link fails") }
}
