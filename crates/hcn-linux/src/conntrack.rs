//! Flows that outlive the rule that made them. A UDP flow is translated as its first packet was, for as long as there
//! are packets; a client that always sends from one port would never meet a service that comes, changes or goes.

mod turned;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

use hcn_dataplane::{Family, Frontend, Protocol, Service};
use netlink_packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED};
use netlink_packet_netfilter::conntrack::ConntrackMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::attributes::{find, nested};
use crate::socket::{Batch, Socket, Wire};

const IPCTNL_MSG_CT_DELETE: u8 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
/// The kernel's `CTA_FILTER_F_*`: which parts of a tuple a filter compares.
const BY_SOURCE: u32 = 1 << 0;
const BY_DESTINATION: u32 = 1 << 1;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_SOURCE_PORT: u32 = 1 << 4;
const BY_DESTINATION_PORT: u32 = 1 << 5;
/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;
/// From so many on, looking at all flows once takes less than the kernel's doing so for each (0.1 ms against 10 ms,
/// with the usual 262,144 buckets).
const MANY: usize = 64;

/// Where the kernel shows what it tracks.
const SETTINGS: &str = "/proc/sys/net/netfilter";

/// Whether SCTP is tracked, without which none of it is translated.
pub(crate) fn tracks_sctp() -> bool {
    let named = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("nf_conntrack_sctp_");
    fs::read_dir(SETTINGS).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(named)))
}

/// Flows that are to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    /// Of a service.
    Served(Served),
    /// Of an endpoint that says itself what is translated.
    Turned(Box<turned::Turned>),
}

/// Flows of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    /// They were begun to this front end.
    pub(crate) frontend: Frontend,
    /// And go to this back end; none = wherever they go.
    pub(crate) backend: Option<SocketAddr>,
}

/// What becomes stale when a service becomes another.
pub(crate) fn stale(from: Option<&Service>, to: Option<&Service>) -> Vec<Stale> {
    let Some(frontend) = from.or(to).map(|service| service.frontend) else { return Vec::new() };
    if frontend.protocol != Protocol::Udp {
        return Vec::new();
    }
    let (Some(from), Some(to)) = (from, to) else {
        return vec![Stale::Served(Served { frontend, backend: None })];
    };
    left(from, to)
}

/// Connections that end when a service has become another. They cannot be taken back, so it must be settled.
pub(crate) fn ended(from: &Service, to: &Service) -> Vec<Stale> {
    if !to.terminates || to.frontend.protocol == Protocol::Udp { Vec::new() } else { left(from, to) }
}

/// Flows to back ends that went.
fn left(from: &Service, to: &Service) -> Vec<Stale> {
    let frontend = from.frontend;
    let mut gone: Vec<SocketAddr> = from.backends.clone();
    gone.sort_unstable();
    gone.dedup();
    gone.retain(|backend| !to.backends.contains(backend));
    let stale = |backend| Stale::Served(Served { frontend, backend: Some(backend) });
    gone.into_iter().map(stale).collect()
}

/// The kernel's table of connections.
pub(crate) struct Conntrack {
    socket: Socket,
    /// Whether the kernel deletes by filter (Linux 6.10).
    filters: bool,
}

