//! Policies and how they change.

use serde_json::{Value, json};

use crate::client::Client;

/// Sends a modify request about policies.
pub fn change(client: &mut Client, kind: &str, id: &str, request: &str, policies: &Value) {
    let settings =
        json!({"ResourceType": "Policy", "RequestType": request, "Settings": {"Policies": policies}});
    client.ok(&format!("{kind}.Modify"), &json!({"id": id, "settings": settings}));
}

/// A policy of type ACL.
#[must_use]
pub fn acl(settings: &Value) -> Value {
    json!({"Type": "ACL", "Settings": settings})
}
