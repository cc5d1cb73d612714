//! Do the types know all of the contract? `facts/hns-schema.json` lists what the published schema of HNS has; each of it
//! is in the JSON Schemas, under that name and with that type, or in `docs/known-differences.md` with a reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what fails must fail the test, and the figures are wanted"
)]

use std::collections::{BTreeMap, BTreeSet};

use hcn_schema::json_schema;
use serde::Deserialize;
use serde_json::Value;

const FACTS: &str = include_str!("facts/hns-schema.json");
const DIFFERENCES: &str = include_str!("../../../docs/known-differences.md");
/// The section of the differences that lists what is not modelled.
const SECTION: &str = "## Part of the HNS schema, but not of hcnd";

/// Where the published schema says Any, and this project knows more.
const NARROWER: [(&str, &str); 1] = [("NamespaceResource", "Data")];

#[derive(Deserialize)]
struct Facts {
    enums: BTreeMap<String, Vec<Named>>,
    structs: BTreeMap<String, Structure>,
}

#[derive(Deserialize)]
struct Named {
    value: String,
}

#[derive(Deserialize)]
struct Structure {
    parents: Vec<String>,
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    r#type: String,
    many: bool,
}

/// The facts, and what there is to compare them with.
struct Comparison {
    facts: Facts,
    /// Every schema by its name, also those that only occur inside of others.
    schemas: BTreeMap<String, Value>,
    /// What the differences list.
    listed: BTreeSet<String>,
}

/// How many there are of the four things that are counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    enumerations: usize,
    values: usize,
    structures: usize,
    fields: usize,
}

impl Comparison {
    fn new() -> Self {
        let mut schemas = BTreeMap::new();
        for entry in json_schema::all() {
            let schema: Value = serde_json::from_str(&entry.text()).unwrap();
            for (name, part) in schema["$defs"].as_object().into_iter().flatten() {
                schemas.insert(name.clone(), part.clone());
            }
            schemas.insert(entry.name.to_string(), schema);
        }
        Self { facts: serde_json::from_str(FACTS).unwrap(), schemas, listed: listed(DIFFERENCES) }
    }

    /// What hcnd calls a structure of the facts: `_2` marks the second of two structures with one name.
    fn schema(&self, name: &str) -> Option<&Value> {
        self.schemas.get(name.strip_suffix("_2").unwrap_or(name))
    }

    /// The modelled structures that are made of this one, where no document has it by itself.
    fn children(&self, name: &str) -> Vec<&Value> {
        let child = |(_, structure): &(&String, &Structure)| structure.parents.iter().any(|of| of == name);
        let children = self.facts.structs.iter().filter(child);
        children
            .filter(|(child, _)| !self.listed.contains(*child))
            .filter_map(|(child, _)| self.schema(child))
            .collect()
    }

    /// What is wrong with an enumeration.
    fn enumeration(&self, name: &str, values: &[Named]) -> Vec<String> {
        let Some(schema) = self.schemas.get(name) else { return vec![format!("{name} is missing")] };
        let known = names(schema);
        let at = |value: &Named| known.iter().position(|known| *known == value.value);
        let mut wrong: Vec<String> = values
            .iter()
            .filter(|value| at(value).is_none())
            .map(|value| format!("{name} lacks {}", value.value))
            .collect();
        let places: Vec<usize> = values.iter().filter_map(at).collect();
        if !places.is_sorted() {
            wrong.push(format!("{name} has its values in another order"));
        }
        wrong
    }

