//! Policy ProviderAddress: as whom hosts send to each other, and whom they send to, while endpoints are there.

use super::*;

/// More addresses of the hosts on the segment.
const MORE: [[&str; 2]; 2] = [["203.0.113.71", "2001:db8:ffff::71"], ["203.0.113.72", "2001:db8:ffff::72"]];

/// Gives the hosts more addresses, which nobody chooses by itself.
fn give_addresses() {
    for (number, addresses) in [1, 2].into_iter().zip(MORE) {
        let [v4, v6] = [format!("{}/32", addresses[0]), format!("{}/128", addresses[1])];
        let added = Node::new(number).run(&["ip", "address", "add", &v4, "dev", "eth0"]);
        assert_eq!(added.code, Some(0), "{added}");
        let unused = ["nodad", "preferred_lft", "0"];
        let added =
            Node::new(number).run(&[&["ip", "address", "add", &v6, "dev", "eth0"][..], &unused].concat());
        assert_eq!(added.code, Some(0), "{added}");
    }
}

/// Lets the second host hear nothing of overlays but what is so: `saddr ADDRESS` or `daddr ADDRESS`.
fn hears_only(end: &str, address: &str) {
    let family = if address.contains(':') { "ip6" } else { "ip" };
    let rules = format!(
        "add table inet outer; delete table inet outer; add table inet outer; \
         add chain inet outer input {{ type filter hook input priority -10; }}; \
         add rule inet outer input udp dport 4789 {family} {end} {address} accept; \
         add rule inet outer input udp dport 4789 drop"
    );
    let done = Node::new(2).run(&["nft", &rules]);
    assert_eq!(done.code, Some(0), "{done}");
}

fn provider(address: &str) -> Value {
    json!([{"Type": "ProviderAddress", "Settings": {"ProviderAddress": address}}])
}

#[test]
fn hosts_send_with_the_provider_address_that_their_network_has_now() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        give_addresses();
        let mut clients = [1, 2].map(|number| Node::new(number).client());
        for (family, subnet) in FAMILIES.into_iter().zip([1, 2]) {
            let vsid = 4096 + u32::from(subnet);
            let own = [1, 2].map(|number| Node::new(number).addresses()[family].clone());
            let networks = [0, 1].map(|at: usize| {
                overlay(&mut clients[at], subnet, vsid, provider(&own[at]).as_array().unwrap())
            });
            let (containers, _) = populate(&mut clients, &networks, subnet, family);
            let places = places(&containers);
            places.iter().for_each(|place| serve(place));
            let more = MORE[0][family];
            let sends_as = |address: &str, other: &str| {
                hears_only("saddr", address);
                see_each_other(&containers, &places);
                hears_only("saddr", other);
                assert!(is_silent(&places[0], &containers[1].addresses[0]), "as {other}");
            };
            sends_as(&own[0], more);
            policies(&mut clients[0], "Update", &networks[0], &provider(more));
            sends_as(more, &own[0]);
            clients[0] = kill_hcnd();
            sends_as(more, &own[0]);
            // Without one there is that of the uplink, whose family is IPv4.
            policies(&mut clients[0], "Remove", &networks[0], &provider(more));
            for _ in 0..2 {
                if family == 0 {
                    sends_as(&own[0], more);
                } else {
                    hears_only("saddr", more);
                    assert!(is_silent(&places[0], &containers[1].addresses[0]));
                }
                clients[0] = kill_hcnd();
            }
            policies(&mut clients[0], "Add", &networks[0], &provider(more));
            sends_as(more, &own[0]);
        }
    });
}

#[test]
fn frames_have_the_size_that_the_family_of_provider_addresses_leaves() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let (mut clients, networks, containers, remotes) = stretched(4096, &[]);
        let places = places(&containers);
        let passes = |size: &str| {
            let to = &containers[1].addresses[0];
            netns_exec(&places[0], &["ping", "-c1", "-W1", "-M", "do", "-s", size, to]).code == Some(0)
        };
        assert!(passes("1422") && !passes("1423"));
        for (family, whole, larger) in [(1, "1402", "1403"), (0, "1422", "1423")] {
            for at in [0, 1] {
                let [own, other] = [at, 1 - at].map(|at| Node::new(at as u8 + 1).addresses()[family].clone());
                policies(&mut clients[at], "Update", &networks[at], &provider(&own));
                change(&mut clients[at], "Endpoint", &remotes[at], "Update", &provider(&other));
            }
            assert!(passes(whole) && !passes(larger), "{family}");
            clients[0] = kill_hcnd();
            assert!(passes(whole) && !passes(larger), "{family}");
        }
    });
}

#[test]
fn an_endpoint_of_another_host_is_where_its_policy_says_now() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        give_addresses();
        let (mut clients, _, containers, remotes) = stretched(4096, &[]);
        let places = places(&containers);
        places.iter().for_each(|place| serve(place));
        let own = Node::new(2).addresses()[0].clone();
        let more = MORE[1][0];
        let is_at = |address: &str, other: &str| {
            hears_only("daddr", address);
            see_each_other(&containers, &places);
            hears_only("daddr", other);
            assert!(is_silent(&places[0], &containers[1].addresses[0]), "at {other}");
        };
        is_at(&own, more);
        change(&mut clients[0], "Endpoint", &remotes[0], "Update", &provider(more));
        is_at(more, &own);
        clients[0] = kill_hcnd();
        is_at(more, &own);
        // Without one nobody knows where it is.
        change(&mut clients[0], "Endpoint", &remotes[0], "Remove", &provider(more));
        for _ in 0..2 {
            for address in [&own, more] {
                hears_only("daddr", address);
                assert!(is_silent(&places[0], &containers[1].addresses[0]));
            }
            clients[0] = kill_hcnd();
        }
        change(&mut clients[0], "Endpoint", &remotes[0], "Add", &provider(&own));
        is_at(&own, more);
    });
}
