//! Enumerations of endpoints (contract 2.6, 2.12, 2.14).

use super::enumeration::enumeration;
use super::flag_set::flag_set;

flag_set! {
    /// EndpointFlags (2.6).
    EndpointFlags {
        REMOTE_ENDPOINT = 1 "RemoteEndpoint",
        DISABLE_INTER_COMPUTE_COMMUNICATION = 2 "DisableInterComputeCommunication",
        ENABLE_MIRRORING = 4 "EnableMirroring",
        ENABLE_LOW_INTERFACE_METRIC = 8 "EnableLowInterfaceMetric",
        OVERRIDE_DNS_SERVER_ORDER = 16 "OverrideDNSServerOrder",
        ENABLE_DHCP = 32 "EnableDhcp",
    }
}

enumeration! {
    /// EndpointPolicyType (2.14).
    EndpointPolicyType {
        PortMapping = 0 "PortMapping",
        Acl = 1 "ACL",
        Qos = 2 "QOS",
        L2Driver = 3 "L2Driver",
        OutBoundNat = 4 "OutBoundNAT",
        SdnRoute = 5 "SDNRoute",
        L4Proxy = 6 "L4Proxy",
        L4WfpProxy = 7 "L4WFPPROXY",
        ProviderAddress = 8 "ProviderAddress",
        PortName = 9 "PortName",
        EncapOverhead = 10 "EncapOverhead",
        InterfaceConstraint = 11 "InterfaceConstraint",
        Encryption = 12 "Encryption",
        Vlan = 13 "VLAN",
        InterfaceParameters = 14 "InterfaceParameters",
        Iov = 15 "Iov",
        TierAcl = 16 "TierAcl",
        Firewall = 18 "Firewall",
    }
}

enumeration! {
    /// Resources of an endpoint that can be modified (2.12).
    EndpointResourceType {
        Port = 0 "Port",
        Policy = 1 "Policy",
    }
}

enumeration! {
    /// IovInterruptModerationType (2.14). The numbers are those that clients send.
    IovInterruptModerationType {
        Default = 0 "IovInterruptModerationDefault",
        Adaptive = 1 "IovInterruptModerationAdaptive",
        Off = 2 "IovInterruptModerationOff",
        Low = 100 "IovInterruptModerationLow",
        Medium = 200 "IovInterruptModerationMedium",
        High = 300 "IovInterruptModerationHigh",
    }
}