impl Conntrack {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(NETLINK_NETFILTER)?, filters: true })
    }

    /// Deletes the flows. A failure is not worth one of the plan: the flows end by themselves, sooner or later.
    pub(crate) fn drop(&mut self, wire: &mut Wire, stale: &[Stale]) {
        if stale.is_empty() {
            return;
        }
        if let Err(error) = self.delete(wire, stale) {
            tracing::warn!(%error, "cannot delete the flows of services that changed");
        }
    }

    fn delete(&mut self, wire: &mut Wire, stale: &[Stale]) -> io::Result<()> {
        let (mut filtered, mut rest) = (Vec::new(), Vec::new());
        for stale in stale {
            match stale {
                Stale::Served(served) if self.filters && served.fits_a_filter() => filtered.push(served),
                other => rest.push(other.clone()),
            }
        }
        let each = |served: Vec<&Served>| served.into_iter().cloned().map(Stale::Served).collect::<Vec<_>>();
        if !rest.is_empty() || filtered.len() >= MANY {
            rest.extend(each(std::mem::take(&mut filtered)));
        }
        if !filtered.is_empty() {
            let mut batch = Batch::new();
            for stale in &filtered {
                batch.push((), 0, stale.message());
            }
            let fates = wire.exchange(&self.socket, &mut batch)?;
            match fates.into_iter().find_map(Result::err) {
                None => {}
                // An older kernel takes the tuple for that of one flow, and finds it incomplete.
                Some(refusal) if matches!(refusal.errno, libc::EOPNOTSUPP | libc::EINVAL) => {
                    self.filters = false;
                    rest.extend(each(std::mem::take(&mut filtered)));
                }
                Some(refusal) => return Err(refusal.into()),
            }
        }
        if rest.is_empty() { Ok(()) } else { self.delete_each(wire, &rest) }
    }

    fn delete_each(&self, wire: &mut Wire, stale: &[Stale]) -> io::Result<()> {
        let mut batch = Batch::new();
        for family in [Family::V4, Family::V6] {
            if !stale.iter().any(|stale| stale.is_of(family)) {
                continue;
            }
            let question = message(family, ConntrackMessage::Get(Vec::new()));
            for answer in wire.dump(&self.socket, &question)? {
                let flow = answer.get(HEADER..).unwrap_or_default();
                if !stale.iter().any(|stale| stale.is_of(family) && stale.fits(flow)) {
                    continue;
                }
                let same = [CTA_TUPLE_ORIG | NLA_F_NESTED, CTA_ID].into_iter().filter_map(|kind| {
                    let value = find(flow, kind & !NLA_F_NESTED)?;
                    Some(DefaultNla::new(kind, value.to_vec()))
                });
                batch.push((), 0, message(family, delete(same.collect())));
            }
        }
        if batch.len() == 0 {
            return Ok(());
        }
        let fates = wire.exchange(&self.socket, &mut batch)?;
        let refusal = fates.into_iter().filter_map(Result::err).find(|refusal| refusal.errno != libc::ENOENT);
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }
}

/// The crate's own form drops the flag `NLA_F_NESTED`, without which the kernel refuses a filter.
fn delete(attributes: Vec<DefaultNla>) -> ConntrackMessage {
    ConntrackMessage::Other { message_type: IPCTNL_MSG_CT_DELETE, attributes }
}

fn message(family: Family, message: ConntrackMessage) -> NetfilterMessage {
    let family = match family {
        Family::V4 => NetfilterProtoFamily::IPv4,
        Family::V6 => NetfilterProtoFamily::IPv6,
    };
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message)
}

impl Stale {
    /// Whether there can be some of this family.
    fn is_of(&self, family: Family) -> bool {
        match self {
            Self::Served(served) => served.frontend.family == family,
            Self::Turned(turned) => turned.is_of(family),
        }
    }

    /// Whether a flow, as the kernel describes it, is one of them.
    pub(crate) fn fits(&self, flow: &[u8]) -> bool {
        match self {
            Self::Served(served) => served.fits(flow),
            Self::Turned(turned) => turned.fits(flow),
        }
    }
}

impl Served {
    /// Whether the kernel finds them: it compares IPv6 addresses the wrong way round (up to Linux 6.18 at least), and
    /// would delete all flows but these.
    fn fits_a_filter(&self) -> bool {
        self.frontend.family == Family::V4 || (self.frontend.address.is_none() && self.backend.is_none())
    }

    /// The message that deletes them all.
    fn message(&self) -> NetfilterMessage {
        let protocol = DefaultNla::new(CTA_PROTO_NUM, vec![self.frontend.protocol as u8]);
        let port = |kind, port: u16| DefaultNla::new(kind, port.to_be_bytes().to_vec());

        let mut flags = BY_PROTOCOL | BY_DESTINATION_PORT;
        let mut original = Vec::new();
        if let Some(address) = self.frontend.address {
            flags |= BY_DESTINATION;
            original.push(nested(CTA_TUPLE_IP, &[ip(address, CTA_IP_V4_DST, CTA_IP_V6_DST)]));
        }
        let to = port(CTA_PROTO_DST_PORT, self.frontend.port);
        original.push(nested(CTA_TUPLE_PROTO, &[protocol.clone(), to]));
        let mut attributes = vec![nested(CTA_TUPLE_ORIG, &original)];
        let mut filter = vec![DefaultNla::new(CTA_FILTER_ORIG_FLAGS, flags.to_ne_bytes().to_vec())];
        if let Some(backend) = self.backend {
            let flags = BY_SOURCE | BY_PROTOCOL | BY_SOURCE_PORT;
            let address = ip(backend.ip(), CTA_IP_V4_SRC, CTA_IP_V6_SRC);
            let from = port(CTA_PROTO_SRC_PORT, backend.port());
            let reply = [nested(CTA_TUPLE_IP, &[address]), nested(CTA_TUPLE_PROTO, &[protocol, from])];
            attributes.push(nested(CTA_TUPLE_REPLY, &reply));
            filter.push(DefaultNla::new(CTA_FILTER_REPLY_FLAGS, flags.to_ne_bytes().to_vec()));
        }
        attributes.push(nested(CTA_FILTER, &filter));
        message(self.frontend.family, delete(attributes))
    }

