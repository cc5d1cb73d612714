//! Load balancers whose back ends come and go: who is refused, who stays where, and what becomes of connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, Container, DUAL, with_version};
use hcn_tests::service::{sandbox_hcnd, sandbox_socket};
use hcn_tests::traffic::{HOST, ask_tcp_at, in_netns, serve_as, set_sysctl, wait_for_outside};
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, is_running, netns_exec, patience};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const INTERNAL: u16 = 7000;
const EXTERNAL: u16 = 8000;
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
/// Virtual addresses that nobody has; outside has a route to them.
const VIPS: [&str; 2] = ["198.18.0.1", "2001:db8:18::1"];
const FAMILIES: [usize; 2] = [0, 1];
const TCP: u32 = 6;
const UDP: u32 = 17;

/// The world outside knows the way to virtual addresses, and the host the way to clients out there.
fn ways() {
    wait_for_outside();
    for (vip, uplink) in [("198.18.0.0/24", UPLINK[0]), ("2001:db8:18::/64", UPLINK[1])] {
        let added = netns_exec("outside", &["ip", "route", "add", vip, "via", uplink]);
        assert_eq!(added.code, Some(0), "{added}");
    }
    let added = netns_exec("outside", &["ip", "route", "add", "local", "198.19.0.0/24", "dev", "lo"]);
    assert_eq!(added.code, Some(0), "{added}");
    hcn_tests::run_ok(&["ip", "route", "add", "198.19.0.0/24", "via", OUTSIDE[0]]);
}

fn containers(client: &mut Client, count: usize) -> Vec<Container> {
    let network = client.network(&DUAL);
    let containers: Vec<Container> = (0..count).map(|_| client.container(&network, &json!({}))).collect();
    for (number, container) in containers.iter().enumerate() {
        serve_as(&container.namespace, INTERNAL, &number.to_string());
        converse(&container.namespace, INTERNAL + 1, &number.to_string());
    }
    containers
}

/// Says a name for each octet that it gets, over TCP, as long as the client likes.
fn converse(netns: &str, port: u16, name: &str) {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = in_netns(netns, || TcpListener::bind(any).unwrap());
    let name = name.to_owned();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let name = name.clone();
            thread::spawn(move || {
                while stream.read_exact(&mut [0]).is_ok() && stream.write_all(name.as_bytes()).is_ok() {}
            });
        }
    });
}

/// A load balancer of ports that are as many above INTERNAL as they are above EXTERNAL.
fn balancer(endpoints: &[&Container], vips: &[&str], ports: &[Value]) -> Value {
    let ids: Vec<&str> = endpoints.iter().map(|container| container.endpoint.as_str()).collect();
    json!({"HostComputeEndpoints": ids, "FrontendVIPs": vips, "PortMappings": ports})
}

fn port(protocol: u32, above: u16, distribution: u32, flags: u32) -> Value {
    json!({"Protocol": protocol, "InternalPort": INTERNAL + above, "ExternalPort": EXTERNAL + above,
        "DistributionType": distribution, "Flags": flags})
}

fn modify(client: &mut Client, id: &str, settings: &Value) {
    client.ok("LoadBalancer.Modify", &json!({"id": id, "settings": settings}));
}

/// What becomes of a question to a front end: the server's name, "refused", or "silence".
fn fate(netns: &str, protocol: u32, from: Option<IpAddr>, to: (&str, u16)) -> String {
    let to = SocketAddr::new(to.0.parse().unwrap(), to.1);
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let from = from.unwrap_or(any);
    let answer = in_netns(netns, || {
        let second = patience(Duration::from_secs(1));
        if protocol == TCP {
            let mut stream = TcpStream::connect_timeout(&to, second)?;
            stream.set_read_timeout(Some(second))?;
            let mut answer = String::new();
            return stream.read_to_string(&mut answer).map(|_| answer);
        }
        let socket = UdpSocket::bind((from, 0))?;
        socket.set_read_timeout(Some(second))?;
        socket.connect(to)?;
        socket.send(b"?")?;
        let mut answer = [0; 64];
        let length = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    });
    match answer {
        Ok(answer) => answer.split(' ').next().unwrap().to_owned(),
        // What the host itself sends by UDP is not even sent.
        Err(error) if [ErrorKind::ConnectionRefused, ErrorKind::PermissionDenied].contains(&error.kind()) => {
            "refused".to_owned()
        }
        Err(_) => "silence".to_owned(),
    }
}

