//! L4WFPPROXY: a proxy that listens in the endpoint's own namespace.

use std::fs;

use super::*;

const OUTBOUND: u16 = 15_001;
const INBOUND: u16 = 15_003;

fn intercepted(more: &Value) -> Value {
    let mut settings = json!({"InboundProxyPort": INBOUND.to_string(), "OutboundProxyPort": OUTBOUND.to_string(),
        "FilterTuple": {"Protocols": "6"}, "UserSID": "S-1-5-32-556"});
    for (member, value) in more.as_object().unwrap() {
        settings[member] = value.clone();
    }
    policy("L4WFPPROXY", &settings)
}

/// Serves as both proxies and as the application.
fn serve_all(container: &Container) {
    serve_as(&container.namespace, OUTBOUND, "outgoing");
    serve_as(&container.namespace, INBOUND, "incoming");
    serve_as(&container.namespace, 7000, "application");
}

fn who(netns: &str, server: &str, port: u16) -> String {
    let answer = ask_tcp_at(netns, server, port).unwrap_or_else(|error| panic!("{server} {port}: {error}"));
    answer.split_once(' ').map_or("outside", |(name, _)| name).to_owned()
}

/// What a program of a user gets from outside.
fn as_user(container: &Container, user: u32, server: &str) -> String {
    let place = format!("--net=/run/netns/{}", container.namespace);
    let (user, ask) = (format!("--reuid={user}"), format!("cat < /dev/tcp/{server}/7777"));
    let argv = ["nsenter", &place, "setpriv", &user, "--clear-groups", "timeout", "5", "bash", "-c", &ask];
    run_ok(&argv)
}

#[test]
fn the_proxy_beside_the_application_gets_what_comes_and_goes() {
    in_sandbox!(Sandbox::new(), { both_ways() });
}

#[test]
fn the_same_for_an_ordinary_user() {
    in_sandbox!(Sandbox::as_ordinary_user(), { both_ways() });
}

fn both_ways() {
    outside();
    let before = dump();
    let mut client = Client::new();
    let network = client.network(&DUAL);
    // Given before it is attached (B71).
    let endpoint = client.endpoint(&network, &json!({}));
    modify(&mut client, "Endpoint", &endpoint, "Add", &[intercepted(&json!({}))]);
    let namespace = client.namespace("Host");
    client.attach(&namespace, &endpoint);
    let a = Container { addresses: client.addresses(&endpoint), namespace, endpoint };
    let b = client.container(&network, &json!({}));
    settled(&b);
    serve_all(&a);
    serve_all(&b);
    let both = || {
        for family in FAMILIES {
            assert_eq!(who(&a.namespace, OUTSIDE[family], 7777), "outgoing");
            assert_eq!(who(&b.namespace, &a.addresses[family], 7000), "incoming");
            assert_eq!(who("outside", &a.addresses[family], 7000), "incoming");
            // By loopback, and of others.
            let loopback = ["127.0.0.1", "::1"][family];
            for server in [loopback, &a.addresses[family]] {
                assert_eq!(who(&a.namespace, server, 7000), "application");
            }
            assert_eq!(who(&b.namespace, OUTSIDE[family], 7777), "outside");
            assert_eq!(who(&a.namespace, &b.addresses[family], 7000), "outgoing");
            // Of UDP nothing was said.
            assert!(!ask_udp_at(&a.namespace, OUTSIDE[family], 7777).unwrap().contains(' '));
        }
    };
    for value in ["1", "0"] {
        bridge_nf(value);
        both();
    }
    for argv in [&["nft", "list", "ruleset"][..], &["nft", "-j", "list", "ruleset"]] {
        let listed = netns_exec(&a.namespace, argv);
        assert!(listed.code == Some(0) && listed.stdout.contains("hcnd_proxy"), "{listed}");
    }
    let mut client = kill_hcnd();
    both();
    // One change, with what is under way going on.
    echo("outside", 7001);
    let ports = json!({"OutboundExceptions": {"PortExceptions": ["7000-7001"]}});
    modify(&mut client, "Endpoint", &a.endpoint, "Update", &[intercepted(&ports)]);
    let mut open = Open::new(&a.namespace, OUTSIDE[0], 7001);
    open.works();
    modify(&mut client, "Endpoint", &a.endpoint, "Update", &[intercepted(&json!({}))]);
    open.works();
    both();
    client.detach(&a.namespace, &a.endpoint);
    assert_eq!(netns_exec(&a.namespace, &["nft", "list", "ruleset"]).stdout, "");
    client.attach(&a.namespace, &a.endpoint);
    both();
    modify(&mut client, "Endpoint", &a.endpoint, "Update", &[json!({})]);
    assert_eq!(netns_exec(&a.namespace, &["nft", "list", "ruleset"]).stdout, "");
    assert_eq!(who(&a.namespace, OUTSIDE[0], 7777), "outside");
    client.delete("Network", &network);
    for container in [&a, &b] {
        client.delete("Namespace", &container.namespace);
    }
    assert_unchanged(&before, "the network is gone");
}

