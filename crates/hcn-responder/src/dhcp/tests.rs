//! Which client hears what.

use std::collections::BTreeMap;

use hcn_dataplane::Mac;
use proptest::prelude::*;

use super::*;

const OURS: Mac = Mac([0, 21, 93, 1, 2, 3]);
const SERVER: [u8; 4] = [10, 7, 0, 1];
const ADDRESS: [u8; 4] = [10, 7, 0, 9];

fn book() -> Book {
    let responder = Responder {
        bridge: "b".to_owned(),
        addresses: vec!["fd07::1/64".parse().unwrap(), "10.7.0.1/24".parse().unwrap()],
        dhcp: true,
        dns: true,
        domain: Some("lab.test".to_owned()),
    };
    let lease = Lease {
        bridge: "b".to_owned(),
        claimant: "one".to_owned(),
        mac: OURS,
        addresses: vec!["fd07::9/64".parse().unwrap(), "10.7.0.9/24".parse().unwrap()],
        gateway: Some(SERVER.into()),
        routes: Vec::new(),
        servers: vec!["fd07::1".parse().unwrap(), "10.7.0.1".parse().unwrap()],
        search: vec!["lab.test".to_owned(), "b.test".to_owned()],
        name: Some("web".to_owned()),
        mtu: 1450,
    };
    Book::new(responder, BTreeMap::from([("one".to_owned(), lease)]))
}

/// A message of a client with this address so far.
fn ask(mac: Mac, kind: u8, client: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[12..16].copy_from_slice(&client);
    bytes[28..34].copy_from_slice(&mac.0);
    bytes.extend([99, 130, 83, 99, 53, 1, kind]);
    for (code, value) in options {
        bytes.extend([*code, u8::try_from(value.len()).unwrap()]);
        bytes.extend(*value);
    }
    bytes.push(255);
    bytes
}

fn option(answer: &Answer, code: u8) -> Option<Vec<u8>> {
    let mut rest = &answer.message[240..];
    loop {
        let (found, after) = rest.split_first()?;
        if *found == 255 {
            return None;
        }
        let (value, after) = after[1..].split_at(usize::from(after[0]));
        if *found == code {
            return Some(value.to_vec());
        }
        rest = after;
    }
}

/// The type of the answer and the address that it gives.
fn told(bytes: &[u8]) -> Option<(u8, [u8; 4])> {
    let answer = answer(&book(), bytes)?;
    Some((option(&answer, 53).unwrap()[0], answer.message[16..20].try_into().unwrap()))
}

const NONE: [u8; 4] = [0; 4];

#[test]
fn a_client_gets_its_endpoints_address_and_all_that_goes_with_it() {
    let offer = answer(&book(), &ask(OURS, 1, NONE, &[(61, &[1, 2, 3])])).unwrap();
    assert_eq!(offer.to, "255.255.255.255:68".parse().unwrap());
    assert_eq!((option(&offer, 53), &offer.message[16..20]), (Some(vec![2]), &ADDRESS[..]));
    let search = b"\x03lab\x04test\x00\x01b\x04test\x00".to_vec();
    for (code, value) in [
        (1, vec![255, 255, 255, 0]),
        (3, SERVER.to_vec()),
        (6, SERVER.to_vec()),
        (12, b"web".to_vec()),
        (15, b"lab.test".to_vec()),
        (26, vec![5, 170]),
        (28, vec![10, 7, 0, 255]),
        (51, vec![0, 0, 14, 16]),
        (54, SERVER.to_vec()),
        (61, vec![1, 2, 3]),
        (119, search),
    ] {
        assert_eq!(option(&offer, code), Some(value), "option {code}");
    }
    assert_eq!(option(&offer, 121), None);
}

