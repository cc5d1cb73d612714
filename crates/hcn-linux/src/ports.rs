//! Ports of the host that are kept from its programs: a socket is bound to each, and nothing else done with it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use hcn_dataplane::{Family, HeldPort, Protocol};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt,
};

/// What holds a port; nothing in the case of SCTP. Shared with a removal that is not settled.
pub(crate) type Held = Option<Arc<OwnedFd>>;

/// Binds the wildcard address of the family, so that no program can bind any address of it: no reuse is offered, and
/// a program cannot reuse alone.
///
/// # Errors
/// EADDRINUSE: a program holds the port, or a connection uses it or did so within the last minute.
pub(crate) fn hold(port: &HeldPort) -> io::Result<Held> {
    let kind = match port.protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
        // Few kernels have its sockets, and few programs use them.
        Protocol::Sctp => return Ok(None),
    };
    let family = match port.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let held = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if port.protocol == Protocol::Udp {
        // What comes by loopback is not translated and never read; let it take as little as possible.
        setsockopt(&held, sockopt::RcvBuf, &0)?;
    }
    match port.family {
        Family::V4 => {
            let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port.port);
            bind(held.as_raw_fd(), &SockaddrIn::from(address))?;
        }
        Family::V6 => {
            setsockopt(&held, sockopt::Ipv6V6Only, &true)?;
            let address = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port.port, 0, 0);
            bind(held.as_raw_fd(), &SockaddrIn6::from(address))?;
        }
    }
    Ok(Some(Arc::new(held)))
}
