//! Messages for tables beside `inet hcnd`: written as for that one, then told where they go.

use std::io;

use hcn_dataplane::OpError;
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetElementList,
    TableAttribute, TableMessage,
};

use super::maps::{Data, Set, Type};
use super::take_over::OWNED;
use super::{inet, transaction};
use crate::socket::{Batch, Socket, Wire};

/// A message with its flags.
pub(crate) type Message = (u16, NetfilterMessage);

/// The same message, of another table.
pub(super) fn within(table: &str, (flags, mut message): (u16, NfTablesMessage)) -> Message {
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
        NfTablesMessage::NewSet(of) => {
            of.attributes.retain(|attribute| !matches!(attribute, SetAttribute::Table(_)));
            of.attributes.push(SetAttribute::Table(table()));
        }
        NfTablesMessage::NewSetElement(of) | NfTablesMessage::DeleteSetElement(of) => {
            of.attributes.retain(|attribute| !matches!(attribute, SetElementList::Table(_)));
            of.attributes.push(SetElementList::Table(table()));
        }
        _ => {}
    }
    (flags, inet(message))
}

/// The messages after which there is no such table, whether there was one or not.
pub(super) fn absent(table: &str) -> [Message; 2] {
    let nameless = || TableMessage { attributes: Vec::new() };
    let made = (NLM_F_CREATE, NfTablesMessage::NewTable(nameless()));
    [made, (0, NfTablesMessage::DeleteTable(nameless()))].map(|message| within(table, message))
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

/// The message that takes all rules of a chain away.
pub(super) fn without_rules(chain: &str) -> (u16, NfTablesMessage) {
    let attributes = vec![RuleAttribute::Chain(chain.to_owned())];
    (0, NfTablesMessage::DeleteRule(RuleMessage { attributes }))
}

/// A map of verdicts.
pub(super) fn verdicts(name: &str, key: &[Type], id: u32) -> (u16, NfTablesMessage) {
    let (name, key) = (name.to_owned(), key.to_vec());
    Set { name, key, data: Some(Data::Verdicts), interval: false }.message(id)
}

/// Whether there is such a table where the socket is.
pub(super) fn is_there(wire: &mut Wire, socket: &Socket, table: &str) -> io::Result<bool> {
    Ok(ask(wire, socket, table)?.is_some())
}

fn ask(wire: &mut Wire, socket: &Socket, table: &str) -> io::Result<Option<Vec<u8>>> {
    let question = (0, NfTablesMessage::GetTable(TableMessage { attributes: Vec::new() }));
    let (flags, question) = within(table, question);
    let mut batch = Batch::new();
    batch.push((), flags, question);
    Ok(wire.exchange(socket, &mut batch)?.pop().and_then(|fate| fate.ok().flatten()))
}

/// Writes all messages in one transaction.
pub(super) fn write(
    wire: &mut Wire,
    socket: &Socket,
    table: &str,
    messages: Vec<Message>,
) -> Result<(), OpError> {
    let failed = |error: io::Error| OpError {
        errno: error.raw_os_error(),
        message: format!("cannot take the table inet {table} over: {error}"),
    };
    if messages.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::new();
    messages.into_iter().for_each(|(flags, message)| batch.push((), flags, message));
    match wire.transact(socket, &mut batch, transaction()).map_err(failed)? {
        Ok(()) => Ok(()),
        Err(refused) => {
            let refusal = refused.into_iter().next().map(|(_, refusal)| io::Error::from(refusal));
            Err(failed(refusal.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EIO))))
        }
    }
}
