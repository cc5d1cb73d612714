//! A restart: what is wanted is taken over untouched, what differs is repaired, what is left over goes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use hcn_dataplane::{
    Address, Affinity, Barrier, Claim, Dataplane, Family, Frontend, HostSide, Key, LinkId, Mac, Masquerade,
    Netns, Object, Op, Protocol, Resolver, Route, Service, Source, State, Veth, Ways, diff,
};
use hcn_linux::Linux;

fn claim(address: &str, claimant: &str) -> Object {
    let address = address.parse().unwrap();
    Object::Claim(Claim { link: LinkId::host(BRIDGE), address, claimant: claimant.into() })
}

/// An endpoint of the host itself.
fn host_endpoint() -> Vec<Object> {
    let link = LinkId::host("hvp00000009");
    let route = Route {
        link: link.clone(),
        destination: "10.99.0.0/16".parse().unwrap(),
        gateway: Some("10.7.0.2".parse().unwrap()),
        metric: 7,
    };
    vec![
        Object::Veth(Veth {
            name: "hve00000009".into(),
            alias: "hcn endpoint 9".into(),
            bridge: BRIDGE.into(),
            peer: link.clone(),
            mac: Mac([2, 0, 0, 0, 2, 9]),
            mtu: 1500,
            ipv6: false,
            isolated: false,
            vlan: None,
        }),
        Object::Address(Address { link, address: "10.7.0.9/32".parse().unwrap(), prefix_route: false }),
        Object::Route(route),
    ]
}

/// A network with an endpoint in each of two namespaces and one in the host's.
fn world() -> State {
    let claims = vec![
        claim("10.7.255.1", "one"),
        claim("10.7.255.1", "two"),
        claim("fd07::ff", "one"),
        // The bridge has these two as its own.
        claim("10.7.0.1", "one"),
        claim("fd07::1", "one"),
    ];
    [
        network(),
        vec![netns("A")],
        endpoint(2, "A"),
        vec![netns("B")],
        endpoint(3, "B"),
        host_endpoint(),
        claims,
        services(),
    ]
    .concat()
    .into_iter()
    .collect()
}

fn affinity() -> Affinity {
    Affinity { group: 80, members: vec![2, 3] }
}

fn services() -> Vec<Object> {
    let service = |address: Option<&str>, port, backends: &[&str], source| {
        let address = address.map(|address| address.parse().unwrap());
        let frontend = Frontend { family: Family::V4, address, protocol: Protocol::Tcp, port };
        let backends = backends.iter().map(|backend| backend.parse().unwrap()).collect();
        let only_from = (port == 81).then(|| BRIDGE.to_owned()).into_iter().collect();
        Object::Service(Service {
            frontend,
            backends,
            affinity: (port == 80).then(affinity),
            only_from,
            from_host: true,
            source,
            terminates: false,
        })
    };
    let two = ["10.7.0.2:80", "10.7.0.3:80"];
    vec![
        service(Some("10.99.0.1"), 80, &two, Source::Masquerade),
        service(Some("10.99.0.1"), 81, &[], Source::Client),
        service(Some("10.99.0.2"), 82, &two, Source::Address("10.7.0.1".parse().unwrap())),
        service(None, 83, &two[..1], Source::Client),
        Object::Affinity(affinity()),
        Object::Barrier(Barrier { bridge: "hcn00000005".into(), host: HostSide::Closed, ways: Ways::Closed }),
    ]
}

fn build(wanted: &State) -> Linux {
    let (mut linux, found) = start_with(&State::new());
    done(&mut linux, &diff(&found, wanted));
    linux
}

/// What shows that a link, a rule or an element was made anew.
fn identity() -> String {
    let links = |at: &str| sh(&format!("ip {at} -o link | sed 's/ state.*//' | sort"));
    [links(""), links("-n A"), links("-n B"), sh("nft -a list ruleset")].concat()
}

