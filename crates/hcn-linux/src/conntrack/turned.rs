//! UDP flows of an endpoint that its own policies treat otherwise than before. Connections of TCP go on as they were
//! begun.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hcn_dataplane::{Diversion, Family, Object, Outbound, Source};

use super::{
    CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT, CTA_PROTO_NUM,
    CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_TUPLE_REPLY, Stale,
};
use crate::attributes::find;

/// UDP.
const UDP: u8 = 17;

/// What the endpoint's policies were, and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turned {
    from: Option<Object>,
    to: Option<Object>,
}

/// What becomes of a flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It gets this source.
    From(Source),
    /// A proxy gets it.
    To(SocketAddr, bool),
}

impl Stale {
    /// What becomes stale when an endpoint's translation becomes another.
    pub(crate) fn turned(from: Option<&Object>, to: Option<&Object>) -> Option<Self> {
        let has_addresses = |object: &&Object| !addresses(object).is_empty();
        from.or(to).filter(has_addresses)?;
        Some(Self::Turned(Box::new(Turned { from: from.cloned(), to: to.cloned() })))
    }
}

impl Turned {
    pub(super) fn is_of(&self, family: Family) -> bool {
        self.sources().any(|address| Family::of(address) == family)
    }

    fn sources(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.from.iter().chain(&self.to).flat_map(|object| addresses(object).iter().copied())
    }

    pub(super) fn fits(&self, flow: &[u8]) -> bool {
        self.turns(flow).unwrap_or_default()
    }

    fn turns(&self, flow: &[u8]) -> Option<bool> {
        let (original, reply) = (find(flow, CTA_TUPLE_ORIG)?, find(flow, CTA_TUPLE_REPLY)?);
        let ports = find(original, CTA_TUPLE_PROTO)?;
        if find(ports, CTA_PROTO_NUM)? != [UDP] {
            return None;
        }
        let source = address(original, CTA_IP_V4_SRC, CTA_IP_V6_SRC)?;
        let destination = address(original, CTA_IP_V4_DST, CTA_IP_V6_DST)?;
        let answers = address(reply, CTA_IP_V4_SRC, CTA_IP_V6_SRC)?;
        let port = u16::from_be_bytes(find(ports, CTA_PROTO_DST_PORT)?.try_into().ok()?);
        let to = SocketAddr::new(destination, port);
        let fate = |object: &Option<Object>| {
            let object = object.as_ref().filter(|object| addresses(object).contains(&source))?;
            match object {
                // What leads it elsewhere says from whom, too.
                Object::Outbound(outbound) if answers == destination => outbound_fate(outbound, to),
                Object::Diversion(diversion) => diverted_fate(diversion, to),
                _ => None,
            }
        };
        Some(fate(&self.from) != fate(&self.to))
    }
}

fn addresses(object: &Object) -> &[IpAddr] {
    match object {
        Object::Outbound(outbound) => &outbound.addresses,
        Object::Diversion(diversion) => &diversion.addresses,
        _ => &[],
    }
}

fn outbound_fate(outbound: &Outbound, to: SocketAddr) -> Option<Fate> {
    let family = Family::of(to.ip());
    outbound.rules.iter().filter(|rule| rule.family == family).find_map(|rule| {
        let holds = |prefixes: &[ipnet::IpNet]| prefixes.iter().any(|prefix| prefix.contains(&to.ip()));
        if holds(&rule.exceptions) {
            return Some(Fate::From(Source::Client));
        }
        (rule.destinations.is_empty() || holds(&rule.destinations)).then_some(Fate::From(rule.source))
    })
}

fn diverted_fate(diversion: &Diversion, to: SocketAddr) -> Option<Fate> {
    let family = Family::of(to.ip());
    let rule = diversion.rules.iter().filter(|rule| Family::of(rule.proxy.ip()) == family).find(|rule| {
        let holds = |prefixes: &[ipnet::IpNet]| prefixes.iter().any(|prefix| prefix.contains(&to.ip()));
        (rule.protocols.is_empty() || rule.protocols.contains(&UDP))
            && (rule.destinations.is_empty() || holds(&rule.destinations))
            && !holds(&rule.exceptions)
            && (rule.ports.is_empty()
                || rule.ports.iter().any(|ports| (ports.first..=ports.last).contains(&to.port())))
    })?;
    Some(Fate::To(rule.proxy, rule.masquerade))
}

fn address(tuple: &[u8], v4: u16, v6: u16) -> Option<IpAddr> {
    let part = find(tuple, CTA_TUPLE_IP)?;
    if let Some(octets) = find(part, v4) {
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into());
    }
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(find(part, v6)?).ok()?).into())
}

#[cfg(test)]
mod tests {
    use hcn_dataplane::OutboundRule;

    use super::*;

    fn outbound(exceptions: &[&str]) -> Outbound {
        let rule = OutboundRule {
            family: Family::V4,
            destinations: Vec::new(),
            exceptions: exceptions.iter().map(|prefix| prefix.parse().unwrap()).collect(),
            source: Source::Masquerade,
        };
        Outbound {
            port: "hve1".into(),
            bridge: "hcn1".into(),
            addresses: vec!["10.7.0.2".parse().unwrap()],
            rules: vec![rule],
        }
    }

    #[test]
    fn the_first_rule_that_is_about_a_destination_decides() {
        let fate = |to: &str| outbound_fate(&outbound(&["192.0.2.0/24"]), to.parse().unwrap());
        assert!(fate("192.0.2.7:53") == Some(Fate::From(Source::Client)));
        assert!(fate("198.51.100.7:53") == Some(Fate::From(Source::Masquerade)));
        assert!(fate("[2001:db8::7]:53").is_none());
    }
}
