//! What nft lists, as far as deciding about packets takes it: base chains, rules, sets.

use std::collections::BTreeMap;

use serde_json::Value;

use hcn_dataplane::Rules;

/// A table or something in it: family and table, as `inet filter`, and the name.
type Place = (String, String);

/// All tables of other programs.
#[derive(Debug, Default)]
pub(in crate::doctor) struct Ruleset {
    pub(super) bases: Vec<Base>,
    chains: BTreeMap<Place, Vec<Rule>>,
    /// Elements of sets and maps; without their elements they are not here.
    sets: BTreeMap<Place, Vec<Value>>,
}

/// A chain that packets come to by themselves.
#[derive(Debug)]
pub(super) struct Base {
    /// Family and table.
    pub(super) table: String,
    pub(super) family: String,
    pub(super) name: String,
    pub(super) hook: String,
    pub(super) priority: i64,
    pub(super) nat: bool,
    /// What reaches its end is dropped.
    pub(super) drops: bool,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) handle: u64,
    pub(super) statements: Vec<Value>,
    /// As nft prints it.
    pub(super) text: String,
}

/// Whether a table, as `inet filter`, is hcnd's own.
pub fn is_own_table(table: &str) -> bool {
    OWN_TABLES.contains(&table)
}

/// The tables that hcnd makes on the host.
const OWN_TABLES: [&str; 6] = [
    "inet hcnd",
    "inet hcnd_nat",
    "inet hcnd_filter",
    "inet hcnd_dip",
    "bridge hcnd_guard",
    "bridge hcnd_dip",
];

impl Ruleset {
    /// Reads listings; what is no JSON of nft's form is passed by.
    pub(in crate::doctor) fn read(rules: &Rules) -> Self {
        let mut ruleset = Self::default();
        for listing in &rules.listings {
            let parsed: Value = serde_json::from_str(listing).unwrap_or_default();
            for object in parsed["nftables"].as_array().into_iter().flatten() {
                ruleset.take(object, rules);
            }
        }
        ruleset
    }

    fn take(&mut self, object: &Value, rules: &Rules) {
        let Some((kind, inner)) = object.as_object().and_then(|object| object.iter().next()) else { return };
        let text = |member: &str| inner[member].as_str().unwrap_or_default().to_owned();
        let table = format!("{} {}", text("family"), text("table"));
        if is_own_table(&table) {
            return;
        }
        match kind.as_str() {
            "chain" => {
                self.chains.entry((table.clone(), text("name"))).or_default();
                if inner["hook"].is_string() {
                    self.bases.push(Base {
                        family: text("family"),
                        name: text("name"),
                        hook: text("hook"),
                        priority: inner["prio"].as_i64().unwrap_or_default(),
                        nat: inner["type"] == "nat",
                        drops: inner["policy"] == "drop",
                        table,
                    });
                }
            }
            "rule" => {
                let handle = inner["handle"].as_u64().unwrap_or_default();
                let statements = inner["expr"].as_array().cloned().unwrap_or_default();
                let printed = rules.texts.get(&(table.clone(), handle)).cloned();
                let text_of_rule = printed.unwrap_or_else(|| inner["expr"].to_string());
                let rule = Rule { handle, statements, text: text_of_rule };
                self.chains.entry((table, text("chain"))).or_default().push(rule);
            }
            "set" | "map" => {
                if let Some(elements) = inner["elem"].as_array() {
                    self.sets.insert((table, text("name")), elements.clone());
                }
            }
            _ => {}
        }
    }

    pub(super) fn chain(&self, table: &str, name: &str) -> &[Rule] {
        self.chains.get(&(table.to_owned(), name.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The elements of a set; none where they are not known.
    pub(super) fn set(&self, table: &str, name: &str) -> Option<&[Value]> {
        self.sets.get(&(table.to_owned(), name.to_owned())).map(Vec::as_slice)
    }
}
