//! Documents of version 1, the form that HNS had before HCN (contract 2.16, 5.2 to 5.4). Policies are flat there: their
//! type and their settings stand side by side, so lists of them are kept raw.

use crate::document::document;
use crate::enums::{
    DistributionType, EndpointFlags, IpSubnetFlags, NetworkFlags, NetworkMode, PortMappingFlags,
    ProtocolType, SubnetFlags,
};
use crate::network::MacRange;

document! {
    /// A network.
    HnsNetwork {
        /// GUID.
        id: guid "ID",
        /// Free text of the client.
        owner: text "Owner",
        /// Free text of the client; unique among networks.
        name: text "Name",
        /// How the network realises itself; NAT when absent.
        kind: choice(NetworkMode) "Type",
        /// Subnets.
        subnets: objects(HnsSubnet) "Subnets",
        /// Where endpoints get their MAC addresses from.
        mac_pools: objects(MacRange) "MacPools",
        /// Addresses of DNS servers, separated by commas.
        dns_server_list: text "DNSServerList",
        /// Search list of DNS, separated by commas.
        dns_suffix: text "DNSSuffix",
        /// Domain of DNS.
        dns_domain: text "DNSDomain",
        /// Name of the uplink.
        network_adapter_name: text "NetworkAdapterName",
        /// Source MAC address of frames on the wire.
        source_mac: text "SourceMac",
        /// GUID of the layer to be on.
        layer_id: guid "LayerId",
        /// Address of the host on the uplink.
        management_ip: text "ManagementIP",
        /// MAC address of the distributed router of an overlay.
        dr_mac_address: text "DrMacAddress",
        /// Flags.
        flags: flags(NetworkFlags) "Flags",
        /// Flag IsolateVSwitch by another name.
        isolate_switch: bool "IsolateSwitch",
        /// Whether the host answers DNS queries of the endpoints.
        automatic_dns: bool "AutomaticDNS",
        /// The one uplink to use.
        interface_constraint: any "InterfaceConstraint",
        /// Extensions of the switch.
        extensions: objects(HnsExtension) "Extensions",
        /// Flat policies.
        policies: anys "Policies",
        /// Whether there is an IPv6 subnet; output only.
        ipv6: bool "IPv6",
        /// What networks on the same uplink share; output only.
        layered_on: guid "LayeredOn",
        /// Switch of the network; output only.
        switch_guid: guid "SwitchGuid",
        /// Name of that switch; output only.
        switch_name: text "SwitchName",
        /// How many endpoints it has; output only.
        current_endpoint_count: u32 "CurrentEndpointCount",
        /// Kept as it came.
        additional_params: any "AdditionalParams",
        /// What of the host it consists of; output only, when asked for in detail.
        resources: any "Resources",
        /// How it is; output only.
        health: any "Health",
        /// Where it is in its life; output only.
        state: u16 "State",
        /// Revision; output only.
        version: u64 "Version",
        /// Version of the document.
        schema_version: version "SchemaVersion",
    }
}

document! {
    /// A subnet of a network.
    HnsSubnet {
        /// GUID.
        id: guid "ID",
        /// CIDR; `0.0.0.0/0` = the service chooses one.
        address_prefix: text "AddressPrefix",
        /// Next hop of the default route.
        gateway_address: text "GatewayAddress",
        /// Flat policies: VLAN and VSID.
        policies: anys "Policies",
        /// Parts of the prefix.
        ip_subnets: objects(HnsIpSubnet) "IpSubnets",
        /// Flags.
        flags: flags(SubnetFlags) "Flags",
        /// Kept as it came.
        additional_params: any "AdditionalParams",
        /// 5; output only.
        object_type: u8 "ObjectType",
        /// Where it is in its life; output only.
        state: u16 "State",
    }
}

document! {
    /// A part of a subnet.
    HnsIpSubnet {
        /// GUID.
        id: guid "ID",
        /// CIDR.
        ip_address_prefix: text "IpAddressPrefix",
        /// Flags.
        flags: flags(IpSubnetFlags) "Flags",
        /// 6; output only.
        object_type: u8 "ObjectType",
    }
}

document! {
    /// An extension of a network's switch.
    HnsExtension {
        /// GUID.
        id: guid "Id",
        /// Whether it works.
        is_enabled: bool "IsEnabled",
        /// Name.
        name: text "Name",
    }
}

