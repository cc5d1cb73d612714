//! What does the doctor find? One thing after another is made wrong, found, and put right again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use hcn_tests::client::{Client, Container, DUAL};
use hcn_tests::neighbours::Finding;
use hcn_tests::service::{sandbox_hcnd, sandbox_socket};
use hcn_tests::traffic::set_sysctl;
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, run, run_ok};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Of `hcnctl doctor`, where something is of severity warning or above.
const FOUND: i32 = 10;
const UNREACHABLE: i32 = 6;
const STORE: &str = "/run/hcnd/state.redb";

struct World {
    client: Client,
    bridge: String,
    container: Container,
    /// Another hcnd than the sandbox's, once that was killed.
    hcnd: Option<Background>,
}

impl World {
    fn new() -> Self {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let container = client.container(&network, &json!({}));
        let bridge = format!("hcn{}", network[..8].to_lowercase());
        let mut world = Self { client, bridge, container, hcnd: None };
        world.publish(8080);
        world
    }

    fn publish(&mut self, port: u16) {
        let policy = json!({"Type": "PortMapping", "Settings":
            {"Protocol": 6, "InternalPort": 80, "ExternalPort": port}});
        let settings =
            json!({"ResourceType": "Policy", "RequestType": "Update", "Settings": {"Policies": [policy]}});
        self.client.ok("Endpoint.Modify", &json!({"id": self.container.endpoint, "settings": settings}));
    }

    /// The findings of a check, beside what is as it should be; of others there are none of severity warning.
    fn of(&mut self, check: &str) -> Vec<Finding> {
        let (found, others): (Vec<Finding>, Vec<Finding>) =
            self.client.doctor().into_iter().partition(|finding| finding.check == check);
        let ills: Vec<&Finding> = others.iter().filter(|finding| finding.is_bad()).collect();
        assert!(ills.is_empty(), "{check}: {ills:#?}");
        found
    }

    /// The one finding of a check, which is gone once it is put right.
    fn one(&mut self, check: &str, severity: &str, wrong: &[&[&str]], right: &[&[&str]]) -> Finding {
        wrong.iter().for_each(|argv| drop(run_ok(argv)));
        let mut found = self.of(check);
        assert_eq!(found.len(), 1, "{check}: {found:#?}");
        let finding = found.remove(0);
        assert_eq!(finding.severity, severity, "{finding:#?}");
        assert!(!finding.found.is_empty() && !finding.consequence.is_empty() && !finding.remedy.is_empty());
        right.iter().for_each(|argv| drop(run_ok(argv)));
        assert_eq!(self.of(check), [], "{check}");
        finding
    }

    fn pid(&self) -> Pid {
        self.hcnd.as_ref().map_or_else(sandbox_hcnd, Background::pid)
    }

    fn kill(&mut self) {
        let old = self.pid();
        kill(old, Signal::SIGKILL).unwrap();
        match self.hcnd.take() {
            Some(ours) => drop(ours),
            None => eventually("hcnd is gone", || !Path::new(&format!("/proc/{old}")).exists()),
        }
    }

    /// Starts another hcnd, with this environment.
    fn start(&mut self, store: &str, environment: &[(&str, &str)]) {
        let socket = sandbox_socket();
        let hcnd = run_ok(&["sh", "-c", "command -v hcnd"]);
        let mut again = Command::new(hcnd.trim());
        again.args(["--socket", socket.to_str().unwrap(), "--store", store]).env_remove("HCND_SOCKET");
        again.envs(environment.iter().copied());
        self.hcnd = Some(Background::start(&mut again));
        eventually("another one listens", || UnixStream::connect(&socket).is_ok());
        self.client = Client::new();
    }
}

#[test]
fn each_thing_that_is_wrong_is_found_and_is_gone_when_it_is_put_right() {
    in_sandbox!(Sandbox::new(), {
        let mut world = World::new();
        settings(&mut world);
        uses(&mut world);
        others(&mut world);
        itself(&mut world);
    });
}

