//! Networks in version 1.

use hcn_schema::base::Version;
use hcn_schema::enums::{IpamType, NetworkFlags, NetworkMode, NetworkPolicyType, OneOf, SubnetPolicyType};
use hcn_schema::network::{HostComputeNetwork, IpSubnet, Ipam, MacPool, Subnet as SubnetDocument};
use hcn_schema::policy::{NetworkPolicy, Policy, SubnetPolicy};
use hcn_schema::settings::{
    AutomaticDnsSettings, DrMacAddressSettings, LayerConstraintSettings, NetAdapterNameSettings,
    ProviderAddressSettings, SourceMacAddressSettings, VSwitchExtensionSettings, VlanSettings,
};
use hcn_schema::v1::{HnsExtension, HnsIpSubnet, HnsNetwork, HnsSubnet};
use hcn_schema::{Error, Guid, HResult, Raw, Result};

use super::policies::{check, isolates, read_list, write_list};
use super::{Origins, Read, Update, Versioned, add_member, settings_of, text_in};
use crate::entity::{Network, Subnet, leads_outside};
use crate::registry::Registry;

/// Policies that version 1 has members of the document for.
const MEMBERS: [NetworkPolicyType; 8] = [
    NetworkPolicyType::NetAdapterName,
    NetworkPolicyType::SourceMacAddress,
    NetworkPolicyType::ProviderAddress,
    NetworkPolicyType::DrMacAddress,
    NetworkPolicyType::LayerConstraint,
    NetworkPolicyType::AutomaticDns,
    NetworkPolicyType::InterfaceConstraint,
    NetworkPolicyType::VSwitchExtension,
];

/// By which clients ask for a subnet of the service's choice, and for none where addresses come from outside.
const ANY: &str = "0.0.0.0/0";

const SUBNET: u8 = 5;
const IP_SUBNET: u8 = 6;

impl Versioned for HostComputeNetwork {
    fn from_v1(text: &str, _: &Registry) -> Result<Read<Self>> {
        let given: HnsNetwork = hcn_schema::parse(text)?;
        let mut origins = Origins::default();
        let dns = super::dns(
            given.dns_server_list.as_deref(),
            given.dns_suffix.as_deref(),
            given.dns_domain.as_deref(),
            &mut origins,
        );
        let (policies, flat, isolation) = policies(&given, &mut origins)?;
        let flags = if given.isolate_switch.unwrap_or_default() {
            NetworkFlags(given.flags.0 | NetworkFlags::ISOLATE_VSWITCH.0)
        } else {
            given.flags
        };
        origins.branch("MacPool.Ranges", "MacPools");
        origins.leaf("MacPool", "MacPools");
        let document = Self {
            id: given.id,
            owner: given.owner,
            name: given.name,
            additional_params: given.additional_params,
            policies,
            mac_pool: (!given.mac_pools.is_empty()).then_some(MacPool { ranges: given.mac_pools }),
            dns,
            ipams: ipams(given.subnets, given.kind.as_ref(), &isolation, &mut origins)?,
            kind: given.kind,
            flags,
            ..Self::default()
        };
        Ok(Read { document, flat, origins })
    }
}

/// The network's policies, the flat ones that are kept, and what the flat ones say of all its subnets.
fn policies(
    given: &HnsNetwork,
    origins: &mut Origins,
) -> Result<(Vec<NetworkPolicy>, Vec<Raw>, Vec<SubnetPolicy>)> {
    check(&given.policies)?;
    let (isolating, others): (Vec<_>, Vec<_>) =
        given.policies.iter().cloned().enumerate().partition(|(_, flat)| isolates(flat));
    for (v2, (v1, flat)) in others.iter().enumerate() {
        origins.policy(&format!("Policies[{v2}]"), format!("Policies[{v1}]"), flat);
    }
    let others: Vec<Raw> = others.into_iter().map(|(_, flat)| flat).collect();
    let isolating: Vec<Raw> = isolating.into_iter().map(|(_, flat)| flat).collect();
    let (mut policies, kept) = read_list(&others, &MEMBERS);
    for (kind, settings, member) in members(given) {
        add_member(&mut policies, kind, settings, member, origins);
    }
    for (index, extension) in given.extensions.iter().enumerate() {
        let settings =
            VSwitchExtensionSettings { extension_id: extension.id.clone(), enable: extension.is_enabled };
        let at = format!("Policies[{}]", policies.len());
        origins.leaf(format!("{at}.Settings.ExtensionID"), format!("Extensions[{index}].Id"));
        origins.branch(at, format!("Extensions[{index}]"));
        policies.push(Policy {
            kind: Some(OneOf::Known(NetworkPolicyType::VSwitchExtension)),
            settings: Some(Raw::of(&settings)),
        });
    }
    let isolation = isolating.iter().map(subnet_policy).collect();
    Ok((policies, isolating.into_iter().chain(kept).collect(), isolation))
}

