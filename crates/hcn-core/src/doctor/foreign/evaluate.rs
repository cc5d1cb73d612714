//! Which rules drop a packet, for certain or perhaps? A walk through a base chain and the chains that it leads to.

use serde_json::Value;

use super::matching::{Truth, holds, looked_up};
use super::packet::{Packet, Seen};
use super::ruleset::{Base, Rule, Ruleset};
use super::words;

/// As deep as the kernel goes (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: usize = 16;

/// So many rules are looked at for one packet in one base chain.
const RULES: usize = 1_000_000;

/// Statements that decide nothing.
const SILENT: [&str; 14] = [
    "counter",
    "log",
    "mangle",
    "notrack",
    "set",
    "map",
    "flow",
    "ct helper",
    "ct timeout",
    "ct expectation",
    "last",
    "secmark",
    "dup",
    "tunnel",
];
/// Targets of iptables that decide nothing.
const SILENT_TARGETS: [&str; 14] = [
    "LOG", "MARK", "CONNMARK", "TCPMSS", "CT", "NFLOG", "CLASSIFY", "SET", "DSCP", "TOS", "TTL", "HL",
    "CHECKSUM", "TRACE",
];
/// Verdicts.
const VERDICTS: [&str; 9] =
    ["accept", "drop", "reject", "queue", "synproxy", "return", "continue", "jump", "goto"];
/// Statements after which the chain is done with the packet, which goes on.
const TRANSLATIONS: [&str; 5] = ["masquerade", "snat", "dnat", "redirect", "tproxy"];

/// A rule, or the policy of a chain, that drops a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Family and table.
    pub(super) table: String,
    pub(super) chain: String,
    /// Of the rule; none = the policy of the chain.
    pub(super) handle: Option<u64>,
    /// The rule as nft prints it.
    pub(super) text: String,
    /// Every condition on the way was understood.
    pub(super) certain: bool,
}

/// What the end of a chain leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// The packet's way in the base chain is over.
    Ended,
    /// Back to the rule that led here.
    Returned,
    /// On to the next rule.
    On,
}

/// What drops a packet in a base chain.
pub(super) fn drops(ruleset: &Ruleset, base: &Base, packet: &Packet) -> Vec<Dropped> {
    if !packet.passes(&base.family, &base.hook) || (base.nat && packet.answer) {
        return Vec::new();
    }
    let seen = Seen { packet, hook: &base.hook, priority: base.priority };
    let mut walk = Walk {
        ruleset,
        table: &base.table,
        seen,
        certain: true,
        left: RULES,
        may_end: false,
        found: Vec::new(),
    };
    if walk.chain(&base.name, 0) != Flow::Ended && base.drops {
        walk.drop(&base.name, None, "policy drop");
    }
    walk.found
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    table: &'a str,
    seen: Seen<'a>,
    /// The packet gets here whatever the conditions mean that were not understood.
    certain: bool,
    /// How many rules may still be looked at.
    left: usize,
    /// A rule on the way ends the packet's way, or may.
    may_end: bool,
    found: Vec<Dropped>,
}

