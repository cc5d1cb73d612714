//! Who reaches a load balancer, by what, and as whom back ends see clients: scenarios 11 to 14 of the contract's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::collections::BTreeMap;

use hcn_tests::client::{Client, Container, DUAL, network_document, with_version};
use hcn_tests::service::kill_hcnd;
use hcn_tests::traffic::{HOST, PORT, ask_tcp_at, serve_as, wait_for_outside};
use hcn_tests::{Node, Sandbox, eventually, in_sandbox, netns_exec, run_ok};
use serde_json::{Value, json};

const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff::1"];
const UPLINK: [&str; 2] = ["203.0.113.10", "2001:db8:ffff::10"];

/// An overlay as flannel makes it, with this prefix, and the MAC address of its router.
fn flannel(client: &mut Client, prefix: &str) -> (String, Value) {
    let settings = with_version(&json!({
        "Name": "flannel.4096", "Type": "Overlay", "MacPool": {}, "Dns": {}, "Flags": 8, "Health": {"Extra": {}},
        "Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}],
        "Ipams": [{"Type": "Static", "Subnets": [{
            "IpAddressPrefix": format!("{prefix}.0/24"),
            "Policies": [{"Type": "VSID", "Settings": {"IsolationId": 4096}}],
            "Routes": [{"NextHop": format!("{prefix}.1"), "DestinationPrefix": "0.0.0.0/0"}],
        }]}],
    }));
    let made = client.ok("Network.Create", &json!({"settings": settings}));
    let id = made["id"].as_str().unwrap().to_owned();
    let document = client.query("Network", &id);
    let policies = document["Policies"].as_array().unwrap();
    let router = policies.iter().find(|policy| policy["Type"] == "DrMacAddress").unwrap();
    let router = router["Settings"]["Address"].clone();
    (id, router)
}

fn pod(client: &mut Client, network: &str, address: &str, place: impl Fn(&str) -> String) -> Container {
    let pod = client.container(network, &json!({"IpConfigurations": [{"IpAddress": address}]}));
    serve_as(&place(&pod.namespace), 8080, address);
    pod
}

#[test]
fn a_cluster_address_without_direct_return_leads_to_pods_here_and_there() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let nodes = [1, 2].map(Node::new);
        let mut clients = nodes.map(Node::client);
        let prefixes = ["192.0.2", "198.51.100"];
        let made = [0, 1].map(|at: usize| flannel(&mut clients[at], prefixes[at]));
        for at in [0, 1] {
            let settings = json!({
                "DestinationPrefix": format!("{}.0/24", prefixes[1 - at]), "IsolationId": 4096,
                "ProviderAddress": nodes[1 - at].addresses()[0], "DistributedRouterMacAddress": made[1 - at].1,
            });
            let settings = json!({"ResourceType": "Policy", "RequestType": "Add", "Settings": {"Policies":
                [{"Type": "RemoteSubnetRoute", "Settings": settings}]}});
            clients[at].ok("Network.Modify", &json!({"id": made[at].0, "settings": settings}));
        }
        let [here, there] = &mut clients;
        let network = &made[0].0;
        let local = ["192.0.2.11", "192.0.2.12"]
            .map(|address| pod(here, network, address, |namespace| nodes[0].place(namespace)));
        pod(there, &made[1].0, "198.51.100.7", |namespace| nodes[1].place(namespace));
        let remote = here.endpoint(network, &json!({
            "Flags": 1, "MacAddress": "02-11-c6-33-64-07", "IpConfigurations": [{"IpAddress": "198.51.100.7"}],
            "Policies": [{"Type": "ProviderAddress", "Settings": {"ProviderAddress": "203.0.113.20"}}],
        }));
        here.endpoint(
            network,
            &json!({"MacAddress": "52-54-00-00-00-0a",
            "IpConfigurations": [{"IpAddress": "192.0.2.200"}]}),
        );
        let endpoints = [&local[0].endpoint, &local[1].endpoint, &remote];
        let settings = json!({
            "HostComputeEndpoints": endpoints, "SourceVIP": "192.0.2.200", "FrontendVIPs": ["198.51.100.200"],
            "PortMappings": [{"Protocol": 6, "InternalPort": 8080, "ExternalPort": 80}],
        });
        let id = here.load_balancer(&settings);
        let document = here.query("LoadBalancer", &id);
        for member in ["HostComputeEndpoints", "SourceVIP", "FrontendVIPs", "PortMappings"] {
            assert_eq!(document[member], settings[member], "{document}");
        }
        let again = json!({"settings": with_version(&settings)});
        assert_eq!(here.refused("LoadBalancer.Create", &again), 0x803b_0013);

        let mut shares: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..300 {
            let answer = ask_tcp_at(&local[0].namespace, "198.51.100.200", 80).unwrap();
            let (server, seen) = answer.split_once(' ').unwrap();
            assert_eq!(seen, "192.0.2.200", "{server}");
            *shares.entry(server.to_owned()).or_default() += 1;
        }
        assert_eq!(shares.len(), 3, "{shares:?}");
        // Two degrees of freedom: beyond this by chance once in 22,000 times.
        let squares: f64 = shares.values().map(|share| (f64::from(*share) - 100.0).powi(2) / 100.0).sum();
        assert!(squares < 20.0, "{shares:?}");

        here.delete("LoadBalancer", &id);
        assert!(!run_ok(&["nft", "list", "table", "inet", "hcnd"]).contains("198.51.100.200"));
        assert_eq!(here.ids("Endpoint").len(), 4);
        ask_tcp_at(&local[0].namespace, "198.51.100.200", 80).unwrap_err();
    });
}

