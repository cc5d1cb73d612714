//! Set elements: what networks add to the table and take from it.

use std::net::IpAddr;

use hcn_dataplane::{Home, Masquerade, Object};
use ipnet::IpNet;
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementFlags, SetElementList,
    SetElementMessage,
};

use super::skeleton::IFNAME;
use super::{MASQUERADED_V4, MASQUERADED_V6, OWN_V4, OWN_V6, TABLE, inet};

pub(super) const NFTA_DATA_VALUE: u16 = 1;

/// An element as messages carry it.
pub(super) type Element = ListAttribute<SetElementAttribute>;

/// The elements that an object is in the table, each with the name of its set.
pub(super) fn elements_of(object: &Object) -> Vec<(&'static str, Element)> {
    let of = |set, elements: Vec<Element>| elements.into_iter().map(|element| (set, element)).collect();
    match object {
        Object::Home(Home { prefix, bridge }) => {
            let prefix = prefix.trunc();
            let set = if prefix.addr().is_ipv4() { OWN_V4 } else { OWN_V6 };
            of(set, ranged(prefix, bridge))
        }
        Object::Masquerade(Masquerade { prefix }) => {
            let prefix = prefix.trunc();
            let set = if prefix.addr().is_ipv4() { MASQUERADED_V4 } else { MASQUERADED_V6 };
            of(set, interval(prefix))
        }
        _ => Vec::new(),
    }
}

/// The messages that add the elements of an object (or, with `delete`, take them away), one for each set.
pub(crate) fn messages_of(object: &Object, delete: bool) -> Vec<NetfilterMessage> {
    let mut sets: Vec<(&'static str, Vec<Element>)> = Vec::new();
    for (set, element) in elements_of(object) {
        match sets.iter_mut().find(|(other, _)| *other == set) {
            Some((_, elements)) => elements.push(element),
            None => sets.push((set, vec![element])),
        }
    }
    sets.into_iter().map(|(set, elements)| change(set, elements, delete)).collect()
}

/// The message that adds elements to a set or takes them away.
pub(super) fn change(set: &str, elements: Vec<Element>, delete: bool) -> NetfilterMessage {
    let message = SetElementMessage {
        attributes: vec![
            SetElementList::Table(TABLE.to_owned()),
            SetElementList::Set(set.to_owned()),
            SetElementList::Elements(elements),
        ],
    };
    inet(if delete {
        NfTablesMessage::DeleteSetElement(message)
    } else {
        NfTablesMessage::NewSetElement(message)
    })
}

/// In a set of concatenations: one element with the lowest and the highest key.
fn ranged(prefix: IpNet, link: &str) -> Vec<Element> {
    let mut name = link.as_bytes().to_vec();
    name.resize(IFNAME as usize, 0);
    let key = |address: IpAddr| [octets(address), name.clone()].concat();
    vec![ListAttribute::Element(vec![
        SetElementAttribute::Key(DataAttribute::Value(key(prefix.network()))),
        SetElementAttribute::KeyEnd(vec![DefaultNla::new(NFTA_DATA_VALUE, key(prefix.broadcast()))]),
    ])]
}

/// In a set of single intervals: the first key, and as another element the first key after it.
fn interval(prefix: IpNet) -> Vec<Element> {
    let first = SetElementAttribute::Key(DataAttribute::Value(octets(prefix.network())));
    let mut elements = vec![ListAttribute::Element(vec![first])];
    // An interval up to the last address has no end.
    if let Some(next) = after(octets(prefix.broadcast())) {
        elements.push(ListAttribute::Element(vec![
            SetElementAttribute::Flags(SetElementFlags::IntervalEnd),
            SetElementAttribute::Key(DataAttribute::Value(next)),
        ]));
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
        assert_eq!(interval("0.0.0.0/0".parse().unwrap()).len(), 1);
        assert_eq!(interval("10.0.0.0/8".parse().unwrap()).len(), 2);
    }
}
