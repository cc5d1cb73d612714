//! hcnctl as its users meet it: what it prints, and its exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails must fail the test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
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
        assert_eq!(hcnctl(&["call", "io.hcn.Network.Enumerate", "{"]).code, Some(2));
        assert_eq!(ok(&["call", "--more", "io.hcn.Service.Ping"]), "{}");
        fails(7, "ExpectedMore", &["call", "io.hcn.Events.Subscribe"]);
        let mut child = Command::new("hcnctl")
            .args(["call", "--more", "io.hcn.Events.Subscribe", r#"{"kinds":["Namespace"]}"#])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("registered"));
        let id = ok(&["namespace", "create"]);
        assert!(lines.next().unwrap().unwrap().contains(&id));
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn a_registration_hears_what_its_callback_gets() {
    in_sandbox!(Sandbox::new(), {
        ok(&["network", "create", "--name", "lab", "--subnet", "198.51.100.0/24"]);
        fails(2, "which network", &["events", "--registration", "network"]);
        fails(2, "for no entity", &["events", "--registration", "service", "lab"]);
        fails(3, "other", &["events", "--registration", "network", "other"]);
        let mut child = Command::new("hcnctl")
            .args(["events", "--registration", "network", "lab"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        eventually("it is registered", || ok(&["metrics"]).contains("hcnd_subscribers 1\n"));
        ok(&["ns", "create", "--name", "box"]);
        let endpoint = ok(&["ep", "create", "--network", "lab", "--name", "eth"]);
        ok(&["ep", "attach", "eth", "box"]);
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains("endpoint attach") && line.contains(&endpoint), "{line}");
        child.kill().unwrap();
        child.wait().unwrap();
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

#[test]
fn policies_are_added_replaced_and_removed() {
    in_sandbox!(Sandbox::new(), {
        ok(&["network", "create", "--name", "lab", "--subnet", "198.51.100.0/24"]);
        let acl = r#"{"Direction":"In", "Action":"Block","Priority":200}"#;
        ok(&["ep", "create", "--network", "lab", "--name", "eth", "--policy", &format!("ACL={acl}")]);
        let policies = |kind: &str, name: &str| ok(&["-o", "json", kind, "policy", "ls", name]);
        // What was given keeps its bytes.
        assert!(policies("endpoint", "eth").contains(acl));
        assert!(ok(&["ep", "policy", "ls", "eth"]).contains(&format!("ACL   {acl}")));
        ok(&["ep", "policy", "add", "eth", "PortName", r#"{"Name":"a"}"#]);
        ok(&["ep", "policy", "update", "eth", "ACL", r#"{"Direction":"Out","Action":"Allow","Priority":1}"#]);
        let left = policies("endpoint", "eth");
        assert!(left.contains("PortName") && left.contains("Out") && !left.contains("Block"), "{left}");
        ok(&["ep", "policy", "rm", "eth", "acl"]);
        fails(3, "no policy of type acl", &["ep", "policy", "rm", "eth", "acl"]);
        fails(3, "0x803b0008", &["ep", "policy", "rm", "eth", "PortName", r#"{"Name":"b"}"#]);
        ok(&["ep", "policy", "rm", "eth", "PortName", r#"{ "Name": "a" }"#]);
        assert_eq!(policies("endpoint", "eth"), "[]");
        fails(7, "0x803b000e", &["ep", "policy", "add", "eth", "Nonsense"]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policies.json");
        let file = file.to_str().unwrap();
        let set = r#"{"Id":"a","Name":"a","PolicyType":"IPSET","Values":"192.0.2.1"}"#;
        fs::write(file, format!(r#"{{"Policies":[{{"Type":"SetPolicy","Settings":{set}}}]}}"#)).unwrap();
        ok(&["network", "policy", "add", "lab", "-f", file]);
        assert!(policies("network", "lab").contains(set));
        fs::write(file, "{").unwrap();
        fails(7, "not JSON", &["network", "policy", "add", "lab", "-f", file]);
    });
}

#[test]
fn a_network_is_changed_in_place() {
    in_sandbox!(Sandbox::new(), {
        let guid = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";
        let create = ["network", "create", "--name", "lab", "--type", "Internal"];
        ok(&[&create[..], &["--subnet", "10.9.0.0/16", "--dns", "10.9.0.9"]].concat());
        assert_eq!(json(&["network", "get", "lab"])["Dns"]["ServerList"][0], "10.9.0.9");
        ok(&["network", "dns", "lab", "--search", "a.test", "--search", "b.test", "--domain", "c.test"]);
        let dns = serde_json::json!({"Domain": "c.test", "Search": ["a.test", "b.test"]});
        assert_eq!(json(&["network", "get", "lab"])["Dns"], dns);
        ok(&["network", "dns", "lab", "--clear"]);
        assert_eq!(json(&["network", "get", "lab"]).get("Dns"), None);
        ok(&["network", "subnet", "add", "lab", "10.10.0.0/16", "--gateway", "10.10.0.7"]);
        ok(&["network", "subnet", "add", "lab", "10.10.1.0/24", "--within", "10.10.0.0/16"]);
        let subnet = &json(&["network", "get", "lab"])["Ipams"][0]["Subnets"][1];
        assert_eq!(subnet["Routes"][0]["NextHop"], "10.10.0.7");
        assert_eq!(subnet["IpSubnets"][0]["IpAddressPrefix"], "10.10.1.0/24");
        ok(&["network", "subnet", "rm", "lab", "10.10.1.0/24", "--within", "10.10.0.0/16"]);
        ok(&["network", "subnet", "rm", "lab", subnet["ID"].as_str().unwrap()]);
        fails(3, "0x803b0005", &["network", "subnet", "rm", "lab", "10.10.0.0/16"]);
        fails(3, "no subnet", &["network", "subnet", "add", "lab", "10.9.1.0/24", "--within", "10.8.0.0/16"]);
        ok(&["network", "extension", "lab", guid, "on"]);
        fails(7, "0x803b0019", &["network", "extension", "lab", "nonsense", "off"]);
        let nowhere = ["network", "create", "--name", "out", "--type", "L2Bridge", "--adapter", "nowhere0"];
        fails(3, "0x803b0006", &nowhere);
    });
}

#[test]
fn endpoints_have_ports_counters_and_addresses_and_may_live_elsewhere() {
    in_sandbox!(Sandbox::new(), {
        ok(&["network", "create", "--name", "lab", "--subnet", "198.51.100.0/24"]);
        ok(&["ep", "create", "--network", "lab", "--name", "eth", "--ip", "198.51.100.7"]);
        ok(&["ep", "port", "add", "eth", "--vm", "5F0B1190-63BE-4E0C-B974-BD0F55675A42"]);
        assert_eq!(json(&["ep", "get", "eth"])["State"], 2);
        fails(4, "0x803b0014", &["ep", "port", "add", "eth"]);
        ok(&["ep", "port", "refresh", "eth"]);
        ok(&["ep", "port", "rm", "eth"]);
        assert_eq!(ok(&["ep", "addresses", "eth"]), "198.51.100.7/24");
        assert_eq!(json(&["ep", "addresses", "eth"])["Addresses"][0]["PrefixLength"], 24);
        ok(&["ns", "create", "--name", "box"]);
        ok(&["ep", "attach", "eth", "box"]);
        ok(&["ns", "exec", "box", "ping", "-c1", "-W5", "198.51.100.1"]);
        assert!(json(&["ep", "stats", "eth"])["BytesSent"].as_u64().unwrap() > 0);
        assert!(ok(&["ep", "stats", "eth"]).contains("Packets received:"));
        let told = ok(&["ep", "explain", "eth", "--to", "203.0.113.1:443"]);
        assert!(
            told.contains("decided by  NAT of network") && told.contains("inet hcnd set masq4"),
            "{told}"
        );
        let asked = ["ep", "explain", "eth", "--from", "203.0.113.1", "--port", "53", "--proto", "udp"];
        assert_eq!(json(&asked)["Verdict"], "Allow");
        let far = ["ep", "create", "--network", "lab", "--name", "far", "--ip", "203.0.113.99"];
        ok(&[&far[..], &["--remote", "--provider-address", "192.0.2.77"]].concat());
        let far = json(&["ep", "get", "far"]);
        assert_eq!(far["Flags"], 1);
        assert_eq!(far["Policies"][0]["Settings"]["ProviderAddress"], "192.0.2.77");
        fails(7, "0x803b000f", &["ep", "attach", "far", "box"]);
    });
}

#[test]
fn members_of_namespaces_and_load_balancers_come_and_go() {
    in_sandbox!(Sandbox::new(), {
        ok(&["ns", "create", "--name", "box"]);
        ok(&["ns", "container", "add", "box", "some-container"]);
        assert!(ok(&["ns", "get", "box"]).contains("Container:  some-container"));
        fails(7, "some-container", &["ns", "rm", "box"]);
        ok(&["ns", "container", "rm", "box", "some-container"]);
        fails(3, "other-container", &["ns", "container", "rm", "box", "other-container"]);
        ok(&["network", "create", "--name", "lab", "--subnet", "198.51.100.0/24"]);
        let ids =
            ["one", "two", "three"].map(|name| ok(&["ep", "create", "--network", "lab", "--name", name]));
        let balancer = ["lb", "create", "--name", "shop", "--vip", "198.18.0.80", "--port", "80:80", "--dsr"];
        ok(&[&balancer[..], &["--endpoint", "one"]].concat());
        ok(&["lb", "backend", "add", "shop", "two", "three"]);
        ok(&["lb", "backend", "rm", "shop", "one"]);
        let shop = json(&["lb", "get", "shop"]);
        assert_eq!(shop["HostComputeEndpoints"], serde_json::json!(ids[1..]));
        assert_eq!((&shop["Flags"], &shop["FrontendVIPs"][0]), (&1.into(), &"198.18.0.80".into()));
        fails(3, "no back end", &["lb", "backend", "rm", "shop", "one"]);
    });
}

#[test]
fn sdn_routes_are_made_changed_and_removed() {
    in_sandbox!(Sandbox::new(), {
        ok(&["network", "create", "--name", "lab", "--subnet", "198.51.100.0/24"]);
        let endpoint = ok(&["ep", "create", "--network", "lab", "--name", "eth"]);
        let create = ["route", "create", "--name", "r", "--endpoint", "eth"];
        ok(&[&create[..], &["--route", "10.50.0.0/16,198.51.100.7", "--need-encap"]].concat());
        assert!(ok(&["sdnroute", "ls"]).contains("10.50.0.0/16 via 198.51.100.7 encapsulated"));
        assert_eq!(json(&["route", "get", "r"])["HostComputeEndpoints"][0], endpoint);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("route.json");
        fs::write(&file, r#"{"Routes":[{"DestinationPrefix":"10.51.0.0/16"}]}"#).unwrap();
        ok(&["route", "modify", "r", "-f", file.to_str().unwrap()]);
        assert!(ok(&["route", "get", "r"]).contains("10.51.0.0/16"));
        ok(&["route", "rm", "r"]);
        fails(3, "SDN route", &["route", "get", "r"]);
    });
}

#[test]
fn ports_are_reserved_as_long_as_somebody_holds_them() {
    in_sandbox!(Sandbox::new(), {
        let machine = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";
        assert_eq!(ok(&["gns", "create", "--name", "g", "--vm", machine, "--mirror-host"]), machine);
        ok(&["gns", "state", "g", "synchronized"]);
        let table = ok(&["gns", "ls"]);
        assert!(table.contains("Synchronized") && table.contains("the host"), "{table}");
        fails(7, "Synchronized", &["gns", "state", "g", "nonsense"]);
        let hold = ["reservation", "hold", "--gns", "g"];
        let of_command = r#"test $((HCN_LAST_PORT - HCN_PORT)) = 3 && hcnctl reservation ls && exit 42"#;
        let ended = hcnctl(&[&hold[..], &["--count", "4", "--", "sh", "-c", of_command]].concat());
        assert_eq!(ended.code, Some(42), "{ended}");
        assert!(ended.stdout.contains("tcp, udp") && ended.stdout.contains("exclusive"), "{ended}");
        let held = || json(&["reservation", "ls"]).as_array().unwrap().clone();
        assert_eq!(held().len(), 0);
        let hold = [&hold[..], &["--port", "8443"]].concat();
        let start = || Command::new("hcnctl").args(&hold).stdout(Stdio::piped()).spawn().unwrap();
        let mut child = start();
        eventually("the port is reserved", || held().len() == 1);
        fails(4, "0x803b0013", &hold);
        let id = held()[0]["ID"].as_str().unwrap().to_owned();
        assert!(ok(&["reservation", "get", &id[..8]]).contains("8443"));
        child.kill().unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"8443\n");
        eventually("it ended with its holder", || held().is_empty());
        child = start();
        eventually("the port is reserved again", || held().len() == 1);
        ok(&["reservation", "rm", held()[0]["ID"].as_str().unwrap()]);
        assert_eq!(child.wait().unwrap().code(), Some(3));
        assert_eq!(hcnctl(&[&hold[..], &["--", "no-such-program"]].concat()).code, Some(127));
        ok(&["gns", "rm", "g"]);
    });
}

#[test]
fn calls_of_version_1_are_sent_as_they_are() {
    in_sandbox!(Sandbox::new(), {
        let path = "/networks/5F0B1190-63BE-4E0C-B974-BD0F55675A42";
        let ended = hcnctl(&["-o", "json", "hns", "get", path]);
        let envelope: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((&envelope["Success"], ended.stderr.as_str()), (&false.into(), ""), "{ended}");
        fails(ended.code.unwrap(), envelope["Error"].as_str().unwrap().trim(), &["hns", "GET", path]);
        assert_eq!(hcnctl(&["--hns-version", "nonsense", "network", "ls"]).code, Some(2));
        // Such a version does not know the type.
        ok(&["network", "create", "--name", "lab", "--subnet", "198.51.100.0/24"]);
        let create =
            ["ep", "create", "--network", "lab", "--policy", r#"TierAcl={"Direction":"In","Order":1}"#];
        assert_ne!(hcnctl(&[&["--hns-version", "13.0"], &create[..]].concat()).code, Some(0));
        ok(&create);
    });
}

#[test]
fn version_1_is_spoken_as_it_is() {
    in_sandbox!(Sandbox::new(), {
        let version: Value = serde_json::from_str(&ok(&["hns", "get", "/globals/version"])).unwrap();
        assert_eq!(version["Major"], 16);
        let old = ok(&["--hns-version", "15.4", "hns", "GET", "/globals/version"]);
        let old: Value = serde_json::from_str(&old).unwrap();
        assert_eq!((&old["Major"], &old["Minor"]), (&15.into(), &4.into()));
        let network = r#"{"Name":"one","Type":"nat","Subnets":[{"AddressPrefix":"198.51.100.0/24"}]}"#;
        let made: Value = serde_json::from_str(&ok(&["hns", "POST", "/networks/", network])).unwrap();
        let path = format!("/networks/{}", made["ID"].as_str().unwrap());
        assert_eq!(json(&["hns", "GET", &path])["Output"]["Name"], "one");
        ok(&["hns", "DELETE", &path]);
        fails(3, "0x803b0001", &["hns", "GET", &path]);
        let ended = hcnctl(&["-o", "json", "hns", "GET", &path]);
        let envelope: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((ended.code, &envelope["Success"]), (Some(3), &false.into()), "{ended}");
        assert_eq!(hcnctl(&["--hns-version", "nonsense", "network", "ls"]).code, Some(2));
    });
}
