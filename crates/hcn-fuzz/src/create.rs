//! A document of any kind: a character for the kind and the network, then the document. What is refused changes nothing;
//! what is accepted is read back in both versions; what is deleted leaves nothing behind.

use hcn_core::EntityKey;
use hcn_schema::call::{Answer, Kind, Reference, Verb};
use serde_json::Value;

use crate::calls::parent;
use crate::world::World;

pub(crate) fn run(octets: &[u8]) {
    let Some((octet, document)) = octets.split_first() else { return };
    let Ok(document) = std::str::from_utf8(document) else { return };
    read_structure(*octet, document);
    let mut world = World::new();
    let kind = world.key(*octet).kind;
    let parent = parent(*octet).filter(|_| kind == Kind::Endpoint);
    let before = world.kernel();
    let verb = Verb::Create { id: None, parent, document: Some(document.to_owned()) };
    let Ok(answer) = world.call(kind, verb) else {
        assert_eq!(world.kernel(), before, "what was refused has changed something");
        return;
    };
    let Answer::Entity { id, incarnation } = answer else { panic!("a create answers {answer:?}") };
    let target = Reference { id, incarnation: Some(incarnation) };
    for query in ["", r#"{"SchemaVersion":{"Major":2}}"#, r#"{"Flags":1,"SchemaVersion":{"Major":2}}"#] {
        let read = world.call(kind, Verb::Query { target, query: Some(query.to_owned()) });
        let Ok(Answer::Document(document)) = read else { panic!("what was made is not read: {read:?}") };
        let value: Value = serde_json::from_str(document.get()).expect("JSON");
        assert!(value.is_object(), "{value}");
    }
    world.call(kind, Verb::Delete { id }).expect("what was made can be deleted");
    assert!(world.published.get(EntityKey { kind, id }).is_none());
    assert_eq!(world.kernel(), before, "something is left in the kernel");
}

/// The structures of hcn-schema: what was read, written again, reads as the same.
fn read_structure(octet: u8, document: &str) {
    match octet.wrapping_sub(b'0') {
        0 | 6 => structure::<hcn_schema::network::HostComputeNetwork>(document),
        1 | 2 | 7 => structure::<hcn_schema::endpoint::HostComputeEndpoint>(document),
        3 => structure::<hcn_schema::namespace::HostComputeNamespace>(document),
        4 => structure::<hcn_schema::load_balancer::HostComputeLoadBalancer>(document),
        5 => structure::<hcn_schema::sdn_route::HostComputeRoute>(document),
        8 => structure::<hcn_schema::guest_network_service::GuestNetworkService>(document),
        _ => {}
    }
}

fn structure<T>(document: &str)
where
    T: serde::de::DeserializeOwned + serde::Serialize,
{
    let Ok(read) = hcn_schema::parse::<T>(document) else { return };
    let written = hcn_schema::to_text(&read);
    let again: T = hcn_schema::parse(&written).expect("what was written is read");
    assert_eq!(
        hcn_schema::to_text(&again),
        written,
        "a document is another one after it was written and read"
    );
}
