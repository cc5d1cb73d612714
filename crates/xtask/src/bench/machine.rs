//! What the machine is, and what hcnd holds of its memory.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// One line about the machine.
pub(super) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("processor unknown", |(_, model)| model);
    format!("{cores} cores, {model}, Linux {}", kernel.trim())
}

/// Memory of a process in KiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// All that is in memory, also what it shares with the file cache.
    pub(super) resident: u64,
    /// What is its own alone.
    pub(super) anonymous: u64,
}

impl Memory {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("hcnd is gone")?;
        let read = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok());
            number.with_context(|| format!("no {name} in /proc/{pid}/status"))
        };
        Ok(Self { resident: read("VmRSS")?, anonymous: read("RssAnon")? })
    }
}

/// How long the threads of a process have had a processor.
pub(super) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let mut time = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that has ended meanwhile counts no more.
        let told = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        time += told.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(time))
}

/// The daemon of this sandbox: the hcnd that is not its PID 1.
pub(super) fn hcnd() -> anyhow::Result<u32> {
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if pid != 1 && command.trim() == "hcnd" {
            return Ok(pid);
        }
    }
    anyhow::bail!("there is no hcnd in this sandbox")
}

/// How many links the namespace of this thread has.
pub(super) fn links() -> anyhow::Result<usize> {
    let listed = fs::read_to_string("/proc/thread-self/net/dev").context("cannot count the links")?;
    Ok(listed.lines().count())
}