#[test]
fn what_is_wanted_is_found_and_left_alone() {
    isolated("what_is_wanted_is_found_and_left_alone", || {
        let wanted = world();
        let linux = build(&wanted);
        // The kernel goes on with its own link-local addresses for a while.
        sh("for n in A B; do while ip -n $n addr show tentative | grep -q inet6; do sleep 0.05; done; done");
        let before = at_rest();
        let identity_before = identity();
        sh(
            "for n in '' '-n A' '-n B'; do ip $n monitor link address route >>/run/monitor 2>&1 & done; sleep 0.3",
        );
        drop(linux);
        let (mut linux, found) = start_with(&wanted);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(diff(&found, &wanted).to_string(), "");
        assert_eq!(found, wanted);
        assert_eq!(sh("cat /run/monitor"), "", "nothing was written");
        assert_eq!(identity(), identity_before);
        assert_eq!(at_rest(), before);
        // One after the other, the last first.
        let mut state = found;
        let keys: Vec<Key> = state.iter().rev().map(|(key, _)| key.clone()).collect();
        for key in keys {
            let mut rest = state.clone();
            rest.remove(&key);
            done(&mut linux, &diff(&state, &rest));
            state = rest;
        }
        drop(linux);
        leaves_nothing();
    });
}

#[test]
fn what_was_found_is_changed_removed_and_brought_back() {
    isolated("what_was_found_is_changed_removed_and_brought_back", || {
        let wanted = world();
        let linux = build(&wanted);
        let before = at_rest();
        drop(linux);
        let (mut linux, found) = start_with(&wanted);
        let removed = apply(&mut linux, &diff(&found, &State::new()));
        assert!(!succeeds("ip netns exec A true"));
        linux.undo(removed).unwrap();
        settles_at(&before, "all was removed and brought back");
        let mut other: State = wanted.clone();
        if let Object::Veth(mut veth) = veth(2, "A") {
            veth.mtu = 1300;
            veth.mac = Mac([2, 0, 0, 0, 2, 55]);
            other.insert(Object::Veth(veth));
        }
        done(&mut linux, &diff(&found, &other));
        assert!(sh("ip -n A link show eth0").contains("mtu 1300"));
        done(&mut linux, &diff(&other, &State::new()));
        drop(linux);
        leaves_nothing();
    });
}

/// How the kernel comes to differ while nobody looks after it.
const DAMAGES: &[(&str, &str)] = &[
    ("an address is gone", "ip -n A addr del 10.7.0.2/16 dev eth0"),
    ("an IPv6 address is gone", "ip -n A addr del fd07::2/64 dev eth0"),
    ("the gateway's address is gone", "ip addr del 10.7.0.1/16 dev hcn00000001"),
    ("another prefix", "ip -n A addr del 10.7.0.2/16 dev eth0; ip -n A addr add 10.7.0.2/24 dev eth0"),
    ("a prefix without its route", "ip -n A addr change 10.7.0.2/16 dev eth0 noprefixroute"),
    ("a host route is gone", "ip route del 10.99.0.0/16"),
    ("a route is gone", "ip -n A route del default"),
    ("an IPv6 route is gone", "ip -n A -6 route del default"),
    ("another gateway", "ip -n A route replace default via 10.7.0.77"),
    ("another IPv6 gateway", "ip -n A -6 route del default; ip -n A -6 route add default via fd07::77"),
    ("a pair is gone", "ip link del hve00000002"),
    ("a peer is gone", "ip -n A link del eth0"),
    ("a pair of the host is gone", "ip link del hve00000009"),
    ("a peer of the host is down", "ip link set hvp00000009 down"),
    ("a peer is down", "ip -n A link set eth0 down"),
    ("a peer has another name", "ip -n A link set eth0 down; ip -n A link set eth0 name x up"),
    ("a peer is elsewhere", "ip -n A link set eth0 netns B name x; ip -n B link set x up"),
    ("a host end is down", "ip link set hve00000002 down"),
    ("a host end is no port", "ip link set hve00000002 nomaster"),
    ("a host end has no alias", "ip link set hve00000002 alias ''"),
    ("a host end of another entity", "ip link set hve00000002 alias 'hcn endpoint 77'"),
    ("an endpoint of another name", "ip link set hve00000002 alias 'hcn endpoint 2 old'"),
    ("a host end with another MTU", "ip link set hve00000002 mtu 1300"),
    ("a peer with another MTU", "ip -n A link set eth0 mtu 1300"),
    ("a peer with another address", "ip -n A link set eth0 address 02:00:00:00:00:77"),
    ("a bridge with another MTU", "ip link set hcn00000001 mtu 1300"),
    ("a bridge with another address", "ip link set hcn00000001 address 02:00:00:00:00:77"),
    ("a bridge without ARP", "ip link set hcn00000001 arp off"),
    ("a bridge is down", "ip link set hcn00000001 down"),
    ("a bridge is gone", "ip link del hcn00000001"),
    ("a bridge was set aside", "ip link set hcn00000001 down; ip link set hcn00000001 name hcr123"),
    ("a namespace is gone", "ip netns del A"),
    ("a namespace without its file", "ip netns del A; touch /run/netns/A"),
    ("a namespace that is only begun", "ip netns del A; ip netns add A"),
    ("loopback is down", "ip -n A link set lo down"),
    ("loopback has lost its alias", "ip -n A link set lo alias ''"),
    ("a resolver configuration is gone", "rm /run/etc-netns/A/resolv.conf"),
    ("another resolver configuration", "echo x > /run/etc-netns/A/resolv.conf"),
    ("the host does not forward", "echo 0 > /proc/sys/net/ipv4/ip_forward"),
    ("a claimed address is gone", "ip addr del 10.7.255.1/32 dev hcn00000001"),
    ("a claimed IPv6 address is gone", "ip addr del fd07::ff/128 dev hcn00000001"),
    ("a claimed own address is gone", "ip addr del fd07::1/64 dev hcn00000001"),
    ("a claim too many", "ip addr add 10.7.255.9/32 dev hcn00000001 noprefixroute"),
    ("an element is gone", "nft delete element inet hcnd masq4 '{ 10.7.0.0/16 }'"),
    ("an element with a link is gone", "nft delete element inet hcnd own6 '{ fd07::/64 . hcn00000001 }'"),
    ("an element too many", "nft add element inet hcnd masq4 '{ 10.9.0.0/16 }'"),
    (
        "an element that overlaps",
        "nft delete element inet hcnd masq4 '{ 10.7.0.0/16 }'; nft add element inet hcnd masq4 '{ 10.7.5.0/24 }'",
    ),
    ("an element of another link", "nft add element inet hcnd own4 '{ 10.7.0.0/16 . eth9 }'"),
    ("the rules are gone", "nft flush chain inet hcnd postrouting"),
    ("a rule too many", "nft add rule inet hcnd output drop"),
    ("the table is gone", "nft delete table inet hcnd"),
    ("another table", "nft delete table inet hcnd; nft add table inet hcnd"),
    (
        "a pair of a network that was deleted",
        "ip link add hve00000077 group 1751346788 type veth peer name q1",
    ),
    ("a namespace that was deleted", "ip netns add C; ip -n C link set lo alias 'hcn namespace C' up"),
];

