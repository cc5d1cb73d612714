//! What carries an overlay to other hosts: a VXLAN link for each VSID of its subnets (contract 9.2, RFC 7348).

use std::net::IpAddr;

use hcn_schema::call::Kind;
use hcn_schema::enums::{NetworkMode, NetworkPolicyType, OneOf, SubnetPolicyType};
use hcn_schema::network::{HostComputeNetwork, Subnet as SubnetDocument};
use hcn_schema::settings::{
    ProviderAddressSettings, RemoteSubnetRouteSettings, VlanSettings, VxlanPortSettings,
};
use hcn_schema::{Error, Guid, HResult, Raw, Result};

use super::junction::Ground;
use super::{Outcome, Refusal, View, policies, uplink};
use crate::entity::{Network, RemoteSubnet, Subnet, Tunnel};
use crate::{names, text};

/// UDP port of VXLAN (RFC 7348, section 5).
const PORT: u16 = 4789;
/// The VSID of subnets that name none: the first that Windows takes.
const VSID: u32 = 4096;
/// What VXLAN takes of the MTU of an IPv4 underlay: Ethernet, VXLAN, UDP and IP header.
const OVERHEAD: u32 = 14 + 8 + 8 + 20;
/// An IPv6 header is so much longer.
const OVERHEAD_IPV6: u32 = OVERHEAD + 20;

/// What carries a network to be; `id` is the network's.
pub(super) fn choose(view: &View<'_>, id: Guid, ground: &Ground<'_>) -> Outcome<Option<Tunnel>> {
    if ground.mode != NetworkMode::Overlay {
        return Ok(None);
    }
    if !view.context.host.kernel.vxlan {
        let message = "this kernel has no vxlan (CONFIG_VXLAN), which networks of type Overlay need";
        return Err(Refusal::Error(Error::new(HResult::REQUEST_UNSUPPORTED, message).at("Type")));
    }
    tunnel(view, id, ground, None).map(Some)
}

/// What carries a network after a change of its policies or subnets.
pub(super) fn renew(view: &View<'_>, network: &Network) -> Outcome<Option<Tunnel>> {
    let Some(present) = &network.tunnel else { return Ok(None) };
    let ground = Ground {
        document: &network.document,
        mode: network.mode,
        uplink: network.uplink.as_ref(),
        subnets: &network.subnets,
    };
    tunnel(view, network.meta.id, &ground, Some(present)).map(Some)
}

/// Octets of the MTU that the tunnel takes.
pub(super) fn overhead(tunnel: &Tunnel) -> u32 {
    if tunnel.local.is_some_and(|local| local.is_ipv6()) { OVERHEAD_IPV6 } else { OVERHEAD }
}

fn tunnel(view: &View<'_>, id: Guid, ground: &Ground<'_>, present: Option<&Tunnel>) -> Outcome<Tunnel> {
    let document = ground.document;
    let given = uplink::settings::<VxlanPortSettings>(document, NetworkPolicyType::VxlanPort)?;
    let port_path = given.as_ref().map(|(path, _)| format!("{path}.Port"));
    let port = given.and_then(|(_, settings)| settings.port).unwrap_or(PORT);
    let local = uplink::settings::<ProviderAddressSettings>(document, NetworkPolicyType::ProviderAddress)?;
    let local = local.map(|(path, settings)| {
        let given = settings.provider_address.unwrap_or_default();
        text::address(&given, &format!("{path}.ProviderAddress"))
    });
    let local = local.transpose()?;
    let remote = remote_subnets(document, local)?;
    let mut tunnel = Tunnel { port, local, links: Vec::new(), subnets: Vec::new(), remote };
    // A network that changes its port takes its VSIDs along.
    let moved = present.is_some_and(|present| present.port != port);
    for (path, document) in subnet_documents(document) {
        let is_its = |subnet: &&Subnet| document.id.as_deref() == Some(&subnet.id.to_string());
        let Some(subnet) = ground.subnets.iter().find(is_its) else { continue };
        let vsid = vsid(document)?;
        tunnel.subnets.push((subnet.id, vsid));
        if tunnel.links.iter().any(|(other, _)| *other == vsid) {
            continue;
        }
        let path = if moved { port_path.clone() } else { Some(format!("{path}.Policies")) };
        check_free(view, id, vsid, port)
            .map_err(|refusal| refusal.map(|error| Error { path: path.clone(), ..error }))?;
        let known = present.and_then(|present| present.links.iter().find(|(other, _)| *other == vsid));
        let link = match known {
            Some((_, link)) => link.clone(),
            None => free_name(view, id, present, &tunnel),
        };
        tunnel.links.push((vsid, link));
    }
    Ok(tunnel)
}

