//! Does the CNI plugin do what the specification says, and what runtimes ask of it? Effects are looked up in the kernel and
//! by packets.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails must fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, DUAL};
use hcn_tests::cni::{Attachment, configuration, plugin, refused, with};
use hcn_tests::kernel::{assert_unchanged, dump, settled_dump};
use hcn_tests::podman::Podman;
use hcn_tests::service::{sandbox_hcnd, sandbox_socket};
use hcn_tests::traffic::{HOST, PORT, ask_tcp_at, seen_as, serve, serve_as, wait_for_outside};
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, is_running, netns_exec, run_ok};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

const GATEWAYS: [&str; 2] = ["192.0.2.1", "2001:db8:abcd:12::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

fn lab() -> Value {
    configuration("lab", &DUAL)
}

/// What a runtime hands over after ADD.
fn after(config: &Value, result: &Value) -> Value {
    with(config, json!({"prevResult": result}))
}

fn addresses(result: &Value) -> Vec<String> {
    let ips = result["ips"].as_array().unwrap();
    ips.iter().map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().to_owned()).collect()
}

/// Nothing of hcnd's is left but networks.
fn assert_no_attachments() {
    let mut client = Client::new();
    for kind in ["Endpoint", "Namespace"] {
        assert_eq!(client.ids(kind), [""; 0], "{kind}");
    }
}

/// The same, and nothing else differs once they have gone, too.
fn assert_only_networks_are_left(before: &BTreeMap<String, BTreeSet<String>>) {
    let mut client = Client::new();
    for network in client.ids("Network") {
        client.delete("Network", &network);
    }
    assert_unchanged(before, "something was left");
}

fn end_hcnd() {
    let hcnd = sandbox_hcnd();
    kill(hcnd, Signal::SIGTERM).unwrap();
    eventually("hcnd has ended", || !is_running(hcnd));
}

fn start_hcnd() -> Background {
    let socket = sandbox_socket();
    let again = Background::start(
        Command::new("hcnd").args(["--socket", socket.to_str().unwrap()]).env_remove("HCND_SOCKET"),
    );
    eventually("the next one listens", || UnixStream::connect(&socket).is_ok());
    again
}

#[test]
fn every_version_gets_the_result_that_it_describes_and_the_kernel_has_it() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        serve("outside");
        let lab = with(&lab(), json!({"dns": {"nameservers": ["192.0.2.53"], "search": ["lab.test"]}}));
        for version in VERSIONS {
            let config = with(&lab, json!({"cniVersion": version}));
            let container = Attachment::made("box").interface("net1");
            let result = container.add(&config);
            let old = version.starts_with('0');
            let shown: Value =
                serde_json::from_str(&run_ok(&["ip", "-n", "box", "-j", "addr", "show", "net1"])).unwrap();
            let mut interface =
                json!({"name": "net1", "mac": shown[0]["address"], "sandbox": "/run/netns/box"});
            if version == "1.1.0" {
                interface["mtu"] = shown[0]["mtu"].clone();
            }
            assert_eq!(result["interfaces"], json!([interface]), "{version}");
            let own = addresses(&result);
            let ips: Vec<Value> = [(0, "24", "4"), (1, "64", "6")]
                .into_iter()
                .map(|(family, length, number)| {
                    let address = format!("{}/{length}", own[family]);
                    let mut ip = json!({"address": address, "gateway": GATEWAYS[family], "interface": 0});
                    if old {
                        ip["version"] = json!(number);
                    }
                    ip
                })
                .collect();
            assert_eq!(result["ips"], json!(ips), "{version}");
            let routes = json!([{"dst": "0.0.0.0/0", "gw": GATEWAYS[0]}, {"dst": "::/0", "gw": GATEWAYS[1]}]);
            assert_eq!(result["routes"], routes, "{version}");
            assert_eq!(
                result["dns"],
                json!({"nameservers": ["192.0.2.53"], "search": ["lab.test"]}),
                "{version}"
            );
            assert_eq!(result["cniVersion"], version);
            for family in [0, 1] {
                let there = shown[0]["addr_info"].as_array().unwrap();
                assert!(there.iter().any(|info| info["local"] == own[family]), "{shown}");
                assert_eq!(seen_as("box", OUTSIDE[family]), UPLINK[family]);
            }
            if version >= "0.4.0" {
                let ended = container.call("CHECK", &after(&config, &result));
                assert!(ended.code == Some(0) && ended.stdout.is_empty(), "{ended}");
            } else {
                assert_eq!(refused(&container.call("CHECK", &after(&config, &result))).0, 1);
            }
            container.del(&config);
            run_ok(&["ip", "netns", "del", "box"]);
            assert_no_attachments();
        }
    });
}

