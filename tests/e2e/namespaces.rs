//! Where endpoints live besides namespaces of hcnd's own: in namespaces that others made, on the host, in virtual
//! machines; what their flags do; and that what a container does with its own network is left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use hcn_tests::client::{Client, Container, DUAL, membership, with_version};
use hcn_tests::kernel::{assert_unchanged, dump, ruleset, settled_dump};
use hcn_tests::service::{sandbox_hcnd, sandbox_socket};
use hcn_tests::traffic::{
    HOST, ask_tcp, ask_udp, in_netns, is_silent, ping, seen_as, serve, set_sysctl, wait_for_outside,
};
use hcn_tests::vm::{Machine, open_tap};
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, is_running, netns_exec, run, run_ok};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

const FAMILIES: [usize; 2] = [0, 1];
const GATEWAYS: [&str; 2] = ["192.0.2.1", "2001:db8:abcd:12::1"];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const OTHER: [&str; 2] = ["198.51.100.0/24", "2001:db8:99:1::/64"];
const INVALID_ARGUMENT: u32 = 0x8007_0057;
const NOT_FOUND: u32 = 0x8007_0490;

/// Ends hcnd and starts another one.
fn restart() -> Background {
    let hcnd = sandbox_hcnd();
    kill(hcnd, Signal::SIGTERM).unwrap();
    eventually("hcnd has ended", || !is_running(hcnd));
    let socket = sandbox_socket();
    let again = Background::start(
        Command::new("hcnd").args(["--socket", socket.to_str().unwrap()]).env_remove("HCND_SOCKET"),
    );
    eventually("the next one listens", || UnixStream::connect(&socket).is_ok());
    again
}

/// An endpoint whose addresses are prefixes of their own.
fn single(number: u32) -> Value {
    json!({"IpConfigurations": [
        {"IpAddress": format!("192.0.2.{number}"), "PrefixLength": 32},
        {"IpAddress": format!("2001:db8:abcd:12::{number}"), "PrefixLength": 128},
    ]})
}

fn assert_reach(from: &Container, to: &Container) {
    for family in FAMILIES {
        assert_eq!(seen_as(&from.namespace, &to.addresses[family]), from.addresses[family]);
    }
}

#[test]
fn endpoints_with_prefixes_of_their_own_reach_each_other_and_all_others() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let plain = client.container(&network, &json!({}));
        let singles = [77, 78, 79].map(|number| client.container(&network, &single(number)));
        wait_for_outside();
        serve("outside");
        serve(HOST);
        for container in singles.iter().chain([&plain]) {
            serve(&container.namespace);
        }
        for one in &singles {
            for other in singles.iter().filter(|other| other.endpoint != one.endpoint).chain([&plain]) {
                assert_reach(one, other);
                assert_reach(other, one);
            }
            for family in FAMILIES {
                assert_eq!(seen_as(&one.namespace, GATEWAYS[family]), one.addresses[family]);
                assert_eq!(seen_as(HOST, &one.addresses[family]), GATEWAYS[family]);
                assert_eq!(seen_as(&one.namespace, OUTSIDE[family]), UPLINK[family]);
            }
        }
    });
}

#[test]
fn the_endpoints_of_a_namespace_are_its_interfaces_in_their_order() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let (one, two) = (client.network(&DUAL), client.network(&OTHER));
        let three = client.network(&["198.18.5.0/24", "2001:db8:99:5::/64"]);
        let namespace = client.namespace("Host");
        let endpoints = [
            client.endpoint(&one, &single(77)),
            client.endpoint(&two, &json!({})),
            client.endpoint(&three, &json!({})),
        ];
        for endpoint in &endpoints {
            client.attach(&namespace, endpoint);
        }
        serve(&namespace);
        let neighbours = [&one, &two, &three].map(|network| client.container(network, &json!({})));
        for (index, endpoint) in endpoints.iter().enumerate() {
            let addresses = client.addresses(endpoint);
            let shown = run_ok(&["ip", "-n", &namespace, "addr", "show", "dev", &format!("eth{index}")]);
            for (family, address) in addresses.iter().enumerate() {
                assert!(shown.contains(&format!(" {address}/")), "{address}: {shown}");
                let neighbour = &neighbours[index];
                assert_eq!(seen_as(&neighbour.namespace, address), neighbour.addresses[family]);
            }
        }
        // The first one's place is free again, and the next one gets it.
        client.detach(&namespace, &endpoints[0]);
        client.attach(&namespace, &endpoints[0]);
        let shown = run_ok(&["ip", "-n", &namespace, "addr", "show", "dev", "eth0"]);
        assert!(shown.contains(" 192.0.2.77/32"), "{shown}");
    });
}

