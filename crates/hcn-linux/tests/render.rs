//! What a plan would do to nftables, as `nft` itself would print it.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::collections::BTreeSet;

use common::*;
use hcn_dataplane::{Object, Op, Plan};
use hcn_linux::render;
use serde_json::Value;

/// The objects of a listing, without what the kernel numbers.
fn objects(text: &str) -> Vec<Value> {
    let whole: Value = serde_json::from_str(text).unwrap();
    let mut objects = whole["nftables"].as_array().unwrap().clone();
    objects.retain(|object| object.get("metainfo").is_none());
    for object in &mut objects {
        for inner in object.as_object_mut().unwrap().values_mut() {
            inner.as_object_mut().unwrap().remove("handle");
            if inner["family"] == "inet" && inner.get("table").is_none() {
                // The table's owner and persist are not in the crate's types.
                inner.as_object_mut().unwrap().remove("flags");
            } else if inner["flags"].is_string() {
                inner["flags"] = Value::from(vec![inner["flags"].clone()]);
            }
        }
    }
    objects
}

#[test]
fn the_rendered_table_is_what_nft_lists() {
    isolated("the_rendered_table_is_what_nft_lists", || {
        let mut linux = start();
        let rendered = objects(&serde_json::to_string(&render::table()).unwrap());
        let sorted = |list: Vec<Value>| list.iter().map(Value::to_string).collect::<BTreeSet<_>>();
        assert_eq!(sorted(rendered), sorted(objects(&sh("nft -j list table inet hcnd"))));

        done(&mut linux, &create(network()));
        let plan = create(network());
        let added = serde_json::to_value(render::elements(&plan)).unwrap();
        let listed = objects(&sh("nft -j list table inet hcnd"));
        let mut seen = 0;
        for command in added["nftables"].as_array().unwrap() {
            let element = &command["add"]["element"];
            let set = listed.iter().find(|object| object["set"]["name"] == element["name"]).unwrap();
            let present = set["set"]["elem"].as_array().unwrap();
            for wanted in element["elem"].as_array().unwrap() {
                assert!(present.contains(wanted), "{wanted} in {present:?}");
                seen += 1;
            }
        }
        assert_eq!(seen, 4);
    });
}

#[test]
fn nft_accepts_what_is_rendered() {
    isolated("nft_accepts_what_is_rendered", || {
        sh("nft add table inet hcnd");
        let check = |value: &Value| {
            std::fs::write("/run/plan.json", value.to_string()).unwrap();
            sh("nft -j -f /run/plan.json");
        };
        let mut table = serde_json::to_value(render::table()).unwrap();
        for object in table["nftables"].as_array_mut().unwrap() {
            *object = serde_json::json!({ "add": object.clone() });
        }
        check(&table);
        check(&serde_json::to_value(render::elements(&create(network()))).unwrap());
        let masquerades: Vec<Op> = network()
            .into_iter()
            .filter(|object| matches!(object, Object::Home(_) | Object::Masquerade(_)))
            .map(|object| Op::Remove { object, implied: false })
            .collect();
        check(&serde_json::to_value(render::elements(&Plan { ops: masquerades })).unwrap());
        assert!(!sh("nft list table inet hcnd").contains("elements"));
    });
}