#[test]
fn mistakes_are_told_with_the_codes_of_the_specification_and_nothing_else() {
    in_sandbox!(Sandbox::new(), {
        let before = dump();
        let base = json!({"cniVersion": "1.1.0", "name": "lab", "type": "hcn-cni"});
        let container = Attachment::made("box");
        let config = |members: Value| with(&base, members);
        let subnets = json!(["192.0.2.0/24"]);
        let mapping =
            |given: Value| config(json!({"subnets": subnets, "runtimeConfig": {"portMappings": [given]}}));
        for (members, code, told) in [
            (config(json!({"cniVersion": "0.2.0"})), 1, "0.2.0"),
            (config(json!({"cniVersion": "2.0.0"})), 1, "2.0.0"),
            (config(json!({"ipMasq": true})), 2, "ipMasq: true"),
            (config(json!({"ipam": {"type": "host-local"}})), 2, r#"ipam: {"type":"host-local"}"#),
            (config(json!({})), 7, r#"name: there is no network "lab""#),
            (config(json!({"network": "other"})), 7, r#"network: there is no network "other""#),
            (config(json!({"network": 7})), 7, "network: "),
            (config(json!({"name": "a/b"})), 7, "name: "),
            (config(json!({"subnets": "192.0.2.0/24"})), 7, "subnets: "),
            (config(json!({"subnets": ["192.0.2.0/24", "192.0.2.0/33"]})), 7, "subnets[1]: "),
            (config(json!({"networkType": "Carrier"})), 7, "networkType: "),
            (
                config(json!({"network": {"Type": "NAT", "Ipams": [{"Type": "x"}]}})),
                7,
                "network.Ipams[0].Type: ",
            ),
            (config(json!({"network": {}, "networkType": "NAT"})), 7, "network: "),
            (
                mapping(json!({"hostPort": 0, "containerPort": 1})),
                7,
                "runtimeConfig.portMappings[0].hostPort: ",
            ),
            (
                mapping(json!({"hostPort": 1, "containerPort": 70000})),
                7,
                "runtimeConfig.portMappings[0].containerPort: ",
            ),
            (
                mapping(json!({"hostPort": 1, "containerPort": 1, "protocol": "icmp"})),
                7,
                "runtimeConfig.portMappings[0].protocol: ",
            ),
            (
                mapping(json!({"hostPort": 1, "containerPort": 1, "hostIP": "127.0.0.1"})),
                7,
                "runtimeConfig.portMappings[0].hostIP: ",
            ),
            (
                config(json!({"subnets": subnets, "runtimeConfig": {"bandwidth": {"ingressRate": 8000}}})),
                2,
                "runtimeConfig.bandwidth.ingressRate: 8000",
            ),
            (
                config(json!({"subnets": subnets, "runtimeConfig": {"ips": ["192.0.2.9", "198.51.100.9"]}})),
                7,
                "runtimeConfig.ips[1]: ",
            ),
            (config(json!({"subnets": subnets, "args": {"cni": {"mac": "x"}}})), 7, "args.cni.mac: "),
            (
                config(
                    json!({"subnets": subnets, "policies": [{"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": "x"}}]}),
                ),
                7,
                "policies[0].Settings",
            ),
        ] {
            let (said, message) = refused(&container.call("ADD", &members));
            assert!(said == code && message.contains(told), "{members}: {said} {message}");
            assert_no_attachments();
        }
        // What the environment says.
        let fine = config(json!({"subnets": subnets}));
        let wrong = [
            container.interface("a/b"),
            container.arguments("FOO=1"),
            container.arguments("IP"),
            Attachment { container: "-x".to_owned(), ..container.clone() },
        ];
        for wrong in wrong {
            assert_eq!(refused(&wrong.call("ADD", &fine)).0, 4, "{wrong:?}");
        }
        assert_eq!(refused(&container.call("FROB", &fine)).0, 4);
        for variable in ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"] {
            let mut called = plugin("ADD", &fine.to_string());
            called.env("CNI_CONTAINERID", "box").env("CNI_IFNAME", "eth0").env("CNI_NETNS", "/run/netns/box");
            let ended = Background::start(called.env_remove(variable)).wait(Duration::from_secs(10));
            let (code, message) = refused(&ended);
            assert!(code == 4 && message.contains(variable), "{message}");
        }
        assert_eq!(refused(&Attachment::of("nowhere").call("ADD", &fine)).0, 3);
        for nonsense in ["", "[]", "{"] {
            let mut called = plugin("ADD", nonsense);
            let ended = Background::start(&mut called).wait(Duration::from_secs(10));
            assert_eq!(refused(&ended).0, 6, "{nonsense}");
        }
        // Everybody gets to know the versions.
        for input in [r#"{"cniVersion":"0.4.0"}"#, r#"{"cniVersion":"9.0.0"}"#, ""] {
            let ended = Background::start(&mut plugin("VERSION", input)).wait(Duration::from_secs(10));
            let said: Value = serde_json::from_str(&ended.stdout).unwrap();
            assert_eq!(said["supportedVersions"], json!(VERSIONS), "{ended}");
            let asked: Value = serde_json::from_str(input).unwrap_or_default();
            assert_eq!(said["cniVersion"], asked["cniVersion"].as_str().unwrap_or("1.1.0"));
        }
        assert_eq!(refused(&container.call("GC", &config(json!({"cniVersion": "1.0.0"})))).0, 1);
        run_ok(&["ip", "netns", "del", "box"]);
        assert_only_networks_are_left(&before);
    });
}

#[test]
fn a_chain_keeps_what_came_before_and_several_interfaces_share_a_namespace() {
    in_sandbox!(Sandbox::new(), {
        let before = dump();
        let first = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "tun0", "mac": "02:00:00:00:00:01", "socketPath": "/run/x"}],
            "ips": [{"address": "198.18.9.1/24", "interface": 0}],
            "routes": [{"dst": "198.18.0.0/15"}], "dns": {"nameservers": ["198.18.9.53"]},
        });
        let container = Attachment::made("box");
        let result = container.add(&after(&lab(), &first));
        for list in ["interfaces", "ips", "routes"] {
            assert_eq!(result[list][0], first[list][0], "{list}");
        }
        assert_eq!(result["interfaces"][1]["name"], "eth0");
        assert_eq!((&result["ips"][1]["interface"], &result["ips"][2]["interface"]), (&json!(1), &json!(1)));
        assert_eq!(result["dns"], first["dns"]);
        let ended = container.call("CHECK", &after(&lab(), &result));
        assert_eq!(ended.code, Some(0), "{ended}");
        // Other networks.
        let other = configuration("other", &["198.51.100.0/24"]);
        let more = configuration("more", &["198.18.5.0/24"]);
        let second = container.interface("net1");
        let third = container.interface("data");
        let results = [second.add(&other), third.add(&more)];
        let mut client = Client::new();
        let namespaces = client.ids("Namespace");
        assert_eq!(namespaces.len(), 1, "{namespaces:?}");
        serve("box");
        for (result, gateway) in results.iter().zip(["198.51.100.1", "198.18.5.1"]) {
            assert_eq!(seen_as(HOST, &addresses(result)[0]), gateway);
        }
        // The names are the container's own, so the next one cannot have them.
        let (code, message) = refused(&second.call("ADD", &lab()));
        assert!(code == 102 && message.contains("net1"), "{message}");
        assert_eq!(client.ids("Endpoint").len(), 3);
        for (attachment, config) in [(&container, lab()), (&second, other), (&third, more)] {
            assert_eq!(client.ids("Namespace").len(), 1);
            attachment.del(&config);
        }
        assert_no_attachments();
        // So can one that the container has made itself not be taken.
        run_ok(&["ip", "-n", "box", "link", "add", "eth0", "type", "veth", "peer", "name", "own1"]);
        let (code, message) = refused(&container.call("ADD", &lab()));
        assert!(code == 102 && message.contains("eth0"), "{message}");
        assert_no_attachments();
        run_ok(&["ip", "-n", "box", "link", "show", "eth0"]);
        run_ok(&["ip", "netns", "del", "box"]);
        assert_only_networks_are_left(&before);
    });
}

