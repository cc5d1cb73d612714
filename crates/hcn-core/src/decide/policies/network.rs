//! Policies of networks: what each type demands, and how requests change the list (contract 2.12, 2.13).

use std::collections::HashMap;

use hcn_schema::enums::{NetworkMode, NetworkPolicyType};
use hcn_schema::hns::HnsVersion;
use hcn_schema::policy::NetworkPolicy;
use hcn_schema::settings::{
    AutomaticDnsSettings, DrMacAddressSettings, HostRouteSettings, LayerConstraintSettings,
    NeighborDiscoverySettings, NetAdapterNameSettings, RemoteSubnetRouteSettings, SourceMacAddressSettings,
    VxlanPortSettings,
};
use hcn_schema::{Error, HResult, Raw, Result};

use super::meanings::Meanings;
use super::sets::{self, Sets};
use super::{Kind, check_kind, in_request, in_settings, proxies, rules, settings, underlay, words};
use crate::text;

impl Kind for NetworkPolicyType {
    fn second(self) -> Option<HResult> {
        match self {
            Self::SourceMacAddress
            | Self::NetAdapterName
            | Self::InterfaceConstraint
            | Self::ProviderAddress
            | Self::DrMacAddress
            | Self::AutomaticDns
            | Self::VxlanPort
            | Self::HostRoute
            | Self::LayerConstraint => Some(HResult::POLICY_ALREADY_EXISTS),
            Self::VSwitchExtension
            | Self::RemoteSubnetRoute
            | Self::SetPolicy
            | Self::L4Proxy
            | Self::NetworkAcl
            | Self::NeighborDiscovery => None,
        }
    }
}

/// The policies of a network while a request is gone through.
pub(super) struct Policies {
    hns: HnsVersion,
    mode: NetworkMode,
    /// One that is taken out leaves a gap, so that the others keep their places.
    list: Vec<Option<NetworkPolicy>>,
    sets: Sets,
}

impl Policies {
    /// Those that are there before.
    pub(super) fn new(hns: HnsVersion, mode: NetworkMode, present: &[NetworkPolicy]) -> Self {
        Self { hns, mode, list: present.iter().cloned().map(Some).collect(), sets: Sets::of(present) }
    }

    /// Those that are there now.
    pub(super) fn into_list(self) -> Vec<NetworkPolicy> {
        self.list.into_iter().flatten().collect()
    }

    /// Appends a policy.
    pub(super) fn add(&mut self, policy: &NetworkPolicy) -> Result<()> {
        let kind = check_kind(self.hns, policy, self.list.iter().flatten())?;
        self.check_mode(kind)?;
        let raw = policy.settings.as_ref();
        let checked = match kind {
            NetworkPolicyType::SetPolicy => self.sets.add(self.hns, raw, self.list.len()),
            other => self.check(other, raw),
        };
        checked.map_err(in_settings)?;
        self.list.push(Some(policy.clone()));
        Ok(())
    }

    /// Takes out the policies of the types that a request gives, and appends those that it gives; a set takes the place of
    /// the one with its Id.
    pub(super) fn update(&mut self, given: &[NetworkPolicy]) -> Result<()> {
        let is_named = |policy: &NetworkPolicy| given.iter().any(|new| new.kind == policy.kind);
        for place in &mut self.list {
            *place = place.take().filter(|policy| sets::is_set(policy) || !is_named(policy));
        }
        for (index, policy) in given.iter().enumerate() {
            let done = if sets::is_set(policy) { self.update_set(policy) } else { self.add(policy) };
            done.map_err(in_request(index))?;
        }
        Ok(())
    }

    fn update_set(&mut self, policy: &NetworkPolicy) -> Result<()> {
        check_kind(self.hns, policy, std::iter::empty())?;
        let index = self.sets.update(self.hns, policy.settings.as_ref()).map_err(in_settings)?;
        self.list[index] = Some(policy.clone());
        Ok(())
    }

