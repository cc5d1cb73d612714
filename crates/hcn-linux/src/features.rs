//! What does this kernel have of what hcnd can use? Asked in a network namespace that ends with the thread that made
//! it: by messages that an able kernel refuses for their content and another for their kind, and by rules.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;

use hcn_dataplane::Kernel;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NetlinkSerializable};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::sched::{CloneFlags, unshare};

use crate::nft::transaction;
use crate::socket::{Batch, Fate, Socket, Wire};
use crate::sysctl;

/// Something that a kernel has or lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it is called.
    pub name: &'static str,
    /// Whether this kernel has it.
    pub present: bool,
    /// What hcnd cannot do without it.
    pub needed_for: &'static str,
}

/// What this kernel is, and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Its release.
    pub kernel: String,
    /// Every feature that hcnd asks for, present or not.
    pub list: Vec<Feature>,
}

impl Features {
    /// Whether the kernel has the feature of this name.
    pub fn has(&self, name: &str) -> bool {
        self.list.iter().any(|feature| feature.name == name && feature.present)
    }

    /// What decisions depend on.
    pub fn kernel_facts(&self) -> Kernel {
        Kernel {
            vxlan: self.has("vxlan"),
            macvlan: self.has("macvlan"),
            ipvlan: self.has("ipvlan"),
            vlan: self.has("vlan"),
            bridge_vlan: self.has("bridge vlan filtering"),
            bridge_conntrack: self.has("bridge conntrack"),
            bridge_rules: self.has("nftables bridge"),
            bridge_filter: self.has("br_netfilter"),
            tun: self.has("tun"),
        }
    }
}

/// Kinds of links.
const LINKS: [(&str, &str, &str); 6] = [
    ("bridge", "bridge", "every network"),
    ("veth", "veth", "endpoints of namespaces"),
    ("vxlan", "vxlan", "networks of type Overlay"),
    ("macvlan", "macvlan", "networks of type Transparent"),
    ("vlan", "vlan", "VLAN policies"),
    ("ipvlan", "ipvlan", "networks of type L2Bridge without routing"),
];

/// Disciplines of traffic control, with handle and parent.
const QDISCS: [(&str, &str, u32, u32, &str); 3] = [
    ("tc tbf", "tbf", 0x0001_0000, TC_H_ROOT, "QOS policies: one limit for an endpoint"),
    ("tc htb", "htb", 0x0001_0000, TC_H_ROOT, "QOS policies: shares of a link"),
    ("tc clsact", "clsact", 0xffff_0000, TC_H_CLSACT, "QOS policies of what an endpoint receives"),
];

/// Families of nftables, with a hook that each of them has.
const FAMILIES: [(&str, u8, u32, &str); 5] = [
    ("nftables inet", INET, PREROUTING, "hcnd at all"),
    ("nftables ip", 2, PREROUTING, "rules of IPv4 alone"),
    ("nftables ip6", 10, PREROUTING, "rules of IPv6 alone"),
    ("nftables bridge", BRIDGE, PREROUTING, "rules between endpoints of a bridge"),
    ("nftables netdev", NETDEV, INGRESS, "rules ahead of the bridge"),
];

/// Numbers that are attributes of an expression, by kind.
type Numbers = &'static [(u16, u32)];

/// Expressions of nftables, each with attributes that make sense and the chain of the family `inet` that takes it.
const EXPRESSIONS: [(&str, &str, Numbers, &str, &str); 8] = [
    // dnat, IPv4, to the port in register 1.
    ("nftables nat", "nat", &[(1, 1), (2, 2), (5, 1)], NAT_IN, "port mappings and load balancers"),
    ("nftables masq", "masq", &[], NAT_OUT, "networks of type NAT"),
    // Into register 1, modulo 2, incremental.
    ("nftables numgen", "numgen", &[(1, 1), (2, 2), (3, 0)], FILTER, "load balancers"),
    // Into register 1, modulo 2, symmetric.
    ("nftables hash", "hash", &[(2, 1), (4, 2), (7, 1)], FILTER, "load balancers with session affinity"),
    // With TCP's reset. The code is one octet, which the kernel does not ask for here.
    ("nftables reject", "reject", &[(1, 1)], FILTER, "load balancers without back ends"),
    // Into register 1, the type of the destination's address.
    ("nftables fib", "fib", &[(1, 1), (2, 3), (3, 2)], FILTER, "port mappings on every address of the host"),
    // Into register 1, the state.
    ("nftables ct", "ct", &[(1, 1), (2, 0)], FILTER, "stateful ACL policies"),
    // IPv4, to the port in register 1.
    (
        "nftables tproxy",
        "tproxy",
        &[(1, 2), (3, 1)],
        FILTER,
        "nothing: proxies get connections by translation",
    ),
];

