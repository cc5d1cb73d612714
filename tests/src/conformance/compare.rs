//! Filling in variables, and comparing what came with what was wanted.
//!
//! Of objects the wanted members are compared, of arrays all items. `"*"` is anything that is there, a text with one
//! `*` a beginning and an end; a member `"!name"` must be absent.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::wire::Reply;

/// What a case has saved so far.
pub type Variables = BTreeMap<String, Value>;

/// What a comparison says: nothing, or the first difference.
pub type Comparison = Result<(), String>;

/// The value at a path such as `properties.Ipams.0.Subnets.0.ID`.
#[must_use]
pub fn member_at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(value, |value, part| match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        })
        .filter(|value| !value.is_null())
}

/// Whether a step needs a variable that no step before it has saved.
#[must_use]
pub fn unset(step: &Value, variables: &Variables) -> bool {
    let text = step.to_string();
    let names = text.split("${").skip(1).filter_map(|rest| rest.split(['}', ':']).next());
    names.into_iter().any(|name| !variables.contains_key(name))
}

/// A template with its variables filled in.
#[must_use]
pub fn fill(template: &Value, variables: &Variables, place: &str) -> Value {
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
        other => panic!("{place}: {other} is no object"),
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

/// Whether a reply is what a step wants.
///
/// # Errors
/// The first difference.
pub fn check(step: &Value, method: &str, reply: &Reply, variables: &Variables, place: &str) -> Comparison {
    if let Some(error) = step.get("error") {
        return check_error(&fill(error, variables, place), reply);
    }
    if let Some(error) = &reply.error {
        return Err(format!("the call failed with {error}"));
    }
    let response = &reply.parameters["response"];
    if let Some(refused) = step.get("refused") {
        check_refused(&fill(refused, variables, place), response)?;
    } else if method == "io.hcn.V1.Call" && response["Success"] != true {
        return Err("HNS refused the call".to_owned());
    }
    if let Some(wanted) = step.get("reply") {
        holds(&reply.parameters, &fill(wanted, variables, place), "reply")?;
    }
    for (larger, smaller, wanted) in differences(step) {
        let number = |path| member_at(&reply.parameters, path).and_then(Value::as_i64);
        let found = number(larger).zip(number(smaller)).map(|(larger, smaller)| larger - smaller);
        same(&format!("{larger} - {smaller}"), found, Some(wanted))?;
    }
    for text in step["raw"].as_array().into_iter().flatten() {
        let text = text.as_str().unwrap();
        if !reply.raw.contains(text) {
            return Err(format!("{text} is not in the reply"));
        }
    }
    Ok(())
}

/// `"difference": {"PATH - PATH": NUMBER}`.
fn differences(step: &Value) -> impl Iterator<Item = (&str, &str, i64)> {
    step["difference"].as_object().into_iter().flatten().map(|(paths, wanted)| {
        let (larger, smaller) = paths.split_once(" - ").unwrap();
        (larger, smaller, wanted.as_i64().unwrap())
    })
}

/// Whether an event is the expected one.
///
/// # Errors
/// The first difference.
pub fn check_event(event: &Reply, expected: &Value) -> Comparison {
    if let Some(error) = &event.error {
        return Err(format!("the subscription ended with {error}"));
    }
    holds(&event.parameters, expected, "event")
}

fn same<T>(what: &str, found: T, wanted: T) -> Comparison
where
    T: Copy + PartialEq + std::fmt::Debug,
{
    if found == wanted { Ok(()) } else { Err(format!("{what} is {found:?}, not {wanted:?}")) }
}

fn check_error(wanted: &Value, reply: &Reply) -> Comparison {
    same("the error", reply.error.as_deref(), Some("io.hcn.Service.Failed"))?;
    let parameters = &reply.parameters;
    let code = parameters["hresult"].as_u64().ok_or("no hresult")?;
    same("the code", format!("0x{code:08x}").as_str(), wanted["hresult"].as_str().unwrap())?;
    for member in ["path", "expected"] {
        if let Some(wanted) = wanted.get(member) {
            same(member, &parameters[member], wanted)?;
        }
    }
    if let Some(text) = wanted["text"].as_str() {
        let message = parameters["message"].as_str().unwrap();
        if !message.contains(text) {
            return Err(format!("{text:?} is not in {message:?}"));
        }
    }
    let record = match parameters["record"].as_str() {
        // A front's function may have no place for it.
        None if wanted.get("record") == Some(&Value::Null) => return Ok(()),
        record => record.ok_or("no record")?,
    };
    let record: Value = serde_json::from_str(record).map_err(|error| format!("the record: {error}"))?;
    check_record(&record, code, wanted["record"].as_str())
}

/// How HNS of version 1 refuses: like an ErrorRecord.
fn check_refused(wanted: &Value, response: &Value) -> Comparison {
    let code = response["ErrorCode"].as_u64().ok_or("no ErrorCode")?;
    same("the code", format!("0x{code:08x}").as_str(), wanted["hresult"].as_str().unwrap())?;
    check_record(response, code, wanted["text"].as_str())
}

fn check_record(record: &Value, code: u64, text: Option<&str>) -> Comparison {
    same("Success", &record["Success"], &json!(false))?;
    same("ErrorCode", record["ErrorCode"].as_u64(), Some(code))?;
    let found = record["Error"].as_str().ok_or("no Error")?;
    if let Some(text) = text {
        same("Error", found, text)?;
    }
    if found.ends_with(". ") { Ok(()) } else { Err(format!("Error is {found:?}, which does not end so")) }
}

/// Whether `value` holds what is `wanted`; the first difference otherwise.
///
/// # Errors
/// The first difference.
pub fn holds(value: &Value, wanted: &Value, path: &str) -> Comparison {
    match (value, wanted) {
        (Value::Null, Value::String(any)) if any == "*" => Err(format!("{path} is missing")),
        (_, Value::String(any)) if any == "*" => Ok(()),
        (Value::String(text), Value::String(pattern)) if pattern.contains('*') => {
            let (start, end) = pattern.split_once('*').unwrap();
            if text.len() >= pattern.len() - 1 && text.starts_with(start) && text.ends_with(end) {
                Ok(())
            } else {
                Err(format!("{path} is {text:?}, not {pattern:?}"))
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_members_are_compared_and_arrays_whole() {
        let value = json!({"a": [1, {"b": "text", "c": null}], "d": true});
        for wanted in [
            json!({}),
            json!({"d": true}),
            json!({"a": [1, {"b": "t*t"}]}),
            json!({"a": "*", "!e": 0}),
            json!({"a": [1, {"b": "text*"}]}),
        ] {
            holds(&value, &wanted, "x").unwrap();
        }
        for (wanted, difference) in [
            (json!({"a": [1]}), "x.a is [1,{\"b\":\"text\",\"c\":null}], not [1]"),
            (json!({"e": "*"}), "x.e is missing"),
            (json!({"!d": 0}), "x.d is true, not absent"),
            (json!({"a": [1, {"b": "te*xt*"}]}), "x.a[1].b is \"text\", not \"te*xt*\""),
            (json!({"a": [1, {"b": "text*t"}]}), "x.a[1].b is \"text\", not \"text*t\""),
        ] {
            assert_eq!(holds(&value, &wanted, "x").unwrap_err(), difference);
        }
    }

    #[test]
    fn a_path_leads_through_objects_and_arrays() {
        let value = json!({"a": [{"b": 1}, null]});
        assert_eq!(member_at(&value, "a.0.b"), Some(&json!(1)));
        assert_eq!([member_at(&value, "a.1"), member_at(&value, "a.b"), member_at(&value, "c")], [None; 3]);
    }
}
