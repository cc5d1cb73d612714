//! `hcnctl`, the command line of hcnd.

mod arguments;
mod call;
mod document;
mod endpoint;
mod entity;
mod events;
mod exec;
mod failure;
mod load_balancer;
mod lookup;
mod namespace;
mod network;
mod output;
mod publish;
mod status;

use std::process::ExitCode;

use clap::Parser;
use hcn_client::blocking::Client;

use arguments::{Arguments, Command};
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
    let mut context =
        Context { client: Client::connect(&arguments.socket())?, output: Output::new(arguments.output) };
    match arguments.command {
        Command::Network(command) => network::run(&mut context, command),
        Command::Endpoint(command) => endpoint::run(&mut context, command),
        Command::Namespace(command) => namespace::run(&mut context, command),
        Command::LoadBalancer(command) => load_balancer::run(&mut context, command),
        Command::Events(command) => events::run(&mut context, &command),
        Command::Status => status::status(&mut context),
        Command::Metrics => status::metrics(&mut context),
        Command::Call(command) => call::run(&mut context, &command),
    }
}
