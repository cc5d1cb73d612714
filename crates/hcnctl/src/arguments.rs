//! The arguments that all commands share.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use hcn_client::HnsVersion;

use crate::output::Format;
use crate::{
    backup, call, endpoint, events, guest_network_service, hns, load_balancer, namespace, network,
    port_reservation, schema, sdn_route,
};

const GLOBAL: &str = "Global options";

/// Manage container networks of hcnd, the Host Compute Network service.
#[derive(Debug, Parser)]
#[command(name = "hcnctl", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 exists or in use, 5 denied, \
                        6 hcnd unreachable, 7 invalid document, 8 timeout, 10 doctor has found something.")]
pub(crate) struct Arguments {
    /// How to print results: as tables, or as the HCN documents themselves.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    #[arg(global = true, help_heading = GLOBAL)]
    pub(crate) output: Format,

    /// The socket of hcnd [default: /run/hcnd/hcnd.sock].
    #[arg(long, env = hcn_client::SOCKET_VARIABLE, hide_env_values = true, value_name = "PATH")]
    #[arg(global = true, help_heading = GLOBAL)]
    socket: Option<OsString>,

    /// Be served as an older version of the Host Network Service would: MAJOR.MINOR.
    #[arg(long, value_name = "VERSION", global = true, help_heading = GLOBAL)]
    pub(crate) hns_version: Option<HnsVersion>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// The socket to connect to.
    pub(crate) fn socket(&self) -> PathBuf {
        let given = self.socket.as_ref().filter(|path| !path.is_empty());
        given.map_or_else(|| PathBuf::from(hcn_client::DEFAULT_SOCKET), PathBuf::from)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Service(Box<ServiceCommand>),
    /// Show what documents, requests and settings look like; needs no hcnd.
    Schema(schema::Schema),
}

/// What hcnd itself is asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Networks.
    #[command(subcommand, visible_alias = "net")]
    Network(network::Command),
    /// Endpoints: interfaces of containers on a network.
    #[command(subcommand, visible_alias = "ep")]
    Endpoint(endpoint::Command),
    /// Namespaces: what containers see of the network.
    #[command(subcommand, visible_alias = "ns")]
    Namespace(namespace::Command),
    /// Load balancers: addresses and ports shared by endpoints.
    #[command(subcommand, name = "loadbalancer", visible_alias = "lb")]
    LoadBalancer(load_balancer::Command),
    /// SDN routes: where packets of endpoints go besides their gateway.
    #[command(subcommand, visible_alias = "sdnroute")]
    Route(sdn_route::Command),
    /// Guest network services: what virtual machines see of the host's network.
    #[command(subcommand)]
    Gns(guest_network_service::Command),
    /// Port reservations: ports that guest network services keep from the host.
    #[command(subcommand)]
    Reservation(port_reservation::Command),
    /// Print what happens, one line per event, until interrupted.
    Events(events::Events),
    /// Show how hcnd is: versions, what there is, and what the kernel has of what hcnd can use.
    Status,
    /// Look for what is wrong with the host, or will be: settings and rules of other programs that lose packets, what is
    /// nearly full, overlapping prefixes, leftovers. Ends with 0 if nothing is of severity warning or above, else with 10.
    Doctor,
    /// Write all records of hcnd into a new file, while it runs.
    Backup(backup::Backup),
    /// Put the records of a backup in the place of all others, all or none of them, and let hcnd start over with them. What
    /// is not in the backup is deleted.
    Restore(backup::Restore),
    /// Print the metrics of hcnd in the text format of Prometheus.
    Metrics,
    /// Make a call of HNS version 1, and print its output.
    Hns(hns::Hns),
    /// Call a method of the service as it is.
    Call(call::Call),
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those with this property, named as in HNS (version 1) documents: Name=web, State=3; several are ANDed.
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) filters: Vec<(String, String)>,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Name, ID, or unique start of an ID.
    #[arg(value_name = "NAME|ID")]
    pub(crate) which: String,
}