#[test]
fn with_direct_return_back_ends_see_their_clients_and_inside_is_inside() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        for (vip, uplink) in [("203.0.113.100/32", UPLINK[0]), ("2001:db8:ffff::80/128", UPLINK[1])] {
            let added = netns_exec("outside", &["ip", "route", "add", vip, "via", uplink]);
            assert_eq!(added.code, Some(0), "{added}");
        }
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [one, other] = [(); 2].map(|()| client.container(&network, &json!({})));
        serve_as(&one.namespace, 443, "one");
        serve_as(&one.namespace, PORT, "one");

        // An external address whose destination is to be preserved, which is recorded.
        let mut settings = json!({
            "HostComputeEndpoints": [one.endpoint], "SourceVIP": "192.0.2.200", "Flags": 1,
            "FrontendVIPs": ["203.0.113.100"],
            "PortMappings": [{"Protocol": 6, "InternalPort": 443, "ExternalPort": 443, "Flags": 28}],
        });
        let id = client.load_balancer(&settings);
        let document = client.query("LoadBalancer", &id);
        assert_eq!(document["Flags"], 1, "{document}");
        assert_eq!(document["PortMappings"][0]["Flags"], 28, "{document}");
        assert_eq!(ask_tcp_at("outside", "203.0.113.100", 443).unwrap(), format!("one {}", OUTSIDE[0]));
        assert!(ask_tcp_at(&other.namespace, "203.0.113.100", 443).is_ok());
        ask_tcp_at(HOST, "203.0.113.100", 443).unwrap_err();
        // The same without direct return.
        settings["Flags"] = json!(0);
        client.ok("LoadBalancer.Modify", &json!({"id": id, "settings": settings}));
        for from in ["outside", &other.namespace] {
            assert_eq!(ask_tcp_at(from, "203.0.113.100", 443).unwrap(), "one 192.0.2.200");
        }
        // And for the host, too.
        settings["PortMappings"][0]["Flags"] = json!(30);
        client.ok("LoadBalancer.Modify", &json!({"id": id, "settings": settings}));
        assert_eq!(ask_tcp_at(HOST, "203.0.113.100", 443).unwrap(), "one 192.0.2.200");

        // IPv6, for endpoints alone.
        let mut settings = json!({
            "HostComputeEndpoints": [one.endpoint], "SourceVIP": "2001:db8:abcd:12::200", "Flags": 3,
            "FrontendVIPs": ["2001:db8:ffff::80"],
            "PortMappings": [{"Protocol": 6, "InternalPort": PORT, "ExternalPort": 80, "Flags": 1}],
        });
        let id = client.load_balancer(&settings);
        let document = client.query("LoadBalancer", &id);
        assert_eq!((&document["Flags"], &document["PortMappings"][0]["Flags"]), (&json!(3), &json!(1)));
        let inside = ask_tcp_at(&other.namespace, "2001:db8:ffff::80", 80).unwrap();
        assert!(inside.starts_with("one ") && !inside.ends_with("::200"), "{inside}");
        ask_tcp_at("outside", "2001:db8:ffff::80", 80).unwrap_err();
        settings["PortMappings"][0]["Flags"] = json!(0);
        client.ok("LoadBalancer.Modify", &json!({"id": id, "settings": settings}));
        // Until the uplink's link-local address is usable the host forwards no IPv6 there.
        let ask = || ask_tcp_at("outside", "2001:db8:ffff::80", 80);
        eventually("it is reached from outside", || ask().is_ok());
        let outside = ask().unwrap();
        assert_eq!(outside, format!("one {}", OUTSIDE[1]));
        settings["Flags"] = json!(2);
        client.ok("LoadBalancer.Modify", &json!({"id": id, "settings": settings}));
        // A worker of the kernel makes the source address the host's own.
        eventually("it is reached as another source", || {
            ask().is_ok_and(|answer| answer == "one 2001:db8:abcd:12::200")
        });

        // What becomes of a packet is told as it is.
        let mut told = |to: &str| {
            let question = json!({"id": other.endpoint, "query": {"To": to}});
            client.ok("Endpoint.Explain", &question)
        };
        let way = told("203.0.113.100:443").to_string();
        assert!(way.contains("to 192.0.2.") && way.contains("as 192.0.2.200"), "{way}");
        client.delete("Endpoint", &one.endpoint);
        let question = json!({"id": other.endpoint, "query": {"To": "203.0.113.100:443"}});
        let way = client.ok("Endpoint.Explain", &question);
        assert!(way.to_string().contains("refused: it has no back ends"), "{way}");
    });
}

