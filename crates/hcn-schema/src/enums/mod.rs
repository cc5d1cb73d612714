//! Enumerations and flag sets of the documents (contract sections 2.5 to 2.15).

mod balancing;
mod endpoint;
mod enumeration;
mod flag_set;
mod guest_network_service;
mod modify;
mod namespace;
mod network;
mod rules;

pub use balancing::{DistributionType, LoadBalancerFlags, PortMappingFlags};
pub use endpoint::{EndpointFlags, EndpointPolicyType, EndpointResourceType, IovInterruptModerationType};
pub use enumeration::{Enumeration, OneOf};
pub use flag_set::FlagSet;
pub(crate) use flag_set::no_flags;
pub use guest_network_service::{
    GuestNetworkServiceFlags, GuestNetworkServiceInterfaceState, GuestNetworkServiceNotificationType,
    GuestNetworkServiceResourceType, GuestNetworkServiceState, RpcEndpointType,
};
pub use modify::{EntityFlags, HostResourceType, ModifyRequestType, QueryFlags};
pub use namespace::{NamespaceResourceType, NamespaceType};
pub use network::{
    IpSubnetFlags, IpamType, NetworkFlags, NetworkMode, NetworkPolicyType, NetworkResourceType, SubnetFlags,
    SubnetPolicyType,
};
pub use rules::{
    ActionType, AuthenticationType, DirectionType, EncryptionMethod, FirewallPolicyFlags, FirewallVmType,
    NatFlags, ProtocolType, ProxyType, RuleType, SetPolicyType,
};
