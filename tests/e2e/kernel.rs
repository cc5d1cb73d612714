//! What not every kernel has: links of VLANs, bridges that filter by VLAN, ipvlan. Where it is there, documents have its
//! effect on frames; where it is not, they are refused with its name, and nothing is changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;
use std::time::Duration;

use hcn_tests::client::{Client, Container, with_version};
use hcn_tests::kernel::{assert_unchanged, dump};
use hcn_tests::policies::change;
use hcn_tests::service::kill_hcnd;
use hcn_tests::stream::Stream;
use hcn_tests::traffic::{HOST, is_silent, seen_as, serve, wait_for_outside};
use hcn_tests::{Sandbox, in_sandbox, netns_exec, run_ok};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

const FAMILIES: [usize; 2] = [0, 1];
const REQUEST_UNSUPPORTED: u32 = 0x803b_0015;
/// The addresses of the world outside on the uplink's segment, and of the host.
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
/// The port of connections that last.
const STREAM: u16 = 7000;
const UPLINK_MAC: &str = "52:54:00:00:00:0a";

/// How each feature is made by hand, or seen, in a network namespace that is thrown away.
const BY_HAND: [(&str, &str); 11] = [
    ("bridge", "ip link add p0 type bridge"),
    ("veth", "ip link add p0 type veth peer name p1"),
    ("vxlan", "ip link add p0 type vxlan id 7 dstport 4789"),
    ("macvlan", "ip link add p0 type veth peer name p1 && ip link add p2 link p0 type macvlan"),
    ("vlan", "ip link add p0 type veth peer name p1 && ip link add p2 link p0 type vlan id 9"),
    ("ipvlan", "ip link add p0 type veth peer name p1 && ip link add p2 link p0 type ipvlan"),
    (
        "bridge vlan filtering",
        "ip link add p0 type bridge vlan_filtering 1 && ip -d link show p0 | grep -q 'vlan_filtering 1'",
    ),
    ("tun", "ip tuntap add p0 mode tap"),
    (
        "nftables bridge",
        "nft 'add table bridge a; add chain bridge a c { type filter hook forward priority 0; }'",
    ),
    (
        "bridge conntrack",
        "nft 'add table bridge a; add chain bridge a c { type filter hook forward priority 0; }; \
         add rule bridge a c ct state established'",
    ),
    ("nftables table owner", "echo 'add table ip a { flags owner; }' | nft -f -"),
];

/// Whether this kernel has a feature, by hand.
fn has(feature: &str) -> bool {
    let (_, command) = BY_HAND.iter().find(|(name, _)| *name == feature).unwrap();
    run_ok(&["ip", "netns", "add", "probe"]);
    let made = netns_exec("probe", &["sh", "-c", command]).code == Some(0);
    run_ok(&["ip", "netns", "del", "probe"]);
    made
}

#[test]
fn the_status_tells_what_can_be_made_by_hand() {
    in_sandbox!(Sandbox::new(), { status() });
}

#[test]
fn the_status_for_an_ordinary_user_tells_what_can_be_made_by_hand() {
    in_sandbox!(Sandbox::as_ordinary_user(), { status() });
}

fn status() {
    let mut client = Client::new();
    let status = client.ok("Service.Status", &json!({}));
    let features = status["features"].as_array().unwrap();
    let shown = run_ok(&["hcnctl", "status"]);
    for (name, command) in BY_HAND {
        let found = features.iter().find(|feature| feature["name"] == name).unwrap();
        assert_eq!(found["present"], has(name), "{name}: {command}");
        let word = if has(name) { "yes" } else { "no" };
        let line = shown.lines().find(|line| line.starts_with(&format!("{name}  "))).unwrap();
        assert_eq!(line.strip_prefix(name).unwrap().split_whitespace().next(), Some(word), "{line}");
    }
    assert_eq!(status["kernel"], run_ok(&["uname", "-r"]).trim());
}