#[test]
fn what_is_missing_or_differs_is_repaired() {
    isolated("what_is_missing_or_differs_is_repaired", || {
        let wanted = world();
        let mut linux = build(&wanted);
        let before = at_rest();
        for (name, damage) in DAMAGES {
            drop(linux);
            sh(damage);
            let found;
            (linux, found) = start_with(&wanted);
            done(&mut linux, &diff(&found, &wanted));
            settles_at(&before, name);
            let ping = "nsenter --net=/run/netns/A ping -c1 -W2";
            for to in ["10.7.0.3", "10.7.0.1", "fd07::3", "10.7.0.9", "10.7.255.1"] {
                assert!(succeeds(&format!("{ping} {to}")), "{name}: {to}");
            }
        }
        done(&mut linux, &diff(&wanted, &State::new()));
        drop(linux);
        leaves_nothing();
    });
}

#[test]
fn what_others_made_is_never_touched() {
    isolated("what_others_made_is_never_touched", || {
        let wanted = world();
        let linux = build(&wanted);
        sh("ip netns add F && ip -n F link set lo up && ip -n F link add eth0 type bridge");
        sh("ip link add hcn00000002 type bridge && ip link add x0 group 1751346788 type bridge");
        sh("ip link add y0 alias 'hcn is mine' type bridge");
        sh("nft 'table inet other { set s { type ipv4_addr; elements = { 10.7.0.0 }; }; }'");
        sh("ip -n A addr add 192.0.2.7/24 dev eth0 && ip -n A route add 198.51.100.0/24 via 10.7.0.3");
        sh("ip addr add 192.0.2.8/24 dev hcn00000001");
        let listed = || {
            let parts = ["ip -o link", "ip -o addr", "ip -n A -o addr", "ip -n A route", "ip -n F -o link"];
            let parts = parts.map(|command| sh(&format!("{command} | grep -v fe80 || true")));
            [parts.concat(), sh("ls /run/netns; nft list table inet other")].concat()
        };
        let _ = at_rest();
        sh("touch /run/netns/file");
        let before = listed();
        drop(linux);
        let (linux, found) = start_with(&wanted);
        assert_eq!(found, wanted);
        assert_eq!(listed(), before);
        drop(linux);
        let (linux, found) = start_with(&State::new());
        assert!(found.is_empty());
        drop(linux);
        let links = sh("ip -o link");
        assert!(["hcn00000002", "x0", "y0"].iter().all(|name| links.contains(name)), "{links}");
        assert!(!["hcn00000001", "hve", "hvp"].iter().any(|name| links.contains(name)), "{links}");
        assert_eq!(sh("ls /run/netns"), "F\nfile\n");
        assert!(sh("nft list table inet other").contains("10.7.0.0"));
        assert!(table_is_empty());
    });
}