/// Arguments of `modify`.
#[derive(Debug, Args)]
pub(crate) struct Modify {
    /// Name, ID, or unique start of an ID.
    #[arg(value_name = "NAME|ID")]
    pub(crate) which: String,

    /// The modify request ({"ResourceType", "RequestType", "Settings"}); - = standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Arguments of `rm`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Names, IDs, or unique starts of IDs.
    #[arg(value_name = "NAME|ID", required = true)]
    pub(crate) which: Vec<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("hcnctl").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_is_understood() {
        for line in [
            "network ls",
            "net ls --filter Name=a --filter Flags=8 -o json",
            "-o json net get a",
            "net create --name a --subnet 10.0.0.0/24 --subnet fd00::/64 --gateway 10.0.0.1 --flags 8",
            "net create -f -",
            "net create --name a --type Overlay --subnet 10.0.0.0/24 --vsid 4096 --adapter eth0 --dns 10.0.0.9",
            r#"net create --name a --type L2Bridge --subnet 10.0.0.0/24 --vlan 7 --policy VxlanPort={"Port":4790}"#,
            "net modify a -f request.json",
            "net rm a b c",
            "net dns a --server 10.0.0.1 --search a.test --search b.test --domain c.test --option ndots:2",
            "net dns a --clear",
            "net subnet add a 10.0.0.0/24 fd00::/64 --gateway 10.0.0.1 --vlan 7",
            "net subnet add a 10.0.0.0/25 --within 10.0.0.0/24",
            "net subnet rm a 10.0.0.0/24 --within 10.0.0.0/16",
            "net policy ls a",
            "net policy add a HostRoute",
            r#"net policy update a VxlanPort {"Port":4790}"#,
            "net policy rm a VxlanPort",
            "net policy add a -f -",
            "net extension a 5F0B1190-63BE-4E0C-B974-BD0F55675A42 on",
            "net extension a 5F0B1190-63BE-4E0C-B974-BD0F55675A42 off",
            "endpoint create --network a --name b --ip 10.0.0.5 --mac 00-15-5D-00-00-01 --dns 10.0.0.1",
            "ep create -f file.json --network a",
            "ep create -f file.json",
            "ep create --network a --remote --ip 10.0.0.5 --provider-address 192.0.2.9 --policy ACL={}",
            "ep attach b c --socket /tmp/s",
            "ep detach b",
            "ep policy ls b",
            "ep policy add b ACL {}",
            "ep policy rm b ACL",
            "ep policy update b -f policies.json",
            "ep port add b --vm 5F0B1190-63BE-4E0C-B974-BD0F55675A42 --port-id x --nic n",
            "ep port add b",
            "ep port rm b",
            "ep port refresh b",
            "ep stats b",
            "ep addresses b",
            "namespace create",
            "ns create --type HostDefault --name c",
            "ns container add c some-container",
            "ns container rm c some-container",
            "ns exec c -- ip -o address",
            "ns exec c ip -o address",
            "lb create --port 80:80 --endpoint b --dsr --ipv6 --affinity --from-host --internal",
            "lb backend add d b e",
            "lb backend rm d b",
            "lb modify d -f -",
            "route ls --filter Name=r",
            "sdnroute get r",
            "route create --endpoint b --endpoint e --route 10.0.0.0/8,10.1.0.1 --route 10.2.0.0/16 --need-encap --name r",
            "route create -f -",
            "route modify r -f -",
            "route rm r",
            "gns ls",
            "gns get g",
            "gns create --vm 5F0B1190-63BE-4E0C-B974-BD0F55675A42 --mirror-host --name g",
            "gns create -f -",
            "gns modify g -f -",
            "gns state g Synchronized",
            "gns rm g",
            "reservation ls",
            "reservation get 5f0b",
            "reservation rm 5f0b",
            "reservation hold --gns g --port 8443",
            "reservation hold --gns g --port 8443 --protocol both --shared",
            "reservation hold --gns g --count 4 -- sleep 1",
            "hns get /networks/",
            "hns POST /networks/ {}",
            "hns POST /networks/ -f -",
            "--hns-version 15.4 lb ls",
            "lb ls --hns-version 15.4",
            "events",
            "events --kind network --kind Endpoint --kind loadbalancer --kind route --kind gns --kind reservation",
            "events --registration service",
            "events --reconnect",
            "events --registration network a",
            "events --registration guest-network-service a",
            "status",
            "status -o json",
            "doctor",
            "doctor -o json",
            "backup file.json",
            "restore file.json -o json",
            "metrics",
            "call io.hcn.Service.Ping",
            "call io.hcn.Network.Open {}",
            "call io.hcn.Network.Open -f -",
            "call --more io.hcn.Events.Subscribe",
            "schema",
            "schema HostComputeNetwork -o json",
        ] {
            parse(line).map_err(|error| format!("{line}: {error}")).unwrap();
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for line in [
            "",
            "net",
            "net ls --filter Name",
            "net ls --filter =a",
            "net ls -o xml",
            "net get",
            "net rm",
            "net create",
            "net create -f - --name a",
            "net create -f - --gateway 10.0.0.1",
            "net create -f - --policy ACL={}",
            "net create --name a --subnet 10.0.0.0/24 --vlan 7 --vsid 4096",
            "net create --name a --policy ACL={",
            "net modify a",
            "net dns a",
            "net dns a --clear --server 10.0.0.1",
            "net subnet add a",
            "net subnet add a 10.0.0.0/25 --within 10.0.0.0/24 --gateway 10.0.0.1",
            "net subnet rm a 10.0.0.0/24 --gateway 10.0.0.1",
            "net policy add a",
            "net policy add a ACL {",
            "net policy add a ACL -f -",
            "net extension a 5F0B1190-63BE-4E0C-B974-BD0F55675A42 perhaps",
            "ep create --name b",
            "ep create --network a --provider-address 192.0.2.9",
            "ep create -f - --remote",
            "ep attach b",
            "ep port b",
            "ep stats",
            "ns exec c",
            "ns create -f - --name c",
            "ns container add c",
            "lb backend add d",
            "lb create -f - --internal",
            "route create --endpoint b",
            "route create --route 10.0.0.0/8",
            "route create -f - --endpoint b",
            "gns create",
            "gns create -f - --mirror-host",
            "gns state g",
            "reservation hold --gns g",
            "reservation hold --port 8443",
            "reservation hold --gns g --port 0",
            "reservation hold --gns g --port 8443 --count 2",
            "reservation hold --gns g --port 8443 --protocol sctp",
            "reservation hold --gns g --count 2 --shared",
            "reservation modify 5f0b -f -",
            "hns GET",
            "hns POST /networks/ {} -f -",
            "--hns-version 15 lb ls",
            "events --kind metrics",
            "events --registration service --kind network",
            "events a",
            "events --registration endpoint a",
            "call",
            "call io.hcn.Service.Ping {",
            "call io.hcn.Service.Ping {} -f -",
            "schema a b",
            "backup",
            "restore a b",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_command_of_exec_keeps_its_options() {
        for line in ["ns exec c -- ip -o json --socket x", "ns exec c ip -o json --socket x"] {
            let Command::Service(command) = parse(line).unwrap().command else { unreachable!() };
            let ServiceCommand::Namespace(namespace::Command::Exec { command, .. }) = *command else {
                unreachable!()
            };
            assert_eq!(command, ["ip", "-o", "json", "--socket", "x"]);
        }
    }

    #[test]
    fn an_empty_socket_is_the_default_one() {
        let arguments = parse("--socket= net ls").unwrap();
        assert_eq!(arguments.socket(), PathBuf::from("/run/hcnd/hcnd.sock"));
        assert_eq!(parse("net ls --socket /tmp/s").unwrap().socket(), PathBuf::from("/tmp/s"));
    }
}
