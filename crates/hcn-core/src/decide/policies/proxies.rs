//! Proxies: L4Proxy and L4WFPPROXY (contract 2.14).

use std::net::SocketAddr;

use hcn_schema::enums::{OneOf, ProtocolType};
use hcn_schema::settings::{L4ProxySettings, L4WfpProxySettings, ProxyExceptions};
use hcn_schema::{Raw, Result};

use super::{rules, settings, words};

/// What addresses and prefixes are expected to be.
const PLACE: &str = "an address or a prefix";

/// Settings of an L4Proxy, of networks and endpoints.
pub(super) fn l4(raw: Option<&Raw>) -> Result<()> {
    let proxy: L4ProxySettings = settings(raw)?;
    words::each(proxy.ip.as_deref(), "IP", "addresses and prefixes, separated by commas", words::is_place)?;
    words::ports(proxy.port.as_deref(), "Port")?;
    protocol(proxy.protocol.as_ref())?;
    // The schema's name for it, or that of Go clients.
    let schema = raw.is_some_and(|raw| raw.get().contains("\"ExceptionList\""));
    let exceptions = if schema { "ExceptionList" } else { "Exceptions" };
    words::all(&proxy.exception_list, exceptions, PLACE, words::is_place)?;
    let expected = "ADDRESS:PORT of the proxy";
    let given = proxy.destination.ok_or_else(|| words::missing("Destination", expected))?;
    if given.trim().parse::<SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return Ok(());
    }
    Err(words::wrong(&given, "Destination", expected))
}

/// Protocols without a name are given by their numbers.
fn protocol(given: Option<&OneOf<ProtocolType>>) -> Result<()> {
    match given {
        Some(OneOf::Unknown(text)) if words::is_protocol(text) => Ok(()),
        other => rules::one_of(other, "Protocol").map(drop),
    }
}

/// Settings of an L4WFPPROXY: a proxy for at least one direction.
pub(super) fn l4_wfp(proxy: &L4WfpProxySettings) -> Result<()> {
    if proxy.inbound_proxy_port.is_none() && proxy.outbound_proxy_port.is_none() {
        return Err(words::missing("OutboundProxyPort", "InboundProxyPort, OutboundProxyPort or both"));
    }
    words::port(proxy.inbound_proxy_port.as_deref(), "InboundProxyPort")?;
    words::port(proxy.outbound_proxy_port.as_deref(), "OutboundProxyPort")?;
    if let Some(filter) = &proxy.filter_tuple {
        rules::filter(filter).map_err(|error| error.within("FilterTuple"))?;
    }
    exceptions(proxy.inbound_exceptions.as_ref(), "InboundExceptions")?;
    exceptions(proxy.outbound_exceptions.as_ref(), "OutboundExceptions")
}

fn exceptions(given: Option<&ProxyExceptions>, member: &str) -> Result<()> {
    let Some(given) = given else { return Ok(()) };
    words::all(&given.ip_address_exceptions, "IpAddressExceptions", PLACE, words::is_place)
        .and_then(|()| {
            words::all(
                &given.port_exceptions,
                "PortExceptions",
                "a port or a range like 80-90",
                words::is_ports,
            )
        })
        .map_err(|error| error.within(member))
}
