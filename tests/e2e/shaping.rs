//! How fast do endpoints send, and how large are their packets? Policies QOS, EncapOverhead, InterfaceParameters and
//! PortName, when endpoints are made and while they carry packets.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails must fail the test"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, Container, DUAL, network_document};
use hcn_tests::dhcp::{DISCOVER, Dhcp};
use hcn_tests::kernel::{assert_unchanged, settled_dump};
use hcn_tests::policies::change;
use hcn_tests::service::{kill_hcnd, kill_hcnd_and, sandbox_hcnd};
use hcn_tests::traffic::{HOST, in_netns, ping, wait_for_outside};
use hcn_tests::vm::Machine;
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, is_running, netns_exec, patience, run, run_ok};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};
use tempfile::TempDir;

const GATEWAYS: [&str; 2] = ["192.0.2.1", "2001:db8:abcd:12::1"];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
/// Octets that a full TCP segment brings, of those that its frame has.
const BROUGHT: f64 = 1448.0 / 1514.0;

/// A TCP connection that carries as much as it can.
struct Stream {
    received: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Stream {
    /// Octets go from a namespace to an address of another one.
    fn start(from: &str, to: &str, address: &str, port: u16) -> Self {
        let at = SocketAddr::new(address.parse().unwrap(), port);
        let listener = in_netns(to, || TcpListener::bind(at).unwrap());
        let received = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&received);
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; 1 << 18];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                count.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let mut stream = in_netns(from, || TcpStream::connect(at).unwrap());
        // What is still to be sent when it ends is not sent any more.
        setsockopt(&stream, sockopt::Linger, &at_once()).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let sender = thread::spawn(move || {
            let buffer = vec![0x5a; 1 << 17];
            while !ends.load(Ordering::Relaxed) {
                let _ = stream.write(&buffer);
            }
        });
        Self { received, over, sender: Some(sender) }
    }

    /// Octets per second of frames, over this time.
    fn rate(&self, time: Duration) -> f64 {
        let (begin, before) = (Instant::now(), self.received.load(Ordering::Relaxed));
        sleep(time);
        let after = self.received.load(Ordering::Relaxed);
        (after - before) as f64 / begin.elapsed().as_secs_f64() / BROUGHT
    }

    /// Whether it comes to carry so many octets per second, 5 % more or less. A machine that is slower than most may carry
    /// less, whatever the limit.
    fn settles_at(&self, rate: u64, time: Duration) {
        let least = if patience(time) > time { 0.0 } else { 0.95 };
        let mut measured = Vec::new();
        for _ in 0..6 {
            let now = self.rate(time) / rate as f64;
            measured.push((now * 1000.0).round() / 1000.0);
            if now > least && now < 1.05 {
                eprintln!("measured: {rate} octets per second: {measured:?}");
                return;
            }
        }
        panic!("of {rate} octets per second: {measured:?}");
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.sender.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// Ends a connection at once.
fn at_once() -> nix::libc::linger {
    nix::libc::linger { l_onoff: 1, l_linger: 0 }
}

fn qos(rate: u64) -> Value {
    json!({"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": rate}})
}

fn modify(client: &mut Client, endpoint: &str, request: &str, policies: &[Value]) {
    change(client, "Endpoint", endpoint, request, &json!(policies));
}

fn port(container: &Container) -> String {
    format!("hve{}", container.endpoint[..8].to_lowercase())
}

#[test]
fn an_endpoint_sends_as_fast_as_it_may() {
    in_sandbox!(Sandbox::new(), { rates() });
}

#[test]
fn an_endpoint_of_an_ordinary_user_sends_as_fast_as_it_may() {
    in_sandbox!(Sandbox::as_ordinary_user(), { rates() });
}

