//! Which link of the host a network leads out by, and what the service says of it.

use std::net::IpAddr;

use hcn_dataplane::{HostAddress, Mac};
use hcn_schema::call::{Call, Kind, Verb};
use hcn_schema::enums::{NetworkMode, NetworkPolicyType, OneOf};
use hcn_schema::network::HostComputeNetwork;
use hcn_schema::policy::NetworkPolicy;
use hcn_schema::settings::{
    DrMacAddressSettings, InterfaceConstraintSettings, NetAdapterNameSettings, ProviderAddressSettings,
};
use hcn_schema::{Error, Guid, HResult, Raw, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Settings, View};
use crate::entity::{Uplink, leads_outside};
use crate::{names, text};

/// The link that the document asks for, else that of the default route. Types that lead outside by themselves have
/// none, and so has a host without a link that could be one.
pub(super) fn choose(
    view: &View<'_>,
    document: &HostComputeNetwork,
    mode: NetworkMode,
) -> Result<Option<Uplink>> {
    let external = leads_outside(mode);
    let constrained = matches!(mode, NetworkMode::Ics | NetworkMode::ConstrainedIcs);
    if !external && !constrained {
        return Ok(None);
    }
    let host = &view.context.host;
    let named = |link: &str, path: &str| named(view, link, path).map(|name| Some(of_link(view, &name)));
    if external {
        if let Some((path, settings)) =
            settings::<NetAdapterNameSettings>(document, NetworkPolicyType::NetAdapterName)?
        {
            let name = settings.network_adapter_name.unwrap_or_default();
            return named(&name, &format!("{path}.NetworkAdapterName"));
        }
        if let Some((path, settings)) =
            settings::<ProviderAddressSettings>(document, NetworkPolicyType::ProviderAddress)?
        {
            let path = format!("{path}.ProviderAddress");
            let address = text::address(settings.provider_address.as_deref().unwrap_or_default(), &path)?;
            let found = host.addresses.iter().find(|other| other.address.addr() == address);
            let HostAddress { link, address } = found.ok_or_else(|| {
                Error::new(
                    HResult::ADAPTER_NOT_FOUND,
                    format!("no link of the host has the address {address}"),
                )
                .at(path)
                .expected("an address of the host")
            })?;
            return Ok(Some(Uplink { link: link.clone(), address: Some(*address) }));
        }
    }
    if let Some((path, link)) = constraint(document)? {
        return named(&link, &path);
    }
    if external && host.uplink.is_none() && host.addresses.is_empty() {
        let message =
            format!("a network of type {} needs a link of the host that leads outside", mode.name());
        return Err(Error::new(HResult::ADAPTER_NOT_FOUND, message)
            .at("Policies")
            .expected("NetAdapterName"));
    }
    let any = host.uplink.as_deref().or(host.addresses.first().map(|address| address.link.as_str()));
    Ok(any.map(|link| of_link(view, link)))
}

/// The link of the host that documents have this name for, as the administrator says; GUIDs are compared as such.
fn adapter(settings: &Settings, name: &str) -> String {
    let guid: Option<Guid> = name.parse().ok();
    let same = |key: &String| key == name || guid.is_some_and(|guid| key.parse() == Ok(guid));
    let found = settings.adapters.iter().find(|(key, _)| same(key));
    found.map_or(name, |(_, link)| link.as_str()).to_owned()
}

/// The link of the host that a document has this name for, which stands at `path`.
pub(super) fn named(view: &View<'_>, name: &str, path: &str) -> Result<String> {
    let name = adapter(&view.context.settings, name);
    let found = view.context.host.link(&name).map(|found| found.name.clone());
    found.ok_or_else(|| {
        Error::new(HResult::ADAPTER_NOT_FOUND, format!("the host has no link {}", text::shown(&name)))
            .at(path)
            .expected("the name of a link of the host")
    })
}