    /// What is wrong with a structure.
    fn structure(&self, name: &str, structure: &Structure) -> Vec<String> {
        let forms = self.schema(name).map_or_else(|| self.children(name), |schema| vec![schema]);
        if forms.is_empty() {
            return vec![format!("{name} is missing")];
        }
        let mut wrong = Vec::new();
        for schema in forms {
            if schema["type"] != "object" {
                wrong.push(format!("{name} is no object"));
            }
            for field in &structure.fields {
                let Some(property) = schema["properties"].get(&field.name) else {
                    wrong.push(format!("{name} lacks {}", field.name));
                    continue;
                };
                let narrower = field.r#type == "Any" && NARROWER.contains(&(name, &field.name));
                let many = if field.many { "[]" } else { "" };
                let (wanted, found) = (format!("{}{many}", field.r#type), kind(property));
                if found != wanted && !narrower {
                    wrong.push(format!("{name}.{} is {found}, not {wanted}", field.name));
                }
            }
        }
        wrong
    }

    fn count(&self, of: impl Fn(&str) -> bool) -> Figures {
        let mut figures = Figures::default();
        for (_, values) in self.facts.enums.iter().filter(|(name, _)| of(name)) {
            figures.enumerations += 1;
            figures.values += values.len();
        }
        for (_, structure) in self.facts.structs.iter().filter(|(name, _)| of(name)) {
            figures.structures += 1;
            figures.fields += structure.fields.len();
        }
        figures
    }
}

/// The names in the first column of the section's table.
fn listed(differences: &str) -> BTreeSet<String> {
    let (_, section) = differences.split_once(SECTION).expect("known-differences.md has the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The names that an enumeration or a set of flags takes.
fn names(schema: &Value) -> Vec<&str> {
    let forms = schema["anyOf"].as_array().into_iter().flatten();
    let lists = forms.flat_map(|form| [&form["enum"], &form["items"]["enum"]]).filter_map(Value::as_array);
    lists.flatten().filter_map(Value::as_str).collect()
}

/// The type of a property, as the facts write it.
fn kind(property: &Value) -> String {
    if let Some(reference) = property["$ref"].as_str() {
        return reference.trim_start_matches("#/$defs/").to_owned();
    }
    match property["type"].as_str() {
        Some("string") => "string".to_owned(),
        Some("boolean") => "bool".to_owned(),
        Some("integer") => property["format"].as_str().unwrap_or("integer").to_owned(),
        Some("array") => format!("{}[]", kind(&property["items"])),
        Some(other) => other.to_owned(),
        None => "Any".to_owned(),
    }
}

#[test]
fn the_types_know_all_of_the_contract() {
    let comparison = Comparison::new();
    let listed = |name: &str| comparison.listed.contains(name);
    let mut wrong = Vec::new();
    for (name, values) in comparison.facts.enums.iter().filter(|(name, _)| !listed(name)) {
        wrong.extend(comparison.enumeration(name, values));
    }
    for (name, structure) in comparison.facts.structs.iter().filter(|(name, _)| !listed(name)) {
        wrong.extend(comparison.structure(name, structure));
    }
    assert!(wrong.is_empty(), "not as in the facts:\n{}", wrong.join("\n"));

    let all = comparison.count(|_| true);
    let (modelled, left_out) = (comparison.count(|name| !listed(name)), comparison.count(listed));
    println!("{all:?}\nmodelled {modelled:?}\nlisted {left_out:?}");
    assert_eq!(all, Figures { enumerations: 41, values: 187, structures: 114, fields: 554 });
}

#[test]
fn what_the_differences_list_is_there_and_is_not_modelled() {
    let comparison = Comparison::new();
    let facts = &comparison.facts;
    for name in &comparison.listed {
        let known = facts.enums.contains_key(name) || facts.structs.contains_key(name);
        assert!(known, "{name} is in known-differences.md, but not in the facts");
        assert!(!comparison.schemas.contains_key(name), "{name} is modelled: it leaves known-differences.md");
    }
}

#[test]
fn the_list_is_read_from_the_first_column_of_its_section_only() {
    let text = format!(
        "## A\n\n| `a` | b |\n\n{SECTION}\n\n| what | why |\n| --- | --- |\n| `b`, `c` | not `d` |\n\n## E\n\n| `f` |"
    );
    assert_eq!(listed(&text), BTreeSet::from(["b".to_owned(), "c".to_owned()]));
}

#[test]
fn types_are_compared_and_not_only_names() {
    for (schema, expected) in [
        (r#"{"type": "string"}"#, "string"),
        (r##"{"description": "a", "$ref": "#/$defs/Guid"}"##, "Guid"),
        (r#"{"type": "integer", "format": "uint16"}"#, "uint16"),
        (r#"{"description": "a"}"#, "Any"),
        ("true", "Any"),
        (r##"{"type": "array", "items": {"$ref": "#/$defs/Route"}}"##, "Route[]"),
    ] {
        assert_eq!(kind(&serde_json::from_str(schema).unwrap()), expected);
    }
    let mut comparison = Comparison::new();
    let route = comparison.schemas.get_mut("Route").unwrap();
    route["properties"]["Metric"]["format"] = "uint32".into();
    route["properties"].as_object_mut().unwrap().remove("NextHop");
    let wrong = comparison.structure("Route", &comparison.facts.structs["Route"]);
    assert_eq!(wrong, ["Route lacks NextHop", "Route.Metric is uint32, not uint16"]);
    comparison.schemas.get_mut("RuleType").unwrap()["anyOf"][0]["enum"][1] = "Swich".into();
    let wrong = comparison.enumeration("RuleType", &comparison.facts.enums["RuleType"]);
    assert_eq!(wrong, ["RuleType lacks Switch"]);
    assert_eq!(comparison.enumeration("Moon", &[]), ["Moon is missing"]);
}
