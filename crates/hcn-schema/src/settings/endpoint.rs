//! Settings of policies of endpoints (contract 2.14), but for rules, proxies and encryption.

use crate::document::document;
use crate::enums::{FirewallPolicyFlags, FirewallVmType, IovInterruptModerationType, NatFlags, ProtocolType};

document! {
    /// Settings of the endpoint policy PortMapping.
    PortMappingSettings ("PortMappingPolicySetting") {
        /// Transport protocol; absent = TCP (contract 10, question 7).
        protocol: choice(ProtocolType) "Protocol",
        /// Of the endpoint.
        internal_port: u16 "InternalPort",
        /// Of the host; absent or 0 = the service chooses one.
        external_port: u16 "ExternalPort",
        /// The address of the host that is meant; absent = all of them.
        vip: text "VIP",
        /// Flags.
        flags: flags(NatFlags) "Flags",
    }
}

document! {
    /// Settings of the endpoint policy QOS.
    QosSettings ("QosPolicySetting") {
        /// Bytes per second that the endpoint may send.
        maximum_outgoing_bandwidth_in_bytes: u64 "MaximumOutgoingBandwidthInBytes",
    }
}

document! {
    /// Settings of the endpoint policy OutBoundNAT.
    OutboundNatSettings ("OutboundNatPolicySetting") {
        /// Source address that peers see; the host's when absent.
        virtual_ip: text "VirtualIP",
        /// Prefixes that are reached without translation.
        exceptions: texts "Exceptions",
        /// The only prefixes that are reached with translation; all when absent.
        destinations: texts "Destinations",
        /// Flags.
        flags: flags(NatFlags) "Flags",
        /// How much of the port pool the endpoint may use. Go clients only.
        max_port_pool_usage: u16 "MaxPortPoolUsage",
    }
}

document! {
    /// Settings of the endpoint policy SDNRoute, and one route of an SDN route document.
    SdnRouteSettings ("SDNRoutePolicySetting") {
        /// Destination in CIDR form.
        destination_prefix: text "DestinationPrefix",
        /// Address of the next hop; the gateway when absent.
        next_hop: text "NextHop",
        /// Whether packets leave encapsulated.
        need_encap: bool "NeedEncap",
        /// Whether Windows watches over the endpoint.
        automatic_endpoint_monitor: bool "AutomaticEndpointMonitor",
    }
}

document! {
    /// Settings of the endpoint policy PortName.
    PortNameSettings ("PortnameEndpointPolicySetting") {
        /// Name of the port; may be empty.
        name: text "Name",
    }
}

document! {
    /// Settings of the endpoint policy EncapOverhead.
    EncapOverheadSettings ("EncapOverheadEndpointPolicySetting") {
        /// Bytes by which the MTU is less than the network's.
        overhead: u16 "Overhead",
    }
}

document! {
    /// Settings of the policy VLAN, of endpoints and subnets.
    VlanSettings ("VlanPolicySetting") {
        /// VLAN, 1 to 4094.
        isolation_id: u32 "IsolationId",
    }
}

document! {
    /// Settings of the endpoint policy InterfaceParameters; one at most.
    InterfaceParametersSettings ("InterfaceParametersPolicySetting") {
        /// MTU in bytes.
        mtu: u16 "Mtu",
    }
}

document! {
    /// Settings of the endpoint policy Iov.
    IovSettings ("IovPolicySetting") {
        /// Weight among the endpoints that want a virtual function; 0 = none.
        iov_offload_weight: u32 "IovOffloadWeight",
        /// Queue pairs.
        queue_pairs_requested: u32 "QueuePairsRequested",
        /// How eagerly the adapter interrupts.
        interrupt_moderation: choice(IovInterruptModerationType) "InterruptModeration",
    }
}

document! {
    /// Settings of the endpoint policy Firewall: in the schema's form, and in that of WSL.
    FirewallSettings ("FirewallPolicySetting") {
        /// Whose firewall it is.
        vm_type: choice(FirewallVmType) "VmType",
        /// Flags. WSL says `PolicyFlags`.
        firewall_policy_flags: flags(FirewallPolicyFlags) "FirewallPolicyFlags" or "PolicyFlags",
        /// GUID of the virtual machine's creator. WSL only.
        vm_creator_id: guid "VmCreatorId",
    }
}
