//! What clients on bridges send, for the fuzz targets and for nobody else: octets in, and whatever must hold of the answer
//! is asserted here.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hcn_dataplane::{Lease, Mac, Responder};
use ipnet::Ipv4Net;

use crate::book::Book;
use crate::dns::{Found, Header, Name, Query, Zone, failure, is_answer};
use crate::{dhcp, dns};

/// The fixed part of a DHCP message and its cookie.
const OPTIONS: usize = 240;

fn responder() -> Responder {
    Responder {
        bridge: "b".to_owned(),
        addresses: [[10, 7, 0, 1]].map(|host| net(host, 24)).to_vec(),
        dhcp: true,
        dns: true,
        domain: Some("lab.test".to_owned()),
    }
}

fn net(address: [u8; 4], length: u8) -> ipnet::IpNet {
    Ipv4Net::new(address.into(), length).unwrap_or_default().into()
}

/// Of two endpoints with one MAC address each, and of two that share one.
fn leases() -> BTreeMap<String, Lease> {
    let lease = |number: u8, mac: u8| Lease {
        bridge: "b".to_owned(),
        claimant: number.to_string(),
        mac: Mac([0, 21, 93, 1, 2, mac]),
        addresses: vec![net([10, 7, 0, number], 24)],
        gateway: Some([10, 7, 0, 1].into()),
        routes: vec![(Ipv4Net::new([10, 9, 0, 0].into(), 20).unwrap_or_default(), [10, 7, 0, 2].into())],
        servers: vec![[10, 7, 0, 1].into()],
        search: vec!["lab.test".to_owned(), "b.test".to_owned()],
        name: Some(format!("web{number}")),
        mtu: 1450,
    };
    [(3, 3), (4, 4), (5, 9), (6, 9)].map(|(number, mac)| (number.to_string(), lease(number, mac))).into()
}

/// Answers a datagram to the DHCP server.
pub fn dhcp(datagram: &[u8]) {
    let mut book = Book::default();
    book.set(Some(responder()));
    leases().into_values().for_each(|lease| book.note(lease));
    let Some(answer) = dhcp::answer(&book, datagram) else { return };
    let message = &answer.message;
    assert!((300..=1472).contains(&message.len()), "{} octets", message.len());
    assert_eq!((message[0], &message[4..8]), (2, &datagram[4..8]), "it is an answer to this request");
    assert_eq!(message[28..34], datagram[28..34], "and to this client");
    assert_eq!(datagram[24..28], [0; 4], "what a relay brought is not answered");
    let given: [u8; 4] = [message[16], message[17], message[18], message[19]];
    let own: Vec<_> = book.of(Mac([0, 0, 0, 0, 0, 0])).collect();
    assert!(own.is_empty());
    let mac = [message[28], message[29], message[30], message[31], message[32], message[33]];
    let is_its_own = |lease: &Lease| lease.addresses.iter().any(|own| own.addr() == Ipv4Addr::from(given));
    assert!(given == [0; 4] || book.of(Mac(mac)).any(is_its_own), "{given:?} is another one's");
    assert_ne!(book.of(Mac(mac)).count(), 0, "who is not known is not answered");
    assert!(ends(&message[OPTIONS..]), "the options are cut off");
}

/// Whether options go up to an end.
fn ends(mut rest: &[u8]) -> bool {
    while let Some((code, after)) = rest.split_first() {
        match code {
            0 => rest = after,
            255 => return after.iter().all(|octet| *octet == 0),
            _ => {
                let Some((length, after)) = after.split_first() else { return false };
                let Some(after) = after.get(usize::from(*length)..) else { return false };
                rest = after;
            }
        }
    }
    false
}

/// Answers a message to the DNS server.
pub fn dns(message: &[u8]) {
    if let Some((name, rest)) = Name::read(message) {
        assert_eq!(name.wire().len() + rest.len(), message.len());
        assert!(!name.is_below(&name));
    }
    let query = match Query::read(message) {
        Ok(query) => query,
        Err(code) => {
            let answer = code.zip(Header::read(message)).map(|(code, header)| failure(header.id, code));
            assert!(answer.is_none_or(|answer| answer.len() == 12 && answer[..2] == message[..2]));
            return;
        }
    };
    let zone = Zone::of(&responder(), leases().values(), "host");
    for by_udp in [true, false] {
        let answer = match zone.find(&query) {
            Found::Records(records) => query.answer(&records, by_udp),
            Found::Refused(code) => query.code(code),
            Found::Elsewhere { .. } => query.code(dns::rcode::NO_NAME),
        };
        assert!(!by_udp || answer.len() <= query.most(), "{} octets", answer.len());
        assert!(is_answer(&answer, &query, query.header.id), "it is no answer to its question");
        assert!(!is_answer(&answer, &query, query.header.id ^ 1), "whoever guesses is believed");
        assert_eq!(Query::read(&answer), Err(None), "an answer is taken for a question");
    }
    assert!(!is_answer(message, &query, query.header.id), "a question is taken for its answer");
}
