//! Do endpoints that are constrained to a link leave by it alone?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::fs;

use hcn_tests::client::{Client, Container, DUAL, with_version};
use hcn_tests::policies::change;
use hcn_tests::service::kill_hcnd_and;
use hcn_tests::traffic::{
    BEHIND, HOST, SECOND, ask_tcp, ask_tcp_at, ask_udp, second_uplink, serve, set_sysctl,
};
use hcn_tests::{Sandbox, eventually, in_sandbox, run_ok};
use serde_json::{Value, json};

const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];
const FAMILIES: [usize; 2] = [0, 1];

/// A world with two ways outside, of which the host itself prefers the first.
fn two_uplinks() {
    second_uplink();
    for (flag, router) in ["-4", "-6"].iter().zip(BEHIND) {
        run_ok(&["ip", flag, "route", "add", "default", "via", router, "dev", "up2", "metric", "5000"]);
    }
    serve("outside");
    eventually("both uplinks carry packets", || {
        [OUTSIDE, BEHIND].concat().iter().all(|server| ask_tcp(HOST, server).is_ok())
    });
}

fn constraint(to: &Value) -> Value {
    json!([{"Type": "InterfaceConstraint", "Settings": to}])
}

fn modify(client: &mut Client, request: &str, endpoint: &str, policies: &Value) {
    change(client, "Endpoint", endpoint, request, policies);
}

/// Whether it leaves as these addresses of the host, wherever it goes.
fn leaves_as(container: &Container, addresses: [&str; 2]) {
    for family in FAMILIES {
        assert_eq!(ask_tcp(&container.namespace, OUTSIDE[family]).unwrap(), addresses[family]);
        assert_eq!(ask_udp(&container.namespace, OUTSIDE[family]).unwrap(), addresses[family]);
    }
}

fn rules() -> String {
    run_ok(&["ip", "rule"]) + &run_ok(&["ip", "-6", "rule"])
}

/// Takes away the rules by which endpoints leave by a link of their own.
fn take_rules() {
    for family in ["-4", "-6"] {
        let listed = run_ok(&["ip", family, "rule"]);
        for rule in listed.lines().filter(|rule| rule.contains("iif hcn")) {
            let (preference, _) = rule.split_once(':').unwrap();
            run_ok(&["ip", family, "rule", "del", "pref", preference]);
        }
    }
}

#[test]
fn an_endpoint_leaves_by_its_own_uplink_alone() {
    in_sandbox!(Sandbox::new(), { constrained() });
}

#[test]
fn an_endpoint_of_an_ordinary_user_leaves_by_its_own_uplink_alone() {
    in_sandbox!(Sandbox::as_ordinary_user(), { constrained() });
}

