//! The nftables part of a plan as nft's own JSON: for people and for tests that hold it against what
//! `nft -j list table inet hcnd` prints. The kernel is never written this way.

mod affinity;
mod elements;
mod rules;

use std::collections::HashSet;

use hcn_dataplane::{Op, Plan};
use nftables::batch::Batch;
use nftables::schema::{Chain, Map, NfListObject, Nftables, Set, SetFlag, SetType, SetTypeValue, Table};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::{Value, json};

use crate::nft::{TABLE, filter, maps, services, shards, visits};

/// The table as it is from the start: chains, sets, maps and the rules. Two kinds of map are missing, since nft's JSON
/// has no words for them: those that give an address with a port, and that of verdicts.
pub fn table() -> Value {
    let mut table = serde_json::to_value(skeleton()).unwrap_or_default();
    let rules = table["nftables"].as_array_mut().into_iter().flatten();
    let statements = rules.filter_map(|object| object.pointer_mut("/rule/expr")?.as_array_mut()).flatten();
    // nft has words without anything to say as objects, too.
    for statement in statements.filter(|statement| statement.as_str() == Some("notrack")) {
        *statement = json!({"notrack": null});
    }
    table["nftables"].as_array_mut().into_iter().for_each(|objects| objects.extend(affinity::rules()));
    table
}

fn skeleton() -> Nftables<'static> {
    let mut batch = Batch::new();
    batch.add_obj(NfListObject::Table(Table { family: NfFamily::INet, name: TABLE.into(), handle: None }));
    maps::all().iter().filter_map(collection).for_each(|set| batch.add_obj(set));
    let hooked = [
        ("prerouting", NfChainType::NAT, NfHook::Prerouting, -100),
        ("output", NfChainType::NAT, NfHook::Output, -100),
        ("postrouting", NfChainType::NAT, NfHook::Postrouting, 100),
        (shards::RAW, NfChainType::Filter, NfHook::Prerouting, -300),
        (filter::FORWARD, NfChainType::Filter, NfHook::Forward, 0),
        (filter::INPUT, NfChainType::Filter, NfHook::Input, 0),
        (filter::OUTPUT, NfChainType::Filter, NfHook::Output, 0),
    ];
    for (name, kind, hook, priority) in hooked {
        batch.add_obj(NfListObject::Chain(Chain {
            _type: Some(kind),
            hook: Some(hook),
            prio: Some(priority),
            policy: Some(NfChainPolicy::Accept),
            ..chain(name)
        }));
    }
    let plain = [
        filter::LEAVING,
        shards::CROSSING,
        visits::VISITING,
        visits::CALLING,
        services::TRANSLATED,
        services::HAIRPIN,
    ]
    .map(str::to_owned);
    let codes = services::Code::all().into_iter().map(services::Code::chain);
    let codes = codes.chain(crate::nft::affinity::chains());
    plain.into_iter().chain(codes).for_each(|name| batch.add_obj(NfListObject::Chain(chain(&name))));
    rules::all().into_iter().for_each(|rule| batch.add_obj(rule));
    batch.to_nftables()
}

fn chain(name: &str) -> Chain<'static> {
    Chain {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: name.to_owned().into(),
        _type: None,
        hook: None,
        prio: None,
        policy: None,
        ..Chain::default()
    }
}

/// A set or a map, if it can be told.
fn collection(set: &maps::Set) -> Option<NfListObject<'static>> {
    let name = set.name.clone().into();
    let set_type = composed(&set.key);
    Some(match &set.data {
        None => NfListObject::Set(Box::new(Set {
            family: NfFamily::INet,
            table: TABLE.into(),
            name,
            set_type,
            flags: set.interval.then(|| HashSet::from([SetFlag::Interval])),
            ..Set::default()
        })),
        Some(maps::Data::Values(types)) if types.len() == 1 => NfListObject::Map(Box::new(Map {
            family: NfFamily::INet,
            table: TABLE.into(),
            name,
            set_type,
            map: composed(types),
            flags: set.timeout.map(|_| HashSet::from([SetFlag::Timeout])),
            timeout: set.timeout.map(|timeout| timeout.as_secs() as u32),
            gc_interval: set.timeout.map(|_| maps::COLLECTED.as_secs() as u32),
            size: set.timeout.map(|_| maps::MOST_LEARNED),
            ..Map::default()
        })),
        Some(_) => return None,
    })
}

fn composed(types: &[maps::Type]) -> SetTypeValue<'static> {
    let named = |part: &maps::Type| match part {
        maps::Type::Ipv4 => SetType::Ipv4Addr,
        maps::Type::Ipv6 => SetType::Ipv6Addr,
        maps::Type::Protocol => SetType::InetProto,
        maps::Type::Port => SetType::InetService,
        maps::Type::Mark => SetType::Mark,
        maps::Type::Mac => SetType::EtherAddr,
        maps::Type::Ifname => SetType::Ifname,
    };
    match types {
        [single] => SetTypeValue::Single(named(single)),
        several => SetTypeValue::Concatenated(several.iter().map(named).collect()),
    }
}

/// What a plan adds to the table's sets and takes from them, in its order; without what the table is told without.
pub fn elements(plan: &Plan) -> Nftables<'static> {
    let mut batch = Batch::new();
    for op in &plan.ops {
        match op {
            Op::Create(object) => elements::of(object).into_iter().for_each(|element| batch.add(element)),
            Op::Remove { object, .. } => {
                elements::of(object).into_iter().for_each(|element| batch.delete(element));
            }
            Op::Change { from, to } => {
                let (before, after) = (elements::of(from), elements::of(to));
                let gone = before.iter().filter(|element| !after.contains(element));
                gone.for_each(|element| batch.delete(element.clone()));
                let come = after.iter().filter(|element| !before.contains(element));
                come.for_each(|element| batch.add(element.clone()));
            }
        }
    }
    batch.to_nftables()
}
