//! Conformance cases: JSON files of calls and what must come back, run against anything that listens.
//!
//! A case is `{"about", "contract", "steps": [STEP…]}`. A step is
//! - `call`: method without the leading `io.hcn.`, `with`: parameters;
//! - `save`: variables from the reply's parameters, as `{"N": "id"}`;
//! - `reply`: what the parameters must hold: members of objects that are named, arrays whole, `"*"` anything,
//!   a text that ends in `*` a beginning; a member `"!name"` must be absent;
//! - `raw`: texts that must stand in the reply byte for byte;
//! - `error`: `{"hresult": "0x…", "path"?, "expected"?, "text"?}` instead of a reply.
//!
//! `${N}` stands for a variable; `${N:lower}` for its lower-case form. A text that is only a variable takes the
//! variable's type.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::wire::{Reply, Wire};

/// One case.
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    document: Value,
}

/// The folder of the cases.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases")
}

/// All cases, by name.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let document = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            Case { name, document }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!cases.is_empty(), "no cases in {}", folder().display());
    cases
}

/// How a runner performs a call, given the method and the parameters.
pub type Perform<'a> = dyn FnMut(&mut Wire, &str, &Value) -> Reply + 'a;

/// Just calls.
///
/// # Panics
/// The daemon does not answer.
pub fn plainly(wire: &mut Wire, method: &str, parameters: &Value) -> Reply {
    wire.call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
}

impl Case {
    /// Runs the case; panics where something differs.
    pub fn run(&self, socket: &Path, perform: &mut Perform<'_>) {
        let mut wire = Wire::connect(socket).unwrap();
        let mut variables = BTreeMap::new();
        for (index, step) in self.document["steps"].as_array().unwrap().iter().enumerate() {
            let place = format!("case {}, step {}", self.name, index + 1);
            known_members(step, &place);
            let method =
                format!("io.hcn.{}", step["call"].as_str().unwrap_or_else(|| panic!("{place}: no call")));
            let parameters = fill(&step["with"], &variables, &place);
            let reply = perform(&mut wire, &method, &parameters);
            check(step, &reply, &variables, &format!("{place} ({method})"));
            for (name, member) in step["save"].as_object().unwrap_or(&Map::new()) {
                let value = &reply.parameters[member.as_str().unwrap()];
                assert!(!value.is_null(), "{place}: no {member} in {}", reply.raw);
                variables.insert(name.clone(), value.clone());
            }
        }
    }
}

fn known_members(step: &Value, place: &str) {
    for name in step.as_object().unwrap().keys() {
        let known = ["call", "with", "save", "reply", "raw", "error", "why"];
        assert!(known.contains(&name.as_str()), "{place}: unknown member {name}");
    }
}

fn fill(template: &Value, variables: &BTreeMap<String, Value>, place: &str) -> Value {
    let variable = |name: &str| -> Value {
        let (name, lower) = name.strip_suffix(":lower").map_or((name, false), |name| (name, true));
        let value = variables.get(name).unwrap_or_else(|| panic!("{place}: no variable {name}"));
        if lower { json!(value.as_str().unwrap().to_lowercase()) } else { value.clone() }
    };
    match template {
        Value::Null => json!({}),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), inner(value, &variable, place))).collect()
        }
        other => panic!("{place}: `with` is {other}"),
    }
}

fn inner(template: &Value, variable: &dyn Fn(&str) -> Value, place: &str) -> Value {
    match template {
        Value::String(text) => {
            let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            if let Some(name) = whole.filter(|name| !name.contains('}')) {
                return variable(name);
            }
            let mut parts = text.split("${");
            let mut filled = parts.next().unwrap().to_owned();
            for part in parts {
                let (name, rest) = part.split_once('}').unwrap_or_else(|| panic!("{place}: {text}"));
                filled.push_str(variable(name).as_str().unwrap());
                filled.push_str(rest);
            }
            // A long text need not be written out.
            if let Some(count) = filled.strip_prefix("$repeat:") {
                return json!("x".repeat(count.parse().unwrap()));
            }
            json!(filled)
        }
        Value::Array(items) => items.iter().map(|item| inner(item, variable, place)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), inner(value, variable, place))).collect()
        }
        other => other.clone(),
    }
}

