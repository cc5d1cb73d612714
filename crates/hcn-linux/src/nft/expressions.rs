//! How rules are written: what loads a packet's fields into registers, compares, looks up and translates. A key is
//! built from register word 0 on, as the elements of its set are laid out.

use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Lookup, Meta,
    MetaKey, NfTablesMessage, Operator, Payload, Register, RuleAttribute, RuleMessage, Verdict,
    VerdictAttribute,
};

use super::TABLE;

/// Octets of an interface name in a key.
pub(super) const IFNAME: u32 = 16;

pub(super) const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
pub(super) const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_CT_STATE: u32 = 0;
const NFT_CT_DIRECTION: u32 = 1;
/// `NF_CT_STATE_BIT` of IP_CT_ESTABLISHED and IP_CT_RELATED.
const ESTABLISHED: u32 = 1 << 1;
const RELATED: u32 = 1 << 2;
const NFT_CT_STATUS: u32 = 2;
const NFT_CT_PROTOCOL: u32 = 10;
const NFT_CT_PROTO_DST: u32 = 12;
const NFT_CT_DST_IP: u32 = 20;
const NFT_CT_DST_IP6: u32 = 22;
const IP_CT_DIR_ORIGINAL: u8 = 0;
const IP_CT_DIR_REPLY: u8 = 1;
const IPS_DST_NAT: u32 = 1 << 5;
const NFT_LOOKUP_F_INV: u32 = 1;
const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
const NFTA_FIB_F_DADDR: u32 = 1 << 1;
const RTN_LOCAL: u32 = 2;
const NFT_META_SKUID: u32 = 10;
const NFT_META_PKTTYPE: u32 = 19;
const PACKET_HOST: u8 = 0;
const NFT_REJECT_TCP_RST: u32 = 1;
const NFT_REJECT_ICMPX_UNREACH: u32 = 2;
const NFT_REJECT_ICMPX_PORT_UNREACH: u8 = 1;
const NFT_DYNSET_OP_UPDATE: u32 = 1;
const NFT_DYNSET_OP_DELETE: u32 = 2;
const NFT_NAT_SNAT: u32 = 0;
const NFT_NAT_DNAT: u32 = 1;
pub(super) const NF_DROP: u32 = 0;
pub(super) const NF_ACCEPT: u32 = 1;
/// `NFT_RETURN`, -5.
pub(super) const NF_RETURN: u32 = 0xffff_fffb;

/// The parts in which the two families differ.
pub(super) struct Family {
    /// `NFPROTO_*`, which is `AF_*`.
    pub(super) protocol: u8,
    /// What the names of its sets end in.
    pub(super) suffix: char,
    /// Octets of an address.
    pub(super) length: u32,
    /// Of the source address, in the header; the destination follows it.
    source: u32,
    /// The original destination of a connection.
    original: u32,
    /// How the header's destination is seen to be a loopback address.
    loopback: &'static [u8],
}

pub(super) const V4: Family = Family {
    protocol: 2,
    suffix: '4',
    length: 4,
    source: 12,
    original: NFT_CT_DST_IP,
    // 127.0.0.0/8: the first octet decides.
    loopback: &[127],
};
pub(super) const V6: Family = Family {
    protocol: 10,
    suffix: '6',
    length: 16,
    source: 8,
    original: NFT_CT_DST_IP6,
    loopback: &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
};
pub(super) const FAMILIES: [&Family; 2] = [&V4, &V6];

impl Family {
    /// The set of this family.
    pub(super) fn set(&self, stem: &str) -> String {
        format!("{stem}{}", self.suffix)
    }
}

/// Part of a key.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Source,
    Destination,
    /// The transport protocol.
    Protocol,
    /// The destination port.
    Port,
    Input,
    Output,
    /// What was noted in the packet's priority.
    Priority,
    /// The destination before it was translated.
    OriginalDestination,
    /// The destination port before it was translated.
    OriginalPort,
    /// The transport protocol of the connection, also where the packet only tells of it.
    OriginalProtocol,
}

impl Part {
    /// Register words that it takes.
    fn words(self, family: &Family) -> u32 {
        match self {
            Self::Source | Self::Destination | Self::OriginalDestination => family.length / 4,
            Self::Protocol | Self::Port | Self::Priority | Self::OriginalPort | Self::OriginalProtocol => 1,
            Self::Input | Self::Output => IFNAME / 4,
        }
    }