#[test]
fn an_isolated_endpoint_exchanges_nothing_with_others_of_its_network() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let before = ruleset();
        let alone = client.container(&network, &json!({"Flags": 2}));
        let mut routed = single(77);
        routed["Flags"] = json!(2);
        let routed = client.container(&network, &routed);
        let others = [json!({}), single(78)].map(|given| client.container(&network, &given));
        let elsewhere = client.network(&OTHER);
        let far = client.container(&elsewhere, &json!({}));
        wait_for_outside();
        for place in [&alone, &routed, &others[0], &others[1], &far].map(|c| c.namespace.as_str()) {
            serve(place);
        }
        serve(HOST);
        serve("outside");
        assert!(ruleset().iter().any(|line| line.starts_with("table bridge hcnd {")));
        let isolated = |client: &mut Client| {
            for value in ["1", "0"] {
                for name in ["iptables", "ip6tables"] {
                    assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), value));
                }
                assert_reach(&others[0], &others[1]);
                assert_reach(&others[1], &others[0]);
                for one in [&alone, &routed] {
                    for family in FAMILIES {
                        let own = &one.addresses[family];
                        for other in others.iter().chain([if one.endpoint == alone.endpoint {
                            &routed
                        } else {
                            &alone
                        }]) {
                            assert!(is_silent(&one.namespace, &other.addresses[family]));
                            assert!(is_silent(&other.namespace, own));
                            // Not by the host, either.
                            let by = [
                                "ip",
                                "route",
                                "replace",
                                own,
                                "via",
                                GATEWAYS[family],
                                "dev",
                                "eth0",
                                "onlink",
                            ];
                            let there = netns_exec(&other.namespace, &by);
                            assert_eq!(there.code, Some(0), "{there}");
                            assert!(is_silent(&other.namespace, own));
                            netns_exec(&other.namespace, &["ip", "route", "del", own]);
                        }
                        assert_eq!(seen_as(&one.namespace, GATEWAYS[family]), *own);
                        assert_eq!(seen_as(HOST, own), GATEWAYS[family]);
                        assert_eq!(seen_as(&one.namespace, OUTSIDE[family]), UPLINK[family]);
                        assert_eq!(
                            seen_as(&one.namespace, &far.addresses[family]),
                            ["198.51.100.1", "2001:db8:99:1::1"][family]
                        );
                    }
                }
            }
            client.ok("Service.Ping", &json!({}));
        };
        isolated(&mut client);
        let made = settled_dump();
        let _again = restart();
        let mut client = Client::new();
        assert_unchanged(&made, "the next one changed something");
        isolated(&mut client);
        client.detach(&alone.namespace, &alone.endpoint);
        client.delete("Endpoint", &routed.endpoint);
        assert_eq!(ruleset().difference(&before).filter(|line| line.contains("bridge hcnd {")).count(), 0);
        client.attach(&alone.namespace, &alone.endpoint);
        assert!(is_silent(&others[0].namespace, &alone.addresses[0]));
    });
}

