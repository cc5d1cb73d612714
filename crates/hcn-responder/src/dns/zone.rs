//! The names that are answered here: those of endpoints and of the host, alone and with the network's domain; and the
//! addresses of both, backwards.

use std::collections::HashMap;
use std::net::IpAddr;

use hcn_dataplane::{Lease, Responder};

use super::message::{A, AAAA, ANY, IN, PTR, Query, Record};
use super::{Name, rcode};

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// This is the answer.
    Records(Vec<Record>),
    /// It is not answered, and this is the code that says so.
    Refused(u8),
    /// It is for others to know; `own` = it is in the network's domain, so that if nobody else knows it there is none.
    Elsewhere { own: bool },
}

/// The names of one bridge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone {
    domain: Option<Name>,
    names: HashMap<Name, Vec<IpAddr>>,
    /// The names of addresses, by the names by which these are asked for.
    backwards: HashMap<Name, Name>,
}

impl Zone {
    /// The names of endpoints; if several have one it means all of them. The host has the name that it gives itself,
    /// unless an endpoint has it.
    pub(crate) fn of<'a>(responder: &Responder, leases: impl Iterator<Item = &'a Lease>, host: &str) -> Self {
        let mut zone = Self { domain: responder.domain.as_deref().and_then(Name::of), ..Self::default() };
        for lease in leases {
            if let Some(name) = &lease.name {
                let addresses: Vec<IpAddr> = lease.addresses.iter().map(ipnet::IpNet::addr).collect();
                zone.add(name, responder, &addresses);
            }
        }
        let label = host.split('.').next().unwrap_or_default();
        if Name::of(label).is_some_and(|name| !zone.names.contains_key(&name)) {
            let addresses: Vec<IpAddr> = responder.addresses.iter().map(ipnet::IpNet::addr).collect();
            zone.add(label, responder, &addresses);
        }
        zone
    }

    fn add(&mut self, label: &str, responder: &Responder, addresses: &[IpAddr]) {
        let Some(name) = Name::of(label) else { return };
        let whole = responder.domain.as_deref().and_then(|domain| Name::of(&format!("{label}.{domain}")));
        for address in addresses {
            if let Some(backwards) = Name::of_address(*address) {
                self.backwards
                    .entry(backwards)
                    .or_insert_with(|| whole.clone().unwrap_or_else(|| name.clone()));
            }
        }
        for name in [Some(name), whole].into_iter().flatten() {
            self.names.entry(name).or_default().extend(addresses);
        }
    }

    /// Answers a question.
    pub(crate) fn find(&self, query: &Query<'_>) -> Found {
        if query.class != IN && query.class != ANY {
            return Found::Refused(rcode::REFUSED);
        }
        if let Some(addresses) = self.names.get(&query.name) {
            let wanted = |address: &&IpAddr| match query.kind {
                A => address.is_ipv4(),
                AAAA => address.is_ipv6(),
                kind => kind == ANY,
            };
            return Found::Records(addresses.iter().filter(wanted).copied().map(Record::Address).collect());
        }
        if let Some(name) = self.backwards.get(&query.name) {
            let wanted = matches!(query.kind, PTR | ANY);
            return Found::Records(Some(Record::Name(name.clone())).filter(|_| wanted).into_iter().collect());
        }
        Found::Elsewhere { own: self.domain.as_ref().is_some_and(|domain| query.name.is_below(domain)) }
    }
}

#[cfg(test)]
mod tests {
    use hcn_dataplane::Mac;

    use super::super::message::tests::question;
    use super::*;

    const MX: u16 = 15;

    fn lease(name: Option<&str>, addresses: &[&str]) -> Lease {
        Lease {
            bridge: "b".to_owned(),
            claimant: "one".to_owned(),
            mac: Mac([0; 6]),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            gateway: None,
            routes: Vec::new(),
            servers: Vec::new(),
            search: Vec::new(),
            name: name.map(str::to_owned),
            mtu: 1500,
        }
    }

