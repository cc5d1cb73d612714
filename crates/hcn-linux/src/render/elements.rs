//! Elements, written as nft takes and lists them.

use std::borrow::Cow;

use hcn_dataplane::{
    Affinity, Annex, Barrier, Family, Home, HostSide, Masquerade, Object, Protocol, Service, Source, Ways,
};
use ipnet::IpNet;
use nftables::expr::{Expression, NamedExpression, Prefix};
use nftables::schema::{Element, NfListObject};
use nftables::types::NfFamily;

use crate::nft::affinity::tag;
use crate::nft::services::Code;
use crate::nft::{MASQUERADED_V4, MASQUERADED_V6, OWN_V4, OWN_V6, TABLE};

type Expr = Expression<'static>;

/// The elements of an object; of a service those without a port as data.
pub(super) fn of(object: &Object) -> Vec<NfListObject<'static>> {
    match object {
        Object::Home(Home { prefix, bridge }) => {
            let set = if prefix.addr().is_ipv4() { OWN_V4 } else { OWN_V6 };
            vec![element(set, concat(vec![of_prefix(*prefix), string(bridge)]))]
        }
        Object::Masquerade(Masquerade { prefix }) => {
            let set = if prefix.addr().is_ipv4() { MASQUERADED_V4 } else { MASQUERADED_V6 };
            vec![element(set, of_prefix(*prefix))]
        }
        Object::Barrier(Barrier { bridge, host, ways }) => {
            let bridge = || string(bridge);
            let mut elements = Vec::new();
            if *ways != Ways::Open {
                elements.push(element("inside", concat(vec![bridge(), bridge()])));
                elements.push(element("closed", bridge()));
            }
            if let Ways::Only(link) = ways {
                elements.push(element("inside", concat(vec![bridge(), string(link)])));
                elements.push(element("inside", concat(vec![string(link), bridge()])));
            }
            match host {
                HostSide::Open => {}
                HostSide::Closed if *ways == Ways::Closed => elements.push(element("sealed", bridge())),
                HostSide::Closed => elements.push(element("walled", bridge())),
                HostSide::Only(addresses) => {
                    elements.push(element("walled", bridge()));
                    elements.extend(addresses.iter().map(|address| {
                        let doors = if address.is_ipv4() { "doors4" } else { "doors6" };
                        element(doors, concat(vec![bridge(), string(&address.to_string())]))
                    }));
                }
            }
            elements
        }
        Object::Annex(Annex { bridge, of }) => vec![
            element("shards", string(bridge)),
            element("inside", concat(vec![string(bridge), string(of)])),
        ],
        Object::Affinity(Affinity { group, members }) => {
            let mark = |number: u32| Expression::Number(number);
            let pair = |(slot, member): (u32, &u32)| {
                let key = concat(vec![mark(*group), mark(slot)]);
                element("members", Expression::List(vec![key, mark(tag(*member))]))
            };
            (0u32..).zip(members).map(pair).collect()
        }
        Object::Service(service) => of_service(service),
        _ => Vec::new(),
    }
}

fn of_service(service: &Service) -> Vec<NfListObject<'static>> {
    let frontend = &service.frontend;
    let suffix = if frontend.family == Family::V4 { '4' } else { '6' };
    let protocol = match frontend.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let mut parts = vec![string(protocol), Expression::Number(frontend.port.into())];
    if let Some(address) = frontend.address {
        parts.insert(1, string(&address.to_string()));
    }
    let name =
        |vip: &str, port: &str| format!("{}{suffix}", if frontend.address.is_some() { vip } else { port });
    let key = || concat(parts.clone());
    let code = || Expression::Number(Code::of(service).number());
    let pair = |set: &str, key: Expr, value: Expr| element(set, Expression::List(vec![key, value]));
    let mut elements = if service.only_from.is_empty() || frontend.address.is_none() {
        vec![pair(&name("vips", "ports"), key(), code())]
    } else {
        let internal = |link: &String| {
            let key = concat([vec![string(link)], parts.clone()].concat());
            pair(&format!("internal{suffix}"), key, code())
        };
        service.only_from.iter().map(internal).collect()
    };
    if service.from_host {
        elements.push(pair(&name("hostvips", "hostports"), key(), code()));
    }
    if let Some(affinity) = &service.affinity {
        elements.push(pair(&name("groups", "portgroups"), key(), Expression::Number(affinity.group)));
    }
    match service.source {
        Source::Client if frontend.address.is_none() => {}
        Source::Client => elements.push(element(&format!("clientvips{suffix}"), key())),
        Source::Masquerade => elements.push(element(&name("masqvips", "masqports"), key())),
        Source::Address(address) => {
            elements.push(pair(&name("sources", "portsources"), key(), string(&address.to_string())));
        }
    }
    elements
}

fn element(set: &str, value: Expr) -> NfListObject<'static> {
    NfListObject::Element(Element {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: set.to_owned().into(),
        elem: Cow::Owned(vec![value]),
    })
}

fn string(text: &str) -> Expr {
    Expression::String(text.to_owned().into())
}

fn concat(parts: Vec<Expr>) -> Expr {
    Expression::Named(NamedExpression::Concat(parts))
}

fn of_prefix(prefix: IpNet) -> Expr {
    let prefix = prefix.trunc();
    let address = string(&prefix.addr().to_string());
    if prefix.prefix_len() == prefix.max_prefix_len() {
        return address;
    }
    let length = u32::from(prefix.prefix_len());
    Expression::Named(NamedExpression::Prefix(Prefix { addr: Box::new(address), len: length }))
}