/// A file of hcnd's configuration.
fn configuration(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(&file, text).unwrap();
    file
}

/// Asserts that a call is refused for a feature of the kernel that is missing, which the message names.
fn assert_lacks(client: &mut Client, method: &str, parameters: &Value, feature: &str) {
    let before = dump();
    let reply = client.call(method, parameters);
    assert_eq!(reply.hresult(), Some(REQUEST_UNSUPPORTED), "{}", reply.raw);
    assert!(reply.raw.contains(feature), "{}", reply.raw);
    assert_unchanged(&before, "a refused call changes nothing");
}

/// Counts of frames that arrive outside, by a source address and the VLAN that they are tagged with.
struct Frames;

impl Frames {
    /// Counts from now on those from `mac`: with the tag, with any other, without one; and those from others than the
    /// uplink.
    fn count(mac: &str, vlan: u16) -> Self {
        let rules = format!(
            "table netdev frames {{
                counter tagged {{ }}
                counter astray {{ }}
                counter bare {{ }}
                counter foreign {{ }}
                chain arriving {{
                    type filter hook ingress device eth0 priority 0;
                    ether saddr != {UPLINK_MAC} counter name foreign
                    ether saddr != {mac} accept
                    ether type != 8021q counter name bare accept
                    vlan id {vlan} counter name tagged accept
                    counter name astray
                }}
            }}"
        );
        let made = netns_exec("outside", &["nft", &rules]);
        assert_eq!(made.code, Some(0), "{made}");
        Self
    }

    /// How many there were: tagged so, tagged otherwise, not tagged.
    fn of_mac(&self) -> [u64; 3] {
        ["tagged", "astray", "bare"].map(|name| self.number(name))
    }

    /// How many there were from others than the uplink.
    fn foreign(&self) -> u64 {
        self.number("foreign")
    }

    fn number(&self, name: &str) -> u64 {
        let Self = self;
        let argv = ["nft", "-j", "list", "counter", "netdev", "frames", name];
        let listed: Value = serde_json::from_str(&netns_exec("outside", &argv).stdout).unwrap();
        let objects = listed["nftables"].as_array().unwrap();
        objects.iter().find_map(|object| object["counter"]["packets"].as_u64()).unwrap()
    }
}

/// Puts a host of the world outside into a VLAN of the uplink's segment: a namespace `vlanID` with these addresses.
fn neighbour(id: u16, addresses: [&str; 2], lengths: [u8; 2]) -> String {
    let (netns, id) = (format!("vlan{id}"), id.to_string());
    run_ok(&["ip", "netns", "add", &netns]);
    let link = ["ip", "-n", "outside", "link", "add", "link", "eth0", "name", "v0", "netns", &netns];
    run_ok(&[&link[..], &["type", "vlan", "id", &id]].concat());
    for family in FAMILIES {
        let address = format!("{}/{}", addresses[family], lengths[family]);
        run_ok(&["ip", "-n", &netns, "addr", "add", &address, "dev", "v0", "nodad"]);
    }
    for link in ["lo", "v0"] {
        run_ok(&["ip", "-n", &netns, "link", "set", link, "up"]);
    }
    serve(&netns);
    netns
}

/// A network's document; each subnet with its gateway, and with what `more` says of all.
fn network(kind: &str, subnets: [(&str, &str); 2], more: &Value) -> Value {
    let subnets = subnets.map(|(prefix, gateway)| {
        let everything = if prefix.contains(':') { "::/0" } else { "0.0.0.0/0" };
        let mut subnet = more.clone();
        subnet["IpAddressPrefix"] = json!(prefix);
        subnet["Routes"] = json!([{"NextHop": gateway, "DestinationPrefix": everything}]);
        subnet
    });
    let adapter = json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}});
    let settings = with_version(&json!({
        "Type": kind, "Policies": [adapter], "Ipams": [{"Type": "Static", "Subnets": subnets}],
    }));
    json!({"settings": settings})
}

