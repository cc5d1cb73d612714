//! Who is let do what, by the credentials that the kernel gives; what is recorded of it; and how hcnd is.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails must fail the test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use hcn_tests::client::{Client, DUAL};
use hcn_tests::service::sandbox_socket;
use hcn_tests::{Finished, Sandbox, eventually, in_sandbox, run};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Numbers that no group has: the configuration takes numbers as well as names.
const GROUP: &str = "48101";
const READ_GROUP: &str = "48102";
const LOG: &str = "/run/hcnd/hcnd.log";
const METRICS: &str = "127.0.0.1:9470";

/// A sandbox of root's whose hcnd has this configuration. A body that runs inside needs it no more.
fn sandbox(configuration: &str) -> (Sandbox, TempDir) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("hcnd.toml");
    fs::write(&file, configuration).unwrap();
    (Sandbox::new().option("--config").option(file.to_str().unwrap()), folder)
}

fn with_groups() -> (Sandbox, TempDir) {
    sandbox(&format!(
        "[access]\ngroup = {GROUP}\nread_group = \"{READ_GROUP}\"\n[metrics]\nlisten = \"{METRICS}\"\n"
    ))
}

/// hcnctl for user 1000, who may not be able to reach the one that was built.
struct As {
    groups: &'static str,
    hcnctl: PathBuf,
    _folder: TempDir,
}

impl As {
    fn groups(groups: &'static str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let hcnctl = folder.path().join("hcnctl");
        fs::copy(hcn_tests::built_hcnd().with_file_name("hcnctl"), &hcnctl).unwrap();
        fs::set_permissions(&hcnctl, fs::Permissions::from_mode(0o755)).unwrap();
        Self { groups, hcnctl, _folder: folder }
    }

    fn hcnctl(&self, arguments: &[&str]) -> Finished {
        let groups = match self.groups {
            "" => "--clear-groups".to_owned(),
            groups => format!("--groups={groups}"),
        };
        let hcnctl = self.hcnctl.to_str().unwrap();
        let user = ["setpriv", "--reuid=1000", "--regid=1000", &groups, hcnctl];
        run(&[&user[..], arguments].concat())
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.hcnctl(arguments);
        assert_eq!(ended.code, Some(0), "{ended}");
        ended.stdout.trim_end().to_owned()
    }

    fn denied(&self, arguments: &[&str]) {
        let ended = self.hcnctl(&[&["-o", "json"], arguments].concat());
        assert_eq!(ended.code, Some(5), "{ended}");
        let failure: Value = serde_json::from_str(&ended.stderr).unwrap();
        assert_eq!(failure["error"]["hresult"], 0x8007_0005_u32, "{ended}");
        assert!(
            failure["error"]["message"].as_str().unwrap().contains("root or a member of group"),
            "{ended}"
        );
    }

    fn call(&self, method: &str, parameters: &Value) -> Finished {
        self.hcnctl(&["call", &format!("io.hcn.{method}"), &parameters.to_string()])
    }
}

/// The lines of the audit trail, as members of each.
fn audit() -> Vec<BTreeMap<String, String>> {
    let log = fs::read_to_string(LOG).unwrap();
    let lines = log.lines().filter_map(|line| line.split_once(" audit: "));
    lines
        .map(|(level, rest)| {
            let members = rest.split_whitespace().filter_map(|word| word.split_once('='));
            let mut line: BTreeMap<String, String> =
                members.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect();
            let level = level.rsplit(' ').next().unwrap_or_default();
            line.insert("level".to_owned(), level.to_owned());
            line
        })
        .collect()
}

const CREATE: [&str; 6] = ["network", "create", "--name", "lab", "--subnet", "198.51.100.0/24"];

#[test]
fn a_user_without_the_groups_is_denied_everything() {
    let (sandbox, _folder) = with_groups();
    in_sandbox!(sandbox, {
        let network = Client::new().network(&DUAL);
        let nobody = As::groups("");
        nobody.denied(&CREATE);
        for arguments in [
            &["network", "ls"][..],
            &["network", "get", &network],
            &["network", "rm", &network],
            &["endpoint", "create", "--network", &network],
            &["namespace", "create"],
            &["events"],
            &["status"],
            &["metrics"],
            &["call", "io.hcn.Network.Open", &json!({"id": network}).to_string()],
            &["call", "io.hcn.Network.Modify", "{}"],
            &["call", "io.hcn.Network.Query", "{\"moon\":1}"],
            &["call", "io.hcn.Network.Close", "{}"],
        ] {
            nobody.denied(arguments);
        }
        // What the program is, everybody may know.
        assert!(nobody.ok(&["call", "org.varlink.service.GetInfo"]).contains("\"product\":\"hcnd\""));
        nobody.ok(&["call", "io.hcn.Service.Ping"]);
        assert_eq!(Client::new().ids("Network"), [network]);
    });
}

