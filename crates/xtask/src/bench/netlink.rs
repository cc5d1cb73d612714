//! The least that raw netlink needs: messages packed by hand, one `sendmsg` for a batch, its answers counted.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;

use anyhow::{Context as _, bail};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
/// NLM_F_CREATE | NLM_F_EXCL
const NEW: u16 = 0x600;
const NESTED: u16 = 0x8000;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const HEADER: usize = 16;

/// Index of the loopback.
pub(super) const LOOPBACK: u32 = 1;
/// The index that a container's eth0 asks for, in a namespace where nothing else has it: no question needed. A peer
/// gets what it asks for only if the host end asks, too.
pub(super) const ETH0: u32 = 4242;

/// A host end to be.
pub(super) struct Port<'a> {
    pub(super) name: &'a str,
    pub(super) index: u32,
    pub(super) bridge: u32,
    pub(super) group: u32,
}

/// Messages that go together.
pub(super) struct Batch {
    bytes: Vec<u8>,
    start: usize,
    count: u32,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(1024), start: 0, count: 0 }
    }

    fn begin(&mut self, kind: u16, flags: u16) {
        self.start = self.bytes.len();
        self.count += 1;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST | ACK).to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend([0; 4]);
    }

    fn end(&mut self) {
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn ifinfomsg(&mut self, index: u32, up: Option<bool>) {
        self.bytes.extend([0; 4]);
        self.bytes.extend(index.to_ne_bytes());
        self.bytes.extend(u32::from(up == Some(true)).to_ne_bytes());
        self.bytes.extend(u32::from(up.is_some()).to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend((value.len() as u16 + 4).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        inner(self);
        let length = (self.bytes.len() - at) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
    }

    pub(super) fn new_bridge(&mut self, name: &str, index: u32, group: u32) {
        self.begin(RTM_NEWLINK, NEW);
        self.ifinfomsg(index, Some(true));
        self.text(IFLA_IFNAME, name);
        self.number(IFLA_GROUP, group);
        self.nest(IFLA_LINKINFO, |link| link.attribute(1, b"bridge"));
        self.end();
    }

    /// A pair: the host end up and a port of the bridge, the peer `eth0` in its namespace.
    pub(super) fn new_veth(&mut self, port: &Port<'_>, mac: [u8; 6], netns: RawFd) {
        self.begin(RTM_NEWLINK, NEW);
        self.ifinfomsg(port.index, Some(true));
        self.text(IFLA_IFNAME, port.name);
        self.number(IFLA_MASTER, port.bridge);
        self.number(IFLA_GROUP, port.group);
        self.nest(IFLA_LINKINFO, |link| {
            link.attribute(1, b"veth");
            link.nest(2, |data| {
                data.nest(1, |peer| {
                    peer.ifinfomsg(ETH0, None);
                    peer.text(IFLA_IFNAME, "eth0");
                    peer.attribute(IFLA_ADDRESS, &mac);
                    peer.attribute(IFLA_NET_NS_FD, &netns.to_ne_bytes());
                });
            });
        });
        self.end();
    }

    /// Alias and no IPv6 link-local address; these do not fit into the creating message.
    pub(super) fn describe(&mut self, index: u32, alias: Option<&str>) {
        self.begin(RTM_SETLINK, 0);
        self.ifinfomsg(index, None);
        if let Some(alias) = alias {
            self.attribute(IFLA_IFALIAS, alias.as_bytes());
        }
        // AF_INET6, IFLA_INET6_ADDR_GEN_MODE = none.
        self.nest(IFLA_AF_SPEC, |families| families.nest(10, |inet6| inet6.attribute(8, &[1])));
        self.end();
    }

    pub(super) fn up(&mut self, index: u32) {
        self.begin(RTM_SETLINK, 0);
        self.ifinfomsg(index, Some(true));
        self.end();
    }

    /// Phase one of a detach: down, out of the bridge, into a group that is deleted later.
    pub(super) fn set_aside(&mut self, index: u32, group: u32) {
        self.begin(RTM_SETLINK, 0);
        self.ifinfomsg(index, Some(false));
        self.number(IFLA_MASTER, 0);
        self.number(IFLA_GROUP, group);
        self.end();
    }

    pub(super) fn delete_group(&mut self, group: u32) {
        self.begin(RTM_DELLINK, 0);
        self.ifinfomsg(0, None);
        self.number(IFLA_GROUP, group);
        self.end();
    }

    pub(super) fn address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) {
        self.begin(RTM_NEWADDR, NEW);
        self.bytes.extend([2, prefix, 0, 0]);
        self.bytes.extend(index.to_ne_bytes());
        self.attribute(2, &address.octets());
        self.attribute(1, &address.octets());
        self.end();
    }

    pub(super) fn default_route(&mut self, gateway: Ipv4Addr) {
        self.begin(RTM_NEWROUTE, NEW);
        // AF_INET, main table, static, universe, unicast.
        self.bytes.extend([2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0]);
        self.attribute(5, &gateway.octets());
        self.end();
    }
}

/// A route socket of the namespace in which it was opened.
pub(super) struct Route {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Route {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, buffer: vec![0; 16 * 1024] })
    }

    /// Sends the batch and waits until each message is acknowledged.
    pub(super) fn send(&mut self, batch: &Batch) -> anyhow::Result<()> {
        self.socket.send(&batch.bytes, 0).context("cannot send to the kernel")?;
        let mut left = batch.count;
        while left > 0 {
            let length = self.socket.recv(&mut &mut self.buffer[..], 0).context("no answer of the kernel")?;
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while let Some((header, payload)) = rest.split_at_checked(HEADER) {
                let size = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
                let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
                if u16::from_ne_bytes([header[4], header[5]]) == NLMSG_ERROR {
                    let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    if code != 0 {
                        let error = io::Error::from_raw_os_error(-code);
                        bail!("message {sequence} of {} was refused: {error}", batch.count);
                    }
                    left -= 1;
                }
                rest = rest.get(size.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
            }
        }
        Ok(())
    }
}
