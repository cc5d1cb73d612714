//! Messages for tables beside `inet hcnd`: written as for that one, then told where they go.

use std::io;

use hcn_dataplane::OpError;
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetElementList,
    SetMessage, TableAttribute, TableMessage,
};

use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::maps::{Data, Set, Type};
use super::take_over::OWNED;
use super::transaction;
use crate::socket::{Batch, Socket, Wire};

/// Octets of the opening and the closing message of a transaction.
const AROUND: usize = 64;

/// A message with its flags.
pub(crate) type Message = (u16, NetfilterMessage);

/// The same message, of another table of the family `inet`.
pub(super) fn within(table: &str, message: (u16, NfTablesMessage)) -> Message {
    of(NetfilterProtoFamily::Inet, table, message)
}

/// The same message, of a table of any family.
pub(super) fn of(
    family: NetfilterProtoFamily,
    table: &str,
    (flags, mut message): (u16, NfTablesMessage),
) -> Message {
    let table = || table.to_owned();
    match &mut message {
        NfTablesMessage::NewTable(of) | NfTablesMessage::DeleteTable(of) | NfTablesMessage::GetTable(of) => {
            of.attributes.retain(|attribute| !matches!(attribute, TableAttribute::Name(_)));
            of.attributes.push(TableAttribute::Name(table()));
        }
        NfTablesMessage::NewChain(of) | NfTablesMessage::DeleteChain(of) => {
            of.attributes.retain(|attribute| !matches!(attribute, ChainAttribute::Table(_)));
            of.attributes.push(ChainAttribute::Table(table()));
        }
        NfTablesMessage::NewRule(of) | NfTablesMessage::DeleteRule(of) => {
            of.attributes.retain(|attribute| !matches!(attribute, RuleAttribute::Table(_)));
            of.attributes.push(RuleAttribute::Table(table()));
        }
        NfTablesMessage::NewSet(of) | NfTablesMessage::DeleteSet(of) => {
            of.attributes.retain(|attribute| !matches!(attribute, SetAttribute::Table(_)));
            of.attributes.push(SetAttribute::Table(table()));
        }
        NfTablesMessage::NewSetElement(of) | NfTablesMessage::DeleteSetElement(of) => {
            of.attributes.retain(|attribute| !matches!(attribute, SetElementList::Table(_)));
            of.attributes.push(SetElementList::Table(table()));
        }
        _ => {}
    }
    (flags, NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message))
}

/// The message that takes a table away, with all that is in it.
pub(super) fn no_table() -> (u16, NfTablesMessage) {
    (0, NfTablesMessage::DeleteTable(TableMessage { attributes: Vec::new() }))
}

/// The messages after which there is no such table, whether there was one or not: taking away what is not there fails.
pub(super) fn absent(table: &str) -> [Message; 2] {
    [new_table(false), no_table()].map(|message| within(table, message))
}

/// The message that makes the table; one that is owned a foreign `flush ruleset` passes by.
pub(super) fn new_table(owned: bool) -> (u16, NfTablesMessage) {
    let attributes = OWNED.filter(|_| owned).map(TableAttribute::Flags).into_iter().collect();
    (NLM_F_CREATE, NfTablesMessage::NewTable(TableMessage { attributes }))
}

/// The message that takes a chain away, and its rules.
pub(super) fn without_chain(name: &str) -> (u16, NfTablesMessage) {
    let attributes = vec![ChainAttribute::Name(name.to_owned())];
    (0, NfTablesMessage::DeleteChain(ChainMessage { attributes }))
}

/// The message that takes a set or a map away.
pub(super) fn without_set(name: &str) -> (u16, NfTablesMessage) {
    let attributes = vec![SetAttribute::Name(name.to_owned())];
    (0, NfTablesMessage::DeleteSet(SetMessage { attributes }))
}

/// The message that takes all rules of a chain away.
pub(super) fn without_rules(chain: &str) -> (u16, NfTablesMessage) {
    let attributes = vec![RuleAttribute::Chain(chain.to_owned())];
    (0, NfTablesMessage::DeleteRule(RuleMessage { attributes }))
}

/// A map of verdicts.
pub(super) fn verdicts(name: &str, key: &[Type], id: u32) -> (u16, NfTablesMessage) {
    let (name, key) = (name.to_owned(), key.to_vec());
    Set { name, key, data: Some(Data::Verdicts), interval: false, timeout: None }.message(id)
}

/// Whether there is such a table where the socket is.
pub(super) fn is_there(
    wire: &mut Wire,
    socket: &Socket,
    family: NetfilterProtoFamily,
    table: &str,
) -> io::Result<bool> {
    let question = (0, NfTablesMessage::GetTable(TableMessage { attributes: Vec::new() }));
    let (flags, question) = of(family, table, question);
    let mut batch = Batch::new();
    batch.push((), flags, question);
    let answer = wire.exchange(socket, &mut batch)?.pop();
    Ok(matches!(answer, Some(Ok(Some(_)))))
}

/// Writes all messages in one transaction; where one cannot hold them, which takes an hcnd without privileges on the machine
/// and many hundreds of messages, in as many as it takes.
pub(crate) fn write(wire: &mut Wire, socket: &Socket, messages: Vec<Message>) -> io::Result<()> {
    let limit = socket.send_limit();
    let mut batch = Batch::new();
    for (flags, message) in messages {
        let mut next = Batch::new();
        next.push((), flags, message.clone());
        if batch.bytes().len() + next.bytes().len() + AROUND > limit {
            transact(wire, socket, &mut batch)?;
            batch = next;
        } else {
            batch.push((), flags, message);
        }
    }
    transact(wire, socket, &mut batch)
}

fn transact(wire: &mut Wire, socket: &Socket, batch: &mut Batch<()>) -> io::Result<()> {
    if batch.len() == 0 {
        return Ok(());
    }
    match wire.transact(socket, batch, transaction())? {
        Ok(()) => Ok(()),
        Err(refused) => {
            let refusal = refused.into_iter().next().map(|(_, refusal)| io::Error::from(refusal));
            Err(refusal.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EIO)))
        }
    }
}

/// The error for a table that an earlier hcnd left, named as nft does it.
pub(super) fn not_taken_over(table: &str) -> impl Fn(io::Error) -> OpError + '_ {
    move |error| OpError {
        errno: error.raw_os_error(),
        message: format!("cannot take the table {table} over: {error}"),
    }
}
