//! What the kernel has: which network namespace a path leads to, and what is in it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{LinkAddr, SockaddrStorage};

/// An interface in a network namespace.
#[derive(Debug, Default)]
pub(crate) struct Interface {
    pub(crate) up: bool,
    /// With colons, in lower case.
    pub(crate) mac: Option<String>,
    pub(crate) mtu: Option<u32>,
    /// As `ADDRESS/LENGTH`.
    pub(crate) addresses: BTreeSet<String>,
    /// The families that have a default route by it.
    pub(crate) default_routes: BTreeSet<&'static str>,
}

/// What identifies a network namespace: device and inode of its file.
pub(crate) fn identity(netns: &Path) -> io::Result<(u64, u64)> {
    let file = fs::metadata(netns)?;
    Ok((file.dev(), file.ino()))
}

/// An interface, if it is there.
pub(crate) fn interface(netns: &Path, name: &str) -> io::Result<Option<Interface>> {
    let file = File::open(netns)?;
    thread::scope(|scope| {
        // The thread ends with what it has entered.
        let inside = scope.spawn(|| {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            read(name)
        });
        inside.join().unwrap_or_else(|_| Err(io::Error::other("the thread that looked into it panicked")))
    })
}

fn read(name: &str) -> io::Result<Option<Interface>> {
    let mut found = None;
    for address in getifaddrs()?.filter(|address| address.interface_name == name) {
        let interface: &mut Interface = found.get_or_insert_default();
        interface.up |= address.flags.contains(InterfaceFlags::IFF_UP);
        let Some(storage) = address.address else { continue };
        if let Some(mac) = storage.as_link_addr().and_then(LinkAddr::addr) {
            interface.mac = Some(mac.map(|octet| format!("{octet:02x}")).join(":"));
        }
        let length = address.netmask.as_ref().and_then(ip).map(ones);
        if let (Some(own), Some(length)) = (ip(&storage), length) {
            interface.addresses.insert(format!("{own}/{length}"));
        }
    }
    let Some(mut interface) = found else { return Ok(None) };
    // The files of /proc/sys/net are those of the network namespace that the reader is in.
    let mtu = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/mtu"));
    interface.mtu = mtu.ok().and_then(|text| text.trim().parse().ok());
    interface.default_routes = default_routes(name);
    Ok(Some(interface))
}

fn ip(storage: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

fn ones(mask: IpAddr) -> u32 {
    match mask {
        IpAddr::V4(mask) => Ipv4Addr::to_bits(mask).count_ones(),
        IpAddr::V6(mask) => Ipv6Addr::to_bits(mask).count_ones(),
    }
}

/// Destination and length come first in the lines of both files, the interface first or last.
fn default_routes(name: &str) -> BTreeSet<&'static str> {
    let lines = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let mut families = BTreeSet::new();
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let v4 = lines("route").lines().map(fields).any(|fields| {
        matches!(fields.as_slice(), [link, to, _, _, _, _, _, mask, ..] if link == name && to == "00000000" && mask == to)
    });
    let v6 = lines("ipv6_route").lines().map(fields).any(|fields| {
        let nowhere = "0".repeat(32);
        matches!(fields.as_slice(), [to, length, .., link] if link == name && *to == nowhere && length == "00")
    });
    families.extend(v4.then_some("4"));
    families.extend(v6.then_some("6"));
    families
}
