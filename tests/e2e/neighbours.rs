//! Do hcnd and other programs with rules and settings of their own live on one host? Theirs stay as they are, and hcnd's
//! packets pass whenever no rule of theirs drops them; when one does, the doctor names it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

#[path = "neighbours/daemon.rs"]
mod daemon;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use hcn_tests::client::{Client, Container, DUAL};
use hcn_tests::neighbours::{foreign_tables, load};
use hcn_tests::service::{sandbox_hcnd, sandbox_socket};
use hcn_tests::traffic::{ask_tcp, ask_tcp_at, serve, set_sysctl, wait_for_outside};
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, netns_exec, run_ok};
use nix::sys::signal::{Signal, kill};
use serde_json::json;

const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
/// Of hcnd's load balancer; outside has a route to it.
const VIPS: [&str; 2] = ["198.18.0.1", "2001:db8:18::1"];
/// Of a service of kube-proxy's, and the prefix of all of them.
const THEIR_VIPS: [&str; 2] = ["198.18.64.9", "2001:db8:18:64::9"];
const THEIR_SERVICES: [&str; 2] = ["198.18.64.0/18", "2001:db8:18:64::/108"];
const OTHER: [&str; 2] = ["198.51.100.0/24", "2001:db8:99:1::/64"];
const PUBLISHED: u16 = 8000;
/// Where servers of the tests listen.
const INTERNAL: u16 = 7777;

const FIREWALLD: &str = include_str!("neighbours/firewalld.nft");
const DOCKER: &str = include_str!("neighbours/docker.rules");
const KUBE_PROXY: &str = include_str!("neighbours/kube-proxy.rules");
const KUBE_PROXY_NFT: &str = include_str!("neighbours/kube-proxy.nft");

/// Two containers on one network, one on another, a published port and a load balancer.
struct World {
    client: Client,
    bridges: [String; 2],
    a: Container,
    b: Container,
    other: Container,
    /// Another hcnd than the sandbox's, once that was killed.
    hcnd: Option<Background>,
}

impl World {
    fn new() -> Self {
        wait_for_outside();
        serve("outside");
        for (vip, uplink) in [("198.18.0.0/24", UPLINK[0]), ("2001:db8:18::/64", UPLINK[1])] {
            let added = netns_exec("outside", &["ip", "route", "add", vip, "via", uplink]);
            assert_eq!(added.code, Some(0), "{added}");
        }
        let mut client = Client::new();
        let networks = [client.network(&DUAL), client.network(&OTHER)];
        let [a, b, other] =
            [&networks[0], &networks[0], &networks[1]].map(|network| client.container(network, &json!({})));
        for container in [&a, &b, &other] {
            serve(&container.namespace);
        }
        let mapping = |flags: u32| {
            json!({"Type": "PortMapping", "Settings":
                {"Protocol": 6, "InternalPort": INTERNAL, "ExternalPort": PUBLISHED, "Flags": flags}})
        };
        let settings = json!({"ResourceType": "Policy", "RequestType": "Update",
            "Settings": {"Policies": [mapping(0), mapping(2)]}});
        client.ok("Endpoint.Modify", &json!({"id": a.endpoint, "settings": settings}));
        for vip in VIPS {
            client.load_balancer(&json!({"HostComputeEndpoints": [b.endpoint], "FrontendVIPs": [vip],
                "PortMappings": [{"Protocol": 6, "InternalPort": INTERNAL, "ExternalPort": PUBLISHED}]}));
        }
        let bridges = [0, 1].map(|at: usize| format!("hcn{}", networks[at][..8].to_lowercase()));
        let world = Self { client, bridges, a, b, other, hcnd: None };
        // The kernel takes a moment until IPv6 leaves by a new way.
        eventually("everything works", || world.lost().is_empty());
        world
    }

