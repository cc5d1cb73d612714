//! What is in the table from the start: chains, sets and the rules that never change. Networks come and go as
//! elements.

use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Hook, HookNumber,
    Immediate, InetHookNumber, ListAttribute, Lookup, Meta, MetaKey, NfTablesMessage, Operator, Payload,
    Register, RuleAttribute, RuleMessage, SetAttribute, SetDescription, SetFlags, SetMessage, Verdict,
    VerdictAttribute,
};

use super::{MASQUERADED_V4, MASQUERADED_V6, OWN_V4, OWN_V6, TABLE};

/// nft's numbers of data types, which it lists sets by.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_IFNAME: u32 = 41;
/// Bits of each type in the number of a concatenation.
const TYPE_BITS: u32 = 6;
/// Octets of an interface name in a key.
pub(super) const IFNAME: u32 = 16;

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NF_ACCEPT: u32 = 1;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_FIELD_LEN: u16 = 1;
/// `NFTNL_UDATA_SET_KEYBYTEORDER` and its value for network byte order, as nft itself writes it.
const KEY_BYTE_ORDER: [u8; 6] = [0, 4, 2, 0, 0, 0];

/// The parts in which the two families differ.
struct Family {
    protocol: u8,
    key_type: u32,
    /// Of an address.
    length: u32,
    /// Of the source address, in the header.
    offset: u32,
    /// Where the key's second part goes after an address of this length.
    second: Register,
    own: &'static str,
    masqueraded: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        protocol: NFPROTO_IPV4,
        key_type: TYPE_IPV4,
        length: 4,
        offset: 12,
        second: Register::Reg32_01,
        own: OWN_V4,
        masqueraded: MASQUERADED_V4,
    },
    Family {
        protocol: NFPROTO_IPV6,
        key_type: TYPE_IPV6,
        length: 16,
        offset: 8,
        second: Register::Reg2,
        own: OWN_V6,
        masqueraded: MASQUERADED_V6,
    },
];

/// All messages after that of the table, with their flags.
pub(super) fn messages() -> Vec<(u16, NfTablesMessage)> {
    let mut messages = vec![
        chain("prerouting", InetHookNumber::PreRouting, -100),
        chain("output", InetHookNumber::LocalOut, -100),
        chain("postrouting", InetHookNumber::PostRouting, 100),
    ];
    for (id, family) in (1..).zip(&FAMILIES) {
        messages.push(own_set(id * 2, family));
        messages.push(masqueraded_set(id * 2 + 1, family));
    }
    messages.push(local());
    for family in &FAMILIES {
        messages.push(stays(family));
        messages.push(leaves(family));
    }
    messages
}

/// A nat chain. All three are there from the start and for good: where one is, every connection gets a binding,
/// so that translated and direct flows with equal ports do not collide.
fn chain(name: &str, hook: InetHookNumber, priority: i32) -> (u16, NfTablesMessage) {
    let attributes = vec![
        ChainAttribute::Table(TABLE.to_owned()),
        ChainAttribute::Name(name.to_owned()),
        ChainAttribute::Hook(vec![
            Hook::Number(HookNumber::Inet(hook)),
            Hook::Priority(priority.cast_unsigned()),
        ]),
        ChainAttribute::Policy(NF_ACCEPT),
        ChainAttribute::Type("nat".to_owned()),
    ];
    (NLM_F_CREATE, NfTablesMessage::NewChain(ChainMessage { attributes }))
}

/// `set masq4 { type ipv4_addr; flags interval; }`
fn masqueraded_set(id: u32, family: &Family) -> (u16, NfTablesMessage) {
    set(id, family.masqueraded, SetFlags::Interval, family.key_type, family.length, None)
}

/// `set own4 { type ipv4_addr . ifname; flags interval; }`
fn own_set(id: u32, family: &Family) -> (u16, NfTablesMessage) {
    let key_type = family.key_type << TYPE_BITS | TYPE_IFNAME;
    let length = family.length + IFNAME;
    let flags = SetFlags::Interval | SetFlags::Concat;
    set(id, family.own, flags, key_type, length, Some([family.length, IFNAME]))
}

