//! The rules of all programs, as nft lists them: this is a diagnosis, and nothing that it learns is written anywhere. The
//! elements of sets are asked for only where a rule of another program names the set: hcnd's own are many. Where nft cannot
//! be asked the kernel tells at least which chains drop what reaches their end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hcn_dataplane::{BaseChain, Rules};
use netlink_packet_netfilter::nftables::{ChainMessage, NfTablesMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::attributes::{find, text};
use crate::socket::{Socket, Wire};

/// How long nft may take, all in all.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many octets of one answer are taken.
const MOST: u64 = 64 << 20;
/// So many sets are asked for.
const SETS: usize = 256;
const POLL: Duration = Duration::from_millis(2);

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFGENMSG: usize = 4;
const NF_DROP: [u8; 4] = [0; 4];

pub(super) fn read(unread: &mut Vec<(String, String)>) -> Rules {
    let deadline = Instant::now() + PATIENCE;
    let mut rules = Rules::default();
    if let Err(error) = list(&mut rules, deadline) {
        rules.no_nft = error.kind() == io::ErrorKind::NotFound;
        rules.problem = Some(error.to_string());
        match base_chains() {
            Ok(chains) => rules.chains = chains,
            Err(error) => unread.push(("base chains of nftables".to_owned(), error.to_string())),
        }
    }
    rules
}

fn list(rules: &mut Rules, deadline: Instant) -> io::Result<()> {
    let listing = nft(&["--json", "--terse", "list", "ruleset"], deadline)?;
    rules.texts = texts(&nft(&["--handle", "--terse", "list", "ruleset"], deadline)?);
    let sets = named_sets(&listing);
    rules.listings.push(listing);
    for (kind, family, table, name) in sets.iter().take(SETS) {
        // It may have gone meanwhile.
        match nft(&["--json", "list", kind, family, table, name], deadline) {
            Ok(set) => rules.listings.push(set),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Runs nft and gives what it prints.
fn nft(arguments: &[&str], deadline: Instant) -> io::Result<String> {
    let mut command = Command::new("nft");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let output = thread::Builder::new().name("nft".to_owned()).spawn(move || drain(output))?;
    let errors = thread::Builder::new().name("nft".to_owned()).spawn(move || drain(errors))?;
    let success = wait(&mut child, deadline)?;
    let read = |thread: thread::JoinHandle<String>| thread.join().unwrap_or_default();
    let (output, errors) = (read(output), read(errors));
    if success {
        return Ok(output);
    }
    let reason = errors.lines().next().unwrap_or("nft failed").to_owned();
    Err(io::Error::other(reason))
}

fn drain(pipe: Option<impl Read>) -> String {
    let mut octets = Vec::new();
    if let Some(pipe) = pipe {
        // What is longer is no JSON then; nft ends when nobody reads.
        let _ = pipe.take(MOST).read_to_end(&mut octets);
    }
    String::from_utf8_lossy(&octets).into_owned()
}

fn wait(child: &mut Child, deadline: Instant) -> io::Result<bool> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            let seconds = PATIENCE.as_secs();
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nft took longer than {seconds} s")));
        }
        thread::sleep(POLL);
    }
}

/// Rules by table and handle: those of the chains of `nft --handle list ruleset`.
pub(crate) fn texts(listing: &str) -> BTreeMap<(String, u64), String> {
    let mut texts = BTreeMap::new();
    let mut table = String::new();
    for line in listing.lines() {
        if let Some(rest) = line.strip_prefix("table ") {
            table = rest.split(" {").next().unwrap_or_default().to_owned();
            continue;
        }
        let Some(rule) = line.strip_prefix("\t\t") else { continue };
        if let Some((rule, handle)) = rule.rsplit_once(" # handle ")
            && let Ok(handle) = handle.trim().parse()
        {
            texts.insert((table.clone(), handle), rule.trim().to_owned());
        }
    }
    texts
}

/// What kind of set it is, its family, table and name.
pub(crate) type Named = (&'static str, String, String, String);

/// The sets and maps of other programs that rules name.
pub(crate) fn named_sets(listing: &str) -> BTreeSet<Named> {
    let parsed: serde_json::Value = serde_json::from_str(listing).unwrap_or_default();
    let objects = || parsed["nftables"].as_array().into_iter().flatten();
    let ours = |table: &str| table == "hcnd" || table.starts_with("hcnd_");
    let mut named = BTreeSet::new();
    for rule in objects().map(|object| &object["rule"]).filter(|rule| rule.is_object()) {
        let of = |member: &str| rule[member].as_str().unwrap_or_default().to_owned();
        let (family, table) = (of("family"), of("table"));
        // nft takes its arguments for one text in its language: a name that is more than a word would be read as such.
        if !ours(&table) && [&family, &table].into_iter().all(|name| is_word(name)) {
            names_in(&rule["expr"], &mut |name| {
                named.insert((family.clone(), table.clone(), name.to_owned()));
            });
        }
    }
    let mut sets = BTreeSet::new();
    for object in objects() {
        for kind in ["set", "map"] {
            let of = |member: &str| object[kind][member].as_str().unwrap_or_default().to_owned();
            let place = (of("family"), of("table"), of("name"));
            if named.contains(&place) {
                sets.insert((kind, place.0, place.1, place.2));
            }
        }
    }
    sets
}

/// Whether a name is one that nft prints and reads again.
fn is_word(name: &str) -> bool {
    let of_words =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'\\');
    name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && name.bytes().all(of_words)
}

fn names_in(value: &serde_json::Value, found: &mut impl FnMut(&str)) {
    match value {
        serde_json::Value::String(text) => {
            if let Some(name) = text.strip_prefix('@').filter(|name| is_word(name)) {
                found(name);
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| names_in(value, found)),
        serde_json::Value::Object(members) => members.values().for_each(|value| names_in(value, found)),
        _ => {}
    }
}

/// What the kernel tells of all base chains.
fn base_chains() -> io::Result<Vec<BaseChain>> {
    let (mut wire, socket) = (Wire::new(), Socket::open(NETLINK_NETFILTER)?);
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let question = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
    let answers = wire.dump(&socket, &NetfilterMessage::new(header, question))?;
    Ok(answers.iter().filter_map(|answer| base_chain(answer)).collect())
}

pub(crate) fn base_chain(answer: &[u8]) -> Option<BaseChain> {
    let family = match answer.first()? {
        1 => "inet",
        2 => "ip",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => return None,
    };
    let attributes = answer.get(NFGENMSG..)?;
    let hook = find(find(attributes, NFTA_CHAIN_HOOK)?, NFTA_HOOK_HOOKNUM)?;
    let hooks = ["prerouting", "input", "forward", "output", "postrouting"];
    let number = u32::from_be_bytes(hook.get(..4)?.try_into().ok()?);
    Some(BaseChain {
        table: format!("{family} {}", text(find(attributes, NFTA_CHAIN_TABLE)?)),
        name: text(find(attributes, NFTA_CHAIN_NAME)?),
        hook: (*hooks.get(usize::try_from(number).ok()?)?).to_owned(),
        drops: find(attributes, NFTA_CHAIN_POLICY) == Some(&NF_DROP),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_by_table_and_handle() {
        let listing = "table ip filter { # handle 1\n\tchain FORWARD { # handle 2\n\t\ttype filter hook forward \
                       priority filter; policy drop;\n\t\tcounter packets 0 bytes 0 jump A # handle 8\n\t}\n}\n\
                       table inet filter { # handle 3\n\tset s { # handle 2\n\t\ttype ifname\n\t}\n\n\tchain c { # \
                       handle 1\n\t\tdrop comment \"# handle 3\" # handle 8\n\t}\n}\n";
        let found = texts(listing);
        let of = |table: &str| found.get(&(table.to_owned(), 8)).map(String::as_str);
        assert_eq!(of("ip filter"), Some("counter packets 0 bytes 0 jump A"));
        assert_eq!(of("inet filter"), Some("drop comment \"# handle 3\""));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn only_sets_that_a_foreign_rule_names_are_asked_for() {
        let rule = |table: &str, set: &str| {
            format!(
                r#"{{"rule": {{"family": "inet", "table": "{table}", "chain": "c", "handle": 1, "expr": [
                    {{"match": {{"op": "==", "left": {{"meta": {{"key": "iifname"}}}}, "right": "@{set}"}}}}]}}}}"#
            )
        };
        let set = |table: &str, name: &str| {
            format!(r#"{{"set": {{"family": "inet", "table": "{table}", "name": "{name}"}}}}"#)
        };
        let objects = [
            set("theirs", "named"),
            set("theirs", "unnamed"),
            set("hcnd", "closed"),
            rule("theirs", "named"),
            rule("hcnd", "closed"),
        ];
        let listing = format!(r#"{{"nftables": [{}]}}"#, objects.join(","));
        let expected = ("set", "inet".to_owned(), "theirs".to_owned(), "named".to_owned());
        assert_eq!(named_sets(&listing), [expected].into());
    }

    #[test]
    fn names_that_nft_would_read_as_more_are_not_given_to_it() {
        let wrong = ["", "a b", "a;flush ruleset", "a{b", "a\nb", "$a", "-f", "--file", "@a", "\"a"];
        for name in wrong {
            assert!(!is_word(name), "{name}");
            let (set, table) = (serde_json::json!(name), serde_json::json!("t"));
            for (set, table) in [(&set, &table), (&table, &set)] {
                let listing = serde_json::json!({"nftables": [
                    {"set": {"family": "ip", "table": table, "name": set}},
                    {"rule": {"family": "ip", "table": table, "expr": [{"x": format!("@{}", set.as_str().unwrap())}]}},
                ]});
                assert_eq!(named_sets(&listing.to_string()), BTreeSet::new(), "{name}");
            }
        }
        assert!(is_word("KUBE-CLUSTER-IP") && is_word("f2b-table") && is_word("_x.1"));
    }
}
