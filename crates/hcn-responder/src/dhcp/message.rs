//! DHCP messages as they are on the wire (RFC 2131 section 2, RFC 2132).
//!
//! Of our own, since smoltcp's licence (0BSD) is not among those that deny.toml allows and parts of options, the fields
//! that options go on in and cut-off options would stay ours, and dhcproto brings in all of hickory-proto.

use std::net::Ipv4Addr;

use hcn_dataplane::Mac;

/// Octets before the options.
const FIXED: usize = 236;
/// RFC 2131 section 3: what tells DHCP from BOOTP.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// BOOTP clients take nothing shorter (RFC 1542 section 2.1).
const LEAST: usize = 300;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
/// Ethernet, whose addresses have six octets.
const ETHERNET: (u8, u8) = (1, 6);
const PAD: u8 = 0;
const END: u8 = 255;
const OVERLOAD: u8 = 52;

/// Codes of options (RFC 2132; 119: RFC 3397; 121: RFC 3442).
pub(crate) mod code {
    pub(crate) const MASK: u8 = 1;
    pub(crate) const ROUTER: u8 = 3;
    pub(crate) const SERVERS: u8 = 6;
    pub(crate) const HOST_NAME: u8 = 12;
    pub(crate) const DOMAIN: u8 = 15;
    pub(crate) const MTU: u8 = 26;
    pub(crate) const BROADCAST: u8 = 28;
    pub(crate) const REQUESTED: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const KIND: u8 = 53;
    pub(crate) const SERVER: u8 = 54;
    pub(crate) const MOST: u8 = 57;
    pub(crate) const RENEWAL: u8 = 58;
    pub(crate) const REBINDING: u8 = 59;
    pub(crate) const CLIENT: u8 = 61;
    pub(crate) const SEARCH: u8 = 119;
    pub(crate) const ROUTES: u8 = 121;
}

/// Types of messages (RFC 2132 section 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
    Inform = 8,
}

impl Kind {
    fn of(number: u8) -> Option<Self> {
        let all = [
            Self::Discover,
            Self::Offer,
            Self::Request,
            Self::Decline,
            Self::Ack,
            Self::Nak,
            Self::Release,
            Self::Inform,
        ];
        all.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    /// Transaction identifier.
    pub(crate) xid: [u8; 4],
    pub(crate) flags: [u8; 2],
    /// The address that the client has, if it has one.
    pub(crate) client: Option<Ipv4Addr>,
    /// The relay that it came by.
    pub(crate) relay: Option<Ipv4Addr>,
    pub(crate) mac: Mac,
    options: Vec<(u8, Vec<u8>)>,
}

impl Request {
    /// Reads a request of a client with an Ethernet address; none if it is none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let fixed = bytes.get(..FIXED)?;
        let rest = bytes.get(FIXED..)?.strip_prefix(&COOKIE)?;
        if fixed[0] != BOOTREQUEST || (fixed[1], fixed[2]) != ETHERNET {
            return None;
        }
        let mut options = Vec::new();
        read_options(rest, &mut options)?;
        // Options may go on where there is neither a server's name nor a file (RFC 2131 section 4.1).
        let overload = find(&options, OVERLOAD).and_then(|value| value.first().copied()).unwrap_or_default();
        for (bit, place) in [(1, FILE), (2, SNAME)] {
            if overload & bit != 0 {
                read_options(&fixed[place], &mut options)?;
            }
        }
        let kind = Kind::of(*find(&options, code::KIND)?.first()?)?;
        let address = |at: usize| {
            let octets: [u8; 4] = fixed.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets)).filter(|address| !address.is_unspecified())
        };
        Some(Self {
            kind,
            xid: fixed[4..8].try_into().ok()?,
            flags: fixed[10..12].try_into().ok()?,
            client: address(12),
            relay: address(24),
            mac: Mac(fixed[28..34].try_into().ok()?),
            options,
        })
    }

    /// The value of an option.
    pub(crate) fn option(&self, code: u8) -> Option<&[u8]> {
        find(&self.options, code)
    }

    /// An option that is an address.
    pub(crate) fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.option(code)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    }
}

fn find(options: &[(u8, Vec<u8>)], code: u8) -> Option<&[u8]> {
    options.iter().find(|(found, _)| *found == code).map(|(_, value)| value.as_slice())
}

/// Reads options up to their end; parts of one option belong together (RFC 3396). None if one is cut off.
fn read_options(mut rest: &[u8], options: &mut Vec<(u8, Vec<u8>)>) -> Option<()> {
    while let Some((code, after)) = rest.split_first() {
        match *code {
            PAD => rest = after,
            END => break,
            code => {
                let (length, after) = after.split_first()?;
                let (value, after) = after.split_at_checked(usize::from(*length))?;
                match options.iter_mut().find(|(found, _)| *found == code) {
                    Some((_, known)) => known.extend_from_slice(value),
                    None => options.push((code, value.to_vec())),
                }
                rest = after;
            }
        }
    }
    Some(())
}

