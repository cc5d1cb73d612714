//! Routing tables of the interfaces of a namespace that has several: what is sent from the addresses of one leaves by it, as
//! on Windows, where hosts are strong ones (RFC 1122, 3.3.4.2). So published ports and services are answered from where they
//! were asked.

use std::collections::BTreeSet;

use hcn_dataplane::{Address, Family, LinkId, Object, Origin};

use crate::entity::Endpoint;

/// The number of the first interface's table, if it had one.
const TABLE: u32 = 0x6800;

/// Of an endpoint with these addresses and routes. The routes of the first interface win over those of the others: it needs
/// none.
pub(super) fn of_endpoint(endpoint: &Endpoint, link: &LinkId, objects: &[Object]) -> Vec<Object> {
    if endpoint.rank() == 0 {
        return Vec::new();
    }
    let table = TABLE + endpoint.rank();
    let of_family = |family: Family| {
        let (mut addresses, mut routes, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for object in objects {
            match object {
                Object::Address(Address { address, prefix_route, .. }) => {
                    addresses.push(address.addr());
                    routes.extend(prefix_route.then_some((address.trunc(), None)));
                }
                Object::Route(route) => others.push(route),
                _ => {}
            }
        }
        others.sort_by_key(|route| route.metric);
        routes.extend(others.iter().map(|route| (route.destination, route.gateway)));
        addresses.retain(|address| Family::of(*address) == family);
        routes.retain(|(destination, _)| Family::of(destination.addr()) == family);
        // The same destination twice, by another metric, is one way here: the one that wins.
        let mut known = BTreeSet::new();
        routes.retain(|(destination, _)| known.insert(*destination));
        let there = !addresses.is_empty() && !routes.is_empty();
        let link = link.clone();
        there.then_some(Object::Origin(Origin { link, family, table, addresses, routes }))
    };
    [Family::V4, Family::V6].into_iter().filter_map(of_family).collect()
}