fn constrained() {
    two_uplinks();
    let mut client = Client::new();
    let network = client.network(&DUAL);
    let up2 = constraint(&json!({"InterfaceAlias": "up2", "InterfaceIndex": 0}));
    let inside = client.container(&network, &json!({"Policies": up2}));
    let other = client.container(&network, &json!({}));
    for container in [&inside, &other] {
        serve(&container.namespace);
    }
    serve(HOST);
    for value in ["0", "1"] {
        for name in ["iptables", "ip6tables"] {
            assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), value));
        }
        leaves_as(&inside, SECOND);
        leaves_as(&other, UPLINK);
        // Neighbours and the host are where they were.
        for family in FAMILIES {
            for (from, to) in [(&inside, &other), (&other, &inside)] {
                let seen = ask_tcp(&from.namespace, &to.addresses[family]).unwrap();
                assert_eq!(seen, from.addresses[family]);
            }
            let host = ask_tcp(&inside.namespace, SECOND[family]).unwrap();
            assert_eq!(host, inside.addresses[family]);
        }
    }
    // While it carries packets.
    modify(&mut client, "Remove", &inside.endpoint, &up2);
    leaves_as(&inside, UPLINK);
    assert!(!rules().contains("iif hcn"), "{}", rules());
    let index: u32 = fs::read_to_string("/sys/class/net/up2/ifindex").unwrap().trim().parse().unwrap();
    modify(&mut client, "Add", &inside.endpoint, &constraint(&json!({"InterfaceIndex": index})));
    leaves_as(&inside, SECOND);
    modify(&mut client, "Update", &inside.endpoint, &constraint(&json!("eth0")));
    leaves_as(&inside, UPLINK);
    modify(&mut client, "Update", &inside.endpoint, &constraint(&json!("up2")));
    leaves_as(&inside, SECOND);
    // Over the death of hcnd, also if somebody takes it away meanwhile.
    for taken in [false, true] {
        client = kill_hcnd_and(|| {
            if taken {
                take_rules();
                leaves_as(&inside, UPLINK);
            }
        });
        leaves_as(&inside, SECOND);
        leaves_as(&other, UPLINK);
    }
    // What comes to it by its uplink is answered.
    let port = json!([{"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 7777, "ExternalPort": 8080}}]);
    modify(&mut client, "Add", &inside.endpoint, &port);
    assert_eq!(ask_tcp_at("outside", SECOND[0], 8080).unwrap(), BEHIND[0]);
    let question = json!({"To": format!("{}:80", OUTSIDE[0])});
    let told = client.ok("Endpoint.Explain", &json!({"id": inside.endpoint, "query": question}));
    assert!(told.to_string().contains("leaves by up2 alone"), "{told}");

    // Without its uplink it has no way, whatever ways the host has.
    run_ok(&["ip", "link", "set", "up2", "down"]);
    for family in FAMILIES {
        ask_tcp(&inside.namespace, OUTSIDE[family]).unwrap_err();
        assert!(ask_tcp(HOST, OUTSIDE[family]).is_ok());
        assert!(ask_tcp(&inside.namespace, &other.addresses[family]).is_ok());
    }
    leaves_as(&other, UPLINK);
    run_ok(&["ip", "link", "set", "up2", "up"]);
    run_ok(&["ip", "addr", "replace", &format!("{}/64", SECOND[1]), "dev", "up2", "nodad"]);
    for family in FAMILIES {
        eventually("the uplink carries packets again", || {
            ask_tcp(&inside.namespace, OUTSIDE[family]).is_ok_and(|seen| seen == SECOND[family])
        });
    }

    // It ends with the attachment, and begins with it.
    assert_eq!(rules().matches("iif hcn").count(), 2, "{}", rules());
    client.detach(&inside.namespace, &inside.endpoint);
    assert!(!rules().contains("iif hcn"), "{}", rules());
    client.attach(&inside.namespace, &inside.endpoint);
    leaves_as(&inside, SECOND);
    client.delete("Endpoint", &inside.endpoint);
    assert!(!rules().contains("iif hcn"), "{}", rules());
    let left = run_ok(&["ip", "route", "show", "table", "all", "proto", "104"])
        + &run_ok(&["ip", "-6", "route", "show", "table", "all", "proto", "104"]);
    assert_eq!(left, "");
}

#[test]
fn a_constraint_of_a_network_comes_changes_and_goes() {
    in_sandbox!(Sandbox::new(), {
        two_uplinks();
        let mut client = Client::new();
        for kind in ["ICS", "ConstrainedICS"] {
            let settings = with_version(&json!({"Type": kind, "Ipams": [{"Subnets": [
                {"IpAddressPrefix": "0.0.0.0/0"}, {"IpAddressPrefix": "::/0"}]}]}));
            let network = client.ok("Network.Create", &json!({"settings": settings}))["id"].clone();
            let network = network.as_str().unwrap();
            let inside = client.container(network, &json!({}));
            let request = |request: &str, to: &str| {
                let settings = json!({"ResourceType": "Policy", "RequestType": request,
                    "Settings": {"Policies": constraint(&json!({"InterfaceAlias": to}))}});
                json!({"id": network, "settings": settings})
            };
            leaves_as(&inside, UPLINK);
            for (kind, to, addresses) in [
                ("Add", "up2", SECOND),
                ("Update", "eth0", UPLINK),
                ("Update", "up2", SECOND),
                ("Remove", "up2", UPLINK),
            ] {
                client.ok("Network.Modify", &request(kind, to));
                leaves_as(&inside, addresses);
            }
            let refused = client.call("Network.Modify", &request("Add", "up3"));
            assert_eq!(refused.hresult(), Some(0x803b_0006), "{}", refused.raw);
            assert!(refused.raw.contains("Settings.Policies[0].Settings.InterfaceAlias"), "{}", refused.raw);
            client.delete("Network", network);
            assert!(!rules().contains("iif hcn"), "{}", rules());
        }
    });
}

#[test]
fn constraints_that_contradict_each_other_leave_no_way_out() {
    in_sandbox!(Sandbox::new(), {
        two_uplinks();
        let mut client = Client::new();
        let settings = with_version(&json!({"Type": "ICS", "Policies": constraint(&json!("eth0")),
            "Ipams": [{"Subnets": [{"IpAddressPrefix": "0.0.0.0/0"}, {"IpAddressPrefix": "::/0"}]}]}));
        let network = client.ok("Network.Create", &json!({"settings": settings}))["id"].clone();
        let inside =
            client.container(network.as_str().unwrap(), &json!({"Policies": constraint(&json!("up2"))}));
        let told = |client: &mut Client, server: &str| {
            let question = json!({"To": format!("{server}:7777")});
            let asked = json!({"id": inside.endpoint, "query": question});
            client.ok("Endpoint.Explain", &asked)["properties"]["Verdict"].clone()
        };
        for server in [OUTSIDE[0], BEHIND[0]] {
            ask_tcp(&inside.namespace, server).unwrap_err();
            ask_udp(&inside.namespace, server).unwrap_err();
            assert_eq!(told(&mut client, server), "Block");
        }
        ask_tcp(&inside.namespace, OUTSIDE[1]).unwrap_err();
        modify(&mut client, "Update", &inside.endpoint, &constraint(&json!("eth0")));
        leaves_as(&inside, UPLINK);
        assert_eq!(told(&mut client, OUTSIDE[0]), "Allow");
    });
}

#[test]
fn an_endpoint_that_the_host_routes_for_leaves_in_its_own_name() {
    in_sandbox!(Sandbox::new(), {
        two_uplinks();
        let prefixes = ["10.45.0.0/24", "fd45::/64"];
        for (prefix, by) in prefixes.iter().zip(SECOND) {
            run_ok(&["ip", "-n", "outside", "route", "add", prefix, "via", by]);
        }
        let mut client = Client::new();
        let subnets = json!([
            {"IpAddressPrefix": prefixes[0], "Routes": [{"NextHop": "10.45.0.1", "DestinationPrefix": "0.0.0.0/0"}]},
            {"IpAddressPrefix": prefixes[1], "Routes": [{"NextHop": "fd45::1", "DestinationPrefix": "::/0"}]},
        ]);
        let settings = with_version(&json!({"Type": "L2Bridge", "Ipams": [{"Subnets": subnets}],
            "Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}]}));
        let network = client.ok("Network.Create", &json!({"settings": settings}))["id"].clone();
        let network = network.as_str().unwrap();
        let inside = client.container(network, &json!({"Policies": constraint(&json!("up2"))}));
        let addresses = [inside.addresses[0].as_str(), inside.addresses[1].as_str()];
        leaves_as(&inside, addresses);
        run_ok(&["ip", "link", "set", "up2", "down"]);
        for ((prefix, by), outside) in prefixes.iter().zip(UPLINK).zip(OUTSIDE) {
            // There is a way back by the other one; it is not taken.
            run_ok(&["ip", "-n", "outside", "route", "replace", prefix, "via", by]);
            ask_tcp(&inside.namespace, outside).unwrap_err();
        }
        modify(&mut client, "Remove", &inside.endpoint, &constraint(&json!("up2")));
        leaves_as(&inside, addresses);
    });
}
