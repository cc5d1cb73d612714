//! What the tests share: namespaces of their own, a small network to work on, and a view of the kernel to compare.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(unreachable_pub, reason = "a module of each test")]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use hcn_dataplane::{
    Address, Applied, Bridge, Dataplane, Family, Forwarding, Home, Hop, Lease, LinkId, Mac, Masquerade,
    Netns, NetnsFile, Object, Op, Origin, Plan, Resolver, Responder, Route, Sender, State, Steering, Veth,
};
use hcn_linux::{Config, Linux};
use serde_json::Value;

const MARKER: &str = "HCN_LINUX_TEST_ISOLATED";

/// Runs `body` in user, network, mount and process namespaces of its own, as root there.
pub fn isolated(test: &str, body: impl FnOnce()) {
    if std::env::var_os(MARKER).is_some() {
        sh("mount -t tmpfs tmpfs /run");
        sh("ip link set lo up");
        body();
        return;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARKER, "1")
        .output()
        .expect("unshare (util-linux) is needed");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "in the namespaces of {test}:\n{text}");
    assert!(text.contains("1 passed"), "{test} did not run:\n{text}");
    for measured in text.lines().filter_map(|line| Some(&line[line.find("measured: ")?..])) {
        println!("{measured}");
    }
}

/// Runs a shell command that must succeed, and gives what it prints.
pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a shell command succeeds.
pub fn succeeds(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).output().unwrap().status.success()
}

/// Starts on what no earlier run is to have left.
pub fn start() -> Linux {
    start_with(&State::new()).0
}

/// Starts, takes over what is wanted, and says what of it was there.
pub fn start_with(wanted: &State) -> (Linux, State) {
    let mut linux = Linux::start(config()).unwrap();
    let found = linux.adopt(wanted).unwrap_or_else(|error| panic!("{error}"));
    (linux, found)
}

pub fn config() -> Config {
    Config { netns_dir: PathBuf::from("/run/netns"), netns_etc: PathBuf::from("/run/etc-netns") }
}

pub fn create(objects: impl IntoIterator<Item = Object>) -> Plan {
    Plan { ops: objects.into_iter().map(Op::Create).collect() }
}

/// Applies a plan that must succeed.
pub fn apply(linux: &mut impl Dataplane, plan: &Plan) -> Applied {
    linux.apply(plan).unwrap_or_else(|error| panic!("{error}: {} ({:?})", error.source, error.undo))
}

/// Applies and settles a plan that must succeed.
pub fn done(linux: &mut impl Dataplane, plan: &Plan) {
    let applied = apply(linux, plan);
    linux.settle(applied);
}

/// The port that tests hold.
pub const HELD: u16 = 8080;

pub const BRIDGE: &str = "hcn00000001";

pub fn bridge() -> Object {
    Object::Bridge(Bridge {
        name: BRIDGE.into(),
        alias: "hcn network 1".into(),
        mac: Mac([2, 0, 0, 0, 1, 1]),
        mtu: 1500,
        ipv6: true,
        arp: true,
        proxy_arp: false,
    })
}

/// A network: bridge, forwarding, masquerade, gateway addresses.
pub fn network() -> Vec<Object> {
    let gateway = |address: &str| {
        Object::Address(Address {
            link: LinkId::host(BRIDGE),
            address: address.parse().unwrap(),
            prefix_route: true,
        })
    };
    vec![
        Object::Forwarding(Forwarding { family: Family::V4, bridge: BRIDGE.into() }),
        Object::Forwarding(Forwarding { family: Family::V6, bridge: BRIDGE.into() }),
        bridge(),
        Object::Home(Home { prefix: "10.7.0.0/16".parse().unwrap(), bridge: BRIDGE.into() }),
        Object::Masquerade(Masquerade { prefix: "10.7.0.0/16".parse().unwrap() }),
        Object::Home(Home { prefix: "fd07::/64".parse().unwrap(), bridge: BRIDGE.into() }),
        Object::Masquerade(Masquerade { prefix: "fd07::/64".parse().unwrap() }),
        gateway("10.7.0.1/16"),
        gateway("fd07::1/64"),
    ]
}

