//! What a diagnosis of the host judges, as it was read. Nothing here changes anything.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::backend::HostAddress;

/// The host as it was found. What could not be read is missing, and told in `unread`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// What the kernel lacks of what hcnd can use: its name, and what hcnd cannot do without it.
    pub lacking: Vec<(String, String)>,
    /// Settings by their names as `sysctl` writes them; what the kernel does not have is missing.
    pub sysctls: BTreeMap<String, String>,
    /// All links of the host's namespace.
    pub links: Vec<SeenLink>,
    /// Addresses of links.
    pub addresses: Vec<HostAddress>,
    /// Unicast routes of all tables, default routes too.
    pub routes: Vec<SeenRoute>,
    /// Connections that are tracked, and the most that can be.
    pub connections: Option<Use>,
    /// Entries of the kernel's neighbour tables, IPv4 and IPv6, of all namespaces together.
    pub neighbours: [Option<u64>; 2],
    /// Files that hcnd has open, and the most that it may.
    pub files: Option<Use>,
    /// Octets that are free where the state is kept.
    pub state_room: Option<u64>,
    /// What is in the folder of namespaces.
    pub namespaces: Vec<SeenNetns>,
    /// The rules of all programs.
    pub rules: Rules,
    /// Tables of the older kernel interface of iptables, as `ip filter`; their rules are not among `rules`.
    pub legacy_tables: Vec<String>,
    /// What could not be read, and why.
    pub unread: Vec<(String, String)>,
}

/// How much of something is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// How much.
    pub count: u64,
    /// The most that can be.
    pub most: u64,
}

/// A link of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenLink {
    /// Interface name.
    pub name: String,
    /// Interface index.
    pub index: u32,
    /// It is of the group of hcnd's links.
    pub group: bool,
    /// Its alias.
    pub alias: String,
    /// It leads to the host itself.
    pub loopback: bool,
    /// It is a port of a bridge, or part of another link otherwise.
    pub port: bool,
    /// A bridge that shows its frames to rules for IP packets: of IPv4, of IPv6.
    pub shows_frames: [bool; 2],
}

/// A route of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRoute {
    /// The link that it leaves by.
    pub link: String,
    /// Where it leads.
    pub destination: IpNet,
    /// The routing table; 254 is the main one.
    pub table: u32,
    /// A router advertised it (RFC 4861).
    pub advertised: bool,
}

/// A file in the folder of namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenNetns {
    /// Its name.
    pub name: String,
    /// The alias of the loopback in it; none if it is no namespace.
    pub alias: Option<String>,
}

/// The rules of nftables in the host's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What `nft --json` lists, one JSON text a listing: tables, chains, rules, and the elements of sets.
    pub listings: Vec<String>,
    /// Rules as nft prints them, by family and table and by their handles.
    pub texts: BTreeMap<(String, u64), String>,
    /// Base chains as the kernel tells them, where nft could not be asked.
    pub chains: Vec<BaseChain>,
    /// Why nft could not be asked.
    pub problem: Option<String>,
    /// nft is not installed.
    pub no_nft: bool,
}

/// A chain that packets come to by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseChain {
    /// Family and table, as `ip filter`.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its hook, as nft calls it.
    pub hook: String,
    /// What reaches its end is dropped.
    pub drops: bool,
}
