//! Records as they are in the file: a key of 17 octets and JSON, several after each other with a NUL between. What is read
//! is written as the same, and a service goes on with it, also after a reboot.

use hcn_core::{Engine, Entity, Registry, compile, read, restore};
use hcn_dataplane::State;
use hcn_schema::call::{Answer, Call, Reference, Verb};
use hcn_store::fuzzing::{decode, encode};

/// Octets of a key; the rest of a record is JSON.
const KEY: usize = 17;

pub(crate) fn run(octets: &[u8]) {
    let mut entities: Vec<Entity> = Vec::new();
    let mut rest = octets;
    while let Some((key, after)) = rest.split_at_checked(KEY) {
        let end = after.iter().position(|octet| *octet == 0).unwrap_or(after.len());
        if let Ok(entity) = decode(key, &after[..end]) {
            let (written, value) = encode(&entity);
            assert_eq!(written, key);
            assert_eq!(
                decode(&written, &value).as_ref(),
                Ok(&entity),
                "it is another one after it was written"
            );
            // The file has one record of a key.
            entities.retain(|other| other.key() != entity.key());
            entities.push(entity);
        }
        rest = after.get(end + 1..).unwrap_or_default();
    }
    if entities.is_empty() {
        return;
    }
    go_on(&restore::after_restart(entities.clone()));
    go_on(&restore::after_reboot(entities));
}

fn go_on(entities: &[Entity]) {
    let mut engine = Engine::restored(entities, 0);
    assert!(*engine.working() == Registry::of(entities));
    let meant = compile::all(engine.working());
    for entity in engine.working().entities() {
        for query in ["{}", r#"{"SchemaVersion":{"Major":2},"Flags":1}"#] {
            let target = Reference { id: entity.meta().id, incarnation: None };
            let verb = Verb::Query { target, query: Some(query.to_owned()) };
            let read = read::read(engine.working(), &Call { kind: entity.kind(), verb });
            assert!(matches!(read, Ok(Answer::Document(_))), "{read:?}");
        }
    }
    let _ = engine.reconcile(&State::new());
    assert!(compile::all(engine.working()) == meant, "starting changes what the records mean");
}