pub fn netns(name: &str) -> Object {
    Object::Netns(NetnsFile { name: name.into(), alias: format!("hcn namespace {name}"), from: None })
}

pub fn eth0(netns: &str) -> LinkId {
    LinkId { netns: Netns::Named(netns.into()), name: "eth0".into() }
}

pub fn veth(n: u8, netns: &str) -> Object {
    Object::Veth(Veth {
        name: format!("hve{n:08x}"),
        alias: format!("hcn endpoint {n}"),
        bridge: BRIDGE.into(),
        peer: eth0(netns),
        mac: Mac([2, 0, 0, 0, 2, n]),
        mtu: 1450,
        ipv6: true,
        isolated: false,
        vlan: None,
    })
}

/// An endpoint of the network in a namespace: veth pair, addresses, default routes, resolver.
pub fn endpoint(n: u8, netns: &str) -> Vec<Object> {
    let link = eth0(netns);
    let address = |address: String| {
        Object::Address(Address { link: link.clone(), address: address.parse().unwrap(), prefix_route: true })
    };
    let route = |destination: &str, gateway: &str, metric| {
        Object::Route(Route {
            link: link.clone(),
            destination: destination.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
            metric,
        })
    };
    vec![
        veth(n, netns),
        address(format!("10.7.0.{n}/16")),
        address(format!("fd07::{n:x}/64")),
        route("0.0.0.0/0", "10.7.0.1", 0),
        route("::/0", "fd07::1", 0),
        Object::Resolver(Resolver { netns: netns.into(), contents: format!("nameserver 10.7.0.1\n# {n}\n") }),
    ]
}

/// Another interface of a namespace, with a routing table for what its addresses send.
pub fn second_endpoint(n: u8, netns: &str) -> Vec<Object> {
    let link = LinkId { name: "eth1".into(), ..eth0(netns) };
    // The namespace's resolver is that of the first one.
    let mut objects = endpoint(n, netns);
    objects.retain(|object| !matches!(object, Object::Resolver(_)));
    for object in &mut objects {
        match object {
            Object::Veth(veth) => veth.peer = link.clone(),
            Object::Address(address) => address.link = link.clone(),
            Object::Route(route) => (route.link, route.metric) = (link.clone(), 2000),
            _ => unreachable!("{object:?}"),
        }
    }
    objects.extend([Family::V4, Family::V6].map(|family| origin(&[n], family, netns)));
    objects
}

/// The routing table of the interface for these of its addresses.
pub fn origin(numbers: &[u8], family: Family, netns: &str) -> Object {
    let (address, [network, gateway]) = match family {
        Family::V4 => ("10.7.0.", ["10.7.0.0/16", "10.7.0.1"]),
        Family::V6 => ("fd07::", ["fd07::/64", "fd07::1"]),
    };
    let of = |n: &u8| match family {
        Family::V4 => format!("{address}{n}").parse().unwrap(),
        Family::V6 => format!("{address}{n:x}").parse().unwrap(),
    };
    let everything = if family == Family::V4 { "0.0.0.0/0" } else { "::/0" };
    Object::Origin(Origin {
        link: LinkId { name: "eth1".into(), ..eth0(netns) },
        family,
        table: 0x6801,
        addresses: numbers.iter().map(of).collect(),
        routes: vec![
            (network.parse().unwrap(), None),
            (everything.parse().unwrap(), Some(gateway.parse().unwrap())),
        ],
    })
}

/// The plan that removes an endpoint as `diff` writes it: what stands on the link goes with it.
pub fn remove(objects: &[Object]) -> Plan {
    let ops = objects.iter().rev().map(|object| {
        let implied = matches!(object, Object::Address(_) | Object::Route(_) | Object::Origin(_));
        Op::Remove { object: object.clone(), implied }
    });
    Plan { ops: ops.collect() }
}

