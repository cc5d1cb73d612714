//! The nftables part of a plan as nft's own JSON: for people and for tests that hold it against what
//! `nft -j list table inet hcnd` prints. The kernel is never written this way.

use std::borrow::Cow;
use std::collections::HashSet;

use hcn_dataplane::{Object, Op, Plan};
use ipnet::IpNet;
use nftables::batch::Batch;
use nftables::expr::{Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix};
use nftables::schema::{
    Chain, Element, NfListObject, Nftables, Rule, Set, SetFlag, SetType, SetTypeValue, Table,
};
use nftables::stmt::{Match, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use crate::nft::{MASQUERADED_V4, MASQUERADED_V6, OWN_V4, OWN_V6, TABLE};

/// The table as it is from the start: chains, empty sets and the rules.
pub fn table() -> Nftables<'static> {
    let mut batch = Batch::new();
    batch.add_obj(NfListObject::Table(Table { family: NfFamily::INet, name: TABLE.into(), handle: None }));
    let sets = [
        (OWN_V4, SetTypeValue::Concatenated(vec![SetType::Ipv4Addr, SetType::Ifname].into())),
        (MASQUERADED_V4, SetTypeValue::Single(SetType::Ipv4Addr)),
        (OWN_V6, SetTypeValue::Concatenated(vec![SetType::Ipv6Addr, SetType::Ifname].into())),
        (MASQUERADED_V6, SetTypeValue::Single(SetType::Ipv6Addr)),
    ];
    for (name, set_type) in sets {
        batch.add_obj(NfListObject::Set(Box::new(Set {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: name.into(),
            set_type,
            flags: Some(HashSet::from([SetFlag::Interval])),
            ..Set::default()
        })));
    }
    let chains = [
        ("prerouting", NfHook::Prerouting, -100),
        ("output", NfHook::Output, -100),
        ("postrouting", NfHook::Postrouting, 100),
    ];
    for (name, hook, priority) in chains {
        batch.add_obj(NfListObject::Chain(Chain {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: name.into(),
            _type: Some(NfChainType::NAT),
            hook: Some(hook),
            prio: Some(priority),
            policy: Some(NfChainPolicy::Accept),
            ..Chain::default()
        }));
    }
    let output = || Expression::Named(NamedExpression::Meta(Meta { key: MetaKey::Oifname }));
    batch.add_obj(rule(output(), "lo", Statement::Accept(None)));
    for (protocol, own, masqueraded) in [("ip", OWN_V4, MASQUERADED_V4), ("ip6", OWN_V6, MASQUERADED_V6)] {
        let source = || {
            Expression::Named(NamedExpression::Payload(Payload::PayloadField(PayloadField {
                protocol: protocol.into(),
                field: "saddr".into(),
            })))
        };
        let both = Expression::Named(NamedExpression::Concat(vec![source(), output()]));
        batch.add_obj(rule(both, &format!("@{own}"), Statement::Accept(None)));
        batch.add_obj(rule(source(), &format!("@{masqueraded}"), Statement::Masquerade(None)));
    }
    batch.to_nftables()
}

fn rule(left: Expression<'static>, right: &str, verdict: Statement<'static>) -> NfListObject<'static> {
    let matched = Statement::Match(Match {
        left,
        right: Expression::String(right.to_owned().into()),
        op: Operator::EQ,
    });
    NfListObject::Rule(Rule {
        family: NfFamily::INet,
        table: TABLE.into(),
        chain: "postrouting".into(),
        expr: Cow::Owned(vec![matched, verdict]),
        handle: None,
        index: None,
        comment: None,
    })
}

/// What a plan adds to the table's sets and takes from them, in its order.
pub fn elements(plan: &Plan) -> Nftables<'static> {
    let mut batch = Batch::new();
    for op in &plan.ops {
        match op {
            Op::Create(object) => element(object).into_iter().for_each(|element| batch.add(element)),
            Op::Remove { object, .. } => {
                element(object).into_iter().for_each(|element| batch.delete(element));
            }
            Op::Change { .. } => {}
        }
    }
    batch.to_nftables()
}

/// The set element of an object.
fn element(object: &Object) -> Option<NfListObject<'static>> {
    let (set, element) = match object {
        Object::Home(home) => {
            let link = Expression::String(home.bridge.clone().into());
            let both = vec![prefix(home.prefix), link];
            let set = if home.prefix.addr().is_ipv4() { OWN_V4 } else { OWN_V6 };
            (set, Expression::Named(NamedExpression::Concat(both)))
        }
        Object::Masquerade(masquerade) => {
            let set = if masquerade.prefix.addr().is_ipv4() { MASQUERADED_V4 } else { MASQUERADED_V6 };
            (set, prefix(masquerade.prefix))
        }
        _ => return None,
    };
    Some(NfListObject::Element(Element {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: set.into(),
        elem: Cow::Owned(vec![element]),
    }))
}

fn prefix(prefix: IpNet) -> Expression<'static> {
    let prefix = prefix.trunc();
    let address = Expression::String(prefix.addr().to_string().into());
    if prefix.prefix_len() == prefix.max_prefix_len() {
        return address;
    }
    let length = u32::from(prefix.prefix_len());
    Expression::Named(NamedExpression::Prefix(Prefix { addr: Box::new(address), len: length }))
}
