//! What the raw settings of a policy or of a modify request are, by the type that stands beside them.

use schemars::JsonSchema;

use super::{Make, of};
use crate::dns::Dns;
use crate::enums::{
    EndpointPolicyType, EndpointResourceType, Enumeration, GuestNetworkServiceResourceType,
    NamespaceResourceType, NetworkPolicyType, NetworkResourceType,
};
use crate::modify::{
    Extension, GuestNetworkServiceStateRequest, IpSubnetRequest, NamespaceContainerRequest,
    NamespaceEndpointRequest, PolicyRequest, SubnetRequest, VmEndpointRequest,
};
use crate::settings::{
    AclSettings, AutomaticDnsSettings, DrMacAddressSettings, EncapOverheadSettings, EncryptionSettings,
    FirewallSettings, HostRouteSettings, InterfaceConstraintSettings, InterfaceParametersSettings,
    IovSettings, L4ProxySettings, L4WfpProxySettings, LayerConstraintSettings, NeighborDiscoverySettings,
    NetAdapterNameSettings, OutboundNatSettings, PortMappingSettings, PortNameSettings,
    ProviderAddressSettings, QosSettings, RemoteSubnetRouteSettings, SdnRouteSettings, SetPolicySettings,
    SourceMacAddressSettings, TierAclSettings, VSwitchExtensionSettings, VlanSettings, VxlanPortSettings,
};

/// An enumeration whose values say what stands in `Settings`.
pub(crate) trait Tag: Enumeration + JsonSchema {
    /// The settings of a value; none where the contract leaves them open.
    fn settings(self) -> Option<Make>;
}

impl Tag for NetworkPolicyType {
    fn settings(self) -> Option<Make> {
        Some(match self {
            Self::SourceMacAddress => of::<SourceMacAddressSettings>,
            Self::NetAdapterName => of::<NetAdapterNameSettings>,
            Self::InterfaceConstraint => of::<InterfaceConstraintSettings>,
            Self::VSwitchExtension => of::<VSwitchExtensionSettings>,
            Self::ProviderAddress => of::<ProviderAddressSettings>,
            Self::DrMacAddress => of::<DrMacAddressSettings>,
            Self::AutomaticDns => of::<AutomaticDnsSettings>,
            Self::RemoteSubnetRoute => of::<RemoteSubnetRouteSettings>,
            Self::VxlanPort => of::<VxlanPortSettings>,
            Self::HostRoute => of::<HostRouteSettings>,
            Self::SetPolicy => of::<SetPolicySettings>,
            Self::L4Proxy => of::<L4ProxySettings>,
            Self::LayerConstraint => of::<LayerConstraintSettings>,
            Self::NetworkAcl => of::<AclSettings>,
            Self::NeighborDiscovery => of::<NeighborDiscoverySettings>,
        })
    }
}

impl Tag for EndpointPolicyType {
    fn settings(self) -> Option<Make> {
        Some(match self {
            Self::PortMapping => of::<PortMappingSettings>,
            Self::Acl => of::<AclSettings>,
            Self::Qos => of::<QosSettings>,
            Self::L2Driver => return None,
            Self::OutBoundNat => of::<OutboundNatSettings>,
            Self::SdnRoute => of::<SdnRouteSettings>,
            Self::L4Proxy => of::<L4ProxySettings>,
            Self::L4WfpProxy => of::<L4WfpProxySettings>,
            Self::ProviderAddress => of::<ProviderAddressSettings>,
            Self::PortName => of::<PortNameSettings>,
            Self::EncapOverhead => of::<EncapOverheadSettings>,
            Self::InterfaceConstraint => of::<InterfaceConstraintSettings>,
            Self::Encryption => of::<EncryptionSettings>,
            Self::Vlan => of::<VlanSettings>,
            Self::InterfaceParameters => of::<InterfaceParametersSettings>,
            Self::Iov => of::<IovSettings>,
            Self::TierAcl => of::<TierAclSettings>,
            Self::Firewall => of::<FirewallSettings>,
        })
    }
}

impl Tag for NetworkResourceType {
    fn settings(self) -> Option<Make> {
        Some(match self {
            Self::Dns => of::<Dns>,
            Self::Extension => of::<Extension>,
            Self::Policy => of::<PolicyRequest<NetworkPolicyType>>,
            Self::Subnet => of::<SubnetRequest>,
            Self::IpSubnet => of::<IpSubnetRequest>,
        })
    }
}

impl Tag for EndpointResourceType {
    fn settings(self) -> Option<Make> {
        Some(match self {
            Self::Port => of::<VmEndpointRequest>,
            Self::Policy => of::<PolicyRequest<EndpointPolicyType>>,
        })
    }
}

impl Tag for NamespaceResourceType {
    fn settings(self) -> Option<Make> {
        Some(match self {
            Self::Container => of::<NamespaceContainerRequest>,
            Self::Endpoint => of::<NamespaceEndpointRequest>,
        })
    }
}

impl Tag for GuestNetworkServiceResourceType {
    fn settings(self) -> Option<Make> {
        Some(match self {
            Self::State => of::<GuestNetworkServiceStateRequest>,
        })
    }
}