/// The default routes of a namespace as `ip` lists them.
fn default_routes(netns: &str, family: &str) -> Vec<(String, u64)> {
    let listed = run_ok(&["ip", "-n", netns, "-j", family, "route", "show", "default"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let route = |route: &Value| {
        (route["dev"].as_str().unwrap().to_owned(), route["metric"].as_u64().unwrap_or_default())
    };
    listed.as_array().unwrap().iter().map(route).collect()
}

#[test]
fn flags_choose_the_way_out_and_the_order_of_name_servers() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let (one, two) = (client.network(&DUAL), client.network(&OTHER));
        let first = client.container(&one, &json!({"Dns": {"ServerList": ["192.0.2.53"]}}));
        let namespace = &first.namespace;
        let second = client.endpoint(&two, &json!({"Flags": 24, "Dns": {"ServerList": ["198.51.100.53"]}}));
        client.attach(namespace, &second);
        let routes = |metric: [u64; 2]| vec![("eth0".to_owned(), metric[0]), ("eth1".to_owned(), metric[1])];
        let mut ipv4 = default_routes(namespace, "-4");
        ipv4.sort();
        assert_eq!(ipv4, routes([256, 1]));
        let mut ipv6 = default_routes(namespace, "-6");
        ipv6.sort();
        assert_eq!(ipv6, routes([1024, 513]));
        wait_for_outside();
        let way = netns_exec(namespace, &["ip", "route", "get", OUTSIDE[0]]);
        assert!(way.stdout.contains("dev eth1"), "{way}");
        serve("outside");
        for family in FAMILIES {
            assert_eq!(seen_as(namespace, OUTSIDE[family]), UPLINK[family]);
        }
        let file = format!("/etc/netns/{namespace}/resolv.conf");
        assert_eq!(fs::read_to_string(file).unwrap(), "nameserver 198.51.100.53\nnameserver 192.0.2.53\n");
    });
}

/// A namespace that a runtime has made, with a link of its own in it.
fn foreign(name: &str) -> String {
    run_ok(&["ip", "netns", "add", name]);
    run_ok(&["ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "own1"]);
    run_ok(&["ip", "-n", name, "addr", "add", "198.18.0.9/24", "dev", "eth0"]);
    for link in ["lo", "eth0"] {
        run_ok(&["ip", "-n", name, "link", "set", link, "up"]);
    }
    format!("/run/netns/{name}")
}

fn take_in(client: &mut Client, params: &Value) -> String {
    let settings = with_version(&json!({"AdditionalParams": params}));
    client.ok("Namespace.Create", &json!({"settings": settings}))["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_namespace_that_somebody_else_made_gets_endpoints_and_outlives_hcnds_name() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let neighbour = client.container(&network, &json!({}));
        serve(&neighbour.namespace);
        let before = dump();
        let path = foreign("runtime");
        let own = dump();
        let namespace = take_in(&mut client, &json!({"NetnsPath": path}));
        let document = client.query("Namespace", &namespace);
        assert_eq!(document["AdditionalParams"]["NetnsPath"], path);
        let endpoint = client.endpoint(&network, &json!({"Dns": {"ServerList": ["192.0.2.53"]}}));
        client.attach(&namespace, &endpoint);
        let addresses = client.addresses(&endpoint);
        // Its own eth0 is left alone, so the endpoint is the next one.
        let shown = run_ok(&["ip", "-n", "runtime", "addr", "show", "dev", "eth1"]);
        assert!(shown.contains(&format!(" {}/24", addresses[0])), "{shown}");
        for family in FAMILIES {
            assert_eq!(seen_as("runtime", &neighbour.addresses[family]), addresses[family]);
        }
        let made = settled_dump();
        let _again = restart();
        let mut client = Client::new();
        assert_unchanged(&made, "the next one changed something");
        // Whatever it has got meanwhile is seen.
        run_ok(&["ip", "-n", "runtime", "link", "set", "own1", "name", "eth2"]);
        let second = client.endpoint(&network, &json!({}));
        client.attach(&namespace, &second);
        run_ok(&["ip", "-n", "runtime", "link", "show", "eth3"]);
        run_ok(&["ip", "-n", "runtime", "link", "set", "eth2", "name", "own1"]);
        for endpoint in [&endpoint, &second] {
            client.detach(&namespace, endpoint);
            client.delete("Endpoint", endpoint);
        }
        client.delete("Namespace", &namespace);
        assert_unchanged(&own, "hcnd left something in the namespace, or took something from it");
        // With its network deleted at once, it lives on, too.
        let namespace = take_in(&mut client, &json!({"NetnsPath": path}));
        let endpoint = client.endpoint(&network, &json!({}));
        client.attach(&namespace, &endpoint);
        client.delete("Endpoint", &endpoint);
        client.delete("Namespace", &namespace);
        run_ok(&["ip", "-n", "runtime", "link", "show", "eth0"]);
        run_ok(&["ip", "netns", "del", "runtime"]);
        assert_unchanged(&before, "something is left");
    });
}

#[test]
fn a_namespace_can_be_named_by_process_or_descriptor() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        foreign("runtime");
        let file = File::open("/run/netns/runtime").unwrap();
        let namespace = take_in(&mut client, &json!({"NetnsFd": file.as_raw_fd()}));
        let endpoint = client.endpoint(&network, &json!({}));
        client.attach(&namespace, &endpoint);
        assert_eq!(ping("runtime", GATEWAYS[0]).code, Some(0));
        client.detach(&namespace, &endpoint);
        client.delete("Namespace", &namespace);
        let sleeper = Background::start(Command::new("ip").args(["netns", "exec", "runtime", "sleep", "60"]));
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let there = |entry: fs::DirEntry| {
            let path = entry.path().join("ns/net");
            let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
            (comm == "sleep\n" && fs::read_link(&path).ok()? != own).then_some(path)
        };
        let find = || fs::read_dir("/proc").unwrap().flatten().find_map(there);
        eventually("the process is in the namespace", || find().is_some());
        let namespace = take_in(&mut client, &json!({"NetnsPath": find().unwrap()}));
        client.attach(&namespace, &endpoint);
        assert_eq!(ping("runtime", GATEWAYS[0]).code, Some(0));
        drop(sleeper);
        assert_eq!(ping("runtime", GATEWAYS[0]).code, Some(0));
        // The same by hcnctl, as the namespace that has it is gone.
        client.detach(&namespace, &endpoint);
        client.delete("Namespace", &namespace);
        run_ok(&["hcnctl", "namespace", "create", "--netns", "/run/netns/runtime"]);
        assert_eq!(client.ids("Namespace").len(), 1);
    });
}

