//! What the fuzzer starts from, made of the conformance cases: each call of a case becomes an entry of the targets that it
//! is about, with the entities of the targets' world in place of the case's own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::world::{World, filled};

/// Writes the seeds of all targets below a folder.
pub fn write(cases: &Path, folder: &Path) {
    let mut seeds = Seeds::default();
    for case in fs::read_dir(cases).expect("the folder of cases") {
        let text = fs::read_to_string(case.expect("a case").path()).expect("a case");
        let case: Value = serde_json::from_str(&text).expect("a case is JSON");
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
        self.by_c(kind, verb, &with);
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
                let kinds =
                    [("/networks", "0"), ("/endpoints", "1"), ("/namespaces", "3"), ("/policylists", "4")];
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

    /// The same call as a C program makes it: the function, an ID where it takes one, the text, a place for the record;
    /// handles are the first that was given, which there is none of yet.
    fn by_c(&mut self, kind: &str, verb: &str, with: &Value) {
        let kinds = ["Network", "Endpoint", "Namespace", "LoadBalancer", "SdnRoute", "GuestNetworkService"];
        let Some(kind) = kinds.iter().position(|known| *known == kind) else { return };
        let text = |member: &str| {
            let text = with["text"].as_str().map_or_else(|| with[member].to_string(), str::to_owned);
            let units: Vec<u16> = text.encode_utf16().collect();
            let length = u16::try_from(units.len()).unwrap_or_default();
            [
                &[3][..],
                &length.to_le_bytes(),
                &units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<_>>(),
            ]
            .concat()
        };
        let function = |number: u8| vec![kind as u8 * 16 + number];
        let open = [function(2), vec![1; 18]].concat();
        let seed = match verb {
            "Create" if kind == 1 => {
                [vec![2], vec![1; 18], function(1), vec![0], vec![1; 17], text("settings"), vec![1]].concat()
            }
            "Create" => [function(1), vec![1; 17], text("settings"), vec![1]].concat(),
            "Modify" => [open, function(3), vec![0], text("settings"), vec![1]].concat(),
            "Query" => [open, function(4), vec![0], text("query"), vec![1, 1], function(6), vec![0]].concat(),
            "Enumerate" => [function(0), text("query"), vec![1, 1]].concat(),
            _ => return,
        };
        self.0.insert(("c", seed));
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
