//! What a link has carried.

use std::io;

use hcn_dataplane::Counters;
use netlink_packet_core::Parseable as _;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use crate::link;
use crate::socket::{Batch, Socket, Wire};

/// Reads the counters of a link; none where there is no such link.
pub(crate) fn read(wire: &mut Wire, socket: &Socket, name: &str) -> io::Result<Option<Counters>> {
    let mut batch = Batch::new();
    batch.push((), 0, link::get_with_counters(name));
    let Some(fate) = wire.exchange(socket, &mut batch)?.pop() else { return Ok(None) };
    let payload = match fate {
        Ok(payload) => payload,
        Err(error) if error.errno == libc::ENODEV => return Ok(None),
        Err(refusal) => return Err(refusal.into()),
    };
    Ok(payload.and_then(|payload| of(&payload)))
}

/// The counters of an RTM_NEWLINK payload.
pub(crate) fn of(payload: &[u8]) -> Option<Counters> {
    LinkMessage::parse(payload).ok()?.attributes.iter().find_map(counters)
}

fn counters(attribute: &LinkAttribute) -> Option<Counters> {
    let LinkAttribute::Stats64(stats) = attribute else { return None };
    Some(Counters {
        received_packets: stats.rx_packets,
        received_bytes: stats.rx_bytes,
        received_dropped: stats.rx_dropped,
        sent_packets: stats.tx_packets,
        sent_bytes: stats.tx_bytes,
        sent_dropped: stats.tx_dropped,
    })
}