#[test]
fn what_is_no_namespace_for_endpoints_is_refused_by_name() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let path = foreign("runtime");
        let taken = take_in(&mut client, &json!({"NetnsPath": path}));
        let before = dump();
        let mut refused = |params: Value, kind: &str, code: u32, member: &str, told: &str| {
            let settings = with_version(&json!({"AdditionalParams": params, "Type": kind}));
            let reply = client.call("Namespace.Create", &json!({"settings": settings}));
            assert_eq!(reply.hresult(), Some(code), "{params}: {}", reply.raw);
            assert!(reply.raw.contains(&format!("AdditionalParams.{member}")), "{}", reply.raw);
            assert!(reply.raw.contains(told), "{}", reply.raw);
        };
        let at = |path: &str| json!({"NetnsPath": path});
        refused(at("/run/netns/none"), "Host", NOT_FOUND, "NetnsPath", "path of a network namespace");
        refused(at("/etc/hostname"), "Host", INVALID_ARGUMENT, "NetnsPath", "no network namespace");
        refused(at("/proc/self/ns/mnt"), "Host", INVALID_ARGUMENT, "NetnsPath", "no network namespace");
        refused(at("/dev/null"), "Host", INVALID_ARGUMENT, "NetnsPath", "no network namespace");
        refused(at("runtime"), "Host", INVALID_ARGUMENT, "NetnsPath", "absolute path");
        refused(json!({"NetnsPath": 7}), "Host", INVALID_ARGUMENT, "NetnsPath", "absolute path");
        refused(json!({"NetnsFd": "x"}), "Host", INVALID_ARGUMENT, "NetnsFd", "descriptor");
        refused(json!({"NetnsFd": 9999}), "Host", NOT_FOUND, "NetnsFd", "");
        refused(at("/proc/1/ns/net"), "Host", INVALID_ARGUMENT, "NetnsPath", "HostDefault");
        refused(at(&path), "Guest", INVALID_ARGUMENT, "NetnsPath", "Type Host");
        refused(at(&path), "Host", 0x8007_1392, "NetnsPath", &taken);
        assert_unchanged(&before, "a refused call changed something");
    });
}