    /// Which packets of hcnd's do not arrive.
    fn lost(&self) -> Vec<String> {
        let (a, b, other) = (&self.a, &self.b, &self.other);
        let mut lost = Vec::new();
        for family in [0, 1] {
            let outside = OUTSIDE[family];
            for (what, answer, seen) in [
                ("container to outside", ask_tcp(&a.namespace, outside), Some(UPLINK[family])),
                (
                    "outside to published port",
                    ask_tcp_at("outside", UPLINK[family], PUBLISHED),
                    Some(outside),
                ),
                ("outside to load balancer", ask_tcp_at("outside", VIPS[family], PUBLISHED), Some(outside)),
                (
                    "container to container",
                    ask_tcp(&a.namespace, &b.addresses[family]),
                    Some(a.addresses[family].as_str()),
                ),
                ("container to another network", ask_tcp(&a.namespace, &other.addresses[family]), None),
            ] {
                match answer {
                    Ok(answer) if seen.is_none_or(|seen| seen == answer) => {}
                    other => lost.push(format!("{what} of family {family}: {other:?}")),
                }
            }
        }
        lost
    }

    fn works(&self, when: &str) {
        let lost = self.lost();
        assert!(lost.is_empty(), "{when}: {lost:#?}\n{}", run_ok(&["nft", "list", "ruleset"]));
    }

    /// hcnd makes, changes and deletes things of every kind that has rules.
    fn change(&mut self) {
        let network = self.client.network(&["192.0.3.0/24", "2001:db8:abcd:13::/64"]);
        let container = self.client.container(&network, &json!({}));
        let rule = json!({"Type": "ACL", "Settings": {"Protocols": "6", "Action": "Block", "Direction": "In",
            "RemotePorts": "9", "Priority": 100}});
        let settings =
            json!({"ResourceType": "Policy", "RequestType": "Add", "Settings": {"Policies": [rule]}});
        self.client.ok("Endpoint.Modify", &json!({"id": container.endpoint, "settings": settings}));
        self.client.delete("Endpoint", &container.endpoint);
        self.client.delete("Namespace", &container.namespace);
        self.client.delete("Network", &network);
    }

    /// Kills hcnd and starts another one.
    fn restart(&mut self) {
        let old = match &self.hcnd {
            Some(ours) => ours.pid(),
            None => sandbox_hcnd(),
        };
        kill(old, Signal::SIGKILL).unwrap();
        match self.hcnd.take() {
            Some(ours) => drop(ours),
            None => eventually("hcnd is gone", || !Path::new(&format!("/proc/{old}")).exists()),
        }
        let socket = sandbox_socket();
        let mut again = Command::new("hcnd");
        again.args(["--socket", socket.to_str().unwrap(), "--store", "/run/hcnd/state.redb"]);
        self.hcnd = Some(Background::start(again.env_remove("HCND_SOCKET")));
        eventually("another one listens", || UnixStream::connect(&socket).is_ok());
        self.client = Client::new();
    }

    fn b_address(&self, family: usize) -> &str {
        &self.b.addresses[family]
    }
}

/// firewalld's rules, with these bridges in the zone that lets everything pass.
fn firewalld(trusted: &[String]) {
    let names = trusted.iter().map(|bridge| format!("\"{bridge}\"")).collect::<Vec<_>>().join(", ");
    let rules = FIREWALLD.lines().filter(|line| !trusted.is_empty() || !line.contains("TRUSTED"));
    let rules = rules.collect::<Vec<_>>().join("\n").replace("TRUSTED", &format!("iifname {{ {names} }}"));
    load(&["nft", "-f"], &(rules + "\n"));
}

/// Docker's rules of both families, as its daemon loads them: what they replace was Docker's.
fn docker(target: &World) {
    for (family, program) in ["iptables-nft-restore", "ip6tables-nft-restore"].into_iter().enumerate() {
        let address = target.b_address(family);
        let (loopback, subnet, target) = match family {
            0 => ("127.0.0.0/8", "172.17.0.0/16", format!("{address}:{INTERNAL}")),
            _ => ("::1/128", "fd00:17::/64", format!("[{address}]:{INTERNAL}")),
        };
        let rules = DOCKER.replace("LOOPBACK", loopback).replace("SUBNET", subnet).replace("TARGET", &target);
        load(&[program], &rules);
    }
}

