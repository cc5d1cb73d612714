//! `hcnctl endpoint port`: the port of a virtual machine that an endpoint is plugged into.

use clap::{Args, Subcommand};
use hcn_client::{Guid, Kind};
use serde_json::json;

use crate::document::Document;
use crate::failure::Result;
use crate::{Context, entity, lookup};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Plug an endpoint into a port of a virtual machine.
    Add(Add),
    /// Pull an endpoint out of its port.
    Rm {
        /// Name, ID, or unique start of an ID.
        endpoint: String,
    },
    /// Tell the guest everything about its endpoint anew.
    Refresh {
        /// Name, ID, or unique start of an ID.
        endpoint: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Name, ID, or unique start of an ID.
    endpoint: String,

    /// GUID of the virtual machine.
    #[arg(long, value_name = "ID")]
    vm: Option<String>,

    /// GUID of the port [default: a new one].
    #[arg(long, value_name = "ID")]
    port_id: Option<String>,

    /// Name of the machine's adapter [default: VM--ENDPOINT, both by their IDs].
    #[arg(long, value_name = "NAME")]
    nic: Option<String>,
}

pub(crate) fn run(context: &mut Context, command: &Command) -> Result<()> {
    let (request, which) = match command {
        Command::Add(add) => ("Add", &add.endpoint),
        Command::Rm { endpoint } => ("Remove", endpoint),
        Command::Refresh { endpoint } => ("Refresh", endpoint),
    };
    let id = lookup::find(&mut context.client, Kind::Endpoint, which)?;
    let settings = match command {
        Command::Add(add) => Some(settings(add, id).raw()),
        Command::Rm { .. } => Some(Document::default().raw()),
        Command::Refresh { .. } => None,
    };
    entity::change(context, Kind::Endpoint, id, "Port", request, settings)
}

fn settings(add: &Add, endpoint: Guid) -> Document {
    let mut settings = Document::default();
    let of_both = add.vm.as_ref().map(|vm| format!("{vm}--{endpoint}"));
    for (member, value) in [
        ("VirtualMachineId", &add.vm),
        ("PortId", &add.port_id),
        ("VirtualNicName", &add.nic.clone().or(of_both)),
    ] {
        if let Some(value) = value {
            settings.set(member, &json!(value));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_named_after_machine_and_endpoint() {
        let add = |vm: Option<&str>, nic: Option<&str>| Add {
            endpoint: String::new(),
            vm: vm.map(str::to_owned),
            port_id: None,
            nic: nic.map(str::to_owned),
        };
        let of = |add: &Add| settings(add, Guid::ZERO).raw().get().to_owned();
        let name = "m--00000000-0000-0000-0000-000000000000";
        assert_eq!(
            of(&add(Some("m"), None)),
            format!(r#"{{"VirtualMachineId":"m","VirtualNicName":"{name}"}}"#)
        );
        assert_eq!(of(&add(Some("m"), Some("n"))), r#"{"VirtualMachineId":"m","VirtualNicName":"n"}"#);
        assert_eq!(of(&add(None, None)), "{}");
    }
}
