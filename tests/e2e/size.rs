//! Is a network larger than a bridge still one network? More than 1,023 endpoints, packets between all parts of it, a
//! restart, its end.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails must fail the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Mutex;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, membership, network_document, v2, with_version};
use hcn_tests::kernel::{assert_unchanged, dump};
use hcn_tests::policies::{acl, change};
use hcn_tests::service::{kill_hcnd, sandbox_hcnd, sandbox_socket};
use hcn_tests::stream::Stream;
use hcn_tests::traffic::{
    HOST, PORT, ask_tcp, ask_tcp_at, ask_udp, ask_udp_at, in_netns, ping, seen_as, serve, serve_asked,
    set_sysctl, wait_for_outside,
};
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, is_running, patience, run_ok};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

/// More than the ports of a bridge.
const COUNT: usize = 1100;
/// What one bridge takes.
const SHARD: usize = 250;
/// Where servers say by which address they are asked.
const ASKED: u16 = 7000;
const SUBNETS: [&str; 2] = ["10.20.16.0/20", "fd00:20::/64"];
const GATEWAYS: [&str; 2] = ["10.20.16.1", "fd00:20::1"];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const FAMILIES: [usize; 2] = [0, 1];
/// What fills a network floods it, and the queues of all processors: a test beside it would lose packets.
static ALONE: Mutex<()> = Mutex::new(());
/// How many calls are sent before the first reply is read.
const IN_FLIGHT: usize = 50;

fn network(client: &mut Client, kind: &str) -> String {
    let mut settings = network_document(&[]);
    settings["Type"] = json!(kind);
    settings["Ipams"][0]["Subnets"] = SUBNETS
        .iter()
        .zip(GATEWAYS)
        .map(|(prefix, gateway)| {
            let everything = if gateway.contains(':') { "::/0" } else { "0.0.0.0/0" };
            json!({"IpAddressPrefix": prefix, "Routes": [{"NextHop": gateway, "DestinationPrefix": everything}]})
        })
        .collect();
    client.ok("Network.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned()
}

/// One of many: the namespace and the endpoint in it have IDs that end in its number, and so have its addresses.
fn namespace(number: usize) -> String {
    format!("{number:08X}-0004-4000-8000-000000000000")
}

fn endpoint(number: usize) -> String {
    format!("{number:08X}-0002-4000-8000-000000000000")
}

fn addresses(number: usize) -> [String; 2] {
    let low = number + 2;
    [format!("10.20.{}.{}", 16 + low / 256, low % 256), format!("fd00:20::{:x}", low + 0x100)]
}

/// Sends calls and reads their replies, several under way at a time.
fn pipeline(client: &mut Client, calls: &[(&str, Value)]) {
    for calls in calls.chunks(IN_FLIGHT) {
        for (method, parameters) in calls {
            client.wire.send(&format!("io.hcn.{method}"), parameters, false).unwrap();
        }
        for (method, parameters) in calls {
            let reply = client.wire.receive().unwrap();
            assert_eq!(reply.error, None, "{method} {parameters}: {}", reply.raw);
        }
    }
}

/// Attaches the endpoints with these numbers, each to a namespace of its own.
fn fill(client: &mut Client, network: &str, numbers: std::ops::Range<usize>) {
    let mut calls = Vec::new();
    for number in numbers.clone() {
        let given = addresses(number).map(|address| json!({"IpAddress": address}));
        let settings = with_version(&json!({"IpConfigurations": given}));
        calls.push((
            "Endpoint.Create",
            json!({"id": endpoint(number), "network_id": network, "settings": settings}),
        ));
        calls.push(("Namespace.Create", json!({"id": namespace(number), "settings": v2()})));
    }
    for number in numbers {
        calls.push(("Namespace.Modify", membership("Add", &namespace(number), &endpoint(number))));
    }
    pipeline(client, &calls);
}

/// The links of the host as `ip` shows them, without what changes by itself.
fn links() -> BTreeSet<String> {
    let all: Value = serde_json::from_str(&run_ok(&["ip", "-j", "link", "show"])).unwrap();
    let members = ["ifindex", "ifname", "master", "address", "group", "ifalias", "mtu"];
    let fact = |link: &Value| members.map(|member| link[member].to_string()).join(" ");
    all.as_array().unwrap().iter().map(fact).collect()
}

/// How many ports each bridge of the network has, by the bridge's name.
fn ports(network: &str) -> Vec<(String, usize)> {
    let stem = format!("hcn{}", network[..8].to_lowercase());
    let all: Value = serde_json::from_str(&run_ok(&["ip", "-j", "link", "show"])).unwrap();
    let all = all.as_array().unwrap();
    let bridges =
        all.iter().filter_map(|link| link["ifname"].as_str()).filter(|name| name.starts_with(&stem));
    let mut ports: Vec<_> = bridges
        .map(|name| (name.to_owned(), all.iter().filter(|link| link["master"] == name).count()))
        .collect();
    ports.sort();
    ports
}

/// Waits until the first words of many new interfaces (MLD, router solicitations) have reached all others: as long as they
/// do, the kernel's queues overflow.
fn wait_for_quiet() {
    let dropped = || -> u64 {
        let lines = fs::read_to_string("/proc/net/softnet_stat").unwrap();
        let second = |line: &str| u64::from_str_radix(line.split(' ').nth(1).unwrap(), 16).unwrap();
        lines.lines().map(second).sum()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let before = dropped();
        sleep(Duration::from_secs(2));
        if dropped() == before || Instant::now() > deadline {
            return;
        }
    }
}

/// As whom a server sees a client. A frame to all of a thousand ports is more than the kernel's queue takes (its
/// `netdev_max_backlog` is 1000), so that a datagram beside it may be lost, and is sent again.
fn seen(netns: &str, server: &str) -> String {
    let seen = (0..5).find_map(|_| ask_tcp(netns, server).ok());
    let seen = seen.unwrap_or_else(|| panic!("TCP from {netns} to {server}"));
    let by_udp = (0..5).find_map(|_| ask_udp(netns, server).ok());
    assert_eq!(by_udp.as_ref(), Some(&seen), "UDP from {netns} to {server}");
    seen
}

/// Whether everybody of these reaches everybody else, as they are.
fn reach_each_other(numbers: &[usize]) {
    for from in numbers {
        for to in numbers.iter().filter(|to| *to != from) {
            for family in FAMILIES {
                let seen = seen(&namespace(*from), &addresses(*to)[family]);
                assert_eq!(seen, addresses(*from)[family], "{from} to {to}");
            }
        }
    }
}

fn broadcast_reaches(from: usize, to: &[usize]) {
    let listeners: Vec<UdpSocket> = to
        .iter()
        .map(|number| in_netns(&namespace(*number), || UdpSocket::bind("0.0.0.0:4000").unwrap()))
        .collect();
    in_netns(&namespace(from), || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_broadcast(true).unwrap();
        socket.send_to(b"all", "10.20.31.255:4000").unwrap();
    });
    for listener in listeners {
        listener.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut heard = [0; 8];
        let (length, sender) = listener.recv_from(&mut heard).unwrap();
        assert_eq!((&heard[..length], sender.ip().to_string()), (&b"all"[..], addresses(from)[0].clone()));
        // Once, and not by another way, too.
        listener.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        listener.recv_from(&mut heard).unwrap_err();
    }
}

