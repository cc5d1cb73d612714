//! `hcnctl status` and `hcnctl metrics`: how is hcnd?

use hcn_client::Status;

use crate::Context;
use crate::failure::Result;
use crate::output::Format;

pub(crate) fn status(context: &mut Context) -> Result<()> {
    let status = context.client.status()?;
    if context.output.format == Format::Json {
        return Ok(context.output.line(&serde_json::to_string(&status).unwrap_or_default())?);
    }
    context.output.table(&[], &summary(&status))?;
    context.output.line("")?;
    Ok(context.output.table(&["FEATURE", "PRESENT", "NEEDED FOR"], &features(&status))?)
}

/// As it is: it has a format of its own.
pub(crate) fn metrics(context: &mut Context) -> Result<()> {
    let text = context.client.metrics()?;
    match context.output.format {
        Format::Json => Ok(context.output.line(&serde_json::json!({ "text": text }).to_string())?),
        Format::Table => Ok(context.output.line(text.trim_end())?),
    }
}

fn summary(status: &Status) -> Vec<Vec<String>> {
    let mut rows = vec![
        ("Version:".to_owned(), status.version.clone()),
        ("Schema:".to_owned(), status.schema.clone()),
        ("Kernel:".to_owned(), status.kernel.clone()),
        ("Uptime:".to_owned(), duration(status.uptime_s)),
        ("Process:".to_owned(), format!("{} of user {}", status.pid, status.uid)),
    ];
    if let Some(reason) = &status.read_only {
        rows.push(("Read-only:".to_owned(), reason.clone()));
    }
    for (kind, count) in &status.entities {
        rows.push((format!("{kind}s:"), count.to_string()));
    }
    rows.into_iter().map(|(label, value)| vec![label, value]).collect()
}

fn features(status: &Status) -> Vec<Vec<String>> {
    let row = |feature: &hcn_client::Feature| {
        let present = if feature.present { "yes" } else { "no" };
        vec![feature.name.clone(), present.to_owned(), feature.needed_for.clone()]
    };
    status.features.iter().map(row).collect()
}

/// Seconds, in units that fit.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_units_that_fit() {
        for (seconds, told) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (180_000, "2 d 2 h")]
        {
            assert_eq!(duration(seconds), told);
        }
    }

    #[test]
    fn kinds_and_features_are_told_one_a_line() {
        let feature = hcn_client::Feature {
            name: "vxlan".to_owned(),
            present: false,
            needed_for: "overlays".to_owned(),
        };
        let entities = [("Network".to_owned(), 2)].into();
        let status = Status { entities, features: vec![feature], ..Status::default() };
        let rows = summary(&status);
        assert!(rows.contains(&vec!["Networks:".to_owned(), "2".to_owned()]), "{rows:?}");
        assert_eq!(features(&status), [["vxlan", "no", "overlays"]]);
    }
}
