//! Set elements: what networks add to the table and take from it.

use std::net::IpAddr;

use hcn_dataplane::{Home, Masquerade};
use ipnet::IpNet;
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementFlags, SetElementList,
    SetElementMessage,
};

use super::skeleton::IFNAME;
use super::{MASQUERADED_V4, MASQUERADED_V6, OWN_V4, OWN_V6, TABLE, inet};

const NFTA_DATA_VALUE: u16 = 1;

/// The message that adds the elements of a home (or, with `delete`, takes them away).
pub(crate) fn home(home: &Home, delete: bool) -> NetfilterMessage {
    let prefix = home.prefix.trunc();
    let set = if prefix.addr().is_ipv4() { OWN_V4 } else { OWN_V6 };
    change(set, ranged(prefix, &home.bridge), delete)
}

/// The same for a masquerade.
pub(crate) fn masquerade(masquerade: &Masquerade, delete: bool) -> NetfilterMessage {
    let prefix = masquerade.prefix.trunc();
    let set = if prefix.addr().is_ipv4() { MASQUERADED_V4 } else { MASQUERADED_V6 };
    change(set, interval(prefix), delete)
}

fn change(set: &str, elements: Vec<Element>, delete: bool) -> NetfilterMessage {
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

type Element = ListAttribute<SetElementAttribute>;

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