/// What an administrator who has hcnd adds to Docker's rules.
fn let_pass(bridges: &[String]) {
    for program in ["iptables-nft", "ip6tables-nft"] {
        for bridge in bridges {
            for direction in ["-i", "-o"] {
                run_ok(&[program, "-I", "DOCKER-USER", direction, bridge, "-j", "ACCEPT"]);
            }
        }
    }
}

/// kube-proxy's rules of both families, by iptables.
fn kube_proxy(world: &World) {
    for (family, program) in ["iptables-nft-restore", "ip6tables-nft-restore"].into_iter().enumerate() {
        let address = world.b_address(family);
        let target =
            if family == 0 { format!("{address}:{INTERNAL}") } else { format!("[{address}]:{INTERNAL}") };
        let rules = KUBE_PROXY.replace("VIP", THEIR_VIPS[family]).replace("TARGET", &target);
        // As kube-proxy does: chains of others stay.
        load(&[program, "--noflush"], &rules);
    }
}

/// The same in its nftables mode.
fn kube_proxy_nft(world: &World) {
    for (family, name) in ["ip", "ip6"].into_iter().enumerate() {
        let address = world.b_address(family);
        let target =
            if family == 0 { format!("{address}:{INTERNAL}") } else { format!("[{address}]:{INTERNAL}") };
        let kind = if family == 0 { "ipv4_addr" } else { "ipv6_addr" };
        let mut rules = KUBE_PROXY_NFT.to_owned();
        for (word, value) in [
            ("ADDRESS_TYPE", kind),
            ("FAMILY", name),
            ("HEADER", name),
            ("VIP", THEIR_VIPS[family]),
            ("NODE", UPLINK[family]),
            ("SERVICES", THEIR_SERVICES[family]),
            ("TARGET", &target),
            ("ADDRESS", address),
        ] {
            rules = rules.replace(word, value);
        }
        load(&["nft", "-f"], &rules);
    }
}

#[test]
fn nothing_of_a_neighbour_is_touched_and_packets_pass_beside_it() {
    in_sandbox!(Sandbox::new(), { beside_others() });
}

#[test]
fn an_ordinary_users_hcnd_lives_beside_others_too() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let mut world = World::new();
        firewalld(&world.bridges.clone());
        kube_proxy_nft(&world);
        beside(&mut world, "firewalld and kube-proxy", |_| {});
    });
}

/// Their rules are loaded; whatever hcnd does, and whenever they load them again, theirs stay and hcnd's packets pass.
fn beside(world: &mut World, who: &str, reload: impl Fn(&World)) {
    let theirs = foreign_tables();
    assert!(!theirs.is_empty(), "{who}");
    let same = |when: &str| assert_eq!(foreign_tables(), theirs, "{who}, {when}");
    world.works(who);
    world.change();
    same("after changes");
    reload(world);
    same("after it has loaded its rules again");
    world.works(&format!("{who}, loaded again"));
    world.restart();
    same("after another start of hcnd");
    world.works(&format!("{who}, found at a start of hcnd"));
    let ills = world.client.ills();
    assert_eq!(ills, [], "{who}");
}

