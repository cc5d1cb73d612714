//! Where the rules of an object are, in the words of `nft list`: for people who look for them.

use hcn_dataplane::{Frontend, HostSide, Netns, Object, Site, Ways};

use super::{TABLE, filters, interception, maps, preserving, translation};

/// The table, and the chain or the set that an object's rules are in; `incoming`: those about packets to the endpoint.
/// None for what is not in nftables.
pub fn rules_of(object: &Object, incoming: bool) -> Option<String> {
    let inside = |netns: &Netns| match netns {
        Netns::Host => String::new(),
        Netns::Named(name) => format!(" in netns {name}"),
    };
    Some(match object {
        Object::Filter(filter) => {
            let chain = filters::Layout::chain(filter, incoming);
            let place = match &filter.site {
                Site::Link(link) => inside(&link.netns),
                Site::Bridge(_) | Site::Host(_) => String::new(),
            };
            format!("inet {} chain {chain}{place}", filters::TABLE)
        }
        Object::Outbound(outbound) => {
            format!("inet {} chain {}", translation::TABLE, translation::outbound(&outbound.port))
        }
        Object::Diversion(diversion) => {
            format!("inet {} chain {}", translation::TABLE, translation::diverted(&diversion.port))
        }
        Object::Interception(interception) => {
            let chain = interception::chain_of(&interception.link.name, !incoming);
            format!("inet {} chain {chain}{}", interception::TABLE, inside(&interception.link.netns))
        }
        Object::Service(service) => {
            let Frontend { address, family, .. } = service.frontend;
            let set = if address.is_some() { maps::VIPS } else { maps::PORTS };
            let number = if family == hcn_dataplane::Family::V4 { 4 } else { 6 };
            format!("inet {TABLE} map {set}{number}")
        }
        Object::Masquerade(masquerade) => {
            let set = if masquerade.prefix.addr().is_ipv4() {
                super::MASQUERADED_V4
            } else {
                super::MASQUERADED_V6
            };
            format!("inet {TABLE} set {set}")
        }
        Object::Preserved(_) => format!("bridge {} map sent4, sent6", preserving::TABLE),
        Object::Barrier(barrier) => {
            let ways = (barrier.ways != Ways::Open).then_some(maps::CLOSED);
            let host = match (&barrier.host, &barrier.ways) {
                (HostSide::Open, _) => None,
                (HostSide::Closed, Ways::Closed) => Some(maps::SEALED),
                (HostSide::Closed | HostSide::Only(_), _) => Some(maps::WALLED),
            };
            let sets: Vec<&str> = ways.into_iter().chain(host).collect();
            format!("inet {TABLE} set {}", sets.join(", "))
        }
        _ => return None,
    })
}
