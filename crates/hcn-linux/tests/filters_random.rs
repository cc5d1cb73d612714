//! Filters at random, packets at random: what the kernel lets pass is what a simple reading of the contract (2.14, B74)
//! lets pass. `HCN_FILTER_PACKETS` says how many packets, `HCN_FILTER_SEED` where chance begins.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;
mod filtering;
mod packets;
mod traffic;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::*;
use filtering::*;
use hcn_dataplane::{Addresses, Filter, FilterRule, Object, Ports, State, Tier, Verdict, diff};
use ipnet::IpNet;
use packets::{GRE, ICMP, ICMPV6, Node, Packet, SCTP, TCP, UDP};

/// In a run of all tests.
const PACKETS: usize = 10_000;
/// With one choice of filters.
const OF_A_ROUND: usize = 60;
const SETS: [&str; 3] = ["one", "azure-npm-1001", "another one"];
/// Those that may have filters: their numbers and namespaces.
const FILTERED: [(u8, &str); 3] = [(2, "A"), (3, "B"), (4, "C")];
/// Rules speak of these most of the time, packets always.
const PORTS: [u16; 6] = [22, 53, 80, 81, 443, 65535];

/// Xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn some<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = 1 + self.below(most);
        (0..count).map(|_| make(self)).collect()
    }

    fn prefix(&mut self) -> IpNet {
        let known = [
            "10.7.0.0/16",
            "10.7.0.2/31",
            "10.7.0.2/32",
            "10.7.0.3/32",
            "10.7.0.4/30",
            "10.7.0.1/32",
            "192.0.2.0/24",
            "192.0.2.2/32",
            "0.0.0.0/0",
            "128.0.0.0/1",
            "10.7.0.0/29",
            "203.0.113.0/25",
            "fd07::/64",
            "fd07::2/127",
            "fd07::3/128",
            "fd07::1/128",
            "fd07::4/126",
            "2001:db8::/32",
            "2001:db8::2/128",
            "::/0",
            "8000::/1",
        ];
        self.of(&known).parse().unwrap()
    }

    fn addresses(&mut self) -> Addresses {
        if self.one_in(3) {
            return Addresses::Set(self.of(&SETS).into());
        }
        Addresses::Prefixes(self.some(4, Self::prefix))
    }

    fn ports(&mut self) -> Ports {
        let first = self.of(&PORTS);
        match self.below(4) {
            0 => Ports { first: self.of(&[0, 1, 50]), last: first.max(50) },
            1 => Ports { first, last: first.saturating_add(1) },
            _ => Ports { first, last: first },
        }
    }

    fn rule(&mut self) -> FilterRule {
        let mut rule = rule(self.of(&[ALLOW, ALLOW, NEXT, DROP, DROP]));
        if self.one_in(2) {
            rule.protocols = self.some(3, |chance| chance.of(&[ICMP, TCP, UDP, TCP, UDP, ICMPV6, SCTP, GRE]));
        }
        if self.one_in(2) {
            rule.source = self.some(2, Self::addresses);
        }
        if self.one_in(3) {
            rule.destination = self.some(2, Self::addresses);
        }
        if self.one_in(6) {
            rule.source_ports = self.some(2, Self::ports);
        }
        if self.one_in(2) {
            rule.destination_ports = self.some(3, Self::ports);
        }
        rule
    }

    fn tiers(&mut self) -> Vec<Tier> {
        if self.one_in(4) {
            return Vec::new();
        }
        let mut tiers = self.some(3, |chance| tier("tier", chance.some(5, Self::rule)));
        if self.one_in(2) {
            let last = rule(self.of(&[ALLOW, DROP]));
            tiers.last_mut().unwrap().rules.push(last);
        }
        tiers
    }

    /// Sets, and filters of some of the endpoints.
    fn filters(&mut self) -> Vec<Object> {
        let mut objects: Vec<Object> = Vec::new();
        for name in SETS {
            let members = if self.one_in(5) { Vec::new() } else { self.some(5, Self::prefix) };
            objects.push(Object::AddressSet(hcn_dataplane::AddressSet { name: name.into(), members }));
        }
        for (n, netns) in FILTERED {
            if !self.one_in(4) {
                objects.push(filter(n, on_bridge(), self.tiers(), self.tiers()));
            }
            if self.one_in(3) {
                // In a namespace rules cannot name sets.
                let mut inner = filter(n, on_link(eth0(netns)), self.tiers(), self.tiers());
                if let Object::Filter(filter) = &mut inner {
                    let tiers = filter.incoming.iter_mut().chain(&mut filter.outgoing);
                    for rule in tiers.flat_map(|tier| &mut tier.rules) {
                        for addresses in rule.source.iter_mut().chain(&mut rule.destination) {
                            if matches!(addresses, Addresses::Set(_)) {
                                *addresses = Addresses::Prefixes(vec![self.prefix()]);
                            }
                        }
                    }
                }
                objects.push(inner);
            }
        }
        objects
    }
}

/// The simple reading.
struct Reader<'a> {
    sets: HashMap<&'a str, &'a [IpNet]>,
    filters: Vec<&'a Filter>,
}

impl<'a> Reader<'a> {
    fn of(objects: &'a [Object]) -> Self {
        let mut reader = Self { sets: HashMap::new(), filters: Vec::new() };
        for object in objects {
            match object {
                Object::AddressSet(set) => {
                    reader.sets.insert(&set.name, &set.members);
                }
                Object::Filter(filter) => reader.filters.push(filter),
                _ => {}
            }
        }
        reader
    }

