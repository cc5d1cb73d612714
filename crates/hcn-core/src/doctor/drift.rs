//! Does the kernel hold what the records mean? Whoever compares the two says how they differ; here it becomes findings.

use super::{Report, Severity};

pub(super) const NAME: &str = "drift";

pub(super) fn drift(differences: &[String], report: &mut Report) {
    for difference in differences {
        report.add(
            Severity::Warning,
            "",
            [
                difference.clone(),
                "the entity does not do all that its document says".to_owned(),
                "hcnd puts it right by itself; if it comes back, find out which program changes it"
                    .to_owned(),
            ],
        );
    }
    if differences.is_empty() {
        let fine = "the kernel holds what the records mean".to_owned();
        report.add(Severity::Ok, "", [fine, String::new(), String::new()]);
    }
}
