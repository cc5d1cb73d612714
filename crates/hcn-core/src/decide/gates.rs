//! What a client that was told an older version of HNS may not use yet (contract 5.5). A client that is told the newest
//! one passes every gate.

use hcn_schema::enums::{
    DistributionType, EndpointPolicyType, Enumeration, LoadBalancerFlags, NetworkFlags, NetworkPolicyType,
    OneOf,
};
use hcn_schema::hns::{Feature, HnsVersion};
use hcn_schema::load_balancer::HostComputeLoadBalancer;
use hcn_schema::policy::Policy;
use hcn_schema::{Error, HResult, Raw, Result};
use ipnet::IpNet;
use serde::Deserialize;

use crate::entity::Subnet;

/// Refuses what needs a feature that the version does not have.
pub(super) fn require(version: HnsVersion, feature: Feature, path: &str) -> Result<()> {
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

/// A policy's type and, where they decide, its settings. `path` is the policy's.
pub(super) fn policy<T: Gated>(version: HnsVersion, policy: &Policy<T>, path: &str) -> Result<()> {
    let Some(kind) = policy.kind.as_ref().and_then(OneOf::known) else { return Ok(()) };
    match kind.feature(policy.settings.as_ref()) {
        Some(feature) => require(version, feature, path),
        None => Ok(()),
    }
}

/// A policy type that later versions brought.
pub(super) trait Gated: Enumeration {
    /// What a policy of this type needs.
    fn feature(self, settings: Option<&Raw>) -> Option<Feature>;
}

impl Gated for NetworkPolicyType {
    fn feature(self, settings: Option<&Raw>) -> Option<Feature> {
        match self {
            Self::RemoteSubnetRoute => Some(Feature::RemoteSubnet),
            Self::HostRoute => Some(Feature::HostRoute),
            Self::VxlanPort => Some(Feature::VxlanPort),
            Self::SetPolicy if text_of(settings, "PolicyType").eq_ignore_ascii_case("NESTEDIPSET") => {
                Some(Feature::NestedIpSet)
            }
            Self::SetPolicy => Some(Feature::SetPolicy),
            Self::L4Proxy => Some(Feature::L4Proxy),
            Self::NetworkAcl => Some(Feature::NetworkAcl),
            _ => None,
        }
    }
}

impl Gated for EndpointPolicyType {
    fn feature(self, settings: Option<&Raw>) -> Option<Feature> {
        match self {
            Self::L4Proxy => Some(Feature::L4Proxy),
            Self::L4WfpProxy => Some(Feature::L4WfpProxy),
            Self::TierAcl => Some(Feature::TierAcl),
            Self::Acl if text_of(settings, "Protocols").split(',').any(|word| word.trim() == "252") => {
                Some(Feature::AclSupportForProtocol252)
            }
            _ => None,
        }
    }
}

/// A member of the settings that is a text; empty where it is not.
fn text_of(settings: Option<&Raw>, member: &str) -> String {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "PolicyType")]
        policy_type: Option<serde_json::Value>,
        #[serde(rename = "Protocols")]
        protocols: Option<serde_json::Value>,
    }
    let probe: Option<Probe> = settings.and_then(|settings| serde_json::from_str(settings.get()).ok());
    let value =
        probe.and_then(|probe| if member == "Protocols" { probe.protocols } else { probe.policy_type });
    match value {
        Some(serde_json::Value::String(text)) => text,
        // NESTEDIPSET as a number.
        Some(serde_json::Value::Number(number)) if member == "PolicyType" && number.as_u64() == Some(1) => {
            "NESTEDIPSET".to_owned()
        }
        _ => String::new(),
    }
}
