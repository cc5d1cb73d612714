//! Networks that are part of a network outside: do their endpoints reach it as if they were on it, and what becomes of
//! the uplink?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

#[path = "outside/capture.rs"]
mod capture;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use capture::Capture;
use hcn_tests::client::{Client, Container, with_version};
use hcn_tests::kernel::{assert_unchanged, dump};

use hcn_tests::service::sandbox_hcnd;
use hcn_tests::traffic::{HOST, PORT, in_netns, is_silent, seen_as, serve, wait_for_outside};
use hcn_tests::{
    Background, Node, Sandbox, eventually, in_sandbox, is_running, netns_exec, patience, run_ok,
};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use tempfile::TempDir;

const FAMILIES: [usize; 2] = [0, 1];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const UPLINK_MAC: &str = "52:54:00:00:00:0a";

/// A network of a type with the prefixes of the uplink.
fn network_of(client: &mut Client, kind: &str, more: &Value) -> String {
    let subnets = [("203.0.113.0/24", OUTSIDE[0], "0.0.0.0/0"), ("2001:db8:ffff::/64", OUTSIDE[1], "::/0")]
        .map(|(prefix, gateway, everything)| {
            let route = json!({"NextHop": gateway, "DestinationPrefix": everything});
            json!({"IpAddressPrefix": prefix, "Routes": [route]})
        });
    let mut settings = with_version(&json!({
        "Type": kind,
        "Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}],
        "Ipams": [{"Type": "Static", "Subnets": subnets}],
    }));
    for (member, value) in more.as_object().unwrap() {
        settings[member] = value.clone();
    }
    client.ok("Network.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned()
}

/// A container that serves, with addresses that end so.
fn container(client: &mut Client, network: &str, end: u8) -> Container {
    let addresses = [format!("203.0.113.{end}"), format!("2001:db8:ffff::{end}")];
    let given = addresses.map(|address| json!({"IpAddress": address}));
    let container = client.container(network, &json!({"IpConfigurations": given}));
    serve(&container.namespace);
    container
}

fn forward() {
    wait_for_outside();
    serve("outside");
    serve(HOST);
}

/// Whether a packet of the largest size of an Ethernet frame comes back, unfragmented.
fn full_size_passes(netns: &str, address: &str) -> bool {
    let size = if address.contains(':') { "1452" } else { "1472" };
    netns_exec(netns, &["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", size, address]).code == Some(0)
}

#[test]
fn endpoints_of_a_bridge_are_on_the_segment_of_the_uplink_with_its_mac_address() {
    in_sandbox!(Sandbox::new(), {
        forward();
        let before = dump();
        let sysctls = settings_of_uplink();
        let mut client = Client::new();
        let network = network_of(&mut client, "L2Bridge", &json!({}));
        let capture = Capture::start("outside", "eth0");
        let [a, b] = [50, 51].map(|end| container(&mut client, &network, end));
        let settings = json!({"HostComputeNetwork": network, "IpConfigurations": [{"IpAddress": UPLINK[0]}], "SchemaVersion": {"Major": 2}});
        let refused = client.refused("Endpoint.Create", &json!({"settings": settings}));
        assert_eq!(refused, 0x803b_002f, "the host's own address");
        for family in FAMILIES {
            // Found from outside before it has said a word.
            assert_eq!(seen_as("outside", &a.addresses[family]), OUTSIDE[family]);
            assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), a.addresses[family]);
            assert_eq!(seen_as(&b.namespace, OUTSIDE[family]), b.addresses[family]);
            assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
            assert_eq!(seen_as(&a.namespace, UPLINK[family]), a.addresses[family]);
            assert_eq!(seen_as(HOST, &a.addresses[family]), UPLINK[family]);
            for (from, to) in [("outside", a.addresses[family].as_str()), (&a.namespace, OUTSIDE[family])] {
                assert!(full_size_passes(from, to), "{from} to {to}");
            }
        }
        let macs = capture.end();
        let others: Vec<&String> = macs.iter().filter(|mac| !mac.starts_with("52:54:00:00:00:0")).collect();
        assert!(macs.contains(UPLINK_MAC) && others.is_empty(), "{macs:?}");
        client.delete("Network", &network);
        for container in [&a, &b] {
            client.delete("Namespace", &container.namespace);
        }
        // The host forwards from now on.
        assert_unchanged(&before, "the network is gone");
        assert_eq!(settings_of_uplink(), sysctls);
        for address in &a.addresses {
            assert!(is_silent("outside", address));
        }
    });
}