fn beside_others() {
    let mut world = World::new();
    let bridges = world.bridges.to_vec();
    firewalld(&bridges);
    beside(&mut world, "firewalld", |_| firewalld(&bridges));
    run_ok(&["nft", "delete", "table", "inet", "firewalld"]);

    kube_proxy_nft(&world);
    let their_service_works = |world: &World| {
        for family in [0, 1] {
            ask_tcp_at(&world.other.namespace, THEIR_VIPS[family], 80).unwrap();
        }
    };
    their_service_works(&world);
    beside(&mut world, "kube-proxy by nftables", kube_proxy_nft);
    their_service_works(&world);
    for family in ["ip", "ip6"] {
        run_ok(&["nft", "delete", "table", family, "kube-proxy"]);
    }

    docker(&world);
    let_pass(&bridges);
    kube_proxy(&world);
    their_service_works(&world);
    beside(&mut world, "Docker and kube-proxy by iptables", |world| {
        docker(world);
        let_pass(&bridges);
        kube_proxy(world);
    });
    their_service_works(&world);

    // All of them at once, and then somebody flushes everything.
    firewalld(&bridges);
    kube_proxy_nft(&world);
    beside(&mut world, "all of them", |_| {});
    run_ok(&["nft", "flush", "ruleset"]);
    assert_eq!(foreign_tables(), [].into());
    eventually("hcnd's packets pass after a flush", || world.lost().is_empty());
    world.change();
    assert_eq!(foreign_tables(), [].into());
    world.works("after a flush");
}

#[test]
fn a_neighbour_that_drops_hcnds_packets_is_named_by_the_doctor() {
    in_sandbox!(Sandbox::new(), {
        let mut world = World::new();
        assert_eq!(world.client.ills(), []);

        // The zone that everything is in by default.
        firewalld(&[]);
        ask_tcp(&world.a.namespace, OUTSIDE[0]).unwrap_err();
        let ills = world.client.ills();
        let named = |finding: &hcn_tests::neighbours::Finding| {
            finding.subject.starts_with("table inet firewalld chain filter_FWD_public handle ")
                && finding.found == "reject with icmpx admin-prohibited"
                && finding.severity == "error"
                && finding.remedy.contains(&world.bridges[0])
        };
        assert!(ills.iter().any(named), "{ills:#?}");
        for bridge in &world.bridges {
            assert!(ills.iter().all(|finding| finding.check == "foreign-rules"), "{bridge}: {ills:#?}");
        }
        firewalld(&world.bridges);
        world.works("firewalld with the bridges in its zone trusted");
        assert_eq!(world.client.ills(), []);
        run_ok(&["nft", "delete", "table", "inet", "firewalld"]);

        // Docker lets only its own be forwarded. What the doctor says is right.
        docker(&world);
        ask_tcp(&world.a.namespace, OUTSIDE[0]).unwrap_err();
        let ills = world.client.ills();
        let subjects: Vec<&str> = ills.iter().map(|finding| finding.subject.as_str()).collect();
        assert_eq!(
            subjects,
            ["table ip filter chain FORWARD policy", "table ip6 filter chain FORWARD policy"]
        );
        assert!(ills.iter().all(|finding| finding.severity == "error"), "{ills:#?}");
        let theirs = foreign_tables();
        world.works_after_following(&theirs);

        // A rule of somebody's, found by its handle.
        run_ok(&["nft", "flush", "ruleset"]);
        eventually("hcnd's packets pass after a flush", || world.lost().is_empty());
        let [bridge, other] = &world.bridges;
        let rules = [
            "table inet mine {".to_owned(),
            format!("set ports {{ type inet_service; elements = {{ {INTERNAL} }}; }}"),
            format!("chain d {{ oifname \"{other}\" counter drop comment \"no\"; }}"),
            "chain c { type filter hook forward priority 5; policy accept;".to_owned(),
            format!("iifname \"{bridge}\" jump d; }}"),
            "chain e { type filter hook forward priority 6; policy accept;".to_owned(),
            "ct status dnat tcp dport @ports drop; }".to_owned(),
            "}".to_owned(),
        ];
        load(&["nft", "-f"], &(rules.join("\n") + "\n"));
        let ills = world.client.ills();
        let told: Vec<(&str, &str)> =
            ills.iter().map(|finding| (finding.subject.as_str(), finding.severity.as_str())).collect();
        let handles = run_ok(&["nft", "-a", "list", "table", "inet", "mine"]);
        let handle = |text: &str| {
            let line = handles.lines().find(|line| line.contains(text)).unwrap();
            line.rsplit_once("# handle ").unwrap().1.to_owned()
        };
        let expected = [("d", handle("comment")), ("e", handle("@ports drop"))]
            .map(|(chain, handle)| format!("table inet mine chain {chain} handle {handle}"));
        assert_eq!(told, expected.each_ref().map(|subject| (subject.as_str(), "error")), "{ills:#?}");
        assert!(ills[0].found.contains("drop comment \"no\""), "{ills:#?}");
        ask_tcp(&world.a.namespace, &world.other.addresses[0]).unwrap_err();
        ask_tcp_at("outside", UPLINK[0], PUBLISHED).unwrap_err();
        ask_tcp(&world.a.namespace, &world.b.addresses[0]).unwrap();
        // Whoever may drop is told with a "may".
        run_ok(&["nft", "flush", "table", "inet", "mine"]);
        run_ok(&["nft", "add rule inet mine c limit rate 1/second drop"]);
        let ills = world.client.ills();
        assert_eq!(ills.len(), 1, "{ills:#?}");
        assert_eq!(ills[0].severity, "warning");
        assert!(ills[0].consequence.starts_with("it may drop packets "), "{ills:#?}");
    });
}