/// Everything of the kernel and the disk that a plan can touch, without what changes by itself.
pub fn snapshot() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let mut names = vec![String::new()];
    for name in list("/run/netns") {
        // A name without a namespace behind it has no place in "everything as before".
        assert!(succeeds(&format!("nsenter --net=/run/netns/{name} true")), "{name} is no namespace");
        names.push(name);
    }
    for name in &names {
        let enter = if name.is_empty() { String::new() } else { format!("nsenter --net=/run/netns/{name} ") };
        for link in json(&format!("{enter}ip -d -j link")) {
            let flags = link["flags"].as_array().unwrap();
            let up = flags.contains(&Value::from("UP"));
            let carrier = !flags.contains(&Value::from("NO-CARRIER"));
            let fields = ["ifname", "mtu", "address", "master", "group", "ifalias", "inet6_addr_gen_mode"];
            // The kernel gives host ends, joints, VXLAN links and ifb devices an address by chance.
            let named = |prefix: &&str| link["ifname"].as_str().unwrap().starts_with(*prefix);
            let random = ["hve", "hvx", "hvi", "hvj", "hcj", "hck"].iter().any(named);
            let by_chance = |field: &str| field == "address" && random;
            let fields = fields.iter().filter(|field| !by_chance(field));
            let fields: Vec<String> = fields.map(|field| link[*field].to_string()).collect();
            let kind = &link["linkinfo"]["info_kind"];
            lines.insert(format!("{name} link {kind} up={up} carrier={carrier} {}", fields.join(" ")));
        }
        for link in json(&format!("{enter}ip -j address")) {
            for address in link["addr_info"].as_array().unwrap() {
                let (local, length) = (&address["local"], &address["prefixlen"]);
                // A bridge makes its link-local address with its first carrier and keeps it.
                if local.as_str().unwrap().starts_with("fe80") {
                    continue;
                }
                lines.insert(format!(
                    "{name} address {} {local} {length} {}",
                    link["ifname"], address["noprefixroute"]
                ));
            }
        }
        for family in ["-4", "-6"] {
            for route in json(&format!("{enter}ip -j {family} route show table main")) {
                if !route["dst"].as_str().unwrap().starts_with("fe80") {
                    lines.insert(format!("{name} route {route}"));
                }
            }
            // Of hcnd's own tables.
            let led =
                sh(&format!("{enter}sh -c 'ip {family} rule; ip {family} route show table all proto 104'"));
            lines.extend(led.lines().map(|line| format!("{name} led {family} {}", line.trim())));
        }
    }
    lines.extend(listeners());
    for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        lines.insert(format!("{file} {}", sh(&format!("cat /proc/sys/net/{file}"))));
    }
    if std::path::Path::new("/proc/sys/net/ipv6/conf/up0").exists() {
        lines.insert(format!("accept_ra {}", sh("cat /proc/sys/net/ipv6/conf/up0/accept_ra")));
    }
    lines.insert(format!("TCP port held={}", std::net::TcpListener::bind(("0.0.0.0", HELD)).is_err()));
    lines.insert(format!("UDP port held={}", std::net::UdpSocket::bind(("0.0.0.0", HELD)).is_err()));
    let mut set = String::new();
    for line in sh("nft list table inet hcnd").lines() {
        if line.starts_with("\tset ") || line.starts_with("\tmap ") || line.starts_with("\tchain ") {
            set = line.trim().to_owned();
        }
        // What packets add goes by itself, some time.
        if !line.contains(" expires ") {
            lines.insert(format!("nft {set} {}", line.trim()));
        }
    }
    if std::path::Path::new("/run/etc-netns").exists() {
        for line in
            sh("cd /run/etc-netns && find . -mindepth 1 && find . -type f | xargs -r grep -H .").lines()
        {
            lines.insert(format!("etc {line}"));
        }
    }
    lines
}