fn restart() -> Background {
    let hcnd = sandbox_hcnd();
    kill(hcnd, Signal::SIGTERM).unwrap();
    // Closing what it holds of a thousand namespaces takes the kernel a while.
    let deadline = Instant::now() + Duration::from_secs(60);
    while is_running(hcnd) {
        assert!(Instant::now() < deadline, "hcnd does not end");
        sleep(Duration::from_millis(20));
    }
    let socket = sandbox_socket();
    let again = Background::start(
        Command::new("hcnd").args(["--socket", socket.to_str().unwrap()]).env_remove("HCND_SOCKET"),
    );
    eventually("the next one listens", || UnixStream::connect(&socket).is_ok());
    again
}

fn with_netfilter_on_bridges(value: &str) {
    for name in ["iptables", "ip6tables"] {
        let there = set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), value);
        assert!(there, "this kernel has no br_netfilter, so this test shows nothing");
    }
}

#[test]
fn more_endpoints_than_a_bridge_has_ports_are_one_network() {
    let _alone = ALONE.lock();
    in_sandbox!(Sandbox::new().deadline(Duration::from_secs(300)), {
        let mut client = Client::new();
        let before = dump();
        let network = network(&mut client, "NAT");
        let started = Instant::now();
        fill(&mut client, &network, 0..COUNT);
        eprintln!("measured: {COUNT} endpoints attached in {:?}", started.elapsed());
        wait_for_quiet();
        let (middle, last) = (SHARD + 7, COUNT - 1);
        // Joints count as ports of both bridges.
        let counts: Vec<usize> = ports(&network).into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [SHARD + 4, SHARD + 1, SHARD + 1, SHARD + 1, COUNT - 4 * SHARD + 1]);

        wait_for_outside();
        for place in [&namespace(0), &namespace(middle), &namespace(last), HOST, "outside"] {
            serve(place);
        }
        let mapping = |flags: u32| {
            json!({"Type": "PortMapping", "Settings":
                {"Protocol": 6, "InternalPort": PORT, "ExternalPort": 8080, "Flags": flags}})
        };
        let settings = json!({"ResourceType": "Policy", "RequestType": "Add",
            "Settings": {"Policies": [mapping(0), mapping(2)]}});
        client.ok("Endpoint.Modify", &json!({"id": endpoint(last), "settings": settings}));
        for value in ["1", "0"] {
            with_netfilter_on_bridges(value);
            reach_each_other(&[0, middle, last]);
            for family in FAMILIES {
                for number in [0, middle, last] {
                    let own = &addresses(number)[family];
                    assert_eq!(seen(&namespace(number), GATEWAYS[family]), *own);
                    assert_eq!(seen(HOST, own), GATEWAYS[family]);
                    assert_eq!(seen(&namespace(number), OUTSIDE[family]), UPLINK[family]);
                }
                let seen = ask_tcp_at("outside", UPLINK[family], 8080).unwrap();
                assert_eq!(seen, OUTSIDE[family], "by the port mapping");
            }
        }

        let (made, counted) = (links(), client.ids("Endpoint").len());
        let started = Instant::now();
        let _again = restart();
        eprintln!("measured: a restart with {COUNT} endpoints in {:?}", started.elapsed());
        let mut client = Client::new();
        assert_eq!((links(), client.ids("Endpoint").len()), (made, counted));
        reach_each_other(&[0, middle, last]);
        // There is room for more, and for those who were there before.
        client.detach(&namespace(middle), &endpoint(middle));
        client.attach(&namespace(middle), &endpoint(middle));
        reach_each_other(&[0, middle, last]);

        let started = Instant::now();
        client.delete("Network", &network);
        assert!(started.elapsed() < patience(Duration::from_secs(10)), "{:?}", started.elapsed());
        let calls: Vec<_> =
            (0..COUNT).map(|number| ("Namespace.Delete", json!({"id": namespace(number)}))).collect();
        pipeline(&mut client, &calls);
        assert_unchanged(&before, "something is left");
    });
}

