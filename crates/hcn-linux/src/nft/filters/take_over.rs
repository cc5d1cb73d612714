//! The table that an earlier hcnd left: built anew in one transaction, so that no packet meets a moment without it.

use std::io;

use hcn_dataplane::{AddressSet, Filter};
use netlink_packet_netfilter::NetfilterProtoFamily;

use super::super::beside::{absent, is_there};
use super::{Group, Layout, Message, TABLE, new_group, new_table, no_table, set_new};
use crate::socket::{Socket, Wire};

/// What is wanted in a table.
#[derive(Default)]
pub(crate) struct Contents<'a> {
    pub(crate) sets: Vec<&'a AddressSet>,
    pub(crate) filters: Vec<&'a Filter>,
}

/// The messages after which the table of a namespace is what is wanted.
pub(crate) fn anew(contents: &Contents<'_>, own: bool) -> Vec<Message> {
    let mut messages = absent(TABLE).to_vec();
    messages.extend(new_table(own));
    messages.extend(contents.sets.iter().flat_map(|set| set_new(&set.name, &set.members)));
    for group in [Group::Carried, Group::Links] {
        if contents.filters.iter().any(|filter| Group::of(filter) == group) {
            messages.extend(new_group(group));
        }
    }
    messages.extend(contents.filters.iter().flat_map(|filter| Layout::of(filter).make()));
    messages
}

/// The messages after which the table in a namespace has these filters, and is not there without any, whatever there was.
pub(crate) fn inside(filters: &[Filter], own: bool) -> Vec<Message> {
    if filters.is_empty() {
        return absent(TABLE).into();
    }
    anew(&Contents { sets: Vec::new(), filters: filters.iter().collect() }, own)
}

/// The messages after which there is no table: none if there is none.
pub(crate) fn none(wire: &mut Wire, socket: &Socket) -> io::Result<Vec<Message>> {
    let there = is_there(wire, socket, NetfilterProtoFamily::Inet, TABLE)?;
    Ok(there.then(no_table).into_iter().collect())
}