fn set(
    id: u32,
    name: &str,
    flags: SetFlags,
    key_type: u32,
    key_length: u32,
    parts: Option<[u32; 2]>,
) -> (u16, NfTablesMessage) {
    let mut attributes = vec![
        SetAttribute::Table(TABLE.to_owned()),
        SetAttribute::Name(name.to_owned()),
        SetAttribute::Flags(flags),
        SetAttribute::KeyType(key_type),
        SetAttribute::KeyLen(key_length),
        SetAttribute::Id(id),
        SetAttribute::UserData(KEY_BYTE_ORDER.to_vec()),
    ];
    if let Some(parts) = parts {
        let field = |length: u32| {
            let length = DefaultNla::new(NFTA_SET_FIELD_LEN, length.to_be_bytes().to_vec());
            DefaultNla::new(NFTA_LIST_ELEM | netlink_packet_core::NLA_F_NESTED, emitted(&length))
        };
        let concat = SetDescription::Concat(parts.map(field).to_vec());
        attributes.push(SetAttribute::Description(vec![concat]));
    }
    (NLM_F_CREATE, NfTablesMessage::NewSet(SetMessage { attributes }))
}

fn emitted(attribute: &DefaultNla) -> Vec<u8> {
    use netlink_packet_core::Emitable as _;
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

/// `oifname "lo" accept`: the host talks to itself, with the address of an endpoint that it holds.
fn local() -> (u16, NfTablesMessage) {
    let mut loopback = b"lo".to_vec();
    loopback.resize(IFNAME as usize, 0);
    rule(vec![
        Expressions::Meta(vec![Meta::Key(MetaKey::Oifname), Meta::DestinationRegister(Register::Reg1)]),
        is(loopback),
        accept(),
    ])
}

/// `ip saddr . oifname @own4 accept`: what stays on its own bridge keeps its source. That includes frames that
/// are only bridged, where br_netfilter shows them to this hook: there the output is the bridge too.
fn stays(family: &Family) -> (u16, NfTablesMessage) {
    rule(vec![
        protocol(),
        is(vec![family.protocol]),
        source(family, Register::Reg1),
        Expressions::Meta(vec![Meta::Key(MetaKey::Oifname), Meta::DestinationRegister(family.second)]),
        lookup(family.own),
        accept(),
    ])
}

fn accept() -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Other(NF_ACCEPT))])),
    ])
}

/// `ip saddr @masq4 masquerade`
fn leaves(family: &Family) -> (u16, NfTablesMessage) {
    rule(vec![
        protocol(),
        is(vec![family.protocol]),
        source(family, Register::Reg1),
        lookup(family.masqueraded),
        Expressions::Other { expression_type: "masq".to_owned(), attributes: Vec::new() },
    ])
}

fn protocol() -> Expressions {
    Expressions::Meta(vec![Meta::Key(MetaKey::Nfproto), Meta::DestinationRegister(Register::Reg1)])
}

fn is(value: Vec<u8>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(Operator::Equal),
        Cmp::Data(DataAttribute::Value(value)),
    ])
}

fn source(family: &Family, register: Register) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(register),
        Payload::Base(NFT_PAYLOAD_NETWORK_HEADER),
        Payload::Offset(family.offset),
        Payload::Len(family.length),
    ])
}

fn lookup(set: &str) -> Expressions {
    Expressions::Lookup(vec![Lookup::Set(set.to_owned()), Lookup::SourceRegister(Register::Reg1)])
}

fn rule(expressions: Vec<Expressions>) -> (u16, NfTablesMessage) {
    let expressions: Vec<ListAttribute<ExpressionAttribute>> =
        expressions.into_iter().map(ListAttribute::from).collect();
    let attributes = vec![
        RuleAttribute::Table(TABLE.to_owned()),
        RuleAttribute::Chain("postrouting".to_owned()),
        RuleAttribute::Expressions(expressions),
    ];
    (NLM_F_CREATE | NLM_F_APPEND, NfTablesMessage::NewRule(RuleMessage { attributes }))
}
