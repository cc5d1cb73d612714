//! What does the kernel lack, and which documents are refused for that?

use hcn_dataplane::Survey;

use super::{Facts, Report, Severity};

/// Without these hcnd does nothing.
const VITAL: [&str; 5] = ["bridge", "veth", "nftables inet", "nftables nat", "conntrack"];

/// What can do without, whatever a document says.
const UNUSED: &str = "nothing";

pub(super) fn features(facts: &Facts<'_>, report: &mut Report) {
    let Survey { lacking, .. } = facts.survey;
    for (name, needed_for) in lacking.iter().filter(|(_, needed_for)| !needed_for.starts_with(UNUSED)) {
        let vital = VITAL.contains(&name.as_str());
        let severity = if vital { Severity::Error } else { Severity::Notice };
        report.add(
            severity,
            name.as_str(),
            [
                format!("the kernel has no {name}"),
                format!("documents that need it are refused: {needed_for}"),
                "load the module, or use a kernel that is built with it".to_owned(),
            ],
        );
    }
}
