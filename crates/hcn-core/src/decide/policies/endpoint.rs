//! Policies of endpoints: what each type demands, and how requests change the list (contract 2.12, 2.14).

use hcn_schema::enums::{EndpointPolicyType, OneOf};
use hcn_schema::hns::HnsVersion;
use hcn_schema::policy::EndpointPolicy;
use hcn_schema::settings::{
    EncapOverheadSettings, InterfaceParametersSettings, IovSettings, OutboundNatSettings, PortNameSettings,
    QosSettings, SdnRouteSettings, VlanSettings,
};
use hcn_schema::{Error, HResult, Raw, Result};

use super::meanings::Meanings;
use super::sets::Sets;
use super::{Kind, check_kind, in_request, in_settings, proxies, rules, settings, underlay, words};
use crate::entity::Network;
use crate::text;

impl Kind for EndpointPolicyType {
    fn second(self) -> Option<HResult> {
        match self {
            Self::InterfaceParameters => Some(HResult::INTERFACEPARAMETERS_ALREADY_APPLIED),
            Self::Qos
            | Self::ProviderAddress
            | Self::PortName
            | Self::EncapOverhead
            | Self::InterfaceConstraint
            | Self::Vlan
            | Self::Iov => Some(HResult::POLICY_ALREADY_EXISTS),
            Self::PortMapping
            | Self::Acl
            | Self::L2Driver
            | Self::OutBoundNat
            | Self::SdnRoute
            | Self::L4Proxy
            | Self::L4WfpProxy
            | Self::Encryption
            | Self::TierAcl
            | Self::Firewall => None,
        }
    }
}

/// Types of which an Update always replaces all: the rules that a client sends as one complete set.
const RULE_SETS: [EndpointPolicyType; 4] = [
    EndpointPolicyType::Acl,
    EndpointPolicyType::TierAcl,
    EndpointPolicyType::L4Proxy,
    EndpointPolicyType::L4WfpProxy,
];

fn kind_of(policy: &EndpointPolicy) -> Option<EndpointPolicyType> {
    policy.kind.as_ref().and_then(OneOf::known)
}

/// ACLs and tiers are one class: who sends some of them sends all.
fn is_acl(policy: &EndpointPolicy) -> bool {
    matches!(kind_of(policy), Some(EndpointPolicyType::Acl | EndpointPolicyType::TierAcl))
}

/// The policies of an endpoint while a request is gone through.
pub(super) struct Policies<'a> {
    hns: HnsVersion,
    network: &'a Network,
    list: Vec<EndpointPolicy>,
}

impl<'a> Policies<'a> {
    /// Those that are there before.
    pub(super) fn new(hns: HnsVersion, network: &'a Network, present: &[EndpointPolicy]) -> Self {
        Self { hns, network, list: present.to_vec() }
    }

    /// Those that are there now.
    pub(super) fn into_list(self) -> Vec<EndpointPolicy> {
        self.list
    }

    /// Appends policies; `at` says where each of them stands.
    pub(super) fn add<F: Fn(Error) -> Error>(
        &mut self,
        given: &[EndpointPolicy],
        at: impl Fn(usize) -> F,
    ) -> Result<()> {
        // Only rules name sets; a network may have many.
        let sets = if given.iter().any(is_acl) {
            Sets::of(&self.network.document.policies)
        } else {
            Sets::default()
        };
        for (index, policy) in given.iter().enumerate() {
            let kind = check_kind(self.hns, policy, &self.list).map_err(at(index))?;
            if kind == EndpointPolicyType::Encryption {
                return Err(at(index)(unsupported_encryption()));
            }
            self.check(kind, policy.settings.as_ref(), &sets).map_err(in_settings).map_err(at(index))?;
            self.list.push(policy.clone());
        }
        Ok(())
    }

    /// Takes out one policy for each that a request gives, by its value.
    pub(super) fn remove(&mut self, given: &[EndpointPolicy]) -> Result<()> {
        let mut gone = vec![false; self.list.len()];
        let mut present = Meanings::of(&self.list);
        for (index, policy) in given.iter().enumerate() {
            check_kind(self.hns, policy, std::iter::empty()).map_err(in_request(index))?;
            gone[present.take(policy).map_err(in_request(index))?] = true;
        }
        let mut gone = gone.into_iter();
        self.list.retain(|_| !gone.next().unwrap_or_default());
        Ok(())
    }

    /// Replaces the policies of the types that a request gives, ACLs and tiers together; a request that gives none clears
    /// the rules and proxies (contract 10, question 2).
    pub(super) fn update(&mut self, given: &[EndpointPolicy]) -> Result<()> {
        // PowerShell clears the rules with `[{}]`.
        let blank = |policy: &EndpointPolicy| policy.kind.is_none() && policy.settings.is_none();
        if given.iter().all(blank) {
            let is_rule =
                |policy: &EndpointPolicy| kind_of(policy).is_some_and(|kind| RULE_SETS.contains(&kind));
            self.list.retain(|policy| !is_rule(policy));
            return Ok(());
        }
        let acls = given.iter().any(is_acl) || self.is_all_but_acls(given);
        let is_named = |policy: &EndpointPolicy| given.iter().any(|new| new.kind == policy.kind);
        self.list.retain(|policy| !(is_named(policy) || acls && is_acl(policy)));
        self.add(given, in_request)
    }

