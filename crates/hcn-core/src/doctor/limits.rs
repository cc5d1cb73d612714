//! How full is what has an end?

use std::collections::BTreeSet;
use std::net::IpAddr;

use hcn_dataplane::{Mac, Use};
use hcn_schema::call::Kind;
use ipnet::IpNet;

use super::{Facts, Report, Severity, named};
use crate::decide::PORTS_AT_MOST;
use crate::entity::{MOST_SHARDS, Network, PORTS_OF_A_BRIDGE};
use crate::pools;

/// Percent from which on something is nearly full, and from which on it is full.
const NEARLY: u64 = 80;
const FULL: u64 = 95;
/// Octets: below these the state will soon not be kept, or is not.
const LITTLE_ROOM: u64 = 256 << 20;
const NO_ROOM: u64 = 16 << 20;

/// How bad it is that so much is in use; none if it is not.
fn fullness(usage: Use) -> Option<(Severity, u64)> {
    let percent = usage.count.saturating_mul(100) / usage.most.max(1);
    match percent {
        FULL.. => Some((Severity::Error, percent)),
        NEARLY.. => Some((Severity::Warning, percent)),
        _ => None,
    }
}

pub(super) fn connections(facts: &Facts<'_>, report: &mut Report) {
    let Some(usage) = facts.survey.connections else { return };
    if let Some((severity, percent)) = fullness(usage) {
        report.add(
            severity,
            "net.netfilter.nf_conntrack_max",
            [
                format!("{} of {} connections are tracked, {percent} %", usage.count, usage.most),
                "when it is full, new connections of containers and to published ports are dropped"
                    .to_owned(),
                format!("`sysctl -w net.netfilter.nf_conntrack_max={}`", usage.most.saturating_mul(2)),
            ],
        );
    }
}

pub(super) fn neighbours(facts: &Facts<'_>, report: &mut Report) {
    let endpoints = || facts.registry.endpoints.iter().filter(|endpoint| endpoint.interface.is_some());
    for (at, family, folder) in [(0, "IPv4", "ipv4"), (1, "IPv6", "ipv6")] {
        let threshold = |number: u8| {
            let value = facts.setting(&format!("net.{folder}.neigh.default.gc_thresh{number}"))?;
            u64::try_from(value).ok()
        };
        // Another namespace than the machine's first has no such settings.
        let (Some(second), Some(third)) = (threshold(2), threshold(3)) else { continue };
        let setting = format!("net.{folder}.neigh.default.gc_thresh3");
        let remedy = |least: u64| {
            format!("raise net.{folder}.neigh.default.gc_thresh1, 2 and 3, the last to {least} at least")
        };
        let addresses = endpoints().flat_map(|endpoint| &endpoint.addresses);
        let own = addresses.filter(|address| address.addr().is_ipv4() == (at == 0)).count() as u64;
        if let Some((severity, percent)) =
            facts.survey.neighbours[at].and_then(|count| fullness(Use { count, most: third }))
        {
            let count = facts.survey.neighbours[at].unwrap_or_default();
            report.add(
                severity,
                setting.as_str(),
                [
                    format!("the machine knows {count} {family} neighbours of {third}, {percent} %"),
                    "when it is full, packets to containers that have been silent are lost".to_owned(),
                    remedy(third.saturating_mul(2)),
                ],
            );
        } else if own > second {
            let (severity, consequence) = if own > third {
                (Severity::Warning, "packets to containers are lost once all of them talk")
            } else {
                (
                    Severity::Notice,
                    "the kernel forgets neighbours after 5 s and asks for them again and again",
                )
            };
            report.add(
                severity,
                setting.as_str(),
                [
                    format!("{own} addresses of endpoints; gc_thresh2 is {second}, gc_thresh3 {third}"),
                    consequence.to_owned(),
                    remedy(own.saturating_mul(2)),
                ],
            );
        }
    }
}

pub(super) fn files(facts: &Facts<'_>, report: &mut Report) {
    let Some(usage) = facts.survey.files else { return };
    if let Some((severity, percent)) = fullness(usage) {
        report.add(
            severity,
            "RLIMIT_NOFILE",
            [
                format!("hcnd has {} of {} files open, {percent} %", usage.count, usage.most),
                "each namespace takes two, each published port one; without them calls fail".to_owned(),
                "raise LimitNOFILE in the unit of hcnd, and start it again".to_owned(),
            ],
        );
    }
}

fn label(network: &Network) -> String {
    named(Kind::Network, network.meta.id, network.name())
}

