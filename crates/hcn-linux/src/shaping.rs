//! Messages about limits on what endpoints send. What a port receives is led (`mirred`) to an ifb device of its own,
//! which a token bucket (`tbf`) empties, back to where it was received. What a link sends passes a token bucket at once.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use crate::attributes::{find, nested};
use crate::link::{self, GROUP};

/// Octets per second, and octets of the largest packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) rate: u64,
    pub(crate) mtu: u32,
}

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
/// Length of `struct tcmsg`.
const TCMSG: usize = 20;

const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0 };
const TC_LINKLAYER_ETHERNET: u8 = 1;
const TC_U32_TERMINAL: u8 = 1;
const TC_ACT_STOLEN: u32 = 4;
const TCA_EGRESS_REDIR: u32 = 1;
const ETH_P_ALL: u16 = 3;

/// Octets that come with each packet: Ethernet header, two tags.
const HEADERS: u32 = 22;
/// Fewer octets in the queue would leave a TCP connection too little to keep going.
const LEAST_QUEUE: u64 = 32 << 10;

/// The ifb device of a port: named after it.
pub(crate) fn ifb(port: &str) -> String {
    // Ports of virtual machines are named after other identifiers.
    let prefix = if port.starts_with("hvt") { "hvj" } else { "hvi" };
    format!("{prefix}{}", port.get(3..).unwrap_or_default())
}

/// By which it is recognised.
pub(crate) fn alias(port: &str) -> String {
    format!("hcn rate {port}")
}

/// RTM_NEWLINK of an ifb device, down.
pub(crate) fn new_ifb(name: &str) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewLink(link::message(
        0,
        vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Group(GROUP),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]),
        ],
    ))
}

fn message(index: u32, handle: TcHandle, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.handle = handle;
    message.header.parent = parent;
    message
}

fn kind(kind: &str) -> TcAttribute {
    TcAttribute::Kind(kind.to_owned())
}

/// RTM_NEWQDISC of the token bucket that everything passes which a link sends. Under a number that is not in use a new
/// one takes the place of what is there, and of what waits in it, which a lower rate might not get rid of for minutes.
pub(crate) fn limit(index: u32, number: u16, rate: Rate) -> RouteNetlinkMessage {
    let mut message = message(index, TcHandle { major: number, minor: 0 }, TcHandle::ROOT);
    message.attributes = vec![kind("tbf"), TcAttribute::Other(nested(TCA_OPTIONS, &bucket(rate)))];
    RouteNetlinkMessage::NewQueueDiscipline(message)
}

/// The bucket holds what is sent in 10 ms, and two packets at least; the queue what is sent in 50 ms.
fn bucket(Rate { rate, mtu }: Rate) -> [DefaultNla; 3] {
    let burst = (rate / 100).max(u64::from(mtu + HEADERS) * 2);
    let queue = (rate / 20).max(LEAST_QUEUE).saturating_add(burst);
    let capped = |octets: u64| u32::try_from(octets).unwrap_or(u32::MAX);
    // struct tc_tbf_qopt: two of struct tc_ratespec, limit, buffer, mtu.
    let mut parameters = Vec::with_capacity(36);
    parameters.extend([0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0]);
    parameters.extend(capped(rate).to_ne_bytes());
    parameters.extend([0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    parameters.extend(capped(queue).to_ne_bytes());
    parameters.extend([0; 8]);
    [
        DefaultNla::new(TCA_TBF_PARMS, parameters),
        DefaultNla::new(TCA_TBF_RATE64, rate.to_ne_bytes().to_vec()),
        DefaultNla::new(TCA_TBF_BURST, capped(burst).to_ne_bytes().to_vec()),
    ]
}

/// RTM_DELQDISC of what [`limit`] makes.
pub(crate) fn free(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelQueueDiscipline(message(index, TcHandle::UNSPEC, TcHandle::ROOT))
}

/// RTM_NEWQDISC of what looks at everything that a link receives.
pub(crate) fn listen(index: u32) -> RouteNetlinkMessage {
    let mut message = message(index, INGRESS, TcHandle::INGRESS);
    message.attributes = vec![kind("ingress")];
    RouteNetlinkMessage::NewQueueDiscipline(message)
}

/// RTM_DELQDISC of it, with what it leads elsewhere.
pub(crate) fn listen_no_more(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelQueueDiscipline(message(index, TcHandle::UNSPEC, TcHandle::INGRESS))
}

/// RTM_NEWTFILTER: everything that a link receives is sent to another one.
pub(crate) fn lead(index: u32, to: u32) -> RouteNetlinkMessage {
    // struct tc_mirred: index, capabilities, action, two counts, what is done, the link.
    let parameters = [0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, to].map(u32::to_ne_bytes).concat();
    let action = [
        DefaultNla::new(TCA_ACT_KIND, b"mirred\0".to_vec()),
        nested(TCA_ACT_OPTIONS, &[DefaultNla::new(TCA_MIRRED_PARMS, parameters)]),
    ];
    // struct tc_u32_sel without keys: it selects everything.
    let mut select = vec![0; 16];
    select[0] = TC_U32_TERMINAL;
    let options = [DefaultNla::new(TCA_U32_SEL, select), nested(TCA_U32_ACT, &[nested(1, &action)])];
    let mut message = message(index, TcHandle::UNSPEC, INGRESS);
    message.header.info = 1 << 16 | u32::from(ETH_P_ALL.to_be());
    message.attributes = vec![kind("u32"), TcAttribute::Other(nested(TCA_OPTIONS, &options))];
    RouteNetlinkMessage::NewTrafficFilter(message)
}

/// RTM_GETQDISC of all disciplines, as a dump.
pub(crate) fn get_all() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default())
}