/// The kernel tells a sender seldom more than once a second that nobody listens.
fn is_refused(netns: &str, protocol: u32, to: (&str, u16)) {
    let fates: Vec<String> = (0..3).map(|_| fate(netns, protocol, None, to)).take(3).collect();
    let told = fates.iter().any(|fate| fate == "refused");
    assert!(told && fates.iter().all(|fate| fate != "0"), "{protocol} from {netns:?} to {to:?}: {fates:?}");
}

#[test]
fn nobody_waits_for_a_load_balancer_without_back_ends() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        ways();
        let mut client = Client::new();
        let all = containers(&mut client, 2);
        let ports = |flags| [port(TCP, 0, 0, flags), port(UDP, 0, 0, flags)];
        let id = client.load_balancer(&balancer(&[], &VIPS, &ports(2)));
        client.load_balancer(&balancer(&[], &[], &[port(TCP, 5, 0, 2), port(UDP, 5, 2, 2)]));
        let mut six = balancer(&[], &[], &[port(TCP, 5, 0, 2), port(UDP, 5, 2, 2)]);
        six["Flags"] = json!(2);
        client.load_balancer(&six);
        for bridged in ["1", "0"] {
            for name in ["iptables", "ip6tables"] {
                assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), bridged));
            }
            for from in ["outside", HOST, &all[1].namespace] {
                for protocol in [TCP, UDP] {
                    for family in FAMILIES {
                        is_refused(from, protocol, (VIPS[family], EXTERNAL));
                        is_refused(from, protocol, (UPLINK[family], EXTERNAL + 5));
                    }
                }
            }
        }
        // With a back end it serves, and when its last endpoint goes it refuses again.
        modify(&mut client, &id, &balancer(&[&all[0]], &VIPS, &ports(2)));
        for family in FAMILIES {
            assert_eq!(fate("outside", TCP, None, (VIPS[family], EXTERNAL)), "0");
        }
        let flow = in_netns("outside", || UdpSocket::bind(("0.0.0.0", 0)).unwrap());
        flow.connect((VIPS[0], EXTERNAL)).unwrap();
        flow.set_read_timeout(Some(patience(Duration::from_secs(1)))).unwrap();
        flow.send(b"?").unwrap();
        flow.recv(&mut [0; 64]).unwrap();
        client.delete("Endpoint", &all[0].endpoint);
        for from in ["outside", HOST, &all[1].namespace] {
            is_refused(from, TCP, (VIPS[0], EXTERNAL));
        }
        // A flow from before is told, too.
        let told = (0..5).any(|_| {
            let _ = flow.send(b"?");
            flow.recv(&mut [0; 64]).unwrap_err().kind() == ErrorKind::ConnectionRefused
        });
        assert!(told);
        // From outside an internal one is not there at all, and where the host may not use it, it does not.
        let mut inside = balancer(&[], &VIPS, &ports(1));
        inside["HostComputeNetwork"] =
            client.query("Endpoint", &all[1].endpoint)["HostComputeNetwork"].clone();
        modify(&mut client, &id, &inside);
        is_refused(&all[1].namespace, TCP, (VIPS[0], EXTERNAL));
        for from in ["outside", HOST] {
            assert_eq!(fate(from, UDP, None, (VIPS[0], EXTERNAL)), "silence", "{from:?}");
        }
        // Without back ends and without a network nobody is inside.
        modify(&mut client, &id, &balancer(&[], &VIPS, &ports(1)));
        assert_eq!(fate(&all[1].namespace, UDP, None, (VIPS[0], EXTERNAL)), "silence");
    });
}

