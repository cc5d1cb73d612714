//! `hcnctl backup` and `hcnctl restore`: into a running hcnd, and into one whose state is damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;

use hcn_tests::client::{Client, DUAL};
use hcn_tests::conformance::snapshot;
use hcn_tests::daemon::Hcnd;
use hcn_tests::kernel::{assert_unchanged, enter_own_namespaces, settled_dump};
use hcn_tests::stream::Stream;
use hcn_tests::traffic::{seen_as, serve};
use hcn_tests::{Finished, Sandbox, eventually, in_sandbox, run};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;

const FILE_CORRUPT: u32 = 0x8007_0570;
const INVALID_DATA: u32 = 0x8007_000d;

fn hcnctl(hcnd: &Hcnd, arguments: &[&str]) -> Finished {
    let socket = hcnd.socket.to_str().unwrap();
    run(&[&["hcnctl", "--socket", socket], arguments].concat())
}

fn done(hcnd: &Hcnd, arguments: &[&str]) -> String {
    let finished = hcnctl(hcnd, arguments);
    assert_eq!(finished.code, Some(0), "{finished}");
    finished.stdout
}

/// Without the MAC addresses of host ends, which are new with each.
fn named(dump: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    let words = |line: &String| match line.starts_with("hve") {
        true => line.split(' ').enumerate().filter(|(at, _)| *at != 1).map(|(_, word)| word).collect(),
        false => line.clone(),
    };
    dump.iter().map(|(place, lines)| (place.clone(), lines.iter().map(words).collect())).collect()
}

#[test]
fn a_restore_brings_back_what_was_and_takes_what_came_since() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("backup");
        let path = file.to_str().unwrap();
        let mut hcnd = Hcnd::start(folder.path());
        let mut client = Client::of(&hcnd.socket);
        let network = client.network(&DUAL);
        let [a, b] = [(); 2].map(|()| client.container(&network, &json!({})));
        let gone = client.container(
            &network,
            &json!({"Policies": [{"Type": "ACL", "Settings":
            {"Action": "Block", "Direction": "In", "Protocols": "6", "LocalPorts": "81", "Priority": 5}}]}),
        );
        client.load_balancer(&json!({"HostComputeEndpoints": [a.endpoint], "FrontendVIPs": ["198.18.0.1"],
            "PortMappings": [{"Protocol": 6, "InternalPort": 7000, "ExternalPort": 80}]}));
        let made = settled_dump();
        let documents = snapshot(&mut client.wire);
        assert!(done(&hcnd, &["backup", path]).contains("backed up 8 records"));
        let text = fs::read_to_string(&file).unwrap();
        // It overwrites nothing.
        let refused = hcnctl(&hcnd, &["backup", path]);
        assert_eq!(refused.code, Some(4), "{refused}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);

        // Neither a backup that was altered nor one that was cut, nor one of a newer version, changes anything.
        let stream = Stream::start(&a.namespace, &b.namespace, (a.addresses[0].as_str(), 7001), 7001);
        let altered = text.replacen("192.0.2.0/24", "192.0.3.0/24", 1);
        let cut = &text[..text.len() - 30];
        let lines = text.lines().count();
        let short: String = text.split_inclusive('\n').take(lines - 3).collect();
        let newer = text.replacen("{\"hcnd_backup\":1", "{\"hcnd_backup\":2", 1);
        let other = folder.path().join("other");
        for (text, told) in [
            (altered.as_str(), "altered"),
            (cut, "end is missing"),
            (short.as_str(), "end is missing"),
            (newer.as_str(), "version 2"),
            ("hello", "no backup"),
        ] {
            fs::write(&other, text).unwrap();
            let refused = hcnctl(&hcnd, &["restore", other.to_str().unwrap()]);
            assert!(refused.code != Some(0) && refused.stderr.contains(told), "{told}: {refused}");
        }
        assert_eq!(snapshot(&mut Client::of(&hcnd.socket).wire), documents);
        assert_eq!(client.refused("Service.Restore", &json!({"text": "{}"})), INVALID_DATA);

        // What was deleted comes back, what was made goes; those that were there all the time notice nothing.
        client.delete("Endpoint", &gone.endpoint);
        client.delete("Namespace", &gone.namespace);
        client.detach(&b.namespace, &b.endpoint);
        client.attach(&b.namespace, &b.endpoint);
        let new = client.network(&["198.51.100.0/24"]);
        client.container(&new, &json!({}));
        drop(stream);
        let stream = Stream::start(&a.namespace, &b.namespace, (a.addresses[0].as_str(), 7002), 7002);
        assert!(done(&hcnd, &["restore", path]).contains("restored 8 records"));
        let mut client = Client::of(&hcnd.socket);
        // A call on each endpoint waits for its repair.
        for id in client.ids("Endpoint") {
            let settings =
                json!({"ResourceType": "Policy", "RequestType": "Add", "Settings": {"Policies": []}});
            client.ok("Endpoint.Modify", &json!({"id": id, "settings": settings}));
        }
        eventually("the kernel is as it was", || named(&settled_dump()) == named(&made));
        assert!(stream.end() > 100);
        serve(&gone.namespace);
        assert_eq!(seen_as(&a.namespace, &gone.addresses[0]), a.addresses[0]);
        done(&hcnd, &["restore", path]);
        assert_eq!(snapshot(&mut Client::of(&hcnd.socket).wire), documents);
        // It is in the file.
        hcnd.again(Signal::SIGKILL);
        assert_eq!(snapshot(&mut Client::of(&hcnd.socket).wire), documents);
        assert_eq!(named(&settled_dump()), named(&made));
        hcnd.end(Signal::SIGTERM);
    });
}

