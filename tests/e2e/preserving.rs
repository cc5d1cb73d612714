//! Load balancers whose back ends see the virtual address (flag PreserveDIP): who sees what, and when no more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use hcn_tests::client::{Client, Container, DUAL, membership};
use hcn_tests::service::sandbox_hcnd;
use hcn_tests::traffic::{HOST, ask_tcp_at, ask_udp_at, in_netns, serve_asked, set_sysctl, wait_for_outside};
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, is_running, netns_exec, patience, run, run_ok};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const PORT: u16 = 7000;
/// Where nobody listens.
const DEAF: u16 = 7009;
const TALK: u16 = 7001;
const POUR: u16 = 7002;
/// Octets.
const POURED: usize = 100_000;
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
/// Virtual addresses that nobody has, and one in the network's own subnet.
const VIPS: [&str; 3] = ["198.18.0.1", "2001:db8:18::1", "192.0.2.222"];
const TCP: u32 = 6;
const UDP: u32 = 17;
/// For the host, too, and with the destination preserved.
const FLAGS: u32 = 2 + 8;

fn ways() {
    wait_for_outside();
    let all = [("198.18.0.0/24", UPLINK[0]), ("2001:db8:18::/64", UPLINK[1]), ("192.0.2.222/32", UPLINK[0])];
    for (vip, uplink) in all {
        let added = netns_exec("outside", &["ip", "route", "add", vip, "via", uplink]);
        assert_eq!(added.code, Some(0), "{added}");
    }
}

fn port(protocol: u32, number: u16, flags: u32) -> Value {
    json!({"Protocol": protocol, "InternalPort": number, "ExternalPort": number, "Flags": flags})
}

fn balancer(endpoints: &[&Container], vips: &[&str], ports: &[Value]) -> Value {
    let ids: Vec<&str> = endpoints.iter().map(|container| container.endpoint.as_str()).collect();
    json!({"HostComputeEndpoints": ids, "FrontendVIPs": vips, "PortMappings": ports})
}

fn both(flags: u32) -> [Value; 2] {
    [port(TCP, PORT, flags), port(UDP, PORT, flags)]
}

fn modify(client: &mut Client, id: &str, settings: &Value) {
    client.ok("LoadBalancer.Modify", &json!({"id": id, "settings": settings}));
}

/// Who answers, and which address he was asked by; the same by TCP and UDP.
fn asked(from: &str, to: &str) -> String {
    let what = format!("from {from:?} to {to}");
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(ask_tcp_at(from, to, PORT).unwrap_or_else(|error| panic!("TCP {what}: {error}")));
        seen.push(ask_udp_at(from, to, PORT).unwrap_or_else(|error| panic!("UDP {what}: {error}")));
    }
    seen.sort();
    seen.dedup();
    seen.join(", ")
}

/// A new link finds its neighbours of IPv6 once it knows that nobody else has its link-local address; and so does the uplink.
fn finds_neighbours() {
    eventually("IPv6 finds its neighbours", || ask_tcp_at("outside", VIPS[1], PORT).is_ok());
}

/// A question that takes several packets, and an answer that does.
fn asks_at_length(from: &str, to: &str) {
    let to: IpAddr = to.parse().unwrap();
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let answer = in_netns(from, || {
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.set_read_timeout(Some(patience(Duration::from_secs(2)))).unwrap();
        socket.connect((to, PORT)).unwrap();
        socket.send(&[b'?'; 4000]).unwrap();
        let mut answer = [0; 8192];
        let length = socket.recv(&mut answer).unwrap_or_else(|error| panic!("{from:?} to {to}: {error}"));
        String::from_utf8(answer[..length].to_vec()).unwrap()
    });
    assert!(answer.len() == 4000 && answer.contains(&to.to_string()), "{from:?} to {to}: {}", answer.trim());
}

/// The back end itself says that nobody listens there, and the client hears it.
fn is_told(from: &str, to: &str) {
    let to: IpAddr = to.parse().unwrap();
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let told = in_netns(from, || {
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.set_read_timeout(Some(patience(Duration::from_secs(1)))).unwrap();
        socket.connect((to, DEAF)).unwrap();
        // The kernel tells seldom more than once a second.
        (0..3).any(|_| {
            socket.send(b"?").is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
                || socket.recv(&mut [0; 8]).unwrap_err().kind() == ErrorKind::ConnectionRefused
        })
    });
    assert!(told, "{from:?} to {to}");
}

/// Sends more than fits a packet, over TCP, to whoever comes.
fn pour(netns: &str) {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, POUR));
    let listener = in_netns(netns, || TcpListener::bind(any).unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(&[b'.'; POURED]);
        }
    });
}

/// What the back end sends is too large for the way to the client, of which the host tells it.
fn learns_how_large_packets_may_be() {
    for (vip, outside) in VIPS.iter().zip(OUTSIDE) {
        run_ok(&["ip", "route", "replace", outside, "dev", "eth0", "mtu", "1300"]);
        let stream = in_netns("outside", || TcpStream::connect((*vip, POUR)).unwrap());
        stream.set_read_timeout(Some(patience(Duration::from_secs(5)))).unwrap();
        let mut poured = Vec::new();
        (&stream).read_to_end(&mut poured).unwrap_or_else(|error| panic!("{vip}: {error}"));
        assert_eq!(poured.len(), POURED);
        run_ok(&["ip", "route", "del", outside, "dev", "eth0", "mtu", "1300"]);
    }
}

