//! Links of the host that networks stand on: made, taken back, failed at each message, taken over; the link afterwards
//! as it was.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::collections::BTreeSet;
use std::time::Instant;

use common::*;
use hcn_dataplane::{
    Address, Bridge, Dataplane, Enslaved, HostRoute, Joint, Mac, Object, Op, Plan, ProxyNeighbour, Sharing,
    State, Sublink, Veth, Vlan, diff,
};
use hcn_linux::Linux;

const UPLINK: &str = "up0";
const UPLINK_MAC: Mac = Mac([2, 0, 0, 0, 9, 1]);

/// An uplink with all sorts of addresses and routes, and a gateway behind it.
fn add_uplink() {
    sh("ip netns add far; ip -n far link set lo up");
    sh("ip link add up0 address 02:00:00:00:09:01 type veth peer name up1 netns far");
    sh("ip -n far addr add 192.0.2.1/24 dev up1; ip -n far addr add 2001:db8::1/64 dev up1 nodad");
    sh("ip -n far link set up1 up; ip link set up0 up");
    sh("ip addr add 192.0.2.10/24 dev up0; ip addr add 192.0.2.11/24 dev up0 label up0:1");
    sh("ip addr add 192.0.2.99/32 dev up0; ip addr add 2001:db8::10/64 dev up0 nodad");
    sh("ip route add default via 192.0.2.1 dev up0 proto dhcp metric 100 src 192.0.2.10");
    sh("ip route add 203.0.113.0/24 dev up0 proto static mtu 1400");
    sh(
        "ip route add 198.51.100.0/24 proto static nexthop via 192.0.2.1 dev up0 nexthop via 192.0.2.2 dev up0",
    );
    sh("ip route add default via 192.0.2.1 dev up0 table 77");
    sh("ip -6 route add default via 2001:db8::1 dev up0 metric 1024 src 2001:db8::10");
    let until = soon();
    while !(answers("192.0.2.1") && answers("2001:db8::1")) {
        assert!(Instant::now() < until, "the gateway answers");
    }
}

fn answers(address: &str) -> bool {
    succeeds(&format!("ping -n -c 1 -W 1 {address}"))
}

/// What is looked at besides what all tests look at.
fn all() -> BTreeSet<String> {
    let mut lines = snapshot();
    // Whose the table is changes with each start.
    lines.retain(|line| !line.starts_with("nft  flags") && !line.starts_with("nft  table"));
    let mut add = |what: &str, command: &str| {
        lines.extend(sh(command).lines().map(|line| format!("{what} {}", line.trim())));
    };
    add("proxy4", "ip -4 neigh show proxy");
    add("proxy6", "ip -6 neigh show proxy");
    add(
        "routes",
        "ip route show table all proto static; ip route show table all proto dhcp; ip route show table 77",
    );
    add("address", "ip -br -4 addr show dev up0; ip -o -4 addr show dev up0");
    add("vlans", "bridge -j vlan show || true");
    for file in ["ipv4/neigh/up0/proxy_delay", "ipv6/neigh/up0/proxy_delay", "ipv6/conf/up0/proxy_ndp"] {
        add(file, &format!("cat /proc/sys/net/{file}"));
    }
    lines
}

fn settles(wanted: &BTreeSet<String>, what: &str) {
    settles_as(wanted, all, what);
}

fn rests() -> BTreeSet<String> {
    at_rest();
    all()
}

fn uplink_bridge() -> Object {
    Object::Bridge(Bridge {
        name: BRIDGE.into(),
        alias: "hcn network 1".into(),
        mac: UPLINK_MAC,
        mtu: 1500,
        ipv6: true,
        arp: true,
        proxy_arp: false,
    })
}

fn enslaved() -> Vec<Object> {
    let route = |destination: &str, gateway: &str, metric| HostRoute {
        link: UPLINK.into(),
        destination: destination.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        metric,
    };
    let addresses = ["192.0.2.10/24", "2001:db8::10/64"];
    vec![
        uplink_bridge(),
        Object::Enslaved(Enslaved {
            link: UPLINK.into(),
            bridge: BRIDGE.into(),
            addresses: addresses.map(|address| address.parse().unwrap()).to_vec(),
            routes: vec![route("0.0.0.0/0", "192.0.2.1", 100), route("::/0", "2001:db8::1", 1024)],
        }),
    ]
}

fn sublink(n: u8, netns: &str) -> Vec<Object> {
    let link = eth0(netns);
    vec![
        Object::Sublink(Sublink {
            link: link.clone(),
            alias: format!("hcn endpoint {n}"),
            parent: UPLINK.into(),
            sharing: Sharing::Macvlan,
            mac: Mac([2, 0, 0, 0, 2, n]),
            mtu: 1500,
            ipv6: true,
        }),
        Object::Address(Address {
            link,
            address: format!("192.0.2.{n}/24").parse().unwrap(),
            prefix_route: true,
        }),
    ]
}

