//! The rules of the table, written as nft lists them.

use std::borrow::Cow;
use std::collections::HashSet;

use nftables::expr::{
    CT, CTDir, Expression, Fib, FibFlag, FibResult, Map, Meta, MetaKey, NamedExpression, NgMode, Numgen,
    Payload, PayloadField, Prefix,
};
use nftables::schema::{NfListObject, Rule};
use nftables::stmt::{
    JumpTarget, Mangle, Match, NAT, NATFamily, Operator, Reject, RejectType, Statement, VerdictMap,
};
use nftables::types::{NfFamily, RejectCode};

use crate::nft::TABLE;
use crate::nft::affinity::{draw, recall, send};
use crate::nft::filter::{FORWARD, INPUT, LEAVING, OUTPUT};
use crate::nft::services::{Code, HAIRPIN, TRANSLATED, draws};
use crate::nft::shards::{CROSSING, RAW};
use crate::nft::visits::{CALLING, VISITING};

type Expr = Expression<'static>;
type Stmt = Statement<'static>;

/// The families as nft writes them: of headers, of sets' names, and of `meta nfproto`.
const FAMILIES: [(&str, char, &str); 2] = [("ip", '4', "ipv4"), ("ip6", '6', "ipv6")];

/// All rules; those of one chain in their order.
pub(super) fn all() -> Vec<NfListObject<'static>> {
    let mut rules = entry();
    rules.extend(Code::all().into_iter().flat_map(choice));
    rules.extend(sources());
    rules.push(rule("postrouting", [is(meta(MetaKey::Oifname), "lo"), Statement::Accept(None)]));
    let translated = matched(Operator::IN, conntrack("status", None), string("dnat"));
    rules.push(rule("postrouting", [translated, jump(TRANSLATED)]));
    for (header, suffix, _) in FAMILIES {
        let both = concat([payload(header, "saddr"), meta(MetaKey::Oifname)]);
        rules.push(rule("postrouting", [is(both, &format!("@own{suffix}")), Statement::Accept(None)]));
        let source = is(payload(header, "saddr"), &format!("@masq{suffix}"));
        rules.push(rule("postrouting", [source, Statement::Masquerade(None)]));
    }
    rules.extend(filter());
    rules.extend(visits());
    rules.extend(shards());
    rules
}

fn filter() -> Vec<NfListObject<'static>> {
    let (input, output) = (|| meta(MetaKey::Iifname), || meta(MetaKey::Oifname));
    let inside = is(concat([input(), output()]), "@inside");
    vec![
        rule(FORWARD, [is(input(), "@closed"), jump(LEAVING)]),
        rule(FORWARD, [is(output(), "@closed"), jump(LEAVING)]),
        rule(LEAVING, [inside, Statement::Accept(None)]),
        rule(LEAVING, [Statement::Drop(None)]),
        rule(INPUT, [is(input(), "@sealed"), Statement::Drop(None)]),
        rule(OUTPUT, [is(output(), "@sealed"), Statement::Drop(None)]),
    ]
}

fn visits() -> Vec<NfListObject<'static>> {
    let walled = |chain: &str, key: MetaKey, to: &str| rule(chain, [is(meta(key), "@walled"), jump(to)]);
    let neighbours = |chain: &'static str| {
        ["nd-neighbor-solicit", "nd-neighbor-advert"]
            .map(|kind| rule(chain, [is(payload("icmpv6", "type"), kind), Statement::Accept(None)]))
    };
    let mut rules =
        vec![walled(INPUT, MetaKey::Iifname, VISITING), walled(OUTPUT, MetaKey::Oifname, CALLING)];
    let served = |chain: &str| {
        let translated = matched(Operator::IN, conntrack("status", None), string("dnat"));
        rule(chain, [translated, Statement::Accept(None)])
    };
    rules.extend(neighbours(VISITING));
    rules.push(served(VISITING));
    for (header, suffix, _) in FAMILIES {
        let door = concat([meta(MetaKey::Iifname), payload(header, "daddr")]);
        rules.push(rule(VISITING, [is(door, &format!("@doors{suffix}")), Statement::Accept(None)]));
    }
    rules.push(rule(VISITING, [Statement::Drop(None)]));
    let states = Expression::List(vec![string("established"), string("related")]);
    let answers = matched(Operator::IN, conntrack("state", None), states);
    rules.push(rule(CALLING, [answers, Statement::Accept(None)]));
    rules.push(served(CALLING));
    rules.extend(neighbours(CALLING));
    rules.push(rule(CALLING, [Statement::Drop(None)]));
    rules
}