const ECHO: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('10.7.0.3', 7))
while True:
    s.sendto(*s.recvfrom(100))
";

const CLIENT: &str = "
import os, socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('10.7.0.3', 7))
s.settimeout(1)
sent = lost = 0
while not os.path.exists('/run/stop'):
    s.send(b'%d' % sent)
    try:
        s.recv(100)
    except OSError:
        lost += 1
    sent += 1
    time.sleep(0.0005)
print(sent, lost)
";

#[test]
fn traffic_does_not_notice_a_restart() {
    isolated("traffic_does_not_notice_a_restart", || {
        let wanted = world();
        let mut linux = build(&wanted);
        std::fs::write("/run/echo.py", ECHO).unwrap();
        std::fs::write("/run/client.py", CLIENT).unwrap();
        let python = |netns: &str, script: &str| {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/run/netns/{netns}")).args(["python3", script]).stdout(Stdio::piped());
            command.spawn().unwrap()
        };
        let mut echo = python("B", "/run/echo.py");
        while !sh("ip netns exec B ss -ulnH").contains("10.7.0.3:7") {
            std::thread::sleep(Duration::from_millis(20));
        }
        let client = python("A", "/run/client.py");
        std::thread::sleep(Duration::from_millis(200));
        for _ in 0..10 {
            drop(linux);
            let found;
            (linux, found) = start_with(&wanted);
            assert_eq!(found, wanted);
            std::thread::sleep(Duration::from_millis(30));
        }
        sh("touch /run/stop");
        let output = String::from_utf8(client.wait_with_output().unwrap().stdout).unwrap();
        echo.kill().unwrap();
        echo.wait().unwrap();
        let (sent, lost) = output.trim().split_once(' ').unwrap();
        assert_eq!(lost, "0", "of {sent}");
        println!("measured: {sent} packets through 10 restarts, none lost");
    });
}

const CHILD: &str = "HCN_LINUX_TEST_KILLED";

