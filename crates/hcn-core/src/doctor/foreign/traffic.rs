//! Which packets does hcnd carry? For each network some that stand for the rest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hcn_dataplane::{Family, Object, Protocol, Service};
use hcn_schema::enums::NetworkMode;

use super::super::Facts;
use super::packet::Packet;
use crate::entity::Network;
use crate::text;

/// Stand for everything that is elsewhere: one address of the Internet's each (of the root server A).
const ELSEWHERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4));
const ELSEWHERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30));
const HTTPS: u16 = 443;
const DNS: u16 = 53;
const DHCP: u16 = 67;
/// A port that a client is given.
const CLIENT: u16 = 40_000;
/// So many networks are looked at: rules that drop one network's packets mostly drop others', too.
pub(super) const NETWORKS: usize = 50;

/// A network in one family.
struct Place<'a> {
    network: &'a Network,
    name: String,
    family: Family,
    /// Of a container.
    address: IpAddr,
}

/// The packets of all networks, each with the bridge of its network.
pub(super) fn packets(facts: &Facts<'_>) -> Vec<(String, Packet)> {
    let networks = facts.registry.networks.iter().filter(|network| network.sharing().is_none());
    let places: Vec<Place<'_>> = networks
        .take(NETWORKS)
        .flat_map(|network| [Family::V4, Family::V6].map(|family| (network, family)))
        .filter_map(|(network, family)| {
            let address = container(facts, network, family)?;
            let name = text::shown(network.name());
            let name = if network.name().is_empty() { network.meta.id.to_string() } else { name };
            Some(Place { network, name, family, address })
        })
        .collect();
    let mut packets = Vec::new();
    for (at, place) in places.iter().enumerate() {
        let mut add = |packet: Packet| packets.push((place.network.bridge.clone(), packet));
        if shows_frames(facts, place) {
            add(bridged(place));
        }
        if leads_out(place.network) {
            let uplink = place.network.uplink.as_ref().map(|uplink| uplink.link.clone());
            if let Some(uplink) = uplink.or_else(|| facts.uplink().map(str::to_owned)) {
                to_elsewhere(facts, place, &uplink).into_iter().for_each(&mut add);
                published(facts, place, &uplink).into_iter().for_each(&mut add);
            }
            let other = places[at + 1..].iter().chain(&places[..at]).find(|other| {
                other.family == place.family
                    && other.network.meta.id != place.network.meta.id
                    && leads_out(other.network)
            });
            if let Some(other) = other {
                add(to_other(place, other));
            }
        }
        responders(facts, place).into_iter().for_each(&mut add);
        tunnels(facts, place).into_iter().for_each(&mut add);
    }
    packets
}

/// Whether the host forwards between the network and elsewhere.
fn leads_out(network: &Network) -> bool {
    let translated =
        matches!(network.mode, NetworkMode::Nat | NetworkMode::Ics | NetworkMode::ConstrainedIcs);
    translated || network.is_routed()
}

/// The address of a container: that of an endpoint, else one that an endpoint could have.
fn container(facts: &Facts<'_>, network: &Network, family: Family) -> Option<IpAddr> {
    let of_family = |address: &IpAddr| Family::of(*address) == family;
    let endpoints = facts.registry.endpoints_of(network.meta.id).filter(|endpoint| !endpoint.remote);
    let taken = endpoints.flat_map(|endpoint| &endpoint.addresses).map(ipnet::IpNet::addr).find(of_family);
    taken.or_else(|| {
        let subnets = network.subnets.iter().filter(|subnet| Family::of(subnet.prefix.addr()) == family);
        let mut hosts = subnets.flat_map(|subnet| {
            subnet.prefix.hosts().take(4).filter(|host| Some(*host) != subnet.gateway).collect::<Vec<_>>()
        });
        hosts.next()
    })
}

fn shows_frames(facts: &Facts<'_>, place: &Place<'_>) -> bool {
    let (setting, at) = match place.family {
        Family::V4 => ("net.bridge.bridge-nf-call-iptables", 0),
        Family::V6 => ("net.bridge.bridge-nf-call-ip6tables", 1),
    };
    let bridge = facts.survey.links.iter().find(|link| link.name == place.network.bridge);
    facts.setting(setting) == Some(1) || bridge.is_some_and(|bridge| bridge.shows_frames[at])
}

fn elsewhere(family: Family) -> IpAddr {
    if family == Family::V4 { ELSEWHERE_V4 } else { ELSEWHERE_V6 }
}

/// A packet that a container sends to another link than its bridge.
fn sent(place: &Place<'_>, what: String, output: &str) -> Packet {
    Packet {
        what,
        input: Some(place.network.bridge.clone()),
        output: Some(output.to_owned()),
        source: place.address,
        destination: elsewhere(place.family),
        sent_to: None,
        protocol: Protocol::Tcp,
        source_port: CLIENT,
        port: HTTPS,
        answer: false,
        published: false,
    }
}

/// What answers a packet.
fn answer(packet: &Packet, what: String, sent_to: Option<IpAddr>) -> Packet {
    Packet {
        what,
        input: packet.output.clone(),
        output: packet.input.clone(),
        source: packet.destination,
        destination: packet.source,
        sent_to: sent_to.map(|address| (address, packet.source_port)),
        source_port: packet.port,
        port: packet.source_port,
        answer: true,
        ..packet.clone()
    }
}