fn shards() -> Vec<NfListObject<'static>> {
    let mut rules = vec![rule(RAW, [is(meta(MetaKey::Iifname), "@shards"), jump(CROSSING)])];
    for (header, suffix, _) in FAMILIES {
        let vip = || vec![meta(MetaKey::L4proto), payload(header, "daddr"), payload("th", "dport")];
        let internal = [vec![meta(MetaKey::Iifname)], vip()].concat();
        for (codes, key) in [("internal", internal), ("vips", vip())] {
            let code = map(concat(key), &format!("{codes}{suffix}"));
            let known = Mangle { key: meta(MetaKey::Priority), value: code };
            let reset = Mangle { key: meta(MetaKey::Priority), value: string("none") };
            let statements = [Statement::Mangle(known), Statement::Mangle(reset), Statement::Return(None)];
            rules.push(rule(CROSSING, statements));
        }
    }
    let local = Fib { result: FibResult::Type, flags: HashSet::from([FibFlag::Daddr]) };
    rules.push(rule(CROSSING, [is(named(NamedExpression::Fib(local)), "local"), Statement::Return(None)]));
    rules.push(rule(CROSSING, [Statement::Notrack]));
    rules
}

fn entry() -> Vec<NfListObject<'static>> {
    let priority = || meta(MetaKey::Priority);
    let dispatch = |codes: &str, key: Expr| {
        [
            Statement::Mangle(Mangle { key: priority(), value: map(key, codes) }),
            Statement::VerdictMap(VerdictMap { key: priority(), data: string("@dispatch") }),
        ]
    };
    let mut rules = Vec::new();
    for (header, suffix, _) in FAMILIES {
        let vip = || vec![meta(MetaKey::L4proto), payload(header, "daddr"), payload("th", "dport")];
        let internal = [vec![meta(MetaKey::Iifname)], vip()].concat();
        rules.push(rule("prerouting", dispatch(&format!("internal{suffix}"), concat(internal))));
        rules.push(rule("prerouting", dispatch(&format!("vips{suffix}"), concat(vip()))));
        rules.push(rule("output", dispatch(&format!("hostvips{suffix}"), concat(vip()))));
    }
    for (header, suffix, _) in FAMILIES {
        for (chain, codes) in [("prerouting", "ports"), ("output", "hostports")] {
            let local = Fib { result: FibResult::Type, flags: HashSet::from([FibFlag::Daddr]) };
            let loopback = match suffix {
                '4' => named(NamedExpression::Prefix(Prefix { addr: Box::new(string("127.0.0.0")), len: 8 })),
                _ => string("::1"),
            };
            let mut statements = vec![
                is(named(NamedExpression::Fib(local)), "local"),
                matched(Operator::NEQ, payload(header, "daddr"), loopback),
            ];
            let port = concat([meta(MetaKey::L4proto), payload("th", "dport")]);
            statements.extend(dispatch(&format!("{codes}{suffix}"), port));
            rules.push(rule(chain, statements));
        }
    }
    rules
}

fn choice(code: Code) -> Vec<NfListObject<'static>> {
    let chain = code.chain();
    let Code::Choose { any_address, affinity, level } = code else {
        let reset = Reject::new(Some(RejectType::TCPReset), None);
        let unreachable = Reject::new(Some(RejectType::ICMPX), Some(RejectCode::PortUnreach));
        return vec![
            rule(&chain, [is(meta(MetaKey::L4proto), "tcp"), Statement::Reject(Some(reset))]),
            rule(&chain, [Statement::Reject(Some(unreachable))]),
        ];
    };
    if affinity {
        return vec![
            rule(&chain, [jump(&recall(any_address))]),
            rule(&chain, [jump(&draw(level))]),
            rule(&chain, [goto(&send(any_address))]),
        ];
    }
    let reset = Mangle { key: meta(MetaKey::Priority), value: string("none") };
    let mut rules = vec![rule(&chain, [Statement::Mangle(reset)])];
    for (header, suffix, protocol) in FAMILIES {
        for modulus in draws(level) {
            let slot =
                NamedExpression::Numgen(Numgen { mode: NgMode::Random, ng_mod: modulus, offset: Some(0) });
            let mut key = vec![meta(MetaKey::L4proto), payload("th", "dport"), named(slot)];
            if !any_address {
                key.insert(1, payload(header, "daddr"));
            }
            let slots = if any_address { "portslots" } else { "slots" };
            let backend = map(concat(key), &format!("{slots}{suffix}"));
            // nft leaves out what a field of the header says already.
            let family = any_address.then(|| is(meta(MetaKey::Nfproto), protocol));
            let dnat = Statement::DNAT(Some(to(header, backend)));
            rules.push(rule(&chain, family.into_iter().chain([dnat])));
        }
    }
    rules
}