    fn passes(&self, packet: &Packet, source: IpAddr, destination: IpAddr) -> bool {
        self.filters.iter().all(|filter| {
            let let_through = |tiers: &[Tier]| self.let_through(tiers, packet, source, destination);
            (!filter.addresses.contains(&source) || let_through(&filter.outgoing))
                && (!filter.addresses.contains(&destination) || let_through(&filter.incoming))
        })
    }

    fn let_through(&self, tiers: &[Tier], packet: &Packet, source: IpAddr, destination: IpAddr) -> bool {
        for tier in tiers {
            let first = tier.rules.iter().find(|rule| self.matches(rule, packet, source, destination));
            match first.map(|rule| rule.verdict) {
                Some(Verdict::Allow) => return true,
                Some(Verdict::Drop) => return false,
                Some(Verdict::Next) | None => {}
            }
        }
        true
    }

    fn matches(&self, rule: &FilterRule, packet: &Packet, source: IpAddr, destination: IpAddr) -> bool {
        let holds = |lists: &[Addresses], address: IpAddr| {
            lists.iter().all(|list| {
                let prefixes = match list {
                    Addresses::Prefixes(prefixes) => prefixes,
                    Addresses::Set(name) => self.sets[name.as_str()],
                };
                prefixes.iter().any(|prefix| prefix.contains(&address))
            })
        };
        let port_holds = |ports: &[Ports], port: u16| {
            let has_ports = [TCP, UDP, SCTP].contains(&packet.protocol);
            ports.is_empty()
                || has_ports && ports.iter().any(|range| range.first <= port && port <= range.last)
        };
        (rule.protocols.is_empty() || rule.protocols.contains(&packet.protocol))
            && holds(&rule.source, source)
            && holds(&rule.destination, destination)
            && port_holds(&rule.source_ports, packet.source_port)
            && port_holds(&rule.destination_ports, packet.destination_port)
    }
}

fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |given| given.parse().unwrap())
}

#[test]
fn packets_pass_where_a_simple_reading_lets_them() {
    let packets = number_of("HCN_FILTER_PACKETS", PACKETS as u64) as usize;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    // None of them may be zero.
    let seed = number_of("HCN_FILTER_SEED", now) | 1;
    isolated("packets_pass_where_a_simple_reading_lets_them", || {
        println!("measured: HCN_FILTER_SEED={seed}");
        let mut linux = traffic::place();
        done(&mut linux, &create([vec![netns("C")], endpoint(4, "C")].concat()));
        compare(linux, packets, Chance(seed));
    });
}

/// Whether a packet would answer one that was sent before.
fn reversed(packet: &Packet) -> Packet {
    Packet {
        from: packet.to,
        to: packet.from,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        ..*packet
    }
}

fn compare(mut linux: hcn_linux::Linux, packets: usize, mut chance: Chance) {
    let nodes = [
        Node::new("A", "10.7.0.2", "fd07::2"),
        Node::new("B", "10.7.0.3", "fd07::3"),
        Node::new("C", "10.7.0.4", "fd07::4"),
        Node::new("", "10.7.0.1", "fd07::1"),
        Node::new("outside", "192.0.2.2", "2001:db8::2"),
    ];
    let mut there = State::new();
    let mut sent = HashSet::new();
    let (mut number, mut passed) = (0u32, 0usize);
    let mut total = 0;
    while total < packets {
        let value = chance.below(2);
        for name in ["iptables", "ip6tables"] {
            sh(&format!("echo {value} > /proc/sys/net/bridge/bridge-nf-call-{name}"));
        }
        let objects = chance.filters();
        let wanted: State = objects.iter().cloned().collect();
        done(&mut linux, &diff(&there, &wanted));
        there = wanted;
        let reader = Reader::of(&objects);
        let mut expected: HashMap<u32, (Packet, bool)> = HashMap::new();
        while expected.len() < OF_A_ROUND {
            let (from, to) = (chance.below(nodes.len()), chance.below(nodes.len()));
            if from == to || from > 2 && to > 2 {
                continue;
            }
            let v6 = chance.one_in(2);
            let protocol = chance.of(&[TCP, UDP, if v6 { ICMPV6 } else { ICMP }, SCTP, GRE, TCP, UDP]);
            let mut port =
                || if chance.one_in(4) { 1 + chance.below(65535) as u16 } else { chance.of(&PORTS) };
            let packet = Packet { from, to, v6, protocol, source_port: port(), destination_port: port() };
            if packet.protocol == GRE || sent.contains(&reversed(&packet)) {
                // Without ports or numbers everything answers everything.
                continue;
            }
            sent.insert(packet);
            let [source, destination] = [from, to].map(|node| nodes[node].address(v6));
            let passes = reader.passes(&packet, source, destination);
            nodes[from].send(&nodes[to], &packet, number);
            expected.insert(number, (packet, passes));
            number += 1;
        }
        let arrives: BTreeSet<u32> =
            expected.iter().filter(|(_, (_, passes))| *passes).map(|(number, _)| *number).collect();
        let mut arrived = BTreeSet::new();
        let until = soon();
        while !arrives.is_subset(&arrived) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            arrived.extend(nodes.iter().flat_map(Node::received));
        }
        std::thread::sleep(Duration::from_millis(30));
        arrived.extend(nodes.iter().flat_map(Node::received));
        if arrived != arrives {
            let wrong = arrived.symmetric_difference(&arrives).map(|number| {
                let (packet, passes) = &expected[number];
                format!("{packet:?} is to pass: {passes}")
            });
            let wrong: Vec<String> = wrong.collect();
            panic!(
                "bridge-nf {value}, {wrong:#?}\n{}\n{}",
                there.iter().map(|(_, object)| format!("{object:?}\n")).collect::<String>(),
                sh("nft list table inet hcnd_filter")
            );
        }
        total += expected.len();
        passed += arrives.len();
    }
    println!("measured: {total} packets, {passed} of them passed");
}