document! {
    /// An endpoint.
    HnsEndpoint {
        /// GUID.
        id: guid "ID",
        /// Free text of the client.
        owner: text "Owner",
        /// Free text of the client.
        name: text "Name",
        /// GUID of the network.
        virtual_network: guid "VirtualNetwork",
        /// Name of the network; looked at when there is no GUID.
        virtual_network_name: text "VirtualNetworkName",
        /// IPv4 address.
        ip_address: text "IPAddress",
        /// Prefix length of the IPv4 address; the subnet's when absent.
        prefix_length: u8 "PrefixLength",
        /// IPv6 address.
        ipv6_address: text "IPv6Address",
        /// Prefix length of the IPv6 address; the subnet's when absent.
        ipv6_prefix_length: u8 "IPv6PrefixLength",
        /// Next hop of the IPv4 default route.
        gateway_address: text "GatewayAddress",
        /// Next hop of the IPv6 default route.
        gateway_address_v6: text "GatewayAddressV6",
        /// MAC address.
        mac_address: text "MacAddress",
        /// Addresses of DNS servers, separated by commas.
        dns_server_list: text "DNSServerList",
        /// Search list of DNS, separated by commas.
        dns_suffix: text "DNSSuffix",
        /// Domain of DNS.
        dns_domain: text "DNSDomain",
        /// Flat policies.
        policies: anys "Policies",
        /// Flags.
        flags: flags(EndpointFlags) "Flags",
        /// Flag OverrideDNSServerOrder by another name.
        enable_internal_dns: bool "EnableInternalDNS",
        /// Flag DisableInterComputeCommunication by another name.
        disable_icc: bool "DisableICC",
        /// Flag EnableLowInterfaceMetric by another name.
        enable_low_metric: bool "EnableLowMetric",
        /// Flag RemoteEndpoint by another name.
        is_remote_endpoint: bool "IsRemoteEndpoint",
        /// Bytes by which the MTU is less than the network's.
        encap_overhead: u16 "EncapOverhead",
        /// Name of the port.
        port_friendly_name: text "PortFriendlyName",
        /// The one uplink to use.
        interface_constraint: any "InterfaceConstraint",
        /// The namespace that it is in; output only.
        namespace: object(HnsNamespace) "Namespace",
        /// Containers that share it; output only.
        shared_containers: texts "SharedContainers",
        /// GUID of the virtual machine that it is attached to; output only.
        virtual_machine: guid "VirtualMachine",
        /// Kept as it came.
        additional_params: any "AdditionalParams",
        /// What of the host it consists of; output only, when asked for in detail.
        resources: any "Resources",
        /// How it is; output only.
        health: any "Health",
        /// Where it is in its life; output only.
        state: u16 "State",
        /// Revision; output only.
        version: u64 "Version",
        /// Version of the document.
        schema_version: version "SchemaVersion",
    }
}

document! {
    /// A namespace.
    HnsNamespace {
        /// GUID.
        id: guid "ID",
        /// Free text of the client.
        owner: text "Owner",
        /// Free text of the client.
        name: text "Name",
        /// Whether it is the host's own, or the default one of a guest.
        is_default: bool "IsDefault",
        /// Compartment number.
        compartment_id: u32 "CompartmentId",
        /// GUID of the compartment; output only.
        compartment_guid: guid "CompartmentGuid",
        /// Identifiers of the containers in it; output only.
        containers: texts "Containers",
        /// What is in it, in the order of adding; output only.
        resource_list: objects(HnsResource) "ResourceList",
        /// Kept as it came.
        additional_params: any "AdditionalParams",
        /// What of the host it consists of; output only, when asked for in detail.
        resources: any "Resources",
        /// How it is; output only.
        health: any "Health",
        /// Where it is in its life; output only.
        state: u16 "State",
        /// Revision; output only.
        version: u64 "Version",
        /// Version of the document.
        schema_version: version "SchemaVersion",
    }
}

document! {
    /// A resource of a namespace, and the request to add or to remove one.
    HnsResource {
        /// Endpoint or Container.
        kind: text "Type",
        /// Which one.
        data: object(HnsResourceData) "Data",
    }
}

document! {
    /// The identifier of a resource.
    HnsResourceData {
        /// GUID of an endpoint, or identifier of a container.
        id: text "Id" or "ID",
    }
}

document! {
    /// A policy list: a load balancer or an SDN route.
    HnsPolicyList {
        /// GUID.
        id: guid "ID",
        /// Free text of the client.
        owner: text "Owner",
        /// Free text of the client.
        name: text "Name",
        /// Paths of the endpoints: `/endpoints/ID`.
        references: texts "References",
        /// Flat policies, all ELB or all ROUTE.
        policies: anys "Policies",
        /// Kept as it came.
        additional_params: any "AdditionalParams",
        /// What of the host it consists of; output only, when asked for in detail.
        resources: any "Resources",
        /// How it is; output only.
        health: any "Health",
        /// Where it is in its life; output only.
        state: u16 "State",
        /// Revision; output only.
        version: u64 "Version",
        /// Version of the document.
        schema_version: version "SchemaVersion",
    }
}

document! {
    /// The flat policy ELB: one port of a load balancer.
    HnsElbPolicy {
        /// `ELB`.
        kind: text "Type",
        /// Transport protocol, a number on output.
        protocol: choice(ProtocolType) "Protocol",
        /// Of the back ends.
        internal_port: u16 "InternalPort",
        /// Of the front ends.
        external_port: u16 "ExternalPort",
        /// What back ends see as the client.
        source_vip: text "SourceVIP",
        /// What clients connect to; none = every address of the host.
        vips: texts "VIPs",
        /// Whether only endpoints can use it.
        ilb: bool "ILB",
        /// Whether back ends answer to clients directly.
        is_dsr: bool "IsDSR",
        /// What keeps connections of a client at one back end; version 2 only.
        distribution_type: choice(DistributionType) "DistributionType",
        /// Flags of the port mapping but that of ILB; version 2 only.
        flags: flags(PortMappingFlags) "Flags",
    }
}

document! {
    /// The request to attach an endpoint to something, or to detach it.
    HnsAttachRequest {
        /// Identifier of a container.
        container_id: text "ContainerId",
        /// Container (when absent), VirtualMachine or Host.
        system_type: text "SystemType",
        /// Number of a namespace; 0 and 1 are the host.
        compartment_id: u32 "CompartmentId",
        /// Name of the adapter: `MACHINE--ENDPOINT`, each a GUID.
        virtual_nic_name: text "VirtualNicName",
    }
}

document! {
    /// The list of `/accelnet/`.
    HnsAccelnet {
        /// Addresses that are managed by others.
        mac_address_list: objects(HnsMacAddress) "MacAddressList",
    }
}

document! {
    /// An element of that list.
    HnsMacAddress {
        /// MAC address; returned as it came.
        mac_address: text "MacAddress",
    }
}
