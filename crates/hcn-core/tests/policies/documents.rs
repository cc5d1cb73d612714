//! Rules at random, in documents, and packets: what is told of each is what a simple reading of the contract (2.13, 2.14, B74)
//! says. What the rules that they are compiled to do in the kernel, `filters_random` of hcn-linux holds against packets.

use std::net::Ipv4Addr;

use hcn_schema::Guid;
use hcn_schema::call::Kind;
use ipnet::Ipv4Net;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::Service;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Allow,
    Block,
    Pass,
}

/// Whom a rule names. The network's prefix is 10.0.N.0/24.
#[derive(Clone, Debug)]
enum Whom {
    Anybody,
    Server,
    Client,
    /// The half of the prefix with the lower addresses, where both are.
    Both,
    Nobody,
    /// Ids of sets, all of which must have the address.
    Sets(Vec<&'static str>),
}

/// What is in each set; `nested` has the members of the first two.
const SETS: [(&str, [bool; 2]); 4] = [
    ("servers", [true, false]),
    ("clients", [false, true]),
    ("nested", [true, true]),
    ("nobody", [false; 2]),
];

#[derive(Clone, Debug)]
struct Rule {
    way: Way,
    action: Action,
    priority: u16,
    protocols: Vec<u8>,
    local: Whom,
    remote: Whom,
    /// Where connections go, with both ends.
    ports: Vec<(u16, u16)>,
    host: bool,
}

#[derive(Clone, Debug)]
struct Tier {
    way: Way,
    order: u16,
    rules: Vec<Rule>,
}

/// All that is said about an endpoint.
#[derive(Clone, Debug, Default)]
struct Said {
    acls: Vec<Rule>,
    tiers: Vec<Tier>,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    protocol: u8,
    port: u16,
}

/// Where the two are.
#[derive(Clone, Copy)]
struct Ends {
    server: Ipv4Addr,
    client: Ipv4Addr,
}

impl Whom {
    fn words(&self, ends: Ends) -> Option<String> {
        Some(match self {
            Self::Anybody => return None,
            Self::Server => ends.server.to_string(),
            Self::Client => ends.client.to_string(),
            Self::Both => Ipv4Net::new(ends.server, 25).unwrap().trunc().to_string(),
            Self::Nobody => "192.0.2.0/24,198.51.100.1".to_owned(),
            Self::Sets(ids) => ids.join(","),
        })
    }

    /// Whether it is the address of the server, or of the client.
    fn is(&self, server: bool) -> bool {
        match self {
            Self::Anybody | Self::Both => true,
            Self::Server => server,
            Self::Client => !server,
            Self::Nobody => false,
            Self::Sets(ids) => {
                let has = |id: &&str| SETS.iter().any(|(name, of)| name == id && of[usize::from(!server)]);
                ids.iter().all(has)
            }
        }
    }
}

impl Rule {
    fn settings(&self, ends: Ends, action: &str) -> Value {
        let mut settings = json!({"Priority": self.priority, action: format!("{:?}", self.action)});
        let ports: Vec<String> =
            self.ports.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect();
        let protocols: Vec<String> = self.protocols.iter().map(u8::to_string).collect();
        let to = if self.way == Way::In { "LocalPorts" } else { "RemotePorts" };
        for (member, words) in [
            ("LocalAddresses", self.local.words(ends)),
            ("RemoteAddresses", self.remote.words(ends)),
            (to, Some(ports.join(","))),
            ("Protocols", Some(protocols.join(","))),
        ] {
            if let Some(words) = words.filter(|words| !words.is_empty()) {
                settings[member] = words.into();
            }
        }
        settings
    }

    fn acl(&self, ends: Ends, kind: &str) -> Value {
        let mut settings = self.settings(ends, "Action");
        settings["Direction"] = format!("{:?}", self.way).into();
        settings["RuleType"] = if self.host { "Host" } else { "Switch" }.into();
        json!({"Type": kind, "Settings": settings})
    }

    /// Whether it is about a packet from the client to the server.
    fn matches(&self, packet: Packet) -> bool {
        let named = |whom: &Whom, source: bool| match whom {
            // Local ones are sources, remote ones destinations, whatever the direction.
            Whom::Sets(_) => whom.is(!source),
            // The server is the local one of what comes in.
            _ => whom.is(source == (self.way == Way::In)),
        };
        let by_port = self.ports.is_empty()
            || [6, 17].contains(&packet.protocol)
                && self.ports.iter().any(|(first, last)| (*first..=*last).contains(&packet.port));
        (self.protocols.is_empty() || self.protocols.contains(&packet.protocol))
            && named(&self.local, true)
            && named(&self.remote, false)
            && by_port
    }
}

/// What the first rule that matches does.
fn first<'a>(rules: impl Iterator<Item = &'a Rule>, packet: Packet) -> Option<Action> {
    let mut rules: Vec<&Rule> = rules.collect();
    rules.sort_by_key(|rule| (rule.priority, rule.action != Action::Block));
    rules.into_iter().find(|rule| rule.matches(packet)).map(|rule| rule.action)
}