#[test]
fn what_runtimes_ask_for_takes_effect() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let lab = with(
            &lab(),
            json!({"mtu": 1400, "policies": [{"Type": "ACL", "Settings": {
            "Action": "Block", "Direction": "In", "Protocols": "6", "LocalPorts": "9", "RuleType": "Switch", "Priority": 1}}]}),
        );
        let runtime = json!({
            "portMappings": [
                {"hostPort": 8080, "containerPort": PORT, "protocol": "TCP"},
                {"hostPort": 8081, "containerPort": PORT, "hostIP": "203.0.113.10"},
                {"hostPort": 8082, "containerPort": PORT, "hostIP": "::"},
                {"hostPort": 8083, "containerPort": 9},
            ],
            "bandwidth": {"egressRate": 80_000_000, "egressBurst": 80_000_000, "ingressRate": 0},
            "dns": {"servers": ["192.0.2.99"], "searches": ["run.test"], "options": ["ndots:1"]},
            "ips": ["192.0.2.70/24", "2001:db8:abcd:12::70"],
            "mac": "02:00:00:00:00:70",
        });
        let container = Attachment::made("box").arguments("IP=192.0.2.71;MAC=02:00:00:00:00:71");
        let config = with(&lab, json!({"runtimeConfig": runtime}));
        let result = container.add(&config);
        assert_eq!(addresses(&result), ["192.0.2.70", "2001:db8:abcd:12::70"]);
        assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:70");
        assert_eq!(result["interfaces"][0]["mtu"], 1400);
        let dns = json!({"nameservers": ["192.0.2.99"], "search": ["run.test"], "options": ["ndots:1"]});
        assert_eq!(result["dns"], dns);
        let shown = run_ok(&["ip", "-n", "box", "link", "show", "eth0"]);
        assert!(shown.contains("02:00:00:00:00:70") && shown.contains("mtu 1400"), "{shown}");
        let shaped = run_ok(&["tc", "qdisc", "show"]);
        assert!(shaped.contains("rate 80Mbit"), "{shaped}");
        serve("box");
        serve_as("box", 9, "closed");
        for family in [0, 1] {
            let ask = |port| ask_tcp_at("outside", UPLINK[family], port).ok();
            assert_eq!(ask(8080).as_deref(), Some(OUTSIDE[family]));
            assert_eq!(ask(8081).is_some(), family == 0);
            assert_eq!(ask(8082).is_some(), family == 1);
            assert_eq!(ask(8083), None);
            // The host's own programs get there, too.
            assert!(ask_tcp_at(HOST, UPLINK[family], 8080).is_ok());
        }
        let ended = container.call("CHECK", &after(&config, &result));
        assert_eq!(ended.code, Some(0), "{ended}");
        container.del(&config);
        assert!(ask_tcp_at("outside", UPLINK[0], 8080).is_err());
        // The other ways to ask for addresses, of which the later win.
        let by_arguments = container.add(&lab);
        assert_eq!(addresses(&by_arguments), ["192.0.2.71"]);
        assert_eq!(by_arguments["interfaces"][0]["mac"], "02:00:00:00:00:71");
        container.del(&lab);
        let args = json!({"args": {"cni": {"ips": ["192.0.2.72"], "mac": "02:00:00:00:00:72"}}});
        let config = with(&lab, args);
        let by_args = container.add(&config);
        assert_eq!(addresses(&by_args), ["192.0.2.72"]);
        assert_eq!(by_args["interfaces"][0]["mac"], "02:00:00:00:00:72");
        // What is in use is refused, and nothing of the attempt is left.
        let before = settled_dump();
        let (code, message) = refused(&Attachment::of("outside").call("ADD", &config));
        assert!(code == 7 && message.contains("args.cni.ips[0]"), "{code} {message}");
        assert_unchanged(&before, "an ADD that failed left something");
        container.del(&config);
        assert_no_attachments();
    });
}