/// Tables with flags, the strongest first.
const FLAGS: [(&str, u32, &str); 2] = [
    ("nftables table persist", OWNER | PERSIST, "owned rules that outlive hcnd"),
    ("nftables table owner", OWNER, "rules that a foreign `flush ruleset` passes by"),
];
const OWNER: u32 = 2;
const PERSIST: u32 = 4;

const INET: u8 = 1;
const NETDEV: u8 = 5;
const BRIDGE: u8 = 7;
const PREROUTING: u32 = 0;
const INGRESS: u32 = 0;
const POSTROUTING: u32 = 4;
/// The chains of the family `inet`.
const FILTER: &str = "filter";
const NAT_IN: &str = "nat-in";
const NAT_OUT: &str = "nat-out";

const TC_H_ROOT: u32 = 0xffff_ffff;
const TC_H_CLSACT: u32 = 0xffff_fff1;
/// Index of the loopback in a new namespace.
const LOOPBACK: u32 = 1;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWQDISC: u16 = 36;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_VLAN_PROTOCOL: u16 = 8;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const TCA_KIND: u16 = 1;
const NFT_MSG_NEWTABLE: u16 = 10 << 8;
const NFT_MSG_NEWCHAIN: u16 = 10 << 8 | 3;
const NFT_MSG_NEWRULE: u16 = 10 << 8 | 6;
/// Of ctnetlink: how many connections there are.
const IPCTNL_MSG_CT_GET_STATS: u16 = 1 << 8 | 5;
const NESTED: u16 = 1 << 15;

/// Looks at the kernel. Takes some milliseconds, more where it loads modules, and needs the capabilities that the data
/// plane needs; without them nothing is found. Nothing that it makes is seen by anybody else or outlives it.
pub fn features() -> Features {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let found = thread::Builder::new().name("features".to_owned()).spawn(probe);
    let list = match found.map(thread::JoinHandle::join) {
        Ok(Ok(list)) => list,
        Ok(Err(_)) => Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "cannot start the thread that looks at the kernel");
            Vec::new()
        }
    };
    Features { kernel, list }
}

