//! DNS messages: what is read of questions, and answers of our own (RFC 1035 section 4, RFC 6891).
//!
//! Of our own, since a forwarder has to read questions of any type and class: simple-dns refuses types that it does not
//! know (TLSA, SSHFP, URI), and smoltcp classes other than IN, EDNS with them, and writes no answers.

use std::net::IpAddr;

use super::{Name, rcode};

/// Octets of the header.
pub(crate) const HEADER: usize = 12;
/// Types of records.
pub(crate) const A: u16 = 1;
pub(crate) const PTR: u16 = 12;
pub(crate) const AAAA: u16 = 28;
pub(crate) const ANY: u16 = 255;
const OPT: u16 = 41;
pub(crate) const IN: u16 = 1;
/// Bits of the second word: it is an answer, with authority, cut off; recursion is wanted, and had.
const QR: u16 = 1 << 15;
const AA: u16 = 1 << 10;
const TC: u16 = 1 << 9;
const RD: u16 = 1 << 8;
const RA: u16 = 1 << 7;
const OPCODE: u16 = 15 << 11;
/// What a client takes by UDP that does not say.
const LEAST: usize = 512;
/// What we take by UDP: as much as passes everywhere in one piece.
const OURS: u16 = 1232;
/// How long an answer of our own may be remembered, in seconds: an endpoint's address changes with the endpoint.
const TTL: u32 = 30;
/// A pointer to the name of the question.
const ASKED: [u8; 2] = [0xc0, 0x0c];

/// The first words of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u16,
    flags: u16,
    questions: u16,
    /// Records of answer, authority and additional.
    records: u32,
}

impl Header {
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let records = [word(6)?, word(8)?, word(10)?].map(u32::from).iter().sum();
        Some(Self { id: word(0)?, flags: word(2)?, questions: word(4)?, records })
    }

    /// Whether it is an answer.
    pub(crate) fn is_answer(&self) -> bool {
        self.flags & QR != 0
    }

    /// The code of an answer.
    pub(crate) fn code(&self) -> u8 {
        u8::try_from(self.flags & 15).unwrap_or_default()
    }
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    pub(crate) header: Header,
    pub(crate) name: Name,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    /// Name, type and class as they came.
    pub(crate) question: &'a [u8],
    /// What the client takes by UDP, if it says (EDNS).
    takes: Option<u16>,
}

impl<'a> Query<'a> {
    /// Reads a message with one question. The error is the code of an answer; none = what came is not answered.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Option<u8>> {
        let header = Header::read(bytes).filter(|header| !header.is_answer()).ok_or(None)?;
        if header.flags & OPCODE != 0 {
            return Err(Some(rcode::NOT_IMPLEMENTED));
        }
        let malformed = Some(rcode::FORMAT);
        let body = bytes.get(HEADER..).filter(|_| header.questions == 1).ok_or(malformed)?;
        let (name, rest) = Name::read(body).ok_or(malformed)?;
        let (fixed, rest) = rest.split_at_checked(4).ok_or(malformed)?;
        let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let question = &body[..body.len() - rest.len()];
        let takes = edns(rest, header.records).ok_or(malformed)?;
        Ok(Self { header, name, kind: word(0), class: word(2), question, takes })
    }

    /// How many octets of an answer by UDP the client takes.
    pub(crate) fn most(&self) -> usize {
        self.takes.map_or(LEAST, |octets| usize::from(octets).max(LEAST))
    }

    /// An answer of our own that holds these records.
    pub(crate) fn answer(&self, records: &[Record], by_udp: bool) -> Vec<u8> {
        let most = if by_udp { self.most() } else { usize::from(u16::MAX) };
        let whole = self.message(AA, records);
        if whole.len() <= most { whole } else { self.message(AA | TC, &[]) }
    }

    /// An answer without records.
    pub(crate) fn code(&self, code: u8) -> Vec<u8> {
        self.message(u16::from(code), &[])
    }

    fn message(&self, flags: u16, records: &[Record]) -> Vec<u8> {
        let count = |records: usize| u16::try_from(records).unwrap_or(u16::MAX).to_be_bytes();
        let flags = QR | RA | flags | (self.header.flags & RD);
        let mut bytes = [self.header.id.to_be_bytes(), flags.to_be_bytes(), [0, 1]].concat();
        bytes.extend([count(records.len()), [0, 0], count(usize::from(self.takes.is_some()))].concat());
        bytes.extend(self.question);
        for record in records {
            let (kind, data) = record.parts();
            bytes.extend(ASKED);
            bytes.extend([kind.to_be_bytes(), IN.to_be_bytes()].concat());
            bytes.extend(TTL.to_be_bytes());
            bytes.extend(count(data.len()));
            bytes.extend(data);
        }
        if self.takes.is_some() {
            bytes.push(0);
            bytes.extend([OPT.to_be_bytes(), OURS.to_be_bytes(), [0; 2], [0; 2], [0; 2]].concat());
        }
        bytes
    }
}

