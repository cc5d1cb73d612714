//! Is hcnd's unit as tight as it can be? hcnd does everything under the capabilities, the system calls and the rest that
//! the unit leaves it, and without any one of the capabilities it does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hcn_tests::client::{Client, DUAL, with_version};
use hcn_tests::kernel::enter_own_namespaces;
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, run};
use serde_json::{Value, json};
use tempfile::TempDir;

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../hcnd/systemd/hcnd.service");
/// Tenths that `systemd-analyze security` gives at most. `docs/SECURITY.md` says what each point is left for.
const EXPOSURE: &str = "47";
const UNHEARD: &str = "is not noticed";

/// hcnd, confined.
struct Confined {
    hcnd: Background,
    folder: TempDir,
}

impl Confined {
    /// Starts without one more capability; "-" = with all that the unit leaves it.
    fn start(without: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let script = folder.path().join("confine.py");
        fs::write(&script, include_str!("confined/confine.py")).unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let mut command = Command::new("python3");
        command.arg(&script).args([UNIT, without, "--", "hcnd", "--socket", &at("hcnd.sock")]);
        command.args(["--hns-socket", &at("hns.sock"), "--store", &at("state")]);
        Self { hcnd: Background::start(&mut command), folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("hcnd.sock")
    }

    /// Waits until it answers, or ends.
    fn is_ready(&mut self) -> bool {
        let mut ready = false;
        eventually("hcnd answers or ends", || {
            ready = std::os::unix::net::UnixStream::connect(self.socket()).is_ok();
            ready || !hcn_tests::is_running(self.hcnd.pid())
        });
        ready
    }
}

/// Does something with each of hcnd's powers; gives what of it failed.
fn scenario(confined: &mut Confined) -> Vec<&'static str> {
    if !confined.is_ready() {
        return vec!["start"];
    }
    let mut failed = Vec::new();
    let mut client = Client::of(&confined.socket());
    let mut attempt = |what: &'static str, method: &str, parameters: &Value| {
        let reply = client.call(method, parameters);
        if reply.error.is_some() {
            failed.push(what);
        }
        reply.parameters["id"].as_str().unwrap_or_default().to_owned()
    };
    let network = attempt(
        "network",
        "Network.Create",
        &json!({"settings": hcn_tests::client::network_document(&DUAL)}),
    );
    let endpoint = |policies: Value| json!({"network_id": network, "settings": with_version(&policies)});
    let port =
        json!({"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 80}});
    let rule = json!({"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "In", "Priority": 100}});
    let published = attempt("port below 1024", "Endpoint.Create", &endpoint(json!({"Policies": [port]})));
    let filtered = attempt("endpoint", "Endpoint.Create", &endpoint(json!({"Policies": [rule]})));
    let machine = attempt("machine's endpoint", "Endpoint.Create", &endpoint(json!({})));
    let namespace = |params: Value| json!({"settings": with_version(&json!({"Type": "Host", "AdditionalParams": params}))});
    let own = attempt("namespace", "Namespace.Create", &namespace(json!({})));
    // A process with all that root has, which the confined one has not.
    let other = Background::start(Command::new("unshare").args(["--net", "sleep", "60"]));
    let path = format!("/proc/{}/ns/net", other.pid());
    eventually("the other process has a namespace", || {
        fs::read_link(&path).unwrap() != fs::read_link("/proc/thread-self/ns/net").unwrap()
    });
    let foreign =
        attempt("namespace of a process", "Namespace.Create", &namespace(json!({"NetnsPath": path})));
    for (what, namespace, endpoint) in
        [("attach", &own, &published), ("attach to another's", &foreign, &filtered)]
    {
        attempt(what, "Namespace.Modify", &hcn_tests::client::membership("Add", namespace, endpoint));
    }
    let plug = json!({"ResourceType": "Port", "RequestType": "Add",
        "Settings": {"PortId": "A0000000-0000-4000-8000-000000000001"}});
    attempt("tap", "Endpoint.Modify", &json!({"id": machine, "settings": plug}));
    let balancer = json!({"HostComputeEndpoints": [published], "FrontendVIPs": ["203.0.113.99"],
        "PortMappings": [{"Protocol": 17, "InternalPort": 53, "ExternalPort": 53}]});
    attempt("load balancer", "LoadBalancer.Create", &json!({"settings": with_version(&balancer)}));
    let ics = json!({"Type": "ICS", "Ipams": [{"Subnets": [{"IpAddressPrefix": "198.51.100.0/24"}]}]});
    attempt("responders", "Network.Create", &json!({"settings": with_version(&ics)}));
    attempt("counters", "Endpoint.QueryStats", &json!({"id": published}));
    let found = client.call("Service.Doctor", &json!({}));
    if found.error.is_some() || found.raw.contains("rules of other programs were not judged") {
        failed.push("doctor");
    }
    if confined.hcnd.stderr().contains(UNHEARD) || confined.hcnd.stdout().contains(UNHEARD) {
        failed.push("hearing");
    }
    for (what, kind) in [("no endpoints", "Endpoint"), ("no namespaces", "Namespace")] {
        for id in client.ids(kind) {
            if client.call(&format!("{kind}.Delete"), &json!({"id": id})).error.is_some() {
                failed.push(what);
            }
        }
    }
    failed
}

#[test]
fn systemd_finds_little_to_attack() {
    let argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold", EXPOSURE, UNIT];
    let finished = run(&argv);
    assert_eq!(finished.code, Some(0), "{finished}");
}

#[test]
fn hcnd_does_everything_as_its_unit_confines_it() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let mut confined = Confined::start("-");
        let failed = scenario(&mut confined);
        assert!(failed.is_empty(), "{failed:?}\n{}{}", confined.hcnd.stdout(), confined.hcnd.stderr());
        // It is confined, indeed.
        let status = fs::read_to_string(format!("/proc/{}/status", confined.hcnd.pid())).unwrap();
        let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        assert_eq!((value("Seccomp:"), value("NoNewPrivs:")), ("2", "1"));
        let kept = u64::from_str_radix(value("CapBnd:"), 16).unwrap();
        assert_eq!((kept.count_ones(), value("CapEff:")), (6, value("CapBnd:")));
    });
}

#[test]
fn hcnd_needs_each_capability_that_its_unit_leaves_it() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        for (capability, needed_for) in [
            ("CAP_NET_ADMIN", "start"),
            ("CAP_SYS_ADMIN", "start"),
            ("CAP_NET_RAW", "start"),
            ("CAP_NET_BIND_SERVICE", "port below 1024"),
            ("CAP_NET_BROADCAST", "hearing"),
            ("CAP_SYS_PTRACE", "namespace of a process"),
        ] {
            let failed = scenario(&mut Confined::start(capability));
            assert!(failed.contains(&needed_for), "without {capability}: {failed:?}");
        }
        let unit = fs::read_to_string(Path::new(UNIT)).unwrap();
        let kept = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
        assert_eq!(kept.split(' ').count(), 6, "one that is not tried here");
    });
}
