//! What a filter is in the table: sets, chains with rules, and the elements that lead to them.
//!
//! An endpoint has one chain for each direction. A tier that sends packets on to the next one has a chain of its own, from
//! which they return; the rules of the others are in the endpoint's chain, one tier after the other.

use hcn_dataplane::{Family, Filter, Site, Tier, Verdict};
use netlink_packet_netfilter::nftables::{Expressions, NfTablesMessage, RuleAttribute, Verdict as Decision};

use super::super::beside::{without_chain, without_rules, without_set};
use super::super::elements::{self, Element, Value};
use super::super::expressions::{NF_ACCEPT, NF_DROP, NF_RETURN, V4, V6, decide, jump, rule, to_chain};
use super::super::skeleton::chain;
use super::sets::{Named, comment};
use super::{COMING, FROM, HOST_FROM, HOST_TO, LEAVING, Message, TO, matching, ours};

/// `NFTNL_UDATA_RULE_COMMENT`
const COMMENT: u8 = 0;

struct Chain {
    name: String,
    rules: Vec<(u16, NfTablesMessage)>,
}

/// What a filter is in the table.
pub(crate) struct Layout {
    sets: Vec<Named>,
    /// Each before those that it jumps to.
    chains: Vec<Chain>,
    /// Of maps.
    elements: Vec<Element>,
}

impl Layout {
    pub(crate) fn of(filter: &Filter) -> Self {
        let mut layout = Self { sets: Vec::new(), chains: Vec::new(), elements: Vec::new() };
        layout.direction(filter, &Self::chain(filter, false), &filter.outgoing, false);
        layout.direction(filter, &Self::chain(filter, true), &filter.incoming, true);
        layout
    }

    /// The chain about packets to an endpoint, or from it.
    pub(crate) fn chain(filter: &Filter, incoming: bool) -> String {
        let stem = match (&filter.site, incoming) {
            (Site::Link(_), true) => "in",
            (Site::Link(_), false) => "out",
            (Site::Bridge(_) | Site::Host(_), true) => "to",
            (Site::Bridge(_) | Site::Host(_), false) => "from",
        };
        format!("{stem}/{}", filter.port)
    }

    fn direction(&mut self, filter: &Filter, name: &str, tiers: &[Tier], incoming: bool) {
        let Some(chains) = self.chains_of(name, tiers) else { return };
        self.chains.extend(chains);
        let value = Value::Verdict(to_chain(Decision::Jump, name));
        let mut leads = |map: String, key: Vec<u8>| {
            self.elements.push(Element::with(map, key, value.clone()));
        };
        let (map, of_host) = if incoming { (TO, HOST_TO) } else { (FROM, HOST_FROM) };
        let (Site::Bridge(bridge) | Site::Host(bridge)) = &filter.site else {
            if let Site::Link(link) = &filter.site {
                let map = if incoming { COMING } else { LEAVING };
                leads(map.to_owned(), elements::ifname(&link.name));
            }
            return;
        };
        let family = |address| if Family::of(address) == Family::V4 { &V4 } else { &V6 };
        for address in &filter.addresses {
            let key = [elements::ifname(bridge), elements::octets(*address)].concat();
            leads(family(*address).set(map), key);
        }
        if matches!(filter.site, Site::Host(_)) {
            for address in &filter.addresses {
                leads(family(*address).set(of_host), elements::octets(*address));
            }
        }
    }

