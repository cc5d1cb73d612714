//! `cargo xtask schema`: writes the contract's JSON Schemas to `docs/schema`, where people and their editors find them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use hcn_schema::json_schema::{self, Group};

/// Where the schemas are, below the root.
const FOLDER: &str = "docs/schema";

const HEAD: &str = "# Schemas

The documents of the HCN contract as JSON Schemas (draft 2020-12). `cargo xtask schema` makes them of the types that
hcnd reads and writes; `hcnctl schema` prints the same. Numbers in brackets are sections of the contract.

A schema describes the forms that hcnd writes. It reads more: `null`, `\"\"`, `{}` and `[]` for what is not given,
numbers and truth as strings, names of enumerations in any case. Nothing is required by its schema; what a schema does
not name is ignored.
";

/// Writes the schemas, or with `check` says which are not as they should be.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<ExitCode> {
    let folder = root.join(FOLDER);
    let stale = stale(&folder)?;
    if !check {
        write(&folder, &stale)?;
        println!("schema: {} files, {} changed", wanted().len(), stale.len());
        return Ok(ExitCode::SUCCESS);
    }
    for name in &stale {
        println!("{FOLDER}/{name} is not what the types say: run `cargo xtask schema`");
    }
    Ok(if stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every file with its content.
fn wanted() -> BTreeMap<String, String> {
    let entries = json_schema::all();
    let mut index = HEAD.to_owned();
    for group in Group::ALL {
        let (first, rest) = group.name().split_at(1);
        let _ = write!(index, "\n## {}{rest}\n\n| name | about |\n| --- | --- |\n", first.to_uppercase());
        for entry in entries.iter().filter(|entry| entry.group == group) {
            let about = entry.summary().replace('|', "\\|");
            let _ = writeln!(index, "| [{0}]({0}.json) | {about} |", entry.name);
        }
    }
    let mut files = BTreeMap::from([("README.md".to_owned(), index)]);
    files.extend(entries.iter().map(|entry| (format!("{}.json", entry.name), entry.text() + "\n")));
    files
}

/// The files that are missing, or differ, or do not belong here.
fn stale(folder: &Path) -> anyhow::Result<Vec<String>> {
    let wanted = wanted();
    let is = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let differs = |(name, content): &(&String, &String)| is(name).as_ref() != Some(content);
    let mut stale: Vec<String> = wanted.iter().filter(differs).map(|(name, _)| name.clone()).collect();
    if folder.is_dir() {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !wanted.contains_key(&name) {
                stale.push(name);
            }
        }
    }
    Ok(stale)
}

fn write(folder: &Path, stale: &[String]) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let wanted = wanted();
    for name in stale {
        let path = folder.join(name);
        match wanted.get(name) {
            Some(content) => fs::write(&path, content),
            None => fs::remove_file(&path),
        }
        .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_in_docs_are_those_of_the_types() {
        let stale = stale(&crate::root().unwrap().join(FOLDER)).unwrap();
        assert!(stale.is_empty(), "{stale:?} in {FOLDER}: run `cargo xtask schema`");
    }

    #[test]
    fn what_is_missing_or_differs_or_does_not_belong_is_written_anew() {
        let folder = std::env::temp_dir().join(format!("xtask-schema-{}", std::process::id()));
        write(&folder, &stale(&folder).unwrap()).unwrap();
        assert!(stale(&folder).unwrap().is_empty());
        fs::remove_file(folder.join("Response.json")).unwrap();
        fs::write(folder.join("Old.json"), "{}").unwrap();
        fs::write(folder.join("README.md"), "").unwrap();
        let mut found = stale(&folder).unwrap();
        found.sort();
        assert_eq!(found, ["Old.json", "README.md", "Response.json"]);
        write(&folder, &found).unwrap();
        assert!(stale(&folder).unwrap().is_empty());
        fs::remove_dir_all(folder).unwrap();
    }
}
