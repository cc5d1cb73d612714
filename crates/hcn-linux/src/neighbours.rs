//! Do neighbours answer? The kernel asks them (ARP, RFC 826; neighbour discovery, RFC 4861); here is only looked at what
//! came of it.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::sys::socket::{setsockopt, sockopt};

use crate::Linux;
use crate::moving::Carrier;
use crate::socket::Batch;

const NUD_REACHABLE: u16 = 0x02;
/// What was known is old; is being asked for again, now or soon.
const NUD_DOUBTED: u16 = 0x04 | 0x08 | 0x10;
/// It need not be asked: it was told to the kernel.
const NUD_SAID: u16 = 0x80 | 0x40;
const PAUSE: Duration = Duration::from_millis(5);
/// How often who does not answer is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// Discard (RFC 863): whoever gets it ignores it, or says that nobody listens.
const PORT: u16 = 9;

/// Which of these neighbours of a link answer in time. Those that the kernel was told of are left out. What is known of
/// them stays in use meanwhile.
pub(crate) fn reached(
    linux: &mut Linux,
    link: Carrier<'_>,
    addresses: &[IpAddr],
    within: Duration,
) -> Vec<IpAddr> {
    // Tests that make messages fail mean those that change something.
    let fault = linux.wire.fault.take();
    let mut waiting: Vec<IpAddr> = addresses.to_vec();
    waiting.sort_unstable();
    waiting.dedup();
    waiting.retain(|address| state(linux, link.index, *address) & NUD_SAID == 0);
    let mut answered = Vec::new();
    let deadline = Instant::now() + within;
    let mut asked: Option<Instant> = None;
    loop {
        waiting.retain(|address| {
            let reachable = state(linux, link.index, *address) & NUD_REACHABLE != 0;
            if reachable {
                answered.push(*address);
            }
            !reachable
        });
        if waiting.is_empty() || Instant::now() >= deadline {
            break;
        }
        if asked.is_none_or(|asked| asked.elapsed() >= AGAIN) {
            asked = Some(Instant::now());
            for address in &waiting {
                ask(linux, link, *address);
            }
        }
        sleep(PAUSE);
    }
    linux.wire.fault = fault;
    answered
}

/// Makes the kernel ask a neighbour.
fn ask(linux: &mut Linux, link: Carrier<'_>, address: IpAddr) {
    let asked = if state(linux, link.index, address) & NUD_DOUBTED != 0 {
        let mut probed = body(link.index, address);
        probed.header.state = NeighbourState::Probe;
        let mut batch = Batch::new();
        batch.push((), libc::NLM_F_REPLACE as u16, RouteNetlinkMessage::NewNeighbour(probed));
        linux.wire.exchange(&linux.host, &mut batch).map(drop)
    } else {
        send_to(link, address)
    };
    // Whoever cannot be asked does not answer.
    if let Err(error) = asked {
        tracing::debug!(%error, %address, "cannot ask a neighbour");
    }
}

/// Sends something to a neighbour that the kernel does not know: it has to ask who that is.
fn send_to(link: Carrier<'_>, address: IpAddr) -> io::Result<()> {
    let (any, to) = match address {
        IpAddr::V4(address) => (IpAddr::from([0; 4]), SocketAddr::from((address, PORT))),
        IpAddr::V6(address) => {
            (IpAddr::from([0; 16]), SocketAddrV6::new(address, PORT, 0, link.index).into())
        }
    };
    let socket = UdpSocket::bind((any, 0))?;
    setsockopt(&socket, sockopt::BindToDevice, &link.name.into())?;
    socket.send_to(&[0], to).map(drop)
}

/// What the kernel knows of a neighbour (`NUD_…`); 0 = nothing.
fn state(linux: &mut Linux, index: u32, address: IpAddr) -> u16 {
    let mut batch = Batch::new();
    batch.push((), 0, RouteNetlinkMessage::GetNeighbour(body(index, address)));
    let fate = linux.wire.exchange(&linux.host, &mut batch).ok().and_then(|mut fates| fates.pop());
    let answer = fate.and_then(|fate| fate.ok().flatten()).unwrap_or_default();
    let state = answer.get(8..10).and_then(|octets| octets.try_into().ok());
    state.map_or(0, u16::from_ne_bytes)
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