    /// The chain of a direction and those of its tiers; none where there is nothing to ask.
    fn chains_of(&mut self, name: &str, tiers: &[Tier]) -> Option<Vec<Chain>> {
        if tiers.iter().all(|tier| tier.rules.is_empty()) {
            return None;
        }
        let mut chains = vec![Chain { name: name.to_owned(), rules: Vec::new() }];
        for (number, tier) in (1..).zip(tiers) {
            // After the last tier packets pass.
            let is_last = number == tiers.len();
            let sends_on = !is_last && tier.rules.iter().any(|rule| rule.verdict == Verdict::Next);
            let own = if sends_on { format!("{name}/{number}") } else { name.to_owned() };
            let mut rules = Vec::new();
            for (place, asked) in (1..).zip(&tier.rules) {
                let verdict = match asked.verdict {
                    Verdict::Drop => NF_DROP,
                    Verdict::Next if !is_last => NF_RETURN,
                    Verdict::Allow | Verdict::Next => NF_ACCEPT,
                };
                let stem = format!("{name}/{number}.{place}");
                let words = in_words(tier, &asked.name);
                for form in matching::forms(asked, &stem, &mut self.sets) {
                    rules.push(noted(&own, form.into_iter().chain([decide(verdict)]), &words));
                }
            }
            if sends_on {
                chains[0].rules.push(noted(name, [jump(&own)], &tier.name));
                chains.push(Chain { name: own, rules });
            } else {
                chains[0].rules.extend(rules);
            }
        }
        Some(chains)
    }

    /// The messages that make all of it.
    pub(crate) fn make(&self) -> Vec<Message> {
        let sets = self.sets.iter().flat_map(Named::messages);
        let chains = self.chains.iter().map(|own| chain(&own.name));
        let rules = self.chains.iter().flat_map(|chain| chain.rules.iter().cloned());
        let elements = elements::messages(&self.elements, false);
        sets.chain(chains).chain(rules).chain(elements).map(ours).collect()
    }

    /// The messages that take all of it away.
    pub(crate) fn unmake(&self) -> Vec<Message> {
        let elements = elements::messages(&self.elements, true).into_iter();
        let chains = self.chains.iter().map(|chain| without_chain(&chain.name));
        let sets = self.sets.iter().map(|set| without_set(&set.name));
        elements.chain(chains).chain(sets).map(ours).collect()
    }

    /// The messages that make another one of it.
    pub(crate) fn become_other(&self, to: &Self) -> Vec<Message> {
        let (gone_elements, new_elements) = elements::differing(&self.elements, &to.elements);
        let stays = |chain: &&Chain, others: &[Chain]| others.iter().any(|other| other.name == chain.name);
        let mut messages = elements::messages(&gone_elements, true);
        let (kept, gone): (Vec<&Chain>, Vec<&Chain>) =
            self.chains.iter().partition(|chain| stays(chain, &to.chains));
        // First those that jump to others.
        messages.extend(kept.iter().map(|chain| without_rules(&chain.name)));
        messages.extend(gone.iter().map(|chain| without_chain(&chain.name)));
        let old = self.sets.iter().filter(|set| !to.sets.contains(set));
        messages.extend(old.map(|set| without_set(&set.name)));
        let new = to.sets.iter().filter(|set| !self.sets.contains(set));
        messages.extend(new.flat_map(Named::messages));
        let come = to.chains.iter().filter(|chain| !stays(chain, &self.chains));
        messages.extend(come.map(|own| chain(&own.name)));
        messages.extend(to.chains.iter().flat_map(|chain| chain.rules.iter().cloned()));
        messages.extend(elements::messages(&new_elements, false));
        messages.into_iter().map(ours).collect()
    }
}

/// What a rule is in the documents.
fn in_words(tier: &Tier, rule: &str) -> String {
    // Most rules are named after their tier.
    match (tier.name.as_str(), rule) {
        (tier, "") => tier.to_owned(),
        (tier, rule) if rule.starts_with(tier) => rule.to_owned(),
        (tier, rule) => format!("{tier}: {rule}"),
    }
}

/// A rule that says beside it what it is in the documents.
fn noted(
    chain: &str,
    expressions: impl IntoIterator<Item = Expressions>,
    words: &str,
) -> (u16, NfTablesMessage) {
    let (flags, mut message) = rule(chain, expressions);
    if let NfTablesMessage::NewRule(rule) = &mut message
        && !words.is_empty()
    {
        rule.attributes.push(RuleAttribute::UserData(comment(COMMENT, words)));
    }
    (flags, message)
}
