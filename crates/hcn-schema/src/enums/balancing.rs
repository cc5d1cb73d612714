//! Enumerations of load balancers (contract 2.8).

use super::enumeration::enumeration;
use super::flag_set::flag_set;

flag_set! {
    /// LoadBalancerFlags (2.8).
    LoadBalancerFlags {
        ENABLE_DIRECT_SERVER_RETURN = 1 "EnableDirectServerReturn",
        IPV6 = 2 "IPv6",
    }
}

flag_set! {
    /// LoadBalancerPortMappingFlags (2.8).
    PortMappingFlags ("LoadBalancerPortMappingFlags") {
        ENABLE_INTERNAL_LOAD_BALANCER = 1 "EnableInternalLoadBalancer",
        LOCAL_ROUTED_VIP = 2 "LocalRoutedVip",
        USE_MUX = 4 "NotUsed",
        ENABLE_PRESERVE_DIP = 8 "EnablePreserveDip",
        VIP_EXTERNAL_IP = 16 "VipExternalIP",
    }
}

enumeration! {
    /// LoadBalancerDistribution (2.8): what keeps connections of a client at one back end.
    DistributionType ("LoadBalancerDistribution"): number {
        None = 0 "None",
        SourceIpProtocol = 1 "SourceIPProtocol",
        SourceIp = 2 "SourceIP",
    }
}