    pub(super) fn load(self, family: &Family, to: u32) -> Expressions {
        match self {
            Self::Source => payload(NFT_PAYLOAD_NETWORK_HEADER, family.source, family.length, to),
            Self::Destination => {
                payload(NFT_PAYLOAD_NETWORK_HEADER, family.source + family.length, family.length, to)
            }
            Self::Protocol => meta(MetaKey::L4Proto, to),
            Self::Port => payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, to),
            Self::Input => meta(MetaKey::Iifname, to),
            Self::Output => meta(MetaKey::Oifname, to),
            Self::Priority => meta(MetaKey::Priority, to),
            Self::OriginalDestination => conntrack(family.original, to, Some(IP_CT_DIR_ORIGINAL)),
            Self::OriginalPort => conntrack(NFT_CT_PROTO_DST, to, Some(IP_CT_DIR_ORIGINAL)),
            Self::OriginalProtocol => conntrack(NFT_CT_PROTOCOL, to, Some(IP_CT_DIR_ORIGINAL)),
        }
    }
}

/// Loads a key.
pub(super) fn key(family: &Family, parts: &[Part]) -> Vec<Expressions> {
    key_at(family, 0, parts)
}

/// Loads a key into the words from this one on.
pub(super) fn key_at(family: &Family, first: u32, parts: &[Part]) -> Vec<Expressions> {
    let mut to = first;
    let load = |part: &Part| {
        let loaded = part.load(family, to);
        to += part.words(family);
        loaded
    };
    parts.iter().map(load).collect()
}

/// The word after a key.
pub(super) fn after(family: &Family, parts: &[Part]) -> u32 {
    parts.iter().map(|part| part.words(family)).sum()
}

/// A register of four octets, of which there are sixteen.
pub(super) fn register(number: u32) -> Register {
    Register::from(u32::from(Register::Reg32_00) + number)
}

pub(super) fn meta(key: MetaKey, to: u32) -> Expressions {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(register(to))])
}

pub(super) fn payload(base: u32, offset: u32, length: u32, to: u32) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(register(to)),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
}

/// Only packets of the family, and none before its header may be looked at.
pub(super) fn of_family(family: &Family) -> Vec<Expressions> {
    vec![meta(MetaKey::Nfproto, 0), equal(0, vec![family.protocol])]
}

pub(super) fn equal(from: u32, value: Vec<u8>) -> Expressions {
    compare(from, Operator::Equal, value)
}

/// Only packets whose octets are not below this.
pub(super) fn at_least(from: u32, value: Vec<u8>) -> Expressions {
    compare(from, Operator::GreatherThanEqual, value)
}

/// Only packets whose octets are not above this.
pub(super) fn at_most(from: u32, value: Vec<u8>) -> Expressions {
    compare(from, Operator::LessThanEqual, value)
}

/// Of the octets that were loaded only these bits.
pub(super) fn masked(at: u32, mask: Vec<u8>) -> Expressions {
    let length = mask.len();
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(register(at)),
        Bitwise::DestinationRegister(register(at)),
        Bitwise::Length(length as u32),
        Bitwise::Mask(DataAttribute::Value(mask)),
        Bitwise::Xor(DataAttribute::Value(vec![0; length])),
    ])
}

/// Loads the port that a packet comes from or goes to.
pub(super) fn port_of(destination: bool) -> Expressions {
    payload(NFT_PAYLOAD_TRANSPORT_HEADER, if destination { 2 } else { 0 }, 2, 0)
}

pub(super) fn compare(from: u32, operator: Operator, value: Vec<u8>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(register(from)),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value)),
    ])
}

/// Only packets to addresses of the host, loopback's aside. Uses the words from `free` on.
pub(super) fn to_host(family: &Family, free: u32) -> Vec<Expressions> {
    let fib = [(1, register(free).into()), (2, NFT_FIB_RESULT_ADDRTYPE), (3, NFTA_FIB_F_DADDR)];
    let length = family.loopback.len() as u32;
    vec![
        other("fib", fib.map(number).to_vec()),
        equal(free, RTN_LOCAL.to_ne_bytes().to_vec()),
        payload(NFT_PAYLOAD_NETWORK_HEADER, family.source + family.length, length, free),
        compare(free, Operator::NotEqual, family.loopback.to_vec()),
    ]
}

/// Only packets to addresses of the host.
pub(super) fn local() -> Vec<Expressions> {
    let fib = [(1, register(0).into()), (2, NFT_FIB_RESULT_ADDRTYPE), (3, NFTA_FIB_F_DADDR)];
    vec![other("fib", fib.map(number).to_vec()), equal(0, RTN_LOCAL.to_ne_bytes().to_vec())]
}

/// Keeps a packet from connection tracking.
pub(super) fn notrack() -> Expressions {
    other("notrack", Vec::new())
}

/// Only packets whose destination was translated.
pub(super) fn translated() -> Vec<Expressions> {
    of_connections(NFT_CT_STATUS, IPS_DST_NAT)
}