fn settings(world: &mut World) {
    let bridge = world.bridge.clone();
    // What all links have hcnd switches on again by itself.
    let link = "net.ipv4.conf.eth0.forwarding";
    let (off, on) = (format!("{link}=0"), format!("{link}=1"));
    let finding = world.one("forwarding", "error", &[&["sysctl", "-w", &off]], &[&["sysctl", "-w", &on]]);
    assert_eq!(finding.subject, link);
    assert!(finding.remedy.contains(&format!("sysctl -w {on}")), "{finding:?}");

    run_ok(&["ip", "link", "add", "second", "type", "bridge"]);
    run_ok(&["ip", "addr", "add", "203.0.114.1/24", "dev", "second"]);
    assert!(set_sysctl("net.ipv6.conf.second.accept_ra", "0"));
    let filter = |value: u8| format!("net.ipv4.conf.second.rp_filter={value}");
    assert!(set_sysctl("net.ipv4.conf.second.rp_filter", "0"));
    let finding =
        world.one("rp-filter", "notice", &[&["sysctl", "-w", &filter(1)]], &[&["sysctl", "-w", &filter(2)]]);
    assert_eq!(finding.subject, "second");
    run_ok(&["ip", "link", "delete", "second"]);

    let accept = |value: u8| format!("net.ipv6.conf.{bridge}.accept_ra={value}");
    world.one("accept-ra", "warning", &[&["sysctl", "-w", &accept(2)]], &[&["sysctl", "-w", &accept(0)]]);
    world.one(
        "accept-ra",
        "notice",
        &[&["sysctl", "-w", "net.ipv6.conf.eth0.accept_ra=1"]],
        &[&["sysctl", "-w", "net.ipv6.conf.eth0.accept_ra=2"]],
    );

    let localnet = |value: u8| format!("net.ipv4.conf.{bridge}.route_localnet={value}");
    let keep = "table ip keep { chain c { type filter hook input priority 0; ip daddr 127.0.0.0/8 iifname != lo drop; }; }";
    world.one(
        "route-localnet",
        "warning",
        &[&["sysctl", "-w", &localnet(1)]],
        // As kube-proxy, which needs it, keeps others away.
        &[&["nft", keep]],
    );
    run_ok(&["sysctl", "-w", &localnet(0)]);
    run_ok(&["nft", "delete", "table", "ip", "keep"]);

    for name in ["iptables", "ip6tables"] {
        assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), "0"));
    }
    run_ok(&["nft", "table ip seen { chain c { type filter hook forward priority 0; }; }"]);
    world.one(
        "bridge-nf-call",
        "notice",
        &[&["sysctl", "-w", "net.bridge.bridge-nf-call-iptables=1"]],
        &[&["nft", "delete", "table", "ip", "seen"]],
    );
}

fn uses(world: &mut World) {
    // A port that the kernel may give to programs, which nobody holds.
    let balancer = world.client.load_balancer(&json!({"HostComputeEndpoints": [world.container.endpoint],
        "PortMappings": [{"Protocol": 6, "InternalPort": 80, "ExternalPort": 40_000}]}));
    let found = world.of("reserved-ports");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].found.contains("40000"), "{found:#?}");
    assert!(set_sysctl("net.ipv4.ip_local_reserved_ports", "40000"));
    assert_eq!(world.of("reserved-ports"), []);
    world.client.delete("LoadBalancer", &balancer);
    assert!(set_sysctl("net.ipv4.ip_local_reserved_ports", ""));

    let pid = world.pid().to_string();
    let limits = run_ok(&["prlimit", "--pid", &pid, "--nofile", "--noheadings", "--output", "SOFT"]);
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let finding = world.one(
        "open-files",
        "warning",
        &[&["prlimit", "--pid", &pid, &format!("--nofile={}:", open * 100 / 88)]],
        &[&["prlimit", "--pid", &pid, &format!("--nofile={}:", limits.trim())]],
    );
    assert_eq!(finding.subject, "RLIMIT_NOFILE");

    let small = world.client.network(&["192.0.9.0/30"]);
    let endpoint = world.client.endpoint(&small, &json!({}));
    let found = world.of("address-pools");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].found, "2 of 2 addresses of 192.0.9.0/30 are taken");
    world.client.delete("Endpoint", &endpoint);
    assert_eq!(world.of("address-pools"), []);
    world.client.delete("Network", &small);
}

