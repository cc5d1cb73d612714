//! The table that an earlier hcnd left: taken over where it is what this one would build, with only those elements
//! written that differ; otherwise built anew in one transaction, so that no packet meets a moment without it.
//!
//! The table is owned by the socket and outlives it (flags `owner` and `persist`, Linux 6.9): a foreign `flush
//! ruleset` passes it by, and once the socket is gone, another one can become its owner. Older kernels refuse the
//! flags; there it is an ordinary table.

use std::collections::HashSet;
use std::io;

use hcn_dataplane::{Object, OpError};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    NfTablesMessage, SetAttribute, SetElementList, SetFlags, TableAttribute, TableFlags, TableMessage,
};

use super::elements::{Carried, carried, message_of};
use super::present::{self, Present, Raw};
use super::{inet, skeleton, table, transaction};
use crate::socket::{Batch, Refusal, Socket, Wire};

/// `NFTNL_UDATA_TABLE_COMMENT`
const COMMENT: u8 = 0;
/// Elements of one message: their list must stay below 64 KiB, and a long one is a long time under the kernel's lock.
const ELEMENTS: usize = 128;

/// The table's owner is this socket, and it outlives the socket.
const OWNED: Option<TableFlags> = Some(TableFlags::Owner.union(TableFlags::Persisent));

/// An element, with the name of its set.
type Placed = (String, Carried);

/// Makes the table what the wanted objects mean, and the socket its owner.
pub(crate) fn take_over<'a>(
    wire: &mut Wire,
    socket: &Socket,
    wanted: impl Iterator<Item = &'a Object>,
) -> Result<(), OpError> {
    let skeleton = Skeleton::new();
    let mut wanted: Vec<Placed> = wanted.flat_map(carried).collect();
    // Those of one set together, so that they travel together.
    wanted.sort_by(|(set, _), (next, _)| set.cmp(next));
    let mut writer = Writer { wire, socket };
    let result = Present::read(writer.wire, socket).and_then(|present| {
        let intact = present.as_ref().is_some_and(|present| skeleton.is_in(present));
        if intact
            && present.is_some_and(|present| present.persistent)
            && writer.update(&skeleton, OWNED, &wanted)?
        {
            return Ok(Ok(()));
        }
        match writer.rebuild(&skeleton, OWNED, &wanted)? {
            Err(Refusal { errno: libc::EOPNOTSUPP | libc::EINVAL, .. }) => {
                if intact && writer.update(&skeleton, None, &wanted)? {
                    return Ok(Ok(()));
                }
                writer.rebuild(&skeleton, None, &wanted)
            }
            done => Ok(done),
        }
    });
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refusal)) => Err(explain(refusal)),
        Err(error) => Err(OpError {
            errno: error.raw_os_error(),
            message: format!("cannot take the table inet hcnd over: {error}"),
        }),
    }
}

/// What is in the table from the start.
struct Skeleton {
    messages: Vec<(u16, NfTablesMessage)>,
    /// Says beside the table what it was built from.
    userdata: Vec<u8>,
    /// Sets whose elements only hcnd makes, not packets.
    sets: Vec<String>,
    /// Elements that are there without an object.
    elements: Vec<Placed>,
    /// How many chains and sets there are.
    parts: usize,
    rules: usize,
}

impl Skeleton {
    fn new() -> Self {
        let mut all = Self {
            messages: Vec::new(),
            userdata: Vec::new(),
            sets: Vec::new(),
            elements: Vec::new(),
            parts: 0,
            rules: 0,
        };
        let mut bytes = Batch::new();
        for (flags, message) in skeleton::messages() {
            bytes.push((), flags, inet(message.clone()));
            match &message {
                NfTablesMessage::NewChain(_) => all.parts += 1,
                NfTablesMessage::NewRule(_) => all.rules += 1,
                NfTablesMessage::NewSet(set) => {
                    all.parts += 1;
                    all.sets.extend(own_set(&set.attributes));
                }
                NfTablesMessage::NewSetElement(elements) => all.elements.extend(placed(&elements.attributes)),
                _ => {}
            }
            all.messages.push((flags, message));
        }
        let comment = format!("hcnd {:016x}\0", fnv1a(bytes.bytes()));
        all.userdata = [&[COMMENT, comment.len() as u8], comment.as_bytes()].concat();
        all
    }

    /// Whether the table was built from this skeleton and still has all of it.
    fn is_in(&self, present: &Present) -> bool {
        present.userdata == self.userdata && present.parts == self.parts && present.rules == self.rules
    }
}

/// The name of a set that can be compared.
fn own_set(attributes: &[SetAttribute]) -> Option<String> {
    let mut own = None;
    for attribute in attributes {
        match attribute {
            SetAttribute::Name(name) => own = Some(name.clone()),
            // Packets add to it, or it has no name of its own.
            SetAttribute::Flags(flags)
                if flags.intersects(SetFlags::Anonymous | SetFlags::Eval | SetFlags::Timeout) =>
            {
                return None;
            }
            _ => {}
        }
    }
    own
}

fn placed(attributes: &[SetElementList]) -> Vec<Placed> {
    let set = attributes.iter().find_map(|attribute| match attribute {
        SetElementList::Set(name) => Some(name.clone()),
        _ => None,
    });
    let elements = attributes.iter().find_map(|attribute| match attribute {
        SetElementList::Elements(elements) => Some(elements.clone()),
        _ => None,
    });
    let (Some(set), Some(elements)) = (set, elements) else { return Vec::new() };
    elements.into_iter().map(|element| (set.clone(), element)).collect()
}