/// What hcnd changes of the uplink's settings while it answers for endpoints.
fn settings_of_uplink() -> Vec<String> {
    ["ipv4/neigh/eth0/proxy_delay", "ipv6/neigh/eth0/proxy_delay", "ipv6/conf/eth0/proxy_ndp"]
        .map(|name| fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap())
        .to_vec()
}

#[test]
fn a_transparent_endpoint_stands_on_the_uplink_and_leaves_it_alone() {
    in_sandbox!(Sandbox::new(), {
        forward();
        let before = dump();
        let mut client = Client::new();
        let network = network_of(&mut client, "Transparent", &json!({}));
        let capture = Capture::start("outside", "eth0");
        let [a, b] = [50, 51].map(|end| container(&mut client, &network, end));
        for family in FAMILIES {
            assert_eq!(seen_as("outside", &a.addresses[family]), OUTSIDE[family]);
            assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), a.addresses[family]);
            assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
            assert_eq!(seen_as("outside", UPLINK[family]), OUTSIDE[family]);
            assert!(full_size_passes(&a.namespace, OUTSIDE[family]));
            assert!(full_size_passes("outside", &a.addresses[family]));
            // By the kernel's nature: a link and what stands on it exchange nothing.
            assert!(is_silent(&a.namespace, UPLINK[family]));
        }
        let macs = capture.end();
        let mac = client.query("Endpoint", &a.endpoint)["MacAddress"].as_str().unwrap().to_lowercase();
        assert!(macs.contains(&mac.replace('-', ":")), "{macs:?}");
        let stats = client.ok("Endpoint.QueryStats", &json!({"id": a.endpoint}));
        let number = |member: &str| stats["properties"][member].as_u64().unwrap_or_default();
        assert!(number("PacketsSent") > 10 && number("PacketsReceived") > 10, "{stats}");
        client.detach(&a.namespace, &a.endpoint);
        for family in FAMILIES {
            assert!(is_silent("outside", &a.addresses[family]));
        }
        client.attach(&a.namespace, &a.endpoint);
        for family in FAMILIES {
            assert_eq!(seen_as("outside", &a.addresses[family]), OUTSIDE[family]);
        }
        client.delete("Network", &network);
        for container in [&a, &b] {
            client.delete("Namespace", &container.namespace);
        }
        assert_unchanged(&before, "the network is gone");
    });
}

/// A sandbox whose hcnd is configured so, and what must live as long.
fn configured(text: &str) -> (Sandbox, TempDir) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("hcnd.toml");
    fs::write(&file, text).unwrap();
    (Sandbox::new().option("--config").option(file.to_str().unwrap()), folder)
}

const BRIDGE: &str = "[uplinks]\ntransparent = \"bridge\"\n";

/// Asks the host from outside, over and over; gives the longest time without an answer.
struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Watch {
    fn start(family: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !ends.load(Ordering::Relaxed) {
                if is_answered("outside", UPLINK[family]) {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
            }
            longest.max(last.elapsed())
        });
        Self { over, thread }
    }

    fn end(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Whether a datagram is answered within a moment.
fn is_answered(netns: &str, server: &str) -> bool {
    in_netns(netns, || {
        let any = if server.contains(':') { "::" } else { "0.0.0.0" };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        socket.connect((server, PORT)).unwrap();
        socket.send(b"?").is_ok() && socket.recv(&mut [0; 64]).is_ok()
    })
}

#[test]
fn an_uplink_can_be_a_port_and_the_host_stays_reachable() {
    let (sandbox, _folder) = configured(BRIDGE);
    in_sandbox!(sandbox, {
        forward();
        run_ok(&[
            "ip",
            "route",
            "add",
            "198.51.100.0/24",
            "via",
            OUTSIDE[0],
            "src",
            UPLINK[0],
            "metric",
            "7",
        ]);
        run_ok(&["ip", "addr", "add", "203.0.113.99/32", "dev", "eth0"]);
        let before = dump();
        let mut client = Client::new();
        let watches = FAMILIES.map(Watch::start);
        let network = network_of(&mut client, "Transparent", &json!({}));
        let bridge = format!("hcn{}", network[..8].to_lowercase());
        assert_eq!(run_ok(&["ip", "-br", "addr", "show", "dev", "eth0", "scope", "global"]), "");
        let shown = run_ok(&["ip", "-br", "addr", "show", "dev", &bridge]);
        assert!(shown.contains("203.0.113.10/24") && shown.contains("2001:db8:ffff::10/64"), "{shown}");
        let [a, b] = [50, 51].map(|end| container(&mut client, &network, end));
        for family in FAMILIES {
            assert_eq!(seen_as("outside", &a.addresses[family]), OUTSIDE[family]);
            assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), a.addresses[family]);
            assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
            assert_eq!(seen_as(&a.namespace, UPLINK[family]), a.addresses[family]);
            assert_eq!(seen_as(HOST, &a.addresses[family]), UPLINK[family]);
            assert_eq!(seen_as(HOST, OUTSIDE[family]), UPLINK[family]);
            assert!(full_size_passes(&a.namespace, OUTSIDE[family]));
        }
        let mut other = with_version(&json!({"Type": "Transparent"}));
        assert_eq!(client.refused("Network.Create", &json!({"settings": other})), 0x803b_0011);
        // Other networks lead out by the bridge.
        other["Type"] = json!("NAT");
        let nat = client.network(&["192.0.2.0/24"]);
        let inner = client.container(&nat, &json!({}));
        assert_eq!(seen_as(&inner.namespace, OUTSIDE[0]), UPLINK[0]);
        client.delete("Network", &nat);
        client.delete("Network", &network);
        for container in [&a, &b, &inner] {
            client.delete("Namespace", &container.namespace);
        }
        let silences = watches.map(Watch::end);
        let most = patience(Duration::from_millis(300));
        assert!(silences.iter().all(|silence| *silence < most), "{silences:?}");
        assert_unchanged(&before, "the network is gone");
        for family in FAMILIES {
            assert_eq!(seen_as(HOST, OUTSIDE[family]), UPLINK[family]);
        }
    });
}

