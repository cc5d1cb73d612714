//! What the doctor finds: a host as it should be, and one thing after another that is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

mod foreign;

use std::sync::Arc;
use std::time::Duration;

use hcn_core::doctor::{self, Circumstances, Finding, Severity};
use hcn_core::{Action, Context, Engine, Failure, Registry, Settings, compile};
use hcn_dataplane::{HostAddress, HostFacts, HostLink, SeenLink, SeenNetns, SeenRoute, Survey, Use};
use hcn_schema::Guid;
use hcn_schema::call::{Answer, Call, Kind, Verb};
use hcn_schema::hns::HnsVersion;
use serde_json::{Value, json};

const MAIN: u32 = 254;

/// A service on a host with one link.
#[derive(Default)]
struct Service {
    engine: Engine,
    published: Registry,
    calls: u64,
}

impl Service {
    fn call(&mut self, kind: Kind, verb: Verb, fails: bool) -> Guid {
        self.calls += 1;
        let address =
            |link: &str, text: &str| HostAddress { link: link.to_owned(), address: text.parse().unwrap() };
        let host = HostFacts {
            addresses: vec![address("eth0", "203.0.113.10/24"), address("eth1", "203.0.114.10/24")],
            uplink: Some("eth0".to_owned()),
            links: ["eth0", "eth1"]
                .map(|name| HostLink { name: name.to_owned(), mtu: 1500, ..HostLink::default() })
                .into(),
            ..HostFacts::default()
        };
        let context = Context {
            now: Duration::ZERO,
            filetime: 1,
            fresh_id: Guid::random_from(self.calls, 7),
            host: Arc::new(host),
            caller_uid: 0,
            caller_pid: None,
            settings: Arc::new(Settings::default()),
            hns: HnsVersion::NEWEST,
        };
        let mut actions = self.engine.submit(self.calls, Call { kind, verb }, context);
        let mut id = Guid::ZERO;
        while !actions.is_empty() {
            match actions.remove(0) {
                Action::Start(job) => {
                    let failure = || Failure {
                        message: "refused".to_owned(),
                        left: Some(job.plan.clone()),
                        code: None,
                    };
                    let result = if fails { Err(failure()) } else { Ok(()) };
                    actions.extend(self.engine.finish(job.ticket, result, Duration::ZERO));
                }
                Action::Publish(change) => self.published.apply(&change),
                Action::Announce(_) => {}
                Action::Reply(_, Ok(Answer::Entity { id: made, .. })) => id = made,
                Action::Reply(_, answer) => assert!(answer.is_ok() || fails, "{answer:?}"),
            }
        }
        id
    }

    fn create(&mut self, kind: Kind, network: Option<Guid>, mut document: Value) -> Guid {
        document["SchemaVersion"] = json!({"Major": 2, "Minor": 16});
        let (id, document) = (None, Some(document.to_string()));
        let parent = network.map(|id| hcn_schema::call::Reference { id, incarnation: None });
        self.call(kind, Verb::Create { id, parent, document }, false)
    }