    fn zone(domain: Option<&str>) -> Zone {
        let responder = Responder {
            bridge: "b".to_owned(),
            addresses: vec!["10.7.0.1/24".parse().unwrap(), "fd07::1/64".parse().unwrap()],
            dhcp: false,
            dns: true,
            domain: domain.map(str::to_owned),
        };
        let leases = [
            lease(Some("Web"), &["10.7.0.9/24", "fd07::9/64"]),
            lease(Some("four"), &["10.7.0.10/24"]),
            lease(None, &["10.7.0.11/24"]),
            lease(Some("twice"), &["10.7.0.12/24"]),
            lease(Some("twice"), &["10.7.0.13/24"]),
        ];
        Zone::of(&responder, leases.iter(), "big.example.com")
    }

    fn ask(zone: &Zone, name: &str, kind: u16) -> Found {
        zone.find(&Query::read(&question(name, kind)).unwrap())
    }

    fn addresses(texts: &[&str]) -> Found {
        Found::Records(texts.iter().map(|text| Record::Address(text.parse().unwrap())).collect())
    }

    #[test]
    fn endpoints_have_addresses_of_each_family_in_any_case() {
        let zone = zone(Some("lab.test"));
        for name in ["web", "WEB", "web.lab.test", "wEb.LAB.test"] {
            assert_eq!(ask(&zone, name, A), addresses(&["10.7.0.9"]), "{name}");
            assert_eq!(ask(&zone, name, AAAA), addresses(&["fd07::9"]), "{name}");
            assert_eq!(ask(&zone, name, ANY), addresses(&["10.7.0.9", "fd07::9"]), "{name}");
        }
        assert_eq!(ask(&zone, "twice", A), addresses(&["10.7.0.12", "10.7.0.13"]));
    }

    #[test]
    fn a_name_without_such_a_record_is_there_all_the_same() {
        let zone = zone(None);
        assert_eq!(ask(&zone, "four", AAAA), addresses(&[]));
        assert_eq!(ask(&zone, "four", MX), addresses(&[]));
    }

    #[test]
    fn the_host_has_its_name_unless_an_endpoint_has_it() {
        assert_eq!(ask(&zone(None), "big", A), addresses(&["10.7.0.1"]));
        assert_eq!(ask(&zone(None), "big", AAAA), addresses(&["fd07::1"]));
        let responder = Responder {
            bridge: "b".to_owned(),
            addresses: vec!["10.7.0.1/24".parse().unwrap()],
            dhcp: false,
            dns: true,
            domain: None,
        };
        let zone = Zone::of(&responder, [lease(Some("big"), &["10.7.0.9/24"])].iter(), "big");
        assert_eq!(ask(&zone, "big", A), addresses(&["10.7.0.9"]));
    }

    #[test]
    fn addresses_have_the_names_of_their_endpoints() {
        let pointer = |text: &str| Found::Records(vec![Record::Name(Name::of(text).unwrap())]);
        let with = zone(Some("lab.test"));
        assert_eq!(ask(&with, "9.0.7.10.in-addr.arpa", PTR), pointer("web.lab.test"));
        assert_eq!(ask(&zone(None), "9.0.7.10.in-addr.arpa", PTR), pointer("web"));
        assert_eq!(ask(&with, "9.0.7.10.in-addr.arpa", A), addresses(&[]));
        assert_eq!(ask(&with, "11.0.7.10.in-addr.arpa", PTR), Found::Elsewhere { own: false });
    }

    #[test]
    fn other_names_are_for_others() {
        let with = zone(Some("lab.test"));
        assert_eq!(ask(&with, "example.com", A), Found::Elsewhere { own: false });
        assert_eq!(ask(&with, "nobody.lab.test", A), Found::Elsewhere { own: true });
        assert_eq!(ask(&zone(None), "nobody.lab.test", A), Found::Elsewhere { own: false });
        let mut chaos = question("version.bind", 16);
        let end = chaos.len();
        chaos[end - 1] = 3;
        assert_eq!(with.find(&Query::read(&chaos).unwrap()), Found::Refused(rcode::REFUSED));
    }
}
