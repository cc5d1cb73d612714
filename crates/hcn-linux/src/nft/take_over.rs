//! The table that an earlier hcnd left: taken over where it is what this one would build, with only those elements
//! written that differ; otherwise built anew in one transaction, so that no packet meets a moment without it.
//!
//! The table is owned by the socket and outlives it (flags `owner` and `persist`, Linux 6.9): a foreign `flush
//! ruleset` passes it by, and once the socket is gone, another one can become its owner. Older kernels refuse the
//! flags; there it is an ordinary table.

use std::collections::{HashMap, HashSet};
use std::{io, iter};

use hcn_dataplane::{Object, OpError};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    NfTablesMessage, SetAttribute, SetFlags, TableAttribute, TableFlags, TableMessage,
};

use super::elements::{self, Element};
use super::present::{self, Present, Raw};
use super::{TABLE, change, inet, skeleton, table, transaction};
use crate::socket::{Batch, Refusal, Socket, Wire};

/// `NFTNL_UDATA_TABLE_COMMENT`
const COMMENT: u8 = 0;
/// The table's owner is this socket, and it outlives the socket.
pub(super) const OWNED: Option<TableFlags> = Some(TableFlags::Owner.union(TableFlags::Persisent));

/// Makes the table what the wanted objects mean, and the socket its owner. Says whether tables can be owned here.
pub(crate) fn take_over<'a>(
    wire: &mut Wire,
    socket: &Socket,
    may_own: bool,
    wanted: impl Iterator<Item = &'a Object>,
) -> Result<bool, OpError> {
    let skeleton = Skeleton::new();
    let wanted: Vec<Element> = wanted.flat_map(elements::of).collect();
    let mut writer = Writer { wire, socket, may_own, owns: false };
    match writer.make(&skeleton, &wanted) {
        Ok(Ok(())) => Ok(writer.owns),
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
    /// Sets whose elements objects bring; not those that packets add to.
    sets: Vec<String>,
    /// Sets that have their elements from the start.
    fixed: HashMap<String, HashSet<Raw>>,
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
            fixed: HashMap::new(),
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
                NfTablesMessage::NewSetElement(elements) => {
                    let (set, elements) = present::listed(&elements.attributes);
                    all.fixed.entry(set).or_default().extend(elements);
                }
                _ => {}
            }
            all.messages.push((flags, message));
        }
        all.sets.retain(|set| !all.fixed.contains_key(set));
        let comment = format!("hcnd {:016x}\0", fnv1a(bytes.bytes()));
        all.userdata = [&[COMMENT, comment.len() as u8], comment.as_bytes()].concat();
        all
    }

    /// Whether the table was built from this skeleton and still has all of it.
    fn is_in(&self, present: &Present, wire: &mut Wire, socket: &Socket) -> io::Result<bool> {
        if present.userdata != self.userdata || present.parts != self.parts || present.rules != self.rules {
            return Ok(false);
        }
        for (set, elements) in &self.fixed {
            let there = present::elements(wire, socket, set)?;
            if there.len() != elements.len() || !there.iter().all(|element| elements.contains(element)) {
                return Ok(false);
            }
        }
        Ok(true)
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

/// The 64-bit FNV-1a hash: the same from every build, which the standard library's is not.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

struct Writer<'a> {
    wire: &'a mut Wire,
    socket: &'a Socket,
    /// It is to own them where that is possible.
    may_own: bool,
    /// Tables can be owned.
    owns: bool,
}

