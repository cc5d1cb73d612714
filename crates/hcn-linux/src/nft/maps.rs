//! Which sets and maps the table has, and what their keys and data are made of.

use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    NfTablesMessage, SetAttribute, SetDescription, SetFlags, SetMessage,
};

use super::expressions::{FAMILIES, Family, IFNAME};
use super::{MASQUERADED_V4, MASQUERADED_V6, OWN_V4, OWN_V6, TABLE};
use crate::attributes::nested;

/// Bits of each type in the number of a concatenation.
const TYPE_BITS: u32 = 6;
/// `NFT_DATA_VERDICT`
const VERDICT: u32 = 0xffff_ff00;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_FIELD_LEN: u16 = 1;
/// `NFTNL_UDATA_SET_KEYBYTEORDER` and `NFTNL_UDATA_SET_DATABYTEORDER`, by which nft lists.
const KEY_BYTE_ORDER: u8 = 0;
const DATA_BYTE_ORDER: u8 = 1;
const HOST_BYTE_ORDER: u32 = 1;
const NETWORK_BYTE_ORDER: u32 = 2;

/// Front ends that have an address, with the code of what becomes of packets to them.
pub(super) const VIPS: &str = "vips";
/// The same for packets of one link.
pub(super) const INTERNAL: &str = "internal";
/// Front ends that are a port of the host's addresses.
pub(super) const PORTS: &str = "ports";
/// Front ends that the host's own programs use, too.
pub(super) const HOST_VIPS: &str = "hostvips";
pub(super) const HOST_PORTS: &str = "hostports";
/// Back ends by front end and slot; with session affinity by front end and member.
pub(super) const SLOTS: &str = "slots";
pub(super) const PORT_SLOTS: &str = "portslots";
/// The group of front ends whose clients stay with their back end.
pub(super) const GROUPS: &str = "groups";
pub(super) const PORT_GROUPS: &str = "portgroups";
/// Members by group and slot.
pub(crate) const MEMBERS: &str = "members";
/// Which member a client of a group went to. Packets add to it.
pub(crate) const LEARNED: &str = "learned";
/// Front ends whose back ends see an address of ours.
pub(super) const SOURCES: &str = "sources";
pub(super) const PORT_SOURCES: &str = "portsources";
/// Front ends whose back ends see the address of the link that packets leave by.
pub(super) const MASQUERADED_VIPS: &str = "masqvips";
pub(super) const MASQUERADED_PORTS: &str = "masqports";
/// Front ends with an address whose back ends see the client: a port of the same number is not meant.
pub(super) const CLIENT_VIPS: &str = "clientvips";
/// Where each code leads.
pub(super) const DISPATCH: &str = "dispatch";
/// Where packets of closed bridges may go nevertheless: the links that they come in and leave by. Back to the bridge
/// always, and from and to the one link that a bridge may lead out by.
pub(super) const INSIDE: &str = "inside";
/// Bridges that packets are not forwarded from or to, but as the pairs above say.
pub(super) const CLOSED: &str = "closed";
/// Bridges that the host neither receives from nor sends to.
pub(super) const SEALED: &str = "sealed";
/// Bridges that are joined to another one, by which their packets are routed.
pub(super) const SHARDS: &str = "shards";

/// Bridges that do not exchange everything with the host.
pub(super) const WALLED: &str = "walled";
/// Addresses of the host that are for such a bridge nevertheless.
pub(super) const DOORS: &str = "doors";

/// A data type, as nft numbers it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Ipv4,
    Ipv6,
    Protocol,
    Port,
    /// Any number. nft 1.0.6 aborts when it lists one of its type `integer`.
    Mark,
    /// EUI-48.
    Mac,
    Ifname,
}

impl Type {
    fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Mac => 9,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Mark => 19,
            Self::Ifname => 41,
        }
    }

    /// That of the family's addresses.
    pub(super) fn address(family: &Family) -> Self {
        if family.length == 4 { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// Octets.
    pub(super) fn length(self) -> u32 {
        match self {
            Self::Ipv4 | Self::Mark => 4,
            Self::Ipv6 => 16,
            Self::Mac => 6,
            Self::Protocol => 1,
            Self::Port => 2,
            Self::Ifname => IFNAME,
        }
    }
}

/// What a map holds.
pub(crate) enum Data {
    Values(Vec<Type>),
    Verdicts,
}

/// A set, or a map.
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) key: Vec<Type>,
    pub(crate) data: Option<Data>,
    pub(crate) interval: bool,
    /// Packets add to it, and what no packet has met for so long goes.
    pub(crate) timeout: Option<Duration>,
}

/// How long a client is remembered after its last new connection: as long as Kubernetes does by default.
const REMEMBERED: Duration = Duration::from_secs(3 * 60 * 60);
/// How many the kernel lets packets add to a set that says no size. One that did would take memory for all of them.
pub(crate) const MOST_LEARNED: u32 = 65_535;
/// How often the kernel looks for what has timed out.
pub(crate) const COLLECTED: Duration = Duration::from_secs(60);

/// All of them.
pub(crate) fn all() -> Vec<Set> {
    let mut sets: Vec<Set> = FAMILIES.into_iter().flat_map(of_family).collect();
    sets.push(map(DISPATCH, &[Type::Mark], Data::Verdicts));
    sets.push(map(MEMBERS, &[Type::Mark, Type::Mark], Data::Values(vec![Type::Mark])));
    sets.push(set(INSIDE, &[Type::Ifname, Type::Ifname], false));
    sets.push(set(CLOSED, &[Type::Ifname], false));
    sets.push(set(SEALED, &[Type::Ifname], false));
    sets.push(set(WALLED, &[Type::Ifname], false));
    sets.push(set(SHARDS, &[Type::Ifname], false));
    sets
}