/// The same with the prefixes of the uplink.
fn network_of_uplink(kind: &str) -> Value {
    let subnets = [("203.0.113.0/24", OUTSIDE[0]), ("2001:db8:ffff::/64", OUTSIDE[1])];
    network(kind, subnets, &json!({}))
}

fn create(client: &mut Client, network: &Value) -> String {
    client.ok("Network.Create", network)["id"].as_str().unwrap().to_owned()
}

fn addresses(v4: &str, v6: &str) -> Value {
    json!([{"IpAddress": v4}, {"IpAddress": v6}])
}

/// The MAC address of a container's interface, as the kernel writes it.
fn mac(client: &mut Client, container: &Container) -> String {
    let document = client.query("Endpoint", &container.endpoint);
    document["MacAddress"].as_str().unwrap().to_lowercase().replace('-', ":")
}

/// Deletes a network with its containers.
fn delete(client: &mut Client, network: &str, containers: &[&Container]) {
    client.delete("Network", network);
    for container in containers {
        client.delete("Namespace", &container.namespace);
    }
}

#[test]
fn the_vlan_of_a_transparent_network_is_on_its_frames_outside() {
    in_sandbox!(Sandbox::new(), { vlan_of_subnets("Transparent") });
}

#[test]
fn the_vlan_of_an_l2_bridge_is_on_its_frames_outside() {
    in_sandbox!(Sandbox::as_ordinary_user(), { vlan_of_subnets("L2Bridge") });
}

fn vlan_of_subnets(kind: &str) {
    wait_for_outside();
    let mut client = Client::new();
    let gateways = ["198.51.100.1", "2001:db8:64::1"];
    let subnets = [("198.51.100.0/24", gateways[0]), ("2001:db8:64::/64", gateways[1])];
    let policy = json!({"Policies": [{"Type": "VLAN", "Settings": {"IsolationId": 100}}]});
    let document = network(kind, subnets, &policy);
    if !has("vlan") {
        assert_lacks(&mut client, "Network.Create", &document, "CONFIG_VLAN_8021Q");
        return;
    }
    let router = neighbour(100, gateways, [24, 64]);
    serve(HOST);
    let before = dump();
    let id = create(&mut client, &document);
    let end = |last: u8| json!({"IpConfigurations": addresses(&format!("198.51.100.{last}"), &format!("2001:db8:64::{last}"))});
    let [a, b] = [50, 51].map(|last| client.container(&id, &end(last)));
    let frames = Frames::count(&mac(&mut client, &a), 100);
    for container in [&a, &b] {
        serve(&container.namespace);
    }
    for family in FAMILIES {
        assert_eq!(seen_as(&a.namespace, gateways[family]), a.addresses[family]);
        assert_eq!(seen_as(&router, &a.addresses[family]), gateways[family]);
        assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
        // The host and the segment without a tag go on beside it, and hear nothing of it.
        assert_eq!(seen_as(HOST, UPLINK[family]), UPLINK[family]);
        assert!(is_silent(&a.namespace, UPLINK[family]));
    }
    wait_for_outside();
    let [tagged, astray, bare] = frames.of_mac();
    assert!(tagged > 10 && astray == 0 && bare == 0, "tagged {tagged}, otherwise {astray}, not {bare}");
    client = kill_hcnd();
    for family in FAMILIES {
        assert_eq!(seen_as(&router, &a.addresses[family]), gateways[family]);
        assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
    }
    client.detach(&a.namespace, &a.endpoint);
    assert!(is_silent(&router, &a.addresses[0]));
    delete(&mut client, &id, &[&a, &b]);
    netns_exec("outside", &["nft", "delete", "table", "netdev", "frames"]);
    assert_unchanged(&before, "the network is gone");
}

#[test]
fn endpoints_in_vlans_hear_those_of_their_own_alone() {
    let file = configuration("[uplinks]\ntransparent = \"bridge\"\n");
    let sandbox = Sandbox::new().option("--config").option(file.path().to_str().unwrap());
    in_sandbox!(sandbox, { vlans_of_endpoints() });
}

