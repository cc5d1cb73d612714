//! Something of everything that hcnd makes on this kernel, what can be done to it, and what is compared afterwards.
#![allow(unreachable_pub, reason = "a module of one test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use hcn_tests::client::{Client, Container, with_version};
use hcn_tests::kernel::{self, settled_dump};
use hcn_tests::run_ok;
use hcn_tests::traffic::{PORT, ask_tcp_at, seen_as, serve};
use serde_json::{Value, json};

pub type Everything = BTreeMap<String, BTreeSet<String>>;

/// A NAT network with endpoints.
pub struct Part {
    /// Attached, with a rate.
    first: Container,
    /// Attached, the back end of a load balancer.
    second: Container,
    third: Container,
    bridge: String,
    gateway: String,
    vip: String,
}

pub struct World {
    parts: Vec<Part>,
    /// On the uplink's segment.
    outside: Container,
    /// On a link of the host.
    sublink: Container,
    vxlan: String,
    remote_mac: String,
}

type Damages = Vec<(String, String)>;

impl Part {
    fn new(client: &mut Client, number: usize) -> Self {
        let prefix = format!("10.{}.0", 60 + number);
        let network = client.network(&[&format!("{prefix}.0/24"), &format!("2001:db8:6{number}::/64")]);
        let rate = json!({"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": 1_000_000}});
        let first = client.container(&network, &json!({"Policies": [rate]}));
        let second = client.container(&network, &json!({}));
        let third = client.container(&network, &json!({}));
        serve(&second.namespace);
        let (gateway, vip) = (format!("{prefix}.1"), format!("{prefix}.200"));
        let port = json!({"Protocol": 6, "InternalPort": PORT, "ExternalPort": 8000, "Flags": 2});
        client.load_balancer(&json!({
            "HostComputeEndpoints": [second.endpoint], "FrontendVIPs": [vip], "PortMappings": [port],
        }));
        let bridge = format!("hcn{}", network[..8].to_lowercase());
        Self { first, second, third, bridge, gateway, vip }
    }

    fn damages(&self) -> Damages {
        let Self { third, bridge, gateway, vip, .. } = self;
        let (inside, other) = (&self.first.namespace, &self.second.namespace);
        let end = |container: &Container| format!("hve{}", container.endpoint[..8].to_lowercase());
        let (port, second) = (end(&self.first), end(&self.second));
        named(vec![
            ("a port is down", format!("ip link set {port} down")),
            ("a port is on no bridge", format!("ip link set {port} nomaster")),
            ("a port has another MTU", format!("ip link set {second} mtu 1400")),
            ("a port has another group", format!("ip link set {second} group 0")),
            ("a port has another alias", format!("ip link set {second} alias mine")),
            ("a port has another name", format!("ip link set {second} name mine")),
            ("a port sends nothing back", format!("bridge link set dev {port} hairpin off")),
            ("a port is isolated", format!("bridge link set dev {second} isolated on")),
            ("a bridge forwards nothing", format!("sysctl -q -w net.ipv4.conf.{bridge}.forwarding=0")),
            ("a port is gone", format!("ip link delete {port}")),
            ("an interface is gone", format!("ip -n {inside} link delete eth0")),
            ("an interface is down", format!("ip -n {inside} link set eth0 down")),
            (
                "an interface is elsewhere",
                format!("ip -n {inside} link set eth0 netns {} name stray", self.second.namespace),
            ),
            ("a loopback is down", format!("ip -n {other} link set lo down")),
            ("a bridge is down", format!("ip link set {bridge} down")),
            ("a bridge has another MAC address", format!("ip link set {bridge} address 02:00:00:00:00:77")),
            ("a bridge is gone", format!("ip link delete {bridge}")),
            (
                "an address is gone",
                format!("ip -n {} address delete {}/24 dev eth0", third.namespace, third.addresses[0]),
            ),
            (
                "an IPv6 address is gone",
                format!("ip -n {} address delete {}/64 dev eth0", third.namespace, third.addresses[1]),
            ),
            (
                "all addresses are gone",
                format!("ip -n {} address flush dev eth0 scope global", third.namespace),
            ),
            ("a default route is gone", format!("ip -n {} route delete default", third.namespace)),
            ("an IPv6 default route is gone", format!("ip -6 -n {} route delete default", third.namespace)),
            (
                "a default route is another one",
                format!(
                    "ip -n {} route replace default via {} metric 256",
                    third.namespace, self.second.addresses[0]
                ),
            ),
            ("a gateway's address is gone", format!("ip address delete {gateway}/24 dev {bridge}")),
            ("a virtual address is gone", format!("ip address delete {vip}/32 dev {bridge}")),
            ("a namespace's name is gone", format!("ip netns delete {inside}")),
            ("a limit is gone", format!("tc qdisc delete dev {port} ingress")),
            ("a limit's device is gone", format!("ip link delete hvi{}", &port[3..])),
        ])
    }

    fn assert_works(&self) {
        for family in [0, 1] {
            let seen = seen_as(&self.first.namespace, &self.second.addresses[family]);
            assert_eq!(seen, self.first.addresses[family]);
        }
        ask_tcp_at(&self.first.namespace, &self.vip, 8000).unwrap();
    }
}