fn proxies() -> Vec<Object> {
    let proxy = |link: &str, address: &str, claimant: &str| {
        Object::ProxyNeighbour(ProxyNeighbour {
            link: link.into(),
            address: address.parse().unwrap(),
            claimant: claimant.into(),
        })
    };
    vec![
        proxy(UPLINK, "192.0.2.50", "one"),
        proxy(UPLINK, "2001:db8::50", "one"),
        proxy(UPLINK, "2001:db8::50", "two"),
        proxy(BRIDGE, "2001:db8::1", "one"),
    ]
}

/// A port of the bridge that carries a VLAN of the uplink.
fn vlan_link(id: u16) -> Object {
    Object::Vlan(Vlan {
        name: format!("hvl{id:08x}"),
        alias: "hcn network 1".into(),
        parent: UPLINK.into(),
        id,
        bridge: BRIDGE.into(),
        mtu: 1500,
    })
}

/// An endpoint whose port is in a VLAN, or in none.
fn veth_in(vlan: Option<u16>) -> Object {
    let Object::Veth(veth) = veth(20, "A") else { unreachable!() };
    Object::Veth(Veth { vlan, ..veth })
}

/// Whether the kernel has VLANs: links, and bridges that filter by them.
fn has_vlans() -> [bool; 2] {
    [
        "ip link add p0 link up0 type vlan id 9 && ip link del p0",
        "ip link add p0 type bridge vlan_filtering 1 && ip -d link show p0 | grep 'vlan_filtering 1'; \
         found=$?; ip link del p0 && exit $found",
    ]
    .map(succeeds)
}

fn reachable() {
    for address in ["192.0.2.1", "2001:db8::1"] {
        assert!(answers(address), "{address}");
    }
}

/// The plan with each of its messages refused once, and done and taken back: every time all is as before.
fn fail_everywhere(linux: &mut Linux, name: &str, plan: &Plan) -> usize {
    let before = rests();
    for k in 0.. {
        linux.fail_message(k);
        match linux.apply(plan) {
            Ok(applied) => {
                assert!(linux.fault_pending(), "{name}: the refusal of message {k} was not noticed");
                linux.undo(applied).unwrap();
                settles(&before, &format!("{name} was taken back"));
                return k;
            }
            Err(error) => {
                assert!(error.undo.is_none(), "{name}, message {k}: {error}: {:?}", error.undo);
                settles(&before, &format!("{name}, message {k} refused ({error}: {})", error.source));
            }
        }
        reachable();
    }
    unreachable!()
}

/// A plan that the kernel has no means for fails, and changes nothing.
fn lacks(linux: &mut Linux, name: &str, plan: &Plan) {
    let before = rests();
    let Err(error) = linux.apply(plan) else { panic!("{name}: the kernel has it") };
    assert!(error.undo.is_none(), "{name}: {error}: {:?}", error.undo);
    settles(&before, name);
}

fn removal(objects: &[Object]) -> Plan {
    diff(&objects.iter().cloned().collect(), &State::new())
}

#[test]
fn the_uplink_is_as_before_whatever_fails() {
    isolated("the_uplink_is_as_before_whatever_fails", || {
        add_uplink();
        let mut linux = start();
        let mut tried = 0;
        let a = [vec![netns("A")], sublink(20, "A")].concat();
        let cases = [
            ("a port", vec![], enslaved()),
            ("an interface on it", vec![netns("A")], sublink(20, "A")),
            ("an interface with its namespace", vec![], a),
            ("answers on it", vec![bridge()], proxies()),
            ("answers on it, with the bridge", vec![], [vec![bridge()], proxies()].concat()),
        ];
        for (name, before, objects) in cases {
            let bare = rests();
            done(&mut linux, &create(before.clone()));
            tried += fail_everywhere(&mut linux, name, &create(objects.clone()));
            let start = Instant::now();
            done(&mut linux, &create(objects.clone()));
            println!("measured: {name} in {:?}", start.elapsed());
            reachable();
            tried += fail_everywhere(&mut linux, &format!("without {name}"), &removal(&objects));
            done(&mut linux, &removal(&objects));
            done(&mut linux, &removal(&before));
            settles(&bare, &format!("{name} is gone"));
        }
        println!("measured: {tried} messages refused, one at a time");
    });
}

