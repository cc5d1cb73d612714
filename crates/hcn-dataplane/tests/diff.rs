//! Any state can become any other, and back, through the plan that `diff` makes; the fake kernel refuses
//! every operation that comes too early or too late.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use hcn_dataplane::{
    Address, AddressSet, Addresses, Barrier, Bridge, Chaos, Claim, Dataplane, Diversion, Exceptions, Fake,
    Family, FdbEntry, Filter, FilterRule, Forwarding, Frontend, Guard, HeldPort, Home, Hop, HostSide,
    Interception, InterceptionRule, Joint, Lease, LinkId, Mac, Masquerade, Neighbour, Netns, NetnsFile,
    Object, Outbound, OutboundRule, Preserved, PreservedFront, Protocol, Resolver, Responder, Route, Sender,
    Service, Shaper, Site, Source, State, Steering, Tap, Tier, Verdict, Veth, Vxlan, Ways, diff,
};
use ipnet::IpNet;
use proptest::prelude::*;

fn netns_name(index: u8) -> String {
    format!("NS{index}")
}

/// A filter on a bridge, or for each third name on a link, with a rule for each of the sets.
fn filter(n: u8, bridge: u8, link: LinkId, sets: &[u8]) -> Filter {
    let rule = |set: &u8| FilterRule {
        name: String::new(),
        protocols: Vec::new(),
        source: vec![Addresses::Set(format!("set{set}"))],
        destination: Vec::new(),
        source_ports: Vec::new(),
        destination_ports: Vec::new(),
        verdict: Verdict::Drop,
    };
    let site = if n == 2 { Site::Link(link) } else { Site::Bridge(format!("hcn{bridge}")) };
    Filter {
        port: format!("hve{n}"),
        site,
        addresses: vec![[192, 0, 2, n].into()],
        incoming: vec![Tier { name: String::new(), rules: sets.iter().map(rule).collect() }],
        outgoing: Vec::new(),
    }
}