    /// Whether these are all policies of the endpoint, unchanged, but for its ACLs: Azure NPM sends the complete list, also
    /// when it has taken the last ACL out.
    fn is_all_but_acls(&self, given: &[EndpointPolicy]) -> bool {
        let mut present = Meanings::of(&self.list);
        let mut taken = given.iter().map(|policy| present.take(policy).is_ok());
        taken.all(|taken| taken) && present.are_gone(is_acl)
    }

    fn check(&self, kind: EndpointPolicyType, raw: Option<&Raw>, sets: &Sets) -> Result<()> {
        match kind {
            EndpointPolicyType::Acl => rules::acl(&settings(raw)?, self.hns, sets),
            EndpointPolicyType::TierAcl => rules::tier(&settings(raw)?, sets),
            EndpointPolicyType::Qos => settings::<QosSettings>(raw).map(drop),
            EndpointPolicyType::OutBoundNat => outbound_nat(&settings(raw)?),
            EndpointPolicyType::SdnRoute => sdn_route(&settings(raw)?),
            EndpointPolicyType::L4Proxy => proxies::l4(raw),
            EndpointPolicyType::L4WfpProxy => proxies::l4_wfp(&settings(raw)?),
            EndpointPolicyType::ProviderAddress => underlay::provider_address(raw),
            EndpointPolicyType::PortName => {
                text::check_free(settings::<PortNameSettings>(raw)?.name.as_deref(), "Name")
            }
            EndpointPolicyType::EncapOverhead => self.encap_overhead(&settings(raw)?),
            EndpointPolicyType::InterfaceConstraint => underlay::interface_constraint(raw),
            EndpointPolicyType::Vlan => {
                let given: VlanSettings = settings(raw)?;
                underlay::isolation_id(given.isolation_id, underlay::LAST_VLAN)
            }
            EndpointPolicyType::InterfaceParameters => self.interface_parameters(&settings(raw)?),
            EndpointPolicyType::Iov => iov(&settings(raw)?),
            // Mappings are checked where they are parsed. The others are whatever their client makes of them; Encryption
            // does not come here.
            EndpointPolicyType::PortMapping
            | EndpointPolicyType::L2Driver
            | EndpointPolicyType::Firewall
            | EndpointPolicyType::Encryption => Ok(()),
        }
    }

    fn encap_overhead(&self, given: &EncapOverheadSettings) -> Result<()> {
        let overhead = u32::from(given.overhead.unwrap_or_default());
        let most = self.network.mtu.saturating_sub(underlay::least_mtu(self.network.has_ipv6()));
        if overhead <= most { Ok(()) } else { Err(underlay::out_of_range(overhead, "Overhead", 0, most)) }
    }

    fn interface_parameters(&self, given: &InterfaceParametersSettings) -> Result<()> {
        let (least, most) = (underlay::least_mtu(self.network.has_ipv6()), u32::from(u16::MAX));
        let mtu = given.mtu.ok_or_else(|| words::missing("Mtu", &format!("{least} to {most}")))?;
        let mtu = u32::from(mtu);
        if mtu >= least { Ok(()) } else { Err(underlay::out_of_range(mtu, "Mtu", least, most)) }
    }
}

/// Linux has no counterpart that negotiates keys.
fn unsupported_encryption() -> Error {
    let message = "encryption between endpoints is not offered";
    Error::new(HResult::REQUEST_UNSUPPORTED, message).at("Type").expected("another type")
}

fn outbound_nat(nat: &OutboundNatSettings) -> Result<()> {
    if let Some(address) = &nat.virtual_ip {
        words::unicast(Some(address), "VirtualIP")?;
    }
    let expected = "an address or a prefix";
    words::all(&nat.exceptions, "Exceptions", expected, words::is_place)?;
    words::all(&nat.destinations, "Destinations", expected, words::is_place)
}

/// A route of an endpoint. Host bits in the destination and next hops on the host itself are normal (contract 7).
pub(super) fn sdn_route(route: &SdnRouteSettings) -> Result<()> {
    let destination =
        text::prefix(route.destination_prefix.as_deref().unwrap_or_default(), "DestinationPrefix")?;
    let hop = route.next_hop.as_deref().map(|hop| text::address(hop, "NextHop")).transpose()?;
    let hop = hop.filter(|hop| !hop.is_unspecified());
    if hop.is_some_and(|hop| hop.is_ipv4() != destination.addr().is_ipv4()) {
        let message = "the next hop is of another family than the destination";
        return Err(Error::new(HResult::INVALID_IP, message)
            .at("NextHop")
            .expected("an address of the same family as DestinationPrefix"));
    }
    Ok(())
}

/// Settings of an Iov. Go clients send interrupt moderation as a number, which hcnd does not interpret.
fn iov(iov: &IovSettings) -> Result<()> {
    match &iov.interrupt_moderation {
        Some(OneOf::Unknown(text)) if words::number(text, u32::MAX).is_some() => Ok(()),
        other => rules::one_of(other.as_ref(), "InterruptModeration").map(drop),
    }
}
