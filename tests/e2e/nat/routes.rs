//! SDNRoute policies and SDN routes: routes in the namespaces of endpoints.

use super::*;

/// The routes of a container to somewhere, without the default ones.
fn routes(container: &Container, prefix: &str) -> Vec<String> {
    let kind = if prefix.contains(':') { "-6" } else { "-4" };
    let done = netns_exec(&container.namespace, &["ip", kind, "route", "show", prefix]);
    assert_eq!(done.code, Some(0), "{done}");
    done.stdout.lines().map(|line| line.trim().to_owned()).collect()
}

fn leads(container: &Container, prefix: &str, gateway: &str) {
    let found = routes(container, prefix);
    let wanted = format!("via {gateway} ");
    assert!(found.len() == 1 && found[0].contains(&wanted), "{prefix} by {gateway}: {found:?}");
}

/// Gives a container addresses that it has behind its own.
fn has_behind(container: &Container, addresses: [&str; 2]) {
    for address in addresses {
        let added = netns_exec(&container.namespace, &["ip", "address", "add", address, "dev", "lo"]);
        assert_eq!(added.code, Some(0), "{added}");
    }
}

fn sdn(settings: &Value) -> Value {
    policy("SDNRoute", settings)
}

#[test]
fn an_endpoints_policies_are_routes_in_its_namespace() {
    in_sandbox!(Sandbox::new(), {
        outside();
        let mut client = Client::new();
        let network = client.network(&DUAL);
        // It sends in the name of what lies behind it.
        let gateway = client.container(&network, &json!({"AdditionalParams": {"MacAddressSpoofing": "On"}}));
        // Host bits are nobody's business; a hop that cannot be one is the host; several are normal (B80).
        let policies = [
            sdn(&json!({"DestinationPrefix": "198.18.1.7/24", "NextHop": "127.10.0.34"})),
            sdn(&json!({"DestinationPrefix": "198.18.2.0/24", "NextHop": gateway.addresses[0]})),
            sdn(&json!({"DestinationPrefix": "198.18.3.0/24", "NeedEncap": true})),
            sdn(&json!({"DestinationPrefix": "198.18.4.0/24", "NextHop": "203.0.113.9"})),
            sdn(&json!({"DestinationPrefix": "2001:db8:5::/64", "NextHop": gateway.addresses[1]})),
        ];
        let a = client.container(&network, &json!({"Policies": policies}));
        let all = |a: &Container| {
            leads(a, "198.18.1.0/24", GATEWAYS[0]);
            leads(a, "198.18.2.0/24", &gateway.addresses[0]);
            leads(a, "198.18.3.0/24", GATEWAYS[0]);
            leads(a, "198.18.4.0/24", GATEWAYS[0]);
            leads(a, "2001:db8:5::/64", &gateway.addresses[1]);
        };
        all(&a);
        echo("outside", 7001);
        let mut open = Open::new(&a.namespace, OUTSIDE[0], 7001);
        modify(&mut client, "Endpoint", &a.endpoint, "Remove", &policies[1..2]);
        assert_eq!(routes(&a, "198.18.2.0/24"), [""; 0]);
        open.works();
        modify(&mut client, "Endpoint", &a.endpoint, "Add", &policies[1..2]);
        all(&a);
        let mut client = kill_hcnd();
        all(&a);
        // Packets take them: the neighbour gets what is for what lies behind it.
        has_behind(&gateway, ["198.18.2.1", "2001:db8:5::1"]);
        serve(&gateway.namespace);
        for (behind, own) in ["198.18.2.1", "2001:db8:5::1"].into_iter().zip(&a.addresses) {
            assert_eq!(seen_as(&a.namespace, behind), *own);
        }
        open.works();
        client.detach(&a.namespace, &a.endpoint);
        client.attach(&a.namespace, &a.endpoint);
        all(&a);
    });
}

