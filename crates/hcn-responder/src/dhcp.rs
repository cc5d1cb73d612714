//! DHCP: what a client is answered (RFC 2131 section 4.3). Every client has at most the address of its own endpoint;
//! whom the book does not know is not answered at all, since another server may be meant.

mod message;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use hcn_dataplane::{Lease, Responder};
use ipnet::Ipv4Net;

use crate::book::Book;
use crate::dns::Name;
use message::{Kind, Reply, Request, code};

/// How long an address is given for, in seconds. It is the endpoint's for good; this is how soon a client hears of a
/// change.
const LEASE_TIME: u32 = 3600;
/// What every client takes (RFC 2131 section 2: 576 octets with IP and UDP headers).
const MOST: usize = 548;
/// The same of one that says what it takes; more does not fit into an Ethernet frame.
const MOST_OF_ALL: usize = 1472;
const HEADERS: usize = 28;
/// RFC 2131 section 4.1.
const CLIENT_PORT: u16 = 68;

/// A message, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) to: SocketAddrV4,
    pub(crate) message: Vec<u8>,
}

/// What a datagram is answered.
pub(crate) fn answer(book: &Book, datagram: &[u8]) -> Option<Answer> {
    let request = Request::parse(datagram)?;
    let responder = book.responder.as_ref().filter(|responder| responder.dhcp)?;
    // A bridge has no relays: who came by one is not on it.
    if request.relay.is_some() {
        return None;
    }
    let wanted = request.address(code::REQUESTED).or(request.client);
    let (lease, address) = lease_of(book, &request, wanted)?;
    let server = book.host_for(address.addr())?;
    let case = Case { responder, request: &request, lease, address, server };
    let for_me = request.address(code::SERVER).is_none_or(|meant| is_host(book, meant));
    match request.kind {
        Kind::Discover => Some(case.give(Kind::Offer)),
        // It has chosen another server.
        Kind::Request if !for_me => None,
        Kind::Request if wanted == Some(address.addr()) => Some(case.give(Kind::Ack)),
        Kind::Request => Some(case.refuse()),
        Kind::Inform => Some(case.inform()),
        Kind::Decline => {
            tracing::warn!(mac = %request.mac, address = %address.addr(), bridge = lease.bridge,
                "a DHCP client says that its address is used by another one");
            None
        }
        Kind::Release => {
            tracing::debug!(mac = %request.mac, address = %address.addr(), "a DHCP client is done");
            None
        }
        Kind::Offer | Kind::Ack | Kind::Nak => None,
    }
}

fn is_host(book: &Book, address: Ipv4Addr) -> bool {
    book.host().any(|host| host.addr() == IpAddr::V4(address))
}

/// The lease of the client. Endpoints may share a MAC address: then the one is meant that has the wanted address.
fn lease_of<'a>(book: &'a Book, request: &Request, wanted: Option<Ipv4Addr>) -> Option<(&'a Lease, Ipv4Net)> {
    let address = |lease: &Lease| {
        lease.addresses.iter().find_map(|address| match address {
            ipnet::IpNet::V4(address) => Some(*address),
            ipnet::IpNet::V6(_) => None,
        })
    };
    let all = || book.of(request.mac).filter_map(|lease| Some((lease, address(lease)?)));
    all().find(|(_, address)| Some(address.addr()) == wanted).or_else(|| all().next())
}

/// A request of a client that is known.
struct Case<'a> {
    responder: &'a Responder,
    request: &'a Request,
    lease: &'a Lease,
    address: Ipv4Net,
    server: Ipv4Addr,
}

impl Case<'_> {
    /// Gives the client its address.
    fn give(&self, kind: Kind) -> Answer {
        let time = |seconds: u32| seconds.to_be_bytes().to_vec();
        let mut options = self.head();
        options.push((code::LEASE_TIME, time(LEASE_TIME)));
        options.push((code::RENEWAL, time(LEASE_TIME / 2)));
        options.push((code::REBINDING, time(LEASE_TIME / 8 * 7)));
        options.extend(self.configuration());
        let reply = Reply { kind, yours: Some(self.address.addr()), client: self.request.client, options };
        self.send(&reply, self.request.client)
    }

    /// Tells it what goes with the address that it has by other means.
    fn inform(&self) -> Answer {
        let mut options = self.head();
        options.extend(self.configuration());
        let reply = Reply { kind: Kind::Ack, yours: None, client: self.request.client, options };
        self.send(&reply, self.request.client)
    }

    /// Tells it that its address is another one.
    fn refuse(&self) -> Answer {
        let reply = Reply { kind: Kind::Nak, yours: None, client: None, options: self.head() };
        self.send(&reply, None)
    }

    /// What every answer has; the identifier that the client gave comes back (RFC 6842).
    fn head(&self) -> Vec<(u8, Vec<u8>)> {
        let mut options = vec![(code::SERVER, self.server.octets().to_vec())];
        options.extend(self.request.option(code::CLIENT).map(|client| (code::CLIENT, client.to_vec())));
        options
    }

    fn configuration(&self) -> Vec<(u8, Vec<u8>)> {
        let lease = self.lease;
        let mut options = vec![(code::MASK, self.address.netmask().octets().to_vec())];
        if self.address.prefix_len() < 31 {
            options.push((code::BROADCAST, self.address.broadcast().octets().to_vec()));
        }
        options.extend(lease.gateway.map(|gateway| (code::ROUTER, gateway.octets().to_vec())));
        let servers = lease.servers.iter().filter_map(|server| match server {
            IpAddr::V4(server) => Some(server.octets()),
            IpAddr::V6(_) => None,
        });
        options.push((code::SERVERS, servers.flatten().collect()));
        let mtu = u16::try_from(lease.mtu).unwrap_or(u16::MAX);
        options.push((code::MTU, mtu.to_be_bytes().to_vec()));
        options.push((code::HOST_NAME, lease.name.clone().unwrap_or_default().into_bytes()));
        options.push((code::DOMAIN, self.responder.domain.clone().unwrap_or_default().into_bytes()));
        options.push((code::ROUTES, self.routes()));
        let search = lease.search.iter().filter_map(|domain| Name::of(domain));
        options.push((code::SEARCH, search.flat_map(Name::into_wire).collect()));
        options.retain(|(_, value)| !value.is_empty());
        options
    }

    /// All routes, if there are others than the default: who knows this option takes no other (RFC 3442).
    fn routes(&self) -> Vec<u8> {
        let mut value = Vec::new();
        let default = self.lease.gateway.map(|gateway| (Ipv4Net::default(), gateway));
        let others = &self.lease.routes;
        for (destination, gateway) in default.iter().chain(others).filter(|_| !others.is_empty()) {
            let length = destination.prefix_len();
            value.push(length);
            value.extend(&destination.network().octets()[..usize::from(length.div_ceil(8))]);
            value.extend(gateway.octets());
        }
        value
    }

    /// A client without an address hears broadcasts alone, whether it asks for them or not.
    fn send(&self, reply: &Reply, client: Option<Ipv4Addr>) -> Answer {
        let said = self.request.option(code::MOST).and_then(|value| value.try_into().ok());
        let most =
            said.map_or(MOST, |octets| usize::from(u16::from_be_bytes(octets)).saturating_sub(HEADERS));
        Answer {
            to: SocketAddrV4::new(client.unwrap_or(Ipv4Addr::BROADCAST), CLIENT_PORT),
            message: reply.write(self.request, most.clamp(MOST, MOST_OF_ALL)),
        }
    }
}

#[cfg(test)]
mod tests;