/// What the policy InterfaceConstraint of a network names.
pub(super) fn constraint(document: &HostComputeNetwork) -> Result<Option<(String, String)>> {
    let kind = OneOf::Known(NetworkPolicyType::InterfaceConstraint);
    let index = document.policies.iter().position(|policy| policy.kind.as_ref() == Some(&kind));
    let Some(index) = index else { return Ok(None) };
    let settings = document.policies[index].settings.as_ref();
    settings.map_or(Ok(None), |raw| constraint_in(raw, &format!("Policies[{index}].Settings")))
}

/// What settings of InterfaceConstraint, which stand at `path`, name: its place, and a name, an index in digits or a GUID.
/// Clients send members that are all zero for none, and PowerShell a bare name.
pub(super) fn constraint_in(raw: &Raw, path: &str) -> Result<Option<(String, String)>> {
    if !raw.get().trim_start().starts_with('{') {
        let bare = serde_json::from_str(raw.get()).ok().filter(|name: &String| !name.is_empty());
        return Ok(bare.map(|name| (path.to_owned(), name)));
    }
    let given: InterfaceConstraintSettings = hcn_schema::parse(raw.get())
        .map_err(|error| Error { code: HResult::INVALID_POLICY, ..error }.within(path))?;
    let index = given.interface_index.filter(|index| *index != 0).map(|index| index.to_string());
    let guid = given.interface_guid.filter(|guid| !is_zero(guid));
    let named =
        [("InterfaceAlias", given.interface_alias), ("InterfaceIndex", index), ("InterfaceGuid", guid)];
    let found =
        named.into_iter().find_map(|(member, name)| Some((member, name.filter(|name| !name.is_empty())?)));
    Ok(found.map(|(member, name)| (format!("{path}.{member}"), name)))
}

fn is_zero(guid: &str) -> bool {
    guid.parse().is_ok_and(|guid: Guid| guid.is_zero())
}

/// The uplink with its first address, an IPv4 one if it has one.
fn of_link(view: &View<'_>, link: &str) -> Uplink {
    // Nobody elsewhere could use an address that means something on the link alone.
    let is_local = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let usable = |address: &&HostAddress| address.link == link && !is_local(&address.address.addr());
    let of_it = || view.context.host.addresses.iter().filter(usable);
    let address = of_it().find(|address| address.address.addr().is_ipv4()).or_else(|| of_it().next());
    Uplink { link: link.to_owned(), address: address.map(|address| address.address) }
}

/// The settings of the first policy of a type, and where they are.
pub(super) fn settings<T: DeserializeOwned>(
    document: &HostComputeNetwork,
    kind: NetworkPolicyType,
) -> Result<Option<(String, T)>> {
    let found = document.policies.iter().position(|policy| policy.kind == Some(OneOf::Known(kind)));
    let Some(index) = found else { return Ok(None) };
    let path = format!("Policies[{index}].Settings");
    let Some(raw) = &document.policies[index].settings else { return Ok(None) };
    // PowerShell sends a bare name for InterfaceConstraint.
    if !raw.get().trim_start().starts_with('{') {
        return Ok(None);
    }
    let settings = hcn_schema::parse(raw.get())
        .map_err(|error| Error { code: HResult::INVALID_POLICY, ..error }.within(&path))?;
    Ok(Some((path, settings)))
}

/// Adds what the service says of an overlay network: its router's MAC address and its provider address (B9).
pub(super) fn fill_policies(
    document: &mut HostComputeNetwork,
    mode: NetworkMode,
    dr_mac: &str,
    uplink: Option<&Uplink>,
) {
    if mode != NetworkMode::Overlay {
        return;
    }
    let mut add = |kind: NetworkPolicyType, settings: Raw| {
        if document.policies.iter().all(|policy| policy.kind != Some(OneOf::Known(kind))) {
            document
                .policies
                .push(NetworkPolicy { kind: Some(OneOf::Known(kind)), settings: Some(settings) });
        }
    };
    let dr_mac = DrMacAddressSettings { address: Some(dr_mac.to_owned()) };
    add(NetworkPolicyType::DrMacAddress, Raw::of(&dr_mac));
    if let Some(address) = uplink.and_then(|uplink| uplink.address) {
        let provider = ProviderAddressSettings { provider_address: Some(address.addr().to_string()) };
        add(NetworkPolicyType::ProviderAddress, Raw::of(&provider));
    }
}

