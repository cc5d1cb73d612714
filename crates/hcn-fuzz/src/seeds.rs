//! Writes what the fuzzer starts from, made of the conformance cases: hcn-fuzz-seeds CASES FOLDER. Each call of a case
//! becomes an entry of the targets that it is about, with the entities of the targets' world in place of the case's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "nobody runs it but scripts/fuzz")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hcn_fuzz::world::{World, id};
use serde_json::Value;

fn main() {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [cases, folder] = arguments.as_slice() else { panic!("hcn-fuzz-seeds CASES FOLDER") };
    let mut seeds = Seeds::default();
    for case in fs::read_dir(cases).expect("the folder of cases") {
        let text = fs::read_to_string(case.unwrap().path()).unwrap();
        let case: Value = serde_json::from_str(&text).unwrap();
        case["steps"].as_array().into_iter().flatten().for_each(|step| seeds.take(step));
    }
    seeds.records();
    seeds.write(folder);
}

/// Entries, by target.
#[derive(Default)]
struct Seeds(BTreeSet<(&'static str, Vec<u8>)>);

impl Seeds {
    fn add(&mut self, target: &'static str, head: &str, document: &str) {
        self.0.insert((target, [head, document].concat().into_bytes()));
    }

    fn take(&mut self, step: &Value) {
        let Some((kind, verb)) = step["call"].as_str().and_then(|call| call.split_once('.')) else { return };
        let with = filled(&step["with"]);
        let message = serde_json::json!({"method": format!("io.hcn.{kind}.{verb}"), "parameters": with});
        self.add("wire", "\u{40}", &(message.to_string() + "\0"));
        let text = |member: &str| match &with[member] {
            Value::Null => with["text"].as_str().unwrap_or_default().to_owned(),
            value => value.to_string(),
        };
        if (kind, verb) == ("V1", "Call") {
            let method = match with["method"].as_str() {
                Some("POST") => "1",
                Some("DELETE") => "2",
                _ => "0",
            };
            let (path, body) = (with["path"].as_str().unwrap_or_default(), text("request"));
            self.add("calls", &format!("H{method}"), &format!("{path}\n{body}"));
            if method == "1" {
                let kinds = [("/networks", "0"), ("/endpoints", "1"), ("/namespaces", "3"), ("/policylists", "4")];
                for (_, kind) in kinds.iter().filter(|(start, _)| path.starts_with(start)) {
                    self.add("create", kind, &body);
                }
            }
            return;
        }
        let targets: &[&str] = match kind {
            "Network" => &["0", "6"],
            "Endpoint" => &["1", "2", "7"],
            "Namespace" => &["3"],
            "LoadBalancer" => &["4"],
            "SdnRoute" => &["5"],
            "GuestNetworkService" => &["8"],
            "PortReservation" => &["9"],
            _ => return,
        };
        for target in targets {
            match verb {
                "Create" => self.add("create", target, &text("settings")),
                "Modify" => self.add("calls", &format!("M{target}"), &text("settings")),
                "Query" => self.add("calls", &format!("Q{target}"), &text("query")),
                "Enumerate" => self.add("calls", &format!("E{target}"), &text("query")),
                "Explain" => self.add("calls", &format!("X{target}"), &text("query")),
                _ => {}
            }
        }
    }

    /// The records of the targets' world, each alone and all of them.
    fn records(&mut self) {
        let world = World::new();
        let mut all = Vec::new();
        for entity in world.published.entities() {
            let (key, value) = hcn_store::fuzzing::encode(&entity);
            let record = [key, value, vec![0]].concat();
            all.extend_from_slice(&record);
            self.0.insert(("store", record));
        }
        self.0.insert(("store", all));
    }

    fn write(&self, folder: &Path) {
        for (number, (target, seed)) in self.0.iter().enumerate() {
            let folder = folder.join(target);
            fs::create_dir_all(&folder).expect("a folder for seeds");
            fs::write(folder.join(format!("seed-{number:05}")), seed).expect("a seed");
        }
    }
}

/// The variables of a case replaced by entities of the targets' world, by their usual names.
fn filled(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let mut text = text.clone();
            while let Some(start) = text.find("${")
                && let Some(length) = text[start..].find('}')
            {
                let name = text[start + 2..start + length].to_owned();
                let index = match name.as_bytes() {
                    [b'E' | b'e', b'2' | b'b', ..] => 2,
                    [b'E' | b'e', ..] => 1,
                    [b'N', b'S' | b's', ..] | [b'S', ..] => 3,
                    [b'L' | b'B', ..] => 4,
                    [b'R', ..] => 5,
                    _ => 0,
                };
                text.replace_range(start..=start + length, &id(index).to_string());
            }
            Value::String(text)
        }
        Value::Array(values) => values.iter().map(filled).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), filled(value))).collect()
        }
        other => other.clone(),
    }
}
