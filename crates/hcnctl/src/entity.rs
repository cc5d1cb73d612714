//! The verbs that are the same for every kind of entity.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use hcn_client::{ErrorClass, Guid, Kind, Raw, Target};
use serde_json::Value;

use crate::arguments::{Get, List, Modify, Remove};
use crate::failure::{Failure, Result};
use crate::output::Format;
use crate::{Context, document, lookup};

/// Prints the entities that match.
pub(crate) fn list(
    context: &mut Context,
    kind: Kind,
    list: &List,
    header: &[&str],
    row: impl Fn(&Value) -> Vec<String>,
) -> Result<()> {
    let documents = matching(context, kind, list)?;
    if context.output.format == Format::Json {
        return Ok(context.output.documents(&documents)?);
    }
    let rows: Vec<Vec<String>> = documents.iter().map(|document| row(&parsed(document))).collect();
    Ok(context.output.table(header, &rows)?)
}

/// The documents of the entities that match.
pub(crate) fn matching(context: &mut Context, kind: Kind, list: &List) -> Result<Vec<Raw>> {
    let ids = context.client.enumerate(kind, Some(&lookup::query(&list.filters)))?;
    lookup::documents(&mut context.client, kind, &ids)
}

/// Prints one entity.
pub(crate) fn get(
    context: &mut Context,
    kind: Kind,
    get: &Get,
    details: impl Fn(&Value) -> Vec<(&'static str, String)>,
) -> Result<()> {
    let id = lookup::find(&mut context.client, kind, &get.which)?;
    let document = lookup::document(&mut context.client, kind, id)?;
    if context.output.format == Format::Json {
        return Ok(context.output.line(document.get())?);
    }
    let document = parsed(&document);
    let mut details = details(&document);
    let policies: Vec<&str> =
        each(&document["Policies"]).filter_map(|policy| policy["Type"].as_str()).collect();
    if matches!(kind, Kind::Network | Kind::Endpoint) {
        details.push(("Policies:", policies.join(", ")));
    }
    if kind != Kind::PortReservation {
        details.push(("Owner:", text(&document["Owner"])));
        details.push(("Version:", text(&document["Version"])));
    }
    if let Some(code) = document["Health"]["Data"]["LastErrorCode"].as_u64().filter(|code| *code != 0) {
        details.push(("Health:", format!("degraded, last error 0x{code:08x}")));
    }
    let rows: Vec<Vec<String>> =
        details.into_iter().map(|(label, value)| vec![label.to_owned(), value]).collect();
    Ok(context.output.table(&[], &rows)?)
}

/// Creates an entity and prints its ID, or its document.
pub(crate) fn create(context: &mut Context, kind: Kind, network: Option<Guid>, document: &str) -> Result<()> {
    let created = context.client.create(kind, None, network.map(Target::Id), document)?;
    let text = match context.output.format {
        Format::Table => created.id.to_string(),
        Format::Json => lookup::document(&mut context.client, kind, created.id)?.get().to_owned(),
    };
    Ok(context.output.line(&text)?)
}

/// Applies a modify request.
pub(crate) fn modify(context: &mut Context, kind: Kind, modify: &Modify) -> Result<()> {
    let request = read_document(&modify.file)?;
    let id = lookup::find(&mut context.client, kind, &modify.which)?;
    Ok(context.client.modify(kind, Target::Id(id), &request)?)
}

/// Applies a modify request that flags were made into.
pub(crate) fn change(
    context: &mut Context,
    kind: Kind,
    id: Guid,
    resource: &str,
    request: &str,
    settings: Option<Raw>,
) -> Result<()> {
    let request = document::request(resource, request, settings);
    Ok(context.client.modify(kind, Target::Id(id), &request)?)
}

/// Deletes entities. Goes on after a failure; the first one decides the exit code.
pub(crate) fn remove(context: &mut Context, kind: Kind, remove: &Remove) -> Result<()> {
    let mut first = None;
    for which in &remove.which {
        let client = &mut context.client;
        let removed = lookup::find(client, kind, which).and_then(|id| Ok(client.delete(kind, id)?));
        if let Err(failure) = removed {
            failure.tell(context.output.format);
            first.get_or_insert(failure.exit_code());
        }
    }
    first.map_or(Ok(()), |exit_code| Err(Failure::Told(exit_code)))
}

/// A document from a file, unchanged; `-` = standard input.
pub(crate) fn read_document(file: &Path) -> Result<String> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    read.map_err(|error| {
        // The exit code of a missing entity is not that of a missing file.
        let class = match error.kind() {
            io::ErrorKind::InvalidData => ErrorClass::Invalid,
            _ => ErrorClass::Failure,
        };
        Failure::new(class, format!("cannot read {}: {error}", file.display()))
    })
}

/// A JSON value from a file, unchanged; `-` = standard input.
pub(crate) fn read_json(file: &Path) -> Result<Raw> {
    Raw::new(read_document(file)?.trim().to_owned()).map_err(|error| {
        Failure::new(ErrorClass::Invalid, format!("{} is not JSON: {error}", file.display()))
    })
}

/// A document as a value; for looking into, not for writing.
pub(crate) fn parsed(document: &Raw) -> Value {
    serde_json::from_str(document.get()).unwrap_or_default()
}

/// The members of an object, byte for byte; none of anything else.
pub(crate) fn members(object: &Raw) -> BTreeMap<String, Raw> {
    serde_json::from_str(object.get()).unwrap_or_default()
}

/// The elements of an array; none of anything else.
pub(crate) fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A scalar as a text; empty when there is none.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// The name of a number that is an index of `names`, else the number.
pub(crate) fn number_named(number: &Value, names: &[&str]) -> String {
    let index = number.as_u64().and_then(|number| usize::try_from(number).ok());
    let name = index.and_then(|index| names.get(index));
    name.map_or_else(|| text(number), |name| (*name).to_owned())
}

/// Texts of an array, joined.
pub(crate) fn joined(value: &Value, member: &str) -> String {
    let texts: Vec<&str> = each(value).filter_map(|element| element[member].as_str()).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_found_whatever_else_there_is() {
        let object = Raw::new(r#"{"A":1.50,"Policies":[{"Type":"ACL"}]}"#.to_owned()).unwrap();
        assert_eq!(members(&object)["A"].get(), "1.50");
        assert!(members(&Raw::of(&json!([1]))).is_empty());
    }

    #[test]
    fn numbers_have_names_as_far_as_they_are_known() {
        let named = |number: Value| number_named(&number, &["zero", "one"]);
        assert_eq!(named(json!(1)), "one");
        assert_eq!(named(json!(2)), "2");
        assert_eq!(named(Value::Null), "");
    }
}
