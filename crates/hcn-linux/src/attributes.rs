//! Single attributes. Those of an answer are read without decoding the rest: a link's answer has some sixty, and an
//! unknown or longer one of a newer kernel must not get in the way.

use netlink_packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED, NlasIterator};

/// The kinds and values of all attributes, as far as they are well-formed.
pub(crate) fn all(attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = attributes;
    NlasIterator::new(attributes).map_while(move |attribute| {
        let attribute = attribute.ok()?;
        let length = usize::from(attribute.length());
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((attribute.kind(), value))
    })
}

/// The value of the first attribute of this kind.
pub(crate) fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    all(attributes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A value that is a number of the host's byte order.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

/// A value that is a string.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// An attribute made of others.
pub(crate) fn nested(kind: u16, parts: &[DefaultNla]) -> DefaultNla {
    let mut octets = vec![0; parts.buffer_len()];
    parts.emit(&mut octets);
    DefaultNla::new(kind | NLA_F_NESTED, octets)
}
