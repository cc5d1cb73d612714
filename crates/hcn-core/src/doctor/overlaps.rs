//! Which subnets of networks does the host know another way to, or other networks?

use hcn_dataplane::SeenRoute;
use hcn_schema::call::Kind;
use ipnet::IpNet;

use super::{Facts, MAIN_TABLE, Report, Severity, named};
use crate::entity::{Network, Subnet};

/// `RT_TABLE_LOCAL`: the host's own addresses.
const LOCAL_TABLE: u32 = 255;

pub(super) fn overlaps(facts: &Facts<'_>, report: &mut Report) {
    // Where the host has no part in a subnet, its routes do not meet it.
    let networks: Vec<&Network> = facts.registry.networks.iter().map(|network| &**network).collect();
    for (at, network) in networks.iter().enumerate().filter(|(_, network)| network.host) {
        let subnets = network.subnets.iter().filter(|subnet| !subnet.outside);
        for subnet in subnets {
            with_addresses(facts, network, subnet, report);
            with_routes(facts, network, subnet, report);
            for other in networks[at + 1..].iter().filter(|other| other.host) {
                with_network(network, subnet, other, report);
            }
        }
    }
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn label(network: &Network, subnet: &Subnet) -> String {
    format!("{} of {}", subnet.prefix, named(Kind::Network, network.meta.id, network.name()))
}

const REMEDY: &str = "give the network another subnet, or have the other program use another prefix";

fn with_addresses(facts: &Facts<'_>, network: &Network, subnet: &Subnet, report: &mut Report) {
    for given in facts.survey.addresses.iter().filter(|given| !facts.is_ours(&given.link)) {
        if overlap(&given.address.trunc(), &subnet.prefix) {
            report.add(
                Severity::Error,
                label(network, subnet),
                [
                    format!("the host's link {} has the address {}", given.link, given.address),
                    "the host takes the one's hosts for the other's: packets to containers or to the link's \
                     neighbours are lost"
                        .to_owned(),
                    REMEDY.to_owned(),
                ],
            );
        }
    }
}

fn with_routes(facts: &Facts<'_>, network: &Network, subnet: &Subnet, report: &mut Report) {
    let addresses = &facts.survey.addresses;
    let of_address = |route: &SeenRoute| {
        addresses.iter().any(|given| given.link == route.link && given.address.trunc() == route.destination)
    };
    let others = facts.survey.routes.iter().filter(|route| {
        route.table != LOCAL_TABLE
            && route.destination.prefix_len() > 0
            && !facts.is_ours(&route.link)
            && !of_address(route)
            && overlap(&route.destination, &subnet.prefix)
    });
    for route in others {
        let narrower = route.destination.prefix_len() >= subnet.prefix.prefix_len();
        let way = match route.table {
            MAIN_TABLE => format!("the host's route to {} leaves by {}", route.destination, route.link),
            table => format!("the route to {} of table {table} leaves by {}", route.destination, route.link),
        };
        let (severity, consequence) = match (narrower, route.table) {
            (true, MAIN_TABLE) => {
                (Severity::Error, "packets to containers there leave by that link and are lost")
            }
            (false, MAIN_TABLE) => {
                (Severity::Warning, "whoever has these addresses behind that link cannot be reached")
            }
            _ => {
                (Severity::Warning, "packets to containers leave by that link where rules choose that table")
            }
        };
        report.add(severity, label(network, subnet), [way, consequence.to_owned(), REMEDY.to_owned()]);
    }
}

fn with_network(network: &Network, subnet: &Subnet, other: &Network, report: &mut Report) {
    for theirs in
        other.subnets.iter().filter(|theirs| !theirs.outside && overlap(&theirs.prefix, &subnet.prefix))
    {
        report.add(
            Severity::Error,
            label(network, subnet),
            [
                format!("it overlaps {}", label(other, theirs)),
                "the host reaches only one of the two".to_owned(),
                "delete one of the networks".to_owned(),
            ],
        );
    }
}