fn rates() {
    let mut client = Client::new();
    let network = client.network(&DUAL);
    let other = client.container(&network, &json!({}));
    let before = settled_dump();
    let limited = client.container(&network, &json!({"Policies": [qos(12_500_000)]}));
    let stream = Stream::start(&limited.namespace, &other.namespace, &other.addresses[0], 7001);
    stream.settles_at(12_500_000, Duration::from_secs(2));
    // Live, and over IPv6.
    modify(&mut client, &limited.endpoint, "Update", &[qos(125_000_000)]);
    stream.settles_at(125_000_000, Duration::from_secs(2));
    drop(stream);
    modify(&mut client, &limited.endpoint, "Update", &[qos(125_000)]);
    let slow = Stream::start(&limited.namespace, &other.namespace, &other.addresses[1], 7002);
    slow.settles_at(125_000, Duration::from_secs(6));
    drop(slow);
    // What it receives is not limited; nor is what others send.
    let back = Stream::start(&other.namespace, &limited.namespace, &limited.addresses[0], 7003);
    assert!(back.rate(Duration::from_secs(1)) > 1_000_000.0);
    drop(back);
    let slow = Stream::start(&limited.namespace, &other.namespace, &other.addresses[0], 7005);
    // Nothing is limited from the moment on in which the policy goes.
    modify(&mut client, &limited.endpoint, "Remove", &[qos(125_000)]);
    eventually("it is fast", || slow.rate(Duration::from_millis(500)) > 12_500_000.0);
    drop(slow);
    assert!(!run_ok(&["tc", "qdisc", "show"]).contains("tbf"));
    modify(&mut client, &limited.endpoint, "Add", &[qos(1_250_000)]);
    // To the host, too.
    let stream = Stream::start(&limited.namespace, HOST, GATEWAYS[0], 7004);
    stream.settles_at(1_250_000, Duration::from_secs(3));
    drop(stream);
    // Detached and attached again, the device's name is free at once.
    for _ in 0..5 {
        client.detach(&limited.namespace, &limited.endpoint);
        client.attach(&limited.namespace, &limited.endpoint);
    }
    let shown = run_ok(&["tc", "qdisc", "show"]);
    assert!(shown.contains("rate 10Mbit"), "{shown}");
    client.delete("Endpoint", &limited.endpoint);
    client.delete("Namespace", &limited.namespace);
    assert_unchanged(&before, "a limited endpoint came and went");
}

/// The limit comes later, stays when hcnd is killed, and goes; and it comes with the endpoint.
#[test]
fn an_endpoint_of_version_1_sends_as_fast_as_it_may() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let other = client.container(&network, &json!({}));
        let flat = |rate: u64| json!([{"Type": "QOS", "MaximumOutgoingBandwidthInBytes": rate}]);
        let made = client.v1("POST", "/endpoints/", &json!({"VirtualNetwork": network}));
        let endpoint = made["ID"].as_str().unwrap().to_owned();
        let path = format!("/endpoints/{endpoint}");
        let namespace = client.namespace("Host");
        client.attach(&namespace, &endpoint);
        let is_fast = |stream: &Stream| stream.rate(Duration::from_millis(500)) > 12_500_000.0;
        let stream = Stream::start(&namespace, &other.namespace, &other.addresses[0], 7001);
        eventually("it is fast", || is_fast(&stream));
        client.v1("POST", &path, &json!({"Policies": flat(1_250_000)}));
        stream.settles_at(1_250_000, Duration::from_secs(2));
        client = kill_hcnd();
        stream.settles_at(1_250_000, Duration::from_secs(2));
        client.v1("POST", &path, &json!({"Policies": flat(0)}));
        eventually("it is fast again", || is_fast(&stream));
        drop(stream);
        client.v1("DELETE", &path, &Value::Null);
        let made = json!({"VirtualNetwork": network, "Policies": flat(1_250_000)});
        let made = client.v1("POST", "/endpoints/", &made);
        client.attach(&namespace, made["ID"].as_str().unwrap());
        let stream = Stream::start(&namespace, &other.namespace, &other.addresses[1], 7002);
        stream.settles_at(1_250_000, Duration::from_secs(2));
    });
}

