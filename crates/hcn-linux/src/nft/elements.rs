//! Set elements: which ones an object means, and the messages that add them to the table and take them from it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use hcn_dataplane::{
    Affinity, Annex, Barrier, Family, Home, HostSide, Masquerade, Object, Service, Source, Ways,
};
use ipnet::IpNet;
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementFlags, SetElementList,
    SetElementMessage, VerdictAttribute,
};

use super::affinity;
use super::expressions::{IFNAME, V4, V6};
use super::maps::{
    CLIENT_VIPS, CLOSED, DOORS, GROUPS, HOST_PORTS, HOST_VIPS, INSIDE, INTERNAL, MASQUERADED_PORTS,
    MASQUERADED_VIPS, MEMBERS, PORT_GROUPS, PORT_SLOTS, PORT_SOURCES, PORTS, SEALED, SHARDS, SLOTS, SOURCES,
    VIPS, WALLED,
};
use super::services::Code;
use super::{MASQUERADED_V4, MASQUERADED_V6, OWN_V4, OWN_V6, TABLE};

const NFTA_DATA_VALUE: u16 = 1;
/// An attribute holds 64 KiB at most, and an element of the longest kind takes 80 octets.
const MOST_OF_A_MESSAGE: usize = 512;

/// What a map's key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub(super) fn new(set: String, key: Vec<u8>) -> Self {
        Self { set, key, key_end: None, interval_end: false, value: None }
    }

    pub(super) fn with(set: String, key: Vec<u8>, value: Value) -> Self {
        Self { value: Some(value), ..Self::new(set, key) }
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
        Object::Barrier(barrier) => around(barrier),
        Object::Annex(annex) => joined(annex),
        Object::Affinity(affinity) => choosing(affinity),
        Object::Service(service) => translating(service),
        _ => Vec::new(),
    }
}

/// The elements to delete and those to add when an object becomes another. What keeps its key and gets another value
/// is in both.
pub(crate) fn difference(from: &Object, to: &Object) -> (Vec<Element>, Vec<Element>) {
    differing(&of(from), &of(to))
}

/// The same of what one thing means before and after.
pub(super) fn differing(before: &[Element], after: &[Element]) -> (Vec<Element>, Vec<Element>) {
    let place = |element: &Element| (element.set.clone(), element.key.clone());
    let known = |elements: &[Element]| -> HashMap<_, _> {
        elements.iter().map(|element| (place(element), element.clone())).collect()
    };
    let without = |elements: &[Element], others: &HashMap<_, Element>| -> Vec<Element> {
        let differs = |element: &&Element| others.get(&place(element)) != Some(*element);
        elements.iter().filter(differs).cloned().collect()
    };
    (without(before, &known(after)), without(after, &known(before)))
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
        let new = netlink_packet_core::NLM_F_CREATE | netlink_packet_core::NLM_F_EXCL;
        (new, NfTablesMessage::NewSetElement(message))
    }
}

/// In a set of concatenations: one element with the lowest and the highest key.
fn ranged(home: &Home) -> Element {
    let prefix = home.prefix.trunc();
    let set = if prefix.addr().is_ipv4() { OWN_V4 } else { OWN_V6 };
    let key = |address: IpAddr| [octets(address), ifname(&home.bridge)].concat();
    Element { key_end: Some(key(prefix.broadcast())), ..Element::new(set.to_owned(), key(prefix.network())) }
}

/// In a set of single intervals: the first key, and as another element the first key after it.
fn interval(masquerade: &Masquerade) -> Vec<Element> {
    let prefix: IpNet = masquerade.prefix.trunc();
    let set = if prefix.addr().is_ipv4() { MASQUERADED_V4 } else { MASQUERADED_V6 };
    let mut elements = vec![Element::new(set.to_owned(), octets(prefix.network()))];
    // An interval up to the last address has no end.
    if let Some(next) = after(octets(prefix.broadcast())) {
        elements.push(Element { interval_end: true, ..Element::new(set.to_owned(), next) });
    }
    elements
}

fn around(barrier: &Barrier) -> Vec<Element> {
    let bridge = ifname(&barrier.bridge);
    let mut elements = Vec::new();
    if barrier.ways != Ways::Open {
        elements.push(Element::new(INSIDE.to_owned(), [bridge.clone(), bridge.clone()].concat()));
        elements.push(Element::new(CLOSED.to_owned(), bridge.clone()));
    }
    if let Ways::Only(link) = &barrier.ways {
        let link = ifname(link);
        let pair = |from: &[u8], to: &[u8]| Element::new(INSIDE.to_owned(), [from, to].concat());
        elements.extend([pair(&bridge, &link), pair(&link, &bridge)]);
    }
    match &barrier.host {
        HostSide::Open => {}
        HostSide::Closed if barrier.ways == Ways::Closed => {
            elements.push(Element::new(SEALED.to_owned(), bridge));
        }
        // What is forwarded needs neighbours.
        HostSide::Closed => elements.push(Element::new(WALLED.to_owned(), bridge)),
        HostSide::Only(addresses) => {
            elements.push(Element::new(WALLED.to_owned(), bridge.clone()));
            elements.extend(addresses.iter().map(|address| {
                let family = if address.is_ipv4() { &V4 } else { &V6 };
                Element::new(family.set(DOORS), [bridge.clone(), octets(*address)].concat())
            }));
        }
    }
    elements
}

