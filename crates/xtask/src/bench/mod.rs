//! Benchmarks: hcnd beside the kernel's own cost, measured in turn in one run, inside a sandbox.

mod attach;
mod containers;
mod echo;
mod floor;
mod kube_proxy;
mod machine;
mod netlink;
mod restart;
mod rules;
mod services;
mod table;
mod types;
mod wire;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use crate::tidy;

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Namespaces, attach, detach and queries, beside the same by raw netlink
    Attach(Plan),
    /// What `attach` runs inside the sandbox
    #[command(hide = true)]
    AttachInside(Plan),
    /// One load balancer more while many are there, and connections through one
    Services(Sizes),
    /// What `services` runs inside the sandbox
    #[command(hide = true)]
    ServicesInside(Sizes),
    /// What kube-proxy asks for on a node with many services, and connections through them
    KubeProxy(Cluster),
    /// What `kube-proxy` runs inside the sandbox
    #[command(hide = true)]
    KubeProxyInside(Cluster),
    /// A start of hcnd with endpoints that are there already
    Restart(Sizes),
    /// What packets cost on each type of network, beside the same made by hand
    Types(Turns),
    /// What `types` runs inside the sandbox
    #[command(hide = true)]
    TypesInside(Turns),
    /// What packets cost between endpoints with rules, and what a change of rules does
    Rules(Turns),
    /// What `rules` runs inside the sandbox
    #[command(hide = true)]
    RulesInside(Turns),
    /// What `restart` runs inside the sandbox
    #[command(hide = true)]
    RestartInside(Sizes),
    /// Answers each message on stdin, a socket, with itself
    #[command(hide = true)]
    Echo,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    /// How often each thing is measured at each size
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rounds: u32,
    /// How many endpoints exist on the network meanwhile: sizes, ascending
    #[arg(long, default_value = "1", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=5_000))]
    existing: Vec<u32>,
    /// Configuration file for hcnd
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Sizes {
    /// How often each thing is measured at each size
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rounds: u32,
    /// How many there are meanwhile: sizes, ascending
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=60_000))]
    existing: Vec<u32>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Cluster {
    /// How many services there are
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    services: u32,
    /// Without connections
    #[arg(long)]
    calls_only: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Turns {
    /// How often each side has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// Only these types
    #[arg(value_name = "TYPE")]
    only: Vec<String>,
}

impl Sizes {
    fn or(self, default: &[u32]) -> Self {
        if self.existing.is_empty() { Self { existing: default.to_vec(), ..self } } else { self }
    }
}

pub(crate) fn run(bench: Bench, root: &Path) -> anyhow::Result<ExitCode> {
    match bench {
        Bench::Attach(plan) => {
            in_sandbox(root, plan.config.as_deref(), "attach-inside", plan.rounds, &plan.existing)
        }
        Bench::Services(sizes) => {
            let sizes = sizes.or(&[1, 10, 1_000, 10_000]);
            compare_services(root, &sizes).map(|()| ExitCode::SUCCESS)
        }
        Bench::KubeProxy(cluster) => {
            println!("{}", machine::describe());
            let mut command = sandbox(root, &[], None)?;
            command.args(["bench", "kube-proxy-inside", "--services", &cluster.services.to_string()]);
            let code = finish(command)?;
            if cluster.calls_only || code != ExitCode::SUCCESS {
                return Ok(code);
            }
            println!();
            let sizes = Sizes { rounds: 20, existing: Vec::new() }.or(&[1, 1_000, 10_000]);
            compare_services(root, &sizes).map(|()| ExitCode::SUCCESS)
        }
        Bench::KubeProxyInside(cluster) => kube_proxy::run(cluster.services).map(|()| ExitCode::SUCCESS),
        Bench::ServicesInside(sizes) => {
            services::run(&sizes.existing, sizes.rounds).map(|()| ExitCode::SUCCESS)
        }
        Bench::Restart(sizes) => {
            let sizes = sizes.or(&[10, 1_000]);
            in_sandbox(root, None, "restart-inside", sizes.rounds, &sizes.existing)
        }
        Bench::RestartInside(sizes) => {
            restart::run(&sizes.existing, sizes.rounds).map(|()| ExitCode::SUCCESS)
        }
        Bench::Types(turns) => {
            let mut command = sandbox(root, &["--nodes", "2"], None)?;
            command.args(["bench", "types-inside", "--turns", &turns.turns.to_string()]).args(&turns.only);
            finish(command)
        }
        Bench::Rules(turns) => {
            let mut command = sandbox(root, &["--no-uplink"], None)?;
            command.args(["bench", "rules-inside", "--turns", &turns.turns.to_string()]).args(&turns.only);
            finish(command)
        }
        Bench::RulesInside(turns) => rules::run(turns.turns).map(|()| ExitCode::SUCCESS),
        Bench::TypesInside(turns) => types::run(turns.turns, &turns.only).map(|()| ExitCode::SUCCESS),
        Bench::AttachInside(plan) => attach::run(&plan).map(|()| ExitCode::SUCCESS),
        Bench::Echo => echo::serve().map(|()| ExitCode::SUCCESS),
    }
}

fn compare_services(root: &Path, sizes: &Sizes) -> anyhow::Result<()> {
    let run = |size| {
        let mut command = sandboxed(root, None, "services-inside", sizes.rounds, &[size])?;
        let output = command.stderr(Stdio::inherit()).output().context("cannot start hcnd sandbox")?;
        if !output.status.success() {
            bail!("the measurement at {size} failed");
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    services::compare(&sizes.existing, sizes.rounds, run)
}

/// Measures where nothing of the machine is touched.
fn in_sandbox(
    root: &Path,
    config: Option<&Path>,
    inside: &str,
    rounds: u32,
    existing: &[u32],
) -> anyhow::Result<ExitCode> {
    finish(sandboxed(root, config, inside, rounds, existing)?)
}

fn finish(mut command: Command) -> anyhow::Result<ExitCode> {
    let status = command.status();
    let code = status.context("cannot start hcnd sandbox")?.code();
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The command that measures something at several sizes in a sandbox.
fn sandboxed(
    root: &Path,
    config: Option<&Path>,
    inside: &str,
    rounds: u32,
    existing: &[u32],
) -> anyhow::Result<Command> {
    if !existing.is_sorted() {
        bail!("--existing takes ascending sizes");
    }
    let sizes: Vec<String> = existing.iter().map(u32::to_string).collect();
    let mut command = sandbox(root, &["--no-uplink"], config)?;
    command.args(["bench", inside]);
    command.args(["--rounds", &rounds.to_string(), "--existing", &sizes.join(",")]);
    Ok(command)
}

/// Builds what is measured as it is shipped, and gives the command that runs this program in a sandbox.
fn sandbox(root: &Path, options: &[&str], config: Option<&Path>) -> anyhow::Result<Command> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "-p", "hcnd", "-p", "hcnctl", "-p", "xtask"])
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    if !built.success() {
        bail!("the release build failed");
    }
    let metadata = tidy::metadata(root)?;
    let target = metadata["target_directory"].as_str().context("cargo does not say where it builds")?;
    let release = Path::new(target).join("release");
    let mut command = Command::new(release.join("hcnd"));
    command.arg("sandbox").args(options);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command.arg("--").arg(release.join("xtask"));
    Ok(command)
}
