//! Which settings of the kernel (sysctl) lose packets of hcnd's networks, or let something in?

use std::collections::BTreeSet;

use hcn_dataplane::{Family, Object};

use super::{Facts, Report, Severity};

/// The least of the ports that are published to be of this check: what is below is never chosen by the kernel.
const NO_RANGE: (u16, u16) = (0, 0);
/// Reverse path filter: only by the link that the answer leaves by; by any link that there is an answer for.
const STRICT: i64 = 1;
const LOOSE: i64 = 2;

pub(super) fn forwarding(facts: &Facts<'_>, report: &mut Report) {
    let needed: BTreeSet<(Family, &str)> = facts
        .wanted
        .iter()
        .filter_map(|(_, object)| match object {
            Object::Forwarding(claim) => Some((claim.family, claim.bridge.as_str())),
            _ => None,
        })
        .collect();
    for (family, name, all) in
        [(Family::V4, "IPv4", "net.ipv4.ip_forward"), (Family::V6, "IPv6", "net.ipv6.conf.all.forwarding")]
    {
        let bridges: Vec<&str> =
            needed.iter().filter(|(of, _)| *of == family).map(|(_, bridge)| *bridge).collect();
        if bridges.is_empty() {
            continue;
        }
        if facts.setting(all) == Some(0) {
            report.add(
                Severity::Error,
                all,
                [
                    format!("it is 0, and {} networks need the host to forward {name}", bridges.len()),
                    "packets of containers to elsewhere, and to published ports, are lost".to_owned(),
                    format!(
                        "`sysctl -w {all}=1`, and find out which program or file of sysctl.d sets it to 0"
                    ),
                ],
            );
            continue;
        }
        // The kernel asks the link that packets come in by.
        let folder = if family == Family::V4 { "ipv4" } else { "ipv6" };
        for link in bridges.iter().copied().chain(facts.uplink()) {
            let setting = format!("net.{folder}.conf.{link}.forwarding");
            if facts.setting(&setting) == Some(0) {
                report.add(
                    Severity::Error,
                    setting.as_str(),
                    [
                        format!("it is 0: {name} packets that come in by {link} are not forwarded"),
                        "packets of containers, or answers to them, are lost".to_owned(),
                        format!("`sysctl -w {setting}=1`"),
                    ],
                );
            }
        }
    }
}

/// The greater one of the two settings holds.
fn reverse_path_of(facts: &Facts<'_>, link: &str) -> Option<i64> {
    let of = |name: &str| facts.setting(&format!("net.ipv4.conf.{name}.rp_filter"));
    Some(of(link)?.max(of("all")?))
}

pub(super) fn reverse_path(facts: &Facts<'_>, report: &mut Report) {
    let remedy = |link: &str| {
        format!(
            "`sysctl -w net.ipv4.conf.{link}.rp_filter={LOOSE}`: loose, it still drops what has no way back"
        )
    };
    let mut told = BTreeSet::new();
    // A network with a routing table of its own leaves by a link that the main table does not name.
    for network in facts.registry.networks.iter().filter(|network| network.table.is_some()) {
        let Some(uplink) = &network.uplink else { continue };
        let other = facts.uplink().is_some_and(|main| main != uplink.link);
        if other && reverse_path_of(facts, &uplink.link) == Some(STRICT) && told.insert(uplink.link.clone()) {
            report.add(
                Severity::Error,
                uplink.link.as_str(),
                [
                    "its reverse path filter is strict (1), and the host's default route leaves by another link"
                        .to_owned(),
                    "answers to containers of networks that leave by it are dropped, since the main routing table \
                     would answer by the other link"
                        .to_owned(),
                    remedy(&uplink.link),
                ],
            );
        }
    }
    // Whoever reaches a port by another link than the default route's must be a neighbour there.
    let is_published = facts.wanted.iter().any(|(_, object)| match object {
        Object::Service(service) => service.frontend.family == Family::V4 && service.only_from.is_empty(),
        _ => false,
    });
    let links: BTreeSet<&str> = facts
        .survey
        .addresses
        .iter()
        .filter(|given| given.address.addr().is_ipv4() && !given.address.addr().is_loopback())
        .map(|given| given.link.as_str())
        .filter(|link| !facts.is_ours(link) && facts.uplink().is_some_and(|main| main != *link))
        .collect();
    for link in links {
        let default = facts.survey.routes.iter().any(|route| {
            route.link == link && route.destination.prefix_len() == 0 && route.destination.addr().is_ipv4()
        });
        if is_published
            && !default
            && reverse_path_of(facts, link) == Some(STRICT)
            && told.insert(link.to_owned())
        {
            report.add(
                Severity::Notice,
                link,
                [
                    "its reverse path filter is strict (1), and no default route leaves by it".to_owned(),
                    "clients from beyond its own prefixes do not reach published ports and load balancers by it"
                        .to_owned(),
                    remedy(link),
                ],
            );
        }
    }
}