    /// Takes out one policy for each that a request gives: a set by its Id, another one by its value. Answers the sets, each
    /// with the place of its policy in the request.
    pub(super) fn remove(&mut self, given: &[NetworkPolicy]) -> Result<HashMap<String, usize>> {
        let mut sets = HashMap::new();
        let mut gone = Vec::new();
        let mut present = Meanings::of(self.list.iter().flatten());
        for (index, policy) in given.iter().enumerate() {
            check_kind(self.hns, policy, std::iter::empty()).map_err(in_request(index))?;
            if sets::is_set(policy) {
                let removed = self.sets.remove(policy.settings.as_ref()).map_err(in_settings);
                let (id, place) = removed.map_err(in_request(index))?;
                sets.insert(id, index);
                gone.push(place);
            } else {
                gone.push(present.take(policy).map_err(in_request(index))?);
            }
        }
        for place in gone {
            self.list[place] = None;
        }
        Ok(sets)
    }

    fn check_mode(&self, kind: NetworkPolicyType) -> Result<()> {
        let overlay = matches!(
            kind,
            NetworkPolicyType::RemoteSubnetRoute
                | NetworkPolicyType::HostRoute
                | NetworkPolicyType::VxlanPort
                | NetworkPolicyType::DrMacAddress
        );
        if !overlay || self.mode == NetworkMode::Overlay {
            return Ok(());
        }
        let message = format!("a network of type {} has no {}", self.mode.name(), kind.name());
        Err(Error::new(HResult::INVALID_POLICY_TYPE, message)
            .at("Type")
            .expected("a network of type Overlay"))
    }

    fn check(&self, kind: NetworkPolicyType, raw: Option<&Raw>) -> Result<()> {
        match kind {
            NetworkPolicyType::SourceMacAddress => {
                let given: SourceMacAddressSettings = settings(raw)?;
                words::mac(given.source_mac_address.as_deref(), "SourceMacAddress")
            }
            NetworkPolicyType::NetAdapterName => {
                let given: NetAdapterNameSettings = settings(raw)?;
                let member = "NetworkAdapterName";
                let name = given.network_adapter_name;
                name.map(drop).ok_or_else(|| words::missing(member, "the name of a link of the host"))
            }
            NetworkPolicyType::InterfaceConstraint => underlay::interface_constraint(raw),
            NetworkPolicyType::ProviderAddress => underlay::provider_address(raw),
            NetworkPolicyType::DrMacAddress => {
                words::mac(settings::<DrMacAddressSettings>(raw)?.address.as_deref(), "Address")
            }
            NetworkPolicyType::AutomaticDns => settings::<AutomaticDnsSettings>(raw).map(drop),
            NetworkPolicyType::RemoteSubnetRoute => remote_subnet_route(&settings(raw)?),
            NetworkPolicyType::VxlanPort => {
                let given: VxlanPortSettings = settings(raw)?;
                if given.port == Some(0) {
                    return Err(words::wrong("0", "Port", "1 to 65535"));
                }
                Ok(())
            }
            NetworkPolicyType::HostRoute => settings::<HostRouteSettings>(raw).map(drop),
            NetworkPolicyType::L4Proxy => proxies::l4(raw),
            NetworkPolicyType::LayerConstraint => {
                let given: LayerConstraintSettings = settings(raw)?;
                let id = given.layer_id.ok_or_else(|| words::missing("LayerId", "a GUID"))?;
                text::guid(&id, "LayerId").map(drop)
            }
            NetworkPolicyType::NetworkAcl => rules::acl(&settings(raw)?, self.hns, &self.sets),
            NetworkPolicyType::NeighborDiscovery => neighbor_discovery(&settings(raw)?),
            // Known to its switch alone. Sets are checked where they are taken in.
            NetworkPolicyType::VSwitchExtension | NetworkPolicyType::SetPolicy => Ok(()),
        }
    }
}

fn remote_subnet_route(route: &RemoteSubnetRouteSettings) -> Result<()> {
    text::prefix(route.destination_prefix.as_deref().unwrap_or_default(), "DestinationPrefix")?;
    underlay::isolation_id(route.isolation_id, underlay::LAST_VSID)?;
    words::unicast(route.provider_address.as_deref(), "ProviderAddress")?;
    words::mac(route.distributed_router_mac_address.as_deref(), "DistributedRouterMacAddress")
}

fn neighbor_discovery(neighbor: &NeighborDiscoverySettings) -> Result<()> {
    text::prefix(neighbor.target_ip_prefix.as_deref().unwrap_or_default(), "TargetIpPrefix")?;
    if let Some(sender) = &neighbor.sender_ip_address {
        text::address(sender, "SenderIpAddress")?;
    }
    match &neighbor.sender_mac_address {
        Some(mac) => words::mac(Some(mac), "SenderMacAddress"),
        None => Ok(()),
    }
}
