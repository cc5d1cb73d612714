//! HostComputeNetwork (contract 2.5).

use crate::dns::Dns;
use crate::document::document;
use crate::enums::{IpSubnetFlags, IpamType, NetworkFlags, NetworkMode, SubnetFlags};
use crate::policy::{NetworkPolicy, SubnetPolicy};
use crate::route::Route;

document! {
    /// A network document.
    HostComputeNetwork: Base {
        /// How the network realises itself; NAT when absent.
        kind: choice(NetworkMode) "Type",
        /// Policies, settings kept raw.
        policies: objects(NetworkPolicy) "Policies",
        /// Where endpoints get their MAC addresses from.
        mac_pool: object(MacPool) "MacPool",
        /// Default DNS settings of endpoints.
        dns: object(Dns) "Dns",
        /// Address management.
        ipams: objects(Ipam) "Ipams",
        /// Flags; written as a number.
        flags: flags(NetworkFlags) "Flags",
    }
}

document! {
    /// `AdditionalParams` of a network (2.4).
    NetworkAdditionalParams {
        /// Flags of Internet Connection Sharing.
        ics_flags: u16 "ICSFlags",
    }
}

document! {
    /// MacPool.
    MacPool {
        /// Ranges, in order of use.
        ranges: objects(MacRange) "Ranges",
    }
}

document! {
    /// One range of a MacPool; texts are returned as they came.
    MacRange {
        /// First address.
        start: text "StartMacAddress",
        /// Last address.
        end: text "EndMacAddress",
    }
}

document! {
    /// Ipam.
    Ipam {
        /// Static when absent.
        kind: strict(IpamType) "Type",
        /// Subnets.
        subnets: objects(Subnet) "Subnets",
    }
}

document! {
    /// Subnet.
    Subnet: Base {
        /// CIDR; returned exactly as it came (flannel compares the text).
        ip_address_prefix: text "IpAddressPrefix",
        /// VLAN and VSID.
        policies: objects(SubnetPolicy) "Policies",
        /// The first default route of a family gives its gateway.
        routes: objects(Route) "Routes",
        /// Parts of the prefix.
        ip_subnets: objects(IpSubnet) "IpSubnets",
        /// Flags; written as a number.
        flags: flags(SubnetFlags) "Flags",
    }
}

document! {
    /// IpSubnet.
    IpSubnet: Base {
        /// CIDR; returned exactly as it came.
        ip_address_prefix: text "IpAddressPrefix",
        /// Flags; written as a number.
        flags: flags(IpSubnetFlags) "Flags",
    }
}
