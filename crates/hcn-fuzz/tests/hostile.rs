//! Does any text of a document become a path, a name in the kernel, or a line of a file that it was not meant to be? Each
//! text of each document of the conformance cases is replaced by what would lead elsewhere; what is accepted is looked for
//! in everything that the kernel is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hcn_core::EntityKey;
use hcn_dataplane::Object;
use hcn_fuzz::world::{World, filled, id};
use hcn_schema::call::{Answer, Kind, Reference, Verb};
use serde_json::Value;

/// What would lead elsewhere.
const HOSTILE: [&str; 3] = ["../../HOSTILE/$(id)\n;`id`", "/HOSTILE/..", "HOSTILE\u{0}x %n"];
/// What the kernel is not to be told, as Debug writes it.
const UNWANTED: [&str; 7] = ["../", "/HOSTILE", "$(", "`", "\\n", "\\0", "%n"];

#[test]
fn no_text_of_a_document_leads_elsewhere() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/cases");
    let (mut seen, mut tried, mut accepted) = (BTreeSet::new(), 0, 0);
    for case in fs::read_dir(cases).unwrap() {
        let case: Value = serde_json::from_str(&fs::read_to_string(case.unwrap().path()).unwrap()).unwrap();
        for step in case["steps"].as_array().unwrap() {
            let Some((kind, verb)) = meant(step) else { continue };
            let document = filled(&step["with"]["settings"]);
            let mut places = Vec::new();
            texts(&document, &mut Vec::new(), &mut places);
            for place in places {
                if !seen.insert((kind.name(), verb, names(&document, &place))) {
                    continue;
                }
                for hostile in HOSTILE {
                    let mut document = document.clone();
                    *document.pointer_mut(&pointer(&place)).unwrap() = hostile.into();
                    tried += 1;
                    accepted += usize::from(attempt(kind, verb, &document.to_string()));
                }
            }
        }
    }
    assert!(tried > 500 && accepted > 50, "{accepted} of {tried} documents were accepted");
}

/// Kind and verb of a call that carries a document.
fn meant(step: &Value) -> Option<(Kind, &'static str)> {
    let (kind, verb) = step["call"].as_str()?.split_once('.')?;
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
    let verb = ["Create", "Modify"].into_iter().find(|known| *known == verb)?;
    step["with"]["settings"].is_object().then_some((kind, verb))
}

/// The places of all texts.
fn texts(value: &Value, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let mut within = |name: String, value: &Value| {
        at.push(name);
        texts(value, at, found);
        at.pop();
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| within(name.clone(), value)),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| within(index.to_string(), value));
        }
        Value::String(_) => found.push(at.clone()),
        _ => {}
    }
}

fn pointer(place: &[String]) -> String {
    place.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

/// The names on the way to a place, with the types of policies and of networks in it: what tells places apart.
fn names(document: &Value, place: &[String]) -> Vec<String> {
    let mut names = vec![document["Type"].to_string(), document["SchemaVersion"].to_string()];
    for end in 0..place.len() {
        let around = document.pointer(&pointer(&place[..end])).unwrap();
        names.extend(around["Type"].as_str().map(str::to_owned));
        names.extend(place[end].parse::<usize>().err().map(|_| place[end].clone()));
    }
    names
}

/// Makes the call on a fresh service; says whether it was accepted.
fn attempt(kind: Kind, verb: &str, document: &str) -> bool {
    let mut world = World::new();
    let own = (0..10).find(|index| world.keys[*index].kind == kind).unwrap();
    let document = Some(document.to_owned());
    let target = Reference { id: id(own), incarnation: None };
    let verb = match verb {
        "Create" => {
            let parent = (kind == Kind::Endpoint).then(|| Reference { id: id(0), incarnation: None });
            Verb::Create { id: None, parent, document }
        }
        _ => Verb::Modify { target, document },
    };
    let Ok(answer) = world.call(kind, verb) else { return false };
    if let (Kind::Endpoint, Answer::Entity { id: made, .. }) = (kind, answer) {
        // What an endpoint means in the kernel it means when it is attached.
        let request = format!(
            r#"{{"ResourceType":"Endpoint","RequestType":"Add","Settings":{{"EndpointId":"{made}"}}}}"#
        );
        let target = Reference { id: id(3), incarnation: None };
        let _ = world.call(Kind::Namespace, Verb::Modify { target, document: Some(request) });
        assert!(world.published.get(EntityKey { kind, id: made }).is_some());
    }
    world.kernel().iter().for_each(|(_, object)| harmless(object));
    true
}

/// Fails if an object says more than names of hcnd's own, but where it is meant for people, or for a file of lines.
fn harmless(object: &Object) {
    let mut object = object.clone();
    let (mut alias, mut lines) = (String::new(), String::new());
    match &mut object {
        Object::Bridge(bridge) => alias = std::mem::take(&mut bridge.alias),
        Object::Veth(veth) => alias = std::mem::take(&mut veth.alias),
        Object::Vxlan(vxlan) => alias = std::mem::take(&mut vxlan.alias),
        Object::Vlan(vlan) => alias = std::mem::take(&mut vlan.alias),
        Object::Sublink(sublink) => alias = std::mem::take(&mut sublink.alias),
        Object::Tap(tap) => alias = std::mem::take(&mut tap.alias),
        Object::Joint(joint) => alias = std::mem::take(&mut joint.alias),
        Object::Netns(netns) => {
            alias = std::mem::take(&mut netns.alias);
            // A path that a client names is opened, and used if it is a network namespace.
            netns.from = None;
        }
        // Comments of rules, which are written without what would end them (`comment` in hcn-linux/src/nft/filters/sets.rs).
        Object::Filter(filter) => {
            for tier in filter.incoming.iter_mut().chain(&mut filter.outgoing) {
                tier.name.clear();
                tier.rules.iter_mut().for_each(|rule| rule.name.clear());
            }
        }
        Object::Resolver(resolver) => lines = std::mem::take(&mut resolver.contents),
        _ => {}
    }
    assert!(alias.len() <= 255 && !alias.contains(char::is_control), "{alias:?}");
    for line in lines.lines() {
        let keyword = line.split(' ').next().unwrap();
        assert!(["nameserver", "search", "options"].contains(&keyword), "{lines:?}");
    }
    let told = format!("{object:?}");
    for unwanted in UNWANTED {
        assert!(!told.contains(unwanted), "{unwanted:?} in {told}");
    }
}
