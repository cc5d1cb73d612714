//! Changing the members of networks and endpoints that a request gives, and that can change.

use std::sync::Arc;

use hcn_schema::call::Reference;
use hcn_schema::dns::Dns;
use hcn_schema::enums::{EndpointFlags, ModifyRequestType};
use hcn_schema::modify::Extension;
use hcn_schema::v1::{HnsEndpoint, HnsNetwork};
use hcn_schema::{Error, Guid, HResult, Raw, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::decide::{Decision, Outcome, View, endpoint, network, policies, same_id, tunnel};
use crate::entity::{Endpoint, Entity, Meta, Namespace, Network};
use crate::{text, v1};

/// Where version 2 has the policies of a request.
const IN_REQUEST: &str = "Settings.Policies";

/// Extensions, DNS, and policies, which replace those of their types.
pub(super) fn network(view: &View<'_>, target: Reference, given: &str) -> Outcome<Decision> {
    let network = Arc::clone(view.network(target)?);
    let given: HnsNetwork = hcn_schema::parse(given)?;
    same_id(given.id.as_deref(), network.meta.id)?;
    check_network(&network, &given)?;
    let mut new = Network::clone(&network);
    let mut kept = 0;
    let mut flats = Vec::new();
    for (index, extension) in given.extensions.iter().enumerate() {
        let request = Extension { id: extension.id.clone(), is_enabled: extension.is_enabled };
        network::set_extension(&mut new, &request, &format!("Extensions[{index}]."))?;
    }
    if !given.policies.is_empty() {
        let update = v1::network_update(&network, &given.policies)?;
        let own = |error| v1::own_policy_path(&update.flats, IN_REQUEST, error);
        let changed = policies::modify_network(view, &network, ModifyRequestType::Update, &update.policies)
            .map_err(|refusal| refusal.map(own))?;
        new.flat = v1::flat_after(&network.flat, &changed, &update);
        kept = changed.len().saturating_sub(update.policies.len());
        new.document.policies = changed;
        flats = update.flats;
    }
    set_dns(&mut new.document.dns, [given.dns_server_list, given.dns_suffix, given.dns_domain]);
    network::replaced(view, &network, new).map_err(|refusal| {
        let own = |error| v1::own_policy_path(&flats, IN_REQUEST, tunnel::in_request(error, kept, 0));
        refusal.map(own)
    })
}

/// Refuses members that say something else than what is and cannot change. Clients send back whole documents.
fn check_network(network: &Network, given: &HnsNetwork) -> Result<()> {
    let document = &network.document;
    let prefixes = given.subnets.iter().map(|subnet| subnet.address_prefix.as_deref());
    let present = document.ipams.iter().flat_map(|ipam| &ipam.subnets);
    let same_subnets = prefixes.eq(present.map(|subnet| subnet.ip_address_prefix.as_deref()));
    let checks = [
        ("Name", given.name.is_none() || given.name == document.name),
        ("Type", given.kind.as_ref().is_none_or(|kind| kind.known() == Some(network.mode))),
        ("Flags", given.flags.is_empty() || given.flags == document.flags),
        ("Subnets", given.subnets.is_empty() || same_subnets),
    ];
    unchanged(&checks)
}

fn unchanged(checks: &[(&str, bool)]) -> Result<()> {
    match checks.iter().find(|(_, same)| !same) {
        Some((member, _)) => {
            let message = format!("{member} cannot be changed");
            Err(Error::new(HResult::REQUEST_UNSUPPORTED, message).at(*member).expected("the value that is"))
        }
        None => Ok(()),
    }
}

/// Sets what is given: servers, search list, domain. Says whether anything changed.
fn set_dns(dns: &mut Option<Dns>, given: [Option<String>; 3]) -> bool {
    let [servers, suffix, domain] = given;
    let mut new = dns.clone().unwrap_or_default();
    if let Some(servers) = servers {
        new.server_list = v1::words(Some(&servers));
    }
    if let Some(suffix) = suffix {
        new.search = v1::words(Some(&suffix));
    }
    new.domain = domain.or(new.domain);
    let new = Some(new).filter(|new| *new != Dns::default());
    let changed = *dns != new;
    *dns = new;
    changed
}

#[derive(Deserialize)]
struct Probe {
    #[serde(rename = "Policies")]
    policies: Option<IgnoredAny>,
}

/// Policies, which replace those of their types, ACLs and tiers together; DNS; flags.
pub(super) fn endpoint(view: &View<'_>, target: Reference, given: &str) -> Outcome<Decision> {
    let endpoint = Arc::clone(view.endpoint(target)?);
    // An empty list takes the rules away; a list that is not there leaves them.
    let names_policies = hcn_schema::parse::<Probe>(given)?.policies.is_some();
    let given: HnsEndpoint = hcn_schema::parse(given)?;
    same_id(given.id.as_deref(), endpoint.meta.id)?;
    check_endpoint(&endpoint, &given)?;
    let mut new = Endpoint::clone(&endpoint);
    let dns_changed = set_dns(
        &mut new.document.dns,
        [given.dns_server_list.clone(), given.dns_suffix.clone(), given.dns_domain.clone()],
    );
    // From now on it has its own.
    new.network_dns &= !dns_changed;
    new.document.flags = flags(&endpoint, &given);
    let mut decision = if given.policies.is_empty() && !names_policies {
        endpoint::replaced(view, &endpoint, new)
    } else {
        with_policies(view, &endpoint, new, &given.policies)?
    };
    // What resolvers are asked for belongs to the namespace.
    if let Some(id) = endpoint.namespace.filter(|_| dns_changed) {
        let namespace = view.namespace(Reference { id, incarnation: None })?;
        let meta = Meta::next(&namespace.meta, view.context.filetime);
        let after = Namespace { meta, ..Namespace::clone(namespace) };
        let before = Entity::Namespace(Arc::clone(namespace));
        decision.change.replace(before, Entity::Namespace(Arc::new(after)));
    }
    Ok(decision)
}

fn with_policies(
    view: &View<'_>,
    endpoint: &Arc<Endpoint>,
    mut new: Endpoint,
    flats: &[Raw],
) -> Outcome<Decision> {
    let network = view.network(Reference { id: endpoint.network, incarnation: None })?;
    let update = v1::endpoint_update(flats)?;
    let own = |error| v1::own_policy_path(&update.flats, IN_REQUEST, error);
    let changed =
        policies::modify_endpoint(view, network, endpoint, ModifyRequestType::Update, &update.policies)
            .map_err(|refusal| refusal.map(own))?;
    let kept = changed.len().saturating_sub(update.policies.len());
    new.flat = v1::flat_after(&endpoint.flat, &changed, &update);
    let cursors = endpoint::set_policies(view, &mut new, changed, "Policies")
        .map_err(|refusal| refusal.map(|error| own(policies::in_given(error, kept).within("Settings"))))?;
    let mut decision = endpoint::replaced(view, endpoint, new);
    decision.cursors = cursors;
    Ok(decision)
}

/// Refuses members that say something else than what is and cannot change. Clients send back whole documents.
fn check_endpoint(endpoint: &Endpoint, given: &HnsEndpoint) -> Result<()> {
    let has_address = |text: &Option<String>| {
        text.as_deref().is_none_or(|text| {
            endpoint.addresses.iter().any(|address| Ok(address.addr()) == text.parse::<std::net::IpAddr>())
        })
    };
    let network = given.virtual_network.as_deref().map(str::parse::<Guid>);
    let mac = given.mac_address.as_deref().map(|mac| text::mac(mac, HResult::INVALID_ENDPOINT, "MacAddress"));
    let checks = [
        ("Name", given.name.is_none() || given.name == endpoint.document.name),
        ("VirtualNetwork", network.is_none_or(|network| network == Ok(endpoint.network))),
        ("IPAddress", has_address(&given.ip_address)),
        ("IPv6Address", has_address(&given.ipv6_address)),
        ("MacAddress", mac.transpose()?.is_none_or(|mac| mac == endpoint.mac)),
        ("IsRemoteEndpoint", given.is_remote_endpoint.is_none_or(|remote| remote == endpoint.remote)),
    ];
    unchanged(&checks)
}

/// The flags that are given, by number or by name; where the endpoint lives stays.
fn flags(endpoint: &Endpoint, given: &HnsEndpoint) -> EndpointFlags {
    let remote = EndpointFlags::REMOTE_ENDPOINT.0;
    let present = endpoint.document.flags.0;
    let numbered =
        if given.flags.is_empty() { present } else { (given.flags.0 & !remote) | (present & remote) };
    let named = [
        (given.disable_icc, EndpointFlags::DISABLE_INTER_COMPUTE_COMMUNICATION),
        (given.enable_low_metric, EndpointFlags::ENABLE_LOW_INTERFACE_METRIC),
        (given.enable_internal_dns, EndpointFlags::OVERRIDE_DNS_SERVER_ORDER),
    ];
    EndpointFlags(named.iter().fold(numbered, |flags, (value, flag)| match value {
        Some(true) => flags | flag.0,
        Some(false) => flags & !flag.0,
        None => flags,
    }))
}
