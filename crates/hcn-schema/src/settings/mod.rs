//! Settings of policies (contract 2.13, 2.14). A policy keeps them raw; these are what they mean.

mod acl;
mod encryption;
mod endpoint;
mod network;
mod proxy;

pub use acl::{AclSettings, FiveTuple, NetworkAclSettings, TierAclRule, TierAclSettings};
pub use encryption::{
    AuthenticationCertificate, AuthenticationPresharedKey, EncryptionSettings,
    PrioritizedAuthenticationMethod,
};
pub use endpoint::{
    EncapOverheadSettings, FirewallSettings, InterfaceParametersSettings, IovSettings, OutboundNatSettings,
    PortMappingSettings, PortNameSettings, QosSettings, SdnRouteSettings, VlanSettings,
};
pub use network::{
    AutomaticDnsSettings, DrMacAddressSettings, HostRouteSettings, InterfaceConstraintSettings,
    LayerConstraintSettings, NeighborDiscoverySettings, NetAdapterNameSettings, ProviderAddressSettings,
    RemoteSubnetRouteSettings, SetPolicySettings, SourceMacAddressSettings, VSwitchExtensionSettings,
    VsidSettings, VxlanPortSettings,
};
pub use proxy::{L4ProxySettings, L4WfpProxySettings, ProxyExceptions};