#[test]
fn requests_are_granted_for_the_right_address_and_refused_for_others() {
    let other = [10, 7, 0, 77];
    // Selecting, and one that has chosen another server.
    assert_eq!(told(&ask(OURS, 3, NONE, &[(54, &SERVER), (50, &ADDRESS)])), Some((5, ADDRESS)));
    assert_eq!(told(&ask(OURS, 3, NONE, &[(54, &SERVER), (50, &other)])), Some((6, NONE)));
    assert_eq!(told(&ask(OURS, 3, NONE, &[(54, &other), (50, &ADDRESS)])), None);
    // After a reboot, and renewing.
    assert_eq!(told(&ask(OURS, 3, NONE, &[(50, &ADDRESS)])), Some((5, ADDRESS)));
    assert_eq!(told(&ask(OURS, 3, NONE, &[(50, &other)])), Some((6, NONE)));
    assert_eq!(told(&ask(OURS, 3, ADDRESS, &[])), Some((5, ADDRESS)));
    assert_eq!(told(&ask(OURS, 3, other, &[])), Some((6, NONE)));
}

#[test]
fn who_has_an_address_is_answered_there_and_who_is_refused_is_not() {
    let to = |bytes: &[u8]| answer(&book(), bytes).unwrap().to;
    assert_eq!(to(&ask(OURS, 3, ADDRESS, &[])), "10.7.0.9:68".parse().unwrap());
    assert_eq!(to(&ask(OURS, 3, [10, 7, 0, 5], &[])), "255.255.255.255:68".parse().unwrap());
    let inform = answer(&book(), &ask(OURS, 8, ADDRESS, &[])).unwrap();
    assert_eq!((inform.to, &inform.message[16..20]), ("10.7.0.9:68".parse().unwrap(), &NONE[..]));
    assert_eq!((option(&inform, 51), option(&inform, 6)), (None, Some(SERVER.to_vec())));
}

#[test]
fn nobody_else_is_answered() {
    let foreign = Mac([2, 0, 0, 0, 0, 1]);
    for kind in 1..=8 {
        assert_eq!(told(&ask(foreign, kind, NONE, &[(50, &ADDRESS)])), None, "{kind}");
    }
    for kind in [2, 4, 5, 6, 7] {
        assert_eq!(told(&ask(OURS, kind, NONE, &[(50, &ADDRESS)])), None, "{kind}");
    }
    let mut silent = book();
    silent.responder.as_mut().unwrap().dhcp = false;
    assert_eq!(answer(&silent, &ask(OURS, 1, NONE, &[])), None);
    let mut relayed = ask(OURS, 1, NONE, &[]);
    relayed[24] = 10;
    assert_eq!(answer(&book(), &relayed), None);
}

#[test]
fn other_routes_come_with_the_default_one() {
    let mut book = book();
    let lease = book.leases.get_mut("one").unwrap();
    lease.routes = vec![("198.51.100.0/22".parse().unwrap(), [10, 7, 0, 3].into())];
    let offer = answer(&book, &ask(OURS, 1, NONE, &[])).unwrap();
    let routes = vec![0, 10, 7, 0, 1, 22, 198, 51, 100, 10, 7, 0, 3];
    assert_eq!(option(&offer, 121), Some(routes));
}

#[test]
fn endpoints_that_share_a_mac_address_keep_their_own() {
    let mut book = book();
    let mut second = book.leases["one"].clone();
    second.addresses = vec!["10.7.0.33/24".parse().unwrap()];
    book.leases.insert("two".to_owned(), second);
    for address in [ADDRESS, [10, 7, 0, 33]] {
        let given = answer(&book, &ask(OURS, 3, NONE, &[(50, &address)])).unwrap();
        assert_eq!(given.message[16..20], address);
    }
}

proptest! {
    #[test]
    fn any_octets_get_an_answer_or_none(
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        kind in 0u8..12,
        client: [u8; 4],
    ) {
        let mut bytes = ask(OURS, kind, client, &[]);
        bytes.pop();
        bytes.extend(&tail);
        if let Some(answer) = answer(&book(), &bytes) {
            prop_assert!((300..=MOST_OF_ALL).contains(&answer.message.len()));
        }
    }
}
