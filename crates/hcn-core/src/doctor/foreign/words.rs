//! Conditions of iptables' extensions: nft does not list them as JSON, but most of them in its own words, in the text of the
//! rule.

use super::matching::{Found, Truth, connection};
use super::packet::Seen;

/// Whether the condition of an extension holds, by the text of its rule.
pub(super) fn holds(extension: &str, text: &str, seen: &Seen<'_>) -> Truth {
    match extension {
        "comment" => Truth::Yes,
        "conntrack" | "state" => all(&["state", "status"], |key| tracked(key, text, seen)),
        "addrtype" => all(&["saddr", "daddr"], |end| kind_of_address(end, text, seen)),
        "multiport" => all(&["sport", "dport"], |end| ports(end, text, seen)),
        _ => Truth::Maybe,
    }
}

/// All conditions that there are; where there is none it is not known which there was.
fn all(keys: &[&str], condition: impl Fn(&str) -> Option<Truth>) -> Truth {
    keys.iter().filter_map(|key| condition(key)).reduce(Truth::and).unwrap_or(Truth::Maybe)
}

/// What follows some words in a text, and whether it is negated.
fn after<'a>(text: &'a str, words: &str) -> Option<(bool, &'a str)> {
    let (_, rest) = text.split_once(words)?;
    let rest = rest.trim_start();
    let negated = rest.strip_prefix("!=").or_else(|| rest.strip_prefix('!'));
    Some((negated.is_some(), negated.unwrap_or(rest).trim_start()))
}

fn unless(negated: bool, truth: Truth) -> Truth {
    if negated { truth.not() } else { truth }
}

/// `ct state related,established`
fn tracked(key: &str, text: &str, seen: &Seen<'_>) -> Option<Truth> {
    let (negated, rest) = after(text, &format!("ct {key} "))?;
    let words = rest.split_whitespace().next()?;
    Some(match connection(key, seen) {
        Found::Words(have) => unless(negated, Truth::of(words.split(',').any(|word| have.contains(&word)))),
        _ => Truth::Maybe,
    })
}

/// `fib daddr type local`
fn kind_of_address(end: &str, text: &str, seen: &Seen<'_>) -> Option<Truth> {
    let (negated, rest) = after(text, &format!("fib {end} type "))?;
    let local = if end == "daddr" { seen.is_local() } else { seen.packet.input.is_none() };
    let kind = if local { "local" } else { "unicast" };
    let given = rest.split_whitespace().next()?;
    Some(unless(negated, Truth::of(given.split(',').any(|word| word == kind))))
}

/// `tcp dport { 80, 8000-8010 }`
fn ports(end: &str, text: &str, seen: &Seen<'_>) -> Option<Truth> {
    let (negated, rest) = after(text, &format!(" {end} "))?;
    let list = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
    let list = list.or_else(|| rest.split_whitespace().next())?;
    let port = if end == "sport" { seen.packet.source_port } else { seen.destination().1 };
    let mut is = Truth::No;
    for part in list.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if (first..=last).contains(&port) => is = Truth::Yes,
            (Ok(_), Ok(_)) => {}
            // A name of a service.
            _ => return Some(Truth::Maybe),
        }
    }
    Some(unless(negated, is))
}