#[test]
fn del_check_and_status_cope_with_whatever_has_happened_meanwhile() {
    in_sandbox!(Sandbox::new(), {
        let config = lab();
        let container = Attachment::made("box");
        // There is no such network yet, but one can be made.
        assert_eq!(container.call("STATUS", &config).code, Some(0));
        let (code, _) = refused(&container.call("STATUS", &configuration("none", &[])));
        assert_eq!(code, 50);
        let result = container.add(&config);
        let told = after(&config, &result);
        let check = |told: &Value| container.call("CHECK", told);
        assert_eq!(check(&told).code, Some(0));
        assert_eq!(refused(&check(&config)).0, 7);
        // An address that others take away comes back.
        run_ok(&[
            "ip",
            "-n",
            "box",
            "addr",
            "del",
            result["ips"][0]["address"].as_str().unwrap(),
            "dev",
            "eth0",
        ]);
        eventually("hcnd has repaired it", || check(&told).code == Some(0));
        // What is the container's own choice does not.
        run_ok(&["ip", "-n", "box", "link", "set", "eth0", "name", "mine0"]);
        let (code, message) = refused(&check(&told));
        assert!(code == 103 && message.contains("eth0"), "{message}");
        run_ok(&["ip", "-n", "box", "link", "set", "mine0", "name", "eth0"]);
        assert_eq!(check(&told).code, Some(0));
        let mut other = told.clone();
        other["prevResult"]["ips"][0]["address"] = json!("192.0.2.200/24");
        assert_eq!(refused(&check(&other)).0, 103);
        let unpublished =
            with(&told, json!({"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80}]}}));
        assert_eq!(refused(&check(&unpublished)).0, 103);
        // Nobody is there to ask.
        end_hcnd();
        for (command, code) in [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)] {
            let config = with(&told, json!({"cni.dev/valid-attachments": []}));
            assert_eq!(refused(&container.call(command, &config)).0, code, "{command}");
        }
        let _hcnd = start_hcnd();
        assert_eq!(check(&told).code, Some(0));
        // Somebody has taken the endpoint out of its namespace, as a reboot does; the runtime begins anew.
        let mut client = Client::new();
        let (endpoint, namespace) = (client.ids("Endpoint").remove(0), client.ids("Namespace").remove(0));
        assert_eq!(refused(&container.call("ADD", &config)).0, 102);
        client.detach(&namespace, &endpoint);
        assert_eq!(refused(&check(&told)).0, 103);
        let told = after(&config, &container.add(&config));
        assert_eq!(check(&told).code, Some(0));
        // Or deleted it.
        client.delete("Endpoint", &endpoint);
        assert_eq!(refused(&check(&told)).0, 103);
        container.del(&told);
        container.del(&config);
        assert_no_attachments();
        // The network namespace goes first, and nobody knows the result any more.
        let _ = container.add(&config);
        run_ok(&["ip", "netns", "del", "box"]);
        container.del(&config);
        container.del(&config);
        assert_no_attachments();
        // So does the network.
        let container = Attachment::made("box");
        let _ = container.add(&config);
        let network = client.ids("Network").remove(0);
        client.delete("Network", &network);
        container.del(&with(&config, json!({"subnets": "nonsense"})));
        assert_no_attachments();
        assert_eq!(fs::read_dir("/etc/netns").map_or(0, Iterator::count), 0);
    });
}

#[test]
fn gc_removes_what_the_runtime_does_not_know_and_nothing_else() {
    in_sandbox!(Sandbox::new(), {
        let (lab, other) = (lab(), configuration("other", &["198.51.100.0/24"]));
        let containers = ["one", "two", "three"].map(Attachment::made);
        for container in &containers {
            let _ = container.add(&lab);
        }
        let _ = containers[1].interface("net1").add(&other);
        // An endpoint of somebody else's.
        let mut client = Client::new();
        let network = client.ids("Network").remove(0);
        let foreign = client.container(&network, &json!({}));
        let valid = |names: &[(&str, &str)]| {
            let list: Vec<Value> =
                names.iter().map(|(id, name)| json!({"containerID": id, "ifname": name})).collect();
            with(&lab, json!({"cni.dev/valid-attachments": list, "cni.dev/attachments": list}))
        };
        let interfaces = |name: &str| -> BTreeSet<String> {
            let links: Value = serde_json::from_str(&run_ok(&["ip", "-n", name, "-j", "link"])).unwrap();
            links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap().to_owned()).collect()
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(refused(&containers[0].call("GC", &lab)).0, 7);
        assert_eq!(client.ids("Endpoint").len(), 5);
        let ended = containers[0].call("GC", &valid(&[("one", "eth0"), ("two", "net1")]));
        assert!(ended.code == Some(0) && ended.stdout.is_empty(), "{ended}");
        assert_eq!(client.ids("Endpoint").len(), 3);
        assert_eq!(client.ids("Namespace").len(), 3);
        eventually("the interfaces are gone", || {
            interfaces("one") == names(&["lo", "eth0"])
                && interfaces("two") == names(&["lo", "net1"])
                && interfaces("three") == names(&["lo"])
        });
        let ended = containers[0].call("GC", &valid(&[]));
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(client.ids("Endpoint").contains(&foreign.endpoint));
        assert_eq!(client.ids("Endpoint").len(), 2);
        containers[1].interface("net1").del(&other);
        assert_eq!(client.ids("Namespace"), [foreign.namespace]);
    });
}

#[test]
fn containers_come_and_go_side_by_side_and_an_add_is_quick() {
    in_sandbox!(Sandbox::new(), {
        let before = dump();
        let config = lab();
        let containers: Vec<Attachment> =
            (0..12).map(|number| Attachment::made(&format!("box{number}"))).collect();
        // The first one makes the network, whoever that is.
        let mut running: Vec<Background> =
            containers.iter().map(|container| container.start("ADD", &config)).collect();
        let mut seen = BTreeSet::new();
        for ended in running.iter_mut().map(|plugin| plugin.wait(Duration::from_secs(60))) {
            assert_eq!(ended.code, Some(0), "{ended}");
            seen.extend(addresses(&serde_json::from_str(&ended.stdout).unwrap()));
        }
        assert_eq!(seen.len(), 24, "{seen:?}");
        let mut client = Client::new();
        assert_eq!(client.ids("Network").len(), 1);
        serve("box0");
        let own = run_ok(&["ip", "-n", "box0", "-j", "addr", "show", "eth0"]);
        let own: Value = serde_json::from_str(&own).unwrap();
        let _ = seen_as("box11", own[0]["addr_info"][0]["local"].as_str().unwrap());
        let mut running: Vec<Background> =
            containers.iter().map(|container| container.start("DEL", &config)).collect();
        for ended in running.iter_mut().map(|plugin| plugin.wait(Duration::from_secs(60))) {
            assert_eq!(ended.code, Some(0), "{ended}");
        }
        assert_no_attachments();
        let mut times = [Vec::new(), Vec::new()];
        for container in &containers {
            let begin = Instant::now();
            let _ = container.add(&config);
            times[0].push(begin.elapsed());
            let begin = Instant::now();
            container.del(&config);
            times[1].push(begin.elapsed());
        }
        let [add, del] = times.map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2]
        });
        eprintln!("measured: a median ADD takes {add:.1?}, a DEL {del:.1?}");
        for container in &containers {
            run_ok(&["ip", "netns", "del", &container.container]);
        }
        let network = client.ids("Network").remove(0);
        client.delete("Network", &network);
        assert_unchanged(&before, "something was left");
    });
}

