//! What a client that was told an older version of HNS may not use yet (contract 5.5). A client that is told the newest
//! one passes every gate.

use hcn_schema::enums::{
    DistributionType, EndpointPolicyType, Enumeration, LoadBalancerFlags, NetworkFlags, NetworkPolicyType,
    OneOf, RuleType, SetPolicyType,
};
use hcn_schema::hns::{Feature, HnsVersion};
use hcn_schema::load_balancer::HostComputeLoadBalancer;
use hcn_schema::settings::AclSettings;
use hcn_schema::{Error, HResult, Result};
use ipnet::IpNet;

use crate::entity::Subnet;

/// Refuses what needs a feature that the version does not have.
pub(crate) fn require(version: HnsVersion, feature: Feature, path: &str) -> Result<()> {
    if version.has(feature) {
        return Ok(());
    }
    let message =
        format!("HNS {version}, as which this client wants to be served, has no {}", feature.name());
    Err(Error::new(HResult::REQUEST_UNSUPPORTED, message).at(path))
}

/// The flags of a network.
pub(super) fn network_flags(version: HnsVersion, flags: NetworkFlags) -> Result<()> {
    if flags.has(NetworkFlags::DISABLE_HOST_PORT) {
        require(version, Feature::DisableHostPort, "Flags")?;
    }
    Ok(())
}

/// The subnets of a network: both families only since there is dual stack.
pub(super) fn subnets(version: HnsVersion, subnets: &[Subnet]) -> Result<()> {
    if subnets.iter().any(|subnet| subnet.prefix.addr().is_ipv6()) {
        require(version, Feature::Ipv6DualStack, "Ipams")?;
    }
    Ok(())
}

/// The addresses of an endpoint.
pub(super) fn addresses(version: HnsVersion, addresses: &[IpNet]) -> Result<()> {
    if addresses.iter().any(|address| address.prefix_len() == address.max_prefix_len()) {
        require(version, Feature::Slash32EndpointPrefixes, "IpConfigurations")?;
    }
    Ok(())
}

/// A load balancer.
pub(super) fn load_balancer(version: HnsVersion, document: &HostComputeLoadBalancer) -> Result<()> {
    if document.flags.has(LoadBalancerFlags::ENABLE_DIRECT_SERVER_RETURN) {
        require(version, Feature::Dsr, "Flags")?;
    }
    if document.flags.has(LoadBalancerFlags::IPV6) {
        require(version, Feature::Ipv6DualStack, "Flags")?;
    }
    for (index, mapping) in document.port_mappings.iter().enumerate() {
        if !matches!(mapping.distribution_type, None | Some(OneOf::Known(DistributionType::None))) {
            let path = format!("PortMappings[{index}].DistributionType");
            require(version, Feature::SessionAffinity, &path)?;
        }
    }
    Ok(())
}

/// Modify of load balancers: what is not there yet is not implemented (contract 3.2).
pub(super) fn modify_load_balancer(version: HnsVersion) -> Result<()> {
    require(version, Feature::ModifyLoadbalancer, "").map_err(|error| Error {
        code: HResult::NOT_IMPLEMENTED,
        path: None,
        ..error
    })
}

/// A policy's type.
pub(super) fn policy<T: Gated>(version: HnsVersion, kind: T) -> Result<()> {
    kind.feature().map_or(Ok(()), |feature| require(version, feature, "Type"))
}

/// A policy type that later versions brought.
pub(super) trait Gated: Enumeration {
    /// What policies of this type need.
    fn feature(self) -> Option<Feature>;
}

impl Gated for NetworkPolicyType {
    fn feature(self) -> Option<Feature> {
        match self {
            Self::RemoteSubnetRoute => Some(Feature::RemoteSubnet),
            Self::HostRoute => Some(Feature::HostRoute),
            Self::VxlanPort => Some(Feature::VxlanPort),
            Self::SetPolicy => Some(Feature::SetPolicy),
            Self::L4Proxy => Some(Feature::L4Proxy),
            Self::NetworkAcl => Some(Feature::NetworkAcl),
            _ => None,
        }
    }
}

impl Gated for EndpointPolicyType {
    fn feature(self) -> Option<Feature> {
        match self {
            Self::L4Proxy => Some(Feature::L4Proxy),
            Self::L4WfpProxy => Some(Feature::L4WfpProxy),
            Self::TierAcl => Some(Feature::TierAcl),
            _ => None,
        }
    }
}

/// The type of a set.
pub(super) fn set(version: HnsVersion, kind: SetPolicyType) -> Result<()> {
    match kind {
        SetPolicyType::IpSet => Ok(()),
        SetPolicyType::NestedIpSet => require(version, Feature::NestedIpSet, "PolicyType"),
    }
}

/// What an ACL says. Early versions knew one address, one port and no Id a rule, and wanted a priority of host rules.
pub(super) fn acl(version: HnsVersion, rule: &AclSettings) -> Result<()> {
    let has =
        |list: &Option<String>, signs: &[char]| list.as_deref().is_some_and(|list| list.contains(signs));
    let host = rule.rule_type == Some(OneOf::Known(RuleType::Host));
    let uses = [
        (rule.id.is_some(), "Id"),
        (has(&rule.local_addresses, &[',']), "LocalAddresses"),
        (has(&rule.remote_addresses, &[',']), "RemoteAddresses"),
        (has(&rule.local_ports, &[',', '-']), "LocalPorts"),
        (has(&rule.remote_ports, &[',', '-']), "RemotePorts"),
        (host && rule.priority.unwrap_or_default() == 0, "Priority"),
    ];
    for (_, member) in uses.into_iter().filter(|(used, _)| *used) {
        require(version, Feature::AclLists, member)?;
    }
    let mut protocols = rule.protocols.as_deref().unwrap_or_default().split(',');
    if protocols.any(|word| word.trim() == "252") {
        require(version, Feature::AclSupportForProtocol252, "Protocols")?;
    }
    Ok(())
}
