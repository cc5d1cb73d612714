//! Routing tables of whose packets do not go where the host's go: of networks of type ConstrainedICS, of type ICS with
//! an InterfaceConstraint, and of type L2Tunnel, whose packets leave by the uplink whoever they are for; and of endpoints
//! with an InterfaceConstraint.

use std::collections::BTreeMap;

use hcn_dataplane::{Family, HostRoute};
use hcn_schema::enums::{EndpointPolicyType, NetworkMode, OneOf};
use hcn_schema::policy::EndpointPolicy;
use hcn_schema::{Error, HResult, Result};
use ipnet::IpNet;

use super::junction::Ground;
use super::{Outcome, Refusal, View, uplink};
use crate::entity::{Endpoint, Network, RoutingTable};
use crate::names;

/// The numbers that tables have begin here.
const FIRST: u32 = 0x6863_0000;
/// How many there are.
const NUMBERS: u64 = 0x1_0000;

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
    Ok(Some(RoutingTable { number: number(view)?, routes }))
}

/// The table of a network that has another uplink: under the number of before, so that its routes change in place.
pub(super) fn renew(view: &View<'_>, before: &Network, network: &Network) -> Outcome<Option<RoutingTable>> {
    let Network { document, mode, subnets, .. } = network;
    let ground = Ground { document, mode: *mode, uplink: network.uplink.as_ref(), subnets };
    let number = before.table.as_ref().map(|table| table.number);
    let renew = |table: RoutingTable| RoutingTable { number: number.unwrap_or(table.number), ..table };
    Ok(choose(view, &ground)?.map(renew))
}

/// The table of an endpoint with these policies, whose list is at `path`; the one that `present` has as long as its
/// policy says the same. None where the host does not route for it, and on overlays, whose ways lead by their tunnels.
pub(super) fn of_endpoint(
    view: &View<'_>,
    network: &Network,
    remote: bool,
    (policies, path): (&[EndpointPolicy], &str),
    present: Option<&Endpoint>,
) -> Outcome<Option<RoutingTable>> {
    let Some((index, policy)) = of_kind(policies) else { return Ok(None) };
    let carried = network.is_carried() && network.tunnel.is_none() && !remote;
    let Some(raw) = policy.settings.as_ref().filter(|_| carried) else { return Ok(None) };
    let before = present.and_then(|present| of_kind(&present.document.policies));
    let table = present.and_then(|present| present.table.as_ref());
    if before.is_some_and(|(_, before)| before == policy) {
        return Ok(table.cloned());
    }
    let named = uplink::constraint_in(raw, &format!("{path}[{index}].Settings"))?;
    let Some((path, name)) = named else { return Ok(None) };
    let link = uplink::named(view, &name, &path)?;
    // The number of before: its routes change in place.
    let number = match table {
        Some(table) => table.number,
        None => number(view)?,
    };
    Ok(Some(RoutingTable { number, routes: routes(view, &link) }))
}

fn of_kind(policies: &[EndpointPolicy]) -> Option<(usize, &EndpointPolicy)> {
    let kind = OneOf::Known(EndpointPolicyType::InterfaceConstraint);
    policies.iter().enumerate().find(|(_, policy)| policy.kind.as_ref() == Some(&kind))
}

/// A number that nobody else has: from an identifier, so that tables of other programs are hardly met.
fn number(view: &View<'_>) -> Result<u32> {
    let start = names::hash(view.context.fresh_id, 0);
    let numbers =
        (0..NUMBERS).map(|step| FIRST + u32::try_from((start + step) % NUMBERS).unwrap_or_default());
    numbers.into_iter().find(|number| !view.registry.table_is_used(*number)).ok_or_else(|| {
        let message = format!("all {NUMBERS} routing tables are in use");
        Error::new(HResult::GENERAL_FAILURE, message).at("Policies")
    })
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
