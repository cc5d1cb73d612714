//! Port mappings of endpoints (contract 2.14): parsing, choosing ports, and who has published what.

use std::net::SocketAddr;

use hcn_dataplane::{Family, Frontend, Protocol};
use hcn_schema::call::Kind;
use hcn_schema::enums::{EndpointPolicyType, NatFlags, NetworkMode, OneOf, ProtocolType};
use hcn_schema::policy::{EndpointPolicy, PortMappingSettings};
use hcn_schema::{Error, HResult, Result};
use ipnet::IpNet;

use super::{Cursors, Outcome, Refusal, View};
use crate::entity::{EntityKey, Network, PortMapping};
use crate::{pools, text};

/// The endpoint that the mappings belong to.
pub(super) struct Owner<'a> {
    pub key: EntityKey,
    pub network: &'a Network,
    pub addresses: &'a [IpNet],
    pub remote: bool,
}

/// Parses the port mappings among an endpoint's policies. Where no external port is given one is chosen, and written
/// into the policy. `path` is that of the list.
pub(super) fn mappings(
    view: &View<'_>,
    owner: &Owner<'_>,
    policies: &mut [EndpointPolicy],
    path: &str,
    cursors: &mut Cursors,
) -> Outcome<Vec<PortMapping>> {
    let mut mappings: Vec<PortMapping> = Vec::new();
    for (index, policy) in policies.iter_mut().enumerate() {
        if policy.kind != Some(OneOf::Known(EndpointPolicyType::PortMapping)) {
            continue;
        }
        let path = format!("{path}[{index}].Settings");
        let within = |error: Error| error.within(&path);
        let settings = policy.settings.as_ref().map_or("{}", |settings| settings.get());
        let parsed: PortMappingSettings = hcn_schema::parse(settings)
            .map_err(|error| within(Error { code: HResult::INVALID_POLICY, ..error }))?;
        check_network(owner).map_err(within)?;
        let mut mapping = mapping(owner, &parsed).map_err(within)?;
        if mapping.frontend.port == 0 {
            mapping.frontend.port = choose(view, mapping.frontend, &mappings, cursors).map_err(within)?;
            if let Some(settings) = &policy.settings {
                policy.settings = Some(settings.with_number("ExternalPort", mapping.frontend.port.into()));
            }
        }
        if mappings.iter().any(|other| other.frontend == mapping.frontend) {
            return Err(Refusal::Error(within(repeated(mapping.frontend, "the same endpoint"))));
        }
        check_free(view, mapping.frontend, owner.key).map_err(|refusal| refusal.map(within))?;
        mappings.push(mapping);
    }
    Ok(mappings)
}

fn check_network(owner: &Owner<'_>) -> Result<()> {
    if owner.remote {
        let message = "an endpoint of another host has no ports here";
        return Err(Error::new(HResult::INVALID_REMOTE_ENDPOINT_OPERATION, message));
    }
    match owner.network.mode {
        NetworkMode::Private | NetworkMode::Internal | NetworkMode::Transparent => {
            let mode = owner.network.mode.name();
            let message = format!("ports cannot be mapped into a network of type {mode}, which has no NAT");
            Err(Error::new(HResult::MAPPING_NOT_SUPPORTED, message))
        }
        _ => Ok(()),
    }
}

/// The mapping; its external port is 0 where one is to be chosen.
fn mapping(owner: &Owner<'_>, settings: &PortMappingSettings) -> Result<PortMapping> {
    let protocol = protocol(settings.protocol.as_ref(), Some(Protocol::Tcp), HResult::INVALID_POLICY)?;
    let internal = internal_port(settings.internal_port)?;
    let vip = settings.vip.as_deref().map(|vip| text::address(vip, "VIP")).transpose()?;
    let vip = vip.filter(|vip| !vip.is_unspecified());
    let has = |family| owner.addresses.iter().any(|address| Family::of(address.addr()) == family);
    let family = match vip {
        Some(vip) => Family::of(vip),
        None if settings.flags.has(NatFlags::IPV6) || !has(Family::V4) => Family::V6,
        None => Family::V4,
    };
    let target = owner.addresses.iter().map(IpNet::addr).find(|address| Family::of(*address) == family);
    let Some(target) = target else {
        let message = format!("the endpoint has no {} address to map a port to", name_of(family));
        let path = if vip.is_some() { "VIP" } else { "Flags" };
        return Err(Error::new(HResult::INVALID_POLICY, message).at(path));
    };
    let frontend =
        Frontend { family, address: vip, protocol, port: settings.external_port.unwrap_or_default() };
    let reserved = settings.flags.has(NatFlags::EXTERNAL_PORT_RESERVED) && frontend.port != 0;
    Ok(PortMapping {
        frontend,
        target: SocketAddr::new(target, internal),
        from_host: settings.flags.has(NatFlags::LOCAL_ROUTED_VIP),
        // A port of one address alone may go on serving the host's programs at others.
        held: vip.is_none() && !reserved,
    })
}

