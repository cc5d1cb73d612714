//! What is in the table, as dumps tell.

use std::io;

use netlink_packet_core::{DefaultNla, Emitable as _};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage, SetElementAttribute,
    SetElementFlags, SetElementList, SetElementMessage, TableFlags,
};

use super::elements::{Carried, NFTA_DATA_VALUE};
use super::{TABLE, inet, table};
use crate::attributes::{self, find};
use crate::socket::{Batch, Socket, Wire};

const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_USE: u16 = 3;
const NFTA_TABLE_USERDATA: u16 = 6;
const NFTA_TABLE_OWNER: u16 = 7;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
/// Length of `struct nfgenmsg`.
const NFGENMSG: usize = 4;

/// The table.
pub(super) struct Present {
    /// A living socket owns it.
    pub(super) owned: bool,
    /// It outlives its owner.
    pub(super) persistent: bool,
    /// What is noted beside it, as [`super::take_over`] writes it.
    pub(super) userdata: Vec<u8>,
    /// How many chains, sets and the like it has.
    pub(super) parts: usize,
    pub(super) rules: usize,
}

impl Present {
    /// The table, if there is one.
    pub(super) fn read(wire: &mut Wire, socket: &Socket) -> io::Result<Option<Self>> {
        let mut question = Batch::new();
        question.push((), 0, inet(NfTablesMessage::GetTable(table(None))));
        let answer = match wire.exchange(socket, &mut question)?.pop() {
            Some(Ok(Some(answer))) => answer,
            Some(Err(refusal)) if refusal.errno != libc::ENOENT => return Err(refusal.into()),
            _ => return Ok(None),
        };
        let attributes = answer.get(NFGENMSG..).unwrap_or_default();
        let number = |kind| find(attributes, kind).and_then(big_endian).unwrap_or(0);
        let of_table = RuleMessage { attributes: vec![RuleAttribute::Table(TABLE.to_owned())] };
        let rules = wire.dump(socket, &inet(NfTablesMessage::GetRule(of_table)))?.len();
        Ok(Some(Self {
            owned: find(attributes, NFTA_TABLE_OWNER).is_some(),
            persistent: TableFlags::from_bits_retain(number(NFTA_TABLE_FLAGS))
                .contains(TableFlags::Persisent),
            userdata: find(attributes, NFTA_TABLE_USERDATA).unwrap_or_default().to_vec(),
            parts: number(NFTA_TABLE_USE) as usize,
            rules,
        }))
    }
}

/// What makes an element, for comparing. An empty part is one that the element does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Raw {
    key: Vec<u8>,
    key_end: Vec<u8>,
    flags: u32,
    data: Vec<u8>,
}

impl Raw {
    /// Of an element that is meant to be there.
    pub(super) fn of(element: &Carried) -> Self {
        let mut bytes = vec![0; element.buffer_len()];
        element.emit(&mut bytes);
        attributes::all(&bytes).next().map(|(_, attributes)| Self::read(attributes)).unwrap_or_default()
    }

    fn read(attributes: &[u8]) -> Self {
        let value = |kind| {
            let data = find(attributes, kind).and_then(|data| find(data, NFTA_DATA_VALUE));
            data.unwrap_or_default().to_vec()
        };
        let mut raw = Self {
            key: value(NFTA_SET_ELEM_KEY),
            key_end: value(NFTA_SET_ELEM_KEY_END),
            flags: find(attributes, NFTA_SET_ELEM_FLAGS).and_then(big_endian).unwrap_or(0),
            data: value(NFTA_SET_ELEM_DATA),
        };
        let verdict = find(attributes, NFTA_SET_ELEM_DATA).and_then(|data| find(data, NFTA_DATA_VERDICT));
        if let Some(verdict) = verdict {
            raw.data = find(verdict, NFTA_VERDICT_CODE).unwrap_or_default().to_vec();
            let chain = find(verdict, NFTA_VERDICT_CHAIN).map(attributes::text).unwrap_or_default();
            raw.data.extend(chain.into_bytes());
        }
        raw
    }

    /// What a message that deletes the element says of it.
    pub(super) fn element(&self) -> Carried {
        let mut attributes = Vec::new();
        if self.flags != 0 {
            attributes.push(SetElementAttribute::Flags(SetElementFlags::from_bits_retain(self.flags)));
        }
        if !self.key.is_empty() {
            attributes.push(SetElementAttribute::Key(DataAttribute::Value(self.key.clone())));
        }
        if !self.key_end.is_empty() {
            let end = DefaultNla::new(NFTA_DATA_VALUE, self.key_end.clone());
            attributes.push(SetElementAttribute::KeyEnd(vec![end]));
        }
        ListAttribute::Element(attributes)
    }
}

/// The elements of a set.
pub(super) fn elements(wire: &mut Wire, socket: &Socket, set: &str) -> io::Result<Vec<Raw>> {
    let question = SetElementMessage {
        attributes: vec![SetElementList::Table(TABLE.to_owned()), SetElementList::Set(set.to_owned())],
    };
    let answers = wire.dump(socket, &inet(NfTablesMessage::GetSetElement(question)))?;
    let mut elements = Vec::new();
    for answer in &answers {
        let list =
            answer.get(NFGENMSG..).and_then(|attributes| find(attributes, NFTA_SET_ELEM_LIST_ELEMENTS));
        let list = attributes::all(list.unwrap_or_default());
        elements
            .extend(list.filter(|(kind, _)| *kind == NFTA_LIST_ELEM).map(|(_, element)| Raw::read(element)));
    }
    Ok(elements)
}

fn big_endian(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}
