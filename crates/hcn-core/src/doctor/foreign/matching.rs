//! Does a condition of a rule hold for a packet? In the JSON of nft; what is not understood may hold or not.

use std::net::IpAddr;

use hcn_dataplane::Protocol;
use ipnet::IpNet;
use serde_json::Value;

use super::packet::Seen;
use super::ruleset::Ruleset;

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Maybe,
}

impl Truth {
    pub(super) fn of(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }
}

/// What a packet has where a condition looks.
pub(super) enum Found {
    Text(&'static str),
    Name(String),
    Number(u64),
    Address(IpAddr),
    /// Several flags or bits by their names.
    Words(Vec<&'static str>),
    Yes(bool),
    Several(Vec<Found>),
    /// The packet has no such thing: no condition about it holds.
    Nothing,
    Unknown,
}

/// Whether a match holds.
pub(super) fn holds(ruleset: &Ruleset, table: &str, condition: &Value, seen: &Seen<'_>) -> Truth {
    let found = field(&condition["left"], seen);
    let right = &condition["right"];
    if matches!(found, Found::Nothing) {
        return Truth::No;
    }
    match condition["op"].as_str().unwrap_or("==") {
        "==" | "in" => is_among(ruleset, table, &found, right),
        "!=" => is_among(ruleset, table, &found, right).not(),
        comparison => match (found, right.as_u64()) {
            (Found::Number(number), Some(limit)) => match comparison {
                "<" => Truth::of(number < limit),
                ">" => Truth::of(number > limit),
                "<=" => Truth::of(number <= limit),
                ">=" => Truth::of(number >= limit),
                _ => Truth::Maybe,
            },
            _ => Truth::Maybe,
        },
    }
}

/// The verdicts that a verdict map may have for a packet, the first for which that is certain the last; and whether there
/// is one for certain.
pub(super) fn looked_up<'a>(
    ruleset: &'a Ruleset,
    table: &str,
    map: &'a Value,
    seen: &Seen<'_>,
) -> (Vec<(Truth, &'a Value)>, Truth) {
    let key = field(&map["key"], seen);
    if matches!(key, Found::Nothing) {
        return (Vec::new(), Truth::No);
    }
    let elements = match map["data"].as_str().and_then(|name| name.strip_prefix('@')) {
        Some(name) => ruleset.set(table, name),
        None => map["data"]["set"].as_array().map(Vec::as_slice),
    };
    let Some(elements) = elements else { return (Vec::new(), Truth::Maybe) };
    let mut verdicts = Vec::new();
    for element in elements {
        let (Some(given), Some(verdict)) = (element.get(0), element.get(1)) else { continue };
        match is_among(ruleset, table, &key, given) {
            Truth::No => {}
            truth => verdicts.push((truth, verdict)),
        }
        if verdicts.last().is_some_and(|(truth, _)| *truth == Truth::Yes) {
            return (verdicts, Truth::Yes);
        }
    }
    let hit = if verdicts.is_empty() { Truth::No } else { Truth::Maybe };
    (verdicts, hit)
}

fn field(left: &Value, seen: &Seen<'_>) -> Found {
    let Some((kind, inner)) = left.as_object().and_then(|object| object.iter().next()) else {
        return Found::Unknown;
    };
    let key = inner["key"].as_str().unwrap_or_default();
    match kind.as_str() {
        "meta" => meta(key, seen),
        "ct" => connection(key, seen),
        "payload" => {
            let word = |member: &str| inner[member].as_str().unwrap_or_default();
            payload(word("protocol"), word("field"), seen)
        }
        "concat" => {
            let parts: Vec<Found> =
                inner.as_array().into_iter().flatten().map(|part| field(part, seen)).collect();
            if parts.iter().any(|part| matches!(part, Found::Nothing)) {
                return Found::Nothing;
            }
            Found::Several(parts)
        }
        "&" => match (field(&inner[0], seen), &inner[1]) {
            (Found::Number(number), Value::Number(mask)) => {
                mask.as_u64().map_or(Found::Unknown, |mask| Found::Number(number & mask))
            }
            (Found::Words(words), mask) => {
                let masked = |word: &&str| match mask {
                    Value::Array(all) => all.iter().any(|one| one == *word),
                    one => one == *word,
                };
                Found::Words(words.into_iter().filter(masked).collect())
            }
            (Found::Nothing, _) => Found::Nothing,
            _ => Found::Unknown,
        },
        "fib" => fib(inner, seen),
        _ => Found::Unknown,
    }
}

fn meta(key: &str, seen: &Seen<'_>) -> Found {
    let packet = seen.packet;
    let name = |name: &str| if name.is_empty() { Found::Nothing } else { Found::Name(name.to_owned()) };
    match key {
        "iif" | "iifname" => name(seen.input()),
        "oif" | "oifname" => name(seen.output()),
        "l4proto" => Found::Text(protocol(packet.protocol)),
        "nfproto" => Found::Text(if packet.source.is_ipv4() { "ipv4" } else { "ipv6" }),
        "protocol" => Found::Text(if packet.source.is_ipv4() { "ip" } else { "ip6" }),
        "pkttype" => Found::Text("host"),
        // hcnd marks nothing.
        "mark" | "secmark" => Found::Number(0),
        _ => Found::Unknown,
    }
}

pub(super) fn connection(key: &str, seen: &Seen<'_>) -> Found {
    let packet = seen.packet;
    if !seen.is_tracked() {
        return Found::Unknown;
    }
    match key {
        "state" => Found::Words(vec![if packet.answer { "established" } else { "new" }]),
        "direction" => Found::Text(if packet.answer { "reply" } else { "original" }),
        "status" => {
            let mut words = Vec::new();
            if packet.published {
                words.push("dnat");
            }
            if packet.answer {
                words.extend(["seen-reply", "confirmed"]);
            }
            Found::Words(words)
        }
        "mark" => Found::Number(0),
        _ => Found::Unknown,
    }
}

fn payload(header: &str, name: &str, seen: &Seen<'_>) -> Found {
    let packet = seen.packet;
    let (destination, port) = seen.destination();
    let ipv4 = packet.source.is_ipv4();
    match (header, name) {
        ("ip", _) if !ipv4 => Found::Nothing,
        ("ip6", _) if ipv4 => Found::Nothing,
        ("ip" | "ip6", "saddr") => Found::Address(packet.source),
        ("ip" | "ip6", "daddr") => Found::Address(destination),
        ("ip", "protocol") | ("ip6", "nexthdr") => Found::Text(protocol(packet.protocol)),
        ("ip" | "ip6", _) => Found::Unknown,
        ("th", "sport") => Found::Number(packet.source_port.into()),
        ("th", "dport") => Found::Number(port.into()),
        _ if header != protocol(packet.protocol) => match header {
            "tcp" | "udp" | "sctp" | "icmp" | "icmpv6" | "dccp" | "udplite" | "esp" | "ah" | "igmp" => {
                Found::Nothing
            }
            _ => Found::Unknown,
        },
        (_, "sport") => Found::Number(packet.source_port.into()),
        (_, "dport") => Found::Number(port.into()),
        ("tcp", "flags") => Found::Words(vec![if packet.answer { "ack" } else { "syn" }]),
        _ => Found::Unknown,
    }
}

/// What the routing table says: hcnd's packets come from where answers to them would go.
fn fib(inner: &Value, seen: &Seen<'_>) -> Found {
    let asks = |flag: &str| inner["flags"].as_array().is_some_and(|all| all.iter().any(|one| one == flag));
    match (inner["result"].as_str().unwrap_or_default(), asks("saddr"), asks("daddr")) {
        ("oif", true, false) => Found::Yes(true),
        ("type", true, false) => Found::Text(if seen.packet.input.is_none() { "local" } else { "unicast" }),
        ("type", false, true) => Found::Text(if seen.is_local() { "local" } else { "unicast" }),
        _ => Found::Unknown,
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn is_among(ruleset: &Ruleset, table: &str, found: &Found, right: &Value) -> Truth {
    if let Some(name) = right.as_str().and_then(|name| name.strip_prefix('@')) {
        return match ruleset.set(table, name) {
            Some(elements) => any(ruleset, table, found, elements),
            None => Truth::Maybe,
        };
    }
    match right {
        Value::Array(words) => any(ruleset, table, found, words),
        Value::Object(object) => match object.iter().next() {
            Some((kind, inner)) => match kind.as_str() {
                "set" => inner.as_array().map_or_else(
                    || is_among(ruleset, table, found, inner),
                    |elements| any(ruleset, table, found, elements),
                ),
                "elem" => is_among(ruleset, table, found, &inner["val"]),
                "prefix" => within(found, inner),
                "range" => between(found, inner),
                "concat" => concatenated(ruleset, table, found, inner),
                _ => Truth::Maybe,
            },
            None => Truth::Maybe,
        },
        single => is(found, single),
    }
}

fn any(ruleset: &Ruleset, table: &str, found: &Found, elements: &[Value]) -> Truth {
    let mut truth = Truth::No;
    for element in elements {
        truth = truth.or(is_among(ruleset, table, found, element));
        if truth == Truth::Yes {
            break;
        }
    }
    truth
}

fn concatenated(ruleset: &Ruleset, table: &str, found: &Found, given: &Value) -> Truth {
    match (found, given.as_array()) {
        (Found::Several(parts), Some(values)) if parts.len() == values.len() => parts
            .iter()
            .zip(values)
            .fold(Truth::Yes, |truth, (part, value)| truth.and(is_among(ruleset, table, part, value))),
        _ => Truth::Maybe,
    }
}

fn within(found: &Found, prefix: &Value) -> Truth {
    let length = prefix["len"].as_u64();
    match (found, prefix["addr"].as_str(), length) {
        (Found::Address(address), Some(start), Some(length)) => {
            let prefix: Option<IpNet> = format!("{start}/{length}").parse().ok();
            prefix.map_or(Truth::Maybe, |prefix| Truth::of(prefix.contains(address)))
        }
        _ => Truth::Maybe,
    }
}

fn between(found: &Found, range: &Value) -> Truth {
    match found {
        Found::Number(number) => match (range[0].as_u64(), range[1].as_u64()) {
            (Some(first), Some(last)) => Truth::of((first..=last).contains(number)),
            _ => Truth::Maybe,
        },
        Found::Address(address) => {
            let end = |at: usize| range[at].as_str().and_then(|text| text.parse::<IpAddr>().ok());
            match (end(0), end(1)) {
                (Some(first), Some(last)) => Truth::of((first..=last).contains(address)),
                _ => Truth::Maybe,
            }
        }
        _ => Truth::Maybe,
    }
}

/// Numbers that rules may have in place of names.
const PROTOCOLS: [(&str, u64); 5] = [("tcp", 6), ("udp", 17), ("sctp", 132), ("ipv4", 2), ("ipv6", 10)];

fn is(found: &Found, given: &Value) -> Truth {
    match (found, given) {
        (Found::Text(text), Value::String(given)) => Truth::of(text == given),
        (Found::Text(text), Value::Number(given)) => {
            let number = PROTOCOLS.iter().find(|(name, _)| name == text).map(|(_, number)| *number);
            number.map_or(Truth::Maybe, |number| Truth::of(given.as_u64() == Some(number)))
        }
        (Found::Name(name), Value::String(given)) => Truth::of(match given.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == given,
        }),
        (Found::Number(number), Value::Number(given)) => Truth::of(given.as_u64() == Some(*number)),
        (Found::Address(address), Value::String(given)) => match given.parse::<IpAddr>() {
            Ok(given) => Truth::of(*address == given),
            Err(_) => Truth::Maybe,
        },
        (Found::Words(words), Value::String(given)) => Truth::of(words.contains(&given.as_str())),
        (Found::Words(words), Value::Number(given)) if given.as_u64() == Some(0) => {
            Truth::of(words.is_empty())
        }
        (Found::Yes(is), Value::Bool(given)) => Truth::of(is == given),
        _ => Truth::Maybe,
    }
}