fn check(step: &Value, reply: &Reply, variables: &BTreeMap<String, Value>, place: &str) {
    if let Some(error) = step.get("error") {
        let error = fill(error, variables, place);
        assert_eq!(reply.error.as_deref(), Some("io.hcn.Service.Failed"), "{place}: {}", reply.raw);
        let code = reply.parameters["hresult"].as_u64().unwrap();
        assert_eq!(format!("0x{code:08x}"), error["hresult"].as_str().unwrap(), "{place}: {}", reply.raw);
        for member in ["path", "expected"] {
            if let Some(wanted) = error.get(member) {
                assert_eq!(&reply.parameters[member], wanted, "{place}: {}", reply.raw);
            }
        }
        if let Some(text) = error["text"].as_str() {
            let message = reply.parameters["message"].as_str().unwrap();
            assert!(message.contains(text), "{place}: {text:?} is not in {message:?}");
        }
        let record: Value = serde_json::from_str(reply.parameters["record"].as_str().unwrap()).unwrap();
        assert_eq!(record["Success"], false, "{place}");
        assert_eq!(record["ErrorCode"].as_u64(), Some(code), "{place}");
        assert!(record["Error"].as_str().unwrap().ends_with(". "), "{place}: {record}");
        return;
    }
    assert_eq!(reply.error, None, "{place}: {}", reply.raw);
    if let Some(wanted) = step.get("reply") {
        let wanted = fill(wanted, variables, place);
        if let Err(difference) = holds(&reply.parameters, &wanted, "reply") {
            panic!("{place}: {difference}\n{}", reply.raw);
        }
    }
    for text in step["raw"].as_array().unwrap_or(&Vec::new()) {
        assert!(reply.raw.contains(text.as_str().unwrap()), "{place}: {text} is not in {}", reply.raw);
    }
}

/// Whether `value` holds what is `wanted`; the first difference otherwise.
fn holds(value: &Value, wanted: &Value, path: &str) -> Result<(), String> {
    match (value, wanted) {
        (Value::Null, Value::String(any)) if any == "*" => Err(format!("{path} is missing")),
        (_, Value::String(any)) if any == "*" => Ok(()),
        (Value::String(text), Value::String(wanted)) if wanted.ends_with('*') => {
            let start = &wanted[..wanted.len() - 1];
            if text.starts_with(start) { Ok(()) } else { Err(format!("{path} is {text:?}, not {wanted:?}")) }
        }
        (Value::Object(members), Value::Object(wanted)) => {
            for (name, wanted) in wanted {
                if let Some(absent) = name.strip_prefix('!') {
                    if let Some(present) = members.get(absent) {
                        return Err(format!("{path}.{absent} is {present}, not absent"));
                    }
                    continue;
                }
                holds(members.get(name).unwrap_or(&Value::Null), wanted, &format!("{path}.{name}"))?;
            }
            Ok(())
        }
        (Value::Array(items), Value::Array(wanted)) if items.len() == wanted.len() => {
            for (index, (item, wanted)) in items.iter().zip(wanted).enumerate() {
                holds(item, wanted, &format!("{path}[{index}]"))?;
            }
            Ok(())
        }
        _ if value == wanted => Ok(()),
        _ => Err(format!("{path} is {value}, not {wanted}")),
    }
}

/// Every entity's document without what counts changes, for comparing before and after.
#[must_use]
pub fn snapshot(wire: &mut Wire) -> BTreeMap<String, Value> {
    let mut documents = BTreeMap::new();
    for kind in ["Network", "Endpoint", "Namespace", "LoadBalancer"] {
        for id in ids(wire, kind) {
            let query = json!({"id": id, "query": {"SchemaVersion": {"Major": 2, "Minor": 0}}});
            let reply = wire.call(&format!("io.hcn.{kind}.Query"), &query).unwrap();
            documents.insert(format!("{kind} {id}"), reply.parameters);
        }
    }
    documents
}

/// The IDs of all entities of a kind.
#[must_use]
pub fn ids(wire: &mut Wire, kind: &str) -> Vec<String> {
    let reply = wire.call(&format!("io.hcn.{kind}.Enumerate"), &json!({})).unwrap();
    let ids = reply.parameters["ids"].as_array().unwrap_or_else(|| panic!("{}", reply.raw)).clone();
    ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// Deletes everything; a case that fails to clean up says so here.
pub fn delete_everything(wire: &mut Wire) {
    for kind in ["LoadBalancer", "Network", "Namespace"] {
        for id in ids(wire, kind) {
            if kind == "Namespace" {
                let reply = wire.call(
                    "io.hcn.Namespace.Query",
                    &json!({"id": id, "query": {"SchemaVersion": {"Major": 2}}}),
                );
                let properties = reply.unwrap().parameters["properties"].clone();
                for resource in properties["Resources"].as_array().unwrap_or(&Vec::new()) {
                    let member = if resource["Type"] == "Endpoint" { "EndpointId" } else { "ContainerId" };
                    let request = json!({"ResourceType": resource["Type"], "RequestType": "Remove",
                        "Settings": {member: resource["Data"]["ID"]}});
                    let reply = wire
                        .call("io.hcn.Namespace.Modify", &json!({"id": id, "settings": request}))
                        .unwrap();
                    assert_eq!(reply.error, None, "{}", reply.raw);
                }
            }
            let reply = wire.call(&format!("io.hcn.{kind}.Delete"), &json!({"id": id})).unwrap();
            assert_eq!(reply.error, None, "{}", reply.raw);
        }
    }
    assert!(ids(wire, "Endpoint").is_empty());
}
