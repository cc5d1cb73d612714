//! Connections survive every change of policies that is not about them, and end at once where a rule says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use hcn_tests::client::{Client, Container, DUAL};
use hcn_tests::policies::{acl, change};
use hcn_tests::service::kill_hcnd;
use hcn_tests::traffic::{Flow, PORT, in_netns, serve};
use hcn_tests::{Sandbox, eventually, in_sandbox, patience};
use serde_json::{Value, json};

const STREAM: u16 = 7001;
const FAMILIES: [usize; 2] = [0, 1];

/// A connection on which octets go to and fro, and the last one that was sent.
struct Stream(TcpStream, u8);

impl Stream {
    /// Lets a container echo what it gets.
    fn serve(container: &Container) {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, STREAM));
        let listener = in_netns(&container.namespace, || TcpListener::bind(any).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut writer = stream.try_clone().unwrap();
                    // It ends with the connection.
                    let _ = io::copy(&mut &stream, &mut writer);
                });
            }
        });
    }

    fn open(netns: &str, server: &str) -> Self {
        Self::try_to_open(netns, server).unwrap()
    }

    fn try_to_open(netns: &str, server: &str) -> io::Result<Self> {
        let server = SocketAddr::new(server.parse().unwrap(), STREAM);
        let connect = || TcpStream::connect_timeout(&server, patience(Duration::from_secs(1)));
        Ok(Self(in_netns(netns, connect)?, 0))
    }

    /// Whether an octet comes back in time; what is dropped is sent again after 200 ms for the first time.
    fn flows(&mut self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(patience(time))).unwrap();
        self.1 = self.1.wrapping_add(1);
        let mut octet = [0];
        // What was asked before may be answered late.
        self.0.write_all(&[self.1]).is_ok()
            && std::iter::from_fn(|| self.0.read_exact(&mut octet).ok().map(|()| octet[0]))
                .any(|got| got == self.1)
    }

    #[track_caller]
    fn must_flow(&mut self, what: &str) {
        assert!(self.flows(Duration::from_millis(150)), "{what}");
    }
}

#[test]
fn a_stream_survives_what_is_not_about_it_and_ends_with_a_block() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [server, peer, third] = [(); 3].map(|()| client.container(&network, &json!({})));
        Stream::serve(&server);
        Stream::serve(&third);
        for family in FAMILIES {
            let mut stream = Stream::open(&peer.namespace, &server.addresses[family]);
            stream.must_flow("before any rule");
            let other = json!([acl(
                &json!({"Action": "Block", "Direction": "In", "LocalPorts": "22", "Protocols": "6"})
            )]);
            change(&mut client, "Endpoint", &server.endpoint, "Add", &other);
            stream.must_flow("a rule about another port");
            change(
                &mut client,
                "Endpoint",
                &third.endpoint,
                "Add",
                &json!([acl(&json!({"Action": "Block", "Direction": "In"}))]),
            );
            stream.must_flow("rules of another endpoint");
            let host = json!([acl(&json!({"Action": "Allow", "Direction": "In", "RuleType": "Host"}))]);
            change(&mut client, "Endpoint", &server.endpoint, "Add", &host);
            stream.must_flow("a rule in the namespace");
            change(
                &mut client,
                "Endpoint",
                &server.endpoint,
                "Add",
                &json!([{"Type": "PortMapping", "Settings":
                {"Protocol": 6, "InternalPort": STREAM, "ExternalPort": 8000, "Flags": 2 * family}}]),
            );
            stream.must_flow("a port mapping");
            let set =
                json!([{"Type": "SetPolicy", "Settings": {"Id": "s", "Values": third.addresses[family]}}]);
            change(&mut client, "Network", &network, "Add", &set);
            let named = acl(&json!({"Action": "Block", "Direction": "In", "LocalAddresses": "s"}));
            change(&mut client, "Endpoint", &server.endpoint, "Add", &json!([named]));
            stream.must_flow("a set of others");
            // The client is in the set now.
            let set =
                json!([{"Type": "SetPolicy", "Settings": {"Id": "s", "Values": peer.addresses[family]}}]);
            change(&mut client, "Network", &network, "Update", &set);
            assert!(!stream.flows(Duration::from_millis(1000)), "it is blocked");
            change(&mut client, "Endpoint", &server.endpoint, "Update", &json!([{}]));
            change(&mut client, "Network", &network, "Remove", &set);
            eventually("it goes on", || stream.flows(Duration::from_millis(1000)));
            // A block of the side that answers leaves what it has begun itself alone.
            let out = json!([acl(&json!({"Action": "Block", "Direction": "Out"}))]);
            change(&mut client, "Endpoint", &server.endpoint, "Add", &out);
            stream.must_flow("answers pass");
            let begun = || Stream::try_to_open(&server.namespace, &third.addresses[family]);
            assert!(begun().is_err(), "the server begins nothing");
            change(&mut client, "Endpoint", &peer.endpoint, "Add", &out);
            assert!(!stream.flows(Duration::from_millis(1000)), "the client sends no more");
            for container in [&server, &peer, &third] {
                change(&mut client, "Endpoint", &container.endpoint, "Update", &json!([{}]));
            }
            let mapping = client.query("Endpoint", &server.endpoint)["Policies"].clone();
            change(&mut client, "Endpoint", &server.endpoint, "Remove", &mapping);
            eventually("it goes on again", || stream.flows(Duration::from_millis(1000)));
        }
    });
}

