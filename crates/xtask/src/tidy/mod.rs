//! The house rules that no other tool checks: which files there are, and what each rule says about them.

mod cases;
mod code;
mod crates;
mod text;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;

pub(crate) use crates::metadata;

/// Input for tests, octet by octet.
const CORPORA: &str = "crates/hcn-fuzz/corpus/";

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    line: usize,
    message: String,
}

impl Violation {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Checks everything below `root`, prints what is wrong, and says so by its exit code.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let mut violations = Vec::new();
    let mut long = Vec::new();
    let files = files(root)?;
    for path in &files {
        let bytes = fs::read(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        // What is not UTF-8 is not text, and not a matter of style; nor is what a fuzzer has made.
        if path.starts_with(CORPORA) {
            continue;
        }
        let Ok(content) = String::from_utf8(bytes) else { continue };
        violations.extend(text::check(path, &content));
        if path.ends_with(".rs") {
            violations.extend(code::check(path, &content));
            long.extend(code::long(path, &content));
        }
        if cases::is_case(path) {
            violations.extend(cases::check(path, &content));
        }
    }
    violations.extend(crates::check(root)?);
    violations.sort();
    long.sort();
    for (lines, path) in long.iter().rev() {
        println!(
            "note: {path} has {lines} lines; a file answers one question and stays under {}",
            code::NOTED
        );
    }
    for violation in &violations {
        println!("{violation}");
    }
    if violations.is_empty() {
        println!("tidy: {} files, no rule broken", files.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {} files, {} places to put right", files.len(), violations.len());
    Ok(ExitCode::FAILURE)
}

/// The files of the repository, also those not added yet, by their paths below `root`.
fn files(root: &Path) -> anyhow::Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output();
    let mut files = match listed {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8(output.stdout).context("git lists a name that is not UTF-8")?;
            names.split_terminator('\0').map(str::to_owned).collect()
        }
        // Without git, or in an unpacked archive.
        _ => {
            let mut found = Vec::new();
            walk(root, Path::new(""), &mut found)?;
            found
        }
    };
    // One that is deleted but not yet committed so is still listed; a link leads to another file or away.
    files.retain(|path| fs::symlink_metadata(root.join(path)).is_ok_and(|found| found.is_file()));
    files.sort();
    files.dedup();
    Ok(files)
}

/// All files but those of git and of builds.
fn walk(root: &Path, below: &Path, found: &mut Vec<String>) -> anyhow::Result<()> {
    let folder = root.join(below);
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let path: PathBuf = below.join(&name);
        if entry.file_type()?.is_dir() {
            let name = name.to_string_lossy();
            if name != ".git" && !name.starts_with("target") {
                walk(root, &path, found)?;
            }
        } else {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_reads_like_a_compilers() {
        assert_eq!(Violation::new("a/b.rs", 3, "no").to_string(), "a/b.rs:3: no");
    }

    #[test]
    fn git_and_walk_find_this_file() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let this = "crates/xtask/src/tidy/mod.rs".to_owned();
        assert!(files(root).unwrap().contains(&this));
        let mut found = Vec::new();
        walk(root, Path::new(""), &mut found).unwrap();
        assert!(found.contains(&this));
        assert!(!found.iter().any(|path| path.starts_with("target") || path.starts_with(".git/")));
    }
}