#[test]
fn a_bridge_that_the_host_keeps_from_is_told_of_missing_back_ends() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let settings = with_version(&json!({"Type": "Overlay", "Ipams": [{"Subnets": [{
            "IpAddressPrefix": "10.44.1.0/24", "Policies": [{"Type": "VSID", "Settings": {"IsolationId": 4096}}],
            "Routes": [{"NextHop": "10.44.1.1", "DestinationPrefix": "0.0.0.0/0"}],
        }]}]}));
        let made = client.ok("Network.Create", &json!({"settings": settings}));
        let network = made["id"].as_str().unwrap();
        let pod = client.container(network, &json!({}));
        let mut none = balancer(&[], &VIPS[..1], &[port(TCP, 0, 0, 0), port(UDP, 0, 0, 0)]);
        none["HostComputeNetwork"] = json!(network);
        client.load_balancer(&none);
        for protocol in [TCP, UDP] {
            is_refused(&pod.namespace, protocol, (VIPS[0], EXTERNAL));
        }
    });
}

/// The server of each of many clients.
fn servers(protocol: u32, above: u16) -> Vec<String> {
    let ask = |last: u8| {
        let from = IpAddr::from([198, 19, 0, last]);
        if protocol == UDP {
            return fate("outside", UDP, Some(from), (VIPS[0], EXTERNAL + above));
        }
        // The source is that of the route.
        let route = ["ip", "route", "replace", VIPS[0], "via", UPLINK[0], "src", &from.to_string()];
        assert_eq!(netns_exec("outside", &route).code, Some(0));
        fate("outside", TCP, None, (VIPS[0], EXTERNAL + above))
    };
    let servers: Vec<String> = (1..=24).map(ask).collect();
    assert!(!servers.iter().any(|server| ["refused", "silence"].contains(&server.as_str())), "{servers:?}");
    servers
}

/// An hcnd in place of the sandbox's own.
fn start(folder: &Path) -> Background {
    let socket = folder.join("hcnd.sock");
    let mut command = Command::new("hcnd");
    command.arg("--socket").arg(&socket).arg("--store").arg(folder.join("state.redb"));
    let hcnd = Background::start(command.env_remove("HCND_SOCKET"));
    eventually("hcnd listens", || UnixStream::connect(&socket).is_ok());
    hcnd
}

#[test]
fn a_client_stays_with_its_back_end_through_changes_and_kills() {
    in_sandbox!(Sandbox::new(), {
        ways();
        let folder = TempDir::new().unwrap();
        let old = sandbox_hcnd();
        nix::sys::signal::kill(old, Signal::SIGTERM).unwrap();
        eventually("the sandbox's hcnd has ended", || !is_running(old));
        let mut hcnd = start(folder.path());
        let mut client = Client::of(&folder.path().join("hcnd.sock"));
        let all = containers(&mut client, 5);
        let sticky = |numbers: &[usize]| {
            let endpoints: Vec<&Container> = numbers.iter().map(|number| &all[*number]).collect();
            balancer(&endpoints, &VIPS, &[port(TCP, 0, 2, 2), port(UDP, 0, 2, 2)])
        };
        let id = client.load_balancer(&sticky(&[0, 1, 2]));
        let first = servers(UDP, 0);
        assert!((0..3).all(|number| first.contains(&number.to_string())), "{first:?}");
        // SourceIP is about both protocols, and every port.
        assert_eq!(servers(TCP, 0), first);
        for numbers in [&[4, 2, 3, 1, 0][..], &[1, 0, 2], &[3, 0, 1, 2, 4]] {
            modify(&mut client, &id, &sticky(numbers));
            assert_eq!(servers(UDP, 0), first, "{numbers:?}");
        }
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            hcnd.signal(signal);
            hcnd.wait(Duration::from_secs(10));
            hcnd = start(folder.path());
            assert_eq!(servers(UDP, 0), first, "{signal}");
        }
        let mut client = Client::of(&folder.path().join("hcnd.sock"));
        modify(&mut client, &id, &sticky(&[4, 3, 2, 1, 0]));
        assert_eq!(servers(UDP, 0), first);
        // Those of a back end that goes find another one, and keep that.
        client.delete("Endpoint", &all[1].endpoint);
        let second = servers(UDP, 0);
        for (before, after) in first.iter().zip(&second) {
            assert!(if before == "1" { after != "1" } else { after == before }, "{first:?} {second:?}");
        }
        modify(&mut client, &id, &sticky(&[3, 0, 2]));
        let kept = servers(TCP, 0);
        for (before, after) in second.iter().zip(&kept) {
            assert!(before == "4" || after == before, "{second:?} {kept:?}");
        }
        hcnd.signal(Signal::SIGTERM);
        hcnd.wait(Duration::from_secs(10));
    });
}

