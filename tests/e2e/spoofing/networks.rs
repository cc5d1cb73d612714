//! The same on networks of other types: where the host routes, where endpoints do not see each other, and over a tunnel.

use hcn_tests::Node;
use hcn_tests::client::network_document;
use hcn_tests::overlay::{container, overlay, remote};
use hcn_tests::traffic::{HOST, wait_for_outside};

use super::*;
use crate::frames::{addressed, arriving_on};

/// The prefixes of the uplink and the gateways there, and those that are the network's own.
const PREFIXES: [([&str; 2], [&str; 2]); 2] =
    [(["203.0.113.0/24", "2001:db8:ffff::/64"], ["203.0.113.1", "2001:db8:ffff::1"]), (DUAL, GATEWAYS)];

/// Whether an honest endpoint can lie, and one that may send in any name cannot: to each other, or to the host.
fn held_to_its_name(kind: &str) {
    wait_for_outside();
    for (prefixes, gateways) in PREFIXES {
        let mut client = Client::new();
        let mut settings = network_document(&prefixes);
        settings["Type"] = json!(kind);
        let created = client.ok("Network.Create", &json!({"settings": settings}));
        let network = created["id"].as_str().unwrap();
        let [honest, free, other] =
            ["Off", "On", "Off"].map(|word| client.container(network, &spoofing(word)));
        let [sender, of_free, of_other] =
            [&honest, &free, &other].map(|container| Sender::by(&mut client, container, gateways));
        let bridge = format!("hcn{}", network[..8].to_lowercase());
        // Those of a tunnel are heard by the host alone.
        let receiver = match kind {
            "L2Tunnel" => (HOST, bridge.as_str()),
            _ => (other.namespace.as_str(), "eth0"),
        };
        let as_said = || {
            let own = sender.honest();
            assert_eq!(arriving_on(&honest.namespace, receiver, &own), names(&own), "{kind} {prefixes:?}");
            let lies = sender.lying(of_other.v4, of_other.v6);
            let none = Vec::<&str>::new();
            assert_eq!(arriving_on(&honest.namespace, receiver, &lies), none, "{kind} {prefixes:?}");
            let lies = of_free.lying(of_other.v4, of_other.v6);
            assert_eq!(arriving_on(&free.namespace, receiver, &lies), names(&lies), "{kind} {prefixes:?}");
        };
        for seen in ["1", "0"] {
            for name in ["iptables", "ip6tables"] {
                assert!(set_sysctl(&format!("net.bridge.bridge-nf-call-{name}"), seen));
            }
            as_said();
        }
        let mut client = kill_hcnd_and(as_said);
        as_said();
        client.delete("Network", network);
        for container in [&honest, &free, &other] {
            client.delete("Namespace", &container.namespace);
        }
    }
}

#[test]
fn an_endpoint_of_a_bridge_to_the_segment_sends_in_its_own_name_only() {
    in_sandbox!(Sandbox::new(), { held_to_its_name("L2Bridge") });
}

#[test]
fn an_endpoint_of_a_tunnel_to_the_segment_sends_in_its_own_name_only() {
    in_sandbox!(Sandbox::new(), { held_to_its_name("L2Tunnel") });
}

/// To a neighbour on its host, and to one on another host.
#[test]
fn an_endpoint_of_an_overlay_sends_in_its_own_name_only() {
    in_sandbox!(Sandbox::new().nodes(2), {
        wait_for_outside();
        let nodes = [1, 2].map(Node::new);
        let mut clients = nodes.map(Node::client);
        let networks = [0, 1].map(|at: usize| overlay(&mut clients[at], 1, 4096, &[]));
        let gateways = ["10.44.1.1", "fd44:1::1"];
        let given = |last: u8, word: &str| {
            let addresses = [format!("10.44.1.{last}"), format!("fd44:1::{last}")];
            let mut settings = spoofing(word);
            settings["IpConfigurations"] = addresses.map(|address| json!({"IpAddress": address})).into();
            settings
        };
        let [honest, free, other] = [(10, "Off"), (11, "On"), (12, "Off")]
            .map(|(last, word)| clients[0].container(&networks[0], &given(last, word)));
        let away = container(&mut clients[1], &networks[1], 1, 20);
        let [sender, of_free, of_other] =
            [&honest, &free, &other].map(|container| Sender::by(&mut clients[0], container, gateways));
        let of_away = Sender::by(&mut clients[1], &away, gateways);
        let mac = hcn_tests::overlay::mac(&mut clients[1], &away.endpoint);
        remote(&mut clients[0], &networks[0], &away.addresses, &mac, &nodes[1].addresses()[0]);
        let receivers = [(&of_other, other.namespace.clone()), (&of_away, nodes[1].place(&away.namespace))];
        let as_said = || {
            for (to, place) in &receivers {
                let own = addressed(to.mac, sender.honest());
                assert_eq!(arriving(&honest.namespace, place, &own), names(&own), "{place}");
                let lies = addressed(to.mac, sender.lying(to.v4, to.v6));
                assert_eq!(arriving(&honest.namespace, place, &lies), Vec::<&str>::new(), "{place}");
                let lies = addressed(to.mac, of_free.lying(to.v4, to.v6));
                assert_eq!(arriving(&free.namespace, place, &lies), names(&lies), "{place}");
            }
        };
        as_said();
        let _ = kill_hcnd_and(as_said);
        as_said();
    });
}
