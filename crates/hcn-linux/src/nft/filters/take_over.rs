//! The table that an earlier hcnd left: built anew in one transaction, so that no packet meets a moment without it.

use std::io;

use hcn_dataplane::{AddressSet, Filter};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::nftables::NfTablesMessage;

use super::super::{table, transaction};
use super::{Group, Layout, Message, new_group, new_table, no_table, ours, set_new};
use crate::socket::{Batch, Refusal, Socket, Wire};

/// Opening and closing message.
const AROUND: usize = 64;

/// What is wanted in a table.
#[derive(Default)]
pub(crate) struct Contents<'a> {
    pub(crate) sets: Vec<&'a AddressSet>,
    pub(crate) filters: Vec<&'a Filter>,
}

/// Makes the table of a namespace what is wanted. Where a transaction cannot have all of it, which takes an hcnd without
/// privileges on the machine and many hundreds of rules, the first one has what fits.
pub(crate) fn take_over(
    wire: &mut Wire,
    socket: &Socket,
    contents: &Contents<'_>,
    own: bool,
) -> io::Result<()> {
    // Deleting fails where there is nothing, so it is made first.
    let plain = ours((NLM_F_CREATE, NfTablesMessage::NewTable(table(None))));
    let mut messages = vec![plain, no_table()];
    messages.extend(new_table(own));
    messages.extend(contents.sets.iter().flat_map(|set| set_new(&set.name, &set.members)));
    for group in [Group::Carried, Group::Links] {
        if contents.filters.iter().any(|filter| Group::of(filter) == group) {
            messages.extend(new_group(group));
        }
    }
    messages.extend(contents.filters.iter().flat_map(|filter| Layout::of(filter).make()));
    write(wire, socket, messages)
}

/// Takes the table of a namespace away, if there is one.
pub(crate) fn clear(wire: &mut Wire, socket: &Socket) -> io::Result<()> {
    let mut question = Batch::new();
    let (flags, message) = ours((0, NfTablesMessage::GetTable(table(None))));
    question.push((), flags, message);
    let answer = wire.exchange(socket, &mut question)?.pop();
    if matches!(answer, Some(Ok(Some(_)))) {
        write(wire, socket, vec![no_table()])?;
    }
    Ok(())
}

fn write(wire: &mut Wire, socket: &Socket, messages: Vec<Message>) -> io::Result<()> {
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
    let refused = wire.transact(socket, batch, transaction())?.err().into_iter().flatten().next();
    let refusal: Option<Refusal> = refused.map(|(_, refusal)| refusal);
    refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
}
