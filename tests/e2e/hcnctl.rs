//! hcnctl as its users meet it: what it prints, and its exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails must fail the test")]

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use hcn_tests::{Finished, Sandbox, built_hcnd, eventually, in_sandbox, run};
use serde_json::Value;

fn hcnctl(arguments: &[&str]) -> Finished {
    let mut argv = vec!["hcnctl"];
    argv.extend(arguments);
    run(&argv)
}

/// Runs hcnctl, which must succeed; what it wrote.
fn ok(arguments: &[&str]) -> String {
    let ended = hcnctl(arguments);
    assert_eq!(ended.code, Some(0), "{ended}");
    ended.stdout.trim_end().to_owned()
}

/// Runs hcnctl, which must fail with a code and say why on stderr only.
fn fails(code: i32, says: &str, arguments: &[&str]) {
    let ended = hcnctl(arguments);
    assert_eq!(ended.code, Some(code), "{ended}");
    assert!(ended.stderr.starts_with("hcnctl: ") && ended.stderr.contains(says), "{ended}");
    assert_eq!(ended.stdout, "", "{ended}");
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(&[&["-o", "json"], arguments].concat())).unwrap()
}

#[test]
fn an_endpoint_is_attached_used_and_detached_by_name() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let network = ok(&["network", "create", "--name", "lab", "--subnet", "198.51.100.0/24"]);
        ok(&["ns", "create", "--name", "box"]);
        let endpoint = ok(&["ep", "create", "--network", "lab", "--name", "eth", "--ip", "198.51.100.7"]);
        ok(&["endpoint", "attach", "eth", "box"]);
        let shown = json(&["endpoint", "get", &endpoint[..8].to_lowercase()]);
        assert_eq!(shown["HostComputeNetwork"], network);
        assert_eq!(shown["IpConfigurations"][0]["IpAddress"], "198.51.100.7");
        let inside = ok(&["namespace", "exec", "box", "--", "ip", "-4", "-o", "addr", "show", "eth0"]);
        assert!(inside.contains("198.51.100.7/24"), "{inside}");
        assert_eq!(hcnctl(&["namespace", "exec", "box", "--", "sh", "-c", "exit 42"]).code, Some(42));
        assert_eq!(hcnctl(&["namespace", "exec", "box", "--", "no-such-program"]).code, Some(127));
        let table = ok(&["network", "ls"]);
        assert!(table.lines().next().unwrap().starts_with("NAME"), "{table}");
        assert!(table.contains("lab") && table.contains(&network) && table.contains("198.51.100.0/24"));
        assert_eq!(json(&["endpoint", "ls"]).as_array().unwrap().len(), 1);
        assert_eq!(json(&["endpoint", "ls", "--filter", "Name=other"]).as_array().unwrap().len(), 0);
        ok(&["endpoint", "detach", "eth"]);
        fails(3, "", &["endpoint", "detach", "eth"]);
        ok(&["endpoint", "rm", "eth"]);
        ok(&["namespace", "rm", "box"]);
        ok(&["network", "rm", "lab"]);
        assert_eq!(json(&["network", "ls"]).as_array().unwrap().len(), 0);
    });
}

#[test]
fn exit_codes_say_what_kind_of_failure_it_was() {
    in_sandbox!(Sandbox::new(), {
        ok(&["network", "create", "--name", "lab", "--subnet", "198.51.100.0/24"]);
        ok(&["ns", "create", "--name", "box"]);
        ok(&["ep", "create", "--network", "lab", "--name", "eth"]);
        ok(&["ep", "attach", "eth", "box"]);
        assert_eq!(hcnctl(&["network", "frobnicate"]).code, Some(2));
        fails(3, "nothing", &["network", "get", "nothing"]);
        fails(4, "0x803b0010", &["network", "create", "--name", "lab"]);
        fails(4, "0x803b002c", &["namespace", "rm", "box"]);
        fails(
            7,
            "Ipams[0].Subnets[0].IpAddressPrefix",
            &["network", "create", "--name", "x", "--subnet", "192.0.2.0/33"],
        );
        fails(7, "0x803b001e", &["ep", "create", "--network", "lab", "--ip", "192.0.2.1"]);
        let ended = hcnctl(&["-o", "json", "network", "get", "nothing"]);
        let error: Value = serde_json::from_str(&ended.stderr).unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains("nothing"), "{ended}");
        fails(6, "/nowhere.sock", &["--socket", "/nowhere.sock", "network", "ls"]);
    });
}

#[test]
fn a_name_of_two_is_an_error_that_lists_both() {
    in_sandbox!(Sandbox::new(), {
        ok(&["network", "create", "--name", "lab", "--subnet", "198.51.100.0/24"]);
        let ids = [0, 1].map(|_| ok(&["ep", "create", "--network", "lab", "--name", "twin"]));
        let ended = hcnctl(&["ep", "rm", "twin"]);
        assert_eq!(ended.code, Some(2), "{ended}");
        assert!(ids.iter().all(|id| ended.stderr.contains(id)), "{ended}");
        ok(&["ep", "rm", &ids[0], &ids[1]]);
    });
}

#[test]
fn documents_come_from_files_and_from_stdin() {
    in_sandbox!(Sandbox::new(), {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("network.json");
        fs::write(&file, r#"{"Name":"filed","SchemaVersion":{"Major":2,"Minor":0}}"#).unwrap();
        ok(&["network", "create", "-f", file.to_str().unwrap()]);
        let mut child = Command::new("hcnctl")
            .args(["network", "modify", "filed", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let request = r#"{"ResourceType":"DNS","RequestType":"Update","Settings":{"Domain":"example.test"}}"#;
        child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(json(&["network", "get", "filed"])["Dns"]["Domain"], "example.test");
        fails(1, "/nowhere.json", &["network", "create", "-f", "/nowhere.json"]);
        fs::write(&file, "{").unwrap();
        fails(7, "0x803b001b", &["network", "create", "-f", file.to_str().unwrap()]);
    });
}

#[test]
fn events_are_printed_as_they_happen() {
    in_sandbox!(Sandbox::new(), {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("events");
        let mut child = Command::new("hcnctl")
            .args(["-o", "json", "events"])
            .stdout(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let lines = || -> Vec<Value> {
            let text = fs::read_to_string(&log).unwrap();
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        };
        // Only what happens after the registration is told.
        let mut id = String::new();
        eventually("an event is printed", || {
            id = ok(&["namespace", "create"]);
            !lines().is_empty()
        });
        ok(&["namespace", "rm", &id]);
        eventually("the deletion is printed", || {
            lines().iter().any(|event| event["action"] == "delete" && event["id"] == id)
        });
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn raw_calls_are_sent_as_they_are() {
    in_sandbox!(Sandbox::new(), {
        let reply: Value =
            serde_json::from_str(&ok(&["call", "io.hcn.Network.Enumerate", r#"{"query":{}}"#])).unwrap();
        assert_eq!(reply["ids"], serde_json::json!([]));
        assert_ne!(hcnctl(&["call", "io.hcn.Network.Explode", "{}"]).code, Some(0));
    });
}

#[test]
fn without_a_daemon_it_says_where_it_looked_and_how_to_start_one() {
    let hcnctl = built_hcnd().with_file_name("hcnctl");
    let ended = run(&[hcnctl.to_str().unwrap(), "--socket", "/nowhere/hcnd.sock", "network", "ls"]);
    assert_eq!(ended.code, Some(6), "{ended}");
    for text in ["/nowhere/hcnd.sock", "systemctl start hcnd", "hcnd sandbox"] {
        assert!(ended.stderr.contains(text), "{ended}");
    }
}