#[test]
fn vlans_are_as_before_whatever_fails() {
    isolated("vlans_are_as_before_whatever_fails", || {
        add_uplink();
        let [links, filtering] = has_vlans();
        let mut linux = start();
        let bare = rests();
        let ground = vec![bridge(), netns("A")];
        done(&mut linux, &create(ground.clone()));
        let mut tried = 0;
        if links {
            tried += fail_everywhere(&mut linux, "a VLAN", &create([vlan_link(100)]));
            done(&mut linux, &create([vlan_link(100)]));
            assert!(sh("ip -d link show dev hvl00000064").contains("vlan protocol 802.1Q id 100"));
            tried += fail_everywhere(&mut linux, "without a VLAN", &removal(&[vlan_link(100)]));
            done(&mut linux, &removal(&[vlan_link(100)]));
        } else {
            lacks(&mut linux, "a VLAN", &create([vlan_link(100)]));
        }
        if filtering {
            tried += fail_everywhere(&mut linux, "a port in a VLAN", &create([veth_in(Some(10))]));
            let mut there = None;
            for vlan in [None, Some(10), Some(20), None, Some(1), None] {
                let states = [there, Some(vlan)].map(|vlan| vlan.map(veth_in).into_iter().collect::<State>());
                let plan = diff(&states[0], &states[1]);
                tried += fail_everywhere(&mut linux, &format!("from {there:?} to {vlan:?}"), &plan);
                done(&mut linux, &plan);
                assert_eq!(vlans_of("hve00000014"), [vlan.unwrap_or(1)], "{plan:?}");
                there = Some(vlan);
            }
            tried += fail_everywhere(&mut linux, "without the port", &removal(&[veth_in(None)]));
            done(&mut linux, &removal(&[veth_in(None)]));
            tried += vlan_of_a_second_bridge(&mut linux);
        } else {
            lacks(&mut linux, "a port in a VLAN", &create([veth_in(Some(10))]));
        }
        done(&mut linux, &removal(&ground));
        settles(&bare, "all is gone");
        println!("measured: {tried} messages refused, one at a time");
    });
}

/// A network of two bridges: what a port of the second one sends reaches the first one with its VLAN.
fn vlan_of_a_second_bridge(linux: &mut Linux) -> usize {
    let (Object::Bridge(first), Object::Veth(port)) = (bridge(), veth_in(Some(10))) else { unreachable!() };
    let second = Bridge { name: "hcn00000001-1".into(), mac: Mac([2, 0, 0, 0, 9, 9]), ..first };
    let joint = Joint {
        ends: ["hcj00000001".into(), "hck00000001".into()],
        alias: "hcn network 1".into(),
        bridges: [BRIDGE.into(), second.name.clone()],
        mtu: 1500,
        isolated: false,
    };
    let port = Object::Veth(Veth { bridge: second.name.clone(), ..port });
    let objects = [Object::Bridge(second), Object::Joint(joint), port];
    let tried = fail_everywhere(linux, "a VLAN on a second bridge", &create(objects.clone()));
    done(linux, &create(objects.clone()));
    for end in ["hcj00000001", "hck00000001"] {
        assert_eq!(vlans_of(end), [1, 10], "{end}");
    }
    for name in [BRIDGE, "hcn00000001-1"] {
        assert!(sh(&format!("ip -d link show dev {name}")).contains("vlan_filtering 1"), "{name}");
    }
    done(linux, &removal(&objects));
    tried
}

/// The VLANs that a port is in.
fn vlans_of(port: &str) -> Vec<u16> {
    let listed = sh(&format!("bridge -j vlan show dev {port}"));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let listed = listed[0]["vlans"].as_array().unwrap();
    listed.iter().map(|vlan| vlan["vlan"].as_u64().unwrap().try_into().unwrap()).collect()
}

/// Whoever was in the midst of changing a VLAN, or changed it since: another start sees what is there, and puts it right.
#[test]
fn the_vlan_of_a_port_is_taken_over_as_it_is() {
    isolated("the_vlan_of_a_port_is_taken_over_as_it_is", || {
        add_uplink();
        let wanted = |vlan| -> State { [bridge(), netns("A"), veth_in(vlan)].into_iter().collect() };
        let mut linux = start();
        if !has_vlans()[1] {
            done(&mut linux, &diff(&State::new(), &wanted(None)));
            drop(linux);
            let (_, found) = start_with(&wanted(Some(10)));
            assert_eq!(
                found,
                wanted(None),
                "no kernel without bridges that filter has put a port into a VLAN"
            );
            return;
        }
        done(&mut linux, &diff(&State::new(), &wanted(Some(10))));
        let there = rests();
        drop(linux);
        for (by_hand, seen) in [
            ("true", Some(10)),
            (
                "bridge vlan add dev hve00000014 vid 30 pvid untagged; bridge vlan del dev hve00000014 vid 10",
                Some(30),
            ),
            (
                "bridge vlan add dev hve00000014 vid 1 pvid untagged; bridge vlan del dev hve00000014 vid 10",
                Some(1),
            ),
        ] {
            sh(by_hand);
            let (mut linux, found) = start_with(&wanted(Some(10)));
            assert_eq!(found, wanted(seen), "{by_hand}");
            done(&mut linux, &diff(&found, &wanted(Some(10))));
            settles(&there, by_hand);
        }
        let (mut linux, found) = start_with(&wanted(None));
        assert_eq!(found, wanted(Some(10)));
        done(&mut linux, &diff(&found, &wanted(None)));
        assert_eq!(vlans_of("hve00000014"), [1]);
    });
}