#[test]
fn what_is_excepted_or_not_meant_is_left_alone() {
    in_sandbox!(Sandbox::new(), {
        outside();
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let a = client.container(&network, &json!({}));
        settled(&a);
        serve_all(&a);
        let exceptions = json!({
            "OutboundExceptions": {"IpAddressExceptions": OTHERS, "PortExceptions": ["7778", "7780-7790"]},
            "InboundExceptions": {"IpAddressExceptions": [GATEWAYS[0]], "PortExceptions": ["7000"]},
        });
        modify(&mut client, "Endpoint", &a.endpoint, "Add", &[intercepted(&exceptions)]);
        serve_as("outside", 7785, "excepted");
        serve_as(&a.namespace, 7002, "other");
        for family in FAMILIES {
            assert_eq!(who(&a.namespace, OUTSIDE[family], 7777), "outgoing");
            assert_eq!(who(&a.namespace, OTHERS[family], 7777), "outside");
            assert_eq!(who(&a.namespace, OUTSIDE[family], 7785), "excepted");
            assert_eq!(who("outside", &a.addresses[family], 7000), "application");
            assert_eq!(who("outside", &a.addresses[family], 7002), "incoming");
        }
        assert_eq!(who(HOST, &a.addresses[0], 7002), "other");
        // Only what the tuple says; the lower priority first.
        let tuple = |priority: u16, remote: &str, port: u16| {
            json!({"FilterTuple": {"Protocols": "6,17", "RemoteAddresses": remote, "RemotePorts": "7770-7779",
                "Priority": priority}, "OutboundProxyPort": port.to_string(), "InboundProxyPort": null})
        };
        let policies = [
            intercepted(&tuple(200, "203.0.113.0/24,198.51.100.0/24", OUTBOUND)),
            intercepted(&tuple(100, "198.51.100.0/25", INBOUND)),
        ];
        modify(&mut client, "Endpoint", &a.endpoint, "Update", &policies);
        assert_eq!(who(&a.namespace, OUTSIDE[0], 7777), "outgoing");
        assert!(ask_udp_at(&a.namespace, OUTSIDE[0], 7777).unwrap().starts_with("outgoing "));
        assert_eq!(who(&a.namespace, OTHERS[0], 7777), "incoming");
        assert_eq!(who(&a.namespace, OUTSIDE[0], 7785), "excepted");
        assert_eq!(who(&a.namespace, OUTSIDE[1], 7777), "outside");
        assert_eq!(who("outside", &a.addresses[0], 7002), "other");
    });
}