#[test]
fn an_uplink_whose_gateway_does_not_answer_any_more_is_moved_back() {
    let (sandbox, _folder) = configured(BRIDGE);
    in_sandbox!(sandbox, {
        forward();
        let other = "02:00:00:00:00:77";
        let rules = format!(
            "table netdev t {{ chain c {{ type filter hook ingress device eth0 priority 0; ether saddr {other} drop; }}; }}"
        );
        let nft = netns_exec("outside", &["nft", &rules]);
        assert_eq!(nft.code, Some(0), "{nft}");
        let before = dump();
        let mut client = Client::new();
        let policies =
            json!([{"Type": "SourceMacAddress", "Settings": {"SourceMacAddress": other.replace(':', "-")}}]);
        let settings = with_version(&json!({"Type": "Transparent", "Policies": policies}));
        let reply = client.call("Network.Create", &json!({"settings": settings}));
        assert!(reply.raw.contains("does not answer any more"), "{}", reply.raw);
        assert_unchanged(&before, "moved back");
        for family in FAMILIES {
            assert_eq!(seen_as(HOST, OUTSIDE[family]), UPLINK[family]);
            assert_eq!(seen_as("outside", UPLINK[family]), OUTSIDE[family]);
        }
        assert_eq!(client.ids("Network"), Vec::<String>::new());
    });
}

/// Runs a program in the namespace outside, which must succeed.
fn outside(argv: &[&str]) {
    let done = netns_exec("outside", argv);
    assert_eq!(done.code, Some(0), "{done}");
}

/// Makes the host outside send back by its one link what is not for itself, as a switch or a router may.
fn reflect() {
    for setting in [
        "ip_forward=1",
        "conf.eth0.proxy_arp_pvlan=1",
        "neigh.eth0.proxy_delay=0",
        "conf.all.send_redirects=0",
        "conf.eth0.send_redirects=0",
    ] {
        outside(&["sysctl", "-qw", &format!("net.ipv4.{setting}")]);
    }
}

#[test]
fn a_tunnel_sends_everything_by_the_uplink() {
    in_sandbox!(Sandbox::new(), {
        forward();
        let before = dump();
        let mut client = Client::new();
        let network = network_of(&mut client, "L2Tunnel", &json!({}));
        let [a, b] = [50, 51].map(|end| container(&mut client, &network, end));
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), a.addresses[family]);
            assert_eq!(seen_as("outside", &a.addresses[family]), OUTSIDE[family]);
            assert_eq!(seen_as(&a.namespace, UPLINK[family]), a.addresses[family]);
            assert_eq!(seen_as(HOST, &a.addresses[family]), UPLINK[family]);
            // Nobody sends back what goes from one to the other.
            assert!(is_silent(&a.namespace, &b.addresses[family]));
        }
        reflect();
        assert_eq!(seen_as(&a.namespace, &b.addresses[0]), a.addresses[0]);
        client.delete("Network", &network);
        for container in [&a, &b] {
            client.delete("Namespace", &container.namespace);
        }
        assert_unchanged(&before, "the network is gone");
    });
}

