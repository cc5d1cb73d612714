//! The sockets of responders: each bound to its bridge, so that bridges have the same ports side by side and nobody
//! elsewhere is answered.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use nix::sys::socket::sockopt::{BindToDevice, Broadcast, IpFreebind, Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
};
use std::os::fd::AsRawFd as _;
use tokio::net::{TcpListener, UdpSocket};

pub(super) const DHCP_PORT: u16 = 67;
pub(super) const DNS_PORT: u16 = 53;
/// How many connections wait to be taken.
const WAITING: i32 = 64;

pub(super) fn dhcp(bridge: &str) -> io::Result<UdpSocket> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, DHCP_PORT));
    let open = bound(bridge, any, SockType::Datagram, |socket| {
        // Each bridge has such a socket.
        setsockopt(socket, ReuseAddr, &true)?;
        setsockopt(socket, Broadcast, &true)
    })?;
    UdpSocket::from_std(open.into())
}

pub(super) fn dns_by_udp(bridge: &str, address: IpAddr) -> io::Result<UdpSocket> {
    let open = bound(bridge, SocketAddr::new(address, DNS_PORT), SockType::Datagram, |_| Ok(()))?;
    UdpSocket::from_std(open.into())
}

pub(super) fn dns_by_tcp(bridge: &str, address: IpAddr) -> io::Result<TcpListener> {
    // Connections of a listener before may still be closing.
    let reuse = |socket: &OwnedFd| setsockopt(socket, ReuseAddr, &true);
    let open = bound(bridge, SocketAddr::new(address, DNS_PORT), SockType::Stream, reuse)?;
    listen(&open, Backlog::new(WAITING)?)?;
    TcpListener::from_std(open.into())
}

fn bound(
    bridge: &str,
    address: SocketAddr,
    kind: SockType,
    set: impl FnOnce(&OwnedFd) -> nix::Result<()>,
) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let open = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&open, BindToDevice, &OsString::from(bridge))?;
    if address.is_ipv6() {
        setsockopt(&open, Ipv6V6Only, &true)?;
    }
    // An address that comes to the bridge in the same breath may come after its socket.
    setsockopt(&open, IpFreebind, &true)?;
    set(&open)?;
    bind(open.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(open)
}