fn has_tables() -> bool {
    let there = |family| run(&["nft", "list", "table", family, "hcnd_dip"]).code == Some(0);
    let [inet, bridge] = ["inet", "bridge"].map(there);
    assert_eq!(inet, bridge);
    inet
}

fn loopback(container: &Container) -> String {
    let shown = netns_exec(&container.namespace, &["ip", "addr", "show", "lo"]);
    VIPS.iter()
        .filter(|vip| shown.to_string().contains(&format!("{vip}/")))
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

fn is_bridged(on: bool) {
    for name in ["iptables", "ip6tables"] {
        assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), if on { "1" } else { "0" }));
    }
}

fn containers(client: &mut Client) -> [Container; 3] {
    let network = client.network(&DUAL);
    // What is limited takes another way into the host.
    let limited = json!({"Policies": [{"Type": "QOS",
        "Settings": {"MaximumOutgoingBandwidthInBytes": 100_000_000}}]});
    let all = [json!({}), limited.clone(), limited].map(|settings| client.container(&network, &settings));
    for (number, container) in all.iter().enumerate() {
        serve_asked(&container.namespace, PORT, &number.to_string());
    }
    all
}

#[test]
fn back_ends_see_the_address_that_was_asked() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        ways();
        let mut client = Client::new();
        let [plain, limited, other] = containers(&mut client);
        let others = [port(UDP, DEAF, FLAGS), port(TCP, POUR, FLAGS)];
        let settings = |ends: &[&Container]| balancer(ends, &VIPS, &[&both(FLAGS)[..], &others].concat());
        let id = client.load_balancer(&settings(&[&plain]));
        // The first packet of a back end is an answer, for which it needs a neighbour.
        for namespace in [&plain.namespace, &limited.namespace, &other.namespace] {
            netns_exec(namespace, &["ip", "neigh", "flush", "all"]);
        }
        for (number, end) in [(0, &plain), (1, &limited)] {
            modify(&mut client, &id, &settings(&[end]));
            assert_eq!(loopback(end), VIPS.join(" "));
            finds_neighbours();
            pour(&end.namespace);
            for on in [true, false] {
                is_bridged(on);
                for from in ["outside", HOST, &other.namespace] {
                    for vip in VIPS {
                        assert_eq!(asked(from, vip), format!("{number} {vip}"), "{from:?} bridged={on}");
                        asks_at_length(from, vip);
                    }
                    is_told(from, VIPS[0]);
                    is_told(from, VIPS[1]);
                }
                learns_how_large_packets_may_be();
                // By its own address it is asked as ever.
                for own in &end.addresses {
                    assert_eq!(asked(&other.namespace, own), format!("{number} {own}"));
                }
                // One that asks for itself asks itself, and has no need of anybody.
                assert_eq!(asked(&end.namespace, VIPS[0]), format!("{number} {}", VIPS[0]));
            }
        }
        // The bridge answers for a virtual address, not the back end that has it.
        netns_exec(&other.namespace, &["ip", "neigh", "flush", "all"]);
        asked(&other.namespace, VIPS[2]);
        asked(&other.namespace, VIPS[0]);
        let known = netns_exec(&other.namespace, &["ip", "neigh"]).to_string();
        let of = |address: &str| {
            let line =
                known.lines().find(|line| line.contains(&format!("{address} dev"))).expect("a neighbour");
            line.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap().to_owned()
        };
        assert_eq!(of(VIPS[2]), of("192.0.2.1"), "{known}");
        // Several back ends, each of which sees it; and the way is told.
        modify(&mut client, &id, &settings(&[&plain, &limited]));
        let mut seen: Vec<String> = (0..40).map(|_| ask_tcp_at("outside", VIPS[0], PORT).unwrap()).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [format!("0 {}", VIPS[0]), format!("1 {}", VIPS[0])]);
        let question = json!({"id": other.endpoint, "query": {"To": format!("{}:{PORT}", VIPS[0])}});
        let way = client.ok("Endpoint.Explain", &question).to_string();
        assert!(way.contains("PreserveDIP") && way.contains("bridge hcnd_dip"), "{way}");
        assert!(way.contains(&format!("-> {}:{PORT}\"", VIPS[0])), "{way}");
        run_ok(&["nft", "list", "ruleset"]);
        run_ok(&["nft", "-j", "list", "ruleset"]);

        // Without the flag, with another port, and without a virtual address destinations are translated.
        modify(&mut client, &id, &balancer(&[&plain], &VIPS, &both(2)));
        assert_eq!(
            (has_tables(), loopback(&plain), loopback(&limited)),
            (false, String::new(), String::new())
        );
        assert_eq!(asked("outside", VIPS[0]), format!("0 {}", plain.addresses[0]));
        let elsewhere = json!({"Protocol": TCP, "InternalPort": PORT, "ExternalPort": 80, "Flags": FLAGS});
        modify(&mut client, &id, &balancer(&[&plain], &VIPS, &[elsewhere]));
        assert_eq!(ask_tcp_at("outside", VIPS[0], 80).unwrap(), format!("0 {}", plain.addresses[0]));
        modify(&mut client, &id, &balancer(&[&plain], &[], &both(FLAGS)));
        assert_eq!(asked("outside", UPLINK[0]), format!("0 {}", plain.addresses[0]));
        assert!(!has_tables());
    });
}