#[test]
fn the_read_group_reads_and_the_group_changes() {
    let (sandbox, _folder) = with_groups();
    in_sandbox!(sandbox, {
        let network = Client::new().network(&DUAL);
        let reader = As::groups(READ_GROUP);
        assert!(reader.ok(&["network", "ls"]).contains(&network));
        reader.ok(&["network", "get", &network]);
        reader.ok(&["endpoint", "ls"]);
        reader.ok(&["namespace", "ls"]);
        reader.ok(&["call", "io.hcn.Network.Open", &json!({"id": network}).to_string()]);
        reader.denied(&CREATE);
        reader.denied(&["network", "rm", &network]);
        reader.denied(&["namespace", "create"]);
        let modify = reader.call("Network.Modify", &json!({"id": network, "text": "{}"}));
        assert_eq!(modify.code, Some(5), "{modify}");

        let changer = As::groups(GROUP);
        let lab = changer.ok(&CREATE);
        let endpoint = changer.ok(&["endpoint", "create", "--network", "lab", "--name", "web"]);
        let namespace = changer.ok(&["namespace", "create"]);
        changer.ok(&["endpoint", "attach", &endpoint, &namespace]);
        changer.ok(&["endpoint", "detach", &endpoint]);
        // Who made it is kept with it.
        let mut root = Client::new();
        assert_eq!(root.query("Network", &lab)["Health"]["Data"]["CreatorUid"], 1000);
        assert_eq!(root.query("Network", &network)["Health"]["Data"]["CreatorUid"], 0);
        changer.ok(&["endpoint", "rm", &endpoint]);
        changer.ok(&["namespace", "rm", &namespace]);
        changer.ok(&["network", "rm", &lab]);
    });
}

#[test]
fn a_stolen_token_opens_nothing_for_another_user() {
    let (sandbox, _folder) = with_groups();
    in_sandbox!(sandbox, {
        let mut root = Client::new();
        let [token, other] = [&mut root, &mut Client::new()].map(|client| {
            let token = client.ok("Service.OpenSession", &json!({}))["token"].clone();
            token.as_str().unwrap().to_owned()
        });
        // 244 bits of the system's generator each.
        for token in [&token, &other] {
            assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
        }
        assert_ne!(token, other);
        let join = |who: &As, token: &str| who.call("Service.JoinSession", &json!({"token": token}));
        for thief in [As::groups(GROUP), As::groups(READ_GROUP), As::groups("")] {
            let ended = join(&thief, &token);
            assert_eq!(ended.code, Some(5), "{ended}");
        }
        // The same user, by another connection, is let in; and whoever guesses is not.
        Client::new().ok("Service.JoinSession", &json!({"token": token}));
        let guessed = format!("{}{}", &token[..63], if token.ends_with('0') { '1' } else { '0' });
        let ended = join(&As::groups(GROUP), &guessed);
        assert!(ended.code != Some(0) && ended.stderr.contains("no session"), "{ended}");
    });
}

#[test]
fn the_primary_group_counts_and_the_socket_is_open_to_all() {
    let (sandbox, _folder) = with_groups();
    in_sandbox!(sandbox, {
        let socket = sandbox_socket();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
        let folder = fs::metadata(socket.parent().unwrap()).unwrap();
        assert_eq!(folder.permissions().mode() & 0o777, 0o755);
        let reader = As::groups("");
        let hcnctl = reader.hcnctl.to_str().unwrap();
        let primary = format!("--regid={READ_GROUP}");
        let user = ["setpriv", "--reuid=1000", &primary, "--clear-groups", hcnctl, "network", "ls"];
        let listed = run(&user);
        assert_eq!(listed.code, Some(0), "{listed}");
    });
}

#[test]
fn groups_that_nobody_made_let_nobody_in() {
    let (sandbox, _folder) = sandbox("[access]\ngroup = \"no-such-group\"\nread_group = \"\"\n");
    in_sandbox!(sandbox, {
        assert!(fs::read_to_string(LOG).unwrap().contains("there is no group \"no-such-group\""));
        let ended = As::groups("0").hcnctl(&["network", "ls"]);
        assert_eq!(ended.code, Some(5), "{ended}");
        assert!(ended.stderr.contains("; root may"), "{ended}");
        Client::new().network(&DUAL);
    });
}

