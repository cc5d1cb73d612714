//! What reads the kernel's words, for the fuzz targets and for nobody else: octets in, and whatever must hold of what was
//! read is asserted here.
#![allow(clippy::panic, reason = "what does not hold is a finding")]

use std::net::IpAddr;

use hcn_dataplane::{Family, Frontend, LinkId, Notice, Object, Outbound, OutboundRule, Protocol, Source};

use crate::conntrack::{Served, Stale};
use crate::drift::Judge;
use crate::known::Known;
use crate::link::LinkFacts;
use crate::moving::{Belongings, Carrier, Raw};
use crate::socket::{self, Message, Messages};
use crate::{attributes, counters, doctor, nft, observe, proxy, route, shaping};

const HEADER: usize = 16;
/// The links that addresses and routes are moved between.
const FROM: Carrier<'_> = Carrier { index: 2, name: "eth0" };
const TO: Carrier<'_> = Carrier { index: 0x6863_6e64, name: "hcn-moved" };

/// Reads a datagram of netlink as everything that hcnd reads netlink for.
pub fn datagram(octets: &[u8]) {
    let mut known = Known::default();
    known.insert(LinkId::host(FROM.name), FROM.index);
    let judge = Judge { on_host: known.on_host(), own_nft: 7, own_route: 8 };
    let (mut notice, mut read) = (Notice::default(), 0);
    for message in Messages::all(octets) {
        read += HEADER + message.payload.len();
        let _ = socket::refusal(&message);
        heard(&judge, &message, &mut notice);
        payload(message.payload);
    }
    assert!(read <= octets.len(), "more was read than there is");
    moved(octets);
}

/// The listener's part.
fn heard(judge: &Judge, message: &Message<'_>, notice: &mut Notice) {
    judge.route(message, None, notice);
    judge.route(message, Some(3), notice);
    if judge.is_foreign_rule(message) {
        notice.rules = true;
        assert!(message.port != judge.own_nft, "hcnd's own doing counts as another's");
    }
}

/// The payload of a message as every kind of answer.
fn payload(payload: &[u8]) {
    let total: usize = attributes::all(payload).map(|(_, value)| 4 + value.len()).sum();
    assert!(total <= payload.len(), "attributes reach beyond their message");
    if let Some(facts) = LinkFacts::read(payload) {
        assert!(!facts.name.is_empty() && !facts.name.contains('\0'));
        assert!(!facts.alias.contains('\0'));
    }
    let _ = counters::of(payload);
    let _ = observe::address(payload);
    for anywhere in [IpAddr::from([0; 4]), IpAddr::from([0; 16])] {
        if let Some(((_, destination, _), _)) = observe::route(payload, anywhere) {
            assert!(destination.prefix_len() <= destination.max_prefix_len());
        }
    }
    let _ = (route::is_local(payload), proxy::Proxied::read(payload));
    let _ = (shaping::read(payload), shaping::leads_to(payload));
    if let Some(chain) = doctor::rules::base_chain(payload) {
        assert!(!chain.hook.is_empty() && chain.table.contains(' '));
    }
    flows(payload);
    nft::present::exercise(payload);
}

/// A flow of the table of connections.
fn flows(payload: &[u8]) {
    let address: IpAddr = [10, 7, 0, 9].into();
    let frontend = Frontend {
        family: Family::V4,
        address: Some([192, 0, 2, 1].into()),
        protocol: Protocol::Udp,
        port: 53,
    };
    let served = Served { frontend, backend: Some((address, 5353).into()) };
    let anyhow = Served { frontend: Frontend { address: None, ..frontend }, backend: None };
    // What goes to this back end by this address was begun to some address.
    let narrow = Stale::Served(served).fits(payload);
    assert!(!narrow || Stale::Served(anyhow).fits(payload), "a narrower filter finds more");
    let rule = OutboundRule {
        family: Family::V4,
        destinations: Vec::new(),
        exceptions: Vec::new(),
        source: Source::Masquerade,
    };
    let outbound = Object::Outbound(Outbound {
        port: "hve1".to_owned(),
        bridge: "hcn1".to_owned(),
        addresses: vec![address],
        rules: vec![rule],
    });
    if let Some(same) = Stale::turned(Some(&outbound), Some(&outbound)) {
        assert!(!same.fits(payload), "what has not changed leaves nothing stale");
    }
    let _ = Stale::turned(Some(&outbound), None).map(|stale| stale.fits(payload));
}

/// What a link has, given to another one and back: the second time it is the same as it was then.
fn moved(octets: &[u8]) {
    let of = |kinds: [u16; 1]| {
        let of_kind = Messages::of(octets).filter(move |(kind, _)| kinds.contains(kind));
        of_kind.map(|(_, payload)| payload.to_vec()).collect::<Vec<_>>()
    };
    let (addresses, routes) = (of([20]), of([24]));
    let had = Belongings::of(addresses.clone(), routes, FROM.index);
    let _ = (had.is_bare(), had.leads_further(), had.addresses().count());
    let given = had.give(FROM, TO);
    assert_eq!(given.len(), had.take(FROM).len(), "what is given is taken, too");
    let named = |octets: &[u8]| octets.windows(TO.name.len()).any(|part| part == TO.name.as_bytes());
    if named(octets) {
        return;
    }
    let messages = |from: &[Raw]| from.iter().filter_map(Raw::address).collect::<Vec<_>>();
    let there = messages(&given);
    assert!(there.len() <= addresses.len());
    let back = messages(&Belongings::of(there.clone(), Vec::new(), TO.index).give(TO, FROM));
    let again = messages(&Belongings::of(back, Vec::new(), FROM.index).give(FROM, TO));
    assert_eq!(again, there, "an address is another one after it was moved");
}

/// What `nft` prints, as text and as JSON. What it is asked for again is words alone: it reads its arguments as a
/// language of its own.
pub fn nft_listing(text: &str) {
    for ((table, handle), rule) in doctor::rules::texts(text) {
        assert!(!rule.contains('\n') && !table.contains('\n'), "{handle}");
    }
    for (kind, family, table, name) in doctor::rules::named_sets(text) {
        assert!(["set", "map"].contains(&kind));
        for word in [family, table, name] {
            assert!(!word.is_empty() && !word.starts_with('-'), "{word}");
            assert!(!word.contains([' ', ';', '{', '}', '\n', '"', '$', '#']), "{word}");
        }
    }
}