/// The 64-bit FNV-1a hash: the same from every build, which the standard library's is not.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

struct Writer<'a> {
    wire: &'a mut Wire,
    socket: &'a Socket,
}

impl Writer<'_> {
    /// Becomes the table's owner and writes what differs. `false`: the kernel refused, and nothing but the owner
    /// has changed.
    fn update(
        &mut self,
        skeleton: &Skeleton,
        flags: Option<TableFlags>,
        wanted: &[Placed],
    ) -> io::Result<bool> {
        if flags.is_some() {
            let own = inet(NfTablesMessage::NewTable(table(flags)));
            if self.write(vec![(NLM_F_CREATE, own)], Vec::new())?.is_err() {
                return Ok(false);
            }
        }
        let mut surplus = Vec::new();
        let mut missing = Vec::new();
        for set in &skeleton.sets {
            let present = present::elements(self.wire, self.socket, set)?;
            let of_set = skeleton.elements.iter().chain(wanted).filter(|(other, _)| other == set);
            let wanted: Vec<(Raw, &Placed)> = of_set.map(|placed| (Raw::of(&placed.1), placed)).collect();
            let known: HashSet<&Raw> = wanted.iter().map(|(raw, _)| raw).collect();
            let there: HashSet<&Raw> = present.iter().collect();
            let too_much = present.iter().filter(|raw| !known.contains(raw));
            surplus.extend(too_much.map(|raw| (set.clone(), raw.element())));
            let too_little = wanted.iter().filter(|(raw, _)| !there.contains(raw));
            missing.extend(too_little.map(|(_, placed)| (*placed).clone()));
        }
        if surplus.is_empty() && missing.is_empty() {
            return Ok(true);
        }
        tracing::warn!(
            surplus = surplus.len(),
            missing = missing.len(),
            "repairing the sets of the table inet hcnd"
        );
        let head = messages(&surplus, true);
        Ok(self.write(head, messages(&missing, false))?.is_ok())
    }

    /// Builds the table in place of the one that is there.
    fn rebuild(
        &mut self,
        skeleton: &Skeleton,
        flags: Option<TableFlags>,
        wanted: &[Placed],
    ) -> io::Result<Result<(), Refusal>> {
        // Deleting fails where there is nothing, so it is made first; all in the one transaction.
        let mut head = vec![
            (NLM_F_CREATE, inet(NfTablesMessage::NewTable(table(None)))),
            (0, inet(NfTablesMessage::DeleteTable(table(None)))),
            (NLM_F_CREATE, inet(NfTablesMessage::NewTable(noted(table(flags), &skeleton.userdata)))),
        ];
        head.extend(skeleton.messages.iter().cloned().map(|(flags, message)| (flags, inet(message))));
        self.write(head, messages(wanted, false))
    }

    /// Writes messages in one transaction, the tail in further ones as far as one datagram cannot hold it.
    fn write(
        &mut self,
        head: Vec<(u16, NetfilterMessage)>,
        tail: Vec<(u16, NetfilterMessage)>,
    ) -> io::Result<Result<(), Refusal>> {
        // Opening and closing message.
        const AROUND: usize = 64;
        let limit = self.socket.send_limit();
        let mut batch = Batch::new();
        for (flags, message) in head {
            batch.push((), flags, message);
        }
        for (flags, message) in tail {
            let mut next = Batch::new();
            next.push((), flags, message.clone());
            if batch.bytes().len() + next.bytes().len() + AROUND > limit {
                if let Err(refusal) = self.transact(&mut batch)? {
                    return Ok(Err(refusal));
                }
                batch = next;
            } else {
                batch.push((), flags, message);
            }
        }
        self.transact(&mut batch)
    }

    fn transact(&mut self, batch: &mut Batch<()>) -> io::Result<Result<(), Refusal>> {
        let result = self.wire.transact(self.socket, batch, transaction())?;
        Ok(result.map_err(|refused| {
            // The first refusal says why; those after it may be only its consequence.
            refused
                .into_iter()
                .next()
                .map_or(Refusal { errno: libc::EIO, detail: None }, |(_, refusal)| refusal)
        }))
    }
}

fn noted(mut table: TableMessage, userdata: &[u8]) -> TableMessage {
    table.attributes.push(TableAttribute::UserData(userdata.to_vec()));
    table
}

/// The messages that add elements or delete them, in their order.
fn messages(elements: &[Placed], delete: bool) -> Vec<(u16, NetfilterMessage)> {
    let mut messages = Vec::new();
    for of_set in elements.chunk_by(|(set, _), (next, _)| set == next) {
        for part in of_set.chunks(ELEMENTS) {
            let list = part.iter().map(|(_, element)| element.clone()).collect();
            let message = inet(message_of(&part[0].0, list, delete));
            messages.push((if delete { 0 } else { NLM_F_CREATE }, message));
        }
    }
    messages
}

fn explain(refusal: Refusal) -> OpError {
    let hint = match refusal.errno {
        libc::EPERM => "; it belongs to another program",
        libc::ENOENT | libc::EOPNOTSUPP => {
            "; the kernel lacks something of: CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, \
             CONFIG_NFT_CT, CONFIG_NFT_NUMGEN, CONFIG_NFT_HASH, CONFIG_NFT_FIB_INET, CONFIG_NF_CONNTRACK"
        }
        _ => "",
    };
    let errno = refusal.errno;
    let message = format!("cannot make the table inet hcnd: {}{hint}", io::Error::from(refusal));
    OpError { errno: Some(errno), message }
}