fn named(damages: Vec<(&str, String)>) -> Damages {
    damages.into_iter().map(|(what, damage)| (what.to_owned(), damage)).collect()
}

impl World {
    /// With so many NAT networks.
    pub fn new(client: &mut Client, parts: usize) -> Self {
        let parts = (0..parts).map(|number| Part::new(client, number)).collect();
        let (outside, sublink) = (on_uplink(client, "L2Bridge", 50), on_uplink(client, "Transparent", 60));
        let (vxlan, remote_mac) = overlay(client);
        Self { parts, outside, sublink, vxlan, remote_mac }
    }

    /// What can be done to it: what it is, and the command that does it.
    pub fn damages(&self) -> Damages {
        let Self { vxlan, remote_mac, .. } = self;
        let (outside, bridge) = (&self.outside.addresses[0], &self.parts[0].bridge);
        let mut all = vec![
            (
                "a neighbour is not spoken for",
                // The kernel says nothing of it; it is seen with the next look.
                format!("ip neighbour delete proxy {outside} dev eth0 && ip link set {bridge} mtu 1400"),
            ),
            ("forwarding is off", "sysctl -q -w net.ipv4.ip_forward=0".to_owned()),
            ("IPv6 forwarding is off", "sysctl -q -w net.ipv6.conf.all.forwarding=0".to_owned()),
            ("an interface on a link is gone", format!("ip -n {} link delete eth0", self.sublink.namespace)),
            ("a VXLAN link is down", format!("ip link set {vxlan} down")),
            ("a VXLAN link learns", format!("bridge link set dev {vxlan} learning on flood on")),
            ("a VXLAN link is gone", format!("ip link delete {vxlan}")),
            ("a way is gone", format!("bridge fdb delete {remote_mac} dev {vxlan} self")),
            (
                "a way leads elsewhere",
                format!("bridge fdb replace {remote_mac} dev {vxlan} self dst 203.0.113.77"),
            ),
        ];
        let neighbours = run_ok(&["ip", "-4", "neighbour", "show", "nud", "permanent"]);
        if let Some(line) = neighbours.lines().find(|line| line.contains("10.44.")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            all.push(("a neighbour is gone", format!("ip neighbour delete {} dev {}", words[0], words[2])));
            all.push((
                "a neighbour is another one",
                format!(
                    "ip neighbour replace {} dev {} lladdr 02:00:00:00:00:99 nud permanent",
                    words[0], words[2]
                ),
            ));
        }
        self.parts.iter().flat_map(Part::damages).chain(named(all)).collect()
    }

    /// Connections go everywhere.
    pub fn assert_works(&self) {
        self.parts.iter().for_each(Part::assert_works);
    }
}

fn on_uplink(client: &mut Client, kind: &str, end: u8) -> Container {
    let route = json!({"NextHop": "203.0.113.1", "DestinationPrefix": "0.0.0.0/0"});
    let adapter = json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}});
    let settings = with_version(&json!({
        "Type": kind, "Policies": [adapter],
        "Ipams": [{"Type": "Static", "Subnets": [{"IpAddressPrefix": "203.0.113.0/24", "Routes": [route]}]}],
    }));
    let created = client.ok("Network.Create", &json!({"settings": settings}));
    let address = json!({"IpAddress": format!("203.0.113.{end}")});
    client.container(created["id"].as_str().unwrap(), &json!({"IpConfigurations": [address]}))
}

