//! All there is: its documents, for comparing before and after, and its end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::eventually;
use crate::wire::{Reply, Wire};

/// The kinds of entities, those first that refer to others.
pub const KINDS: [&str; 7] = [
    "PortReservation",
    "GuestNetworkService",
    "SdnRoute",
    "LoadBalancer",
    "Network",
    "Endpoint",
    "Namespace",
];

/// Every entity's document, for comparing before and after.
#[must_use]
pub fn snapshot(wire: &mut Wire) -> BTreeMap<String, Value> {
    let mut documents = BTreeMap::new();
    for kind in KINDS {
        for id in ids(wire, kind) {
            documents.insert(format!("{kind} {id}"), query(wire, kind, &id).parameters);
        }
    }
    documents
}

fn query(wire: &mut Wire, kind: &str, id: &str) -> Reply {
    let query = json!({"id": id, "query": {"SchemaVersion": {"Major": 2, "Minor": 0}}});
    wire.call(&format!("io.hcn.{kind}.Query"), &query).unwrap()
}

/// The IDs of all entities of a kind.
#[must_use]
pub fn ids(wire: &mut Wire, kind: &str) -> Vec<String> {
    let reply = wire.call(&format!("io.hcn.{kind}.Enumerate"), &json!({})).unwrap();
    let ids = reply.parameters["ids"].as_array().unwrap_or_else(|| panic!("{kind}: {}", reply.raw)).clone();
    ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// Deletes everything; a case that fails to clean up says so here.
pub fn delete_everything(wire: &mut Wire) {
    // A reservation ends with the connection that made it, which is being noticed by now.
    eventually("the reservations of the case are released", || ids(wire, "PortReservation").is_empty());
    for kind in KINDS {
        for id in ids(wire, kind) {
            if kind == "Namespace" {
                empty(wire, &id);
            }
            let reply = wire.call(&format!("io.hcn.{kind}.Delete"), &json!({"id": id})).unwrap();
            assert_eq!(reply.error, None, "{}", reply.raw);
        }
        if kind == "Network" {
            assert!(ids(wire, "Endpoint").is_empty(), "endpoints without a network");
        }
    }
}

/// Takes everything out of a namespace.
fn empty(wire: &mut Wire, id: &str) {
    let properties = query(wire, "Namespace", id).parameters["properties"].clone();
    for resource in properties["Resources"].as_array().into_iter().flatten() {
        let member = if resource["Type"] == "Endpoint" { "EndpointId" } else { "ContainerId" };
        let request = json!({"ResourceType": resource["Type"], "RequestType": "Remove",
            "Settings": {member: resource["Data"]["ID"]}});
        let reply = wire.call("io.hcn.Namespace.Modify", &json!({"id": id, "settings": request})).unwrap();
        assert_eq!(reply.error, None, "{}", reply.raw);
    }
}