/// An answer to a request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) kind: Kind,
    /// The client's new address.
    pub(crate) yours: Option<Ipv4Addr>,
    /// The address that the client said it has.
    pub(crate) client: Option<Ipv4Addr>,
    /// The most important first: what does not fit is left out.
    pub(crate) options: Vec<(u8, Vec<u8>)>,
}

impl Reply {
    /// The message, of at most `most` octets.
    pub(crate) fn write(&self, request: &Request, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        (bytes[0], bytes[1], bytes[2]) = (BOOTREPLY, ETHERNET.0, ETHERNET.1);
        bytes[4..8].copy_from_slice(&request.xid);
        bytes[10..12].copy_from_slice(&request.flags);
        for (at, address) in [(12, self.client), (16, self.yours), (24, request.relay)] {
            bytes[at..at + 4].copy_from_slice(&address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        }
        bytes[28..34].copy_from_slice(&request.mac.0);
        bytes.extend(COOKIE);
        bytes.extend([code::KIND, 1, self.kind as u8]);
        for (code, value) in &self.options {
            let parts = value.chunks(255);
            // Each part has a head of two octets; one more octet is the end's.
            let length = value.len() + 2 * parts.len();
            if bytes.len() + length < most {
                for part in parts {
                    bytes.extend([*code, u8::try_from(part.len()).unwrap_or_default()]);
                    bytes.extend(part);
                }
            }
        }
        bytes.push(END);
        bytes.resize(bytes.len().max(LEAST), PAD);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
        bytes[28..34].copy_from_slice(&[0, 21, 93, 1, 2, 3]);
        bytes.extend(COOKIE);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn a_request_is_read_and_its_reply_has_its_marks() {
        let read = Request::parse(&request(&[0, 53, 1, 3, 50, 4, 10, 0, 0, 9, 255, 7])).unwrap();
        assert_eq!((read.kind, read.mac), (Kind::Request, Mac([0, 21, 93, 1, 2, 3])));
        assert_eq!(read.address(code::REQUESTED), Some(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!((read.client, read.relay), (None, None));
        let reply = Reply {
            kind: Kind::Ack,
            yours: Some(Ipv4Addr::new(10, 0, 0, 9)),
            client: None,
            options: vec![(code::MTU, vec![5, 220])],
        };
        let bytes = reply.write(&read, 576);
        assert_eq!(bytes.len(), LEAST);
        assert_eq!((bytes[0], &bytes[4..8], &bytes[16..20]), (2, &[1, 2, 3, 4][..], &[10, 0, 0, 9][..]));
        assert_eq!(&bytes[FIXED..FIXED + 12], &[99, 130, 83, 99, 53, 1, 5, 26, 2, 5, 220, 255]);
    }

    #[test]
    fn options_go_on_in_the_file_and_the_name() {
        let mut bytes = request(&[53, 1, 1, 52, 1, 3, 255]);
        bytes[FILE.start..FILE.start + 6].copy_from_slice(&[12, 2, b'a', b'b', 255, 0]);
        bytes[SNAME.start..SNAME.start + 5].copy_from_slice(&[12, 1, b'c', 255, 0]);
        assert_eq!(Request::parse(&bytes).unwrap().option(code::HOST_NAME), Some(&b"abc"[..]));
    }

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let read = Request::parse(&request(&[53, 1, 1, 255])).unwrap();
        let options = vec![(code::SEARCH, vec![0; 400]), (code::MTU, vec![5, 220])];
        let reply = Reply { kind: Kind::Offer, yours: None, client: None, options };
        assert!(reply.write(&read, 576).len() <= 576);
        let large = reply.write(&read, 1400);
        assert_eq!(large[FIXED + 7..FIXED + 9], [119, 255]);
        assert_eq!(large[FIXED + 7 + 257..FIXED + 7 + 259], [119, 145]);
    }

    #[test]
    fn what_is_no_request_is_none() {
        let right = request(&[53, 1, 1, 255]);
        assert!(Request::parse(&right).is_some());
        for (at, value) in [(0, 2), (1, 6), (2, 16), (FIXED, 0), (FIXED + 6, 9), (FIXED + 5, 200)] {
            let mut wrong = right.clone();
            wrong[at] = value;
            assert_eq!(Request::parse(&wrong), None, "octet {at}");
        }
        assert_eq!(Request::parse(&right[..FIXED]), None);
        assert_eq!(Request::parse(&request(&[255])), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = Request::parse(&bytes);
        }

        #[test]
        fn any_options_are_read_or_not(options in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(read) = Request::parse(&request(&options)) {
                let reply = Reply { kind: Kind::Ack, yours: None, client: None, options: Vec::new() };
                prop_assert!(reply.write(&read, 576).len() >= LEAST);
            }
        }
    }
}