impl Walk<'_> {
    fn drop(&mut self, chain: &str, handle: Option<u64>, text: &str) {
        self.may_end = true;
        self.found.push(Dropped {
            table: self.table.to_owned(),
            chain: chain.to_owned(),
            handle,
            text: text.to_owned(),
            certain: self.certain,
        });
    }

    fn chain(&mut self, name: &str, depth: usize) -> Flow {
        if depth > DEEPEST {
            return Flow::Returned;
        }
        let ruleset = self.ruleset;
        for rule in ruleset.chain(self.table, name) {
            let Some(left) = self.left.checked_sub(1) else {
                // What comes after it is not looked at.
                self.certain = false;
                return Flow::Ended;
            };
            self.left = left;
            match self.rule(name, rule, depth) {
                Flow::On => {}
                other => return other,
            }
        }
        Flow::Returned
    }

    fn rule(&mut self, chain: &str, rule: &Rule, depth: usize) -> Flow {
        let mut truth = Truth::Yes;
        for statement in &rule.statements {
            let Some((kind, inner)) = statement.as_object().and_then(|object| object.iter().next()) else {
                continue;
            };
            let condition = match kind.as_str() {
                "match" => holds(self.ruleset, self.table, inner, &self.seen),
                "xt" if inner["type"] == "match" => {
                    words::holds(inner["name"].as_str().unwrap_or_default(), &rule.text, &self.seen)
                }
                silent if SILENT.contains(&silent) => Truth::Yes,
                "vmap" => return self.verdict_map(chain, rule, inner, truth, depth),
                "xt" => {
                    let name = inner["name"].as_str().unwrap_or_default();
                    if SILENT_TARGETS.contains(&name) {
                        Truth::Yes
                    } else {
                        let verdict = match name {
                            "REJECT" | "DROP" => "reject",
                            "NFQUEUE" => "queue",
                            _ => "masquerade",
                        };
                        return self.decide(chain, rule, (verdict, &Value::Null), truth, depth);
                    }
                }
                verdict if VERDICTS.contains(&verdict) || TRANSLATIONS.contains(&verdict) => {
                    return self.decide(chain, rule, (verdict, inner), truth, depth);
                }
                // What a later nft has may be a condition.
                _ => Truth::Maybe,
            };
            truth = truth.and(condition);
            if truth == Truth::No {
                return Flow::On;
            }
        }
        Flow::On
    }

    fn verdict_map(&mut self, chain: &str, rule: &Rule, map: &Value, truth: Truth, depth: usize) -> Flow {
        let (verdicts, hit) = looked_up(self.ruleset, self.table, map, &self.seen);
        if verdicts.is_empty() && hit == Truth::Maybe {
            // Whatever it leads to.
            self.certain = false;
            self.may_end = true;
        }
        for (sure, verdict) in verdicts {
            let Some((kind, inner)) = verdict.as_object().and_then(|object| object.iter().next()) else {
                continue;
            };
            let flow = self.decide(chain, rule, (kind, inner), truth.and(sure), depth);
            if flow != Flow::On {
                return flow;
            }
        }
        Flow::On
    }

    fn decide(
        &mut self,
        chain: &str,
        rule: &Rule,
        (verdict, inner): (&str, &Value),
        truth: Truth,
        depth: usize,
    ) -> Flow {
        let surely = truth == Truth::Yes;
        let certain = self.certain;
        match verdict {
            "drop" | "reject" => {
                self.certain &= surely;
                self.drop(chain, Some(rule.handle), &rule.text);
                if surely { Flow::Ended } else { Flow::On }
            }
            // A program decides.
            "queue" => {
                self.certain = false;
                self.drop(chain, Some(rule.handle), &rule.text);
                if surely { Flow::Ended } else { Flow::On }
            }
            "accept" | "synproxy" => self.end(surely),
            translation if TRANSLATIONS.contains(&translation) => self.end(surely),
            "return" if surely => Flow::Returned,
            "return" => {
                self.certain = false;
                Flow::On
            }
            "jump" | "goto" => {
                let target = inner["target"].as_str().unwrap_or_default();
                if surely {
                    return match self.chain(target, depth + 1) {
                        Flow::Ended => Flow::Ended,
                        _ if verdict == "goto" => Flow::Returned,
                        _ => Flow::On,
                    };
                }
                let ended_before = std::mem::take(&mut self.may_end);
                self.certain = false;
                self.chain(target, depth + 1);
                self.certain = certain && !self.may_end && verdict == "jump";
                self.may_end |= ended_before;
                Flow::On
            }
            _ => Flow::On,
        }
    }

    fn end(&mut self, surely: bool) -> Flow {
        self.may_end = true;
        if surely {
            return Flow::Ended;
        }
        self.certain = false;
        Flow::On
    }
}
