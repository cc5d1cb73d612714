//! What is in the table, as dumps tell.

use std::io;

use netlink_packet_core::Emitable as _;
use netlink_packet_netfilter::nftables::{
    NfTablesMessage, RuleAttribute, RuleMessage, SetElementFlags, SetElementList, SetElementMessage,
    TableFlags,
};

use super::elements::{Element, Value};
use super::{TABLE, inet, table};
use crate::attributes::{self, find};
use crate::socket::{Batch, Socket, Wire};

const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_USE: u16 = 3;
const NFTA_TABLE_USERDATA: u16 = 6;
pub(super) const NFTA_TABLE_OWNER: u16 = 7;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
/// Length of `struct nfgenmsg`.
pub(super) const NFGENMSG: usize = 4;

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

/// What makes an element of a set, for comparing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Raw {
    key: Vec<u8>,
    key_end: Option<Vec<u8>>,
    interval_end: bool,
    /// Empty in a set.
    value: Vec<u8>,
}

impl Raw {
    /// Of an element that is meant to be there.
    pub(super) fn of(element: &Element) -> Self {
        let value = match &element.value {
            None => Vec::new(),
            Some(Value::Octets(octets)) => octets.clone(),
            Some(Value::Verdict(parts)) => {
                let mut bytes = vec![0; parts.as_slice().buffer_len()];
                parts.as_slice().emit(&mut bytes);
                verdict(&bytes)
            }
        };
        let Element { key, key_end, interval_end, .. } = element;
        Self { key: key.clone(), key_end: key_end.clone(), interval_end: *interval_end, value }
    }

    fn read(attributes: &[u8]) -> Option<Self> {
        let octets =
            |kind| find(attributes, kind).and_then(|data| find(data, NFTA_DATA_VALUE)).map(<[u8]>::to_vec);
        let decision = find(attributes, NFTA_SET_ELEM_DATA).and_then(|data| find(data, NFTA_DATA_VERDICT));
        let flags = find(attributes, NFTA_SET_ELEM_FLAGS).and_then(big_endian).unwrap_or(0);
        Some(Self {
            key: octets(NFTA_SET_ELEM_KEY)?,
            key_end: octets(NFTA_SET_ELEM_KEY_END),
            interval_end: SetElementFlags::from_bits_retain(flags).contains(SetElementFlags::IntervalEnd),
            value: decision.map(verdict).or_else(|| octets(NFTA_SET_ELEM_DATA)).unwrap_or_default(),
        })
    }

    /// What a message that deletes the element says of it.
    pub(super) fn place(&self, set: &str) -> Element {
        Element {
            set: set.to_owned(),
            key: self.key.clone(),
            key_end: self.key_end.clone(),
            interval_end: self.interval_end,
            value: None,
        }
    }
}

/// Code and chain, without what differs in how they are written down.
fn verdict(parts: &[u8]) -> Vec<u8> {
    let chain = find(parts, NFTA_VERDICT_CHAIN).map(attributes::text).unwrap_or_default();
    [find(parts, NFTA_VERDICT_CODE).unwrap_or_default(), chain.as_bytes()].concat()
}

/// The set and the elements that a message names.
pub(super) fn listed(attributes: &[SetElementList]) -> (String, Vec<Raw>) {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    let set = find(&bytes, NFTA_SET_ELEM_LIST_SET).map(attributes::text).unwrap_or_default();
    (set, read_all(&bytes))
}

/// The elements of a set.
pub(super) fn elements(wire: &mut Wire, socket: &Socket, set: &str) -> io::Result<Vec<Raw>> {
    let question = SetElementMessage {
        attributes: vec![SetElementList::Table(TABLE.to_owned()), SetElementList::Set(set.to_owned())],
    };
    let answers = wire.dump(socket, &inet(NfTablesMessage::GetSetElement(question)))?;
    Ok(answers.iter().flat_map(|answer| read_all(answer.get(NFGENMSG..).unwrap_or_default())).collect())
}

fn read_all(attributes: &[u8]) -> Vec<Raw> {
    let list = find(attributes, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    let elements = attributes::all(list).filter(|(kind, _)| *kind == NFTA_LIST_ELEM);
    elements.filter_map(|(_, element)| Raw::read(element)).collect()
}

/// For the fuzz target: an element that is read, and told as a message that deletes it, is read from that as the same.
pub(crate) fn exercise(payload: &[u8]) {
    for element in read_all(payload) {
        let place = element.place("set");
        for (_, message) in super::elements::messages(&[place], true) {
            let NfTablesMessage::DeleteSetElement(message) = message else { continue };
            let (set, again) = listed(&message.attributes);
            assert_eq!(set, "set");
            assert_eq!(again, [Raw { value: Vec::new(), ..element.clone() }]);
        }
    }
}

fn big_endian(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}