/// Addresses that endpoints can have.
fn size(prefix: &IpNet) -> u64 {
    let bits = u32::from(prefix.max_prefix_len() - prefix.prefix_len());
    let all = if bits < 63 { 1u64 << bits } else { u64::MAX };
    let kept = [prefix.network(), prefix.broadcast()];
    let kept: BTreeSet<IpAddr> = kept.into_iter().filter(|end| pools::is_reserved(prefix, *end)).collect();
    all - kept.len() as u64
}

pub(super) fn pools(facts: &Facts<'_>, report: &mut Report) {
    for network in facts.registry.networks.iter() {
        let endpoints: Vec<_> = facts.registry.endpoints_of(network.meta.id).collect();
        for subnet in &network.subnets {
            let addresses = endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
            let mut taken: BTreeSet<IpAddr> =
                addresses.map(IpNet::addr).filter(|address| subnet.prefix.contains(address)).collect();
            taken.extend(subnet.gateway.filter(|_| subnet.reserve_gateway));
            let usage = Use { count: taken.len() as u64, most: size(&subnet.prefix) };
            pool(&label(network), &format!("addresses of {}", subnet.prefix), usage, report);
        }
        let number = |mac: Mac| u64::from(mac);
        let size = |(first, last): &(Mac, Mac)| number(*last).saturating_sub(number(*first)) + 1;
        let most: u64 = network.mac_ranges.iter().map(size).sum();
        let in_pool =
            |mac: Mac| network.mac_ranges.iter().any(|(first, last)| (*first..=*last).contains(&mac));
        let count = endpoints.iter().filter(|endpoint| in_pool(endpoint.mac)).count() as u64;
        if most > 0 {
            pool(&label(network), "MAC addresses of its pool", Use { count, most }, report);
        }
    }
}

fn pool(subject: &str, what: &str, usage: Use, report: &mut Report) {
    if fullness(usage).is_none() {
        return;
    }
    let Use { count, most } = usage;
    let consequence =
        if count < most { "soon no endpoint can be created" } else { "no endpoint can be created" };
    report.add(
        Severity::Warning,
        subject,
        [
            format!("{count} of {most} {what} are taken"),
            consequence.to_owned(),
            "delete endpoints that are not needed any more, or give the network another subnet or MAC pool"
                .to_owned(),
        ],
    );
}

pub(super) fn ports(facts: &Facts<'_>, report: &mut Report) {
    for network in facts.registry.networks.iter().filter(|network| network.sharing().is_none()) {
        let id = network.meta.id;
        let count: usize = (0..=network.shards).map(|shard| facts.registry.ports_of(id, shard)).sum();
        let most = PORTS_OF_A_BRIDGE * (usize::from(MOST_SHARDS) + 1);
        if let Some((severity, percent)) = fullness(Use { count: count as u64, most: most as u64 }) {
            report.add(
                severity,
                label(network),
                [
                    format!("its bridges have {count} of {most} ports, {percent} %"),
                    "when they are full, no endpoint can be attached".to_owned(),
                    "make another network".to_owned(),
                ],
            );
        }
        let first = facts.registry.ports_of(id, 0) + usize::from(network.shards);
        let usage = Use { count: first as u64, most: PORTS_AT_MOST as u64 };
        if let Some((severity, percent)) = fullness(usage) {
            report.add(
                severity,
                network.bridge.as_str(),
                [
                    format!("the network's first bridge has {first} of {PORTS_AT_MOST} ports, {percent} %"),
                    "endpoints that are isolated or have rules must be there; when it is full they cannot be attached"
                        .to_owned(),
                    "make another network".to_owned(),
                ],
            );
        }
    }
}

pub(super) fn state(facts: &Facts<'_>, report: &mut Report) {
    let Some(room) = facts.survey.state_room.filter(|room| *room < LITTLE_ROOM) else { return };
    let severity = if room < NO_ROOM { Severity::Error } else { Severity::Warning };
    report.add(
        severity,
        "",
        [
            format!("{} MiB are free where the state is kept", room >> 20),
            "changes that cannot be written are refused".to_owned(),
            "make room on the disk".to_owned(),
        ],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fullness_has_two_steps() {
        let of = |count, most| fullness(Use { count, most }).map(|(severity, _)| severity);
        assert_eq!(of(79, 100), None);
        assert_eq!(of(80, 100), Some(Severity::Warning));
        assert_eq!(of(95, 100), Some(Severity::Error));
        assert_eq!(of(0, 0), None);
    }

    #[test]
    fn a_prefix_has_as_many_addresses_as_endpoints_can_have() {
        for (prefix, expected) in [
            ("192.0.2.0/24", 254),
            ("192.0.2.0/31", 2),
            ("192.0.2.0/32", 1),
            ("2001:db8::/126", 3),
            ("2001:db8::/64", u64::MAX - 1),
        ] {
            assert_eq!(size(&prefix.parse().unwrap()), expected, "{prefix}");
        }
    }
}