/// Only packets of connections that are there already, or that tell of one.
pub(super) fn answering() -> Vec<Expressions> {
    of_connections(NFT_CT_STATE, ESTABLISHED | RELATED)
}

/// Only packets that go the way of the first of their connection.
pub(super) fn originals() -> Vec<Expressions> {
    vec![conntrack(NFT_CT_DIRECTION, 0, None), equal(0, vec![IP_CT_DIR_ORIGINAL])]
}

/// Only packets that go the other way than the first of their connection.
pub(super) fn replies() -> Vec<Expressions> {
    vec![conntrack(NFT_CT_DIRECTION, 0, None), equal(0, vec![IP_CT_DIR_REPLY])]
}

/// Only packets that tell of a connection.
pub(super) fn related() -> Vec<Expressions> {
    of_connections(NFT_CT_STATE, RELATED)
}

/// Only packets whose connection has one of these bits.
fn of_connections(of: u32, bits: u32) -> Vec<Expressions> {
    vec![
        conntrack(of, 0, None),
        masked(0, bits.to_ne_bytes().to_vec()),
        compare(0, Operator::NotEqual, 0u32.to_ne_bytes().to_vec()),
    ]
}

/// Only packets to many.
pub(super) fn to_many() -> Vec<Expressions> {
    let loaded = other("meta", [(1, register(0).into()), (2, NFT_META_PKTTYPE)].map(number).to_vec());
    vec![loaded, compare(0, Operator::NotEqual, vec![PACKET_HOST])]
}

/// Only packets of sockets of this user.
pub(super) fn of_user(user: u32) -> Vec<Expressions> {
    let loaded = other("meta", [(1, register(0).into()), (2, NFT_META_SKUID)].map(number).to_vec());
    vec![loaded, equal(0, user.to_ne_bytes().to_vec())]
}

/// Writes octets to the words from this one on.
pub(super) fn constant(to: u32, octets: Vec<u8>) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(register(to)),
        Immediate::Data(DataAttribute::Value(octets)),
    ])
}

/// Loads the type of an ICMP message.
pub(super) fn icmp_type() -> Expressions {
    payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, 0)
}

fn conntrack(key: u32, to: u32, direction: Option<u8>) -> Expressions {
    let mut attributes = vec![number((1, register(to).into())), number((2, key))];
    attributes.extend(direction.map(|direction| DefaultNla::new(3, vec![direction])));
    other("ct", attributes)
}

/// A number at random.
pub(super) fn random(to: u32, modulus: u32) -> Expressions {
    other("numgen", [(1, register(to).into()), (2, modulus), (3, 1), (4, 0)].map(number).to_vec())
}

/// A number that follows from the words from `from` on.
pub(super) fn hash((from, length): (u32, u32), to: u32, modulus: u32, seed: u32) -> Expressions {
    let attributes = [
        (1, register(from).into()),
        (2, register(to).into()),
        (3, length),
        (4, modulus),
        (5, seed),
        (6, 0),
        (7, 0),
    ];
    other("hash", attributes.map(number).to_vec())
}

/// Goes on only if the set has the key.
pub(super) fn lookup(set: &str) -> Expressions {
    Expressions::Lookup(vec![Lookup::Set(set.to_owned()), Lookup::SourceRegister(register(0))])
}

/// Goes on only if the set lacks the key.
pub(super) fn lookup_not(set: &str) -> Expressions {
    Expressions::Lookup(vec![
        Lookup::Set(set.to_owned()),
        Lookup::SourceRegister(register(0)),
        Lookup::Flags(NFT_LOOKUP_F_INV),
    ])
}

/// Goes on only if the map has the key, with what it stands for in place of the key.
pub(super) fn map(name: &str) -> Expressions {
    map_at(name, 0)
}

/// The same with the key in the words from this one on; what it stands for is in word 0.
pub(super) fn map_at(name: &str, key: u32) -> Expressions {
    Expressions::Lookup(vec![
        Lookup::Set(name.to_owned()),
        Lookup::SourceRegister(register(key)),
        Lookup::DestinationRegister(register(0)),
    ])
}

/// Adds the key in the words from this one on to the map, with what is in word 0. What the map has already it keeps,
/// for as long again. Goes on only if there was room.
pub(super) fn learn(map: &str, key: u32) -> Expressions {
    dynamic(map, key, NFT_DYNSET_OP_UPDATE)
}

/// Takes the key in the words from this one on out of the map; the kernel reads word 0 for nothing.
pub(super) fn forget(map: &str, key: u32) -> Expressions {
    dynamic(map, key, NFT_DYNSET_OP_DELETE)
}