#[test]
fn podman_runs_containers_on_a_network_of_hcnds() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        // The network of the documentation, and one that answers for names.
        let page = fs::read_to_string("../docs/clients/cni.md").unwrap();
        let (_, block) = page.split_once("```json\n").unwrap();
        let documented: Value = serde_json::from_str(block.split_once("```").unwrap().0).unwrap();
        let network = json!({"Type": "ICS", "Flags": 1, "Ipams": [{"Subnets": [{"IpAddressPrefix": "198.51.100.0/24"}]}]});
        let plugin = json!({
            "type": "hcn-cni", "network": network, "dns": {"nameservers": ["198.51.100.1"]}, "capabilities": {"ips": true},
        });
        let named = json!({"cniVersion": "1.0.0", "name": "named", "plugins": [plugin]});
        let podman = Podman::new(&[documented, named]);
        let before = dump();
        let mut client = Client::new();
        // Which is eth0, and so has the way out, podman leaves to chance unless it is said.
        let networks = ["--network", "lab:interface_name=eth0", "--network", "named:interface_name=eth1"];
        podman.run(
            &[&["-d", "--name", "web", "-p", "8080:80"], &networks[..]].concat(),
            &["httpd", "-f", "-p", "80", "-h", "/www"],
        );
        let listed = run_ok(&["hcnctl", "endpoint", "ls"]);
        assert!(listed.contains("web") && client.ids("Endpoint").len() == 2, "{listed}");
        for address in ["203.0.113.10", "[2001:db8:ffff::10]"] {
            let url = format!("http://{address}:8080/");
            let page = netns_exec("outside", &["curl", "-sS", "-m", "5", "-g", &url]);
            assert_eq!(page.stdout, "a page of a container\n", "{page}");
        }
        // The other one finds it by its name, and has the address that was asked for.
        let asked = "(cat /etc/resolv.conf; nslookup -type=a web; ip addr show eth0; wget -q -O - http://198.51.100.2/) \
                     >/tmp/part; mv /tmp/part /tmp/said; sleep 1000";
        podman.run(
            &["-d", "--name", "client", "--network", "named", "--ip", "198.51.100.77"],
            &["sh", "-c", asked],
        );
        eventually("the container has asked", || podman.file("tmp/said").is_some());
        let said = podman.file("tmp/said").unwrap();
        for text in [
            "nameserver 198.51.100.1\n",
            "Address: 198.51.100.2\n",
            " 198.51.100.77/24 ",
            "a page of a container\n",
        ] {
            assert!(said.contains(text), "{text:?} is not in:\n{said}");
        }
        podman.ok(&["rm", "--force", "--time", "0", "client"]);
        assert_eq!(client.ids("Endpoint").len(), 2);
        podman.ok(&["rm", "--force", "--time", "0", "web"]);
        assert_no_attachments();
        for network in client.ids("Network") {
            client.delete("Network", &network);
        }
        assert_unchanged(&before, "podman rm left something");
    });
}