/// RTM_GETTFILTER of what a link receives, as a dump.
pub(crate) fn get_filters(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetTrafficFilter(message(index, TcHandle::UNSPEC, INGRESS))
}

/// What an answer says about a discipline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Discipline {
    /// A token bucket for everything, with its rate.
    Bucket(u64),
    /// One that looks at what is received.
    Listener,
}

/// Reads a payload: the link, and the discipline, if it is of a kind that hcnd makes.
pub(crate) fn read(payload: &[u8]) -> Option<(u32, Discipline)> {
    let index = index_of(payload)?;
    let attributes = payload.get(TCMSG..)?;
    match crate::attributes::text(find(attributes, TCA_KIND)?).as_str() {
        "ingress" => Some((index, Discipline::Listener)),
        "tbf" => {
            let options = find(attributes, TCA_OPTIONS)?;
            let large = find(options, TCA_TBF_RATE64)
                .and_then(|rate| Some(u64::from_ne_bytes(rate.try_into().ok()?)));
            let small =
                || crate::attributes::number(find(options, TCA_TBF_PARMS)?.get(8..12)?).map(u64::from);
            Some((index, Discipline::Bucket(large.or_else(small)?)))
        }
        _ => None,
    }
}

/// Reads an answer about a filter: where it leads everything, if it is one of [`lead`].
pub(crate) fn leads_to(payload: &[u8]) -> Option<u32> {
    let options = find(payload.get(TCMSG..)?, TCA_OPTIONS)?;
    let action = find(find(options, TCA_U32_ACT)?, 1)?;
    let parameters = find(find(action, TCA_ACT_OPTIONS)?, TCA_MIRRED_PARMS)?;
    crate::attributes::number(parameters.get(24..28)?)
}

fn index_of(payload: &[u8]) -> Option<u32> {
    crate::attributes::number(payload.get(4..8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_machines_and_of_containers_have_devices_of_their_own() {
        assert_eq!(ifb("hve12345678"), "hvi12345678");
        assert_eq!(ifb("hvt12345678"), "hvj12345678");
    }

    #[test]
    fn a_bucket_takes_the_largest_packet_whatever_the_rate() {
        for (rate, burst) in
            [(0, 3044), (1, 3044), (125_000, 3044), (125_000_000, 1_250_000), (u64::MAX, u32::MAX)]
        {
            let [_, _, octets] = bucket(Rate { rate, mtu: 1500 });
            assert_eq!(octets, DefaultNla::new(TCA_TBF_BURST, burst.to_ne_bytes().to_vec()), "{rate}");
        }
    }
}