/// Whose packets the host does not see, and whose it forwards.
#[test]
fn endpoints_of_an_uplink_send_as_fast_as_they_may() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let before = settled_dump();
        let mut client = Client::new();
        for (kind, ends) in [("Transparent", [40, 41]), ("L2Bridge", [50, 51])] {
            let mut settings = network_document(&["203.0.113.0/24", "2001:db8:ffff::/64"]);
            settings["Type"] = json!(kind);
            let network = client.ok("Network.Create", &json!({"settings": settings}))["id"].clone();
            let network = network.as_str().unwrap();
            let [limited, other] = ends.map(|end| {
                let addresses = [format!("203.0.113.{end}"), format!("2001:db8:ffff::{end}")];
                let given = addresses.map(|address| json!({"IpAddress": address}));
                client.container(network, &json!({"IpConfigurations": given}))
            });
            eventually("both reach outside", || {
                [&limited, &other]
                    .iter()
                    .all(|from| OUTSIDE.iter().all(|to| ping(&from.namespace, to).code == Some(0)))
            });
            let is_fast = |stream: &Stream| stream.rate(Duration::from_millis(500)) > 12_500_000.0;
            let streams = [7001, 7002].map(|port| {
                let family = usize::from(port == 7002);
                Stream::start(&limited.namespace, "outside", OUTSIDE[family], port)
            });
            let beside = Stream::start(&other.namespace, "outside", OUTSIDE[0], 7003);
            eventually("they are fast", || streams.iter().all(is_fast));
            drop(streams);
            modify(&mut client, &limited.endpoint, "Add", &[qos(1_250_000)]);
            let stream = Stream::start(&limited.namespace, "outside", OUTSIDE[0], 7004);
            stream.settles_at(1_250_000, Duration::from_secs(2));
            client = kill_hcnd();
            stream.settles_at(1_250_000, Duration::from_secs(2));
            drop(stream);
            eventually("the other one is fast", || is_fast(&beside));
            let stream = Stream::start(&limited.namespace, &other.namespace, &other.addresses[1], 7005);
            stream.settles_at(1_250_000, Duration::from_secs(2));
            modify(&mut client, &limited.endpoint, "Remove", &[qos(1_250_000)]);
            eventually("it is fast again", || is_fast(&stream));
            drop((stream, beside));
            client.delete("Network", network);
            for container in [&limited, &other] {
                client.delete("Namespace", &container.namespace);
            }
        }
        assert_unchanged(&before, "limited endpoints came and went");
    });
}

#[test]
fn a_virtual_machine_sends_as_fast_as_it_may() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let endpoint = client.endpoint(&network, &json!({"Policies": [qos(1_250_000)]}));
        let settings = json!({"ResourceType": "Port", "RequestType": "Add", "Settings": {"PortId": "A0000000-0000-4000-8000-000000000001"}});
        client.ok("Endpoint.Modify", &json!({"id": endpoint, "settings": settings}));
        let document = client.query("Endpoint", &endpoint);
        let tap = document["AdditionalParams"]["TapInterface"].as_str().unwrap();
        let mac = document["MacAddress"].as_str().unwrap().replace('-', ":");
        let machine = Machine::start("machine", tap, &mac);
        machine.configure(&format!("{}/24", client.addresses(&endpoint)[0]), GATEWAYS[0]);
        eventually("the machine reaches the host", || {
            netns_exec("machine", &["ping", "-n", "-c", "1", "-W", "1", GATEWAYS[0]]).code == Some(0)
        });
        let stream = Stream::start("machine", HOST, GATEWAYS[0], 7001);
        stream.settles_at(1_250_000, Duration::from_secs(3));
    });
}