#[test]
fn an_endpoint_of_the_host_is_reached_from_everywhere_and_moves_no_route() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let a = client.container(&network, &json!({}));
        let single = client.container(&network, &single(77));
        wait_for_outside();
        let routes = || [run_ok(&["ip", "-4", "route"]), run_ok(&["ip", "-6", "route"])];
        let before = routes();
        let host = client.namespace("HostDefault");
        let endpoint = client.endpoint(&network, &json!({}));
        client.attach(&host, &endpoint);
        assert_eq!(routes()[0], before[0]);
        serve(HOST);
        serve(&a.namespace);
        for (net, uplink) in DUAL.iter().zip(UPLINK) {
            run_ok(&["ip", "-n", "outside", "route", "add", net, "via", uplink]);
        }
        for (family, address) in client.addresses(&endpoint).iter().enumerate() {
            for from in [&a, &single] {
                assert_eq!(seen_as(&from.namespace, address), from.addresses[family]);
            }
            assert_eq!(seen_as("outside", address), OUTSIDE[family]);
            assert_eq!(seen_as(HOST, address), *address);
            assert!(ask_tcp(HOST, &a.addresses[family]).is_ok());
        }
        client.detach(&host, &endpoint);
        assert_eq!(routes()[0], before[0]);
    });
}

#[test]
fn what_a_container_made_in_its_namespace_is_left_alone() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let container = client.container(&network, &json!({}));
        let namespace = container.namespace.clone();
        for argv in [
            &["ip", "addr", "add", "198.18.5.5/32", "dev", "eth0"][..],
            &["ip", "addr", "add", "2001:db8:5::5/128", "dev", "eth0"],
            &["ip", "route", "add", "198.18.6.0/24", "via", "192.0.2.1"],
            &["ip", "link", "add", "inner0", "type", "veth", "peer", "name", "inner1"],
            &["ip", "link", "set", "inner0", "up"],
            &["ip", "addr", "add", "198.18.7.1/24", "dev", "inner0"],
        ] {
            let done = netns_exec(&namespace, argv);
            assert_eq!(done.code, Some(0), "{done}");
        }
        let sysctl = "/proc/sys/net/ipv4/tcp_keepalive_time";
        in_netns(&namespace, || fs::write(sysctl, "1234").unwrap());
        let made = settled_dump();
        let _again = restart();
        let mut client = Client::new();
        assert_unchanged(&made, "the next one changed something");
        let second = client.endpoint(&network, &json!({}));
        client.attach(&namespace, &second);
        client.detach(&namespace, &second);
        client.delete("Endpoint", &second);
        assert_unchanged(&made, "another endpoint changed something");
        assert_eq!(in_netns(&namespace, || fs::read_to_string(sysctl).unwrap()), "1234\n");
        assert_eq!(ping(&namespace, GATEWAYS[0]).code, Some(0));
    });
}

/// Attaches an endpoint to a port, and gives the name of its TAP interface.
fn plug(client: &mut Client, endpoint: &str) -> String {
    let settings = json!({"ResourceType": "Port", "RequestType": "Add",
        "Settings": {"PortId": "A0000000-0000-4000-8000-000000000001"}});
    client.ok("Endpoint.Modify", &json!({"id": endpoint, "settings": settings}));
    let document = client.query("Endpoint", endpoint);
    document["AdditionalParams"]["TapInterface"].as_str().unwrap().to_owned()
}

fn unplug(client: &mut Client, endpoint: &str) {
    let settings = json!({"ResourceType": "Port", "RequestType": "Remove", "Settings": {}});
    client.ok("Endpoint.Modify", &json!({"id": endpoint, "settings": settings}));
}

