//! Whatever is done, the file holds what was acknowledged, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

mod world;

use std::collections::BTreeMap;

use hcn_core::{Change, Entity, EntityKey, Registry};
use hcn_schema::call::{Kind, Reference, Verb};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;
use world::{World, era, open, wait};

/// What happens to the service.
#[derive(Clone, Debug)]
enum Event {
    Create { kind: usize, id: u64, network: u64, text: String },
    Modify { kind: usize, id: u64, other: u64, add: bool },
    Delete { kind: usize, id: u64 },
    Restart,
    Reboot,
}

fn event() -> impl Strategy<Value = Event> {
    let kind = 0..Kind::ALL.len();
    prop_oneof![
        8 => (kind.clone(), 0..5u64, 0..3u64, any::<String>()).prop_map(|(kind, id, network, text)| {
            Event::Create { kind, id, network, text }
        }),
        4 => (kind.clone(), 0..5u64, 0..5u64, any::<bool>()).prop_map(|(kind, id, other, add)| {
            Event::Modify { kind, id, other, add }
        }),
        4 => (kind, 0..5u64).prop_map(|(kind, id)| Event::Delete { kind, id }),
        1 => Just(Event::Restart),
        1 => Just(Event::Reboot),
    ]
}

fn document(kind: Kind, id: u64, text: &str) -> String {
    let mut document = json!({"Name": text, "Owner": text, "AdditionalParams": {"a": [text]},
                              "SchemaVersion": {"Major": 2}});
    match kind {
        Kind::Network => {
            document["Ipams"] = json!([{"Subnets": [{"IpAddressPrefix": format!("10.0.{id}.0/28"),
                "Routes": [{"NextHop": format!("10.0.{id}.1"), "DestinationPrefix": "0.0.0.0/0"}]}]}]);
        }
        Kind::Endpoint => {
            document["Policies"] = json!([{"Type": "L2Driver", "Settings": {"x": text}}, {"Type": text}]);
            document["Dns"] = json!({"Domain": text, "Search": [text], "Options": [""]});
        }
        Kind::Namespace => {}
        Kind::LoadBalancer => {
            document["PortMappings"] =
                json!([{"Protocol": 17, "InternalPort": 53, "ExternalPort": 1000 + id}]);
        }
        Kind::SdnRoute => {
            document["Routes"] = json!([{"DestinationPrefix": "10.9.0.0/16", "NextHop": "10.0.0.1"}]);
        }
        Kind::GuestNetworkService => document["Flags"] = json!(id),
        Kind::PortReservation => {
            let service = World::guid(10 * id + Kind::GuestNetworkService as u64);
            return json!({"GuestNetworkService": service, "Protocol": 3, "Access": 1, "Port": 2000 + id})
                .to_string();
        }
    }
    document.to_string()
}

/// Carries an event out and gives the changes of records.
fn happen(world: &mut World, event: &Event) -> Vec<Change> {
    // IDs of different kinds do not matter to each other, but one engine has all of them.
    let name = |kind: Kind, id: u64| World::guid(10 * id + kind as u64);
    match event {
        Event::Create { kind, id, network, text } => {
            let kind = Kind::ALL[*kind];
            let parent = (kind == Kind::Endpoint)
                .then(|| Reference { id: name(Kind::Network, *network), incarnation: None });
            let document = Some(document(kind, *id, text));
            world.call(kind, Verb::Create { id: Some(name(kind, *id)), parent, document })
        }
        Event::Modify { kind, id, other, add } => {
            let kind = Kind::ALL[*kind];
            let verb = if *add { "Add" } else { "Remove" };
            let request = match kind {
                Kind::Namespace => json!({"ResourceType": "Endpoint", "RequestType": verb,
                    "Settings": {"EndpointId": name(Kind::Endpoint, *other).to_string()}}),
                _ => json!({"ResourceType": "Policy", "RequestType": verb,
                    "Settings": {"Policies": [{"Type": "L2Driver", "Settings": {"n": other}}]}}),
            };
            let target = Reference { id: name(kind, *id), incarnation: None };
            world.call(kind, Verb::Modify { target, document: Some(request.to_string()) })
        }
        Event::Delete { kind, id } => {
            let kind = Kind::ALL[*kind];
            world.call(kind, Verb::Delete { id: name(kind, *id) })
        }
        Event::Restart | Event::Reboot => Vec::new(),
    }
}

/// Which of some changes fail is up to the store; the records are as if only those that did not were there.
fn note(records: &mut BTreeMap<EntityKey, Entity>, change: &Change) {
    for step in &change.steps {
        match (&step.before, &step.after) {
            (_, Some(after)) => drop(records.insert(after.key(), after.clone())),
            (Some(before), None) => drop(records.remove(&before.key())),
            (None, None) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_file_holds_what_the_registry_holds(events in prop::collection::vec(event(), 1..60)) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("state");
        let mut world = World::default();
        let (mut store, _) = open(&path);
        store.replace_all(&[], &era()).unwrap();
        let mut youngest = 0;
        let mut asked = Vec::new();
        for event in events.iter().chain([&Event::Restart]) {
            for change in happen(&mut world, event) {
                let made = change.steps.iter().filter_map(|step| step.after.as_ref());
                youngest = made.map(|entity| entity.meta().incarnation).max().unwrap_or(0).max(youngest);
                // Not waited for: they meet in one transaction, or not.
                asked.push(store.commit(&change));
            }
            if let Event::Reboot = event {
                // In its place among the changes.
                let entities: Vec<Entity> = world.published.entities().collect();
                store.replace_all(&entities, &era()).unwrap();
            }
            if let Event::Restart = event {
                drop(store);
                for commit in asked.drain(..) {
                    prop_assert!(wait(commit).is_ok());
                }
                let (again, loaded) = open(&path);
                store = again;
                prop_assert!(loaded.same_era);
                prop_assert!(loaded.last_incarnation >= youngest);
                prop_assert!(loaded.entities.is_sorted_by_key(|entity| entity.meta().incarnation));
                prop_assert_eq!(Registry::of(&loaded.entities), world.published.clone());
            }
        }
    }

    #[test]
    fn what_failed_is_not_in_the_file(
        events in prop::collection::vec((event(), 0..4usize), 1..40),
    ) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("state");
        let mut world = World::default();
        let mut records = BTreeMap::new();
        let (store, _) = open(&path);
        for (event, failures) in events {
            let changes = happen(&mut world, &event);
            store.fail_commits(failures);
            let asked: Vec<_> = changes.iter().map(|change| store.commit(change)).collect();
            for (change, commit) in changes.iter().zip(asked) {
                if wait(commit).is_ok() {
                    note(&mut records, change);
                }
            }
        }
        drop(store);
        let (_store, loaded) = open(&path);
        let mut wanted: Vec<Entity> = records.into_values().collect();
        wanted.sort_by_key(|entity| entity.meta().incarnation);
        prop_assert_eq!(loaded.entities, wanted);
    }
}