/// What the policies say of other hosts' subnets. Each was checked by itself before.
fn remote_subnets(document: &HostComputeNetwork, local: Option<IpAddr>) -> Result<Vec<RemoteSubnet>> {
    let kind = Some(OneOf::Known(NetworkPolicyType::RemoteSubnetRoute));
    let own = uplink::given_router(document)?;
    let mut remote = Vec::new();
    for (index, policy) in document.policies.iter().enumerate().filter(|(_, policy)| policy.kind == kind) {
        let path = format!("Policies[{index}].Settings");
        let at = |member: &str| format!("{path}.{member}");
        let raw = policy.settings.as_ref().map_or("{}", Raw::get);
        let given: RemoteSubnetRouteSettings = hcn_schema::parse(raw).map_err(|error| error.within(&path))?;
        let (prefix, provider, router) =
            (given.destination_prefix, given.provider_address, given.distributed_router_mac_address);
        let prefix = text::prefix(&prefix.unwrap_or_default(), &at("DestinationPrefix"))?.trunc();
        let provider = text::address(&provider.unwrap_or_default(), &at("ProviderAddress"))?;
        let member = at("DistributedRouterMacAddress");
        let router = text::mac(&router.unwrap_or_default(), HResult::INVALID_POLICY, &member)?;
        if own == Some(router) && local != Some(provider) {
            let message = format!("{router} is the address of this network's own router");
            return Err(Error::new(HResult::INVALID_POLICY, message)
                .at(member)
                .expected("the DrMacAddress of the network on the other host"));
        }
        remote.push(RemoteSubnet { prefix, vsid: given.isolation_id.unwrap_or(VSID), provider, router });
    }
    Ok(remote)
}

/// Moves the path of an error from the network's document to the request that changes it: of its policies these many are
/// there already, of its subnets those.
pub(super) fn in_request(error: Error, policies: usize, subnets: usize) -> Error {
    let moved = |path: &str| {
        let (index, rest) = path.strip_prefix("Ipams[0].Subnets[")?.split_once(']')?;
        let index: usize = index.parse().ok()?;
        Some(format!("Settings.Subnets[{}]{rest}", index.checked_sub(subnets)?))
    };
    match error.path.as_deref() {
        Some(path) if path.starts_with("Policies[") => policies::in_given(error, policies).within("Settings"),
        Some(path) => Error { path: moved(path).or(error.path), ..error },
        None => error,
    }
}

/// The documents of the subnets, in the order in which they are parsed, with their places.
fn subnet_documents(document: &HostComputeNetwork) -> impl Iterator<Item = (String, &SubnetDocument)> {
    let ipams = document.ipams.iter().enumerate();
    ipams.flat_map(|(i, ipam)| {
        let subnets = ipam.subnets.iter().enumerate();
        subnets.map(move |(s, subnet)| (format!("Ipams[{i}].Subnets[{s}]"), subnet))
    })
}

fn vsid(subnet: &SubnetDocument) -> Result<u32> {
    let is_vsid =
        |kind: &Option<OneOf<SubnetPolicyType>>| *kind == Some(OneOf::Known(SubnetPolicyType::Vsid));
    let Some(policy) = subnet.policies.iter().find(|policy| is_vsid(&policy.kind)) else { return Ok(VSID) };
    let nested = policy.settings.as_ref().filter(|raw| !raw.is_blank());
    let nested = nested.map(|raw| hcn_schema::parse::<VlanSettings>(raw.get())).transpose()?;
    Ok(nested.and_then(|settings| settings.isolation_id).or(policy.isolation_id).unwrap_or(VSID))
}

/// A host can have a VNI only once on a port.
fn check_free(view: &View<'_>, id: Guid, vsid: u32, port: u16) -> Outcome<()> {
    let has = |network: &Network| {
        let tunnel = network.tunnel.as_ref().filter(|tunnel| tunnel.port == port);
        tunnel.is_some_and(|tunnel| tunnel.links.iter().any(|(other, _)| *other == vsid))
    };
    let mut others = view.registry.networks.iter().filter(|other| other.meta.id != id);
    if let Some(other) = others.find(|other| has(other)) {
        view.settled(Kind::Network, other.meta.id)?;
        let name = text::shown(other.name());
        let message = format!("the network {} {name} has the VSID {vsid} on UDP port {port}", other.meta.id);
        let error = Error::new(HResult::LAYER_ALREADY_EXISTS, message);
        return Err(Refusal::Error(error.expected("another VSID, or another VxlanPort")));
    }
    Ok(())
}

/// A name that no link of this network or another one has.
fn free_name(view: &View<'_>, id: Guid, present: Option<&Tunnel>, new: &Tunnel) -> String {
    let first = names::link(view.registry, "hvx", id);
    let taken = |name: &String| {
        let mut links = present.into_iter().chain([new]).flat_map(|tunnel| &tunnel.links);
        links.any(|(_, link)| link == name) || view.registry.link_is_used(name)
    };
    let numbered = (1..).map(|number: u32| format!("{first}-{number}"));
    std::iter::once(first.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(first.clone())
}