impl Writer<'_> {
    fn make(&mut self, skeleton: &Skeleton, wanted: &[Element]) -> io::Result<Result<(), Refusal>> {
        let present = match Present::read(self.wire, self.socket)? {
            Some(present) if skeleton.is_in(&present, self.wire, self.socket)? => Some(present),
            _ => None,
        };
        let persistent = present.as_ref().is_some_and(|present| present.persistent);
        self.owns = self.may_own && (persistent || self.can_own()?);
        let flags = OWNED.filter(|_| self.owns);
        let same = persistent || (flags.is_none() && present.is_some());
        if same && self.update(skeleton, flags, wanted)? {
            return Ok(Ok(()));
        }
        self.rebuild(skeleton, flags, wanted)
    }

    /// Whether the kernel has tables that are owned and persist: asked with a table that goes in the same transaction,
    /// since one that does not refuses all the hundreds of messages that build hcnd's.
    fn can_own(&mut self) -> io::Result<bool> {
        let own = |flags: Option<TableFlags>| {
            let mut attributes = vec![TableAttribute::Name(format!("{TABLE}-owned"))];
            attributes.extend(flags.map(TableAttribute::Flags));
            TableMessage { attributes }
        };
        let head = vec![
            (NLM_F_CREATE, inet(NfTablesMessage::NewTable(own(OWNED)))),
            (0, inet(NfTablesMessage::DeleteTable(own(None)))),
        ];
        let unknown = [libc::EOPNOTSUPP, libc::EINVAL];
        Ok(!self.write(head, iter::empty())?.is_err_and(|refusal| unknown.contains(&refusal.errno)))
    }

    /// Becomes the table's owner and writes what differs. `false`: the kernel refused, and nothing but the owner
    /// has changed.
    fn update(
        &mut self,
        skeleton: &Skeleton,
        flags: Option<TableFlags>,
        wanted: &[Element],
    ) -> io::Result<bool> {
        if flags.is_some() {
            let own = inet(NfTablesMessage::NewTable(table(flags)));
            if self.write(vec![(NLM_F_CREATE, own)], iter::empty())?.is_err() {
                return Ok(false);
            }
        }
        let mut by_set: HashMap<&str, Vec<(Raw, &Element)>> = HashMap::new();
        for element in wanted {
            by_set.entry(&element.set).or_default().push((Raw::of(element), element));
        }
        let mut surplus = Vec::new();
        let mut missing = Vec::new();
        for set in &skeleton.sets {
            let present = present::elements(self.wire, self.socket, set)?;
            let wanted = by_set.remove(set.as_str()).unwrap_or_default();
            let known: HashSet<&Raw> = wanted.iter().map(|(raw, _)| raw).collect();
            let there: HashSet<&Raw> = present.iter().collect();
            surplus.extend(present.iter().filter(|raw| !known.contains(raw)).map(|raw| raw.place(set)));
            missing.extend(
                wanted.iter().filter(|(raw, _)| !there.contains(raw)).map(|(_, wanted)| (*wanted).clone()),
            );
        }
        if surplus.is_empty() && missing.is_empty() {
            return Ok(true);
        }
        tracing::warn!(
            surplus = surplus.len(),
            missing = missing.len(),
            "repairing the sets of the table inet hcnd"
        );
        let head = change(&surplus, true).collect();
        Ok(self.write(head, change(&missing, false))?.is_ok())
    }

    /// Builds the table in place of the one that is there.
    fn rebuild(
        &mut self,
        skeleton: &Skeleton,
        flags: Option<TableFlags>,
        wanted: &[Element],
    ) -> io::Result<Result<(), Refusal>> {
        // Deleting fails where there is nothing, so it is made first; all in the one transaction.
        let mut head = vec![
            (NLM_F_CREATE, inet(NfTablesMessage::NewTable(table(None)))),
            (0, inet(NfTablesMessage::DeleteTable(table(None)))),
            (NLM_F_CREATE, inet(NfTablesMessage::NewTable(noted(table(flags), &skeleton.userdata)))),
        ];
        head.extend(skeleton.messages.iter().cloned().map(|(flags, message)| (flags, inet(message))));
        self.write(head, change(wanted, false))
    }

    /// Writes messages in one transaction, the tail in further ones as far as one datagram cannot hold it.
    fn write(
        &mut self,
        head: Vec<(u16, NetfilterMessage)>,
        tail: impl Iterator<Item = (u16, NetfilterMessage)>,
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

fn explain(refusal: Refusal) -> OpError {
    let hint = match refusal.errno {
        libc::EPERM => "; it belongs to another program",
        libc::ENOENT | libc::EOPNOTSUPP => {
            "; the kernel lacks something of: CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_CT, \
             CONFIG_NFT_NUMGEN, CONFIG_NFT_HASH, CONFIG_NFT_REJECT, CONFIG_NFT_FIB_INET, CONFIG_NF_CONNTRACK"
        }
        _ => "",
    };
    let errno = refusal.errno;
    let message = format!("cannot make the table inet hcnd: {}{hint}", io::Error::from(refusal));
    OpError { errno: Some(errno), message }
}