#[test]
fn a_limit_outlives_the_death_of_hcnd() {
    in_sandbox!(Sandbox::new(), {
        let folder = TempDir::new().unwrap();
        let old = sandbox_hcnd();
        kill(old, Signal::SIGTERM).unwrap();
        eventually("the sandbox's hcnd has ended", || !is_running(old));
        let socket = folder.path().join("hcnd.sock");
        let store = folder.path().join("state.redb");
        let start = || {
            let process = Background::start(Command::new("hcnd").env_remove("HCND_SOCKET").args([
                Path::new("--socket"),
                &socket,
                Path::new("--store"),
                &store,
            ]));
            eventually("hcnd listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
            process
        };
        let mut hcnd = start();
        let mut client = Client::of(&socket);
        let network = client.network(&DUAL);
        let other = client.container(&network, &json!({}));
        let limited = client.container(&network, &json!({"Policies": [qos(1_250_000)]}));
        let made = settled_dump();
        let shown = || run_ok(&["tc", "qdisc", "show"]);
        let disciplines = shown();
        let stream = Stream::start(&limited.namespace, &other.namespace, &other.addresses[0], 7001);
        for _ in 0..3 {
            hcnd.signal(Signal::SIGKILL);
            hcnd.wait(Duration::from_secs(10));
            drop(hcnd);
            hcnd = start();
            assert_eq!(shown(), disciplines);
            assert_unchanged(&made, "killed and started");
        }
        stream.settles_at(1_250_000, Duration::from_secs(3));
        drop(stream);
        let mut client = Client::of(&socket);
        client.delete("Endpoint", &limited.endpoint);
        eventually("the device is gone", || !run_ok(&["ip", "link"]).contains("hvi"));
        hcnd.signal(Signal::SIGTERM);
        hcnd.wait(Duration::from_secs(10));
    });
}

/// The MTU of a link.
fn mtu(netns: &str, link: &str) -> u64 {
    let argv = if netns == HOST { vec!["ip"] } else { vec!["ip", "-n", netns] };
    let shown = run_ok(&[&argv[..], &["-j", "link", "show", "dev", link]].concat());
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown[0]["mtu"].as_u64().unwrap()
}

/// Whether a packet of this size passes in one piece.
fn fits(container: &Container, octets: u64, address: &str) -> bool {
    let headers = if address.contains(':') { 48 } else { 28 };
    let payload = (octets - headers).to_string();
    let argv = ["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", &payload, address];
    netns_exec(&container.namespace, &argv).code == Some(0)
}

#[test]
fn packets_are_as_large_as_policies_let_them_be() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let overhead = json!({"Type": "EncapOverhead", "Settings": {"Overhead": 50}});
        let parameters = |mtu: u32| json!({"Type": "InterfaceParameters", "Settings": {"Mtu": mtu}});
        let container = client.container(&network, &json!({"Policies": [overhead]}));
        let other = client.container(&network, &json!({}));
        let is = |mtu_now: u64| {
            for (netns, link) in [(HOST, port(&container).as_str()), (container.namespace.as_str(), "eth0")] {
                assert_eq!(mtu(netns, link), mtu_now, "{link}");
            }
            for address in GATEWAYS.iter().copied().chain(other.addresses.iter().map(String::as_str)) {
                assert!(fits(&container, mtu_now, address), "{mtu_now} to {address}");
                assert!(!fits(&container, mtu_now + 1, address), "{mtu_now} to {address}");
            }
        };
        is(1450);
        // Live: the smaller one counts, and no more than the network lets pass.
        modify(&mut client, &container.endpoint, "Add", &[parameters(1400)]);
        is(1400);
        modify(&mut client, &container.endpoint, "Update", &[parameters(9000)]);
        is(1450);
        modify(
            &mut client,
            &container.endpoint,
            "Remove",
            &[json!({"Type": "EncapOverhead", "Settings": {"Overhead": 50}})],
        );
        is(1500);
        let tap = json!({"ResourceType": "Port", "RequestType": "Add", "Settings": {"PortId": "A0000000-0000-4000-8000-000000000001"}});
        let machine = client.endpoint(&network, &json!({"Policies": [parameters(1300)]}));
        client.ok("Endpoint.Modify", &json!({"id": machine, "settings": tap}));
        assert_eq!(mtu(HOST, "hvta0000000"), 1300);
        // As version 1 says it.
        let v1 = json!({"VirtualNetwork": network, "EncapOverhead": 60, "PortFriendlyName": "front door"});
        let id = client.v1("POST", "/endpoints/", &v1)["ID"].as_str().unwrap().to_owned();
        let namespace = client.namespace("Host");
        client.attach(&namespace, &id);
        assert_eq!(mtu(&namespace, "eth0"), 1440);
    });
}

