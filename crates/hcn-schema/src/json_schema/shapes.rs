//! The schema of each kind of property; `document!` names these functions.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::enums::{Enumeration, FlagSet};

/// The lines of a doc comment as one text.
fn prose(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// Gives the schema of a type.
pub(crate) type Make = fn(&mut SchemaGenerator) -> Schema;

/// A property of a structure.
pub(crate) struct Property {
    /// Its name.
    pub(crate) name: &'static str,
    /// The names that it has besides.
    pub(crate) aliases: &'static [&'static str],
    /// Its doc comment, line by line.
    pub(crate) doc: &'static [&'static str],
    /// What it holds.
    pub(crate) make: Make,
}

/// A structure, which is all that `document!` makes.
pub(crate) fn object(doc: &[&str], properties: &[Property], generator: &mut SchemaGenerator) -> Schema {
    let mut object = Object::new(doc);
    for property in properties {
        object.property(property.name, property.aliases, property.doc, (property.make)(generator));
    }
    object.into()
}

/// The schema of an object, being written.
pub(crate) struct Object {
    description: String,
    properties: Map<String, Value>,
    conditions: Vec<Value>,
}

impl Object {
    pub(crate) fn new(doc: &[&str]) -> Self {
        Self { description: prose(doc), properties: Map::new(), conditions: Vec::new() }
    }

    /// Adds a property, and the names that it has besides.
    pub(crate) fn property(&mut self, name: &str, aliases: &[&str], doc: &[&str], mut schema: Schema) {
        for alias in aliases {
            let mut schema = schema.clone();
            schema.insert("description".to_owned(), format!("Another name of `{name}`.").into());
            schema.insert("deprecated".to_owned(), true.into());
            self.properties.insert((*alias).to_owned(), schema.to_value());
        }
        schema.insert("description".to_owned(), prose(doc).into());
        self.properties.insert(name.to_owned(), schema.to_value());
    }

    /// Says what `property` is where `tag` has this value.
    pub(crate) fn condition(&mut self, tag: &str, value: &str, property: &str, schema: Schema) {
        self.conditions.push(json!({
            "if": {"properties": {tag: {"const": value}}, "required": [tag]},
            "then": {"properties": {property: schema.to_value()}},
        }));
    }
}

impl From<Object> for Schema {
    fn from(object: Object) -> Self {
        let mut schema = json_schema!({
            "description": object.description,
            "type": "object",
            "properties": object.properties,
        });
        if !object.conditions.is_empty() {
            schema.insert("allOf".to_owned(), object.conditions.into());
        }
        schema
    }
}

/// A type that has a schema of its own.
pub(crate) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// An array of them.
pub(crate) fn list_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": of::<T>(generator)})
}

pub(crate) fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string"})
}

pub(crate) fn texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string"}})
}

pub(crate) fn boolean(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "boolean"})
}

pub(crate) fn any(_: &mut SchemaGenerator) -> Schema {
    true.into()
}

pub(crate) fn anys(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": true})
}

/// Integers that documents hold.
pub(crate) trait Integer {
    const FORMAT: &'static str;
    const MAX: u64;
}

impl Integer for u8 {
    const FORMAT: &'static str = "uint8";
    const MAX: u64 = 0xff;
}
impl Integer for u16 {
    const FORMAT: &'static str = "uint16";
    const MAX: u64 = 0xffff;
}
impl Integer for u32 {
    const FORMAT: &'static str = "uint32";
    const MAX: u64 = 0xffff_ffff;
}
impl Integer for u64 {
    const FORMAT: &'static str = "uint64";
    const MAX: u64 = Self::MAX;
}

pub(crate) fn integer<T: Integer>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": T::FORMAT, "minimum": 0, "maximum": T::MAX})
}

/// The names of an enumeration and, in the same order, its numbers; first what documents carry.
pub(crate) fn enumeration<T: Enumeration>(doc: &[&str]) -> Schema {
    let names: Vec<&str> = T::VALUES.iter().map(|(_, name, _)| *name).collect();
    let numbers: Vec<u64> = T::VALUES.iter().map(|(.., number)| *number).collect();
    let mut forms =
        vec![json!({"type": "string", "enum": names}), json!({"type": "integer", "enum": numbers})];
    if T::AS_NUMBER {
        forms.reverse();
    }
    json_schema!({"description": prose(doc), "anyOf": forms})
}

/// A number, names in a list, or names in one text.
pub(crate) fn flag_set<T: FlagSet>(doc: &[&str]) -> Schema {
    let names: Vec<&str> = T::NAMES.iter().map(|(name, _)| *name).collect();
    let bits: Vec<String> = T::NAMES.iter().map(|(name, bit)| format!("{name} {bit}")).collect();
    json_schema!({
        "description": format!("{} Bits: {}.", prose(doc), bits.join(", ")),
        "anyOf": [
            {"type": "integer", "format": u32::FORMAT, "minimum": 0, "maximum": <u32 as Integer>::MAX},
            {"type": "array", "items": {"type": "string", "enum": names}},
            {"type": "string", "description": "Names, separated by commas."},
        ],
    })
}
