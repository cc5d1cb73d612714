//! The one direction in which crates depend on each other.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::Violation;

/// What a crate may use of ours, in its code and in its tests.
#[derive(Clone, Copy, Debug)]
enum May {
    Only(&'static [&'static str]),
    Anything,
}

const DIRECTIONS: &[(&str, May)] = &[
    ("hcn-schema", May::Only(&[])),
    ("hcn-dataplane", May::Only(&[])),
    ("hcn-core", May::Only(&["hcn-schema", "hcn-dataplane"])),
    ("hcn-responder", May::Only(&["hcn-dataplane"])),
    ("hcn-linux", May::Only(&["hcn-dataplane", "hcn-responder"])),
    ("hcn-ipc", May::Only(&["hcn-schema"])),
    ("hcn-client", May::Only(&["hcn-schema", "hcn-ipc"])),
    // It shows that the client is enough.
    ("hcnctl", May::Only(&["hcn-client"])),
    ("hcn-cni", May::Only(&["hcn-client"])),
    ("hcn-c", May::Only(&["hcn-client", "hcn-schema"])),
    ("libcomputenetwork", May::Only(&["hcn-c"])),
    ("libvmcompute", May::Only(&["hcn-c"])),
    ("hcn-wine", May::Only(&["hcn-c", "libcomputenetwork"])),
    ("hcn-store", May::Only(&["hcn-schema", "hcn-core"])),
    ("hcnd", May::Only(&["hcn-schema", "hcn-dataplane", "hcn-core", "hcn-linux", "hcn-store", "hcn-ipc"])),
    ("hcn-fuzz", May::Anything),
    ("hcn-tests", May::Anything),
    ("xtask", May::Anything),
];

/// A crate of the workspace, and what it depends on.
#[derive(Debug)]
struct Crate {
    name: String,
    manifest: String,
    dependencies: Vec<String>,
}

pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for found in read(root, &metadata(root)?)? {
        let manifest = fs::read_to_string(root.join(&found.manifest))
            .with_context(|| format!("cannot read {}", found.manifest))?;
        violations.extend(judge(&found, &manifest));
    }
    Ok(violations)
}

/// What `cargo metadata` says about the workspace's own crates.
pub(crate) fn metadata(root: &Path) -> anyhow::Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata does not print JSON")
}

fn read(root: &Path, metadata: &Value) -> anyhow::Result<Vec<Crate>> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("cargo metadata misses a text");
    let list = |value: &Value| value.as_array().cloned().context("cargo metadata misses a list");
    let mut crates = Vec::new();
    for package in list(&metadata["packages"])? {
        let manifest = text(&package["manifest_path"])?;
        let below = Path::new(&manifest).strip_prefix(root).unwrap_or(Path::new(&manifest));
        let dependencies = list(&package["dependencies"])?;
        crates.push(Crate {
            name: text(&package["name"])?,
            manifest: below.to_string_lossy().into_owned(),
            // Those with a path are ours.
            dependencies: dependencies
                .iter()
                .filter(|dependency| dependency["path"].is_string())
                .map(|dependency| text(&dependency["name"]))
                .collect::<anyhow::Result<_>>()?,
        });
    }
    Ok(crates)
}

fn judge(found: &Crate, manifest: &str) -> Vec<Violation> {
    let may = DIRECTIONS.iter().find(|(name, _)| *name == found.name).map(|(_, may)| *may);
    let allowed = match may {
        Some(May::Anything) => return Vec::new(),
        Some(May::Only(allowed)) => allowed,
        None => {
            let message = format!("{} is new: say in {} what it may depend on", found.name, file!());
            return vec![Violation::new(&found.manifest, 1, message)];
        }
    };
    // Tests of a crate may ask for a feature of the crate itself.
    let foreign = found.dependencies.iter().filter(|name| **name != found.name);
    let wrong = foreign.filter(|name| !allowed.contains(&name.as_str()));
    wrong
        .map(|name| {
            let line =
                manifest.lines().position(|line| line.starts_with(name.as_str())).map_or(1, |at| at + 1);
            let may = if allowed.is_empty() { "none of ours".to_owned() } else { allowed.join(", ") };
            let message = format!("{} must not depend on {name}; it may on {may}", found.name);
            Violation::new(&found.manifest, line, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(name: &str, dependencies: &[&str]) -> Vec<String> {
        let found = Crate {
            name: name.to_owned(),
            manifest: "Cargo.toml".to_owned(),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        };
        let manifest = "[dependencies]\nserde = 1\nhcn-linux.workspace = true\n";
        judge(&found, manifest).into_iter().map(|found| found.to_string()).collect()
    }

    #[test]
    fn the_allowed_direction_passes() {
        assert!(verdict("hcn-core", &["hcn-schema", "hcn-dataplane"]).is_empty());
        assert!(verdict("hcn-tests", &["hcnd", "hcnctl"]).is_empty());
    }

    #[test]
    fn the_wrong_direction_is_found_where_it_is_written() {
        assert_eq!(
            verdict("hcn-core", &["hcn-linux"]),
            ["Cargo.toml:3: hcn-core must not depend on hcn-linux; it may on hcn-schema, hcn-dataplane"]
        );
        assert_eq!(verdict("hcnctl", &["hcn-schema", "hcn-client"]).len(), 1);
        assert_eq!(verdict("hcnd", &["hcn-client", "hcnctl", "hcn-core"]).len(), 2);
        assert!(verdict("hcn-schema", &["hcn-ipc"])[0].ends_with("it may on none of ours"));
    }

    #[test]
    fn a_crate_without_a_rule_is_found() {
        assert_eq!(verdict("hcn-new", &[]).len(), 1);
    }

    #[test]
    fn the_crates_of_the_workspace_are_read_from_cargos_words() {
        let metadata = json!({"packages": [{
            "name": "hcn-core", "manifest_path": "/r/crates/hcn-core/Cargo.toml",
            "dependencies": [{"name": "serde", "path": null}, {"name": "hcn-schema", "path": "/r/crates/hcn-schema"}],
        }]});
        let found = read(Path::new("/r"), &metadata).unwrap();
        assert_eq!(
            (found[0].manifest.as_str(), found[0].dependencies.as_slice()),
            ("crates/hcn-core/Cargo.toml", &["hcn-schema".to_owned()][..])
        );
        assert!(read(Path::new("/r"), &json!({})).is_err());
    }
}