#[test]
fn who_moves_from_one_bridge_to_another_is_found_there() {
    let _alone = ALONE.lock();
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = network(&mut client, "NAT");
        fill(&mut client, &network, 0..SHARD + 2);
        let (moving, staying) = (SHARD, SHARD + 1);
        for number in [0, 1, moving, staying] {
            serve(&namespace(number));
        }
        reach_each_other(&[0, moving, staying]);
        broadcast_reaches(staying, &[0, 1, moving]);
        broadcast_reaches(0, &[1, moving, staying]);
        client.detach(&namespace(moving), &endpoint(moving));
        client.detach(&namespace(5), &endpoint(5));
        // Its old bridge had room, the first one has some now.
        client.attach(&namespace(moving), &endpoint(moving));
        // What was taken out is deleted a little later.
        eventually("it is on the first one", || ports(&network).last().is_some_and(|(_, count)| *count == 2));
        // Those who knew it talk to it before it has said a word.
        for number in [staying, 0, 1] {
            for family in FAMILIES {
                let seen = ask_tcp(&namespace(number), &addresses(moving)[family]).unwrap();
                assert_eq!(seen, addresses(number)[family]);
            }
        }
    });
}

#[test]
fn a_stream_on_one_bridge_survives_who_moves_with_rules_on_another() {
    let _alone = ALONE.lock();
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = network(&mut client, "NAT");
        fill(&mut client, &network, 0..SHARD + 2);
        wait_for_quiet();
        let (moving, staying) = (SHARD, SHARD + 1);
        for number in [moving, staying] {
            serve(&namespace(number));
        }
        let longest = Duration::from_secs(1);
        let streams = [(0, 1), (staying, 0)].map(|(server, client)| {
            let [address, _] = addresses(server);
            let to = (address.as_str(), 9000);
            Stream::start_within(longest, &namespace(server), &namespace(client), to, 9000)
        });
        let on_second = || ports(&network)[1].1 - 1;
        // By both families, all at once: what is dropped takes its time.
        let may_ask = || {
            thread::scope(|scope| {
                let ask = |number: usize, family: usize| {
                    scope.spawn(move || ask_tcp(&namespace(number), &addresses(moving)[family]).is_ok())
                };
                let asking = [1, 2, staying].map(|number| FAMILIES.map(|family| ask(number, family)));
                asking.map(|of_one| of_one.map(|asked| asked.join().unwrap()))
            })
        };
        for (rule, bridge) in [("Host", 2), ("Switch", 1)] {
            let block = json!([acl(&json!({"Action": "Block", "Direction": "In", "RuleType": rule,
                "RemoteAddresses": addresses(1).join(",")}))]);
            change(&mut client, "Endpoint", &endpoint(moving), "Add", &block);
            for again in ["with a rule", "attached again", "after a kill"] {
                // Rules at the switch are at the first one. A port that was left is there for some moments more.
                eventually("its port is where its rules are", || on_second() == bridge);
                assert_eq!(may_ask(), [[false; 2], [true; 2], [true; 2]], "{rule} {again}");
                match again {
                    "with a rule" => {
                        client.detach(&namespace(moving), &endpoint(moving));
                        client.attach(&namespace(moving), &endpoint(moving));
                    }
                    "attached again" => client = kill_hcnd(),
                    _ => {}
                }
            }
            change(&mut client, "Endpoint", &endpoint(moving), "Remove", &block);
            assert_eq!(may_ask(), [[true; 2]; 3]);
        }
        for stream in streams {
            assert!(stream.end() > 100, "it carried next to nothing");
        }
    });
}

