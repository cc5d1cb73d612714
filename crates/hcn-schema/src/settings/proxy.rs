//! Connections of an endpoint that go through a proxy.

use super::FiveTuple;
use crate::document::document;
use crate::enums::ProtocolType;

document! {
    /// Settings of the policy L4Proxy, of networks and endpoints.
    L4ProxySettings ("L4ProxyPolicySetting") {
        /// Destination prefix of the connections; any when absent.
        ip: text "IP",
        /// Destination port of the connections; any when absent.
        port: text "Port",
        /// Transport protocol, a number on output.
        protocol: choice(ProtocolType) "Protocol",
        /// Destination prefixes that are left alone. Go clients say `Exceptions`.
        exception_list: texts "ExceptionList" or "Exceptions",
        /// The proxy, as `address:port`.
        destination: text "Destination",
        /// Whether the proxy sees the host as its client. Go clients say `OutboundNAT`.
        outbound_nat: bool "OutboundNat" or "OutboundNAT",
    }
}

document! {
    /// Settings of the endpoint policy L4WFPPROXY.
    L4WfpProxySettings ("L4WfpProxyPolicySetting") {
        /// Port of the proxy for connections to the endpoint.
        inbound_proxy_port: text "InboundProxyPort",
        /// Port of the proxy for connections from the endpoint.
        outbound_proxy_port: text "OutboundProxyPort",
        /// Which connections.
        filter_tuple: object(FiveTuple) "FilterTuple",
        /// The proxy's own user, whose connections are left alone.
        user_sid: text "UserSID",
        /// Connections to the endpoint that are left alone.
        inbound_exceptions: object(ProxyExceptions) "InboundExceptions",
        /// Connections from the endpoint that are left alone.
        outbound_exceptions: object(ProxyExceptions) "OutboundExceptions",
    }
}

document! {
    /// ProxyExceptions.
    ProxyExceptions {
        /// Addresses and prefixes.
        ip_address_exceptions: texts "IpAddressExceptions",
        /// Ports.
        port_exceptions: texts "PortExceptions",
    }
}