fn sources() -> Vec<NfListObject<'static>> {
    let mut rules = Vec::new();
    for (header, suffix, protocol) in FAMILIES {
        let family = || is(meta(MetaKey::Nfproto), protocol);
        let original = |key: &str| conntrack(key, Some(CTDir::Original));
        let port = || concat([meta(MetaKey::L4proto), original("proto-dst")]);
        let vip =
            || concat([meta(MetaKey::L4proto), original(&format!("{header} daddr")), original("proto-dst")]);
        let snat = |key: Expr, sources: &str| {
            let address = map(key, &format!("{sources}{suffix}"));
            rule(TRANSLATED, [family(), Statement::SNAT(Some(to(header, address)))])
        };
        let when = |key: Expr, set: &str, then: Stmt| {
            rule(TRANSLATED, [family(), is(key, &format!("@{set}{suffix}")), then])
        };
        rules.push(when(vip(), "clientvips", goto(HAIRPIN)));
        rules.push(snat(vip(), "sources"));
        rules.push(when(vip(), "masqvips", Statement::Masquerade(None)));
        rules.push(snat(port(), "portsources"));
        rules.push(when(port(), "masqports", Statement::Masquerade(None)));
    }
    rules.push(rule(TRANSLATED, [goto(HAIRPIN)]));
    for (header, suffix, _) in FAMILIES {
        let both = concat([payload(header, "saddr"), meta(MetaKey::Oifname)]);
        rules.push(rule(HAIRPIN, [is(both, &format!("@own{suffix}")), Statement::Masquerade(None)]));
    }
    rules
}

fn rule(chain: &str, statements: impl IntoIterator<Item = Stmt>) -> NfListObject<'static> {
    NfListObject::Rule(Rule {
        family: NfFamily::INet,
        table: TABLE.into(),
        chain: chain.to_owned().into(),
        expr: Cow::Owned(statements.into_iter().collect()),
        handle: None,
        index: None,
        comment: None,
    })
}

fn matched(op: Operator, left: Expr, right: Expr) -> Stmt {
    Statement::Match(Match { left, right, op })
}

fn is(left: Expr, right: &str) -> Stmt {
    matched(Operator::EQ, left, string(right))
}

fn jump(chain: &str) -> Stmt {
    Statement::Jump(JumpTarget { target: chain.to_owned().into() })
}

fn goto(chain: &str) -> Stmt {
    Statement::Goto(JumpTarget { target: chain.to_owned().into() })
}

fn to(header: &str, address: Expr) -> NAT<'static> {
    let family = if header == "ip" { NATFamily::IP } else { NATFamily::IP6 };
    NAT { addr: Some(address), family: Some(family), port: None, flags: None }
}

fn named(expression: NamedExpression<'static>) -> Expr {
    Expression::Named(expression)
}

fn string(text: &str) -> Expr {
    Expression::String(text.to_owned().into())
}

fn concat(parts: impl Into<Vec<Expr>>) -> Expr {
    named(NamedExpression::Concat(parts.into()))
}

fn map(key: Expr, name: &str) -> Expr {
    named(NamedExpression::Map(Box::new(Map { key, data: string(&format!("@{name}")) })))
}

fn meta(key: MetaKey) -> Expr {
    named(NamedExpression::Meta(Meta { key }))
}

fn payload(protocol: &str, field: &str) -> Expr {
    named(NamedExpression::Payload(Payload::PayloadField(PayloadField {
        protocol: protocol.to_owned().into(),
        field: field.to_owned().into(),
    })))
}

fn conntrack(key: &str, dir: Option<CTDir>) -> Expr {
    named(NamedExpression::CT(CT { key: key.to_owned().into(), family: None, dir }))
}
