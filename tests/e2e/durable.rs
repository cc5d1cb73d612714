//! Does state outlive hcnd and the machine? Traffic runs through restarts and kills; a reboot leaves what persists; a
//! store that cannot be used says so and is left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, DUAL, network_document, with_version};
use hcn_tests::conformance::snapshot;
use hcn_tests::daemon::{END, Hcnd, command};
use hcn_tests::kernel::{assert_unchanged, enter_own_namespaces, settled_dump};
use hcn_tests::stream::Stream;
use hcn_tests::traffic::{HOST, in_netns, seen_as, serve, wait_for_outside};
use hcn_tests::{Background, Sandbox, eventually, in_sandbox, netns_exec, run_ok};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const VIP: &str = "198.18.0.1";
const FILE_CORRUPT: u32 = 0x8007_0570;

/// Runs one that must not get as far as listening, and gives what it says.
fn refused(store: &Path) -> String {
    let ended = Background::start(command(&store.with_file_name("refused.sock"), store)).wait(END);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert_eq!(ended.stderr.lines().filter(|line| line.starts_with("hcnd: ")).count(), 1, "{ended}");
    ended.stderr
}

#[test]
fn traffic_does_not_notice_twenty_restarts_and_twenty_kills() {
    in_sandbox!(Sandbox::new(), {
        let folder = TempDir::new().unwrap();
        wait_for_outside();
        run_ok(&[
            "ip",
            "netns",
            "exec",
            "outside",
            "ip",
            "route",
            "add",
            "198.18.0.0/24",
            "via",
            "203.0.113.10",
        ]);
        // The sandbox's own hcnd gives way to one that is started again and again.
        let old = hcn_tests::service::sandbox_hcnd();
        nix::sys::signal::kill(old, Signal::SIGTERM).unwrap();
        eventually("the sandbox's hcnd has ended", || !hcn_tests::is_running(old));
        let mut hcnd = Hcnd::start(folder.path());
        let mut client = Client::of(&hcnd.socket);
        let network = client.network(&DUAL);
        let [a, b] = [(); 2].map(|()| client.container(&network, &json!({})));
        client.load_balancer(&json!({"HostComputeEndpoints": [a.endpoint], "FrontendVIPs": [VIP],
            "PortMappings": [{"Protocol": 6, "InternalPort": 7000, "ExternalPort": 80}]}));
        let made = settled_dump();
        let documents = snapshot(&mut client.wire);

        let balanced = Stream::start(&a.namespace, "outside", (VIP, 80), 7000);
        let bridged = Stream::start(&a.namespace, &b.namespace, (a.addresses[0].as_str(), 7001), 7001);
        let mut ping = Background::start(Command::new("ip").args([
            "netns",
            "exec",
            &b.namespace,
            "ping",
            "-n",
            "-i",
            "0.01",
            "-w",
            "60",
            "203.0.113.1",
        ]));
        ping.wait_for_stdout("bytes from");
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            for _ in 0..20 {
                hcnd.again(signal);
                // It answers, and with the old state.
                assert_eq!(Client::of(&hcnd.socket).ids("Network"), [network.as_str()]);
            }
        }
        ping.signal(Signal::SIGINT);
        let pinged = ping.wait(END);
        assert!(pinged.stdout.contains(" 0% packet loss"), "{pinged}");
        for stream in [balanced, bridged] {
            let received = stream.end();
            assert!(received > 1000, "{received} numbers");
        }
        assert_unchanged(&made, "restarts changed something");
        assert_eq!(snapshot(&mut Client::of(&hcnd.socket).wire), documents);
        hcnd.end(Signal::SIGTERM);
    });
}

