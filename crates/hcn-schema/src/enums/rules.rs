//! Enumerations of the settings of policies (contract 2.14).

use super::enumeration::enumeration;
use super::flag_set::flag_set;

enumeration! {
    /// ProtocolType (2.14): IANA's protocol numbers.
    ProtocolType: number {
        Unknown = 0 "Unknown",
        IcmpV4 = 1 "ICMPv4",
        Igmp = 2 "IGMP",
        Tcp = 6 "TCP",
        Udp = 17 "UDP",
        IcmpV6 = 58 "ICMPv6",
        Sctp = 132 "SCTP",
    }
}

flag_set! {
    /// NatFlags of a port mapping (2.14).
    NatFlags {
        LOCAL_ROUTED_VIP = 1 "LocalRoutedVip",
        IPV6 = 2 "IPv6",
        EXTERNAL_PORT_RESERVED = 4 "ExternalPortReserved",
    }
}

enumeration! {
    /// ActionType (2.14): what happens to packets that a rule matches. Pass is for TierAcl only.
    ActionType {
        Allow = 0 "Allow",
        Block = 1 "Block",
        Pass = 2 "Pass",
    }
}

enumeration! {
    /// DirectionType (2.14), as the endpoint sees it.
    DirectionType {
        In = 0 "In",
        Out = 1 "Out",
    }
}

enumeration! {
    /// RuleType (2.14): where a rule is enforced, in the compartment or at the port of the switch.
    RuleType {
        Host = 0 "Host",
        Switch = 1 "Switch",
    }
}

enumeration! {
    /// SetPolicyTypes (2.14): a set of addresses, or of other sets.
    SetPolicyType ("SetPolicyTypes") {
        IpSet = 0 "IPSET",
        NestedIpSet = 1 "NESTEDIPSET",
    }
}

enumeration! {
    /// ProxyType (2.15).
    ProxyType {
        Vfp = 0 "VFP",
        Wfp = 1 "WFP",
    }
}

enumeration! {
    /// EncryptionMethod (2.14).
    EncryptionMethod {
        Ipsec = 0 "Ipsec",
    }
}

enumeration! {
    /// AuthenticationType (2.14).
    AuthenticationType {
        PresharedKey = 0 "PresharedKey",
        Certificate = 1 "Certificate",
    }
}

enumeration! {
    /// FirewallVMType (2.14).
    FirewallVmType ("FirewallVMType") {
        Invalid = 0 "Invalid",
        Host = 1 "Host",
        Wsa = 2 "WSA",
        Wsl = 3 "WSL",
    }
}

flag_set! {
    /// FirewallPolicyFlags (2.14).
    FirewallPolicyFlags {
        CONSTRAINED_INTERFACE = 1 "ConstrainedInterface",
    }
}