/// Who listens for DHCP and DNS: the local addresses and ports, hexadecimal.
pub fn listeners() -> BTreeSet<String> {
    let of_file = |file: &str| {
        let text = std::fs::read_to_string(format!("/proc/net/{file}")).unwrap();
        let local = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned));
        let meant = local.filter(|local| local.ends_with(":0035") || local.ends_with(":0043"));
        meant.map(|local| format!("listens {file} {local}")).collect::<Vec<_>>()
    };
    ["udp", "udp6", "tcp", "tcp6"].into_iter().flat_map(of_file).collect()
}

/// A table that leads what comes from the bridge out by loopback alone.
pub fn steering(family: Family, link: &str) -> Object {
    let (own, everything, gateway) = match family {
        Family::V4 => ("10.7.0.0/16", "0.0.0.0/0", "192.0.2.2"),
        Family::V6 => ("fd07::/64", "::/0", "2001:db8::2"),
    };
    let hop = |destination: &str, link: &str, gateway: Option<&str>| Hop {
        destination: destination.parse().unwrap(),
        link: link.into(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
    };
    let gateway = match (link, family) {
        ("lo", _) => None,
        ("up2", Family::V4) => Some("198.51.100.2"),
        ("up2", Family::V6) => Some("2001:db8:2::2"),
        _ => Some(gateway),
    };
    let hops = vec![hop(own, BRIDGE, None), hop(everything, link, gateway)];
    Object::Steering(Steering { bridge: BRIDGE.into(), sender: None, family, table: 0x6863_0007, hops })
}

/// The same for what an endpoint sends alone.
pub fn steering_of(n: u8, family: Family, link: &str) -> Object {
    let Object::Steering(mut steering) = steering(family, link) else { unreachable!() };
    let address = match family {
        Family::V4 => format!("10.7.0.{n}"),
        Family::V6 => format!("fd07::{n}"),
    };
    let addresses = vec![address.parse().unwrap()];
    steering.sender = Some(Sender { endpoint: format!("endpoint {n}"), addresses });
    steering.table += u32::from(n);
    Object::Steering(steering)
}

/// What answers on the bridge at these addresses.
pub fn responder(addresses: &[&str], dhcp: bool) -> Object {
    Object::Responder(Responder {
        bridge: BRIDGE.into(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        dhcp,
        dns: true,
        domain: None,
    })
}

/// What is known of an endpoint.
pub fn lease(n: u8) -> Object {
    Object::Lease(Lease {
        bridge: BRIDGE.into(),
        claimant: format!("endpoint {n}"),
        mac: Mac([2, 0, 0, 0, 2, n]),
        addresses: vec![format!("10.7.0.{n}/16").parse().unwrap()],
        gateway: None,
        routes: Vec::new(),
        servers: Vec::new(),
        search: Vec::new(),
        name: Some(format!("name{n}")),
        mtu: 1500,
    })
}

fn list(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn json(command: &str) -> Vec<Value> {
    let text = sh(command);
    if text.trim().is_empty() {
        return Vec::new();
    }
    serde_json::from_str(&text).unwrap()
}

/// Waits until the kernel looks as wanted; link-local addresses and retired links take a moment.
pub fn settles_at(wanted: &BTreeSet<String>, what: &str) {
    settles_as(wanted, snapshot, what);
}

/// Waits until what is looked at is as wanted.
pub fn settles_as(wanted: &BTreeSet<String>, look: impl Fn() -> BTreeSet<String>, what: &str) {
    let until = soon();
    loop {
        let now = look();
        if now == *wanted {
            return;
        }
        if Instant::now() > until {
            let missing: Vec<_> = wanted.difference(&now).collect();
            let extra: Vec<_> = now.difference(wanted).collect();
            panic!("{what}\nmissing: {missing:#?}\nleft over: {extra:#?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// When what the kernel is in the midst of is over: 4 s from now, times `HCN_TIME_FACTOR` on a slower machine.
pub fn soon() -> Instant {
    Instant::now() + patience(Duration::from_secs(4))
}

/// What `time` is on this machine, if it is enough on an ordinary one.
pub fn patience(time: Duration) -> Duration {
    let factor = std::env::var("HCN_TIME_FACTOR").ok();
    time * factor.map_or(1, |factor| factor.parse().unwrap())
}

/// The kernel once it has come to rest.
pub fn at_rest() -> BTreeSet<String> {
    let mut before = snapshot();
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(60));
        let now = snapshot();
        // A tap that no program has open loses its carrier, which the kernel tells up to a second later.
        let unsettled = |line: &String| line.contains("\"tun\"") && line.contains("carrier=true");
        if now == before && !now.iter().any(unsettled) {
            return now;
        }
        before = now;
    }
    panic!("the kernel does not come to rest");
}

/// Nothing of hcnd's is left but its empty table.
pub fn leaves_nothing() {
    assert_eq!(sh("ip -o link | grep -v ' lo:' || true"), "");
    assert_eq!(sh("ls /run/netns /run/etc-netns"), "/run/etc-netns:\n\n/run/netns:\n");
    assert!(table_is_empty());
}

/// Whether no object is in the table.
pub fn table_is_empty() -> bool {
    let table = sh("nft list table inet hcnd");
    !["10.7.", "10.99.", "fd07:", "hcn0"].iter().any(|part| table.contains(part))
}

/// With what messages are refused: the kernel's own word for what it does not know, no memory, no space, in use, not
/// allowed, there already.
const REFUSALS: [Option<i32>; 6] =
    [None, Some(libc::ENOMEM), Some(libc::ENOSPC), Some(libc::EBUSY), Some(libc::EPERM), Some(libc::EEXIST)];

/// Carries out a plan with one of its messages refused after the other, of which each `step`th is tried: with one error
/// number after the other, or with each where the variable HCN_EACH_ERRNO is set. Each time the plan must fail wholly, and
/// `as_before` is given the number of the message and what happened. When there is no such message any more it succeeds,
/// and is taken back. Gives how many were refused.
pub fn refuse_each(
    linux: &mut Linux,
    name: &str,
    plan: &Plan,
    step: usize,
    as_before: impl Fn(Option<usize>, &str),
) -> usize {
    let all = std::env::var_os("HCN_EACH_ERRNO").is_some();
    let mut tried = 0;
    for k in (0..).step_by(step) {
        let mut errnos = if all { REFUSALS.to_vec() } else { vec![REFUSALS[k / step % REFUSALS.len()]] };
        while let Some(errno) = errnos.pop() {
            match errno {
                None => linux.fail_message(k),
                Some(errno) => linux.refuse_message(k, errno),
            }
            match linux.apply(plan) {
                Err(error) => {
                    tried += 1;
                    let what = format!("{name}, message {k} refused ({error}: {})", error.source);
                    assert!(error.undo.is_none(), "{what}: {:?}", error.undo);
                    assert!(
                        !linux.fault_pending(),
                        "{name} fails without the refusal of message {k}: {what}"
                    );
                    as_before(Some(k), &what);
                }
                Ok(applied) => {
                    let is_beyond = linux.fault_pending();
                    // What is there already may be just what is wanted. Here it is not there; whether it is, is
                    // another message's refusal.
                    let is_tolerated = !is_beyond && errno == Some(libc::EEXIST);
                    // Or all its messages were tried.
                    assert!(is_beyond || is_tolerated, "{name}: the refusal of message {k} was not noticed");
                    linux.undo(applied).unwrap();
                    as_before(None, &format!("{name} was taken back"));
                    if is_beyond {
                        return tried;
                    }
                    errnos.extend((!all).then_some(None));
                }
            }
        }
    }
    tried
}
