//! Enumerations of networks and their subnets (contract 2.5, 2.12, 2.13).

use super::enumeration::enumeration;
use super::flag_set::flag_set;

enumeration! {
    /// NetworkMode (2.5).
    NetworkMode {
        Nat = 0 "NAT",
        Ics = 1 "ICS",
        Transparent = 2 "Transparent",
        L2Bridge = 3 "L2Bridge",
        L2Tunnel = 4 "L2Tunnel",
        Overlay = 5 "Overlay",
        Private = 6 "Private",
        Internal = 7 "Internal",
        Mirrored = 8 "Mirrored",
        Infiniband = 9 "Infiniband",
        ConstrainedIcs = 10 "ConstrainedICS",
    }
}

flag_set! {
    /// NetworkFlags (2.5).
    NetworkFlags {
        ENABLE_DNS_PROXY = 1 "EnableDnsProxy",
        ENABLE_DHCP_SERVER = 2 "EnableDhcpServer",
        ENABLE_MIRRORING = 4 "EnableMirroring",
        ENABLE_NON_PERSISTENT = 8 "EnableNonPersistent",
        ENABLE_PERSISTENT = 16 "EnablePersistent",
        ISOLATE_VSWITCH = 32 "IsolateVSwitch",
        ENABLE_FLOW_STEERING = 64 "EnableFlowSteering",
        DISABLE_SHARING = 128 "DisableSharing",
        ENABLE_FIREWALL = 256 "EnableFirewall",
        SUPPRESS_MEDIA_DISCONNECT = 512 "SuppressMediaDisconnect",
        DISABLE_HOST_PORT = 1024 "DisableHostPort",
        WEAK_HOST_RECEIVE_ADAPTER = 2048 "WeakHostReceiveAdapter",
        WEAK_HOST_SEND_ADAPTER = 4096 "WeakHostSendAdapter",
        ENABLE_IOV = 8192 "EnableIov",
    }
}

enumeration! {
    /// NetworkPolicyType (2.13). NeighborDiscovery is PowerShell's; the schema does not have it.
    NetworkPolicyType {
        SourceMacAddress = 0 "SourceMacAddress",
        NetAdapterName = 1 "NetAdapterName",
        InterfaceConstraint = 2 "InterfaceConstraint",
        VSwitchExtension = 3 "VSwitchExtension",
        ProviderAddress = 4 "ProviderAddress",
        DrMacAddress = 5 "DrMacAddress",
        AutomaticDns = 6 "AutomaticDNS",
        RemoteSubnetRoute = 7 "RemoteSubnetRoute",
        VxlanPort = 8 "VxlanPort",
        HostRoute = 9 "HostRoute",
        SetPolicy = 10 "SetPolicy",
        L4Proxy = 11 "L4Proxy",
        LayerConstraint = 12 "LayerConstraint",
        NetworkAcl = 13 "NetworkACL",
        NeighborDiscovery = 14 "NeighborDiscovery",
    }
}

enumeration! {
    /// Resources of a network that can be modified (2.12).
    NetworkResourceType {
        Dns = 0 "DNS",
        Extension = 1 "Extension",
        Policy = 2 "Policy",
        Subnet = 3 "Subnet",
        IpSubnet = 4 "IPSubnet",
    }
}

enumeration! {
    /// IpamType (2.5).
    IpamType {
        Static = 0 "Static",
        Dhcp = 1 "Dhcp",
    }
}

flag_set! {
    /// SubnetFlags (2.5).
    SubnetFlags {
        DO_NOT_RESERVE_GATEWAY_ADDRESS = 1 "DoNotReserveGatewayAddress",
    }
}

flag_set! {
    /// IPSubnetFlags (2.5).
    IpSubnetFlags ("IPSubnetFlags") {
        ENABLE_BROADCAST = 1 "EnableBroadcast",
        RESERVE_NETWORK_ADDRESS = 2 "ReserveNetworkAddress",
    }
}

enumeration! {
    /// SubnetPolicyType (2.5).
    SubnetPolicyType {
        Vlan = 0 "VLAN",
        Vsid = 1 "VSID",
    }
}
