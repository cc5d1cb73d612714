//! What a rule asks of a packet, as expressions: one rule for each family where addresses say which, else one for both.

use hcn_dataplane::{Addresses, FilterRule, Ports};
use ipnet::IpNet;
use netlink_packet_netfilter::nftables::Expressions;

use super::super::expressions::{FAMILIES, Family, Part, V4, equal, lookup, of_family, port_of};
use super::super::maps::Type;
use super::super::matches;
use super::WITH_PORTS;
use super::sets::{self, Named, Range, merged, octets, ranges};

const HIGHEST_PORT: u128 = 0xffff;

/// What a rule asks, in each of its forms; none where no packet can match. The sets that it needs are added to `named`,
/// with names that begin with `stem`.
pub(super) fn forms(rule: &FilterRule, stem: &str, named: &mut Vec<Named>) -> Vec<Vec<Expressions>> {
    let lists = || rule.source.iter().chain(&rule.destination);
    let families: Vec<Option<&Family>> = if lists().next().is_none() {
        vec![None]
    } else {
        FAMILIES.into_iter().filter(|family| lists().all(|list| knows(list, family))).map(Some).collect()
    };
    if families.is_empty() {
        return Vec::new();
    }
    let Some(protocols) = protocols(rule, stem, named) else { return Vec::new() };
    let mut ports = Vec::new();
    for (destination, wanted, word) in
        [(false, &rule.source_ports, "sport"), (true, &rule.destination_ports, "dport")]
    {
        ports.extend(of_ports(wanted, destination, &format!("{stem}/{word}"), named));
    }
    let mut form = |family: Option<&Family>| {
        let mut expressions = Vec::new();
        if let Some(family) = family {
            expressions.extend(of_family(family));
            for (part, lists, word) in [
                (Part::Source, &rule.source, "source"),
                (Part::Destination, &rule.destination, "destination"),
            ] {
                for (number, list) in (1..).zip(lists) {
                    let name = format!("{stem}/{word}{number}/{}", family.suffix);
                    expressions.extend(of_addresses(list, part, family, &name, named));
                }
            }
        }
        expressions.extend(protocols.iter().chain(&ports).cloned());
        expressions
    };
    families.into_iter().map(&mut form).collect()
}

/// Whether addresses of the family can be among these.
fn knows(addresses: &Addresses, family: &Family) -> bool {
    match addresses {
        Addresses::Set(_) => true,
        Addresses::Prefixes(prefixes) => !ranges(prefixes, family).is_empty(),
    }
}

fn of_addresses(
    addresses: &Addresses,
    part: Part,
    family: &Family,
    name: &str,
    named: &mut Vec<Named>,
) -> Vec<Expressions> {
    let in_set = |set: &str| vec![part.load(family, 0), lookup(set)];
    let prefixes = match addresses {
        Addresses::Set(set) => return in_set(&sets::name(set, family)),
        Addresses::Prefixes(prefixes) => prefixes,
    };
    let ranges = ranges(prefixes, family);
    let alone = if let [range] = &ranges[..] { as_prefix(*range, family) } else { None };
    match alone {
        Some(prefix) => matches::within(family, part, &prefix),
        None => {
            named.push(Named { name: name.to_owned(), of: Type::address(family), ranges });
            in_set(name)
        }
    }
}

/// The prefix that a range is.
fn as_prefix((first, last): Range, family: &Family) -> Option<IpNet> {
    let bits = 8 * family.length;
    // Of all addresses there may be one more than a number can say.
    let host = (last - first).checked_add(1).map_or(128, u128::trailing_zeros);
    let length = bits.checked_sub(host)?;
    let prefix = IpNet::new(address(first, family), length as u8).ok()?;
    let ends = (prefix.network(), prefix.broadcast());
    (ends == (address(first, family), address(last, family))).then_some(prefix)
}

fn address(number: u128, family: &Family) -> std::net::IpAddr {
    match u32::try_from(number) {
        Ok(number) if family.length == V4.length => std::net::Ipv4Addr::from(number).into(),
        _ => std::net::Ipv6Addr::from(number).into(),
    }
}

/// None where no protocol is left: what asks for ports is not about what has none.
fn protocols(rule: &FilterRule, stem: &str, named: &mut Vec<Named>) -> Option<Vec<Expressions>> {
    let with_ports = !rule.source_ports.is_empty() || !rule.destination_ports.is_empty();
    let load = || Part::Protocol.load(&V4, 0);
    if rule.protocols.is_empty() {
        return Some(if with_ports { vec![load(), lookup(WITH_PORTS)] } else { Vec::new() });
    }
    let has_ports = |protocol: &u8| matches::WITH_PORTS.contains(protocol);
    let meant = rule.protocols.iter().filter(|protocol| !with_ports || has_ports(protocol));
    let values = merged(meant.map(|protocol| (u128::from(*protocol), u128::from(*protocol))).collect());
    match &values[..] {
        [] => None,
        [(first, last)] if first == last => Some(vec![load(), equal(0, octets(*first, 1))]),
        _ => {
            let name = format!("{stem}/protocol");
            named.push(Named { name: name.clone(), of: Type::Protocol, ranges: values });
            Some(vec![load(), lookup(&name)])
        }
    }
}

fn of_ports(wanted: &[Ports], destination: bool, name: &str, named: &mut Vec<Named>) -> Vec<Expressions> {
    let ranges = merged(wanted.iter().map(|range| (range.first.into(), range.last.into())).collect());
    let around = |one: Ports, other: Ports| Ports {
        first: one.first.min(other.first),
        last: one.last.max(other.last),
    };
    match (&ranges[..], wanted.iter().copied().reduce(around)) {
        ([] | [(0, HIGHEST_PORT)], _) => Vec::new(),
        ([_], Some(range)) => matches::among(destination, range),
        _ => {
            named.push(Named { name: name.to_owned(), of: Type::Port, ranges });
            vec![port_of(destination), lookup(name)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::expressions::V6;
    use super::*;

    #[test]
    fn a_range_is_a_prefix_or_none() {
        for (prefix, family) in
            [("0.0.0.0/0", &V4), ("10.0.0.0/23", &V4), ("10.0.0.1/32", &V4), ("::/0", &V6), ("fd00::/7", &V6)]
        {
            let prefix: IpNet = prefix.parse().unwrap();
            let prefix = prefix.trunc();
            let ranges = ranges(&[prefix], family);
            assert_eq!(as_prefix(ranges[0], family), Some(prefix));
        }
        assert_eq!(as_prefix((1, 2), &V4), None);
        assert_eq!(as_prefix((0, 2), &V6), None);
    }
}