/// Any object out of a small world, so that states share keys and stand on each other.
fn object() -> impl Strategy<Value = Object> {
    let link = |ns: u8, name: u8| LinkId {
        netns: if ns == 0 { Netns::Host } else { Netns::Named(netns_name(ns)) },
        name: if ns == 0 && name < 2 { format!("hcn{name}") } else { format!("eth{name}") },
    };
    let prefix = |n: u8| -> IpNet { format!("192.0.{n}.0/24").parse().unwrap() };
    prop_oneof![
        (prop_oneof![Just(Family::V4), Just(Family::V6)], 0u8..3)
            .prop_map(|(family, n)| Object::Forwarding(Forwarding { family, bridge: format!("hcn{n}") })),
        (1u8..4).prop_map(|n| Object::Netns(NetnsFile {
            name: netns_name(n),
            alias: String::new(),
            from: None
        })),
        (0u8..3, 0u8..2, any::<bool>()).prop_map(|(n, mtu, ipv6)| {
            Object::Bridge(Bridge {
                name: format!("hcn{n}"),
                alias: format!("alias {mtu}"),
                mac: Mac([2, 0, 0, 0, 0, n]),
                mtu: 1400 + u32::from(mtu),
                ipv6,
                arp: true,
                proxy_arp: false,
            })
        }),
        (0u8..3, any::<bool>()).prop_map(|(n, host)| Object::Barrier(Barrier {
            bridge: format!("hcn{n}"),
            host: if host { HostSide::Closed } else { HostSide::Open },
            ways: Ways::Closed
        })),
        (0u8..3, 0u8..3).prop_map(move |(n, bridge)| Object::Home(Home {
            prefix: prefix(n),
            bridge: format!("hcn{bridge}")
        })),
        (0u8..3).prop_map(move |n| Object::Masquerade(Masquerade { prefix: prefix(n) })),
        (0u8..3, 0u8..2, 0u8..2, 0u8..4).prop_map(move |(bridge, host, claimant, ns)| {
            let host_link = LinkId::host(&format!("hcn{bridge}"));
            Object::Claim(Claim {
                link: if ns == 0 { host_link } else { LinkId { name: "lo".into(), ..link(ns, 9) } },
                address: format!("192.0.2.{host}").parse().unwrap(),
                claimant: format!("claimant {claimant}"),
            })
        }),
        (0u16..3).prop_map(|port| {
            Object::HeldPort(HeldPort { family: Family::V4, protocol: Protocol::Tcp, port: 8080 + port })
        }),
        (any::<bool>(), 0u16..3, 0u8..4, any::<bool>()).prop_map(
            |(any_address, port, backends, from_host)| {
                Object::Service(Service {
                    frontend: Frontend {
                        family: Family::V4,
                        address: (!any_address).then(|| "198.51.100.1".parse().unwrap()),
                        protocol: Protocol::Tcp,
                        port: 8080 + port,
                    },
                    backends: (0..backends).map(|n| format!("192.0.2.{n}:80").parse().unwrap()).collect(),
                    affinity: None,
                    only_from: Vec::new(),
                    from_host,
                    source: Source::Client,
                    terminates: false,
                })
            }
        ),
        (0u8..5, 0u8..3, 0u8..4, 0u8..2).prop_map(move |(n, bridge, ns, mtu)| {
            Object::Veth(Veth {
                name: format!("hve{n}"),
                alias: String::new(),
                bridge: format!("hcn{bridge}"),
                // Each pair has a peer name of its own: two cannot provide the same link.
                peer: LinkId { name: format!("eth{}", n + 2), ..link(ns, 9) },
                mac: Mac([2, 0, 0, 0, 1, n]),
                mtu: 1400 + u32::from(mtu),
                ipv6: false,
                isolated: false,
                vlan: None,
            })
        }),
        (0u8..3, 0u8..3, 0u8..2).prop_map(|(n, bridge, mtu)| {
            Object::Tap(Tap {
                name: format!("hvt{n}"),
                alias: String::new(),
                bridge: format!("hcn{bridge}"),
                mtu: 1400 + u32::from(mtu),
                owner: None,
                isolated: false,
                vlan: None,
            })
        }),
        (0u8..3, 0u8..3).prop_map(move |(n, members)| {
            Object::AddressSet(AddressSet {
                name: format!("set{n}"),
                members: (0..members).map(prefix).collect(),
            })
        }),
        (0u8..3, 0u8..3, 0u8..4, prop::collection::vec(0u8..3, 0..3))
            .prop_map(move |(n, bridge, ns, sets)| Object::Filter(filter(n, bridge, link(ns, n), &sets))),
        (0u8..5, 0u8..3, any::<bool>()).prop_map(|(n, host, autoconfigured)| {
            let address = format!("192.0.2.{host}").parse().unwrap();
            Object::Guard(Guard {
                port: format!("hve{n}"),
                mac: Mac([2, 0, 0, 0, 1, n]),
                addresses: (host > 0).then(|| vec![address]),
                autoconfigured,
            })
        }),
        (0u8..5, 0u16..3, 0u8..2).prop_map(|(n, fronts, host)| {
            let front = |port| PreservedFront {
                address: "198.51.100.1".parse().unwrap(),
                protocol: Protocol::Tcp,
                port,
                backend: format!("192.0.2.{host}").parse().unwrap(),
            };
            let fronts = (0..fronts).map(front).collect();
            Object::Preserved(Preserved { port: format!("hve{n}"), fronts })
        }),
        (0u8..5, 1u64..3).prop_map(|(n, rate)| {
            let link = LinkId::host(&format!("hve{n}"));
            Object::Shaper(Shaper { link, received: true, rate, mtu: 1500 })
        }),
        (0u8..3, 0u8..3, 0u8..2).prop_map(|(first, second, mtu)| {
            Object::Joint(Joint {
                ends: [format!("hcj{first}a"), format!("hcj{first}b")],
                alias: String::new(),
                bridges: [format!("hcn{first}"), format!("hcn{second}")],
                mtu: 1400 + u32::from(mtu),
                isolated: false,
            })
        }),
        (0u8..3, 0u8..3, 0u32..2).prop_map(|(n, bridge, vni)| {
            Object::Vxlan(Vxlan {
                name: format!("hvx{n}"),
                alias: String::new(),
                bridge: format!("hcn{bridge}"),
                vni: 4096 + vni,
                local: None,
                port: 4789,
                mtu: 1450,
            })
        }),
        (0u8..3, 0u8..3, 0u8..2, 0u8..2).prop_map(|(n, mac, host, claimant)| {
            Object::FdbEntry(FdbEntry {
                vxlan: format!("hvx{n}"),
                mac: Mac([2, 0, 0, 0, 3, mac]),
                destination: format!("203.0.113.{host}").parse().unwrap(),
                vni: None,
                claimant: format!("claimant {claimant}"),
            })
        }),
        (0u8..3, 0u8..2, 0u8..2).prop_map(|(n, mac, claimant)| {
            Object::Neighbour(Neighbour {
                link: format!("hcn{n}"),
                address: "192.0.2.9".parse().unwrap(),
                mac: Mac([2, 0, 0, 0, 3, mac]),
                routed: mac == 0,
                claimant: format!("claimant {claimant}"),
            })
        }),
        (0u8..3, 0u8..2, any::<bool>(), 0u8..2).prop_map(|(n, hops, alone, address)| {
            let hop =
                Hop { destination: "0.0.0.0/0".parse().unwrap(), link: "eth0".to_owned(), gateway: None };
            Object::Steering(Steering {
                bridge: format!("hcn{n}"),
                sender: alone.then(|| Sender {
                    endpoint: "endpoint".to_owned(),
                    addresses: vec![[192, 0, 2, address].into()],
                }),
                family: Family::V4,
                table: 1000 + u32::from(n) + if alone { 10 } else { 0 },
                hops: vec![hop; hops.into()],
            })
        }),
        (0u8..3, any::<bool>()).prop_map(|(n, dhcp)| {
            Object::Responder(Responder {
                bridge: format!("hcn{n}"),
                addresses: vec!["192.0.2.1/24".parse().unwrap()],
                dhcp,
                dns: !dhcp,
                domain: None,
            })
        }),
        (0u8..3, 0u8..2, 0u8..3).prop_map(|(n, claimant, host)| {
            Object::Lease(Lease {
                bridge: format!("hcn{n}"),
                claimant: format!("claimant {claimant}"),
                mac: Mac([2, 0, 0, 0, 4, host]),
                addresses: vec![format!("192.0.2.{host}/24").parse().unwrap()],
                gateway: None,
                routes: Vec::new(),
                servers: Vec::new(),
                search: Vec::new(),
                name: None,
                mtu: 1500,
            })
        }),
        (0u8..4, 0u8..7, 1u8..4, any::<bool>()).prop_map(move |(ns, name, host, prefix_route)| {
            Object::Address(Address {
                link: link(ns, name),
                address: format!("192.0.2.{host}/24").parse().unwrap(),
                prefix_route,
            })
        }),
        (0u8..4, 0u8..7, 0u8..3, 0u8..2).prop_map(move |(ns, name, n, gateway)| {
            Object::Route(Route {
                link: link(ns, name),
                destination: prefix(n),
                gateway: (gateway == 1).then(|| "192.0.2.1".parse().unwrap()),
                metric: 0,
            })
        }),
        (0u8..3, 0u8..3).prop_map(move |(n, rules)| {
            let rule = OutboundRule {
                family: Family::V4,
                destinations: Vec::new(),
                exceptions: vec![prefix(n)],
                source: Source::Masquerade,
            };
            Object::Outbound(Outbound {
                port: format!("hve{n}"),
                bridge: "hcn0".to_owned(),
                addresses: vec!["192.0.2.1".parse().unwrap()],
                rules: vec![rule; rules.into()],
            })
        }),
        (0u8..3, 0u8..2, 0u8..2).prop_map(|(n, bridge, host)| {
            Object::Diversion(Diversion {
                port: format!("hve{n}"),
                bridge: format!("hcn{bridge}"),
                addresses: vec![format!("192.0.2.{host}").parse().unwrap()],
                rules: Vec::new(),
            })
        }),
        (1u8..4, 2u8..5, 0u16..2).prop_map(move |(ns, name, port)| {
            let rule = InterceptionRule {
                outbound: Some(15_001 + port),
                inbound: None,
                protocols: Vec::new(),
                local: Vec::new(),
                remote: Vec::new(),
                local_ports: Vec::new(),
                remote_ports: Vec::new(),
                user: Some(1337),
                outbound_exceptions: Exceptions::default(),
                inbound_exceptions: Exceptions::default(),
            };
            Object::Interception(Interception { link: link(ns, name), rules: vec![rule] })
        }),
        (1u8..4, 0u8..2).prop_map(|(n, text)| {
            Object::Resolver(Resolver {
                netns: netns_name(n),
                contents: format!("nameserver 192.0.2.{text}\n"),
            })
        }),
    ]
}