#[test]
fn a_dhcp_client_is_told_the_mtu_of_its_endpoint() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let document = json!({"Type": "ICS", "Flags": 3, "SchemaVersion": {"Major": 2}});
        let network = client.ok("Network.Create", &json!({"settings": document}))["id"].clone();
        let policies = json!([{"Type": "InterfaceParameters", "Settings": {"Mtu": 1400}}]);
        let container =
            client.container(network.as_str().unwrap(), &json!({"Flags": 32, "Policies": policies}));
        let mac = client.query("Endpoint", &container.endpoint)["MacAddress"].as_str().unwrap().to_owned();
        let asks = Dhcp { netns: container.namespace.clone(), mac, has: None };
        let offer = asks.ask(DISCOVER, &[]).unwrap();
        assert_eq!(offer.option(26), Some(&1400u16.to_be_bytes()[..]));
        let other = json!([{"Type": "InterfaceParameters", "Settings": {"Mtu": 1380}}]);
        modify(&mut client, &container.endpoint, "Update", other.as_array().unwrap());
        let offer = asks.ask(DISCOVER, &[]).unwrap();
        assert_eq!(offer.option(26), Some(&1380u16.to_be_bytes()[..]));
        assert_eq!(mtu(&container.namespace, "eth0"), 1380);
    });
}

/// The alias of a link of the host.
fn alias(link: &str) -> String {
    let shown: Value = serde_json::from_str(&run_ok(&["ip", "-j", "link", "show", "dev", link])).unwrap();
    shown[0]["ifalias"].as_str().unwrap().to_owned()
}

#[test]
fn the_name_of_a_port_is_in_the_alias_of_its_link() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let named = |name: &str| json!({"Type": "PortName", "Settings": {"Name": name}});
        let container = client.container(&network, &json!({"Name": "web", "Policies": [named("front")]}));
        let port = port(&container);
        assert_eq!(alias(&port), format!("hcn endpoint {} web front", container.endpoint));
        modify(&mut client, &container.endpoint, "Update", &[named("back door")]);
        assert_eq!(alias(&port), format!("hcn endpoint {} web back door", container.endpoint));
        modify(&mut client, &container.endpoint, "Remove", &[named("back door")]);
        assert_eq!(alias(&port), format!("hcn endpoint {} web", container.endpoint));
        assert_eq!(run(&["ip", "link", "show", "dev", &port]).code, Some(0));
    });
}

#[test]
fn sizes_and_names_outlive_the_death_of_hcnd() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let given = |kind: &str, settings: Value| json!({"Type": kind, "Settings": settings});
        let [tunnelled, smaller, other] = [
            json!([
                given("EncapOverhead", json!({"Overhead": 50})),
                given("PortName", json!({"Name": "front"}))
            ]),
            json!([given("InterfaceParameters", json!({"Mtu": 1400}))]),
            json!([]),
        ]
        .map(|policies| client.container(&network, &json!({"Name": "web", "Policies": policies})));
        let named = format!("hcn endpoint {} web front", tunnelled.endpoint);
        let as_said = || {
            for (container, size) in [(&tunnelled, 1450), (&smaller, 1400), (&other, 1500)] {
                assert_eq!(mtu(HOST, &port(container)), size);
                assert_eq!(mtu(&container.namespace, "eth0"), size);
            }
            for (from, size) in [(&tunnelled, 1450), (&smaller, 1400)] {
                for address in &other.addresses {
                    assert!(fits(from, size, address), "{size} to {address}");
                }
            }
            assert_eq!(alias(&port(&tunnelled)), named);
            assert_eq!(alias(&port(&other)), format!("hcn endpoint {} web", other.endpoint));
        };
        as_said();
        let _ = kill_hcnd_and(as_said);
        as_said();
        // Also if somebody changes them meanwhile.
        let mut client = kill_hcnd_and(|| {
            for container in [&tunnelled, &smaller] {
                run_ok(&["ip", "link", "set", "dev", &port(container), "mtu", "1500"]);
                run_ok(&["ip", "-n", &container.namespace, "link", "set", "dev", "eth0", "mtu", "1500"]);
            }
            let renamed = format!("hcn endpoint {} web other", tunnelled.endpoint);
            run_ok(&["ip", "link", "set", "dev", &port(&tunnelled), "alias", &renamed]);
        });
        as_said();
        modify(
            &mut client,
            &smaller.endpoint,
            "Remove",
            &[given("InterfaceParameters", json!({"Mtu": 1400}))],
        );
        assert_eq!(mtu(&smaller.namespace, "eth0"), 1500);
    });
}
