//! Routing tables of networks whose packets do not go where the host's go: those of type ConstrainedICS, of type ICS with
//! an InterfaceConstraint, and of type L2Tunnel, whose packets leave by the uplink whoever they are for.

use std::collections::BTreeMap;

use hcn_dataplane::{Family, HostRoute};
use hcn_schema::enums::NetworkMode;
use hcn_schema::{Error, HResult};
use ipnet::IpNet;

use super::junction::Ground;
use super::{Outcome, Refusal, View, uplink};
use crate::entity::RoutingTable;
use crate::names;

/// The numbers that tables have: these, and 65,535 after it.
const FIRST: u32 = 0x6863_0000;

pub(super) fn choose(view: &View<'_>, ground: &Ground<'_>) -> Outcome<Option<RoutingTable>> {
    let constrained = match ground.mode {
        NetworkMode::ConstrainedIcs | NetworkMode::L2Tunnel => true,
        NetworkMode::Ics => uplink::constraint(ground.document)?.is_some(),
        _ => false,
    };
    if !constrained {
        return Ok(None);
    }
    let Some(uplink) = ground.uplink else {
        let message = "the host has no link that leads outside, which this network could be constrained to";
        let error = Error::new(HResult::ADAPTER_NOT_FOUND, message).at("Policies");
        return Err(Refusal::Error(error.expected("InterfaceConstraint")));
    };
    let routes = routes(view, &uplink.link);
    Ok(Some(RoutingTable { number: number(view), routes }))
}

/// A number that no other network has: from an identifier, so that tables of other programs are hardly met.
fn number(view: &View<'_>) -> u32 {
    let networks = view.registry.networks.iter();
    let taken: Vec<u32> = networks.filter_map(|network| Some(network.table.as_ref()?.number)).collect();
    let numbers = (0u64..).map(|salt| {
        FIRST + u32::try_from(names::hash(view.context.fresh_id, salt) & 0xffff).unwrap_or_default()
    });
    numbers.into_iter().find(|number| !taken.contains(number)).unwrap_or(FIRST)
}

/// Where the host goes by the link, the way that wins to each destination; and to everything else.
fn routes(view: &View<'_>, link: &str) -> Vec<HostRoute> {
    let mut ways: BTreeMap<IpNet, HostRoute> = BTreeMap::new();
    for family in [Family::V4, Family::V6] {
        // Without a router that the host knows, who is meant may be on the link itself.
        let everything =
            if family == Family::V4 { IpNet::V4(Default::default()) } else { IpNet::V6(Default::default()) };
        let on_link =
            HostRoute { link: link.to_owned(), destination: everything, gateway: None, metric: u32::MAX };
        ways.insert(everything, on_link);
    }
    for route in
        view.context.host.routes.iter().filter(|route| route.link == link && leads_on(&route.destination))
    {
        let way = ways.entry(route.destination).or_insert_with(|| route.clone());
        if route.metric < way.metric {
            *way = route.clone();
        }
    }
    ways.into_values().collect()
}

/// Whether packets to there can be forwarded: not what every link has for itself.
fn leads_on(destination: &IpNet) -> bool {
    match destination {
        IpNet::V4(prefix) => !prefix.addr().is_link_local() && !prefix.addr().is_multicast(),
        IpNet::V6(prefix) => !prefix.addr().is_unicast_link_local() && !prefix.addr().is_multicast(),
    }
}
