//! Where does a message end? Frames of a byte stream, without I/O: each message ends with a NUL.

use std::fmt;

/// The end of a message; cannot occur inside JSON.
const END: u8 = 0;

/// What a decoder keeps of its buffer after a large message.
const KEPT: usize = 64 << 10;

/// A message larger than the limit. What follows cannot be trusted to be the start of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Bytes that a message may have.
    pub limit: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the message is larger than {} bytes", self.limit)
    }
}

impl std::error::Error for TooLarge {}

/// Cuts a byte stream into messages. Holds at most the limit and what one [`Decoder::extend`] adds, as long as
/// [`Decoder::next_frame`] is called until it gives none.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the next message starts.
    start: usize,
    /// No end of a message is between `start` and here.
    scanned: usize,
    limit: usize,
}

impl Decoder {
    /// A decoder of messages of at most `limit` bytes, their NUL not counted.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, limit }
    }

    /// Adds bytes of the stream.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer.shrink_to(KEPT);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message without its NUL, if it is complete.
    ///
    /// # Errors
    /// [`TooLarge`], and from then on always.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, TooLarge> {
        let end = self.buffer[self.scanned..].iter().position(|byte| *byte == END);
        let length = end.map_or(self.buffer.len(), |end| self.scanned + end) - self.start;
        if length > self.limit {
            return Err(TooLarge { limit: self.limit });
        }
        let Some(end) = end else {
            self.scanned = self.buffer.len();
            return Ok(None);
        };
        let end = self.scanned + end;
        let frame = self.buffer[self.start..end].to_vec();
        self.start = end + 1;
        self.scanned = self.start;
        Ok(Some(frame))
    }

    /// Bytes of the message that is not complete yet.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }
}

/// Ends a message.
pub fn end(mut message: Vec<u8>) -> Vec<u8> {
    message.push(END);
    message
}

/// Whether the JSON is nested deeper than `limit`. Looks at brackets outside of strings only, so it also answers
/// for malformed JSON; serde_json does not count the levels of raw values.
pub fn is_nested_deeper(json: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => {
                        bytes.next();
                    }
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(chunks: &[Vec<u8>], limit: usize) -> (Vec<Vec<u8>>, bool) {
        let mut decoder = Decoder::new(limit);
        let mut frames = Vec::new();
        for chunk in chunks {
            decoder.extend(chunk);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(_) => return (frames, true),
                }
            }
        }
        (frames, false)
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_frames(
            chunks in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0_u8), 1..=255_u8], 0..12), 0..12),
            limit in 1..16_usize,
        ) {
            let stream = chunks.concat();
            let bytes: Vec<Vec<u8>> = stream.iter().map(|byte| vec![*byte]).collect();
            let expected = decode(&bytes, limit);
            prop_assert_eq!(&decode(&chunks, limit), &expected);
            prop_assert_eq!(&decode(&[stream], limit), &expected);
        }

        #[test]
        fn frames_come_out_as_they_went_in(
            frames in prop::collection::vec(prop::collection::vec(1..=255_u8, 0..20), 0..10),
        ) {
            let stream = frames.iter().flat_map(|frame| end(frame.clone())).collect();
            prop_assert_eq!(decode(&[stream], 20), (frames, false));
        }
    }

    #[test]
    fn a_message_of_exactly_the_limit_passes() {
        assert_eq!(decode(&[b"abcd\0".to_vec()], 4), (vec![b"abcd".to_vec()], false));
        assert_eq!(decode(&[b"abcde\0".to_vec()], 4), (vec![], true));
        assert_eq!(decode(&[b"abcd".to_vec(), b"e".to_vec()], 4), (vec![], true));
    }

    #[test]
    fn frames_before_one_that_is_too_large_are_given() {
        assert_eq!(decode(&[b"a\0b\0abcdef".to_vec()], 4), (vec![b"a".to_vec(), b"b".to_vec()], true));
    }

    #[test]
    fn the_buffer_of_a_large_message_is_given_back() {
        let mut decoder = Decoder::new(1 << 20);
        decoder.extend(&end(vec![b'a'; 1 << 20]));
        decoder.next_frame().unwrap().unwrap();
        decoder.extend(b"b");
        assert!(decoder.buffer.capacity() <= KEPT);
        assert_eq!(decoder.pending(), 1);
    }

    #[test]
    fn nesting_is_counted_outside_of_strings() {
        let cases: [(&str, usize, bool); 8] = [
            ("[[[]]]", 3, false),
            ("[[[]]]", 2, true),
            ("[[],[],[]]", 2, false),
            (r#"{"a":"[[[[[["}"#, 1, false),
            (r#"{"a\"[[[":"\\","b":[[]]}"#, 3, false),
            (r#"{"a":"\\","b":[[]]}"#, 2, true),
            (r#"["unfinished [[["#, 1, false),
            ("]]][", 1, false),
        ];
        for (json, limit, deeper) in cases {
            assert_eq!(is_nested_deeper(json.as_bytes(), limit), deeper, "{json}");
        }
    }
}
