//! Chores of this repository: `cargo xtask tidy` keeps the house rules, `cargo xtask contract` says which case proves
//! what of the contract, `cargo xtask schema` writes the JSON Schemas, `cargo xtask test` runs all tests,
//! `cargo xtask bench` measures hcnd against what the kernel itself charges.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for people: what it finds goes to their terminal"
)]

mod bench;
mod contract;
mod schema;
mod suite;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Chores of this repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Check the house rules; exit code 1 if one is broken
    Tidy,
    /// Say which case proves what of the contract; exit code 1 if something is not proved
    Contract,
    /// Write the JSON Schemas of the contract to docs/schema
    Schema {
        /// Write nothing; exit code 1 if a file is not what the types say
        #[arg(long)]
        check: bool,
    },
    /// Run all tests, two programs at a time; exit code 1 if one fails
    Test,
    /// Measure hcnd beside the kernel's own cost, in one run
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let chore = Arguments::parse().chore;
    let done = root().and_then(|root| match chore {
        Chore::Tidy => tidy::run(&root),
        Chore::Contract => contract::run(&root),
        Chore::Schema { check } => schema::run(&root, check),
        Chore::Test => suite::run(&root),
        Chore::Bench(bench) => bench::run(bench, &root),
    });
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

/// The root of the repository, two folders above this crate.
fn root() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.map(Path::to_owned).context("this crate is not in the repository's crates/ folder")
}
