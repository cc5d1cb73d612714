//! Do neighbours answer? The kernel asks them (ARP, RFC 826; neighbour discovery, RFC 4861); here is only looked at what
//! came of it.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::Linux;
use crate::socket::Batch;

const NUD_REACHABLE: u16 = 0x02;
/// It need not be asked: it was told to the kernel.
const NUD_SAID: u16 = 0x80 | 0x40;
const PAUSE: Duration = Duration::from_millis(5);

/// When waiting ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The time is over, or all have answered.
    Some,
    /// The same, for those who must answer: they are asked again.
    All,
}

/// Which of these neighbours of a link answer in time, asked anew. Those that the kernel was told of are left out.
pub(crate) fn reached(
    linux: &mut Linux,
    index: u32,
    addresses: &[IpAddr],
    within: Duration,
    reach: Reach,
) -> Vec<IpAddr> {
    // Tests that make messages fail mean those that change something.
    let fault = linux.wire.fault.take();
    let mut waiting: Vec<IpAddr> = addresses.to_vec();
    waiting.sort_unstable();
    waiting.dedup();
    let mut answered = Vec::new();
    waiting.retain(|address| state(linux, index, *address).is_none_or(|state| state & NUD_SAID == 0));
    for address in &waiting {
        ask(linux, index, *address);
    }
    let deadline = Instant::now() + within;
    while !waiting.is_empty() && Instant::now() < deadline {
        sleep(PAUSE);
        waiting.retain(|address| match state(linux, index, *address) {
            Some(state) if state & NUD_REACHABLE != 0 => {
                answered.push(*address);
                false
            }
            Some(state) if state & NUD_FAILED != 0 && reach == Reach::All => {
                ask(linux, index, *address);
                true
            }
            _ => true,
        });
    }
    linux.wire.fault = fault;
    answered
}

const NUD_FAILED: u16 = 0x20;

/// Makes the kernel forget what it knows of a neighbour, and ask.
fn ask(linux: &mut Linux, index: u32, address: IpAddr) {
    let mut used = body(index, address);
    used.header.flags = NeighbourFlags::Use;
    let mut batch = Batch::new();
    batch.push((), 0, RouteNetlinkMessage::DelNeighbour(body(index, address)));
    batch.push((), NLM_F_CREATE, RouteNetlinkMessage::NewNeighbour(used));
    // Whoever cannot be asked does not answer.
    if let Err(error) = linux.wire.exchange(&linux.host, &mut batch) {
        tracing::debug!(%error, %address, "cannot ask a neighbour");
    }
}

/// What the kernel knows of a neighbour (`NUD_…`).
fn state(linux: &mut Linux, index: u32, address: IpAddr) -> Option<u16> {
    let mut batch = Batch::new();
    batch.push((), 0, RouteNetlinkMessage::GetNeighbour(body(index, address)));
    let answer = linux.wire.exchange(&linux.host, &mut batch).ok()?.pop()?.ok()??;
    Some(u16::from_ne_bytes(answer.get(8..10)?.try_into().ok()?))
}

fn body(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = index;
    message.header.state = NeighbourState::None;
    message.attributes.push(NeighbourAttribute::Destination(match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }));
    message
}