#[test]
fn the_proxys_own_connections_go_out() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("hcnd.toml");
    fs::write(&file, "[sids]\n\"S-1-5-32-556\" = 7\n").unwrap();
    let sandbox = Sandbox::new().option("--config").option(file.to_str().unwrap());
    in_sandbox!(sandbox, {
        outside();
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let a = client.container(&network, &json!({"Policies": [intercepted(&json!({}))]}));
        let b =
            client.container(&network, &json!({"Policies": [intercepted(&json!({"UserSID": "S-1-5-18"}))]}));
        settled(&client.container(&network, &json!({})));
        serve_all(&a);
        serve_all(&b);
        let as_said = || {
            for (container, own) in [(&a, 7), (&b, 1337)] {
                for server in OUTSIDE {
                    assert!(!as_user(container, own, server).contains("outgoing"));
                    assert!(as_user(container, 8, server).contains("outgoing"));
                }
            }
        };
        as_said();
        // Over the death of hcnd, also if somebody takes it away meanwhile.
        let _ = kill_hcnd_and(as_said);
        as_said();
        let _ = kill_hcnd_and(|| {
            for container in [&a, &b] {
                let gone =
                    netns_exec(&container.namespace, &["nft", "delete", "table", "inet", "hcnd_proxy"]);
                assert_eq!(gone.code, Some(0), "{gone}");
                assert!(!as_user(container, 8, OUTSIDE[0]).contains("outgoing"));
            }
        });
        as_said();
    });
}

#[test]
fn two_endpoints_of_a_namespace_have_a_proxy_each() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let prefixes = [DUAL, ["192.168.7.0/24", "2001:db8:abcd:7::/64"]];
        let networks = prefixes.map(|prefixes| client.network(&prefixes));
        let peers = networks.each_ref().map(|network| client.container(network, &json!({})));
        let namespace = client.namespace("Host");
        let proxies = [0, 1].map(|at: u16| {
            let ports = [OUTBOUND, INBOUND].map(|port| (port + 10 * at).to_string());
            [intercepted(&json!({"OutboundProxyPort": ports[0], "InboundProxyPort": ports[1]}))]
        });
        let ends = [0, 1].map(|at: usize| {
            let endpoint = client.endpoint(&networks[at], &json!({"Policies": proxies[at]}));
            client.attach(&namespace, &endpoint);
            let addresses = client.addresses(&endpoint);
            serve_as(&peers[at].namespace, 7000, "peer");
            for (port, name) in [(OUTBOUND, "outgoing"), (INBOUND, "incoming")] {
                serve_as(&namespace, port + 10 * at as u16, &format!("{name}{at}"));
            }
            Container { namespace: namespace.clone(), endpoint, addresses }
        });
        serve_as(&namespace, 7000, "application");
        let as_said = |have: [bool; 2]| {
            for ((at, has), family) in have.into_iter().enumerate().flat_map(|end| FAMILIES.map(|f| (end, f)))
            {
                let (out, back) = (&peers[at].addresses[family], &ends[at].addresses[family]);
                let seen = [who(&namespace, out, 7000), who(&peers[at].namespace, back, 7000)];
                let own = [format!("outgoing{at}"), format!("incoming{at}")];
                let plain = ["peer", "application"].map(str::to_owned);
                assert_eq!(seen, if has { own } else { plain }, "{have:?}: {at}");
            }
        };
        as_said([true; 2]);
        client = kill_hcnd();
        as_said([true; 2]);
        for (at, left) in [(0, [false, true]), (1, [true, false])] {
            modify(&mut client, "Endpoint", &ends[at].endpoint, "Remove", &proxies[at]);
            as_said(left);
            client = kill_hcnd();
            as_said(left);
            modify(&mut client, "Endpoint", &ends[at].endpoint, "Add", &proxies[at]);
            as_said([true; 2]);
        }
        // One that goes leaves the other's.
        client.detach(&namespace, &ends[0].endpoint);
        assert_eq!(who(&namespace, &peers[1].addresses[0], 7000), "outgoing1");
        client.attach(&namespace, &ends[0].endpoint);
        as_said([true; 2]);
        client.delete("Endpoint", &ends[1].endpoint);
        assert_eq!(who(&namespace, &peers[0].addresses[0], 7000), "outgoing0");
    });
}