#[test]
fn what_stands_on_the_uplink_is_taken_over_or_goes() {
    isolated("what_stands_on_the_uplink_is_taken_over_or_goes", || {
        add_uplink();
        let mut linux = start();
        let before = rests();
        let objects = [vec![netns("A")], vec![bridge()], sublink(20, "A"), proxies()].concat();
        done(&mut linux, &create(objects.clone()));
        let there = rests();
        let wanted: State = objects.iter().cloned().collect();
        drop(linux);
        let (mut linux, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted), Plan::default());
        settles(&there, "taken over");
        // The claims were counted anew.
        let proxies = proxies();
        done(&mut linux, &Plan { ops: vec![Op::Remove { object: proxies[1].clone(), implied: false }] });
        assert!(sh("ip -6 neigh show proxy").contains("2001:db8::50 dev up0"));
        done(&mut linux, &Plan { ops: vec![Op::Remove { object: proxies[2].clone(), implied: false }] });
        assert!(!sh("ip -6 neigh show proxy").contains("2001:db8::50"));
        drop(linux);
        // Only the namespace is wanted from here on.
        let kept: State = [netns("A")].into_iter().collect();
        let (mut linux, _) = start_with(&kept);
        assert_eq!(sh("ip -n A -br link").lines().count(), 1, "the loopback");
        done(&mut linux, &removal(&[netns("A")]));
        // What was changed for an earlier process stays: nobody knows what it was.
        sh("echo 0 > /proc/sys/net/ipv6/conf/up0/proxy_ndp");
        for family in ["ipv4", "ipv6"] {
            sh(&format!("echo 80 > /proc/sys/net/{family}/neigh/up0/proxy_delay"));
        }
        settles(&before, "nothing is left");
    });
}

#[test]
fn a_port_is_taken_over_gone_on_with_or_given_back() {
    isolated("a_port_is_taken_over_gone_on_with_or_given_back", || {
        add_uplink();
        let mut linux = start();
        let before = rests();
        let wanted: State = enslaved().into_iter().collect();
        done(&mut linux, &create(enslaved()));
        let there = rests();
        drop(linux);
        let (linux, found) = start_with(&wanted);
        assert_eq!(diff(&found, &wanted), Plan::default());
        settles(&there, "taken over");
        drop(linux);
        // As a kill in the midst of the move leaves it.
        for halfway in [
            "ip addr add 192.0.2.10/24 dev up0",
            "ip addr add 192.0.2.10/24 dev up0; ip addr del 192.0.2.11/24 dev hcn00000001; \
             ip addr add 192.0.2.11/24 dev up0 label up0:1",
            "ip link set up0 nomaster",
        ] {
            sh(halfway);
            let (mut linux, found) = start_with(&wanted);
            assert!(found.get(&enslaved()[1].key()).is_none(), "{halfway}");
            done(&mut linux, &diff(&found, &wanted));
            settles(&there, halfway);
            reachable();
        }
        // Nobody wants it any more.
        drop(start());
        settles(&before, "given back");
        reachable();
    });
}

#[test]
fn a_bridge_that_is_lost_is_made_up_for_by_what_was_noted() {
    isolated("a_bridge_that_is_lost_is_made_up_for_by_what_was_noted", || {
        add_uplink();
        let mut linux = start();
        done(&mut linux, &create(enslaved()));
        sh("ip link del hcn00000001");
        drop(linux);
        let wanted: State = enslaved().into_iter().collect();
        let (mut linux, found) = start_with(&wanted);
        done(&mut linux, &diff(&found, &wanted));
        reachable();
        done(&mut linux, &removal(&enslaved()));
        reachable();
    });
}

#[test]
fn the_settings_and_answers_of_others_stay() {
    isolated("the_settings_and_answers_of_others_stay", || {
        add_uplink();
        sh("ip -6 neigh add proxy 2001:db8::50 dev up0");
        sh("echo 1 > /proc/sys/net/ipv6/conf/up0/proxy_ndp");
        let mut linux = start();
        let before = rests();
        let objects = [vec![bridge()], proxies()].concat();
        done(&mut linux, &create(objects.clone()));
        done(&mut linux, &removal(&objects));
        settles(&before, "theirs");
    });
}
