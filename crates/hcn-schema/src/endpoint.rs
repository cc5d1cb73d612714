//! HostComputeEndpoint (contract 2.6).

use crate::dns::Dns;
use crate::document::document;
use crate::enums::EndpointFlags;
use crate::policy::EndpointPolicy;
use crate::route::Route;

document! {
    /// An endpoint document.
    HostComputeEndpoint: Base {
        /// GUID of the network.
        host_compute_network: guid "HostComputeNetwork",
        /// GUID of the namespace; output only.
        host_compute_namespace: guid "HostComputeNamespace",
        /// Policies, settings kept raw.
        policies: objects(EndpointPolicy) "Policies",
        /// Addresses; the order is kept.
        ip_configurations: objects(IpConfig) "IpConfigurations",
        /// DNS settings; the network's when absent.
        dns: object(Dns) "Dns",
        /// Routes; the subnet's default routes when absent.
        routes: objects(Route) "Routes",
        /// Written with dashes in upper case.
        mac_address: text "MacAddress",
        /// Flags; written as a number.
        flags: flags(EndpointFlags) "Flags",
    }
}

document! {
    /// IpConfig.
    IpConfig {
        /// Address; returned as it came.
        ip_address: text "IpAddress",
        /// Prefix length in bits; the subnet's when absent.
        prefix_length: u8 "PrefixLength",
        /// GUID of the IpSubnet that the address belongs to.
        ip_subnet_id: guid "IpSubnetId",
    }
}

document! {
    /// `AdditionalParams` of an endpoint (2.4); output only, but for MacAddressSpoofing and InterfaceName.
    EndpointAdditionalParams {
        /// Switch that the endpoint is plugged in.
        switch_id: guid "SwitchId",
        /// Port of that switch.
        switch_port_id: guid "SwitchPortId",
        /// Interface name of the TAP interface on Linux, which a virtual machine opens.
        tap_interface: text "TapInterface",
        /// `On` = it may send in the name of others, `Off` = it may not; the administrator's choice when absent.
        mac_address_spoofing: text "MacAddressSpoofing",
        /// Interface name in a namespace of type Host on Linux; the lowest `ethN` that is free when absent.
        interface_name: text "InterfaceName",
    }
}

/// Life-cycle states of an endpoint (contract 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum State {
    /// Not in any namespace.
    Created = 1,
    /// Attached to the host or to a virtual machine.
    Attached = 2,
    /// In a namespace of containers.
    AttachedSharing = 3,
    /// Something of it could not be undone; it is being retried.
    Degraded = 5,
}