/// What the OPT record among these says; `None` = they cannot be read.
fn edns(mut rest: &[u8], records: u32) -> Option<Option<u16>> {
    let mut takes = None;
    for _ in 0..records {
        let fixed = Name::skip(rest)?;
        let word = |at: usize| Some(u16::from_be_bytes([*fixed.get(at)?, *fixed.get(at + 1)?]));
        if word(0)? == OPT {
            takes = Some(word(2)?);
        }
        rest = fixed.get(10 + usize::from(word(8)?)..)?;
    }
    Some(takes)
}

/// The answer to what is no question that can be read, with its identifier.
pub(crate) fn failure(id: u16, code: u8) -> Vec<u8> {
    let flags = QR | u16::from(code);
    let mut bytes = [id.to_be_bytes(), flags.to_be_bytes()].concat();
    bytes.resize(HEADER, 0);
    bytes
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Address(IpAddr),
    Name(Name),
}

impl Record {
    fn parts(&self) -> (u16, Vec<u8>) {
        match self {
            Self::Address(IpAddr::V4(address)) => (A, address.octets().to_vec()),
            Self::Address(IpAddr::V6(address)) => (AAAA, address.octets().to_vec()),
            Self::Name(name) => (PTR, name.wire().to_vec()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A question with the identifier 0x1234.
    pub(crate) fn question(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(Name::of(name).unwrap().into_wire());
        bytes.extend([kind.to_be_bytes(), IN.to_be_bytes()].concat());
        bytes
    }

    /// The same of a client that takes this much.
    fn with_edns(name: &str, kind: u16, takes: u16) -> Vec<u8> {
        let mut bytes = question(name, kind);
        bytes[11] = 1;
        bytes.push(0);
        bytes.extend([OPT.to_be_bytes(), takes.to_be_bytes(), [0; 2], [0; 2], [0, 4]].concat());
        bytes.extend([0, 10, 0, 0]);
        bytes
    }

    #[test]
    fn a_question_is_answered_with_its_name_and_identifier() {
        let asked = question("web", A);
        let query = Query::read(&asked).unwrap();
        assert_eq!((query.kind, query.class, &query.name), (A, IN, &Name::of("WEB").unwrap()));
        let answer = query.answer(&[Record::Address([10, 7, 0, 9].into())], true);
        let expected = [
            &[0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 3][..],
            b"web\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\x0a\x07\x00\x09",
        ];
        assert_eq!(answer, expected.concat());
        assert_eq!(query.code(rcode::NO_NAME)[..4], [0x12, 0x34, 0x81, 0x83]);
    }

    #[test]
    fn an_answer_that_is_too_long_for_udp_is_cut_off() {
        let many = vec![Record::Address([10, 7, 0, 9].into()); 40];
        let asked = question("web", A);
        let plain = Query::read(&asked).unwrap();
        assert_eq!(plain.answer(&many, true)[2..8], [0x87, 0x80, 0, 1, 0, 0]);
        assert_eq!(plain.answer(&many, false)[6..8], [0, 40]);
        let asked = with_edns("web", A, 1232);
        let edns = Query::read(&asked).unwrap().answer(&many, true);
        assert_eq!((&edns[6..12], edns.len() > LEAST), (&[0, 40, 0, 0, 0, 1][..], true));
    }

    #[test]
    fn what_is_no_question_says_why_or_nothing() {
        let right = question("web", A);
        let code = |bytes: &[u8]| Query::read(bytes).map(|_| ()).unwrap_err();
        assert_eq!(code(&right[..11]), None);
        let with = |at: usize, value: u8| {
            let mut bytes = right.clone();
            bytes[at] = value;
            bytes
        };
        assert_eq!(code(&with(2, 0x81)), None);
        assert_eq!(code(&with(2, 0x29)), Some(rcode::NOT_IMPLEMENTED));
        assert_eq!(code(&with(5, 2)), Some(rcode::FORMAT));
        assert_eq!(code(&with(5, 0)), Some(rcode::FORMAT));
        assert_eq!(code(&with(11, 1)), Some(rcode::FORMAT));
        assert_eq!(code(&with(HEADER, 0xc0)), Some(rcode::FORMAT));
        assert_eq!(code(&right[..right.len() - 1]), Some(rcode::FORMAT));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(query) = Query::read(&bytes) {
                prop_assert!(query.answer(&[], true).len() >= HEADER);
            }
        }

        #[test]
        fn a_spoilt_question_is_read_or_not(at in 0usize..40, value: u8, cut in 0usize..45) {
            let mut bytes = with_edns("web.lab.test", AAAA, 4096);
            bytes[at] = value;
            bytes.truncate(cut);
            let _ = Query::read(&bytes);
        }
    }
}