impl World {
    /// Does what the doctor says, as often as it takes.
    fn works_after_following(&mut self, before: &std::collections::BTreeMap<String, String>) {
        for _ in 0..4 {
            for ill in self.client.ills() {
                ill.follow();
            }
        }
        assert_eq!(self.client.ills(), []);
        self.works("after the doctor's remedy");
        // Nothing else of theirs has changed.
        let tables = foreign_tables();
        assert_eq!(tables.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        for (table, rules) in before {
            let left = rules.lines().filter(|line| !tables[table].contains(line.trim()));
            assert_eq!(left.count(), 0, "{table}");
        }
    }
}

#[test]
fn packets_pass_whatever_the_host_has_set() {
    in_sandbox!(Sandbox::new(), {
        // Before there is a network.
        for (name, value) in [
            ("net.ipv4.ip_forward", "0"),
            ("net.ipv6.conf.all.forwarding", "0"),
            ("net.ipv6.conf.default.accept_ra", "2"),
            ("net.ipv6.conf.eth0.accept_ra", "1"),
            ("net.ipv4.conf.default.rp_filter", "1"),
        ] {
            assert!(set_sysctl(name, value), "{name}");
        }
        let mut world = World::new();
        let bridge = world.bridges[0].clone();
        let read = |name: &str| run_ok(&["sysctl", "-n", name]).trim().to_owned();
        // The host goes on hearing routers outside, and believes none inside.
        assert_eq!(read("net.ipv6.conf.eth0.accept_ra"), "2");
        assert_eq!(read(&format!("net.ipv6.conf.{bridge}.accept_ra")), "0");
        assert_eq!(world.client.ills(), []);
        for frames in ["0", "1"] {
            for name in ["iptables", "ip6tables"] {
                assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), frames));
            }
            for filter in ["0", "1", "2"] {
                for link in ["all", "eth0", &bridge] {
                    assert!(set_sysctl(&format!("net.ipv4.conf.{link}.rp_filter"), filter));
                }
                world.works(&format!("bridge-nf-call {frames}, rp_filter {filter}"));
                assert_eq!(world.client.ills(), []);
            }
        }
        for accept in ["0", "1", "2"] {
            assert!(set_sysctl("net.ipv6.conf.eth0.accept_ra", accept));
            world.works(&format!("accept_ra {accept}"));
            let notices = world.client.doctor();
            let told = notices.iter().filter(|finding| finding.check == "accept-ra");
            assert_eq!(told.count(), usize::from(accept == "1"), "{notices:#?}");
        }
        // What another program switches off is switched on again.
        for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            assert!(set_sysctl(name, "0"));
            eventually("the host forwards again", || read(name) == "1");
        }
        eventually("everything works again", || world.lost().is_empty());
    });
}
