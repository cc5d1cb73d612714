//! What the kernel holds, read with the tools that administrators use, for comparing before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::process::{eventually, run_ok};
use crate::time::patience;

/// Everything that is destroyed in the background must be gone by then.
const REAPED: Duration = Duration::from_secs(10);

/// Moves this thread, and what it starts from now on, into a network and a mount namespace of its own (inside
/// a sandbox): a second data plane can run there beside the sandbox's hcnd.
pub fn enter_own_namespaces() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    fs::create_dir_all("/run/netns").unwrap();
    mount(Some("tmpfs"), "/run/netns", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
    run_ok(&["ip", "link", "set", "lo", "up"]);
}

/// A text for everything that hcnd could have made: links, addresses, routes, namespaces with theirs, rules,
/// files. Counters, interface indexes and what the kernel adds by itself are left out. Links that are being
/// destroyed count, so compare with a deadline.
#[must_use]
pub fn dump() -> BTreeMap<String, BTreeSet<String>> {
    let mut dump = BTreeMap::new();
    let names: BTreeSet<String> = fs::read_dir("/run/netns")
        .map(|entries| {
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    dump_netns(&mut dump, None);
    for name in &names {
        dump_netns(&mut dump, Some(name));
    }
    dump.insert("netns".to_owned(), names);
    let files = fs::read_dir("/etc/netns").map(|entries| {
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let text = fs::read_to_string(path.join("resolv.conf")).unwrap_or_default();
                format!("{}: {text}", path.display())
            })
            .collect()
    });
    dump.insert("files".to_owned(), files.unwrap_or_default());
    dump.insert("rules".to_owned(), ruleset());
    dump
}

/// `nft list ruleset` and `nft -j list ruleset`, both of which must succeed, without counters and handles.
#[must_use]
pub fn ruleset() -> BTreeSet<String> {
    let text = run_ok(&["nft", "list", "ruleset"]);
    let json: Value = serde_json::from_str(&run_ok(&["nft", "-j", "list", "ruleset"])).unwrap();
    assert!(json["nftables"].is_array(), "{json}");
    parts(&text)
}

fn dump_netns(dump: &mut BTreeMap<String, BTreeSet<String>>, netns: Option<&str>) {
    let ip = |arguments: &[&str]| -> Vec<Value> {
        let mut argv = vec!["ip"];
        if let Some(netns) = netns {
            argv.extend(["-n", netns]);
        }
        argv.push("-j");
        argv.extend(arguments);
        serde_json::from_str(&run_ok(&argv)).unwrap_or_default()
    };
    let place = netns.unwrap_or("host");
    let text = |value: &Value, member: &str| value[member].as_str().unwrap_or_default().to_owned();
    let links = ip(&["-d", "link", "show"]);
    let facts = links.iter().map(|link| {
        let up = link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP"));
        let members = ["ifname", "address", "ifalias", "master", "group"].map(|member| text(link, member));
        let kind = text(&link["linkinfo"], "info_kind");
        format!(
            "{} {kind} mtu {} up {up} gen {}",
            members.join(" "),
            link["mtu"],
            link["inet6_addr_gen_mode"]
        )
    });
    dump.insert(format!("{place} links"), facts.collect());
    let carriers = ip(&["addr", "show"]);
    let addresses = carriers.iter().flat_map(|link| {
        let infos = link["addr_info"].as_array().cloned().unwrap_or_default();
        let name = text(link, "ifname");
        infos
            .into_iter()
            .filter(|info| info["scope"] != "link")
            .map(move |info| format!("{name} {} {}", info["local"], info["prefixlen"]))
            .collect::<Vec<_>>()
    });
    dump.insert(format!("{place} addresses"), addresses.collect());
    let mut routes = BTreeSet::new();
    let mut rules = BTreeSet::new();
    for family in ["-4", "-6"] {
        // What is local goes with the addresses.
        let listed = ip(&[family, "route", "show", "table", "all"]);
        let listed = listed.iter().filter(|route| {
            route["table"] != "local"
                && !text(route, "dst").starts_with("fe80")
                && text(route, "type") != "multicast"
        });
        routes.extend(listed.map(|route| {
            let members = ["type", "dst", "gateway", "dev", "protocol"].map(|member| text(route, member));
            format!("{family} {} {} table {}", members.join(" "), route["metric"], route["table"])
        }));
        rules.extend(ip(&[family, "rule", "show"]).iter().map(|rule| format!("{family} {rule}")));
    }
    dump.insert(format!("{place} routes"), routes);
    dump.insert(format!("{place} policy rules"), rules);
    let disciplines: Vec<Value> = serde_json::from_str(&run_ok(&tc(netns))).unwrap_or_default();
    // What links have by themselves says nothing.
    let own = ["noqueue", "noop", "mq", "fq_codel", "pfifo_fast"];
    let disciplines =
        disciplines.iter().filter(|discipline| !own.contains(&text(discipline, "kind").as_str()));
    let disciplines =
        disciplines.map(|discipline| format!("{} {}", text(discipline, "dev"), text(discipline, "kind")));
    dump.insert(format!("{place} disciplines"), disciplines.collect());
    if let Some(netns) = netns {
        let listed = run_ok(&["ip", "netns", "exec", netns, "nft", "list", "ruleset"]);
        dump.insert(format!("{place} rules"), parts(&listed));
    }
}

fn tc(netns: Option<&str>) -> Vec<&str> {
    let mut argv = vec!["tc"];
    argv.extend(netns.into_iter().flat_map(|netns| ["-n", netns]));
    argv.extend(["-j", "qdisc", "show"]);
    argv
}

/// What a list of rules says. Elements of a set come in any order, several on a line; what packets add to one goes by
/// itself.
fn parts(text: &str) -> BTreeSet<String> {
    let parts = text.split(['\n', ',']).filter(|part| !part.contains(" expires "));
    parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// The group of the links that hcnd makes, as `ip` prints it. Those that are in use are up.
const OUR_GROUP: &str = "1751346788";

/// A dump in which nothing is being destroyed any more.
///
/// # Panics
/// Retired links stay.
#[must_use]
pub fn settled_dump() -> BTreeMap<String, BTreeSet<String>> {
    // In the moment before they go they are in another group.
    let ours = |line: &str| line.contains(OUR_GROUP) || line.contains(" hcn ");
    let retired = |dump: &BTreeMap<String, BTreeSet<String>>| {
        dump.values().flatten().any(|line| ours(line) && line.contains("up false"))
    };
    let mut last = BTreeMap::new();
    eventually("retired links are gone", || {
        last = dump();
        !retired(&last)
    });
    last
}

/// Waits until the kernel is as it was.
///
/// # Panics
/// Something differs still when everything should be reaped.
pub fn assert_unchanged(before: &BTreeMap<String, BTreeSet<String>>, place: &str) {
    let deadline = Instant::now() + patience(REAPED);
    loop {
        let lines = differences(before, &dump());
        if lines.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{place}:\n{}", lines.join("\n"));
        sleep(Duration::from_millis(10));
    }
}

/// The lines in which two dumps differ.
#[must_use]
pub fn differences(
    before: &BTreeMap<String, BTreeSet<String>>,
    after: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let none = BTreeSet::new();
    let mut lines = Vec::new();
    for key in keys {
        let (old, new) = (before.get(key).unwrap_or(&none), after.get(key).unwrap_or(&none));
        lines.extend(old.difference(new).map(|line| format!("- {key}: {line}")));
        lines.extend(new.difference(old).map(|line| format!("+ {key}: {line}")));
    }
    lines
}