#[test]
fn a_reboot_leaves_what_persists_and_frees_the_rest() {
    in_sandbox!(Sandbox::new(), {
        let folder = TempDir::new().unwrap();
        // Each thread with namespaces of its own is a machine that was started anew.
        let documents = thread::scope(|scope| {
            let before = scope.spawn(|| {
                enter_own_namespaces();
                let mut hcnd = Hcnd::start(folder.path());
                let mut client = Client::of(&hcnd.socket);
                let stays = client.network(&DUAL);
                let mut passing = network_document(&["198.51.100.0/24"]);
                passing["Flags"] = json!(8);
                let goes = client.ok("Network.Create", &json!({"settings": passing}))["id"].clone();
                let mapped = json!({"Policies": [{"Type": "PortMapping",
                    "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}}]});
                let kept = client.container(&stays, &mapped);
                let lost = client.container(goes.as_str().unwrap(), &json!({}));
                client.load_balancer(&json!({"HostComputeEndpoints": [kept.endpoint], "PortMappings":
                    [{"Protocol": 6, "InternalPort": 80, "ExternalPort": 81}]}));
                client.load_balancer(&json!({"HostComputeEndpoints": [lost.endpoint], "PortMappings":
                    [{"Protocol": 6, "InternalPort": 80, "ExternalPort": 82}]}));
                let documents = snapshot(&mut client.wire);
                hcnd.end(Signal::SIGKILL);
                (documents, stays, kept)
            });
            before.join().unwrap()
        });
        let (documents, stays, kept) = documents;
        thread::scope(|scope| {
            scope.spawn(|| {
                enter_own_namespaces();
                let mut hcnd = Hcnd::start(folder.path());
                let mut client = Client::of(&hcnd.socket);
                assert_eq!(client.ids("Network"), [stays.as_str()]);
                assert_eq!(client.ids("Endpoint"), [kept.endpoint.as_str()]);
                assert_eq!(client.ids("Namespace"), [""; 0]);
                assert_eq!(client.ids("LoadBalancer").len(), 1);
                let same = |kind: &str, id: &str, now: &Value| {
                    let then = &documents[&format!("{kind} {id}")]["properties"];
                    for member in ["Name", "IpConfigurations", "MacAddress", "Policies", "Ipams", "MacPool"] {
                        assert_eq!(now[member], then[member], "{member}");
                    }
                };
                same("Network", &stays, &client.query("Network", &stays));
                let endpoint = client.query("Endpoint", &kept.endpoint);
                same("Endpoint", &kept.endpoint, &endpoint);
                assert_eq!((&endpoint["State"], endpoint.get("HostComputeNamespace")), (&json!(1), None));
                // It carries packets again, and what was the other network's is free.
                let namespace = client.namespace("Host");
                client.attach(&namespace, &kept.endpoint);
                serve(HOST);
                assert_eq!(seen_as(&namespace, "192.0.2.1"), kept.addresses[0]);
                let again = client.network(&["198.51.100.0/24"]);
                client.endpoint(&again, &json!({"IpConfigurations": [{"IpAddress": "198.51.100.2"}]}));
                client.load_balancer(&json!({"PortMappings":
                    [{"Protocol": 6, "InternalPort": 80, "ExternalPort": 82}]}));
                hcnd.end(Signal::SIGTERM);
            });
        });
    });
}

#[test]
fn what_is_lost_while_hcnd_is_away_is_made_again() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let folder = TempDir::new().unwrap();
        let mut hcnd = Hcnd::start(folder.path());
        let mut client = Client::of(&hcnd.socket);
        let network = client.network(&DUAL);
        let [a, b] = [(); 2].map(|()| client.container(&network, &json!({})));
        serve(&a.namespace);
        let bridge = format!("hcn{}", network[..8].to_lowercase());
        let veth = format!("hve{}", b.endpoint[..8].to_lowercase());
        let harms: [&[&str]; 6] = [
            &["ip", "link", "del", &veth],
            &["ip", "netns", "exec", &b.namespace, "ip", "addr", "flush", "dev", "eth0"],
            &["ip", "netns", "exec", &b.namespace, "ip", "route", "del", "default"],
            &["ip", "addr", "del", "192.0.2.1/24", "dev", &bridge],
            &["nft", "delete", "table", "inet", "hcnd"],
            &["ip", "link", "del", &bridge],
        ];
        for harm in harms {
            hcnd.end(Signal::SIGTERM);
            run_ok(harm);
            hcnd = Hcnd::start(folder.path());
            let mut client = Client::of(&hcnd.socket);
            let started = Instant::now();
            // A call on the entity waits for its repair.
            for id in [&a.endpoint, &b.endpoint] {
                let settings =
                    json!({"ResourceType": "Policy", "RequestType": "Add", "Settings": {"Policies": []}});
                client.ok("Endpoint.Modify", &json!({"id": id, "settings": settings}));
            }
            assert!(started.elapsed() < Duration::from_secs(5));
            for family in [0, 1] {
                assert_eq!(seen_as(&b.namespace, &a.addresses[family]), b.addresses[family], "{harm:?}");
            }
            assert_eq!(seen_as(HOST, &a.addresses[0]), "192.0.2.1");
        }
        hcnd.end(Signal::SIGTERM);
    });
}

#[test]
fn a_store_that_cannot_be_used_is_left_as_it_is_and_nothing_is_changed() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let folder = TempDir::new().unwrap();
        let mut hcnd = Hcnd::start(folder.path());
        Client::of(&hcnd.socket).network(&DUAL);
        let second = refused(&hcnd.store);
        assert!(second.contains("another") || second.contains("in use"), "{second}");
        hcnd.end(Signal::SIGTERM);
        // The table has no owner then.
        let made = settled_dump();
        let whole = fs::read(&hcnd.store).unwrap();
        let mut zeroed = whole.clone();
        let middle = zeroed.len() / 2;
        zeroed[4096..middle].fill(0);
        for (what, damaged) in
            [("zeroed", zeroed), ("cut", whole[..whole.len() / 3].to_vec()), ("garbage", b"no".to_vec())]
        {
            fs::write(&hcnd.store, &damaged).unwrap();
            hcnd = Hcnd::start(folder.path());
            let mut client = Client::of(&hcnd.socket);
            assert_eq!(client.ids("Network"), [""; 0], "{what}");
            let settings = json!({"settings": network_document(&["198.51.100.0/24"])});
            let refused = client.call("Network.Create", &settings);
            assert_eq!(refused.hresult(), Some(FILE_CORRUPT), "{what}: {}", refused.raw);
            assert!(refused.raw.contains("state.redb"), "{what}: {}", refused.raw);
            let ended = hcnd.end(Signal::SIGTERM);
            assert_eq!(ended.code, Some(0), "{ended}");
            assert!(ended.stderr.contains("state.redb is damaged"), "{what}: {ended}");
            assert!(fs::read(&hcnd.store).unwrap() == damaged, "{what}: the file was changed");
            assert_unchanged(&made, "a start without records changed something");
        }
        fs::write(&hcnd.store, &whole).unwrap();
        // Where nothing can be written it says so.
        run_ok(&["mount", "--bind", folder.path().to_str().unwrap(), folder.path().to_str().unwrap()]);
        run_ok(&["mount", "-o", "remount,ro,bind", folder.path().to_str().unwrap()]);
        let ended = Background::start(command(Path::new("/run/other.sock"), &hcnd.store)).wait(END);
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.stderr.to_lowercase().contains("read-only"), "{ended}");
        run_ok(&["umount", folder.path().to_str().unwrap()]);
        let mut hcnd = Hcnd::start(folder.path());
        assert_eq!(Client::of(&hcnd.socket).ids("Network").len(), 1);
        hcnd.end(Signal::SIGTERM);
    });
}