fn others(world: &mut World) {
    let route = ["192.0.2.128/25", "dev", "eth0"];
    let finding = world.one(
        "overlaps",
        "error",
        &[&[&["ip", "route", "add"][..], &route].concat()],
        &[&[&["ip", "route", "delete"][..], &route].concat()],
    );
    assert!(finding.found.contains("192.0.2.128/25 leaves by eth0"), "{finding:?}");
    world.one(
        "overlaps",
        "error",
        &[&["ip", "address", "add", "192.0.2.77/24", "dev", "eth0"]],
        &[&["ip", "address", "delete", "192.0.2.77/24", "dev", "eth0"]],
    );
    // As a VPN that has a table of its own.
    let route = ["192.0.0.0/16", "dev", "eth0", "table", "51820"];
    let finding = world.one(
        "overlaps",
        "warning",
        &[&[&["ip", "route", "add"][..], &route].concat()],
        &[&[&["ip", "route", "delete"][..], &route].concat()],
    );
    assert!(finding.found.contains("table 51820"), "{finding:?}");

    // What is left over is named, and gone with the command that the doctor tells.
    let netns = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";
    let file = format!("/run/netns/{netns}");
    let wrong: [&[&str]; 4] = [
        &["ip", "link", "add", "hve00c0ffee", "type", "bridge"],
        &["ip", "link", "add", "stray", "group", "1751346788", "type", "bridge"],
        &["touch", &file],
        &["nft", "add table ip hcnd_old"],
    ];
    assert_eq!(world.of("leftovers"), []);
    wrong.iter().for_each(|argv| drop(run_ok(argv)));
    let found = world.of("leftovers");
    assert_eq!(found.len(), wrong.len(), "{found:#?}");
    found.iter().for_each(Finding::follow);
    assert_eq!(world.of("leftovers"), []);
}

fn itself(world: &mut World) {
    let json = |found: &str| -> Vec<Value> { serde_json::from_str(found).unwrap() };
    let fine = run(&["hcnctl", "doctor"]);
    assert_eq!(fine.code, Some(0), "{fine}");
    assert!(fine.stdout.contains("ok        foreign-rules "), "{fine}");
    assert!(fine.stdout.contains("ok        version "), "{fine}");
    assert!(set_sysctl("net.ipv4.conf.eth0.forwarding", "0"));
    let found = run(&["hcnctl", "-o", "json", "doctor"]);
    assert_eq!((found.code, found.stderr.as_str()), (Some(FOUND), ""), "{found}");
    let findings = json(&found.stdout);
    let forwarding = findings.iter().find(|finding| finding["check"] == "forwarding").unwrap();
    assert_eq!(
        (&forwarding["severity"], &forwarding["subject"]),
        (&json!("error"), &json!("net.ipv4.conf.eth0.forwarding"))
    );
    let told = run(&["hcnctl", "doctor"]);
    assert_eq!(told.code, Some(FOUND), "{told}");
    assert!(
        told.stdout.contains("\nerror forwarding: net.ipv4.conf.eth0.forwarding\n  found: it is 0"),
        "{told}"
    );
    assert!(set_sysctl("net.ipv4.conf.eth0.forwarding", "1"));

    // A link of somebody else's has the bridge's name: the network cannot be made.
    world.kill();
    let unreachable = run(&["hcnctl", "-o", "json", "doctor"]);
    assert_eq!(unreachable.code, Some(UNREACHABLE), "{unreachable}");
    assert_eq!(json(&unreachable.stdout)[0]["check"], "hcnd");
    let bridge = world.bridge.clone();
    run_ok(&["ip", "link", "delete", &bridge]);
    run_ok(&["ip", "link", "add", &bridge, "type", "bridge"]);
    world.start(STORE, &[]);
    eventually("the network is degraded", || {
        let mut client = Client::new();
        client.ills().iter().any(|ill| ill.check == "entities" && ill.subject.starts_with("network "))
    });

    // Without nft, and with little room for the state.
    world.kill();
    run_ok(&["ip", "link", "delete", &bridge]);
    world.start(STORE, &[("PATH", "/nowhere")]);
    eventually("the network is made again", || Client::new().ills().is_empty());
    let found = world.of("foreign-rules");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].found.contains("nft is not installed"), "{found:#?}");
    run_ok(&["iptables-nft", "-P", "FORWARD", "DROP"]);
    let found = world.of("foreign-rules");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!(
        (found[1].severity.as_str(), found[1].subject.as_str()),
        ("warning", "table ip filter chain FORWARD policy")
    );
    run_ok(&["nft", "delete", "table", "ip", "filter"]);

    world.kill();
    fs::create_dir_all("/run/small").unwrap();
    run_ok(&["mount", "-t", "tmpfs", "-o", "size=8m", "small", "/run/small"]);
    world.start("/run/small/state.redb", &[]);
    let found = world.of("state");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].severity, "error");
}
