//! Runs every test of the workspace, two programs at a time: most of them wait more than they work, so that `cargo test`,
//! which runs one after the other, leaves the processors idle half of the time.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// How many programs run at a time, and how many tests of each.
const PROGRAMS: usize = 2;
const THREADS: &str = "2";

/// The longest ones begin, so that none of them is left for the end.
const FIRST: [&str; 3] = ["tests/conformance", "hcn-linux/chaos", "tests/churn"];

/// What they measure is theirs alone.
const ALONE: [&str; 5] = ["tests/badinput", "tests/floods", "tests/load", "tests/repair", "tests/shaping"];

/// They take what there is, and measure nothing: the last of those that run beside others.
const HUNGRY: [&str; 2] = ["tests/readme", "tests/size"];

/// A program of tests.
struct Program {
    /// Its crate's folder and its own name.
    name: String,
    path: PathBuf,
    /// Where cargo would run it.
    folder: PathBuf,
}

/// Builds the tests and runs them; what a program printed is shown if it fails.
///
/// # Errors
/// They cannot be built, or not be started.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let logs = root.join("target/tests");
    fs::create_dir_all(&logs)?;
    let (alone, mut together): (Vec<_>, Vec<_>) =
        built(root)?.into_iter().partition(|program| ALONE.contains(&program.name.as_str()));
    together.sort_by_key(|program| place(&program.name));
    let begun = Instant::now();
    // What fails beside others is tried by itself, so that a bound of time that they broke is not taken for a fault.
    let disturbed = run_all(together, PROGRAMS, &logs)?;
    for program in &disturbed {
        println!("to be tried by itself: {}", program.name);
    }
    let failed = run_all(alone.into_iter().chain(disturbed).collect(), 1, &logs)?;
    let mut failed: Vec<String> = failed.into_iter().map(|program| program.name).collect();
    println!("examples of the documentation");
    let examples = cargo().args(["test", "--quiet", "--workspace", "--doc"]).status()?;
    if !examples.success() {
        failed.push("examples of the documentation".to_owned());
    }
    println!("all tests in {} s", begun.elapsed().as_secs());
    for name in &failed {
        println!("failed: {name}");
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// When a program has its turn.
fn place(name: &str) -> usize {
    let is = |other: &&str| *other == name;
    match FIRST.iter().position(is) {
        Some(place) => place,
        None if HUNGRY.iter().any(is) => FIRST.len() + 1,
        None => FIRST.len(),
    }
}

/// The cargo that runs this.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Builds all programs of tests.
fn built(root: &Path) -> anyhow::Result<Vec<Program>> {
    let output = cargo()
        .args(["test", "--quiet", "--workspace", "--no-run", "--message-format=json-render-diagnostics"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo")?;
    ensure!(output.status.success(), "the tests cannot be built");
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let messages = lines.map(serde_json::from_slice).collect::<Result<Vec<Value>, _>>()?;
    Ok(messages.iter().filter_map(program).collect())
}

/// The program that a message of cargo's is about.
fn program(message: &Value) -> Option<Program> {
    let path = PathBuf::from(message["executable"].as_str()?);
    if message["profile"]["test"] != true {
        return None;
    }
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let name = format!("{}/{}", folder.file_name()?.to_str()?, message["target"]["name"].as_str()?);
    Some(Program { name, path, folder })
}

/// Runs programs, some at a time; gives back those that failed.
fn run_all(programs: Vec<Program>, at_a_time: usize, logs: &Path) -> anyhow::Result<Vec<Program>> {
    let queue = Mutex::new(VecDeque::from(programs));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let failed = Mutex::new(Vec::new());
    let work = || -> anyhow::Result<()> {
        while let Some(program) = next() {
            if !run_one(&program, logs).with_context(|| program.name.clone())?.success() {
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(program);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("this program has a fault")))
        })
    })?;
    Ok(failed.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn run_one(program: &Program, logs: &Path) -> anyhow::Result<ExitStatus> {
    // With its hash: a crate's library and its program have one name.
    let log = logs.join(program.path.file_name().unwrap_or_default());
    let file = File::create(&log)?;
    let begun = Instant::now();
    let status = Command::new(&program.path)
        .args(["--quiet", "--test-threads", THREADS])
        .current_dir(&program.folder)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    // Output need not be text.
    let printed = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let printed = if status.success() { how_many(&printed) } else { printed };
    // In one piece, as others print meanwhile.
    print!("{} in {:.1} s\n{printed}", program.name, begun.elapsed().as_secs_f64());
    Ok(status)
}

/// The lines that tell how many tests there were and what became of them.
fn how_many(printed: &str) -> String {
    let tells = |line: &&str| line.starts_with("test result: ");
    printed.lines().filter(tells).map(|line| format!("{line}\n")).collect()
}
