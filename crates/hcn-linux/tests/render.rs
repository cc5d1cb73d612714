//! What a plan would do to nftables, as `nft` itself would print it.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use hcn_dataplane::{Barrier, HostSide, Object, Op, Plan, Protocol, Source, Ways};
use hcn_linux::render;
use serde_json::Value;
use traffic::stick;

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

/// What nft's JSON has no words for, so that it is not rendered.
const UNTOLD: [&str; 5] = ["slots4", "slots6", "portslots4", "portslots6", "dispatch"];

/// The rules of each chain, in order.
fn rules(objects: &[Value]) -> BTreeMap<String, Vec<Value>> {
    let mut chains: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for rule in objects.iter().filter_map(|object| object.get("rule")) {
        chains.entry(rule["chain"].as_str().unwrap().to_owned()).or_default().push(rule["expr"].clone());
    }
    chains
}

#[test]
fn the_rendered_table_is_what_nft_lists() {
    isolated("the_rendered_table_is_what_nft_lists", || {
        let mut linux = start();
        let rendered = objects(&render::table().to_string());
        let mut listed = objects(&sh("nft -j list table inet hcnd"));
        let (wanted, present) = (rules(&rendered), rules(&listed));
        for (chain, rules) in &wanted {
            assert_eq!(Some(rules), present.get(chain), "{chain}");
        }
        assert_eq!(wanted.len(), present.len());
        let untold = |object: &Value| UNTOLD.iter().any(|name| object["map"]["name"] == *name);
        assert_eq!(listed.iter().filter(|object| untold(object)).count(), UNTOLD.len());
        let slots = |object: &&Value| object["map"]["map"] == "ipv4_addr . inet_service";
        assert_eq!(listed.iter().filter(slots).count(), 2);
        listed.retain(|object| !untold(object));
        let sorted = |list: Vec<Value>| list.iter().map(Value::to_string).collect::<BTreeSet<_>>();
        assert_eq!(sorted(rendered), sorted(listed));

        let service = |address: &str, source| {
            let mut service =
                traffic::service(Protocol::Tcp, (address, 80), &["10.7.0.2:80".parse().unwrap()]);
            service.from_host = true;
            service.source = source;
            Object::Service(service)
        };
        let mut objects_of_all_kinds = network();
        objects_of_all_kinds.extend([
            Object::Barrier(Barrier { bridge: BRIDGE.into(), host: HostSide::Closed, ways: Ways::Closed }),
            service("10.9.0.1", Source::Client),
            service("10.9.0.2", Source::Masquerade),
            service("10.9.0.3", Source::Address("10.7.0.1".parse().unwrap())),
            service("0.0.0.0", Source::Masquerade),
        ]);
        let mut internal = traffic::service(Protocol::Udp, ("fd99::1", 53), &[]);
        internal.only_from = vec![BRIDGE.into()];
        objects_of_all_kinds.push(Object::Service(internal));
        for (group, address) in [(1, "10.9.0.4"), (2, "0.0.0.0")] {
            let backends = ["10.7.0.2:80".parse().unwrap(), "10.7.0.3:80".parse().unwrap()];
            let mut sticky = traffic::service(Protocol::Udp, (address, 80), &backends);
            objects_of_all_kinds.push(stick(&mut sticky, group));
            sticky.source = Source::Masquerade;
            objects_of_all_kinds.push(Object::Service(sticky));
        }
        let plan = create(objects_of_all_kinds);
        done(&mut linux, &plan);
        let added = serde_json::to_value(render::elements(&plan)).unwrap();
        let listed = objects(&sh("nft -j list table inet hcnd"));
        let mut seen = 0;
        for command in added["nftables"].as_array().unwrap() {
            let element = &command["add"]["element"];
            let named = |kind: &str, object: &Value| object[kind]["name"] == element["name"];
            let set = listed.iter().find(|object| named("set", object) || named("map", object)).unwrap();
            let present = set.get("set").or(set.get("map")).unwrap()["elem"].as_array().unwrap();
            for wanted in element["elem"].as_array().unwrap() {
                assert!(present.contains(wanted), "{wanted} in {present:?}");
                seen += 1;
            }
        }
        // Four of networks, three of the barrier, three of each service from the host, two of the internal
        // one, three of those that clients stay with and two of their members.
        assert_eq!(seen, 4 + 3 + 4 * 3 + 2 + 2 * (3 + 2));
        let present: usize = listed
            .iter()
            .filter(|object| !untold(object))
            .map(|object| {
                let set = object.get("set").or(object.get("map"));
                set.and_then(|set| set["elem"].as_array()).map_or(0, Vec::len)
            })
            .sum();
        assert_eq!(present, seen, "and there is nothing else");
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
        let mut table = render::table();
        let objects = table["nftables"].as_array_mut().unwrap();
        // Rules that need the untold maps; and nft takes no original port into a key, nor a mark for a priority, though it
        // lists both.
        objects.retain(|object| {
            let text = object.to_string();
            !UNTOLD.iter().any(|name| text.contains(&format!("@{name}")))
                && !text.contains("proto-dst")
                && !text.contains("\"mangle\":{\"key\":{\"meta\":{\"key\":\"priority\"}},\"value\":{\"map\"")
        });
        for object in objects {
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