/// A rule of a tier, for what comes in.
fn tier(rule: &Value) -> Value {
    json!({"Type": "TierAcl", "Settings": {"Name": "tier", "Direction": "In", "Order": 1, "TierAclRules": [rule]}})
}

fn network_acl(port: u16) -> Value {
    json!({"Type": "NetworkACL", "Settings": {"Action": "Block", "Direction": "In", "RuleType": "Switch",
        "Protocols": "6", "LocalPorts": port.to_string()}})
}

#[test]
fn a_stream_survives_changes_of_every_other_kind() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [server, peer] = [(); 2].map(|()| client.container(&network, &json!({})));
        Stream::serve(&server);
        let mut streams =
            server.addresses.iter().map(|to| Stream::open(&peer.namespace, to)).collect::<Vec<_>>();
        let mut flow = |what: &str| {
            streams.iter_mut().zip(["IPv4", "IPv6"]).for_each(|(stream, family)| {
                stream.must_flow(&format!("{what}, {family}"));
            });
        };
        flow("before any change");
        let given = |kind: &str, settings: &Value| json!({"Type": kind, "Settings": settings});
        let proxies = ["192.0.2.1:1080", "[2001:db8:abcd:12::1]:1080"]
            .map(|proxy| given("L4Proxy", &json!({"Port": "22", "Protocol": 6, "Destination": proxy})));
        let other_port =
            json!({"Id": "other", "TierAclRuleAction": "Block", "Protocols": "6", "LocalPorts": "22"});
        let rules = [
            acl(
                &json!({"Action": "Allow", "Direction": "In", "Protocols": "6", "LocalPorts": STREAM.to_string()}),
            ),
            acl(&json!({"Action": "Block", "Direction": "In", "Priority": 9})),
            acl(&json!({"Action": "Block", "Direction": "Out", "Protocols": "17", "RuleType": "Host"})),
        ];
        let of_endpoint = [
            json!([given("QOS", &json!({"MaximumOutgoingBandwidthInBytes": 1_250_000}))]),
            json!([given("EncapOverhead", &json!({"Overhead": 50}))]),
            json!([given("InterfaceParameters", &json!({"Mtu": 1400}))]),
            json!([given("PortName", &json!({"Name": "front"}))]),
            json!(proxies),
            json!([tier(&other_port)]),
        ];
        for container in [&server, &peer] {
            let side = if container.endpoint == server.endpoint { "the server" } else { "the client" };
            for policies in &of_endpoint {
                for request in ["Add", "Update", "Remove"] {
                    change(&mut client, "Endpoint", &container.endpoint, request, policies);
                    flow(&format!("{request} {policies} of {side}"));
                }
            }
            // All together, and the same again.
            let all: Vec<Value> =
                of_endpoint.iter().flat_map(|one| one.as_array().unwrap().clone()).collect();
            change(&mut client, "Endpoint", &container.endpoint, "Add", &json!(all));
            flow(&format!("everything of {side}"));
            let all = client.query("Endpoint", &container.endpoint)["Policies"].clone();
            change(&mut client, "Endpoint", &container.endpoint, "Update", &all);
            flow(&format!("the same of {side} again"));
        }
        // Rules that the stream passes only since one allows it.
        for request in ["Add", "Update", "Update"] {
            change(&mut client, "Endpoint", &server.endpoint, request, &json!(rules));
            flow(&format!("{request} of rules that allow it"));
        }
        for request in ["Add", "Update", "Remove"] {
            change(&mut client, "Network", &network, request, &json!([network_acl(22)]));
            flow(&format!("{request} of a rule of the network"));
        }
    });
}