#[test]
fn the_table_of_a_killed_daemon_is_owned_again() {
    if std::env::var_os(CHILD).is_some() {
        let _linux = build(&world());
        std::fs::write("/run/ready", "").unwrap();
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    isolated("the_table_of_a_killed_daemon_is_owned_again", || {
        if !hcn_linux::features().has("nftables table persist") {
            println!("NOT RUN on this kernel: nftables table persist");
            return;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["the_table_of_a_killed_daemon_is_owned_again", "--exact", "--nocapture"])
            .env(CHILD, "1")
            .spawn()
            .unwrap();
        while !std::path::Path::new("/run/ready").exists() {
            assert!(child.try_wait().unwrap().is_none(), "the child has ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        let before = identity();
        assert!(!succeeds("nft delete table inet hcnd"), "it is owned");
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        let wanted = world();
        let (linux, found) = start_with(&wanted);
        assert_eq!(found, wanted);
        let handles = |text: &str| {
            let same = |line: &&str| !line.contains("progname");
            text.lines().filter(same).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(handles(&identity()), handles(&before));
        sh("nft flush ruleset");
        assert!(!succeeds("nft delete table inet hcnd"), "it is owned again");
        assert!(!succeeds("nft flush chain inet hcnd postrouting"));
        assert_eq!(handles(&identity()), handles(&before));
        drop(linux);
    });
}

#[test]
fn a_table_larger_than_a_datagram_is_built_and_compared() {
    isolated("a_table_larger_than_a_datagram_is_built_and_compared", || {
        let mut wanted = State::new();
        for n in 0..8000_u32 {
            let prefix = format!("10.{}.{}.0/25", n >> 8, n & 255).parse().unwrap();
            wanted.insert(Object::Masquerade(Masquerade { prefix }));
        }
        let count = || sh("nft list set inet hcnd masq4").matches('/').count();
        let begun = Instant::now();
        let (linux, found) = start_with(&wanted);
        println!("measured: a table of 16,000 elements built in {:?}", begun.elapsed());
        assert_eq!(found, wanted);
        assert_eq!(count(), 8000);
        let handles = sh("nft -a list ruleset");
        drop(linux);
        let begun = Instant::now();
        let (linux, _) = start_with(&wanted);
        println!("measured: a table of 16,000 elements compared in {:?}", begun.elapsed());
        assert_eq!(sh("nft -a list ruleset"), handles);
        drop(linux);
        // More missing than one datagram holds, and some too many.
        sh("nft flush set inet hcnd masq4; nft add element inet hcnd masq4 '{ 11.0.0.0/8, 12.0.0.0/8 }'");
        let (linux, _) = start_with(&wanted);
        assert_eq!(count(), 8000);
        drop(linux);
        let (_linux, _) = start_with(&State::new());
        assert_eq!(count(), 0);
    });
}

/// As [`endpoint`], for more of them than a byte counts.
fn numbered(n: u16) -> Vec<Object> {
    let name = format!("N{n}");
    let (high, low) = (n >> 8, n & 255);
    let link = LinkId { netns: Netns::Named(name.clone()), name: "eth0".into() };
    let address = format!("10.7.{}.{low}/16", high + 1).parse().unwrap();
    let gateway = Some("10.7.0.1".parse().unwrap());
    let destination = "0.0.0.0/0".parse().unwrap();
    vec![
        netns(&name),
        Object::Veth(Veth {
            name: format!("hve{n:08x}"),
            alias: format!("hcn endpoint {n}"),
            bridge: BRIDGE.into(),
            peer: link.clone(),
            mac: Mac([2, 0, 0, 1, high as u8, low as u8]),
            mtu: 1500,
            ipv6: false,
            isolated: false,
            vlan: None,
        }),
        Object::Address(Address { link: link.clone(), address, prefix_route: true }),
        Object::Route(Route { link, destination, gateway, metric: 0 }),
        Object::Resolver(Resolver { netns: name, contents: "nameserver 10.7.0.1\n".into() }),
    ]
}

#[test]
fn many_endpoints_are_found_soon() {
    isolated("many_endpoints_are_found_soon", || {
        let count: u16 = std::env::var("HCN_ENDPOINTS").map_or(100, |count| count.parse().unwrap());
        let mut wanted: State = network().into_iter().collect();
        let mut linux = build(&wanted);
        for n in 0..count {
            let objects = numbered(n);
            done(&mut linux, &create(objects.clone()));
            objects.into_iter().for_each(|object| drop(wanted.insert(object)));
        }
        drop(linux);
        let begun = Instant::now();
        let mut linux = Linux::start(config()).unwrap();
        let started = begun.elapsed();
        let found = linux.adopt(&wanted).unwrap();
        println!(
            "measured: start in {started:?}, {count} endpoints taken over in {:?}",
            begun.elapsed() - started
        );
        assert_eq!(diff(&found, &wanted).to_string(), "");
    });
}

#[test]
fn an_address_is_there_as_long_as_someone_claims_it() {
    isolated("an_address_is_there_as_long_as_someone_claims_it", || {
        let mut linux = start();
        done(&mut linux, &create(network()));
        let addresses = || sh("ip -o addr show dev hcn00000001 | grep -o '[^ ]*/[0-9]*' | sort");
        let before = addresses();
        let settle_one = |linux: &mut Linux, op: Op| done(linux, &hcn_dataplane::Plan { ops: vec![op] });
        for address in ["10.7.255.1", "fd07::ff", "10.7.0.1", "fd07::1"] {
            let gone = |claimant: &str| Op::Remove { object: claim(address, claimant), implied: false };
            settle_one(&mut linux, Op::Create(claim(address, "one")));
            settle_one(&mut linux, Op::Create(claim(address, "two")));
            let claimed = addresses();
            assert!(claimed.contains(address), "{claimed}");
            settle_one(&mut linux, gone("one"));
            assert_eq!(addresses(), claimed);
            settle_one(&mut linux, gone("two"));
            assert_eq!(addresses(), before, "{address}");
        }
        // A bridge takes its claims with it.
        done(&mut linux, &create([claim("10.7.255.1", "one")]));
        let all: State = network().into_iter().chain([claim("10.7.255.1", "one")]).collect();
        assert!(matches!(all.iter().next_back(), Some((Key::Claim(..), _))));
        done(&mut linux, &diff(&all, &State::new()));
        done(&mut linux, &create(network()));
        assert_eq!(addresses(), before);
    });
}
