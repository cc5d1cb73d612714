//! The nftables side: one table of hcnd's own, written by transactions on one kept socket. `nft` is never run.

pub(crate) mod affinity;
mod beside;
mod elements;
mod expressions;
pub(crate) mod filter;
pub(crate) mod filters;
mod guard;
mod interception;
mod isolation;
pub(crate) mod maps;
mod matches;
mod places;
pub(crate) mod present;
mod preserving;
pub(crate) mod services;
pub(crate) mod shards;
mod skeleton;
mod take_over;
mod translation;
pub(crate) mod visits;

use std::io;

use hcn_dataplane::Object;
use netlink_packet_netfilter::nftables::{NfTablesMessage, TableAttribute, TableFlags, TableMessage};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;

pub(crate) use beside::write;
pub(crate) use elements::{difference, of};
pub(crate) use guard::{guard, reguard, take_over_guards, unguard};
pub(crate) use interception::{intercept, intercept_anew};
pub(crate) use isolation::{isolate, release, take_over_isolation};
pub use places::rules_of;
pub(crate) use preserving::{preserve, preserve_no_more, preserve_otherwise, take_over_preserved};
pub(crate) use take_over::take_over;
pub(crate) use translation::{leave_alone, take_over_translation, translate};

use crate::error::StartError;
use crate::socket::{Socket, Wire};

/// The table, of the family `inet`.
pub(crate) const TABLE: &str = "hcnd";
/// Prefixes whose packets to elsewhere are masqueraded, IPv4.
pub(crate) const MASQUERADED_V4: &str = "masq4";
/// The same for IPv6.
pub(crate) const MASQUERADED_V6: &str = "masq6";
/// Prefixes with the link that their packets may leave by unchanged, IPv4.
pub(crate) const OWN_V4: &str = "own4";
/// The same for IPv6.
pub(crate) const OWN_V6: &str = "own6";

/// Room for the messages of one transaction, in octets; memory is taken only for what is sent. The table is 250 KiB, a
/// service has up to 80 KiB, 80,000 elements take about 6 MiB.
pub(crate) const ROOM: usize = 16 << 20;

/// Subsystem of nftables, the resource of a transaction.
const NFNL_SUBSYS_NFTABLES: u16 = 10;

/// A message about something of the family `inet`.
fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

/// The messages that add elements to their sets, or with `delete` take them away, and their flags.
pub(crate) fn change(
    elements: &[elements::Element],
    delete: bool,
) -> impl Iterator<Item = (u16, NetfilterMessage)> {
    elements::messages(elements, delete).into_iter().map(|(flags, message)| (flags, inet(message)))
}

/// The messages around a transaction.
pub(crate) fn transaction() -> (NetfilterMessage, NetfilterMessage) {
    let control = |message: ControlMessage| {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
        NetfilterMessage::new(header, message)
    };
    (control(ControlMessage::BatchBegin), control(ControlMessage::BatchEnd))
}

fn table(flags: Option<TableFlags>) -> TableMessage {
    let mut attributes = vec![TableAttribute::Name(TABLE.to_owned())];
    attributes.extend(flags.map(TableAttribute::Flags));
    TableMessage { attributes }
}

/// Whether an object lives in the table and nowhere else.
pub(crate) fn holds(object: &Object) -> bool {
    matches!(
        object,
        Object::Home(_)
            | Object::Masquerade(_)
            | Object::Affinity(_)
            | Object::Service(_)
            | Object::Barrier(_)
            | Object::Annex(_)
            | Object::Isolation(_)
            | Object::Outbound(_)
            | Object::Diversion(_)
            | Object::Guard(_)
            | Object::Preserved(_)
    )
}

/// Whether an object is rules of a table beside the main one, on the host or in a namespace.
pub(crate) fn is_rule(object: &Object) -> bool {
    matches!(object, Object::AddressSet(_) | Object::Filter(_) | Object::Interception(_))
}

/// Opens the socket, and makes sure that the table can be had.
pub(crate) fn start(wire: &mut Wire) -> Result<Socket, StartError> {
    let failed = |source: io::Error| StartError::Nftables { step: "talk to nftables", source };
    let socket = Socket::open(NETLINK_NETFILTER).map_err(failed)?;
    socket.make_room(ROOM).map_err(failed)?;
    // Without the capability even asking is refused.
    match present::Present::read(wire, &socket) {
        Ok(Some(table)) if table.owned => Err(StartError::AnotherRuns),
        Ok(_) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(StartError::NotPermitted),
        Err(error) => Err(failed(error)),
    }
}