/// A state in which everything stands on something: objects without their parents are left out.
fn state() -> impl Strategy<Value = State> {
    prop::collection::vec(object(), 0..40).prop_map(|objects| {
        let wanted: State = objects.into_iter().collect();
        let mut state = State::new();
        for (_, object) in wanted.iter() {
            if state.parents(object).iter().all(Option::is_some) {
                state.insert(object.clone());
            }
        }
        state
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_the_difference_leads_from_one_state_to_the_other_and_back(a in state(), b in state()) {
        let plan = diff(&a, &b);
        let mut fake = Fake { state: a.clone(), ..Fake::new() };
        let applied = fake.apply(&plan).map_err(|e| TestCaseError::fail(format!("{e}: {} in {plan}", e.source)))?;
        prop_assert_eq!(&fake.state, &b);
        fake.undo(applied).map_err(|e| TestCaseError::fail(format!("{e} in {plan}")))?;
        prop_assert_eq!(&fake.state, &a);
    }

    #[test]
    fn equal_states_need_no_plan(a in state()) {
        prop_assert!(diff(&a, &a.clone()).is_empty());
    }

    #[test]
    fn a_plan_that_fails_anywhere_leaves_everything_as_it_was(a in state(), b in state()) {
        let plan = diff(&a, &b);
        for k in 0..plan.ops.len() {
            let mut chaos = Chaos::new(Fake { state: a.clone(), ..Fake::new() });
            chaos.fail_at = Some(k);
            let error = chaos.apply(&plan).map(|_| ()).unwrap_err();
            prop_assert_eq!(error.index, k);
            prop_assert!(error.undo.is_none(), "{:?}", error.undo);
            prop_assert_eq!(&chaos.inner.state, &a);
        }
    }
}