/// The host answers for it there, too, while the load balancer is there, whether the host is on the bridge or not.
#[test]
fn an_address_of_the_uplinks_own_prefix_is_found_from_outside() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let vips = ["203.0.113.88", "2001:db8:ffff::88"];
        let found =
            || vips.map(|vip| ask_tcp_at("outside", vip, 80).is_ok_and(|answer| answer.starts_with("pod ")));
        for flags in [0, 1024] {
            let mut settings = network_document(&["203.0.113.0/24", "2001:db8:ffff::/64"]);
            (settings["Type"], settings["Flags"]) = (json!("L2Bridge"), json!(flags));
            let network = client.ok("Network.Create", &json!({"settings": settings}))["id"].clone();
            let network = network.as_str().unwrap();
            let given = ["203.0.113.50", "2001:db8:ffff::50"].map(|address| json!({"IpAddress": address}));
            let pod = client.container(network, &json!({"IpConfigurations": given}));
            serve_as(&pod.namespace, PORT, "pod");
            assert_eq!(found(), [false; 2]);
            let port = json!({"Protocol": 6, "InternalPort": PORT, "ExternalPort": 80});
            let service = client.load_balancer(&json!({"HostComputeEndpoints": [pod.endpoint],
                "FrontendVIPs": vips, "PortMappings": [port]}));
            // Whoever asked in vain asks again.
            eventually("it is found", || found() == [true; 2]);
            client = kill_hcnd();
            assert_eq!(found(), [true; 2]);
            client.delete("LoadBalancer", &service);
            assert_eq!(found(), [false; 2]);
            client.delete("Network", network);
        }
    });
}
