//! The nftables side: one table of hcnd's own, written by transactions on one kept socket. `nft` is never run.

mod elements;
mod expressions;
pub(crate) mod filter;
pub(crate) mod maps;
pub(crate) mod services;
mod skeleton;

use std::io;

use netlink_packet_netfilter::nftables::{NfTablesMessage, TableAttribute, TableFlags, TableMessage};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;

pub(crate) use elements::{difference, of};

use crate::error::StartError;
use crate::socket::{Batch, Refusal, Socket, Wire};

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

/// Opens the socket and builds the table anew, in place of one that an earlier hcnd left.
///
/// The table is owned by the socket and outlives it (flags `owner` and `persist`, Linux 6.9): a foreign `flush
/// ruleset` passes it by, and it can be taken over once the socket is gone. Older kernels refuse the flags;
/// there it is an ordinary table.
pub(crate) fn start(wire: &mut Wire) -> Result<Socket, StartError> {
    let failed = |source: io::Error| StartError::Nftables { step: "talk to nftables", source };
    let socket = Socket::open(NETLINK_NETFILTER).map_err(failed)?;
    // Memory is taken only for what is sent: 250 KiB for the table, up to 80 KiB for a service.
    socket.make_room(16 << 20).map_err(failed)?;
    let owned = TableFlags::Owner | TableFlags::Persisent;
    let mut result = build(wire, &socket, Some(owned)).map_err(failed)?;
    if matches!(&result, Err(Refusal { errno: libc::EOPNOTSUPP | libc::EINVAL, .. })) {
        result = build(wire, &socket, None).map_err(failed)?;
    }
    match result {
        Ok(()) => Ok(socket),
        Err(refusal) => Err(explain(wire, &socket, refusal)),
    }
}

fn build(wire: &mut Wire, socket: &Socket, flags: Option<TableFlags>) -> io::Result<Result<(), Refusal>> {
    const NEW: u16 = netlink_packet_core::NLM_F_CREATE;
    let mut batch = Batch::new();
    // Deleting fails where there is nothing, so it is made first; all in the one transaction.
    batch.push((), NEW, inet(NfTablesMessage::NewTable(table(None))));
    batch.push((), 0, inet(NfTablesMessage::DeleteTable(table(None))));
    batch.push((), NEW, inet(NfTablesMessage::NewTable(table(flags))));
    for (flags, message) in skeleton::messages() {
        batch.push((), flags, inet(message));
    }
    let result = wire.transact(socket, &mut batch, transaction())?;
    Ok(result.map_err(|refused| {
        // The first refusal says why; those after it may be only its consequence.
        refused.into_iter().next().map_or(Refusal { errno: libc::EIO, detail: None }, |(_, refusal)| refusal)
    }))
}

fn explain(wire: &mut Wire, socket: &Socket, refusal: Refusal) -> StartError {
    if refusal.errno == libc::EPERM {
        // Without the capability even asking is refused; otherwise it is the owner that stands in the way.
        let mut question = Batch::new();
        question.push((), 0, inet(NfTablesMessage::GetTable(table(None))));
        let answered =
            wire.exchange(socket, &mut question).is_ok_and(|fates| matches!(fates[..], [Ok(Some(_))]));
        return if answered { StartError::AnotherRuns } else { StartError::NotPermitted };
    }
    let step = match refusal.errno {
        libc::ENOENT | libc::EOPNOTSUPP => {
            "make the table inet hcnd (the kernel lacks something of: CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, \
             CONFIG_NFT_MASQ, CONFIG_NFT_CT, CONFIG_NFT_NUMGEN, CONFIG_NFT_HASH, CONFIG_NFT_FIB_INET, \
             CONFIG_NF_CONNTRACK)"
        }
        _ => "make the table inet hcnd",
    };
    StartError::Nftables { step, source: refusal.into() }
}
