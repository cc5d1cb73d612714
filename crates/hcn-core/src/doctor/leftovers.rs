//! What looks like hcnd's and is in no record? It is named, with the command that removes it, and never removed.

use std::collections::BTreeSet;

use hcn_dataplane::{Key, Netns, Object, State, Survey};

use super::{Facts, Report, Severity, is_own_table};

/// What names of hcnd's links begin with; eight hexadecimal digits follow.
const PREFIXES: [&str; 13] =
    ["hcn", "hve", "hvi", "hvj", "hvl", "hvp", "hvt", "hvx", "hcj", "hck", "hcr", "hcs", "hcx"];
const DIGITS: usize = 8;
const ALIAS: &str = "hcn ";
/// Of a device that limits the rate of a port.
const RATE_ALIAS: &str = "hcn rate ";
const NETNS_ALIAS: &str = "hcn namespace ";

/// What looks like hcnd's and is in no record, in the words of findings' subjects. What hcnd has under way looks so, too:
/// only what is there some time later still is left over.
pub fn suspects(wanted: &State, survey: &Survey) -> BTreeSet<String> {
    links(wanted, survey)
        .chain(namespaces(wanted, survey))
        .chain(tables(survey))
        .map(|left| left.subject)
        .collect()
}

/// Takes out of what was read what is not among these suspects.
pub fn forget(survey: &mut Survey, wanted: &State, suspects: &BTreeSet<String>) {
    let now: Vec<Left> = links(wanted, survey).chain(namespaces(wanted, survey)).collect();
    for left in now.iter().filter(|left| !suspects.contains(&left.subject)) {
        survey.links.retain(|link| link.name != left.name);
        survey.namespaces.retain(|netns| netns.name != left.name);
    }
}

/// Something that is left over.
struct Left {
    name: String,
    subject: String,
    found: String,
    remedy: String,
}

pub(super) fn leftovers(facts: &Facts<'_>, report: &mut Report) {
    let (wanted, survey) = (facts.wanted, facts.survey);
    for left in links(wanted, survey).chain(namespaces(wanted, survey)).chain(tables(survey)) {
        report.add(
            Severity::Warning,
            left.subject,
            [
                left.found,
                "it takes a name, and perhaps addresses, that hcnd may want".to_owned(),
                format!("if it is of no use to anybody: `{}`", left.remedy),
            ],
        );
    }
}

/// A name that hcnd gives.
fn is_named(name: &str) -> bool {
    let rest = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or_default();
    let digits = rest.get(..DIGITS).unwrap_or_default();
    let end = rest.get(DIGITS..).unwrap_or_default();
    digits.len() == DIGITS
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        && (end.is_empty() || end.starts_with('-'))
}

fn links(wanted: &State, survey: &Survey) -> impl Iterator<Item = Left> {
    let known: BTreeSet<&str> = wanted.iter().flat_map(|(_, object)| names(object)).collect();
    let mut left = Vec::new();
    let limits = |alias: &str| alias.strip_prefix(RATE_ALIAS).is_some_and(|port| known.contains(port));
    for link in survey.links.iter() {
        if known.contains(link.name.as_str()) || limits(&link.alias) {
            continue;
        }
        let found = if link.alias.starts_with(ALIAS) {
            format!("a link with the alias {:?}, and no record", link.alias)
        } else if link.group {
            "a link of the group of hcnd's, and no record".to_owned()
        } else if is_named(&link.name) {
            "a link with a name as hcnd's have, and no record".to_owned()
        } else {
            continue;
        };
        left.push(Left {
            name: link.name.clone(),
            subject: format!("link {} ({})", link.name, link.index),
            found,
            remedy: format!("ip link delete {}", link.name),
        });
    }
    left.into_iter()
}

/// The names of the links of the host that an object is about.
fn names(object: &Object) -> Vec<&str> {
    match object {
        Object::Bridge(bridge) => vec![&bridge.name],
        Object::Joint(joint) => joint.ends.iter().map(String::as_str).collect(),
        Object::Vxlan(vxlan) => vec![&vxlan.name],
        Object::Vlan(vlan) => vec![&vlan.name],
        Object::Enslaved(enslaved) => vec![&enslaved.link],
        Object::Veth(veth) if veth.peer.netns == Netns::Host => vec![&veth.name, &veth.peer.name],
        Object::Veth(veth) => vec![&veth.name],
        Object::Sublink(sublink) if sublink.link.netns == Netns::Host => vec![&sublink.link.name],
        Object::Tap(tap) => vec![&tap.name],
        _ => Vec::new(),
    }
}

fn namespaces(wanted: &State, survey: &Survey) -> impl Iterator<Item = Left> {
    let mut left = Vec::new();
    for netns in &survey.namespaces {
        if wanted.get(&Key::Netns(netns.name.clone())).is_some() {
            continue;
        }
        let (found, remedy) = match &netns.alias {
            Some(alias) if alias.starts_with(NETNS_ALIAS) => {
                (format!("a namespace that is marked {alias:?}, and no record"), "ip netns delete")
            }
            None if is_id(&netns.name) => {
                ("a file with the name of a namespace of hcnd's that is none".to_owned(), "ip netns delete")
            }
            _ => continue,
        };
        left.push(Left {
            name: netns.name.clone(),
            subject: format!("namespace {}", netns.name),
            found,
            remedy: format!("{remedy} {}", netns.name),
        });
    }
    left.into_iter()
}

/// Whether a name is an ID as hcnd writes it.
fn is_id(name: &str) -> bool {
    name.parse::<hcn_schema::Guid>().is_ok_and(|id| id.to_string() == name)
}

/// Tables with names as hcnd's.
fn tables(survey: &Survey) -> impl Iterator<Item = Left> {
    let mut tables = BTreeSet::new();
    for listing in &survey.rules.listings {
        let parsed: serde_json::Value = serde_json::from_str(listing).unwrap_or_default();
        for object in parsed["nftables"].as_array().into_iter().flatten() {
            let text = |member: &str| object["table"][member].as_str().unwrap_or_default().to_owned();
            let (family, name) = (text("family"), text("name"));
            if (name == "hcnd" || name.starts_with("hcnd_")) && !is_own_table(&format!("{family} {name}")) {
                tables.insert(format!("{family} {name}"));
            }
        }
    }
    tables.into_iter().map(|table| Left {
        subject: format!("table {table}"),
        found: "a table with a name as hcnd's have, which hcnd does not make".to_owned(),
        remedy: format!("nft delete table {table}"),
        name: table,
    })
}