#[test]
fn a_tunnel_with_a_prefix_of_its_own_sends_everything_to_the_router_outside() {
    in_sandbox!(Sandbox::new(), {
        forward();
        let mut client = Client::new();
        // Scenario 9.
        let route = json!({"NextHop": "198.51.100.1", "DestinationPrefix": "0.0.0.0/0"});
        let subnets = json!([{"IpAddressPrefix": "198.51.100.0/24", "Routes": [route]}]);
        let more = json!({"Ipams": [{"Type": "Static", "Subnets": subnets}]});
        let network = network_of(&mut client, "L2Tunnel", &more);
        let [t1, t2] = ["198.51.100.11", "198.51.100.12"].map(|address| {
            let container =
                client.container(&network, &json!({"IpConfigurations": [{"IpAddress": address}]}));
            serve(&container.namespace);
            container
        });
        assert_eq!(seen_as(&t1.namespace, "198.51.100.1"), t1.addresses[0]);
        assert!(is_silent(&t1.namespace, &t2.addresses[0]));
        reflect();
        outside(&["ip", "route", "add", "198.51.100.0/24", "via", UPLINK[0]]);
        assert_eq!(seen_as(&t1.namespace, &t2.addresses[0]), t1.addresses[0]);
        assert_eq!(seen_as(&t1.namespace, OUTSIDE[0]), t1.addresses[0]);
    });
}

#[test]
fn a_bridge_without_host_port_forwards_and_the_host_keeps_off() {
    in_sandbox!(Sandbox::new(), {
        forward();
        let mut client = Client::new();
        let network = network_of(&mut client, "L2Bridge", &json!({"Flags": 1024}));
        let [a, b] = [50, 51].map(|end| container(&mut client, &network, end));
        for family in FAMILIES {
            assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), a.addresses[family]);
            assert_eq!(seen_as("outside", &a.addresses[family]), OUTSIDE[family]);
            assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
            assert!(is_silent(&a.namespace, UPLINK[family]));
        }
    });
}

#[test]
fn an_uplink_that_was_down_is_answered_on_again() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        forward();
        let mut client = Client::new();
        let network = network_of(&mut client, "L2Bridge", &json!({}));
        let a = container(&mut client, &network, 50);
        eventually("the host answers", || is_answered("outside", &a.addresses[0]));
        // The kernel forgets for whom it speaks there.
        run_ok(&["ip", "link", "set", "eth0", "down"]);
        assert!(!run_ok(&["ip", "neigh", "show", "proxy", "dev", "eth0"]).contains(&a.addresses[0]));
        run_ok(&["ip", "link", "set", "eth0", "up"]);
        eventually("the host answers again", || is_answered("outside", &a.addresses[0]));
        // One after the other.
        let proxied = || run_ok(&["ip", "-6", "neigh", "show", "proxy", "dev", "eth0"]);
        eventually("it speaks for the other address, too", || proxied().contains(&a.addresses[1]));
    });
}

#[test]
fn bridges_of_two_hosts_are_one_segment() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        serve("outside");
        let nodes = [1, 2].map(Node::new);
        // A host forwards to no neighbour that it must ask for while its link-local address is checked for duplicates.
        for node in nodes {
            let tentative = ["ip", "-6", "addr", "show", "dev", "eth0", "tentative"];
            eventually("the uplink has its address", || node.run(&tentative).stdout.is_empty());
        }
        let mut made = Vec::new();
        for (node, end) in nodes.iter().zip([50, 60]) {
            let mut client = node.client();
            let network = network_of(&mut client, "L2Bridge", &json!({}));
            let addresses = [format!("203.0.113.{end}"), format!("2001:db8:ffff::{end}")];
            let given = addresses.clone().map(|address| json!({"IpAddress": address}));
            let container = client.container(&network, &json!({"IpConfigurations": given}));
            let place = node.place(&container.namespace);
            serve(&place);
            made.push((place, addresses));
        }
        let [(one, one_at), (other, other_at)] = made.as_slice() else { panic!("two") };
        for family in FAMILIES {
            assert_eq!(seen_as(one, &other_at[family]), one_at[family]);
            assert_eq!(seen_as(other, &one_at[family]), other_at[family]);
            assert_eq!(seen_as(other, OUTSIDE[family]), other_at[family]);
            assert_eq!(seen_as("outside", &other_at[family]), OUTSIDE[family]);
            let host = &nodes[0].addresses()[family];
            assert_eq!(seen_as(HOST, &other_at[family]), *host);
        }
    });
}

