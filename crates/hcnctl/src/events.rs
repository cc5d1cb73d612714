//! `hcnctl events`.

use std::io::{self, Write as _};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hcn_client::blocking::Client;
use hcn_client::{DISCONNECT, Error, ErrorClass, Event, Kind, Registration, Target};

use crate::failure::{Failure, Result};
use crate::output::{Format, shown};
use crate::{Context, lookup};

/// Between two tries to find the next hcnd.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only of this kind; can be given several times.
    #[arg(long = "kind", value_name = "KIND", value_enum, ignore_case = true)]
    kinds: Vec<Of>,

    /// Only what a callback of the C API gets that is registered for this.
    #[arg(long, value_name = "WHAT", value_enum, ignore_case = true, conflicts_with = "kinds")]
    registration: Option<For>,

    /// Go on with the next hcnd when this one ends. What happens between the two is not told.
    #[arg(long)]
    reconnect: bool,

    /// The network or guest network service of the registration: name, ID, or unique start of an ID.
    #[arg(value_name = "NAME|ID", requires = "registration")]
    which: Option<String>,
}

/// Kinds, by the names of their commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Of {
    Network,
    Endpoint,
    Namespace,
    #[value(name = "loadbalancer")]
    LoadBalancer,
    #[value(alias = "sdnroute")]
    Route,
    #[value(alias = "guestnetworkservice")]
    Gns,
    #[value(alias = "portreservation")]
    Reservation,
}

impl Of {
    fn kind(self) -> Kind {
        match self {
            Self::Network => Kind::Network,
            Self::Endpoint => Kind::Endpoint,
            Self::Namespace => Kind::Namespace,
            Self::LoadBalancer => Kind::LoadBalancer,
            Self::Route => Kind::SdnRoute,
            Self::Gns => Kind::GuestNetworkService,
            Self::Reservation => Kind::PortReservation,
        }
    }
}

/// What callbacks are registered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum For {
    /// What comes and goes.
    Service,
    /// What is attached to a network and detached.
    Network,
    /// How far a guest has got.
    #[value(alias = "gns")]
    GuestNetworkService,
}

pub(crate) fn run(context: &mut Context, command: &Events, socket: &Path) -> Result<()> {
    loop {
        tell(context, command)?;
        if !command.reconnect {
            let message = "hcnd ended the subscription: it stops, or we did not keep up";
            return Err(Failure::new(ErrorClass::Unreachable, message));
        }
        let told = "hcnctl: hcnd ended the subscription; what happens until the next one is not told";
        // Nothing else can be done when stderr is closed.
        let _ = writeln!(io::stderr(), "{told}");
        context.client = next(socket);
    }
}

/// The next hcnd, whenever it is there.
fn next(socket: &Path) -> Client {
    loop {
        // One that is about to end still accepts.
        match Client::connect(socket).and_then(|mut client| client.status().map(|_| client)) {
            Ok(client) => return client,
            Err(_) => sleep(RETRY),
        }
    }
}

/// Tells events until hcnd ends the subscription.
fn tell(context: &mut Context, command: &Events) -> Result<()> {
    let events = match registration(context, command)? {
        Some(registration) => context.client.register(registration)?,
        None => {
            let kinds: Vec<Kind> = command.kinds.iter().map(|of| of.kind()).collect();
            context.client.events(&kinds)?
        }
    };
    for event in events {
        let event = match event {
            // It was killed.
            Err(Error::Lost(_)) if command.reconnect => break,
            event => event?,
        };
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
    Ok(())
}

fn registration(context: &mut Context, command: &Events) -> Result<Option<Registration>> {
    let (kind, registered): (Kind, fn(Target) -> Registration) = match (command.registration, &command.which)
    {
        (None, _) => return Ok(None),
        (Some(For::Service), None) => return Ok(Some(Registration::Service)),
        (Some(For::Service), Some(_)) => {
            return Err(Failure::usage("--registration service is for no entity of its own"));
        }
        (Some(For::Network), _) => (Kind::Network, Registration::Network),
        (Some(For::GuestNetworkService), _) => (Kind::GuestNetworkService, Registration::GuestNetworkService),
    };
    let Some(which) = &command.which else {
        return Err(Failure::usage(format!("which {kind}? Give its name or ID")));
    };
    let id = lookup::find(&mut context.client, kind, which)?;
    Ok(Some(registered(id.into())))
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
