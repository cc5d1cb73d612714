//! `hcnctl status` and `hcnctl metrics`: how is hcnd?

use serde_json::{Map, Value, json};

use crate::Context;
use crate::entity::{each, text};
use crate::failure::Result;
use crate::output::Format;

pub(crate) fn status(context: &mut Context) -> Result<()> {
    let status = context.client.call("io.hcn.Service.Status", &json!({}))?;
    if context.output.format == Format::Json {
        return Ok(context.output.line(status.get())?);
    }
    let status: Value = serde_json::from_str(status.get()).unwrap_or_default();
    context.output.table(&[], &summary(&status))?;
    context.output.line("")?;
    Ok(context.output.table(&["FEATURE", "PRESENT", "NEEDED FOR"], &features(&status))?)
}

/// As it is: it has a format of its own.
pub(crate) fn metrics(context: &mut Context) -> Result<()> {
    let metrics = context.client.call("io.hcn.Service.Metrics", &json!({}))?;
    if context.output.format == Format::Json {
        return Ok(context.output.line(metrics.get())?);
    }
    let metrics: Value = serde_json::from_str(metrics.get()).unwrap_or_default();
    Ok(context.output.line(metrics["text"].as_str().unwrap_or_default().trim_end())?)
}

fn summary(status: &Value) -> Vec<Vec<String>> {
    let mut rows = vec![
        ("Version:".to_owned(), text(&status["version"])),
        ("Schema:".to_owned(), text(&status["schema"])),
        ("Kernel:".to_owned(), text(&status["kernel"])),
        ("Uptime:".to_owned(), duration(status["uptime_s"].as_u64().unwrap_or(0))),
        ("Process:".to_owned(), format!("{} of user {}", text(&status["pid"]), text(&status["uid"]))),
    ];
    for (kind, count) in status["entities"].as_object().unwrap_or(&Map::new()) {
        rows.push((format!("{kind}s:"), text(count)));
    }
    rows.into_iter().map(|(label, value)| vec![label, value]).collect()
}

fn features(status: &Value) -> Vec<Vec<String>> {
    let row = |feature: &Value| {
        let present = if feature["present"] == true { "yes" } else { "no" };
        vec![text(&feature["name"]), present.to_owned(), text(&feature["needed_for"])]
    };
    each(&status["features"]).map(row).collect()
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
    fn what_is_missing_is_not_invented() {
        let status = json!({"version": "1.0", "entities": {"Network": 2}, "features": [
            {"name": "vxlan", "present": false, "needed_for": "overlays"}]});
        let rows = summary(&status);
        assert!(rows.contains(&vec!["Networks:".to_owned(), "2".to_owned()]), "{rows:?}");
        assert!(rows.contains(&vec!["Kernel:".to_owned(), String::new()]), "{rows:?}");
        assert_eq!(features(&status), [["vxlan", "no", "overlays"]]);
    }
}