#[test]
fn a_damaged_state_is_told_and_a_restore_replaces_it() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let folder = TempDir::new().unwrap();
        let mut hcnd = Hcnd::start(folder.path());
        let file = folder.path().join("backup");
        let path = file.to_str().unwrap();
        let mut client = Client::of(&hcnd.socket);
        let network = client.network(&DUAL);
        let [a, b] = [(); 2].map(|()| client.container(&network, &json!({})));
        let documents = snapshot(&mut client.wire);
        done(&hcnd, &["backup", path]);
        hcnd.end(Signal::SIGTERM);
        let made = settled_dump();
        let stream = Stream::start(&a.namespace, &b.namespace, (a.addresses[0].as_str(), 7001), 7001);
        let mut damaged = fs::read(&hcnd.store).unwrap();
        let middle = damaged.len() / 2;
        damaged[4096..middle].fill(0);
        fs::write(&hcnd.store, &damaged).unwrap();

        hcnd = Hcnd::start(folder.path());
        let told = done(&hcnd, &["status"]);
        assert!(told.contains("Read-only:") && told.contains("state.redb is damaged"), "{told}");
        refuses_every_change(&hcnd, &network, path);
        assert!(fs::read(&hcnd.store).unwrap() == damaged, "the file was changed");
        assert_unchanged(&made, "a start without records changed something");

        done(&hcnd, &["restore", path]);
        let mut client = Client::of(&hcnd.socket);
        assert_eq!(snapshot(&mut client.wire), documents);
        assert!(!done(&hcnd, &["status"]).contains("Read-only:"));
        let aside = folder.path().join("state.redb.damaged-0");
        assert!(fs::read(aside).unwrap() == damaged, "the damaged file is not kept");
        assert!(hcnd.process.stderr().contains("state.redb.damaged-0"), "{}", hcnd.process.stderr());
        client.container(&network, &json!({}));
        thread::sleep(std::time::Duration::from_millis(200));
        assert!(stream.end() > 100);
        hcnd.again(Signal::SIGKILL);
        assert_eq!(Client::of(&hcnd.socket).ids("Endpoint").len(), 3);
        hcnd.end(Signal::SIGTERM);
    });
}

fn refuses_every_change(hcnd: &Hcnd, network: &str, backup: &str) {
    let mut client = Client::of(&hcnd.socket);
    let v2 = json!({"SchemaVersion": {"Major": 2}});
    for (method, parameters) in [
        ("Network.Create", json!({"settings": v2})),
        ("Namespace.Create", json!({"settings": v2})),
        ("Network.Delete", json!({"id": network})),
        ("Endpoint.Create", json!({"network_id": network, "settings": v2})),
        ("Network.Modify", json!({"id": network, "settings": v2})),
        ("Service.Backup", json!({})),
    ] {
        let reply = client.call(method, &parameters);
        assert_eq!(reply.hresult(), Some(FILE_CORRUPT), "{method}: {}", reply.raw);
        assert!(reply.raw.contains("state.redb") && reply.raw.contains("hcnctl restore"), "{}", reply.raw);
    }
    let hns =
        client.ok("V1.Call", &json!({"method": "POST", "path": "/networks/", "request": {"Name": "n"}}));
    assert_eq!(hns["response"]["Success"], false, "{hns}");
    assert_eq!(client.ids("Network"), [""; 0]);
    // It looks at nothing, so it repairs nothing.
    client.ok("Service.Doctor", &json!({}));
    let missing = Path::new(backup).with_extension("none");
    let refused = hcnctl(hcnd, &["backup", missing.to_str().unwrap()]);
    assert!(refused.code == Some(1) && !missing.exists(), "{refused}");
}