#[test]
fn per_protocol_the_same_client_may_have_two_back_ends() {
    in_sandbox!(Sandbox::new(), {
        ways();
        let mut client = Client::new();
        let all = containers(&mut client, 3);
        let every: Vec<&Container> = all.iter().collect();
        let ports = |distribution| [port(TCP, 0, distribution, 0), port(UDP, 0, distribution, 0)];
        for (distribution, same) in [(1, false), (2, true)] {
            // Who asks by UDP goes to the only back end there is, and stays; by TCP he asks when there are more.
            let id = client.load_balancer(&balancer(&every[..1], &VIPS, &ports(distribution)));
            assert_eq!(servers(UDP, 0), vec!["0"; 24]);
            modify(&mut client, &id, &balancer(&every, &VIPS, &ports(distribution)));
            assert_eq!(servers(UDP, 0), vec!["0"; 24]);
            let by_tcp = servers(TCP, 0);
            assert_eq!(by_tcp.iter().all(|server| server == "0"), same, "{by_tcp:?}");
            assert_eq!(servers(TCP, 0), by_tcp);
            client.delete("LoadBalancer", &id);
        }
        // Without affinity nobody stays.
        client.load_balancer(&balancer(&every, &VIPS, &ports(0)));
        let fates: BTreeSet<String> =
            (0..40).map(|_| fate("outside", TCP, None, (VIPS[0], EXTERNAL))).collect();
        assert_eq!(fates.len(), 3);
    });
}

/// The flows to the front ends of this test, by back end: IDs of the kernel are not shown, so lines stand for them.
fn flows(protocol: &str, port: u16) -> BTreeMap<String, usize> {
    let mut flows = BTreeMap::new();
    for line in fs::read_to_string("/proc/net/nf_conntrack").unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !words.contains(&protocol) || !words.contains(&format!("dport={port}").as_str()) {
            continue;
        }
        let sources: Vec<&str> = words.iter().filter_map(|word| word.strip_prefix("src=")).collect();
        *flows.entry(sources[1].to_owned()).or_default() += 1;
    }
    flows
}

/// A conversation over TCP with one back end.
struct Talk {
    stream: TcpStream,
    with: String,
}

impl Talk {
    fn begin(family: usize) -> Self {
        let to = SocketAddr::new(VIPS[family].parse().unwrap(), EXTERNAL + 1);
        let stream = in_netns("outside", || TcpStream::connect(to).unwrap());
        stream.set_read_timeout(Some(patience(Duration::from_secs(2)))).unwrap();
        let mut talk = Self { stream, with: String::new() };
        talk.with = talk.say().unwrap();
        talk
    }

    fn say(&mut self) -> std::io::Result<String> {
        self.stream.write_all(b"?")?;
        let mut answer = [0];
        self.stream.read_exact(&mut answer)?;
        Ok(char::from(answer[0]).to_string())
    }
}

/// Conversations with all of these back ends, by each family.
fn talks(with: &[&str]) -> Vec<Talk> {
    let mut talks = Vec::new();
    for family in FAMILIES {
        let mut missing: BTreeSet<&str> = with.iter().copied().collect();
        while !missing.is_empty() {
            let talk = Talk::begin(family);
            if missing.remove(talk.with.as_str()) {
                talks.push(talk);
            }
        }
    }
    talks
}