    /// A network of type NAT in both families, and a container with a published port.
    fn with_container(prefixes: &[&str]) -> Self {
        let mut service = Self::default();
        let network = service.network(prefixes);
        let namespace = service.create(Kind::Namespace, None, json!({"Type": "Host"}));
        let port = json!({"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}});
        let endpoint = service.create(Kind::Endpoint, Some(network), json!({"Policies": [port]}));
        let request =
            json!({"ResourceType": "Endpoint", "RequestType": "Add", "Settings": {"EndpointId": endpoint}});
        let target = hcn_schema::call::Reference { id: namespace, incarnation: None };
        service.call(Kind::Namespace, Verb::Modify { target, document: Some(request.to_string()) }, false);
        service
    }

    fn network(&mut self, prefixes: &[&str]) -> Guid {
        let subnets: Vec<Value> = prefixes.iter().map(|prefix| json!({"IpAddressPrefix": prefix})).collect();
        self.create(
            Kind::Network,
            None,
            json!({"Type": "NAT", "Name": "web", "Ipams": [{"Subnets": subnets}]}),
        )
    }

    fn bridge(&self) -> String {
        self.published.networks.iter().next().unwrap().bridge.clone()
    }

    /// The host as it should be for this service.
    fn host(&self) -> Survey {
        let wanted = compile::all(&self.published);
        let mut links = vec![
            SeenLink { name: "lo".to_owned(), index: 1, loopback: true, ..SeenLink::default() },
            SeenLink { name: "eth0".to_owned(), index: 2, ..SeenLink::default() },
            SeenLink { name: "eth1".to_owned(), index: 3, ..SeenLink::default() },
        ];
        for (_, object) in wanted.iter() {
            let name = match object {
                hcn_dataplane::Object::Bridge(bridge) => &bridge.name,
                hcn_dataplane::Object::Veth(veth) => &veth.name,
                _ => continue,
            };
            links.push(SeenLink { name: name.clone(), index: 9, group: true, ..SeenLink::default() });
        }
        let address =
            |link: &str, text: &str| HostAddress { link: link.to_owned(), address: text.parse().unwrap() };
        let mut survey = Survey {
            links,
            addresses: vec![
                address("lo", "127.0.0.1/8"),
                address("eth0", "203.0.113.10/24"),
                address("eth1", "203.0.114.10/24"),
                address("eth0", "2001:db8:ffff::10/64"),
            ],
            routes: vec![route("eth0", "0.0.0.0/0"), route("eth0", "::/0"), route("eth0", "203.0.113.0/24")],
            connections: Some(Use { count: 3, most: 1000 }),
            neighbours: [Some(5), Some(5)],
            files: Some(Use { count: 20, most: 1024 }),
            state_room: Some(1 << 40),
            ..Survey::default()
        };
        for (name, value) in [
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.eth1.rp_filter", "0"),
            ("net.ipv4.conf.all.route_localnet", "0"),
            ("net.ipv4.ip_local_port_range", "32768\t60999"),
            ("net.ipv4.ip_local_reserved_ports", ""),
            ("net.bridge.bridge-nf-call-iptables", "0"),
            ("net.ipv6.conf.eth0.accept_ra", "2"),
            ("net.ipv4.neigh.default.gc_thresh2", "512"),
            ("net.ipv4.neigh.default.gc_thresh3", "1024"),
        ] {
            survey.sysctls.insert(name.to_owned(), value.to_owned());
        }
        survey
    }

    /// What is not as it should be.
    fn findings(&self, survey: &Survey) -> Vec<Finding> {
        let all = doctor::examine(&self.published, survey, Circumstances::default());
        all.into_iter().filter(|finding| finding.severity > Severity::Ok).collect()
    }

    /// The only thing that is wrong with a host, once it is changed.
    fn one(&self, change: impl FnOnce(&mut Survey)) -> Finding {
        let mut survey = self.host();
        change(&mut survey);
        let mut findings = self.findings(&survey);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        findings.remove(0)
    }
}

fn route(link: &str, destination: &str) -> SeenRoute {
    let destination = destination.parse().unwrap();
    SeenRoute { link: link.to_owned(), destination, table: MAIN, advertised: false }
}

fn set(survey: &mut Survey, name: &str, value: &str) {
    survey.sysctls.insert(name.to_owned(), value.to_owned());
}

const DUAL: [&str; 2] = ["192.0.2.0/24", "2001:db8:abcd:12::/64"];

#[test]
fn a_host_as_it_should_be_gives_an_ok_of_every_check() {
    for service in [Service::default(), Service::with_container(&DUAL)] {
        let findings = doctor::examine(&service.published, &service.host(), Circumstances::default());
        let bad: Vec<&Finding> = findings.iter().filter(|finding| finding.severity > Severity::Ok).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        let mut names: Vec<&str> = findings.iter().map(|finding| finding.check).collect();
        names.dedup();
        assert_eq!(names.len(), 17, "{names:?}");
        assert!(findings.iter().all(|finding| !finding.found.is_empty() && finding.remedy.is_empty()));
    }
}

#[test]
fn settings_that_lose_packets_are_found_with_what_to_do() {
    let service = Service::with_container(&DUAL);
    let bridge = service.bridge();
    for (name, value, check, severity) in [
        ("net.ipv4.ip_forward".to_owned(), "0", "forwarding", Severity::Error),
        ("net.ipv6.conf.all.forwarding".to_owned(), "0", "forwarding", Severity::Error),
        (format!("net.ipv4.conf.{bridge}.forwarding"), "0", "forwarding", Severity::Error),
        ("net.ipv4.conf.eth0.forwarding".to_owned(), "0", "forwarding", Severity::Error),
        ("net.ipv4.conf.eth1.rp_filter".to_owned(), "1", "rp-filter", Severity::Notice),
        ("net.ipv6.conf.eth0.accept_ra".to_owned(), "1", "accept-ra", Severity::Notice),
        (format!("net.ipv6.conf.{bridge}.accept_ra"), "2", "accept-ra", Severity::Warning),
        ("net.ipv4.conf.all.route_localnet".to_owned(), "1", "route-localnet", Severity::Warning),
        (format!("net.ipv4.conf.{bridge}.route_localnet"), "1", "route-localnet", Severity::Warning),
    ] {
        let finding = service.one(|survey| set(survey, &name, value));
        assert_eq!((finding.check, finding.severity), (check, severity), "{name}: {finding:?}");
        assert!(finding.remedy.contains("sysctl -w"), "{finding:?}");
        assert!(!finding.consequence.is_empty());
        // Nobody needs it.
        let mut survey = Service::default().host();
        set(&mut survey, &name, value);
        let found = Service::default().findings(&survey);
        assert!(found.is_empty() || check == "accept-ra", "{found:?}");
    }
    // A loose filter drops nothing of anybody's; a link with a default route of its own has a way back.
    let fine = |change: fn(&mut Survey)| {
        let mut survey = service.host();
        set(&mut survey, "net.ipv4.conf.eth1.rp_filter", "1");
        change(&mut survey);
        service.findings(&survey)
    };
    assert_eq!(fine(|survey| set(survey, "net.ipv4.conf.all.rp_filter", "2")), []);
    assert_eq!(fine(|survey| survey.routes.push(route("eth1", "0.0.0.0/0"))), []);
    // Its routes live by what it does not hear any more.
    let finding = service.one(|survey| {
        set(survey, "net.ipv6.conf.eth0.accept_ra", "1");
        survey.routes.push(SeenRoute { advertised: true, ..route("eth0", "2001:db8:ffff::/64") });
    });
    assert_eq!(finding.severity, Severity::Warning);
}

#[test]
fn what_is_nearly_full_is_found_before_it_is_full() {
    let service = Service::with_container(&DUAL);
    for (change, check, severity) in [
        (
            (|survey| survey.connections = Some(Use { count: 800, most: 1000 })) as fn(&mut Survey),
            "conntrack",
            Severity::Warning,
        ),
        (|survey| survey.connections = Some(Use { count: 960, most: 1000 }), "conntrack", Severity::Error),
        (|survey| survey.neighbours[0] = Some(900), "neighbours", Severity::Warning),
        (|survey| set(survey, "net.ipv4.neigh.default.gc_thresh2", "0"), "neighbours", Severity::Notice),
        (|survey| survey.files = Some(Use { count: 1000, most: 1024 }), "open-files", Severity::Error),
        (|survey| survey.state_room = Some(100 << 20), "state", Severity::Warning),
        (|survey| survey.state_room = Some(1 << 20), "state", Severity::Error),
        (
            |survey| survey.lacking = vec![("ipvlan".to_owned(), "networks".to_owned())],
            "kernel",
            Severity::Notice,
        ),
        (
            |survey| survey.lacking = vec![("veth".to_owned(), "endpoints".to_owned())],
            "kernel",
            Severity::Error,
        ),
        (
            |survey| survey.unread = vec![("links".to_owned(), "refused".to_owned())],
            "reading",
            Severity::Warning,
        ),
    ] {
        let finding = service.one(change);
        assert_eq!((finding.check, finding.severity), (check, severity), "{finding:?}");
    }
    // Who lacks a feature that nothing is needed for lacks nothing.
    let mut survey = service.host();
    survey.lacking = vec![("bridge conntrack".to_owned(), "nothing yet".to_owned())];
    assert_eq!(service.findings(&survey), []);
}

#[test]
fn a_subnet_without_free_addresses_is_found() {
    let service = Service::with_container(&["192.0.2.0/30"]);
    let finding = service.one(|_| {});
    assert_eq!((finding.check, finding.severity), ("address-pools", Severity::Warning));
    assert_eq!(finding.found, "2 of 2 addresses of 192.0.2.0/30 are taken");
    assert!(finding.subject.contains("\"web\""), "{finding:?}");
}

#[test]
fn other_ways_to_a_subnet_are_found() {
    let service = Service::with_container(&DUAL);
    for (destination, table, severity, told) in [
        ("192.0.2.128/25", MAIN, Severity::Error, "route to 192.0.2.128/25 leaves by tun0"),
        ("192.0.2.0/24", MAIN, Severity::Error, "leaves by tun0"),
        ("192.0.0.0/16", MAIN, Severity::Warning, "leaves by tun0"),
        ("2001:db8::/32", MAIN, Severity::Warning, "leaves by tun0"),
        ("192.0.2.9/32", 51820, Severity::Warning, "of table 51820"),
    ] {
        let finding =
            service.one(|survey| survey.routes.push(SeenRoute { table, ..route("tun0", destination) }));
        assert_eq!((finding.check, finding.severity), ("overlaps", severity), "{finding:?}");
        assert!(finding.found.contains(told), "{finding:?}");
    }
    let address = HostAddress { link: "tun0".to_owned(), address: "192.0.2.77/24".parse().unwrap() };
    let finding = service.one(|survey| survey.addresses.push(address));
    assert_eq!((finding.check, finding.severity), ("overlaps", Severity::Error));
    assert!(finding.found.contains("tun0 has the address 192.0.2.77/24"), "{finding:?}");
    // The default route leads everywhere, and the bridge's own routes are hcnd's.
    let mut survey = service.host();
    survey.routes.push(route(&service.bridge(), "192.0.2.0/24"));
    survey.routes.push(route("tun0", "198.51.100.0/24"));
    assert_eq!(service.findings(&survey), []);
}

#[test]
fn leftovers_are_named_with_the_command_that_removes_them() {
    let service = Service::with_container(&DUAL);
    let link = |name: &str, group: bool, alias: &str| SeenLink {
        name: name.to_owned(),
        index: 77,
        group,
        alias: alias.to_owned(),
        ..SeenLink::default()
    };
    for (left, command) in [
        (link("hve00c0ffee", false, ""), "ip link delete hve00c0ffee"),
        (link("x", true, ""), "ip link delete x"),
        (link("y", false, "hcn endpoint 1 a"), "ip link delete y"),
        (link("hcn00c0ffee-1", false, ""), "ip link delete hcn00c0ffee-1"),
    ] {
        let finding = service.one(|survey| survey.links.push(left.clone()));
        assert_eq!((finding.check, finding.severity), ("leftovers", Severity::Warning));
        assert_eq!(finding.remedy, format!("if it is of no use to anybody: `{command}`"));
    }
    let id = "3A1AD8A3-C75D-497D-9877-6B0C9460CB0A";
    for alias in [None, Some(format!("hcn namespace {id} box"))] {
        let netns = SeenNetns { name: id.to_owned(), alias };
        let finding = service.one(|survey| survey.namespaces.push(netns));
        assert!(finding.remedy.contains(&format!("ip netns delete {id}")), "{finding:?}");
    }
    let table = json!({"nftables": [{"table": {"family": "ip", "name": "hcnd_old"}}]}).to_string();
    let finding = service.one(|survey| survey.rules.listings.push(table));
    assert!(finding.remedy.contains("nft delete table ip hcnd_old"), "{finding:?}");
    // Others' links and namespaces, and the device that limits a port.
    let mut survey = service.host();
    let port = survey.links.last().unwrap().name.clone();
    survey.links.extend([
        link("hcnfoo", false, ""),
        link("veth1", false, "hcnx"),
        link("hvi00c0ffee", true, &format!("hcn rate {port}")),
    ]);
    survey.namespaces.push(SeenNetns { name: "cni-1".to_owned(), alias: Some(String::new()) });
    survey.namespaces.push(SeenNetns { name: id.to_owned(), alias: Some(String::new()) });
    assert_eq!(service.findings(&survey), []);
    // What is gone a moment later was under way.
    survey.links.push(link("hve00c0ffee", false, ""));
    let wanted = compile::all(&service.published);
    let suspects = doctor::suspects(&wanted, &survey);
    assert_eq!(suspects, ["link hve00c0ffee (77)".to_owned()].into());
    doctor::forget(&mut survey, &wanted, &[].into());
    assert_eq!(service.findings(&survey), []);
}

#[test]
fn degraded_entities_and_waiting_repairs_are_found() {
    let mut service = Service::with_container(&DUAL);
    let endpoint = service.published.endpoints.iter().next().unwrap().meta.id;
    service.call(Kind::Endpoint, Verb::Delete { id: endpoint }, true);
    let circumstances = Circumstances { repairs: 1, drift: None };
    let survey = service.host();
    let all = doctor::examine(&service.published, &survey, circumstances);
    let found: Vec<&Finding> = all.iter().filter(|finding| finding.check == "entities").collect();
    // Its namespace was to change with it.
    let severities: Vec<Severity> = found.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Warning, Severity::Warning, Severity::Notice], "{found:#?}");
    assert_eq!(found[0].subject, format!("endpoint {endpoint}"));
}

#[test]
fn drift_is_told_only_where_somebody_has_looked() {
    let service = Service::with_container(&DUAL);
    let of = |drift: Option<&[String]>| {
        let all = doctor::examine(&service.published, &service.host(), Circumstances { repairs: 0, drift });
        let drift = all.into_iter().filter(|finding| finding.check == "drift");
        drift.map(|finding| finding.severity).collect::<Vec<_>>()
    };
    assert_eq!(of(None), []);
    assert_eq!(of(Some(&[])), [Severity::Ok]);
    assert_eq!(of(Some(&["the bridge x is down".to_owned()])), [Severity::Warning]);
}
