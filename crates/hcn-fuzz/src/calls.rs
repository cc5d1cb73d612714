//! Calls on a service, of every kind and verb, one after the other: each is a letter for what to do, a character for the
//! entity, and a document; a NUL ends it.

use hcn_core::v1::rest::{self, Asked, Then};
use hcn_schema::call::{Action, Answer, HnsRequest, Kind, Reference, Verb};
use hcn_schema::hns::HnsVersion;
use serde_json::Value;

use crate::world::{World, id, is_clear};

/// So many calls are made at most.
const MOST: usize = 8;

pub(crate) fn run(octets: &[u8]) {
    let mut world = World::new();
    for call in octets.split(|octet| *octet == 0).take(MOST) {
        let [verb, target, document @ ..] = call else { continue };
        let Ok(document) = std::str::from_utf8(document) else { continue };
        make(&mut world, *verb, *target, document);
        if world.keys.is_empty() {
            return;
        }
    }
}

fn make(world: &mut World, verb: u8, octet: u8, text: &str) {
    let key = world.key(octet);
    let target = Reference { id: key.id, incarnation: None };
    let document = Some(text.to_owned());
    let act = |action| Verb::Act { target, action, document: document.clone() };
    let verb = match verb {
        b'C' => {
            let parent = parent(octet).filter(|_| key.kind == Kind::Endpoint);
            Verb::Create { id: None, parent, document }
        }
        b'M' => Verb::Modify { target, document },
        b'U' => act(Action::Update),
        b'T' => act(Action::Attach),
        b'D' => act(Action::Detach),
        b'A' => act(Action::AddResource),
        b'R' => act(Action::RemoveResource),
        b'Q' => Verb::Query { target, query: document },
        b'E' => Verb::Enumerate { query: document },
        b'Y' => Verb::QueryAddresses { target, query: document },
        b'X' => Verb::Explain { target, question: document },
        b'O' => Verb::Open { id: key.id },
        b'K' => Verb::Delete { id: key.id },
        b'H' => return hns(world, octet, text),
        _ => return,
    };
    // What a call answers is checked by the world; here is only one thing more.
    if let Ok(Answer::Ids(ids)) = world.call(key.kind, verb) {
        let known = |id: &hcn_schema::Guid| world.keys.iter().any(|key| key.id == *id);
        assert!(ids.iter().all(known), "what is listed is not there");
    }
}

/// The network of a new endpoint.
pub(crate) fn parent(octet: u8) -> Option<Reference> {
    let network = |index| Some(Reference { id: id(index), incarnation: None });
    match octet {
        b'1' => network(0),
        b'7' => network(6),
        _ => None,
    }
}

/// A request of HNS version 1: its path up to the end of the line, then the document.
fn hns(world: &mut World, octet: u8, text: &str) {
    let method = ["GET", "POST", "DELETE", "PUT"][usize::from(octet) % 4];
    let (path, body) = text.split_once('\n').map_or((text, None), |(path, body)| (path, Some(body)));
    let request =
        HnsRequest { method: method.to_owned(), path: path.to_owned(), body: body.map(str::to_owned) };
    let envelope = match carry_out(world, &request) {
        Ok(output) => rest::success(output.as_ref()),
        Err(error) => {
            is_clear(&error);
            rest::failure(&error)
        }
    };
    let envelope: Value = serde_json::from_str(envelope.get()).expect("an envelope is JSON");
    assert!(envelope["Success"].is_boolean() || envelope["Error"].is_string(), "{envelope}");
}

fn carry_out(world: &mut World, request: &HnsRequest) -> hcn_schema::Result<Option<hcn_schema::Raw>> {
    let (call, then) = match rest::asked(&world.published, HnsVersion::default(), request)? {
        Asked::Output(output) => return Ok(Some(output)),
        Asked::Accelnet(rest::Accelnet::Set(addresses)) => return Ok(Some(rest::accelnet(&addresses))),
        Asked::Accelnet(_) => return Ok(None),
        Asked::Call { call, then } => (call, then),
    };
    assert!(!call.verb.is_change() || request.is_change(), "who may only read changes something");
    if matches!(call.verb, Verb::QueryStats { .. }) {
        return Ok(None);
    }
    let kind = call.kind;
    Ok(match (world.call(kind, call.verb)?, then) {
        (Answer::Entity { id, .. }, Then::Document) => {
            let document = rest::document(&world.published, kind, id);
            assert!(document.is_some(), "what was made has no document");
            document
        }
        (Answer::Document(document), _) => Some(document),
        (_, Then::Output(output)) => Some(output),
        _ => None,
    })
}
