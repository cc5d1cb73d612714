//! `hcnctl doctor`: what is wrong with the host, or will be?

use std::path::Path;

use hcn_client::{Error, ErrorClass, Finding, Severity};

use crate::Context;
use crate::failure::{FINDINGS, Failure, Result};
use crate::output::{Format, Output};

/// Prints the findings. Those of severity warning and above make the exit code [`FINDINGS`].
pub(crate) fn run(context: &mut Context) -> Result<()> {
    let mut findings = context.client.doctor()?;
    findings.push(version(&context.client.status()?.version));
    print(&mut context.output, &findings)?;
    let worst = findings.iter().map(|finding| finding.severity).max();
    if worst >= Some(Severity::Warning) { Err(Failure::Told(FINDINGS)) } else { Ok(()) }
}

/// That hcnd is not there is what is wrong.
pub(crate) fn unreachable(output: &mut Output, socket: &Path, error: &Error) -> Failure {
    let class = error.class();
    let remedy = match class {
        ErrorClass::Denied => "ask as root or as a member of the group that hcnd is configured with",
        _ => "start it: `systemctl start hcnd`; `journalctl -u hcnd` says why it ended",
    };
    let finding = Finding {
        check: "hcnd".to_owned(),
        severity: Severity::Error,
        subject: socket.display().to_string(),
        found: error.to_string(),
        consequence: "what is there goes on carrying packets; nothing can be changed or repaired".to_owned(),
        remedy: remedy.to_owned(),
    };
    match print(output, &[finding]) {
        Ok(()) => Failure::Told(class.exit_code()),
        Err(error) => error,
    }
}

/// hcnctl and hcnd come together.
fn version(hcnd: &str) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    let same = hcnd == own;
    let text = |text: &str| if same { String::new() } else { text.to_owned() };
    Finding {
        check: "version".to_owned(),
        severity: if same { Severity::Ok } else { Severity::Warning },
        subject: String::new(),
        found: match same {
            true => format!("hcnctl and hcnd are of version {own}"),
            false => format!("hcnctl is of version {own}, hcnd of version {hcnd}"),
        },
        consequence: text("one may not know what the other means"),
        remedy: text("install both from one package; after an upgrade `systemctl restart hcnd`"),
    }
}

fn print(output: &mut Output, findings: &[Finding]) -> Result<()> {
    if output.format == Format::Json {
        let lines: Vec<String> =
            findings.iter().map(|finding| serde_json::to_string(finding).unwrap_or_default()).collect();
        return Ok(output.line(&format!("[\n{}\n]", lines.join(",\n")))?);
    }
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            let severity = name(finding.severity).to_owned();
            vec![severity, finding.check.clone(), finding.subject.clone(), finding.found.clone()]
        })
        .collect();
    output.table(&["SEVERITY", "CHECK", "SUBJECT", "FOUND"], &rows)?;
    for finding in findings.iter().filter(|finding| finding.severity > Severity::Ok) {
        output.line("")?;
        output.line(&clean(&format!("{} {}: {}", name(finding.severity), finding.check, finding.subject)))?;
        for (label, text) in
            [("found", &finding.found), ("consequence", &finding.consequence), ("remedy", &finding.remedy)]
        {
            if !text.is_empty() {
                output.line(&clean(&format!("  {label}: {text}")))?;
            }
        }
    }
    Ok(())
}

/// Fit for a terminal, whatever others have called their rules.
fn clean(text: &str) -> String {
    text.trim_end_matches([':', ' ']).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn name(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Notice => "notice",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_told_and_the_same_one_is_fine() {
        assert_eq!(version(env!("CARGO_PKG_VERSION")).severity, Severity::Ok);
        let other = version("0.0.9");
        assert_eq!(other.severity, Severity::Warning);
        assert!(other.found.contains("hcnd of version 0.0.9"), "{}", other.found);
    }

    #[test]
    fn texts_of_others_cannot_disturb_the_terminal() {
        assert_eq!(clean("error x: a\u{1b}[31m"), "error x: a\u{fffd}[31m");
        assert_eq!(clean("error x: "), "error x");
    }
}