/// An overlay that knows of an endpoint elsewhere; its VXLAN link, and that endpoint's MAC address.
fn overlay(client: &mut Client) -> (String, String) {
    let policies = json!([{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}]);
    let vsid = json!([{"Type": "VSID", "Settings": {"IsolationId": 5000}}]);
    let route = json!({"NextHop": "10.44.1.1", "DestinationPrefix": "0.0.0.0/0"});
    let subnet = json!({"IpAddressPrefix": "10.44.1.0/24", "Policies": vsid, "Routes": [route]});
    let settings = with_version(&json!({
        "Type": "Overlay", "Policies": policies, "Ipams": [{"Type": "Static", "Subnets": [subnet]}],
    }));
    let created = client.ok("Network.Create", &json!({"settings": settings}));
    let network = created["id"].as_str().unwrap();
    client.container(network, &json!({}));
    let provider = json!({"Type": "ProviderAddress", "Settings": {"ProviderAddress": "203.0.113.20"}});
    let mac = "02-11-0A-2C-01-63";
    let remote = json!({"Flags": 1, "MacAddress": mac, "IpConfigurations": [{"IpAddress": "10.44.1.99"}],
        "Policies": [provider]});
    client.endpoint(network, &remote);
    let links: Value = serde_json::from_str(&run_ok(&["ip", "-j", "link", "show", "type", "vxlan"])).unwrap();
    (links[0]["ifname"].as_str().unwrap().to_owned(), mac.replace('-', ":").to_lowercase())
}

/// All that is compared: what a link's number and a port's own MAC address are may change.
pub fn everything() -> Everything {
    more(kernel::dump())
}

/// The same, once nothing is on its way any more.
pub fn settled() -> Everything {
    more(settled_dump())
}

fn more(mut dump: Everything) -> Everything {
    for lines in dump.values_mut() {
        *lines = lines.iter().map(|line| without_mac(line)).collect();
    }
    let mut list = |what: &str, argv: &[&str], keep: &dyn Fn(&str) -> bool| {
        let text = run_ok(argv);
        let lines = text.lines().map(str::trim).filter(|line| keep(line)).map(str::to_owned).collect();
        dump.insert(what.to_owned(), lines);
    };
    list("ways", &["bridge", "fdb", "show"], &|line| line.contains("hvx") && line.starts_with("02:11"));
    list("neighbours", &["ip", "neighbour", "show", "nud", "permanent"], &|line| line.contains("10.44."));
    list("proxies", &["ip", "neighbour", "show", "proxy"], &|_| true);
    let limited = |line: &str| line.contains("ingress") || line.contains("tbf");
    let text = run_ok(&["tc", "qdisc", "show"]);
    // Without the handle, which is any number.
    let lines = text.lines().filter(|line| limited(line)).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        [&words[..2], &words[3..]].concat().join(" ")
    });
    dump.insert("limits".to_owned(), lines.collect());
    let forwarding = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].map(|name| {
        format!("{name} {}", fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap().trim())
    });
    dump.insert("forwarding".to_owned(), forwarding.into());
    dump.insert("ports".to_owned(), ports());
    dump
}

/// How bridges use their ports, and what the host does with packets that come by them.
fn ports() -> BTreeSet<String> {
    let links: Value = serde_json::from_str(&run_ok(&["ip", "-d", "-j", "link"])).unwrap();
    let port = |link: &Value| {
        let data = &link["linkinfo"]["info_slave_data"];
        let flags =
            ["hairpin", "isolated", "learning", "flood", "mcast_flood", "bcast_flood", "neigh_suppress"];
        let flags = flags.map(|flag| format!("{flag} {}", data[flag])).join(" ");
        let name = link["ifname"].as_str().unwrap();
        let settings = ["forwarding", "proxy_arp"].map(|setting| {
            fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/{setting}")).unwrap_or_default()
        });
        format!("{name} {flags} {}", settings.concat().replace('\n', " "))
    };
    links.as_array().unwrap().iter().map(port).collect()
}

fn without_mac(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    if ["hve", "hvi"].iter().any(|prefix| line.starts_with(prefix)) {
        words.remove(1);
    }
    words.join(" ")
}

pub fn differences(before: &Everything, after: &Everything) -> Vec<String> {
    kernel::differences(before, after)
}
