//! `hcnctl reservation`.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueEnum};
use hcn_client::blocking::Events;
use hcn_client::{Created, DISCONNECT, ErrorClass, Guid, Kind};
use serde_json::{Value, json};

use crate::arguments::{Get, List, Remove};
use crate::entity::{number_named, parsed, text};
use crate::failure::{Failure, Result};
use crate::output::Format;
use crate::{Context, entity, exec, lookup};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List port reservations.
    Ls(List),
    /// Show one port reservation.
    Get(Get),
    /// Release the ports of reservations, whoever holds them.
    Rm(Remove),
    /// Reserve ports and print them, until interrupted; or as long as a command runs.
    Hold(Hold),
}

#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// The guest network service that reserves: name, ID, or unique start of an ID.
    #[arg(long, value_name = "NAME|ID")]
    gns: String,

    /// This port.
    #[arg(long, required_unless_present = "count", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// So many ports in a row that are free, for TCP and UDP and for nobody else.
    #[arg(long, value_name = "N", conflicts_with_all = ["port", "protocol", "shared"],
          value_parser = clap::value_parser!(u16).range(1..))]
    count: Option<u16>,

    /// For which protocol [default: tcp].
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,

    /// Let others that share reserve it, too.
    #[arg(long)]
    shared: bool,

    /// A command; it finds the first and the last port in HCN_PORT and HCN_LAST_PORT, and its exit code is ours.
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// HCN_PORT_PROTOCOL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Tcp = 1,
    Udp = 2,
    Both = 3,
}

const COLUMNS: [&str; 5] = ["ID", "PORTS", "PROTOCOL", "ACCESS", "SERVICE"];

pub(crate) fn run(context: &mut Context, command: Command) -> Result<()> {
    let kind = Kind::PortReservation;
    match command {
        Command::Ls(list) => entity::list(context, kind, &list, &COLUMNS, row),
        Command::Get(get) => entity::get(context, kind, &get, details),
        Command::Rm(remove) => entity::remove(context, kind, &remove),
        Command::Hold(command) => hold(context, &command),
    }
}

fn hold(context: &mut Context, hold: &Hold) -> Result<()> {
    let service = lookup::find(&mut context.client, Kind::GuestNetworkService, &hold.gns)?;
    // Before there is a reservation, so that its end is not missed.
    let events = context.client.events(&[Kind::PortReservation])?;
    let created = context.client.create(Kind::PortReservation, None, None, &request(hold, service))?;
    let document = lookup::document(&mut context.client, Kind::PortReservation, created.id)?;
    let entry = parsed(&document);
    if !hold.command.is_empty() {
        let variables =
            [("HCN_PORT", text(&entry["StartingPort"])), ("HCN_LAST_PORT", text(&entry["EndingPort"]))];
        let exit_code = exec::beside(&hold.command, &variables)?;
        return ended(context, created, exit_code);
    }
    match context.output.format {
        Format::Table => context.output.line(&ports(&entry))?,
        Format::Json => context.output.line(document.get())?,
    }
    wait(events, created.id)
}

/// Releases the ports after the command.
fn ended(context: &mut Context, created: Created, exit_code: u8) -> Result<()> {
    // It fails when the ports were released before, which the command cannot know.
    let mut result = context.client.close(Kind::PortReservation, created.handle).map_err(Failure::from);
    if exit_code != 0 {
        if let Err(failure) = result {
            failure.tell(context.output.format);
        }
        result = Err(Failure::Told(exit_code));
    }
    result
}

/// Waits for the end of the reservation, which is nobody's wish here.
fn wait(events: Events, id: Guid) -> Result<()> {
    for event in events {
        let event = event?;
        if event.notification == Some(DISCONNECT) {
            break;
        }
        let is_end = event.action.as_deref() == Some("delete");
        if is_end && event.id.is_some_and(|gone| gone.parse() == Ok(id)) {
            return Err(Failure::new(ErrorClass::NotFound, "the ports were released by somebody else"));
        }
    }
    Err(Failure::new(ErrorClass::Unreachable, "hcnd stops, and with it the reservation ends"))
}

fn request(hold: &Hold, service: Guid) -> String {
    let mut request = json!({ "GuestNetworkService": service.to_string() });
    match hold.count {
        // The service counts from the first port to the last.
        Some(count) => request["PortCount"] = json!(count - 1),
        None => {
            request["Port"] = json!(hold.port);
            request["Protocol"] = json!(hold.protocol.unwrap_or(Protocol::Tcp) as u8);
            request["Access"] = json!(if hold.shared { 2 } else { 1 });
        }
    }
    request.to_string()
}

fn ports(entry: &Value) -> String {
    let (first, last) = (text(&entry["StartingPort"]), text(&entry["EndingPort"]));
    if first == last { first } else { format!("{first}-{last}") }
}

fn row(entry: &Value) -> Vec<String> {
    vec![
        text(&entry["ID"]),
        ports(entry),
        number_named(&entry["Protocol"], &["", "tcp", "udp", "tcp, udp"]),
        number_named(&entry["SharingFlags"], &["", "exclusive", "shared"]),
        text(&entry["OwningPartitionId"]),
    ]
}

fn details(entry: &Value) -> Vec<(&'static str, String)> {
    let labels = ["ID:", "Ports:", "Protocol:", "Access:", "Service:"];
    let mut details: Vec<_> = labels.into_iter().zip(row(entry)).collect();
    details.push(("Machine:", text(&entry["TargetPartitionId"])));
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(port: Option<u16>, count: Option<u16>) -> Hold {
        Hold { gns: String::new(), port, count, protocol: None, shared: false, command: Vec::new() }
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn one_port_is_asked_for_with_protocol_and_access() {
        let service = "00000000-0000-0000-0000-000000000000";
        let expected = json!({"GuestNetworkService": service, "Port": 8443, "Protocol": 1, "Access": 1});
        assert_eq!(value(&request(&hold(Some(8443), None), Guid::ZERO)), expected);
        let shared = Hold { protocol: Some(Protocol::Both), shared: true, ..hold(Some(8443), None) };
        let expected = json!({"GuestNetworkService": service, "Port": 8443, "Protocol": 3, "Access": 2});
        assert_eq!(value(&request(&shared, Guid::ZERO)), expected);
    }

    #[test]
    fn the_service_adds_one_to_a_count() {
        assert_eq!(value(&request(&hold(None, Some(4)), Guid::ZERO))["PortCount"], 3);
        assert_eq!(value(&request(&hold(None, Some(1)), Guid::ZERO))["PortCount"], 0);
    }

    #[test]
    fn ranges_are_told_from_single_ports() {
        let entry = json!({"ID": "X", "StartingPort": 5, "EndingPort": 5, "Protocol": 3, "SharingFlags": 1,
            "OwningPartitionId": "Y"});
        assert_eq!(row(&entry), ["X", "5", "tcp, udp", "exclusive", "Y"]);
        assert_eq!(ports(&json!({"StartingPort": 5, "EndingPort": 8})), "5-8");
    }
}