/// The MAC address of the network's bridge. On an overlay it is the distributed router's: the given one, else one that
/// looks like Hyper-V's and is in no range that endpoints get theirs from.
pub(super) fn bridge_mac(
    document: &HostComputeNetwork,
    mode: NetworkMode,
    id: Guid,
    (ranges, uplink): (&[(Mac, Mac)], Option<&Uplink>),
) -> Result<Mac> {
    if mode != NetworkMode::Overlay {
        return Ok(names::bridge_mac(id));
    }
    if let Some(router) = given_router(document)? {
        return Ok(router);
    }
    // Hosts that make a network under the same ID are not one router.
    let place = match uplink.and_then(|uplink| uplink.address).map(|address| address.addr()) {
        Some(IpAddr::V4(address)) => u64::from(u32::from(address)) << 10,
        Some(IpAddr::V6(address)) => (u128::from(address) as u64) << 10,
        None => 0,
    };
    let candidates = (0..1024).map(|salt| names::router_mac(id, place + salt));
    let is_free = |mac: &Mac| ranges.iter().all(|(first, last)| mac < first || last < mac);
    Ok(candidates.into_iter().find(is_free).unwrap_or_else(|| names::bridge_mac(id)))
}

/// The MAC address of an overlay's router that its policies give.
pub(super) fn given_router(document: &HostComputeNetwork) -> Result<Option<Mac>> {
    let given = settings::<DrMacAddressSettings>(document, NetworkPolicyType::DrMacAddress)?;
    let read = |(path, settings): (String, DrMacAddressSettings)| {
        let given = settings.address.unwrap_or_default();
        text::mac(&given, HResult::INVALID_POLICY, &format!("{path}.Address"))
    };
    given.map(read).transpose()
}

/// Whether a decision depends on what the host looks like now: its addresses, routes and links.
pub fn needs_host(call: &Call) -> bool {
    let names_link = |document: &str| document.contains("InterfaceConstraint");
    match (call.kind, &call.verb) {
        (Kind::Network, Verb::Create { .. } | Verb::Modify { .. } | Verb::Act { .. }) => true,
        (Kind::Endpoint, _) => given(call).is_some_and(names_link),
        _ => false,
    }
}

/// The document of a changing call.
fn given(call: &Call) -> Option<&str> {
    match &call.verb {
        Verb::Create { document, .. } | Verb::Modify { document, .. } | Verb::Act { document, .. } => {
            document.as_deref()
        }
        _ => None,
    }
}

/// The links of the host that the document of a call names, in either version: by name, or by index in digits.
pub fn named_links(call: &Call, settings: &Settings) -> Vec<String> {
    let about_links = match (call.kind, &call.verb) {
        (Kind::Network, Verb::Create { .. } | Verb::Modify { .. } | Verb::Act { .. }) => true,
        (Kind::Endpoint, _) => needs_host(call),
        _ => false,
    };
    let Some(document) = given(call).filter(|_| about_links) else { return Vec::new() };
    // Whatever does not read is refused later.
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let [whole, request] = [&document["Policies"], &document["Settings"]["Policies"]];
    let lists = [whole, request].into_iter().filter_map(Value::as_array);
    let policies = lists.flatten();
    let constraints =
        policies.clone().map(|policy| &policy["Settings"]).chain([&document["InterfaceConstraint"]]);
    let members = constraints.flat_map(|settings| {
        // A bare name is its own.
        [settings, &settings["InterfaceAlias"], &settings["InterfaceIndex"], &settings["InterfaceGuid"]]
    });
    let adapters = policies.map(|policy| &policy["Settings"]["NetworkAdapterName"]);
    let places = members.chain(adapters).chain([&document["NetworkAdapterName"]]);
    let named = places.filter_map(|place| match place {
        Value::String(name) => Some(adapter(settings, name)),
        Value::Number(index) => Some(index.to_string()),
        _ => None,
    });
    named.collect()
}