/// Answers each octet with one, over TCP, as long as the client likes.
fn converse(netns: &str) {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, TALK));
    let listener = in_netns(netns, || TcpListener::bind(any).unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(
                move || {
                    while stream.read_exact(&mut [0]).is_ok() && stream.write_all(b"!").is_ok() {}
                },
            );
        }
    });
}

fn start(folder: &Path) -> (Background, Client) {
    let socket = folder.join("hcnd.sock");
    let mut command = Command::new("hcnd");
    command.arg("--socket").arg(&socket).arg("--store").arg(folder.join("state.redb"));
    let hcnd = Background::start(command.env_remove("HCND_SOCKET"));
    eventually("hcnd listens", || UnixStream::connect(&socket).is_ok());
    (hcnd, Client::of(&socket))
}

#[test]
fn it_outlives_changes_and_kills_and_goes_with_what_it_is_for() {
    in_sandbox!(Sandbox::new(), {
        ways();
        let folder = TempDir::new().unwrap();
        let old = sandbox_hcnd();
        nix::sys::signal::kill(old, Signal::SIGTERM).unwrap();
        eventually("the sandbox's hcnd has ended", || !is_running(old));
        let (mut hcnd, mut client) = start(folder.path());
        let [one, two, three] = containers(&mut client);
        converse(&one.namespace);
        let ports = [&both(FLAGS)[..], &[port(TCP, TALK, FLAGS)]].concat();
        let settings = |ends: &[&Container]| balancer(ends, &VIPS, &ports);
        let id = client.load_balancer(&settings(&[&one]));
        finds_neighbours();
        let mut streams: Vec<TcpStream> =
            [("outside", VIPS[0]), ("outside", VIPS[1]), (&three.namespace, VIPS[2])]
                .map(|(from, vip)| in_netns(from, || TcpStream::connect((vip, TALK)).unwrap()))
                .into();
        let mut talk = |when: &str| {
            for stream in &mut streams {
                stream.set_read_timeout(Some(patience(Duration::from_secs(3)))).unwrap();
                stream.write_all(b"?").unwrap();
                stream.read_exact(&mut [0]).unwrap_or_else(|error| panic!("{when}: {error}"));
            }
        };
        talk("at first");
        modify(&mut client, &id, &settings(&[&two, &one]));
        talk("with another back end");
        modify(&mut client, &id, &settings(&[&one]));
        talk("without it");
        assert_eq!(loopback(&two), "");
        // Another load balancer with the same address, and one with the same endpoint.
        let second = client.load_balancer(&balancer(&[&one], &VIPS[..1], &[port(TCP, 7005, FLAGS)]));
        client.delete("LoadBalancer", &second);
        assert_eq!(loopback(&one), VIPS.join(" "));
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            hcnd.signal(signal);
            hcnd.wait(Duration::from_secs(10));
            talk("without hcnd");
            (hcnd, client) = start(folder.path());
            talk("after a restart");
            assert_eq!(asked("outside", VIPS[0]), format!("0 {}", VIPS[0]));
        }
        // What others take away comes back.
        let taken =
            netns_exec(&one.namespace, &["ip", "addr", "del", &format!("{}/32", VIPS[0]), "dev", "lo"]);
        assert_eq!(taken.code, Some(0), "{taken}");
        eventually("it is there again", || loopback(&one) == VIPS.join(" "));
        assert_eq!(asked("outside", VIPS[0]), format!("0 {}", VIPS[0]));
        // With the endpoint's attachment it goes and comes; with the load balancer and the endpoint it goes.
        client.ok("Namespace.Modify", &membership("Remove", &one.namespace, &one.endpoint));
        assert_eq!((loopback(&one).as_str(), has_tables()), ("", false));
        client.ok("Namespace.Modify", &membership("Add", &one.namespace, &one.endpoint));
        assert_eq!(loopback(&one), VIPS.join(" "));
        assert_eq!(asked("outside", VIPS[0]), format!("0 {}", VIPS[0]));
        client.delete("Endpoint", &one.endpoint);
        assert_eq!((loopback(&one).as_str(), has_tables()), ("", false));
        modify(&mut client, &id, &settings(&[&two, &three]));
        assert!(has_tables());
        client.delete("LoadBalancer", &id);
        assert_eq!((loopback(&two), loopback(&three), has_tables()), (String::new(), String::new(), false));
        hcnd.signal(Signal::SIGTERM);
        hcnd.wait(Duration::from_secs(10));
    });
}
