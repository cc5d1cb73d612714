//! Which entities are not what their documents say?

use hcn_schema::call::Kind;

use super::{Facts, Report, Severity, named};

pub(super) fn entities(facts: &Facts<'_>, report: &mut Report) {
    for entity in Kind::ALL.into_iter().flat_map(|kind| facts.registry.of_kind(kind)) {
        let Some(code) = entity.meta().degraded else { continue };
        let subject = named(entity.kind(), entity.meta().id, entity.name());
        report.add(
            Severity::Warning,
            subject,
            [
                format!("it is degraded: 0x{:08x} {}", code.0, code.name()),
                "something of it is not as its document says; hcnd goes on trying".to_owned(),
                "hcnd's log says what the kernel refuses; once that is gone the repair succeeds".to_owned(),
            ],
        );
    }
    let repairs = facts.circumstances.repairs;
    if repairs > 0 {
        report.add(
            Severity::Notice,
            "",
            [
                format!("{repairs} repairs wait or are under way"),
                "what they are about is degraded until they succeed".to_owned(),
                "wait; if the number stays, see hcnd's log".to_owned(),
            ],
        );
    }
}
