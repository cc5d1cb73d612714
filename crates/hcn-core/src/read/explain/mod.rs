//! What becomes of a packet of an endpoint, or for one, and which policy decides: the way of the first packet of a
//! connection through everything that records mean, from the same objects that the kernel gets.

mod barriers;
mod ends;
mod matching;
mod translation;
mod vlans;
mod walk;

use std::net::{IpAddr, SocketAddr};

use hcn_dataplane::{HostFacts, Object};
use hcn_schema::call::{Kind, Reference};
use hcn_schema::{Error, HResult, Raw, Result};
use serde::Deserialize;

use self::matching::Packet;
use crate::entity::{Endpoint, Entity};
use crate::lists;
use crate::registry::Registry;

/// The source port of who does not say one.
const ANY_SOURCE: u16 = 50_000;
const TCP: u8 = 6;

/// Says where the rules of an object are, those about packets to the endpoint or from it.
pub type RulesOf = fn(&Object, bool) -> Option<String>;

/// What is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Question {
    /// Where the endpoint sends: `ADDRESS:PORT`, or an address alone.
    to: Option<String>,
    /// Who sends to the endpoint, in the same form.
    from: Option<String>,
    /// The port of the endpoint that it is sent to.
    port: Option<u16>,
    /// Number or name; TCP when absent.
    protocol: Option<String>,
}

/// An answer to "what becomes of this packet, and why?". The question is a JSON object with `To` (`ADDRESS:PORT`) for a
/// packet of the endpoint, or `From` and `Port` for one that comes to it, and `Protocol`. It is asked of the records and of
/// the addresses that the host has; connections that are there already are not looked at. `rules_of`
/// tells where in the kernel the rules of an object are.
///
/// # Errors
/// [`HResult::INVALID_JSON`] for what is no question, [`HResult::INVALID_ARGUMENT`] for one that cannot be; those of
/// [`super::read`] for a missing endpoint.
pub fn explain(
    registry: &Registry,
    host: &HostFacts,
    kind: Kind,
    target: Reference,
    question: Option<&str>,
    rules_of: RulesOf,
) -> Result<Raw> {
    let Entity::Endpoint(endpoint) = super::find(registry, kind, target)? else {
        let message = format!("a {kind} sends and gets no packets");
        return Err(Error::new(HResult::REQUEST_UNSUPPORTED, message));
    };
    let question: Question = hcn_schema::parse(question.unwrap_or("{}"))?;
    let (packet, outgoing) = question.packet(&endpoint)?;
    Ok(Raw::of(&walk::walk(registry, host, rules_of, &endpoint, packet, outgoing)))
}

impl Question {
    /// The packet that is meant, and whether the endpoint sends it.
    fn packet(&self, endpoint: &Endpoint) -> Result<(Packet, bool)> {
        let wrong = |member: &str, message: &str, expected: &str| {
            Error::new(HResult::INVALID_ARGUMENT, message).at(member).expected(expected)
        };
        let protocol = match self.protocol.as_deref().map(|word| (word, lists::protocol(word))) {
            None => TCP,
            Some((_, Some(lists::Protocol::Number(number)))) => number,
            // As ping's users say.
            Some((word, _)) if word.eq_ignore_ascii_case("icmp") => 1,
            Some(_) => {
                return Err(wrong("Protocol", "there is no such protocol", "tcp, udp, icmp or a number"));
            }
        };
        let outgoing = match (&self.to, &self.from) {
            (Some(_), None) => true,
            (None, Some(_)) => false,
            _ => return Err(wrong("To", "a packet goes to somebody or comes from somebody", "To, or From")),
        };
        let (member, text) = match outgoing {
            true => ("To", self.to.as_deref()),
            false => ("From", self.from.as_deref()),
        };
        let (peer, port) = place(text.unwrap_or_default())
            .ok_or_else(|| wrong(member, "that is no address", "ADDRESS:PORT, [ADDRESS]:PORT or ADDRESS"))?;
        let own = endpoint.addresses.iter().map(ipnet::IpNet::addr);
        let own = own.into_iter().find(|own| own.is_ipv4() == peer.is_ipv4()).ok_or_else(|| {
            let family = if peer.is_ipv4() { "IPv4" } else { "IPv6" };
            wrong(member, &format!("the endpoint has no {family} address"), "an address of its own family")
        })?;
        // ICMPv6 is what answers to ICMP there.
        let protocol = if protocol == 1 && peer.is_ipv6() { 58 } else { protocol };
        let mut packet = Packet {
            protocol,
            source: own,
            source_port: ANY_SOURCE,
            destination: peer,
            destination_port: port.unwrap_or_default(),
        };
        if !outgoing {
            packet.source = peer;
            packet.destination = own;
            packet.source_port = port.unwrap_or(ANY_SOURCE);
            packet.destination_port = self.port.unwrap_or_default();
        }
        if !packet.has_ports() {
            (packet.source_port, packet.destination_port) = (0, 0);
        } else if packet.destination_port == 0 {
            let (member, expected) = if outgoing { ("To", "ADDRESS:PORT") } else { ("Port", "1 to 65535") };
            return Err(wrong(member, "the protocol has ports", expected));
        }
        Ok((packet, outgoing))
    }
}

/// An address, with its port or not.
fn place(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let with_port = text.parse::<SocketAddr>().map(|address| (address.ip(), Some(address.port())));
    with_port.ok().or_else(|| text.parse().ok().map(|address| (address, None)))
}