fn joined(annex: &Annex) -> Vec<Element> {
    let (bridge, of) = (ifname(&annex.bridge), ifname(&annex.of));
    let inside = Element::new(INSIDE.to_owned(), [bridge.clone(), of].concat());
    vec![Element::new(SHARDS.to_owned(), bridge), inside]
}

/// Members by slot.
fn choosing(affinity: &Affinity) -> Vec<Element> {
    let group = affinity.group.to_ne_bytes();
    let member = |(slot, member): (u32, &u32)| {
        let key = [group, slot.to_ne_bytes()].concat();
        let value = Value::Octets(affinity::tag(*member).to_ne_bytes().to_vec());
        Element::with(MEMBERS.to_owned(), key, value)
    };
    (0u32..).zip(&affinity.members).map(member).collect()
}

fn translating(service: &Service) -> Vec<Element> {
    let frontend = &service.frontend;
    let family = match frontend.family {
        Family::V4 => &V4,
        Family::V6 => &V6,
    };
    let any_address = frontend.address.is_none();
    let named = |of_vips: &str, of_ports: &str| family.set(if any_address { of_ports } else { of_vips });
    let mut key = word(&[frontend.protocol as u8]);
    key.extend(frontend.address.map(octets).unwrap_or_default());
    key.extend(word(&frontend.port.to_be_bytes()));

    let code = Value::Octets(Code::of(service).number().to_ne_bytes().to_vec());
    let mut elements: Vec<Element> = if service.only_from.is_empty() || any_address {
        vec![Element::with(named(VIPS, PORTS), key.clone(), code.clone())]
    } else {
        let internal = |link: &String| {
            Element::with(family.set(INTERNAL), [ifname(link), key.clone()].concat(), code.clone())
        };
        service.only_from.iter().map(internal).collect()
    };
    if service.from_host {
        elements.push(Element::with(named(HOST_VIPS, HOST_PORTS), key.clone(), code));
    }
    match service.source {
        Source::Client if any_address => {}
        Source::Client => elements.push(Element::new(family.set(CLIENT_VIPS), key.clone())),
        Source::Masquerade => {
            elements.push(Element::new(named(MASQUERADED_VIPS, MASQUERADED_PORTS), key.clone()));
        }
        Source::Address(address) => {
            let value = Value::Octets(octets(address));
            elements.push(Element::with(named(SOURCES, PORT_SOURCES), key.clone(), value));
        }
    }
    let slots = named(SLOTS, PORT_SLOTS);
    if let Some(affinity) = &service.affinity {
        let group = Value::Octets(affinity.group.to_ne_bytes().to_vec());
        elements.push(Element::with(named(GROUPS, PORT_GROUPS), key.clone(), group));
    }
    for (slot, backend) in (0u32..).zip(&service.backends) {
        let member = |affinity: &Affinity| affinity.members.get(slot as usize).copied().map(affinity::tag);
        let slot = service.affinity.as_ref().map_or(Some(slot), member).unwrap_or(slot);
        let key = [&key[..], &slot.to_ne_bytes()].concat();
        elements.push(Element::with(slots.clone(), key, Value::Octets(socket(backend))));
    }
    elements
}

/// An address and a port.
fn socket(address: &SocketAddr) -> Vec<u8> {
    [octets(address.ip()), word(&address.port().to_be_bytes())].concat()
}

/// A part of a key, filled up to the next register.
pub(super) fn word(octets: &[u8]) -> Vec<u8> {
    let mut word = octets.to_vec();
    word.resize(octets.len().next_multiple_of(4), 0);
    word
}

pub(super) fn ifname(link: &str) -> Vec<u8> {
    let mut name = link.as_bytes().to_vec();
    name.resize(IFNAME as usize, 0);
    name
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
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
    use hcn_dataplane::{Frontend, Protocol};

    use super::*;

    #[test]
    fn the_key_after_a_prefix_carries_over() {
        assert_eq!(after(vec![10, 0, 0, 255]), Some(vec![10, 0, 1, 0]));
        assert_eq!(after(vec![10, 255, 255, 255]), Some(vec![11, 0, 0, 0]));
        assert_eq!(after(vec![255, 255, 255, 255]), None);
    }

    #[test]
    fn an_interval_up_to_the_last_address_is_open() {
        let elements = |prefix: &str| interval(&Masquerade { prefix: prefix.parse().unwrap() }).len();
        assert_eq!(elements("0.0.0.0/0"), 1);
        assert_eq!(elements("10.0.0.0/8"), 2);
    }

    fn service(backends: u16) -> Service {
        let frontend = Frontend {
            family: Family::V4,
            address: Some("10.0.0.1".parse().unwrap()),
            protocol: Protocol::Tcp,
            port: 80,
        };
        let backends = (0..backends).map(|n| SocketAddr::from(([10, 7, 0, 2], 1000 + n))).collect();
        let source = Source::default();
        Service {
            frontend,
            backends,
            affinity: None,
            only_from: Vec::new(),
            from_host: false,
            source,
            terminates: false,
        }
    }

    #[test]
    fn a_change_touches_only_what_differs() {
        let (from, mut to) = (service(6), service(5));
        to.backends[3].set_port(1);
        let (gone, come) = difference(&Object::Service(from), &Object::Service(to));
        // The number of bits stays, slot 5 goes, slot 3 gets another back end.
        assert_eq!((gone.len(), come.len()), (2, 1));
        assert!(gone.iter().any(|element| element.key == come[0].key && element.value != come[0].value));
    }

    #[test]
    fn a_message_holds_as_much_as_an_attribute_can() {
        assert_eq!(messages(&of(&Object::Service(service(1024))), false).len(), 4);
    }
}
