//! HNS version 1 over HTTP, asked with curl as any program would: the same networks as in version 2, and the same access.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;

use hcn_tests::client::Client;
use hcn_tests::{Sandbox, in_sandbox, run};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Numbers that no group has.
const GROUP: &str = "48101";
const READ_GROUP: &str = "48102";

/// What comes before curl to make it another user's.
const NOBODY: &[&str] = &["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];
const READER: &[&str] = &["setpriv", "--reuid=1000", "--regid=1000", "--groups=48102"];

/// Asks with curl; gives the status and the envelope.
fn curl_as(user: &[&str], arguments: &[&str], path: &str) -> (u16, Value) {
    let socket = std::env::var("HCND_HNS_SOCKET").unwrap();
    let url = format!("http://hns{path}");
    let curl = ["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}", "--unix-socket", &socket];
    let ended = run(&[user, &curl[..], arguments, &[&url]].concat());
    assert_eq!(ended.code, Some(0), "{ended}");
    let (body, status) = ended.stdout.rsplit_once('\n').unwrap();
    let envelope = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {ended}"));
    (status.parse().unwrap(), envelope)
}

fn curl(arguments: &[&str], path: &str) -> (u16, Value) {
    curl_as(&[], arguments, path)
}

fn post(document: &Value, path: &str) -> (u16, Value) {
    curl(&["-d", &document.to_string()], path)
}

#[test]
fn networks_of_version_1_are_those_of_version_2() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let (status, envelope) = curl(&[], "/globals/version");
        assert_eq!((status, &envelope["Output"]), (200, &json!({"Major": 16, "Minor": 0})));
        let (_, envelope) = curl(&["-H", "HNS-Version: 9.2"], "/globals/version");
        assert_eq!(envelope["Output"], json!({"Major": 9, "Minor": 2}));

        let subnet = json!({"AddressPrefix": "198.51.100.0/24", "GatewayAddress": "198.51.100.1"});
        let document = json!({"Name": "lab", "Type": "nat", "Subnets": [subnet]});
        let (status, envelope) = post(&document, "/networks/");
        assert_eq!((status, &envelope["Success"]), (200, &json!(true)), "{envelope}");
        let id = envelope["Output"]["ID"].as_str().unwrap().to_owned();
        assert_eq!(Client::new().query("Network", &id)["Name"], "lab");
        let (status, envelope) = curl(&[], "/networks/");
        assert_eq!((status, &envelope["Output"][0]["ID"]), (200, &json!(id)), "{envelope}");

        let (status, envelope) = post(&json!({"Type": "moon"}), "/networks/");
        assert_eq!((status, &envelope["ErrorCode"]), (400, &json!(0x803b_000b_u32)), "{envelope}");
        assert_eq!(curl(&["-d", "{"], "/networks/").0, 400);
        assert_eq!(curl(&["-X", "PUT"], "/networks/").0, 405);
        assert_eq!(curl(&["-X", "DELETE"], &format!("/networks/{id}")).0, 200);
        let (status, envelope) = curl(&[], &format!("/networks/{id}"));
        assert_eq!((status, &envelope["Success"]), (404, &json!(false)), "{envelope}");
        assert_eq!(Client::new().ids("Network"), [""; 0]);
    });
}

#[test]
fn who_may_do_what_is_decided_as_for_calls() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("hcnd.toml");
    let configuration =
        format!("[access]\ngroup = {GROUP}\nread_group = {READ_GROUP}\n[hns]\nversion = \"15.4\"\n");
    fs::write(&file, configuration).unwrap();
    in_sandbox!(Sandbox::new().option("--config").option(file.to_str().unwrap()), {
        // Feature detection comes before everything else, and needs nothing.
        let (status, envelope) = curl_as(NOBODY, &[], "/globals/version");
        assert_eq!((status, &envelope["Output"]), (200, &json!({"Major": 15, "Minor": 4})));
        let denied = json!({"Success": false, "Error": "Access is denied. ", "ErrorCode": 0x8007_0005_u32});
        for (user, arguments, path) in [
            (NOBODY, &[][..], "/networks/"),
            (NOBODY, &["-d", "{}"], "/networks/"),
            (NOBODY, &["-X", "DELETE"], "/networks/1"),
            (READER, &["-d", "{}"], "/networks/"),
            (READER, &["-X", "DELETE"], "/networks/1"),
        ] {
            assert_eq!(curl_as(user, arguments, path), (403, denied.clone()), "{arguments:?} {path}");
        }
        assert_eq!(curl_as(READER, &[], "/networks/").0, 200);
        // Nobody gets further by sending much.
        let large = folder_of_everybody();
        let document = large.path().join("large");
        fs::write(&document, "x".repeat(8 << 20)).unwrap();
        let data = format!("@{}", document.display());
        assert_eq!(curl_as(NOBODY, &["--data-binary", &data], "/networks/").0, 403);
        assert_eq!(curl(&["--data-binary", &data], "/networks/").0, 413);

        let log = fs::read_to_string("/run/hcnd/hcnd.log").unwrap();
        let denials: Vec<&str> = log.lines().filter(|line| line.contains(" audit: denied")).collect();
        assert_eq!(denials.len(), 6, "{log}");
        for member in ["uid=1000", "verb=\"POST\"", "kind=\"V1\"", "path=\"/networks/\"", "result=0x80070005"]
        {
            assert!(denials[1].contains(member), "{member}: {}", denials[1]);
        }
        let metrics = Client::new().ok("Service.Metrics", &json!({}))["text"].clone();
        let line = "hcnd_calls_total{kind=\"V1\",verb=\"DELETE\",code=\"0x80070005\"} 2\n";
        assert!(metrics.as_str().unwrap().contains(line), "{metrics}");
    });
}

/// A folder whose files other users can read.
fn folder_of_everybody() -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}