/// The thread's work: it leaves its network namespace and never returns.
fn probe() -> Vec<Feature> {
    let isolated = unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
    if let Err(error) = &isolated {
        tracing::warn!(%error, "cannot make a network namespace to look at the kernel in");
    }
    // Outside a namespace of its own it would touch the host: then nothing is asked, and nothing found.
    let ask = |question: fn(&mut Wire) -> io::Result<Vec<bool>>| match isolated {
        Ok(()) => question(&mut Wire::new()).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let mut list = Vec::new();
    let mut add = |names: &mut dyn Iterator<Item = (&'static str, &'static str)>, found: &[bool]| {
        list.extend(names.enumerate().map(|(at, (name, needed_for))| Feature {
            name,
            present: found.get(at).copied().unwrap_or(false),
            needed_for,
        }));
    };
    let links = LINKS.iter().map(|(name, _, needed_for)| (*name, *needed_for));
    let qdiscs = QDISCS.iter().map(|(name, .., needed_for)| (*name, *needed_for));
    add(&mut links.chain(qdiscs), &ask(links_and_qdiscs));
    add(
        &mut std::iter::once(("bridge vlan filtering", "VLAN policies of endpoints")),
        &ask(bridge_vlan_filtering),
    );
    add(&mut std::iter::once(("tun", "endpoints of virtual machines")), &[has_tun()]);
    let families = FAMILIES.iter().map(|(name, .., needed_for)| (*name, *needed_for));
    let expressions = EXPRESSIONS.iter().map(|(name, .., needed_for)| (*name, *needed_for));
    add(&mut families.chain(expressions), &ask(nftables));
    let bridged = ("bridge conntrack", "nothing yet");
    add(&mut std::iter::once(bridged), &ask(bridge_conntrack));
    add(&mut FLAGS.iter().map(|(name, _, needed_for)| (*name, *needed_for)), &ask(table_flags));
    let conntrack = ask(conntrack);
    let others = [
        ("conntrack", "networks of type NAT"),
        ("conntrack sctp", "port mappings of SCTP"),
        ("br_netfilter", "ACL policies between endpoints of a bridge"),
        ("ipv6", "IPv6 subnets"),
    ];
    let here = isolated.is_ok();
    let present = [
        conntrack == [true],
        // Known once the first user has called for connection tracking.
        here && Path::new("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established").exists(),
        here && Path::new("/proc/sys/net/bridge").exists(),
        sysctl::has_ipv6(),
    ];
    add(&mut others.into_iter(), &present);
    list
}

fn has_tun() -> bool {
    File::options().read(true).write(true).open("/dev/net/tun").is_ok()
}

/// A link with 4294967295 queues and a discipline without its options are refused, but only by who knows the kind.
fn links_and_qdiscs(wire: &mut Wire) -> io::Result<Vec<bool>> {
    let socket = Socket::open(NETLINK_ROUTE)?;
    let mut batch = Batch::new();
    for (_, kind, _) in LINKS {
        let mut message = Message::new(RTM_NEWLINK, &[0; 16]);
        message.add(IFLA_NUM_TX_QUEUES, &u32::MAX.to_ne_bytes());
        message.nest(IFLA_LINKINFO, |info| info.add(IFLA_INFO_KIND, kind.as_bytes()));
        batch.push((), NLM_F_CREATE | NLM_F_EXCL, message);
    }
    for (_, kind, handle, parent, _) in QDISCS {
        let header: Vec<u8> =
            [0, LOOPBACK, handle, parent, 0].iter().flat_map(|number: &u32| number.to_ne_bytes()).collect();
        let mut message = Message::new(RTM_NEWQDISC, &header);
        message.text(TCA_KIND, kind);
        batch.push((), NLM_F_CREATE | NLM_F_EXCL, message);
    }
    let fates = wire.exchange(&socket, &mut batch)?;
    let (links, qdiscs) = fates.split_at(LINKS.len());
    let links = links.iter().map(|fate| is_known(fate, libc::EOPNOTSUPP));
    Ok(links.chain(qdiscs.iter().map(|fate| is_known(fate, libc::ENOENT))).collect())
}

/// A bridge of a VLAN protocol that there is not is refused, but only by who looks at it; else for its queues.
fn bridge_vlan_filtering(wire: &mut Wire) -> io::Result<Vec<bool>> {
    let socket = Socket::open(NETLINK_ROUTE)?;
    let mut message = Message::new(RTM_NEWLINK, &[0; 16]);
    message.add(IFLA_NUM_TX_QUEUES, &u32::MAX.to_ne_bytes());
    message.nest(IFLA_LINKINFO, |info| {
        info.add(IFLA_INFO_KIND, b"bridge");
        info.nest(IFLA_INFO_DATA, |data| data.add(IFLA_BR_VLAN_PROTOCOL, &0x1234_u16.to_be_bytes()));
    });
    let mut batch = Batch::new();
    batch.push((), NLM_F_CREATE | NLM_F_EXCL, message);
    let fates = wire.exchange(&socket, &mut batch)?;
    let is_it = |fate: &Fate| matches!(fate, Err(refusal) if refusal.errno == libc::EPROTONOSUPPORT);
    Ok(fates.iter().map(is_it).collect())
}

/// A rule of the family `bridge` that asks for the state of a connection.
fn bridge_conntrack(wire: &mut Wire) -> io::Result<Vec<bool>> {
    let socket = Socket::open(NETLINK_NETFILTER)?;
    let mut batch = Batch::new();
    batch.push((), NLM_F_CREATE, new_table(BRIDGE, TABLE, 0));
    batch.push((), NLM_F_CREATE, new_chain(BRIDGE, FILTER, "filter", PREROUTING));
    // Into register 1, the state.
    batch.push((), NLM_F_CREATE, new_rule(BRIDGE, FILTER, "ct", &[(1, 1), (2, 0)]));
    Ok(vec![wire.transact(&socket, &mut batch, transaction())?.is_ok()])
}

/// One transaction of a table and a chain in each family and a rule with each expression. What a kernel lacks it
/// refuses, and all the rest with it; but only refusing takes it long, since it then waits for readers (RCU).
fn nftables(wire: &mut Wire) -> io::Result<Vec<bool>> {
    let socket = Socket::open(NETLINK_NETFILTER)?;
    let mut batch = Batch::new();
    for (_, family, hook, _) in FAMILIES {
        batch.push((), NLM_F_CREATE, new_table(family, TABLE, 0));
        batch.push((), NLM_F_CREATE, new_chain(family, FILTER, "filter", hook));
    }
    for (_, expression, numbers, chain, _) in EXPRESSIONS {
        batch.push((), NLM_F_CREATE, new_rule(INET, chain, expression, numbers));
    }
    let chains = [(NAT_IN, PREROUTING), (NAT_OUT, POSTROUTING)];
    let mut ahead = Batch::new();
    ahead.push((), NLM_F_CREATE, new_table(INET, TABLE, 0));
    for (name, hook) in chains {
        ahead.push((), NLM_F_CREATE, new_chain(INET, name, "nat", hook));
    }
    // Without the chains their rules are refused below.
    let _ = wire.transact(&socket, &mut ahead, transaction())?;
    let mut known = vec![true; batch.len()];
    for (index, refusal) in wire.transact(&socket, &mut batch, transaction())?.err().unwrap_or_default() {
        known[index] = is_known(&Err(refusal), libc::ENOENT);
    }
    let (families, expressions) = known.split_at(2 * FAMILIES.len());
    let families = families.chunks(2).map(|pair| pair.iter().all(|known| *known));
    Ok(families.chain(expressions.iter().copied()).collect())
}

/// A kernel that has tables with two flags has those with one.
fn table_flags(wire: &mut Wire) -> io::Result<Vec<bool>> {
    // A table that only has an owner ends with this socket.
    let socket = Socket::open(NETLINK_NETFILTER)?;
    let mut found = false;
    let mut list = Vec::new();
    for (_, flags, _) in FLAGS {
        if !found {
            let mut batch = Batch::new();
            batch.push((), NLM_F_CREATE | NLM_F_EXCL, new_table(INET, "owned", flags));
            found = wire.transact(&socket, &mut batch, transaction())?.is_ok();
        }
        list.push(found);
    }
    Ok(list)
}

fn conntrack(wire: &mut Wire) -> io::Result<Vec<bool>> {
    let socket = Socket::open(NETLINK_NETFILTER)?;
    let mut batch = Batch::new();
    batch.push((), 0, nft(IPCTNL_MSG_CT_GET_STATS, 0));
    let fates = wire.exchange(&socket, &mut batch)?;
    Ok(fates.iter().map(|fate| matches!(fate, Ok(Some(_)))).collect())
}

/// Whether what a message is about is known: it was not refused with the errno of unknown kinds, nor for want of
/// permission.
fn is_known(fate: &Fate, unknown: i32) -> bool {
    match fate {
        Ok(_) => true,
        Err(refusal) => ![unknown, libc::EPERM, libc::EOPNOTSUPP].contains(&refusal.errno),
    }
}

const TABLE: &str = "features";

fn new_table(family: u8, name: &str, flags: u32) -> Message {
    let mut table = nft(NFT_MSG_NEWTABLE, family);
    table.text(1, name);
    table.add(2, &flags.to_be_bytes());
    table
}

fn new_chain(family: u8, name: &str, kind: &str, hook: u32) -> Message {
    let mut chain = nft(NFT_MSG_NEWCHAIN, family);
    chain.text(1, TABLE);
    chain.text(3, name);
    chain.nest(4, |attributes| {
        attributes.add(1, &hook.to_be_bytes());
        attributes.add(2, &0_u32.to_be_bytes());
        if family == NETDEV {
            attributes.text(3, "lo");
        }
    });
    chain.text(7, kind);
    chain
}

/// A rule that first fills register 1.
fn new_rule(family: u8, chain: &str, expression: &str, numbers: Numbers) -> Message {
    let mut rule = nft(NFT_MSG_NEWRULE, family);
    rule.text(1, TABLE);
    rule.text(2, chain);
    rule.nest(4, |list| {
        list.nest(1, |element| {
            element.text(1, "immediate");
            element.nest(2, |data| {
                data.add(1, &1_u32.to_be_bytes());
                data.nest(2, |value| value.add(1, &[0, 80]));
            });
        });
        list.nest(1, |element| {
            element.text(1, expression);
            element.nest(2, |data| {
                for (kind, number) in numbers {
                    data.add(*kind, &number.to_be_bytes());
                }
            });
        });
    });
    rule
}

/// A message of the netfilter family.
fn nft(kind: u16, family: u8) -> Message {
    Message::new(kind, &[family, 0, 0, 0])
}

/// A message, written by hand: the questions are wrong on purpose, which types do not allow.
struct Message {
    kind: u16,
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, header: &[u8]) -> Self {
        Self { kind, bytes: header.to_vec() }
    }

    fn add(&mut self, kind: u16, value: &[u8]) {
        self.within(kind, |message| message.bytes.extend_from_slice(value));
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.add(kind, &[value.as_bytes(), &[0]].concat());
    }

    fn nest(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        self.within(kind | NESTED, content);
    }

    fn within(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        content(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}