/// The MAC address of an endpoint as Linux writes it.
fn mac(client: &mut Client, endpoint: &str) -> String {
    client.query("Endpoint", endpoint)["MacAddress"].as_str().unwrap().replace('-', ":").to_lowercase()
}

#[test]
fn a_virtual_machine_is_an_endpoint_like_others() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let neighbour = client.container(&network, &json!({}));
        serve(&neighbour.namespace);
        serve(HOST);
        wait_for_outside();
        serve("outside");
        let before = settled_dump();
        let endpoint = client.endpoint(&network, &json!({}));
        let tap = plug(&mut client, &endpoint);
        assert_eq!(tap, "hvta0000000");
        let shown = run_ok(&["ip", "-d", "link", "show", "dev", &tap]);
        for part in ["tun type tap pi off vnet_hdr on persist on", "hairpin on", &endpoint] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let addresses = client.addresses(&endpoint);
        let mac = mac(&mut client, &endpoint);
        let machine = Machine::start("machine", &tap, &mac);
        machine.configure(&format!("{}/24", addresses[0]), GATEWAYS[0]);
        machine.configure(&format!("{}/64", addresses[1]), GATEWAYS[1]);
        serve("machine");
        assert!(open_tap(&tap, true).is_err(), "one machine at a time");
        let works = || {
            for family in FAMILIES {
                let own = &addresses[family];
                eventually("the machine's card carries frames", || {
                    ask_udp("machine", GATEWAYS[family]).is_ok()
                });
                assert_eq!(seen_as("machine", &neighbour.addresses[family]), *own);
                assert_eq!(seen_as(&neighbour.namespace, own), neighbour.addresses[family]);
                assert_eq!(seen_as("machine", GATEWAYS[family]), *own);
                assert_eq!(seen_as(HOST, own), GATEWAYS[family]);
                assert_eq!(seen_as("machine", OUTSIDE[family]), UPLINK[family]);
            }
            // As large as the link takes.
            let argv = ["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "1472", GATEWAYS[0]];
            let large = netns_exec("machine", &argv);
            assert_eq!(large.code, Some(0), "{large}");
        };
        works();
        let stats = client.ok("Endpoint.QueryStats", &json!({"id": endpoint}));
        assert!(stats.to_string().contains("PacketsReceived"), "{stats}");
        let made = settled_dump();
        let _again = restart();
        let mut client = Client::new();
        assert_unchanged(&made, "the next one changed something");
        works();
        // It goes, whoever has it open.
        unplug(&mut client, &endpoint);
        for address in &addresses {
            ask_tcp(&neighbour.namespace, address).unwrap_err();
        }
        drop(machine);
        run_ok(&["ip", "netns", "del", "machine"]);
        client.delete("Endpoint", &endpoint);
        assert_unchanged(&before, "something is left");
        let again = client.endpoint(&network, &json!({}));
        assert_eq!(plug(&mut client, &again), tap, "its name is free");
        client.delete("Network", &network);
        eventually("the interface is gone", || run(&["ip", "link", "show", &tap]).code != Some(0));
    });
}

#[test]
fn an_isolated_virtual_machine_meets_the_host_alone() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let neighbour = client.container(&network, &json!({}));
        let endpoint = client.endpoint(&network, &json!({"Flags": 2}));
        let tap = plug(&mut client, &endpoint);
        let (addresses, mac) = (client.addresses(&endpoint), mac(&mut client, &endpoint));
        let machine = Machine::start("machine", &tap, &mac);
        machine.configure(&format!("{}/24", addresses[0]), GATEWAYS[0]);
        eventually("the machine reaches the host", || ping("machine", GATEWAYS[0]).code == Some(0));
        assert!(is_silent("machine", &neighbour.addresses[0]));
        assert!(is_silent(&neighbour.namespace, &addresses[0]));
        let refused = client.refused("Namespace.Modify", &membership("Add", &neighbour.namespace, &endpoint));
        assert_eq!(refused, 0x803b_0014);
    });
}