/// Whether the lists about one end let a packet pass.
fn passes(network: &[Rule], said: &Said, way: Way, packet: Packet) -> bool {
    let list = |rules: &[Rule]| {
        [false, true].into_iter().all(|host| {
            let asked = rules.iter().filter(|rule| rule.way == way && rule.host == host);
            first(asked, packet) != Some(Action::Block)
        })
    };
    let mut tiers: Vec<&Tier> = said.tiers.iter().filter(|tier| tier.way == way).collect();
    tiers.sort_by_key(|tier| tier.order);
    let decisive = tiers
        .into_iter()
        .filter_map(|tier| first(tier.rules.iter(), packet))
        .find(|action| *action != Action::Pass);
    list(network) && list(&said.acls) && decisive != Some(Action::Block)
}

fn whom() -> impl Strategy<Value = Whom> {
    let ids: Vec<&str> = SETS.iter().map(|(id, _)| *id).collect();
    prop_oneof![
        3 => Just(Whom::Anybody),
        1 => Just(Whom::Server),
        1 => Just(Whom::Client),
        1 => Just(Whom::Both),
        1 => Just(Whom::Nobody),
        2 => subsequence(ids, 1..=2).prop_map(Whom::Sets),
    ]
}

fn rule(actions: &'static [Action]) -> impl Strategy<Value = Rule> {
    let protocols = select(vec![vec![], vec![6], vec![17], vec![6, 17], vec![1]]);
    let ports = select(vec![vec![], vec![(80, 80)], vec![(22, 80), (443, 443)], vec![(81, 65535)]]);
    let way = select(vec![Way::In, Way::Out]);
    (way, select(actions), 1_u16..4, protocols, whom(), whom(), ports, any::<bool>()).prop_map(
        |(way, action, priority, protocols, local, remote, ports, host)| {
            // What has no ports cannot be asked for them.
            let ports = if protocols == [1] { vec![] } else { ports };
            Rule { way, action, priority, protocols, local, remote, ports, host }
        },
    )
}

fn said() -> impl Strategy<Value = Said> {
    let all = &[Action::Allow, Action::Block, Action::Pass];
    let tier =
        (select(vec![Way::In, Way::Out]), 1_u16..4, vec(rule(all), 1..4)).prop_map(|(way, order, rules)| {
            let rules = rules.into_iter().map(|rule| Rule { way, ..rule }).collect();
            Tier { way, order, rules }
        });
    (vec(rule(&[Action::Allow, Action::Block]), 0..5), vec(tier, 0..4))
        .prop_map(|(acls, tiers)| Said { acls, tiers })
}

fn policies_of(said: &Said, ends: Ends) -> String {
    let tiers = said.tiers.iter().enumerate().map(|(index, tier)| {
        let rules: Vec<Value> =
            tier.rules.iter().map(|rule| rule.settings(ends, "TierAclRuleAction")).collect();
        let direction = format!("{:?}", tier.way);
        json!({"Type": "TierAcl", "Settings": {
            "Name": format!("t{index}"), "Direction": direction, "Order": tier.order, "TierAclRules": rules,
        }})
    });
    Value::from_iter(said.acls.iter().map(|rule| rule.acl(ends, "ACL")).chain(tiers)).to_string()
}

fn set(id: &str, kind: &str, values: &str) -> Value {
    json!({"Type": "SetPolicy", "Settings": {"Id": id, "Name": id, "PolicyType": kind, "Values": values}})
}

fn told(service: &Service, client: Guid, ends: Ends, packet: Packet) -> Value {
    let (to, protocol) = match packet.protocol {
        1 => (ends.server.to_string(), "icmp"),
        6 => (format!("{}:{}", ends.server, packet.port), "tcp"),
        _ => (format!("{}:{}", ends.server, packet.port), "udp"),
    };
    service.explained(client, &json!({"To": to, "Protocol": protocol}).to_string()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn documents_mean_what_a_simple_reading_says(
        network_rules in vec(rule(&[Action::Allow, Action::Block]), 0..3),
        of_server in said(),
        of_client in said(),
    ) {
        let mut service = Service::default();
        let network = service.network("NAT", "[]").unwrap();
        let [server, client] = [(); 2].map(|()| service.attached(network, "[]", false));
        let [server_at, client_at] = [server, client].map(|id| service.address(id).parse().unwrap());
        let ends = Ends { server: server_at, client: client_at };
        let sets = [
            set("servers", "IPSET", &ends.server.to_string()),
            set("clients", "IPSET", &format!("{},203.0.113.0/24", ends.client)),
            set("nested", "NESTEDIPSET", "servers,clients"),
            set("nobody", "IPSET", "203.0.113.99"),
        ];
        let acls = network_rules.iter().map(|rule| rule.acl(ends, "NetworkACL"));
        let policies = Value::from_iter(sets.into_iter().chain(acls)).to_string();
        service.modify(Kind::Network, network, "Add", &policies).unwrap();
        service.modify(Kind::Endpoint, server, "Update", &policies_of(&of_server, ends)).unwrap();
        service.modify(Kind::Endpoint, client, "Update", &policies_of(&of_client, ends)).unwrap();
        for protocol in [1, 6, 17] {
            for port in [22, 79, 80, 443, 8080] {
                let packet = Packet { protocol, port };
                let passes = passes(&network_rules, &of_client, Way::Out, packet)
                    && passes(&network_rules, &of_server, Way::In, packet);
                let told = told(&service, client, ends, packet);
                prop_assert_eq!(&told["Verdict"], if passes { "Allow" } else { "Block" }, "{:?} {}", packet, told);
            }
        }
    }
}
