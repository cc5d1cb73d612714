//! Rules of other programs beside hcnd's, and what the doctor says of them.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::Value;

use crate::client::Client;
use crate::process::{run, run_ok};

/// Loads rules with a program that reads them from a file, as `nft -f` and `iptables-nft-restore`.
///
/// # Panics
/// The program refuses them, or is not installed: `scripts/install test` does that.
pub fn load(program: &[&str], rules: &str) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(rules.as_bytes()).unwrap();
    let argv = [program, &[file.path().to_str().unwrap()]].concat();
    let loaded = run(&argv);
    assert_eq!(loaded.code, Some(0), "{loaded}\n{rules}");
}

/// Every table that is not hcnd's, as nft lists it without what counts.
#[must_use]
pub fn foreign_tables() -> BTreeMap<String, String> {
    let listed = run_ok(&["nft", "list", "tables"]);
    let tables = listed.lines().filter_map(|line| line.strip_prefix("table "));
    let foreign = tables.filter(|table| {
        let name = table.split(' ').nth(1).unwrap_or_default();
        name != "hcnd" && !name.starts_with("hcnd_")
    });
    foreign
        .map(|table| {
            let argv: Vec<&str> =
                ["nft", "-s", "list", "table"].into_iter().chain(table.split(' ')).collect();
            (table.to_owned(), run_ok(&argv))
        })
        .collect()
}

/// A finding of the doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of the check.
    pub check: String,
    /// ok, notice, warning or error.
    pub severity: String,
    /// What it is about.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What comes of it.
    pub consequence: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    /// Whether it is of severity warning or above.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        matches!(self.severity.as_str(), "warning" | "error")
    }

    /// Does what it says, as far as that is commands.
    pub fn follow(&self) {
        let commands: Vec<&str> = self.remedy.split('`').skip(1).step_by(2).collect();
        assert!(!commands.is_empty(), "{self:?}");
        for command in commands {
            let done = run(&["sh", "-c", command]);
            assert_eq!(done.code, Some(0), "{done}");
        }
    }
}

impl Client {
    /// What the doctor finds, beside what is as it should be.
    pub fn doctor(&mut self) -> Vec<Finding> {
        let reply = self.ok("Service.Doctor", &serde_json::json!({}));
        let text = |value: &Value, member: &str| value[member].as_str().unwrap().to_owned();
        let findings = reply["findings"].as_array().unwrap().iter().map(|value| Finding {
            check: text(value, "check"),
            severity: text(value, "severity"),
            subject: text(value, "subject"),
            found: text(value, "found"),
            consequence: text(value, "consequence"),
            remedy: text(value, "remedy"),
        });
        findings.filter(|finding| finding.severity != "ok").collect()
    }

    /// What it finds of severity warning or above.
    pub fn ills(&mut self) -> Vec<Finding> {
        self.doctor().into_iter().filter(Finding::is_bad).collect()
    }
}