/// The policies that are members of a version 1 document.
fn members(given: &HnsNetwork) -> [(NetworkPolicyType, Option<Raw>, &'static str); 7] {
    let adapter = given
        .network_adapter_name
        .as_ref()
        .map(|name| Raw::of(&NetAdapterNameSettings { network_adapter_name: Some(name.clone()) }));
    let source = given
        .source_mac
        .as_ref()
        .map(|address| Raw::of(&SourceMacAddressSettings { source_mac_address: Some(address.clone()) }));
    // Clients give it with or without a prefix length. Where the uplink is named it says nothing more.
    let outside = given.kind.as_ref().and_then(OneOf::known).is_some_and(leads_outside) && adapter.is_none();
    let management = given.management_ip.as_deref().filter(|_| outside).map(|address| {
        let address = address.split_once('/').map_or(address, |(address, _)| address);
        Raw::of(&ProviderAddressSettings { provider_address: Some(address.to_owned()) })
    });
    let router = given
        .dr_mac_address
        .as_ref()
        .map(|address| Raw::of(&DrMacAddressSettings { address: Some(address.clone()) }));
    let layer =
        given.layer_id.as_ref().map(|id| Raw::of(&LayerConstraintSettings { layer_id: Some(id.clone()) }));
    let automatic = given.automatic_dns.map(|enable| Raw::of(&AutomaticDnsSettings { enable: Some(enable) }));
    [
        (NetworkPolicyType::NetAdapterName, adapter, "NetworkAdapterName"),
        (NetworkPolicyType::SourceMacAddress, source, "SourceMac"),
        (NetworkPolicyType::ProviderAddress, management, "ManagementIP"),
        (NetworkPolicyType::DrMacAddress, router, "DrMacAddress"),
        (NetworkPolicyType::LayerConstraint, layer, "LayerId"),
        (NetworkPolicyType::AutomaticDns, automatic, "AutomaticDNS"),
        (NetworkPolicyType::InterfaceConstraint, given.interface_constraint.clone(), "InterfaceConstraint"),
    ]
}

fn subnet_policy(flat: &Raw) -> SubnetPolicy {
    let Policy { kind, settings } = super::policies::read::<SubnetPolicyType>(flat);
    SubnetPolicy { kind, settings, isolation_id: None }
}

fn ipams(
    given: Vec<HnsSubnet>,
    kind: Option<&OneOf<NetworkMode>>,
    isolation: &[SubnetPolicy],
    origins: &mut Origins,
) -> Result<Vec<Ipam>> {
    origins.branch("Ipams", "Subnets");
    // Docker names the prefix of all addresses where a DHCP server outside is to give them.
    let outside = kind.and_then(OneOf::known).is_some_and(leads_outside);
    if outside && given.iter().any(|subnet| subnet.address_prefix.as_deref() == Some(ANY)) {
        return Ok(vec![Ipam { kind: Some(IpamType::Dhcp), subnets: Vec::new() }]);
    }
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let subnets = given
        .into_iter()
        .enumerate()
        .map(|(index, given)| subnet(given, index, isolation, origins))
        .collect::<Result<_>>()?;
    Ok(vec![Ipam { kind: Some(IpamType::Static), subnets }])
}

fn subnet(
    given: HnsSubnet,
    index: usize,
    isolation: &[SubnetPolicy],
    origins: &mut Origins,
) -> Result<SubnetDocument> {
    let (v2, v1) = (format!("Ipams[0].Subnets[{index}]"), format!("Subnets[{index}]"));
    check(&given.policies).map_err(|error| error.within(&v1))?;
    origins.branch(&v2, &v1);
    origins.leaf(format!("{v2}.IpAddressPrefix"), format!("{v1}.AddressPrefix"));
    origins.leaf(format!("{v2}.Routes"), format!("{v1}.GatewayAddress"));
    for (index, flat) in given.policies.iter().enumerate() {
        origins.policy(&format!("{v2}.Policies[{index}]"), format!("{v1}.Policies[{index}]"), flat);
    }
    let mut policies: Vec<SubnetPolicy> = given.policies.iter().map(subnet_policy).collect();
    for policy in isolation {
        if policies.iter().all(|other| other.kind != policy.kind) {
            policies.push(policy.clone());
        }
    }
    let gateway = given.gateway_address.filter(|gateway| gateway != "0.0.0.0" && gateway != "::");
    let parts = given.ip_subnets.into_iter().map(|part| IpSubnet {
        id: part.id,
        ip_address_prefix: part.ip_address_prefix,
        flags: part.flags,
        ..IpSubnet::default()
    });
    let parts: Vec<IpSubnet> = parts.collect();
    Ok(SubnetDocument {
        id: given.id,
        additional_params: given.additional_params,
        ip_address_prefix: given
            .address_prefix
            .or_else(|| parts.first().and_then(|part| part.ip_address_prefix.clone())),
        policies,
        routes: gateway.map(super::endpoint::default_route).into_iter().collect(),
        ip_subnets: parts,
        flags: given.flags,
        ..SubnetDocument::default()
    })
}

pub(super) fn write(registry: &Registry, network: &Network, resources: Option<Raw>) -> Raw {
    let document = &network.document;
    let dns = document.dns.clone().unwrap_or_default();
    let outside = network.uplink.as_ref().filter(|_| leads_outside(network.mode));
    let adapter = text_in(&document.policies, NetworkPolicyType::NetAdapterName, "NetworkAdapterName");
    let enable = settings_of(&document.policies, NetworkPolicyType::AutomaticDns);
    let enable = enable.and_then(|settings| hcn_schema::parse::<AutomaticDnsSettings>(settings.get()).ok());
    let subnets = document.ipams.iter().flat_map(|ipam| &ipam.subnets);
    Raw::of(&HnsNetwork {
        id: Some(network.meta.id.to_string()),
        owner: document.owner.clone(),
        name: document.name.clone(),
        kind: Some(OneOf::Known(network.mode)),
        subnets: subnets.map(|subnet| write_subnet(network, subnet)).collect(),
        mac_pools: document.mac_pool.as_ref().map(|pool| pool.ranges.clone()).unwrap_or_default(),
        dns_server_list: super::joined(&dns.server_list),
        dns_suffix: super::joined(&dns.search),
        dns_domain: dns.domain,
        network_adapter_name: adapter.or_else(|| outside.map(|uplink| uplink.link.clone())),
        source_mac: text_in(&document.policies, NetworkPolicyType::SourceMacAddress, "SourceMacAddress"),
        layer_id: text_in(&document.policies, NetworkPolicyType::LayerConstraint, "LayerId"),
        management_ip: outside.and_then(|uplink| uplink.address).map(|address| address.addr().to_string()),
        dr_mac_address: text_in(&document.policies, NetworkPolicyType::DrMacAddress, "Address"),
        flags: document.flags,
        isolate_switch: document.flags.has(NetworkFlags::ISOLATE_VSWITCH).then_some(true),
        automatic_dns: enable.and_then(|settings| settings.enable),
        interface_constraint: settings_of(&document.policies, NetworkPolicyType::InterfaceConstraint)
            .cloned(),
        extensions: extensions(network),
        policies: flat_policies(network),
        ipv6: Some(network.has_ipv6()),
        layered_on: network.layer().map(|layer| layer.to_string()),
        switch_guid: Some(network.switch().to_string()),
        switch_name: Some(network.bridge.clone()),
        current_endpoint_count: u32::try_from(registry.endpoint_count(network.meta.id)).ok(),
        additional_params: document.additional_params.clone(),
        resources,
        health: Some(super::health(&network.meta)),
        state: Some(super::state(&network.meta)),
        version: Some(network.meta.revision),
        schema_version: Some(Version::V1),
    })
}

/// The flat policies; first those about all subnets, as the client gave them.
fn flat_policies(network: &Network) -> Vec<Raw> {
    let (mut flats, kept): (Vec<Raw>, Vec<Raw>) = network.flat.iter().cloned().partition(isolates);
    flats.extend(write_list(&network.document.policies, &kept, &MEMBERS));
    flats
}

/// The policies of a request that changes a network. Those about all subnets can only say what is.
pub(crate) fn network_update(network: &Network, flats: &[Raw]) -> Result<Update<NetworkPolicyType>> {
    check(flats)?;
    let differs = |flat: &Raw| isolates(flat) && network.flat.iter().all(|present| !present.same_value(flat));
    if let Some(index) = flats.iter().position(differs) {
        return Err(Error::new(HResult::REQUEST_UNSUPPORTED, "how subnets are isolated cannot be changed")
            .at(format!("Policies[{index}]")));
    }
    let flats: Vec<(usize, Raw)> =
        flats.iter().cloned().enumerate().filter(|(_, flat)| !isolates(flat)).collect();
    let others: Vec<Raw> = flats.iter().map(|(_, flat)| flat.clone()).collect();
    let (policies, kept) = read_list(&others, &MEMBERS);
    let isolating = network.flat.iter().filter(|flat| isolates(flat)).cloned();
    Ok(Update { flats, policies, kept: isolating.chain(kept).collect() })
}

/// The switch extensions that were switched on or off: at the network's creation, and since.
fn extensions(network: &Network) -> Vec<HnsExtension> {
    let is_extension =
        |policy: &&NetworkPolicy| policy.kind == Some(OneOf::Known(NetworkPolicyType::VSwitchExtension));
    let given = network.document.policies.iter().filter(is_extension).filter_map(|policy| {
        let settings: VSwitchExtensionSettings = hcn_schema::parse(policy.settings.as_ref()?.get()).ok()?;
        Some((settings.extension_id?, settings.enable))
    });
    let since = |id: &str| network.extensions.iter().any(|(other, _)| id.parse() == Ok(*other));
    let given = given.filter(|(id, _)| !since(id));
    let later = network.extensions.iter().map(|(id, enabled)| (id.to_string(), Some(*enabled)));
    given.chain(later).map(|(id, is_enabled)| HnsExtension { id: Some(id), is_enabled, name: None }).collect()
}

fn write_subnet(network: &Network, document: &SubnetDocument) -> HnsSubnet {
    let is_meant = |subnet: &&Subnet| document.id.as_deref().map(str::parse::<Guid>) == Some(Ok(subnet.id));
    let parsed = network.subnets.iter().find(is_meant).and_then(|subnet| subnet.gateway);
    let gateway = document.routes.iter().find_map(super::endpoint::default_hop);
    let flats: Vec<Raw> = document.policies.iter().map(write_subnet_policy).collect();
    let part = |part: &IpSubnet| HnsIpSubnet {
        id: part.id.clone(),
        ip_address_prefix: part.ip_address_prefix.clone(),
        flags: part.flags,
        object_type: Some(IP_SUBNET),
    };
    HnsSubnet {
        id: document.id.clone(),
        address_prefix: document.ip_address_prefix.clone(),
        gateway_address: gateway.map(str::to_owned).or_else(|| parsed.map(|gateway| gateway.to_string())),
        policies: flats,
        ip_subnets: document.ip_subnets.iter().map(part).collect(),
        flags: document.flags,
        additional_params: document.additional_params.clone(),
        object_type: Some(SUBNET),
        state: Some(super::state(&network.meta)),
    }
}

fn write_subnet_policy(policy: &SubnetPolicy) -> Raw {
    let flat = policy.isolation_id.map(|id| Raw::of(&VlanSettings { isolation_id: Some(id) }));
    super::policies::write(&Policy { kind: policy.kind.clone(), settings: policy.settings.clone().or(flat) })
}
