//! `hcnctl`, the command line of hcnd.

mod arguments;
mod backup;
mod call;
mod doctor;
mod document;
mod endpoint;
mod entity;
mod events;
mod exec;
mod failure;
mod guest_network_service;
mod hns;
mod load_balancer;
mod lookup;
mod namespace;
mod network;
mod output;
mod policy;
mod port;
mod port_reservation;
mod publish;
mod schema;
mod sdn_route;
mod status;
mod subnet;

use std::process::ExitCode;

use clap::Parser;
use hcn_client::blocking::Client;

use arguments::{Arguments, Command, ServiceCommand};
use failure::Result;
use output::Output;

/// What every command works with.
struct Context {
    client: Client,
    output: Output,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to stdout and count as success. Nobody may be there to read them.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { failure::USAGE } else { 0 });
        }
    };
    let format = arguments.output;
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell(format);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let socket = arguments.socket();
    let mut output = Output::new(arguments.output);
    let command = match arguments.command {
        Command::Schema(command) => return schema::run(&mut output, &command),
        Command::Service(command) => command,
    };
    let client = match Client::connect(&socket) {
        Err(error) if matches!(*command, ServiceCommand::Doctor) => {
            return Err(doctor::unreachable(&mut output, &socket, &error));
        }
        other => other?,
    };
    let context = &mut Context { client, output };
    if let Some(version) = arguments.hns_version {
        context.client.set_hns_version(version)?;
    }
    match *command {
        ServiceCommand::Network(command) => network::run(context, command),
        ServiceCommand::Endpoint(command) => endpoint::run(context, command),
        ServiceCommand::Namespace(command) => namespace::run(context, command),
        ServiceCommand::LoadBalancer(command) => load_balancer::run(context, command),
        ServiceCommand::Route(command) => sdn_route::run(context, command),
        ServiceCommand::Gns(command) => guest_network_service::run(context, command),
        ServiceCommand::Reservation(command) => port_reservation::run(context, command),
        ServiceCommand::Events(command) => events::run(context, &command, &socket),
        ServiceCommand::Status => status::status(context),
        ServiceCommand::Doctor => doctor::run(context),
        ServiceCommand::Backup(command) => backup::backup(context, &command),
        ServiceCommand::Restore(command) => backup::restore(context, &command, &socket),
        ServiceCommand::Metrics => status::metrics(context),
        ServiceCommand::Hns(command) => hns::run(context, &command),
        ServiceCommand::Call(command) => call::run(context, &command),
    }
}