pub(super) fn advertisements(facts: &Facts<'_>, report: &mut Report) {
    let forwards = facts.setting("net.ipv6.conf.all.forwarding").is_some_and(|value| value != 0);
    for link in &facts.survey.links {
        let setting = format!("net.ipv6.conf.{}.accept_ra", link.name);
        let Some(accept) = facts.setting(&setting).filter(|_| !link.loopback) else { continue };
        let forwarding = facts.setting(&format!("net.ipv6.conf.{}.forwarding", link.name)) != Some(0);
        let disabled = facts.setting(&format!("net.ipv6.conf.{}.disable_ipv6", link.name)) == Some(1);
        let heard = !disabled && (accept == 2 || (accept == 1 && !forwarding));
        let bridge =
            facts.registry.networks.iter().any(|network| {
                !network.is_enslaving() && network.bridges().any(|bridge| bridge == link.name)
            });
        if bridge && heard {
            report.add(
                Severity::Warning,
                setting.as_str(),
                [
                    format!(
                        "it is {accept}: the host believes router advertisements that come by the bridge"
                    ),
                    "a container can announce itself as the host's router".to_owned(),
                    format!("`sysctl -w {setting}=0`"),
                ],
            );
        } else if !facts.is_ours(&link.name) && forwards && forwarding && !disabled && accept == 1 {
            let advertised =
                facts.survey.routes.iter().any(|route| route.link == link.name && route.advertised);
            let severity = if advertised { Severity::Warning } else { Severity::Notice };
            let consequence = match advertised {
                true => {
                    "its routes came from router advertisements, and are lost when their lifetime is over"
                }
                false => "it gets no addresses and routes from routers, should it live by them",
            };
            report.add(
                severity,
                setting.as_str(),
                [
                    "it is 1, and a host that forwards IPv6 ignores router advertisements then".to_owned(),
                    consequence.to_owned(),
                    format!("`sysctl -w {setting}=2`, or 0 if nothing is to come from routers"),
                ],
            );
        }
    }
}

pub(super) fn bridged_frames(facts: &Facts<'_>, report: &mut Report) {
    if facts.registry.networks.is_empty() || !super::foreign::sees_forwarded(facts) {
        return;
    }
    for setting in ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"] {
        if facts.setting(setting) == Some(1) {
            report.add(
                Severity::Notice,
                setting,
                [
                    "it is 1: what containers of one network send each other passes rules for forwarded packets"
                        .to_owned(),
                    "hcnd's own rules know; those of other programs may drop it, which foreign-rules looks for"
                        .to_owned(),
                    format!(
                        "none is needed; `sysctl -w {setting}=0` makes bridges faster, if no other program relies on it"
                    ),
                ],
            );
        }
    }
}

pub(super) fn localhost(facts: &Facts<'_>, report: &mut Report) {
    let open = |link: &str| facts.setting(&format!("net.ipv4.conf.{link}.route_localnet")) == Some(1);
    let everywhere = open("all");
    for network in facts.registry.networks.iter().filter(|network| network.host) {
        for bridge in network.bridges().filter(|bridge| everywhere || open(bridge)) {
            if super::foreign::keeps_from_localhost(facts, network, &bridge) {
                continue;
            }
            let setting =
                format!("net.ipv4.conf.{}.route_localnet", if everywhere { "all" } else { &bridge });
            report.add(
                Severity::Warning,
                bridge,
                [
                    format!("{setting} is 1, and no rule keeps packets to 127.0.0.0/8 from the bridge away"),
                    "containers that give themselves a route reach what listens on 127.0.0.1 of the host"
                        .to_owned(),
                    format!(
                        "`sysctl -w {setting}=0`, or a rule that drops what comes by bridges for 127.0.0.0/8"
                    ),
                ],
            );
        }
    }
}

pub(super) fn reserved_ports(facts: &Facts<'_>, report: &mut Report) {
    let text = |name: &str| facts.survey.sysctls.get(name).map(String::as_str).unwrap_or_default();
    let mut ends = text("net.ipv4.ip_local_port_range").split_whitespace().filter_map(|end| end.parse().ok());
    let (first, last) = ends.next().zip(ends.next()).unwrap_or(NO_RANGE);
    let reserved = text("net.ipv4.ip_local_reserved_ports");
    let held: BTreeSet<_> = facts
        .wanted
        .iter()
        .filter_map(|(_, object)| match object {
            Object::HeldPort(port) => Some((port.family, port.protocol, port.port)),
            _ => None,
        })
        .collect();
    let mut open = BTreeSet::new();
    for (_, object) in facts.wanted.iter() {
        let Object::Service(service) = object else { continue };
        let frontend = service.frontend;
        let is_held = held.contains(&(frontend.family, frontend.protocol, frontend.port));
        if frontend.address.is_none()
            && !is_held
            && (first..=last).contains(&frontend.port)
            && !is_listed(reserved, frontend.port)
        {
            open.insert(frontend.port);
        }
    }
    if let Some(port) = open.first() {
        report.add(
            Severity::Notice,
            "net.ipv4.ip_local_reserved_ports",
            [
                format!(
                    "{} published ports, {port} among them, are ports that the kernel gives to programs",
                    open.len()
                ),
                "a program of the host may be given one to listen on, and hears nothing there".to_owned(),
                "publish ports outside of net.ipv4.ip_local_port_range, or add them to the setting"
                    .to_owned(),
            ],
        );
    }
}

/// Whether a port is in a list as `80,8000-8010`.
fn is_listed(list: &str, port: u16) -> bool {
    list.trim().split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let end = |text: &str| text.trim().parse::<u16>().ok();
        end(first).zip(end(last)).is_some_and(|(first, last)| (first..=last).contains(&port))
    })
}

#[cfg(test)]
mod tests {
    use super::is_listed;

    #[test]
    fn lists_of_ports_have_numbers_and_ranges() {
        assert!(is_listed("80,8000-8010\n", 8005));
        assert!(is_listed("80", 80));
        assert!(!is_listed("80,8000-8010", 8011));
        assert!(!is_listed("", 0));
    }
}
