//! Does the kernel hold what is printed as a plan? The rules are written raw and read back with `nft`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::collections::BTreeSet;

use hcn_dataplane::{Home, Masquerade, Object, Op, Plan};
use hcn_linux::render;
use hcn_tests::client::{Client, DUAL, network_document};
use hcn_tests::kernel::ruleset;
use hcn_tests::{Sandbox, in_sandbox, run_ok};
use serde_json::{Value, json};

/// Maps that nft's JSON has no words for, so that they are not rendered.
const UNTOLD: [&str; 5] = ["slots4", "slots6", "portslots4", "portslots6", "dispatch"];

/// The elements of all sets, each with its set, and everything else without its number. Read as plain JSON: nft lists
/// more than the crate has types for.
fn objects(listing: &Value) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut others, mut elements) = (BTreeSet::new(), BTreeSet::new());
    for object in listing["nftables"].as_array().unwrap() {
        let mut object = object.get("add").unwrap_or(object).clone();
        let (kind, inner) = object.as_object_mut().unwrap().iter_mut().next().unwrap();
        let name = inner["name"].clone();
        if kind == "metainfo" || UNTOLD.iter().any(|untold| name == *untold) {
            continue;
        }
        let (kind, inner) = (kind.clone(), inner.as_object_mut().unwrap());
        inner.remove("handle");
        for element in inner.remove("elem").iter().flat_map(|elem| elem.as_array().unwrap()) {
            elements.insert(shown(name.as_str().unwrap(), element));
        }
        if kind == "table" {
            // The table's owner and persist are not in the crate's types.
            inner.remove("flags");
        } else if let Some(flags @ Value::String(_)) = inner.get_mut("flags") {
            *flags = json!([flags]);
        }
        if kind != "element" {
            others.insert(object.to_string());
        }
    }
    (others, elements)
}

fn shown(set: &str, element: &Value) -> String {
    format!("{set}: {element}")
}

/// What nft lists of hcnd's table must be the rendered table with these masquerades in it.
fn assert_listed(masquerades: &[(&str, &str)]) {
    let text = run_ok(&["nft", "-j", "list", "table", "inet", "hcnd"]);
    let listed: Value = serde_json::from_str(&text).unwrap();
    let create = |&(network, prefix): &(&str, &str)| {
        let bridge = format!("hcn{}", network[..8].to_lowercase());
        let prefix = prefix.parse().unwrap();
        [Object::Home(Home { prefix, bridge }), Object::Masquerade(Masquerade { prefix })].map(Op::Create)
    };
    let ops = masquerades.iter().flat_map(create).collect();
    let (table, _) = objects(&render::table());
    let (_, elements) = objects(&json!(render::elements(&Plan { ops })));
    assert_eq!(elements.len(), 2 * masquerades.len());
    assert_eq!(objects(&listed), (table, elements));
    // Both forms of the whole ruleset can be listed too.
    assert!(!ruleset().is_empty());
}

#[test]
fn the_kernel_holds_what_is_rendered() {
    in_sandbox!(Sandbox::new(), { holds_what_is_rendered() });
}

#[test]
fn the_kernel_of_an_ordinary_user_holds_what_is_rendered() {
    in_sandbox!(Sandbox::as_ordinary_user(), { holds_what_is_rendered() });
}

fn holds_what_is_rendered() {
    let mut client = Client::new();
    assert_listed(&[]);
    let first = client.network(&DUAL);
    assert_listed(&[(&first, DUAL[0]), (&first, DUAL[1])]);
    let second = client.network(&["198.51.100.0/24"]);
    assert_listed(&[(&first, DUAL[0]), (&first, DUAL[1]), (&second, "198.51.100.0/24")]);
    // Endpoints need no elements.
    client.container(&second, &json!({}));
    client.delete("Network", &first);
    assert_listed(&[(&second, "198.51.100.0/24")]);
    client.delete("Network", &second);
    assert_listed(&[]);
}

#[test]
fn neighbouring_prefixes_are_told_apart() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let prefixes: Vec<String> = (0..8).map(|number| format!("10.0.{number}.0/24")).collect();
        let networks: Vec<String> =
            prefixes.iter().map(|prefix| client.network(&[prefix.as_str()])).collect();
        let pairs: Vec<(&str, &str)> =
            networks.iter().zip(&prefixes).map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_listed(&pairs);
        client.delete("Network", pairs[3].0);
        client.delete("Network", pairs[4].0);
        assert_listed(&[&pairs[..3], &pairs[5..]].concat());
    });
}

#[test]
fn tables_of_others_are_left_alone() {
    in_sandbox!(Sandbox::new(), {
        run_ok(&["nft", "add table ip theirs; add chain ip theirs c; add rule ip theirs c counter accept"]);
        let theirs = || run_ok(&["nft", "list", "table", "ip", "theirs"]);
        let before = theirs();
        let mut client = Client::new();
        let network = client.ok("Network.Create", &json!({"settings": network_document(&DUAL)}));
        client.delete("Network", network["id"].as_str().unwrap());
        assert_eq!(theirs(), before);
    });
}