fn dynamic(map: &str, key: u32, operation: u32) -> Expressions {
    let mut attributes = vec![DefaultNla::new(1, [map.as_bytes(), &[0]].concat())];
    attributes.extend([(3, operation), (4, register(key).into()), (5, register(0).into())].map(number));
    other("dynset", attributes)
}

/// Ends a connection of TCP before it begins.
pub(super) fn reset() -> Expressions {
    other("reject", vec![number((1, NFT_REJECT_TCP_RST)), DefaultNla::new(2, vec![0])])
}

/// Tells the sender that nobody listens there (ICMP and ICMPv6).
pub(super) fn unreachable() -> Expressions {
    let code = DefaultNla::new(2, vec![NFT_REJECT_ICMPX_PORT_UNREACH]);
    other("reject", vec![number((1, NFT_REJECT_ICMPX_UNREACH)), code])
}

/// Goes where the map of verdicts says.
pub(super) fn verdict_map(name: &str) -> Expressions {
    Expressions::Lookup(vec![
        Lookup::Set(name.to_owned()),
        Lookup::SourceRegister(register(0)),
        Lookup::DestinationRegister(Register::Verdict),
    ])
}

/// Writes word 0 to the packet's priority.
pub(super) fn set_priority() -> Expressions {
    Expressions::Meta(vec![Meta::Key(MetaKey::Priority), Meta::SourceRegister(register(0))])
}

/// Writes zero to the packet's priority, by the word `free`.
pub(super) fn reset_priority(free: u32) -> [Expressions; 2] {
    let write = vec![Meta::Key(MetaKey::Priority), Meta::SourceRegister(register(free))];
    [constant(free, vec![0; 4]), Expressions::Meta(write)]
}

pub(super) fn priority() -> Expressions {
    meta(MetaKey::Priority, 0)
}

pub(super) fn zero() -> Expressions {
    constant(0, vec![0; 4])
}

/// To the address and port that a map gave.
pub(super) fn dnat(family: &Family) -> Expressions {
    let port = (5, register(family.length / 4).into());
    other(
        "nat",
        [(1, NFT_NAT_DNAT), (2, family.protocol.into()), (3, register(0).into()), port].map(number).to_vec(),
    )
}

/// To the address in word 0; the port stays.
pub(super) fn dnat_address(family: &Family) -> Expressions {
    other(
        "nat",
        [(1, NFT_NAT_DNAT), (2, family.protocol.into()), (3, register(0).into())].map(number).to_vec(),
    )
}

/// To the port in word 0; the address stays.
pub(super) fn dnat_port(family: &Family) -> Expressions {
    other(
        "nat",
        [(1, NFT_NAT_DNAT), (2, family.protocol.into()), (5, register(0).into())].map(number).to_vec(),
    )
}

/// From the address that a map gave.
pub(super) fn snat(family: &Family) -> Expressions {
    other(
        "nat",
        [(1, NFT_NAT_SNAT), (2, family.protocol.into()), (3, register(0).into())].map(number).to_vec(),
    )
}

pub(super) fn masquerade() -> Expressions {
    other("masq", Vec::new())
}

/// Accept or drop.
pub(super) fn decide(verdict: u32) -> Expressions {
    immediate(vec![VerdictAttribute::Code(Verdict::Other(verdict))])
}

/// To a chain and back.
pub(super) fn jump(chain: &str) -> Expressions {
    immediate(to_chain(Verdict::Jump, chain))
}

/// To a chain, then back to where the present chain was jumped to from.
pub(super) fn goto(chain: &str) -> Expressions {
    immediate(to_chain(Verdict::Goto, chain))
}

pub(super) fn to_chain(verdict: Verdict, chain: &str) -> Vec<VerdictAttribute> {
    vec![VerdictAttribute::Code(verdict), VerdictAttribute::Chain(chain.to_owned())]
}

fn immediate(verdict: Vec<VerdictAttribute>) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(verdict)),
    ])
}

/// An expression that the crate has no type for.
fn other(name: &str, attributes: Vec<DefaultNla>) -> Expressions {
    Expressions::Other { expression_type: name.to_owned(), attributes }
}

fn number((kind, value): (u16, u32)) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

/// A rule at the end of a chain.
pub(super) fn rule(
    chain: &str,
    expressions: impl IntoIterator<Item = Expressions>,
) -> (u16, NfTablesMessage) {
    let expressions: Vec<ListAttribute<ExpressionAttribute>> =
        expressions.into_iter().map(ListAttribute::from).collect();
    let attributes = vec![
        RuleAttribute::Table(TABLE.to_owned()),
        RuleAttribute::Chain(chain.to_owned()),
        RuleAttribute::Expressions(expressions),
    ];
    (NLM_F_CREATE | NLM_F_APPEND, NfTablesMessage::NewRule(RuleMessage { attributes }))
}
