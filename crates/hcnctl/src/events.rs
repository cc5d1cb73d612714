//! `hcnctl events`.

use clap::Args;
use clap::builder::PossibleValuesParser;
use hcn_client::{DISCONNECT, ErrorClass, Event, Kind};

use crate::Context;
use crate::failure::{Failure, Result};
use crate::output::{Format, shown};

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only of this kind; can be given several times.
    #[arg(long = "kind", value_name = "KIND", ignore_case = true,
          value_parser = PossibleValuesParser::new(["network", "endpoint", "namespace"]))]
    kinds: Vec<String>,
}

pub(crate) fn run(context: &mut Context, command: &Events) -> Result<()> {
    let is_wanted = |kind: &Kind| command.kinds.iter().any(|name| name.eq_ignore_ascii_case(kind.name()));
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(is_wanted).collect();
    for event in context.client.events(&kinds)? {
        let event = event?;
        let ended = event.notification == Some(DISCONNECT);
        match context.output.format {
            Format::Json => context.output.line(&serde_json::to_string(&event).unwrap_or_default())?,
            Format::Table if !ended => context.output.line(&line(&event))?,
            Format::Table => {}
        }
        if ended {
            break;
        }
    }
    Err(Failure::new(ErrorClass::Unreachable, "hcnd ended the subscription: it stops, or we did not keep up"))
}

fn line(event: &Event) -> String {
    let text = |value: &Option<String>| shown(value.as_deref().unwrap_or_default());
    let owner = event.owner.as_ref().filter(|owner| !owner.is_empty());
    let owner = owner.map_or_else(String::new, |owner| format!(" owner={}", shown(owner)));
    let revision = event.revision.map_or_else(String::new, |revision| format!(" revision={revision}"));
    // The other members of the NotificationBase repeat the ID, or are seldom of interest.
    let data = event.data.as_ref().map(crate::entity::parsed).unwrap_or_default();
    let data = data.get("Data").map_or_else(String::new, |data| format!(" {}", shown(&data.to_string())));
    let kind = text(&event.kind).to_lowercase();
    format!("{} {kind} {} {}{revision}{owner}{data}", event.seq, text(&event.action), text(&event.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event: Event = serde_json::from_str(
            r#"{"seq":3,"action":"create","kind":"Network","id":"X","owner":"a\nb","revision":1,"data":{"Flags":0,"Data":{"N":1}}}"#,
        )
        .unwrap();
        assert_eq!(line(&event), "3 network create X revision=1 owner=a\u{fffd}b {\"N\":1}");
    }
}
