//! The rules of session affinity. nft's JSON has no words for statements on maps and lists them as text, which the types
//! of the rest have no place for.

use serde_json::{Value, json};

use crate::nft::TABLE;
use crate::nft::affinity::{SEED, draw, recall, send};
use crate::nft::services::{HIGHEST_LEVEL, NO_BACKEND, draws};

const FAMILIES: [(&str, char, &str); 2] = [("ip", '4', "ipv4"), ("ip6", '6', "ipv6")];

pub(super) fn rules() -> Vec<Value> {
    let mut rules = Vec::new();
    for any_address in [false, true] {
        let (recall, send) = (recall(any_address), send(any_address));
        for family in FAMILIES {
            let (_, suffix, _) = family;
            let mut known = group(family, any_address);
            known.extend([noted(&client(family), &format!("learned{suffix}")), learn(family)]);
            rules.push(rule(&recall, &known));
        }
        rules.extend(FAMILIES.map(|family| rule(&recall, &sent(family, any_address))));
        for family in FAMILIES {
            let (header, suffix, _) = family;
            let mut forgotten = group(family, any_address);
            let text = format!("delete @learned{suffix} {{ meta priority . {header} saddr : 0x00000000 }}");
            forgotten.push(Value::from(text));
            rules.push(rule(&recall, &forgotten));
        }
        rules.extend(FAMILIES.map(|family| rule(&send, &sent(family, any_address))));
        rules.push(rule(&send, &[json!({"goto": {"target": NO_BACKEND}})]));
    }
    for level in 0..=HIGHEST_LEVEL {
        for family in FAMILIES {
            for (number, modulus) in (1..).zip(draws(level)) {
                let source = payload(family.0, "saddr");
                let slot =
                    json!({"jhash": {"mod": modulus, "seed": SEED.wrapping_mul(number), "expr": source}});
                let statements =
                    [noted(&[priority(), slot], "members"), learn(family), json!({"return": null})];
                rules.push(rule(&draw(level), &statements));
            }
        }
    }
    rules
}

fn rule(chain: &str, statements: &[Value]) -> Value {
    json!({"rule": {"family": "inet", "table": TABLE, "chain": chain, "expr": statements}})
}

fn of_family((_, _, protocol): (&str, char, &str)) -> Value {
    json!({"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": protocol}})
}

fn payload(header: &str, field: &str) -> Value {
    json!({"payload": {"protocol": header, "field": field}})
}

fn priority() -> Value {
    json!({"meta": {"key": "priority"}})
}

fn client((header, ..): (&str, char, &str)) -> Vec<Value> {
    vec![priority(), payload(header, "saddr")]
}

fn frontend((header, ..): (&str, char, &str), any_address: bool) -> Vec<Value> {
    let mut key = vec![json!({"meta": {"key": "l4proto"}}), payload("th", "dport")];
    if !any_address {
        key.insert(1, payload(header, "daddr"));
    }
    key
}

fn mapped(key: &[Value], map: &str) -> Value {
    json!({"map": {"key": {"concat": key}, "data": format!("@{map}")}})
}

fn noted(key: &[Value], map: &str) -> Value {
    json!({"mangle": {"key": priority(), "value": mapped(key, map)}})
}

fn group(family: (&str, char, &str), any_address: bool) -> Vec<Value> {
    let groups = format!("{}{}", if any_address { "portgroups" } else { "groups" }, family.1);
    // nft leaves out what a field of the header says already.
    let mut statements = if any_address { vec![of_family(family)] } else { Vec::new() };
    statements.push(noted(&frontend(family, any_address), &groups));
    statements
}

fn learn((header, suffix, _): (&str, char, &str)) -> Value {
    Value::from(format!("update @learned{suffix} {{ meta priority . {header} saddr : meta priority }}"))
}

fn sent(family: (&str, char, &str), any_address: bool) -> Vec<Value> {
    let slots = format!("{}{}", if any_address { "portslots" } else { "slots" }, family.1);
    let mut key = frontend(family, any_address);
    key.push(priority());
    let reset = json!({"mangle": {"key": priority(), "value": "none"}});
    vec![of_family(family), reset, json!({"dnat": {"family": family.0, "addr": mapped(&key, &slots)}})]
}
