//! hcnd, the Host Compute Network service for Linux: what was typed, and who does it.

mod sandbox;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use hcn_schema::hns::HnsVersion;
use hcnd::config::{Config, Given};
use hcnd::daemon;

/// The Host Compute Network service for Linux.
#[derive(Debug, Parser)]
#[command(name = "hcnd", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What the service itself understands.
#[derive(Debug, Args)]
struct DaemonArgs {
    /// Read the configuration from this TOML file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on this unix socket [default: the configuration's, else /run/hcnd/hcnd.sock].
    #[arg(long, value_name = "PATH", env = "HCND_SOCKET")]
    socket: Option<PathBuf>,
    /// Keep the state in this file [default: the configuration's, else /var/lib/hcnd/state.redb].
    #[arg(long, value_name = "FILE", env = "HCND_STORE")]
    store: Option<PathBuf>,
    /// Serve HNS version 1 as HTTP on this unix socket; an empty path is none [default: the configuration's, else hns.sock
    /// beside the other socket].
    #[arg(long, value_name = "PATH")]
    hns_socket: Option<PathBuf>,
    /// Serve callers as this version of HNS, MAJOR.MINOR, until they ask for another one [default: the configuration's,
    /// else the newest].
    #[arg(long, value_name = "VERSION", value_parser = hcn_ipc::hns_version)]
    hns_version: Option<HnsVersion>,
    /// Keep named network namespaces in this folder [default: the configuration's, else /run/netns].
    #[arg(long, value_name = "FOLDER")]
    netns_dir: Option<PathBuf>,
    /// Keep their configuration in this folder [default: the configuration's, else /etc/netns].
    #[arg(long, value_name = "FOLDER")]
    netns_etc: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Sandbox(sandbox::SandboxArgs),
    #[command(hide = true)]
    SandboxInit(sandbox::InitArgs),
    #[command(hide = true)]
    SandboxExec(sandbox::ExecArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        // These fork and unshare, so they come before any runtime or thread.
        Some(Command::Sandbox(args)) => sandbox::run(&args),
        Some(Command::SandboxInit(args)) => sandbox::run_init(&args),
        Some(Command::SandboxExec(args)) => sandbox::run_exec(&args),
        None => serve(cli.daemon),
    }
}

fn serve(args: DaemonArgs) -> ExitCode {
    let DaemonArgs { config, socket, store, hns_socket, hns_version, netns_dir, netns_etc } = args;
    let given = Given { socket, store, hns_socket, hns_version, netns_dir, netns_etc };
    let config = Config::load(config.as_deref(), given);
    let served = config.and_then(|config| daemon::run(&config));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may be what failed, so this goes past it. A closed stderr leaves nobody to tell.
            let _ = writeln!(std::io::stderr(), "hcnd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