#[test]
fn on_a_full_disk_changes_fail_and_nothing_is_lost() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let folder = TempDir::new().unwrap();
        let path = folder.path().to_str().unwrap();
        run_ok(&["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path]);
        let mut hcnd = Hcnd::start(folder.path());
        let mut client = Client::of(&hcnd.socket);
        let network = client.network(&DUAL);
        let before = settled_dump();
        let filler = folder.path().join("filler");
        let _ = fs::write(&filler, vec![0; 8 << 20]);
        // Not every commit needs new pages, so some may succeed at first.
        let mut made = Vec::new();
        let refusal = loop {
            let call =
                json!({"network_id": network, "settings": with_version(&json!({"Name": "x".repeat(1000)}))});
            let reply = client.call("Endpoint.Create", &call);
            if reply.error.is_some() {
                break reply;
            }
            made.push(reply.parameters["id"].as_str().unwrap().to_owned());
            assert!(made.len() < 5000, "the disk does not fill up");
        };
        assert!(refusal.raw.contains("space"), "{}", refusal.raw);
        assert_eq!(client.ids("Endpoint"), made);
        client.call("Network.Create", &json!({"settings": network_document(&["198.51.100.0/24"])}));
        fs::remove_file(&filler).unwrap();
        assert_unchanged(&before, "a change that could not be made durable left something");
        let other = client.endpoint(&network, &json!({}));
        made.push(other);
        hcnd.again(Signal::SIGKILL);
        assert_eq!(Client::of(&hcnd.socket).ids("Endpoint"), made);
        hcnd.end(Signal::SIGTERM);
        run_ok(&["umount", path]);
    });
}

#[test]
fn datagrams_are_answered_while_hcnd_is_away() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let folder = TempDir::new().unwrap();
        let mut hcnd = Hcnd::start(folder.path());
        let mut client = Client::of(&hcnd.socket);
        let network = client.network(&DUAL);
        let container = client.container(&network, &json!({}));
        hcnd.end(Signal::SIGKILL);
        let echo = in_netns(&container.namespace, || UdpSocket::bind(("0.0.0.0", 7)).unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 8];
            while let Ok((length, peer)) = echo.recv_from(&mut bytes) {
                echo.send_to(&bytes[..length], peer).unwrap();
            }
        });
        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket.send_to(b"?", (container.addresses[0].as_str(), 7)).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 1);
        assert_eq!(netns_exec(&container.namespace, &["ip", "-br", "addr"]).code, Some(0));
    });
}
