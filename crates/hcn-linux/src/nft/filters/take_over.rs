//! The table that an earlier hcnd left: built anew in one transaction, so that no packet meets a moment without it.

use std::io;

use hcn_dataplane::{AddressSet, Filter};
use netlink_packet_netfilter::NetfilterProtoFamily;

use super::super::beside::{absent, is_there, write};
use super::{Group, Layout, TABLE, new_group, new_table, no_table, set_new};
use crate::socket::{Socket, Wire};

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
    let mut messages = absent(TABLE).to_vec();
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
    if is_there(wire, socket, NetfilterProtoFamily::Inet, TABLE)? {
        write(wire, socket, vec![no_table()])?;
    }
    Ok(())
}
