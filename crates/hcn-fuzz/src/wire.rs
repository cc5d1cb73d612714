//! What a client sends: a stream of octets, cut at any places, into messages and what they ask for; and versions and paths
//! of HNS version 1.

use hcn_ipc::frame::{Decoder, end};
use hcn_ipc::fuzzing::{Meaning, failure, meaning};
use serde_json::Value;

use crate::world::is_clear;

/// Octets that a message may have here.
const LIMIT: usize = 2048;

pub(crate) fn run(octets: &[u8]) {
    let Some((step, stream)) = octets.split_first() else { return };
    let whole = frames(stream, stream.len().max(1));
    let cut = frames(stream, usize::from(*step).max(1));
    assert_eq!(whole, cut, "how the stream is cut decides what is in it");
    for frame in &whole.0 {
        assert!(frame.len() <= LIMIT && !frame.contains(&0));
        understand(frame);
    }
    if let Ok(text) = std::str::from_utf8(stream)
        && let Ok(version) = hcn_ipc::hns_version(text)
    {
        assert_eq!(hcn_ipc::hns_version(&version.to_string()), Ok(version));
    }
}

fn frames(stream: &[u8], step: usize) -> (Vec<Vec<u8>>, bool) {
    let mut decoder = Decoder::new(LIMIT);
    let mut frames = Vec::new();
    for chunk in stream.chunks(step) {
        decoder.extend(chunk);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
        assert!(decoder.pending() <= LIMIT, "more is held than may be");
    }
    (frames, false)
}

fn understand(frame: &[u8]) {
    match meaning(frame) {
        Meaning::Refused(error) => {
            is_clear(&error);
            let reply = failure(error);
            let [message @ .., 0] = reply.as_slice() else { panic!("a reply without its end") };
            assert!(!message.contains(&0));
            let reply: Value = serde_json::from_slice(message).expect("a reply is JSON");
            assert!(reply["parameters"]["hresult"].is_u64(), "{reply}");
        }
        Meaning::Hns(request) => assert!(["GET", "POST", "DELETE"].contains(&request.method.as_str())),
        Meaning::Call(call) => assert!(!call.verb.name().is_empty()),
        Meaning::Own | Meaning::Unknown => {}
    }
    let mut decoder = Decoder::new(LIMIT);
    decoder.extend(&end(frame.to_vec()));
    assert_eq!(decoder.next_frame(), Ok(Some(frame.to_vec())));
}