#[test]
fn a_policy_wins_over_the_documents_route_to_the_same_destination() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        // It sends in the name of what lies behind it.
        let other = client.container(&network, &json!({"AdditionalParams": {"MacAddressSpoofing": "On"}}));
        has_behind(&other, ["198.18.1.1", "2001:db8:6::1"]);
        serve(&other.namespace);
        let default = json!({"NextHop": GATEWAYS[0], "DestinationPrefix": "0.0.0.0/0"});
        let routes_of = json!([default, {"NextHop": GATEWAYS[0], "DestinationPrefix": "198.18.1.0/24"}]);
        let to = json!({"DestinationPrefix": "198.18.1.0/24", "NextHop": other.addresses[0]});
        let a = client.container(&network, &json!({"Routes": routes_of, "Policies": [sdn(&to)]}));
        leads(&a, "198.18.1.0/24", &other.addresses[0]);
        modify(&mut client, "Endpoint", &a.endpoint, "Remove", &[sdn(&to)]);
        leads(&a, "198.18.1.0/24", GATEWAYS[0]);
        // So does an SDN route, and a policy over both.
        let of_ipv6 = json!({"DestinationPrefix": "2001:db8:6::/64", "NextHop": other.addresses[1]});
        let document = with_version(&json!({"HostComputeEndpoints": [a.endpoint], "Routes": [to, of_ipv6]}));
        let id = client.ok("SdnRoute.Create", &json!({"settings": document}))["id"].clone();
        leads(&a, "198.18.1.0/24", &other.addresses[0]);
        for (behind, own) in ["198.18.1.1", "2001:db8:6::1"].into_iter().zip(&a.addresses) {
            assert_eq!(seen_as(&a.namespace, behind), *own);
        }
        modify(
            &mut client,
            "Endpoint",
            &a.endpoint,
            "Add",
            &[sdn(&json!({"DestinationPrefix": "198.18.1.0/24"}))],
        );
        leads(&a, "198.18.1.0/24", GATEWAYS[0]);
        client.ok("SdnRoute.Delete", &json!({"id": id}));
        leads(&a, "198.18.1.0/24", GATEWAYS[0]);
    });
}

#[test]
fn an_sdn_route_is_there_for_its_endpoints_as_long_as_it_is() {
    in_sandbox!(Sandbox::new(), {
        wait_for_outside();
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let [a, b, c] = [(); 3].map(|()| client.container(&network, &json!({})));
        let document = |endpoints: &[&Container], list: &str, prefixes: &[&str]| {
            let ids: Vec<&str> = endpoints.iter().map(|container| container.endpoint.as_str()).collect();
            let routes: Vec<Value> = prefixes
                .iter()
                .map(|prefix| json!({"DestinationPrefix": prefix, "AutomaticEndpointMonitor": true}))
                .collect();
            with_version(&json!({"HostComputeEndpoints": ids, list: routes}))
        };
        let prefixes = ["198.18.1.0/24", "2001:db8:5::/64"];
        let has = |container: &Container, there: bool| {
            for (prefix, gateway) in prefixes.into_iter().zip(GATEWAYS) {
                match there {
                    true => leads(container, prefix, gateway),
                    false => assert_eq!(routes(container, prefix), [""; 0]),
                }
            }
        };
        let created =
            client.ok("SdnRoute.Create", &json!({"settings": document(&[&a, &b], "Setting", &prefixes)}));
        let id = created["id"].clone();
        for (container, there) in [(&a, true), (&b, true), (&c, false)] {
            has(container, there);
        }
        // Who comes back has them again; who is deleted is forgotten (B31).
        client.detach(&a.namespace, &a.endpoint);
        client.attach(&a.namespace, &a.endpoint);
        has(&a, true);
        let mut client = kill_hcnd();
        for (container, there) in [(&a, true), (&b, true), (&c, false)] {
            has(container, there);
        }
        let other = document(&[&b, &c], "Routes", &prefixes);
        client.ok("SdnRoute.Modify", &json!({"id": id, "settings": other}));
        for (container, there) in [(&a, false), (&b, true), (&c, true)] {
            has(container, there);
        }
        client.delete("Endpoint", &c.endpoint);
        assert_eq!(
            client.query("SdnRoute", id.as_str().unwrap())["HostComputeEndpoints"],
            json!([b.endpoint])
        );
        // One that is attached to nothing gets them with its link.
        let late = client.endpoint(&network, &json!({}));
        let namespace = client.namespace("Host");
        let with_late = with_version(&json!({"HostComputeEndpoints": [late, b.endpoint],
            "Routes": prefixes.map(|prefix| json!({"DestinationPrefix": prefix}))}));
        client.ok("SdnRoute.Modify", &json!({"id": id, "settings": with_late}));
        client.attach(&namespace, &late);
        let late = Container { addresses: client.addresses(&late), namespace, endpoint: late };
        has(&late, true);
        client.ok("SdnRoute.Delete", &json!({"id": id}));
        for container in [&a, &b, &late] {
            has(container, false);
        }
    });
}