#[test]
fn every_kind_of_block_stops_a_stream_at_once() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [server, peer] = [(); 2].map(|()| client.container(&network, &json!({})));
        Stream::serve(&server);
        let host =
            |direction: &str| acl(&json!({"Action": "Block", "Direction": direction, "RuleType": "Host"}));
        let in_tier = tier(&json!({"Id": "no", "TierAclRuleAction": "Block", "Protocols": "6"}));
        let blocks = [
            ("Network", &network, network_acl(STREAM)),
            ("Endpoint", &server.endpoint, in_tier),
            ("Endpoint", &server.endpoint, host("In")),
            ("Endpoint", &peer.endpoint, host("Out")),
        ];
        for (kind, id, block) in blocks {
            let block = json!([block]);
            let mut streams =
                server.addresses.iter().map(|to| Stream::open(&peer.namespace, to)).collect::<Vec<_>>();
            streams.iter_mut().for_each(|stream| stream.must_flow("before"));
            change(&mut client, kind, id, "Add", &block);
            for stream in &mut streams {
                assert!(!stream.flows(Duration::from_millis(600)), "it is blocked by {block}");
            }
            change(&mut client, kind, id, "Remove", &block);
            for stream in &mut streams {
                eventually("it goes on", || stream.flows(Duration::from_millis(1000)));
            }
        }
    });
}

/// Datagrams by one socket, whose answers had come before: of both families and with every kind of rule.
#[test]
fn every_kind_of_block_stops_a_udp_flow_at_once() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [server, peer] = [(); 2].map(|()| client.container(&network, &json!({})));
        serve(&server.namespace);
        let block = |kind: &str, direction: &str, rule_type: &str| {
            json!([{"Type": kind, "Settings":
                {"Action": "Block", "Direction": direction, "Protocols": "17", "RuleType": rule_type}}])
        };
        let in_tier = tier(&json!({"Id": "no", "TierAclRuleAction": "Block", "Protocols": "17"}));
        let flows = FAMILIES.map(|family| Flow::open(&peer.namespace, &server.addresses[family], PORT));
        // Both at once, since what is blocked takes its time.
        let flow = || {
            thread::scope(|scope| {
                let asking = flows.each_ref().map(|flow| scope.spawn(|| flow.ask().is_ok()));
                asking.map(|asked| asked.join().unwrap())
            })
        };
        assert_eq!(flow(), [true; 2]);
        for (kind, id, policies) in [
            ("Endpoint", &server.endpoint, block("ACL", "In", "Switch")),
            ("Endpoint", &server.endpoint, block("ACL", "In", "Host")),
            ("Endpoint", &server.endpoint, json!([in_tier])),
            ("Endpoint", &peer.endpoint, block("ACL", "Out", "Switch")),
            ("Endpoint", &peer.endpoint, block("ACL", "Out", "Host")),
            ("Network", &network, block("NetworkACL", "Out", "Switch")),
        ] {
            change(&mut client, kind, id, "Add", &policies);
            assert_eq!(flow(), [false; 2], "{policies}");
            client = kill_hcnd();
            assert_eq!(flow(), [false; 2], "{policies}, killed and started");
            change(&mut client, kind, id, "Remove", &policies);
            assert_eq!(flow(), [true; 2], "without {policies}");
        }
    });
}
