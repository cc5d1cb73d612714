//! Set elements: which ones an object means, and the messages that add them to the table and take them from it.

use std::net::IpAddr;

use hcn_dataplane::{Home, Masquerade, Object};
use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementFlags, SetElementList,
    SetElementMessage, VerdictAttribute,
};

use super::skeleton::IFNAME;
use super::{MASQUERADED_V4, MASQUERADED_V6, OWN_V4, OWN_V6, TABLE};

const NFTA_DATA_VALUE: u16 = 1;
/// An attribute holds 64 KiB at most.
const MOST_OF_A_MESSAGE: usize = 512;

/// What a map's key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "services bring maps")]
pub(crate) enum Value {
    Octets(Vec<u8>),
    Verdict(Vec<VerdictAttribute>),
}

/// An element of a set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    /// The set's name.
    pub(crate) set: String,
    pub(crate) key: Vec<u8>,
    /// The highest key, in a set of concatenations that are intervals.
    pub(crate) key_end: Option<Vec<u8>>,
    /// It is the first key after an interval.
    pub(crate) interval_end: bool,
    pub(crate) value: Option<Value>,
}

impl Element {
    fn new(set: &str, key: Vec<u8>) -> Self {
        Self { set: set.to_owned(), key, key_end: None, interval_end: false, value: None }
    }

    fn attributes(&self) -> ListAttribute<SetElementAttribute> {
        let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(self.key.clone()))];
        if self.interval_end {
            attributes.push(SetElementAttribute::Flags(SetElementFlags::IntervalEnd));
        }
        if let Some(key) = &self.key_end {
            let key = DefaultNla::new(NFTA_DATA_VALUE, key.clone());
            attributes.push(SetElementAttribute::KeyEnd(vec![key]));
        }
        if let Some(value) = &self.value {
            attributes.push(SetElementAttribute::Data(match value {
                Value::Octets(octets) => DataAttribute::Value(octets.clone()),
                Value::Verdict(verdict) => DataAttribute::Verdict(verdict.clone()),
            }));
        }
        ListAttribute::Element(attributes)
    }
}

/// The elements that an object means.
pub(crate) fn of(object: &Object) -> Vec<Element> {
    match object {
        Object::Home(home) => vec![ranged(home)],
        Object::Masquerade(masquerade) => interval(masquerade),
        _ => Vec::new(),
    }
}

/// The messages that add elements or take them away, with their flags.
pub(super) fn messages(elements: &[Element], delete: bool) -> Vec<(u16, NfTablesMessage)> {
    let of_one_set = elements.chunk_by(|a, b| a.set == b.set);
    let parts = of_one_set.flat_map(|elements| elements.chunks(MOST_OF_A_MESSAGE));
    parts.map(|part| message(part, delete)).collect()
}

fn message(elements: &[Element], delete: bool) -> (u16, NfTablesMessage) {
    let message = SetElementMessage {
        attributes: vec![
            SetElementList::Table(TABLE.to_owned()),
            SetElementList::Set(elements[0].set.clone()),
            SetElementList::Elements(elements.iter().map(Element::attributes).collect()),
        ],
    };
    if delete {
        (0, NfTablesMessage::DeleteSetElement(message))
    } else {
        (NLM_F_CREATE | NLM_F_EXCL, NfTablesMessage::NewSetElement(message))
    }
}

/// In a set of concatenations: one element with the lowest and the highest key.
fn ranged(home: &Home) -> Element {
    let prefix = home.prefix.trunc();
    let set = if prefix.addr().is_ipv4() { OWN_V4 } else { OWN_V6 };
    let mut name = home.bridge.as_bytes().to_vec();
    name.resize(IFNAME as usize, 0);
    let key = |address: IpAddr| [octets(address), name.clone()].concat();
    Element { key_end: Some(key(prefix.broadcast())), ..Element::new(set, key(prefix.network())) }
}

/// In a set of single intervals: the first key, and as another element the first key after it.
fn interval(masquerade: &Masquerade) -> Vec<Element> {
    let prefix: IpNet = masquerade.prefix.trunc();
    let set = if prefix.addr().is_ipv4() { MASQUERADED_V4 } else { MASQUERADED_V6 };
    let mut elements = vec![Element::new(set, octets(prefix.network()))];
    // An interval up to the last address has no end.
    if let Some(next) = after(octets(prefix.broadcast())) {
        elements.push(Element { interval_end: true, ..Element::new(set, next) });
    }
    elements
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn after(mut octets: Vec<u8>) -> Option<Vec<u8>> {
    for octet in octets.iter_mut().rev() {
        *octet = octet.wrapping_add(1);
        if *octet != 0 {
            return Some(octets);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_after_a_prefix_carries_over() {
        assert_eq!(after(vec![10, 0, 0, 255]), Some(vec![10, 0, 1, 0]));
        assert_eq!(after(vec![10, 255, 255, 255]), Some(vec![11, 0, 0, 0]));
        assert_eq!(after(vec![255, 255, 255, 255]), None);
    }

    #[test]
    fn an_interval_up_to_the_last_address_is_open() {
        let of_prefix = |prefix: &str| interval(&Masquerade { prefix: prefix.parse().unwrap() });
        assert_eq!(of_prefix("0.0.0.0/0").len(), 1);
        assert_eq!(of_prefix("10.0.0.0/8").len(), 2);
    }
}
