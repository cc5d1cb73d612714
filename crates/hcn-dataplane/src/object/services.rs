//! What namespaces and those in them are told: resolver configurations, DHCP, DNS.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::basics::Mac;

/// A named network namespace whose loopback is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsFile {
    /// The file's name in the netns folder.
    pub name: String,
    /// Link alias of its loopback, at most 255 bytes, by which it is recognised.
    pub alias: String,
    /// A namespace that is there already, which gets this name; none = a new one is made.
    pub from: Option<Existing>,
}

/// A network namespace that somebody else made and keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Existing {
    /// Where it was found.
    pub path: String,
    /// Its number, by which it is known again: at its path may be another one later. 0 = whatever is there.
    pub inode: u64,
}

/// The resolver configuration of a named namespace (`/etc/netns/NAME/resolv.conf`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// The namespace's file name.
    pub netns: String,
    /// The whole file.
    pub contents: String,
}

/// What answers on a bridge at the host's own addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responder {
    /// The bridge.
    pub bridge: String,
    /// The host's addresses on it, with the prefix lengths of their subnets.
    pub addresses: Vec<IpNet>,
    /// Whether it gives addresses to those that it knows a [`Lease`] of (DHCP, RFC 2131).
    pub dhcp: bool,
    /// Whether it resolves names: those of leases itself, others by asking the host's own servers (RFC 1035).
    pub dns: bool,
    /// The domain of the names of leases.
    pub domain: Option<String>,
}

/// What a [`Responder`] knows of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The bridge of the responder.
    pub bridge: String,
    /// Tells leases apart.
    pub claimant: String,
    /// Who it is for.
    pub mac: Mac,
    /// The addresses, with the prefix lengths of their subnets.
    pub addresses: Vec<IpNet>,
    /// The default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Other routes: destinations and next hops.
    pub routes: Vec<(Ipv4Net, Ipv4Addr)>,
    /// Name servers, the first first.
    pub servers: Vec<IpAddr>,
    /// Domains to search.
    pub search: Vec<String>,
    /// Its host name.
    pub name: Option<String>,
    /// Octets.
    pub mtu: u32,
}