#[test]
fn a_change_leaves_alone_what_stays_and_ends_what_goes() {
    in_sandbox!(Sandbox::new(), {
        ways();
        let mut client = Client::new();
        let all = containers(&mut client, 4);
        let ports = [port(UDP, 0, 0, 0), port(TCP, 1, 0, 0)];
        let with = |numbers: &[usize], terminate: bool| {
            let endpoints: Vec<&Container> = numbers.iter().map(|number| &all[*number]).collect();
            let mut settings = balancer(&endpoints, &VIPS, &ports);
            if terminate {
                settings["AdditionalParams"] = json!({"TerminateConnections": true});
            }
            settings
        };
        let id = client.load_balancer(&with(&[0, 1, 2], false));
        let mut conversations = talks(&["0", "1", "2"]);
        let sockets: Vec<UdpSocket> =
            (0..24).map(|_| in_netns("outside", || UdpSocket::bind(("0.0.0.0", 0)).unwrap())).collect();
        let ask = |socket: &UdpSocket| {
            socket.set_read_timeout(Some(patience(Duration::from_secs(2)))).unwrap();
            socket.send_to(b"?", (VIPS[0], EXTERNAL)).unwrap();
            let mut answer = [0; 64];
            socket.recv(&mut answer).unwrap();
            char::from(answer[0]).to_string()
        };
        let before: Vec<String> = sockets.iter().map(ask).collect();
        let counted = |server: &str| before.iter().filter(|found| *found == server).count();
        let of = |number: usize| all[number].addresses[0].clone();
        let expected: BTreeMap<String, usize> =
            (0..3).map(|number| (of(number), counted(&number.to_string()))).collect();
        assert_eq!(flows("udp", EXTERNAL), expected);
        let connections = flows("tcp", EXTERNAL + 1);

        // Without the flag, connections to a back end that went go on; UDP flows to it end, and no others.
        modify(&mut client, &id, &with(&[3, 2, 0], false));
        let mut left = expected.clone();
        left.remove(&of(1));
        assert_eq!(flows("udp", EXTERNAL), left);
        assert_eq!(flows("tcp", EXTERNAL + 1), connections);
        for (socket, server) in sockets.iter().zip(&before) {
            let now = ask(socket);
            assert!(if server == "1" { now != "1" } else { now == *server }, "{server} {now}");
        }
        for talk in &mut conversations {
            assert_eq!(talk.say().unwrap(), talk.with);
        }

        // With it, they end with their back end, at the next word and not by a timeout; all others go on.
        modify(&mut client, &id, &with(&[3, 2, 0], true));
        for talk in &mut conversations {
            assert_eq!(talk.say().unwrap(), talk.with);
        }
        modify(&mut client, &id, &with(&[3, 0], true));
        let gone: Vec<String> = all[2].addresses.clone();
        // The reply does not wait for it.
        eventually("the connections are forgotten", || {
            flows("tcp", EXTERNAL + 1).keys().all(|backend| !gone.contains(backend))
        });
        for talk in &mut conversations {
            let started = Instant::now();
            match talk.say() {
                Ok(said) => assert!(said == talk.with && said != "2"),
                Err(error) => {
                    assert_eq!((error.kind(), talk.with.as_str()), (ErrorKind::ConnectionReset, "2"));
                    assert!(started.elapsed() < patience(Duration::from_millis(500)));
                }
            }
        }
        conversations.retain(|talk| talk.with == "0");
        assert_eq!(conversations.len(), 2);
        // Nobody is left, and the endpoint itself goes.
        modify(&mut client, &id, &with(&[0], true));
        client.delete("Endpoint", &all[0].endpoint);
        let gone = &all[0].addresses;
        eventually("the connections are forgotten", || {
            flows("tcp", EXTERNAL + 1).keys().all(|backend| !gone.contains(backend))
        });
        for talk in &mut conversations {
            let started = Instant::now();
            assert_eq!(talk.say().unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert!(started.elapsed() < patience(Duration::from_millis(500)));
        }
    });
}

#[test]
fn what_is_neither_true_nor_false_terminates_nothing() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::of(&sandbox_socket());
        let mut settings = with_version(&balancer(&[], &VIPS, &[port(TCP, 0, 0, 0)]));
        settings["AdditionalParams"] = json!({"TerminateConnections": "yes", "Other": 7});
        let refused = client.call("LoadBalancer.Create", &json!({"settings": settings}));
        assert_eq!(refused.hresult(), Some(0x8007_0057), "{}", refused.raw);
        assert!(refused.raw.contains("AdditionalParams.TerminateConnections"), "{}", refused.raw);
        settings["AdditionalParams"]["TerminateConnections"] = json!(true);
        let id = client.load_balancer(&settings);
        let document = client.query("LoadBalancer", &id);
        assert_eq!(document["AdditionalParams"], settings["AdditionalParams"], "{document}");
        assert!(ask_tcp_at(HOST, UPLINK[0], EXTERNAL).is_err());
    });
}