#[test]
fn changes_and_denials_are_audited() {
    let (sandbox, _folder) = with_groups();
    in_sandbox!(sandbox, {
        let changer = As::groups(GROUP);
        let lab = changer.ok(&CREATE);
        changer.ok(&["network", "ls"]);
        assert_ne!(changer.call("Network.Create", &json!({"text": "{"})).code, Some(0));
        assert_ne!(changer.call("Network.Delete", &json!({"moon": 1})).code, Some(0));
        As::groups(READ_GROUP).denied(&["network", "rm", &lab]);
        As::groups("").denied(&["status"]);
        changer.ok(&["network", "rm", &lab]);
        let expected = [
            ("INFO", "Network", "Create", "0x00000000"),
            ("INFO", "Network", "Create", "0x803b001b"),
            ("INFO", "Network", "Delete", "0x80070057"),
            ("WARN", "Network", "Delete", "0x80070005"),
            ("WARN", "", "Service.Status", "0x80070005"),
            ("INFO", "Network", "Delete", "0x00000000"),
        ];
        eventually("every change and denial is in the log", || audit().len() >= expected.len());
        let lines = audit();
        let member = |line: &BTreeMap<String, String>, key: &str| line.get(key).cloned().unwrap_or_default();
        let found: Vec<_> = lines
            .iter()
            .map(|line| ["level", "kind", "verb", "result"].map(|key| member(line, key)))
            .collect();
        let wanted: Vec<_> =
            expected.iter().map(|(a, b, c, d)| [*a, *b, *c, *d].map(str::to_owned)).collect();
        assert_eq!(found, wanted);
        for line in &lines {
            assert_eq!(member(line, "uid"), "1000", "{line:?}");
            assert!(member(line, "pid").parse::<u32>().is_ok(), "{line:?}");
        }
        for line in [&lines[0], &lines[5]] {
            assert_eq!(member(line, "id"), lab, "{line:?}");
            assert!(member(line, "micros").parse::<u64>().unwrap() > 0, "{line:?}");
        }
    });
}

#[test]
fn status_and_metrics_tell_how_hcnd_is() {
    let (sandbox, _folder) = with_groups();
    in_sandbox!(sandbox, {
        Client::new().network(&DUAL);
        let reader = As::groups(READ_GROUP);
        reader.denied(&["namespace", "create"]);
        let status: Value = serde_json::from_str(&reader.ok(&["status", "-o", "json"])).unwrap();
        let counts = json!({"Network": 1, "Endpoint": 0, "Namespace": 0, "LoadBalancer": 0, "SdnRoute": 0,
            "GuestNetworkService": 0, "PortReservation": 0});
        assert_eq!(status["entities"], counts);
        assert_eq!((&status["schema"], &status["uid"]), (&json!("2.0"), &json!(0)));
        assert_eq!(status["kernel"], hcn_tests::run_ok(&["uname", "-r"]).trim());
        let features = status["features"].as_array().unwrap();
        for name in ["bridge", "veth", "nftables inet", "nftables masq", "conntrack", "ipv6"] {
            let feature = features.iter().find(|feature| feature["name"] == name).unwrap();
            assert_eq!(feature["present"], true, "hcnd runs here: {feature}");
        }
        let table = reader.ok(&["status"]);
        for part in ["Networks:", "FEATURE", "NEEDED FOR", "networks of type NAT"] {
            assert!(table.contains(part), "{table}");
        }

        let mut stream = TcpStream::connect(METRICS).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut by_http = String::new();
        stream.read_to_string(&mut by_http).unwrap();
        for text in [reader.ok(&["metrics"]), by_http] {
            for line in [
                "hcnd_calls_total{kind=\"Network\",verb=\"Create\",code=\"0x00000000\"} 1",
                "hcnd_calls_total{kind=\"Namespace\",verb=\"Create\",code=\"0x80070005\"} 1",
                "hcnd_call_duration_seconds_count{kind=\"Network\",verb=\"Create\"} 1",
                "hcnd_entities{kind=\"Network\"} 1",
                "hcnd_entities_degraded{kind=\"Network\"} 0",
                "hcnd_events_published_total 2",
                "hcnd_plans_applied_total 1",
                "hcnd_plans_failed_total 0",
                "hcnd_repairs 0",
            ] {
                assert!(
                    text.contains(&format!("{line}\n")) || text.ends_with(line),
                    "{line} is not in\n{text}"
                );
            }
        }
    });
}

#[test]
fn the_root_of_an_ordinary_users_sandbox_does_everything() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        assert_eq!(client.query("Network", &network)["Health"]["Data"]["CreatorUid"], 0);
        client.delete("Network", &network);
    });
}