    /// Whether a flow, as the kernel describes it, is one of them.
    fn fits(&self, flow: &[u8]) -> bool {
        let (Some(original), Some(reply)) = (find(flow, CTA_TUPLE_ORIG), find(flow, CTA_TUPLE_REPLY)) else {
            return false;
        };
        let is = |tuple: &[u8], outer, inner, wanted: &[u8]| {
            find(tuple, outer).and_then(|part| find(part, inner)) == Some(wanted)
        };
        let address = |tuple: &[u8], address: IpAddr, v4, v6| {
            let wanted = ip(address, v4, v6);
            let mut octets = vec![0; wanted.buffer_len()];
            wanted.emit(&mut octets);
            is(tuple, CTA_TUPLE_IP, if address.is_ipv4() { v4 } else { v6 }, &octets[4..])
        };
        let port = |tuple: &[u8], kind, port: u16| is(tuple, CTA_TUPLE_PROTO, kind, &port.to_be_bytes());
        is(original, CTA_TUPLE_PROTO, CTA_PROTO_NUM, &[self.frontend.protocol as u8])
            && port(original, CTA_PROTO_DST_PORT, self.frontend.port)
            && self.frontend.address.is_none_or(|to| address(original, to, CTA_IP_V4_DST, CTA_IP_V6_DST))
            && self.backend.is_none_or(|backend| {
                address(reply, backend.ip(), CTA_IP_V4_SRC, CTA_IP_V6_SRC)
                    && port(reply, CTA_PROTO_SRC_PORT, backend.port())
            })
    }
}

fn ip(address: IpAddr, v4: u16, v6: u16) -> DefaultNla {
    match address {
        IpAddr::V4(address) => DefaultNla::new(v4, address.octets().to_vec()),
        IpAddr::V6(address) => DefaultNla::new(v6, address.octets().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use hcn_dataplane::Source;

    use super::*;

    fn service(protocol: Protocol, backends: &[u8]) -> Service {
        let address = Some("10.0.0.1".parse().unwrap());
        Service {
            frontend: Frontend { family: Family::V4, address, protocol, port: 53 },
            backends: backends.iter().map(|n| SocketAddr::from(([10, 7, 0, *n], 53))).collect(),
            affinity: None,
            only_from: Vec::new(),
            from_host: false,
            source: Source::Client,
            terminates: false,
        }
    }

    #[test]
    fn only_flows_to_back_ends_that_went_are_stale() {
        let (from, to) = (service(Protocol::Udp, &[2, 3, 3, 4]), service(Protocol::Udp, &[2, 5]));
        let backend = |stale: Stale| match stale {
            Stale::Served(served) => served.backend,
            Stale::Turned(_) => None,
        };
        let gone: Vec<_> = stale(Some(&from), Some(&to)).into_iter().map(backend).collect();
        assert_eq!(gone, [Some(from.backends[1]), Some(from.backends[3])]);
        let all = Served { frontend: from.frontend, backend: None };
        assert_eq!(stale(Some(&from), None), [Stale::Served(all)]);
        let mut tcp = [service(Protocol::Tcp, &[2, 3]), service(Protocol::Tcp, &[2])];
        assert!(stale(Some(&tcp[0]), None).is_empty() && stale(Some(&tcp[0]), Some(&tcp[1])).is_empty());
        assert!(ended(&tcp[0], &tcp[1]).is_empty() && ended(&from, &to).is_empty());
        tcp[1].terminates = true;
        let gone: Vec<_> = ended(&tcp[0], &tcp[1]).into_iter().map(backend).collect();
        assert_eq!(gone, [Some(tcp[0].backends[1])]);
    }
}