fn vlans_of_endpoints() {
    wait_for_outside();
    let mut client = Client::new();
    let there = has("vlan") && has("bridge vlan filtering");
    let tenant = ["203.0.113.99", "2001:db8:ffff::99"];
    let tenant_netns = there.then(|| neighbour(10, tenant, [24, 64]));
    serve("outside");
    serve(HOST);
    let before = dump();
    let id = create(&mut client, &network_of_uplink("Transparent"));
    let settings = |last: u8, vlan: Option<u16>| {
        let given = addresses(&format!("203.0.113.{last}"), &format!("2001:db8:ffff::{last}"));
        let policies = vlan.map(|id| json!({"Type": "VLAN", "Settings": {"IsolationId": id}}));
        json!({"IpConfigurations": given, "Policies": policies.into_iter().collect::<Vec<_>>()})
    };
    let bare = client.container(&id, &settings(50, None));
    serve(&bare.namespace);
    let Some(tenant_netns) = tenant_netns.filter(|_| there) else {
        let refused = json!({"network_id": id, "settings": with_version(&settings(51, Some(10)))});
        assert_lacks(&mut client, "Endpoint.Create", &refused, "CONFIG_BRIDGE_VLAN_FILTERING");
        for family in FAMILIES {
            assert_eq!(seen_as(&bare.namespace, OUTSIDE[family]), bare.addresses[family]);
        }
        return;
    };
    let [a, b, other] =
        [(51, 10), (52, 10), (53, 20)].map(|(last, vlan)| client.container(&id, &settings(last, Some(vlan))));
    for container in [&a, &b, &other] {
        serve(&container.namespace);
    }
    let frames = Frames::count(&mac(&mut client, &a), 10);
    for family in FAMILIES {
        let place = |container: &Container| container.addresses[family].clone();
        assert_eq!(seen_as(&a.namespace, &place(&b)), place(&a));
        assert_eq!(seen_as(&b.namespace, &place(&a)), place(&b));
        // Tagged on the uplink.
        assert_eq!(seen_as(&a.namespace, tenant[family]), place(&a));
        assert_eq!(seen_as(&tenant_netns, &place(&b)), tenant[family]);
        // Neither from a VLAN to another one, nor out of one, nor into one.
        for from in [&other, &bare] {
            assert!(is_silent(&from.namespace, &place(&a)));
            assert!(is_silent(&a.namespace, &place(from)));
            assert!(is_silent(&from.namespace, tenant[family]));
        }
        assert!(is_silent(&a.namespace, OUTSIDE[family]));
        assert!(is_silent(&a.namespace, UPLINK[family]));
        assert!(is_silent("outside", &place(&a)));
        // Those in none are on the segment as it is.
        assert_eq!(seen_as(&bare.namespace, OUTSIDE[family]), place(&bare));
        assert_eq!(seen_as(&bare.namespace, UPLINK[family]), place(&bare));
        assert_eq!(seen_as(HOST, OUTSIDE[family]), UPLINK[family]);
    }
    for (to, verdict) in [(&b, "Allow"), (&other, "Block"), (&bare, "Block")] {
        let question = json!({"To": format!("{}:80", to.addresses[0])});
        let told = client.ok("Endpoint.Explain", &json!({"id": a.endpoint, "query": question}));
        assert_eq!(told["properties"]["Verdict"], verdict, "{told}");
    }
    let [tagged, astray, untagged] = frames.of_mac();
    assert!(
        tagged > 5 && astray == 0 && untagged == 0,
        "tagged {tagged}, otherwise {astray}, not {untagged}"
    );
    // One leaves it, goes into another one, and is there after a kill; a connection in the first one goes on.
    let stream = Stream::start_within(
        Duration::from_secs(4),
        &tenant_netns,
        &a.namespace,
        (tenant[0], STREAM),
        STREAM,
    );
    let vlan = |id: u16| json!([{"Type": "VLAN", "Settings": {"IsolationId": id}}]);
    let place = |container: &Container| container.addresses[0].clone();
    change(&mut client, "Endpoint", &b.endpoint, "Remove", &vlan(10));
    assert_eq!(seen_as(&b.namespace, &place(&bare)), place(&b));
    assert_eq!(seen_as(&b.namespace, OUTSIDE[0]), place(&b));
    assert!(is_silent(&b.namespace, &place(&a)));
    change(&mut client, "Endpoint", &b.endpoint, "Update", &vlan(20));
    for killed in [false, true] {
        if killed {
            client = kill_hcnd();
        }
        assert_eq!(seen_as(&b.namespace, &place(&other)), place(&b));
        assert!(is_silent(&b.namespace, &place(&bare)));
        assert!(is_silent(&b.namespace, &place(&a)));
    }
    change(&mut client, "Endpoint", &b.endpoint, "Update", &vlan(10));
    assert_eq!(seen_as(&b.namespace, &place(&a)), place(&b));
    assert!(stream.end() > 0);
    delete(&mut client, &id, &[&bare, &a, &b, &other]);
    netns_exec("outside", &["nft", "delete", "table", "netdev", "frames"]);
    assert_unchanged(&before, "the network is gone");
}