fn of_family(family: &Family) -> Vec<Set> {
    let (address, own, masqueraded) = match family.suffix {
        '4' => (Type::Ipv4, OWN_V4, MASQUERADED_V4),
        _ => (Type::Ipv6, OWN_V6, MASQUERADED_V6),
    };
    let vip = [Type::Protocol, address, Type::Port];
    let port = [Type::Protocol, Type::Port];
    let internal = [&[Type::Ifname][..], &vip].concat();
    let slot = |key: &[Type]| [key, &[Type::Mark]].concat();
    let values = |types: &[Type]| Data::Values(types.to_vec());
    let named = |stem: &str, key: &[Type], types: &[Type]| map(&family.set(stem), key, values(types));
    let remembered = [Type::Mark, address];
    let learned = Set { timeout: Some(REMEMBERED), ..named(LEARNED, &remembered, &[Type::Mark]) };
    vec![
        learned,
        named(GROUPS, &vip, &[Type::Mark]),
        named(PORT_GROUPS, &port, &[Type::Mark]),
        set(own, &[address, Type::Ifname], true),
        set(masqueraded, &[address], true),
        named(VIPS, &vip, &[Type::Mark]),
        named(INTERNAL, &internal, &[Type::Mark]),
        named(PORTS, &port, &[Type::Mark]),
        named(HOST_VIPS, &vip, &[Type::Mark]),
        named(HOST_PORTS, &port, &[Type::Mark]),
        named(SLOTS, &slot(&vip), &[address, Type::Port]),
        named(PORT_SLOTS, &slot(&port), &[address, Type::Port]),
        named(SOURCES, &vip, &[address]),
        named(PORT_SOURCES, &port, &[address]),
        set(&family.set(MASQUERADED_VIPS), &vip, false),
        set(&family.set(MASQUERADED_PORTS), &port, false),
        set(&family.set(CLIENT_VIPS), &vip, false),
        set(&family.set(DOORS), &[Type::Ifname, address], false),
    ]
}

pub(super) fn set(name: &str, key: &[Type], interval: bool) -> Set {
    Set { name: name.to_owned(), key: key.to_vec(), data: None, interval, timeout: None }
}

pub(super) fn map(name: &str, key: &[Type], data: Data) -> Set {
    Set { name: name.to_owned(), key: key.to_vec(), data: Some(data), interval: false, timeout: None }
}

/// The number and the length of a type or a concatenation.
fn composed(types: &[Type]) -> (u32, u32) {
    if let [single] = types {
        return (single.number(), single.length());
    }
    types.iter().fold((0, 0), |(number, length), part| {
        (number << TYPE_BITS | part.number(), length + part.length().next_multiple_of(4))
    })
}

impl Set {
    /// The message that makes it, empty. `id` tells it apart within the transaction.
    pub(super) fn message(&self, id: u32) -> (u16, NfTablesMessage) {
        let (key_type, key_length) = composed(&self.key);
        let mut flags = SetFlags::empty();
        let mut attributes = vec![
            SetAttribute::Table(TABLE.to_owned()),
            SetAttribute::Name(self.name.clone()),
            SetAttribute::KeyType(key_type),
            SetAttribute::KeyLen(key_length),
            SetAttribute::Id(id),
        ];
        // Within a concatenation nft takes all parts for network byte order.
        let order = |kind: u8, types: &[Type]| {
            // As nft writes it; it would list names and numbers the wrong way round.
            let host = matches!(types, [Type::Mark | Type::Ifname]);
            let order = if host { HOST_BYTE_ORDER } else { NETWORK_BYTE_ORDER };
            [&[kind, 4][..], &order.to_ne_bytes()].concat()
        };
        let mut orders = order(KEY_BYTE_ORDER, &self.key);
        match &self.data {
            None => {}
            Some(Data::Values(types)) => {
                let (data_type, data_length) = composed(types);
                flags |= SetFlags::Map;
                attributes.push(SetAttribute::DataType(data_type));
                attributes.push(SetAttribute::DataLen(data_length));
                orders.extend(order(DATA_BYTE_ORDER, types));
            }
            Some(Data::Verdicts) => {
                flags |= SetFlags::Map;
                attributes.push(SetAttribute::DataType(VERDICT));
            }
        }
        if self.interval {
            flags |= SetFlags::Interval;
        }
        if let Some(timeout) = self.timeout {
            flags |= SetFlags::Timeout | SetFlags::Eval;
            attributes.push(SetAttribute::Timeout(timeout.as_millis() as u64));
            attributes.push(SetAttribute::GarbageCollectionInterval(COLLECTED.as_millis() as u32));
        }
        if self.interval && self.key.len() > 1 {
            flags |= SetFlags::Concat;
            let field = |part: &Type| {
                let length = part.length().to_be_bytes().to_vec();
                nested(NFTA_LIST_ELEM, &[DefaultNla::new(NFTA_SET_FIELD_LEN, length)])
            };
            let concat = SetDescription::Concat(self.key.iter().map(field).collect());
            attributes.push(SetAttribute::Description(vec![concat]));
        }
        attributes.push(SetAttribute::Flags(flags));
        attributes.push(SetAttribute::UserData(orders));
        (NLM_F_CREATE, NfTablesMessage::NewSet(SetMessage { attributes }))
    }
}
