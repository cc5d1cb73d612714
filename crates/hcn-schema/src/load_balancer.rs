//! HostComputeLoadBalancer (contract 2.8).

use crate::document::document;
use crate::enums::{DistributionType, LoadBalancerFlags, PortMappingFlags, ProtocolType};

document! {
    /// A load balancer document.
    HostComputeLoadBalancer: Base {
        /// GUID of the network; derived from the endpoints when absent.
        host_compute_network: text "HostComputeNetwork",
        /// GUIDs of the back ends, of this host and of others.
        host_compute_endpoints: texts "HostComputeEndpoints",
        /// What back ends see as the client, unless the load balancer returns directly (DSR).
        source_vip: text "SourceVIP",
        /// What clients connect to; none = every address of the host. Old documents say `VirtualIPs`.
        frontend_vips: texts "FrontendVIPs" or "VirtualIPs",
        /// Which ports.
        port_mappings: objects(LoadBalancerPortMapping) "PortMappings",
        /// Flags.
        flags: flags(LoadBalancerFlags) "Flags",
    }
}

document! {
    /// LoadBalancerPortMapping.
    LoadBalancerPortMapping {
        /// Transport protocol, a number on output.
        protocol: choice(ProtocolType) "Protocol",
        /// Of the back ends.
        internal_port: u16 "InternalPort",
        /// Of the front ends.
        external_port: u16 "ExternalPort",
        /// What keeps connections of a client at one back end; a number on output.
        distribution_type: choice(DistributionType) "DistributionType",
        /// Flags.
        flags: flags(PortMappingFlags) "Flags",
    }
}