#[test]
fn endpoints_by_ipvlan_have_the_mac_address_of_the_uplink() {
    let file = configuration("[uplinks]\nl2bridge = \"ipvlan\"\n");
    let sandbox = Sandbox::new().option("--config").option(file.path().to_str().unwrap());
    in_sandbox!(sandbox, { ipvlan() });
}

fn ipvlan() {
    wait_for_outside();
    serve("outside");
    let mut client = Client::new();
    let document = network_of_uplink("L2Bridge");
    if !has("ipvlan") {
        assert_lacks(&mut client, "Network.Create", &document, "CONFIG_IPVLAN");
        return;
    }
    let before = dump();
    let id = create(&mut client, &document);
    let frames = Frames::count(UPLINK_MAC, 1);
    let [a, b] = [50, 51].map(|last| {
        let given = addresses(&format!("203.0.113.{last}"), &format!("2001:db8:ffff::{last}"));
        let container = client.container(&id, &json!({"IpConfigurations": given}));
        serve(&container.namespace);
        container
    });
    for family in FAMILIES {
        // Found from outside before it has said a word.
        assert_eq!(seen_as("outside", &a.addresses[family]), OUTSIDE[family]);
        assert_eq!(seen_as(&a.namespace, OUTSIDE[family]), a.addresses[family]);
        assert_eq!(seen_as(&a.namespace, &b.addresses[family]), a.addresses[family]);
        // By the kernel's nature: a link and what stands on it exchange nothing.
        assert!(is_silent(&a.namespace, UPLINK[family]));
    }
    let shown = netns_exec(&a.namespace, &["ip", "-j", "-d", "link", "show", "eth0"]);
    let link: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(
        (&link[0]["linkinfo"]["info_kind"], &link[0]["address"]),
        (&json!("ipvlan"), &json!(UPLINK_MAC))
    );
    let [_, _, bare] = frames.of_mac();
    assert!(bare > 10 && frames.foreign() == 0, "{bare} frames of the uplink, {} others", frames.foreign());
    client.detach(&a.namespace, &a.endpoint);
    for address in &a.addresses {
        assert!(is_silent("outside", address));
    }
    let elsewhere = client.namespace("Host");
    client.attach(&elsewhere, &a.endpoint);
    serve(&elsewhere);
    for family in FAMILIES {
        assert_eq!(seen_as("outside", &a.addresses[family]), OUTSIDE[family]);
    }
    delete(&mut client, &id, &[&a, &b]);
    client.delete("Namespace", &elsewhere);
    netns_exec("outside", &["nft", "delete", "table", "netdev", "frames"]);
    assert_unchanged(&before, "the network is gone");
}