#[test]
fn pods_of_flannel_reach_the_world_by_the_endpoint_of_the_host() {
    in_sandbox!(Sandbox::new(), {
        forward();
        outside(&["ip", "route", "add", "192.0.2.0/24", "via", UPLINK[0]]);
        let mut client = Client::new();
        let mut v1 = |method: &str, path: &str, request: Value| {
            let call = json!({"method": method, "path": path, "request": request});
            let reply = client.ok("V1.Call", &call)["response"].clone();
            assert_eq!(reply["Success"], true, "{reply}");
            reply["Output"]["ID"].as_str().unwrap_or_default().to_owned()
        };
        let subnets = json!([{"AddressPrefix": "192.0.2.0/24", "GatewayAddress": "192.0.2.1"}]);
        let network =
            v1("POST", "/networks/", json!({"Name": "cbr0", "Type": "L2Bridge", "Subnets": subnets}));
        let of_host = json!({"Name": "cbr0_ep", "VirtualNetwork": network, "IPAddress": "192.0.2.2"});
        let endpoint = v1("POST", "/endpoints/", of_host);
        let attach = json!({"SystemType": "Host", "CompartmentId": 1});
        v1("POST", &format!("/endpoints/{endpoint}/attach"), attach);
        let route = json!({"NextHop": "192.0.2.2", "DestinationPrefix": "0.0.0.0/0"});
        let pods = ["192.0.2.3", "192.0.2.4"].map(|address| {
            let settings = json!({"IpConfigurations": [{"IpAddress": address}], "Routes": [route]});
            let pod = client.container(&network, &settings);
            serve(&pod.namespace);
            pod
        });
        let [pod, other] = &pods;
        assert_eq!(seen_as(&pod.namespace, OUTSIDE[0]), "192.0.2.3");
        assert_eq!(seen_as("outside", "192.0.2.3"), OUTSIDE[0]);
        assert_eq!(seen_as("outside", "192.0.2.2"), OUTSIDE[0]);
        assert_eq!(seen_as(&pod.namespace, &other.addresses[0]), "192.0.2.3");
        assert_eq!(seen_as(&pod.namespace, UPLINK[0]), "192.0.2.3");
        let seen = seen_as(HOST, "192.0.2.3");
        assert!(["192.0.2.1", "192.0.2.2"].contains(&seen.as_str()), "{seen}");
    });
}

#[test]
fn a_kill_at_any_moment_leaves_the_host_reachable() {
    in_sandbox!(Sandbox::new(), {
        forward();
        let before = dump();
        let own = sandbox_hcnd();
        kill(own, Signal::SIGTERM).unwrap();
        eventually("the hcnd of the sandbox has ended", || !is_running(own));
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("hcnd.toml"), BRIDGE).unwrap();
        let start = || {
            let mut command = Command::new("hcnd");
            for (option, name) in [("--config", "hcnd.toml"), ("--store", "state"), ("--socket", "socket")] {
                command.arg(option).arg(at(name));
            }
            let started = Background::start(command.env_remove("HCND_SOCKET"));
            eventually("hcnd listens", || UnixStream::connect(at("socket")).is_ok());
            started
        };
        let settings = with_version(&json!({"Type": "Transparent"}));
        let mut kinds = [0, 0];
        for delay in 0..24_u64 {
            let mut hcnd = start();
            let mut client = Client::of(&at("socket"));
            let there = client.ids("Network");
            // What is left half-way is gone on with beside the calls.
            for family in FAMILIES {
                eventually("the host is reachable", || is_answered("outside", UPLINK[family]));
                eventually("the host reaches others", || is_answered(HOST, OUTSIDE[family]));
            }
            kinds[there.len()] += 1;
            match there.first() {
                None => {
                    client.wire.send("io.hcn.Network.Create", &json!({"settings": settings}), false).unwrap();
                }
                Some(id) => client.wire.send("io.hcn.Network.Delete", &json!({"id": id}), false).unwrap(),
            }
            thread::sleep(patience(Duration::from_millis(delay)));
            hcnd.signal(Signal::SIGKILL);
            hcnd.wait(Duration::from_secs(5));
        }
        assert!(kinds.iter().all(|count| *count > 2), "{kinds:?}");
        let _hcnd = start();
        let mut client = Client::of(&at("socket"));
        for network in client.ids("Network") {
            client.delete("Network", &network);
        }
        assert_unchanged(&before, "the networks are gone");
    });
}