#[test]
fn services_serve_all_bridges_of_a_network() {
    let _alone = ALONE.lock();
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = network(&mut client, "NAT");
        let vips = ["10.20.31.250", "fd00:20::50"];
        fill(&mut client, &network, 0..2);
        let balancer = |client: &mut Client, back_end: usize, port: u16, flags: u32| {
            let mapping = |protocol: u32| json!({"Protocol": protocol, "InternalPort": PORT, "ExternalPort": port, "Flags": flags});
            client.load_balancer(&json!({
                "HostComputeEndpoints": [endpoint(back_end)], "FrontendVIPs": vips,
                "PortMappings": [mapping(6), mapping(17)],
            }))
        };
        // An internal one is there before the network grows.
        balancer(&mut client, 0, 81, 1);
        fill(&mut client, &network, 2..SHARD + 3);
        let (one, two) = (SHARD, SHARD + 2);
        for (port, back_end) in [(80, one), (82, 0)] {
            balancer(&mut client, back_end, port, 0);
        }
        balancer(&mut client, one, 83, 1);
        for number in [0, one] {
            serve(&namespace(number));
        }
        let asked = [(["10.20.31.251", "fd00:20::51"], one), (["10.20.31.252", "fd00:20::52"], 0)];
        for (vips, back_end) in &asked {
            serve_asked(&namespace(*back_end), ASKED, "asked as");
            let mapping = |protocol: u32| json!({"Protocol": protocol, "InternalPort": ASKED, "ExternalPort": ASKED, "Flags": 8});
            client.load_balancer(&json!({
                "HostComputeEndpoints": [endpoint(*back_end)], "FrontendVIPs": vips,
                "PortMappings": [mapping(6), mapping(17)],
            }));
        }
        for value in ["1", "0"] {
            with_netfilter_on_bridges(value);
            for port in 80..84 {
                for from in [0, 1, one, two] {
                    for vip in &vips {
                        let seen = ask_tcp_at(&namespace(from), vip, port);
                        let seen = seen.unwrap_or_else(|error| panic!("{from} to {vip}:{port}: {error}"));
                        assert!(
                            GATEWAYS.contains(&seen.as_str()),
                            "{from} to {vip}:{port}, bridge-nf {value}: {seen}"
                        );
                        let seen = ask_udp_at(&namespace(from), vip, port);
                        let seen =
                            seen.unwrap_or_else(|error| panic!("{from} to {vip}:{port}, UDP: {error}"));
                        assert!(
                            GATEWAYS.contains(&seen.as_str()),
                            "{from} to {vip}:{port}, UDP, bridge-nf {value}: {seen}"
                        );
                    }
                }
            }
            // Back ends that see the virtual address do so whatever bridge they and their clients are on.
            for from in [0, 1, one, two] {
                for vip in asked.iter().flat_map(|(vips, _)| vips) {
                    for answer in [ask_tcp_at, ask_udp_at].map(|ask| ask(&namespace(from), vip, ASKED)) {
                        let what = format!("{from} to {vip}, bridge-nf {value}");
                        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
                        assert_eq!(answer, format!("asked as {vip}"), "{what}");
                    }
                }
            }
        }
        assert!(ask_tcp_at(HOST, vips[0], 81).is_err());
    });
}

#[test]
fn what_closes_a_network_closes_all_of_its_bridges() {
    let _alone = ALONE.lock();
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let network = network(&mut client, "Internal");
        fill(&mut client, &network, 0..SHARD + 2);
        let (near, far) = (0, SHARD + 1);
        serve(HOST);
        serve(&namespace(near));
        serve(&namespace(far));
        for value in ["1", "0"] {
            with_netfilter_on_bridges(value);
            reach_each_other(&[near, far]);
            for family in FAMILIES {
                assert_eq!(seen_as(&namespace(far), GATEWAYS[family]), addresses(far)[family]);
                assert_ne!(ping(&namespace(far), OUTSIDE[family]).code, Some(0));
            }
        }
    });
}
