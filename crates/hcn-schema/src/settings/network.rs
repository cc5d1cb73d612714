//! Settings of policies of networks and subnets (contract 2.13).

use crate::document::document;
use crate::enums::SetPolicyType;

document! {
    /// Settings of the network policy SourceMacAddress.
    SourceMacAddressSettings ("SourceMacAddressNetworkPolicySetting") {
        /// Source address of frames on the wire.
        source_mac_address: text "SourceMacAddress",
    }
}

document! {
    /// Settings of the network policy NetAdapterName.
    NetAdapterNameSettings ("NetAdapterNameNetworkPolicySetting") {
        /// The uplink.
        network_adapter_name: text "NetworkAdapterName",
    }
}

document! {
    /// Settings of the policy InterfaceConstraint, of networks and endpoints: the one uplink to use.
    InterfaceConstraintSettings ("InterfaceConstraintPolicySetting") {
        /// Its GUID.
        interface_guid: guid "InterfaceGuid",
        /// Its LUID.
        interface_luid: u64 "InterfaceLuid",
        /// Its index.
        interface_index: u32 "InterfaceIndex",
        /// Its medium.
        interface_media_type: u32 "InterfaceMediaType",
        /// Its name.
        interface_alias: text "InterfaceAlias",
        /// Its description.
        interface_description: text "InterfaceDescription",
    }
}

document! {
    /// Settings of the network policy VSwitchExtension.
    VSwitchExtensionSettings ("VSwitchExtensionNetworkPolicySetting") {
        /// GUID of the extension.
        extension_id: guid "ExtensionID",
        /// Whether it shall work.
        enable: bool "Enable",
    }
}

document! {
    /// Settings of the policy ProviderAddress: of the uplink of a network, or of the host of a remote endpoint.
    ProviderAddressSettings ("ProviderAddressPolicySetting") {
        /// Underlay address.
        provider_address: text "ProviderAddress",
    }
}

document! {
    /// Settings of the network policy DrMacAddress.
    DrMacAddressSettings ("DrMacAddressNetworkPolicySetting") {
        /// MAC address of the distributed router on this host.
        address: text "Address",
    }
}

document! {
    /// Settings of the network policy AutomaticDNS.
    AutomaticDnsSettings ("AutomaticDNSNetworkPolicySetting") {
        /// Whether the host answers DNS queries of the endpoints.
        enable: bool "Enable",
    }
}

document! {
    /// Settings of the network policy RemoteSubnetRoute: a subnet of an overlay on another host.
    RemoteSubnetRouteSettings ("RemoteSubnetRoutePolicySetting") {
        /// The subnet in CIDR form.
        destination_prefix: text "DestinationPrefix",
        /// VSID of the subnet, 24 bits.
        isolation_id: u32 "IsolationId",
        /// Underlay address of that host.
        provider_address: text "ProviderAddress",
        /// MAC address of the distributed router on that host.
        distributed_router_mac_address: text "DistributedRouterMacAddress",
    }
}

document! {
    /// Settings of the network policy VxlanPort.
    VxlanPortSettings ("VxlanPortPolicySetting") {
        /// UDP port; 4789 when absent.
        port: u16 "Port",
    }
}

document! {
    /// Settings of the network policy HostRoute: none.
    HostRouteSettings ("HostRoutePolicySetting") {}
}

document! {
    /// Settings of the network policy SetPolicy: a set that rules refer to.
    SetPolicySettings ("SetPolicySetting") {
        /// What rules call the set.
        id: text "Id",
        /// What people call the set.
        name: text "Name",
        /// Set of addresses when absent.
        policy_type: choice(SetPolicyType) "PolicyType",
        /// Addresses and prefixes, or IDs of other sets, separated by commas.
        values: text "Values",
    }
}

document! {
    /// Settings of the network policy LayerConstraint.
    LayerConstraintSettings ("LayerConstraintNetworkPolicySetting") {
        /// GUID of the layer; networks with the same one share a switch.
        layer_id: guid "LayerId",
    }
}

document! {
    /// Settings of the network policy NeighborDiscovery: who answers for addresses. PowerShell only.
    NeighborDiscoverySettings {
        /// The addresses in CIDR form.
        target_ip_prefix: text "TargetIpPrefix",
        /// Address of the one who answers.
        sender_ip_address: text "SenderIpAddress",
        /// MAC address of the one who answers.
        sender_mac_address: text "SenderMacAddress",
    }
}

document! {
    /// Settings of the subnet policy VSID.
    VsidSettings ("VsidPolicySetting") {
        /// VSID, which is the VXLAN network identifier, 24 bits.
        isolation_id: u32 "IsolationId",
    }
}