fn to_elsewhere(facts: &Facts<'_>, place: &Place<'_>, uplink: &str) -> [Packet; 2] {
    let packet = sent(place, format!("from containers of {} to elsewhere", place.name), uplink);
    let own = facts.address_of(uplink, place.family).filter(|_| !place.network.is_routed());
    let back = answer(&packet, format!("answers from elsewhere to containers of {}", place.name), own);
    [packet, back]
}

/// What comes in to a published port or a load balancer of the network, and its answer.
fn published(facts: &Facts<'_>, place: &Place<'_>, uplink: &str) -> Vec<Packet> {
    let is_here =
        |address: IpAddr| Family::of(address) == place.family && place.network.subnet_of(address).is_some();
    let service = facts.wanted.iter().find_map(|(_, object)| match object {
        Object::Service(service) if service.only_from.is_empty() => {
            let target = service.backends.iter().find(|target| is_here(target.ip()))?;
            Some((service, *target))
        }
        _ => None,
    });
    let Some((Service { frontend, .. }, target)) = service else { return Vec::new() };
    let sent_to = frontend.address.or_else(|| facts.address_of(uplink, place.family));
    let packet = Packet {
        what: format!("from elsewhere to port {} of {}, which is published", frontend.port, place.name),
        input: Some(uplink.to_owned()),
        output: Some(place.network.bridge.clone()),
        source: elsewhere(place.family),
        destination: target.ip(),
        sent_to: sent_to.map(|address| (address, frontend.port)),
        protocol: frontend.protocol,
        source_port: CLIENT,
        port: target.port(),
        answer: false,
        published: true,
    };
    let what = format!("answers of port {} of {}, which is published", frontend.port, place.name);
    let back = answer(&packet, what, None);
    vec![packet, back]
}

fn to_other(place: &Place<'_>, other: &Place<'_>) -> Packet {
    let what = format!("from containers of {} to those of {}", place.name, other.name);
    Packet { destination: other.address, ..sent(place, what, &other.network.bridge) }
}

/// Between two containers of one network, where bridges show their frames to rules for IP packets.
fn bridged(place: &Place<'_>) -> Packet {
    let what = format!("between containers of {}, on its bridge", place.name);
    Packet { destination: neighbour(place.address), ..sent(place, what, &place.network.bridge) }
}

fn neighbour(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) ^ 1).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) ^ 1).into(),
    }
}

/// What a container sends to the host's own 127.0.0.1.
pub(super) fn to_localhost(facts: &Facts<'_>, network: &Network, bridge: &str) -> Option<Packet> {
    let address = container(facts, network, Family::V4)?;
    let place = Place { network, name: String::new(), family: Family::V4, address };
    Some(Packet {
        input: Some(bridge.to_owned()),
        output: None,
        destination: Ipv4Addr::LOCALHOST.into(),
        ..sent(&place, String::new(), "")
    })
}

/// Questions to hcnd's own DHCP and DNS on a bridge.
fn responders(facts: &Facts<'_>, place: &Place<'_>) -> Vec<Packet> {
    let has_one = facts.wanted.iter().any(|(_, object)| match object {
        Object::Responder(responder) => responder.bridge == place.network.bridge,
        _ => false,
    });
    let gateway = place.network.subnet_of(place.address).and_then(|subnet| subnet.gateway);
    let Some(gateway) = gateway.filter(|_| has_one && place.family == Family::V4) else { return Vec::new() };
    let question = |name: &str, port: u16| {
        let what = format!("{name} questions of containers of {} to the host", place.name);
        Packet { output: None, destination: gateway, protocol: Protocol::Udp, port, ..sent(place, what, "") }
    };
    vec![question("DNS", DNS), question("DHCP", DHCP)]
}

/// What other hosts of an overlay send, and what is sent to them.
fn tunnels(facts: &Facts<'_>, place: &Place<'_>) -> Vec<Packet> {
    let network = place.network;
    let (Some(tunnel), Some(uplink)) = (&network.tunnel, &network.uplink) else { return Vec::new() };
    let own = tunnel.local.or_else(|| facts.address_of(&uplink.link, place.family));
    let Some(own) = own.filter(|own| Family::of(*own) == place.family) else { return Vec::new() };
    let peers = tunnel.remote.iter().map(|remote| remote.provider);
    let peer = peers.into_iter().find(|peer| Family::of(*peer) == place.family);
    let packet = Packet {
        what: format!("VXLAN packets of other hosts for {}", place.name),
        input: Some(uplink.link.clone()),
        output: None,
        source: peer.unwrap_or_else(|| neighbour(own)),
        destination: own,
        protocol: Protocol::Udp,
        port: tunnel.port,
        ..sent(place, String::new(), "")
    };
    let out = Packet {
        what: format!("VXLAN packets of {} to other hosts", place.name),
        input: None,
        output: Some(uplink.link.clone()),
        source: own,
        destination: packet.source,
        ..packet.clone()
    };
    vec![packet, out]
}
