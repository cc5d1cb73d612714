//! Which rules of other programs drop packets of hcnd's networks? Every chain of theirs that packets come to is walked
//! through for packets that stand for what hcnd carries. A rule that drops one counts as certain only where every
//! condition on the way to it is understood; elsewhere the finding says "may".

mod evaluate;
mod matching;
mod packet;
mod ruleset;
#[cfg(test)]
mod tests;
mod traffic;
mod words;

use std::collections::BTreeMap;

use hcn_dataplane::Survey;

use super::{Facts, Report, Severity};
use evaluate::Dropped;
use packet::Packet;
use ruleset::Base;

use crate::entity::Network;

pub(super) use ruleset::Ruleset;
pub use ruleset::is_own_table;

/// So many kinds of packets are named in a finding.
const NAMED: usize = 4;

/// What a rule drops.
#[derive(Default)]
struct Victims {
    certain: bool,
    bridges: Vec<String>,
    whats: Vec<String>,
    base: String,
}

pub(super) fn rules(facts: &Facts<'_>, report: &mut Report) {
    let Survey { rules, legacy_tables, .. } = facts.survey;
    let packets = traffic::packets(facts);
    if facts.registry.networks.len() > traffic::NETWORKS {
        report.add(
            Severity::Notice,
            "",
            [
                format!("only the first {} networks were looked at", traffic::NETWORKS),
                "a rule that drops packets of another network alone is not found".to_owned(),
                String::new(),
            ],
        );
    }
    for (dropped, victims) in victims(&facts.ruleset, &packets) {
        tell(&dropped, &victims, report);
    }
    if let Some(problem) = &rules.problem {
        unjudged(facts, problem, report);
    }
    for table in legacy_tables {
        report.add(
            Severity::Notice,
            format!("table {table} of iptables-legacy"),
            [
                "its rules are not in nftables and were not judged".to_owned(),
                "they may drop packets of hcnd's networks".to_owned(),
                format!(
                    "look with `{}-legacy-save`",
                    if table.starts_with("ip6") { "ip6tables" } else { "iptables" }
                ),
            ],
        );
    }
}

/// Every rule or policy that drops one of the packets, by where it is.
fn victims(ruleset: &Ruleset, packets: &[(String, Packet)]) -> Vec<(Dropped, Victims)> {
    let mut found: BTreeMap<(String, String, Option<u64>), (Dropped, Victims)> = BTreeMap::new();
    for base in &ruleset.bases {
        for (bridge, packet) in packets {
            for dropped in evaluate::drops(ruleset, base, packet) {
                let key = (dropped.table.clone(), dropped.chain.clone(), dropped.handle);
                let certain = dropped.certain;
                let (_, victims) = found.entry(key).or_insert_with(|| (dropped, Victims::default()));
                victims.note(base, bridge, packet, certain);
            }
        }
    }
    found.into_values().collect()
}

impl Victims {
    fn note(&mut self, base: &Base, bridge: &str, packet: &Packet, certain: bool) {
        if certain && !self.certain {
            // What is certain is told before what may be.
            self.whats.clear();
        }
        if self.certain && !certain {
            return;
        }
        self.certain |= certain;
        self.base.clone_from(&base.name);
        if !self.bridges.iter().any(|known| known == bridge) {
            self.bridges.push(bridge.to_owned());
        }
        if !self.whats.contains(&packet.what) {
            self.whats.push(packet.what.clone());
        }
    }

    fn told(&self) -> String {
        let more = self.whats.len().saturating_sub(NAMED);
        let named = self.whats.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
        if more == 0 { named } else { format!("{named}; and {more} more") }
    }
}

fn tell(dropped: &Dropped, victims: &Victims, report: &mut Report) {
    let place = format!("table {} chain {}", dropped.table, dropped.chain);
    let subject = match dropped.handle {
        Some(handle) => format!("{place} handle {handle}"),
        None => format!("{place} policy"),
    };
    let (severity, verb) =
        if victims.certain { (Severity::Error, "drops") } else { (Severity::Warning, "may drop") };
    report.add(
        severity,
        subject,
        [
            dropped.text.clone(),
            format!("it {verb} packets {}", victims.told()),
            remedy(&dropped.table, &victims.base, &victims.bridges),
        ],
    );
}

/// What lets the packets pass without taking anything away from the other program.
fn remedy(table: &str, base: &str, bridges: &[String]) -> String {
    let bridge = bridges.first().map_or("", String::as_str);
    let others = if bridges.len() > 1 { "; so for each bridge" } else { "" };
    match table {
        "inet firewalld" => format!(
            "put the bridge into a zone that lets it pass: `firewall-cmd --permanent --zone=trusted \
             --add-interface={bridge}`, then `firewall-cmd --reload`{others}"
        ),
        "ip filter" | "ip6 filter" => {
            let program = if table.starts_with("ip6") { "ip6tables" } else { "iptables" };
            format!(
                "`{program} -I {base} -i {bridge} -j ACCEPT` and `{program} -I {base} -o {bridge} -j ACCEPT`{others}"
            )
        }
        _ => format!(
            "`nft insert rule {table} {base} iifname {bridge} accept` and `nft insert rule {table} {base} oifname \
             {bridge} accept`, and the same in what loads the table{others}"
        ),
    }
}

/// The rules are not known: only what drops whatever reaches its end can be told.
fn unjudged(facts: &Facts<'_>, problem: &str, report: &mut Report) {
    let rules = &facts.survey.rules;
    let (found, remedy) = match rules.no_nft {
        true => ("nft is not installed, so rules of other programs were not judged", "install nftables"),
        false => {
            ("nft does not list the rules, so those of other programs were not judged", "see the message")
        }
    };
    report.add(
        Severity::Notice,
        "nft",
        [
            format!("{found}: {problem}"),
            "rules that drop packets of hcnd's networks are not found".to_owned(),
            remedy.to_owned(),
        ],
    );
    for chain in rules.chains.iter().filter(|chain| chain.drops && !is_own_table(&chain.table)) {
        if facts.registry.networks.is_empty() || chain.hook != "forward" {
            continue;
        }
        report.add(
            Severity::Warning,
            format!("table {} chain {} policy", chain.table, chain.name),
            [
                "policy drop".to_owned(),
                format!("it may drop packets of hcnd's networks at the hook {}", chain.hook),
                "install nftables, so that the rules of the chain can be judged, too".to_owned(),
            ],
        );
    }
}

/// Whether another program has a chain that forwarded packets come to.
pub(super) fn sees_forwarded(facts: &Facts<'_>) -> bool {
    let rules = &facts.survey.rules;
    let known = rules.chains.iter().any(|chain| chain.hook == "forward" && !is_own_table(&chain.table));
    known || facts.ruleset.bases.iter().any(|base| base.hook == "forward")
}

/// Whether some rule drops, or may drop, what a container sends to the host's 127.0.0.1 by its bridge.
pub(super) fn keeps_from_localhost(facts: &Facts<'_>, network: &Network, bridge: &str) -> bool {
    let ruleset = &facts.ruleset;
    let Some(packet) = traffic::to_localhost(facts, network, bridge) else { return true };
    ruleset.bases.iter().any(|base| !evaluate::drops(ruleset, base, &packet).is_empty())
}