fn name_of(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// A protocol that has ports; `code` is for all others.
pub(super) fn protocol(
    given: Option<&OneOf<ProtocolType>>,
    absent: Option<Protocol>,
    code: HResult,
) -> Result<Protocol> {
    let refuse = |what: String| {
        Err(Error::new(code, format!("{what} has no ports to map"))
            .at("Protocol")
            .expected("6 (TCP), 17 (UDP) or 132 (SCTP)"))
    };
    match given {
        Some(OneOf::Known(ProtocolType::Tcp)) => Ok(Protocol::Tcp),
        Some(OneOf::Known(ProtocolType::Udp)) => Ok(Protocol::Udp),
        Some(OneOf::Known(ProtocolType::Sctp)) => Ok(Protocol::Sctp),
        None | Some(OneOf::Known(ProtocolType::Unknown)) => match absent {
            Some(protocol) => Ok(protocol),
            None => refuse("a mapping without a protocol".to_owned()),
        },
        Some(OneOf::Known(other)) => refuse(format!("protocol {}", other.name())),
        Some(OneOf::Unknown(text)) => refuse(format!("protocol {}", text::shown(text))),
    }
}

/// The port of back ends.
pub(super) fn internal_port(given: Option<u16>) -> Result<u16> {
    given.filter(|port| *port != 0).ok_or_else(|| {
        Error::new(HResult::INVALID_INTERNAL_PORT, "the internal port is missing or zero")
            .at("InternalPort")
            .expected("1 to 65535")
    })
}

/// A free external port for a front end.
fn choose(view: &View<'_>, frontend: Frontend, own: &[PortMapping], cursors: &mut Cursors) -> Result<u16> {
    let after = cursors.port.or(view.cursors.port);
    let is_free = |port: u16| {
        let frontend = Frontend { port, ..frontend };
        let published = view.registry.publisher_of(&frontend).or(view.turns.withdraws(&frontend));
        published.is_none() && own.iter().all(|other| other.frontend != frontend)
    };
    let port = pools::next_port(after, is_free).ok_or_else(|| {
        Error::new(HResult::PORT_ALREADY_EXISTS, "every port that the service may choose is in use")
            .at("ExternalPort")
            .expected("a port")
    })?;
    cursors.port = Some(port);
    Ok(port)
}

/// Refuses a front end that another entity has published, or waits to see whether it goes on to.
pub(super) fn check_free(view: &View<'_>, frontend: Frontend, own: EntityKey) -> Outcome<()> {
    if let Some(key) = view.turns.withdraws(&frontend).filter(|key| *key != own) {
        view.settled(key.kind, key.id)?;
    }
    let reserved = view.registry.port_reservations.iter().find(|reservation| {
        reservation.first < reservation.last
            && (reservation.first..=reservation.last).contains(&frontend.port)
            && reservation.protocols.contains(&frontend.protocol)
    });
    if let Some(reservation) = reserved {
        view.settled(Kind::PortReservation, reservation.meta.id)?;
        let by = format!("the port reservation {}", reservation.meta.id);
        return Err(Refusal::Error(repeated(frontend, &by)));
    }
    let Some(publisher) = view.registry.publisher_of(&frontend).filter(|publisher| *publisher != own) else {
        return Ok(());
    };
    view.settled(publisher.kind, publisher.id)?;
    Err(Refusal::Error(repeated(frontend, &format!("the {} {}", publisher.kind, publisher.id))))
}

/// The error for a front end that is in use.
pub(super) fn repeated(frontend: Frontend, by: &str) -> Error {
    Error::new(HResult::PORT_ALREADY_EXISTS, format!("{frontend} is published already by {by}"))
        .at("ExternalPort")
        .expected("another port")
}
